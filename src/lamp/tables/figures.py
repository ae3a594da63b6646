"""The figures of a training on a table: learning curves, calibration or residuals, confusion, importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lamp.plots import curves, heat_map, panels
from lamp.plots.fonts import drawable
from lamp.plots.look import STYLE, axes_for, for_notebooks, label_axes, legend_below, plain_ticks, write_title
from lamp.printable import readable, shortened
from lamp.tables.importance import Importance
from lamp.tables.metrics import ROWS_PER_PART, bins_of, calibration_error, shares_by_size, wilson
from lamp.tables.prediction_intervals import COVERAGE, PredictionIntervals
from lamp.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 20
MOST_CLASSES_DRAWN = 20
MOST_POINTS = 5_000
PARTS = ("", "halves of the ", "thirds of the ", "quarters of the ", "fifths of the ")
LINE_POINTS = 400  # of the band of intervals
LONGEST_NAME = 28  # characters of a column's or a class's name on an axis


def training_curves(histories: Sequence[History], ax: Axes | None = None) -> Axes:
    """The members' losses per epoch, on training rows and on rows held out; the members of all groups together."""
    ax = curves(list(histories), "loss", ax, label="training", log=True, band=False)
    curves(list(histories), "validation_loss", ax, label="held out", log=True, band=False)
    write_title(ax, f"{sum(history.replicas or 1 for history in histories)} members of the ensemble")
    return ax


def reliability(p: Tensor, labels: Tensor, ax: Axes | None = None, on: str = "test") -> Axes:
    """A reliability diagram: the share of correct rows by the probability of the predicted class, with 95 % intervals.

    Without `ax`, a second panel below shows the number of rows per bin. `on` says which rows these are.
    """
    above, below = _upper_and_lower() if ax is None else (ax, None)
    mean, right, rows = bins_of(p, labels)
    there = (rows > 0).nonzero().flatten().tolist()
    above.plot(
        [0, 1], [0, 1], linestyle="--", linewidth=1.2, color=STYLE["colors"][6], label="perfectly calibrated", zorder=1
    )
    spans = [wilson(round(right[k].item() * rows[k].item()), int(rows[k])) for k in there]
    at = [mean[k].item() for k in there]
    shares = [span.value for span in spans]
    low = [span.value - (span.low or 0.0) for span in spans]
    high = [(span.high or 1.0) - span.value for span in spans]
    blue = STYLE["colors"][0]
    above.errorbar(at, shares, yerr=[low, high], fmt="o-", color=blue, capsize=3, markersize=6, linewidth=1.6,
                   elinewidth=1.2, label=f"{on} rows, 95 % interval", zorder=3)  # fmt: skip
    least = min(0.45, 1 / p.shape[1])
    left = max(0.0, min([least, *at]) - 0.04)
    above.set(xlim=(left, 1.02), ylim=(-0.03, 1.03))
    above.grid(True, color=STYLE["grid"], linewidth=0.6)
    above.set_axisbelow(True)
    above.legend(loc="best", fontsize=STYLE["text_size"], framealpha=0.9, edgecolor="none")
    write_title(above, f"expected calibration error {calibration_error(p, labels):.3f}, {len(labels):,} rows")
    if below is None:
        label_axes(above, "probability of the predicted class", "share of correct rows")
        return above
    label_axes(above, "", "share of correct rows")
    above.tick_params(labelbottom=False)
    bins = len(rows)
    below.bar([(k + 0.5) / bins for k in range(bins)], rows.tolist(), width=0.9 / bins, color=blue, alpha=0.6)
    below.set(xlim=(left, 1.02))
    label_axes(below, "probability of the predicted class", "rows")
    return above


