"""Checks that a checkpoint is consistent in itself and fits the training that is resumed.

Types were checked when it was read (`checkpoint_schema`). Here shapes and counts are checked, and entries that must
agree with each other.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import CheckpointError
from lamp.optim import LRScheduler
from lamp.overrides import is_lamps
from lamp.saving.schema import check
from lamp.saving.seal import DamagedError, restoring
from lamp.state import ModelState
from lamp.training.callback import Training
from lamp.training.checkpoint_schema import CompiledUnderWay, EagerUnderWay
from lamp.training.checkpoints import Saved
from lamp.training.epoch_metrics import EpochMetrics
from lamp.training.fingerprint import of_schedule
from lamp.training.own_state import of_data
from lamp.training.training_state import extra_states, random_state, schedule_state, set_random_state


def check_state(saved: Saved, training: Training, batches: Iterable[Any], validation: Iterable[Any] | None) -> None:
    """Raise DamagedError if a checkpoint contradicts itself or does not fit the training."""
    _check_replicas(saved, training)
    _check_schedule(saved, training)
    _check_modules(saved, training)
    _check_epoch_under_way(saved, training, batches)
    _check_generators(saved, batches, validation)


def _expect(fits: bool, saved: Saved, key: str, expected: object, got: object) -> None:
    if not fits:
        raise DamagedError(f"{saved.path}: {key} does not go with the rest", expected, str(got)[:80])


def _check_replicas(saved: Saved, training: Training) -> None:
    """Check the history, and which replicas are still training."""
    history, rows = saved.state["history"], saved.state["crew"]["rows"]
    replicas, epochs = training.model.replicas, saved.state["epoch"]
    engine = history["engine"]
    _expect(engine in ("eager", "compiled"), saved, "history.engine", "eager or compiled", engine)
    _expect(history["replicas"] == replicas, saved, "history.replicas", replicas, history["replicas"])
    own = {*range(replicas or 0)}
    ended = {*history["endings"], *history["failed"]}
    _expect(own >= ended, saved, "history.endings", f"replicas of {replicas}", ended - own)
    _expect(history["seconds"].shape == (epochs,), saved, "history.seconds", epochs, history["seconds"].shape)
    shape = (epochs,) if replicas is None else (epochs, replicas)
    for name, values in history["measured"].items():
        _expect(values.shape == shape, saved, f"history.measured.{name}", shape, tuple(values.shape))
    if rows is not None:
        fits = rows.dtype is torch.int64 and rows.dim() == 1 and len(rows) > 0 and replicas is not None
        fits = fits and own >= {*rows.tolist()} and bool((rows.diff() > 0).all())
        _expect(fits, saved, "crew.rows", f"numbers of replicas, of {replicas}", rows)


def _check_schedule(saved: Saved, training: Training) -> None:
    """Check that hyperparameters and the schedule's state fit the optimizer, the schedule and the fingerprint."""
    state, groups, path = saved.state, training.optimizer.param_groups, saved.path
    then = state["moved"].get("hyperparameters")
    if isinstance(then, list) and then and isinstance(then[0], list) and len(then[0]) != len(groups):
        raise CheckpointError(
            f"{path} was saved after the training had changed the optimizer's groups of parameters",
            expected=f"{len(groups)} groups, as the optimizer has now",
            got=f"{len(then[0])} groups",
            fix="resume from an earlier checkpoint; or build network and optimizer as they had become, lamp.load the "
            "weights and start a new training",
        )
    for key, given in (("optimizer", state["optimizer"]["param_groups"]), ("schedule", state["schedule"]["groups"])):
        _expect(len(given) == len(groups), saved, f"{key}.groups", len(groups), len(given))
        for k, (group, each) in enumerate(zip(groups, given, strict=True)):
            _check_alike({**group, "params": None}, each, f"{path}: {key}.groups[{k}]")
            with restoring(path, f"{key}.groups[{k}]"):
                training.optimizer._check_hyperparameters({**group, **each, "params": group["params"]})
    taken = state["optimizer"]["taken"]
    _expect(len(taken) == len(groups), saved, "optimizer.taken", f"steps of {len(groups)} groups", taken)
    own = schedule_state(training)["scheduler"]
    _check_alike(own, state["schedule"]["scheduler"], f"{path}: schedule.scheduler")
    _check_functions_of_schedule(saved, training)
    for name, text in of_schedule(training, state["schedule"]).items():
        _expect(text == state["moved"].get(name), saved, f"schedule ({name})", state["moved"].get(name), text)


