"""Networks of many widths in JAX: buckets of similar widths, each a vmap of a whole training under jit."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness import Absent
from benchmarks.mixed import ACTIVATIONS, Mixed, buckets, out_of
from benchmarks.start import Array


class WithJax:
    """One compiled call per bucket: gradients by jax.grad, steps in a lax loop, networks by vmap."""

    def __init__(self, task: Mixed, threads: int) -> None:
        try:
            import jax
        except ImportError as error:
            raise Absent("jax is not installed: pip install jax") from error
        jnp, lax = jax.numpy, jax.lax
        self.task = task
        formulas: dict[str, Any] = {
            "Identity": lambda x: x,
            "Tanh": jnp.tanh,
            "LeakyReLU": jax.nn.leaky_relu,
            "GELU": lambda x: jax.nn.gelu(x, approximate=False),
            "SiLU": jax.nn.silu,
        }
        batches = len(task.inputs) // task.batch
        inputs = jnp.array(task.inputs).reshape(batches, task.batch, -1)
        labels = jnp.array(task.labels).reshape(batches, task.batch)
        options = {"xla_cpu_multi_thread_eigen": threads > 1}
        self.trainings: list[Any] = []
        for bucket in buckets(task):
            name = ACTIVATIONS[bucket.activation]
            sigma = formulas[name] if name in formulas else getattr(jax.nn, name.lower())

            def train(values: Any, there: Any, steps: Any, sigma: Any = sigma) -> Any:
                def loss_of(values: Any, x: Any, y: Any) -> Any:
                    w1, b1, w2, b2 = values
                    outputs = w2 @ (sigma(w1 @ x.T + b1) * there) + b2  # (classes, B)
                    return -jnp.take_along_axis(jax.nn.log_softmax(outputs, 0), y[None], axis=0).mean()

                def step(at: Any, values: Any) -> Any:
                    grads = jax.grad(loss_of)(values, inputs[at % batches], labels[at % batches])
                    return [value - task.lr * grad for value, grad in zip(values, grads, strict=True)]

                return lax.fori_loop(0, steps, step, values)

            of_all = jax.jit(jax.vmap(train, in_axes=(0, 0, None)), donate_argnums=0, compiler_options=options)
            self.trainings.append([bucket, of_all, list(map(jnp.array, bucket.values)), jnp.array(bucket.there)])

    def run(self, steps: int) -> None:
        for training in self.trainings:
            _, train, values, there = training
            training[2] = train(values, there, steps)
        for _, _, values, _ in self.trainings:
            values[0].block_until_ready()

    def parameters(self) -> dict[str, Array]:
        return out_of(self.task, [(bucket, list(map(np.asarray, values))) for bucket, _, values, _ in self.trainings])
