"""Changes by callbacks between epochs, and by users between compiled calls, take effect as in the eager engine."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch

import lamp
from lamp.errors import ArgumentError, DataError, LampError
from tests.test_compiled_overrides import KernelSpec, X, every_job_is_worth_compiling, same

__all__ = ["every_job_is_worth_compiling"]


class At(lamp.Callback):
    """A callback that makes a change after the second epoch, or before the first."""

    def __init__(self, spec, change, epoch=1):
        self.spec, self.change, self.epoch = spec, change, epoch

    def on_start(self, training):
        if self.epoch is None:
            self.change(self.spec, training)

    def on_epoch(self, training):
        if training.epoch == self.epoch:
            self.change(self.spec, training)


class Blind(At):
    needs_model = False


class OfTwo(lamp.Activation):
    """An activation of a user's own with a number in it, or in a list elsewhere."""

    remembers = "x"
    elsewhere: ClassVar[list[float]] = []

    def __init__(self, factor):
        self.factor = factor

    def sigma(self, x):
        return x.tanh() * (self.factor * self.elsewhere[0])

    def dsigma(self, x, y):
        return (1.0 - x.tanh().square()) * (self.factor * self.elsewhere[0])


def weighted():
    return lamp.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))


def layers(*between):
    return {"between": between}


def regression(loss):
    return {"loss": loss, "targets": torch.stack([X[:, 0], X[:, 1], X[:, 2]], 1).clone()}


def setting(path, value):
    """Set an attribute: of "network.1.p", the p of the module at 1."""

    def change(spec, training):
        *way, name = path.split(".")
        thing = spec
        for each in way:
            thing = thing[int(each)] if each.isdigit() else getattr(thing, each)
        setattr(thing, name, value)

    return change


