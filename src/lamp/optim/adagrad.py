"""The Adagrad optimizer."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_quotient_, add_scaled_, root
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Adagrad(Optimizer):
    """Adagrad: divides the gradient by the root of the sum of all squared gradients so far.

    g <- g + weight_decay p
    s <- s + g^2                               (s = initial_accumulator_value before the first step)
    p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    maximize  g <- -g first
    Source    torch.optim.Adagrad (arguments, state name); Duchi et al. 2011

    Raises the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "lr_decay": Range(),
        "weight_decay": Range(),
        "initial_accumulator_value": Range(),
        "eps": Range(),
    }
    state_from_start = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-2,
        lr_decay: Number = 0.0,
        weight_decay: Number = 0.0,
        initial_accumulator_value: Number = 0.0,
        eps: Number = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("sum",)

    def initial_state(self, name: str, group: Group) -> Number:
        return group["initial_accumulator_value"]

    def coefficients(self, group: Group, step: int) -> Numbers:
        return {
            "step_size": -group["lr"] / (1.0 + (step - 1) * group["lr_decay"]),
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        total = state["sum"] = add_scaled_(state["sum"], gradient, gradient)
        return add_quotient_(parameter, gradient, root(total, 1.0, c["eps"]), c["step_size"])
