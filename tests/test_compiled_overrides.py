"""A user's overrides and changes take effect in compiled trainings, or the eager engine trains."""

from __future__ import annotations

import functools

import pytest
import torch

import lamp
from lamp.errors import ArgumentError
from tests.cases.compiled import close

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
Y = (X.sum(1) > 0).long() + (X[:, 0] > 1).long()


class KernelSpec:
    """The parts of a training, for tests to change."""

    def __init__(self, count=None, loss=None, between=None, targets=None, **arguments):
        torch.manual_seed(0)
        between = between or [lamp.SELU()]
        single = lamp.Sequential(lamp.Linear(3, 8), *between, lamp.Linear(8, 3))
        self.model = single if count is None else lamp.population(single, range(count))
        self.network = single if count is None else self.model.network
        self.loss = loss or lamp.CrossEntropyLoss()
        self.optimizer = lamp.SGD(self.model.parameters(), lr=0.1)
        self.x, self.y = X.clone(), (Y if targets is None else targets).clone()
        self.loader = lamp.DataLoader((self.x, self.y), 7, True, seed=3)
        self.callbacks: list[lamp.Callback] = []
        self.scheduler = None
        self.metrics: list = []
        self.arguments = arguments

    def run(self, engine, epochs=6):
        self.history = lamp.fit(
            self.model,
            self.loss,
            self.optimizer,
            self.loader,
            epochs=epochs,
            engine=engine,
            callbacks=self.callbacks,
            scheduler=self.scheduler,
            metrics=self.metrics,
            progress=False,
            **self.arguments,
        )
        return self.history


def same(one: KernelSpec, other: KernelSpec, tolerance=1e-5):
    for own, twin in zip(one.model.parameters(), other.model.parameters(), strict=True):
        close(twin.data, own.data, tolerance)
    assert list(one.history) == list(other.history)
    for name in one.history:
        close(other.history[name], one.history[name], tolerance, name)


@pytest.fixture(autouse=True)
def every_job_is_worth_compiling(monkeypatch):
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)


# ---- overrides: eager says why, compiled refuses ---------------------------------------------------------------------
def clamped(optimizer):
    step = optimizer.step

    def new():
        step()
        for gradient in optimizer.gradients():
            gradient.clamp_(-1, 1)

    return new


def doubled(method):
    return lambda *arguments: method(*arguments) * 2


class Noisy(lamp.DataLoader):
    def __iter__(self):
        for x, y in super().__iter__():
            yield x + 1.0, y


class Short(lamp.DataLoader):
    def __len__(self):
        return 2


class Sorted(lamp.DataLoader):
    def order_of(self, epoch):
        return torch.arange(59, -1, -1)


class Early(lamp.EarlyStopping):
    def on_batch(self, training, loss):
        self.seen = loss


class Counted(lamp.ReLU):
    def remember(self, value):
        super().remember(value)


class Called(lamp.Sequential):
    def __call__(self, x, *target):
        return super().forward(x, *target) * 2.0


def instead(spec, loader):
    spec.loader = loader((spec.x, spec.y), 7, True, seed=3)


def in_a_row(spec, kind):
    spec.network._arrange({"0": kind(*spec.network)})


def patched(owner, name):
    """Replace a method of a class by a function that calls it."""

    def change(spec, monkeypatch):
        original = getattr(owner, name)

        @functools.wraps(original)
        def method(self, *arguments):
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, method)

    return change


def on(what, name, make=doubled):
    """Set a method on an object of the job."""

    def change(spec, monkeypatch):
        thing = what(spec)
        setattr(thing, name, make(getattr(thing, name)))

    return change


