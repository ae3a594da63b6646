"""Samples that came one by one, stacked into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.data.columns import as_column, is_several
from lamp.errors import DataError


def collate(samples: Sequence[Any], indices: Sequence[int]) -> Any:
    """A batch of these samples: each field stacked along a new first axis.

    A sample is a field or a tuple (or list) of fields, a field a number, an array, a tensor or a tuple of such. A batch
    is then a tensor or a tuple in the form of a sample; numbers and arrays convert as in `as_column`. `indices`, the
    samples' places in the data set, are what errors name.
    """
    first = samples[0]
    if not isinstance(first, tuple | list):
        return _stack(samples, indices, "the sample")
    for sample, index in zip(samples, indices, strict=True):
        if not isinstance(sample, tuple | list) or len(sample) != len(first):
            raise DataError(
                f"sample {index} is made differently from sample {indices[0]}",
                expected=f"{len(first)} fields",
                got=f"{len(sample)} fields" if isinstance(sample, tuple | list) else type(sample).__name__,
                fix="let every sample have the same fields",
            )
    return tuple(_stack(field, indices, f"field {k}") for k, field in enumerate(zip(*samples, strict=True)))


def _stack(values: Sequence[Any], indices: Sequence[int], name: str) -> Any:
    if is_several(values[0]):
        return collate(values, indices)
    try:
        if isinstance(values[0], Tensor):
            return torch.stack(tuple(values))
        return as_column(np.asarray(values))
    except (RuntimeError, ValueError, TypeError):
        raise _explain(values, indices, name) from None


def _explain(values: Sequence[Any], indices: Sequence[int], name: str) -> DataError:
    """Which samples could not be stacked, and why."""
    for value, index in zip(values, indices, strict=True):
        if not isinstance(value, Tensor) and np.asarray(value).dtype.kind not in "fiub":
            return DataError(
                f"{name} at index {index} holds no numbers",
                expected="a number, an array, a tensor, or a tuple of such",
                got=type(value).__name__,
                fix="let the data set give (input, target) as numbers",
            )
    forms: dict[str, int] = {}  # and the first index at which each is met
    for value, index in zip(values, indices, strict=True):
        forms.setdefault(f"{type(value).__name__} {tuple(np.shape(value))}", index)
    return DataError(
        f"{name} differs from index to index",
        expected="one kind and shape in all samples of a batch",
        got=", ".join(f"{form} at {index}" for form, index in list(forms.items())[:3]),
        fix="pad or crop the samples to one shape",
    )
