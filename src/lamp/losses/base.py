"""What every loss is: a value and its derivative, reduced."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LampError
from lamp.formulas import Number, scalar
from lamp.losses.checks import explain_dloss, explain_non_finite, explain_pair
from lamp.module import Module
from lamp.parameter import Buffer


class Loss(Module):
    """Base of all losses.

    L = reduce(value(output, target))

    reduction  "mean": the sum over `divisor`; "sum"; "none": a loss for each element (or sample)
    Shapes     output and target: any, the same, unless the loss says otherwise; L: () for mean and sum
    Backward   doutput = derivative(output, target) * dvalue, where dvalue is 1/divisor for mean, 1 for sum, and the
               argument of backward for none (which mean and sum take too, as a factor)

    A subclass writes `value` and `derivative`, over numbers (see lamp.formulas). Both get what `prepare` returns: output
    and target as they are, or something that the two formulas share.

    Raises ShapeError, DTypeError or DeviceError for a pair that does not fit (nothing is broadcast), NonFiniteError for
    a mean or sum that is NaN or infinite, and ArgumentError for an unknown reduction.
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            raise ArgumentError(
                f"unknown reduction for {type(self).__name__}",
                expected=" or ".join(map(repr, self.reductions)),
                got=repr(reduction),
                fix="name one of these",
            )
        self.reduction = reduction

    # ---- the formulas ----------------------------------------------------------------------------------------------
    def prepare(self, output: Number, target: Number) -> tuple[Number, ...]:
        """What `value` and `derivative` take."""
        return output, target

    @abstractmethod
    def value(self, *prepared: Any) -> Number:
        """The loss of each element, before reduction."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, *prepared: Any) -> Number:
        """d value / d output, element by element."""
        raise NotImplementedError

    def value_of_tensors(self, *prepared: Any) -> Tensor:
        """`value`, for tensors: fewer operations where torch has them."""
        return self.value(*prepared)  # type: ignore[no-any-return]

    def divisor(self, value: Tensor) -> int:
        """What "mean" divides the sum by."""
        return value.numel()

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.check(output, target)
        prepared = self.prepare(output, target)
        value = self.value_of_tensors(*prepared)
        loss, dvalue = self.reduce(value, self.divisor(value))
        if dvalue is not None and not math.isfinite(loss.item()):
            raise self.explain_non_finite(value, output, target)
        self.remember((prepared, dvalue))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        prepared, dvalue = self.recall()
        doutput: Tensor = self.derivative(*prepared)
        return doutput * (self.times(dvalue, dloss, doutput.shape) if dloss or dvalue is None else dvalue)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise where output and target cannot meet element by element."""
        try:
            fits = (
                output.shape == target.shape
                and output.dtype is target.dtype
                and output.device == target.device
                and output.is_floating_point()
                and output.numel() > 0
            )
        except AttributeError:
            fits = False
        if not fits:
            raise explain_pair(output, target)

    def reduce(self, value: Tensor, divisor: Tensor | int) -> tuple[Tensor, Tensor | None]:
        """The loss, and dvalue = d loss / d value; None for reduction="none", where the caller of backward says it."""
        if self.reduction == "none":
            return value, None
        dtype = value.dtype
        if dtype.itemsize < 4:  # float16 and bfloat16: the sum may leave their range where the mean does not
            value = value.float()
        total = value.sum()
        if self.reduction == "sum":
            return total.to(dtype), scalar(1.0, dtype)
        if isinstance(divisor, int):
            share = scalar(1.0 / divisor, value.dtype)
        else:
            share = divisor.to(value.dtype).reciprocal()
        loss = total * share
        return (loss, share) if dtype is value.dtype else (loss.to(dtype), share.to(dtype))

    def times(self, dvalue: Tensor | None, dloss: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        """dvalue times the argument of backward; without a dvalue (reduction="none") that argument, of this shape."""
        if len(dloss) != 1 or dloss[0].shape != (shape if dvalue is None else ()):
            raise explain_dloss(dloss, None if dvalue is not None else shape)
        return dloss[0] if dvalue is None else dvalue * dloss[0]

    def explain_non_finite(self, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        """The error for a mean or sum that is NaN or infinite."""
        return explain_non_finite(value, output, target)


def buffer_of(weight: Tensor | None) -> Buffer | None:
    """A weight as part of a loss's state."""
    return None if weight is None else Buffer(weight)
