"""The Adam optimizer, and AdamW, its variant with decoupled weight decay."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number
from lamp.optim.arithmetic import add_quotient_, average_, decayed_, root
from lamp.optim.checks import Range, check_betas
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Adam(Optimizer):
    """Adam: moves along the mean gradient, divided by the root of the mean squared gradient.

    g <- g + weight_decay p                    (decoupled_weight_decay: p <- p - lr weight_decay p instead)
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2             (amsgrad: w <- max(w, v) replaces v below)
    p <- p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    maximize  g <- -g first
    Source    torch.optim.Adam (arguments, state names); Kingma & Ba 2014, algorithm 1; Reddi et al. 2018 for amsgrad

    Raises ArgumentError unless betas are two numbers, and the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "betas": Range(0.0, 1.0), "eps": Range(), "weight_decay": Range()}

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: Group, step: int) -> Numbers:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        return {
            "weight_decay": decay,
            "minus_decay": -lr * decay,
            "share1": 1.0 - beta1,
            "share2": 1.0 - beta2,
            "step_size": -lr / (1.0 - beta1**step),
            "correction": (1.0 - beta2**step) ** -0.5,
            "eps": group["eps"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        parameter, gradient = decayed_(parameter, gradient, c, group)
        mean = state["exp_avg"] = average_(state["exp_avg"], gradient, c["share1"])
        square = state["exp_avg_sq"] = average_(state["exp_avg_sq"], gradient * gradient, c["share2"])
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"] = state["max_exp_avg_sq"].maximum(square)
        return add_quotient_(parameter, mean, root(square, c["correction"], c["eps"]), c["step_size"])


class AdamW(Adam):
    """Adam with decoupled weight decay: p <- p - lr weight_decay p before the step.

    Source    torch.optim.AdamW (arguments, state names); Loshchilov & Hutter 2017

    Raises the errors of Adam.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)
