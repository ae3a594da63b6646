"""State in a user's objects: random generators, such as a data set's `self.rng = numpy.random.default_rng(0)`, and
numbers.

A checkpoint has it, so that a resumed training draws the numbers that would have come next. The default generators of
torch, Python and numpy are kept elsewhere (see lamp.training.training_state).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from types import MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.attributes import is_own
from lamp.errors import CheckpointError
from lamp.generators import RAISED, set_state, state_of
from lamp.module import Module
from lamp.overrides import is_installed, is_users, users_function, variables_of
from lamp.training.own_code import functions_of

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
MOST_LISTED = 1_000  # items of a list in which generators are looked for
PASSED_OVER = (str, int, float, type(None), Tensor, np.ndarray, type, ModuleType, Module, random.SystemRandom)
PARTS_OF_LOADER = ("generator", "sampler", "batch_sampler", "dataset", "collate_fn")  # of torch's DataLoader
State = dict[str, Any]


class OwnState:
    """The generators and the numbers that objects hold, by path, such as "data.transforms[2].rng".

    Looked through are the attributes of objects, but those of torch's only of loaders, samplers and data sets; lists,
    tuples and dicts; and, for generators, the global variables and closures that a user's functions read. Networks are
    not, and numbers are only those of the user's own objects.

    generators  by path; one that several objects hold has the path where it was found first
    owners      the user's objects whose attributes may be numbers, by path
    """

    def __init__(self, things: Mapping[str, object]) -> None:
        self.generators: dict[str, Any] = {}
        self.owners: dict[str, Any] = {}
        waiting, seen = list(things.items()), set[int]()
        while waiting:
            path, thing = waiting.pop(0)
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, GENERATORS):
                self.generators[path] = thing
                continue
            kind: Any = type(thing)
            if hasattr(thing, "__dict__") and is_users(kind):  # functions are of "builtins"
                self.owners[path] = thing
            waiting += ((name, part) for name, part in _parts_of(path, thing) if not isinstance(part, PASSED_OVER))

    @property
    def numbers(self) -> dict[str, int | float]:
        """The numbers among the attributes of the user's objects."""
        return {
            f"{path}.{name}": value
            for path, owner in self.owners.items()
            for name, value in vars(owner).items()
            if isinstance(value, int | float) and is_own(name, type(owner))
        }

    def state_dict(self) -> State:
        """The numbers, and the states of the generators."""
        states = {path: state_of(generator) for path, generator in self.generators.items()}
        return {"numbers": self.numbers, "generators": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, where the same attributes are there again.

        Raises CheckpointError for the state of a generator of another kind.
        """
        now = self.numbers
        for key, saved in state.get("numbers", {}).items():
            path, _, name = key.rpartition(".")
            if key in now and type(now[key]) is type(saved):
                setattr(self.owners[path], name, saved)
        states = state.get("generators", {})
        for path, generator in self.generators.items():
            if path in states:
                _restore(path, generator, states[path])


def of_data(batches: object, name: str = "data") -> OwnState:
    """The state in a loader and in its data set, or in another iterable of batches."""
    return OwnState({name: getattr(batches, "dataset", batches), f"{name} loader": batches})


def _parts_of(path: str, thing: Any) -> Iterator[tuple[str, object]]:
    """The objects in which generators of this one may be, with their paths."""
    if isinstance(thing, list | tuple):
        if len(thing) <= MOST_LISTED:
            yield from ((f"{path}[{k}]", each) for k, each in enumerate(thing))
    elif isinstance(thing, Mapping):
        if len(thing) <= MOST_LISTED:
            yield from ((f"{path}[{key!r}]", each) for key, each in thing.items())
    elif isinstance(thing, torch.utils.data.DataLoader):
        yield from ((f"{path}.{name}", getattr(thing, name, None)) for name in PARTS_OF_LOADER)
    else:
        for function in functions_of(thing):
            owner = function.__qualname__.replace("<locals>.", "")
            for name, each in variables_of(function).items():
                if isinstance(each, GENERATORS) or users_function(each) is not None:
                    yield f"{name} in {owner}", each
        if isinstance(thing, MethodType):
            yield path, thing.__self__
        module = type(thing).__module__
        if not is_installed(module) or module.startswith("torch.utils.data"):
            yield from ((f"{path}.{name}", each) for name, each in getattr(thing, "__dict__", {}).items())


def _restore(path: str, generator: Any, state: Any) -> None:
    try:
        set_state(generator, state)
    except RAISED:
        raise CheckpointError(
            f"{path} is another generator than in the saved training",
            expected="a generator of the same kind",
            got=f"{type(generator).__module__}.{type(generator).__name__}",
            fix="make the generators as they were made for the training that is resumed",
        ) from None
