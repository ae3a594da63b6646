"""Mistakes with fit, losses, metrics, optimizers and schedules."""

from dataclasses import dataclass

import torch

import lamp
from tests.cases.mistakes import Mistake

X, Y = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2


def network():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def fit(**options):
    """A training that would run without these options."""
    model = options.pop("model", None) or network()
    make = options.pop("optimizer", lambda parameters: lamp.Adam(parameters))
    optimizer = make(model.parameters()) if callable(make) and not isinstance(make, type) else make
    data, criterion = options.pop("data", (X, Y)), options.pop("criterion", lamp.CrossEntropyLoss())
    return lamp.fit(model, criterion, optimizer, data, **{"epochs": 1, "progress": False, **options})


def _fit(name, error, where, *words, **options):
    return Mistake(f"fit: {name}", lambda: fit(**options), error, where, words)


def _call(name, call, error, where, *words):
    return Mistake(name, call, error, where, words)


def _zeroes(output, target):
    target.zero_()
    return 0.0


@dataclass
class _Scaled(lamp.Module):
    factor: float

    def forward(self, x):
        return x * self.factor

    def backward(self, dy):
        return dy * self.factor


def _other_arguments():
    class Mine(lamp.MSELoss):
        def value(self, output, target):
            return (output - target).square()


def _into_one():
    """Load two layers into a network that has one layer twice."""
    layer = lamp.Linear(3, 3)
    lamp.Sequential(layer, layer).load_state_dict(lamp.Sequential(lamp.Linear(3, 3), lamp.Linear(3, 3)).state_dict())


def _put_into_a_population(module):
    """Train a population that a module of a single network was put into."""
    nets = lamp.population(network(), range(2))
    nets.network[1] = module
    fit(model=nets)


