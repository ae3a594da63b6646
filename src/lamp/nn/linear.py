"""`Linear`, the affine map."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamp import axes, init
from lamp.devices import device_of, floating
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_size, an_init, filled
from lamp.nn.checks import explain_gradient, explain_input
from lamp.parameter import Parameter
from lamp.signatures import called


class Linear(Module):
    """Affine map of the last axis.

    y = x W^T + b

    Shapes    x (B..., in)   W (out, in)   b (out)   y (B..., out)
    Backward  dW = dy^T x          db = sum over B of dy               dx = dy W
    Init      W and b uniform in +-1/sqrt(in); with `init=`, W by that function (see lamp.init) and b zero
    Source    torch.nn.Linear (names, initialisation)

    Raises ArgumentError for sizes that are not positive integers and other wrong arguments; ShapeError, DTypeError or
    DeviceError for an input or a gradient that does not fit.
    """

    _guards = False  # the check of the whole network's input and output covers what it remembers

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
        self.in_features = a_size(self, "in_features", in_features)
        self.out_features = a_size(self, "out_features", out_features)
        bias = a_flag(self, "bias", bias)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self.weight = Parameter(torch.empty(self.out_features, self.in_features, **place))
        self.bias = Parameter(torch.empty(self.out_features, **place)) if bias else None
        self.init = an_init(self, init)
        self.reset_parameters()

    @called()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise weight and bias again, from this generator or torch's default one."""
        if self.init is not None:
            filled(self.init, self.weight.data, generator)
            if self.bias is not None:
                init.zeros_(self.bias.data)
            return
        init.kaiming_uniform_(self.weight.data, a=math.sqrt(5), generator=generator)  # as torch.nn: +-1/sqrt(in)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias.data, -bound, bound, generator=generator)

    _hands_over = True

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        try:
            y = axes.affine(input, self.weight.transposed, None if bias is None else bias.data)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise explain_input(self, input, self.in_features, self.weight, error) from None
        self.remember(input)
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.affine(self, x, self.weight, self.bias)

    def backward(self, dy: Tensor) -> Tensor:
        self._add_gradients(dy)
        return axes.affine(dy, self.weight.data)  # dx

    def backward_parameters(self, dy: Tensor) -> None:
        self._add_gradients(dy)

    def _add_gradients(self, dy: Tensor) -> None:
        x, bias = self.recall(), self.bias
        dweight, dbias = self.weight.grad, None if bias is None else bias.grad
        try:
            axes.add_affine(dweight, dbias, dy, x)
        except (RuntimeError, IndexError, AttributeError, TypeError):
            raise explain_gradient(dy, (*x.shape[:-1], self.out_features)) from None
        if self.units is not None:
            self.weight.grad.mul_(axes.present(self.units, self.weight.grad))  # 0 for units that a replica lacks

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
