"""Once a replica has ended, everything that a callback changes holds for the others, as if none had ended."""

from __future__ import annotations

import pytest
import torch

import lamp
from tests.cases.compiled import close
from tests.test_compiled_changes import (
    CHANGES,
    STRUCTURE,
    At,
    Blind,
    OfTwo,
    a_number_elsewhere,
    layers,
    setitem,
    setting,
)
from tests.test_compiled_overrides import KernelSpec, every_job_is_worth_compiling, same

__all__ = ["a_number_elsewhere", "every_job_is_worth_compiling"]

EPOCHS, CHANGED = 7, 3
STAYING = [0, 2]


class Ends(lamp.Callback):
    """Ends replica 1 after the second epoch."""

    changes_model = False

    def on_epoch(self, training):
        if training.epoch == 1:
            training.stop("enough", [1])


class BlindlyEnds(Ends):
    needs_model = False


class Leaving(At):
    """Says that it reads the weights, and changes other things."""

    changes_model = False


class OnBatch(At):
    """Changes something in the middle of an epoch, after every step from then on if `epoch` is negative."""

    def on_start(self, training):
        pass

    def on_epoch(self, training):
        pass

    def on_batch(self, training, loss):
        if training.step == 9 * CHANGED + 4:
            self.change(self.spec, training)


def with_momentum(spec):
    spec.optimizer = lamp.SGD(spec.model.parameters(), lr=0.05, momentum=0.5)


def job(make, change, kind=At, optimizer=None, ends=Ends, epoch=CHANGED, count=3):
    OfTwo.elsewhere[:] = [1.0]
    torch.manual_seed(5)
    spec = KernelSpec(count, **make())
    if optimizer is not None:
        optimizer(spec)
    spec.callbacks = [*([ends()] if ends else []), kind(spec, change, epoch)]
    return spec


def check(engine, make, change, kind=At, optimizer=None, ends=Ends, epochs=EPOCHS, epoch=CHANGED, prepare=None):
    """Train with and without a replica that ends: the others must agree."""
    ended, whole = (job(make, change, kind, optimizer, each, epoch) for each in (ends, None))
    for spec in (ended, whole) if prepare is not None else ():
        prepare(spec)
    for spec in (whole, ended):
        OfTwo.elsewhere[:] = [1.0]
        torch.manual_seed(6)
        spec.run(engine, epochs)
    assert ended.history.endings == {1: "enough"}
    agree(ended, whole)
    return ended, whole


def agree(ended, whole):
    for own, twin in zip(ended.model.parameters(), whole.model.parameters(), strict=True):
        close(own.data[STAYING], twin.data[STAYING], 1e-4)
    for own, twin in zip(ended.model.named_buffers(), whole.model.named_buffers(), strict=True):
        close(own[1].data[STAYING], twin[1].data[STAYING], 1e-4)
    assert list(ended.history) == list(whole.history)
    assert len(ended.history["loss"]) == len(whole.history["loss"])
    for name in ended.history:
        close(ended.history[name][:, STAYING], whole.history[name][:, STAYING], 1e-4, name)
    states = [spec.optimizer.state_dict()["state"] for spec in (ended, whole)]
    assert states[0].keys() == states[1].keys()
    for number, own in states[0].items():
        for name, tensor in own.items():
            twin = states[1][number][name]
            rows = STAYING if tensor.dim() else ...
            close(tensor[rows], twin[rows], 1e-4)


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_changes_holds_after_replicas_ended(name, engine):
    make, change = CHANGES[name]
    ended, whole = check(engine, make, change)
    assert ended.history.engine == whole.history.engine
    assert ended.history.why == whole.history.why


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize("kind", [Blind, Leaving])
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in STRUCTURE])
def test_a_callback_that_leaves_the_weights_alone_may_change_the_rest(name, kind, engine):
    make, change = CHANGES[name]
    ends = BlindlyEnds if kind is Blind else Ends
    epochs, epoch = (EPOCHS, CHANGED) if engine == "eager" else (30, 20)  # the compiled engine trains many ahead
    check(engine, make, change, kind, with_momentum, ends, epochs=epochs, epoch=epoch)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_the_middle_of_an_epoch_holds(name):
    make, change = CHANGES[name]
    if name in ("batch_size", "drop_last", "shuffle", "seed", "reduction"):
        pytest.skip("they hold from the next epoch on")
    check("eager", make, change, OnBatch)


