"""Calls of a compiled function: changes between calls, arguments, and copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import lamp
from lamp.compiler import threads
from lamp.compiler.kernel import forget
from lamp.errors import ArgumentError, LampError
from tests.cases.compiled import close, lanes, replicas
from tests.test_compiled_changes import CHANGES, OfTwo, weighted
from tests.test_compiled_overrides import KernelSpec, X, Y

OF_FIT = {"batch_size", "shuffle", "drop_last", "seed", "clip_norm", "clip_value where none was", "epochs"}


def eager_epoch(spec, order=None):
    """What a compiled call does, done by the modules."""
    places = torch.arange(len(spec.x)) if order is None else order
    losses = []
    for rows in places.split(7):
        output = spec.model(spec.x[rows])
        losses.append(spec.loss(output, spec.y[rows]))
        spec.optimizer.zero_grad()
        spec.model.backward_parameters(spec.loss.backward())
        spec.optimizer.step()
    return torch.stack(losses)


def once(spec):
    return lamp.compile(spec.model, spec.loss, spec.optimizer, 7)(spec.x, spec.y)


def seeded(spec):
    """The job with fixed seeds of Dropout, so that copies draw the same masks."""
    for module in spec.network:
        if isinstance(module, lamp.Dropout):
            module.seed = 5 if spec.model.replicas is None else tuple(range(spec.model.replicas))
    return spec


def same(one, other):
    for own, twin in zip(one.model.parameters(), other.model.parameters(), strict=True):
        close(twin.data, own.data, 1e-4)


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in OF_FIT])
def test_what_changes_between_calls_holds(name, count):
    make, change = CHANGES[name]
    OfTwo.elsewhere[:] = [1.0]
    eager, spec = seeded(KernelSpec(count, **make())), seeded(KernelSpec(count, **make()))
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    for _ in range(2):
        close(compiled(spec.x, spec.y), eager_epoch(eager), 1e-4)
    for each in (eager, spec):
        OfTwo.elsewhere[:] = [1.0]
        change(each, type("Training", (), {"model": each.model, "criterion": each.loss}))
    seeded(eager), seeded(spec)
    if name in ("a module that is not compiled", "a forward on a module"):
        with pytest.raises(ArgumentError, match="cannot be compiled"):
            compiled(spec.x, spec.y)
        return
    for _ in range(2):
        close(compiled(spec.x, spec.y), eager_epoch(eager), 1e-4)
    same(eager, spec)


def test_the_model_is_in_training_mode_for_the_call():
    spec, other = (seeded(KernelSpec(between=[lamp.Tanh(), lamp.Dropout(0.5)])) for _ in range(2))
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    spec.model.eval()
    close(compiled(spec.x, spec.y), eager_epoch(other), 1e-4)
    assert not spec.model.training
    spec.model.train()
    spec.model[2].eval()
    with pytest.raises(LampError, match="eval mode"):
        compiled(spec.x, spec.y)


def test_arrays_and_lists_are_taken():
    spec, other = KernelSpec(), KernelSpec()
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    order = torch.arange(59, -1, -1)
    found = compiled(spec.x.double().numpy(), spec.y.numpy().astype(np.int32), order.numpy())
    close(found, eager_epoch(other, order), 1e-4)
    close(compiled(spec.x.tolist(), spec.y.tolist(), order.tolist()), eager_epoch(other, order), 1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_used_function_can_be_copied(copied):
    spec, other = KernelSpec(), KernelSpec()
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    compiled(spec.x, spec.y)
    twin = copied(compiled)
    expected = compiled(spec.x, spec.y)
    close(twin(spec.x, spec.y), expected, 1e-6)
    eager_epoch(other), eager_epoch(other)
    same(other, spec)
    for own, of_twin in zip(spec.model.parameters(), twin.model.parameters(), strict=True):
        assert own is not of_twin
        close(of_twin.data, own.data, 1e-6)


@pytest.mark.parametrize("given", [lambda mask: mask, lambda mask: mask.numpy(), lambda mask: mask.tolist()])
def test_a_mask_is_no_order(given):
    spec = KernelSpec()
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    with pytest.raises(ArgumentError, match="nonzero"):
        compiled(spec.x, spec.y, given(Y == 1))


BAD = {
    "class weights of another length": lambda spec: setattr(spec.loss.weight, "data", torch.ones(4)),
    "one class weight for all": lambda spec: setattr(spec.loss.weight, "data", torch.ones(1)),
    "class weights of another dtype": lambda spec: setattr(spec.loss.weight, "data", torch.ones(3).double()),
    "a label beyond the classes": lambda spec: spec.y.fill_(7),
    "labels in rows": lambda spec: setattr(spec, "y", spec.y.unsqueeze(1)),
    "labels as floats": lambda spec: setattr(spec, "y", spec.y.float()),
    "features too few": lambda spec: setattr(spec, "x", spec.x[:, :2]),
    "float64": lambda spec: setattr(spec, "x", spec.x.double()),
    "label_smoothing for others": lambda spec: setattr(spec.loss, "label_smoothing", torch.ones(5) / 9),
}


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", BAD)
def test_both_engines_refuse_with_the_same_error(name, count, monkeypatch):
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    told = {}
    for engine in ("eager", "compiled", "auto", "lamp.compile"):
        spec = KernelSpec(count, loss=weighted())
        BAD[name](spec)
        spec.loader = lamp.DataLoader((spec.x, spec.y), 7)
        with pytest.raises(LampError) as error:
            once(spec) if engine == "lamp.compile" else spec.run(engine)
        told[engine] = type(error.value), error.value.what
    assert len(set(told.values())) == 1, told


@pytest.mark.parametrize("limit", [{"clip_norm": torch.ones(5)}, {"clip_value": torch.ones(5)}])
@pytest.mark.parametrize("count", [None, 3])
def test_limits_for_others_are_the_same_error(limit, count):
    told = []
    for engine in ("eager", "compiled"):
        spec = KernelSpec(count, **limit)
        with pytest.raises(LampError) as error:
            spec.run(engine)
        told.append((type(error.value), error.value.what))
    assert told[0] == told[1]


def test_data_of_another_length_and_a_population_of_its_own_data():
    spec = KernelSpec(3)
    compiled = lamp.compile(spec.model, spec.loss, spec.optimizer, 7)
    own = torch.stack([X] * 3), torch.stack([Y] * 3)
    shared = compiled(X, Y)
    other = KernelSpec(3)
    close(lamp.compile(other.model, other.loss, other.optimizer, 7)(*own, per_replica_data=True), shared, 1e-6)
    with pytest.raises(lamp.ShapeError, match="differ in length"):
        compiled(X, Y[:-1])


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 1, 4 * lanes(torch.float32)])
@pytest.mark.parametrize("by_fit", [False, True], ids=["lamp.compile", "lamp.fit"])
def test_denormal_numbers_count_as_0_in_every_thread(by_fit, count, monkeypatch):
    """A gradient of 2e-40 is 0, so that even a rate of 1e30 leaves the weight as it is."""
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush them")
    torch.set_flush_denormal(False)
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1)  # one network in parts, for several threads
    threads._pool.cache_clear()
    threads._pool(2)  # of threads that do not begin while they are flushed
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    forget()
    model = replicas(lamp.Sequential(lamp.Linear(1, 1, bias=False)), count)
    (weight,) = model.parameters()
    weight.data.fill_(1e-20)
    small = torch.full((16 * lanes(torch.float32), 1), 1e-20)
    assert float(small[0] * small[0]) > 0
    optimizer, criterion = lamp.SGD(model.parameters(), lr=1e30), lamp.MSELoss()
    if by_fit:
        lamp.fit(
            model,
            criterion,
            optimizer,
            (small, small),
            epochs=6,
            batch_size=len(small),
            engine="compiled",
            progress=False,
        )
    else:
        lamp.compile(model, criterion, optimizer, len(small))(small, small, torch.arange(len(small)).repeat(8))
    assert torch.equal(weight.data, torch.full_like(weight.data, 1e-20))
    forget()
