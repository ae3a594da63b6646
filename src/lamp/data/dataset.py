"""Dataset: inputs and targets in memory, with their names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from lamp.data.columns import as_columns, check_finite
from lamp.data.orders import order
from lamp.devices import device_of
from lamp.errors import ArgumentError, DataError, DTypeError, MissingIndexError, ShapeError
from lamp.signatures import Constructed, called
from lamp.torch_habits import explains_attributes, unchangeable
from lamp.values import a_switch, a_text, kind_of, several

INSTEAD = {  # a name elsewhere: what to write in lamp
    **dict.fromkeys(("normalize", "standardize", "standardized", "transform"), "dataset.normalized()"),
    **dict.fromkeys(("x", "X", "data"), "dataset.inputs"),
    **dict.fromkeys(("y", "target", "labels"), "dataset.targets"),
    "shape": "dataset.inputs.shape, dataset.targets.shape",
    **dict.fromkeys(("shuffle", "batch", "random_split", "sample"), "lamp.DataLoader(dataset, 32, shuffle=True)"),
    **dict.fromkeys(("map", "apply", "filter"), "lamp.Dataset(function(dataset.inputs), dataset.targets)"),
    **dict.fromkeys(("to_numpy", "numpy", "values"), "dataset.inputs.numpy(), dataset.targets.numpy()"),
    **dict.fromkeys(("head", "take", "iloc", "loc"), "dataset[:5]"),
}


@explains_attributes(INSTEAD)
@unchangeable("dataclasses.replace(dataset, inputs=...) makes another data set")
@dataclass(frozen=True, eq=False, repr=False)
class Dataset(metaclass=Constructed):
    """Inputs (n, ...) and targets (n, ...) of n samples.

    name      the name of the data set
    classes   the names of the classes; targets are indices into them
    features  the names of the columns of the inputs

    Arrays are converted as in `lamp.data.as_column`. `dataset[3]` is one sample, (input, target). A slice such as
    `dataset[:100]`, and indices or a mask in an array or tensor, give a Dataset.

    Raises DataError for inputs and targets that are empty, differ in length or are not numbers.
    """

    inputs: Tensor
    targets: Tensor
    name: str = "data"
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, column in (("inputs", self.inputs), ("targets", self.targets)):
            if isinstance(column, tuple | list) and any(hasattr(each, "shape") for each in column):
                raise DataError(
                    f"the {name} of a Dataset must be one tensor",
                    expected=f"{name} (n, ...)",
                    got=f"a {type(column).__name__} of {len(column)}",
                    fix="torch.stack(...) if each is a sample; lamp.DataLoader takes several columns: (a, b, targets)",
                )
        inputs, targets = as_columns((self.inputs, self.targets))
        a_text(self.name, "name")
        for name, given in (("classes", self.classes), ("features", self.features)):
            texts = several(given, name, "names")
            object.__setattr__(self, name, tuple(a_text(each, f"each of {name}") for each in texts))
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """(inputs, targets)."""
        return self.inputs, self.targets

    def __len__(self) -> int:
        return self.inputs.shape[0]

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, index: slice | Tensor | list[int] | np.ndarray[Any, Any]) -> Dataset: ...
    def __getitem__(self, index: Any) -> tuple[Tensor, Tensor] | Dataset:
        if not isinstance(index, int | np.integer):
            return self._rows(index)
        if not -len(self) <= index < len(self):
            raise MissingIndexError(
                f"there is no sample {index}",
                expected=f"an index below {len(self)}",
                got=index,
                fix="len(dataset) is the number of samples",
            )
        return self.inputs[int(index)], self.targets[int(index)]

    def _rows(self, index: Any) -> Dataset:
        """Some of the samples as a data set of the same class, even if a subclass overrides `[index]`."""
        if isinstance(index, str) or index is None:
            raise ArgumentError(
                "a data set is indexed by samples",
                expected="a number, a slice, or a list or mask of samples",
                got=repr(index)[:60],
                fix="dataset.inputs and dataset.targets are its columns",
            )
        if isinstance(index, float | tuple) or (isinstance(index, Tensor) and index.is_floating_point()):
            raise ArgumentError(
                "a data set is indexed by whole numbers of samples",
                expected="a number, a slice, or a list or mask of samples",
                got=repr(index)[:60],
                fix="dataset[round(x)] for a number x",
            )
        try:
            return replace(self, inputs=self.inputs[index], targets=self.targets[index])
        except IndexError:
            raise MissingIndexError(
                "an index or a mask does not fit the data set",
                expected=f"indices below {len(self)}, or a mask of {len(self)} samples",
                got=str(index).replace("\n", " ")[:60],
                fix="len(dataset) is the number of samples",
            ) from None

    def __add__(self, other: Any) -> Dataset:
        """The samples of both data sets, those of this one first."""
        _check_alike(self, other)
        name = self.name if self.name == other.name else f"{self.name} + {other.name}"
        inputs, targets = (torch.cat(pair) for pair in zip(self.tensors, other.tensors, strict=True))
        return replace(self, inputs=inputs, targets=targets, name=name)

    def __radd__(self, other: Any) -> Dataset:
        """So that `sum([a, b])` joins data sets: a sum begins with 0."""
        if type(other) is not int or other:
            _check_alike(self, other)
        return self

    @called()
    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two data sets: this fraction of the samples, drawn at random, and the rest. The seed alone decides the split.

        Raises ArgumentError for a fraction that leaves one of them empty.
        """
        first = round(fraction * len(self)) if isinstance(fraction, float) and 0.0 < fraction < 1.0 else 0
        if not 0 < first < len(self):
            raise ArgumentError(
                f"{len(self)} samples cannot be split like this",
                expected="a fraction between 0 and 1 that leaves samples in both parts",
                got=fraction,
                fix="split(0.8) puts 80 % into the first part",
            )
        indices = order(len(self), seed, 0)
        return self._rows(indices[:first]), self._rows(indices[first:])

    @called()
    def normalized(self, using: Dataset | None = None) -> Dataset:
        """The data set with inputs of mean 0 and standard deviation 1 per column (for images, per channel: axis 1).

        x <- (x - mean) / std        (std without Bessel's correction; a constant column is only centred)

        using     the data set that gives mean and std, such as the training set for a test set; None for this one

        Raises ShapeError if the other data set has other inputs, and NonFiniteError if it has a NaN or an infinity.
        """
        source = self if using is None else using
        if not isinstance(source, Dataset):
            raise ArgumentError(
                "normalized takes a data set, whose mean and standard deviation it uses",
                expected="a lamp.Dataset, or None for this one",
                got=kind_of(using),
                fix="test.normalized(using=train)",
            )
        if source.inputs.shape[1:] != self.inputs.shape[1:]:
            raise ShapeError(
                "normalized by a data set with other inputs",
                expected=f"inputs (n, {', '.join(map(str, self.inputs.shape[1:]))})",
                got=tuple(source.inputs.shape),
                fix="pass the training set that belongs to this data set",
            )
        check_finite(source.inputs)
        inputs, known = _floating(self.inputs), _floating(source.inputs)
        axes = [axis for axis in range(known.dim()) if axis != 1]
        std, mean = torch.std_mean(known, dim=axes, correction=0, keepdim=True)
        return replace(self, inputs=(inputs - mean) / std.where(std > 0.0, 1.0))

    @called()
    def flattened(self) -> Dataset:
        """The data set with every input flattened to a row: inputs (n, features), as lamp.Linear takes them."""
        return replace(self, inputs=self.inputs.flatten(1) if self.inputs.dim() > 1 else self.inputs.unsqueeze(1))

    @called()
    def to(self, device: torch.device | str) -> Dataset:
        """The data set on this device."""
        to = device_of(device)
        return replace(self, inputs=self.inputs.to(to), targets=self.targets.to(to))

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        for name, column in (("inputs", self.inputs), ("targets", self.targets)):
            parts.append(f"{name} {tuple(column.shape)} {str(column.dtype).removeprefix('torch.')}")
        if self.classes:
            parts.append(f"{len(self.classes)} classes")
        return f"Dataset({', '.join(parts)})"


