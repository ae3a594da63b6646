"""Row 18: a small residual CNN with batch normalisation on images in MNIST's shape.

The pixels and the labels are random: a step takes as long as on real ones. Few steps must give equal parameters, as in
row 5, and Adam divides by the size of gradients that are 0 but for rounding: a larger eps limits that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

import lamp
from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Rule, Task
from benchmarks.single_jax import WithJax
from benchmarks.start import Array

CHANNELS, SIZE, CLASSES = 16, 28, 10
BATCHES, EPOCH = 10, 60_000
SEED = 0
TOLERANCE = 3e-5
EPS_OF_NORMS = 1e-5


@dataclass(frozen=True)
class ResidualCNN(Task):
    """The images (batches, B, 1, 28, 28), and the network.

    state  its initial parameters and running statistics, by name
    """

    state: tuple[tuple[str, Array], ...] = ()

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        def normed(inputs: int) -> list[Any]:
            return [nn.Conv2d(inputs, CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS)]

        def block() -> Any:
            return residual(nn.Sequential(*normed(CHANNELS), nn.ReLU(), *normed(CHANNELS)))

        return nn.Sequential(
            *(*normed(1), nn.ReLU(), nn.MaxPool2d(2), block(), nn.ReLU(), nn.MaxPool2d(2), block(), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)),
        )

    def values(self) -> list[Array]:
        return [value for _, value in self.state]

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        pairs = zip(self.state, values, strict=True)
        return {name: np.asarray(value).copy() for (name, _), value in pairs if _is_learned(name)}

    @property
    def learned(self) -> ResidualCNN:
        """The same task without the running statistics."""
        return replace(self, state=tuple(each for each in self.state if _is_learned(each[0])))


def _is_learned(name: str) -> bool:
    return name.endswith(("weight", "bias"))


class InJax(WithJax):
    """The same network in JAX, without running statistics, which training does not read."""

    def outputs(self, values: Any, x: Any) -> Any:
        import jax

        following = iter(values)

        def normed(x: Any) -> Any:
            x = jax.lax.conv_general_dilated(x, next(following), (1, 1), "SAME")
            x = x - x.mean((0, 2, 3), keepdims=True)
            scale = jax.lax.rsqrt((x * x).mean((0, 2, 3), keepdims=True) + EPS_OF_NORMS)
            weight, bias = (next(following)[:, None, None] for _ in range(2))
            return x * scale * weight + bias

        def pooled(x: Any) -> Any:
            return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

        x = jax.nn.relu(normed(x))
        for _ in range(2):
            x = pooled(x)
            x = jax.nn.relu(x + normed(jax.nn.relu(normed(x))))
        return x.mean((2, 3)) @ next(following).T + next(following)


@lru_cache(maxsize=1)
def images(batch: int, batches: int = BATCHES) -> ResidualCNN:
    """The task to learn random labels of random images."""
    random = np.random.default_rng(SEED)
    pixels = random.random((batches, batch, 1, SIZE, SIZE), dtype=np.float32)
    labels = random.integers(CLASSES, size=(batches, batch))
    torch.manual_seed(SEED)
    task = ResidualCNN(
        (SIZE * SIZE, CLASSES), "ReLU", "CrossEntropyLoss", pixels, labels, (), (), Rule("Adam", lr=3e-4, eps=1e-3)
    )
    model = task.network(lamp, lamp.Residual)
    return replace(task, state=tuple((name, value.numpy().copy()) for name, value in model.state_dict().items()))


def work(batch: int, steps: int) -> Work:
    """Training with batches of this size."""
    task = partial(images, batch)
    return Work(
        f"residual CNN, {CHANNELS} channels, 5 convolutions with BatchNorm, 28 x 28 pixels, Adam, batch {batch}",
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.torch_compile(task),
            who.jax(lambda: task().learned, InJax),
        ),
        (Goal(who.FIT_COMPILED, who.FUSED, 3.0),),
        steps=steps,
        job_steps=10 * -(-EPOCH // batch),
        tolerance=TOLERANCE,
    )


ROW = Row(18, "a residual CNN", (work(64, steps=50),))
