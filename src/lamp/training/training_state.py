"""Functions that read and restore the state of a training: generators, data, modules, optimizer, schedule,
callbacks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lamp.data import DataLoader
from lamp.errors import CheckpointError
from lamp.generators import set_state, state_of
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.saving.seal import restoring
from lamp.training.arguments import as_limit
from lamp.training.callback import Callback, Training
from lamp.training.own_state import of_data

SETTINGS = ("batch_size", "shuffle", "drop_last")  # of a loader, which a callback may change
LIMITS = ("clip_norm", "clip_value")  # of gradients
State = dict[str, Any]


# ---- generators ------------------------------------------------------------------------------------------------------
def random_state() -> State:
    """The states of the default generators of torch, Python and numpy; data sets and metrics may use any of them."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": state_of(random),
        "numpy": state_of(np.random),
    }


def set_random_state(state: State) -> None:
    """Restore the states of the default generators."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    set_state(random, state["python"])
    set_state(np.random, state["numpy"])


# ---- data ------------------------------------------------------------------------------------------------------------
def data_state(batches: Iterable[Any] | None, begun: bool = False) -> State:
    """The state that determines the next batches. `begun` says that an epoch is under way, and will be repeated."""
    state = {} if batches is None else of_data(batches).state_dict()
    if isinstance(batches, DataLoader):
        state |= batches.state_dict() | {name: getattr(batches, name) for name in SETTINGS}
        state["epoch"] -= begun
    return state


def set_position(batches: Iterable[Any] | None, state: State) -> None:
    """Restore the seed, the epoch and the settings of a loader of lamp's in what `data_state` returned."""
    if isinstance(batches, DataLoader):
        batches.load_state_dict(state)
        for name in SETTINGS:
            setattr(batches, name, state.get(name, getattr(batches, name)))


def begin_of_epoch(batches: Iterable[Any]) -> State | None:
    """The generators' states that are needed to repeat an epoch's batches; None if the epoch's number is enough."""
    if isinstance(batches, DataLoader) and batches.tensors is not None:
        return None
    return {"random": random_state(), "data": of_data(batches).state_dict()}


def batches_from(batches: Iterable[Any], done: int, begin: State | None) -> Iterator[Any]:
    """The batches of an epoch after the first `done`, which are read again and skipped. Generators keep their state.

    Raises CheckpointError if there are fewer batches.
    """
    now = random_state()
    if begin is not None:
        set_random_state(begin["random"])
        of_data(batches).load_state_dict(begin["data"])
    left = iter(batches)
    for k in range(done):
        if next(left, None) is None:
            raise CheckpointError(
                "the data have fewer batches than when the checkpoint was saved",
                expected=f"at least {done}",
                got=k,
                fix="pass the data that it was trained on",
            )
    set_random_state(now)
    return left


# ---- modules, optimizer, callbacks -----------------------------------------------------------------------------------
def extra_states(model: Module) -> State:
    """The extra states of modules, such as Dropout's seed and step, by the modules' paths."""
    found = {path: module.get_extra_state() for path, module in model.named_modules()}
    return {path: state for path, state in found.items() if state is not None}


def set_extra_states(model: Module, states: State) -> None:
    """Restore what `extra_states` returned."""
    modules = dict(model.named_modules())
    for path, state in states.items():
        modules[path].set_extra_state(state)


def optimizer_state(optimizer: Optimizer) -> State:
    """An optimizer's state dict, and the number of steps that each group has taken."""
    return {**optimizer.state_dict(), "taken": optimizer.step_count}


def set_optimizer_state(optimizer: Optimizer, state: State) -> None:
    """Restore what `optimizer_state` returned."""
    optimizer.load_state_dict(state)
    optimizer.resume_at(state["taken"])


def schedule_state(training: Training) -> State:
    """The state of the schedule, and the hyperparameters that it has set."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in training.optimizer.param_groups]
    return {"groups": groups, "scheduler": _state_of(training.scheduler)}


def set_schedule_state(training: Training, state: Mapping[str, Any]) -> None:
    """Restore what `schedule_state` returned."""
    if training.scheduler is not None:
        training.scheduler.load_state_dict(state["scheduler"])  # type: ignore[attr-defined]
    for group, saved in zip(training.optimizer.param_groups, state["groups"], strict=True):
        group.update(saved)


def _state_of(scheduler: Any) -> State:
    return {} if scheduler is None else scheduler.state_dict()


def clipping_state(training: Training) -> list[Any]:
    """The limits of gradients, which a callback may change."""
    return [getattr(training, name) for name in LIMITS]


def set_clipping_state(training: Training, state: Sequence[Any] | None) -> None:
    """Restore what `clipping_state` returned; None leaves the limits as they are."""
    for name, limit in zip(LIMITS, state or (), strict=False):
        setattr(training, name, as_limit(name, limit, training.model.replicas))


def callback_states(callbacks: Sequence[Callback]) -> list[State]:
    """The state of each callback, and the name of its class."""
    return [{"kind": type(callback).__name__, "state": callback.state_dict()} for callback in callbacks]


def set_callback_states(callbacks: Sequence[Callback], states: Sequence[Mapping[str, Any]], path: object) -> None:
    """Restore the states of callbacks: the k-th callback of a class gets the k-th state of that class.

    Callbacks without a saved state are unchanged. Raises CheckpointError for a state without a callback.
    """
    waiting = list(callbacks)
    for saved in states:
        twin = next((callback for callback in waiting if type(callback).__name__ == saved["kind"]), None)
        if twin is not None:
            waiting.remove(twin)
            with restoring(path, f"the callback {saved['kind'][:80]}", ours=False):
                twin.load_state_dict(saved["state"])
        elif saved["state"]:
            raise CheckpointError(
                f"{path} has the state of a callback that was not passed",
                expected=f"a {saved['kind']} among the callbacks",
                got=", ".join(type(callback).__name__ for callback in callbacks) or "none",
                fix="pass the callbacks that it was trained with",
            )
