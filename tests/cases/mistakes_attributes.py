"""Mistakes with what results, callbacks, optimizers, loaders and estimators hold: attributes, keys and indices."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch

import lamp
from lamp.errors import ArgumentError, DTypeError, MissingNameError, ShapeError
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_fitting import X, Y, fit, network
from tests.cases.mistakes_names import folds, loader, sweep

FEW = lamp.Dataset(X, Y)


def sgd():
    return lamp.SGD(network().parameters(), lr=0.1)


def stopping():
    return lamp.EarlyStopping(monitor="loss")


def evaluated():
    return lamp.evaluate(network(), lamp.CrossEntropyLoss(), (X, Y))


def _looked_up(made: Callable[[], Any], name: str, words: str) -> Mistake:
    """An attribute that the object does not have."""
    what = made.__name__
    return Mistake(f"{name} of {what}()", lambda: getattr(made(), name), MissingNameError, name, (words,))


def _set(made: Callable[[], Any], name: str, value: Any, *words: str) -> Mistake:
    """An attribute that is set, to no effect or to a wrong value."""
    text = f"{made.__name__}().{name} = {value!r}"[:60].replace("\n", " ")
    return Mistake(text, lambda: setattr(made(), name, value), (ValueError, AttributeError), name, words)


def _key(made: Callable[[], Any], key: Any, error: type[Exception], *words: str) -> Mistake:
    return Mistake(f"{made.__name__}()[{key!r}]", lambda: made()[key], error, str(key), words)


def groups():
    return sgd().param_groups


def group():
    return sgd().param_groups[0]


def weight():
    return network()[0].weight


def few():
    return lamp.Dataset(X, Y)


def settings():
    return lamp.grid(lr=[0.1, 0.2])


def drawn():
    return lamp.samples(1, lr=lamp.uniform(0.0, 1.0))[0]


def best():
    return sweep().best


def _item(made: Callable[[], Any], key: Any, value: Any, error: type[Exception], *words: str) -> Mistake:
    """An item that is set."""
    text = f"{made.__name__}()[{key!r}] = {value!r}"
    return Mistake(text, lambda: operator.setitem(made(), key, value), error, words[0], words[1:])


def _stopping_with(name: str, value: Any) -> Mistake:
    """A training with an EarlyStopping of which this option was set to a wrong value."""

    def call():
        callback = stopping()
        setattr(callback, name, value)
        fit(callbacks=[callback])

    return Mistake(f"EarlyStopping.{name} = {value!r}, then fit", call, ArgumentError, name)


def _dropout(p: Any) -> Mistake:
    text = f"Dropout.p = {p!r}"
    return Mistake(text, lambda: setattr(lamp.Dropout(0.5), "p", p), ArgumentError, "Dropout: p")


def _joined_to_a_group():
    optimizer = sgd()
    operator.ior(optimizer.param_groups[0], {"lr": "fast"})


def row():
    return sweep().rows[0]


def summary():
    return lamp.summary(network(), X)


def checkpoint():
    return lamp.Checkpoint("run")


def classifier():
    return lamp.MLPClassifier()


def last():
    return fit().last


def scores():
    return folds().scores


def _in_a_callback(name: str, look: Callable[[Any], Any], error: type[Exception], *words: str) -> Mistake:
    """Something that a callback does with the training that it is given."""
    kind = type("Mine", (lamp.Callback,), {"on_epoch": lambda self, training: look(training)})
    return Mistake(f"in a callback: {name}", lambda: fit(callbacks=[kind()]), error, "Training", words)


def _callback(method: str) -> Mistake:
    """A callback without any of the methods that are called."""
    kind = type("Mine", (lamp.Callback,), {method: lambda self, training: None})
    return Mistake(
        f"a callback with {method} alone", lambda: fit(callbacks=[kind()]), ArgumentError, "Mine", (method, "on_epoch")
    )


def _joined(name: str, other: Callable[[], Any], error: type[Exception], *words: str) -> Mistake:
    return Mistake(f"a data set + {name}", lambda: FEW + other(), error, words[0], words[1:])


MISTAKES = [
    # ---- optimizers and loaders
    _key(group, "learning_rate", KeyError, "did you mean lr?"),
    _key(group, 0, KeyError, "momentum"),
    _key(groups, 3, IndexError, "0 to 0"),
    _key(groups, "lr", IndexError, 'param_groups[0]["lr"]'),
    _looked_up(group, "lr", "param_groups[0]['lr']"),
    _set(group, "lr", 0.5, "param_groups[0]['lr']"),
    Mistake("group |= a text for lr", _joined_to_a_group, ValueError, "SGD: lr"),
    _set(loader, "batch_size", 0, "at least 1"),
    _set(loader, "shuffle", "yes", "True or False"),
    _set(loader, "drop_last", 1, "True or False"),
    _set(loader, "dataset", FEW, "lamp.DataLoader(dataset, ...)"),
    _set(loader, "seed", 5, "seed=..."),
    _set(loader, "num_workers", 4, "pass a torch DataLoader"),
    _set(network, "training", "no", "True or False"),
    _looked_up(sgd, "minimize", "optimizer.step()"),
    _looked_up(sgd, "apply_gradients", "optimizer.step()"),
    _looked_up(sgd, "register_step_post_hook", "on_batch"),
    _looked_up(sgd, "foreach", "leave it out"),
    _looked_up(sgd, "parameters", "param_groups[0]['params']"),
    _set(sgd, "state", {}, "load_state_dict"),
    _set(sgd, "defaults", {}, "optimizer.lr = 0.1"),
    _set(sgd, "step", 3, "optimizer.step(...)"),
    _set(sgd, "zero_grad", None, "is a method"),
    _key(sgd, "lr", ArgumentError, "optimizer.lr"),
    _item(sgd, "lr", 0.5, ArgumentError, "SGD", "optimizer.lr"),
    Mistake(
        "append to a group's parameters",
        lambda: group()["params"].append(weight()),
        ArgumentError,
        "parameters of a group",
        ("add_param_group",),
    ),
    _item(groups, 0, {"lr": 0.5}, ArgumentError, "param_groups", "add_param_group"),
    # ---- parameters and options of modules
    _looked_up(weight, "register_hook", "weight.grad between"),
    _looked_up(weight, "register_post_accumulate_grad_hook", "weight.grad between"),
    _looked_up(weight, "retain_grad", "always there"),
    _looked_up(weight, "backward", "model.backward(criterion.backward())"),
    _looked_up(weight, "assign", "weight.data = tensor"),
    _looked_up(weight, "t_", "same shape"),
    _looked_up(weight, "unsqueeze_", "same shape"),
    _looked_up(weight, "resize_", "same shape"),
    _looked_up(network, "get_weights", "state_dict()"),
    _looked_up(network, "set_weights", "load_state_dict"),
    _looked_up(network, "count_params", "lamp.summary(model, x).parameters"),
    _looked_up(network, "init_weights", "reset_parameters()"),
    _dropout(1.5),
    _dropout(-0.1),
    _dropout(None),
    _dropout("0.5"),
    # ---- data sets
    _set(few, "inputs", 3, "dataclasses.replace(dataset"),
    _set(few, "classes", ("a", "b"), "dataclasses.replace(dataset"),
    _set(few, "note", "mine", "dataclasses.replace(dataset"),
    Mistake("del dataset.inputs", lambda: delattr(few(), "inputs"), ArgumentError, "Dataset", ("del inputs",)),
    Mistake("1 + a data set", lambda: 1 + few(), DTypeError, "Dataset", ("ConcatDataset",)),
    _looked_up(few, "shuffle", "shuffle=True"),
    _looked_up(few, "map", "function(dataset.inputs)"),
    _looked_up(few, "to_numpy", "dataset.inputs.numpy()"),
    _looked_up(few, "head", "dataset[:5]"),
    _joined("tensors", lambda: (X, Y), DTypeError, "Dataset", "ConcatDataset"),
    _joined("other inputs", lambda: lamp.Dataset(X[:, :2], Y), ShapeError, "inputs", "(n, 3)"),
    _joined("other targets", lambda: lamp.Dataset(X, Y.float()), DTypeError, "targets", "torch.int64"),
    _joined("other classes", lambda: lamp.Dataset(X, Y, classes=["a", "b"]), ArgumentError, "classes", "('a', 'b')"),
    Mistake("samples beyond the end", lambda: FEW[[1, 99]], IndexError, "data set", ("99", "below 12")),
    Mistake("a mask of another length", lambda: FEW[torch.ones(3).bool()], IndexError, "data set", ("12 samples",)),
    # ---- results
    _key(evaluated, "accuracy", KeyError, "metrics="),
    _looked_up(evaluated, "loss", "values['loss']"),
    _key(last, "val_loss", KeyError, "validation="),
    _key(scores, "accuracy", KeyError, "metrics="),
    _looked_up(row, "lr", "row.setting['lr']"),
    _looked_up(row, "params", "row.setting"),
    _looked_up(row, "loss", "row.mean"),
    _key(row, "lr", ArgumentError, "row.setting['lr']"),
    _looked_up(summary, "total_params", "summary.parameters"),
    _looked_up(summary, "flops", "summary.multiplications"),
    _looked_up(best, "lr", "setting['lr']"),
    _key(best, "learning_rate", KeyError, "expected  lr"),
    _looked_up(drawn, "lr", "setting['lr']"),
    Mistake("grid()[0]['rate']", lambda: settings()[0]["rate"], KeyError, "rate", ("expected  lr",)),
    # ---- callbacks
    _looked_up(stopping, "counter", "best_epoch"),
    _looked_up(stopping, "stopped_epoch", "history.stopped"),
    _looked_up(stopping, "step", "callbacks="),
    _looked_up(stopping, "model", "training.model"),
    _looked_up(checkpoint, "best_model_path", "checkpoint.saved()"),
    _looked_up(checkpoint, "load", "lamp.load(model, path)"),
    _set(checkpoint, "keep", 5, "lamp.Checkpoint(folder"),
    _stopping_with("patience", "five"),
    _stopping_with("mode", "up"),
    _stopping_with("min_delta", None),
    _stopping_with("restore_best", 1),
    _in_a_callback("training.logs", lambda training: training.logs["loss"], AttributeError, "training.history.last"),
    _in_a_callback("training.lr", lambda training: training.lr, AttributeError, "training.optimizer.lr"),
    _in_a_callback("training.save", lambda training: training.save("x"), AttributeError, "lamp.save(training.model"),
    _in_a_callback("training.stop_training()", lambda training: training.stop_training(), AttributeError, "stop("),
    _in_a_callback("training.stop()", lambda training: training.stop(), TypeError, "why"),
    _in_a_callback("training['loss']", lambda training: training["loss"], ArgumentError, "training.history.last"),
    _callback("after_epoch"),
    _callback("on_epcoh"),
    # ---- metrics
    Mistake("accuracy of scores alone", lambda: lamp.accuracy(X), TypeError, "accuracy", ("target",)),  # type: ignore[call-arg]
    Mistake(
        "accuracy(topk=5)",
        lambda: lamp.accuracy(X, Y, topk=5),  # type: ignore[call-arg]
        TypeError,
        "topk",
        ("lamp.Accuracy(top_k=5)",),
    ),
    Mistake("Accuracy(10), of ten classes", lambda: lamp.Accuracy(10), ArgumentError, "threshold", ("Accuracy()",)),
    Mistake(
        "ConfusionMatrix(2), of two classes",
        lambda: lamp.metrics.ConfusionMatrix(2),
        ArgumentError,
        "threshold",
        ("ConfusionMatrix()",),
    ),
    # ---- estimators
    _looked_up(classifier, "coefs_", "call fit(X, y) first"),
    _looked_up(classifier, "parameters", "model.network_"),
    _looked_up(classifier, "save", "lamp.save(model.network_, path)"),
    _looked_up(classifier, "transform", "ends in its predictions"),
]
