"""Peers that compile the training of one disk network: torch.compile over an epoch, JAX's jit over all steps."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from benchmarks.disk import BATCH, Array, Rule, epochs, named, start
from benchmarks.disk_torch import values
from benchmarks.harness import Absent

Tensors = list[Tensor]
LAYERS = range(4)


class WithTorchCompile:
    """One epoch, written by hand as a function without side effects, compiled whole, its wrapper in C++."""

    def __init__(self, rule: Rule) -> None:
        import torch._inductor.config as inductor

        self.rule = rule
        self.values = values()
        self.means = [torch.zeros_like(each) for each in self.values]
        self.squares = [torch.zeros_like(each) for each in self.values]
        self.taken = torch.zeros(())
        self.inputs, self.labels = torch.tensor(start().inputs), torch.tensor(start().labels)
        torch._dynamo.reset()
        warnings.filterwarnings(
            "ignore", message="dynamo_pgo force disabled"
        )  # said of every compilation without caches
        inductor.cpp_wrapper, inductor.force_disable_caches = True, True  # the fastest, and compiled here and now
        self.compiled = torch.compile(self._epoch, fullgraph=True)
        self.ready = False

    def run(self, steps: int) -> None:
        with torch.inference_mode():
            for _ in range(epochs(steps)):
                state = self.values, self.means, self.squares, self.taken
                try:
                    found = self.compiled(*state, self.inputs, self.labels)
                except Exception as error:
                    if self.ready:
                        raise
                    raise Absent(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
                self.ready = True
                self.values, self.means, self.squares, self.taken, self.losses = found

    def _epoch(
        self, values: Tensors, means: Tensors, squares: Tensors, taken: Tensor, inputs: Tensor, labels: Tensor
    ) -> tuple[Tensors, Tensors, Tensors, Tensor, Tensor]:
        losses = []
        for batch, target in zip(inputs.unbind(), labels.unbind(), strict=True):
            loss, grads = self._loss_and_gradients(values, batch, target)
            losses.append(loss)
            taken = taken + 1
            if self.rule.name == "SGD":
                values = [value - self.rule.lr * grad for value, grad in zip(values, grads, strict=True)]
            else:
                values, means, squares = self._adam(values, means, squares, taken, grads)
        return values, means, squares, taken, torch.stack(losses)

    def _loss_and_gradients(self, values: Tensors, batch: Tensor, target: Tensor) -> tuple[Tensor, Tensors]:
        weights, biases, hidden = values[::2], values[1::2], [batch]
        for k in LAYERS:
            y = torch.addmm(biases[k], hidden[k], weights[k].t())
            hidden.append(y if k == LAYERS[-1] else y.relu())
        log_p = hidden[-1].log_softmax(1)
        truth = torch.nn.functional.one_hot(target, log_p.shape[1]).to(log_p.dtype)
        loss = -(log_p * truth).sum() / BATCH
        dy = (log_p.exp() - truth) / BATCH
        grads: Tensors = []
        for k in reversed(LAYERS):
            grads = [dy.t().mm(hidden[k]), dy.sum(0), *grads]
            if k > 0:
                dy = dy.mm(weights[k]) * (hidden[k] > 0)
        return loss, grads

    def _adam(
        self, values: Tensors, means: Tensors, squares: Tensors, taken: Tensor, grads: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        rule = self.rule
        means = [mean + (1 - rule.beta1) * (grad - mean) for mean, grad in zip(means, grads, strict=True)]
        squares = [old + (1 - rule.beta2) * (grad * grad - old) for old, grad in zip(squares, grads, strict=True)]
        step = rule.lr / (1 - rule.beta1**taken)
        correction = (1 - rule.beta2**taken) ** -0.5
        moved = [
            value - step * mean / (square.sqrt() * correction + rule.eps)
            for value, mean, square in zip(values, means, squares, strict=True)
        ]
        return moved, means, squares

    def parameters(self) -> dict[str, Array]:
        return named(self.values)


class WithJax:
    """JAX: gradients by jax.value_and_grad, an epoch as lax.scan over the batches, all epochs in one compiled call."""

    def __init__(self, rule: Rule, threads: int) -> None:
        try:
            import jax
        except ImportError as error:
            raise Absent("jax is not installed: pip install jax") from error
        jnp, lax = jax.numpy, jax.lax
        begin = start()
        initial = [jnp.array(each) for each in begin.values()]
        means, squares = ([jnp.zeros_like(each) for each in initial] for _ in range(2))
        self.state: Any = (initial, means, squares, jnp.zeros(()))
        self.batches = jnp.array(begin.inputs), jnp.array(begin.labels)

        def loss_of(values: Any, inputs: Any, labels: Any) -> Any:
            for k in LAYERS:
                inputs = inputs @ values[2 * k].T + values[2 * k + 1]
                inputs = inputs if k == LAYERS[-1] else jax.nn.relu(inputs)
            log_p = jax.nn.log_softmax(inputs)
            return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

        def step(state: Any, batch: Any) -> Any:
            values, means, squares, taken = state
            loss, grads = jax.value_and_grad(loss_of)(values, *batch)
            taken = taken + 1
            if rule.name == "SGD":
                values = [value - rule.lr * grad for value, grad in zip(values, grads, strict=True)]
                return (values, means, squares, taken), loss
            means = [rule.beta1 * mean + (1 - rule.beta1) * grad for mean, grad in zip(means, grads, strict=True)]
            squares = [rule.beta2 * old + (1 - rule.beta2) * grad**2 for old, grad in zip(squares, grads, strict=True)]
            size, correction = rule.lr / (1 - rule.beta1**taken), 1 / jnp.sqrt(1 - rule.beta2**taken)
            moved = [
                value - size * mean / (jnp.sqrt(square) * correction + rule.eps)
                for value, mean, square in zip(values, means, squares, strict=True)
            ]
            return (moved, means, squares, taken), loss

        def train(state: Any, batches: Any, epochs: Any) -> Any:
            def epoch(k: Any, carried: Any) -> Any:
                state, losses = lax.scan(step, carried[0], batches)
                return state, losses

            losses = jnp.zeros(batches[1].shape[0])
            return lax.fori_loop(0, epochs, epoch, (state, losses))

        options = {"xla_cpu_multi_thread_eigen": threads > 1}
        self.train = jax.jit(train, donate_argnums=0, compiler_options=options)

    def run(self, steps: int) -> None:
        self.state, losses = self.train(self.state, self.batches, epochs(steps))
        losses.block_until_ready()

    def parameters(self) -> dict[str, Array]:
        return named(self.state[0])
