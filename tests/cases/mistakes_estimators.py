"""Mistakes with the scikit-learn estimators. What scikit-learn itself validates has its own errors and is not here."""

import numpy as np

import lamp
from tests.cases.mistakes import Mistake

X = np.random.RandomState(0).randn(40, 3)
Y, LABELS = X[:, 0], (X[:, 0] > 0).astype(int)


def regressor(**options):
    return lamp.MLPRegressor(**options).fit(X, Y)


def classifier(**options):
    return lamp.MLPClassifier(**options).fit(X, LABELS)


def _option(name, value, where=None, kind=classifier):
    return Mistake(f"{kind.__name__}({name}={value!r})", lambda: kind(**{name: value}), ValueError, where or name)


MISTAKES = [
    _option("hidden_layer_sizes", "100"),
    _option("hidden_layer_sizes", (10, -1)),
    _option("hidden_layer_sizes", 2.5),
    _option("activation", "rellu", "activation"),
    _option("activation", None, "activation"),
    _option("solver", "lbfgs", "solver"),
    _option("solver", "Adam W", "solver"),
    _option("solver", lamp.MSELoss, "solver"),
    _option("alpha", -1.0),
    _option("alpha", "0.1"),
    _option("dropout", 1.5),
    _option("dropout", "0.5"),
    _option("batch_size", 0),
    _option("batch_size", "all"),
    _option("learning_rate", "fast"),
    _option("learning_rate_init", 0.0),
    _option("learning_rate_init", "0.1"),
    _option("max_iter", 0),
    _option("max_iter", 2.5),
    _option("members", 0),
    _option("members", "8"),
    _option("encoding", "spline"),
    _option("n_bins", 0),
    _option("early_stopping", "yes"),
    _option("validation_fraction", "all"),
    _option("dtype", "int32"),
    _option("engine", "gpu"),
    _option("clip_norm", -1.0),
    _option("validation_fraction", 1.5),
    _option("shuffle", "yes"),
    _option("loss", "hinge"),
    _option("loss", lamp.NLLLoss(), "NLLLoss"),
    _option("loss", lamp.MSELoss(reduction="sum"), "loss"),
    _option("class_weight", "even"),
    _option("class_weight", {0: -1.0}, "class"),
    _option("class_weight", {"0": 1.0, "1": 5.0}, "class_weight"),
    _option("loss", lamp.CrossEntropyLoss(), "CrossEntropyLoss", kind=regressor),
    _option("loss", "log_loss", "loss", kind=regressor),
    Mistake(
        "early stopping on two rows",
        lambda: lamp.MLPRegressor(early_stopping=True).fit(np.ones((2, 1)), np.ones(2)),
        lamp.DataError,
        "validation set",
        ("X_val",),
    ),
    Mistake(
        "X_val without y_val",
        lambda: lamp.MLPRegressor().fit(X, Y, X_val=X),
        lamp.ArgumentError,
        "validation",
        ("y_val",),
    ),
    Mistake(
        "sample weights that are all zero",
        lambda: lamp.MLPRegressor().fit(X, Y, np.zeros(40)),
        lamp.DataError,
        "sample weights",
    ),
    Mistake(
        "negative sample weights",
        lambda: lamp.MLPRegressor().fit(X, Y, -np.ones(40)),
        lamp.DataError,
        "sample_weight",
    ),
    Mistake(
        "partial_fit without classes",
        lambda: lamp.MLPClassifier().partial_fit(X, LABELS),
        lamp.ArgumentError,
        "partial_fit",
        ("classes",),
    ),
    Mistake(
        "partial_fit with a new class",
        lambda: lamp.MLPClassifier().partial_fit(X, LABELS, classes=[0, 1]).partial_fit(X, LABELS + 5),
        lamp.LabelError,
        "classes",
    ),
    Mistake(
        "numbers beyond float32",
        lambda: lamp.MLPRegressor(standardize=False).fit(X * 1e100, Y),
        lamp.DataError,
        "float32",
        ("standardize=True",),
    ),
]
