"""The Adamax optimizer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_quotient_, average_
from lamp.optim.checks import Range, check_betas
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Adamax(Optimizer):
    """Adamax: Adam with the largest recent gradient in place of the root of the mean squared one.

    g <- g + weight_decay p
    m <- beta1 m + (1 - beta1) g
    u <- max(beta2 u, |g| + eps)
    p <- p - lr / (1 - beta1^t) m / u

    maximize  g <- -g first
    Source    torch.optim.Adamax (arguments, state names); Kingma & Ba 2014, algorithm 2

    Raises ArgumentError unless betas are two numbers, and the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "betas": Range(0.0, 1.0), "eps": Range(), "weight_decay": Range()}

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 2e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def coefficients(self, group: Group, step: int) -> Numbers:
        beta1, beta2 = group["betas"]
        return {
            "step_size": -group["lr"] / (1.0 - beta1**step),
            "share": 1.0 - beta1,
            "kept": beta2,
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        mean = state["exp_avg"] = average_(state["exp_avg"], gradient, c["share"])
        largest = state["exp_inf"] = (state["exp_inf"] * c["kept"]).maximum(gradient.abs() + c["eps"])
        return add_quotient_(parameter, mean, largest, c["step_size"])
