"""The disk network in bare tensor operations, the fastest that eager torch allows."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.disk import BATCH
from benchmarks.single import Task
from benchmarks.single_torch import batches, values
from benchmarks.start import Array


class ByHand:
    """Training written for this one network: operations in place, transposes kept, nothing checked."""

    def __init__(self, task: Task) -> None:
        self.task, self.rule = task, task.rule
        self.step_count = 0
        begin = values(task)
        count = sum(value.numel() for value in begin)
        self.flat, self.dflat, self.mean, self.square, self.root = torch.zeros(5, count).unbind()
        self.values, self.grads = _views(self.flat, begin), _views(self.dflat, begin)
        for own, given in zip(self.values, begin, strict=True):
            own.copy_(given)
        self.weights, self.biases = self.values[::2], self.values[1::2]
        self.transposed = [weight.t() for weight in self.weights]
        self.batches = [(inputs, labels.unsqueeze(1)) for inputs, labels in batches(task)]
        self.ones, self.minus_ones = torch.ones(BATCH), torch.full((BATCH, 1), -1.0)
        self.share = torch.tensor(1 / BATCH)

    def run(self, steps: int) -> None:
        update = self._sgd if self.rule.name == "SGD" else self._adam
        with torch.inference_mode():
            for _ in range(self.task.epochs(steps)):
                for inputs, labels in self.batches:
                    self._gradients(inputs, labels)
                    update()

    def _gradients(self, inputs: Tensor, labels: Tensor) -> None:
        first, second, third, last = self.transposed
        h1 = self.biases[0].addmm(inputs, first).relu_()
        h2 = self.biases[1].addmm(h1, second).relu_()
        h3 = self.biases[2].addmm(h2, third).relu_()
        log_p = self.biases[3].addmm(h3, last).log_softmax(1)
        self.loss = log_p.gather(1, labels).sum().mul_(self.share).neg_()
        dy = log_p.exp_().scatter_add_(1, labels, self.minus_ones).mul_(self.share)
        for k, hidden in ((3, h3), (2, h2), (1, h1)):
            self._affine_gradients(k, dy, hidden)
            dy = dy.mm(self.weights[k]).mul_(hidden.sign_())
        self._affine_gradients(0, dy, inputs)

    def _affine_gradients(self, k: int, dy: Tensor, x: Tensor) -> None:
        dy_t = dy.t()
        torch.mm(dy_t, x, out=self.grads[2 * k])
        torch.mv(dy_t, self.ones, out=self.grads[2 * k + 1])

    def _sgd(self) -> None:
        self.flat.add_(self.dflat, alpha=-self.rule.lr)

    def _adam(self) -> None:
        rule = self.rule
        self.step_count += 1
        step = -rule.lr / (1 - rule.beta1**self.step_count)
        self.mean.lerp_(self.dflat, 1 - rule.beta1)
        self.square.lerp_(self.dflat * self.dflat, 1 - rule.beta2)
        correction = (1 - rule.beta2**self.step_count) ** -0.5
        root = torch.sqrt(self.square, out=self.root).mul_(correction).add_(rule.eps)
        self.flat.addcdiv_(self.mean, root, value=step)

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.values)


def _views(flat: Tensor, shaped: list[Tensor]) -> list[Tensor]:
    """Views of consecutive pieces of a flat tensor, in the shapes of these tensors."""
    pieces = torch.split(flat, [each.numel() for each in shaped])
    return [piece.view(each.shape) for piece, each in zip(pieces, shaped, strict=True)]
