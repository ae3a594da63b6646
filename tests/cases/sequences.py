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

BAGS = [
    of_indices("EmbeddingBag", (5, 6), 7, 3),
    of_indices("EmbeddingBag", (5, 6), 7, 3, mode="sum", max_norm=1.5),
    of_indices("EmbeddingBag", (5, 6), 7, 3, mode="max"),
    of_indices("EmbeddingBag", (5, 6), 7, 3, mode="mean", max_norm=1.0, norm_type=1.0),
]

CELLS = [
    of("RNNCell", (5, 3), 3, 4),
    of("RNNCell", (5, 3), 3, 4, nonlinearity="relu"),
    of("RNNCell", (5, 3), 3, 4, bias=False),
    of("LSTMCell", (5, 3), 3, 4),
    of("LSTMCell", (5, 3), 3, 4, False),
    of("GRUCell", (5, 3), 3, 4),
    of("GRUCell", (5, 3), 3, 4, bias=False),
]

RECURRENT = [
    of("RNN", (5, 6, 3), 3, 4, batch_first=True),
    of("RNN", (5, 6, 3), 3, 4, 2, "relu", False, True, 0.0, True),
    of("LSTM", (5, 6, 3), 3, 4, batch_first=True),
    of("LSTM", (5, 6, 3), 3, 4, num_layers=2, batch_first=True, bidirectional=True),
    of("LSTM", (5, 6, 3), 3, 4, 2, False, True, proj_size=2),
    of("GRU", (5, 6, 3), 3, 4, batch_first=True),
    of("GRU", (5, 6, 3), 3, 4, 2, False, True, 0.0, True),
]
STEPS_FIRST = [  # the batch is on the second axis, or there is none
    replace(case, batched=False)
    for case in (
        of("RNN", (6, 5, 3), 3, 4, 2),
        of("LSTM", (6, 5, 3), 3, 4, bidirectional=True),
        of("LSTM", (6, 3), 3, 4, 3, proj_size=1),
        of("GRU", (6, 5, 3), 3, 4),
        of("GRU", (6, 3), 3, 4, bidirectional=True, batch_first=True),
        of("GRUCell", (3,), 3, 4),
        of("LSTMCell", (3,), 3, 4),
    )
]

SEQUENCES = [*EMBEDDINGS, *BAGS, *CELLS, *RECURRENT, *STEPS_FIRST]