# name: what the job is made with (a function), and what is changed
CHANGES = {
    "p of Dropout": (lambda: layers(lamp.Tanh(), lamp.Dropout(0.5)), setting("network.2.p", 0.0)),
    "p of Dropout, up": (lambda: layers(lamp.Dropout(0.0), lamp.Tanh()), setting("network.1.p", 0.7)),
    "negative_slope": (lambda: layers(lamp.LeakyReLU(0.1)), setting("network.1.negative_slope", 0.5)),
    "alpha": (lambda: layers(lamp.ELU(1.0)), setting("network.1.alpha", 3.0)),
    "a class constant": (lambda: layers(lamp.GELU("tanh")), setting("network.1.approximate", "none")),
    "a factor of a user's": (lambda: layers(OfTwo(1.0)), setting("network.1.factor", 0.3)),
    "a number elsewhere": (
        lambda: layers(OfTwo(1.0)),
        lambda spec, training: OfTwo.elsewhere.__setitem__(0, 0.3),
    ),
    "another module": (lambda: layers(lamp.Tanh()), lambda spec, training: setitem(spec.network, 1, lamp.ReLU())),
    "a module more": (lambda: layers(lamp.Tanh()), lambda spec, training: spec.network.insert(1, lamp.Tanh())),
    "a module at the end": (
        lambda: layers(lamp.Tanh()),
        lambda spec, training: spec.network.append(lamp.LeakyReLU(0.3)),
    ),
    "a module less": (
        lambda: layers(lamp.Tanh(), lamp.Tanh()),
        lambda spec, training: spec.network.__delitem__(1),
    ),
    "a module that is not compiled": (
        lambda: layers(lamp.Tanh()),
        lambda spec, training: setitem(spec.network, 1, NotCompiledAtAll()),
    ),
    "a forward on a module": (
        lambda: layers(lamp.Tanh()),
        lambda spec, training: setattr(spec.network[1], "forward", lamp.Tanh.forward.__get__(spec.network[1])),
    ),
    "weights": (lambda: {}, lambda spec, training: training.model.parameters()[0].data.mul_(0.5)),
    "label_smoothing": (lambda: {}, setting("loss.label_smoothing", 0.4)),
    "class weights in place": (lambda: {"loss": weighted()}, lambda spec, training: spec.loss.weight.data.mul_(0.1)),
    "one class weight": (lambda: {"loss": weighted()}, lambda spec, training: setitem(spec.loss.weight.data, 0, 9.0)),
    "class weights through numpy": (
        lambda: {"loss": weighted()},
        lambda spec, training: setitem(spec.loss.weight.data.numpy(), 1, 0.0),
    ),
    "other class weights": (
        lambda: {"loss": weighted()},
        lambda spec, training: setattr(spec.loss.weight, "data", torch.tensor([3.0, 1.0, 1.0])),
    ),
    "class weights where none were": (lambda: {}, setting("loss.weight", lamp.Buffer(torch.tensor([3.0, 1.0, 1.0])))),
    "ignore_index": (lambda: {}, setting("loss.ignore_index", 1)),
    "delta": (lambda: regression(lamp.HuberLoss(delta=1.0)), setting("loss.delta", 0.1)),
    "beta": (lambda: regression(lamp.SmoothL1Loss()), setting("loss.beta", 0.0)),
    "reduction": (lambda: regression(lamp.MSELoss()), lambda spec, training: summed(spec)),
    "labels in place": (lambda: {}, lambda spec, training: spec.y.copy_(2 - spec.y)),
    "labels through numpy": (lambda: {}, lambda spec, training: setitem(spec.y.numpy(), slice(30), 0)),
    "targets in place": (lambda: regression(lamp.MSELoss()), lambda spec, training: spec.loader.columns[1].mul_(-1.0)),
    "inputs in place": (lambda: {}, lambda spec, training: spec.x.mul_(-2.0)),
    "inputs through numpy": (lambda: {}, lambda spec, training: setitem(spec.x.numpy(), slice(30), 1.0)),
    "lr": (lambda: {}, lambda spec, training: setitem(spec.optimizer.param_groups[0], "lr", 0.01)),
    "momentum": (lambda: {}, lambda spec, training: setitem(spec.optimizer.param_groups[0], "momentum", 0.9)),
    "weight_decay": (lambda: {}, lambda spec, training: setitem(spec.optimizer.param_groups[0], "weight_decay", 0.1)),
    "maximize": (lambda: {}, lambda spec, training: setitem(spec.optimizer.param_groups[0], "maximize", True)),
    "a frozen layer": (lambda: {}, lambda spec, training: spec.network[0].requires_grad_(False)),
    "batch_size": (lambda: {}, setting("loader.batch_size", 11)),
    "shuffle": (lambda: {}, setting("loader.shuffle", False)),
    "drop_last": (lambda: {}, setting("loader.drop_last", True)),
    "seed": (lambda: {}, lambda spec, training: spec.loader.load_state_dict({"seed": 9, "epoch": spec.loader.epoch})),
    "clip_norm": (lambda: {"clip_norm": 10.0}, lambda spec, training: setattr(training, "clip_norm", 1e-3)),
    "clip_value where none was": (lambda: {}, lambda spec, training: setattr(training, "clip_value", 1e-3)),
    "epochs": (lambda: {}, lambda spec, training: setattr(training, "epochs", 4)),
}
# Changes that a callback may not make if it declares that it does not look at the model.
STRUCTURE = {
    "another module",
    "a module more",
    "a module at the end",
    "a module less",
    "weights",
    "a frozen layer",
}
STRUCTURE |= {"a module that is not compiled", "a forward on a module"}


def summed(spec):
    spec.loss.reduction = "sum"
    spec.optimizer.param_groups[0]["lr"] = 0.001


class NotCompiledAtAll(lamp.Module):
    def forward(self, x):
        self.remember(x)
        return x * 0.5

    def backward(self, dy):
        self.recall()
        return dy * 0.5


def setitem(thing, key, value):
    thing[key] = value


@pytest.fixture(autouse=True)
def a_number_elsewhere():
    OfTwo.elsewhere[:] = [1.0]


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("epoch", [None, 1])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_holds_as_in_the_eager_engine(name, epoch, count):
    make, change = CHANGES[name]
    jobs = {}
    for engine in ("eager", "auto"):
        OfTwo.elsewhere[:] = [1.0]
        spec = jobs[engine] = KernelSpec(count, **make())
        spec.callbacks.append(At(spec, change, epoch))
        spec.run(engine)
    same(jobs["eager"], jobs["auto"])
    if name in ("a module that is not compiled", "a forward on a module"):
        assert jobs["auto"].history.engine == "eager"
        assert f"since epoch {1 if epoch is None else 3}: " in jobs["auto"].history.why
        spec = KernelSpec(count, **make())
        spec.callbacks.append(At(spec, change, epoch))
        with pytest.raises(ArgumentError, match="compiled engine cannot run this"):
            spec.run("compiled")
    else:
        assert jobs["auto"].history.engine == "compiled"


