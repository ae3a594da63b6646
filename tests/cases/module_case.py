"""`Case`: a module with one setting of its options beside its twin in torch.nn, and how the two are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import lamp.nn
from lamp.module import Module

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One module with one setting: how lamp and torch.nn build it, and the shape of an input for it."""

    name: str
    make: Callable[[], Module]
    make_torch: Callable[[], nn.Module]
    shape: Shape
    tolerance: float = 1e-11  # allowed relative difference to the twin, in float64
    batched: bool = True  # whether the input has an axis of the batch, which the module needs to be traced

    def __str__(self) -> str:
        return self.name

    def input(self) -> Tensor:
        """A random input in float64, wide enough to reach all parts of an activation."""
        return torch.randn(self.shape, dtype=torch.float64) * 2.0

    def pair(self) -> tuple[Module, nn.Module]:
        """The module and its twin, in float64, with the same random parameters."""
        module, twin = self.make().double(), self.make_torch().double()
        for parameter in twin.parameters():
            nn.init.normal_(parameter)
        module.load_state_dict(twin.state_dict())
        return module, twin


def of(kind: str, shape: Shape, *args: object, **kwargs: object) -> Case:
    options = [*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())]
    return Case(
        f"{kind}({', '.join(options)}) on {shape}",
        lambda: getattr(lamp.nn, kind)(*args, **kwargs),
        lambda: getattr(nn, kind)(*args, **kwargs),
        shape,
    )


def both(name: str, shape: Shape, make: Callable[[Any], Any]) -> Case:
    """A network that `make` builds from the classes of lamp.nn or of torch.nn."""
    return Case(name, lambda: make(lamp.nn), lambda: make(nn), shape)


def error(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number expected (taken as 1e-4 where all are smaller).

    Shapes and dtypes must be equal.
    """
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} instead of {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype
    if actual.numel() == 0 or torch.equal(actual, expected):
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-4))


def gradients(twin: nn.Module, *inputs: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """What autograd finds for the twin: the gradients of its inputs, then of its parameters."""
    variables = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = torch.stack([twin(x) for x in variables])
    return torch.autograd.grad(outputs, [*variables, *twin.parameters()], dy, allow_unused=True)
