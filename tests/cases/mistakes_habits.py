"""Mistakes of users who come from torch, Keras or Lightning, and of those who write losses and modules of their own."""

from __future__ import annotations

import operator
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import lamp
from lamp.errors import ArgumentError, DTypeError
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_fitting import X, Y, fit, network


def several():
    return lamp.population(network(), range(2))


def swept():
    return lamp.sweep(network, {"lr": [0.1]}, (X, Y), criterion=lamp.CrossEntropyLoss(), optimizer=lamp.SGD, epochs=1,
                      validation=0.2, progress=False)  # fmt: skip


class ForwardAlone(lamp.Loss):
    def forward(self, input, target):
        return (input - target).square().mean()


class ValueAlone(lamp.Loss):
    def value(self, output, target):
        return (output - target) ** 2


class DerivativeAlone(lamp.Loss):
    def derivative(self, output, target):
        return output - target


class Returns(lamp.Loss):
    """A loss whose formulas return these values."""

    def __init__(self, value, derivative):
        self.returned = value, derivative

    def value(self, output, target):
        return (output - target) ** 2 if self.returned[0] else None

    def derivative(self, output, target):
        return (output - target) * 2.0 if self.returned[1] else None


class OfOutputAlone(lamp.Loss):
    def value(self, output):
        return output

    def derivative(self, output):
        return output * 0.0 + 1.0


class ReadsTheOther(lamp.Activation):
    """An activation whose dsigma reads y, although it remembers x."""

    remembers = "x"

    def sigma(self, x):
        return x.tanh()

    def dsigma(self, x, y):
        return 1.0 - y * y


class Forgets(lamp.Module):
    """A module whose backward recalls what its forward does not remember."""

    def forward(self, x):
        return x * 2

    def backward(self, dy):
        return self.recall() * dy


