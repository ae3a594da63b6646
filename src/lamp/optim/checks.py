"""Checks of the arguments of optimizers, schedules and clipping: parameters, and numbers within ranges."""

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
from lamp.signatures import switches_of
from lamp.uninitialized import initialized
from lamp.values import a_switch


class Range(NamedTuple):
    """The allowed range of a hyperparameter: low <= number < high, or <= high if closed.

    single  whether it is one number, even in a population
    whole   whether it is one integer
    """

    low: float = 0.0
    high: float = math.inf
    closed: bool = False
    single: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number, or every number of a tensor, tuple or list, is in the range. NaN and True are in none."""
        if isinstance(value, tuple | list):
            flat = len(value) > 0 and not any(isinstance(each, tuple | list) for each in value)
            return flat and all(map(self.holds, value))
        if isinstance(value, Tensor):
            right = value.dim() == 0 or (value.dim() == 1 and len(value) > 0 and not (self.single or self.whole))
            return right and value.dtype is not torch.bool and all(map(self.holds, value.reshape(-1).tolist()))
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        number = float(value)
        if self.whole and not (number.is_integer() and number < 2.0**63):
            return False
        return self.low <= number < self.high or (self.closed and number == self.high)

    def __str__(self) -> str:
        if self.whole:
            return f"an integer of at least {self.low:g}"
        if self.high < math.inf:
            return f"from {self.low:g} to {'' if self.closed else 'below '}{self.high:g}"
        return f"finite and at least {self.low:g}" if self.low > -math.inf else "a finite number"


def check_ranges(
    owner: object, values: Mapping[str, Any], ranges: Mapping[str, Range], lists: Collection[str] | None = None
) -> None:
    """Raise ArgumentError for the first of these values, by name, that is out of its range, or that is no switch.

    lists  the names that may be lists of numbers; None means all
    """
    kind: Any = type(owner)
    for name in switches_of(kind):
        if name in values:
            a_switch(values[name], f"{type(owner).__name__}: {name}")
    for name, allowed in ranges.items():
        listed = lists is not None and name not in lists and isinstance(values[name], tuple | list)
        value = values[name]
        if listed or not allowed.holds(value):
            number = isinstance(value, Real | Tensor | tuple | list) and not isinstance(value, bool)
            raise ArgumentError(
                f"{type(owner).__name__}: {name} is {'out of range' if number else 'not a number'}",
                expected=str(allowed),
                got=_shown(value),
                fix=f"write it without quotes: {name}={value}" if is_number_in(value) else f"choose another {name}",
            )


def check_replicas(owner: object, group: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise ArgumentError if one of these hyperparameters has a wrong number of values for its group's replicas."""
    replicas = {parameter.replicas for parameter in group["params"]}
    for key in names:
        for value in group[key] if isinstance(group[key], tuple) else (group[key],):
            if isinstance(value, Tensor) and (value.dim() != 1 or replicas != {len(value)}):
                raise ArgumentError(
                    f"{type(owner).__name__}: {key} is one number, or one per network of a population",
                    expected=f"a number, or a tensor {tuple(replicas)}" if None not in replicas else "a number",
                    got=f"a tensor {tuple(value.shape)}",
                    fix="make a parameter group for each value",
                )


def is_number_in(value: Any) -> bool:
    """Whether a value is a text with one number in it, such as "0.1"."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _shown(value: Any) -> Any:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}" if value.dim() > 1 else value
    return value if isinstance(value, Real) else repr(value)[:80]


def check_pair(owner: object, group: Mapping[str, Any], name: str, expected: str) -> None:
    """Raise ArgumentError unless this hyperparameter is a pair."""
    if not isinstance(group[name], tuple) or len(group[name]) != 2:
        raise ArgumentError(
            f"{type(owner).__name__}: {name} must be two numbers",
            expected=expected,
            got=group[name],
            fix="pass two numbers in a tuple",
        )


def check_choice(owner: object, group: Mapping[str, Any], name: str, choices: Collection[str | None]) -> None:
    """Raise ArgumentError unless this option is one of the choices, names or None."""
    value = group[name]
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ArgumentError(
            f"{type(owner).__name__}: unknown {name}",
            expected=", ".join(map(repr, choices)),
            got=f"{value!r}"[:80],
            fix="name one of these",
        )


def check_betas(owner: object, group: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless `betas` is a pair."""
    check_pair(owner, group, "betas", "(beta1 for the mean gradient, beta2 for the mean squared gradient)")


def plain(value: Any, pair: bool = False) -> Any:
    """A number of Python, numpy or torch as a Python float; several, one per replica, as a float64 tensor.

    pair  whether a tuple or list is a pair of hyperparameters, such as betas, each of which is converted
    """
    if isinstance(value, tuple | list):
        if pair:
            return tuple(map(plain, value))
        numbers = all(isinstance(each, Real) and not isinstance(each, bool) for each in value)
        return torch.tensor(value, dtype=torch.float64) if numbers and value else value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        value = torch.as_tensor(value)
    if isinstance(value, bool):
        return value  # no number: `Range` refuses it
    if isinstance(value, Tensor):
        return float(value.item()) if value.numel() == 1 else value.detach().double()
    return float(value) if isinstance(value, Real) else value


def alike(one: Any, other: Any) -> bool:
    """Whether two values of a hyperparameter are equal."""
    return one is other or bool(torch.as_tensor(one == other).all())


def column(value: Any) -> Any:
    """A hyperparameter (K,) as a column (K, 1), which broadcasts to parameters (K, P); in a tuple, each of them."""
    if isinstance(value, tuple):
        return tuple(map(column, value))
    return value.unsqueeze(-1) if isinstance(value, Tensor) else value


def rows_of(numbers: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """A copy of the dict for some replicas: rows are selected from tensors (K, ...), also in tuples."""

    def chosen(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(chosen, value))
        return value[rows.to(value.device)] if isinstance(value, Tensor) and value.dim() > 0 else value

    return {name: chosen(value) for name, value in numbers.items()}


def as_list(params: Any, owner: str) -> list[Any]:
    """The argument `params`, parameters or groups, as a list. Raises ArgumentError if there are none."""
    if isinstance(params, Parameter):
        return [params]
    if not isinstance(params, Iterable) or isinstance(params, Module | Tensor | str | Mapping | set | frozenset):
        raise ArgumentError(
            f"{owner} needs an ordered collection of parameters",
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
            fix="pass model.parameters() of a network that has some; note that an iterator can be used only once",
        )
    return listed


def as_parameters(params: Any, owner: str) -> list[Parameter]:
    """The argument `params` as a list of parameters. Raises ArgumentError for anything else, and for duplicates."""
    listed = as_list(params, owner)
    for parameter in listed:
        if not isinstance(parameter, Parameter):
            raise ArgumentError(
                f"{owner} needs lamp's parameters",
                expected="lamp.Parameter",
                got=_name_of(parameter),
                fix="build the network from lamp's modules; lamp.Parameter(tensor) converts a tensor"
                if isinstance(parameter, Tensor)
                else "pass model.parameters()",
            )
    if len(set(initialized(listed))) < len(listed):
        raise ArgumentError(
            f"{owner}: a parameter was passed twice",
            expected="each parameter once",
            got=f"{len(listed)} parameters, {len(set(listed))} different",
            fix="pass model.parameters(), which contains a shared parameter once, or remove the duplicate",
        )
    return listed


def _name_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
