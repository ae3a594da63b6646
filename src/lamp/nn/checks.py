"""What is wrong with an input, told after the tensor operation refused it: good input pays nothing."""

from typing import Any

from torch import Tensor

from lamp.errors import DeviceError, DTypeError, LampError, ShapeError
from lamp.module import Module
from lamp.parameter import Parameter


def explain_input(module: Module, x: Any, features: int, parameter: Parameter) -> LampError:
    """The error for an input x that should be (B..., features) of the parameter's dtype and device."""
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return DTypeError(
            f"{name} takes a tensor", expected="a torch.Tensor", got=type(x).__name__, fix="torch.as_tensor(...) makes one"
        )
    if x.dim() == 0 or x.shape[-1] != features:
        return ShapeError(
            "the input has the wrong number of features",
            expected=f"(B..., {features})",
            got=tuple(x.shape),
            fix=f"give {features} features on the last axis, or build this module for {tuple(x.shape)[-1:] or 'more axes'}",
        )
    if x.dtype != parameter.dtype:
        return DTypeError(
            "the input has another dtype than the parameters",
            expected=parameter.dtype,
            got=x.dtype,
            fix=f"x.to({parameter.dtype}), or move the network with .to({x.dtype})",
        )
    if x.device != parameter.device:
        return DeviceError(
            "the input lies on another device than the parameters",
            expected=parameter.device,
            got=x.device,
            fix=f"x.to('{parameter.device}'), or move the network with .to('{x.device}')",
        )
    return ShapeError(f"{name} cannot take this input", expected=f"(B..., {features})", got=f"{tuple(x.shape)}, {x.dtype}")
