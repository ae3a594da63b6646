"""The Adadelta optimizer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_scaled_, average_
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Adadelta(Optimizer):
    """Adadelta: divides the gradient by its root mean square, and multiplies it by that of the steps made so far.

    g <- g + weight_decay p
    v <- rho v + (1 - rho) g^2
    d = sqrt(u + eps) / sqrt(v + eps) g
    u <- rho u + (1 - rho) d^2
    p <- p - lr d

    maximize  g <- -g first
    Source    torch.optim.Adadelta (arguments, state names); Zeiler 2012, arXiv:1212.5701

    Raises the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "rho": Range(0.0, 1.0, closed=True), "eps": Range(), "weight_decay": Range()}

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1.0,
        rho: Number = 0.9,
        eps: Number = 1e-6,
        weight_decay: Number = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def coefficients(self, group: Group, step: int) -> Numbers:
        return {
            "step_size": -group["lr"],
            "share": 1.0 - group["rho"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        square = state["square_avg"] = average_(state["square_avg"], gradient * gradient, c["share"])
        delta = (state["acc_delta"] + c["eps"]).sqrt() / (square + c["eps"]).sqrt() * gradient
        state["acc_delta"] = average_(state["acc_delta"], delta * delta, c["share"])
        return add_scaled_(parameter, delta, c["step_size"])