def _another_layer_after_the_best():
    """Add a layer in a training whose best weights are kept."""

    class Grows(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 1:
                training.model.append(lamp.Linear(2, 2))

    best = lamp.EarlyStopping(monitor="loss", min_delta=100.0)
    fit(epochs=3, callbacks=[best, Grows()], engine="eager", optimizer=lambda parameters: lamp.SGD(parameters, lr=0.1))


def _written_by_a_callback_that_changes_nothing():
    """Write to the weights in a callback with changes_model = False, in a compiled training."""

    class Decays(lamp.Callback):
        changes_model = False

        def on_epoch(self, training):
            training.model.parameters()[0].data.mul_(0.9)

    fit(epochs=3, callbacks=[Decays()], engine="compiled")


def _written_by_a_metric(engine, write):
    """Write to the weights in a metric."""
    model = network()

    def metric(output, target):
        write(model.parameters()[0].data)
        return 0.0

    return lambda: fit(model=model, epochs=3, metrics={"decay": metric}, engine=engine)


class WritesWhileUpdated:
    """A metric of the user's that writes to the weights with each batch."""

    name = "decay"

    def __init__(self, model):
        self.model = model

    def __deepcopy__(self, memo):
        return self

    def update(self, output, target):
        self.model.parameters()[0].data.mul_(0.9)

    def value(self):
        return 0.0

    def reset(self):
        pass


def _written_by_an_accumulator():
    """Write to the weights in the update of a metric."""
    model = network()
    fit(model=model, metrics=[WritesWhileUpdated(model)], engine="eager")


def _factor_without_a_gradient():
    """Divide the loss, but not its gradient."""
    model, criterion = network(), lamp.CrossEntropyLoss()
    loss = criterion(model(X), Y) / 4
    (loss + 0.1 * sum((each.data**2).sum() for each in model.parameters())).backward()


MISTAKES = [
    _call(
        "(loss / 4 + penalty).backward()",
        _factor_without_a_gradient,
        lamp.BackwardError,
        "the value of a loss",
        "criterion.backward() * c",
    ),
    _call("history.history, as in Keras", lambda: fit().history["loss"], AttributeError, "History", "history['loss']"),
    _call("history.loss", lambda: fit().loss, AttributeError, "History", "history['loss']"),
    _call(
        "metric.compute(), as in torchmetrics",
        lambda: lamp.metrics.F1().compute(),  # type: ignore[attr-defined]
        AttributeError,
        "F1",
        "metric.value()",
    ),
    _call(
        "metric.result(), as in Keras",
        lambda: lamp.metrics.AUC().result(),  # type: ignore[attr-defined]
        AttributeError,
        "AUC",
        "metric.value()",
    ),
    _call(
        "ReduceLROnPlateau.step() without a measure",
        lambda: lamp.ReduceLROnPlateau(lamp.SGD(network().parameters(), lr=0.1)).step(),
        lamp.ArgumentError,
        "ReduceLROnPlateau.step",
        "scheduler.step(validation_loss)",
    ),
    _call(
        "lamp.random_split",
        lambda: lamp.random_split((X, Y), [0.8, 0.2]),
        AttributeError,
        "random_split",
        "validation=0.2",
    ),
    _call("lamp.cuda", lambda: lamp.cuda.is_available(), AttributeError, "cuda", "torch's"),
    *(
        _call(
            f"fit: a metric writes to the weights {how}, {engine}",
            _written_by_a_metric(engine, write),
            lamp.ArgumentError,
            "the weights changed",
            "a metric",
            "callback",
        )
        for engine in ("eager", "compiled")
        for how, write in (("by torch", lambda data: data.mul_(0.9)), ("by numpy", lambda data: data.numpy().fill(1)))
    ),
    _call(
        "fit: a metric writes to the weights while it is updated, eager",
        _written_by_an_accumulator,
        lamp.ArgumentError,
        "the weights changed",
        "a metric",
    ),
    _call(
        "fit: a callback with changes_model = False writes to the weights",
        _written_by_a_callback_that_changes_nothing,
        lamp.ArgumentError,
        "the weights changed",
        "changes_model = False",
        "Decays",
        "needs_model and changes_model True",
    ),
    _call(
        "fit: a layer of one network in a population",
        lambda: _put_into_a_population(lamp.PReLU()),
        lamp.ArgumentError,
        "Population.network.1: PReLU",
        "single network",
        "lamp.population(module, seeds)",
    ),
    _call(
        "fit: a layer is added while the best weights are kept",
        _another_layer_after_the_best,
        lamp.ArgumentError,
        "saved state",
        "modules have changed",
        "restore_best=False",
    ),
    _fit("no epochs", lamp.ArgumentError, "epochs", epochs=0),
    _fit("epochs as a float", lamp.ArgumentError, "epochs", epochs=2.5),
    _fit("epochs as a text", lamp.ArgumentError, "epochs", epochs="10"),
    _fit("an unknown engine", lamp.ArgumentError, "engine", engine="gpu"),
    _fit("verbose beside progress", lamp.CallError, "fit", "verbose= and progress=", "leave out verbose=", verbose=0),
    _fit(
        "weights of samples beside the targets",
        lamp.ArgumentError,
        "Sequential",
        "one input",
        "(inputs..., target)",
        data=(X, Y, torch.ones(12)),
    ),
    _fit("an unknown schedule_per", lamp.ArgumentError, "schedule_per", schedule_per="step"),
    _fit("clip_norm as a text", ValueError, "clip_norm", clip_norm="1"),
    _fit("a negative clip_norm", lamp.ArgumentError, "clip_norm", clip_norm=-1.0),
    _fit("clip_norm of many numbers for one network", ValueError, "clip_norm", clip_norm=torch.ones(3)),
    _fit("a batch of no samples", lamp.ArgumentError, "batch_size", batch_size=0),
    _fit(
        "an optimizer of another network",
        lamp.ArgumentError,
        "optimizer",
        optimizer=lambda _: lamp.Adam(network().parameters()),
    ),
    _fit("an optimizer of torch's", ValueError, "optimizer", optimizer=lambda _: torch.optim.Adam([torch.zeros(1)])),
    _fit("the class of an optimizer", ValueError, "optimizer", optimizer=lamp.Adam),
    _fit("a loss by class", ValueError, "criterion", criterion=lamp.CrossEntropyLoss),
    _fit(
        "a loss that is not reduced", lamp.ArgumentError, "reduction", criterion=lamp.CrossEntropyLoss(reduction="none")
    ),
    _fit("a function for a loss", ValueError, "criterion", criterion=torch.nn.functional.cross_entropy),
    _fit("inputs alone", ValueError, "target", data=X),
    _fit("inputs and targets of different lengths", lamp.DataError, "", data=(X, Y[:5])),
    _fit("labels out of range", lamp.LabelError, "CrossEntropyLoss", data=(X, Y + 7)),
    _fit("NaN among the inputs", lamp.NonFiniteError, "inputs", data=(X * float("nan"), Y)),
    _fit("two metrics of one name", lamp.ArgumentError, "accuracy", metrics=[lamp.accuracy, lamp.accuracy]),
    _fit("a metric that returns a text", ValueError, "metric", metrics={"m": lambda o, t: "good"}),
    _fit("a metric that returns a vector", ValueError, "metric", metrics={"m": lambda o, t: o[:, 0]}),
    _fit("a callback by class", ValueError, "callback", callbacks=[lamp.EarlyStopping]),
    _fit("early stopping without validation", lamp.ArgumentError, "validation", callbacks=[lamp.EarlyStopping(2)]),
    _fit("a checkpoint that is not a path", ValueError, "checkpoint", checkpoint=True),
    _call("a negative learning rate", lambda: lamp.Adam(network().parameters(), lr=-1.0), lamp.ArgumentError, "lr"),
    _call("a learning rate as a text", lambda: lamp.Adam(network().parameters(), lr="0.1"), ValueError, "lr"),
    _call("a list of learning rates", lambda: lamp.SGD(network().parameters(), lr=[0.1, 0.2]), ValueError, "lr"),
    _call("no parameters", lambda: lamp.SGD([], lr=0.1), ValueError, "parameters"),
    _call("a model for parameters", lambda: lamp.SGD(network(), lr=0.1), (ValueError, TypeError), "parameters"),
    _call("an unknown reduction", lambda: lamp.MSELoss(reduction="avg"), lamp.ArgumentError, "MSELoss"),
    _call("smoothing as a text", lambda: lamp.CrossEntropyLoss(label_smoothing="0.1"), ValueError, "label_smoothing"),
    _call(
        "smoothing beyond 1", lambda: lamp.CrossEntropyLoss(label_smoothing=1.5), lamp.ArgumentError, "label_smoothing"
    ),
    _call("a negative delta", lambda: lamp.HuberLoss(delta=-1.0), lamp.ArgumentError, "delta"),
    _call(
        "class weights of another length",
        lambda: lamp.CrossEntropyLoss(torch.ones(5))(torch.randn(4, 3), torch.zeros(4).long()),
        ValueError,
        "weight",
    ),
    _call(
        "labels as floats",
        lambda: lamp.CrossEntropyLoss()(torch.randn(4, 3), torch.zeros(4)),
        lamp.LabelError,
        "CrossEntropyLoss",
    ),
    _call(
        "a target of another shape",
        lambda: lamp.MSELoss()(torch.randn(4, 1), torch.randn(4)),
        lamp.ShapeError,
        "MSELoss",
    ),
    _call(
        "a target of another dtype",
        lambda: lamp.MSELoss()(torch.randn(4), torch.randn(4).double()),
        TypeError,
        "MSELoss",
    ),
    _call(
        "negative probabilities",
        lambda: lamp.CrossEntropyLoss()(torch.randn(2, 3), -torch.ones(2, 3)),
        ValueError,
        "CrossEntropyLoss",
    ),
    _call("a patience of nothing", lambda: lamp.EarlyStopping(0), lamp.ArgumentError, "patience"),
    _call("an unknown mode", lambda: lamp.EarlyStopping(mode="best"), lamp.ArgumentError, "mode"),
    _call(
        "predict in batches of nothing",
        lambda: lamp.predict(network(), X, batch_size=0),
        lamp.ArgumentError,
        "batch_size",
    ),
    _call("a threshold as a text", lambda: lamp.Accuracy("0.5"), (ValueError, TypeError), "threshold"),
    _call(
        "accuracy of one output",
        lambda: lamp.accuracy(torch.randn(4, 1), torch.zeros(4).long()),
        lamp.ShapeError,
        "accuracy",
    ),
    _fit("a metric that writes to its target", lamp.ArgumentError, "_zeroes", "target.clone()", metrics=[_zeroes]),
    _call(
        "a network without memory",
        lambda: fit(model=network().to("meta")),
        lamp.DeviceError,
        "Linear",
        "meta",
    ),
    _call("predict without memory", lambda: lamp.predict(network().to("meta"), X), lamp.DeviceError, "Linear", "meta"),
    _call(
        "more folds than samples",
        lambda: lamp.cross_validate(network(), (X[:3], Y[:3]), criterion=lamp.CrossEntropyLoss(), epochs=1, folds=5),
        lamp.ArgumentError,
        "folds",
        "folds=3",
    ),
    _call("a value of other arguments", _other_arguments, lamp.ArgumentError, "Mine.value", "(self, difference)"),
    _call("a dataclass", lambda: _Scaled(2.0), lamp.ArgumentError, "_Scaled", "@dataclass(eq=False)"),
    _call("a state dict of two layers for one", _into_one, lamp.StateDictError, "'0.weight'", "'1.weight'"),
    _call("a schedule of a model", lambda: lamp.StepLR(network(), 3), (ValueError, TypeError), "optimizer"),
    _call(
        "a step size of nothing",
        lambda: lamp.StepLR(lamp.SGD(network().parameters(), lr=0.1), 0),
        ValueError,
        "step_size",
    ),
]
