"""`heat_map`: the results of a sweep over two hyperparameters, as coloured cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lamp.errors import ArgumentError, ShapeError
from lamp.plots.look import STYLE, axes_for, color_bar, label_axes, numbers, write_title
from lamp.signatures import called
from lamp.values import a_text, is_one_of, several

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MOST_NUMBERS = 10  # up to so many columns each cell shows its number
MOST_COLUMN_NAMES, MOST_ROW_NAMES = 12, 20
POINTS, LETTER = 72, 0.6  # points per inch; width of a digit, as a share of the font size
SHARE_OF_CELLS = 0.85  # of the axes' width before the layout makes room for labels and the colour bar
SMALLEST_TEXT = 6.0  # points
LETTERS_ACROSS = 45  # characters of column names that fit under the cells in one line


@called()
def heat_map(
    values: Any,
    xs: Sequence[Any] | Tensor,
    ys: Sequence[Any] | Tensor,
    ax: Axes | None = None,
    *,
    xlabel: str = "",
    ylabel: str = "",
    label: str = "",
    best: str | None = "max",
    title: str | None = None,
) -> Axes:
    """Draw values (len(ys), len(xs)) as coloured cells, where brighter is better. Returns the axes.

    xs, ys  the numbers or words that name the columns and the rows
    label   the name of the values, at the colour bar
    best    "max" or "min", for the cell to frame and to name in the title; None for no cell

    Cells that are not finite are grey, and never the best.

    Raises ShapeError for values that do not fit xs and ys, and ArgumentError for an unknown best or no finite value.
    """
    for name, text in (("xlabel", xlabel), ("ylabel", ylabel), ("label", label)):
        a_text(text, name)
    table = numbers(values, "values")
    columns, rows = _names(xs, "xs"), _names(ys, "ys")
    if table.shape != (len(rows), len(columns)) or table.numel() == 0:
        raise ShapeError(
            "the values do not fit xs and ys",
            expected=f"(len(ys), len(xs)) = ({len(rows)}, {len(columns)}), no axis empty",
            got=tuple(table.shape),
            fix="values.T" if table.shape == (len(columns), len(rows)) else "pass a name for each column and row",
        )
    if best is not None and not is_one_of(best, "max", "min"):
        raise ArgumentError("unknown best", expected="'max', 'min' or None", got=best, fix="name one of these")
    finite = table.isfinite()
    if not finite.any():
        raise ArgumentError(
            "no value is finite",
            expected="at least one finite value",
            got=f"{table.numel()} that are not",
            fix="find out why every run failed",
        )
    table = table.masked_fill(~finite, math.nan)
    ax = axes_for(ax)
    image = _draw_cells(ax, table, reverse=best == "min")
    if len(columns) <= MOST_NUMBERS and len(rows) <= 2 * MOST_NUMBERS:
        _write_numbers(ax, table, image)
    _name_cells(ax, columns, rows)
    color_bar(ax, image, label)
    label_axes(ax, xlabel, ylabel)
    heading = [] if title is None else [a_text(title, "title")]
    if best is not None:
        height = table if best == "max" else -table
        row, column = divmod(int(height.nan_to_num(nan=-math.inf).argmax()), len(columns))
        _frame(ax, row, column)
        place = ", ".join(f"{name} {at}".strip() for name, at in ((xlabel, columns[column]), (ylabel, rows[row])))
        heading.append(f"best {table[row, column].item():.4g}: {place}")
    if heading:
        write_title(ax, "\n".join(heading))
    return ax


def _names(labels: Any, name: str) -> list[str]:
    labels = labels.tolist() if hasattr(labels, "tolist") else labels
    listed = [*labels] if isinstance(labels, str) else several(labels, name, "numbers or words")
    return [f"{each:.4g}" if isinstance(each, float) else str(each) for each in listed]


def _draw_cells(ax: Axes, table: Tensor, reverse: bool) -> AxesImage:
    from matplotlib import colormaps

    colors = colormaps["viridis_r" if reverse else "viridis"].with_extremes(bad=STYLE["missing"])
    return ax.imshow(table.numpy(), cmap=colors, origin="lower", aspect="auto")


def _write_numbers(ax: Axes, table: Tensor, image: AxesImage) -> None:
    """Write each cell's number, smaller where cells are narrow, and none where they would run together."""
    figure = ax.get_figure(root=True)
    across = ax.get_position().width * (figure.get_figwidth() if figure is not None else STYLE["panel"])  # inches
    widest = max(len(f"{value:.3g}") for value in table.flatten().tolist())
    fits = POINTS * SHARE_OF_CELLS * across / table.shape[1] / ((widest + 1) * LETTER)
    size = min(STYLE["text_size"] - 1, fits)
    if size < SMALLEST_TEXT:
        return
    for row, of_row in enumerate(table.tolist()):
        for column, value in enumerate(of_row):
            text = f"{value:.3g}" if math.isfinite(value) else "n/a"
            red, green, blue, _ = image.to_rgba(value) if math.isfinite(value) else (1, 1, 1, 1)
            color = STYLE["ink"] if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#FFFFFF"
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def _name_cells(ax: Axes, columns: list[str], rows: list[str]) -> None:
    """Write as many tick labels as there is room for, slanted if they are long."""
    every = math.ceil(len(columns) / MOST_COLUMN_NAMES)
    shown = columns[::every]
    slanted = max(len(each) for each in shown) * len(shown) > LETTERS_ACROSS
    ax.set_xticks(range(0, len(columns), every), shown)
    if slanted:
        for tick in ax.get_xticklabels():
            tick.set(rotation=40, ha="right", rotation_mode="anchor")
    every = math.ceil(len(rows) / MOST_ROW_NAMES)
    ax.set_yticks(range(0, len(rows), every), rows[::every])
    ax.tick_params(length=0)


def _frame(ax: Axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=STYLE["wrong"], linewidth=2.5, clip_on=False)
    )
