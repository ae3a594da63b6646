"""Errors for wrong inputs, gradients and members of modules.

These functions run after a tensor operation has failed, so that valid input costs no checks. Each finds out what is
wrong and returns the error.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, BackwardError, DeviceError, DTypeError, LampError, ShapeError
from lamp.module import Module
from lamp.parameter import Buffer, Parameter


# ---- inputs and gradients --------------------------------------------------------------------------------------------
def explain_input(module: Module, x: Any, features: int, parameter: Parameter, error: Exception) -> Exception:
    """The error for an input x that should be (B..., features), of the parameter's dtype and device.

    error  the error of the tensor operation; it is returned itself if memory has run out
    """
    if _no_memory(error):
        return error
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return not_a_tensor(name, x)
    if x.dim() == 0 or x.shape[-1] != features:
        return ShapeError(
            "the input has the wrong number of features",
            expected=f"(B..., {features})",
            got=tuple(x.shape),
            fix=f"pass {features} features on the last axis, or build the module with the input's number of features"
            + (f"; lamp.Flatten() before it makes {x.shape[1:].numel()} features of them" if x.dim() > 2 else ""),
        )
    return explain_unlike(x, parameter) or ShapeError(
        f"{name} cannot compute with this input",
        expected=f"(B..., {features})",
        got=f"{tuple(x.shape)}, {x.dtype}: {error}".splitlines()[0],
        fix="pass a batch of the expected shape",
    )


def explain_channels(module: Module, x: Any, channels: int, parameter: Parameter, error: Exception) -> Exception:
    """The error for an input x that should be (B, channels, ...), of the parameter's dtype and device.

    error  the error of the tensor operation; it is returned itself if memory has run out
    """
    if _no_memory(error):
        return error
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return not_a_tensor(name, x)
    if channels != 1 and (x.dim() < 2 or x.shape[1] != channels):
        return ShapeError(
            "the input has the wrong number of channels",
            expected=f"(B, {channels}, ...)",
            got=tuple(x.shape),
            fix=f"pass {channels} channels on axis 1, or build the module with the input's number of channels",
        )
    return explain_unlike(x, parameter) or ShapeError(
        f"{name} cannot compute with this input",
        expected=f"(B, {channels}, ...)",
        got=f"{tuple(x.shape)}, {x.dtype}: {error}".splitlines()[0],
        fix="pass a batch of the expected shape",
    )


def explain_numbers(module: Module, x: Any) -> LampError:
    """The error for an input x that is not a floating-point tensor."""
    name = type(module).__name__
    if not isinstance(x, Tensor):
        return not_a_tensor(name, x)
    return DTypeError(
        f"{name} needs floating-point numbers", expected="a floating-point tensor", got=x.dtype, fix="x.float()"
    )


def explain_axes(module: Module, x: Any, expected: str, fix: str) -> LampError:
    """The error for an input x that lacks an axis which the module needs, or has another size there."""
    if not isinstance(x, Tensor):
        return not_a_tensor(type(module).__name__, x)
    return ShapeError("the input does not have the axes needed", expected=expected, got=tuple(x.shape), fix=fix)


def explain_gradient(dy: Any, shape: tuple[int, ...]) -> LampError:
    """The error for a gradient that has not the shape of its output (nothing is broadcast)."""
    if not isinstance(dy, Tensor):
        return not_a_tensor("backward", dy)
    error = ShapeError(
        "the gradient does not have the shape of the output",
        expected=tuple(shape),
        got=tuple(dy.shape),
        fix="pass the gradient of the loss with respect to the output, one number per element",
    )
    error._lamp_upstream = True  # type: ignore[attr-defined]
    return error


def explain_dsigma(module: Module, slope: Any, shape: tuple[int, ...]) -> LampError:
    """The error for a derivative that is not one number per element."""
    return ShapeError(
        f"{type(module).__name__}.dsigma did not return one derivative per element",
        expected=f"a tensor {tuple(shape)}",
        got=tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__,
        fix="compute it from x or y, such as `y * 0.0 + 1.0` for a derivative of 1",
    )


def not_a_tensor(name: str, x: Any, needs: str = "needs a tensor") -> DTypeError:
    """The error for an x that is not a tensor, where the module or method of this name needs one."""
    return DTypeError(
        f"{name} {needs}",
        expected="a torch.Tensor",
        got=f"{type(x).__module__}.{type(x).__qualname__}" if type(x).__module__ != "builtins" else type(x).__name__,
        fix=_tensor_of(x),
    )


def _no_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _tensor_of(x: Any) -> str:
    if x is None:
        return "check that the forward before it ends in a return; torch.as_tensor(...) converts numbers to a tensor"
    if isinstance(x, tuple) and any(isinstance(each, Tensor) for each in x):
        return (
            "pass on one of these values, by a Container of your own: RNN, LSTM and GRU return their output and state, "
            "MultiheadAttention its output and weights"
        )
    if callable(x):
        return "pass a tensor; torch.as_tensor(...) converts numbers to one"
    return "torch.as_tensor(x, dtype=torch.float32) converts an array or a list"


def explain_unlike(x: Tensor, parameter: Any) -> LampError | None:
    """The error for an input of another dtype or device than a module's parameter or buffer; None if they fit."""
    if not isinstance(parameter, Parameter | Buffer):
        return DTypeError(
            "a parameter of the module was replaced by something else",
            expected="a lamp.Parameter",
            got=type(parameter).__name__,
            fix="module.weight.data = tensor copies values into an existing parameter",
        )
    if x.dtype != parameter.data.dtype:
        return DTypeError(
            "the input has another dtype than the parameters",
            expected=parameter.data.dtype,
            got=x.dtype,
            fix=f"x.to({parameter.data.dtype})"
            + (f", or move the network with .to({x.dtype})" if x.is_floating_point() else ""),
        )
    if x.device != parameter.data.device:
        return DeviceError(
            "the input is on another device than the parameters",
            expected=parameter.data.device,
            got=x.device,
            fix=f"x.to('{parameter.data.device}'), or move the network with .to('{x.device}')",
        )
    return None


