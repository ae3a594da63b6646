"""Where each hyperparameter of a setting goes: into the model, the optimizer, the loss or the clipping of gradients."""

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

MODEL, OPTIMIZER, LOSS, CLIPPING = "the model function", "the optimizer", "the loss", "clipping"
LIMITS = ("clip_norm", "clip_value")


class Recipe:
    """What is trained, and how: from settings to networks, optimizers and losses.

    model      a network, or a function that builds one of some hyperparameters
    optimizer  a class, or a function (parameters, **hyperparameters)
    criterion  a loss, or None where the network ends in one
    clip       clip_norm and clip_value of settings that do not name them

    Each setting is tried here, so that no training begins before all of them fit.

    Raises ArgumentError for a name that has no place, or two, and for a value that is refused where it goes.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        model: Module | Callable[..., Module],
        optimizer: Callable[..., Optimizer],
        criterion: Loss | None,
        clip: Mapping[str, Any],
    ) -> None:
        if not isinstance(criterion, Loss | None):
            raise ArgumentError(
                "the criterion is no loss",
                expected="a lamp loss, or None where the network ends in one",
                got=f"the class {criterion.__name__}" if isinstance(criterion, type) else type(criterion).__name__,
                fix="criterion=lamp.CrossEntropyLoss(), for instance",
            )
        self.model, self.optimizer, self.criterion, self.clip = model, optimizer, criterion, dict(clip)
        self._built: list[tuple[Setting, Module]] = []  # a network an architecture
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
        """The network that a setting asks for: the same one for settings that differ elsewhere."""
        arguments = self.part(setting, MODEL)
        for known, network in self._built:
            if known == arguments:
                return network
        network = copy.deepcopy(self.model) if isinstance(self.model, Module) else self.model(**arguments)
        if not isinstance(network, Module):
            raise ArgumentError(
                "the model function returned no network",
                expected="a lamp module",
                got=type(network).__name__,
                fix="return the network that it builds",
            )
        self._built.append((arguments, network))
        return network

    def part(self, setting: Setting, place: str) -> Setting:
        """The hyperparameters of a setting that go to this place."""
        return {name: value for name, value in setting.items() if self._places.get(name) == place}

    def _loss(self, network: Module) -> Loss | None:
        return self.criterion or (network.loss if isinstance(network, Sequential | Population) else None)

    def _try(self, k: int, setting: Setting) -> None:
        """Build what a setting asks for; an error names the setting."""
        try:
            network = self.network(setting)
            for name, value in setting.items():
                _check_number(name, value, self._places[name])
            optimizer_of(self.optimizer, network.parameters(), **self.part(setting, OPTIMIZER))
            loss: Any = type(self._loss(network))
            if is_lamps(loss):  # the constructor of one of the user's may take other arguments
                for name, value in self.part(setting, LOSS).items():
                    loss(**{name: torch.tensor([float(value)])})
        except LampError as error:
            what = f"setting {k} ({shown(setting)}): {error.what}"
            raise ArgumentError(what, expected=error.expected, got=error.got, fix=error.fix) from None
        except Exception as error:
            error.add_note(f"in setting {k} ({shown(setting)})")
            raise

    # ---- for a population, of a setting for each replica -------------------------------------------------------------
    def optimizer_of(self, networks: Population, settings: Sequence[Setting]) -> Optimizer:
        """The optimizer, with each replica's own numbers."""
        return self.optimizer(networks.parameters(), **self._joined(settings, OPTIMIZER))

    def loss_of(self, networks: Population, settings: Sequence[Setting]) -> Loss | None:
        """The loss with each replica's own numbers; None where the networks end in it, which then gets them."""
        loss = copy.copy(self._loss(networks)) if self.criterion else self._loss(networks)
        for name, numbers in self._joined(settings, LOSS).items():
            setattr(loss, name, numbers)
        return loss if self.criterion else None

    def clip_of(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """clip_norm and clip_value, with each replica's own numbers."""
        return self.clip | self._joined(settings, CLIPPING)

    def _joined(self, settings: Sequence[Setting], place: str) -> dict[str, Any]:
        parts = [self.part(setting, place) for setting in settings]
        return {name: _join([plain(part[name], pair=True) for part in parts]) for name in parts[0]}


def _join(numbers: Sequence[Any]) -> Any:
    """One number where all are the same, else a tensor (K,); of pairs, a pair of those."""
    if isinstance(numbers[0], tuple):
        return tuple(map(_join, zip(*numbers, strict=True)))
    return numbers[0] if len(set(numbers)) == 1 else torch.tensor(numbers, dtype=torch.float64)


def _places(
    names: Sequence[str], of_model: Sequence[str], optimizer: Callable[..., Optimizer], loss: Loss | None
) -> dict[str, str]:
    """The one place of each name."""
    of_optimizer, takes_any, _ = _arguments("optimizer", optimizer)
    of_loss = () if loss is None else loss.hyperparameters
    known = {MODEL: of_model, OPTIMIZER: of_optimizer, LOSS: of_loss, CLIPPING: LIMITS}
    places = {}
    for name in names:
        fitting = [place for place, taken in known.items() if name in taken] or [OPTIMIZER] * takes_any
        if len(fitting) > 1:
            raise ArgumentError(
                f"{name} could go to {' and to '.join(fitting)}",
                expected="a name that one of them takes",
                got=name,
                fix="give the argument of your function another name",
            )
        if not fitting:
            close = difflib.get_close_matches(name, [each for taken in known.values() for each in taken], 1)
            raise ArgumentError(
                f"nothing here has a hyperparameter {name!r}",
                expected="; ".join(f"{place}: {', '.join(taken)}" for place, taken in known.items() if taken),
                got=name,
                fix=f"did you mean {close[0]}?" if close else "a function as the model may take any other",
            )
        places[name] = fitting[0]
    return places


def _arguments(what: str, function: Any) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """The names that a function can be given a setting's values by, whether it takes any, and those it needs."""
    innermost = function
    while isinstance(innermost, partial):
        innermost = innermost.func
    if isinstance(innermost, type) and issubclass(innermost, Optimizer):
        return tuple(innermost.ranges), False, ()
    try:
        parameters = list(inspect.signature(function).parameters.values())[1 if what == "optimizer" else 0 :]
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{what}= is none, and no function that makes one",
            expected=f"a lamp {what}, or a function that makes one",
            got=type(function).__name__,
            fix=f"pass a lamp {what}",
        ) from None
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    return tuple(each.name for each in named), takes_any, tuple(p.name for p in named if p.default is p.empty)


def _check_number(name: str, value: Any, place: str) -> None:
    """That this is a number (for an optimizer also a pair of them), and for a limit a positive one."""
    number = plain(value, pair=place == OPTIMIZER)
    numbers = number if isinstance(number, tuple) and place == OPTIMIZER else (number,)
    if place != MODEL and not (
        all(isinstance(each, float) for each in numbers) and (place != CLIPPING or numbers[0] > 0)
    ):
        raise ArgumentError(
            f"{name} is no {'positive ' if place == CLIPPING else ''}number",
            expected="a number, of which each network gets its own",
            got=repr(value),
            fix="what is no number can be an argument of the model function",
        )
