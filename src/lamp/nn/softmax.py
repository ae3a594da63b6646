"""`Softmax` and its relatives, which turn scores into probabilities or their logarithms."""

from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.formulas import wide
from lamp.module import Module
from lamp.nn.arguments import an_axis
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers


class Softmax(Module):
    """Probabilities from scores: they are positive and add up to 1 along an axis.

    y = exp(x) / sum of exp(x) along dim

    Shapes    x and y: any, the same
    Backward  dx = y (dy - sum of dy y along dim)
    Source    torch.nn.Softmax

    Raises ArgumentError if dim is missing, ShapeError for an input without that axis or a gradient that has not the
    shape of the output, DTypeError for an input that is not a floating-point tensor.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = an_axis(self, "dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        dim = standing(self.dim, self.replicas)
        try:
            y = input.softmax(dim)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise _explain(self, dim, input, error) from None
        self.remember((y, dim))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.softmax(self, x, self.dim, log=False)

    def backward(self, dy: Tensor) -> Tensor:
        y, dim = self.recall()
        if dy.shape != y.shape:
            raise explain_gradient(dy, y.shape)
        y, given = wide(y), dy.dtype
        share = wide(dy) * y
        dx: Tensor = share.addcmul_(y, share.sum(dim, keepdim=True), value=-1.0)
        return dx.to(given)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax2d(Softmax):
    """Softmax over the channels of images.

    Shapes    x and y (B, C, H, W) or (C, H, W)
    Backward  as Softmax, along C
    Source    torch.nn.Softmax2d

    Raises the same errors as Softmax.
    """

    def __init__(self) -> None:
        super().__init__(-3)

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.dim() - standing(0, self.replicas) not in (3, 4):
            raise explain_axes(self, input, "(B, C, H, W) or (C, H, W)", "lamp.Softmax(dim) works along any axis")
        return super().forward(input)

    def extra_repr(self) -> str:
        return ""


class Softmin(Softmax):
    """Softmax of -x: the smallest score has the largest probability.

    y = exp(-x) / sum of exp(-x) along dim

    Shapes    x and y: any, the same
    Backward  dx = -y (dy - sum of dy y along dim)
    Source    torch.nn.Softmin

    Raises the same errors as Softmax.
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(-input if isinstance(input, Tensor) and input.is_floating_point() else input)

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.softmax(self, tracer.op("Negative", self, [x], x.shape), self.dim, log=False)

    def backward(self, dy: Tensor) -> Tensor:
        return super().backward(dy).neg_()


class LogSoftmax(Module):
    """The logarithm of Softmax, computed without overflow.

    y = x - log(sum of exp(x) along dim)

    Shapes    x and y: any, the same
    Backward  dx = dy - exp(y) (sum of dy along dim)
    Source    torch.nn.LogSoftmax

    Raises the same errors as Softmax.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = an_axis(self, "dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        dim = standing(self.dim, self.replicas)
        try:
            y = input.log_softmax(dim)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise _explain(self, dim, input, error) from None
        self.remember((y, dim))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.softmax(self, x, self.dim, log=True)

    def backward(self, dy: Tensor) -> Tensor:
        y, dim = self.recall()
        if dy.shape != y.shape:
            raise explain_gradient(dy, y.shape)
        p, given = wide(y).exp(), dy.dtype
        dy = wide(dy)
        return torch.addcmul(dy, p, dy.sum(dim, keepdim=True), value=-1.0, out=p).to(given)  # dx

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def _explain(module: Module, dim: int, x: object, error: Exception) -> Exception:
    if isinstance(x, Tensor) and x.is_floating_point():
        axes = dim + 1 if dim >= 0 else -dim
        if x.dim() >= axes:
            return error  # an error of torch's, such as running out of memory
        return explain_axes(
            module, x, f"at least {axes} axes, for dim={dim}", "choose another dim: -1 is the last axis"
        )
    return explain_numbers(module, x)
