"""Colour maps: what a network says over a square, and a sweep's results over two hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NonFiniteError, ShapeError
from lamp.module import Module
from lamp.plots.look import STYLE, axes_for, label_axes, legend_below, numbers, write_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

DISK_CENTRE = (0.5, 0.5)
DISK_RADIUS = 1 / math.sqrt(2 * math.pi)  # of the disk that covers half of the unit square
AT_ONCE = 16384  # points that go through the network together
MOST_NUMBERS = 10  # columns of a heat map up to which each cell has room for its number


def disk(ax: Axes) -> Axes:
    """The circle of radius 1/sqrt(2 pi) around (0.5, 0.5), dashed, on axes that are there."""
    from matplotlib.patches import Circle

    circle = Circle(
        DISK_CENTRE,
        DISK_RADIUS,
        fill=False,
        linestyle="--",
        linewidth=1.4,
        edgecolor=STYLE["ink"],
        label="disk",
        zorder=4,
    )
    ax.add_patch(circle)
    return ax


def output_map(
    model: Callable[[Tensor], Tensor],
    ax: Axes | None = None,
    *,
    limits: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0),
    resolution: int = 200,
    output: str | Callable[[Tensor], Tensor] = "auto",
    boundary: float | None = None,
    scale: tuple[float, float] | None = None,
    disk: bool = False,
    title: str | None = None,
) -> Axes:
    """The output of a network (or any function of points (n, 2)) over a rectangle of the plane, in colours.

    limits    x from, to, y from, to
    output    "auto": the probability of class 1 where there are two outputs, the output itself where there is one;
              "probability": the same for two, the sigmoid of a single one; "raw"; or a function of the outputs (n, out)
    boundary  a value where to draw a contour, such as 0.5 for probabilities; the colours are centred on it
    scale     the values at the two ends of the colours; (0, 1) for probabilities, else the range of the output
    disk      draw the circle of the disk data set

    A module is asked in eval mode and left in the mode it was in.

    Raises ArgumentError for an unknown output or limits that enclose nothing, ShapeError for an output of another
    shape, NonFiniteError where the output is not finite.
    """
    low_x, high_x, low_y, high_y = limits
    if not (low_x < high_x and low_y < high_y):
        raise ArgumentError(
            "limits enclose nothing", expected="(x from, x to, y from, y to)", got=limits, fix="put the lower one first"
        )
    if not isinstance(resolution, int) or resolution < 2:
        raise ArgumentError("resolution is points a side", expected="an integer, at least 2", got=resolution)
    xs, ys = _centres(low_x, high_x, resolution), _centres(low_y, high_y, resolution)
    grid = torch.cartesian_prod(ys, xs).flip(1)  # (resolution^2, 2), rows of equal y
    values, name = _shown(_ask(model, grid), output)
    if scale is None:
        scale = _range(values, boundary, name)
    square = values.view(resolution, resolution)
    ax = axes_for(ax)
    image = ax.imshow(
        square.numpy(),
        origin="lower",
        extent=limits,
        cmap=_class_colors(),
        vmin=scale[0],
        vmax=scale[1],
        aspect="equal",
    )
    _color_bar(ax, image, name)
    if boundary is not None:
        _draw_boundary(ax, xs, ys, square, boundary)
    if disk:
        _draw_disk(ax)
    ax.set_xlim(low_x, high_x)
    ax.set_ylim(low_y, high_y)
    label_axes(ax, "$x_1$", "$x_2$")
    if boundary is not None or disk:
        legend_below(ax)
    if title is not None:
        write_title(ax, title)
    return ax


_draw_disk = disk  # inside output_map the name is taken by its argument


def _centres(low: float, high: float, count: int) -> Tensor:
    """The centres of `count` equal cells."""
    return low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count


def _ask(model: Callable[[Tensor], Tensor], grid: Tensor) -> Tensor:
    """The outputs for all points of the grid, (n, out)."""
    if not callable(model):
        raise ArgumentError("output_map asks a network", expected="a module or a function", got=type(model).__name__)
    if not isinstance(model, Module):
        grid = grid.to(torch.get_default_dtype())
        outputs = numbers(torch.cat([torch.as_tensor(model(part)) for part in grid.split(AT_ONCE)]), "output")
    else:
        parameters = model.parameters()
        grid = grid.to(parameters[0].data) if parameters else grid.to(torch.get_default_dtype())
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            outputs = numbers(torch.cat([model(part) for part in grid.split(AT_ONCE)]), "output")
        finally:
            for module, mode in modes:
                module.training = mode
    if outputs.dim() == 1:
        outputs = outputs.unsqueeze(1)
    if outputs.dim() != 2 or len(outputs) != len(grid):
        raise ShapeError(
            "the output is no map",
            expected=f"({len(grid)}, out) for {len(grid)} points",
            got=tuple(outputs.shape),
            fix="take one network of a population, population[k]",
        )
    return outputs


def _shown(outputs: Tensor, output: str | Callable[[Tensor], Tensor]) -> tuple[Tensor, str]:
    """The value to show at each point, and what to call it."""
    columns = outputs.shape[1]
    if callable(output):
        values, name = numbers(output(outputs), "output").reshape(-1), "output"
    elif output not in ("auto", "probability", "raw"):
        raise ArgumentError(
            "unknown output", expected="'auto', 'probability', 'raw' or a function", got=output, fix="name one of these"
        )
    elif columns == 2 and output != "raw":
        values, name = (outputs[:, 1] - outputs[:, 0]).sigmoid(), "probability of class 1"
    elif columns == 1:
        values = outputs[:, 0]
        values, name = (values.sigmoid(), "probability of class 1") if output == "probability" else (values, "output")
    else:
        values, name = outputs.new_empty(0), ""
    if len(values) != len(outputs):
        raise ShapeError(
            "a map shows one value a point",
            expected="one or two outputs, or a function that makes one of them",
            got=f"{columns} outputs" if not callable(output) else f"{len(values)} values for {len(outputs)} points",
            fix="output=lambda y: y[:, 0]",
        )
    if not values.isfinite().all():
        raise NonFiniteError(
            "the output is not finite everywhere",
            expected="finite outputs",
            got=f"{int((~values.isfinite()).sum())} of {len(values)} not finite",
            fix="the training may have diverged: look at its loss",
        )
    return values, name


def _range(values: Tensor, boundary: float | None, name: str) -> tuple[float, float]:
    """The values at the ends of the colours."""
    if name == "probability of class 1":
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    if boundary is not None:
        half = max(high - boundary, boundary - low) or 1.0
        return boundary - half, boundary + half
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _class_colors() -> Any:
    """From the colour of class 0 over white to that of class 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("classes", [STYLE["colors"][0], "#FFFFFF", STYLE["colors"][1]])


