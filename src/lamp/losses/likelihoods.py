"""Negative log-likelihoods of counts and of numbers with their uncertainty."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.devices import without_numbers
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import Number, constant
from lamp.losses.base import Loss
from lamp.losses.checks import Limits, explain_pair
from lamp.losses.several import SampleLoss

NOT_NEGATIVE = Limits(0.0, math.inf, "at least 0", "increase it")


class PoissonNLLLoss(Loss):
    """The negative log-likelihood of a count t under a Poisson distribution, whose rate the network gives.

    value = exp(x) - t x                      (log_input: x is the logarithm of the rate)
            x - t log(x + eps)                (log_input=False: x is the rate)
    full    adds t log t - t + log(2 pi t) / 2 for t > 1, Stirling's approximation of log(t!), which has no gradient

    Shapes    output and target: any, the same
    Backward  doutput = (exp(x) - t) * dvalue,   or (1 - t / (x + eps)) * dvalue
    Source    torch.nn.PoissonNLLLoss
    """

    limits: ClassVar = {"eps": NOT_NEGATIVE}

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return super().forward(log_input, target)

    def value(self, output: Number, target: Number) -> Number:
        if self.log_input:
            value = output.exp() - target * output
        else:
            value = output - target * (output + constant(self.eps, output)).log()
        if not self.full:
            return value
        safe = target.clamp(min=1.0)
        stirling = safe * safe.log() - safe + (safe * (2.0 * math.pi)).log() * 0.5
        return value + stirling.where(target > 1.0, 0.0)

    def derivative(self, output: Number, target: Number) -> Number:
        if self.log_input:
            return output.exp() - target
        return constant(1.0, output) - target / (output + constant(self.eps, output))


class GaussianNLLLoss(SampleLoss):
    """The negative log-likelihood of a number t under a normal distribution, whose mean and variance the network gives.

    value = (log v + (x - t)^2 / v) / 2,   v = max(var, eps)
    full    adds log(2 pi) / 2

    Call it as torch's, `criterion(input, target, var)`, or as `criterion((input, var), target)` for a network with two
    outputs.

    Shapes    input and target: any, the same   var: as the input, or with the last axis of size 1 or missing, or with
              one axis of size 1, or one number
    Backward  dinput = (x - t) / v dvalue,   dvar = (1 - (x - t)^2 / v) / (2 v) dvalue,  also where v is eps
    Source    torch.nn.GaussianNLLLoss; Nix & Weigend 1994

    Raises ArgumentError for a negative variance, and the errors of Loss.
    """

    outputs = 2
    features = 0
    limits: ClassVar = {"eps": NOT_NEGATIVE}

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Any, target: Any, var: Any = None) -> Tensor:
        return self.measure(input, target, var)

    def arranged(self, given: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], Any]:
        if len(given) == 3:
            x, target, var = given
            if isinstance(var, int | float) and isinstance(x, Tensor):
                var = torch.full_like(x, float(var))
            return (x, var), target
        return super().arranged(given)

    def argument_names(self) -> list[str]:
        return ["input", "target", "var"]

    def order(self, given: tuple[Any, ...]) -> tuple[int | None, ...] | None:
        return (0, None, 1) if len(given) == 3 else (0, 1)

    def check_outputs(self, outputs: tuple[Any, ...]) -> None:
        x, var = outputs
        self.check_alike(x, x)
        if not isinstance(var, Tensor) or var.dtype is not x.dtype or var.device != x.device:
            raise explain_pair(x, var)
        fits = var.shape in (x.shape, x.shape[:-1])
        if not fits and var.dim() == x.dim():
            pairs = [(n, m) for n, m in zip(x.shape, var.shape, strict=True) if n != m]
            fits = len(pairs) == 1 and pairs[0][1] == 1
        if not fits:
            raise ShapeError(
                "the variance does not fit the input",
                expected=f"{tuple(x.shape)}, or with one axis of size 1",
                got=tuple(var.shape),
                fix="var.expand_as(input)",
            )
        if var.is_meta:
            raise without_numbers("the variance")
        if bool((var < 0).any()):
            raise ArgumentError(
                "a variance is negative",
                expected="numbers of at least 0",
                got=f"{var.min().item():g}",
                fix="let the network end in lamp.Softplus() for the variance",
            )

    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        x, var = outputs
        v = var if var.dim() == x.dim() else var.unsqueeze(-1)
        v = v.clamp(min=self.eps)
        error = x - target
        value = 0.5 * (v.log() + error * error / v)
        return value + 0.5 * math.log(2.0 * math.pi) if self.full else value, (error, v, var.shape)

    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        error, v, shape = kept
        dx = error / v * dvalue
        dvar = (1.0 - error * error / v) / (2.0 * v) * dvalue
        shared = [axis for axis, (n, m) in enumerate(zip(dvar.shape, v.shape, strict=True)) if n != m]
        return dx, (dvar.sum(shared, keepdim=True) if shared else dvar).reshape(shape)
