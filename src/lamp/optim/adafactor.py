"""The Adafactor optimizer, whose state is small."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import column
from lamp.errors import ArgumentError
from lamp.formulas import Number, is_zero
from lamp.optim.arithmetic import at_most
from lamp.optim.checks import Range, check_pair
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Adafactor(Optimizer):
    """Adafactor: divides the gradient by the root of a mean squared gradient, of which it keeps rows and columns only.

    r <- r + t^beta2_decay (mean of g^2 along the last axis - r)
    c <- c + t^beta2_decay (mean of g^2 along the last but one - c)
    v = r c / mean of r                        (of a vector, v is the mean squared gradient itself)
    u = g / sqrt(max(v, eps1^2))
    a = min(lr, 1 / sqrt(t)) max(eps2, rms(p))
    p <- p - lr weight_decay p - a u / max(1, rms(u) / d)

    A matrix m x n has m + n numbers of state in place of Adam's 2 m n. rms is the root of the mean square.

    eps       (eps1, eps2); None for eps1 is the precision of the dtype
    maximize  g <- -g first
    Source    torch.optim.Adafactor (arguments, state names); Shazeer & Stern 2018, arXiv:1804.04235

    Raises the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "beta2_decay": Range(low=float("-inf"), high=0.0, closed=True),
        "d": Range(low=1.0),
        "weight_decay": Range(),
    }
    elementwise = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-2,
        beta2_decay: Number = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: Number = 1.0,
        weight_decay: Number = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_pair(self, group, "eps", "(eps1 or None, eps2), such as (None, 1e-3)")
        first, second = group["eps"]
        if not (first is None or Range().holds(first)) or not Range().holds(second):
            raise ArgumentError(
                "Adafactor: eps is out of range", expected="two numbers of at least 0", got=group["eps"], fix="leave it"
            )

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("row_var", "col_var", "variance")

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        if len(shape) < 2:
            return shape if name == "variance" else None
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}.get(name)

    def coefficients(self, group: Group, step: int) -> Numbers:
        return {
            "share": float(step) ** group["beta2_decay"],
            "rate": at_most(step**-0.5, group["lr"]),
            "minus_decay": -group["lr"] * group["weight_decay"],
            "d": group["d"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        c = {name: column(number, gradient) for name, number in c.items()}
        eps1, eps2 = group["eps"]
        eps1 = torch.finfo(gradient.dtype).eps if eps1 is None else eps1
        axes = list(range(0 if group["params"][0].replicas is None else 1, gradient.dim()))  # all but the replicas'
        size = _rms(parameter, axes).clamp(min=eps2) * c["rate"]
        if not is_zero(group["weight_decay"]):
            parameter.add_(parameter * c["minus_decay"])
        square = gradient.square()
        if "variance" in state:
            mean = state["variance"].lerp_(square, _as_tensor(c["share"], square))
        else:
            rows = state["row_var"].lerp_(square.mean(-1, keepdim=True), _as_tensor(c["share"], square))
            columns = state["col_var"].lerp_(square.mean(-2, keepdim=True), _as_tensor(c["share"], square))
            mean = rows * columns / rows.mean(-2, keepdim=True).clamp(min=eps1)
        step = mean.clamp(min=eps1 * eps1).rsqrt_().mul_(gradient)
        return parameter.sub_(step * (size / (_rms(step, axes) / c["d"]).clamp(min=1.0)))


def _rms(x: Tensor, axes: list[int]) -> Tensor:
    """The root of the mean square over these axes, which stay with size 1."""
    return x.square().mean(axes, keepdim=True).sqrt() if axes else x.abs()


def _as_tensor(number: Number, like: Tensor) -> Tensor:
    return number if isinstance(number, Tensor) else torch.tensor(number, dtype=like.dtype, device=like.device)
