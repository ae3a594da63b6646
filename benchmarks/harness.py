"""The protocol of every measurement: the same work, checked to be equal, then timed side by side.

A row compares contenders on one or more pieces of `Work`. For each piece:

1. Every contender is prepared for each thread count that it may use. It must begin with exactly the reference's
   parameters.
2. Each trains for `check_steps` steps. Its parameters must then equal the reference's within `tolerance` (times as far
   as the reference has moved one of them, where that is more than 1: then rounding is larger, too); otherwise the
   whole run ends with NotEqual before anything is timed.
3. Each contender's fastest thread count is found in a few short runs.
4. The contenders are timed in turn, A B C A B C, in this process. A ratio compares two times of one round, so that
   whatever else the machine does affects both.

Where the work says so, the peak memory of each contender is measured at the end, in processes of their own.

A contender compiles during its first `check_steps` steps. What these take longer than the same number of later steps is
its compile time. It is reported by itself, and once more as part of a whole training of `job_steps` steps. A contender
that compiles in every run tells how long that took, and this time is subtracted.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import memory
from benchmarks.outcome import Entry, Goal, Outcome

Parameters = Mapping[str, NDArray[Any]]

REPETITIONS, LEAST_REPETITIONS = 15, 5
RACE_ROUNDS = 3  # between a contender's thread counts
MOVED = 100  # times the tolerance: how far the steps must move some parameter for the check to mean anything
MICRO = 1e6
AGAIN = 1.0  # seconds after which a time limit is raised again: Python drops errors raised in some callbacks


class Training(Protocol):
    """One network in training by one contender."""

    def run(self, steps: int) -> None:
        """Train for so many more steps, and return when all work is done."""

    def parameters(self) -> Parameters:
        """Copies of the present parameters, with the reference's names and shapes."""

    # A training that compiles in each run has an attribute `compiling`: the seconds that this took in the last run.


class Absent(Exception):
    """A contender cannot run here. The message is the reason, which the table shows instead of times."""


class _TimeUp(BaseException):
    """Time is up. It is no Exception, so that a compiler that it interrupts does not handle it as its own error."""


class NotEqual(Exception):
    """Contenders do not compute the same, so comparing their times would mean nothing."""


@dataclass(frozen=True)
class Contender:
    """A library, or a way to use one, that takes part in a comparison.

    prepare     a function of the number of threads that returns a Training with the initial weights; raises Absent
    threads     the thread counts to try. None: 1 and all
    ours        whether this is lamp; the table gives the others' times as ratios to lamp's
    compiles    whether its first steps compile. If they take longer than `time_limit` seconds, it counts as absent
    note        a remark for readers of the table
    sample      the number of networks that it trains, if not all; their times stand for the others
    longer      so many times the work's steps are timed together. It is for one so quick that its call would otherwise
                take longer than its steps
    """

    name: str
    prepare: Callable[[int], Training]
    threads: tuple[int, ...] | None = None
    ours: bool = False
    compiles: bool = False
    time_limit: float | None = None
    note: str = ""
    sample: int | None = None
    longer: int = 1


@dataclass(frozen=True)
class Work:
    """A training that all contenders do. The reference is the first contender but lamp that trains all networks.

    steps       the number of steps that are timed together
    job_steps   the number of steps of a whole training, to which the compile time is added once
    networks    the number of networks that each step trains; times are per network
    module      the module that has this work in its ROW, if peak memory is measured too (see benchmarks.memory)
    """

    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    steps: int = 1000
    check_steps: int = 20
    job_steps: int = 10_000
    tolerance: float = 1e-5
    networks: int = 1
    module: str = ""

    @property
    def reference(self) -> Contender | None:
        """The first peer that trains all networks; the parameters of the others are compared with its own."""
        return next((each for each in self.contenders if not each.ours and each.sample is None), None)

    def without(self, names: Collection[str]) -> Work:
        """The same work without the contenders of these names, and goals that speak of them."""
        goals = tuple(goal for goal in self.goals if {goal.ours, goal.peer}.isdisjoint(names))
        return replace(self, contenders=tuple(each for each in self.contenders if each.name not in names), goals=goals)


