"""The fingerprint of a training: descriptions and digests of everything it consists of.

It is saved in a checkpoint and compared before resuming, so that a checkpoint is not loaded into another training.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from lamp.attributes import as_json, attributes_of, digest_of_tensor, is_own, name_of
from lamp.data import DataLoader, length_of
from lamp.errors import CheckpointError, CheckpointWarning, warn_of
from lamp.module import Module
from lamp.parameter import Parameter
from lamp.saving.trees import pack
from lamp.training.callback import Callback, Training
from lamp.training.epoch_metrics import reset_copy
from lamp.training.metrics import is_accumulator
from lamp.training.own_code import digests_of
from lamp.training.own_state import of_data
from lamp.training.training_state import schedule_state

# Entries that change during training. When resuming, they may equal either their first or their last value.
MOVING = ("hyperparameters", "schedule", "seed")

CODE = "code"  # the entry with the digests of the user's code
KEPT = "callbacks"  # the entry with what users' callbacks without a state hold, which is not compared

LARGEST = 2**53  # numbers beyond this are not restored

REQUIRES_GRAD = ".requires_grad"  # ending of the entries that say which parameters are trained

WAYS_OUT = {
    "network": "build the network that was trained; lamp.load(model, path) loads only the weights",
    "hyperparameters": "build the optimizer as it was; to use others, lamp.load the weights and start a new training",
    "schedule": "build the schedule as it was; to use another, lamp.load the weights and start a new training",
    "data": "pass the data that it was trained on; to use others, lamp.load the weights and start a new training",
    REQUIRES_GRAD: "freeze the parameters that were frozen, and no others; to train others, lamp.load the weights and "
    "start a new training",
    "seed": "pass the seed it was trained with, or none",
}

Fingerprint = dict[str, Any]


def fingerprint_of(
    training: Training, batches: Iterable[Any], validation: Iterable[Any] | None, *, drawn: bool
) -> Fingerprint:
    """Everything that must be the same to continue a training.

    drawn  whether the seed of the order was drawn; then a different seed does not mean a different training
    """
    model, scheduler = training.model, training.scheduler
    fingerprint: Fingerprint = {
        "network": repr(model),
        "parameters": [f"{name} {tuple(t.shape)} {t.dtype}" for name, t in model.state_dict().items()],
        "replicas": [model.replicas, getattr(model, "seeds", None)],
        "sizes of the replicas": [as_json(module.units) for module in model.modules() if module.units is not None],
        "loss": repr(training.criterion),
        "optimizer": type(training.optimizer).__name__,
        "kind of schedule": [type(scheduler).__name__, training.schedule_per],
        "clipping": [_text(training.clip_norm), _text(training.clip_value)],
        "metrics": [[name, _of_metric(metric)] for name, metric in training.metrics.items()],
        "data": _about(batches),
        "validation data": None if validation is None else _about(validation),
    }
    moving = changing_fingerprint(training, batches, validation, first=True)
    if drawn:
        moving["seed"] = _text(None)
    return _plain(fingerprint) | moving | {CODE: digests_of(_with_code(training, batches, validation))}


def _with_code(training: Training, *data: Iterable[Any] | None) -> Iterator[object]:
    """The objects and functions whose code takes part in the training."""
    for module in (training.model, training.criterion):
        yield from module.modules()
    yield from (training.optimizer, training.scheduler, *training.metrics.values(), *training.callbacks)
    for each in data:
        yield from (each, getattr(each, "dataset", None), getattr(each, "collate_fn", None))


def changing_fingerprint(
    training: Training, batches: Iterable[Any], validation: Iterable[Any] | None, *, first: bool = False
) -> Fingerprint:
    """The entries that may change during training, as they are now.

    first  whether the training begins; then the tensors among the data's attributes are included
    """
    state = schedule_state(training)
    seed = batches.seed if isinstance(batches, DataLoader) and batches.shuffle else None
    moving = {**of_schedule(training, state), "seed": _text(seed)}
    kept = {
        f"{path}.{name}": _glimpse(value)
        for path, each in _stateless(training)
        for name, value in vars(each).items()
        if is_own(name, type(each))
    }
    return _plain({**moving, "attributes": _attributes(training, batches, validation, first), KEPT: kept})


def of_schedule(training: Training, state: Mapping[str, Any]) -> Fingerprint:
    """The entries for a schedule and the hyperparameters that it has set; `state` is from `schedule_state`."""
    sizes = [len(group["params"]) for group in training.optimizer.param_groups]
    schedule = None if training.scheduler is None else state["scheduler"]
    return {"hyperparameters": [sizes, _text(state["groups"])], "schedule": _text(schedule)}


def _attributes(
    training: Training, batches: Iterable[Any], validation: Iterable[Any] | None, first: bool
) -> dict[str, Any]:
    """The plain attributes of all objects of the training, by path, such as "network.0.p"."""
    found: dict[str, Any] = {}
    for path, thing in _things(training):
        found |= attributes_of(thing, f"{path}.")
    found |= {f"{path}{REQUIRES_GRAD}": not parameter.frozen for path, parameter in _parameters(training)}
    criterion = training.criterion.state_dict()
    found |= {f"loss.{name}": digest_of_tensor(tensor) for name, tensor in criterion.items()}
    for name, data in (("data", batches), ("validation data", validation)):
        if data is not None:
            found |= {path: as_json(number) for path, number in of_data(data, name).numbers.items()}
            found |= attributes_of(_source(data), f"{name}.", _is_content if first else _is_number)
    return found


def _parameters(training: Training) -> Iterator[tuple[str, Parameter]]:
    """The parameters of the network and of the loss, with their paths, such as "network.0.weight"."""
    for name, module in (("network", training.model), ("loss", training.criterion)):
        for path, parameter in module.named_parameters():
            yield f"{name}.{path}", parameter


def _source(data: Iterable[Any] | None) -> object:
    """The object whose attributes determine the data; None for data in tensors, which are compared elsewhere."""
    if isinstance(data, DataLoader):
        return data.dataset if data.tensors is None else None
    return getattr(data, "dataset", data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_content(value: Any) -> bool:
    """Whether a value is a number, tensor or array. Texts are not compared: a path may differ between machines."""
    each = value if isinstance(value, list | tuple) else [value]
    return _is_number(value) or (len(each) > 0 and all(isinstance(one, Tensor | np.ndarray) for one in each))


def _things(training: Training) -> Iterator[tuple[str, object]]:
    """The objects whose attributes affect the training, with their paths."""
    for name, module in (("network", training.model), ("loss", training.criterion)):
        for path, inner in module.named_modules():
            yield f"{name}.{path}" if path else name, inner
    yield "optimizer", training.optimizer
    for name, metric in training.metrics.items():
        if is_accumulator(metric):
            yield f"metric {name}", reset_copy(name, metric)  # without batches from elsewhere
        elif not isinstance(metric, type(as_json)):  # a callable object, not a function
            yield f"metric {name}", metric
    yield from ((path, callback) for path, callback in _callbacks(training) if _has_state(callback))


def _stateless(training: Training) -> Iterator[tuple[str, Callback]]:
    """The callbacks of which a checkpoint keeps nothing, with their paths. They may be others when it is resumed."""
    yield from ((path, callback) for path, callback in _callbacks(training) if not _has_state(callback))


def _has_state(callback: Callback) -> bool:
    return type(callback).state_dict is not Callback.state_dict


def _callbacks(training: Training) -> Iterator[tuple[str, Callback]]:
    seen: Counter[str] = Counter()
    for callback in training.callbacks:
        kind = type(callback).__name__
        seen[kind] += 1
        yield kind if seen[kind] == 1 else f"{kind} {seen[kind]}", callback


def _of_metric(metric: Any) -> Any:
    """The name of a metric, and its arguments if it is a partial; an object's attributes are compared elsewhere."""
    return as_json(metric) if isinstance(metric, partial) else name_of(metric)


