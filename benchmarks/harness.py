"""The protocol every speed claim is measured under: the same work, checked equal, then timed side by side.

A row compares contenders on one or more pieces of work. For each piece:

1. every contender is prepared, at each thread count it is to try, and must begin with the reference's parameters, to
   the bit;
2. each trains for `check_steps` steps, and its parameters must then equal the reference's within `tolerance`: one that
   does not ends the whole run with NotEqual, before anything is timed;
3. a short race between its thread counts picks each contender's best;
4. the contenders are timed in turn, A B C A B C, all in this process; a ratio is taken within a round, between times
   that stand next to each other, so that whatever else the machine did then touches both.

What a contender compiles, it compiles in its first `check_steps` steps: what those took beyond as many later ones is
reported as its compile time, apart, and again spread over a whole training job of `job_steps` steps. One that compiles
in every run says how long that took, and is timed without it.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.outcome import Entry, Goal, Outcome

Parameters = Mapping[str, NDArray[Any]]

REPETITIONS, LEAST_REPETITIONS = 15, 5
RACE_ROUNDS = 3  # between a contender's thread counts
MOVED = 100  # times the tolerance: parameters that moved less would be equal whatever was done to them
MICRO = 1e6
AGAIN = 1.0  # seconds after which a time limit strikes again: Python swallows errors raised in some callbacks


class Training(Protocol):
    """One network in training by one contender."""

    def run(self, steps: int) -> None:
        """Train for so many more steps, to the end: no work may be left pending."""

    def parameters(self) -> Parameters:
        """Copies of the parameters as they are now, under the reference's names and in its shapes."""

    # One that compiles anew in each run has the seconds which that took in the last one as its attribute `compiling`.


class Absent(Exception):
    """A contender cannot run here; the reason stands in the table in its place."""


class _TimeUp(BaseException):
    """Not an Exception, so that a compiler in whose middle it is raised does not take it for an error of its own."""


class NotEqual(Exception):
    """Contenders do not compute the same thing, so timing them would compare nothing."""


@dataclass(frozen=True)
class Contender:
    """Who takes part.

    prepare     threads -> a Training from the row's initial weights, on that many threads; raises Absent
    threads     the counts to try; None: 1 and all
    ours        lamp: the other contenders' times are given as ratios to it
    compiles    its first steps may take long; where they take longer than `time_limit` seconds it is absent
    note        what a reader should know of it, for the table
    sample      of the work's networks it trains the first so many, whose times stand for all; None: it trains all
    """

    name: str
    prepare: Callable[[int], Training]
    threads: tuple[int, ...] | None = None
    ours: bool = False
    compiles: bool = False
    time_limit: float | None = None
    note: str = ""
    sample: int | None = None


@dataclass(frozen=True)
class Work:
    """One piece of work, done by every contender. The first that is not lamp's, nor a sample, is the check's reference.

    steps       timed at a time
    job_steps   of a whole training, over which compiling once is spread
    networks    trained by each step: times are given for one of them
    """

    title: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    steps: int = 1000
    check_steps: int = 20
    job_steps: int = 10_000
    tolerance: float = 1e-5
    networks: int = 1


@dataclass(frozen=True)
class Row:
    """A row of the benchmark table."""

    number: int
    title: str
    works: tuple[Work, ...]


@dataclass(frozen=True)
class Computer:
    """What the harness asks of the computer; a test puts a clock of its own here."""

    clock: Callable[[], float] = time.perf_counter
    set_threads: Callable[[int], None] = torch.set_num_threads
    all_threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))


Say = Callable[[str], None]
Prepared = dict[int, Training]  # by threads


def measure(
    work: Work, repetitions: int = REPETITIONS, computer: Computer | None = None, say: Say = lambda text: None
) -> Outcome:
    """Check the contenders equal, then time them in turn. Raises NotEqual."""
    if repetitions < LEAST_REPETITIONS:
        raise ValueError(f"{repetitions} repetitions are too few: the protocol wants {LEAST_REPETITIONS} or more")
    return _Measurement(work, computer or Computer(), say).run(repetitions)


