"""Mistakes with the compiled engine, lamp.compile, the cache of kernels, summary and trace."""

import os
from pathlib import Path
from tempfile import mkdtemp

import torch

import lamp
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_fitting import X, Y, fit, network


class Square(lamp.Module):
    """A module without a trace."""

    def forward(self, x):
        self.remember(x)
        return x * x

    def backward(self, dy):
        return 2 * self.recall() * dy


class Waves(lamp.Activation):
    """An activation that is written for tensors alone."""

    remembers = "x"

    def sigma(self, x):
        return torch.sin(x)

    def dsigma(self, x, y):
        return torch.cos(x)


class OwnStep(lamp.SGD):
    """An optimizer that overrides `step`."""

    def step(self, closure=None):
        return super().step(closure)


def changed(change):
    """The network after a change was made to it."""
    model = network()
    change(model)
    return model


def compiled(*, model=None, criterion=None, optimizer=None, batch_size=4):
    """lamp.compile of a network that compiles, with these wrong arguments."""
    model = network() if model is None else model
    make = optimizer or lamp.Adam
    made = make(model.parameters()) if callable(make) else make
    return lamp.compile(model, lamp.CrossEntropyLoss() if criterion is None else criterion, made, batch_size)


def _fit(name, where, *words, error=lamp.ArgumentError, **options):
    return Mistake(f"compiled fit: {name}", lambda: fit(engine="compiled", **options), error, where, words)


def _make(name, where, *words, error=lamp.ArgumentError, **options):
    return Mistake(f"compile: {name}", lambda: compiled(**options), error, where, words)


def _call(name, error, where, *words, args=(X, Y), made=None, **options):
    return Mistake(f"compiled call: {name}", lambda: compiled(**(made or {}))(*args, **options), error, where, words)


def _cache(name, prepare, where, *words, variable="LAMP_CACHE_DIR", arguments=()):
    """The command `lamp cache`, with the environment variable set to what `prepare` returns."""

    def call():
        from lamp.cli.cache import cache

        before = os.environ.get(variable)
        os.environ[variable] = str(prepare())
        try:
            cache.main(args=list(arguments), standalone_mode=False)
        finally:
            del os.environ[variable]
            if before is not None:
                os.environ[variable] = before

    return Mistake(f"lamp cache: {name}", call, lamp.ArgumentError, where, words)


def a_file():
    path = Path(mkdtemp()) / "kernels"
    path.write_text("not a folder")
    return path


def for_everybody():
    path = Path(mkdtemp())
    path.chmod(0o777)
    return path


