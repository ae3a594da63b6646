"""The NAdam and RAdam optimizers, two corrections of Adam's first steps."""

from collections.abc import Iterable
from typing import Any, ClassVar

from lamp.formulas import Number
from lamp.optim.arithmetic import add_quotient_, average_, decayed_, indicator, root
from lamp.optim.checks import Range, check_betas
from lamp.optim.optimizer import Group, Numbers, Optimizer, State


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows from half of beta1 to beta1.

    g <- g + weight_decay p                    (decoupled_weight_decay: p <- p - lr weight_decay p instead)
    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)
    P <- P mu_t                                (the product of all mu so far; 1 before the first step)
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    s = sqrt(v / (1 - beta2^t)) + eps
    p <- p - lr (1 - mu_t) / (1 - P) g / s - lr mu_(t+1) / (1 - P mu_(t+1)) m / s

    maximize  g <- -g first
    Source    torch.optim.NAdam (arguments, state names); Dozat 2016

    Raises ArgumentError unless betas are two numbers, and the errors of Optimizer.
    """

    ranges: ClassVar = {
        "lr": Range(),
        "betas": Range(0.0, 1.0),
        "eps": Range(),
        "weight_decay": Range(),
        "momentum_decay": Range(),
    }
    numbers_in_state: ClassVar = ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: Number = 2e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum_decay: Number = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("mu_product", "exp_avg", "exp_avg_sq")

    def initial_state(self, name: str, group: Group) -> Number:
        return 1.0 if name == "mu_product" else 0.0

    def coefficients(self, group: Group, step: int) -> Numbers:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        mu, mu_next = (beta1 * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        return {
            "weight_decay": decay,
            "minus_decay": -lr * decay,
            "share1": 1.0 - beta1,
            "share2": 1.0 - beta2,
            "mu": mu,
            "mu_next": mu_next,
            "of_gradient": -lr * (1.0 - mu),
            "of_mean": -lr * mu_next,
            "correction": (1.0 - beta2**step) ** -0.5,
            "eps": group["eps"],
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        parameter, gradient = decayed_(parameter, gradient, c, group)
        product = state["mu_product"] = state["mu_product"] * c["mu"]
        mean = state["exp_avg"] = average_(state["exp_avg"], gradient, c["share1"])
        square = state["exp_avg_sq"] = average_(state["exp_avg_sq"], gradient * gradient, c["share2"])
        now = gradient * c["of_gradient"] / (1.0 - product)
        ahead = mean * c["of_mean"] / (1.0 - product * c["mu_next"])
        return add_quotient_(parameter, now + ahead, root(square, c["correction"], c["eps"]), 1.0)


class RAdam(Optimizer):
    """Rectified Adam: moves along the mean gradient alone until the mean squared gradient is known well enough.

    g <- g + weight_decay p                    (decoupled_weight_decay: p <- p - lr weight_decay p instead)
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    rho = rho_inf - 2 t beta2^t / (1 - beta2^t),   rho_inf = 2 / (1 - beta2) - 1
    p <- p - lr m / (1 - beta1^t)              (while rho <= 5)
    p <- p - lr m / (1 - beta1^t) r sqrt(1 - beta2^t) / (sqrt(v) + eps)
    r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))

    maximize  g <- -g first
    Source    torch.optim.RAdam (arguments, state names); Liu et al. 2019, arXiv:1908.03265

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
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_hyperparameters(self, group: Group) -> None:
        super()._check_hyperparameters(group)
        check_betas(self, group)

    def state_names(self, group: Group) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def coefficients(self, group: Group, step: int) -> Numbers:
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        left = 1.0 - beta2**step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2**step / left
        known = indicator(length > 5.0)  # 1 from the step on where v is known well enough
        rest = 1.0 - known
        # Where v is not used yet, rho may be 5 at most and r no number: there 5 stands for it.
        safe, safe_longest = length * known + 5.0 * rest, longest * known + 5.0 * rest
        part = (safe - 4.0) * (safe - 2.0) * safe_longest / ((safe_longest - 4.0) * (safe_longest - 2.0) * safe)
        return {
            "weight_decay": decay,
            "minus_decay": -lr * decay,
            "share1": 1.0 - beta1,
            "share2": 1.0 - beta2,
            "step_size": -lr / (1.0 - beta1**step) * (part**0.5 * known + rest),
            "of_root": left**-0.5 * known,
            "eps": group["eps"] * left**-0.5 * known + rest,
        }

    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        if group["maximize"]:
            gradient = -gradient
        parameter, gradient = decayed_(parameter, gradient, c, group)
        mean = state["exp_avg"] = average_(state["exp_avg"], gradient, c["share1"])
        square = state["exp_avg_sq"] = average_(state["exp_avg_sq"], gradient * gradient, c["share2"])
        return add_quotient_(parameter, mean, root(square, c["of_root"], c["eps"]), c["step_size"])