@pytest.mark.parametrize("epochs", [6, 40])
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in STRUCTURE])
def test_a_callback_that_looks_at_no_model_may_change_the_rest(name, epochs):
    """Epochs were trained ahead of the change, and are undone."""
    make, change = CHANGES[name]
    jobs = {}
    for engine in ("eager", "compiled"):
        OfTwo.elsewhere[:] = [1.0]
        spec = jobs[engine] = KernelSpec(**make())
        spec.callbacks.append(Blind(spec, change, epochs // 2))
        spec.run(engine, epochs)
    same(jobs["eager"], jobs["compiled"], 1e-4)


@pytest.mark.parametrize("kind", [At, Blind])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec, training: spec.model[1].eval(), "eval mode"),
        (lambda spec, training: setattr(spec.model[1], "backward", spec.model[1].backward), "its own backward"),
    ],
)
def test_what_cannot_be_compiled_any_longer_goes_on_eagerly(change, said, kind):
    for engine in ("auto", "compiled"):
        spec = KernelSpec()
        spec.callbacks.append(kind(spec, change, 20))
        if engine == "compiled":
            with pytest.raises(ArgumentError, match="compiled engine cannot run this") as caught:
                spec.run(engine, 40)
            assert said in str(caught.value)
        else:
            spec.run(engine, 40)
            assert spec.history.engine == "eager"
            assert said in spec.history.why


def test_a_callback_that_looks_at_no_model_must_not_take_parameters_away():
    spec = KernelSpec()
    spec.callbacks.append(Blind(spec, lambda spec, training: spec.model.append(lamp.Linear(3, 3)), 20))
    with pytest.raises(ArgumentError, match="needs_model"):
        spec.run("compiled", 40)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda spec, training: spec.model.to(torch.float64), LampError),
        (lambda spec, training: spec.model.eval(), lamp.BackwardError),
        (lambda spec, training: spec.loss.eval(), lamp.BackwardError),
        (lambda spec, training: spec.y.fill_(5), lamp.LabelError),
        (lambda spec, training: spec.x.untyped_storage().resize_(0), DataError),
        (lambda spec, training: spec.y.untyped_storage().resize_(8), DataError),
        (lambda spec, training: setattr(spec.loss.weight, "data", torch.ones(4)), LampError),
        (lambda spec, training: setattr(spec.loss.weight, "data", torch.ones(3).double()), LampError),
        (lambda spec, training: setitem(spec.optimizer.param_groups[0], "lr", torch.ones(3)), LampError),
        (lambda spec, training: setattr(training, "clip_norm", torch.ones(3)), LampError),
        (lambda spec, training: setattr(training, "criterion", lamp.MSELoss()), ArgumentError),
    ],
)
@pytest.mark.parametrize("kind", [At, Blind])
def test_what_makes_the_training_impossible_is_the_same_error(change, error, kind):
    if kind is Blind and error is LampError and "float64" in change.__code__.co_names:
        pytest.skip("a callback that does not look at the model must not move it: see above")
    told = []
    for engine in ("eager", "compiled", "auto"):
        spec = KernelSpec(loss=weighted())
        spec.callbacks.append(kind(spec, change, 20))
        with pytest.raises(error) as raised:
            spec.run(engine, 40)
        told.append((type(raised.value), raised.value.what))
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
def test_tokens_that_the_table_lacks_are_the_same_error(engine):
    tokens, labels = torch.arange(40).reshape(10, 4) % 7, torch.arange(10) % 3
    model = lamp.Sequential(lamp.Embedding(7, 2), lamp.Flatten(), lamp.Linear(8, 3))
    spec = KernelSpec(loss=lamp.CrossEntropyLoss())
    callback, optimizer = At(spec, lambda spec, training: tokens.fill_(9), 20), lamp.SGD(model.parameters(), lr=0.1)
    with pytest.raises(lamp.MissingIndexError, match="9; "):
        lamp.fit(
            model, spec.loss, optimizer, (tokens, labels), epochs=40, callbacks=[callback], engine=engine,
            progress=False,
        )  # fmt: skip