def _plain(fingerprint: Fingerprint) -> Fingerprint:
    """The fingerprint as it would be read from a file."""
    return json.loads(json.dumps(fingerprint))  # type: ignore[no-any-return]


def compare(saved: Mapping[str, Any], moved: Mapping[str, Any], now: Fingerprint, path: object) -> None:
    """Raise CheckpointError, naming the first difference, unless a training may continue from a checkpoint.

    saved  the fingerprint of the saved training when it began
    moved  its changing entries when it was saved
    now    the fingerprint of the present training
    """
    for name, mark in now.items():
        if name in ("attributes", CODE, KEPT) or mark == saved.get(name):
            continue
        if name in MOVING and mark in (moved.get(name), None, "null"):
            continue
        raise _of_another(path, name, *_where_they_differ(saved.get(name), mark))
    before, after = saved.get("attributes", {}), moved.get("attributes", {})
    for name, value in now["attributes"].items():
        has_moved = name in after and after[name] != before.get(name)  # changed, or added, during training
        if not has_moved and name in before and before[name] != value:
            raise _of_another(path, name, before[name], value)


def _of_another(path: object, name: str, before: Any, after: Any) -> CheckpointError:
    entry = REQUIRES_GRAD if name.endswith(REQUIRES_GRAD) else name
    return CheckpointError(
        f"{path} belongs to another training, as shown by its {name}",
        expected=str(before),
        got=str(after),
        fix=WAYS_OUT.get(entry, f"pass the same {name} to fit; lamp.load(model, path) loads only the weights"),
    )


