"""Columns of data: tensors whose first axis is the samples, made from tensors, arrays or lists of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.devices import without_numbers
from lamp.errors import DataError, NonFiniteError


def as_column(data: Any, name: str = "inputs") -> Tensor:
    """One column of a data set as a tensor (n, ...).

    tensors        are not changed
    numpy arrays   (and objects that convert to one, such as a pandas DataFrame): integers become int64, floats become
                   torch.get_default_dtype(), booleans stay. Memory is shared if the dtype is already that one
    lists          of numbers, nested or not, are converted by numpy first

    Raises DataError for data that are not numbers, have no axis of samples, or have no sample.
    """
    tensor = data.detach() if isinstance(data, Tensor) else _from_numpy(_as_array(data, name), name)
    if tensor.is_nested:
        raise DataError(
            f"the {name} are nested",
            expected="samples of one shape",
            got="a nested tensor",
            fix=f"torch.nested.to_padded_tensor({name}, 0.0)",
        )
    if tensor.layout != torch.strided:
        raise DataError(
            f"the {name} are sparse", expected="a dense tensor", got=tensor.layout, fix=f"{name}.to_dense()"
        )
    if tensor.dim() == 0:
        raise DataError(
            f"the {name} are a single number",
            expected="an axis of samples first: (n, ...)",
            got="a tensor without axes",
            fix=f"{name}.unsqueeze(0), if it is one sample",
        )
    if tensor.shape[0] == 0:
        raise DataError(
            f"the {name} are empty",
            expected="at least one sample",
            got=f"shape {tuple(tensor.shape)}",
            fix="check how the data were read or selected",
        )
    return tensor


Form = int | tuple["Form", ...]  # the nesting of columns: a column's number, or a tuple of Forms


def flattened(data: Sequence[Any]) -> tuple[list[Any], tuple[Form, ...]]:
    """All columns in a flat list, and their nesting in the data: ((0, 1), 2) for ((source, image), targets)."""
    columns: list[Any] = []

    def form(column: Any) -> Form:
        if is_several(column):
            return tuple(map(form, column))
        columns.append(column)
        return len(columns) - 1

    return columns, tuple(map(form, data))


def in_form(columns: Sequence[Any], form: Form) -> Any:
    """The columns nested as in the data."""
    return columns[form] if isinstance(form, int) else tuple(in_form(columns, each) for each in form)


def is_several(column: Any) -> bool:
    """Whether this is a tuple of columns."""
    return isinstance(column, tuple) and any(
        isinstance(each, Tensor | np.ndarray) or is_several(each) for each in column
    )


def check_memory(tensor: Tensor, what: str) -> None:
    """Raise DataError if the memory of a tensor does not hold all its elements, because somebody resized it."""
    if not is_held(tensor):
        raise DataError(
            f"the memory of the {what} was freed or shrunk",
            expected=f"{_bytes_of(tensor)} bytes for a tensor {tuple(tensor.shape)}",
            got=f"{tensor.untyped_storage().nbytes()} bytes",
            fix="do not resize tensors while something trains on them, or pass a copy: tensor.clone()",
        )


def is_held(tensor: Tensor) -> bool:
    """Whether the memory of a tensor holds all its elements."""
    return not tensor.numel() or tensor.untyped_storage().nbytes() >= _bytes_of(tensor)


def _bytes_of(tensor: Tensor) -> int:
    """The bytes from the beginning of a tensor's memory to the end of its last element."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    return int(last + 1) * tensor.element_size()


def as_columns(data: Sequence[Any]) -> tuple[Tensor, ...]:
    """All columns as tensors (see `as_column`), those in nested tuples included.

    Raises DataError if there is no column, or if they differ in length.
    """
    if len(data) == 0:
        raise DataError(
            "the data are empty",
            expected="at least one column, such as (inputs, targets)",
            got=f"an empty {type(data).__name__}",
            fix="pass the columns as one tuple",
        )
    flat, _ = flattened(data)
    names = column_names(len(flat))
    columns = tuple(as_column(column, name) for column, name in zip(flat, names, strict=True))
    for column, name in zip(columns, names, strict=True):
        if column.shape[0] != columns[0].shape[0]:
            raise DataError(
                f"{names[0]} and {name} differ in length",
                expected=f"as many {name} as {names[0]}: {columns[0].shape[0]}",
                got=f"{names[0]} {tuple(columns[0].shape)}, {name} {tuple(column.shape)}",
                fix="select the same samples in both",
            )
    return columns


