"""The figure of results: one panel of bars per `Work`, lamp's engines in blue and the peers in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from benchmarks.outcome import Outcome
from benchmarks.report import Report, number

COMPILED, EAGER, PEER = "#0072B2", "#56B4E9", "#B0B0B0"
COLUMNS = 3
WIDTH, BAR, AROUND = 4.6, 0.24, 1.0  # inches: a panel's width, a bar's height, room above and below the bars
LEAST = 1.3  # the shortest bar ends at this many times the value where bars begin
FOR_NUMBERS = 0.45  # decades of the axis to the right of the longest bar, for its number
DPI = 130


def draw(reports: Sequence[Report]) -> Figure:
    """A figure with one panel per `Work` of these rows: the time of a step on a logarithmic axis, shortest first.

    All bars of a row begin at the same power of ten, and all panels span as many decades, so equal lengths are equal
    ratios.
    """
    shown = [(report.row, outcome, _begin(report)) for report in reports for outcome in report.outcomes]
    columns = min(COLUMNS, len(shown))
    lines = [shown[at : at + columns] for at in range(0, len(shown), columns)]
    heights = [AROUND + BAR * max(len(_timed(outcome)) for _, outcome, _ in line) for line in lines]
    decades = FOR_NUMBERS + max(math.log10(max(_times(outcome)) / begin) for _, outcome, begin in shown)
    figure = Figure(figsize=(WIDTH * columns, sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for line, axes in zip(lines, panels, strict=True):
        for (row, outcome, begin), each in zip(line, axes, strict=False):
            _bars(each, f"Row {row}: {outcome.title.split(', ', 1)[0]}", outcome, (begin, begin * 10**decades))
        for empty in axes[len(line) :]:
            empty.set_axis_off()
    legend = [Patch(color=color, label=label) for color, label in _legend()]
    figure.legend(handles=legend, loc="outside upper center", ncols=len(legend), frameon=False)
    return figure


def write_figure(reports: Sequence[Report], path: Path) -> None:
    """Draw the figure and write it in the format that the path's ending names."""
    draw(reports).savefig(path, dpi=DPI)


def _legend() -> list[tuple[str, str]]:
    return [(COMPILED, "lamp, compiled"), (EAGER, "lamp, eager"), (PEER, "others")]


def _timed(outcome: Outcome) -> list[str]:
    """The names of the contenders that were timed, the fastest first."""
    there = [entry for entry in outcome.entries if entry.absent is None]
    return [entry.name for entry in sorted(there, key=lambda entry: entry.median)]


def _times(outcome: Outcome) -> list[float]:
    return [outcome[name].median for name in _timed(outcome)]


def _begin(report: Report) -> float:
    """The time, in microseconds, at which the bars of a row begin."""
    least = min(min(_times(outcome)) for outcome in report.outcomes)
    return float(10 ** math.floor(math.log10(least / LEAST)))


def _bars(axes: Axes, title: str, outcome: Outcome, limits: tuple[float, float]) -> None:
    names, times, begin = _timed(outcome), _times(outcome), limits[0]
    colors = [_color(name, outcome[name].ours) for name in names]
    axes.barh(range(len(names)), [time - begin for time in times], left=begin, color=colors, height=0.75)
    axes.set_xscale("log")
    axes.set_xlim(limits)
    axes.xaxis.set_major_formatter(lambda time, at: _in_units(time))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    for at, time in enumerate(times):
        axes.annotate(number(time), (time, at), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("a step of one network; numbers in us", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _in_units(microseconds: float) -> str:
    """A power of ten of microseconds in its largest unit, such as "10 ms"."""
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} us"


def _color(name: str, ours: bool) -> str:
    return PEER if not ours else COMPILED if "compiled" in name else EAGER
