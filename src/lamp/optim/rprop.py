"""The Rprop optimizer, resilient backpropagation."""

from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.optim.checks import Range, check_pair
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class Rprop(Optimizer):
    """Rprop: a step size per parameter, which grows while the gradient keeps its sign, for training on whole data sets.

    d <- d eta_plus where g has the sign of the last gradient, d eta_minus where it has the opposite one;
         kept within step_sizes                (d = lr before the first step)
    g <- 0 where its sign has changed
    p <- p - d sign(g)

    maximize  g <- -g first
    Source    torch.optim.Rprop (arguments, state names); Riedmiller & Braun 1993

    etas        (eta_minus, eta_plus)
    step_sizes  (smallest, largest) step size

    Raises ArgumentError unless 0 < eta_minus < 1 < eta_plus, and the errors of Optimizer.
    """

    ranges: ClassVar = {"lr": Range(), "etas": Range(), "step_sizes": Range()}

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 1e-2,
        etas: tuple[Number, Number] = (0.5, 1.2),
        step_sizes: tuple[Number, Number] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_pair(self, group, "etas", "(eta_minus, eta_plus), such as (0.5, 1.2)")
        check_pair(self, group, "step_sizes", "(smallest, largest), such as (1e-6, 50)")
        less, more = (eta.tolist() if isinstance(eta, Tensor) else [eta] for eta in group["etas"])
        if not all(0.0 < eta < 1.0 for eta in less) or not all(eta > 1.0 for eta in more):
            raise ArgumentError(
                "Rprop: etas are out of range",
                expected="0 < eta_minus < 1 < eta_plus",
                got=group["etas"],
                fix="leave them at (0.5, 1.2)",
            )

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("prev", "step_size")

    def initial_state(self, name: str, group: Group) -> Number:
        return group["lr"] if name == "step_size" else 0.0

    def coefficients(self, group: Group, step: int) -> Numbers:
        (less, more), (smallest, largest) = group["etas"], group["step_sizes"]
        return {"less": less, "more": more, "smallest": smallest, "largest": largest}

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        same = gradient * state["prev"]
        size = state["step_size"]
        size = (size * c["more"]).where(same > 0.0, (size * c["less"]).where(same < 0.0, size))
        size = state["step_size"] = size.clamp(min=c["smallest"]).clamp(max=c["largest"])
        gradient = state["prev"] = (gradient * 0.0).where(same < 0.0, gradient)
        return parameter - gradient.sign() * size
