"""The SparseAdam optimizer, for embeddings."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number
from lamp.optim.arithmetic import root
from lamp.optim.checks import Range, check_betas
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class SparseAdam(Optimizer):
    """Adam that leaves alone, with its means, every number whose gradient is 0: rows of an embedding not looked up.

    Where g is not 0:
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    p <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)

    maximize  g <- -g first
    Source    torch.optim.SparseAdam (arguments, state names), whose gradients are sparse tensors. lamp's are dense, and
              what torch leaves out is 0 in them. A number whose gradient is exactly 0 in a row that was looked up, such
              as before a ReLU, is left alone here, while torch goes on moving it by its mean

    Raises ArgumentError unless betas are two numbers, and the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "betas": Range(0.0, 1.0), "eps": Range()}

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: Group, step: int) -> Numbers:
        beta1, beta2 = group["betas"]
        return {
            "share1": 1.0 - beta1,
            "share2": 1.0 - beta2,
            "step_size": -group["lr"] * (1.0 - beta2**step) ** 0.5 / (1.0 - beta1**step),
            "eps": group["eps"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        there, mean, square = gradient != 0.0, state["exp_avg"], state["exp_avg_sq"]
        mean = state["exp_avg"] = (mean + (gradient - mean) * c["share1"]).where(there, mean)
        square = state["exp_avg_sq"] = (square + (gradient * gradient - square) * c["share2"]).where(there, square)
        return (parameter + mean * c["step_size"] / root(square, 1.0, c["eps"])).where(there, parameter)
