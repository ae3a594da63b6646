"""Every module of lamp.nn with several settings of its options, each beside its twin in torch.nn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import lamp.nn
from lamp.interop import torch_containers
from tests.cases.convolutions import CONVOLUTIONAL, CONVOLUTIONS, FOLDS, PADS
from tests.cases.module_case import Case, Shape, both, of
from tests.cases.normalization import NORMALIZATIONS, NORMALIZATIONS_OF_SAMPLES
from tests.cases.pooling import POOLING
from tests.cases.sequences import SEQUENCES
from tests.cases.small_modules import SMALL

ACTIVATIONS = [
    of("Tanh", (5, 3)),
    of("Tanh", ()),
    of("Sigmoid", (5, 3)),
    of("Softsign", (5, 3)),
    of("ELU", (5, 3)),
    of("ELU", (7,), 2.5),
    of("ELU", (5, 3), alpha=0.3),
    of("CELU", (5, 3)),
    of("CELU", (2, 5, 3), 2.5),
    of("CELU", (5, 3), alpha=0.25),  # exact in float32: torch's derivative rounds alpha to float32
    of("SELU", (5, 3)),
    of("SELU", (2, 4, 5, 3)),
    of("SiLU", (5, 3)),
    of("GELU", (5, 3)),
    of("GELU", (5, 3), "none"),
    of("GELU", (2, 5, 3), approximate="tanh"),
    of("Mish", (5, 3)),
    of("Tanhshrink", (5, 3)),
    of("Softplus", (5, 3)),
    of("Softplus", (5, 3), 0.7, 1.5),
    of("Softplus", (5, 3), beta=20.0),
    of("LogSigmoid", (5, 3)),
    of("ReLU", (5, 3)),
    of("ReLU", ()),
    of("LeakyReLU", (5, 3)),
    of("LeakyReLU", (5, 3), 1.7),
    of("LeakyReLU", (2, 5, 3), negative_slope=-0.4),
    of("LeakyReLU", (5, 3), 0.0),
    of("LeakyReLU", (5, 3), 1),
    of("Threshold", (5, 3), 0.4, -3),
    of("Threshold", (5, 3), threshold=-0.6, value=7.0),
    of("Hardtanh", (5, 3)),
    of("Hardtanh", (5, 3), -0.3, 2.2),
    of("Hardtanh", (5, 3), min_val=0.5, max_val=0.8),
    of("ReLU6", (50, 3)),
    replace(of("Hardsigmoid", (50, 3)), tolerance=1e-7),  # the derivative of torch is 1/6 in float32
    of("Hardswish", (50, 3)),
    of("Softshrink", (5, 3)),
    of("Softshrink", (5, 3), lambd=1.2),
    of("Softshrink", (5, 3), 0.0),
    of("Hardshrink", (5, 3)),
    of("Hardshrink", (5, 3), 1.2),
]

LAYERS = [
    of("Linear", (5, 3), 3, 4),
    of("Linear", (5, 3), 3, 4, False),
    of("Linear", (3,), 3, 4),
    of("Linear", (3,), 3, 4, bias=False),
    of("Linear", (2, 5, 3), 3, 4),
    of("Linear", (2, 6, 5, 3), 3, 4, bias=False),
    of("Linear", (5, 1), 1, 2),
    of("Linear", (1, 3), 3, 1),
    of("PReLU", (5, 3)),
    of("PReLU", ()),
    of("PReLU", (5, 3), 3),
    of("PReLU", (5, 3, 4, 2), 3, 0.1),
    of("PReLU", (5, 3, 4), num_parameters=1, init=-0.2),
    of("Softmax", (5, 3), -1),
    of("Softmax", (5, 3), dim=0),
    of("Softmax", (2, 5, 3), 1),
    of("LogSoftmax", (5, 3), -1),
    of("LogSoftmax", (5, 3), 0),
    of("LogSoftmax", (2, 5, 3, 4), dim=2),
    of("Dropout", (5, 3), 0.0),
    of("Dropout", (5, 3), p=1.0),
    of("Identity", (5, 3)),
    of("Identity", (5, 3), 7, unused=2),
    of("Flatten", (5, 3)),
    of("Flatten", (5, 3, 2, 4)),
    of("Flatten", (5, 3, 2, 4), 0, -2),
    of("Flatten", (5, 3, 2), start_dim=1, end_dim=1),
    of("Flatten", (), 0),
    of("Unflatten", (5, 6), 1, (2, 3)),
    of("Unflatten", (5, 12, 2), dim=-2, unflattened_size=(2, -1, 3)),
    of("Unflatten", (6, 5), 0, [3, 2]),
]

NETWORKS = [
    both("an empty network", (5, 3), lambda p: p.Sequential()),
    both("a classifier", (5, 2), lambda p: p.Sequential(p.Linear(2, 7), p.SELU(), p.Linear(7, 4), p.LogSoftmax(-1))),
    both(
        "a network of networks",
        (5, 3),
        lambda p: p.Sequential(
            p.Sequential(p.Linear(3, 7, bias=False), p.Sequential(p.PReLU(7), p.Sequential()), p.SiLU()),
            p.Sequential(p.Sequential(p.Linear(7, 6), p.GELU()), p.Linear(6, 2)),
        ),
    ),
    both(
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


def _encoding(shape: Shape, *edges: list[float]) -> Case:
    return Case(
        f"PiecewiseLinearEncoding({edges}) on {shape}",
        lambda: lamp.nn.PiecewiseLinearEncoding(edges),
        lambda: torch_containers.PiecewiseLinearEncoding([torch.tensor(each) for each in edges]),
        shape,
    )


ENCODINGS = [
    _encoding((5, 3), [-2.5, -0.5, 0.0, 2.0], [], [-1.0, 1.5]),
    _encoding((2, 5, 2), [], [0.0, 0.25, 1.0]),
    _encoding((3,), [], [-3.0, 3.0], []),
    _encoding((5, 2), [], []),
]

MODULES = [
    *ACTIVATIONS,
    *LAYERS,
    *ENCODINGS,
    *NORMALIZATIONS,
    *NORMALIZATIONS_OF_SAMPLES,
    *SMALL,
    *NETWORKS,
    *BRANCHES,
    *CONVOLUTIONS,
    *PADS,
    *FOLDS,
    *CONVOLUTIONAL,
    *POOLING,
    *SEQUENCES,
]
