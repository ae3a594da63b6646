"""Stack single samples into a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.data.columns import as_column, is_several
from lamp.errors import DataError


def collate(samples: Sequence[Any], indices: Sequence[int]) -> Any:
    """A batch of these samples: each field is stacked along a new first axis.

    samples  each is a field or a tuple (or list) of fields; a field is a number, an array, a tensor or a tuple of these
    indices  the samples' places in the data set, for errors

    The batch is a tensor or a tuple in the form of a sample. Numbers and arrays are converted as in `as_column`. Raises
    DataError for samples that differ in form or shape, or are not numbers.
    """
    first = samples[0]
    if not isinstance(first, tuple | list):
        return _stack(samples, indices, "the sample")
    for sample, index in zip(samples, indices, strict=True):
        if not isinstance(sample, tuple | list) or len(sample) != len(first):
            raise DataError(
                f"sample {index} has another form than sample {indices[0]}",
                expected=f"{len(first)} fields",
                got=f"{len(sample)} fields" if isinstance(sample, tuple | list) else type(sample).__name__,
                fix="give every sample the same fields",
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
    """The error that says which samples could not be stacked, and why."""
    for value, index in zip(values, indices, strict=True):
        if not isinstance(value, Tensor) and np.asarray(value).dtype.kind not in "fiub":
            return DataError(
                f"{name} at index {index} is not numeric",
                expected="a number, an array, a tensor, or a tuple of these",
                got=type(value).__name__,
                fix="let the data set return (input, target) as numbers",
            )
    forms: dict[str, int] = {}  # {form: first index that has it}
    for value, index in zip(values, indices, strict=True):
        forms.setdefault(f"{type(value).__name__} {tuple(np.shape(value))}", index)
    return DataError(
        f"{name} differs from index to index",
        expected="the same type and shape in all samples of a batch",
        got=", ".join(f"{form} at {index}" for form, index in list(forms.items())[:3]),
        fix="pad or crop the samples to one shape",
    )
