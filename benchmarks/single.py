"""Tasks with one network: the batches, and the initial weights of every contender."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from benchmarks.start import Array, Start


@dataclass(frozen=True)
class Rule:
    """An optimizer and its constants."""

    name: str
    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0


SGD = Rule("SGD", lr=0.1)
ADAM = Rule("Adam", lr=1e-3)
ADAMW = Rule("AdamW", lr=1e-3, weight_decay=1e-2)


@dataclass(frozen=True)
class Task(Start):
    """Data and initial weights of a network. Copy the arrays; do not write to them.

    widths      of the layers
    activation  between the layers: "ReLU", "Tanh", "Sigmoid", "SiLU", "GELU"
    loss        after the last layer: "CrossEntropyLoss", "MSELoss"
    inputs      (batches, B, features), in order
    targets     labels (batches, B), or numbers (batches, B, outputs)
    weights     (out, in) per layer, and biases (out) per layer
    blocks      the number of residual blocks after the first layer and its activation: each adds to its input two
                layers, with an activation between them
    """

    widths: tuple[int, ...]
    activation: str
    loss: str
    inputs: Array
    targets: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    rule: Rule = ADAM
    blocks: int = 0

    @property
    def batches(self) -> int:
        """Steps in an epoch."""
        return len(self.inputs)

    @property
    def batch(self) -> int:
        """B, samples in a batch."""
        return self.inputs.shape[1]  # type: ignore[no-any-return]

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        """The network of the task.

        nn        torch.nn or lamp, in which modules have the same names
        residual  makes of a module one that adds its outputs to its inputs
        """
        activation = getattr(nn, self.activation)
        first, *others = (nn.Linear(*widths) for widths in pairwise(self.widths))
        modules = [first, activation()]
        for k in range(self.blocks):
            before, after = others[2 * k : 2 * k + 2]
            modules.append(residual(nn.Sequential(before, activation(), after)))
        for layer in others[2 * self.blocks :]:
            modules += [layer, activation()]
        return nn.Sequential(*modules[:-1])


@dataclass(frozen=True)
class NamedTask(Task):
    """A task whose networks say themselves which parameters they have.

    networks  K; None for one network
    state     the initial parameters by name, (K, ...) each for several networks
    """

    networks: int | None = None
    state: tuple[tuple[str, Array], ...] = ()

    def values(self) -> list[Array]:
        return [value for _, value in self.state]

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        return {name: np.asarray(value).copy() for (name, _), value in zip(self.state, values, strict=True)}

    def of(self, k: int) -> Self:
        """The k-th network alone."""
        return replace(self, networks=None, state=tuple((name, value[k]) for name, value in self.state))


def initial(random: np.random.Generator, widths: tuple[int, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Weights (out, in) and biases (out) per layer, drawn from the distribution of torch.nn.Linear."""
    layers = list(pairwise(widths))
    weights = tuple(_uniform(random, fan_in, (fan_out, fan_in)) for fan_in, fan_out in layers)
    return weights, tuple(_uniform(random, fan_in, (fan_out,)) for fan_in, fan_out in layers)


def _uniform(random: np.random.Generator, fan_in: int, shape: tuple[int, ...]) -> Array:
    bound = 1 / math.sqrt(fan_in)
    return random.uniform(-bound, bound, shape).astype(np.float32)
