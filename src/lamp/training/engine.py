"""Engine: the protocol between the training loop and whatever makes the steps.

The loop calls `run(budget)` again and again; the engine answers with its Progress.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from lamp.training.last_good import LastGood
from lamp.training.measured import Measured
from lamp.training.spec import FitSpec


class Measurement(NamedTuple):
    """The results of an epoch.

    losses   (steps,), in a population (steps, k): the loss of each step
    values   the epoch's loss and metrics, by name
    seconds  the time it took
    """

    losses: Tensor
    values: dict[str, Measured]
    seconds: float


Ready = tuple[dict[str, Measured], float]  # the values of an epoch that is trained already, and its seconds


def beside(values: dict[str, Measured], validated: Mapping[str, Measured]) -> dict[str, Measured]:
    """An epoch's values, with those of held-out samples added under "validation_" names."""
    return values | {f"validation_{name}": value for name, value in validated.items()}


class Budget(NamedTuple):
    """How far an engine may go before it returns to the loop.

    steps   the most steps of the current epoch
    epochs  the number of whole epochs, the current one included, that the loop will request without doing anything in
            between; the engine may train them in advance
    """

    steps: int
    epochs: int


class Progress(NamedTuple):
    """How far an engine is in an epoch.

    done   the share of the epoch's steps that are made, from 0 to 1
    loss   the loss of the last step, if the engine makes one step per call; else None
    epoch  the results of the epoch, once it is over; else None
    """

    done: float
    loss: Tensor | None = None
    epoch: Measurement | None = None


class Engine(Protocol):
    """Makes the steps of a training. The loop does everything else: callbacks, schedules, checkpoints, Ctrl-C.

    name             "eager" or "compiled", as the history says it
    spec             what it trains; the loop replaces it when options change or replicas end
    steps            the number of steps made and returned since the training began
    is_ahead         whether it has trained epochs that the loop has not requested yet
    resumes          whether it must first finish an epoch that was interrupted by a checkpoint
    last_good        copies of the last state with a finite loss, if the engine keeps them here
    compile_seconds  the time that compiling took
    """

    spec: FitSpec
    steps: int
    last_good: LastGood
    compile_seconds: float

    @property
    def name(self) -> str: ...

    @property
    def is_ahead(self) -> bool: ...

    @property
    def resumes(self) -> bool: ...

    def run(self, budget: Budget) -> Progress:
        """Continue the current epoch, or begin the next one, within the budget.

        Raises NonFiniteError if the loss of a single network is not finite, after restoring its last good weights; and
        NotCompiled if machine code is no longer possible, with model and optimizer up to date.
        """

    def ready(self) -> Iterator[Ready]:
        """The epochs that are trained already, for a loop that does nothing between them. Each counts as requested once
        it is taken."""

    def rewind(self) -> None:
        """Undo the epochs that the loop has not requested."""

    def sync(self) -> None:
        """Bring the model and the optimizer to the state after the last returned step."""

    def refresh(self) -> None:
        """Take over what user code may have changed since `sync`."""

    def restore(self, columns: Sequence[int] | None) -> None:
        """Restore the last good weights of these active replicas, or of the single network (None)."""

    def keep(self, staying: Tensor) -> None:
        """Continue with a part of the active replicas, given by a mask (k,). The loop then replaces `spec`."""

    def state_dict(self) -> dict[str, Any]:
        """The state that the model and the optimizer do not hold, such as the current epoch."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""

    def close(self) -> None:
        """Release all resources when the training is over."""
