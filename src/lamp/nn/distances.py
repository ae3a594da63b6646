"""`CosineSimilarity` and `PairwiseDistance` of two tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import DTypeError, ShapeError
from lamp.formulas import wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_number, an_axis, not_negative
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers


class CosineSimilarity(Module):
    """The cosine of the angle between x1 and x2 along an axis.

    y = sum of u1 u2,   u = x / n,   n = max(|x|, eps),   |x| = sqrt(sum of x^2), along dim

    Shapes    x1 and x2 (..., n, ...), which broadcast against each other   y (..., ...), without the axis dim
    Backward  dx1 = dy (u2 - y u1) / n1          dx2 = dy (u1 - y u2) / n2
              The part of u2 along u1 only changes the length of x1, which y does not depend on. Where |x| < eps, n is
              constant, and the second term is not there. (torch keeps it.)
    Source    torch.nn.CosineSimilarity

    Raises ArgumentError for wrong constructor arguments; ShapeError for inputs that do not broadcast or lack the axis,
    DTypeError for inputs that are not floating-point tensors of one dtype.
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim, self.eps = an_axis(self, "dim", dim), not_negative(self, "eps", eps)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        a, b = map(wide, _pair(self, x1, x2))
        dim, rank = standing(self.dim, self.replicas), a.dim()
        if not -rank <= dim < rank:
            raise explain_axes(self, x1, f"an axis {self.dim}", "choose another dim: -1 is the last axis")
        full = torch.broadcast_shapes(a.shape, b.shape)
        n1, n2 = (x.expand(full).square().sum(dim, keepdim=True).sqrt_() for x in (a, b))
        u1, u2 = a / n1.clamp(min=self.eps), b / n2.clamp(min=self.eps)
        y = (u1 * u2).sum(dim, keepdim=True)
        self.remember((u1, n1, a.shape, x1.shape, u2, n2, b.shape, x2.shape, y, dim))
        return y.squeeze(dim).to(x1.dtype)

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        u1, n1, shape_a, shape1, u2, n2, shape_b, shape2, y, dim = self.recall()
        shape = y.squeeze(dim).shape
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        given, dy = dy.dtype, wide(dy).unsqueeze(dim)
        dx1 = (u2 - (u1 * y).mul_(n1 > self.eps)) * (dy / n1.clamp(min=self.eps))
        dx2 = (u1 - (u2 * y).mul_(n2 > self.eps)) * (dy / n2.clamp(min=self.eps))
        dx1, dx2 = (d.sum_to_size(shape).to(given) for d, shape in ((dx1, shape_a), (dx2, shape_b)))
        return dx1.view(shape1), dx2.view(shape2)

    def trace(self, tracer: Any, x1: Any, x2: Any) -> Any:
        axis = tracer.axis(x1, self.dim)
        if x1.shape != x2.shape:
            raise _differ(("B", *x1.shape), ("B", *x2.shape))
        shape = (*x1.shape[:axis], *x1.shape[axis + 1 :])
        work = 3 * math.prod(x1.shape)
        return tracer.op("CosineSimilarity", self, [x1, x2], shape, multiplications=work, axis=axis, eps=self.eps)


class PairwiseDistance(Module):
    """The p-norm of the difference between x1 and x2 along the last axis.

    y = (sum of |d|^p)^(1/p),   d = x1 - x2 + eps;   for p = infinity the largest |d|, for p = 0 the count of d != 0

    Shapes    x1 and x2 (..., n), which broadcast against each other   y (...), or (..., 1) with keepdim=True
    Backward  dx1 = dy sign(d) |d|^(p - 1) y^(1 - p), and 0 where y = 0;   dx2 = -dx1
              For p = infinity the largest |d| share dy equally, and for p = 0 there is no gradient.
    Source    torch.nn.PairwiseDistance

    Raises ArgumentError for wrong constructor arguments; ShapeError for inputs that do not broadcast, DTypeError for
    inputs that are not floating-point tensors of one dtype.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.norm: float = a_number(self, "p", p, finite=False)  # torch's name for the attribute
        self.eps, self.keepdim = a_number(self, "eps", eps), a_flag(self, "keepdim", keepdim)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        a, b = map(wide, _pair(self, x1, x2))
        d = (a - b).add_(self.eps)
        y: Tensor = d.norm(self.norm, -1, keepdim=True)
        self.remember((d, y, a.shape, b.shape, x1.shape, x2.shape))
        return (y if self.keepdim else y.squeeze(-1)).to(x1.dtype)

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        d, y, shape_a, shape_b, shape1, shape2 = self.recall()
        shape = y.shape if self.keepdim else y.shape[:-1]
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        dd = self._slopes(d, y) * (dy if self.keepdim else dy.unsqueeze(-1))
        dx1, dx2 = (dd.sum_to_size(each).to(dy.dtype) for each in (shape_a, shape_b))
        return dx1.view(shape1), dx2.neg().view(shape2)

    def _slopes(self, d: Tensor, y: Tensor) -> Tensor:
        """d y / d d."""
        p = self.norm
        if p == 0:
            return d.new_zeros(d.shape)
        if math.isinf(p):
            largest = (d.abs() == y).to(d.dtype)
            return d.sign() * largest / largest.sum(-1, keepdim=True)
        slopes: Tensor = d / y if p == 2 else d.sign() * d.abs().pow(p - 1) * y.pow(1 - p)
        return slopes.masked_fill_((d == 0) | (y == 0), 0.0)

    @property
    def p(self) -> float:
        """The order of the norm."""
        return self.norm

    def trace(self, tracer: Any, x1: Any, x2: Any) -> Any:
        if x1.shape != x2.shape:
            raise _differ(("B", *x1.shape), ("B", *x2.shape))
        shape = (*x1.shape[:-1], 1) if self.keepdim else x1.shape[:-1]
        options = {"p": self.norm, "eps": self.eps, "keepdim": self.keepdim}
        return tracer.op("Distance", self, [x1, x2], shape, multiplications=math.prod(x1.shape), **options)


def _pair(module: Module, x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Both inputs with as many axes, the missing ones of length 1, if they fit together."""
    for x in (x1, x2):
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(module, x)
    if x1.dtype != x2.dtype:
        raise DTypeError("the two inputs differ in dtype", expected=x1.dtype, got=x2.dtype, fix=f"x2.to({x1.dtype})")
    lead = standing(0, module.replicas)
    rank = max(x1.dim(), x2.dim())
    a, b = (x.view(*x.shape[:lead], *(1,) * (rank - x.dim()), *x.shape[lead:]) for x in (x1, x2))
    if any(m != n and 1 not in (m, n) for m, n in zip(a.shape, b.shape, strict=True)) or rank <= lead:
        raise _differ(tuple(x1.shape), tuple(x2.shape))
    return a, b


def _differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> ShapeError:
    return ShapeError(
        "the two inputs do not fit together",
        expected="one shape, or axes of length 1 where they differ",
        got=f"{one} and {other}".replace("'", ""),
        fix="x1.unsqueeze(1) and x2.unsqueeze(0) compare all rows with all rows",
    )
