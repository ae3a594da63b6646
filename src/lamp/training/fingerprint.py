"""What a training is made of, in a few words and digests, so that a checkpoint is not loaded into another one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.errors import CheckpointError
from lamp.module import Module
from lamp.saving.seal import digest_of
from lamp.saving.trees import pack

if TYPE_CHECKING:
    from lamp.training.run import Training

ROWS = 64  # samples of each column that are looked at, from the first to the last
SHORT = 12  # digits of a digest that are kept

# What changes while a training runs: an object that has gone on in this process is as good as a new one.
MOVING = ("hyperparameters", "schedule", "seed")

WAYS_OUT = {
    "network": "build the network that was trained; lamp.load(model, path) takes weights alone",
    "hyperparameters": "build the optimizer as it was; to go on with others, lamp.load the weights and train anew",
    "schedule": "build the schedule as it was; to go on with another, lamp.load the weights and train anew",
    "data": "give the data that it was trained on; to go on with others, lamp.load the weights and train anew",
    "seed": "give the seed it was trained with, or none",
}

Fingerprint = dict[str, Any]


def fingerprint_of(
    training: Training, batches: Iterable[Any], validation: Iterable[Any] | None, *, drawn: bool
) -> Fingerprint:
    """What must be the same for a training to go on.

    drawn  whether the seed of the order was drawn, so that another one is no sign of another training
    """
    model, scheduler = training.model, training.scheduler
    fingerprint: Fingerprint = {
        "network": repr(model),
        "parameters": [f"{name} {tuple(t.shape)} {t.dtype}" for name, t in model.state_dict().items()],
        "replicas": [model.replicas, getattr(model, "seeds", None)],
        "sizes of the replicas": [_short(module.units) for module in model.modules() if module.units is not None],
        "loss": [repr(training.criterion), training.criterion.reduction, _tensors_of(training.criterion)],
        "optimizer": type(training.optimizer).__name__,
        "kind of schedule": [type(scheduler).__name__, training.schedule_per],
        "clipping": [_text(training.clip_norm), _text(training.clip_value)],
        "metrics": list(training.metrics),
        "data": _about(batches),
        "validation data": None if validation is None else _about(validation),
    }
    return _plain(fingerprint) | changing_fingerprint(training, None if drawn else batches)


def changing_fingerprint(training: Training, batches: Iterable[Any] | None) -> Fingerprint:
    """Those that change while it runs, as they are now."""
    groups = [{k: v for k, v in group.items() if k != "params"} for group in training.optimizer.param_groups]
    sizes = [len(group["params"]) for group in training.optimizer.param_groups]
    state = None if training.scheduler is None else training.scheduler.state_dict()  # type: ignore[attr-defined]
    seed = batches.seed if isinstance(batches, DataLoader) and batches.shuffle else None
    return _plain({"hyperparameters": [sizes, _text(groups)], "schedule": _text(state), "seed": _text(seed)})


def _plain(fingerprint: Fingerprint) -> Fingerprint:
    """As they come back from a file."""
    return json.loads(json.dumps(fingerprint))  # type: ignore[no-any-return]


def compare(saved: Mapping[str, Any], moved: Mapping[str, Any], now: Fingerprint, path: object) -> None:
    """That a training made of `now` may go on from one that was made of `saved`, and was `moved` when it was saved.

    Raises CheckpointError that names the first difference.
    """
    for name, mark in now.items():
        if mark == saved.get(name) or (name in MOVING and mark in (moved.get(name), None, "null")):
            continue
        before, after = _where_they_differ(saved.get(name), mark)
        raise CheckpointError(
            f"{path} is of another training, by its {name}",
            expected=before,
            got=after,
            fix=WAYS_OUT.get(name, f"give fit the same {name}; lamp.load(model, path) takes the weights alone"),
        )


def _where_they_differ(saved: Any, now: Any) -> tuple[str, str]:
    """The two, or of two texts of several lines or two lists the first entries that differ."""
    pair = [value.splitlines() if isinstance(value, str) else value for value in (saved, now)]
    if all(isinstance(value, list) for value in pair):
        width = max(map(len, pair))
        both = zip(*[value + ["nothing"] * (width - len(value)) for value in pair], strict=True)
        saved, now = next(each for each in both if each[0] != each[1])
    return str(saved).strip()[:200], str(now).strip()[:200]


def _about(batches: Iterable[Any]) -> list[str]:
    """What data are: how many, in which batches, and what a few of them hold."""
    told = [type(batches).__name__]
    told += [f"{len(batches)} batches"] if isinstance(batches, Sized) else []
    if not isinstance(batches, DataLoader):
        size = getattr(batches, "batch_size", None)
        told += [f"batch_size {size}"] if isinstance(size, int) else []
        ends = [batches[0], batches[-1]] if isinstance(batches, list) and batches else []
        return told + [_short(column) for batch in ends for column in batch if isinstance(column, Tensor)]
    told += [f"{batches.samples} samples", f"batch_size {batches.batch_size}", f"shuffle {batches.shuffle}"]
    told += [f"replicas {batches.replicas}", "all samples" if batches.indices is None else _short(batches.indices)]
    if batches.tensors is None:
        return [*told, type(batches.dataset).__name__]
    return told + [_short(column, axis=1 if batches.own else 0) for column in batches.columns]


def _tensors_of(module: Module) -> list[str]:
    return [f"{name} {_short(value)}" for name, value in vars(module).items() if isinstance(value, Tensor)] + [
        f"{name} {_short(value)}" for name, value in module.state_dict().items()
    ]


def _short(tensor: Tensor, axis: int = 0) -> str:
    """Shape, dtype, and a digest of some rows."""
    rows = tensor.detach()
    if rows.dim() > axis and rows.shape[axis] > ROWS:
        chosen = torch.linspace(0, rows.shape[axis] - 1, ROWS).long().to(rows.device)
        rows = rows.index_select(axis, chosen)
    data = rows.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{tuple(tensor.shape)} {kind} with the digest {digest_of(data)[:SHORT]}"


def _text(value: Any) -> str:
    """Numbers and lists of them as text, tensors by their digest."""
    packed, tensors = pack(value)
    text = json.dumps(packed)
    return text + "".join(f" {name}: {_short(tensor)}" for name, tensor in tensors.items())
