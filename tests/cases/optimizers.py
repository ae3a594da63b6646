"""Every optimizer of lamp.optim with several settings of its options, each beside its twin in torch.optim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lamp.optim
from lamp.optim import Optimizer
from lamp.parameter import Parameter, flatten

SHAPES = [(3, 4), (4,), (2, 3, 5), (1,), (6, 2), ()]


@dataclass(frozen=True)
class Case:
    """One optimizer with one setting. If there are several groups, the parameters are dealt out to them in turn."""

    kind: str
    options: dict[str, Any]
    groups: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.options.items())
        groups = "".join(f", group({', '.join(f'{name}={value}' for name, value in g.items())})" for g in self.groups)
        return f"{self.kind}({options}{groups})"

    def _arranged(self, params: Sequence[Any]) -> Any:
        n = len(self.groups)
        return [{"params": list(params[k::n]), **group} for k, group in enumerate(self.groups)] if n else list(params)

    def make(self, params: Sequence[Parameter]) -> Optimizer:
        return getattr(lamp.optim, self.kind)(self._arranged(params), **self.options)

    def make_torch(self, params: Sequence[Tensor]) -> torch.optim.Optimizer:
        return getattr(torch.optim, self.kind)(self._arranged(params), **self.options)

    def pair(self, lay: Callable[[list[Parameter]], None] = flatten) -> Pair:
        """Both optimizers over the same random values, in float64. `lay` places lamp's parameters in buffers."""
        data = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
        params, twins = [Parameter(x.clone()) for x in data], [torch.nn.Parameter(x.clone()) for x in data]
        lay(params)
        return Pair(params, twins, self.make(params), self.make_torch(twins))