def column_names(count: int) -> tuple[str, ...]:
    """The names of the columns in errors."""
    return ("inputs", "targets")[:count] if count <= 2 else tuple(f"columns[{k}]" for k in range(count))


def holds_arrays(data: Sequence[Any]) -> bool:
    """Whether this list or tuple has a tensor or an array in it."""
    return any(isinstance(element, Tensor | np.ndarray) for element in data)


def _as_array(data: Any, name: str) -> np.ndarray[Any, Any]:
    """The data as a numpy array. Raises DataError if they cannot be one."""
    if isinstance(data, np.ma.MaskedArray) and np.ma.getmaskarray(data).any():
        raise DataError(
            f"the {name} have masked elements",
            expected="numbers everywhere",
            got=f"{int(np.ma.getmaskarray(data).sum())} masked",
            fix="fill them: array.filled(value)",
        )
    if isinstance(data, list | tuple) and holds_arrays(data):
        raise DataError(
            f"the {name} are a {type(data).__name__} of tensors",
            expected="one tensor (n, ...)",
            got=f"{len(data)} of them",
            fix="torch.stack(...) if each is a sample; for several columns, pass a tuple: (a, b, targets)",
        )
    if not isinstance(data, list | tuple) and not hasattr(data, "__array__"):
        raise DataError(
            f"the {name} are not a tensor",
            expected="a tensor, an array or a list of numbers",
            got=type(data).__name__,
            fix="convert them: torch.as_tensor(...)",
        )
    try:
        return np.asarray(data)
    except ValueError as error:
        raise DataError(
            f"the {name} are ragged", expected="samples of one shape", got=str(error), fix="pad them to one length"
        ) from None


def _from_numpy(array: np.ndarray[Any, Any], name: str) -> Tensor:
    kind = array.dtype.kind
    if kind not in "fiub":
        raise DataError(
            f"the {name} are not numbers",
            expected="floats, integers or booleans",
            got=f"an array of dtype {array.dtype}",
            fix="number the categories: np.unique(array, return_inverse=True)[1]"
            if kind in "US"
            else "convert them: array.astype(float)",
        )
    dtype = np.dtype(array.dtype.type)  # in this machine's byte order
    if kind == "f":
        dtype = np.dtype(np.float64) if dtype.itemsize > np.dtype(np.float64).itemsize else dtype
    elif kind in "iu":
        dtype = np.dtype(np.int64)
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise DataError(f"the {name} exceed int64", expected="at most 2^63 - 1", got=array.max(), fix="use floats")
    tensor = torch.from_numpy(np.require(array, dtype, ["C", "W", "E"]))  # torch warns about read-only memory
    return tensor.to(torch.get_default_dtype()) if kind == "f" else tensor


def check_finite(data: Tensor, name: str = "inputs") -> None:
    """Raise NonFiniteError, naming the first place, if data (n, ...) hold a NaN or an infinity.

    Raises DeviceError for data on the device meta.
    """
    if data.is_meta:
        raise without_numbers(f"the tensor of the {name}")
    if not data.is_floating_point() or math.isfinite(data.sum().item()):
        return  # a sum is finite only if every term is; this is the cheapest check of all of them
    bad = (~data.isfinite()).nonzero()
    if len(bad) == 0:
        return  # the numbers are finite, and only their sum overflows
    place, rows = bad[0].tolist(), len(set(bad[:, 0].tolist()))
    where = f"row {place[0]}"
    if len(place) == 2:
        where += f", column {place[1]}"
    elif len(place) > 2:
        where += f", at {tuple(place[1:])}"
    raise NonFiniteError(
        f"the {name} are not finite",
        expected="finite numbers",
        got=f"{data[tuple(place)].item()} in {where}; not finite in {rows} of {len(data)} rows",
        fix=f"drop these rows, {name}[{name}.flatten(1).isfinite().all(1)], or replace these numbers"
        if len(place) > 1
        else f"drop these, {name}[{name}.isfinite()], or replace these numbers",
    )