# ---- further changes -------------------------------------------------------------------------------------------------
def first(spec):
    return spec.model.parameters()[0].data


def new_layer(spec, training):
    """Add a layer in the middle, which the optimizer learns of."""
    layer = lamp.population(lamp.Sequential(lamp.Linear(8, 8)), range(7, 7 + len(spec.model))).network[0]
    spec.network.insert(2, layer)
    spec.optimizer.add_param_group({"params": layer.parameters(), "lr": 0.03})


def other_layer(spec, training):
    """Replace a layer by another one, whose parameters the optimizer does not have."""
    spec.network[0] = lamp.population(lamp.Sequential(lamp.Linear(3, 8)), range(7, 7 + len(spec.model))).network[0]


def turned_state(spec, training):
    """Load another state of the optimizer."""
    state = spec.optimizer.state_dict()
    for each in state["state"].values():
        for name, tensor in each.items():
            each[name] = -2.0 * tensor if name == "momentum_buffer" else tensor
    spec.optimizer.load_state_dict(state)


def halved_state(spec, training):
    """Write to the optimizer's state, which a state dict shows as it is."""
    for each in spec.optimizer.state_dict()["state"].values():
        each["momentum_buffer"].mul_(-0.5)


def reseed(spec, training):
    dropout = spec.network[2]
    dropout.seed, dropout.step = tuple(range(9, 9 + len(spec.model))), 1000


def masked():
    return layers(lamp.Tanh(), lamp.Dropout(0.3))


def normed():
    return layers(lamp.BatchNorm1d(8), lamp.Tanh())


def statistics(spec, training):
    spec.network[1].running_mean.data.fill_(3.0)


def other_statistics(spec, training):
    spec.network[1].running_var = lamp.Buffer(torch.full((len(spec.model), 8), 5.0))


MORE = {
    "a layer more": (lambda: layers(lamp.Tanh()), new_layer),
    "another layer": (lambda: layers(lamp.Tanh()), other_layer),
    "a layer less": (
        lambda: layers(lamp.Linear(8, 8), lamp.Tanh()),
        lambda spec, training: spec.network.__delitem__(1),
    ),
    "load_state_dict": (
        lambda: {},
        lambda spec, training: spec.model.load_state_dict({k: -v for k, v in spec.model.state_dict().items()}),
    ),
    "the optimizer's state": (lambda: {}, turned_state),
    "the optimizer's state in place": (lambda: {}, halved_state),
    "the optimizer's count of steps": (lambda: {}, lambda spec, training: setattr(spec.optimizer, "step_count", [99])),
    "an lr per replica": (lambda: {}, lambda spec, training: setitem(
        spec.optimizer.param_groups[0], "lr", torch.linspace(0.01, 0.2, len(spec.model)))),
    "p of Dropout per replica": (masked, setting("network.2.p", 0.6)),
    "the seed of a Dropout": (masked, reseed),
    "the loader's epoch": (lambda: {}, setting("loader.epoch", 77)),
    "running statistics": (normed, statistics),
    "other running statistics": (normed, other_statistics),
    "the order, from now on": (lambda: {}, lambda spec, training: again(spec)),
}  # fmt: skip


def again(spec):
    spec.loader.load_state_dict({"seed": 1, "epoch": 0})


def named(*names):
    """These names as parameters. Of a layer that the optimizer does not have, the training tells."""
    told = pytest.mark.filterwarnings("ignore:the optimizer does not have")
    return pytest.mark.parametrize("name", [pytest.param(n, marks=told if n == "another layer" else ()) for n in names])


