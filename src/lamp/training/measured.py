"""`MeasuredValues`, a dict of what was measured, which explains names that are not there."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from lamp.errors import MissingIndexError
from lamp.torch_habits import explains_attributes

Value = TypeVar("Value")
Measured = float | Tensor  # a number of one network, or (K,) of a population


@explains_attributes(lambda values: {name: f"values[{name!r}]" for name in values})
class MeasuredValues(dict[str, Value]):
    """A dict from names, such as "loss" and "accuracy", to values."""

    def __missing__(self, name: object) -> Any:
        raise MissingIndexError(
            f"{name!r} was not measured"[:80],
            expected=", ".join(self) or "nothing: no epoch was finished",
            got=repr(name)[:60],
            fix="name one of these, or pass metrics= and validation=",
        )
