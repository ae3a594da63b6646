"""Errors for outputs, targets and hyperparameters that do not fit a loss.

The `explain_...` functions run after a mismatch was noticed, so that valid pairs cost nothing. Each finds out what is
wrong and returns the error.
"""

import inspect
import math
from numbers import Real
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.devices import without_numbers
from lamp.errors import ArgumentError, DeviceError, DTypeError, LabelError, LampError, NonFiniteError, ShapeError
from lamp.overrides import is_lamps

PER_REPLICA = (
    "mark a batch (K, B, ...) that differs per replica with lamp.per_replica(x); all replicas share an unmarked one"
)
EMPTY = "an empty batch has no loss"


def explain_pair(output: Any, target: Any) -> LampError:
    """The error for an output and a target that should be floating-point tensors of one shape."""
    wrong = _no_tensors(output, target) or _wrong_output(output) or _apart(output, target, "target")
    if wrong is not None:
        return wrong
    if output.shape != target.shape:
        return ShapeError(
            "output and target differ in shape, and nothing is broadcast in a loss",
            expected=f"a target {tuple(output.shape)}, like the output",
            got=tuple(target.shape),
            fix=_reshape_advice(output, target),
        )
    return DTypeError(
        "output and target differ in dtype", expected=output.dtype, got=target.dtype, fix=f"target.to({output.dtype})"
    )


def explain_labels(output: Any, target: Any, axis: int, ignore_index: int) -> LampError | None:
    """The error for an output (N, C, ...) and a target that should be labels (N, ...); None if they fit."""
    wrong = _no_tensors(output, target) or _wrong_output(output) or _no_class_axis(output)
    if wrong is not None:
        return wrong
    samples = output.shape[:axis] + output.shape[axis + 1 :]
    if target.shape != samples:
        return _wrong_label_shape(output, target, axis, samples)
    if target.is_floating_point() or target.is_complex() or target.dtype is torch.bool:
        return LabelError(
            "labels must be integers",
            expected=f"a target {tuple(samples)} of class indices, torch.int64",
            got=f"{target.dtype}",
            fix=f"target.long() for class indices, or probabilities {tuple(output.shape)}, one per class",
        )
    return _apart(output, target, "target") or _wrong_label(target, output.shape[axis], ignore_index)


def explain_probabilities(output: Any, target: Any, axis: int) -> LampError:
    """The error for an output (N, C, ...) and a floating-point target that is not one probability per class."""
    wrong = _no_tensors(output, target) or _wrong_output(output) or _no_class_axis(output)
    if wrong is None and target.shape == output.shape[:axis] + output.shape[axis + 1 :]:
        wrong = explain_labels(output, target, axis, 0)
    return wrong or explain_pair(output, target)


def explain_distribution(target: Tensor, ignore_index: int) -> LampError:
    """The error for probabilities together with an ignore_index, or with one that is negative or NaN."""
    if ignore_index >= 0:
        return LabelError(
            "ignore_index only works with labels, and the target holds probabilities",
            expected="labels, or probabilities and no ignore_index",
            got=f"ignore_index = {ignore_index} and a target {tuple(target.shape)}, {target.dtype}",
            fix="set the probabilities of samples to ignore to 0, and build the loss without ignore_index",
        )
    wrong = ~(target >= 0)
    first, others = target[wrong][0].item(), int(wrong.sum()) - 1
    return LabelError(
        "the target holds a number that is not a probability",
        expected="numbers of at least 0: the probability of each class (times the weight of the sample, if it has one)",
        got=f"{first:g} at {_first(wrong)}" + (f", and {others} others" if others else ""),
        fix="convert scores to probabilities with target.softmax(1)",
    )


def explain_weight(name: str, weight: Tensor, output: Tensor, expected: torch.Size | tuple[int, ...]) -> LampError:
    """The error for a weight whose shape, dtype or device does not fit the output."""
    wrong = _apart(output, weight, name)
    if wrong is None and weight.dtype is not output.dtype:
        wrong = DTypeError(
            f"the {name} has another dtype than the output",
            expected=output.dtype,
            got=weight.dtype,
            fix=f"criterion.to({output.dtype})",
        )
    return wrong or ShapeError(
        f"the {name} of the loss does not fit the output {tuple(output.shape)}",
        expected=tuple(expected),
        got=tuple(weight.shape),
        fix=f"build the loss with another {name}",
    )


def explain_probability(name: str, tensor: Tensor, fix: str) -> LampError:
    """The error for numbers that should lie in [0, 1]."""
    outside = ~((tensor >= 0) & (tensor <= 1))
    first, others = tensor[outside][0].item(), int(outside.sum()) - 1
    kind = NonFiniteError if math.isnan(first) else LabelError if name == "target" else ArgumentError
    return kind(
        f"the {name} holds a number that is not a probability",
        expected=f"{name}s from 0 to 1",
        got=f"{first:g} at {_first(outside)}" + (f", and {others} others" if others else ""),
        fix=fix,
    )