class _Measurement:
    """One piece of work being measured."""

    def __init__(self, work: Work, computer: Computer, say: Say) -> None:
        self.work, self.computer, self.say = work, computer, say
        self.entries = {each.name: Entry(each.name, each.ours, each.note) for each in work.contenders}
        self.reference: tuple[Parameters, Parameters] | None = None  # before and after the steps of the check
        self.first_runs: dict[tuple[str, int], float] = {}  # seconds, by contender and threads
        self.networks = {each.name: each.sample or work.networks for each in work.contenders}

    def run(self, repetitions: int) -> Outcome:
        work = self.work
        prepared = {each.name: self._prepare_and_check(each) for each in self._reference_first()}
        racing: dict[str, Training] = {}
        for contender in work.contenders:
            if by_threads := prepared[contender.name]:
                entry = self.entries[contender.name]
                entry.threads = self._best_threads(by_threads)
                racing[contender.name] = by_threads[entry.threads]
        del prepared
        gc.collect()
        gc.freeze()  # what stands here is no garbage of the loops timed below
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
        entries = list(self.entries.values())
        return Outcome(work.title, entries, work.goals, work.steps, work.job_steps, repetitions)

    # ---- the same work ---------------------------------------------------------------------------------------------
    def _reference_first(self) -> list[Contender]:
        reference = next(each for each in self.work.contenders if not each.ours and each.sample is None)
        return [reference, *(each for each in self.work.contenders if each is not reference)]

    def _prepare_and_check(self, contender: Contender) -> Prepared:
        """The contender's trainings, by threads, found equal to the reference; none where it is absent."""
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
        """Raise NotEqual for parameters that are not the reference's; the first that come are the reference."""
        work, name = self.work, contender.name
        if self.reference is None:
            self.reference = begin, end
            moved = max(float(np.abs(end[key] - begin[key]).max()) for key in begin)
            if not moved > MOVED * work.tolerance:
                raise NotEqual(
                    f"{work.title}: {work.check_steps} steps of {name} move no parameter by more than {moved:.2g}: too "
                    f"little to tell contenders apart within {work.tolerance:g}"
                )
        before, after = ({key: each[: contender.sample] for key, each in known.items()} for known in self.reference)
        self._compare(name, "before the first step", begin, before, 0.0)
        difference = self._compare(name, f"after {work.check_steps} steps", end, after, work.tolerance)
        self.entries[name].difference = max(self.entries[name].difference, difference)

    def _compare(self, name: str, when: str, found: Parameters, expected: Parameters, tolerance: float) -> float:
        """The largest difference. Raises NotEqual where it is more than the tolerance."""
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
    def _best_threads(self, by_threads: Prepared) -> int:
        """The thread count with the quickest run, all trying in turn."""
        if len(by_threads) == 1:
            return next(iter(by_threads))
        quickest = dict.fromkeys(by_threads, float("inf"))
        for _ in range(RACE_ROUNDS):
            for threads, training in by_threads.items():
                self.computer.set_threads(threads)
                self._warm_up(training)
                quickest[threads] = min(quickest[threads], self._seconds(training, max(self.work.steps // 5, 1)))
        return min(quickest, key=lambda threads: quickest[threads])

    def _time(self, entry: Entry, training: Training) -> None:
        self.computer.set_threads(entry.threads)
        self._warm_up(training)
        networks = self.networks[entry.name]
        entry.times.append(self._seconds(training, self.work.steps) / self.work.steps / networks * MICRO)

    def _warm_up(self, training: Training) -> None:
        """Wake threads and warm caches; never longer than the timing takes."""
        training.run(min(self.work.check_steps, self.work.steps))

    def _seconds(self, training: Training, steps: int) -> float:
        begun = self.computer.clock()
        training.run(steps)
        return self.computer.clock() - begun - _compiling(training)

    def _add_compile(self, entry: Entry) -> None:
        """The compile time, apart and included once."""
        work = self.work
        networks = self.networks[entry.name]
        later = work.check_steps * entry.median * networks / MICRO
        entry.compile_seconds = max(self.first_runs[entry.name, entry.threads] - later, 0.0)
        entry.with_compile = entry.median + entry.compile_seconds / work.job_steps / networks * MICRO


def _compiling(training: Training) -> float:
    """Seconds of the last run that went into compiling anew."""
    return getattr(training, "compiling", 0.0)


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise Absent in the code below once it has taken this long."""
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
