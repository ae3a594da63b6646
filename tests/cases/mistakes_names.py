"""Names and items that users of torch, Keras, scikit-learn, and Lightning look for; losses without values."""

from __future__ import annotations

from functools import cache

import torch
from matplotlib.figure import Figure

import lamp
from lamp.errors import ArgumentError, DeviceError, DTypeError
from tests.cases.mistakes import Mistake
from tests.cases.mistakes_fitting import X, Y, network
from tests.cases.mistakes_habits import several, swept


@cache
def sweep():
    return swept()


@cache
def folds():
    return lamp.cross_validate(
        network(), (X, Y), criterion=lamp.CrossEntropyLoss(), optimizer=lamp.SGD, folds=4, epochs=1, progress=False
    )


def _axes():
    return Figure().add_subplot()


def loader():
    return lamp.DataLoader((X, Y), 10)


def _named(name, made, attribute, words):
    return Mistake(
        f"{attribute} of a {name}", lambda: getattr(made(), attribute), AttributeError, name, (attribute, words)
    )


def _item(name, made, index, words):
    return Mistake(f"[{index!r}] of a {name}", lambda: made()[index], ArgumentError, name, (f"[{index!r}]", words))


def _meta(name, loss, *tensors):
    return Mistake(
        f"{name} of tensors without values",
        lambda: loss(*(tensor.to("meta") for tensor in tensors)),
        DeviceError,
        "meta",
        ("cpu",),
    )


P = torch.rand(6, 3)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])

MISTAKES = [
    # ---- what results and loaders hold
    *(
        _named("DataLoader", loader, attribute, words)
        for attribute, words in {
            "num_workers": "data in memory do not need it",
            "sampler": "loader.indices",
            "collate_fn": "cut from tensors",
            "inputs": "loader.dataset",
            "transform": "before the loader is made",
            "to": "dataset.to(device)",
        }.items()
    ),
    *(
        _named("Sweep", sweep, attribute, words)
        for attribute, words in {
            "best_params_": "sweep.best",
            "best_score_": "sweep.rows[0].mean",
            "best_estimator_": "sweep.networks(0)",
            "cv_results_": "sweep.rows",
            "trials": "sweep.rows",
            "to_frame": "sweep.to_csv()",
            "plot": "sweep.heat_map(x, y)",
        }.items()
    ),
    *(
        _named("CrossValidation", folds, attribute, words)
        for attribute, words in {
            "test_score": "result.scores",
            "estimators_": "result.population",
            "best_model": "result.population[k]",
            "histories": "result.history",
            "oof_predictions": "result.outputs",
            "splits": "result.folds[k]",
            "score": "result.mean('loss')",
            "loss": "result.scores['loss']",
            "plot": "result.history.plot()",
        }.items()
    ),
    _item("DataLoader", loader, 0, "next(iter(loader))"),
    _item("Sweep", sweep, 0, "sweep.rows[0]"),
    _item("CrossValidation", folds, "loss", "result.scores['loss']"),
    _item("Ensemble", lambda: lamp.Ensemble(several()), 0, "ensemble.members[0]"),
    Mistake("a loop over a sweep", lambda: list(sweep()), ArgumentError, "Sweep", ("sweep.rows[0]",)),
    Mistake("a loader of a loader", lambda: lamp.DataLoader(loader(), 5), lamp.DataError, "DataLoader", ("dataset",)),
    Mistake(
        "a sample between two", lambda: lamp.Dataset(X, Y)[1.5], ArgumentError, "data set", ("1.5", "whole numbers")
    ),
    *(
        Mistake(
            f"model.{name}, as in Keras and fastai",
            lambda name=name: getattr(network(), name)("net.pt"),
            AttributeError,
            name,
            ("lamp.load(model, path)",),
        )
        for name in ("load", "load_weights")
    ),
    Mistake(
        "the axes in the place of predictions",
        lambda: lamp.plots.points(X[:, :2], Y, _axes()),
        DTypeError,
        "predictions",
        ("Axes", "ax="),
    ),
    # ---- tensors without values
    _meta("CrossEntropyLoss", lamp.CrossEntropyLoss(), P, LABELS),
    _meta("CrossEntropyLoss of probabilities", lamp.CrossEntropyLoss(), P, P),
    _meta("NLLLoss", lamp.NLLLoss(), P, LABELS),
    _meta("BCELoss", lamp.BCELoss(), P, P),
    _meta("BCEWithLogitsLoss", lamp.BCEWithLogitsLoss(), P, P),
    _meta("MultiMarginLoss", lamp.MultiMarginLoss(), P, LABELS),
    _meta("MultiLabelMarginLoss", lamp.MultiLabelMarginLoss(), P, LABELS.repeat(3, 1).mT),
    _meta("GaussianNLLLoss", lamp.GaussianNLLLoss(), P, P, P),
    _meta("an F1", lamp.metrics.F1().update, P, LABELS),
    Mistake(
        "an output without values",
        lambda: lamp.CrossEntropyLoss()(P.to("meta"), LABELS),
        DeviceError,
        "the output",
        ("cpu",),
    ),
    Mistake(
        "indices without values",
        lambda: lamp.Embedding(4, 3)(LABELS.to("meta")),
        DeviceError,
        "Embedding",
        ("input.to('cpu')",),
    ),
    Mistake(
        "accuracy on two devices",
        lambda: lamp.accuracy(P, LABELS.to("meta")),
        DeviceError,
        "targets",
        ("target.to('cpu')",),
    ),
]
