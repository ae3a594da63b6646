"""Settings of hyperparameters for a sweep: every combination of some values, or values drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, MissingIndexError
from lamp.signatures import called
from lamp.torch_habits import explains_attributes
from lamp.values import a_seed, natural


@explains_attributes(lambda setting: {name: f"setting[{name!r}]" for name in setting})
class Setting(dict[str, Any]):
    """The value of each hyperparameter, by name."""

    def __missing__(self, name: object) -> Any:
        raise MissingIndexError(
            f"the setting has no {name!r}"[:80], expected=", ".join(self), got=repr(name)[:60], fix="name one of these"
        )


@dataclass(frozen=True)
class Draw:
    """A distribution of a hyperparameter. `value_at` maps a number u, uniform in [0, 1), to a value."""

    value_at: Callable[[float], Any]


@called()
def uniform(low: float, high: float) -> Draw:
    """The uniform distribution from low to high. Raises ArgumentError unless low < high, both finite."""
    low, high = _bounds("uniform", low, high, -math.inf)
    return Draw(lambda u: low + (high - low) * u)


@called()
def log_uniform(low: float, high: float) -> Draw:
    """The distribution of numbers whose logarithm is uniform. Raises ArgumentError unless 0 < low < high."""
    low, high = _bounds("log_uniform", low, high, 0.0)
    begin, end = math.log(low), math.log(high)
    return Draw(lambda u: min(max(math.exp(begin + (end - begin) * u), low), high))  # it may round to just outside


@called()
def choice(options: Iterable[Any]) -> Draw:
    """One of these options, with equal probabilities: `choice([lamp.Tanh, lamp.ReLU])`, `choice(range(8, 65))`."""
    listed = _listed("choice", options)
    return Draw(lambda u: listed[int(u * len(listed))])


@called()
def grid(**values: Iterable[Any]) -> list[Setting]:
    """A list with every combination of these values; `grid(lr=[0.1, 0.01], momentum=[0, 0.9])` has four settings.

    The value of the last name changes fastest. Raises ArgumentError for no names, and for anything but lists of values.
    """
    if not values:
        raise _nothing("no hyperparameter")
    listed = {name: _listed(name, each) for name, each in values.items()}
    return [Setting(zip(listed, each, strict=True)) for each in product(*listed.values())]


@called()
def samples(count: int, /, *, seed: int = 0, **draws: Draw) -> list[Setting]:
    """A list of random settings: `samples(200, lr=log_uniform(1e-4, 1e-1), momentum=uniform(0, 1))`.

    A smaller count with the same seed gives the first settings of a larger one.

    Raises ArgumentError for a count below 1, no names, and anything but uniform, log_uniform or choice.
    """
    count = natural(count, "count", least=1)
    if not draws:
        raise _nothing("no hyperparameter")
    for name, draw in draws.items():
        if not isinstance(draw, Draw):
            raise ArgumentError(
                f"samples does not know how to draw {name}",
                expected="uniform(low, high), log_uniform(low, high) or choice([...])",
                got=repr(draw),
                fix=f"{name}=choice([...]), for one of several values",
            )
    generator = torch.Generator().manual_seed(a_seed(seed))
    drawn = torch.rand(count, len(draws), dtype=torch.float64, generator=generator).tolist()
    return [
        Setting((name, draw.value_at(u)) for (name, draw), u in zip(draws.items(), row, strict=True)) for row in drawn
    ]


def as_settings(settings: Any) -> list[Setting]:
    """A list of settings: the grid of a dict of lists, or a list of dicts. Raises ArgumentError if names differ."""
    if isinstance(settings, Mapping):
        return grid(**{str(name): values for name, values in settings.items()})
    if isinstance(settings, str | Tensor) or not isinstance(settings, Iterable):
        raise _nothing(type(settings).__name__)
    listed = list(settings)
    if not listed:
        raise _nothing("an empty list")
    for k, setting in enumerate(listed):
        if not isinstance(setting, Mapping) or not setting:
            raise _nothing(f"{setting!r} at index {k}")
        if set(setting) != set(listed[0]):
            raise ArgumentError(
                f"setting {k} names other hyperparameters than setting 0",
                expected=", ".join(listed[0]),
                got=", ".join(setting),
                fix="give every setting a value for each of them",
            )
    return [Setting({name: setting[name] for name in listed[0]}) for setting in listed]


def shown(value: Any) -> str:
    """A short text for a value or a setting."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {shown(each)}" for name, each in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    return value.__name__ if hasattr(value, "__name__") else str(value)


def _listed(name: str, values: Any) -> list[Any]:
    values = values.tolist() if hasattr(values, "tolist") else values
    listed = list(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else []
    if not listed:
        raise ArgumentError(
            f"{name} needs values to choose from", expected="a list of them", got=repr(values), fix=f"{name}=[...]"
        )
    return listed


def _bounds(owner: str, low: Any, high: Any, above: float) -> tuple[float, float]:
    try:
        odd = any(isinstance(each, bool | str | bytes) for each in (low, high))
        low, high = float(low), float(high)
        fits = not odd and above < low < high < math.inf
    except (TypeError, ValueError):
        fits = False
    if not fits:
        least = "" if math.isinf(above) else f"{above:g} < "
        raise ArgumentError(
            f"{owner} needs two bounds",
            expected=f"{least}low < high, both finite",
            got=f"{low!r}, {high!r}",
            fix="the lower bound first",
        )
    return low, high


def _nothing(got: str) -> ArgumentError:
    return ArgumentError(
        "there are no settings to try",
        expected="a dict of lists, or a list of dicts",
        got=got,
        fix='settings={"lr": [0.1, 0.01]}, or lamp.samples(20, lr=lamp.log_uniform(1e-4, 1e-1))',
    )