def restore_attributes(training: Training, saved: Mapping[str, Any], moved: Mapping[str, Any]) -> None:
    """Restore what had changed during the saved training: numbers of modules, loss, optimizer and metrics, and which
    parameters train.

    Warns of everything else that had changed, which begins again as it was made. What a thing did not have at the
    beginning, or was None, is taken for a cache.
    """
    before, after = saved.get("attributes", {}), moved.get("attributes", {})
    for path, parameter in _parameters(training):
        key = path + REQUIRES_GRAD
        if isinstance(after.get(key), bool) and after[key] != before.get(key):
            parameter.freeze(not after[key])
    lost: list[str] = []
    for path, thing in _things(training):
        if isinstance(thing, Callback) or is_accumulator(thing):  # their states are restored elsewhere
            continue
        for name, value in _moved(path, thing, before, after):
            number = after[f"{path}.{name}"]
            if _is_number(value) and type(value) is type(number) and abs(number) <= LARGEST:
                if isinstance(thing, Module):
                    setattr(thing, name, number)
                else:
                    vars(thing)[name] = number
            elif not callable(value):
                lost.append(f"{path}.{name}")
    if lost:
        warn_of(
            f"{', '.join(lost)} had changed in the training that is resumed. A checkpoint has the numbers among such "
            "attributes, and neither plain tensors nor lists, so it begins again as it was made. Fix: "
            "lamp.Buffer(tensor), or get_extra_state and set_extra_state",
            CheckpointWarning,
        )
    held = saved.get(KEPT, {}), moved.get(KEPT, {})
    gone = [f"{path}.{name}" for path, each in _stateless(training) for name, _ in _moved(path, each, *held, _glimpse)]
    if gone:
        warn_of(
            f"{', '.join(gone)} had changed in the training that is resumed. A checkpoint has of a callback what its "
            "state_dict returns, so it begins again as it was made. Fix: state_dict() and load_state_dict(state)",
            CheckpointWarning,
        )


def _glimpse(value: Any) -> Any:
    """A number, a text, or how much a container holds: what is quickly seen of a value that may be large."""
    if value is None or isinstance(value, str | int | float):
        return as_json(value)
    return (
        f"{len(value)} in {name_of(value)}" if isinstance(value, list | tuple | dict | set | deque) else name_of(value)
    )


def _moved(
    path: str,
    thing: object,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    described: Callable[[Any], Any] = as_json,
) -> Iterator[tuple[str, Any]]:
    """The names and present values of the attributes of a thing that had changed during the saved training."""
    for name, value in list(vars(thing).items()):
        old, new = before.get(f"{path}.{name}"), after.get(f"{path}.{name}")
        if old is not None and new is not None and old != new and described(value) != new:
            yield name, value


def _where_they_differ(saved: Any, now: Any) -> tuple[str, str]:
    """Where two values differ: the first different lines of texts or entries of lists, else the values themselves."""
    pair = [value.splitlines() if isinstance(value, str) else value for value in (saved, now)]
    if all(isinstance(value, list) for value in pair):
        width = max(map(len, pair))
        both = zip(*[value + ["nothing"] * (width - len(value)) for value in pair], strict=True)
        saved, now = next((each for each in both if each[0] != each[1]), (saved, now))
    return str(saved).strip()[:200], str(now).strip()[:200]


def _about(batches: Iterable[Any]) -> list[str]:
    """A description of the data: number of samples, batches, and digests of everything that is in memory."""
    lines = [type(batches).__name__]
    if isinstance(batches, DataLoader):
        lines += [f"{batches.samples} samples", f"batch_size {batches.batch_size}", f"shuffle {batches.shuffle}"]
    length = length_of(batches)
    lines += [] if length is None else [f"{length} batches"]
    if isinstance(batches, list):
        return lines + [str(as_json(batch)) for batch in batches]
    if not isinstance(batches, DataLoader):
        size = getattr(batches, "batch_size", None)
        sampler = getattr(batches, "sampler", None)
        lines += [f"batch_size {size}"] if isinstance(size, int) else []
        return lines + ([] if sampler is None else [type(sampler).__name__])
    lines += [f"replicas {batches.replicas}", "all samples" if batches.indices is None else as_json(batches.indices)]
    if batches.tensors is None:
        return [*lines, type(batches.dataset).__name__]
    return lines + [digest_of_tensor(column) for column in batches.columns]


def _text(value: Any) -> str:
    """Numbers and lists of them as text, tensors by their digest."""
    packed, tensors = pack(value)
    return json.dumps(packed) + "".join(f" {name}: {digest_of_tensor(tensor)}" for name, tensor in tensors.items())
