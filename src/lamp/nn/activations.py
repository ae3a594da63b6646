"""Elementwise activations: each is its sigma and its dsigma, written over numbers (see lamp.formulas)."""

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from lamp.formulas import Number
from lamp.module import Module


class Activation(Module):
    """Base of the elementwise activations.

    y = sigma(x)

    Shapes    x and y: any, the same
    Backward  dx = dy * dsigma(x, y)

    A subclass writes `sigma(x)` and `dsigma(x, y)`, the derivative at x where y = sigma(x), in the operations of
    lamp.formulas, and says in `remembers` which of the two dsigma reads: "x", "y" or "xy" (the other comes as None).
    Where torch has sigma as one operation, `sigma_of_tensor` may use it: the formula stays the definition.
    """

    remembers: ClassVar[Literal["x", "y", "xy"]] = "y"

    @abstractmethod
    def sigma(self, x: Number) -> Number:
        """The activation's value at x."""
        raise NotImplementedError

    @abstractmethod
    def dsigma(self, x: Number, y: Number) -> Number:
        """The activation's derivative at x, where y = sigma(x)."""
        raise NotImplementedError

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        """sigma, for tensors: one operation of torch where there is one."""
        return self.sigma(x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        y = self.sigma_of_tensor(x)
        if self.remembers == "y":
            self.remember(y)
        else:
            self.remember(x if self.remembers == "x" else (x, y))
        return y

    def backward(self, dy: Tensor) -> Tensor:
        if self.remembers == "xy":
            x, y = self.recall()
        else:
            x = y = self.recall()
        return dy * self.dsigma(x, y)


class ReLU(Activation):
    """y = max(x, 0), and its derivative 1 where y > 0, else 0.  Source: torch.nn.ReLU."""

    def sigma(self, x: Number) -> Number:
        return x.clamp(min=0.0)

    def dsigma(self, x: Number, y: Number) -> Number:
        return y.sign()  # y is never negative

    def sigma_of_tensor(self, x: Tensor) -> Tensor:
        return x.relu()