def _check_functions_of_schedule(saved: Saved, training: Training) -> None:
    """Raise CheckpointError if the schedule's functions do not give the learning rates that were saved.

    Learning rates of replicas are passed over: those of ended replicas stay as they were when these ended.
    """
    scheduler, state = training.scheduler, saved.state["schedule"]["scheduler"]
    if not isinstance(scheduler, LRScheduler):
        return
    twin = copy.copy(scheduler)
    with restoring(saved.path, "the schedule", ours=False):
        twin._load(state)
        now = [twin.lr_at(twin.last_epoch, base, k) for k, base in enumerate(twin.base_lrs)]
    pairs = zip(state.get("_last_lr", ()), now, strict=False)
    if not all(before == lr for before, lr in pairs if isinstance(before, float) and isinstance(lr, float)):
        raise CheckpointError(
            f"{saved.path} belongs to another training, as shown by its schedule: in epoch {twin.last_epoch} its "
            "function returns another learning rate",
            expected=f"lr = {state['_last_lr']}",
            got=f"lr = {now}",
            fix="build the schedule as it was, with the same function; to use another, lamp.load the weights and start "
            "a new training",
        )


def _check_modules(saved: Saved, training: Training) -> None:
    """Check the extra states of modules, and the last good state."""
    own, given, rows = extra_states(training.model), saved.state["modules"], saved.state["crew"]["rows"]
    _expect(own.keys() == given.keys(), saved, "modules", list(own), list(given))
    for name, state in own.items():
        _check_alike(state, given[name], f"{saved.path}: modules.{name}", fresh=True)
    now = [tuple(each.shape) for each in ModelState.of(training.model).tensors]
    shapes = now if rows is None else [(len(rows), *shape[1:]) for shape in now]
    kept = [tuple(each.shape) for each in saved.state["last_good"]["kept"]]
    _expect(kept in ([], shapes), saved, "last_good.kept", shapes, kept)


def _check_epoch_under_way(saved: Saved, training: Training, batches: Iterable[Any]) -> None:
    """Check the engine's state of an unfinished epoch."""
    state = saved.state
    is_eager, head = state["history"]["engine"] == "eager", state["by_engine"]["under_way"]
    _expect(is_eager or "last_good" in state["by_engine"], saved, "by_engine", "last_good", list(state["by_engine"]))
    done = 0
    if head is not None:
        check(head, EagerUnderWay if is_eager else CompiledUnderWay, saved.path, "by_engine.under_way")
        losses = head["losses"] if is_eager else head["record"]["losses"]
        rows, replicas = state["crew"]["rows"], training.model.replicas
        now = replicas if rows is None else len(rows)
        columns = [] if is_eager and now is None else [now or 1]
        fits = losses.dim() > 0 and len(losses) > 0 and list(losses.shape[1:]) == columns
        fits = fits and (not is_eager or head["divisors"].shape in (losses.shape, losses.shape[:1]))
        _expect(fits, saved, "by_engine.under_way", f"losses of steps, {columns} each", tuple(losses.shape))
        done = len(losses)
        if is_eager:
            with restoring(saved.path, "the metrics"):
                EpochMetrics(training.metrics, now).load_state_dict(head["metrics"], torch.device("cpu"))
    if isinstance(batches, DataLoader) and all(is_lamps(type(callback)) for callback in training.callbacks):
        steps = state["epoch"] * len(batches) + done
        _expect(state["step"] == steps and done <= len(batches), saved, "step", steps, state["step"])


def _check_generators(saved: Saved, batches: Iterable[Any], validation: Iterable[Any] | None) -> None:
    """Check seeds, and the states of generators by setting them for a moment."""
    state = saved.state
    own, given = batches.seed if isinstance(batches, DataLoader) else None, state["crew"]["data"].get("seed")
    fits = own is None or given is None or np.shape(own) == np.shape(given)
    _expect(fits, saved, "crew.data.seed", f"seeds such as {own}"[:80], given)
    now, crew = random_state(), state["crew"]
    begin = (state["by_engine"]["under_way"] or {}).get("begin") or {"random": now, "data": {}}
    with restoring(saved.path, "the generators"):
        for data, given in ((batches, crew["data"]), (batches, begin["data"]), (validation, crew["validation"])):
            held = of_data(data)
            before = held.state_dict()
            held.load_state_dict(given)
            held.load_state_dict(before)
        for each in (state["random"], begin["random"]):
            set_random_state(each)
    set_random_state(now)


def _check_alike(own: Any, given: Any, key: str, *, fresh: bool = False) -> None:
    """Raise DamagedError unless a saved state has the same kinds of values as the object's own state.

    fresh  whether the saved state may be None where the object has a value
    """
    if own is None or (given is None and fresh):
        return
    if isinstance(own, Mapping) and isinstance(given, Mapping):
        for name in own.keys() & given.keys():
            _check_alike(own[name], given[name], f"{key}.{name}", fresh=fresh)
        return
    if isinstance(own, list | tuple) and isinstance(given, list | tuple) and len(own) == len(given):
        for k, (one, other) in enumerate(zip(own, given, strict=True)):
            _check_alike(one, other, f"{key}[{k}]", fresh=fresh)
        return
    kinds = (bool, int | float | Tensor, str, torch.Generator, list | tuple, Mapping)
    kind = next((kind for kind in kinds if isinstance(own, kind)), object)
    if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
        raise DamagedError(f"{key} is not what lamp writes there", f"such as {own!r}"[:80], repr(given)[:80])