@contextmanager
def numbers_in_float64() -> Iterator[None]:
    """torch keeps some numbers of an optimizer's state (eta, mu) in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass
class Pair:
    """An optimizer and its twin, with the parameters of each."""

    params: list[Parameter]
    twins: list[torch.nn.Parameter]
    optimizer: Optimizer
    twin: torch.optim.Optimizer

    def step(self, n: int = 1) -> None:
        """Give both the same random gradients and let both make a step, n times."""
        for _ in range(n):
            for param, other in zip(self.params, self.twins, strict=True):
                other.grad = torch.randn_like(other)
                param.grad = other.grad.to(param.dtype)
            self.optimizer.step()
            with numbers_in_float64():
                self.twin.step()

    def check(self) -> None:
        for k, (param, other) in enumerate(zip(self.params, self.twins, strict=True)):
            close(param.data, other.detach(), f"parameter {k}")
        ours, theirs = (each.state_dict()["state"] for each in (self.optimizer, self.twin))
        for k, state in theirs.items():
            for name, value in state.items():
                if name != "step":
                    own = torch.as_tensor(ours[k][name], dtype=torch.float64)
                    close(own, torch.as_tensor(value, dtype=torch.float64), f"{name} of parameter {k}")


def close(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """Check equality with a relative tolerance of 1e-11 and no absolute one."""
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14, msg=lambda text: f"{what}: {text}")


def _case(kind: str, *groups: dict[str, Any], **options: Any) -> Case:
    return Case(kind, options, groups)


OPTIMIZERS = [
    _case("SGD"),
    _case("SGD", lr=0.1),
    _case("SGD", lr=0.0),
    _case("SGD", lr=1),
    _case("SGD", lr=0.1, maximize=True),
    _case("SGD", lr=0.1, weight_decay=0.3),
    _case("SGD", lr=0.1, momentum=0.9),
    _case("SGD", lr=0.1, momentum=0.9, dampening=0.4),
    _case("SGD", lr=0.1, momentum=0.9, dampening=-0.2, maximize=True),
    _case("SGD", lr=0.1, momentum=0.8, nesterov=True),
    _case("SGD", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.2, maximize=True),
    _case("SGD", lr=0.1, momentum=0.7, dampening=0.5, weight_decay=0.3),
    _case("SGD", {}, {"lr": 0.3, "momentum": 0.0}, {"weight_decay": 0.2}, lr=0.1, momentum=0.9),
    _case("SGD", {"nesterov": True}, {"maximize": True, "dampening": 0.3}, lr=0.1, momentum=0.9),
    _case("Adam"),
    _case("Adam", lr=0.0),
    _case("Adam", lr=0.05),
    _case("Adam", lr=0.05, maximize=True),
    _case("Adam", lr=0.05, betas=(0.6, 0.8)),
    _case("Adam", lr=0.05, betas=(0.0, 0.0)),
    _case("Adam", lr=0.05, eps=0.3),
    _case("Adam", lr=0.05, weight_decay=0.3),
    _case("Adam", lr=0.05, weight_decay=0.3, decoupled_weight_decay=True),
    _case("Adam", lr=0.05, amsgrad=True, betas=(0.7, 0.5)),
    _case("Adam", lr=0.05, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1, amsgrad=True, maximize=True),
    _case("Adam", {}, {"lr": 0.2, "betas": (0.5, 0.7)}, {"weight_decay": 0.2, "amsgrad": True}, lr=0.05),
    _case("AdamW"),
    _case("AdamW", lr=0.05),
    _case("AdamW", lr=0.05, weight_decay=0.0),
    _case("AdamW", lr=0.05, weight_decay=0.4, betas=(0.6, 0.8), eps=1e-2),
    _case("AdamW", lr=0.05, weight_decay=0.4, amsgrad=True, maximize=True),
    _case("AdamW", {"weight_decay": 0.0}, {"lr": 0.2, "weight_decay": 0.5}, lr=0.05),
    _case("RMSprop"),
    _case("RMSprop", lr=0.05),
    _case("RMSprop", lr=0.05, alpha=0.6),
    _case("RMSprop", lr=0.05, alpha=0.0),
    _case("RMSprop", lr=0.05, eps=0.2),
    _case("RMSprop", lr=0.05, weight_decay=0.3),
    _case("RMSprop", lr=0.05, momentum=0.8),
    _case("RMSprop", lr=0.05, centered=True),
    _case("RMSprop", lr=0.05, centered=True, momentum=0.8, alpha=0.7, weight_decay=0.2, maximize=True),
    _case("RMSprop", {"centered": True}, {"momentum": 0.5, "lr": 0.1}, {"alpha": 0.5, "eps": 1e-2}, lr=0.03),
    _case("Adagrad"),
    _case("Adagrad", lr=0.3),
    _case("Adagrad", lr=0.3, lr_decay=0.2),
    _case("Adagrad", lr=0.3, weight_decay=0.4),
    _case("Adagrad", lr=0.3, initial_accumulator_value=0.7),
    _case("Adagrad", lr=0.3, eps=0.2),
    _case("Adagrad", lr=0.3, lr_decay=0.1, weight_decay=0.2, initial_accumulator_value=0.1, maximize=True),
    # torch gives every group the constructor's initial_accumulator_value, lamp the group's own: not set apart here
    _case("Adagrad", {"lr_decay": 0.3}, {"lr": 0.05, "eps": 1e-2}, {"weight_decay": 0.2}, lr=0.3),
    _case("Adadelta"),
    _case("Adadelta", lr=0.3, rho=0.6, eps=1e-3),
    _case("Adadelta", lr=0.3, weight_decay=0.4, maximize=True),
    _case("Adadelta", {"rho": 0.5}, {"lr": 0.05, "eps": 1e-2}, {"weight_decay": 0.2}, lr=0.3),
    _case("Adamax"),
    _case("Adamax", lr=0.1, betas=(0.6, 0.8), eps=1e-2),
    _case("Adamax", lr=0.1, weight_decay=0.4, maximize=True),
    _case("Adamax", {"betas": (0.5, 0.7)}, {"lr": 0.05}, {"weight_decay": 0.2}, lr=0.3),
    _case("NAdam"),
    _case("NAdam", lr=0.1, betas=(0.6, 0.8), eps=1e-2, momentum_decay=0.3),
    _case("NAdam", lr=0.1, weight_decay=0.4, maximize=True),
    _case("NAdam", lr=0.1, weight_decay=0.4, decoupled_weight_decay=True),
    _case("NAdam", {"betas": (0.5, 0.7)}, {"lr": 0.05, "momentum_decay": 0.1}, {"weight_decay": 0.2}, lr=0.3),
    _case("RAdam"),
    _case("RAdam", lr=0.1, betas=(0.6, 0.8), eps=1e-2),
    _case("RAdam", lr=0.1, betas=(0.9, 0.99), weight_decay=0.4, maximize=True),
    _case("RAdam", lr=0.1, weight_decay=0.4, decoupled_weight_decay=True),
    _case("RAdam", {"betas": (0.5, 0.7)}, {"lr": 0.05}, {"weight_decay": 0.2}, lr=0.3),
    _case("ASGD"),
    _case("ASGD", lr=0.1, lambd=0.3, alpha=0.5, t0=4.0),
    _case("ASGD", lr=0.1, weight_decay=0.4, maximize=True),
    _case("ASGD", {"lambd": 0.2}, {"lr": 0.05, "t0": 2.0}, {"weight_decay": 0.2}, lr=0.3),
    _case("Rprop"),
    _case("Rprop", lr=0.1, etas=(0.3, 1.7), step_sizes=(1e-3, 0.2)),
    _case("Rprop", lr=0.1, maximize=True),
    _case("Rprop", {"etas": (0.7, 1.1)}, {"lr": 0.05}, {"step_sizes": (0.01, 0.1)}, lr=0.3),
    _case("Adafactor"),
    _case("Adafactor", lr=0.3, beta2_decay=-0.5, eps=(1e-3, 0.1), d=1.5),
    _case("Adafactor", lr=0.3, weight_decay=0.4, maximize=True),
    _case("Adafactor", {"d": 2.0}, {"lr": 0.05}, {"weight_decay": 0.2}, lr=0.3),
]