@pytest.mark.parametrize("engine", ["eager", "auto"])
@named(*MORE)
def test_a_change_of_state_or_layers_holds(name, engine):
    make, change = MORE[name]
    ended, whole = check(engine, make, change, optimizer=with_momentum)
    assert ended.history.engine == whole.history.engine


@named(*MORE)
def test_a_change_of_state_or_layers_in_the_middle_of_an_epoch_holds(name):
    make, change = MORE[name]
    check("eager", make, change, OnBatch, with_momentum)


def data_per_replica(spec):
    spec.x, spec.y = spec.x.expand(3, 60, 3).clone(), spec.y.expand(3, 60).clone()
    spec.loader = lamp.DataLoader((spec.x, spec.y), 7, True, seed=[3, 4, 5], replicas=3)


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize(
    "change",
    [
        lambda spec, training: spec.x.mul_(-2.0),
        lambda spec, training: setitem(spec.y.numpy(), (slice(None), slice(30)), 0),
        lambda spec, training: spec.loader.load_state_dict({"seed": [7, 8, 9], "epoch": 5}),
        lambda spec, training: setattr(spec.loader, "batch_size", 20),
    ],
)
def test_a_change_of_data_per_replica_holds(change, engine):
    check(engine, lambda: {}, change, prepare=data_per_replica)


def test_targets_per_replica_from_a_list_of_batches():
    """The list goes on to yield batches for all replicas; a target needs no mark, its shape says whose it is."""
    x, y = torch.randn(3, 5, 3), torch.arange(15).view(3, 5) % 3

    def batches(spec):
        spec.loader = [(lamp.per_replica(x), y), (lamp.per_replica(x * 2.0), y.flip(1))]

    check("eager", lambda: {}, lambda spec, training: None, prepare=batches)


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize("kind", [At, OnBatch])
def test_callbacks_see_what_the_others_have_become(kind, engine):
    """Weights and the optimizer's state, after each epoch or batch."""
    seen = []

    def look(spec, training):
        states = [each["momentum_buffer"][STAYING] for each in spec.optimizer.state_dict()["state"].values()]
        seen.append([first(spec)[STAYING].clone(), *states])

    check(engine, lambda: {}, look, kind, with_momentum)
    for own, twin in zip(*seen, strict=True):
        close(own, twin, 1e-5)


class InTheSameEpoch(Ends):
    """Ends replica 1 in the epoch of the change."""

    def on_epoch(self, training):
        if training.epoch == CHANGED:
            training.stop("enough", [1])


class Later(Ends):
    """Ends replica 1 after the change."""

    def on_epoch(self, training):
        if training.epoch == CHANGED + 2:
            training.stop("enough", [1])


@pytest.mark.parametrize("ends", [InTheSameEpoch, Later])
@named(*CHANGES, *MORE)
def test_a_replica_may_end_after_a_change(name, ends):
    if name == "epochs" and ends is Later:
        pytest.skip("the training ends before the replica would")
    make, change = (CHANGES | MORE)[name]
    check("auto", make, change, At, with_momentum, ends)


class Warming(lamp.Activation):
    """An activation whose factor grows with each forward."""

    remembers = "x"
    takes_replicas = True

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x)

    def sigma(self, x):
        return x * (0.02 * self.calls)

    def dsigma(self, x, y):
        return x * 0.0 + 0.02 * self.calls


def test_what_a_module_counts_goes_on():
    """Its forwards are those of the active replicas' copy. They count where another replica ends, or modules change."""
    make, change = (lambda: layers(Warming(), lamp.Tanh())), CHANGES["a module at the end"][1]
    ended, whole = check("eager", make, change)
    assert ended.network[1].calls == whole.network[1].calls == 9 * EPOCHS


