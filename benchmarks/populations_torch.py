"""Many networks in torch: torch.nn one after another, torch.func.vmap, and batched products by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from benchmarks.populations import Task
from benchmarks.single import Rule
from benchmarks.start import Array

Batches = list[tuple[Tensor, Tensor]]


class Samples:
    """The batches, in order, again and again. Shared ones are ready in memory; a network's own are gathered each time.

    of  the network whose batches these are; None: the batches of all networks
    """

    def __init__(self, task: Task, of: int | slice = slice(None)) -> None:
        self.inputs, self.labels = torch.tensor(task.inputs), torch.tensor(task.labels)
        self.per_replica = task.own_batches
        order = torch.tensor(task.order[:, of] if self.per_replica else task.order)
        self.order = [rows.contiguous() for rows in order]
        self.batches = [] if self.per_replica else [(self.inputs[rows], self.labels[rows]) for rows in self.order]
        self.at = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """Inputs (B, features) and labels (B); (K, B, features) and (K, B) if each of all networks has its own."""
        at, self.at = self.at, (self.at + 1) % len(self.order)
        if not self.per_replica:
            return self.batches[at]
        rows = self.order[at]
        return self.inputs[rows], self.labels[rows]


def network(task: Task) -> torch.nn.Sequential:
    """A network of the task's architecture in torch.nn."""
    activation = getattr(torch.nn, task.activation)
    layers = [(torch.nn.Linear(fan_in, fan_out), activation()) for fan_in, fan_out in pairwise(task.widths)]
    return torch.nn.Sequential(*[module for pair in layers for module in pair][:-1])


class OneByOne:
    """torch.nn and torch.optim in the loop of their documentation, for the first networks, one after another."""

    def __init__(self, task: Task, sample: int, **options: Any) -> None:
        self.task, self.trainings = task, []
        rule = task.rule
        for k in range(sample):
            model = network(task)
            values = [torch.tensor(value[k]) for value in task.values()]
            model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
            lr = rule.lr if task.lr is None else float(task.lr[k])
            decay = 0.0 if task.decay is None else float(task.decay[k])
            betas = (rule.beta1, rule.beta2)
            optimizer = torch.optim.Adam(model.parameters(), lr, betas, rule.eps, weight_decay=decay, **options)
            self.trainings.append((model, optimizer, Samples(task, k)))
        self.criterion = torch.nn.CrossEntropyLoss()

    def run(self, steps: int) -> None:
        criterion = self.criterion
        for model, optimizer, samples in self.trainings:
            for _ in range(steps):
                inputs, labels = samples.next()
                loss = criterion(model(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def parameters(self) -> dict[str, Array]:
        states = [model.state_dict().values() for model, _, _ in self.trainings]
        return self.task.named(torch.stack(values) for values in zip(*states, strict=True))


class AdamInColumns:
    """Adam over stacked parameters with a learning rate and a decay per network, which torch.optim does not take."""

    def __init__(self, parameters: list[Tensor], rule: Rule, lr: Tensor, decay: Tensor) -> None:
        self.parameters, self.rule, self.step_count = parameters, rule, 0
        self.lr, self.decay = ([_column(each, value) for value in parameters] for each in (-lr, decay))
        self.means, self.squares = ([torch.zeros_like(value) for value in parameters] for _ in range(2))

    @torch.no_grad()
    def step(self) -> None:
        self.step_count += 1
        beta1, beta2, eps = self.rule.beta1, self.rule.beta2, self.rule.eps
        first, second = 1 - beta1**self.step_count, 1 - beta2**self.step_count
        moments = zip(self.means, self.squares, strict=True)
        for value, lr, decay, (mean, square) in zip(self.parameters, self.lr, self.decay, moments, strict=True):
            assert value.grad is not None
            gradient = torch.addcmul(value.grad, value, decay)
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            root = square.sqrt().mul_(second**-0.5).add_(eps)
            value.addcdiv_(mean * lr, root, value=1 / first)


def _column(numbers: Tensor, like: Tensor) -> Tensor:
    """Numbers (K,) in the shape (K, 1, ...), to multiply a tensor (K, ...)."""
    return numbers.view(-1, *[1] * (like.dim() - 1))


def adam(task: Task, parameters: list[Tensor]) -> Any:
    """The fastest Adam for stacked parameters: torch's fused one, or one by hand if networks have their own numbers."""
    rule = task.rule
    if task.lr is None or task.decay is None:
        return torch.optim.Adam(parameters, rule.lr, (rule.beta1, rule.beta2), rule.eps, fused=True)
    return AdamInColumns(parameters, rule, torch.tensor(task.lr), torch.tensor(task.decay))


class WithVmap:
    """torch.func: vmap of the gradients of one torch.nn network."""

    def __init__(self, task: Task) -> None:
        self.task = task
        model = network(task)
        self.values = dict(zip(model.state_dict(), map(torch.tensor, task.values()), strict=True))
        self.samples = Samples(task)
        self.optimizer = adam(task, list(self.values.values()))

        def loss(values: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(functional_call(model, values, (inputs,)), labels)

        own = 0 if task.own_batches else None
        self.gradients = vmap(grad_and_value(loss), in_dims=(0, own, own))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            gradients, self.loss = self.gradients(self.values, *self.samples.next())
            for name, value in self.values.items():
                value.grad = gradients[name]
            self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return self.task.named(self.values.values())


class WithBmm:
    """Stacked parameters, y = b + W x by torch.baddbmm with the batch as last axis, gradients by autograd.

    With the batch last, the softmax over two classes runs along many samples at a time, which makes this layout a tenth
    to a quarter faster than the one with features last.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.values = []
        for weight, bias in zip(task.weights, task.biases, strict=True):
            self.values += [torch.tensor(weight).requires_grad_(), torch.tensor(bias).unsqueeze(2).requires_grad_()]
        self.activation = torch.tanh if task.activation == "Tanh" else torch.relu
        self.optimizer = adam(task, self.values)
        self.samples = Samples(task)

    def run(self, steps: int) -> None:
        networks, batch = self.task.networks, self.task.batch
        for _ in range(steps):
            x, labels = self.samples.next()
            x, labels = x.mT.expand(networks, -1, batch), labels.expand(networks, batch)  # (K, features, B), (K, B)
            for value in self.values:
                value.grad = None
            for k in range(0, len(self.values), 2):
                x = torch.baddbmm(self.values[k + 1], self.values[k], self.activation(x) if k else x)
            self.loss = cross_entropy(x, labels, reduction="sum") / batch
            self.loss.backward()
            self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        values = [value.detach() for value in self.values]
        return self.task.named(value if at % 2 == 0 else value.squeeze(2) for at, value in enumerate(values))
