"""Frozen parameters do not change with either engine, and the others train as in torch."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

import lamp
from tests.cases.optimizers import OPTIMIZERS as CASES
from tests.cases.optimizers import numbers_in_float64

KINDS = list(dict.fromkeys(case.kind for case in CASES))
OPTIMIZERS = [
    (partial(kind, **options), partial(twin, **options))
    for kind, twin, options in [
        (lamp.SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
        (lamp.AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    ]
]


def network():
    return lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Linear(5, 4), lamp.PReLU(4), lamp.Linear(4, 2)).double()


def data(n=40):
    x = torch.randn(n, 3, dtype=torch.float64)
    return x, (x.sum(1) > 0).long()


def train_torch(twin, make, x, y, epochs, clip=None):
    optimizer, loss = make(twin.parameters()), nn.CrossEntropyLoss()
    for _ in range(epochs):
        for k in range(0, len(x), 10):
            optimizer.zero_grad()
            loss(twin(x[k : k + 10]), y[k : k + 10]).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(twin.parameters(), clip)
            optimizer.step()


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("frozen", [["0"], ["2"], ["2.bias", "3"], ["4.weight"]], ids=str)
@pytest.mark.parametrize(("ours", "theirs"), OPTIMIZERS, ids=["SGD", "AdamW"])
def test_training_with_frozen_parameters_is_torchs(ours, theirs, frozen, clip, engine):
    model = network()
    twin = lamp.to_torch(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(tuple(frozen))
    for name, parameter in twin.named_parameters():
        parameter.requires_grad = not name.startswith(tuple(frozen))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, y = data()
    history = lamp.fit(
        model, lamp.CrossEntropyLoss(), ours(model.parameters()), lamp.DataLoader((x, y), 10), epochs=3,
        clip_norm=clip, engine=engine, progress=False,
    )  # fmt: skip
    assert history.engine == engine
    train_torch(twin, theirs, x, y, 3, clip)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name], rtol=1e-9, atol=1e-12)
        assert torch.equal(tensor, before[name]) == name.startswith(tuple(frozen)), name


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_population_trains_as_its_networks_do(engine):
    x, y = data()

    def trained(model):
        optimizer = lamp.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
        loader = lamp.DataLoader((x, y), 10)
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, loader, epochs=3, engine=engine, progress=False)
        return model

    model = network()
    model[0].requires_grad_(False)
    alone = [trained(each) for each in lamp.population(model, range(3))]
    together = trained(lamp.population(model, range(3)))
    for one, other in zip(alone, together, strict=True):
        assert [p.requires_grad for p in other.parameters()] == [False, False, True, True, True, True, True]
        for name, tensor in other.state_dict().items():
            torch.testing.assert_close(tensor, one.state_dict()[name], rtol=1e-9, atol=1e-12)


def test_a_selection_and_a_stack_keep_what_is_frozen():
    networks = lamp.population(network(), range(3))
    networks.network[2].requires_grad_(False)
    expected = [True, True, False, False, True, True, True]
    assert [p.requires_grad for p in networks.select([2, 0]).parameters()] == expected
    assert [p.requires_grad for p in networks[1].parameters()] == expected
    assert [p.requires_grad for p in lamp.stack(list(networks)).parameters()] == expected
    with pytest.raises(lamp.ArgumentError):
        lamp.stack([networks[0], network()])


def test_gradients_of_frozen_parameters_stay_zero():
    model = network()
    model[2].requires_grad_(False)
    x, y = data()
    loss = lamp.CrossEntropyLoss()
    loss(model(x), y)
    model.backward(loss.backward())
    twin = lamp.to_torch(model)
    nn.CrossEntropyLoss()(twin(x), y).backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        if theirs.grad is None:
            assert not ours.grad.any()
        else:
            torch.testing.assert_close(ours.grad, theirs.grad)
    norm = lamp.clip_grad_norm_(model.parameters(), 0.1)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.1))


def test_freezing_takes_effect_at_once_and_keeps_the_optimizers_state():
    model, x_y = network(), data()
    twin = lamp.to_torch(model)
    optimizer, theirs = (
        lamp.SGD(model.parameters(), 0.1, momentum=0.9),
        torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9),
    )

    def step():
        loss = lamp.CrossEntropyLoss()
        optimizer.zero_grad()
        loss(model(x_y[0]), x_y[1])
        model.backward(loss.backward())
        optimizer.step()
        theirs.zero_grad()
        nn.CrossEntropyLoss()(twin(x_y[0]), x_y[1]).backward()
        theirs.step()
        for ours, others in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours.data, others.detach())

    for k, wanted in enumerate([True, False, False, True, True]):
        model[0].requires_grad_(wanted)
        twin[0].requires_grad_(wanted)
        if k == 2:
            again = lamp.SGD(model.parameters(), 0.1, momentum=0.9)
            again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer = again
        step()


def test_everything_frozen_moves_nothing():
    model = network().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer = lamp.SGD(model.parameters(), 0.1)
    optimizer.zero_grad()
    optimizer.step()
    assert lamp.clip_grad_norm_(optimizer, 1.0) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:all parameters:lamp.TrainingWarning")
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("kind", [*KINDS, "Lion", "Muon", "SparseAdam", "LBFGS"])
def test_a_training_with_everything_frozen(kind, engine):
    x, y = data()
    model = network().requires_grad_(False)
    if kind == "Muon":  # for matrices alone
        model = lamp.Sequential(lamp.Linear(3, 2, bias=False)).double().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    optimizer = getattr(lamp, kind)(model.parameters())
    engine = engine if optimizer.elementwise else "eager"
    for clip in (None, 1.0):
        history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, lamp.DataLoader((x, y), 10), epochs=2,
                           clip_norm=clip, engine=engine, progress=False)  # fmt: skip
        assert history["loss"][0] == history["loss"][1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    loss = lamp.CrossEntropyLoss()(model(x), y)
    if engine == "compiled":
        losses = lamp.compile(model, lamp.CrossEntropyLoss(), optimizer, batch_size=40)(x, y)
        torch.testing.assert_close(losses[0], loss)


@pytest.mark.parametrize("part", [4, slice(0, None)])
def test_a_callback_may_freeze_and_unfreeze(part):
    class Freeze(lamp.Callback):
        def on_epoch(self, training):
            training.model[part].requires_grad_(training.epoch == 3)

    x, y = data()
    models = {}
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        model = models[engine] = network()
        optimizer = lamp.SGD(model.parameters(), 0.1, momentum=0.9)
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, lamp.DataLoader((x, y), 10), epochs=6, callbacks=[Freeze()],
                 engine=engine, progress=False)  # fmt: skip
    for name, tensor in models["eager"].state_dict().items():
        torch.testing.assert_close(tensor, models["compiled"].state_dict()[name], rtol=1e-9, atol=1e-12)


def test_copies_and_torch_keep_what_is_frozen():
    model = network()
    model[0].weight.requires_grad = False
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), lamp.from_torch(lamp.to_torch(model))):
        assert [p.requires_grad for p in copied.parameters()] == [False, True, True, True, True, True, True]
        assert "requires_grad=False" in repr(copied[0].weight)
    model.to(torch.float32)
    assert not model[0].weight.requires_grad
    assert lamp.check_gradients(network().requires_grad_(False), torch.randn(4, 3)).ok


@pytest.mark.parametrize("case", CASES, ids=str)
def test_parameters_that_are_free_later_count_their_own_steps_as_in_torch(case):
    pair = case.pair()
    for step in range(1, 15):
        for k in (0, 3):
            pair.params[k].requires_grad = step > 4 and step not in (8, 9, 10)
        for param, other in zip(pair.params, pair.twins, strict=True):
            other.grad = None if param.frozen else torch.randn_like(other)
            param.grad.zero_()
            if not param.frozen:
                param.grad = other.grad.clone()
        pair.optimizer.step()
        with numbers_in_float64():
            pair.twin.step()
        if step == 6:
            pair.optimizer.load_state_dict(copy.deepcopy(pair.optimizer.state_dict()))
        if step == 12:
            pair.optimizer.load_state_dict(copy.deepcopy(pair.twin.state_dict()))
        if step == 13:
            pair.params, pair.optimizer = pickle.loads(pickle.dumps((pair.params, pair.optimizer)))
        pair.check()


def unfreezing(options, replicas=None, engine="auto", epochs=6, folder=None, resume=False):
    """Train with a first layer that is free from epoch 3 on. Returns the network, or the population's first."""

    class Frees(lamp.Callback):
        def on_epoch(self, training):
            model = training.model.network if replicas else training.model
            model[0].requires_grad_(training.epoch >= 3)

    torch.manual_seed(0)
    x, y = data()
    model = network()
    if replicas:
        model = lamp.stack([model, *(network() for _ in range(replicas - 1))])
    (model.network if replicas else model)[0].requires_grad_(False)
    optimizer = lamp.Adam(model.parameters(), **options)
    history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (x, y), batch_size=10, epochs=epochs, seed=0,
                       callbacks=[Frees()], engine=engine, progress=False, checkpoint=folder,
                       resume=resume)  # fmt: skip
    return (model[0] if replicas else model), history


def test_engines_populations_and_checkpoints_count_the_steps_of_free_parameters(tmp_path):
    """The first step of a layer that is free again is one of Adam's first, which divides by small numbers."""
    alone, _ = unfreezing({"lr": 0.1})
    shared, _ = unfreezing({"lr": 0.1}, replicas=3)
    unfreezing({"lr": 0.1}, epochs=4, folder=tmp_path / "kept")
    resumed, _ = unfreezing({"lr": 0.1}, folder=tmp_path / "kept", resume=True)
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(tensor, shared.state_dict()[name], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(tensor, resumed.state_dict()[name], rtol=0, atol=0)
    with pytest.raises(lamp.ArgumentError, match="frozen in earlier steps count steps of their own"):
        unfreezing({"lr": 0.1}, engine="compiled")
    _, history = unfreezing({"lr": 0.1}, epochs=3000)
    assert history.engine == "eager"
    assert "since epoch 5: parameters that were frozen in earlier steps" in history.why
