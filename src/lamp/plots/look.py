"""The common style of all figures, new axes to draw on, and `save`, which writes a figure to a file."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError
from lamp.signatures import called
from lamp.values import a_number, a_text, as_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LONGEST_TICK = 8  # characters; longer numbers under an axis are slanted
COLOR_BAR = "_lamp_colour_bar"  # the attribute of axes that holds the axes of their colour bar

STYLE: dict[str, Any] = {
    # Colours that can be distinguished with the common forms of colour blindness (Okabe & Ito 2008; red: Tol 2021)
    "colors": ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F"),
    "right": "#009E73",
    "wrong": "#CC3311",
    "missing": "#D9D9D9",
    "map_depth": 0.7,  # the strength of class colours in a map, where 1 is full strength
    "ink": "#222222",
    "grid": "#DDDDDD",
    "right_marker": "+",
    "wrong_marker": "o",
    "class_markers": ("o", "s", "^", "D"),
    "run_width": 0.8,
    "mean_width": 2.4,
    "band_alpha": 0.3,
    "boundary_width": 1.8,
    "title_size": 12,
    "label_size": 12,
    "text_size": 10.5,
    "dpi": 150,
    "screen_dpi": 100,  # in a notebook
    "panel": 5.0,  # inches, the side of a panel
    "wide": (6.6, 4.4),  # inches, a figure of curves
    "apart": 0.08,  # inches of padding around each panel
}


MOST_PANELS = 100  # per row or column


@called()
def panels(columns: int, rows: int = 1) -> list[Axes]:
    """A list of the axes of a new figure, row by row: `left, right = panels(2)`. The figure is `left.figure`."""
    for name, count in (("columns", columns), ("rows", rows)):
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_PANELS:
            raise ArgumentError(
                f"panels needs {name}",
                expected=f"a positive integer, at most {MOST_PANELS}",
                got=count,
                fix=f"set {name}",
            )
    side = STYLE["panel"]
    return _new_axes(columns, rows, (side * columns, side * rows))


def _new_axes(columns: int, rows: int, size: tuple[float, float]) -> list[Axes]:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    apart = STYLE["apart"]
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=apart, h_pad=apart))
    return for_notebooks(list(figure.subplots(rows, columns, squeeze=False).flat))


def for_notebooks(axes: list[Axes]) -> list[Axes]:
    """The axes of one figure, changed so that a notebook shows the figure if a cell ends with one of them."""
    figure: Any = axes[0].figure
    shown: list[Any] = [figure, *axes]
    for each in shown:
        each._repr_png_ = partial(_png, figure)
    return axes


def _png(figure: Figure) -> bytes:
    """The figure as PNG, as `save` writes it."""
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=STYLE["screen_dpi"], bbox_inches="tight")
    return picture.getvalue()


@called()
def save(figure: Figure | Axes, path: str | Path, *, dpi: float | None = None) -> Path:
    """Write a figure, or the figure of these axes, in the format of the path's ending (.png if it has none).

    dpi  dots per inch; None for 150

    Returns the path. Raises ArgumentError if the file cannot be written or the ending is unknown.
    """
    from matplotlib.axes import Axes

    drawn: Any = figure.figure if isinstance(figure, Axes) else figure
    drawn = getattr(drawn, "figure", drawn)  # the whole figure of a subfigure
    if not hasattr(drawn, "savefig"):
        raise ArgumentError(
            "save takes a figure",
            expected="a figure or its axes",
            got=type(figure).__name__,
            fix="save(curves(history), path)",
        )
    dpi = dpi if dpi is None else a_number(dpi, "dpi")
    if dpi is not None and not 10 <= dpi <= 10_000:
        raise ArgumentError("dpi is dots per inch", expected="from 10 to 10000", got=dpi, fix="dpi=150")
    to = as_path(path)
    if not to.suffix:
        to = to.with_name(f"{to.name}.png")
    formats = drawn.canvas.get_supported_filetypes()
    if to.suffix[1:].lower() not in formats:
        raise ArgumentError(
            f"a figure cannot be written as '{to.suffix}'",
            expected=", ".join(f".{ending}" for ending in formats),
            got=str(to),
            fix=f"name it {to.with_suffix('.png').name}",
        )
    try:
        drawn.savefig(to, dpi=dpi or STYLE["dpi"], bbox_inches="tight")
    except OSError as error:
        raise ArgumentError(
            "the figure cannot be written",
            expected="a path in a folder that exists and may be written to",
            got=f"{to} ({error.strerror or error})",
            fix="create the folder first" if not to.parent.exists() else "choose another path",
        ) from None
    return to


def axes_for(ax: Axes | None, size: tuple[float, float] | None = None) -> Axes:
    """The given axes, or those of a new figure, in the common style."""
    from matplotlib.axes import Axes

    if ax is None:
        ax = _new_axes(1, 1, size or (STYLE["panel"], STYLE["panel"]))[0]
    elif not isinstance(ax, Axes):
        raise ArgumentError(
            "ax must be the axes to draw on",
            expected="matplotlib axes, or None",
            got=type(ax).__name__,
            fix="ax, = lamp.plots.panels(1)",
        )
    ax.tick_params(labelsize=STYLE["text_size"], color=STYLE["ink"])
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def write_title(ax: Axes, title: str) -> None:
    ax.set_title(a_text(title, "title"), fontsize=STYLE["title_size"], color=STYLE["ink"])


def label_axes(ax: Axes, xlabel: str, ylabel: str) -> None:
    ax.set_xlabel(a_text(xlabel, "xlabel"), fontsize=STYLE["label_size"])
    ax.set_ylabel(a_text(ylabel, "ylabel"), fontsize=STYLE["label_size"])


def plain(value: float) -> str:
    """A number as text, such as 94,480 or 0.25; with a power of ten if it is very large or small."""
    large = abs(value)
    return (
        f"{value:,.6g}"
        if 1e-4 <= large < 1e6 or large == 0
        else f"{value:,.0f}"
        if 1e6 <= large < 1e9
        else f"{value:.3g}"
    )


def plain_ticks(ax: Axes, most: int = 5) -> None:
    """Set a few ticks on both axes, as plain numbers that do not touch one another."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    longest = max(len(label.get_text()) for label in ax.get_xticklabels())
    if longest > LONGEST_TICK:
        for label in ax.get_xticklabels():
            label.set(rotation=20, ha="right", rotation_mode="anchor")