# ---- members of a container ------------------------------------------------------------------------------------------
def explain_member(container: Module, member: Any) -> ArgumentError:
    """The error for something that cannot be a module of a container."""
    kind, name = type(member), type(container).__name__
    got = f"{kind.__module__}.{kind.__qualname__}"
    fix = f"pass instances: {name}(lamp.Linear(25, 25), lamp.ReLU())"
    if isinstance(member, Module):
        got, fix = "itself, or a network that contains it", f"build a new {name} from the modules"
    elif isinstance(member, type):
        got, fix = f"the class {member.__name__}", f"pass an instance: {member.__name__}(...)"
    elif kind.__module__.startswith("torch.nn."):
        fix = f"use lamp.{kind.__name__}(...) if lamp has it, or convert the module with lamp.from_torch(...)"
    elif callable(member):
        got = f"{got} {getattr(member, '__name__', '')}"
        fix = "use its module, such as lamp.ReLU() for relu, or a lamp.Module of your own with forward and backward"
    elif isinstance(member, list | tuple):
        fix = f"{name}(*modules), or one list of modules as the only argument"
    return ArgumentError(
        f"a {name} is made of modules", expected="lamp modules, or one list or dict of them", got=got, fix=fix
    )


def explain_branches(module: Module, outputs: Sequence[Any], expected: str) -> LampError:
    """The error for outputs of several branches that do not fit together."""
    name = type(module).__name__
    for output in outputs:
        if not isinstance(output, Tensor):
            return not_a_tensor(f"a branch of {name}", output, "must return a tensor")
    if len({output.dtype for output in outputs}) > 1:
        return DTypeError(
            f"the outputs of the branches of {name} differ in dtype",
            expected=f"{outputs[0].dtype}, as in the first branch",
            got=", ".join(str(output.dtype) for output in outputs),
            fix="convert the whole network and its input with .to(dtype)",
        )
    return ShapeError(
        f"the outputs of the branches of {name} do not fit together",
        expected=expected,
        got=", ".join(str(tuple(output.shape)) for output in outputs),
        fix="make the branches end in the same sizes: nothing is broadcast",
    )


def explain_chain(error: Exception, before: Module, given: Any, method: str) -> LampError | None:
    """The error for a module of a sequence whose result made the next one fail; None if the next one is to blame."""
    if given is None:
        what = "output" if method == "forward" else "gradient with respect to the input"
        return BackwardError(
            f"the {method} of {type(before).__name__} returned None",
            expected=f"the {what}",
            got="None",
            fix=f"end its {method} with a return of what it computes",
        )
    if method == "backward" and getattr(error, "_lamp_upstream", False):
        return ShapeError(
            f"the backward of {type(before).__name__} returned a gradient that does not have the shape of its input",
            expected=getattr(error, "expected", None),
            got=getattr(error, "got", None),
            fix="return d loss / d input, one number per element of the input",
        )
    return None
