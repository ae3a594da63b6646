"""Points of the plane: data sets, and which points a network classifies correctly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LabelError, NonFiniteError, ShapeError
from lamp.plots.look import STYLE, axes_for, label_axes, legend_below, numbers, outline_points, write_title
from lamp.signatures import called
from lamp.values import a_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DISK_CENTRE = (0.5, 0.5)
DISK_RADIUS = 1 / math.sqrt(2 * math.pi)  # so that the disk covers half of the unit square


@called()
def data_set(inputs: Any, targets: Any, ax: Axes | None = None, *, title: str | None = None) -> Axes:
    """Draw the points of a data set, each class in its colour: inputs (n, 2), targets (n,). Returns the axes.

    Raises ShapeError for other shapes, and LabelError for targets that are not class numbers.
    """
    at = _plane(inputs)
    classes = _classes(targets, len(at), "targets")
    looks = _looks(classes)
    ax = axes_for(ax)
    _draw_classes(ax, at, classes, looks, alpha=0.85)
    _finish(ax, title)
    return ax


@called()
def points(
    inputs: Any, targets: Any, predictions: Any = None, ax: Axes | None = None, *, title: str | None = None
) -> Axes:
    """Draw a test set: correct predictions as green plus signs, wrong ones as red dots, with the accuracy in the title.

    Shapes  inputs (n, 2), targets (n,), predictions (n,); predictions are classes, not scores

    Without predictions it draws what `data_set` does. Returns the axes.

    Raises ShapeError for other shapes, and LabelError for targets or predictions that are not class numbers.
    """
    if predictions is None:
        return data_set(inputs, targets, ax, title=title)
    at = _plane(inputs)
    right = _classes(targets, len(at), "targets") == _classes(predictions, len(at), "predictions")
    ax = axes_for(ax)
    _draw(
        ax, at[right], f"right ({int(right.sum())})", STYLE["right"], STYLE["right_marker"], _marker_size(len(at)) + 1.5
    )
    _draw_wrong(ax, at[~right], _marker_size(len(at)))
    _finish(ax, _with_title(title, f"accuracy {100 * right.double().mean().item():.1f} %"))
    return ax


@called()
def runs_overlaid(
    inputs: Any, targets: Any, predictions_of_runs: Any, ax: Axes | None = None, *, title: str | None = None
) -> Axes:
    """Draw the points of several runs over one another, wrong ones in red, with mean accuracy ± std in the title.

    predictions_of_runs  a list of tensors (n,), or a tensor (K, n)
    inputs, targets      (n, 2) and (n,) for all runs; or one per run, as lists of these, or (K, n, 2) and (K, n)

    std is the standard deviation over runs (divided by K - 1). Returns the axes.

    Raises ArgumentError for no runs or different numbers of runs, ShapeError for other shapes, and LabelError for
    targets or predictions that are not class numbers.
    """
    predictions = _runs(predictions_of_runs, "predictions_of_runs", axes_of_one=1)
    if not predictions:
        raise ArgumentError("no runs to draw", expected="predictions of at least one run", got="none", fix="pass some")
    count = len(predictions)
    places = [_plane(each) for each in _for_each(inputs, "inputs", axes_of_one=2, count=count)]
    labels = _for_each(targets, "targets", axes_of_one=1, count=count)
    classes = [_classes(label, len(at), "targets") for label, at in zip(labels, places, strict=True)]
    right = [
        each == _classes(predicted, len(each), "predictions")
        for each, predicted in zip(classes, predictions, strict=True)
    ]
    at, every_class, is_right = torch.cat(places), torch.cat(classes), torch.cat(right)
    ax = axes_for(ax)
    _draw_classes(ax, at[is_right], every_class[is_right], _looks(every_class), alpha=max(0.12, 0.6 / count))
    _draw_wrong(ax, at[~is_right], _marker_size(len(at)))
    _finish(ax, _with_title(title, _accuracy_over(right)))
    return ax


@called()
def disk(ax: Axes | None = None) -> Axes:
    """Draw the boundary of the disk data set's classes: a dashed circle of radius 1/sqrt(2 pi) around (0.5, 0.5)."""
    angle = torch.linspace(0, 2 * math.pi, 361, dtype=torch.float64)
    x, y = DISK_CENTRE[0] + DISK_RADIUS * angle.cos(), DISK_CENTRE[1] + DISK_RADIUS * angle.sin()
    ax = axes_for(ax)
    ax.plot(x.numpy(), y.numpy(), linestyle="--", linewidth=1.4, color=STYLE["ink"], label="disk", zorder=4)
    ax.set_aspect("equal", adjustable="box")
    legend_below(ax)
    return ax


def _accuracy_over(right: Sequence[Tensor]) -> str:
    percent = 100 * torch.stack([each.double().mean() for each in right])
    if len(percent) == 1:
        return f"accuracy {percent.item():.1f} %, 1 run"
    return f"accuracy {percent.mean().item():.1f} ± {percent.std().item():.1f} %, {len(percent)} runs"


