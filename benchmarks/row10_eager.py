"""Row 10: the eager engine on one tiny network, where a step is all overhead and hardly any arithmetic."""

from __future__ import annotations

import torch

import lamp
from benchmarks.disk import ADAM, SGD, Array, Rule, epochs, named, start
from benchmarks.disk_compiled import WithJax, WithTorchCompile
from benchmarks.disk_torch import ByHand, WithTorchNN, batches
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal

COMPILED_WITHIN = 60.0  # seconds, or a peer that compiles counts as absent
LOOP, STEP, FIT = "lamp, a loop", "lamp.fit's step", "lamp.fit"


class WithLamp:
    """lamp's eager engine."""

    def __init__(self, rule: Rule) -> None:
        begin = start()
        layers: list[lamp.Module] = []
        for weight, bias in zip(begin.weights, begin.biases, strict=True):
            layer = lamp.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
            layers += [layer, lamp.ReLU()]
        self.model = lamp.Sequential(*layers[:-1])
        self.criterion = lamp.CrossEntropyLoss()
        if rule.name == "SGD":
            self.optimizer: lamp.Optimizer = lamp.SGD(self.model.parameters(), lr=rule.lr)
        else:
            self.optimizer = lamp.Adam(self.model.parameters(), rule.lr, (rule.beta1, rule.beta2), rule.eps)
        self.batches = batches()

    def run(self, steps: int) -> None:
        """The loop as a user writes it."""
        model, criterion, optimizer = self.model, self.criterion, self.optimizer
        for _ in range(epochs(steps)):
            for inputs, labels in self.batches:
                criterion(model(inputs), labels)
                optimizer.zero_grad()
                model.backward(criterion.backward())
                optimizer.step()

    def parameters(self) -> dict[str, Array]:
        layers = [module for module in self.model if isinstance(module, lamp.Linear)]
        return named([each.weight.data for each in layers], [each.bias.data for each in layers])


class WithFitsStep(WithLamp):
    """The loop with the step that lamp.fit takes: without the gradient of the input, which torch.nn does not take either."""

    def run(self, steps: int) -> None:
        model, criterion, optimizer = self.model, self.criterion, self.optimizer
        for _ in range(epochs(steps)):
            for inputs, labels in self.batches:
                criterion(model(inputs), labels)
                optimizer.zero_grad()
                model.backward_parameters(criterion.backward())
                optimizer.step()


class WithFit(WithLamp):
    """lamp.fit itself: that step, and the history, callbacks and kept weights around it."""

    def run(self, steps: int) -> None:
        lamp.fit(
            self.model,
            self.criterion,
            self.optimizer,
            self.batches,
            epochs=epochs(steps),
            progress=False,
            engine="eager",
        )


def contenders(rule: Rule) -> tuple[Contender, ...]:
    """Everyone who can train this network with this optimizer."""

    return (
        Contender(LOOP, lambda threads: WithLamp(rule), ours=True),
        Contender(STEP, lambda threads: WithFitsStep(rule), ours=True),
        Contender(FIT, lambda threads: WithFit(rule), ours=True),
        Contender("torch.nn", lambda threads: WithTorchNN(rule)),
        Contender("torch.nn, foreach", lambda threads: WithTorchNN(rule, foreach=True)),
        Contender("torch.nn, fused", lambda threads: WithTorchNN(rule, fused=True)),
        Contender("torch by hand", lambda threads: ByHand(rule), note="bare operations, the floor"),
        Contender(
            "torch.compile",
            lambda threads: WithTorchCompile(rule),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled: an epoch by hand",
        ),
        Contender(
            "JAX",
            lambda threads: WithJax(rule, threads),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled: jit, scan",
        ),
    )


def work(rule: Rule, ratio: float) -> Work:
    return Work(
        f"disk, one network 2-25-25-25-2 ReLU, cross-entropy, batch 100, {rule.name}, eager",
        contenders(rule),
        goals=(Goal(STEP, "torch.nn", ratio), Goal(LOOP, "torch.nn", ratio)),
        steps=1000,
        job_steps=2000,  # 200 epochs, a usual length for this task
    )


ROW = Row(10, "the eager engine on one tiny network", (work(SGD, 2.7), work(ADAM, 5.0)))