class OwnMomentum(lamp.Optimizer):
    """SGD with momentum, whose state_names return these names."""

    def __init__(self, params, names):
        self.names = names
        super().__init__(params, {"lr": 0.1})

    def state_names(self, group):
        return self.names

    def coefficients(self, group, step):
        return {"lr": group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        state["mean"] = state.get("mean", 0.0) * 0.9 + gradient
        return parameter - state["mean"] * c["lr"]


class Sets(lamp.Callback):
    """A callback that sets an attribute of the training."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def on_epoch(self, training):
        setattr(training, self.name, self.value)


def _trained(criterion, model=None):
    model = model or lamp.Sequential(lamp.Linear(3, 3))
    return lambda: fit(model=model, criterion=criterion, data=(X, X))


def _sets(name, value):
    return lambda: fit(callbacks=[Sets(name, value)], epochs=3)


def _of_its_value():
    criterion = lamp.CrossEntropyLoss()
    criterion.backward(criterion(network()(X), Y))


def _nested():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that nested tensors are new
        return torch.nested.nested_tensor([X[:3], X[:5]])


def _below_a_file(act):
    """Write to a path below a file."""

    def call():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_text("")
            act(file / "x.json")

    return call


def _named(names, engine, act=lambda optimizer: None):
    """A training with that optimizer, and then something done with it."""

    def call():
        model = network()
        optimizer = OwnMomentum(model.parameters(), names)
        fit(model=model, optimizer=optimizer, engine=engine)
        act(optimizer)

    return call


MISTAKES = [
    # ---- optimizers of their own
    Mistake(
        "state_names that are a text", _named("mean", "eager"), ValueError, "OwnMomentum.state_names", ('("mean",)',)
    ),
    Mistake(
        "state_names that return nothing", _named(None, "eager"), ValueError, "OwnMomentum.state_names", ("tuple",)
    ),
    Mistake("a state without a name, compiled", _named((), "compiled"), ValueError, "OwnMomentum.update", ("'mean'",)),
    Mistake(
        "a state without a name, saved",
        _named((), "eager", lambda optimizer: optimizer.state_dict()),
        ValueError,
        "OwnMomentum.update",
        ("'mean'", "state_names"),
    ),
    # ---- losses and modules of their own
    Mistake("a loss with a forward alone", _trained(ForwardAlone()), RuntimeError, "ForwardAlone", ("self.remember(",)),
    Mistake("a loss without a derivative", _trained(ValueAlone()), lamp.UnwrittenError, "ValueAlone", ("derivative(",)),
    Mistake("a value that is None", _trained(Returns(0, 1)), lamp.DTypeError, "Returns.value", ("return",)),
    Mistake("a derivative that is None", _trained(Returns(1, 0)), lamp.DTypeError, "Returns.derivative", ("return",)),
    Mistake(
        "a loss of the output alone",
        _trained(OfOutputAlone()),
        ValueError,
        "OfOutputAlone.value",
        ("(output, target)",),
    ),
    Mistake(
        "dsigma of what is not remembered",
        _trained(lamp.MSELoss(), lamp.Sequential(lamp.Linear(3, 3), ReadsTheOther())),
        ValueError,
        "Sequential.1: ReadsTheOther",
        ("remembers = 'x'", 'remembers = "y"'),
    ),
    Mistake("a loss without a value", _trained(DerivativeAlone()), lamp.UnwrittenError, "DerivativeAlone", ("value(",)),
    Mistake(
        "a module that forgets",
        _trained(lamp.MSELoss(), lamp.Sequential(lamp.Linear(3, 3), Forgets())),
        RuntimeError,
        "Sequential.1: Forgets",
        ("remembered nothing", "self.remember("),
    ),
    # ---- a training as callbacks see it
    Mistake(
        "training.stop_training, as in Keras", _sets("stop_training", True), ValueError, "stop_training", ("stop(",)
    ),
    Mistake("training.stop = True", _sets("stop", True), ValueError, "training.stop", ('training.stop("why")',)),
    Mistake("another criterion in a training", _sets("criterion", lamp.MSELoss()), ValueError, "training.criterion"),
    Mistake("other metrics in a training", _sets("metrics", {}), ValueError, "training.metrics", ("another dict",)),
    Mistake(
        "other callbacks in a training", _sets("callbacks", []), ValueError, "training.callbacks", ("another list",)
    ),
    Mistake("a name that a training has not", _sets("patience", 3), ValueError, "training.patience", ("callback",)),
    # ---- gradients
    Mistake(
        "a column of a population's outputs",
        lambda: lamp.MSELoss()(several()(X)[..., 0], X[:, 0]),
        RuntimeError,
        "MSELoss",
        ("criterion(lamp.per_replica(output), target)",),
    ),
    Mistake("criterion.backward(loss)", _of_its_value, RuntimeError, "CrossEntropyLoss", ("criterion.backward())",)),
    Mistake(
        "the mean of a list of losses, and backward()",
        lambda: (sum(lamp.CrossEntropyLoss()(network()(X), Y) for _ in range(2)) / 2).backward(),
        RuntimeError,
        "the value of a loss",
        ("add the gradients of several losses",),
    ),
    # ---- data
    Mistake("a path for data", lambda: fit(data=Path("table.csv")), ValueError, "data", ("lamp train FILE",)),
    Mistake("a class for data", lambda: fit(data=lamp.Dataset), ValueError, "data", ("the class Dataset", "Dataset(")),
    Mistake("data without numbers", lambda: fit(data=(X.to("meta"), Y)), ValueError, "inputs", ("meta",)),
    Mistake("nested data", lambda: fit(data=(_nested(), Y)), ValueError, "inputs", ("to_padded_tensor(inputs",)),
    # ---- files
    Mistake(
        "a history below a file",
        _below_a_file(lambda path: fit().to_json(path)),
        lamp.CheckpointError,
        "x.json",
        ("a file is",),
    ),
    Mistake(
        "a checkpoint that is a file",
        _below_a_file(lambda path: fit(checkpoint=path.parent)),
        lamp.CheckpointError,
        "file",
        ("a file is",),
    ),
    Mistake(
        "a history that is nowhere",
        lambda: lamp.History.from_json(Path("no.json")),
        lamp.CheckpointError,
        "no.json",
        ("check the path",),
    ),
    # ---- names and arguments
    Mistake("model.train(epochs)", lambda: network().train(10), ValueError, "mode", ("lamp.fit",)),
    Mistake("a schedule of a class", lambda: lamp.StepLR(lamp.SGD, 1), ValueError, "StepLR", ("the class SGD",)),
    Mistake(
        "step(loss)",
        lambda: lamp.SGD(network().parameters(), lr=0.1).step(3.0),
        ValueError,
        "closure",
        ("no arguments", "lambda:"),
    ),
    Mistake("a network without its input", lambda: network()(), ValueError, "Sequential", ("forward(input, *target)",)),
    Mistake(
        "a data set's normalize",
        lambda: lamp.Dataset(X, Y).normalize(),  # type: ignore[attr-defined]
        AttributeError,
        "Dataset",
        ("normalized()",),
    ),
    Mistake(
        "a data set to a device that is none", lambda: lamp.Dataset(X, Y).to("gpu"), ValueError, "device", ("cpu",)
    ),
    Mistake("plots.show", lambda: lamp.plots.show(), AttributeError, "lamp.plots", ("lamp.plots.save",)),
    Mistake(
        "a metric in small letters", lambda: lamp.metrics.f1, AttributeError, "lamp.metrics", ("lamp.metrics.F1?",)
    ),
    Mistake("lamp.autocast", lambda: lamp.autocast("cpu"), AttributeError, "lamp", ("bfloat16()",)),
    Mistake("a Trainer", lambda: lamp.Trainer(max_epochs=3), AttributeError, "lamp", ("lamp.fit(",)),
    Mistake("seed_everything", lambda: lamp.seed_everything(0), AttributeError, "lamp", ("torch.manual_seed(0)",)),
    Mistake("a class to summary", lambda: lamp.summary(lamp.Linear), ValueError, "summary", ("the class Linear",)),
    Mistake("curves of what was not measured", lambda: fit().plot("acc"), ValueError, "'acc'", ("metrics=",)),
    Mistake(
        "torch's class in a network", lambda: lamp.stack([torch.nn.Linear]), ValueError, "stack", ("the class Linear",)
    ),
    # ---- many networks, and what holds them ----
    Mistake(
        "replace a replica", lambda: operator.setitem(several(), 0, network()), DTypeError, "a replica", ("lamp.stack",)
    ),
    Mistake("delete a replica", lambda: operator.delitem(several(), 0), DTypeError, "a replica", ("select",)),
    Mistake("add populations", lambda: several() + several(), DTypeError, "populations", ("lamp.stack",)),
    Mistake(
        "fit an ensemble",
        lambda: lamp.Ensemble(several()).fit(X, Y),  # type: ignore[attr-defined]
        AttributeError,
        "Ensemble",
        ("lamp.fit(ensemble.members",),
    ),
    Mistake(
        "score of an ensemble",
        lambda: lamp.Ensemble(several()).score(X, Y),  # type: ignore[attr-defined]
        AttributeError,
        "Ensemble",
        ("lamp.accuracy",),
    ),
    Mistake(
        "a list for a module's name",
        lambda: network().add_module(["a"], lamp.ReLU()),
        ArgumentError,
        "name",
        ("a string without dots",),
    ),
    Mistake(
        "pop a list out of a ModuleDict",
        lambda: lamp.ModuleDict({"a": lamp.ReLU()}).pop(["a"]),
        IndexError,
        "ModuleDict",
        ("name one of these",),
    ),
    Mistake(
        "an array of objects for a plateau",
        lambda: lamp.ReduceLROnPlateau(lamp.SGD(network().parameters(), lr=0.1)).step(np.array([None], object)),
        ArgumentError,
        "metrics",
        ("loss on validation data",),
    ),
    Mistake("plot a number", lambda: fit(epochs=1).plot(names=[1]), ArgumentError, "the history", ("loss",)),
    Mistake("a rank beyond a sweep", lambda: swept().population(9), IndexError, "rank 9", ("0 is the best",)),
    Mistake("a text for a sweep's rank", lambda: swept().history("best"), IndexError, "rank 'best'"),
]
