"""What is wrong with an input, told after the tensor operation refused it: good input pays nothing."""

from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, DeviceError, DTypeError, LampError, ShapeError
from lamp.module import Module
from lamp.parameter import Parameter


# ---- inputs and gradients --------------------------------------------------------------------------------------------
def explain_input(module: Module, x: Any, features: int, parameter: Parameter) -> LampError:
    """The error for an input x that should be (B..., features) of the parameter's dtype and device."""
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return no_tensor(name, x)
    if x.dim() == 0 or x.shape[-1] != features:
        return ShapeError(
            "the input has the wrong number of features",
            expected=f"(B..., {features})",
            got=tuple(x.shape),
            fix=f"give {features} features on the last axis, or build the module for those that come",
        )
    return _unlike(x, parameter) or ShapeError(
        f"{name} cannot take this input", expected=f"(B..., {features})", got=f"{tuple(x.shape)}, {x.dtype}"
    )


def explain_channels(module: Module, x: Any, channels: int, parameter: Parameter) -> LampError:
    """The error for an input x that should be (B, channels, ...) of the parameter's dtype and device."""
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return no_tensor(name, x)
    if channels != 1 and (x.dim() < 2 or x.shape[1] != channels):
        return ShapeError(
            "the input has the wrong number of channels",
            expected=f"(B, {channels}, ...)",
            got=tuple(x.shape),
            fix=f"give {channels} channels on axis 1, or build this module for those that come",
        )
    return _unlike(x, parameter) or ShapeError(
        f"{name} cannot take this input", expected=f"(B, {channels}, ...)", got=f"{tuple(x.shape)}, {x.dtype}"
    )


def explain_numbers(module: Module, x: Any) -> LampError:
    """The error for an input x that is no floating-point tensor."""
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return no_tensor(name, x)
    return DTypeError(
        f"{name} takes floating-point numbers", expected="a floating-point tensor", got=x.dtype, fix="x.float()"
    )


def explain_axes(module: Module, x: Any, expected: str, fix: str) -> LampError:
    """The error for an input x that lacks an axis the module works on, or has it in the wrong size."""
    if not isinstance(x, Tensor):
        return no_tensor(type(module).__name__, x)
    return ShapeError("the input does not have the axes asked for", expected=expected, got=tuple(x.shape), fix=fix)


def explain_gradient(dy: Any, shape: tuple[int, ...]) -> LampError:
    """The error for a gradient that is not shaped as the output it belongs to: nothing is broadcast."""
    if not isinstance(dy, Tensor):
        return no_tensor("backward", dy)
    return ShapeError(
        "the gradient is not shaped as the output was",
        expected=tuple(shape),
        got=tuple(dy.shape),
        fix="pass the gradient of the loss with respect to the output, one number for each of its elements",
    )


def no_tensor(name: str, x: Any) -> DTypeError:
    """The error for something that is no tensor where `name` takes one."""
    return DTypeError(
        f"{name} takes a tensor", expected="a torch.Tensor", got=type(x).__name__, fix="torch.as_tensor(...) makes one"
    )


def _unlike(x: Tensor, parameter: Parameter) -> LampError | None:
    if x.dtype != parameter.dtype:
        return DTypeError(
            "the input has another dtype than the parameters",
            expected=parameter.dtype,
            got=x.dtype,
            fix=f"x.to({parameter.dtype})"
            + (f", or move the network with .to({x.dtype})" if x.is_floating_point() else ""),
        )
    if x.device != parameter.device:
        return DeviceError(
            "the input lies on another device than the parameters",
            expected=parameter.device,
            got=x.device,
            fix=f"x.to('{parameter.device}'), or move the network with .to('{x.device}')",
        )
    return None


# ---- constructor arguments -------------------------------------------------------------------------------------------
def positive(module: Module, name: str, value: float) -> float:
    """The value.  Raises ArgumentError unless it is more than 0."""
    if not value > 0:
        raise _out_of_range(module, name, "more than 0", value)
    return value


def not_negative(module: Module, name: str, value: float) -> float:
    """The value.  Raises ArgumentError unless it is at least 0."""
    if not value >= 0:
        raise _out_of_range(module, name, "at least 0", value)
    return value


def an_axis(module: Module, name: str, value: Any) -> int:
    """The value.  Raises ArgumentError unless it is an integer."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArgumentError(
            f"{type(module).__name__} needs {name}, the number of an axis",
            expected="an integer, such as -1 for the last axis",
            got=repr(value),
            fix=f"set {name}",
        )
    return value


def _out_of_range(module: Module, name: str, expected: str, value: object) -> ArgumentError:
    return ArgumentError(
        f"{type(module).__name__}: {name} is out of range", expected=expected, got=value, fix=f"choose another {name}"
    )
