"""The forms that a data set may have, and which of them are columns of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from lamp.data.columns import as_column, as_columns, holds_arrays
from lamp.data.dataset import Dataset
from lamp.errors import DataError
from lamp.overrides import overridden
from lamp.values import kind_of

FORMS = (
    "(inputs, targets) as tensors or arrays, one tensor, a lamp Dataset, or anything with len() and [index] that "
    "returns samples"
)
MOST_COLUMNS_IN_A_LIST = 3  # a longer list of tensors may be meant as a list of samples


def columns_of(data: Any) -> tuple[Tensor, ...] | None:
    """The columns of data that consist of tensors or arrays; None for a data set that returns samples by index.

    Raises DataError for anything else.
    """
    if isinstance(data, Tensor):
        return (as_column(data),)
    if is_table(data):
        tensors: tuple[Tensor, ...] = data.tensors
        return as_columns(tensors)
    if isinstance(data, tuple):
        return as_columns(data)
    if isinstance(data, list):
        return _columns_of_list(data)
    if hasattr(data, "__array__"):
        return (as_column(data),)
    if isinstance(data, str | bytes | PathLike):
        raise unknown_form(
            data, "read the file first, such as by numpy.loadtxt; `lamp train FILE --target COLUMN` learns from a table"
        )
    if isinstance(data, type):
        raise unknown_form(data, f"make one: {data.__name__}(...)")
    if isinstance(data, Mapping | set | frozenset):
        raise unknown_form(data, "take the columns out: (data['inputs'], data['targets'])")
    if isinstance(data, Iterator):
        raise unknown_form(data, "make a list of it first: a loader reads the data again in each epoch")
    if not hasattr(data, "__getitem__"):
        raise unknown_form(data, "give it __len__ and __getitem__(index), or pass tensors")
    try:
        length = len(data)
    except TypeError:
        raise unknown_form(data, "give it __len__: a loader must know the number of samples") from None
    if length == 0:
        raise DataError(
            "the data are empty",
            expected="at least one sample",
            got=f"an empty {type(data).__name__}",
            fix="check how it was made",
        )
    return None


def is_table(data: Any) -> bool:
    """Whether the samples are the rows of `data.tensors`.

    True for a lamp Dataset, unless a subclass overrides how samples are returned, and for a torch TensorDataset, but
    not for subclasses of it.
    """
    if isinstance(data, Dataset):
        own = overridden(data, only=("__getitem__", "__len__", "__iter__")) is not None
        return not own and getattr(data, "__getitems__", None) is None
    return type(data) is torch.utils.data.TensorDataset


def unknown_form(data: Any, fix: str) -> DataError:
    """The error for data in an unknown form."""
    got = f"the str {data!r}"[:80] if isinstance(data, str) else kind_of(data)
    return DataError("data in an unknown form", expected=FORMS, got=got, fix=fix)


def _columns_of_list(data: list[Any]) -> tuple[Tensor, ...] | None:
    if not holds_arrays(data):
        if not data:
            return as_columns(data)  # raises the error for empty data
        return None
    if len(data) > MOST_COLUMNS_IN_A_LIST:
        raise DataError(
            f"a list of {len(data)} tensors could be samples or columns",
            expected=f"at most {MOST_COLUMNS_IN_A_LIST} columns in a list, such as [inputs, targets]",
            got=f"{len(data)} elements",
            fix="torch.stack(data) if each is a sample, tuple(data) if each is a column",
        )
    return as_columns(data)