def explain_number(what: str, number: Tensor, replicas: int | None) -> LampError:
    """The error for a hyperparameter with several values that are not one per replica."""
    return ArgumentError(
        f"{what} is one number, or one per network of a population",
        expected="a number" if replicas is None else f"a number, or a tensor ({replicas},)",
        got=f"a tensor {tuple(number.shape)}",
        fix="train a population with one network per value"
        if replicas is None
        else f"pass {replicas} numbers (K = {replicas})",
    )


class Limits(NamedTuple):
    """The allowed range of a hyperparameter.

    low, high  both included
    expected   the range as text, for the error
    fix        the fix of the error
    low_each   the lower limit for values in a tensor (K,), if it is another one
    """

    low: float
    high: float
    expected: str
    fix: str
    low_each: float | None = None


def as_number(owner: str, name: str, value: Any, limits: Limits) -> Any:
    """A hyperparameter as a float, or as a tensor (K,). Other types that behave like numbers are returned unchanged.

    Raises ArgumentError for anything else, and for a value out of range.
    """
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiu":
        value = torch.as_tensor(value)
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_complex():
        value = value.item()
    several = isinstance(value, Tensor)
    low = limits.low if not several or limits.low_each is None else limits.low_each
    stands_in = not isinstance(value, Real | Tensor | np.ndarray | complex) and hasattr(type(value), "__rtruediv__")
    if isinstance(value, bool) or not (stands_in or (_is_real(value) and is_within(value, low, limits.high))):
        raise ArgumentError(
            f"{owner}: {name} is out of range",
            expected=limits.expected + (" for each replica" if several else ""),
            got=value if isinstance(value, Real) else repr(value),
            fix=limits.fix,
        )
    return float(value) if isinstance(value, Real) else value


def _is_real(value: Any) -> bool:
    one_axis = isinstance(value, Tensor) and not value.is_complex() and value.dim() <= 1 and value.numel() > 0
    return isinstance(value, Real) or one_axis


def is_within(number: Any, low: float, high: float) -> bool:
    """Whether a number, or every element of a tensor (K,), is in [low, high]."""
    numbers = number.tolist() if isinstance(number, Tensor) else [number]
    return all(low <= each <= high for each in numbers)


def _is_factor(dloss: tuple[Any, ...]) -> bool:
    return len(dloss) == 1 and type(dloss[0]) in (int, float)


def explain_dloss(
    dloss: tuple[Any, ...], shape: torch.Size | None, dtype: torch.dtype, replicas: int | None = None
) -> LampError:
    """The error for arguments of backward that are not one tensor of this shape and dtype.

    shape  None for a mean or a sum, where the argument is one number, or one per replica
    """
    got = [f"{tuple(each.shape)}, {each.dtype}" if isinstance(each, Tensor) else type(each).__name__ for each in dloss]
    if shape is None:
        one = "()" if replicas is None else f"({replicas},)"
        return ShapeError(
            "the gradient of a mean or a sum is one number" + ("" if replicas is None else " per replica"),
            expected=f"criterion.backward(), or one tensor {one} to multiply the gradient by",
            got=" and ".join(got),
            fix=f"criterion.backward(torch.tensor({float(dloss[0])}))" if _is_factor(dloss) else "criterion.backward()",
        )
    return ShapeError(
        'the backward of a loss with reduction="none" needs a gradient, one number for each value of the loss',
        expected=f"criterion.backward(gradient of shape {tuple(shape)}, {dtype})",
        got=" and ".join(got) or "no argument",
        fix='pass the weight of each value, or use reduction="mean"',
    )


def explain_non_finite(value: Tensor, output: Tensor, target: Tensor) -> LampError:
    """The error for a mean or sum of these values that is NaN or infinite: says where the first one is."""
    bad = ~value.isfinite()
    got = []
    for name, tensor in (("output", output), ("target", target)):
        nans, infinities = int(tensor.isnan().sum()), int(tensor.isinf().sum())
        if nans or infinities:
            got.append(f"{nans} NaN and {infinities} infinite of {tensor.numel()} {name}s")
    if not got:
        got.append(f"finite outputs from {output.min().item():.3g} to {output.max().item():.3g}")
    if bad.any():
        got.append(f"the loss at {_first(bad)} is {value[bad][0].item()}")
    else:
        got.append(f"finite losses whose sum is out of the range of {value.dtype}")
    return NonFiniteError(
        "the loss is not finite",
        expected="a finite number",
        got="; ".join(got),
        fix="look for NaN in the inputs and targets, lower the learning rate, or clip the gradients",
    )


def _no_tensors(output: Any, target: Any) -> LampError | None:
    for name, tensor in (("output", output), ("target", target)):
        if not isinstance(tensor, Tensor):
            return DTypeError(
                f"the {name} is not a tensor",
                expected="a torch.Tensor",
                got=type(tensor).__name__,
                fix="convert it with torch.as_tensor(...)"
                if not isinstance(tensor, tuple)
                else "several outputs or targets need a lamp.Loss of your own, whose forward takes them as tuples",
            )
    return None


