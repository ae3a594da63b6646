"""`Recipe`: makes networks, optimizers and losses from settings, and finds out where each hyperparameter belongs."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from lamp.errors import ArgumentError, LampError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer
from lamp.optim.checks import plain
from lamp.overrides import is_lamps
from lamp.replicas import Population
from lamp.studies.makers import optimizer_of
from lamp.studies.settings import Setting, shown
from lamp.training.arguments import check_is_loss
from lamp.values import kind_of

MODEL, OPTIMIZER, LOSS, CLIPPING = "the model function", "the optimizer", "the loss", "clipping"
LIMITS = ("clip_norm", "clip_value")


class Recipe:
    """Makes the network, the optimizer, the loss and the clipping of each setting.

    model      a network, or a function that builds one from some hyperparameters
    optimizer  a class, or a function (parameters, **hyperparameters)
    criterion  a loss, or None for a network that ends in one
    clip       clip_norm and clip_value for settings that do not name them

    The constructor tries every setting, so that no training begins unless all of them are valid.

    Raises ArgumentError for a name that fits nowhere or in two places, and for a value that is refused.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        model: Module | Callable[..., Module],
        optimizer: Callable[..., Optimizer],
        criterion: Loss | None,
        clip: Mapping[str, Any],
    ) -> None:
        if criterion is not None:
            check_is_loss(criterion, "sweep")
        self.model, self.optimizer, self.criterion, self.clip = model, optimizer, criterion, dict(clip)
        self._built: list[tuple[Setting, Module]] = []  # the networks built so far, by the model function's arguments
        of_model, _, needed = ((), False, ()) if isinstance(model, Module) else _arguments("model", model)
        missing = [name for name in needed if name not in settings[0]]
        if missing:
            raise ArgumentError(
                f"the model function needs {', '.join(missing)}",
                expected=f"settings with {', '.join(missing)}",
                got=f"settings with {', '.join(settings[0])}",
                fix=f"give {missing[0]} a default, or values to try",
            )
        self._places = {name: MODEL for name in settings[0] if name in of_model}
        loss = self._loss(self.network(settings[0]))
        self._places = _places(list(settings[0]), of_model, optimizer, loss)
        for k, setting in enumerate(settings):
            self._try(k, setting)

    def network(self, setting: Setting) -> Module:
        """The network of a setting. It is the same object for settings with equal arguments of the model function."""
        arguments = self.part(setting, MODEL)
        for known, network in self._built:
            if known == arguments:
                return network
        network = copy.deepcopy(self.model) if isinstance(self.model, Module) else self.model(**arguments)
        if not isinstance(network, Module):
            raise ArgumentError(
                "the model function did not return a network",
                expected="a lamp module",
                got=kind_of(network),
                fix="return the network that it builds",
            )
        self._built.append((arguments, network))
        return network

    def part(self, setting: Setting, place: str) -> Setting:
        """The hyperparameters of a setting that belong to this place, such as OPTIMIZER."""
        return Setting({name: value for name, value in setting.items() if self._places.get(name) == place})

    def _loss(self, network: Module) -> Loss | None:
        return self.criterion or (network.loss if isinstance(network, Sequential | Population) else None)

    def _try(self, k: int, setting: Setting) -> None:
        """Build the network, the optimizer and the loss of a setting; an error names the setting."""
        try:
            network = self.network(setting)
            for name, value in setting.items():
                _check_number(name, value, self._places[name])
            optimizer_of(self.optimizer, network.parameters(), **self.part(setting, OPTIMIZER))
            loss: Any = type(self._loss(network))
            if is_lamps(loss):  # the constructor of a user's loss may take other arguments
                for name, value in self.part(setting, LOSS).items():
                    loss(**{name: torch.tensor([float(value)])})
        except LampError as error:
            what = f"setting {k} ({shown(setting)}): {error.what}"
            raise ArgumentError(what, expected=error.expected, got=error.got, fix=error.fix) from None
        except Exception as error:
            error.add_note(f"in setting {k} ({shown(setting)})")
            raise

    # ---- for a population with a setting per replica -----------------------------------------------------------------
    def optimizer_of(self, networks: Population, settings: Sequence[Setting]) -> Optimizer:
        """The optimizer, with hyperparameters per replica."""
        return self.optimizer(networks.parameters(), **self._joined(settings, OPTIMIZER))

    def loss_of(self, networks: Population, settings: Sequence[Setting]) -> Loss | None:
        """The loss, with hyperparameters per replica. If the networks end in their loss, that one is changed, and None
        returned."""
        loss = copy.copy(self._loss(networks)) if self.criterion else self._loss(networks)
        for name, numbers in self._joined(settings, LOSS).items():
            setattr(loss, name, numbers)
        return loss if self.criterion else None

    def clip_of(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """clip_norm and clip_value, per replica."""
        return self.clip | self._joined(settings, CLIPPING)

    def _joined(self, settings: Sequence[Setting], place: str) -> dict[str, Any]:
        parts = [self.part(setting, place) for setting in settings]
        return {name: _join([plain(part[name], pair=True) for part in parts]) for name in parts[0]}


def _join(numbers: Sequence[Any]) -> Any:
    """One number if all are equal, else a tensor (K,); from pairs, a pair of these."""
    if isinstance(numbers[0], tuple):
        return tuple(map(_join, zip(*numbers, strict=True)))
    return numbers[0] if len(set(numbers)) == 1 else torch.tensor(numbers, dtype=torch.float64)


def _places(
    names: Sequence[str], of_model: Sequence[str], optimizer: Callable[..., Optimizer], loss: Loss | None
) -> dict[str, str]:
    """The place that each hyperparameter belongs to. Raises ArgumentError for a name that fits nowhere, or twice."""
    of_optimizer, takes_any, _ = _arguments("optimizer", optimizer)
    of_loss = () if loss is None else loss.hyperparameters
    known = {MODEL: of_model, OPTIMIZER: of_optimizer, LOSS: of_loss, CLIPPING: LIMITS}
    places = {}
    for name in names:
        fitting = [place for place, arguments in known.items() if name in arguments] or [OPTIMIZER] * takes_any
        if len(fitting) > 1:
            raise ArgumentError(
                f"{name} could go to {' and to '.join(fitting)}",
                expected="a name that only one of them takes",
                got=name,
                fix="rename the argument of your function",
            )
        if not fitting:
            close = difflib.get_close_matches(name, [each for arguments in known.values() for each in arguments], 1)
            raise ArgumentError(
                f"nothing here has a hyperparameter {name!r}",
                expected="; ".join(f"{place}: {', '.join(names)}" for place, names in known.items() if names),
                got=name,
                fix=f"did you mean {close[0]}?" if close else "make the model a function with this argument",
            )
        places[name] = fitting[0]
    return places


def _arguments(what: str, function: Any) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """The names of a function's arguments, whether it takes any others (**), and the names of those without default."""
    innermost = function
    while isinstance(innermost, partial):
        innermost = innermost.func
    if isinstance(innermost, type) and issubclass(innermost, Optimizer):
        return tuple(innermost.ranges), False, ()
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if what == "optimizer" else 0 :]
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{what}= is neither a lamp {what} nor a function that makes one",
            expected=f"a lamp {what}, or a function that makes one",
            got=type(function).__name__,
            fix=f"pass a lamp {what}",
        ) from None
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return tuple(each.name for each in named), takes_any, tuple(p.name for p in named if p.default is p.empty)


def _check_number(name: str, value: Any, place: str) -> None:
    """Raise ArgumentError unless the value is a number, for an optimizer a number or a pair, for clipping positive."""
    number = plain(value, pair=place == OPTIMIZER)
    numbers = number if isinstance(number, tuple) and place == OPTIMIZER else (number,)
    if place != MODEL and not (
        all(isinstance(each, float) for each in numbers) and (place != CLIPPING or numbers[0] > 0)
    ):
        raise ArgumentError(
            f"{name} is not a {'positive ' if place == CLIPPING else ''}number",
            expected="a number",
            got=repr(value),
            fix="only the model function takes other values than numbers",
        )
