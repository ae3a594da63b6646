"""The RMSprop optimizer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_quotient_, add_scaled_, average_, root, scale_and_add_
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class RMSprop(Optimizer):
    """RMSprop: divides the gradient by the root of the mean squared gradient.

    g <- g + weight_decay p
    v <- alpha v + (1 - alpha) g^2
    m <- alpha m + (1 - alpha) g               (centered: max(v - m^2, 0) replaces v below)
    b <- momentum b + g / (sqrt(v) + eps)
    p <- p - lr b

    maximize  g <- -g first
    Source    torch.optim.RMSprop (arguments, state names); Tieleman & Hinton 2012; Graves 2013 for the centered form.
              If rounding makes v - m^2 negative, torch gives NaN

    Raises the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "alpha": Range(),
        "eps": Range(),
        "weight_decay": Range(),
        "momentum": Range(),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-2,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        centered = ("grad_avg",) if group["centered"] else ()
        return ("square_avg", *centered) if is_zero(group["momentum"]) else ("square_avg", "momentum_buffer", *centered)

    def coefficients(self, group: Group, step: int) -> Numbers:
        return {
            "step_size": -group["lr"],
            "share": 1.0 - group["alpha"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
            "momentum": group["momentum"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        square = state["square_avg"] = average_(state["square_avg"], gradient * gradient, c["share"])
        if group["centered"]:
            mean = state["grad_avg"] = average_(state["grad_avg"], gradient, c["share"])
            square = (square - mean * mean).clamp(min=0.0)
        scale = root(square, 1.0, c["eps"])
        if is_zero(group["momentum"]):
            return add_quotient_(parameter, gradient, scale, c["step_size"])
        buffer = state["momentum_buffer"] = scale_and_add_(state["momentum_buffer"], c["momentum"], gradient / scale)
        return add_scaled_(parameter, buffer, c["step_size"])
