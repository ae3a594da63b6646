"""Keys of what a training is made of: a key differs from an earlier one if user code has changed more than numbers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from lamp.compiler.cache_key import frozen, of_optimizer, of_users_code
from lamp.compiler.user_code import own_attributes
from lamp.data import DataLoader
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.parameter import Buffer, Parameter
from lamp.replicas import shared_attributes

COUNTED = ("_epoch", "_seed")  # attributes of a DataLoader that an epoch may change


def make_up(model: Module, criterion: Loss, optimizer: Optimizer) -> Hashable:
    """A key of the modules and the loss with their attributes, and of the optimizer but for its hyperparameters."""
    return (
        tuple(_of_module(module) for module in (*model.modules(), *criterion.modules())),
        tuple(tuple(map(frozen, group["params"])) for group in optimizer.param_groups),
        of_optimizer(optimizer),
    )


def _of_module(module: Module) -> Hashable:
    """The key of a module: mode, attributes, parameters and buffers; of a loss's buffers, which are options, the
    values."""
    parameters = [frozen(each) for _, each in module._members(Parameter)]
    buffers = [frozen(each) if module.gives_loss else id(each) for _, each in module._members(Buffer)]
    attributes = frozen(shared_attributes(module)), of_users_code(module)
    return module, module._training, tuple(parameters), tuple(buffers), attributes


def settings_of(loader: Any) -> Hashable:
    """A key of how a DataLoader gives batches and which data it has; of another iterable, of which one it is."""
    if not isinstance(loader, DataLoader):
        return id(loader)
    settings = {name: value for name, value in vars(loader).items() if name not in COUNTED}
    held = tuple((name, value if isinstance(value, int) else id(value)) for name, value in settings.items())
    return held, frozen(loader.seed), frozen(loader.indices)


class Twins:
    """A user's module or optimizer of the whole population, and its copy for the active replicas."""

    def __init__(self, whole: object, own: object) -> None:
        self._whole, self._own = whole, own
        self._before = self._keys(own)

    def hand_over(self) -> bool:
        """Set the attributes that computing has changed in the copy in the whole; returns whether there were any.

        What has changed in the whole too stays as it is, and so do methods, and tensors of another shape, which are for
        the copy's replicas alone.
        """
        now, whole, there = self._keys(self._own), vars(self._whole), self._keys(self._whole)
        moved = [name for name, key in now.items() if key != self._before.get(name) == there.get(name)]
        for name in moved:
            value = vars(self._own)[name]
            if not isinstance(value, Tensor) or value.shape == getattr(whole.get(name), "shape", None):
                whole[name] = value
        self._before = now
        return bool(moved)

    @staticmethod
    def _keys(thing: object) -> dict[str, Hashable]:
        held = shared_attributes(thing) if isinstance(thing, Module) else own_attributes(thing)
        return {name: frozen(value) for name, value in held.items() if not callable(value)}
