"""What is wrong with an input, told after the tensor operation refused it: good input pays nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, BackwardError, DeviceError, DTypeError, LampError, ShapeError
from lamp.module import Module
from lamp.parameter import Buffer, Parameter


# ---- inputs and gradients --------------------------------------------------------------------------------------------
def explain_input(module: Module, x: Any, features: int, parameter: Parameter, error: Exception) -> Exception:
    """The error for an input x that should be (B..., features) of the parameter's dtype and device.

    error  of the tensor operation; it is returned where there was no memory
    """
    if _no_memory(error):
        return error
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
    return explain_unlike(x, parameter) or ShapeError(
        f"{name} cannot take this input",
        expected=f"(B..., {features})",
        got=f"{tuple(x.shape)}, {x.dtype}: {error}".splitlines()[0],
        fix="give it a batch as it expects one",
    )


def explain_channels(module: Module, x: Any, channels: int, parameter: Parameter, error: Exception) -> Exception:
    """The error for an input x that should be (B, channels, ...) of the parameter's dtype and device.

    error  of the tensor operation; it is returned where there was no memory
    """
    if _no_memory(error):
        return error
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
    return explain_unlike(x, parameter) or ShapeError(
        f"{name} cannot take this input",
        expected=f"(B, {channels}, ...)",
        got=f"{tuple(x.shape)}, {x.dtype}: {error}".splitlines()[0],
        fix="give it a batch as it expects one",
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
    error = ShapeError(
        "the gradient is not shaped as the output was",
        expected=tuple(shape),
        got=tuple(dy.shape),
        fix="pass the gradient of the loss with respect to the output, one number for each of its elements",
    )
    error._lamp_upstream = True  # type: ignore[attr-defined]
    return error


def explain_dsigma(module: Module, slope: Any, shape: tuple[int, ...]) -> LampError:
    """The error for a derivative that is not one number for each element."""
    return ShapeError(
        f"{type(module).__name__}.dsigma did not return a derivative for each element",
        expected=f"a tensor {tuple(shape)}",
        got=tuple(slope.shape) if isinstance(slope, Tensor) else type(slope).__name__,
        fix="compute it from x or y, such as `y * 0.0 + 1.0` for a derivative of 1",
    )


def no_tensor(name: str, x: Any) -> DTypeError:
    """The error for something that is no tensor where `name` takes one."""
    return DTypeError(
        f"{name} takes a tensor",
        expected="a torch.Tensor",
        got=f"{type(x).__module__}.{type(x).__qualname__}" if type(x).__module__ != "builtins" else type(x).__name__,
        fix=_tensor_of(x),
    )


def _no_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _tensor_of(x: Any) -> str:
    if x is None:
        return "a forward returns what it computes; torch.as_tensor(...) makes a tensor of numbers"
    if callable(x):
        return "pass a tensor, such as torch.as_tensor(...) makes"
    return "torch.as_tensor(x, dtype=torch.float32) makes one of an array or a list"


def explain_unlike(x: Tensor, parameter: Any) -> LampError | None:
    """The error for an input of another dtype or device than a module's parameter or buffer; None where they fit."""
    if not isinstance(parameter, Parameter | Buffer):
        return DTypeError(
            "something else was assigned in the place of a parameter",
            expected="a lamp.Parameter",
            got=type(parameter).__name__,
            fix="module.weight.data = tensor copies values into the parameter that is there",
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
            "the input lies on another device than the parameters",
            expected=parameter.data.device,
            got=x.device,
            fix=f"x.to('{parameter.data.device}'), or move the network with .to('{x.device}')",
        )
    return None


# ---- members of a container ------------------------------------------------------------------------------------------
def explain_member(container: Module, member: Any) -> ArgumentError:
    """The error for something that cannot be among a container's modules."""
    kind, name = type(member), type(container).__name__
    got = f"{kind.__module__}.{kind.__qualname__}"
    fix = f"pass instances: {name}(lamp.Linear(25, 25), lamp.ReLU())"
    if isinstance(member, Module):
        got, fix = "itself, or a network that contains it", f"build a new {name} of the modules"
    elif isinstance(member, type):
        got, fix = f"the class {member.__name__}", f"{member.__name__}(...) makes a module of it"
    elif kind.__module__.startswith("torch.nn."):
        fix = f"lamp.{kind.__name__}(...) where lamp has it, or lamp.from_torch(...) for one of torch.nn"
    elif callable(member):
        got = f"{got} {getattr(member, '__name__', '')}"
        fix = "its module, such as lamp.ReLU() for relu; or a lamp.Module of your own with forward and backward"
    elif isinstance(member, list | tuple):
        fix = f"{name}(*modules), or one list of modules alone"
    return ArgumentError(
        f"a {name} is made of modules", expected="lamp modules, or one list or dict of them", got=got, fix=fix
    )


def explain_branches(module: Module, outputs: Sequence[Any], expected: str) -> LampError:
    """The error for outputs of several branches that do not fit together."""
    name = type(module).__name__
    for output in outputs:
        if not isinstance(output, Tensor):
            return no_tensor(f"a branch of {name} puts out what is no tensor; it", output)
    if len({output.dtype for output in outputs}) > 1:
        return DTypeError(
            f"the branches of {name} have several dtypes",
            expected=f"{outputs[0].dtype}, as the first has it",
            got=", ".join(str(output.dtype) for output in outputs),
            fix="move the whole network, with .to(dtype), and its input",
        )
    return ShapeError(
        f"the branches of {name} do not fit together",
        expected=expected,
        got=", ".join(str(tuple(output.shape)) for output in outputs),
        fix="give each branch the sizes that the others have: nothing is broadcast",
    )


def explain_chain(error: Exception, before: Module, given: Any, method: str) -> LampError | None:
    """The error for what a module of a row gave to the next, which failed on it; None where it is not to blame."""
    if given is None:
        what = "output" if method == "forward" else "gradient with respect to the input"
        return BackwardError(
            f"the {method} of {type(before).__name__} returned None",
            expected=f"the {what}",
            got="None",
            fix=f"write `return` before what its {method} computes",
        )
    if method == "backward" and getattr(error, "_lamp_upstream", False):
        return ShapeError(
            f"the backward of {type(before).__name__} returned a gradient that is not shaped as its input was",
            expected=getattr(error, "expected", None),
            got=getattr(error, "got", None),
            fix="return d loss / d input, one number for each element of the input",
        )
    return None
