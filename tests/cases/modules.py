"""Every module of lamp.nn with several settings of its options, each beside its twin in torch.nn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import lamp.nn
from lamp.interop import torch_containers
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


def _case(kind: str, shape: Shape, *args: object, **kwargs: object) -> Case:
    options = [*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())]
    return Case(
        f"{kind}({', '.join(options)}) on {shape}",
        lambda: getattr(lamp.nn, kind)(*args, **kwargs),
        lambda: getattr(nn, kind)(*args, **kwargs),
        shape,
    )


def _both(name: str, shape: Shape, make: Callable[[Any], Any]) -> Case:
    """A network that `make` builds from the classes of lamp.nn or of torch.nn."""
    return Case(name, lambda: make(lamp.nn), lambda: make(nn), shape)


ACTIVATIONS = [
    _case("Tanh", (5, 3)),
    _case("Tanh", ()),
    _case("Sigmoid", (5, 3)),
    _case("Softsign", (5, 3)),
    _case("ELU", (5, 3)),
    _case("ELU", (7,), 2.5),
    _case("ELU", (5, 3), alpha=0.3),
    _case("CELU", (5, 3)),
    _case("CELU", (2, 5, 3), 2.5),
    _case("CELU", (5, 3), alpha=0.25),  # exact in float32: torch's derivative rounds alpha to float32
    _case("SELU", (5, 3)),
    _case("SELU", (2, 4, 5, 3)),
    _case("SiLU", (5, 3)),
    _case("GELU", (5, 3)),
    _case("GELU", (5, 3), "none"),
    _case("GELU", (2, 5, 3), approximate="tanh"),
    _case("Mish", (5, 3)),
    _case("Tanhshrink", (5, 3)),
    _case("Softplus", (5, 3)),
    _case("Softplus", (5, 3), 0.7, 1.5),
    _case("Softplus", (5, 3), beta=20.0),
    _case("LogSigmoid", (5, 3)),
    _case("ReLU", (5, 3)),
    _case("ReLU", ()),
    _case("LeakyReLU", (5, 3)),
    _case("LeakyReLU", (5, 3), 1.7),
    _case("LeakyReLU", (2, 5, 3), negative_slope=-0.4),
    _case("LeakyReLU", (5, 3), 0.0),
    _case("LeakyReLU", (5, 3), 1),
    _case("Threshold", (5, 3), 0.4, -3),
    _case("Threshold", (5, 3), threshold=-0.6, value=7.0),
    _case("Hardtanh", (5, 3)),
    _case("Hardtanh", (5, 3), -0.3, 2.2),
    _case("Hardtanh", (5, 3), min_val=0.5, max_val=0.8),
    _case("ReLU6", (50, 3)),
    replace(_case("Hardsigmoid", (50, 3)), tolerance=1e-7),  # the derivative of torch is 1/6 in float32
    _case("Hardswish", (50, 3)),
    _case("Softshrink", (5, 3)),
    _case("Softshrink", (5, 3), lambd=1.2),
    _case("Softshrink", (5, 3), 0.0),
    _case("Hardshrink", (5, 3)),
    _case("Hardshrink", (5, 3), 1.2),
]

LAYERS = [
    _case("Linear", (5, 3), 3, 4),
    _case("Linear", (5, 3), 3, 4, False),
    _case("Linear", (3,), 3, 4),
    _case("Linear", (3,), 3, 4, bias=False),
    _case("Linear", (2, 5, 3), 3, 4),
    _case("Linear", (2, 6, 5, 3), 3, 4, bias=False),
    _case("Linear", (5, 1), 1, 2),
    _case("Linear", (1, 3), 3, 1),
    _case("PReLU", (5, 3)),
    _case("PReLU", ()),
    _case("PReLU", (5, 3), 3),
    _case("PReLU", (5, 3, 4, 2), 3, 0.1),
    _case("PReLU", (5, 3, 4), num_parameters=1, init=-0.2),
    _case("Softmax", (5, 3), -1),
    _case("Softmax", (5, 3), dim=0),
    _case("Softmax", (2, 5, 3), 1),
    _case("LogSoftmax", (5, 3), -1),
    _case("LogSoftmax", (5, 3), 0),
    _case("LogSoftmax", (2, 5, 3, 4), dim=2),
    _case("Dropout", (5, 3), 0.0),
    _case("Dropout", (5, 3), p=1.0),
    _case("Identity", (5, 3)),
    _case("Identity", (5, 3), 7, unused=2),
    _case("Flatten", (5, 3)),
    _case("Flatten", (5, 3, 2, 4)),
    _case("Flatten", (5, 3, 2, 4), 0, -2),
    _case("Flatten", (5, 3, 2), start_dim=1, end_dim=1),
    _case("Flatten", (), 0),
    _case("Unflatten", (5, 6), 1, (2, 3)),
    _case("Unflatten", (5, 12, 2), dim=-2, unflattened_size=(2, -1, 3)),
    _case("Unflatten", (6, 5), 0, [3, 2]),
]

# For a gradient that is the same for the whole batch, dweight and dx are 0 but for rounding.
NORMALIZATIONS = [
    replace(case, tolerance=1e-10)
    for case in (
        _case("BatchNorm1d", (5, 3), 3),
        _case("BatchNorm1d", (5, 3, 4), 3),
        _case("BatchNorm1d", (1, 3, 4), 3, eps=0.1),
        _case("BatchNorm1d", (5, 3), 3, 1e-3, 0.3),
        _case("BatchNorm1d", (6, 2), 2, momentum=None),
        _case("BatchNorm1d", (5, 3), 3, affine=False),
        _case("BatchNorm1d", (5, 3), 3, bias=False),
        _case("BatchNorm1d", (5, 3), 3, track_running_stats=False),
        _case("BatchNorm1d", (2, 3, 4), 3, momentum=0, affine=False, track_running_stats=False),
        _both(
            "a normalised network",
            (6, 3),
            lambda p: p.Sequential(p.Linear(3, 4), p.BatchNorm1d(4), p.Tanh(), p.Linear(4, 2), p.BatchNorm1d(2)),
        ),
    )
]

NETWORKS = [
    _both("an empty network", (5, 3), lambda p: p.Sequential()),
    _both("a classifier", (5, 2), lambda p: p.Sequential(p.Linear(2, 7), p.SELU(), p.Linear(7, 4), p.LogSoftmax(-1))),
    _both(
        "a network of networks",
        (5, 3),
        lambda p: p.Sequential(
            p.Sequential(p.Linear(3, 7, bias=False), p.Sequential(p.PReLU(7), p.Sequential()), p.SiLU()),
            p.Sequential(p.Sequential(p.Linear(7, 6), p.GELU()), p.Linear(6, 2)),
        ),
    ),
    _both(
        "a network with names",
        (2, 5, 3),
        lambda p: p.Sequential(
            OrderedDict(flat=p.Flatten(), hidden=p.Linear(15, 6), fold=p.Unflatten(1, (2, 3)), end=p.Mish())
        ),
    ),
]


def _branched(name: str, shape: Shape, make: Callable[[Any, Any, Any], Any]) -> Case:
    """A network that `make` builds of the classes of either package, and of either Residual and Parallel."""
    return Case(
        name,
        lambda: make(lamp.nn, lamp.nn.Residual, lamp.nn.Parallel),
        lambda: make(nn, torch_containers.Residual, torch_containers.Parallel),
        shape,
    )


def _same_layer_twice(p: Any, residual: Any, parallel: Any) -> Any:
    layer = p.Linear(3, 3)
    return p.Sequential(residual(layer, p.Tanh()), parallel(layer, p.Tanh(), layer), residual(layer, layer))


BRANCHES = [
    _branched("a residual block", (5, 3), lambda p, r, s: r(p.Linear(3, 7), p.SELU(), p.Linear(7, 3))),
    _branched("a residual block without parameters", (2, 5, 3), lambda p, r, s: r(p.Tanh())),
    _branched("twice the input", (5, 3), lambda p, r, s: r(p.Identity())),
    _branched("a sum of branches", (5, 3), lambda p, r, s: s(p.Linear(3, 4), p.Sequential(p.Linear(3, 4), p.Tanh()))),
    _branched("one branch", (5, 3), lambda p, r, s: s(p.Linear(3, 4))),
    _branched(
        "branches joined", (5, 3), lambda p, r, s: s(p.Linear(3, 4), p.Identity(), p.Linear(3, 2), combine="concat")
    ),
    _branched(
        "branches joined along the channels",
        (5, 3, 2),
        lambda p, r, s: s(p.Linear(2, 4), p.Sequential(p.Linear(2, 4), p.Softmax(1)), combine="concat", dim=1),
    ),
    _branched(
        "a residual tower",
        (5, 3),
        lambda p, r, s: p.Sequential(
            p.Linear(3, 6),
            *[r(p.Linear(6, 7), p.GELU(), s(p.Linear(7, 4), p.Linear(7, 2), combine="concat")) for _ in range(3)],
            p.Linear(6, 2),
        ),
    ),
    _branched("a layer that stands in several places", (5, 3), _same_layer_twice),
]

MODULES = [*ACTIVATIONS, *LAYERS, *NORMALIZATIONS, *NETWORKS, *BRANCHES]


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
