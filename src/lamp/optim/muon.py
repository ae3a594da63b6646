"""The Muon optimizer, for matrices."""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import column
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import Number
from lamp.optim.arithmetic import add_scaled_
from lamp.optim.checks import Range, check_choice
from lamp.optim.optimizer import Group, Numbers, Optimizer, State

ADJUSTED: dict[
    str | None, Callable[[int, int], float]
] = {  # by the sizes (m, n) of a matrix, what the rate is multiplied by
    None: lambda m, n: math.sqrt(max(1.0, m / n)),
    "original": lambda m, n: math.sqrt(max(1.0, m / n)),
    "match_rms_adamw": lambda m, n: 0.2 * math.sqrt(max(m, n)),
}


class Muon(Optimizer):
    """Muon: moves each matrix along the orthogonal matrix that is nearest to its mean gradient.

    b <- momentum b + (1 - momentum) g
    u = b                                      (nesterov: momentum b + (1 - momentum) g)
    p <- p - lr weight_decay p - lr s orthogonal(u)
    s = sqrt(max(1, m / n)) of a matrix m x n  (adjust_lr_fn="match_rms_adamw": 0.2 sqrt(max(m, n)))

    orthogonal(u) brings the singular values of u near 1, by ns_steps of the Newton-Schulz iteration
    x <- a x + (b x x^T + c (x x^T)^2) x from x = u / |u|, with (a, b, c) = ns_coefficients. It is computed in bfloat16,
    as in torch.

    Muon is for the weights of hidden layers. Biases, embeddings and the last layer are left to another optimizer.

    Source    torch.optim.Muon (arguments, state name); Jordan et al. 2024, kellerjordan.github.io/posts/muon

    Raises ShapeError for parameters that are not matrices, ArgumentError for an unknown adjust_lr_fn, and the errors of
    Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "weight_decay": Range(),
        "momentum": Range(),
        "eps": Range(single=True),
        "ns_steps": Range(high=100, single=True, whole=True),
        "ns_coefficients": Range(low=float("-inf"), single=True),
    }
    counts_steps = False
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-3,
        weight_decay: Number = 0.1,
        momentum: Number = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_choice(self, group, "adjust_lr_fn", ADJUSTED)
        if not isinstance(group["ns_coefficients"], tuple) or len(group["ns_coefficients"]) != 3:
            raise ArgumentError(
                "Muon: ns_coefficients must be three numbers",
                expected="(a, b, c)",
                got=group["ns_coefficients"],
                fix="leave them at (3.4445, -4.7750, 2.0315)",
            )
        for parameter in group["params"]:
            shape = tuple(parameter.shape[len(parameter.rows) :])
            if len(shape) != 2:
                raise ShapeError(
                    "Muon trains matrices",
                    expected="parameters with two axes",
                    got=f"a parameter {shape}",
                    fix="lamp.Muon([p for p in model.parameters() if p.dim() == 2]); another optimizer for the others",
                )

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def coefficients(self, group: Group, step: int) -> Numbers:
        return {
            "share": 1.0 - group["momentum"],
            "momentum": group["momentum"],
            "lr": group["lr"],
            "kept": 1.0 - group["lr"] * group["weight_decay"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        c = {name: column(number, gradient) for name, number in c.items()}
        mean = state["momentum_buffer"].lerp_(gradient, c["share"])
        direction = gradient.lerp(mean, c["momentum"]) if group["nesterov"] else mean
        direction = orthogonal(direction, group["ns_coefficients"], int(group["ns_steps"]), group["eps"])
        rate = c["lr"] * ADJUSTED[group["adjust_lr_fn"]](*parameter.shape[-2:])
        return add_scaled_(parameter.mul_(c["kept"]), direction.to(parameter.dtype), -rate)


def orthogonal(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Matrices (..., m, n) with their singular values brought near 1, in bfloat16 (see Muon)."""
    a, b, c = coefficients
    x = matrix.bfloat16()
    wide = x.mT if x.shape[-2] > x.shape[-1] else x  # the products are then of the shorter side
    wide = wide / torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = _sum(wide, a, _sum(gram, b, gram, c, gram), 1.0, wide)
    return wide.mT if x.shape[-2] > x.shape[-1] else wide


def _sum(x: Tensor, of_x: float, left: Tensor, of_product: float, right: Tensor) -> Tensor:
    """of_x x + of_product left right."""
    if x.dim() == 2:
        return torch.addmm(x, left, right, beta=of_x, alpha=of_product)
    return torch.baddbmm(x, left, right, beta=of_x, alpha=of_product)