@dataclass(frozen=True)
class Row:
    """A row of the benchmark table."""

    number: int
    title: str
    works: tuple[Work, ...]


@dataclass(frozen=True)
class Computer:
    """The clock and the threads of the computer. Tests replace them."""

    clock: Callable[[], float] = time.perf_counter
    set_threads: Callable[[int], None] = torch.set_num_threads
    all_threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))


Say = Callable[[str], None]
Prepared = dict[int, Training]  # thread count -> training


def measure(
    work: Work, repetitions: int = REPETITIONS, computer: Computer | None = None, say: Say = lambda text: None
) -> Outcome:
    """Check that the contenders compute the same, then time them in turn. Raises NotEqual if they differ."""
    if repetitions < LEAST_REPETITIONS:
        raise ValueError(f"{repetitions} repetitions are too few: the protocol wants {LEAST_REPETITIONS} or more")
    return _Measurement(work, computer or Computer(), say).run(repetitions)


class _Measurement:
    """The measurement of one `Work`."""

    def __init__(self, work: Work, computer: Computer, say: Say) -> None:
        self.work, self.computer, self.say = work, computer, say
        self.entries = {each.name: Entry(each.name, each.ours, each.note) for each in work.contenders}
        self.reference: tuple[Parameters, Parameters] | None = None  # before and after `check_steps` steps
        self.allowed = work.tolerance  # how far parameters may differ from the reference's after these steps
        self.first_runs: dict[tuple[str, int], float] = {}  # (contender, threads) -> seconds of `check_steps` steps
        self.networks = {each.name: each.sample or work.networks for each in work.contenders}
        self.steps = {each.name: each.longer * work.steps for each in work.contenders}

    def run(self, repetitions: int) -> Outcome:
        work = self.work
        prepared = {each.name: self._prepare_and_check(each) for each in self._reference_first()}
        racing: dict[str, Training] = {}
        for contender in work.contenders:
            if by_threads := prepared[contender.name]:
                entry = self.entries[contender.name]
                entry.threads = self._best_threads(by_threads, self.steps[entry.name])
                racing[contender.name] = by_threads[entry.threads]
        del prepared
        gc.collect()
        gc.freeze()  # so that the collector does not look through these objects while a loop is timed
        try:
            for repetition in range(repetitions):
                for name, training in racing.items():
                    self.say(f"{work.title}, round {repetition + 1} of {repetitions}: {name}")
                    self._time(self.entries[name], training)
        finally:
            gc.unfreeze()
            self.computer.set_threads(self.computer.all_threads)
        for contender in work.contenders:
            if contender.compiles and contender.name in racing:
                self._add_compile(self.entries[contender.name])
        if work.module:
            for name in racing:
                self.say(f"{work.title}, memory: {name}")
                entry = self.entries[name]
                entry.tensors, entry.resident = memory.measure(work.module, work.title, name, entry.threads)
        entries = list(self.entries.values())
        return Outcome(work.title, entries, work.goals, work.steps, work.job_steps, repetitions)

    # ---- the same work ---------------------------------------------------------------------------------------------
    def _reference_first(self) -> list[Contender]:
        reference = self.work.reference
        assert reference is not None, f"{self.work.title} has no peer"
        return [reference, *(each for each in self.work.contenders if each is not reference)]

    def _prepare_and_check(self, contender: Contender) -> Prepared:
        """The contender's trainings per thread count, checked against the reference; empty if it is absent."""
        found: Prepared = {}
        why = ""
        for threads in contender.threads or sorted({1, self.computer.all_threads}):
            self.say(f"{self.work.title}: preparing and checking {contender.name}, {threads} threads")
            self.computer.set_threads(threads)
            try:
                with _time_limit(contender.time_limit):
                    training = contender.prepare(threads)
                    begin = training.parameters()
                    seconds = self._seconds(training, self.work.check_steps)
                    self.first_runs[contender.name, threads] = seconds + _compiling(training)
            except Absent as absent:
                why = str(absent)
                break
            self._check(contender, begin, training.parameters())
            found[threads] = training
        if not found:
            if self.reference is None:
                raise NotEqual(f"{self.work.title}: {contender.name}, the reference of all others, is absent: {why}")
            self.entries[contender.name].absent = why
        return found

    def _check(self, contender: Contender, begin: Parameters, end: Parameters) -> None:
        """Raise NotEqual if the parameters are not the reference's. The first contender becomes the reference."""
        work, name = self.work, contender.name
        if self.reference is None:
            self.reference = begin, end
            moved = max(float(np.abs(end[key] - begin[key]).max()) for key in begin)
            self.allowed = work.tolerance * max(moved, 1.0)
            if not moved > MOVED * work.tolerance:
                raise NotEqual(
                    f"{work.title}: {work.check_steps} steps of {name} move no parameter by more than {moved:.2g}: too "
                    f"little to tell contenders apart within {work.tolerance:g}"
                )
        before, after = ({key: each[: contender.sample] for key, each in known.items()} for known in self.reference)
        self._compare(name, "before the first step", begin, before, 0.0)
        difference = self._compare(name, f"after {work.check_steps} steps", end, after, self.allowed)
        self.entries[name].difference = max(self.entries[name].difference, difference)

    def _compare(self, name: str, when: str, found: Parameters, expected: Parameters, tolerance: float) -> float:
        """The largest difference between two sets of parameters. Raises NotEqual if it exceeds the tolerance."""
        of_whom = f"{self.work.title}: {name} does other work than the reference"
        shapes = {key: value.shape for key, value in found.items()}
        if shapes != (wanted := {key: value.shape for key, value in expected.items()}):
            raise NotEqual(f"{of_whom}: its parameters are {shapes}, the reference's {wanted}")
        differences = {
            key: float(np.abs(found[key].astype(np.float64) - value).max()) for key, value in expected.items()
        }
        for key, difference in differences.items():
            if not difference <= tolerance:  # a NaN is equal to nothing
                raise NotEqual(f"{of_whom}: {key} differs by {difference:.3g} {when}, where {tolerance:g} is allowed")
        return max(differences.values())

    # ---- side by side ----------------------------------------------------------------------------------------------
    def _best_threads(self, by_threads: Prepared, steps: int) -> int:
        """The thread count with the shortest run; the counts are tried in turn."""
        if len(by_threads) == 1:
            return next(iter(by_threads))
        quickest = dict.fromkeys(by_threads, float("inf"))
        for _ in range(RACE_ROUNDS):
            for threads, training in by_threads.items():
                self.computer.set_threads(threads)
                self._warm_up(training)
                quickest[threads] = min(quickest[threads], self._seconds(training, steps))
        return min(quickest, key=lambda threads: quickest[threads])

    def _time(self, entry: Entry, training: Training) -> None:
        self.computer.set_threads(entry.threads)
        self._warm_up(training)
        networks, steps = self.networks[entry.name], self.steps[entry.name]
        entry.times.append(self._seconds(training, steps) / steps / networks * MICRO)

    def _warm_up(self, training: Training) -> None:
        """Wake threads and fill caches, by no more steps than are timed."""
        training.run(min(self.work.check_steps, self.work.steps))

    def _seconds(self, training: Training, steps: int) -> float:
        begun = self.computer.clock()
        training.run(steps)
        return self.computer.clock() - begun - _compiling(training)

    def _add_compile(self, entry: Entry) -> None:
        """Add the compile time, and the time per step of a whole training that includes it."""
        work = self.work
        networks = self.networks[entry.name]
        later = work.check_steps * entry.median * networks / MICRO
        entry.compile_seconds = max(self.first_runs[entry.name, entry.threads] - later, 0.0)
        entry.with_compile = entry.median + entry.compile_seconds / work.job_steps / networks * MICRO


def _compiling(training: Training) -> float:
    """The seconds of the last run that went into compiling."""
    return getattr(training, "compiling", 0.0)


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise Absent in the block once it has taken this many seconds."""
    if seconds is None:
        yield
        return

    def too_long(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    except _TimeUp:
        raise Absent(f"not ready within {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
