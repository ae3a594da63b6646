"""Callbacks that say they leave the model alone, metrics and schedules: what they change all the same is told."""

from __future__ import annotations

import pytest
import torch

import lamp
from lamp.errors import ArgumentError
from tests.cases.compiled import close
from tests.test_compiled_changes import At, Blind, layers, setitem
from tests.test_compiled_overrides import KernelSpec, every_job_is_worth_compiling, same

__all__ = ["every_job_is_worth_compiling"]


class Leaving(At):
    """Says that it looks at the weights and changes nothing."""

    changes_model = False


def first(spec):
    return spec.model.parameters()[0].data


def new_optimizer_state(spec):
    spec.optimizer.load_state_dict(lamp.Adam(spec.model.parameters(), lr=0.01).state_dict())


def reseed(spec):
    dropout = spec.network[1]
    dropout.seed = 9 if spec.model.replicas is None else tuple(range(9, 9 + spec.model.replicas))


WRITES = {
    "weights in place": lambda spec: first(spec).mul_(0.5),
    "one weight": lambda spec: setitem(first(spec), (..., 0, 1), 0.25),
    "a weight that is no number": lambda spec: setitem(first(spec).numpy(), (..., 2, 0), float("nan")),
    "the weights that it had": lambda spec: spec.model.load_state_dict(spec.model.state_dict()),
    "weights through numpy": lambda spec: setitem(first(spec).numpy(), ..., 0.0),
    "Parameter.data": lambda spec: setattr(spec.model.parameters()[2], "data", first(spec).mT * 3),
    "load_state_dict": lambda spec: spec.model.load_state_dict({k: -v for k, v in spec.model.state_dict().items()}),
    "the optimizer's state": new_optimizer_state,
    "the count of steps": lambda spec: setattr(spec.optimizer, "step_count", [7]),
    "the seed of a Dropout": reseed,
    "the step of a Dropout": lambda spec: setattr(spec.network[1], "step", 1000),
    "the loader's epoch": lambda spec: setattr(spec.loader, "epoch", 77),
}  # fmt: skip


def job(kind, name, epoch, count):
    torch.manual_seed(4)
    spec = KernelSpec(count, **layers(lamp.Dropout(0.2), lamp.Tanh()))
    spec.optimizer = lamp.Adam(spec.model.parameters(), lr=0.01)
    spec.callbacks = [kind(spec, lambda spec, training: WRITES[name](spec), epoch)]
    return spec


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("kind", [Blind, Leaving])
@pytest.mark.parametrize("name", WRITES)
def test_what_was_not_to_change(name, kind, count):
    """Before the first epoch it holds, as in the eager engine; later it is not known on which numbers it was made."""
    jobs = {}
    for engine in ("eager", "compiled"):
        spec = jobs[engine] = job(kind, name, None, count)
        if "no number" in name:
            with pytest.raises(lamp.NonFiniteError):
                spec.run(engine, 30)
        else:
            spec.run(engine, 30)
    if "no number" not in name:
        same(jobs["eager"], jobs["compiled"], 1e-4)
    for epoch in (0, 20):
        spec = job(kind, name, epoch, count)
        with pytest.raises(ArgumentError, match="needs_model and changes_model True") as caught:
            spec.run("compiled", 30)
        assert kind.__name__ in caught.value.got


@pytest.mark.parametrize("kind", [None, At, Blind, Leaving])
def test_a_metric_that_writes_to_the_weights(kind):
    spec = KernelSpec()

    def decayed(output, target):
        first(spec).mul_(0.99)
        return 0.0

    spec.metrics = [decayed]
    spec.callbacks = [] if kind is None else [kind(spec, lambda spec, training: None, 3)]
    with pytest.raises(ArgumentError, match="the weights changed") as caught:
        spec.run("compiled", 30)
    assert "a metric" in caught.value.got


def test_a_schedule_that_writes_to_the_weights():
    spec = KernelSpec()

    def decayed(epoch):
        if epoch == 3:
            first(spec).mul_(0.99)
        return 0.9**epoch

    spec.scheduler = lamp.LambdaLR(spec.optimizer, decayed)
    with pytest.raises(ArgumentError, match="the weights changed") as caught:
        spec.run("compiled", 30)
    assert "a schedule" in caught.value.got


