"""Where each hyperparameter of a setting goes: into the model, the optimizer, the loss or the clipping of gradients."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LampError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer
from lamp.optim.checks import plain
from lamp.replicas import Population
from lamp.studies.settings import Setting, shown

CLIPPING = ("clip_norm", "clip_value")
MODEL, OPTIMIZER, LOSS, CLIP = "the model function", "the optimizer", "the loss", "clipping"


class Recipe:
    """What is trained, and how: from settings to networks, optimizers and losses.

    model      a network, or a function that builds one of some hyperparameters
    optimizer  a class, or a function (parameters, **hyperparameters)
    criterion  a loss, or None where the network ends in one
    clip       clip_norm and clip_value of settings that do not name them

    Every setting is tried on a network and an optimizer of its own here, so that no training begins before all fit.

    Raises ArgumentError for a name that has no place, or two, and for a value that is refused where it goes.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        model: Module | Callable[..., Module],
        optimizer: Callable[..., Optimizer],
        criterion: Loss | None,
        clip: dict[str, Any],
    ) -> None:
        self.model, self.optimizer, self.criterion, self.clip = model, optimizer, criterion, clip
        self._places: dict[str, str] = {}
        wanted = () if isinstance(model, Module) else _arguments("model", model, from_place=0)[0]
        self._places = {name: MODEL for name in settings[0] if name in wanted}
        first = self.network(settings[0])
        self._place(list(settings[0]), wanted, _loss_of(first, criterion))
        for k, setting in enumerate(settings):
            self._try(k, setting, first)

    def network(self, setting: Setting) -> Module:
        """The network that a setting asks for; where the model is one already, that."""
        if isinstance(self.model, Module):
            return self.model
        arguments = self.part(setting, MODEL)
        missing = [name for name in _arguments("model", self.model, from_place=0)[2] if name not in arguments]
        if missing:
            raise ArgumentError(
                f"the model function needs {', '.join(missing)}",
                expected=f"settings with {', '.join(missing)}",
                got=f"settings with {', '.join(setting)}",
                fix=f"give {missing[0]} a default, or values to try",
            )
        network = self.model(**arguments)
        if not isinstance(network, Module):
            raise ArgumentError(
                "the model function returned no network", expected="a lamp module", got=type(network).__name__
            )
        return network

    def part(self, setting: Setting, place: str) -> Setting:
        """The hyperparameters of a setting that go to this place."""
        return {name: value for name, value in setting.items() if self._places.get(name) == place}

    # ---- for a population: a setting a replica -----------------------------------------------------------------------
    def optimizer_of(self, networks: Population, settings: Sequence[Setting]) -> Optimizer:
        """The optimizer of a population, with each replica's own numbers."""
        return self.optimizer(networks.parameters(), **self._joined(settings, OPTIMIZER))

    def loss_of(self, networks: Population, settings: Sequence[Setting]) -> Loss | None:
        """The loss with each replica's own numbers; None where the networks end in it, which then gets them."""
        numbers = self._joined(settings, LOSS)
        loss = networks.loss if self.criterion is None else copy.copy(self.criterion)
        for name, number in numbers.items():
            setattr(loss, name, number)
        return None if self.criterion is None else loss

    def clip_of(self, settings: Sequence[Setting]) -> dict[str, Any]:
        """clip_norm and clip_value, with each replica's own numbers."""
        return self.clip | self._joined(settings, CLIP)

    def _joined(self, settings: Sequence[Setting], place: str) -> dict[str, Any]:
        parts = [self.part(setting, place) for setting in settings]
        return {name: _join([plain(part[name]) for part in parts]) for name in parts[0]}

    # ---- checks ------------------------------------------------------------------------------------------------------
    def _place(self, names: list[str], wanted: Sequence[str], loss: Loss | None) -> None:
        """Find the one place of each name."""
        in_optimizer, takes_any, _ = _arguments("optimizer", self.optimizer, from_place=1)
        known = {
            MODEL: wanted,
            OPTIMIZER: in_optimizer,
            LOSS: () if loss is None else loss.hyperparameters,
            CLIP: CLIPPING,
        }
        everything = [name for each in known.values() for name in each]
        for name in names:
            places = [place for place, each in known.items() if name in each]
            if len(places) > 1:
                raise ArgumentError(
                    f"{name} could go to {' and to '.join(places)}", got=name, fix="name the model function's differently"
                )
            if not places and not takes_any:
                close = difflib.get_close_matches(name, everything, 1)
                raise ArgumentError(
                    f"nothing here has a hyperparameter {name!r}",
                    expected="; ".join(f"{place}: {', '.join(each)}" for place, each in known.items() if each),
                    got=name,
                    fix=f"did you mean {close[0]}?" if close else "model=lambda ...: a function may take any other",
                )
            self._places[name] = places[0] if places else OPTIMIZER

    def _try(self, k: int, setting: Setting, first: Module) -> None:
        """Build what a setting asks for, once; an error names the setting."""
        try:
            network = copy.deepcopy(first) if isinstance(self.model, Module) else self.network(setting)
            for name, value in setting.items():
                if self._places[name] != MODEL:
                    _check_number(name, value)
            made = self.optimizer(network.parameters(), **self.part(setting, OPTIMIZER))
            for name, value in self.part(setting, LOSS).items():
                with suppress(TypeError):  # a loss of one's own, whose constructor takes other arguments
                    type(_loss_of(network, self.criterion))(**{name: torch.tensor([float(value)])})
            for name, value in self.part(setting, CLIP).items():
                if not value > 0:
                    raise ArgumentError(f"{name} is a limit", expected="a positive number", got=value)
        except (LampError, TypeError) as error:
            what = error.what if isinstance(error, LampError) else str(error)
            raise ArgumentError(
                f"setting {k} ({shown(setting)}): {what}",
                expected=getattr(error, "expected", None),
                got=getattr(error, "got", None),
                fix=getattr(error, "fix", None),
            ) from error
        if not isinstance(made, Optimizer):
            raise ArgumentError(
                "optimizer= makes no optimizer",
                expected="a class such as lamp.Adam, or a function (parameters, **hyperparameters) that returns one",
                got=type(made).__name__,
            )
