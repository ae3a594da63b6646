"""FitSpec: what an engine trains, on which data, with which options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.training.batch import BatchReader
from lamp.training.metrics import MetricLike
from lamp.training.watch import Watch


@dataclass(frozen=True)
class StepSchedule:
    """A schedule that moves after every batch.

    advance  makes its step, which changes the optimizer's hyperparameters
    state    returns its state, as a checkpoint saves it
    """

    advance: Callable[[], None]
    state: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class FitSpec:
    """What an engine trains, on which data, with which options.

    For a population it describes the replicas that are still training; when some of them end, the loop makes a new one.

    batches        yields the batches of an epoch, each time it is iterated
    validation     the batches that are measured after each epoch, in eval mode; None without validation
    reader         reads a batch as (inputs..., target)
    metrics        the metrics that are measured, by name
    clip_norm      the largest norm of all gradients together, a number or a tensor (k,); None for no limit
    clip_value     the largest gradient of one element, likewise
    in_backward    whether the eager engine updates each parameter within backward
    schedule       the schedule, if it moves after every batch; the loop makes the steps between epochs
    watch          what user code may change or read between epochs
    looked_at      whether a callback reads the weights after each epoch
    checkpointed   whether the state of an unfinished epoch may be requested
    """

    model: Module
    criterion: Loss
    optimizer: Optimizer
    batches: Iterable[Any]
    validation: Iterable[Any] | None
    reader: BatchReader
    metrics: Mapping[str, MetricLike]
    clip_norm: Any
    clip_value: Any
    in_backward: bool
    schedule: StepSchedule | None
    watch: Watch
    looked_at: bool
    checkpointed: bool

    @property
    def replicas(self) -> int | None:
        """The number of replicas that are still training; None for one network."""
        return self.model.replicas
