"""The ASGD optimizer, averaged stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number, add_scaled, is_zero
from lamp.optim.arithmetic import add_scaled_, at_least, average_
from lamp.optim.checks import Range
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class ASGD(Optimizer):
    """Gradient descent with a falling rate, which also keeps the mean `ax` of all parameters from step t0 on.

    g <- g + weight_decay p
    p <- p - lambd eta p - eta g               (eta = lr at the first step)
    ax <- ax + mu (p - ax)                     (mu = 1 at the first step)
    eta <- lr / (1 + lambd lr t)^alpha
    mu <- 1 / max(1, t - t0)

    `optimizer.state[parameter]["ax"]` is the mean.

    maximize  g <- -g first
    Source    torch.optim.ASGD (arguments, state names); Polyak & Juditsky 1992

    Raises the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "lambd": Range(low=float("-inf")),
        "alpha": Range(low=-100.0, high=100.0),
        "t0": Range(low=float("-inf")),
        "weight_decay": Range(),
    }
    numbers_in_state: ClassVar = ("eta", "mu")

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-2,
        lambd: Number = 1e-4,
        alpha: Number = 0.75,
        t0: Number = 1e6,
        weight_decay: Number = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("eta", "mu", "ax")

    def initial_state(self, name: str, group: Group) -> Number:
        return {"eta": group["lr"], "mu": 1.0, "ax": 0.0}[name]

    def coefficients(self, group: Group, step: int) -> Numbers:
        lr, lambd = group["lr"], group["lambd"]
        return {
            "minus_lambd": -lambd,
            "weight_decay": group["weight_decay"],
            "next_eta": lr / (1.0 + lambd * lr * step) ** group["alpha"],
            "next_mu": 1.0 / at_least(1.0, step - group["t0"]),
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        if not is_zero(group["weight_decay"]):
            gradient = add_scaled(gradient, parameter, c["weight_decay"])
        eta, mu = state["eta"], state["mu"]
        parameter = add_scaled_(parameter, parameter * eta, c["minus_lambd"])
        parameter = add_scaled_(parameter, gradient * eta, -1.0)
        state["ax"] = average_(state["ax"], parameter, mu)
        state["eta"], state["mu"] = eta * 0.0 + c["next_eta"], mu * 0.0 + c["next_mu"]
        return parameter
