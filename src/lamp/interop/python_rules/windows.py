"""The rules of the Python export for windows: convolutions, pools, Fold and Unfold; and for axes in other sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lamp.graph import Op
from lamp.interop.arrays import (
    counts_of_windows,
    per_channel,
    places_of_adaptive,
    places_of_fold,
    places_of_unfold,
)
from lamp.interop.python_script import Script
from lamp.nn.average_pooling import averages
from lamp.nn.upsampling import Upsample
from lamp.parameter import Parameter

PARTS = '''def parts(x, kernel, stride, dilation, padding, sizes, fill=0.0):
    """For each place within a window: the place, and the numbers there of all windows, (..., C, *sizes)."""
    axes = [*zip(x.shape[-len(kernel):], kernel, stride, dilation, padding, sizes)]
    reach = [(m - 1) * s + (k - 1) * d + 1 - n - p for n, k, s, d, p, m in axes]  # beyond the end
    pads = [(p, max(0, r)) for (*_, p, _), r in zip(axes, reach)]
    x = np.pad(x, [(0, 0)] * (x.ndim - len(kernel)) + pads, constant_values=fill)
    for place in np.ndindex(*kernel):
        starts = [i * d for i, d in zip(place, dilation)]
        yield place, x[(..., *(slice(i, i + (m - 1) * s + 1, s) for i, m, s in zip(starts, sizes, stride)))]'''
CONVOLVED = '''def convolved(x, weight, stride, dilation, padding, sizes):
    """For each window of x (..., C, places): the sum over the places in it of a matrix times the numbers there.

    weight  for each place in a window, and each group of channels, its matrix (outputs, inputs)
    sizes   of the output, along its axes
    """
    y = 0.0
    for place, part in parts(x, weight.shape[: len(sizes)], stride, dilation, padding, sizes):
        matrix = weight[place]  # (..., groups, outputs, inputs)
        y = y + matrix @ part.reshape(*part.shape[: -len(sizes) - 1], *matrix.shape[-3::2], -1)
    return y.reshape(*y.shape[:-3], -1, *sizes)'''
SPREAD = '''def spread(x, weight, stride, dilation, padding, sizes):
    """The transpose of a convolution: a matrix times each number is added to each place in its window.

    weight  for each place in a window, and each group of channels, its matrix (outputs, inputs)
    sizes   of the output, along its axes
    """
    axes, places = len(sizes), x.shape[-len(sizes):]
    x = x.reshape(*x.shape[: -axes - 1], *weight.shape[-3::2], -1)
    y = None
    for place in np.ndindex(*weight.shape[:axes]):
        part = weight[place] @ x  # (..., groups, outputs, places)
        part = part.reshape(*part.shape[:-3], -1, *places)
        if y is None:
            y = np.zeros((*part.shape[:-axes], *(n + 2 * p for n, p in zip(sizes, padding))), part.dtype)
        starts = [i * d for i, d in zip(place, dilation)]
        y[(..., *(slice(i, i + (n - 1) * s + 1, s) for i, n, s in zip(starts, places, stride)))] += part
    return y[(..., *(slice(p, p + n) for n, p in zip(sizes, padding)))]'''
POOLED = '''def pooled(join, x, kernel, stride, dilation, padding, sizes, fill):
    """The numbers of each window, joined: np.maximum or np.add. Beyond the edges stands `fill`."""
    y = None
    for _, part in parts(x, kernel, stride, dilation, padding, sizes, fill):
        y = part if y is None else join(y, part)
    return y'''
PLACED = '''def placed(x, kernel, stride, dilation, padding, sizes):
    """Where in its plane the largest number of each window stands; the first of equal ones."""
    axes = len(kernel)
    numbered = np.arange(np.prod(x.shape[-axes:])).reshape(x.shape[-axes:])
    windows = kernel, stride, dilation, padding, sizes
    y = None
    for (_, part), (_, place) in zip(parts(x, *windows, -np.inf), parts(numbered, *windows, -1)):
        places = np.broadcast_to(place, part.shape) if y is None else np.where(part > y, place, places)
        y = part if y is None else np.maximum(y, part)
    return places'''
UNPOOLED = '''def unpooled(x, places, sizes):
    """The numbers of each plane at their places in a plane of these sizes, 0 elsewhere."""
    x, places = np.broadcast_arrays(x, places)
    lead = x.shape[:-len(sizes)]
    y = np.zeros((*lead, np.prod(sizes)), x.dtype)
    np.put_along_axis(y, places.reshape(*lead, -1), x.reshape(*lead, -1), -1)
    return y.reshape(*lead, *sizes)'''
ALONG = '''def along(x, axis, matrix):
    """Each vector along the axis, times a matrix."""
    return np.moveaxis(np.moveaxis(x, axis, -1) @ matrix, -1, axis)'''
LARGEST = '''def largest(x, axis, windows):
    """The largest number of each window along the axis, given the places in each."""
    return np.moveaxis(np.moveaxis(x, axis, -1)[..., windows].max(-1), -1, axis)'''
GATHERED = '''def gathered(x, axes, places):
    """Numbers by their places in the flat last axes, from 1 on; 0 at the place 0."""
    flat = x.reshape(*x.shape[:-axes], -1)
    return np.concatenate([np.zeros_like(flat[..., :1]), flat], -1)[..., places]'''


def convolution(script: Script, op: Op, path: str, x: str) -> str:
    return _convolution(script, op, path, x, "convolved", CONVOLVED)


def transposed_convolution(script: Script, op: Op, path: str, x: str) -> str:
    return _convolution(script, op, path, x, "spread", SPREAD)


def _convolution(script: Script, op: Op, path: str, x: str, function: str, text: str) -> str:
    if function == "convolved":
        script.functions["parts"] = PARTS
    script.functions[function] = text
    weight, options, sizes = op.parameters["weight"], op.attributes, op.output.shape[1:]
    matrices = script.array(f"weight_{path}", _matrices(op, weight, len(sizes), function == "spread"), weight)
    given = ", ".join(map(repr, (options["stride"], options["dilation"], options["padding"], tuple(sizes))))
    y = f"{function}({x}, {matrices}, {given})"
    if (bias := op.parameters.get("bias")) is None:
        return y
    return f"{y} + {script.array(f'bias_{path}', per_channel(op, bias), bias)}"


def _matrices(op: Op, weight: Parameter, axes: int, transposed: bool) -> torch.Tensor:
    """A weight as matrices (kernel..., groups, outputs, inputs), or (kernel..., K, 1, groups, outputs, inputs)."""
    groups, lead = op.attributes["groups"], 0 if weight.replicas is None else 1
    numbers = weight.data.unflatten(lead, (groups, -1))  # (K, groups, outputs, inputs, kernel...)
    numbers = numbers.transpose(lead + 1, lead + 2) if transposed else numbers
    numbers = numbers.movedim(tuple(range(-axes, 0)), tuple(range(axes)))
    matrices: torch.Tensor = numbers.unsqueeze(axes + 1) if lead else numbers
    return matrices.contiguous()


# ---- pools -----------------------------------------------------------------------------------------------------------
def max_pool(script: Script, op: Op, path: str, x: str) -> str:
    return _pooled(script, op, x, "np.maximum", "-np.inf")


def max_places(script: Script, op: Op, path: str, x: str) -> str:
    script.functions["parts"], script.functions["placed"] = PARTS, PLACED
    return f"placed({x}, {_windows(op)})"


def max_unpool(script: Script, op: Op, path: str, x: str, places: str) -> str:
    script.functions["unpooled"] = UNPOOLED
    return f"unpooled({x}, {places}, {tuple(op.output.shape[1:])})"


def average_pool(script: Script, op: Op, path: str, x: str) -> str:
    return f"{_pooled(script, op, x, 'np.add', '0.0')} / {_counts(script, op, path)}"


def norm_pool(script: Script, op: Op, path: str, x: str) -> str:
    p, n = float(op.attributes["p"]), float(torch.Size(op.attributes["kernel_size"]).numel())
    total = f"{_pooled(script, op, f'{x} ** {p!r}', 'np.add', '0.0')}"
    counts = _counts(script, op, path)
    return f"({total}{'' if counts == repr(n) else f' * ({n!r} / {counts})'}) ** {1.0 / p!r}"


def _pooled(script: Script, op: Op, x: str, join: str, fill: str) -> str:
    script.functions["parts"], script.functions["pooled"] = PARTS, POOLED
    return f"pooled({join}, {x}, {_windows(op)}, {fill})"


def _windows(op: Op) -> str:
    """The arguments that say where windows lie."""
    options = [op.attributes[name] for name in ("kernel_size", "stride", "dilation", "padding")]
    return ", ".join(map(repr, (*options, tuple(op.output.shape[1:]))))


def _counts(script: Script, op: Op, path: str) -> str:
    """What the sum of each window is divided by: a number, or an array of the sizes of the output."""
    counts = counts_of_windows(op)
    return script.array(f"counts_{path}", counts) if isinstance(counts, torch.Tensor) else repr(counts)


def adaptive_average_pool(script: Script, op: Op, path: str, x: str) -> str:
    like = torch.empty(0, dtype=torch.float64)
    sizes = zip(op.inputs[0].shape[1:], op.output.shape[1:], strict=True)
    return _along(script, path, x, [averages(n, m, like) for n, m in sizes])


def adaptive_max_pool(script: Script, op: Op, path: str, x: str) -> str:
    script.functions["largest"] = LARGEST
    sizes = list(zip(op.inputs[0].shape[1:], op.output.shape[1:], strict=True))
    for k, (n, m) in enumerate(sizes):
        places = script.array(f"windows_{path}", places_of_adaptive(n, m))
        x = f"largest({x}, {k - len(sizes)}, {places})"
    return x


def resize(script: Script, op: Op, path: str, x: str) -> str:
    assert isinstance(op.module, Upsample)
    shape, sizes, scales = op.inputs[0].shape, op.output.shape[1:], op.attributes["scales"]
    each = [op.module.matrix(k, shape[k + 1], sizes, scales, torch.float64) for k in range(len(sizes))]
    return _along(script, path, x, each)


def _along(script: Script, path: str, x: str, matrices: list[torch.Tensor]) -> str:
    """x, its last axes multiplied by these matrices (m, n)."""
    script.functions["along"] = ALONG
    for k, matrix in enumerate(matrices):
        x = f"along({x}, {k - len(matrices)}, {script.array(f'matrix_{path}', matrix.mT.contiguous())})"
    return x


# ---- columns of windows ----------------------------------------------------------------------------------------------
def unfold(script: Script, op: Op, path: str, x: str) -> str:
    script.functions["gathered"] = GATHERED
    places = script.array(f"places_{path}", places_of_unfold(op))
    return f"gathered({x}, {len(op.inputs[0].shape)}, {places})"


def fold(script: Script, op: Op, path: str, x: str) -> str:
    script.functions["gathered"] = GATHERED
    return f"gathered({x}, 2, {script.array(f'places_{path}', places_of_fold(op))}).sum({script.plan.axis(0)})"


RULES: dict[str, Callable[..., str]] = {
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "MaxPool": max_pool,
    "MaxPlaces": max_places,
    "MaxUnpool": max_unpool,
    "AvgPool": average_pool,
    "LPPool": norm_pool,
    "AdaptiveAvgPool": adaptive_average_pool,
    "AdaptiveMaxPool": adaptive_max_pool,
    "Resize": resize,
    "Unfold": unfold,
    "Fold": fold,
}
