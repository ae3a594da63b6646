"""Stacks of convolutions over images or signals: the task, for one network or several, and the same network in JAX.

The data are random: a step takes as long as on real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

import lamp
from benchmarks.single import NamedTask, Rule
from benchmarks.single_jax import WithJax

POOL = "pool"
ADAM = Rule("Adam", lr=3e-4)
SEED = 0
TOLERANCE = 3e-5  # gradients jump where rounding changes the side of a ReLU or the largest number of a pool


@dataclass(frozen=True)
class Sizes:
    """What a network is made of.

    sample  the shape of a sample: its channels, then the sizes of one or two axes
    layers  the channels of each convolution, which a ReLU follows; POOL for a pool of the largest of 2 along each axis
    kernel  the size of the convolutions' windows along each axis
    linear  the outputs of the Linears behind them, with ReLU between; the last are the classes
    """

    sample: tuple[int, ...]
    layers: tuple[int | str, ...]
    kernel: int
    linear: tuple[int, ...]

    @property
    def axes(self) -> int:
        """How many axes beside channels a sample has."""
        return len(self.sample) - 1


LENET = Sizes((1, 28, 28), (6, POOL, 16, POOL), 5, (120, 84, 10))
LARGER = Sizes((3, 32, 32), (32, 32, POOL, 64, 64, POOL), 3, (10,))
SIGNALS = Sizes((3, 128), (16, POOL, 32, POOL, 32, POOL), 5, (5,))


@dataclass(frozen=True)
class Stack(NamedTask):
    """The samples (batches, B, channels, *sizes) and their labels; one network or several."""

    sizes: Sizes = LENET

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        sizes, (channels, *places) = self.sizes, self.sizes.sample
        convolution, pool = (getattr(nn, f"{kind}{sizes.axes}d") for kind in ("Conv", "MaxPool"))
        modules = []
        for layer in sizes.layers:
            if layer == POOL:
                modules.append(pool(2))
                places = [n // 2 for n in places]
            else:
                modules += [convolution(channels, layer, sizes.kernel), nn.ReLU()]
                channels, places = int(layer), [n - sizes.kernel + 1 for n in places]
        modules.append(nn.Flatten())
        features = channels * math.prod(places)
        for outputs in sizes.linear:
            modules += [nn.Linear(features, outputs), nn.ReLU()]
            features = outputs
        model = nn.Sequential(*modules[:-1])
        several = nn is lamp and self.networks is not None
        return lamp.population(model, range(self.networks or 0)) if several else model


@lru_cache(maxsize=2)
def stack(sizes: Sizes, batch: int, batches: int, networks: int | None = None, rule: Rule = ADAM) -> Stack:
    """The task to learn random labels of random samples."""
    random = np.random.default_rng(SEED)
    samples = random.random((batches, batch, *sizes.sample), dtype=np.float32)
    labels = random.integers(sizes.linear[-1], size=(batches, batch))
    task = Stack((), "ReLU", "CrossEntropyLoss", samples, labels, (), (), rule, 0, sizes=sizes, networks=networks)
    torch.manual_seed(SEED)
    model = task.network(lamp, lamp.Residual)
    return replace(task, state=tuple((name, value.numpy().copy()) for name, value in model.state_dict().items()))


class StackInJax(WithJax):
    """The same networks in JAX; several by vmap of the whole training."""

    def of_all(self, train: Any) -> Any:
        import jax

        assert isinstance(self.task, Stack)
        state = (0, 0, 0, None)  # the number of steps is the same for all
        several = self.task.networks is not None
        return jax.vmap(train, in_axes=(state, None, None), out_axes=(state, 0)) if several else train

    def outputs(self, values: Any, x: Any) -> Any:
        import jax

        assert isinstance(self.task, Stack)
        sizes, following = self.task.sizes, iter(values)
        ones, window = (1,) * sizes.axes, (1, 1, *(2,) * sizes.axes)
        for layer in sizes.layers:
            if layer == POOL:
                x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, window, "VALID")
            else:
                x = jax.lax.conv_general_dilated(x, next(following), ones, "VALID")
                x = jax.nn.relu(x + next(following).reshape(-1, *ones))
        x = x.reshape(len(x), -1)
        for k, _ in enumerate(sizes.linear):
            x = jax.nn.relu(x) if k else x
            x = x @ next(following).T + next(following)
        return x
