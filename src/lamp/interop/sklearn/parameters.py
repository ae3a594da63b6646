"""The estimators' parameters: what each means, and what it may be."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamp.errors import ArgumentError
from lamp.interop.sklearn.rates import PLANS
from lamp.training.choosing import ENGINES

DTYPES = ("float32", "float64")

ABOUT = """
    Parameters have scikit-learn's names and meanings where it has them:

    hidden_layer_sizes    units of each hidden layer; a number for one layer, () for none: a linear model
    activation            "relu", "tanh", "logistic", "identity", the name of any activation of lamp's, a module or its
                          class, a module of your own too
    solver                "adam", "adamw", "sgd", "rmsprop", "adagrad", an optimizer class, or a function that makes an
                          optimizer of parameter groups
    alpha                 L2 penalty of the weights (not of the intercepts): alpha / 2 |W|^2 over the weight of the
                          samples of a batch
    dropout               the probability to drop each unit of the hidden layers in a step
    batch_size            at most all samples; "auto": an eighth of them up to 32, then a fiftieth up to 256, and what
                          is left over in an epoch waits for the next one (if samples are shuffled)
    learning_rate         "cosine": up for a tenth of max_iter, then down to 0 along half a cosine; "constant",
                          "invscaling", "adaptive"; or a function of the optimizer that makes a lamp schedule, with a
                          step an epoch. partial_fit, which knows no end, takes "cosine" for "constant"
    learning_rate_init    the (highest) learning rate
    power_t               exponent of "invscaling"
    max_iter              epochs
    shuffle               whether every epoch takes the samples in a new order
    standardize           whether inputs (and a regressor's targets) are brought to mean 0 and deviation 1 first
    members               how many networks are trained, as one population; what they predict is averaged
    random_state          decides initial weights, order, dropout, and which samples are held out
    tol, n_iter_no_change the training ends when the loss (with early_stopping that of the samples held out) has not
                          become better by tol for so many epochs; "cosine" without early_stopping goes on to max_iter
    verbose               whether progress is shown, on stderr
    warm_start            whether fit goes on from the weights that there are
    momentum, nesterovs_momentum    of "sgd"; beta_1, beta_2, epsilon    of "adam" and "adamw"
    early_stopping        hold samples out (or take X_val of fit), end each network when its loss on them does not
                          improve, and take its best weights; partial_fit learns from all it is given
    validation_fraction   how many are held out, of each class as many
    clip_norm             the largest norm of a step's gradient; None for any
    dtype                 "float32" or "float64": what networks compute in while they learn
    engine                "auto", "eager" or "compiled", see lamp.fit

    After fit there are n_features_in_, feature_names_in_ (where the table had names), n_iter_, t_, n_layers_,
    n_outputs_, out_activation_, loss_, best_loss_, loss_curve_ (the mean over members of each epoch's loss with its
    penalty; of a regressor, of standardised targets), validation_loss_curve_ and best_validation_loss_ (None without
    validation), history_ (the lamp.History, each member for itself), and network_ (the lamp network, or the population
    of the members; it takes standardised inputs).

    coefs_ and intercepts_ are the weights (in, out) and (out,) of each layer in float64, for inputs and outputs as they
    are: what standardises is folded in. With several members they are (members, in, out) and (members, out).

    Unlike scikit-learn's: tables are standardised, batches smaller, and the rate ten times as high and planned over 30
    epochs, so that a training is over sooner; two classes have two outputs; validation is by loss, not by score;
    samples to hold out are chosen by their contents, so that equal ones stay together; there is no "lbfgs".
    In tables of up to 256 rows equal rows are merged into one of their common weight, so that a weight of 2 is exactly
    as good as a row that comes twice, and the order of rows does not matter. In larger ones that is so on average.
    Sparse tables are made dense.
"""

Check = Callable[[Any], bool]


def _whole(least: int) -> Check:
    return lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


def _number(low: float, high: float = math.inf, *, low_too: bool = True, high_too: bool = False) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        number = float(value)
        return (number >= low if low_too else number > low) and (number <= high if high_too else number < high)

    return check


def _switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _one_of(*names: str) -> Check:
    return lambda value: isinstance(value, str) and value in names


def _any_of(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


WHAT: dict[str, tuple[str, Check]] = {
    "alpha": ("a number of at least 0", _number(0.0)),
    "dropout": ("a number from 0 to below 1", _number(0.0, 1.0)),
    "batch_size": ('"auto" or an integer of at least 1', _any_of(_one_of("auto"), _whole(1))),
    "learning_rate": (f"{', '.join(PLANS)}, or a function of the optimizer", _any_of(_one_of(*PLANS), callable)),
    "learning_rate_init": ("a positive number", _number(0.0, low_too=False)),
    "power_t": ("a number of at least 0", _number(0.0)),
    "max_iter": ("an integer of at least 1", _whole(1)),
    "shuffle": ("True or False", _switch),
    "standardize": ("True or False", _switch),
    "members": ("an integer of at least 1", _whole(1)),
    "tol": ("a number of at least 0", _number(0.0)),
    "warm_start": ("True or False", _switch),
    "momentum": ("a number from 0 to 1", _number(0.0, 1.0, high_too=True)),
    "nesterovs_momentum": ("True or False", _switch),
    "early_stopping": ("True or False", _switch),
    "validation_fraction": ("a number between 0 and 1", _number(0.0, 1.0, low_too=False)),
    "beta_1": ("a number from 0 to below 1", _number(0.0, 1.0)),
    "beta_2": ("a number from 0 to below 1", _number(0.0, 1.0)),
    "epsilon": ("a positive number", _number(0.0, low_too=False)),
    "n_iter_no_change": (
        "an integer of at least 1, or infinity",
        _any_of(_whole(1), lambda value: isinstance(value, float) and value == math.inf),
    ),
    "clip_norm": ("a positive number or None", _any_of(_number(0.0, low_too=False), lambda value: value is None)),
    "dtype": ("float32 or float64", _one_of(*DTYPES)),
    "engine": (", ".join(ENGINES), _one_of(*ENGINES)),
}


def check_parameters(estimator: Any) -> None:
    """Raise ArgumentError for a parameter that is not what it may be."""
    name = type(estimator).__name__
    for parameter, (expected, check) in WHAT.items():
        value = getattr(estimator, parameter)
        if not check(value):
            raise ArgumentError(
                f"{name}: {parameter} is not what it may be",
                expected=expected,
                got=repr(value),
                fix=f"set_params({parameter}=...)",
            )


def sizes_of(hidden_layer_sizes: Any) -> Sequence[int]:
    """The units of each hidden layer. Raises ArgumentError for what is no list of positive integers."""
    one = isinstance(hidden_layer_sizes, numbers.Integral)
    try:
        sizes = [hidden_layer_sizes] if one else list(hidden_layer_sizes)
        if all(_whole(1)(size) for size in sizes):
            return [int(size) for size in sizes]
    except TypeError:
        pass  # the error below says so
    raise ArgumentError(
        "hidden_layer_sizes must be > 0: the units of each hidden layer",
        expected="positive integers, such as (100,) or (64, 64); () for a linear model",
        got=repr(hidden_layer_sizes),
        fix="name a size for each layer",
    )
