"""Every schedule of lamp.optim with several settings, each beside its twin in torch.optim.lr_scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import lr_scheduler

import lamp.optim
from lamp.parameter import Parameter

LRS = (0.4, 0.03)  # of two parameter groups


@dataclass(frozen=True)
class Case:
    """One schedule with one setting: `build(package, optimizer)` makes it, or its twin where the package is torch's."""

    name: str
    build: Callable[[Any, Any], Any]
    optimizer: str = "SGD"

    def __str__(self) -> str:
        return self.name

    def _on(self, optimizers: Any, package: Any, parameter: Callable[..., Any]) -> Any:
        groups = [{"params": [parameter(torch.zeros(2))], "lr": lr} for lr in LRS]
        options = {"momentum": 0.5} if self.optimizer in ("SGD", "RMSprop") else {}
        return self.build(package, getattr(optimizers, self.optimizer)(groups, **options))

    def make(self) -> Any:
        return self._on(lamp.optim, lamp.optim, Parameter)

    def make_torch(self) -> Any:
        return self._on(torch.optim, lr_scheduler, torch.nn.Parameter)


def step(scheduler: Any, *measure: Any) -> None:
    """Make a step of a schedule of lamp or torch. torch warns unless the optimizer has made a step before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.step(*measure)


def _text(value: Any) -> str:
    return (
        "function"
        if callable(value)
        else f"[{', '.join(map(_text, value))}]"
        if isinstance(value, list)
        else str(value)
    )


def _case(kind: str, *args: Any, optimizer: str = "SGD", **kwargs: Any) -> Case:
    options = [*map(_text, args), *(f"{name}={_text(value)}" for name, value in kwargs.items())]
    name = f"{kind}({', '.join(options)})" + (f" of {optimizer}" if optimizer != "SGD" else "")
    return Case(name, lambda package, opt: getattr(package, kind)(opt, *args, **kwargs), optimizer)


def _sequence(package: Any, optimizer: Any, milestones: list[int], *parts: Callable[[Any, Any], Any]) -> Any:
    return package.SequentialLR(optimizer, [part(package, optimizer) for part in parts], milestones)


def _chain(package: Any, optimizer: Any, *parts: Callable[[Any, Any], Any]) -> Any:
    return package.ChainedScheduler([part(package, optimizer) for part in parts], optimizer)


def _half(epoch: int) -> float:
    return 0.5 ** (epoch // 7)


def _inverse(package: Any, optimizer: Any, decay: float) -> Any:
    if package is lamp.optim:
        return lamp.optim.InverseTimeDecay(optimizer, decay)
    return lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + decay * t))


SCHEDULES = [
    _case("LambdaLR", _half),
    _case("LambdaLR", [_half, lambda epoch: 1 / (1 + epoch)]),
    _case("MultiplicativeLR", lambda epoch: 0.9 + 0.1 * (epoch % 3)),
    _case("MultiplicativeLR", [_half, lambda epoch: 0.97]),
    _case("StepLR", 7),
    _case("StepLR", 1, gamma=0.9),
    _case("StepLR", step_size=5, gamma=1.3),
    _case("MultiStepLR", [3, 11, 30]),
    _case("MultiStepLR", (11, 3, 11), gamma=0.6),
    _case("ConstantLR"),
    _case("ConstantLR", factor=0.2, total_iters=11),
    _case("LinearLR"),
    _case("LinearLR", start_factor=0.1, end_factor=0.7, total_iters=13),
    _case("LinearLR", 1.0, 0.0, 20),
    _case("ExponentialLR", 0.9),
    _case("ExponentialLR", gamma=0.6),
    _case("PolynomialLR"),
    _case("PolynomialLR", total_iters=30, power=1.7),
    _case("CosineAnnealingLR", 10),
    _case("CosineAnnealingLR", T_max=60, eta_min=0.01),
    _case("CosineAnnealingLR", T_max=7, eta_min=0.01),
    _case("CosineAnnealingWarmRestarts", 10),
    _case("CosineAnnealingWarmRestarts", T_0=3, T_mult=2, eta_min=0.002),
    _case("CosineAnnealingWarmRestarts", T_0=1, T_mult=3),
    Case("InverseTimeDecay(0.1)", lambda package, opt: _inverse(package, opt, 0.1)),
    Case("InverseTimeDecay(2)", lambda package, opt: _inverse(package, opt, 2)),
    _case("OneCycleLR", max_lr=0.5, total_steps=60),
    _case("OneCycleLR", max_lr=[0.5, 0.2], epochs=6, steps_per_epoch=9, optimizer="Adam"),
    _case("OneCycleLR", 0.5, 51, pct_start=0.5, anneal_strategy="linear", div_factor=7.0, final_div_factor=50.0),
    _case("OneCycleLR", 0.5, 55, three_phase=True, base_momentum=0.6, max_momentum=[0.8, 0.9]),
    _case("OneCycleLR", 0.5, 55, three_phase=True, pct_start=0.2, anneal_strategy="linear", optimizer="AdamW"),
    _case("OneCycleLR", 0.5, 55, cycle_momentum=False, optimizer="Adagrad"),
    _case("OneCycleLR", 0.5, 55, pct_start=0.0, optimizer="RMSprop"),
    _case("CyclicLR", 0.01, 0.3, step_size_up=6),
    _case("CyclicLR", 0.01, [0.3, 0.2], step_size_up=6, step_size_down=3, mode="triangular2"),
    _case("CyclicLR", [0.01, 0.02], 0.3, step_size_up=4, mode="exp_range", gamma=0.9, optimizer="Adam"),
    _case("CyclicLR", 0.01, 0.3, 5, scale_fn=lambda x: 1 / (1 + x), scale_mode="iterations", base_momentum=0.7),
    _case("CyclicLR", 0.01, 0.3, 5, scale_fn=lambda x: 1 / (1 + x), cycle_momentum=False, optimizer="Adagrad"),
    Case(
        "SequentialLR of a warm-up and a decay",
        lambda package, opt: _sequence(
            package, opt, [8], lambda p, o: p.LinearLR(o, 0.1, total_iters=8), lambda p, o: p.ExponentialLR(o, 0.9)
        ),
    ),
    Case(
        "SequentialLR of three",
        lambda package, opt: _sequence(
            package,
            opt,
            [5, 20],
            lambda p, o: p.ConstantLR(o, 0.1, total_iters=4),
            lambda p, o: p.CosineAnnealingLR(o, 15, eta_min=0.001),
            lambda p, o: p.StepLR(o, 6, gamma=0.3),
        ),
    ),
    Case(
        "ChainedScheduler of two",
        lambda package, opt: _chain(
            package, opt, lambda p, o: p.ConstantLR(o, 0.1, total_iters=4), lambda p, o: p.ExponentialLR(o, 0.9)
        ),
    ),
    Case(
        "ChainedScheduler of four",
        lambda package, opt: _chain(
            package,
            opt,
            lambda p, o: p.LinearLR(o, 0.1, total_iters=7),
            lambda p, o: p.StepLR(o, 6, gamma=0.3),
            lambda p, o: p.MultiStepLR(o, [3, 20], gamma=0.7),
            lambda p, o: p.PolynomialLR(o, 70, power=0.5),
        ),
    ),
]

PLATEAUS = [
    _case("ReduceLROnPlateau"),
    _case("ReduceLROnPlateau", patience=2),
    _case("ReduceLROnPlateau", "max", patience=1, factor=0.5),
    _case("ReduceLROnPlateau", patience=0, cooldown=3, factor=0.7),
    _case("ReduceLROnPlateau", patience=2, threshold=0.3),
    _case("ReduceLROnPlateau", patience=2, threshold=0.3, threshold_mode="abs"),
    _case("ReduceLROnPlateau", "max", patience=2, threshold=0.3),
    _case("ReduceLROnPlateau", "max", patience=2, threshold=0.3, threshold_mode="abs"),
    _case("ReduceLROnPlateau", patience=1, min_lr=0.01),
    _case("ReduceLROnPlateau", patience=0, min_lr=[0.1, 0.001], eps=0.005, factor=0.9),
]
