"""The Lion optimizer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, is_zero
from lamp.optim.arithmetic import add_scaled_, average_
from lamp.optim.checks import Range, check_betas
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Lion(Optimizer):
    """Lion: steps of one size in every parameter, in the direction of a mean gradient.

    d = sign(beta1 m + (1 - beta1) g)
    p <- p - lr weight_decay p - lr d
    m <- beta2 m + (1 - beta2) g

    The rate is usually a third to a tenth of Adam's, and the weight decay three to ten times as large.

    maximize  g <- -g first
    Source    Chen et al. 2023, arXiv:2302.06675, program 1

    Raises ArgumentError unless betas are two numbers, and the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "betas": Range(0.0, 1.0), "weight_decay": Range()}
    counts_steps = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-4,
        betas: tuple[Number, Number] = (0.9, 0.99),
        weight_decay: Number = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg",)

    def coefficients(self, group: Group, step: int) -> Numbers:
        beta1, beta2 = group["betas"]
        return {
            "of_gradient": 1.0 - beta1,
            "share": 1.0 - beta2,
            "step_size": -group["lr"],
            "minus_decay": -group["lr"] * group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        mean = state["exp_avg"]
        direction = (mean + (gradient - mean) * c["of_gradient"]).sign()
        if not is_zero(group["weight_decay"]):
            parameter = add_scaled_(parameter, parameter, c["minus_decay"])
        state["exp_avg"] = average_(mean, gradient, c["share"])
        return add_scaled_(parameter, direction, c["step_size"])
