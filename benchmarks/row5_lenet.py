"""Row 5: LeNet-5 on images in MNIST's shape.

The pixels are random: a step takes as long as on the real ones. Few steps must give equal parameters: a gradient jumps
by rounding where a ReLU or the largest number of a pool changes, and Adam makes a step of up to lr of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from benchmarks import single_work as who
from benchmarks.harness import Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Rule, Task
from benchmarks.single_jax import WithJax
from benchmarks.start import Array

BATCHES = 10
EPOCH = 60_000
SEED = 0
TOLERANCE = 3e-5
SHAPES = {"0": (6, 1, 5, 5), "3": (16, 6, 5, 5), "7": (120, 256), "9": (84, 120), "11": (10, 84)}  # by path


@dataclass(frozen=True)
class LeNet(Task):
    """The images (batches, B, 1, 28, 28), and the network."""

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        return nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        keys = [f"{path}.{what}" for path in SHAPES for what in ("weight", "bias")]
        return {key: np.asarray(value).copy() for key, value in zip(keys, values, strict=True)}


class LeNetInJax(WithJax):
    """The same network in JAX."""

    def outputs(self, values: Any, x: Any) -> Any:
        import jax

        for weight, bias in (values[:2], values[2:4]):
            x = jax.lax.conv_general_dilated(x, weight, (1, 1), "VALID") + bias[:, None, None]
            x = jax.lax.reduce_window(jax.nn.relu(x), -np.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        x = x.reshape(len(x), -1)
        for weight, bias in (values[4:6], values[6:8]):
            x = jax.nn.relu(x @ weight.T + bias)
        return x @ values[8].T + values[9]


@lru_cache(maxsize=1)
def images(batch: int, batches: int = BATCHES) -> LeNet:
    """The task to learn random labels of random images."""
    random = np.random.default_rng(SEED)
    pixels = random.random((batches, batch, 1, 28, 28), dtype=np.float32)
    labels = random.integers(10, size=(batches, batch))
    weights, biases = [], []
    for shape in SHAPES.values():
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        weights.append(random.uniform(-bound, bound, shape).astype(np.float32))
        biases.append(random.uniform(-bound, bound, shape[:1]).astype(np.float32))
    rule = Rule("Adam", lr=3e-4)
    return LeNet((784, 10), "ReLU", "CrossEntropyLoss", pixels, labels, tuple(weights), tuple(biases), rule)


def work(batch: int, steps: int) -> Work:
    """Training with batches of this size."""
    task = partial(images, batch)
    return Work(
        f"LeNet-5, 28 x 28 pixels, cross-entropy, Adam, batch {batch}",
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.jax(task, LeNetInJax),
        ),
        (Goal(who.FIT_COMPILED, who.FUSED, 11.0), Goal(who.FIT_COMPILED, who.JAX, 20.0)),
        steps=steps,
        job_steps=10 * -(-EPOCH // batch),
        tolerance=TOLERANCE,
    )


ROW = Row(5, "LeNet-5", (work(32, steps=100), work(64, steps=50)))
