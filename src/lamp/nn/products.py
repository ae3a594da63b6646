"""Modules that multiply two values: `Bilinear`, and `GLU`, which multiplies one half of its input by a gate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp import axes, init
from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_size, an_axis
from lamp.nn.checks import explain_axes, explain_gradient, explain_input, explain_numbers
from lamp.parameter import Parameter


class Bilinear(Module):
    """A sum of all products of an element of x1 and one of x2, with a weight for each product and output.

    y_o = sum over i and j of x1_i W_oij x2_j + b_o

    Shapes    x1 (B..., in1)   x2 (B..., in2)   W (out, in1, in2)   b (out)   y (B..., out)
    Backward  With all products of a sample in one row, z = x1 x2^T (in1 in2), it is a Linear layer of z:
              dW = dy^T z        db = sum over B of dy        dz = dy W
              dx1 = dz x2        dx2 = dz^T x1
    Init      W and b uniform in +-1/sqrt(in1)
    Source    torch.nn.Bilinear

    Raises ArgumentError for sizes that are not positive integers; ShapeError, DTypeError or DeviceError for inputs that
    do not fit the parameters or each other.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in1_features = a_size(self, "in1_features", in1_features)
        self.in2_features = a_size(self, "in2_features", in2_features)
        self.out_features = a_size(self, "out_features", out_features)
        bias = a_flag(self, "bias", bias)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self.weight = Parameter(torch.empty(self.out_features, self.in1_features, self.in2_features, **place))
        self.bias = Parameter(torch.empty(self.out_features, **place)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise weight and bias again, from this generator or torch's default one."""
        bound = 1 / math.sqrt(self.in1_features)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                init.uniform_(parameter.data, -bound, bound, generator=generator)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        try:
            if input1.shape[:-1] != input2.shape[:-1] or input1.shape[-1] != self.in1_features:
                raise RuntimeError
            y = axes.affine(
                _products(input1, input2),
                self._matrix(self.weight.data).mT,
                None if self.bias is None else self.bias.data,
            )
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise self._explain(input1, input2, error) from None
        self.remember((input1, input2))
        return y

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        x1, x2 = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != (*x1.shape[:-1], self.out_features):
            raise explain_gradient(dy, (*x1.shape[:-1], self.out_features))
        dbias = None if self.bias is None else self.bias.grad
        axes.add_affine(self._matrix(self.weight.grad), dbias, dy, _products(x1, x2))
        dz = axes.affine(dy, self._matrix(self.weight.data)).view(*x1.shape, x2.shape[-1])  # (B..., in1, in2)
        return (dz @ x2.unsqueeze(-1)).squeeze(-1), (x1.unsqueeze(-2) @ dz).squeeze(-2)  # dx1, dx2

    def _matrix(self, weight: Tensor) -> Tensor:
        """A weight as a matrix (out, in1 in2)."""
        return weight.flatten(-2)

    def _explain(self, x1: Any, x2: Any, error: Exception) -> Exception:
        for x, features in ((x1, self.in1_features), (x2, self.in2_features)):
            if not isinstance(x, Tensor) or x.dim() == 0 or x.shape[-1] != features or x.dtype != self.weight.dtype:
                return explain_input(self, x, features, self.weight, error)
        if x1.shape[:-1] != x2.shape[:-1]:
            return ShapeError(
                "the two inputs differ in their batch axes",
                expected=f"(B..., {self.in1_features}) and (B..., {self.in2_features}) with the same B",
                got=f"{tuple(x1.shape)} and {tuple(x2.shape)}",
                fix="pass as many rows of each: nothing is broadcast",
            )
        return explain_input(self, x1, self.in1_features, self.weight, error)

    def trace(self, tracer: Any, x1: Any, x2: Any) -> Any:
        expected = (*x1.shape[:-1], self.in1_features), (*x1.shape[:-1], self.in2_features)
        if not x1.shape or not x2.shape or (x1.shape, x2.shape) != expected:
            raise ShapeError(
                "the inputs have other features than the weights",
                expected=f"(B..., {self.in1_features}) and (B..., {self.in2_features})",
                got=f"(B, {', '.join(map(str, x1.shape))}) and (B, {', '.join(map(str, x2.shape))})",
                fix=f"Bilinear({x1.shape[-1:]}, {x2.shape[-1:]}, {self.out_features})",
            )
        shape = (*x1.shape[:-1], self.out_features)
        held = {"weight": self.weight} if self.bias is None else {"weight": self.weight, "bias": self.bias}
        work = math.prod(x1.shape[:-1]) * self.in1_features * self.in2_features * (self.out_features + 1)
        return tracer.op("Bilinear", self, [x1, x2], shape, parameters=held, multiplications=work)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


def _products(x1: Tensor, x2: Tensor) -> Tensor:
    """All products of an element of x1 (B..., m) and one of x2 (B..., n): (B..., m n)."""
    return (x1.unsqueeze(-1) * x2.unsqueeze(-2)).flatten(-2)


class GLU(Module):
    """Gated linear unit: the first half of the input times the sigmoid of the second.

    y = a s(b), where a and b are the halves of x along dim and s(b) = 1 / (1 + exp(-b))

    Shapes    x (..., 2 n, ...)   y (..., n, ...)
    Backward  da = dy s(b)          db = dy a s(b) (1 - s(b))
    Source    torch.nn.GLU; Dauphin et al. 2016, arXiv:1612.08083

    Raises ArgumentError for a dim that is not an integer; ShapeError for an input without that axis or an odd size
    there, DTypeError for one that is not a floating-point tensor.
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = an_axis(self, "dim", dim)

    def forward(self, input: Tensor) -> Tensor:
        dim = standing(self.dim, self.replicas)
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        if not -input.dim() <= dim < input.dim() or input.shape[dim] % 2:
            raise explain_axes(self, input, f"an axis {self.dim} with an even size", "choose another dim")
        a, b = input.chunk(2, dim)
        self.remember((input, dim))
        return b.sigmoid().mul_(a)

    def backward(self, dy: Tensor) -> Tensor:
        x, dim = self.recall()
        a, b = x.chunk(2, dim)
        if not isinstance(dy, Tensor) or dy.shape != a.shape:
            raise explain_gradient(dy, a.shape)
        dx = torch.empty_like(x, memory_format=torch.contiguous_format)
        da, db = dx.chunk(2, dim)
        gate = b.sigmoid()
        torch.mul(dy, gate, out=da)
        torch.mul(da, a, out=db)
        db.addcmul_(db, gate, value=-1.0)
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        axis = tracer.axis(x, self.dim)
        if x.shape[axis] % 2:
            raise NotTraceable(
                "the axis to halve has an odd size",
                expected="an even size",
                got=x.shape[axis],
                fix="choose another dim",
            )
        shape = (*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :])
        return tracer.op("Gate", self, [x], shape, multiplications=math.prod(shape), axis=axis)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
