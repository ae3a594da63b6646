"""Progress of a training: one live line on a terminal; elsewhere plain lines, at most one per second."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

import torch

from lamp.training.measured import Measured
from lamp.values import a_switch

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REFRESH = 0.1  # seconds between two updates of the live line
USUAL_WIDTH = 80  # columns, if the terminal's width is unknown
LEAST_BAR = 1  # columns
PLAIN = 1.0  # seconds between two plain lines


class Reporter(Protocol):
    """Shows how far a training has come."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def at(self, done: float, values: Mapping[str, Measured]) -> None:
        """Show that `done` of `total` units of work are done; `values` are the last epoch's."""


class Silence:
    """Reports nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def at(self, done: float, values: Mapping[str, Measured]) -> None:
        pass


def numbers(values: Mapping[str, Measured], room: int | None = None) -> str:
    """The epoch's values as one short text; of several replicas, the mean of those that are still training.

    room  the most characters; values that do not fit are left out
    """
    short = {name: name.replace("_", " ").replace("validation", "val") for name in values}
    means = {name: float(torch.as_tensor(value, dtype=torch.float64).nanmean()) for name, value in values.items()}
    text = ""
    for name, mean in means.items():
        longer = f"{text}  {short[name]} {mean:.4g}".lstrip()
        if room is None or len(longer) <= room:
            text = longer
    return text


class LiveLine:
    """A progress bar, the epoch and its values, on one line of a terminal."""

    def __init__(self, total: int, title: str, stream: IO[str]) -> None:
        self.total, self.title, self.stream = total, title, stream
        self._next = 0.0
        self._not_shown: tuple[float, Mapping[str, Measured]] | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.table import Column

        longest, elapsed, left = len(self._describe(self.total)), len("0:00:00"), len("00:00")
        self._step_count = longest + elapsed + left + LEAST_BAR + len("    ")  # with the spaces between
        self._progress: Progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=longest)),
            BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=LEAST_BAR)),
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=elapsed)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=left)),
            console=Console(file=self.stream, width=_width_of(self.stream)),
            auto_refresh=False,
            expand=True,
        )
        self._progress.start()
        self._task: TaskID = self._progress.add_task(self._describe(0), total=self.total, numbers="")
        return self

    def _describe(self, done: float) -> str:
        return f"{self.title} {int(done)}/{self.total}"

    def at(self, done: float, values: Mapping[str, Measured]) -> None:
        now = time.monotonic()
        if now < self._next and done < self.total:
            self._not_shown = done, dict(values)
            return
        self._next = now + REFRESH
        self._show(done, values)

    def _show(self, done: float, values: Mapping[str, Measured]) -> None:
        self._not_shown = None
        width = self._progress.console.width = _width_of(self.stream)
        shown = numbers(values, width - self._step_count)
        self._progress.update(self._task, completed=done, description=self._describe(done), numbers=shown)
        self._progress.refresh()

    def __exit__(self, *_: object) -> None:
        if self._not_shown is not None:  # the line that stays is the last one
            self._show(*self._not_shown)
        self._progress.stop()


def _width_of(stream: IO[str]) -> int:
    """The columns of a line, less those that the terminal needs to show ^C without beginning another line."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # not a terminal after all
        columns = 0
    return max((columns or USUAL_WIDTH) - len("^C^C"), 1)


class PlainLines:
    """Plain lines for logs and pipes: at most one per second, and none twice."""

    def __init__(self, total: int, title: str, stream: IO[str]) -> None:
        self.total, self.title, self.stream = total, title, stream
        self._next = time.monotonic() + PLAIN
        self._told, self._line = 0.0, ""

    def __enter__(self) -> Self:
        return self

    def at(self, done: float, values: Mapping[str, Measured]) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PLAIN
            self._tell(done, values)
        self._last = (done, dict(values))

    def _tell(self, done: float, values: Mapping[str, Measured]) -> None:
        line = f"{self.title} {int(done)}/{self.total}  {numbers(values)}".rstrip()
        if line != self._line:
            print(line, file=self.stream, flush=True)
        self._told, self._line = done, line

    def __exit__(self, *_: object) -> None:
        done, values = getattr(self, "_last", (0.0, {}))
        if done > self._told:
            self._tell(done, values)


def reporter(show: bool, total: int, title: str = "epoch", stream: IO[str] | None = None) -> Reporter:
    """The reporter for a stream: silent if not `show`, a live line on a terminal, else plain lines."""
    if not a_switch(show, "progress"):
        return Silence()
    stream = stream or sys.stderr
    return LiveLine(total, title, stream) if stream.isatty() else PlainLines(total, title, stream)
