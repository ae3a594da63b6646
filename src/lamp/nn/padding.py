"""Modules that pad the last one, two or three axes: with a constant, mirrored, with the edge, or as a circle."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from lamp.axes import standing
from lamp.errors import NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn.arguments import LARGEST, a_number, per_axis
from lamp.nn.borders import misfit, padded, padded_gradient
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers

AXES = {1: "W", 2: "H, W", 3: "D, H, W"}


class PaddingModule(Module):
    """Base of the modules that pad: `axes` is how many of the last axes, `mode` what the borders hold.

    padding  an integer for all sides, or a tuple as in torch: (before, after) of the last axis, then of the one before
             it. A negative number crops
    """

    axes: ClassVar[int]
    mode: ClassVar[str]
    value: float = 0.0

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        self.padding = per_axis(self, "padding", padding, 2 * self.axes, least=-LARGEST)

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        self._check(tuple(input.shape[standing(0, self.replicas) :]), input)
        y = padded(input, self.padding, self.mode, self.value)
        self.remember(y.shape)
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        if len(x.shape) < self.axes:
            raise NotTraceable(
                "it pads the axis of the batch",
                expected=f"samples with at least {self.axes} axes",
                got=f"(B, {', '.join(map(str, x.shape))})",
                fix="give each sample an axis of channels",
            )
        self._check(("B", *x.shape))
        return pad_in_graph(tracer, self, x, self.padding, self.mode, self.value)

    def backward(self, dy: Tensor) -> Tensor:
        shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return padded_gradient(dy, self.padding, self.mode)  # dx

    def _check(self, shape: tuple[Any, ...], input: object = None) -> None:
        """Raise ShapeError for a shape, without the axis of replicas, that has other axes or is too small."""
        sizes = AXES[self.axes]
        right = len(shape) >= self.axes if self.mode == "constant" else len(shape) - self.axes in (1, 2)
        if not right:
            forms = f"(..., {sizes})" if self.mode == "constant" else f"(B, C, {sizes}) or (C, {sizes})"
            raise (
                explain_axes(self, input, forms, "reshape the input")
                if isinstance(input, Tensor)
                else ShapeError(
                    "the input does not have the axes needed", expected=forms, got=shape, fix="reshape the input"
                )
            )
        needed = misfit(shape, self.padding, self.mode)
        if needed is not None:
            raise ShapeError(
                f"the input is too small for this {type(self).__name__}",
                expected=needed,
                got=str(shape).replace("'", ""),
                fix="pad less",
            )

    def extra_repr(self) -> str:
        return f"{self.padding}"


def pad_in_graph(tracer: Any, module: Module, x: Any, pads: tuple[int, ...], mode: str, value: float = 0.0) -> Any:
    """The padded value, as an operation of a graph."""
    shape = list(x.shape)
    for k in range(len(pads) // 2):
        shape[-1 - k] += pads[2 * k] + pads[2 * k + 1]
    options = {"value": value} if mode == "constant" else {}
    return tracer.op("Pad", module, [x], shape, pads=tuple(pads), mode=mode, **options)


class ReflectionPad1d(PaddingModule):
    """Pads the last axis with the numbers next to the edges, mirrored at them (see lamp.nn.borders).

    padding  an integer for all sides, or a tuple (before, after); a negative number crops

    Shapes    x (B, C, W) or (C, W)   y the same, with W' = W + before + after
    Backward  dx = dy without the borders, plus the gradient of each border at the numbers that it mirrors
    Source    torch.nn.ReflectionPad1d

    Raises ArgumentError for a wrong padding, ShapeError for an input with other axes or too small for the borders.
    """

    axes, mode = 1, "reflect"


class ReflectionPad2d(PaddingModule):
    """Pads the last two axes with the numbers next to the edges, mirrored at them, as ReflectionPad1d does one.

    padding  an integer for all sides, or a tuple of 4: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, larger by the pads
    Backward  axis by axis as in ReflectionPad1d
    Source    torch.nn.ReflectionPad2d

    Raises the same errors as ReflectionPad1d.
    """

    axes, mode = 2, "reflect"


class ReflectionPad3d(PaddingModule):
    """Pads the last three axes with the numbers next to the edges, mirrored at them, as ReflectionPad1d does one.

    padding  an integer for all sides, or a tuple of 6: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, larger by the pads
    Backward  axis by axis as in ReflectionPad1d
    Source    torch.nn.ReflectionPad3d

    Raises the same errors as ReflectionPad1d.
    """

    axes, mode = 3, "reflect"


class ReplicationPad1d(PaddingModule):
    """Pads the last axis with the numbers at the edges (see lamp.nn.borders).

    padding  an integer for all sides, or a tuple (before, after); a negative number crops

    Shapes    x (B, C, W) or (C, W)   y the same, with W' = W + before + after
    Backward  dx = dy without the borders, plus the sum of the gradient of each border at its edge
    Source    torch.nn.ReplicationPad1d

    Raises ArgumentError for a wrong padding, ShapeError for an input with other axes or too small for the borders.
    """

    axes, mode = 1, "replicate"


class ReplicationPad2d(PaddingModule):
    """Pads the last two axes with the numbers at the edges, as ReplicationPad1d does one.

    padding  an integer for all sides, or a tuple of 4: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, larger by the pads
    Backward  axis by axis as in ReplicationPad1d
    Source    torch.nn.ReplicationPad2d

    Raises the same errors as ReplicationPad1d.
    """

    axes, mode = 2, "replicate"


class ReplicationPad3d(PaddingModule):
    """Pads the last three axes with the numbers at the edges, as ReplicationPad1d does one.

    padding  an integer for all sides, or a tuple of 6: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, larger by the pads
    Backward  axis by axis as in ReplicationPad1d
    Source    torch.nn.ReplicationPad3d

    Raises the same errors as ReplicationPad1d.
    """

    axes, mode = 3, "replicate"


class CircularPad1d(PaddingModule):
    """Pads the last axis with the numbers at the other ends (see lamp.nn.borders).

    padding  an integer for all sides, or a tuple (before, after); a negative number crops

    Shapes    x (B, C, W) or (C, W)   y the same, with W' = W + before + after
    Backward  dx = dy without the borders, plus the gradient of each border at the numbers at the other end
    Source    torch.nn.CircularPad1d

    Raises ArgumentError for a wrong padding, ShapeError for an input with other axes or too small for the borders.
    """

    axes, mode = 1, "circular"


class CircularPad2d(PaddingModule):
    """Pads the last two axes with the numbers at the other ends, as CircularPad1d does one.

    padding  an integer for all sides, or a tuple of 4: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, H, W) or (C, H, W)   y the same, larger by the pads
    Backward  axis by axis as in CircularPad1d
    Source    torch.nn.CircularPad2d

    Raises the same errors as CircularPad1d.
    """

    axes, mode = 2, "circular"


class CircularPad3d(PaddingModule):
    """Pads the last three axes with the numbers at the other ends, as CircularPad1d does one.

    padding  an integer for all sides, or a tuple of 6: (before, after) of the last axis, then of the one before it

    Shapes    x (B, C, D, H, W) or (C, D, H, W)   y the same, larger by the pads
    Backward  axis by axis as in CircularPad1d
    Source    torch.nn.CircularPad3d

    Raises the same errors as CircularPad1d.
    """

    axes, mode = 3, "circular"


class ConstantPad1d(PaddingModule):
    """Pads the last axis with a value.

    padding  an integer for all sides, or a tuple of 2: (before, after); a negative number crops
    value    the number in the borders

    Shapes    x (..., W)   y the same, larger by the pads
    Backward  dx = dy without the borders; 0 where the input was cropped
    Source    torch.nn.ConstantPad1d

    Raises ArgumentError for a wrong padding or value, ShapeError for an input with too few axes or cropped to less than
    nothing.
    """

    axes, mode = 1, "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = a_number(self, "value", value, finite=False)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """Pads the last two axes with a value.

    padding  an integer for all sides, or a tuple of 4: (before, after) of the last axis, then of the one before it
    value    the number in the borders

    Shapes    x (..., H, W)   y the same, larger by the pads
    Backward  as in ConstantPad1d
    Source    torch.nn.ConstantPad2d

    Raises ArgumentError for a wrong padding or value, ShapeError for an input with too few axes or cropped to less than
    nothing.
    """

    axes = 2


class ConstantPad3d(ConstantPad1d):
    """Pads the last three axes with a value.

    padding  an integer for all sides, or a tuple of 6: (before, after) of the last axis, then of the one before it
    value    the number in the borders

    Shapes    x (..., D, H, W)   y the same, larger by the pads
    Backward  as in ConstantPad1d
    Source    torch.nn.ConstantPad3d

    Raises ArgumentError for a wrong padding or value, ShapeError for an input with too few axes or cropped to less than
    nothing.
    """

    axes = 3


class ZeroPad1d(PaddingModule):
    """Pads the last axis with 0.

    padding  an integer for all sides, or a tuple of 2, as in ConstantPad1d

    Shapes    x (..., W)   y the same, larger by the pads
    Backward  dx = dy without the borders
    Source    torch.nn.ZeroPad1d

    Raises the same errors as ConstantPad1d.
    """

    axes, mode = 1, "constant"


class ZeroPad2d(PaddingModule):
    """Pads the last two axes with 0.

    padding  an integer for all sides, or a tuple of 4, as in ConstantPad2d

    Shapes    x (..., H, W)   y the same, larger by the pads
    Backward  dx = dy without the borders
    Source    torch.nn.ZeroPad2d

    Raises the same errors as ConstantPad2d.
    """

    axes, mode = 2, "constant"


class ZeroPad3d(PaddingModule):
    """Pads the last three axes with 0.

    padding  an integer for all sides, or a tuple of 6, as in ConstantPad3d

    Shapes    x (..., D, H, W)   y the same, larger by the pads
    Backward  dx = dy without the borders
    Source    torch.nn.ZeroPad3d

    Raises the same errors as ConstantPad3d.
    """

    axes, mode = 3, "constant"