MIDWAY = {  # what a function of every batch changes in the middle of an epoch
    "the loss": lambda spec: setattr(spec.loss, "label_smoothing", 0.3),
    "a module": lambda spec: spec.model.__setitem__(1, lamp.Sigmoid()),
    "a rate of dropout": lambda spec: setattr(spec.model[2], "p", 0.7),
    "the optimizer's terms": lambda spec: setattr(spec.optimizer, "momentum", 0.9),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", MIDWAY)
def test_a_schedule_of_every_batch_that_changes_more_than_numbers(name, nested):
    """The steps that remain of an epoch would not follow, so it is refused, in the first epoch or a later one."""
    for step in (2, 13):
        spec = KernelSpec(between=[lamp.Tanh(), lamp.Dropout(0.2)], schedule_per="batch")

        def changing(epoch, spec=spec, step=step):
            if epoch == step:
                MIDWAY[name](spec)
            return 1.0

        make = lamp.optim.MultiplicativeLR if nested else lamp.LambdaLR
        spec.scheduler = make(spec.optimizer, changing)
        if nested:
            spec.scheduler = lamp.optim.ChainedScheduler([spec.scheduler])
        with pytest.raises(ArgumentError, match="moves after every batch"):
            spec.run("compiled", 5)


class Ends(lamp.Callback):
    """Ends replica 1 after the first epoch."""

    needs_model = False

    def on_epoch(self, training):
        if training.epoch == 0:
            training.stop("enough", [1])


@pytest.mark.parametrize("kind", [Blind, Leaving])
@pytest.mark.parametrize("name", WRITES)
def test_what_was_not_to_change_once_a_replica_has_ended(name, kind):
    """The eager engine trains the model itself, so there it holds."""
    spec = job(kind, name, 20, 3)
    spec.callbacks.insert(0, Ends())
    with pytest.raises(ArgumentError, match="needs_model and changes_model True") as caught:
        spec.run("compiled", 30)
    assert kind.__name__ in caught.value.got
    if "no number" not in name:
        jobs = []
        for ends in ([Ends()], []):
            spec = job(kind, name, 20, 3)
            spec.callbacks = [*ends, *spec.callbacks]
            spec.run("eager", 30)
            jobs.append(spec)
        for own, twin in zip(*(spec.model.parameters() for spec in jobs), strict=True):
            close(own.data[[0, 2]], twin.data[[0, 2]], 1e-4)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_metric_that_writes_to_the_weights_once_a_replica_has_ended(engine):
    spec = KernelSpec(3)
    calls = []

    def decayed(output, target):
        calls.append(0)
        if len(calls) > 20:
            first(spec).mul_(0.99)
        return 0.0

    spec.metrics, spec.callbacks = [decayed], [Ends()]
    with pytest.raises(ArgumentError, match="the weights changed") as caught:
        spec.run(engine, 30)
    assert "a metric" in caught.value.got


@pytest.mark.parametrize("kind", [Blind, Leaving])
def test_whoever_keeps_the_promise_is_left_alone(kind, tmp_path):
    """Checkpoints, replicas that end and validation write to the model too, and are no user's."""
    jobs = {}
    for engine in ("eager", "compiled"):
        spec = jobs[engine] = KernelSpec(3, **layers(lamp.Dropout(0.2), lamp.Tanh()))
        spec.optimizer = lamp.Adam(spec.model.parameters(), lr=0.01)

        def read(spec, training):
            first(spec).clone()
            spec.optimizer.zero_grad()

        early = lamp.EarlyStopping(patience=3, monitor="validation_loss", restore_best=True)
        spec.callbacks = [kind(spec, read, 5), early]
        torch.manual_seed(4)
        spec.arguments = {"validation": (spec.x[:20], spec.y[:20]), "checkpoint": tmp_path / engine}
        spec.run(engine, 40)
    same(jobs["eager"], jobs["compiled"], 1e-4)