def test_a_change_before_the_first_epoch_of_a_resumed_training_holds(tmp_path):
    for engine in ("eager", "compiled"):
        jobs = []
        for name, ends in (("ended", Ends), ("whole", None)):
            for epochs in (4, EPOCHS):
                spec = job(lambda: {}, lambda spec, training: first(spec).mul_(0.5), At, with_momentum, ends, None)
                if epochs == 4:
                    spec.callbacks = [] if ends is None else [ends()]
                spec.arguments = {"checkpoint": tmp_path / engine / name, "resume": epochs > 4}
                spec.run(engine, epochs)
            jobs.append(spec)
        agree(*jobs)


# ---- what cannot be meant --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ends", [Ends, None])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("module", [lamp.Linear(3, 3), lamp.Dropout(0.5), lamp.BatchNorm1d(3)])
def test_a_module_of_one_network_in_a_population(module, engine, ends):
    spec = job(lambda: {}, lambda spec, training: spec.network.append(module), ends=ends)
    with pytest.raises(lamp.ArgumentError, match="a module of a single network was put into a population") as caught:
        spec.run(engine, EPOCHS)
    assert str(caught.value).startswith("Population.network.3: ")
    spec = job(lambda: {}, lambda spec, training: None, ends=ends)
    spec.network.append(module)
    with_momentum(spec)
    with pytest.raises(lamp.ArgumentError, match="a module of a single network was put into a population"):
        spec.run(engine, EPOCHS)


# ---- what changes_model = False leaves to the engine -----------------------------------------------------------------
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in STRUCTURE])
def test_the_optimizers_state_is_kept_where_a_callback_changes_something_else(name, count):
    """Epochs are trained ahead, and the optimizer's state with them."""
    make, change = CHANGES[name]
    jobs = {}
    for engine in ("eager", "compiled"):
        spec = jobs[engine] = job(make, change, Leaving, with_momentum, None, 20, count)
        torch.manual_seed(6)
        spec.run(engine, 30)
    same(jobs["eager"], jobs["compiled"], 1e-4)


# ---- the last good state and modules that come and go ----------------------------------------------------------------
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("kind", [At, OnBatch])
@named("a layer more", "another layer", "a layer less", "running statistics")
def test_many_steps_after_a_change_of_layers(name, kind, count):
    """Copies of the last good state are made every 64 steps."""
    make, change = MORE[name]
    if count is None:
        change = {"a layer more": alone_more, "another layer": alone_other}.get(name, change)
    spec = job(make, change, kind, with_momentum, None, CHANGED, count)
    spec.run("eager", 15)
    assert spec.history.epochs == 15


def alone_more(spec, training):
    spec.network.insert(2, lamp.Linear(8, 8))
    spec.optimizer.add_param_group({"params": spec.network[2].parameters()})


def alone_other(spec, training):
    spec.network[0] = lamp.Linear(3, 8)


def test_a_loss_that_is_not_finite_after_a_layer_was_added():
    """The weights that are put back are those after the change, not a mixture."""
    spec = job(lambda: layers(lamp.Tanh()), alone_more, At, with_momentum, None, 0, None)
    kept = {}

    class Breaks(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 1:
                kept.update({name: tensor.clone() for name, tensor in training.model.state_dict().items()})
                spec.x.fill_(float("nan"))

    spec.callbacks.append(Breaks())
    with pytest.raises(lamp.NonFiniteError):
        spec.run("eager", 5)
    assert kept.keys() == spec.model.state_dict().keys()
    assert all(tensor.isfinite().all() for tensor in spec.model.state_dict().values())
    assert len(spec.network) == 4


@pytest.mark.parametrize("count", [None, 3])
def test_early_stopping_says_that_its_best_weights_no_longer_fit(count):
    change = alone_more if count is None else new_layer
    spec = job(lambda: layers(lamp.Tanh()), change, At, with_momentum, None, CHANGED, count)
    spec.callbacks.append(lamp.EarlyStopping(patience=50, monitor="loss", min_delta=0.0 if count else 100.0))
    with pytest.raises(lamp.ArgumentError, match="does not fit the model, whose modules have changed"):
        spec.run("eager", 15)
