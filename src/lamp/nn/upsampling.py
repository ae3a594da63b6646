"""`Upsample`, which resizes signals, images and volumes by interpolation, and its two older forms."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamp.axes import merged, parted, standing
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_number, a_shape
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.values import is_one_of

aten = torch.ops.aten
FORWARD = {  # mode: torch's operations by the number of axes
    "nearest": {1: aten.upsample_nearest1d, 2: aten.upsample_nearest2d, 3: aten.upsample_nearest3d},
    "nearest-exact": {
        1: aten._upsample_nearest_exact1d,
        2: aten._upsample_nearest_exact2d,
        3: aten._upsample_nearest_exact3d,
    },
    "linear": {1: aten.upsample_linear1d},
    "bilinear": {2: aten.upsample_bilinear2d},
    "bicubic": {2: aten.upsample_bicubic2d},
    "trilinear": {3: aten.upsample_trilinear3d},
}
Scales = tuple[float | None, ...]  # per axis; None for output size / input size
NAMES = {1: "(B, C, L)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}


class Upsample(Module):
    """Resizes the axes after the channels by interpolation.

    Along each axis, output i lies at the place u among the inputs 0, 1, ..., n - 1:

        nearest                    u = floor(i / scale)
        nearest-exact              u = floor((i + 1/2) / scale)
        linear and cubic modes     u = (i + 1/2) / scale - 1/2, or i (n - 1) / (m - 1) with align_corners=True

    and is a weighted sum of the inputs beside u: y = M x with a matrix M (m, n). Several axes are resized one after the
    other.

    Shapes    x (B, C, n...)   y (B, C, m...), with one to three axes after C; m = size, or floor(n scale_factor)
    Backward  dx = M^T dy, along each axis
    Source    torch.nn.Upsample

    size, scale_factor      one of the two: a number for all axes, or a tuple
    mode                    "nearest", "nearest-exact", "linear" (one axis), "bilinear", "bicubic" (two), "trilinear"
    align_corners           for the linear and cubic modes: whether the first and last elements stay where they are
    recompute_scale_factor  whether scale is m / n in place of scale_factor

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes, DTypeError for one
    that is not a floating-point tensor.
    """

    def __init__(
        self,
        size: int | tuple[int, ...] | None = None,
        scale_factor: float | tuple[float, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        name = type(self).__name__
        if (size is None) == (scale_factor is None):
            raise ArgumentError(
                f"{name} takes a size or a scale_factor",
                expected="one of the two",
                got="neither" if size is None else f"size={size}, scale_factor={scale_factor}",
                fix=f"{name}(scale_factor=2)",
            )
        self.size: Any = size if size is None else a_shape(self, "size", size)
        if self.size is not None and not isinstance(size, tuple | list):
            (self.size,) = self.size
        self.scale_factor = None if scale_factor is None else self._factor(scale_factor)
        if not is_one_of(mode, *FORWARD):
            raise ArgumentError(
                f"{name}: unknown mode",
                expected=", ".join(map(repr, FORWARD)),
                got=repr(mode)[:80],
                fix="mode='nearest'",
            )
        self.mode = mode
        self.align_corners = None if align_corners is None else a_flag(self, "align_corners", align_corners)
        if self.align_corners is not None and mode.startswith("nearest"):
            raise ArgumentError(
                f"{name}: align_corners belongs to the linear and cubic modes",
                expected=f"align_corners=None with mode={mode!r}",
                got=f"align_corners={align_corners}",
                fix="leave align_corners out, or choose another mode",
            )
        again = recompute_scale_factor
        self.recompute_scale_factor = None if again is None else a_flag(self, "recompute_scale_factor", again)
        if self.recompute_scale_factor and size is not None:
            raise ArgumentError(
                f"{name}: with a size there is no scale_factor to recompute",
                expected="recompute_scale_factor=None",
                got="recompute_scale_factor=True",
                fix="leave recompute_scale_factor out",
            )

    def _factor(self, value: Any) -> float | tuple[float, ...]:
        """A scale_factor, or one per axis, as positive floats."""
        several = isinstance(value, tuple | list)
        found = tuple(float(a_number(self, "scale_factor", each)) for each in (value if several else [value]))
        if not found or min(found) <= 0:
            raise ArgumentError(
                f"{type(self).__name__}: scale_factor is out of range",
                expected="more than 0",
                got=repr(value)[:80],
                fix="scale_factor=2",
            )
        return found if several else found[0]

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        lead = standing(2, self.replicas)
        sizes, scales = self._sizes(tuple(input.shape[lead:]), input.shape)
        x = merged(input, self.replicas)
        self.remember((input.shape, sizes, scales))
        return parted(self._resized(x, sizes, scales), self.replicas)

    def backward(self, dy: Tensor) -> Tensor:
        shape, sizes, scales = self.recall()
        lead = standing(2, self.replicas)
        if not isinstance(dy, Tensor) or dy.shape != (*shape[:lead], *sizes):
            raise explain_gradient(dy, (*shape[:lead], *sizes))
        dx, dtype = wide(dy), dy.dtype
        for axis in reversed(range(len(sizes))):  # the last axis first, since that makes the others' work less
            matrix = self.matrix(axis, shape[lead + axis], sizes, scales, dx.dtype, dx.device)  # (m, n)
            rest = dx.shape[lead + axis + 1 :]
            if rest:
                flat = dx.reshape(*dx.shape[: lead + axis + 1], math.prod(rest))
                dx = (matrix.mT @ flat).view(*dx.shape[: lead + axis], -1, *rest)
            else:
                dx = dx @ matrix
        return dx.to(dtype)

    def matrix(
        self,
        axis: int,
        n: int,
        sizes: tuple[int, ...],
        scales: Scales,
        dtype: torch.dtype,
        device: torch.device | None = None,
    ) -> Tensor:
        """M (m, n), which resizes the axis: its columns are the resized unit vectors."""
        return _matrix(self.mode, self.align_corners, len(sizes), axis, n, sizes[axis], scales[axis], dtype, device)

    def _resized(self, x: Tensor, sizes: tuple[int, ...], scales: Scales) -> Tensor:
        return _resized(self.mode, self.align_corners, x, sizes, scales)

    def _sizes(self, shape: tuple[int, ...], given: tuple[Any, ...]) -> tuple[tuple[int, ...], Scales]:
        """The sizes of the output's axes, and the scales that the places are computed with (None for m / n)."""
        count, operations = len(shape), FORWARD[self.mode]
        asked: Any = self.size if self.size is not None else self.scale_factor
        each = asked if isinstance(asked, tuple) else (asked,) * count
        if count not in operations or len(each) != count or 0 in shape:
            few = [n for n in operations if not isinstance(asked, tuple) or len(asked) == n]
            raise ShapeError(
                "the input does not have the axes needed",
                expected=" or ".join(NAMES[n] for n in few) or f"sizes for {len(each)} axes",
                got=str(tuple(given)).replace("'", ""),
                fix=f"choose another mode than {self.mode!r}, or give one size per axis after the channels",
            )
        if self.size is not None:
            return each, (None,) * count
        sizes = tuple(math.floor(n * factor) for n, factor in zip(shape, each, strict=True))
        if 0 in sizes:
            raise ShapeError(
                "the output would be empty",
                expected=f"axes of at least {[math.ceil(1 / factor) for factor in each]}",
                got=str(tuple(given)).replace("'", ""),
                fix="choose a larger scale_factor",
            )
        return sizes, (None,) * count if self.recompute_scale_factor else each

    def trace(self, tracer: Any, x: Any) -> Any:
        sizes, scales = self._sizes(x.shape[1:], ("B", *x.shape))
        shape = (*x.shape[:1], *sizes)
        return tracer.op(
            "Resize", self, [x], shape, multiplications=2 * math.prod(shape), scales=scales, mode=self.mode
        )

    def extra_repr(self) -> str:
        asked = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{asked}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample(mode="nearest") for images.

    Shapes    x (B, C, H, W)   y (B, C, H', W')
    Source    torch.nn.UpsamplingNearest2d
    """

    def __init__(
        self, size: int | tuple[int, int] | None = None, scale_factor: float | tuple[float, float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample(mode="bilinear", align_corners=True).

    Shapes    x (B, C, H, W)   y (B, C, H', W')
    Source    torch.nn.UpsamplingBilinear2d
    """

    def __init__(
        self, size: int | tuple[int, int] | None = None, scale_factor: float | tuple[float, float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


def _resized(mode: str, align_corners: bool | None, x: Tensor, sizes: tuple[int, ...], scales: Scales) -> Tensor:
    corners = [] if mode.startswith("nearest") else [bool(align_corners)]
    y: Tensor = FORWARD[mode][len(sizes)].default(x, sizes, *corners, *scales)
    return y


@lru_cache(maxsize=64)
def _matrix(
    mode: str,
    align_corners: bool | None,
    count: int,
    axis: int,
    n: int,
    m: int,
    scale: float | None,
    dtype: torch.dtype,
    device: torch.device | None,
) -> Tensor:
    units = torch.eye(n, dtype=dtype, device=device).view(1, n, *(n if k == axis else 1 for k in range(count)))
    sizes = tuple(m if k == axis else 1 for k in range(count))
    resized = _resized(mode, align_corners, units, sizes, tuple(scale if k == axis else None for k in range(count)))
    return resized.view(n, m).mT.contiguous()
