"""Modules that only change the shape of their input, or nothing at all."""

import math
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError, ShapeError
from lamp.module import Module
from lamp.nn.arguments import an_axis, sizes
from lamp.nn.checks import explain_axes, explain_gradient


class Identity(Module):
    """y = x. Constructor arguments are accepted and ignored.

    Backward  dx = dy
    Source    torch.nn.Identity
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        self.remember(None)  # so that a backward without a forward is an error here too
        return input

    def trace(self, tracer: Any, x: Any) -> Any:
        return x

    def backward(self, dy: Any) -> Any:
        self.recall()
        return dy


class Flatten(Module):
    """Merges neighbouring axes into one; by default all axes but the first.

    Shapes    x (A..., n_start, ..., n_end, B...)   y (A..., n_start * ... * n_end, B...)
    Backward  dx = dy in the shape of x
    Source    torch.nn.Flatten

    Raises ArgumentError for axes that are not integers, ShapeError for an input without these axes.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = an_axis(self, "start_dim", start_dim), an_axis(self, "end_dim", end_dim)

    def forward(self, input: Tensor) -> Tensor:
        try:
            y = input.flatten(standing(self.start_dim, self.replicas), standing(self.end_dim, self.replicas))
        except (RuntimeError, IndexError, AttributeError, TypeError):
            between = f"axes {self.start_dim} to {self.end_dim}"
            raise explain_axes(self, input, between, "choose axes of the input: -1 is the last one") from None
        self.remember((input.shape, y.shape))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.flatten(self, x, self.start_dim, self.end_dim)

    def backward(self, dy: Tensor) -> Tensor:
        return _in_shape_of_input(dy, *self.recall())  # dx

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits one axis into several.

    Shapes    x (A..., n, B...)   y (A..., *unflattened_size, B...); n is the product of the new sizes, of which one
              may be -1 (inferred)
    Backward  dx = dy in the shape of x
    Source    torch.nn.Unflatten (without named axes)

    Raises ArgumentError for sizes that are not integers from -1 on, ShapeError for an input whose axis does not fit.
    """

    def __init__(self, dim: int, unflattened_size: tuple[int, ...] | list[int]) -> None:
        self.dim, found = an_axis(self, "dim", dim), sizes(unflattened_size)
        if found is None:
            raise ArgumentError(
                "Unflatten needs the sizes of the new axes",
                expected="a tuple of integers, at most one of them -1",
                got=repr(unflattened_size),
                fix="write, for example, Unflatten(1, (3, 32, 32))",
            )
        self.unflattened_size: Any = list(found) if isinstance(unflattened_size, list) else found

    def forward(self, input: Tensor) -> Tensor:
        try:
            y: Tensor = input.unflatten(standing(self.dim, self.replicas), self.unflattened_size)
        except (RuntimeError, IndexError, AttributeError, TypeError):
            known = math.prod(size for size in self.unflattened_size if size >= 0)
            size = f"a multiple of {known}" if -1 in self.unflattened_size else str(known)
            fix = "choose dim and unflattened_size to fit the input"
            raise explain_axes(self, input, f"an axis {self.dim} of size {size}", fix) from None
        self.remember((input.shape, y.shape))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        axis = tracer.axis(x, self.dim)
        known, size = math.prod(n for n in self.unflattened_size if n >= 0), x.shape[axis]
        if size % max(known, 1) or (-1 not in self.unflattened_size and size != known):
            raise ShapeError(
                "the axis to split has another size",
                expected=f"{known}, or a multiple of it if one size is -1",
                got=size,
                fix="choose dim and unflattened_size to fit the input",
            )
        split = (size // known if n < 0 else n for n in self.unflattened_size)
        return tracer.reshape(self, x, (*x.shape[:axis], *split, *x.shape[axis + 1 :]))

    def backward(self, dy: Tensor) -> Tensor:
        return _in_shape_of_input(dy, *self.recall())  # dx

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


def _in_shape_of_input(dy: Tensor, before: torch.Size, after: torch.Size) -> Tensor:
    if not isinstance(dy, Tensor) or dy.shape != after:
        raise explain_gradient(dy, after)
    return dy.reshape(before)
