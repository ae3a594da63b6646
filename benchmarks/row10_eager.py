"""Row 10: the eager engine on one tiny network, where a step is all overhead and hardly any arithmetic."""

from __future__ import annotations

from itertools import pairwise

import lamp
from benchmarks.disk import ADAM, SGD, WIDTHS, Array, Rule, epochs, named
from benchmarks.disk_compiled import WithJax, WithTorchCompile
from benchmarks.disk_torch import ByHand, WithTorchNN, batches, values
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal

COMPILED_WITHIN = 60.0  # seconds, or a peer that compiles counts as absent
LOOP, STEP, FIT, NN = "lamp, a loop", "lamp, fit's step", "lamp.fit", "torch.nn"


class WithLamp:
    """lamp's eager engine."""

    def __init__(self, rule: Rule) -> None:
        layers = [(lamp.Linear(fan_in, fan_out), lamp.ReLU()) for fan_in, fan_out in pairwise(WIDTHS)]
        self.model = lamp.Sequential(*[module for pair in layers for module in pair][:-1])
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values(), strict=True)))
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
        return named(self.model.state_dict().values())


class WithFitsStep(WithLamp):
    """The loop, with the step that lamp.fit takes: without the gradient of the input, as torch.nn has none either."""

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
        Contender(LOOP, lambda threads: WithLamp(rule), ours=True, note="as in the README: model.backward"),
        Contender(STEP, lambda threads: WithFitsStep(rule), ours=True, note="model.backward_parameters"),
        Contender(FIT, lambda threads: WithFit(rule), ours=True, note="with history and kept weights"),
        Contender(NN, lambda threads: WithTorchNN(rule)),
        Contender(f"{NN} foreach", lambda threads: WithTorchNN(rule, foreach=True)),
        Contender(f"{NN} fused", lambda threads: WithTorchNN(rule, fused=True)),
        Contender(
            "torch by hand", lambda threads: ByHand(rule), note="bare operations in place: the floor of eager torch"
        ),
        Contender(
            "torch.compile",
            lambda threads: WithTorchCompile(rule),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled, a peer for the compiled engine: an epoch by hand, wrapped in C++",
        ),
        Contender(
            "JAX",
            lambda threads: WithJax(rule, threads),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="compiled, a peer for the compiled engine: jit over lax.scan",
        ),
    )


def work(rule: Rule, ratio: float) -> Work:
    """Training with this optimizer; the goal is lamp's ratio to torch.nn."""
    return Work(
        f"{rule.name}: 2-25-25-25-2 ReLU, cross-entropy, batch 100 of 1,000 points",
        contenders(rule),
        goals=(Goal(STEP, NN, ratio), Goal(LOOP, NN, ratio)),
        steps=300,
        job_steps=2000,  # 200 epochs, a usual length for this task
    )


ROW = Row(10, "the eager engine on one tiny network", (work(SGD, 2.7), work(ADAM, 5.0)))
