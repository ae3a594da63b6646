"""`output_map`: the output of a network over a rectangle of the plane, as a colour map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NonFiniteError, ShapeError
from lamp.module import Module
from lamp.passes import evaluating
from lamp.plots.look import STYLE, axes_for, color_bar, label_axes, legend_below, numbers, outline_points, write_title
from lamp.plots.scatter import disk as draw_disk
from lamp.signatures import called, check_takes
from lamp.values import a_number, a_switch, is_one_of, kind_of, some_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBABILITY = "probability of class 1"
AT_ONCE = 16384  # points in one forward of the network

CORNERS = ("x from", "x to", "y from", "y to")


@called()
def output_map(
    model: Callable[[Tensor], Tensor],
    ax: Axes | None = None,
    *,
    limits: tuple[float, float, float, float] | None = None,
    resolution: int = 200,
    output: str | Callable[[Tensor], Tensor] = "auto",
    boundary: float | None = None,
    scale: tuple[float, float] | None = None,
    disk: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw the output of a network, or of any function of points (n, 2), over a rectangle in colours. Returns the axes.

    limits      (x from, x to, y from, y to); None for the range that the axes show already, or else the unit square
    resolution  the number of points per side
    output      "auto": the probability of class 1 for two outputs, the output itself for one; "probability": the same
                for two outputs, the sigmoid of a single one; "raw": the single output; or a function of the outputs
                (n, out)
    boundary    a value at which to draw a contour, such as 0.5 for probabilities; the colours are centred on it
    scale       the values at the two ends of the colours; (0, 1) for probabilities, else the range of the output
    disk        whether to draw the circle of the disk data set

    The network computes in eval mode.

    Raises ArgumentError for an unknown output or empty limits, ShapeError for an output of another shape, and
    NonFiniteError for an output that is not finite.
    """
    if ax is not None:
        axes_for(ax)
    limits = None if limits is None else some_numbers(limits, "limits", *CORNERS)  # type: ignore[assignment]
    scale = None if scale is None else some_numbers(scale, "scale", "lowest", "highest")  # type: ignore[assignment]
    boundary, disk = None if boundary is None else a_number(boundary, "boundary"), a_switch(disk, "disk")
    shown = limits
    limits = _area(ax) if limits is None else limits
    if len(limits) != 4 or not (limits[0] < limits[1] and limits[2] < limits[3]):
        raise ArgumentError(
            "limits are empty", expected="(x from, x to, y from, y to)", got=limits, fix="put the lower number first"
        )
    low_x, high_x, low_y, high_y = limits
    if not isinstance(resolution, int) or resolution < 2:
        raise ArgumentError(
            "resolution is too small", expected="an integer of at least 2", got=resolution, fix="resolution=200"
        )
    xs, ys = _centres(low_x, high_x, resolution), _centres(low_y, high_y, resolution)
    grid = torch.cartesian_prod(ys, xs).flip(1)  # (resolution^2, 2), rows of equal y
    values, name = _shown(_ask(model, grid), output)
    if scale is None:
        scale = _range(values, boundary, name)
    square = values.view(resolution, resolution)
    ax = axes_for(ax)
    for before in list(ax.images):
        before.remove()  # a map on a map
    image = ax.imshow(
        square.numpy(),
        origin="lower",
        extent=limits,
        cmap=_class_colors(),
        vmin=scale[0],
        vmax=scale[1],
        aspect="equal",
    )
    color_bar(ax, image, name)
    if boundary is not None:
        _draw_boundary(ax, xs, ys, square, boundary)
    if disk:
        draw_disk(ax)
    outline_points(ax)
    if shown is not None:  # else points that are drawn later may widen what is shown
        ax.set_xlim(low_x, high_x)
        ax.set_ylim(low_y, high_y)
    label_axes(ax, "$x_1$", "$x_2$")
    if title is not None:
        write_title(ax, title)
    return ax