# ---- drawing ---------------------------------------------------------------------------------------------------
def _draw_classes(ax: Axes, at: Tensor, classes: Tensor, looks: dict[float, tuple[str, str]], alpha: float) -> None:
    size = _marker_size(len(at))
    for label, (color, marker) in looks.items():
        _draw(ax, at[classes == label], f"class {label:g}", color, marker, size, alpha)


def _looks(classes: Tensor) -> dict[float, tuple[str, str]]:
    """The colour and the marker of each class that occurs; a class number has the same ones in every figure."""
    looks = [(color, marker) for marker in STYLE["class_markers"] for color in STYLE["colors"]]
    present = sorted(set(classes.tolist()))
    if len(present) > len(looks):
        raise LabelError(
            "there are too many classes to distinguish",
            expected=f"at most {len(looks)}",
            got=len(present),
            fix="pass class numbers as targets, or draw fewer classes",
        )
    are_numbers = present[0] >= 0 and present[-1] < len(looks)
    return {label: looks[int(label) if are_numbers else k] for k, label in enumerate(present)}


def _draw_wrong(ax: Axes, at: Tensor, size: float) -> None:
    _draw(ax, at, f"wrong ({len(at)})", STYLE["wrong"], STYLE["wrong_marker"], size + 0.8, zorder=3)


def _draw(
    ax: Axes, at: Tensor, label: str, color: str, marker: str, size: float, alpha: float = 1.0, zorder: float = 2
) -> None:
    edge = 1.1 if marker == STYLE["right_marker"] else 0.0
    ax.plot(
        at[:, 0].numpy(),
        at[:, 1].numpy(),
        linestyle="",
        marker=marker,
        color=color,
        markersize=size,
        markeredgewidth=edge,
        alpha=alpha,
        label=label,
        zorder=zorder,
    )


def _marker_size(count: int) -> float:
    """The size of markers in points, which decreases with the number of points drawn; 4 for a thousand."""
    return float(min(7.0, max(2.5, 4.0 * (1000 / max(count, 1)) ** 0.25)))


def _finish(ax: Axes, title: str | None) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_aspect("equal", adjustable="box")
    outline_points(ax)
    ax.margins(0.03)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    label_axes(ax, "$x_1$", "$x_2$")
    legend_below(ax)
    if title is not None:
        write_title(ax, title)


def _with_title(title: str | None, found: str) -> str:
    return found if title is None else f"{a_text(title, 'title')}: {found}"


# ---- reading the input -----------------------------------------------------------------------------------------
def _plane(inputs: Any) -> Tensor:
    at = numbers(inputs, "inputs")
    if at.dim() != 2 or at.shape[1] != 2 or len(at) == 0:
        raise ShapeError(
            "inputs must have two coordinates",
            expected="(n, 2), n at least 1",
            got=tuple(at.shape),
            fix="pass the two columns to draw, such as inputs[:, :2]",
        )
    if not at.isfinite().all():
        raise NonFiniteError(
            "inputs that are not finite cannot be drawn",
            expected="finite inputs",
            got="NaN or infinity",
            fix="leave those rows out: keep = inputs.isfinite().all(1)",
        )
    return at


def _classes(labels: Any, count: int, name: str) -> Tensor:
    """Class numbers (n,), from (n,) or (n, 1)."""
    found = numbers(labels, name)
    if found.shape == (count, 1) and count != 1:
        found = found.squeeze(1)
    if found.shape != (count,):
        scores = found.dim() == 2 and len(found) == count
        raise ShapeError(
            f"the {name} do not match the inputs",
            expected=(count,),
            got=tuple(found.shape),
            fix=f"{name}.argmax(-1)" if scores else "pass one class a point",
        )
    whole = found.isfinite() & (found == found.round())
    if not whole.all():
        raise LabelError(
            f"the {name} are not class numbers",
            expected="whole numbers, such as 0 and 1",
            got=f"{found[~whole][0].item():.4g}",
            fix="(output > 0.5).long() for outputs that are probabilities",
        )
    return found


def _runs(values: Any, name: str, axes_of_one: int) -> list[Any]:
    """A list with one entry per run."""
    if isinstance(values, list | tuple):
        return list(values)
    tensor = numbers(values, name)
    if tensor.dim() != axes_of_one + 1:
        raise ShapeError(
            f"{name} of several runs",
            expected=f"a list, or a tensor of {axes_of_one + 1} axes, the first over runs",
            got=tuple(tensor.shape),
            fix=f"[{name}], for one run",
        )
    return list(tensor)


def _for_each(values: Any, name: str, axes_of_one: int, count: int) -> list[Any]:
    """A list with one entry for each of `count` runs, from one entry for all or one per run."""
    if not isinstance(values, list | tuple) and numbers(values, name).dim() <= axes_of_one:
        return [values] * count
    found = _runs(values, name, axes_of_one)
    if len(found) != count:
        raise ArgumentError(
            f"{name} and predictions have different numbers of runs",
            expected=f"{count} {name}, one per run, or one tensor for all",
            got=len(found),
            fix="pass as many of one as of the other",
        )
    return found
