"""The SGD optimizer, stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.errors import ArgumentError
from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_scaled_, indicator, scale_and_add_
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    g <- g + weight_decay p
    b <- momentum b + (1 - dampening) g        (b = g at the first step)
    p <- p - lr b                              (Nesterov: p - lr (g + momentum b))

    maximize  g <- -g first
    Source    torch.optim.SGD (arguments, state name); Sutskever et al. 2013 for Nesterov's form

    Raises ArgumentError for nesterov without a momentum or with dampening, and the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "momentum": Range(),
        "dampening": Range(low=float("-inf")),
        "weight_decay": Range(),
    }
    counts_steps = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-3,
        momentum: Number = 0.0,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        if group["nesterov"] and (is_zero(group["momentum"]) or not is_zero(group["dampening"])):
            raise ArgumentError(
                "Nesterov momentum needs a momentum and no dampening",
                expected="momentum > 0, dampening = 0",
                got=f"momentum = {group['momentum']}, dampening = {group['dampening']}",
                fix="set momentum, or nesterov=False",
            )

    def state_names(self, group: Group) -> tuple[str, ...]:
        return () if is_zero(group["momentum"]) else ("momentum_buffer",)

    def coefficients(self, group: Group, step: int) -> Numbers:
        momentum = group["momentum"]
        return {
            "step_size": -group["lr"],
            "momentum": momentum,
            "share": 1.0 - group["dampening"] * indicator(step > 1) * indicator(momentum != 0.0),
            "weight_decay": group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        if not is_zero(group["momentum"]):
            arriving = gradient if is_zero(group["dampening"]) else gradient * c["share"]
            buffer = state["momentum_buffer"] = scale_and_add_(state["momentum_buffer"], c["momentum"], arriving)
            gradient = add_scaled(gradient, buffer, c["momentum"]) if group["nesterov"] else buffer
        return add_scaled_(parameter, gradient, c["step_size"])
