"""What every loss is: a value and its derivative, reduced."""

import math
from abc import abstractmethod

from torch import Tensor

from lamp.errors import ArgumentError, DeviceError, DTypeError, NonFiniteError, ShapeError
from lamp.formulas import Number, scalar
from lamp.module import Module

REDUCTIONS = ("mean", "sum", "none")


class Loss(Module):
    """Base of all losses.

    L = reduce(value(output, target))

    reduction  "mean": the sum over `divisor`; "sum"; "none": one loss an element or sample
    Shapes     output and target as the loss says; L: () for mean and sum
    Backward   doutput = derivative(output, target) * dvalue, where dvalue is 1/divisor for mean, 1 for sum, and the
               argument of backward for none

    A subclass writes `value` and `derivative`, over numbers (see lamp.formulas). Both get what `prepare` returns, which
    checks the pair and brings it into the form that the two formulas share.
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in REDUCTIONS:
            raise ArgumentError(
                f"unknown reduction for {type(self).__name__}",
                expected=" or ".join(map(repr, REDUCTIONS)),
                got=repr(reduction),
                fix="name one of these",
            )
        self.reduction = reduction

    @abstractmethod
    def value(self, output: Number, target: Number) -> Number:
        """The loss of each element or sample, before reduction."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, output: Number, target: Number) -> Number:
        """d value / d output, element by element."""
        raise NotImplementedError

    def prepare(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The checked pair that `value` and `derivative` take."""
        check_pair(output, target)
        return output, target

    def divisor(self, target: Tensor) -> Tensor | None:
        """What "mean" divides the sum by; None for the number of values."""
        return None

    def per_element(self, dvalue: Tensor) -> Tensor:
        """dvalue in a shape that multiplies the derivative: the same, where each element has a loss of its own."""
        return dvalue

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        output, target = self.prepare(output, target)
        value: Tensor = self.value(output, target)
        if self.reduction == "none":
            self.remember((output, target, None))
            return value
        if self.reduction == "sum":
            loss, share = value.sum(), scalar(1.0, value.dtype)
        elif (divisor := self.divisor(target)) is None:
            share = scalar(1.0 / value.numel(), value.dtype)
            loss = value.sum() * share
        else:
            loss, share = value.sum() / divisor, 1.0 / divisor
        self.remember((output, target, share))
        refuse_non_finite(loss, output)
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        output, target, share = self.recall()
        doutput: Tensor = self.derivative(output, target)
        if share is not None:
            doutput = doutput * share
            return doutput * dloss[0] if dloss else doutput
        if not dloss:
            raise ArgumentError(
                'a loss with reduction="none" needs a gradient to go back from',
                expected="criterion.backward(gradient with respect to each loss)",
                got="no argument",
                fix='pass the weight of each loss, or use reduction="mean"',
            )
        return doutput * self.per_element(dloss[0])


def check_pair(output: Tensor, target: Tensor, same_shape: bool = True) -> None:
    """That output and target are floating-point tensors that can meet element by element."""
    for name, tensor in (("output", output), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise DTypeError(
                f"the {name} is no tensor",
                expected="a torch.Tensor",
                got=type(tensor).__name__,
                fix="torch.as_tensor(...) makes one",
            )
    if output.numel() == 0:
        raise ShapeError("an empty batch has no loss", expected="at least one element", got=tuple(output.shape))
    if output.device != target.device:
        raise DeviceError(
            "output and target lie on different devices",
            expected=output.device,
            got=target.device,
            fix=f"target.to('{output.device}')",
        )
    if same_shape and output.shape != target.shape:
        raise ShapeError(
            "output and target differ in shape, and nothing is broadcast in a loss",
            expected=f"a target {tuple(output.shape)}, as the output",
            got=tuple(target.shape),
            fix=_reshape_advice(output, target),
        )
    if same_shape and output.dtype != target.dtype:
        raise DTypeError(
            "output and target differ in dtype",
            expected=output.dtype,
            got=target.dtype,
            fix=f"target.to({output.dtype})",
        )


def _reshape_advice(output: Tensor, target: Tensor) -> str:
    if output.shape == (*target.shape, 1):
        return "target.unsqueeze(-1), or model(x).squeeze(-1)"
    if target.shape == (*output.shape, 1):
        return "target.squeeze(-1)"
    return "make the target as the output is"


def refuse_non_finite(loss: Tensor, output: Tensor) -> None:
    """Raise NonFiniteError for a loss that is NaN or infinite."""
    if math.isfinite(loss.item()):
        return
    bad = (~output.isfinite()).nonzero()
    raise NonFiniteError(
        f"the loss is {loss.item()}",
        expected="a finite loss",
        got=f"{len(bad)} of {output.numel()} outputs not finite, the first at {tuple(bad[0].tolist())}"
        if len(bad)
        else f"finite outputs between {output.min().item():.3g} and {output.max().item():.3g}",
        fix="look for NaN in the inputs and targets, lower the learning rate, or clip the gradients",
    )
