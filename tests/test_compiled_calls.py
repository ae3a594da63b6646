"""Calls of a compiled function: what is between them, what may be given, and copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import ArgumentError, LampError
from tests.cases.compiled import close
from tests.test_compiled_changes import CHANGES, OfTwo, weighted
from tests.test_compiled_overrides import Job, X, Y

OF_FIT = {"batch_size", "shuffle", "drop_last", "seed", "clip_norm", "clip_value where none was", "epochs"}


def eager_epoch(job, order=None):
    """What a call does, by the modules themselves."""
    places = torch.arange(len(job.x)) if order is None else order
    losses = []
    for rows in places.split(7):
        output = job.model(job.x[rows])
        losses.append(job.loss(output, job.y[rows]))
        job.optimizer.zero_grad()
        job.model.backward_parameters(job.loss.backward())
        job.optimizer.step()
    return torch.stack(losses)


def once(job):
    return lamp.compile(job.model, job.loss, job.optimizer, 7)(job.x, job.y)


def seeded(job):
    """The job, its Dropout drawing what others' does."""
    for module in job.network:
        if isinstance(module, lamp.Dropout):
            module.seed = 5 if job.model.replicas is None else tuple(range(job.model.replicas))
    return job


def same(one, other):
    for own, twin in zip(one.model.parameters(), other.model.parameters(), strict=True):
        close(twin.data, own.data, 1e-4)


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in OF_FIT])
def test_what_changes_between_calls_holds(name, count):
    make, change = CHANGES[name]
    OfTwo.elsewhere[:] = [1.0]
    eager, job = seeded(Job(count, **make())), seeded(Job(count, **make()))
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    for _ in range(2):
        close(compiled(job.x, job.y), eager_epoch(eager), 1e-4)
    for each in (eager, job):
        OfTwo.elsewhere[:] = [1.0]
        change(each, type("Training", (), {"model": each.model, "criterion": each.loss}))
    seeded(eager), seeded(job)
    if name in ("a module that is not compiled", "a forward on a module"):
        with pytest.raises(ArgumentError, match="cannot be compiled"):
            compiled(job.x, job.y)
        return
    for _ in range(2):
        close(compiled(job.x, job.y), eager_epoch(eager), 1e-4)
    same(eager, job)


def test_the_model_is_in_training_mode_for_the_call():
    job, other = (seeded(Job(between=[lamp.Tanh(), lamp.Dropout(0.5)])) for _ in range(2))
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    job.model.eval()
    close(compiled(job.x, job.y), eager_epoch(other), 1e-4)
    assert not job.model.training
    job.model.train()
    job.model[2].eval()
    with pytest.raises(LampError, match="eval mode"):
        compiled(job.x, job.y)


def test_arrays_and_lists_are_taken():
    job, other = Job(), Job()
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    order = torch.arange(59, -1, -1)
    found = compiled(job.x.double().numpy(), job.y.numpy().astype(np.int32), order.numpy())
    close(found, eager_epoch(other, order), 1e-4)
    close(compiled(job.x.tolist(), job.y.tolist(), order.tolist()), eager_epoch(other, order), 1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_used_function_can_be_copied(copied):
    job, other = Job(), Job()
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    compiled(job.x, job.y)
    twin = copied(compiled)
    expected = compiled(job.x, job.y)
    close(twin(job.x, job.y), expected, 1e-6)
    eager_epoch(other), eager_epoch(other)
    same(other, job)
    for own, of_twin in zip(job.model.parameters(), twin.model.parameters(), strict=True):
        assert own is not of_twin
        close(of_twin.data, own.data, 1e-6)


@pytest.mark.parametrize("given", [lambda mask: mask, lambda mask: mask.numpy(), lambda mask: mask.tolist()])
def test_a_mask_is_no_order(given):
    job = Job()
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    with pytest.raises(ArgumentError, match="nonzero"):
        compiled(job.x, job.y, given(Y == 1))


BAD = {
    "class weights of another length": lambda job: setattr(job.loss.weight, "data", torch.ones(4)),
    "one class weight for all": lambda job: setattr(job.loss.weight, "data", torch.ones(1)),
    "class weights of another dtype": lambda job: setattr(job.loss.weight, "data", torch.ones(3).double()),
    "a label beyond the classes": lambda job: job.y.fill_(7),
    "labels in rows": lambda job: setattr(job, "y", job.y.unsqueeze(1)),
    "labels as floats": lambda job: setattr(job, "y", job.y.float()),
    "features too few": lambda job: setattr(job, "x", job.x[:, :2]),
    "float64": lambda job: setattr(job, "x", job.x.double()),
    "label_smoothing for others": lambda job: setattr(job.loss, "label_smoothing", torch.ones(5) / 9),
}


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", BAD)
def test_both_engines_refuse_with_the_same_error(name, count, monkeypatch):
    monkeypatch.setattr("lamp.training.engines.COMPILING", 0.0)
    told = {}
    for engine in ("eager", "compiled", "auto", "lamp.compile"):
        job = Job(count, loss=weighted())
        BAD[name](job)
        job.loader = lamp.DataLoader((job.x, job.y), 7)
        with pytest.raises(LampError) as error:
            once(job) if engine == "lamp.compile" else job.run(engine)
        told[engine] = type(error.value), error.value.what
    assert len(set(told.values())) == 1, told


@pytest.mark.parametrize("limit", [{"clip_norm": torch.ones(5)}, {"clip_value": torch.ones(5)}])
@pytest.mark.parametrize("count", [None, 3])
def test_limits_for_others_are_the_same_error(limit, count):
    told = []
    for engine in ("eager", "compiled"):
        job = Job(count, **limit)
        with pytest.raises(LampError) as error:
            job.run(engine)
        told.append((type(error.value), error.value.what))
    assert told[0] == told[1]


def test_data_of_another_length_and_a_population_of_its_own_data():
    job = Job(3)
    compiled = lamp.compile(job.model, job.loss, job.optimizer, 7)
    own = torch.stack([X] * 3), torch.stack([Y] * 3)
    shared = compiled(X, Y)
    other = Job(3)
    close(lamp.compile(other.model, other.loss, other.optimizer, 7)(*own, own_data=True), shared, 1e-6)
    with pytest.raises(lamp.ShapeError, match="differ in length"):
        compiled(X, Y[:-1])