def _floating(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _check_alike(one: Dataset, other: Any) -> None:
    """Raise an error unless the samples of both may stand in one data set."""
    if type(one) is not type(other):
        raise DTypeError(
            f"a {type(one).__name__} is joined with something else",
            expected=f"another {type(one).__name__}",
            got=kind_of(other),
            fix="torch.utils.data.ConcatDataset([a, b]) joins whatever has len() and [index]",
        )
    for name in ("inputs", "targets"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine.shape[1:] != theirs.shape[1:]:
            raise ShapeError(
                f"the {name} of two data sets have different shapes",
                expected=f"(n, {', '.join(map(str, mine.shape[1:]))})".replace(", )", ",)"),
                got=tuple(theirs.shape),
                fix="dataset.flattened() makes rows of inputs",
            )
        if mine.dtype is not theirs.dtype:
            raise DTypeError(
                f"the {name} of two data sets have different dtypes",
                expected=mine.dtype,
                got=theirs.dtype,
                fix=f"lamp.Dataset(...), with {name}.to({mine.dtype})",
            )
    for name in ("classes", "features"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            raise ArgumentError(
                f"two data sets have different {name}",
                expected=mine or "none",
                got=theirs or "none",
                fix=f"give both the same {name}: dataclasses.replace(dataset, {name}=...)",
            )


def part_of(whole: Dataset, train: bool | None, normalize: bool) -> Dataset:
    """A part of a data set that has no published split: the training 80 %, the other 20 %, or (train=None) all of it.

    Every part is normalized by the training part. Raises ArgumentError for another `train`.
    """
    if train is not None and not isinstance(train, bool):
        raise ArgumentError(
            "train does not name a part of the data set",
            expected="train=True, False, or None for everything",
            got=repr(train),
            fix="train=True for the part to train on, train=False for the other",
        )
    training, test = whole.split()
    part = whole if train is None else training if train else test
    return part.normalized(using=training) if a_switch(normalize, "normalize") else part