OVERRIDES = {
    "model[1] forward": (on(lambda spec: spec.network[1], "forward"), "forward"),
    "model[0] forward": (on(lambda spec: spec.network[0], "forward"), "forward"),
    "model backward": (on(lambda spec: spec.network, "backward"), "backward"),
    "model[0] backward": (on(lambda spec: spec.network[0], "backward"), "backward"),
    "model[1] sigma": (on(lambda spec: spec.network[1], "sigma"), "sigma"),
    "model[1] dsigma": (on(lambda spec: spec.network[1], "dsigma"), "dsigma"),
    "model[1] remember": (on(lambda spec: spec.network[1], "remember", lambda method: method), "remember"),
    "model[1] recall": (on(lambda spec: spec.network[1], "recall", lambda method: method), "recall"),
    "loss forward": (on(lambda spec: spec.loss, "forward"), "forward"),
    "loss backward": (on(lambda spec: spec.loss, "backward"), "backward"),
    "loss derivative": (on(lambda spec: spec.loss, "derivative", lambda method: method), "derivative"),
    "loss value": (on(lambda spec: spec.loss, "value", lambda method: method), "value"),
    "optimizer step": (lambda spec, _: setattr(spec.optimizer, "step", clamped(spec.optimizer)), "step"),
    "optimizer update": (on(lambda spec: spec.optimizer, "update", lambda method: method), "update"),
    "optimizer zero_grad": (on(lambda spec: spec.optimizer, "zero_grad", lambda method: lambda: None), "zero_grad"),
    "loader __iter__": (lambda spec, _: instead(spec, Noisy), "Noisy has its own __iter__"),
    "loader __len__": (lambda spec, _: instead(spec, Short), "Short has its own __len__"),
    "loader order_of": (lambda spec, _: instead(spec, Sorted), "Sorted has its own order_of"),
    "loader order_of, set on it": (on(lambda spec: spec.loader, "order_of", lambda method: method), "order_of"),
    "patched loader": (patched(lamp.DataLoader, "__iter__"), "__iter__"),
    "callback on_batch": (lambda spec, _: spec.callbacks.append(Early(5, "loss")), "Early looks at every batch"),
    "callback on_batch, set on it": (
        lambda spec, _: spec.callbacks.append(on_batch_set()),
        "EarlyStopping looks at every batch",
    ),
    "patched on_batch": (
        lambda spec, patch: (spec.callbacks.append(Seen()), patched(lamp.Callback, "on_batch")(spec, patch)),
        "looks at every batch",
    ),
    "scheduler step": (lambda spec, _: with_schedule(spec), "StepLR has its own step"),
    "another scheduler": (lambda spec, _: setattr(spec, "scheduler", Own()), "another kind than lamp's"),
    "own __call__": (lambda spec, _: in_a_row(spec, Called), "Called has its own __call__"),
    "remember of a class": (lambda spec, _: setitem(spec, Counted()), "remember"),
    "patched forward": (patched(lamp.Activation, "forward"), "which was put into lamp's Activation"),
    "patched sigma": (patched(lamp.SELU, "sigma"), "which was put into lamp's SELU"),
    "patched loss": (patched(lamp.CrossEntropyLoss, "derivative"), "which was put into lamp's"),
    "patched optimizer": (patched(lamp.SGD, "update"), "which was put into lamp's SGD"),
}


class Seen(lamp.Callback):
    pass


class Own:
    def step(self):
        pass


def on_batch_set():
    callback = lamp.EarlyStopping(5, "loss")
    callback.on_batch = lambda training, loss: None
    return callback


def with_schedule(spec):
    spec.scheduler = lamp.StepLR(spec.optimizer, 1)
    step = spec.scheduler.step
    spec.scheduler.step = lambda: (step(), step())


def setitem(spec, module):
    spec.network[1] = module


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.filterwarnings("ignore:a loss was computed further")  # by a forward of the loss that scales its value
def test_an_override_is_told_and_eager_runs(name, count, monkeypatch):
    change, reason = OVERRIDES[name]
    jobs = {}
    for engine in ("eager", "auto"):
        spec = jobs[engine] = KernelSpec(count)
        with monkeypatch.context() as patch:
            change(spec, patch)
            spec.run(engine)
        assert spec.history.engine == "eager"
    assert reason in jobs["auto"].history.why
    same(jobs["eager"], jobs["auto"], 0.0)
    spec = KernelSpec(count)
    change(spec, monkeypatch)
    with pytest.raises(ArgumentError) as error:
        spec.run("compiled")
    assert reason in error.value.got
    if not any(word in name for word in ("loader", "callback", "on_batch", "scheduler")):
        with pytest.raises(ArgumentError, match="compiled"):
            lamp.compile(spec.model, spec.loss, spec.optimizer, 7)(spec.x, spec.y)


def test_a_kernel_of_the_class_does_not_serve_an_instance_that_differs():
    KernelSpec().run("compiled")
    spec = KernelSpec()
    spec.network[1].sigma = lambda x: x
    assert spec.run("auto").engine == "eager"


def test_an_accuracy_of_ones_own_is_called():
    class Half(lamp.Accuracy):
        def __call__(self, output, target):
            return super().__call__(output, target) * 0.5

    histories = []
    for metric in (lamp.Accuracy(0.0), Half(0.0)):
        spec = KernelSpec(loss=lamp.MSELoss(), targets=torch.stack([Y - 1.0] * 3, 1))
        spec.metrics = [metric]
        histories.append(spec.run("compiled"))
    close(histories[1]["accuracy"], histories[0]["accuracy"] * 0.5, 1e-6)
