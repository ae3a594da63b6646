"""Turn any data that a training accepts into batches, to be iterated once per epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from torch import Tensor

from lamp.axes import replicas_of
from lamp.data.forms import is_table
from lamp.data.loader import DataLoader
from lamp.errors import ArgumentError, DataError

BATCH_SIZE = 32  # the default
LOOKED_AT = 100  # tuples of a list whose shapes are compared
CHANNELS = 4  # of images; a first axis that is longer is rather one of samples


def is_batched(data: Any) -> bool:
    """Whether iterating over the data gives batches: a loader (lamp's or torch's), a list of batches, other iterables.

    Tensors and arrays, tuples and lists of them, and data sets with `[index]` are not batched. A list of tuples is a
    list of batches, unless the first tuple looks like one sample. Raises DataError if it may as well be the other.
    """
    if isinstance(data, DataLoader):
        return True
    if isinstance(data, Tensor | tuple | Mapping | str | bytes) or is_table(data) or hasattr(data, "__array__"):
        return False
    if isinstance(data, list):
        if not data or not all(isinstance(element, tuple | list) for element in data) or _is_sample(data[0]):
            return False
        _check_meaning(data)
        return True
    return isinstance(data, Iterable) and not hasattr(data, "__getitem__")


def _is_sample(element: Sequence[Any]) -> bool:
    """Whether this tuple is one sample, not a batch: some field is a number, or its vectors differ in length."""
    axes = [0 if isinstance(field, Number | np.generic) else getattr(field, "ndim", None) for field in element]
    return 0 in axes or (axes == [1] * len(axes) and len({len(field) for field in element}) > 1)


def _check_meaning(data: list[Sequence[Any]]) -> None:
    """Raise DataError for tuples that may be samples or batches: of one shape, a vector's or an image's."""
    if any(isinstance(field, Tensor) and replicas_of(field) is not None for field in data[0]):
        return  # no sample's fields are marked as each replica's own
    shapes = {tuple(getattr(field, "shape", ())) for element in data[:LOOKED_AT] for field in element}
    shape = next(iter(shapes), ())
    if len(shapes) > 1 or len(data) == 1 or not (len(shape) == 1 or (len(shape) >= 3 and shape[0] <= CHANNELS)):
        return
    raise DataError(
        f"a list of {len(data)} tuples of tensors {shape} could be samples or batches",
        expected="samples in a lamp.DataLoader, or batches in an object whose __iter__ returns them",
        got=f"a list, with the same shape for all {len(data[0])} fields",
        fix="lamp.DataLoader(data, batch_size=32) if each tuple is a sample; if each is a batch, put the batches "
        "together: (inputs, targets), with batch_size=",
    )


def length_of(batches: Any) -> int | None:
    """The number of batches; None if it is unknown, as with an IterableDataset in torch's DataLoader."""
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
    """The data as batches: iterate over the result once per epoch.

    data        samples, as lamp.DataLoader takes them, or ready batches (see `is_batched`)
    batch_size  number of samples per batch; None for 32
    shuffle     whether to shuffle samples in every epoch; None shuffles samples and leaves ready batches in their order
    seed        seed of the order of the samples, or K seeds; ready batches keep their own order
    epochs      how often the result will be iterated over, if that is known
    indices     the samples to use; None for all

    Ready batches are returned unchanged; samples are returned in a DataLoader.

    Raises ArgumentError if batch_size, shuffle or drop_last differ from what ready batches do, DataError for an
    iterator (which gives its batches only once, enough for epochs=1), and what DataLoader raises.
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
                f"{name}={asked!r} does not apply to data that come in batches",
                expected=f"samples, or no {name}",
                got=f"a {type(data).__name__} of batches",
                fix=f"set {name} where the batches are made; a list of samples goes into lamp.DataLoader(samples)",
            )
    if isinstance(data, Iterator) and epochs != 1:
        raise DataError(
            "these batches can be iterated over only once",
            expected="an object that gives its batches again in each epoch",
            got=f"a {type(data).__name__}",
            fix="pass list(batches), a DataLoader, or an object whose __iter__ starts over; or train for one epoch",
        )
    return data  # type: ignore[no-any-return]