def _wrong_output(output: Tensor) -> LampError | None:
    if not output.is_floating_point():
        return DTypeError(
            "the output is not a floating-point tensor",
            expected="a floating-point tensor",
            got=output.dtype,
            fix="pass the output of the network as the first argument, and the target as the second",
        )
    if output.is_meta:
        return without_numbers("the output")
    if output.numel() == 0:
        return ShapeError(EMPTY, expected="at least one element", got=tuple(output.shape), fix="skip empty batches")
    return None


def _no_class_axis(output: Tensor) -> LampError | None:
    if output.dim() > 0:
        return None
    return ShapeError(
        "the output has no axis of classes",
        expected="(N, C), (N, C, d1, ...), or (C) for one sample",
        got=(),
        fix="pass one score per class",
    )


def _apart(output: Tensor, other: Tensor, name: str) -> LampError | None:
    if output.device == other.device:
        return None
    return DeviceError(
        f"output and {name} are on different devices",
        expected=output.device,
        got=other.device,
        fix=f"move the {name} to '{output.device}' with .to",
    )


def _wrong_label_shape(output: Tensor, target: Tensor, axis: int, samples: torch.Size) -> LampError:
    expected = f"a target {tuple(samples)} of class indices for an output {tuple(output.shape)}"
    if target.shape == output.shape and not target.is_floating_point():
        return LabelError(
            "the target looks one-hot, but class indices are needed",
            expected=expected,
            got=f"{tuple(target.shape)}, {target.dtype}",
            fix=f"target.argmax({axis}), or probabilities: target.to({output.dtype})",
        )
    return ShapeError(
        "the shapes of output and target do not fit together, and nothing is broadcast in a loss",
        expected=expected,
        got=tuple(target.shape),
        fix=_label_advice(output, target, samples) if replicas_of(output) is None else PER_REPLICA,
    )


def _label_advice(output: Tensor, target: Tensor, samples: torch.Size) -> str:
    if target.shape == (*samples, 1):
        return f"target.squeeze({target.dim() - 1})"
    if target.dim() > 1 and target.shape == output.shape[:-1]:
        return "classes are on axis 1, as in torch: output.movedim(-1, 1)"
    return "pass one label per sample"


def _wrong_label(target: Tensor, classes: int, ignore_index: int) -> LampError | None:
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if not wrong.any():
        return None
    label, where = int(target[wrong][0]), _first(wrong)
    one_based = "; labels count from 0: subtract 1" if label == classes and int(target.min()) >= 1 else ""
    return LabelError(
        "a label is out of range",
        expected=f"labels from 0 to {classes - 1} for {classes} classes, or ignore_index = {ignore_index}",
        got=f"label {label} at {where}",
        fix=f"correct the labels, or build the network for {max(label + 1, classes)} classes{one_based}"
        if label >= 0
        else "correct the labels, or set ignore_index to the one that means no label",
    )


def _reshape_advice(output: Tensor, target: Tensor) -> str:
    if replicas_of(output) is not None:
        return PER_REPLICA
    if output.shape == (*target.shape, 1):
        return "target.unsqueeze(-1), or model(x).squeeze(-1)"
    if target.shape == (*output.shape, 1):
        return "target.squeeze(-1)"
    if output.shape[1:] == target.shape:
        return (
            "target.expand_as(output); if these are a population's outputs: criterion(lamp.per_replica(output), target)"
        )
    return "give the target the shape of the output"


def _first(condition: Tensor) -> tuple[int, ...]:
    """The index of the first element where a condition holds."""
    return tuple(condition.nonzero()[0].tolist())


def check_arguments_of_formulas(kind: Any) -> None:
    """Raise ArgumentError if a user's formulas take other numbers of arguments than lamp's `prepare` gives them."""
    if not is_lamps(kind.prepare):
        return
    for name in ("value", "derivative"):
        own = vars(kind).get(name)
        base = next(vars(each)[name] for each in kind.__mro__ if is_lamps(each) and name in vars(each))
        every = list(inspect.signature(base).parameters.values())
        if not isinstance(own, FunctionType) or any(each.kind is each.VAR_POSITIONAL for each in every):
            continue
        wanted = [each for each in every if each.default is each.empty]
        try:
            inspect.signature(own).bind(*wanted)
        except TypeError:
            given = ", ".join(each.name for each in wanted[1:])
            raise ArgumentError(
                f"{kind.__name__}.{name} takes other arguments than the prepare of its base class gives it",
                expected=f"{name}(self, {given})",
                got=f"{name}{inspect.signature(own)}",
                fix=f"def {name}(self, {given}); or write prepare(self, output, target) too, or derive from lamp.Loss",
            ) from None
