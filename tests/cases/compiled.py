"""The same training by both engines, and how far their results may differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import lamp
from lamp.compiler.backends.cpu.target import FORCED, VECTOR_BITS, host
from lamp.state import state_buffers
from tests.cases import losses

SAMPLES, BATCH, EPOCHS = 35, 7, 4  # 20 steps
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}  # relative to the largest number

WIDTHS = [bits for bits in VECTOR_BITS if bits <= host().bits]  # of vectors, in bits

Pair = tuple[Tensor, Tensor]


@dataclass
class Left:
    """The model, optimizer and history after a training."""

    model: lamp.Module
    optimizer: lamp.Optimizer
    history: lamp.History


@dataclass(frozen=True)
class Task:
    """A loss that `make` builds, and data for it. The network must have `outputs` outputs and end in `last`."""

    name: str
    make: Callable[[], lamp.Loss]
    outputs: int
    last: Callable[[], list[lamp.Module]]
    target: Callable[[], Tensor]  # of a few samples

    def __str__(self) -> str:
        return self.name

    def data(self, samples: int = SAMPLES, features: int = 3, dtype: torch.dtype = torch.float64) -> Pair:
        """Random inputs and targets, always the same ones."""
        with torch.random.fork_rng([]):
            torch.manual_seed(2)  # with this seed, no batch consists of ignored labels only
            targets = [self.target()]
            while sum(map(len, targets)) < samples:
                targets.append(self.target())
            target = torch.cat(targets)[:samples]
            inputs = torch.randn(samples, features, dtype=torch.float64)
        return inputs.to(dtype), target.to(dtype) if target.is_floating_point() else target


def _last(case: losses.Case) -> list[lamp.Module]:
    ends = {"BCELoss": [lamp.Sigmoid()], "NLLLoss": [lamp.LogSoftmax(-1)], "KLDivLoss": [lamp.LogSoftmax(1)]}
    if case.kind == "PoissonNLLLoss" and "log_input=False" in case.name:  # it takes rates
        return [lamp.Softplus()]
    return list(ends.get(case.kind, []))


def _fits(case: losses.Case) -> bool:
    """Whether a case has few samples, one per row, and no weights per sample."""
    shape = case.output().shape
    return len(shape) == 2 and shape[0] == 7 and case.reduction != "none" and "weight=(7," not in case.name


TASKS = [
    Task(case.name, case.make, case.output().shape[1], lambda case=case: _last(case), case.target)
    for case in losses.LOSSES
    if _fits(case)
]


def task(name: str) -> Task:
    """The first task whose name begins with this text."""
    return next(each for each in TASKS if each.name.startswith(name))


def network(task: Task, *between: lamp.Module, width: int = 4, dtype: torch.dtype = torch.float64) -> lamp.Sequential:
    """Two layers with these modules between them; without modules a single layer, which compiles faster."""
    hidden = [lamp.Linear(3, width), *between] if between else []
    return lamp.Sequential(*hidden, lamp.Linear(width if hidden else 3, task.outputs), *task.last()).to(dtype)


def lanes(dtype: torch.dtype = torch.float64) -> int:
    """W: how many networks, or samples, a vector holds."""
    return host().lanes(dtype)


@contextmanager
def vectors(bits: int) -> Iterator[None]:
    """Kernels are compiled for vectors of this width, as on a processor that has no wider ones."""
    with mock.patch.dict(os.environ, {FORCED: str(bits)}):
        yield


def replicas(model: lamp.Module, count: int | None) -> lamp.Module:
    """A population of `count` replicas; for None the network itself, initialised with seed 5."""
    if count is not None:
        return lamp.population(model, range(count))
    model.reset_parameters(generator=torch.Generator().manual_seed(5))
    return model


def trained(
    engine: str,
    network: Callable[[], lamp.Module],
    criterion: Callable[[], lamp.Loss | None],
    optimizer: Callable[[Sequence[lamp.Parameter]], lamp.Optimizer],
    data: Any,
    *,
    count: int | None = None,
    scheduler: Callable[[lamp.Optimizer], Any] | None = None,
    callbacks: Callable[[], list[lamp.Callback]] = list,
    **arguments: Any,
) -> Left:
    """Fit a network, or a population of `count`, by this engine. `data` and `validation` may be functions."""
    model = replicas(network(), count)
    of_model = optimizer(model.parameters())
    schedule = None if scheduler is None else scheduler(of_model)
    given = data() if callable(data) else data
    if callable(arguments.get("validation")):
        arguments["validation"] = arguments["validation"]()
    default: dict[str, Any] = {"epochs": EPOCHS, "progress": False}
    if not isinstance(given, lamp.DataLoader):
        default |= {"batch_size": BATCH, "seed": 1}
    history = lamp.fit(
        model,
        criterion(),
        of_model,
        given,
        engine=engine,
        scheduler=schedule,
        callbacks=callbacks(),
        **default | arguments,
    )
    assert history.engine == engine
    return Left(model, of_model, history)


def both(*job: Any, tolerance: float | None = None, **arguments: Any) -> tuple[Left, Left]:
    """Train with both engines, check that the results are equal, and return both."""
    eager, compiled = (trained(engine, *job, **arguments) for engine in ("eager", "compiled"))
    same(eager, compiled, tolerance)
    return eager, compiled


def same(eager: Left, compiled: Left, tolerance: float | None = None) -> None:
    """Check that weights, buffers, optimizer state, history and the reasons for ending are the same."""
    dtype = next(iter(eager.model.parameters())).dtype
    tolerance = tolerance or TOLERANCE[dtype]
    assert (compiled.history.endings.keys(), compiled.history.failed) == (
        eager.history.endings.keys(),
        eager.history.failed,
    )
    for (name, own), other in zip(eager.model.named_parameters(), compiled.model.parameters(), strict=True):
        close(other.data, own.data, tolerance, name)
    for own, other in zip(state_buffers(eager.model), state_buffers(compiled.model), strict=True):
        close(other.data, own.data, tolerance, "a buffer")
    same_state(eager.optimizer.state_dict(), compiled.optimizer.state_dict(), tolerance)
    assert list(compiled.history) == list(eager.history)
    for name in eager.history:
        close(compiled.history[name], eager.history[name], tolerance, name)


def same_state(expected: Any, found: Any, tolerance: float) -> None:
    """Check that two state dicts of optimizers are equal."""
    assert found["state"].keys() == expected["state"].keys()
    for number, state in expected["state"].items():
        assert found["state"][number].keys() == state.keys()
        for name, tensor in state.items():
            close(found["state"][number][name], tensor, tolerance, f"{name} of parameter {number}")
    for own, other in zip(expected["param_groups"], found["param_groups"], strict=True):
        assert own.keys() == other.keys()
        for name, value in own.items():
            if isinstance(value, Tensor):
                close(other[name], value, tolerance, name)
            else:
                assert str(other[name]) == str(value), f"{name}: {other[name]} instead of {value}"


def close(found: Tensor, expected: Tensor, tolerance: float, what: str = "") -> None:
    """Check equality, with a tolerance relative to the largest expected number. NaN must be where NaN is expected."""
    assert found.shape == expected.shape, f"{what}: {tuple(found.shape)} instead of {tuple(expected.shape)}"
    assert found.dtype == expected.dtype
    assert torch.equal(found.isnan(), expected.isnan()), f"{what}: NaN elsewhere"
    wanted = expected.nan_to_num(nan=0.0)
    largest = float(wanted.abs().max()) if wanted.numel() else 0.0
    difference = float((found.nan_to_num(nan=0.0) - wanted).abs().max()) if wanted.numel() else 0.0
    told = f"{what}: off by {difference:.1e}, the largest is {largest:.1e}"
    assert difference <= tolerance * max(largest, 1e-3), told
