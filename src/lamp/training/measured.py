"""`MeasuredValues`, a dict of what was measured, which explains names that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from lamp.errors import MissingIndexError
from lamp.torch_habits import missing_attribute

Value = TypeVar("Value")
Measured = float | Tensor  # a number of one network, or (K,) of a population


class MeasuredValues(dict[str, Value]):
    """A dict from names, such as "loss" and "accuracy", to values."""

    def __missing__(self, name: object) -> Any:
        raise MissingIndexError(
            f"{name!r} was not measured"[:80],
            expected=", ".join(self) or "nothing: no epoch was finished",
            got=repr(name)[:60],
            fix="name one of these, or pass metrics= and validation=",
        )

    if not TYPE_CHECKING:  # type checkers must go on to report missing attributes

        def __getattr__(self, name: str) -> Any:
            raise missing_attribute(self, name, {each: f"values[{each!r}]" for each in self})
