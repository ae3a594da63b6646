"""What was measured: times of each contender, ratios between them, goals met or missed; to JSON and back."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

NOISY = 1.5  # times the lowest ratio


@dataclass(frozen=True)
class Goal:
    """That lamp's contender `ours` is `ratio` times as fast as `peer`."""

    ours: str
    peer: str
    ratio: float


@dataclass
class Entry:
    """What was measured of one contender. Times are microseconds a step; `times[r]` is of round r."""

    name: str
    ours: bool = False
    note: str = ""
    absent: str | None = None  # why it could not run
    threads: int = 0
    times: list[float] = field(default_factory=list)
    difference: float = 0.0  # the largest from the reference's parameters, after the steps of the check
    compile_seconds: float | None = None
    with_compile: float | None = None  # microseconds a step of a whole job, compiling included

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
    """A piece of work, measured."""

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
        """Whom ratios are given to: the contender of the first goal, or else lamp's first; None where lamp has none."""
        ours = [goal.ours for goal in self.goals] + [entry.name for entry in self.entries if entry.ours]
        return next((name for name in ours if self[name].absent is None), None)

    @property
    def is_noisy(self) -> bool:
        """Whether some ratio's lowest and highest are further apart than a quiet machine has them."""
        ratios = [self.ratio(entry.name, self.base) for entry in self.entries] if self.base else []
        return any(ratio.highest > NOISY * ratio.lowest for ratio in ratios if ratio is not None)

    def ratio(self, of: str, to: str) -> Ratio | None:
        """The time of one contender divided by another's, taken within each round; None where one is absent."""
        ratios = [one / other for one, other in zip(self[of].times, self[to].times, strict=False)]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def verdict(self, goal: Goal) -> str:
        """The goal in words, and whether it is met."""
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
