"""`curves`: values over epochs, with one thin line per run and their mean in bold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LampError, ShapeError
from lamp.intervals import margin_of_mean
from lamp.plots.look import STYLE, a_colour, axes_for, label_axes, legend_below, numbers
from lamp.signatures import called
from lamp.values import a_switch, a_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_FOR_A_BAND = 3  # runs that a confidence band needs
NARROW, WIDE = 5.0, 1000.0  # ratios of largest to smallest, on a log axis


@called()
def curves(
    runs: Any,
    key: str = "loss",
    ax: Axes | None = None,
    *,
    label: str | None = None,
    color: str | None = None,
    log: bool = False,
    window: int = 1,
    band: bool = True,
    xlabel: str = "epoch",
    ylabel: str | None = None,
) -> Axes:
    """Draw one thin translucent line per run, and their mean in bold with a confidence band. Returns the axes.

    runs    a history (any object whose `history[key]` is the values by epoch), a tensor (epochs,) or (epochs, K), or a
            list of these; the runs may have different lengths
    key     the name in the histories, such as "validation_loss"
    label   the name in the legend; without one there is no legend
    log     whether the y axis is logarithmic
    window  the number of epochs over which the bold line is averaged, for noisy curves
    band    whether to draw the 95 % confidence interval of the mean, if there are at least three runs
    ylabel  the label of the y axis; by default the one that the axes have already, or the key

    Several calls with the same axes draw over one another. A run that ended early counts in the mean with its last
    value, so that the mean does not jump; a run that failed, according to its history, counts only up to its failure.
    Lines are straight across epochs without a finite value. On a log scale values that are not positive are left out,
    and a band that reaches 0 continues to the lower edge.

    Raises ArgumentError for no runs, a history without the key, or nothing to draw; ShapeError for other shapes.
    """
    log, band = a_switch(log, "log"), a_switch(band, "band")
    a_colour(color)
    for argument, text in (("label", label), ("ylabel", ylabel)):
        if text is not None:
            a_text(text, argument)
    if not isinstance(key, str):
        raise ArgumentError("key is a name in the history", expected="a text", got=repr(key)[:60], fix='key="loss"')
    values, failed = _side_by_side(runs, key)  # (epochs, K), NaN where there is no value
    count = values.shape[1]
    counted = _carried_on(values, ~failed)
    mean = _smoothed(counted.nanmean(1), window)
    has_band = band and count >= FEWEST_FOR_A_BAND
    margin = _smoothed(margin_of_mean(counted), window) if has_band else mean
    low, high = mean - margin, mean + margin
    if log:
        values, mean = (each.masked_fill(each <= 0, math.nan) for each in (values, mean))
        low = low.clamp_min(0.0)  # a log axis draws 0 at its lower edge
    if mean.isnan().all():
        raise ArgumentError(
            f"no value of {key!r} can be drawn",
            expected="positive values, for a log scale" if log else "at least one finite value",
            got=f"{values.numel()} values, and none is",
            fix="log=False" if log else "look at the history: the run may have diverged at once",
        )
    ax = axes_for(ax, STYLE["wide"])
    if not ax.lines:
        ax.set_prop_cycle(color=STYLE["colors"])
    width = STYLE["mean_width"]
    over = f" and {window} epochs" if window > 1 else ""
    said = ", 95 % band" if has_band else ""
    ended = int((counted.isfinite() & values.isnan()).any(0).sum())
    after = f"\n{ended} that ended early: by {'its' if ended == 1 else 'their'} last value" if ended else ""
    name = f"{label} (mean of {count} runs{over}{said}){after}" if label is not None and count > 1 else label
    (bold,) = ax.plot(*_drawable(mean), color=color, linewidth=width, label=name, zorder=3, marker=_marker(mean))
    if has_band:
        drawn = ~(low.isnan() | high.isnan())
        epochs = (drawn.nonzero().squeeze(1) + 1).numpy()
        shade = STYLE["band_alpha"]
        ax.fill_between(epochs, low[drawn], high[drawn], color=bold.get_color(), alpha=shade, linewidth=0, zorder=2)
    if count > 1:
        faint = min(0.4, 2.0 / math.sqrt(count))
        for run in values.unbind(1):
            ax.plot(
                *_drawable(run), color=bold.get_color(), linewidth=STYLE["run_width"], alpha=faint, marker=_marker(run)
            )
    _finish(ax, log, xlabel, ylabel or ax.get_ylabel() or key.replace("_", " "))
    return ax


def _carried_on(values: Tensor, which: Tensor) -> Tensor:
    """The values; in the columns `which` (K,), the last finite value replaces those missing after it."""
    there = values.isfinite()
    epoch = torch.arange(len(values)).unsqueeze(1)
    last = torch.where(there, epoch, -1).amax(0)  # (K,)
    ended = (epoch > last) & (last >= 0) & which
    return torch.where(ended, values.gather(0, last.clamp_min(0).unsqueeze(0)), values)


def _smoothed(series: Tensor, window: int) -> Tensor:
    """The mean over a window around each epoch; NaN where the window does not fit or has no values."""
    if isinstance(window, int) and window == 1:
        return series
    if not isinstance(window, int) or not 1 <= window <= len(series):
        raise ArgumentError(
            "a window of epochs",
            expected=f"an integer from 1 to {len(series)}",
            got=window,
            fix="window=1 draws the values themselves",
        )
    smooth = torch.full_like(series, math.nan)
    first = window // 2
    means = series.unfold(0, window, 1).nanmean(1)
    smooth[first : first + len(means)] = means
    return smooth


def _drawable(series: Tensor) -> tuple[Any, Any]:
    """The epochs, counted from 1, and the values, without NaN."""
    there = ~series.isnan()
    return (there.nonzero().squeeze(1) + 1).numpy(), series[there].numpy()


def _marker(series: Tensor) -> str:
    """The marker for a series: a dot for a single point, which makes no line."""
    return "." if int((~series.isnan()).sum()) == 1 else ""


def _finish(ax: Axes, log: bool, xlabel: str, ylabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if log:
        _log_axis(ax)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
    ax.grid(True, color=STYLE["grid"], linewidth=0.6)
    ax.set_axisbelow(True)
    label_axes(ax, xlabel, ylabel)
    if ax.get_legend_handles_labels()[1]:
        legend_below(ax, columns=1)


def _log_axis(ax: Axes) -> None:
    """Make the y axis logarithmic, with a few plain numbers on it, for narrow and wide ranges."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, Locator, LogLocator, NullFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    locator: Locator
    if high / low < NARROW:
        locator = AutoLocator()
    else:
        between = (1.0, 2.0, 5.0) if high / low < WIDE else (1.0,)
        locator = LogLocator(subs=between, numticks=12)
    ax.yaxis.set_major_locator(locator)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _side_by_side(runs: Any, key: str) -> tuple[Tensor, Tensor]:
    """All runs as columns, (epochs of the longest, K), and which of them failed according to their history, (K,).

    Values after a run's end, and those that are not finite, are NaN.
    """
    columns: list[Tensor] = []
    failed: list[bool] = []
    for run in _one_by_one(runs):
        series = numbers(_values(run, key), key)
        if series.dim() not in (1, 2) or series.numel() == 0:
            raise ShapeError(
                f"{key!r} is not a curve",
                expected="values by epoch, (epochs,), or of K runs, (epochs, K)",
                got=tuple(series.shape),
                fix="train for an epoch first" if series.numel() == 0 else "pass one number per epoch and run",
            )
        each = [series] if series.dim() == 1 else list(series.unbind(1))
        columns += each
        failed += [k in getattr(run, "failed", ()) for k in range(len(each))]
    if not columns:
        raise ArgumentError(
            "no runs to draw", expected="at least one history", got="none", fix="pass the history of a fit"
        )
    longest = max(len(column) for column in columns)
    values = torch.full((longest, len(columns)), math.nan, dtype=torch.float64)
    for k, column in enumerate(columns):
        values[: len(column), k] = column
    return values.masked_fill(~values.isfinite(), math.nan), torch.tensor(failed)


def _one_by_one(runs: Any) -> Iterable[Any]:
    if _is_sequence(runs):
        return [runs] if runs and all(_is_number(each) for each in runs) else runs
    is_history = hasattr(runs, "__getitem__")
    return runs if isinstance(runs, Iterable) and not is_history else [runs]


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) or getattr(value, "ndim", None) == 0


def _values(run: Any, key: str) -> Any:
    """The values of a run: the run itself, or the history's values for the key."""
    if _is_sequence(run) or hasattr(run, "__array__"):
        return run
    try:
        return run[key]
    except LampError:  # of a history, which says what it holds
        raise
    except KeyError:
        known = [str(name) for name in run] if hasattr(run, "keys") else []
        raise ArgumentError(
            f"the history has no {key!r}",
            expected=", ".join(known) or "a key of the history",
            got=repr(key),
            fix="name one of these" if known else "look at what was recorded",
        ) from None
    except (TypeError, IndexError):
        raise ArgumentError(
            "curves draws histories",
            expected=f"a history with {key!r}, a tensor (epochs,) or (epochs, K), or a list of these",
            got=type(run).__name__,
            fix="pass what lamp.fit returned",
        ) from None