def _color_bar(ax: Axes, image: AxesImage, name: str) -> None:
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)  # as high as the square beside it
    bar.ax.tick_params(labelsize=STYLE["text_size"])
    bar.outline.set_visible(False)  # type: ignore[operator]
    if name:
        bar.set_label(name, fontsize=STYLE["label_size"])


def _draw_boundary(ax: Axes, xs: Tensor, ys: Tensor, square: Tensor, level: float) -> None:
    if not square.min() < level < square.max():
        return  # the output stays on one side
    ax.contour(xs.numpy(), ys.numpy(), square.numpy(), [level], colors=STYLE["ink"], linewidths=STYLE["boundary_width"])
    ax.plot(
        [], [], color=STYLE["ink"], linewidth=STYLE["boundary_width"], label=f"output = {level:g}"
    )  # for the legend


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
    """A sweep: values (len(ys), len(xs)) as coloured cells, bright is better, the best cell framed and in the title.

    xs, ys  what the columns and rows stand for: numbers or words
    label   what the values are, for the colour bar
    best    "max", "min" or None for no best cell

    Cells that are not finite are grey and never the best.

    Raises ShapeError where values do not fit xs and ys, ArgumentError for an unknown best or no finite value at all.
    """
    table = numbers(values, "values")
    columns, rows = _names(xs), _names(ys)
    if table.shape != (len(rows), len(columns)) or table.numel() == 0:
        raise ShapeError(
            "the values do not fit xs and ys",
            expected=f"(len(ys), len(xs)) = ({len(rows)}, {len(columns)}), no axis empty",
            got=tuple(table.shape),
            fix="values.T" if table.shape == (len(columns), len(rows)) else "pass a name for each column and row",
        )
    if best not in ("max", "min", None):
        raise ArgumentError("unknown best", expected="'max', 'min' or None", got=best, fix="name one of these")
    finite = table.isfinite()
    if not finite.any():
        raise ArgumentError(
            "no value is finite", expected="at least one finite value", got=f"{table.numel()} that are not"
        )
    table = table.masked_fill(~finite, math.nan)
    ax = axes_for(ax)
    image = _draw_cells(ax, table, columns, rows, reverse=best == "min")
    _color_bar(ax, image, label)
    label_axes(ax, xlabel, ylabel)
    heading = [] if title is None else [title]
    if best is not None:
        filler = -math.inf if best == "max" else math.inf
        filled = table.masked_fill(~finite, filler).flatten()
        row, column = divmod(int(filled.argmax() if best == "max" else filled.argmin()), len(columns))
        _frame(ax, row, column)
        place = f"{xlabel or 'x'} = {columns[column]}, {ylabel or 'y'} = {rows[row]}"
        heading.append(f"best {table[row, column].item():.4g} at {place}")
    if heading:
        write_title(ax, "\n".join(heading))
    return ax


def _names(labels: Sequence[Any] | Tensor) -> list[str]:
    listed = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    return [f"{each:g}" if isinstance(each, float) else str(each) for each in listed]


def _draw_cells(ax: Axes, table: Tensor, columns: list[str], rows: list[str], reverse: bool) -> AxesImage:
    from matplotlib import colormaps

    colors = colormaps["viridis_r" if reverse else "viridis"].with_extremes(bad=STYLE["missing"])
    image = ax.imshow(table.numpy(), cmap=colors, origin="lower", aspect="auto")
    _name_cells(ax, columns, rows)
    if len(columns) <= MOST_NUMBERS and len(rows) <= 2 * MOST_NUMBERS:
        for row, of_row in enumerate(table.tolist()):
            for column, value in enumerate(of_row):
                red, green, blue, _ = image.to_rgba(value) if math.isfinite(value) else (1, 1, 1, 1)
                bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
                text = f"{value:.3g}" if math.isfinite(value) else "–"
                ax.text(
                    column,
                    row,
                    text,
                    ha="center",
                    va="center",
                    fontsize=STYLE["text_size"] - 1,
                    color="k" if bright else "w",
                )
    return image


def _name_cells(ax: Axes, columns: list[str], rows: list[str]) -> None:
    """Tick labels, as many as there is room for."""
    every = math.ceil(len(columns) / 12)
    shown = columns[::every]
    slanted = sum(len(each) + 2 for each in shown) > 50
    ax.set_xticks(
        range(0, len(columns), every), shown, rotation=45 if slanted else 0, ha="right" if slanted else "center"
    )
    every = math.ceil(len(rows) / 20)
    ax.set_yticks(range(0, len(rows), every), rows[::every])
    ax.tick_params(length=0)


def _frame(ax: Axes, row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=STYLE["wrong"], linewidth=2.5, clip_on=False)
    )
