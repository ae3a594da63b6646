"""The protocol of engines: what the training loop asks of whatever makes the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from lamp.training.history import Measured
from lamp.training.last_good import LastGood
from lamp.training.spec import FitSpec


@dataclass(frozen=True)
class Measurement:
    """An epoch's losses (steps,), in a population (steps, k); what was measured; and the seconds it took."""

    losses: Tensor
    values: dict[str, Measured]
    seconds: float

    def beside(self, validated: Measurement) -> Measurement:
        """This one, with what was measured on held-out samples."""
        values = {f"validation_{name}": value for name, value in validated.values.items()}
        return replace(self, values=self.values | values)


@dataclass(frozen=True)
class Budget:
    """How far an engine may go before it returns to the loop.

    steps   of the epoch under way, at most
    epochs  whole epochs, the present one included, that the loop will ask for before anything else happens: an engine
            may train them before they are asked for
    """

    steps: int
    epochs: int


@dataclass(frozen=True)
class Progress:
    """What an engine has done of an epoch.

    done   the share of its steps
    loss   that of the last step, where the engine makes one step at a time
    epoch  what was measured, once the epoch is over
    """

    done: float
    loss: Tensor | None = None
    epoch: Measurement | None = None


class Engine(Protocol):
    """Makes the steps of a training. The loop does everything else: callbacks, schedules, checkpoints, Ctrl-C.

    name             "eager" or "compiled", as the history has it
    spec             what it trains; the loop replaces it when the options change or replicas end
    steps            how many steps it has made since it began, as far as they were returned
    is_ahead         whether it has trained epochs that it was not asked for yet
    resumes          whether a checkpoint broke off an epoch, which must be finished before anything else
    last_good        the last weights that had a finite loss, as far as the engine keeps copies
    compile_seconds  how long compiling took
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
        """Go on with the epoch under way, or begin the next one, within the budget.

        Raises NonFiniteError for one network whose loss is not finite, with its last good weights put back; NotCompiled
        where machine code is not possible any more, with model and optimizer up to date.
        """

    def rewind(self) -> None:
        """Undo the epochs that it was not asked for yet."""

    def sync(self) -> None:
        """Bring the model and the optimizer to where the last returned step left them."""

    def refresh(self) -> None:
        """Take over what user code may have changed since `sync`."""

    def restore(self, columns: Sequence[int] | None) -> None:
        """Put back the last good weights of these of the active replicas, or of the one network (None)."""

    def keep(self, staying: Tensor) -> None:
        """Go on with some of the active replicas, a mask (k,); `spec` becomes theirs."""

    def state_dict(self) -> dict[str, Any]:
        """What the model and the optimizer do not hold, such as the epoch under way."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""

    def close(self) -> None:
        """The training is over."""