def _area(ax: Axes | None) -> tuple[float, float, float, float]:
    """The range of the axes if anything is drawn on them, else the unit square."""
    if ax is None or not (ax.lines or ax.collections or ax.images):
        return 0.0, 1.0, 0.0, 1.0
    (low_x, high_x), (low_y, high_y) = ax.get_xlim(), ax.get_ylim()
    return float(low_x), float(high_x), float(low_y), float(high_y)


def _centres(low: float, high: float, count: int) -> Tensor:
    """The centres of `count` equal cells."""
    return low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count


def _ask(model: Callable[[Tensor], Tensor], grid: Tensor) -> Tensor:
    """The outputs for all points of the grid, (n, out)."""
    if not callable(model) or isinstance(model, type):
        raise ArgumentError(
            "output_map takes a network",
            expected="a module, or a function of points (n, 2)",
            got=kind_of(model),
            fix="pass the network itself",
        )
    check_takes("model", model, "points")
    parameters = model.parameters() if isinstance(model, Module) else []
    grid = grid.to(parameters[0].data) if parameters else grid.to(torch.get_default_dtype())
    with evaluating():
        parts = [numbers(model(part), "output") for part in torch.split(grid, AT_ONCE)]
    outputs = torch.cat([part.unsqueeze(1) if part.dim() == 1 else part for part in parts])
    if outputs.dim() != 2 or len(outputs) != len(grid):
        raise ShapeError(
            "the output does not have one row per point",
            expected=f"({len(grid)}, out) for {len(grid)} points",
            got=tuple(outputs.shape),
            fix="pass one network of a population, population[k]",
        )
    return outputs


def _shown(outputs: Tensor, output: str | Callable[[Tensor], Tensor]) -> tuple[Tensor, str]:
    """The value to show at each point, and its name."""
    columns = outputs.shape[1]
    if callable(output) and not isinstance(output, type):
        check_takes("output", output, "outputs")
        values, name = numbers(output(outputs), "output").reshape(-1), "output"
    elif not is_one_of(output, "auto", "probability", "raw"):
        raise ArgumentError(
            "unknown output",
            expected="'auto', 'probability', 'raw' or a function",
            got=repr(output),
            fix="name one of these",
        )
    elif columns == 2 and output != "raw":
        values, name = (outputs[:, 1] - outputs[:, 0]).sigmoid(), PROBABILITY
    elif columns == 1:
        values = outputs[:, 0]
        values, name = (values.sigmoid(), PROBABILITY) if output == "probability" else (values, "output")
    else:
        values, name = outputs.new_empty(0), ""
    if len(values) != len(outputs):
        raise ShapeError(
            "a map shows one value per point",
            expected="one or two outputs, or a function that makes one value of them",
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
    """The values at the two ends of the colours."""
    if name == PROBABILITY:
        return 0.0, 1.0
    low, high = values.min().item(), values.max().item()
    if boundary is not None:
        half = max(high - boundary, boundary - low) or 1.0
        return boundary - half, boundary + half
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _class_colors() -> Any:
    """A colour map from the colour of class 0 over white to that of class 1, pale enough to see points on it."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    ends = [tuple(1 - STYLE["map_depth"] * (1 - part) for part in to_rgb(color)) for color in STYLE["colors"][:2]]
    return LinearSegmentedColormap.from_list("classes", [ends[0], "#FFFFFF", ends[1]])


def _draw_boundary(ax: Axes, xs: Tensor, ys: Tensor, square: Tensor, level: float) -> None:
    if not square.min() < level < square.max():
        return  # the output stays on one side
    color, width = STYLE["ink"], STYLE["boundary_width"]
    ax.contour(xs.numpy(), ys.numpy(), square.numpy(), [level], colors=color, linewidths=width)
    ax.plot([], [], color=color, linewidth=width, label=f"boundary ({level:g})")  # a contour has no legend entry
    legend_below(ax)