MISTAKES = [
    # ---- what the engine cannot run ----
    _fit(
        "a module without a graph",
        "Sequential.1: Square()",
        "eager",
        model=lamp.Sequential(lamp.Linear(3, 2), Square()),
    ),
    _fit(
        "an activation written for tensors alone", "Waves", "sigma", model=lamp.Sequential(lamp.Linear(3, 2), Waves())
    ),
    _fit(
        "a forward set on a layer",
        "Tanh() has its own forward",
        model=changed(lambda model: setattr(model[1], "forward", torch.tanh)),
    ),
    _fit("an optimizer with its own step", "OwnStep", "step", optimizer=lambda parameters: OwnStep(parameters, lr=0.1)),
    _fit("a network in half precision", "torch.float16", "float32", model=network().half(), data=(X.half(), Y)),
    _fit(
        "data from a torch DataLoader",
        "DataLoader",
        "eager",
        data=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 4),
    ),
    _fit(
        "one Dropout used twice",
        "Dropout",
        "twice",
        model=(lambda drop: lamp.Sequential(lamp.Linear(3, 3), drop, lamp.Linear(3, 2), drop))(lamp.Dropout(0.5)),
    ),
    _fit("labels out of range", "label 5", error=lamp.LabelError, data=(X, Y + 5)),
    _fit("labels as floats", "integers", "long()", error=lamp.LabelError, data=(X, Y.float())),
    _fit(
        "class weights of another length",
        "(2,)",
        "(5,)",
        error=lamp.ShapeError,
        criterion=lamp.CrossEntropyLoss(torch.ones(5)),
    ),
    _fit("inputs in float64", "torch.float64", error=lamp.DTypeError, data=(X.double(), Y)),
    _fit("inputs with too few features", "Linear", "(12, 2)", error=lamp.ShapeError, data=(X[:, :2], Y)),
    _fit(
        "learning rates for one network",
        "lr",
        error=ValueError,
        optimizer=lambda parameters: lamp.Adam(parameters, lr=torch.ones(3)),
    ),
    _fit("clip_norm for other replicas", "clip_norm", error=ValueError, clip_norm=torch.ones(3)),
    Mistake(
        "fit: engine with a capital", lambda: fit(engine="Compiled"), lamp.ArgumentError, "engine", ("'compiled'",)
    ),
    Mistake("fit: engine=True", lambda: fit(engine=True), lamp.ArgumentError, "engine"),
    Mistake("fit: engine=None", lambda: fit(engine=None), lamp.ArgumentError, "engine", ("'auto'",)),
    # ---- lamp.compile ----
    Mistake("compile: as torch does it", lambda: lamp.compile(network()), lamp.CallError, "compile", ("criterion",)),  # type: ignore[call-arg]
    Mistake("compile: mode=", lambda: lamp.compile(network(), mode="max-autotune"), lamp.CallError, "mode"),  # type: ignore[call-arg]
    Mistake("compile: jit", lambda: lamp.jit, AttributeError, "jit", ("lamp.compile",)),
    Mistake("compile: no loss", lambda: lamp.compile(network(), None, None, 4), lamp.ArgumentError, "loss"),
    Mistake(
        "compile: a list for a network", lambda: lamp.compile([], lamp.MSELoss(), None, 4), lamp.ArgumentError, "model"
    ),
    _make("a loss by class", "CrossEntropyLoss", "instance", criterion=lamp.CrossEntropyLoss),
    _make("torch's loss", "torch.nn", criterion=torch.nn.CrossEntropyLoss()),
    _make("torch's optimizer", "torch.optim", optimizer=lambda parameters: torch.optim.Adam([torch.zeros(1)])),
    _make("an optimizer by class", "optimizer", "instance", optimizer=lambda parameters: lamp.Adam),
    _make("batch_size 0", "batch_size", batch_size=0),
    _make("batch_size as a float", "batch_size", batch_size=2.5),
    _make("no batch_size", "batch_size", batch_size=None),
    _make("a module without a graph", "Sequential.1: Square()", model=lamp.Sequential(lamp.Linear(3, 2), Square())),
    _make("a Flatten of the batch", "Flatten", "batch", model=lamp.Sequential(lamp.Flatten(0), lamp.Linear(3, 2))),
    _make("a loss that is not reduced", "reduction", criterion=lamp.CrossEntropyLoss(reduction="none")),
    # ---- calls of what was compiled ----
    _call(
        "the optimizer of another network",
        lamp.ArgumentError,
        "optimizer",
        made={"optimizer": lambda parameters: lamp.Adam(network().parameters())},
    ),
    _call("the inputs alone", lamp.CallError, "targets", args=(X,)),
    _call("a pair", lamp.CallError, "targets", args=((X, Y),)),
    _call("a DataLoader", lamp.DataError, "inputs", args=(lamp.DataLoader((X, Y), 4), Y)),
    _call("shuffle=", lamp.CallError, "shuffle", "randperm", shuffle=True),
    _call("epochs=", lamp.CallError, "epochs", "once per epoch", epochs=3),
    _call("targets of another length", lamp.ShapeError, "targets (5,)", args=(X, Y[:5])),
    _call("too few features", lamp.ShapeError, "Linear", args=(X[:, :2], Y)),
    _call("inputs in float64", lamp.DTypeError, "torch.float64", args=(X.double(), Y)),
    _call("labels out of range", lamp.LabelError, "label 9", args=(X, Y + 9)),
    _call("a mask for an order", lamp.ArgumentError, "order", "nonzero", args=(X, Y, Y.bool())),
    _call("a share for an order", lamp.ArgumentError, "order", args=(X, Y, torch.rand(4))),
    _call("an order beyond the samples", lamp.ArgumentError, "99", args=(X, Y, torch.tensor([0, 99]))),
    _call("an order from the end", lamp.ArgumentError, "-1", args=(X, Y, [-1, 0])),
    _call("an empty order", lamp.ArgumentError, "order", args=(X, Y, torch.tensor([], dtype=torch.int64))),
    _call(
        "an order for another number of replicas",
        lamp.ArgumentError,
        "replicas",
        args=(X, Y, torch.zeros(2, 4, dtype=torch.int64)),
        made={"model": lamp.population(network(), range(3))},
    ),
    _call("data of their own for one network", lamp.ShapeError, "population", per_replica_data=True),
    Mistake(
        "compiled: backward", lambda: compiled().backward(), AttributeError, "backward", ("training step per batch",)
    ),
    Mistake("compiled: parameters", lambda: compiled().parameters(), AttributeError, "parameters", ("compiled.model",)),
    # ---- the cache ----
    _cache("a file for a folder", a_file, "LAMP_CACHE_DIR", "which is not a folder"),
    _cache("a folder within a file", lambda: a_file() / "lamp", "LAMP_CACHE_DIR", "which is not a folder"),
    _cache("a folder that others may write to", for_everybody, "LAMP_CACHE_DIR", "other users can write"),
    _cache("a size with a unit", lambda: "1GB", "LAMP_CACHE_BYTES", "number of bytes", variable="LAMP_CACHE_BYTES"),
    _cache("clearing a file", a_file, "LAMP_CACHE_DIR", "which is not a folder", arguments=["--clear"]),
    # ---- summary and trace ----
    Mistake("summary: input_size=", lambda: lamp.summary(network(), input_size=(12, 3)), lamp.CallError, "input_size"),  # type: ignore[call-arg]
    Mistake("summary: a number", lambda: lamp.summary(network(), 3), lamp.ArgumentError, "batch", ("(32, 784)",)),
    Mistake(
        "summary: another shape", lambda: lamp.summary(network(), (12, 4)), lamp.ShapeError, "Sequential.0: Linear"
    ),
    Mistake(
        "summary: a module of torch.nn", lambda: lamp.summary(torch.nn.Linear(3, 2)), lamp.ArgumentError, "network"
    ),
    Mistake(
        "summary: nothing tells the shape",
        lambda: lamp.summary(lamp.Sequential(lamp.ReLU())),
        lamp.ArgumentError,
        "shape",
        ("lamp.summary(model, x)",),
    ),
    Mistake(
        "trace: no inputs", lambda: lamp.trace(network()), lamp.NotTraceable, "Sequential", ("lamp.trace(model, x)",)
    ),
    Mistake("trace: numpy", lambda: lamp.trace(network(), X.numpy()), lamp.ArgumentError, "batch", ("as_tensor",)),
    Mistake(
        "trace: a module of torch.nn",
        lambda: lamp.trace(torch.nn.Linear(3, 2), X),
        lamp.ArgumentError,
        "network",
        ("lamp.from_torch",),
    ),
    Mistake("trace: a class", lambda: lamp.trace(lamp.Linear, X), lamp.ArgumentError, "the class Linear"),
    Mistake(
        "trace: a module without a graph",
        lambda: lamp.trace(lamp.Sequential(lamp.Linear(3, 2), Square()), X),
        lamp.NotTraceable,
        "Sequential.1: Square()",
        ("trace(self, tracer, x)",),
    ),
    Mistake("trace: a shape with None", lambda: lamp.trace(network(), (None, 3)), lamp.ArgumentError, "batch"),
]
