"""torch.compile, applied to a whole epoch of the disk network."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from benchmarks.disk import BATCH
from benchmarks.harness import Absent
from benchmarks.single import Task
from benchmarks.single_torch import values
from benchmarks.start import Array

Tensors = list[Tensor]
LAYERS = range(4)


class WithTorchCompile:
    """An epoch written as one pure function, compiled as a whole, with a wrapper in C++ instead of Python."""

    def __init__(self, task: Task) -> None:
        import torch._inductor.config as inductor

        self.task, self.rule = task, task.rule
        self.values = values(task)
        self.means = [torch.zeros_like(each) for each in self.values]
        self.squares = [torch.zeros_like(each) for each in self.values]
        self.step_count = torch.zeros(())
        self.inputs, self.labels = torch.tensor(task.inputs), torch.tensor(task.targets)
        torch._dynamo.reset()
        warnings.filterwarnings("ignore", message="dynamo_pgo force disabled")  # a warning of compiling without caches
        inductor.cpp_wrapper = True  # the fastest
        inductor.force_disable_caches = True  # so that compiling is measured
        self.compiled = torch.compile(self._epoch, fullgraph=True)
        self.ready = False

    def run(self, steps: int) -> None:
        with torch.inference_mode():
            for _ in range(self.task.epochs(steps)):
                state = self.values, self.means, self.squares, self.step_count
                try:
                    found = self.compiled(*state, self.inputs, self.labels)
                except Exception as error:
                    if self.ready:
                        raise
                    raise Absent(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
                self.ready = True
                self.values, self.means, self.squares, self.step_count, self.losses = found

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
        return self.task.named(self.values)
