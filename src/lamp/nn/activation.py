"""`Activation`, the base class of elementwise activations."""

import math
from abc import abstractmethod
from typing import Any, Literal

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.fused import fused
from lamp.module import Module
from lamp.nn.checks import explain_dsigma, explain_gradient, explain_numbers
from lamp.torch_habits import unwritten


class Activation(Module):
    """Base of the elementwise activations.

    y = sigma(x)

    Shapes    x and y: any, the same
    Backward  dx = dy * dsigma(x, y)

    A subclass defines `sigma(x)` and `dsigma(x, y)`, the derivative at x, where y = sigma(x), in the operations of
    lamp.formulas. The class attribute `remembers` says which of the two dsigma reads: "x", "y" or "xy" (the other is
    None). "y" needs no extra memory, since the next module usually keeps it as its input.

    Where torch has sigma as one operation, `sigma_of_tensor` may call it; the formula remains the definition. So does
    dsigma where `dsigma_of_tensor` computes the same in another way, which is faster or rounds less; `reads` says which
    of x and y that method reads. float16 and bfloat16 are computed in float32, as in torch.

    Raises DTypeError for an input that is not a floating-point tensor, and ShapeError for a gradient that has not the
    shape of the output.
    """

    remembers: Literal["x", "y", "xy"] = "y"
    reads: Literal["", "x", "y", "xy"] = ""  # "": what `remembers` says
    fused_from: float = math.inf  # from so many numbers on machine code computes y and dx, see lamp.fused
    _guards = False  # the check of the whole network's input and output covers what it remembers

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.remembers not in ("x", "y", "xy"):
            raise ArgumentError(
                f"{cls.__name__}: remembers must say which values dsigma reads",
                expected="'x', 'y' or 'xy'",
                got=repr(cls.remembers),
                fix="write remembers = 'xy' if dsigma reads both",
            )

    @abstractmethod
    def sigma(self, x: Number) -> Number:
        """The activation's value at x."""
        raise unwritten(self, "sigma(self, x)", "the activation's value at x")

    @abstractmethod
    def dsigma(self, x: Number, y: Number) -> Number:
        """The derivative at x, where y = sigma(x). For tensors a new one: the caller may overwrite it."""
        raise unwritten(self, "dsigma(self, x, y)", "the activation's derivative at x")

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        """sigma of a tensor; subclasses use a single operation of torch if there is one."""
        y = fused(self.sigma, x) if x.numel() >= self.fused_from else None
        return self.sigma(x) if y is None else y

    def dsigma_of_tensor(self, x: Tensor, y: Tensor) -> Tensor:
        """dsigma of tensors; subclasses may use fewer operations of torch, or another formula."""
        return self.dsigma(x, y)  # type: ignore[no-any-return]

    def sigma_over(self, x: Tensor) -> Tensor:
        """sigma of a tensor, in place. Subclasses define it where torch has it, and dsigma reads y alone."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        own = self.__dict__  # where methods are that were set on the instance
        x = input if input.dtype.itemsize >= 4 else input.float()
        y = self.sigma_of_tensor(x) if "sigma" not in own else self.sigma(x)
        if x is not input:
            y = y.to(input.dtype)
        reads = (self.reads or self.remembers) if "dsigma" not in own else self.remembers
        self.remember((None, y) if reads == "y" else (input, y if reads == "xy" else None))
        return y

    _overwrites = True

    def _forward_over(self, input: Tensor) -> Tensor:
        without = type(self).sigma_over is Activation.sigma_over or "sigma" in self.__dict__
        reads_x = "x" in self.remembers or "x" in self.reads
        if without or reads_x or not isinstance(input, Tensor) or input.dtype.itemsize < 4:
            return self._bare_forward(input)  # type: ignore[no-any-return]
        y = self.sigma_over(input)
        self.remember((None, y))
        return y

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.elementwise(self, x)

    def backward(self, dy: Tensor) -> Tensor:
        x, y = self.recall()
        like = x if y is None else y
        if dy.shape != like.shape:
            raise explain_gradient(dy, like.shape)
        if like.dtype.itemsize < 4:
            return self._dx(*(None if each is None else each.float() for each in (dy, x, y))).to(like.dtype)
        return self._dx(dy, x, y)

    def _dx(self, dy: Any, x: Any, y: Any) -> Tensor:
        """dy * dsigma(x, y)."""
        if dy.numel() >= self.fused_from and (dx := fused(self._product, dy, x, y)) is not None:
            return dx
        try:
            slope = self.dsigma_of_tensor(x, y) if "dsigma" not in self.__dict__ else self.dsigma(x, y)
        except (TypeError, AttributeError):
            if x is not None and y is not None:
                raise
            raise explain_reading(self) from None
        try:
            # In place takes two thirds of the time, but must not overwrite the input or output of the forward.
            dx = slope.mul_(dy) if slope is not x and slope is not y else slope * dy
        except (RuntimeError, AttributeError, TypeError):
            raise explain_dsigma(self, slope, dy.shape) from None
        return dx

    def _product(self, dy: Number, x: Number, y: Number) -> Number:
        """dy * dsigma(x, y), of any numbers: what is compiled."""
        return (self.dsigma_of_tensor(x, y) if self.reads else self.dsigma(x, y)) * dy


def explain_reading(activation: Activation) -> ArgumentError:
    """The error for a dsigma that reads the one of x and y that is not remembered, and so is None."""
    kind, remembers = type(activation).__name__, activation.remembers
    return ArgumentError(
        f"{kind}.dsigma reads what {kind} does not remember",
        expected='remembers = "x", "y" or "xy", for what dsigma(x, y) reads',
        got=f"remembers = {remembers!r}, and the other one is None",
        fix=f'remembers = "{"y" if remembers == "x" else "x"}", or "xy" for both, in the class',
    )
