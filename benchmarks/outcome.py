"""The result of a measurement: times of the contenders, their ratios, and which goals are met; to JSON and back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NOISY = 1.5  # a highest ratio beyond this many times the lowest one counts as noise


@dataclass(frozen=True)
class Goal:
    """The goal that `ours`, a contender of lamp, is `ratio` times as fast as `peer`; or, for memory, that the peak of
    its tensors is at most `ratio` times that of `peer`.
    """

    ours: str
    peer: str
    ratio: float
    memory: bool = False


@dataclass
class Entry:
    """The result of one contender. `times[r]` is that of round r, in microseconds per step."""

    name: str
    ours: bool = False
    note: str = ""
    absent: str | None = None  # why it could not run
    threads: int = 0
    times: list[float] = field(default_factory=list)
    difference: float = 0.0  # largest difference from the reference's parameters in the check
    compile_seconds: float | None = None
    with_compile: float | None = None  # microseconds per step of a whole training, compiling included
    tensors: float | None = None  # peak memory in MB: of tensors (see benchmarks.memory)
    resident: float | None = None  # and of the process

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def minimum(self) -> float:
        return min(self.times)


@dataclass(frozen=True)
class Ratio:
    """How many times as long one contender takes as another, within each round."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        return f"{self.median:.{digits}f} ({self.lowest:.{digits}f}-{self.highest:.{digits}f})"


@dataclass
class Outcome:
    """The result of one `Work`."""

    title: str
    entries: list[Entry]
    goals: tuple[Goal, ...]
    steps: int
    job_steps: int
    repetitions: int

    def __getitem__(self, name: str) -> Entry:
        return next(entry for entry in self.entries if entry.name == name)

    @property
    def base(self) -> str | None:
        """The contender that ratios are relative to: that of the first goal, else lamp's first, else None."""
        ours = [goal.ours for goal in self.goals] + [entry.name for entry in self.entries if entry.ours]
        return next((name for name in ours if self[name].absent is None), None)

    @property
    def reference(self) -> str:
        """The first contender but lamp, which shares of memory are relative to."""
        return next(entry.name for entry in self.entries if not entry.ours)

    @property
    def is_noisy(self) -> bool:
        """Whether some ratio varies more between rounds than it does on a quiet machine."""
        ratios = [self.ratio(entry.name, self.base) for entry in self.entries] if self.base else []
        return any(ratio.highest > NOISY * ratio.lowest for ratio in ratios if ratio is not None)

    def ratio(self, of: str, to: str) -> Ratio | None:
        """The time of one contender divided by another's, per round; None if one of them is absent."""
        ratios = [one / other for one, other in zip(self[of].times, self[to].times, strict=False)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def share(self, of: str, to: str) -> float | None:
        """The peak of the tensors of one contender divided by another's; None where it was not measured."""
        one, other = self[of].tensors, self[to].tensors
        return None if one is None or other is None else one / other

    def verdict(self, goal: Goal) -> str:
        """A line that states the goal and whether it is met."""
        if goal.memory:
            aim = f"{goal.ours} with at most {goal.ratio:g} of the memory of {goal.peer}"
            share = self.share(goal.ours, goal.peer)
            if share is None:
                return f"not measured: {aim}"
            return f"{'met' if share <= goal.ratio else 'MISSED'}: {aim}; it is {share:.2f}"
        aim = f"{goal.ours} {round(goal.ratio, 2):g} times as fast as {goal.peer}"
        found = self.ratio(goal.peer, goal.ours)
        if found is None:
            return f"not measured: {aim}"
        if found.median >= goal.ratio:
            return f"met: {aim}; it is {found}"
        return f"MISSED: {aim}; it is {found}, {(1 - found.median / goal.ratio) * 100:.0f} % short"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Outcome:
        entries = [Entry(**entry) for entry in saved["entries"]]
        goals = tuple(Goal(**goal) for goal in saved["goals"])
        return cls(**{**saved, "entries": entries, "goals": goals})