def legend_below(ax: Axes, columns: int = 3) -> None:
    """Draw a legend under the axes, where it covers no points, with markers that are visible even if the points are
    faint."""
    handles, labels = ax.get_legend_handles_labels()
    legend = ax.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=3.6,  # times the font size: below tick labels and axis label
        ncols=min(len(labels), columns),
        fontsize=STYLE["text_size"],
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.2,
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)
            if hasattr(handle, "set_markersize"):
                handle.set_markersize(7.0)


def outline_points(ax: Axes) -> None:
    """Give points on a coloured map a white edge, since the map may have their colour."""
    if not ax.images:
        return
    for line in ax.lines:
        if line.get_marker() in STYLE["class_markers"]:
            line.set_markeredgecolor("#FFFFFF")
            line.set_markeredgewidth(0.8)
            line.set_alpha(1.0)


def color_bar(ax: Axes, image: AxesImage, name: str) -> None:
    """Draw a colour bar at the right edge, exactly as high as the axes. It replaces an earlier one."""
    room = vars(ax).get(COLOR_BAR)
    if room is None:
        room = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
        setattr(ax, COLOR_BAR, room)
        whole = ax.get_figure(root=True)
        if whole is not None and whole.get_layout_engine() is None:  # without a layout there is no room for the bar
            whole.set_layout_engine("constrained")
    else:
        room.clear()
    bar = ax.figure.colorbar(image, cax=room)
    bar.ax.tick_params(labelsize=STYLE["text_size"])
    bar.outline.set_visible(False)
    if a_text(name, "label"):
        bar.set_label(name, fontsize=STYLE["label_size"])


def a_colour(color: Any) -> None:
    """Raise ArgumentError unless this is a colour of matplotlib's, or None for the next one."""
    from matplotlib.colors import to_rgba

    if color is None:
        return
    try:
        to_rgba(color)
    except (ValueError, TypeError, RuntimeError):
        raise ArgumentError(
            "unknown colour", expected="a colour of matplotlib's", got=repr(color)[:60], fix='color="tab:blue"'
        ) from None


def numbers(values: Any, name: str) -> Tensor:
    """The values as a float64 tensor on the CPU. Raises DTypeError for anything but numbers."""
    try:
        return torch.as_tensor(values).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise DTypeError(
            f"{name}: these are not numbers",
            expected="a tensor, an array or a list of numbers",
            got=type(values).__name__,
            fix="torch.stack(values), for a list of tensors"
            if isinstance(values, list | tuple)
            else "ax=axes names the axes"
            if hasattr(values, "get_figure")
            else "pass a tensor",
        ) from None
