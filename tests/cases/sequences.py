"""Rows of the table of modules for embeddings and recurrence."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.module_case import Case, Shape, of


def of_indices(kind: str, shape: Shape, rows: int, *args: object, **kwargs: object) -> Case:
    """A module whose input is indices below `rows`, its first argument."""
    return replace(of(kind, shape, rows, *args, **kwargs), indices=rows)


EMBEDDINGS = [
    of_indices("Embedding", (5, 6), 7, 3),
    of_indices("Embedding", (5,), 7, 3),
    of_indices("Embedding", (4, 2, 5), 7, 3, padding_idx=-2),
    of_indices("Embedding", (5, 6), 4, 3, scale_grad_by_freq=True),
    of_indices("Embedding", (5, 6), 7, 3, max_norm=1.2),
    of_indices("Embedding", (5, 6), 7, 3, padding_idx=0, max_norm=1.5, norm_type=1.0, scale_grad_by_freq=True),
]

SEQUENCES = [*EMBEDDINGS]
