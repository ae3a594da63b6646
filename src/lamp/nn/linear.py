"""The affine map."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamp import axes, init
from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.nn.checks import explain_gradient, explain_input
from lamp.parameter import Parameter


class Linear(Module):
    """Affine map of the last axis.

    y = x W^T + b

    Shapes    x (B..., in)   W (out, in)   b (out)   y (B..., out)
    Backward  dW = dy^T x          db = sum over B of dy               dx = dy W
    Init      W and b uniform in +-1/sqrt(in); with `init=`, W by that function of lamp.init and b zero
    Source    torch.nn.Linear (names, init law)

    Raises ShapeError, DTypeError or DeviceError for an input that does not fit.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Callable[..., Any] | None = None,
    ) -> None:
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not isinstance(size, int) or size < 1:
                raise ArgumentError(f"Linear needs {name}", expected="a positive integer", got=size, fix=f"set {name}")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.bias = Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.init = init
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw the parameters by the init law."""
        if self.init is not None:
            self.init(self.weight.data, generator=generator)
            if self.bias is not None:
                init.zeros_(self.bias.data)
            return
        init.kaiming_uniform_(self.weight.data, a=math.sqrt(5), generator=generator)  # torch.nn's law: +-1/sqrt(in)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias.data, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        try:
            y = axes.affine(x, self.weight.transposed, None if self.bias is None else self.bias.data)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise explain_input(self, x, self.in_features, self.weight) from error
        self.remember(x)
        return y

    def backward(self, dy: Tensor) -> Tensor:
        self._add_gradients(dy)
        return axes.linear(dy, self.weight.data)  # dx

    def backward_parameters(self, dy: Tensor) -> None:
        self._add_gradients(dy)

    def _add_gradients(self, dy: Tensor) -> None:
        x = self.recall()
        try:
            axes.add_affine(self.weight.grad, None if self.bias is None else self.bias.grad, dy, x)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise explain_gradient(dy, (*x.shape[:-1], self.out_features)) from error
        if self.units is not None:
            self.weight.grad.mul_(axes.present(self.units, self.weight.grad))  # what a replica lacks learns nothing

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