def residuals(predicted: Tensor, truth: Tensor, intervals: PredictionIntervals, name: str, on: str = "test") -> Axes:
    """Two panels: true against predicted numbers with the 90 % intervals, and their coverage by size of prediction."""
    left, right = panels(2)
    left, right = axes_for(left), axes_for(right)
    points = slice(None, None, math.ceil(len(truth) / MOST_POINTS))
    ends = torch.stack([predicted.min(), predicted.max(), truth.min(), truth.max()])
    low, high = float(ends.min()), float(ends.max())
    pad = 0.04 * (high - low)
    line = torch.linspace(low - pad, high + pad, LINE_POINTS, dtype=torch.float64)
    blue, orange = STYLE["colors"][0], STYLE["colors"][1]
    size = min(5.0, max(1.5, 4.0 * (500 / len(truth)) ** 0.25))
    low_ends, high_ends = intervals.around(predicted)
    inside = (low_ends <= truth) & (truth <= high_ends)
    width = readable(float((high_ends - low_ends).mean()))
    lower, upper = (end.numpy() for end in intervals.around(line))
    left.fill_between(
        line.numpy(), lower, upper, color=orange, alpha=0.22, linewidth=0, label="90 % interval", zorder=1
    )
    left.plot(line[[0, -1]].numpy(), line[[0, -1]].numpy(), linestyle="--", linewidth=1.4, color=STYLE["ink"],
              label="predicted = true", zorder=2)  # fmt: skip
    left.plot(predicted[points].numpy(), truth[points].numpy(), linestyle="", marker="o", markersize=size,
              markeredgewidth=0, color=blue, alpha=0.55, label=f"{on} rows", zorder=3)  # fmt: skip
    left.set(xlim=(line[0].item(), line[-1].item()), ylim=(line[0].item(), line[-1].item()))
    left.set_aspect("equal")
    legend_below(left)
    label = _labels([name])[0]
    label_axes(left, f"predicted {label}", f"true {label}")
    write_title(left, f"the intervals are {width} wide on average")
    parts = min(len(PARTS), max(1, len(truth) // ROWS_PER_PART))
    at = [float(part.mean()) for part in predicted.sort().values.tensor_split(parts)]
    shares = shares_by_size(predicted, inside, parts)
    below = [100 * (each.value - (each.low or 0.0)) for each in shares]
    above = [100 * ((each.high or 1.0) - each.value) for each in shares]
    right.axhline(100 * COVERAGE, linestyle="--", linewidth=1.4, color=STYLE["ink"], label="meant to hold")
    right.errorbar(at, [100 * each.value for each in shares], yerr=[below, above], fmt="o", color=blue, capsize=3,
                   label=f"{PARTS[parts - 1]}{on} rows")  # fmt: skip
    right.set_ylim(min(60.0, *(100 * (each.low or 0.0) for each in shares)) - 2, 102)
    legend_below(right)
    write_title(right, f"{100 * inside.double().mean():.0f} % of {len(truth):,} rows lie within their interval")
    label_axes(right, f"predicted {label}", "within the interval (%)")
    for axis in (left, right):
        plain_ticks(axis)
        axis.grid(True, color=STYLE["grid"], linewidth=0.6)
        axis.set_axisbelow(True)
    return left


def confusion(p: Tensor, labels: Tensor, classes: Sequence[str], ax: Axes | None = None, on: str = "test") -> Axes:
    """The confusion matrix: a row per true class, a column per predicted class; shares as colours, counts as text.

    If there are too many classes to draw, it shows those that were confused most.
    """
    count = len(classes)
    predicted = p.argmax(1)
    table = torch.bincount(labels * count + predicted, minlength=count * count).view(count, count).double()
    chosen = list(range(count))
    if count > MOST_CLASSES_DRAWN:
        mistaken = table.sum(1) + table.sum(0) - 2 * table.diag()
        chosen = mistaken.argsort(descending=True, stable=True)[:MOST_CLASSES_DRAWN].sort().values.tolist()
    if ax is None:
        side = min(11.0, max(5.0, 2.6 + 0.5 * len(chosen)))
        ax = _of_size(side + 0.9, side)
    names = _labels([classes[k] for k in chosen], 14)
    shares = (table / table.sum(1, keepdim=True).clamp_min(1))[chosen][:, chosen]
    # heat_map draws its first row lowest
    ax = heat_map(shares.flip(0), names, names[::-1], ax, xlabel="predicted", ylabel="true", best=None,
                  label="share of the true class")  # fmt: skip
    for text in list(ax.texts):
        text.remove()
    ax.images[0].set_cmap("Blues")
    ax.images[0].set_clim(0.0, 1.0)
    for row, true in enumerate(reversed(chosen)):
        for column, said in enumerate(chosen):
            number = int(table[true, said])
            dark = shares[len(chosen) - 1 - row, column] > 0.5
            size = STYLE["text_size"] - (2 if len(chosen) > 12 else 0)
            if number or len(chosen) <= 6:
                ax.text(column, row, f"{number:,}", ha="center", va="center", fontsize=size,
                        color="#FFFFFF" if dark else STYLE["ink"])  # fmt: skip
    right = float((predicted == labels).double().mean())
    more = f"; the {len(chosen)} of {count} classes most often confused" if len(chosen) < count else ""
    write_title(ax, f"{100 * right:.1f} % of {len(labels):,} {on} rows correct{more}")
    return ax


def importance_bars(found: Sequence[Importance], classes: bool, ax: Axes | None = None) -> Axes:
    """A bar chart of the most important columns, with the most important on top."""
    shown = list(found[:MOST_BARS])[::-1]
    ax = axes_for(_of_size(7.0, 1.4 + 0.3 * max(len(shown), 3)) if ax is None else ax)
    places = range(len(shown))
    ax.barh(places, [each.mean for each in shown], xerr=[each.std if each.std == each.std else 0.0 for each in shown],
            color=STYLE["colors"][0], alpha=0.85, height=0.7, error_kw={"linewidth": 1.2, "capsize": 2})  # fmt: skip
    ax.set_yticks(places, _labels([each.column for each in shown]))
    ax.axvline(0, color=STYLE["ink"], linewidth=0.8)
    ax.grid(True, axis="x", color=STYLE["grid"], linewidth=0.6)
    ax.set_axisbelow(True)
    what = "log loss" if classes else "squared error (in variances of the target)"
    label_axes(ax, f"rise of the {what} when shuffled (± std)", "")
    if len(found) > len(shown):
        write_title(ax, f"the {len(shown)} most important of {len(found)} columns")
    return ax


def _labels(names: Sequence[str], longest: int = LONGEST_NAME) -> list[str]:
    """Names for an axis: shortened, distinct, and in letters that the fonts have."""
    return [label.replace("$", r"\$") for label in shortened([drawable(name) for name in names], longest)]


def _of_size(width: float, height: float) -> Axes:
    from matplotlib.figure import Figure

    return axes_for(for_notebooks([Figure(figsize=(width, height), layout="constrained").subplots()])[0])


def _upper_and_lower() -> tuple[Axes, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 6.2), layout="constrained")
    above, below = for_notebooks(list(figure.subplots(2, 1, height_ratios=[4, 1])))
    return axes_for(above), axes_for(below)
