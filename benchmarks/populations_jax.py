"""Many networks in JAX: vmap of one network's whole training, under jit."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.harness import Absent
from benchmarks.populations import Task
from benchmarks.start import Array


class WithJax:
    """One compiled call: gradients by jax.value_and_grad, an epoch as lax.scan, all networks by vmap."""

    def __init__(self, task: Task, threads: int) -> None:
        try:
            import jax
        except ImportError as error:
            raise Absent("jax is not installed: pip install jax") from error
        jnp, lax = jax.numpy, jax.lax
        self.task, rule = task, task.rule
        layers = range(len(task.widths) - 1)
        activation = jnp.tanh if task.activation == "Tanh" else jax.nn.relu
        decays = task.decay is not None
        initial = [jnp.array(each) for each in task.values()]
        means, squares = ([jnp.zeros_like(each) for each in initial] for _ in range(2))
        self.state: Any = (initial, means, squares)
        self.step_count = 0
        lr = jnp.full(task.networks, rule.lr) if task.lr is None else jnp.array(task.lr)
        decay = jnp.zeros(task.networks) if task.decay is None else jnp.array(task.decay)
        inputs, labels, order = jnp.array(task.inputs), jnp.array(task.labels), jnp.array(task.order)
        own = 1 if task.own_batches else None
        batches = order if task.own_batches else (inputs[order], labels[order])

        def loss_of(values: Any, x: Any, y: Any) -> Any:
            for k in layers:
                x = x @ values[2 * k].T + values[2 * k + 1]
                x = x if k == layers[-1] else activation(x)
            return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

        def train(state: Any, lr: Any, decay: Any, batches: Any, taken: Any, epochs: Any) -> Any:
            def step(carried: Any, batch: Any) -> Any:
                (values, means, squares), taken = carried
                x, y = (inputs[batch], labels[batch]) if task.own_batches else batch
                loss, grads = jax.value_and_grad(loss_of)(values, x, y)
                taken = taken + 1
                if decays:
                    grads = [grad + decay * value for grad, value in zip(grads, values, strict=True)]
                means = [rule.beta1 * old + (1 - rule.beta1) * grad for old, grad in zip(means, grads, strict=True)]
                squares = [rule.beta2 * old + (1 - rule.beta2) * g**2 for old, g in zip(squares, grads, strict=True)]
                # 1 - beta^t with all its digits: in float32 the first steps would lose four, and differ from all others
                size = lr / -jnp.expm1(taken * math.log(rule.beta1))
                correction = lax.rsqrt(-jnp.expm1(taken * math.log(rule.beta2)))
                values = [
                    value - size * mean / (jnp.sqrt(square) * correction + rule.eps)
                    for value, mean, square in zip(values, means, squares, strict=True)
                ]
                return ((values, means, squares), taken), loss

            def epoch(_: Any, carried: Any) -> Any:
                return lax.scan(step, carried[0], batches)

            return lax.fori_loop(0, epochs, epoch, ((state, taken), jnp.zeros(task.batches)))

        options = {"xla_cpu_multi_thread_eigen": threads > 1}
        of_all = jax.vmap(train, in_axes=(0, 0, 0, own, None, None), out_axes=((0, None), 0))
        self.train = jax.jit(of_all, donate_argnums=0, compiler_options=options)
        self.given = lr, decay, batches

    def run(self, steps: int) -> None:
        (self.state, _), losses = self.train(self.state, *self.given, float(self.step_count), self.task.epochs(steps))
        self.step_count += steps
        losses.block_until_ready()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.state[0])
