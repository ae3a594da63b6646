"""What optimizers, schedules and clipping accept: parameters, and numbers within their ranges."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.parameter import Parameter


class Range(NamedTuple):
    """What a hyperparameter may be: low <= number < high, or <= high where closed."""

    low: float = 0.0
    high: float = math.inf
    closed: bool = False

    def holds(self, value: Any) -> bool:
        """Whether this number, or each of these (a tensor, a tuple), lies in the range; a NaN lies in none."""
        if isinstance(value, tuple | list):
            return all(map(self.holds, value))
        if isinstance(value, Tensor):
            return self.holds(value.flatten().tolist())
        if not isinstance(value, Real):
            return False
        number = float(value)
        return self.low <= number < self.high or (self.closed and number == self.high)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"from {self.low:g} to {'' if self.closed else 'below '}{self.high:g}"
        return f"finite and at least {self.low:g}" if self.low > -math.inf else "a finite number"


def check_ranges(
    owner: object, values: Mapping[str, Any], ranges: Mapping[str, Range], lists: Collection[str] | None = None
) -> None:
    """That these values, by name, lie in their ranges; raises ArgumentError for the first that does not.

    lists  the names that may be lists of numbers; None for all
    """
    for name, allowed in ranges.items():
        listed = lists is not None and name not in lists and isinstance(values[name], tuple | list)
        if listed or not allowed.holds(values[name]):
            raise ArgumentError(
                f"{type(owner).__name__}: {name} is out of range",
                expected=str(allowed),
                got=values[name],
                fix=f"choose another {name}",
            )


def plain(value: Any, pair: bool = False) -> Any:
    """A number as a Python float, whether it came as an int or in numpy's or torch's dress; pairs, each number.

    Several numbers, one for each network of a population, become a tensor of float64: a float's precision.

    pair  whether a tuple or a list is several hyperparameters in one
    """
    if isinstance(value, tuple | list):
        if pair:
            return tuple(map(plain, value))
        return torch.tensor(value, dtype=torch.float64) if all(isinstance(each, Real) for each in value) else value
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value)
    if isinstance(value, Tensor):
        return float(value.item()) if value.numel() == 1 else value.detach().double()
    return float(value) if isinstance(value, Real) else value


def alike(one: Any, other: Any) -> bool:
    """Whether two values of a hyperparameter are the same."""
    return one is other or bool(torch.as_tensor(one == other).all())


def column(value: Any) -> Any:
    """A hyperparameter (K,) as a column (K, 1), which meets a population's rows (K, P); pairs, each of the two."""
    if isinstance(value, tuple):
        return tuple(map(column, value))
    return value.unsqueeze(-1) if isinstance(value, Tensor) else value


def rows_of(numbers: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """These entries for some replicas: of each tensor (K, ...) the rows, of pairs the rows of each, others as are."""

    def chosen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(chosen, value))
        return value[rows.to(value.device)] if isinstance(value, Tensor) and value.dim() > 0 else value

    return {name: chosen(value) for name, value in numbers.items()}


def as_list(params: Any, owner: str) -> list[Any]:
    """The parameters, or groups of them, that someone passed; raises ArgumentError for what holds none."""
    if isinstance(params, Parameter):
        return [params]
    if not isinstance(params, Iterable) or isinstance(params, Module | Tensor | str | Mapping | set | frozenset):
        raise ArgumentError(
            f"{owner} takes parameters, in an order",
            expected="model.parameters(), or a list",
            got=_name_of(params),
            fix="put the group into a list" if isinstance(params, Mapping) else "pass model.parameters()",
        )
    listed = list(params)
    if not listed:
        raise ArgumentError(
            f"{owner} has no parameters",
            expected="at least one lamp.Parameter",
            got="none",
            fix="pass model.parameters() of a network that has some; an iterator gives its items only once",
        )
    return listed


def as_parameters(params: Any, owner: str) -> list[Parameter]:
    """The parameters that someone passed; raises ArgumentError for anything else, and for one that came twice."""
    listed = as_list(params, owner)
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            raise ArgumentError(
                f"{owner} takes lamp's parameters",
                expected="lamp.Parameter",
                got=_name_of(parameter),
                fix="build the network of lamp's modules; lamp.Parameter(tensor) makes one of a tensor"
                if isinstance(parameter, Tensor)
                else "pass model.parameters()",
            )
    if len(set(listed)) < len(listed):
        raise ArgumentError(
            f"{owner}: a parameter came twice",
            expected="each parameter once",
            got=f"{len(listed)} parameters, {len(set(listed))} different",
            fix="parameters() names a shared parameter once: pass that, or drop the repetition",
        )
    return listed


def _name_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
