"""`TensorBoard`, a callback that writes losses and metrics for `tensorboard --logdir`. It needs that package."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, CheckpointError
from lamp.installation import install
from lamp.training import Callback, Training
from lamp.values import as_path

try:
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ImportError as error:
    raise ArgumentError(
        "lamp.TensorBoard needs the package tensorboard, which is not installed",
        expected="tensorboard 2.16 or later",
        got=str(error),
        fix=install("tensorboard"),
    ) from None


FLUSH = 5  # seconds until written events become visible


class TensorBoard(Callback):
    """A callback that writes each epoch's values to event files: `callbacks=[lamp.TensorBoard("runs/first")]`.

    log_dir  the folder; TensorBoard compares the runs in folders with the same parent

    The charts are "loss", "accuracy" and so on, with a second curve "validation" for values on validation data; "lr",
    or "lr/0", "lr/1", ... for several parameter groups; and "seconds". In a population they show the mean over the
    replicas, with the standard deviation as "std/loss" and so on, and "replicas", the number of replicas that are still
    training. The horizontal axis counts epochs from 1. When a training is resumed, later events of the interrupted one
    are discarded.

    The callback reads only the history and the learning rate, so compiled training keeps its speed.

    Raises CheckpointError if the folder cannot be written.
    """

    needs_model: ClassVar[bool] = False

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = as_path(log_dir, "log_dir")
        self._writers: dict[str, Any] = {}  # the writers for the folders "" and "validation" in log_dir

    def on_start(self, training: Training) -> None:
        self._writers = {}
        if training.epoch > 0:
            for part in ("", "validation"):
                if (self.log_dir / part).is_dir():  # discards the events from this step on
                    started = SessionLog(status=SessionLog.START)
                    self._add(part, Event(session_log=started, step=training.epoch + 1, wall_time=time.time()))

    def on_epoch(self, training: Training) -> None:
        history, epoch = training.history, training.epoch + 1
        training_values: dict[str, float] = {"seconds": float(history.seconds[-1])}
        validation_values: dict[str, float] = {}
        for name, value in history.last.items():
            chosen = validation_values if name.startswith("validation_") else training_values
            chosen |= _numbers(name.removeprefix("validation_"), value)
        training_values |= _learning_rates(training)
        if training.model.replicas is not None:
            training_values["replicas"] = float(training.going.sum())
        for part, values in (("", training_values), ("validation", validation_values)):
            if values:
                summary = Summary(value=[Summary.Value(tag=tag, simple_value=number) for tag, number in values.items()])
                self._add(part, Event(summary=summary, step=epoch, wall_time=time.time()))

    def on_end(self, training: Training) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _add(self, part: str, event: Any) -> None:
        try:
            if part not in self._writers:
                self._writers[part] = EventFileWriter(str(self.log_dir / part), flush_secs=FLUSH)
            self._writers[part].add_event(event)
        except OSError as error:
            raise CheckpointError(
                f"{self.log_dir} could not be written: {error.strerror or error}",
                expected="room and permission to write there",
                got=type(error).__name__,
                fix="make room or choose another folder",
            ) from None


def _numbers(name: str, value: float | Tensor) -> Mapping[str, float]:
    """A number by its name; in a population mean and standard deviation over replicas whose value is not NaN."""
    if not isinstance(value, Tensor):
        return {name: value}
    known = value[~value.isnan()].double()
    spread = {f"std/{name}": float(known.std())} if len(known) > 1 else {}
    return {name: float(known.mean()), **spread} if len(known) else {}


def _learning_rates(training: Training) -> Mapping[str, float]:
    rates = [torch.as_tensor(group["lr"], dtype=torch.float64) for group in training.optimizer.param_groups]
    means = [float(rate.mean()) for rate in rates]
    return {"lr": means[0]} if len(means) == 1 else {f"lr/{k}": mean for k, mean in enumerate(means)}
