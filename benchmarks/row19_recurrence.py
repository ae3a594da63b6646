"""Row 19: an LSTM on images in MNIST's shape, row by row, and a GRU on sines; one network, and 64 as one.

The pixels are random: a step takes as long as on the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

import lamp
from benchmarks import single_work as who
from benchmarks.harness import Contender, Row, Work
from benchmarks.outcome import Goal
from benchmarks.single import Task
from benchmarks.single_jax import WithJax
from benchmarks.single_lamp import WithCompile
from benchmarks.start import Array

BATCH, BATCHES = 32, 2
NETWORKS, SAMPLE = 64, 2  # in a population, and how many of them torch.nn trains
JOB = 5_000  # steps of a whole training
SEED = 0
TOLERANCE = 3e-5
KEYS = (*(f"layer.{what}_l0" for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), "head.weight", "head.bias")
GATES = {"LSTM": 4, "GRU": 3}


class InTorch(torch.nn.Module):
    """A recurrent layer, and a Linear of its last step."""

    def __init__(self, kind: str, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layer = getattr(torch.nn, kind)(features, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.layer(x)[0][:, -1])


class InLamp(lamp.Container):
    """The same."""

    takes_replicas = True

    def __init__(self, kind: str, features: int, hidden: int, outputs: int) -> None:
        self.layer = getattr(lamp, kind)(features, hidden, batch_first=True)
        self.head = lamp.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.layer(x)
        self.remember(y.shape)
        return self.head(y.select(-2, -1))  # type: ignore[no-any-return]

    def backward(self, dy: torch.Tensor) -> None:
        dsteps = dy.new_zeros(self.recall())
        dsteps.select(-2, -1).copy_(self.head.backward(dy))
        self.layer.backward_parameters(dsteps)

    def trace(self, tracer: Any, x: Any) -> Any:
        y, _ = tracer(self.layer, x)
        return tracer(self.head, tracer.select(self, y, 1, -1))


@dataclass(frozen=True)
class Sequences(Task):
    """Sequences (batches, B, T, features). The weights are those of KEYS, in that order; (K, ...) each for many
    networks."""

    kind: str = "LSTM"

    def network(self, nn: Any, residual: Callable[[Any], Any]) -> Any:
        return (InLamp if nn is lamp else InTorch)(self.kind, *self.widths)

    def values(self) -> list[Array]:
        return list(self.weights)

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        return {key: np.asarray(value).copy() for key, value in zip(KEYS, values, strict=True)}

    def of(self, k: int) -> Sequences:
        """The task of one of many networks."""
        return replace(self, weights=tuple(each[k] for each in self.weights))


class InJax(WithJax):
    """The network in JAX: a scan over the steps."""

    def outputs(self, values: Any, x: Any) -> Any:
        import jax

        w_ih, w_hh, b_ih, b_hh, weight, bias = values
        sigmoid, tanh, hidden = jax.nn.sigmoid, jax.numpy.tanh, w_hh.shape[1]
        inputs = (x @ w_ih.T + b_ih).swapaxes(0, 1)
        zeros = jax.numpy.zeros((len(x), hidden))

        def lstm(state: Any, gates: Any) -> Any:
            h, c = state
            i, f, u, o = jax.numpy.split(gates + h @ w_hh.T + b_hh, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(u)
            return (sigmoid(o) * tanh(c), c), None

        def gru(state: Any, gates: Any) -> Any:
            h, _ = state
            (r, z, n), (of_r, of_z, s) = (jax.numpy.split(each, 3, axis=1) for each in (gates, h @ w_hh.T + b_hh))
            r, z = sigmoid(r + of_r), sigmoid(z + of_z)
            n = tanh(n + r * s)
            return (n + z * (h - n), h), None

        step = lstm if len(w_hh) == 4 * hidden else gru
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), inputs)
        return h @ weight.T + bias


class ManyInJax(InJax):
    """Many networks, by vmap of the whole training."""

    def of_all(self, train: Any) -> Any:
        import jax

        state = (0, 0, 0, None)
        return jax.vmap(train, in_axes=(state, None, None), out_axes=(state, 0))


class ManyInLamp(WithCompile):
    """A population, and lamp.compile: one call makes all steps of a run."""

    def __init__(self, task: Sequences) -> None:
        super().__init__(task.of(0))
        self.model = lamp.population(self.model, range(len(task.weights[0])))
        values = map(torch.tensor, task.values())
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values, strict=True)))
        rule = task.rule
        self.optimizer = lamp.Adam(self.model.parameters(), rule.lr, (rule.beta1, rule.beta2), rule.eps)


@lru_cache(maxsize=2)
def sequences(kind: str, networks: int | None = None) -> Sequences:
    """Rows of random pixels with random labels for the LSTM; pieces of sines, each with its next value, for the GRU."""
    random = np.random.default_rng(SEED)
    targets: Array
    if kind == "LSTM":
        inputs = random.random((BATCHES, BATCH, 28, 28), dtype=np.float32)
        targets, widths, loss = random.integers(10, size=(BATCHES, BATCH)), (28, 32, 10), "CrossEntropyLoss"
    else:
        pace, phase = random.uniform(0.1, 0.5, (BATCHES, BATCH, 1)), random.uniform(0, 6.3, (BATCHES, BATCH, 1))
        waves = np.sin(pace * np.arange(33) + phase).astype(np.float32)
        inputs, targets, widths, loss = waves[..., :32, None], waves[..., 32:], (1, 64, 1), "MSELoss"
    features, hidden, outputs = widths
    rows, bound = GATES[kind] * hidden, 1 / np.sqrt(hidden)
    shapes = (rows, features), (rows, hidden), (rows,), (rows,), (outputs, hidden), (outputs,)
    lead = () if networks is None else (networks,)
    weights = tuple(random.uniform(-bound, bound, (*lead, *shape)).astype(np.float32) for shape in shapes)
    return Sequences(widths, "Tanh", loss, inputs, targets, weights, (), kind=kind)


TITLES = {
    "LSTM": "LSTM 32 wide, 28 steps of 28 pixels, 10 classes, Adam, batch 32",
    "GRU": "GRU 64 wide, 32 steps of a sine, mean squared error, Adam, batch 32",
}


def work(kind: str, steps: int) -> Work:
    """Training one network."""
    task = partial(sequences, kind)
    return Work(
        TITLES[kind],
        (
            who.compiled(task),
            who.fit_compiled(task),
            who.fits_step(task),
            *who.torch_nn(task),
            who.torch_compile(task),
            who.jax(task, InJax),
        ),
        (Goal(who.FIT_COMPILED, who.FUSED, 8.0), Goal(who.FIT_COMPILED, who.JAX, 4.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
    )


def work_of_many(kind: str, steps: int, networks: int = NETWORKS) -> Work:
    """Training a population."""
    task = partial(sequences, kind, networks)
    peer = who.first_of_many(task, networks, SAMPLE)
    return Work(
        f"{networks} of them: {TITLES[kind]}",
        (
            Contender(
                who.COMPILED,
                lambda threads: ManyInLamp(task()),
                ours=True,
                compiles=True,
                note="lamp.compile, all steps in one call",
            ),
            peer,
            Contender(
                who.JAX,
                lambda threads: ManyInJax(task(), threads),
                compiles=True,
                time_limit=who.COMPILED_WITHIN,
                note="compiled: jit(vmap) of a whole training, its epochs lax.scan",
            ),
        ),
        (Goal(who.COMPILED, peer.name, 20.0), Goal(who.COMPILED, who.JAX, 4.0)),
        steps=steps,
        job_steps=JOB,
        tolerance=TOLERANCE,
        networks=networks,
    )


WORKS = work("LSTM", 50), work("GRU", 20), work_of_many("LSTM", 10), work_of_many("GRU", 10)
ROW = Row(19, "recurrent networks", WORKS)
