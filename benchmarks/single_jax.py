"""One network in JAX: all steps in one compiled call."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.harness import Absent
from benchmarks.single import Task
from benchmarks.start import Array


class WithJax:
    """One compiled call for all epochs: gradients by jax.value_and_grad, an epoch as lax.scan over the batches."""

    def __init__(self, task: Task, threads: int) -> None:
        try:
            import jax
        except ImportError as error:
            raise Absent("jax is not installed: pip install jax") from error
        jnp, lax = jax.numpy, jax.lax
        self.task, rule = task, task.rule
        initial = [jnp.array(each) for each in task.values()]
        means, squares = ([jnp.zeros_like(each) for each in initial] for _ in range(2))
        self.state: Any = (initial, means, squares, jnp.zeros(()))
        self.batches = jnp.array(task.inputs), jnp.array(task.targets)

        def loss_of(values: Any, x: Any, y: Any) -> Any:
            x = self.outputs(values, x)
            if task.loss == "MSELoss":
                return jnp.square(x - y).mean()
            return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

        def step(state: Any, batch: Any) -> Any:
            values, means, squares, taken = state
            loss, grads = jax.value_and_grad(loss_of)(values, *batch)
            taken = taken + 1
            if rule.name == "SGD":
                values = [value - rule.lr * grad for value, grad in zip(values, grads, strict=True)]
                return (values, means, squares, taken), loss
            means = [rule.beta1 * mean + (1 - rule.beta1) * grad for mean, grad in zip(means, grads, strict=True)]
            squares = [rule.beta2 * old + (1 - rule.beta2) * grad**2 for old, grad in zip(squares, grads, strict=True)]
            # 1 - beta^t with all its digits: in float32 the first steps would lose four, and differ from all others
            size = rule.lr / -jnp.expm1(taken * math.log(rule.beta1))
            correction = lax.rsqrt(-jnp.expm1(taken * math.log(rule.beta2)))
            moved = [
                value * (1 - rule.lr * rule.weight_decay) - size * mean / (jnp.sqrt(square) * correction + rule.eps)
                for value, mean, square in zip(values, means, squares, strict=True)
            ]
            return (moved, means, squares, taken), loss

        def train(state: Any, batches: Any, epochs: Any) -> Any:
            def epoch(k: Any, carried: Any) -> Any:
                return lax.scan(step, carried[0], batches)

            return lax.fori_loop(0, epochs, epoch, (state, jnp.zeros(task.batches)))

        options = {"xla_cpu_multi_thread_eigen": threads > 1}
        self.train = jax.jit(self.of_all(train), donate_argnums=0, compiler_options=options)

    def of_all(self, train: Any) -> Any:
        """From the training of one network to that of all."""
        return train

    def outputs(self, values: Any, x: Any) -> Any:
        """The network's outputs for a batch; values are its weights and biases in turn."""
        import jax

        task, layers = self.task, range(len(self.task.widths) - 1)
        activation = {
            "ReLU": jax.nn.relu,
            "Tanh": jax.numpy.tanh,
            "Sigmoid": jax.nn.sigmoid,
            "SiLU": jax.nn.silu,
            "GELU": lambda x: jax.nn.gelu(x, approximate=False),
        }[task.activation]

        def layer(k: int, x: Any) -> Any:
            return x @ values[2 * k].T + values[2 * k + 1]

        x = activation(layer(0, x))
        for k in range(1, 1 + 2 * task.blocks, 2):
            x = x + layer(k + 1, activation(layer(k, x)))
        for k in layers[1 + 2 * task.blocks :]:
            x = layer(k, x)
            x = x if k == layers[-1] else activation(x)
        return x

    def run(self, steps: int) -> None:
        self.state, losses = self.train(self.state, self.batches, self.task.epochs(steps))
        losses.block_until_ready()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.state[0])
