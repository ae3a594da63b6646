"""Whatever a training may be given as its data, as batches that can be gone over once an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from torch import Tensor

from lamp.data.forms import is_table
from lamp.data.loader import DataLoader
from lamp.errors import ArgumentError, DataError

BATCH_SIZE = 32  # where none is said


def is_batched(data: Any) -> bool:
    """Whether going over the data gives batches: a loader (lamp's or torch's), a list of batches, any other iterable.

    Not batched are tensors and arrays, tuples and lists of them, and data sets with `[index]`. A list of tuples is
    taken as a list of batches, unless the fields of the first one are no columns of one length: then as samples.
    """
    if isinstance(data, DataLoader):
        return True
    if isinstance(data, Tensor | tuple | Mapping | str | bytes) or is_table(data) or hasattr(data, "__array__"):
        return False
    if isinstance(data, list):
        return bool(data) and all(isinstance(element, tuple | list) for element in data) and not _is_sample(data[0])
    return isinstance(data, Iterable) and not hasattr(data, "__getitem__")


def _is_sample(element: Sequence[Any]) -> bool:
    """Whether this is (input, target) of one sample and no batch: a field is a number, or vectors differ in length."""
    axes = [0 if isinstance(field, Number | np.generic) else getattr(field, "ndim", None) for field in element]
    return 0 in axes or (axes == [1] * len(axes) and len({len(field) for field in element}) > 1)


def length_of(batches: Any) -> int | None:
    """How many batches there are; None where nobody knows, as with an IterableDataset in torch's DataLoader."""
    try:
        return len(batches)
    except TypeError:
        return None


def as_batches(
    data: Any,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    *,
    drop_last: bool = False,
    seed: int | Sequence[int] | None = None,
    epochs: int | None = None,
    indices: Tensor | None = None,
) -> Iterable[Any]:
    """The data in batches: iterate the result once an epoch.

    data        samples, as lamp.DataLoader takes them; or batches: see `is_batched`
    batch_size  of samples; None for 32
    shuffle     samples, anew each epoch; None does, and leaves ready batches as they come
    seed        of the order in which samples are shuffled, or K of them; ready batches keep their own
    epochs      how often the result will be gone over, where that is known
    indices     which samples are taken; None for all

    Ready batches are returned as they are, and samples in a DataLoader.

    Raises ArgumentError where the arguments ask of ready batches what they do not do, DataError for an iterator (it
    gives its batches once: enough for epochs=1 alone), and what DataLoader raises.
    """
    if not is_batched(data):
        shuffled = True if shuffle is None else shuffle
        return DataLoader(
            data,
            BATCH_SIZE if batch_size is None else batch_size,
            shuffled,
            drop_last=drop_last,
            seed=seed,
            indices=indices,
        )
    for name, asked in (("batch_size", batch_size), ("shuffle", shuffle or None), ("drop_last", drop_last or None)):
        if asked is not None and asked != getattr(data, name, None):
            raise ArgumentError(
                f"{name}={asked!r} asked of data that come in batches",
                expected=f"samples, or no {name}",
                got=f"a {type(data).__name__} of batches",
                fix=f"set {name} where the batches are made; wrap a list of samples: lamp.DataLoader(samples)",
            )
    if isinstance(data, Iterator) and epochs != 1:
        raise DataError(
            "these batches can be gone over once only",
            expected="something that gives its batches anew each time",
            got=f"a {type(data).__name__}",
            fix="pass list(batches), a DataLoader, or an object whose __iter__ begins anew; or train for one epoch",
        )
    return data  # type: ignore[no-any-return]
