"""The estimators' parameters: their documentation and the checks of their values."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from lamp.errors import ArgumentError
from lamp.interop.sklearn.rates import PLANS
from lamp.optim import Schedule
from lamp.training.choosing import ENGINES

MOST = 2**31  # no count is as large
DTYPES = ("float32", "float64")
AUTO: dict[str, tuple[Any, Any]] = {  # what "auto" means for one member, and for several
    "hidden_layer_sizes": ((100,), (64, 64)),
    "early_stopping": (False, True),
    "validation_fraction": (0.1, 0.2),
}

INSTEAD = {  # attributes of scikit-learn's other models, of Keras and of torch
    **dict.fromkeys(("coef_", "intercept_", "weights"), "model.coefs_ and model.intercepts_, a list of both per layer"),
    **dict.fromkeys(("model", "module", "module_", "net", "network"), "model.network_"),
    **dict.fromkeys(("history", "plot"), "model.history_, and model.history_.plot()"),
    **dict.fromkeys(
        ("parameters", "state_dict", "modules", "eval", "train"), "a method of the network, model.network_"
    ),
    **dict.fromkeys(("save", "load"), "joblib.dump(model, path); lamp.save(model.network_, path) for the weights"),
    **dict.fromkeys(("predict_proba", "decision_function", "classes_"), "lamp.MLPClassifier has predict_proba"),
    "feature_importances_": "sklearn.inspection.permutation_importance(model, X, y)",
    "summary": "lamp.summary(model.network_)",
    "evaluate": "model.score(X, y)",
    **dict.fromkeys(("transform", "fit_transform"), "nothing: a network of this kind ends in its predictions"),
}
ABOUT = """
    Parameters that scikit-learn has too have its names and meanings:

    hidden_layer_sizes    the units of each hidden layer; a number for one layer; () for none, a linear model; "auto"
                          for (100,), and for (64, 64) with several members
    activation            "relu", "tanh", "logistic", "identity", the name of any of lamp's activations, or a module or
                          its class, which may be your own
    solver                "adam", "adamw", "sgd", "rmsprop", "adagrad", an optimizer class, or a function from parameter
                          groups to an optimizer
    alpha                 the L2 penalty on the weights (not on the intercepts): alpha / 2 |W|^2, divided by the number
                          of samples in the batch, times their mean weight if they have weights
    dropout               the probability to drop a unit of the hidden layers in a step
    batch_size            the number of samples per batch, at most all; "auto" for an eighth of the samples up to 32, or
                          a fiftieth of them up to 256. With "auto" and shuffling, an epoch leaves out the samples that
                          do not fill a batch, and other ones each time
    learning_rate         "cosine" for a rise over a tenth of max_iter and a fall to 0 along half a cosine; "constant",
                          "invscaling" or "adaptive"; or a function from the optimizer to a lamp schedule, which steps
                          once per epoch. In partial_fit, whose end is not known, "cosine" means "constant"
    learning_rate_init    the (highest) learning rate
    power_t               the exponent of "invscaling"
    max_iter              the number of epochs, at most
    shuffle               whether every epoch takes the samples in a new order
    standardize           whether inputs (and a regressor's targets) are scaled to mean 0 and standard deviation 1
    encoding              None, or "piecewise": each column is followed by numbers, one for each of its bins, that say
                          which share of the bin lies below the value (lamp.nn.PiecewiseLinearEncoding). It helps where
                          targets bend or jump along single columns. Bins come from the samples of the first fit
    n_bins                the number of bins of a column, at most; columns of two values have none
    members               the number of networks, which are trained as one population; predictions are their mean
    random_state          the seed of initial weights, order, dropout, and of the choice of validation samples
    tol, n_iter_no_change the training ends if the loss (with early_stopping the validation loss) has not improved by
                          tol for this number of epochs; "cosine" without early_stopping always trains max_iter epochs
    verbose               whether progress is shown, on stderr
    warm_start            whether fit continues from the present weights. As in scikit-learn its optimizer is a new
                          one, without the momentum and the moments of the former fit, and the plan of the learning rate
                          begins again; so 3 + 3 epochs are not 6. partial_fit goes on with the optimizer
    momentum, nesterovs_momentum    options of "sgd"
    beta_1, beta_2, epsilon         options of "adam" and "adamw"
    early_stopping        whether to hold out samples (or use fit's X_val), to keep each network's weights of the epoch
                          with the lowest loss on them, and to end the training when no network's loss improves. Not in
                          partial_fit. "auto" for False, and for True with several members
    validation_fraction   the share of samples to hold out, the same for each class; "auto" for 0.1, and for 0.2 but at
                          most 4,000 samples with several members
    clip_norm             the largest norm of a step's gradient; None for no limit
    dtype                 "float32" or "float64", the dtype in which networks are trained
    engine                "auto", "eager" or "compiled", see lamp.fit

    What members > 1 brings: another network, see "auto" above, and held-out samples with early_stopping. Each member
    holds out other samples, so that all are trained on; most held-out ones are held out by two members. In tables of
    more than 20,000 rows all members hold out the same samples, and in tables of fewer than 40 rows "auto" holds out
    none. Held-out samples (or those of X_val) also calibrate a classifier: the members' scores are divided by
    temperature_, the temperature with the lowest log loss. It is for loss="log_loss" and lamp losses of the same
    scores; else, and where nothing is held out, it is 1. partial_fit holds out nothing, and leaves it as it is. What is
    not "auto" holds for any number of members: with early_stopping=False and hidden_layer_sizes=(100,) each member is
    the network that it would be alone.

    Attributes after fit: n_features_in_, feature_names_in_ (if the table had names), n_iter_, t_, n_layers_,
    n_outputs_, out_activation_, loss_, best_loss_, loss_curve_ (per epoch the loss with its penalty, averaged over the
    members; for a regressor, the loss of standardised targets), validation_loss_curve_ and best_validation_loss_ (None
    without validation), history_ (the lamp.History, with each member's values), and network_ (the lamp network, or the
    population of members; it takes standardised inputs, and its scores are not divided by the temperature).

    coefs_ and intercepts_ are the weights (in, out) and (out,) of each layer in float64, converted to inputs and
    outputs that are not standardised, and to scores that are divided by temperature_. With several members they are
    (members, in, out) and (members, out). With an encoding coefs_[0] has the rows of the columns, then those of the
    bins of each column, whose edges network_[0] has.

    Differences from scikit-learn: tables are standardised, batches are smaller, and the learning rate is ten times as
    high and planned over 30 epochs, so that a training takes less time; two classes have two outputs; validation uses
    the loss, not the score; validation samples are chosen by their contents, so that equal ones stay together; there is
    no "lbfgs"; sparse tables are made dense; as in torch, with momentum a changed learning rate applies to earlier
    gradients too, and Adam's epsilon is added after the bias correction. In tables of up to 256 rows, equal rows are
    merged into one row with the sum of their weights. So a weight of 2 is exactly equivalent to a row that occurs
    twice, and the order of rows does not matter. In larger tables this holds on average.
"""

Check = Callable[[Any], bool]

# What networks are made of, besides the sizes of their hidden layers
ARCHITECTURE = ("members", "activation", "dropout", "standardize", "encoding", "n_bins", "dtype")


def _whole(least: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool) and least <= int(value) < MOST

    return check


def _number(low: float, high: float = math.inf, *, low_too: bool = True, high_too: bool = False) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            return False
        number = float(value)
        return (number >= low if low_too else number > low) and (number <= high if high_too else number < high)

    return check


def _maker(value: Any) -> bool:
    return callable(value) and (not isinstance(value, type) or issubclass(value, Schedule))


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
    "learning_rate": (f"{', '.join(PLANS)}, or a function of the optimizer", _any_of(_one_of(*PLANS), _maker)),
    "learning_rate_init": ("a positive number", _number(0.0, low_too=False)),
    "power_t": ("a number of at least 0", _number(0.0)),
    "max_iter": ("an integer of at least 1", _whole(1)),
    "shuffle": ("True or False", _switch),
    "standardize": ("True or False", _switch),
    "encoding": ('None or "piecewise"', _any_of(_one_of("piecewise"), lambda value: value is None)),
    "n_bins": ("an integer of at least 1", _whole(1)),
    "members": ("an integer of at least 1", _whole(1)),
    "tol": ("a number of at least 0", _number(0.0)),
    "verbose": ("True or False", _any_of(_switch, _whole(0))),
    "warm_start": ("True or False", _switch),
    "momentum": ("a number from 0 to 1", _number(0.0, 1.0, high_too=True)),
    "nesterovs_momentum": ("True or False", _switch),
    "early_stopping": ('"auto", True or False', _any_of(_one_of("auto"), _switch)),
    "validation_fraction": (
        '"auto" or a number between 0 and 1',
        _any_of(_one_of("auto"), _number(0.0, 1.0, low_too=False)),
    ),
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


def check_parameters(estimator: Any, built: Mapping[str, str] | None = None) -> None:
    """Raise ArgumentError for a parameter that is not what it may be.

    built  the `architecture_of` networks that are trained further; then it must be the same still
    """
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
    if built is None:
        return
    for parameter, now in architecture_of(estimator).items():
        if now != (before := built[parameter]):
            raise ArgumentError(
                f"{name}: {parameter} was changed after the networks were made",
                expected=f"{parameter}={before}, as before, to train the same networks further",
                got=f"{parameter}={now}",
                fix="fit without warm_start makes new networks",
            )


def architecture_of(estimator: Any) -> dict[str, str]:
    """The parameters that a network is made of, as text; fit makes new networks from them, a warm start does not."""
    sizes = tuple(sizes_of(decided(estimator, "hidden_layer_sizes")))
    return {
        **{name: _shown(decided(estimator, name)) for name in ARCHITECTURE},
        "hidden_layer_sizes": repr(sizes),
    }


def _shown(value: Any) -> str:
    """A parameter as text that does not change when the estimator is pickled."""
    return str(getattr(value, "__qualname__", None) or repr(value))


def decided(estimator: Any, parameter: str) -> Any:
    """The value of a parameter that may be "auto"."""
    value = getattr(estimator, parameter)
    return AUTO[parameter][int(estimator.members) > 1] if isinstance(value, str) and value == "auto" else value


def sizes_of(hidden_layer_sizes: Any) -> Sequence[int]:
    """The units of each hidden layer. Raises ArgumentError for what is no list of positive integers."""
    one = isinstance(hidden_layer_sizes, numbers.Integral)
    try:
        sizes = [hidden_layer_sizes] if one else list(hidden_layer_sizes)
        listed = one or not isinstance(hidden_layer_sizes, str | bytes | Mapping | Set | Iterator)
        if listed and all(_whole(1)(size) for size in sizes):
            return [int(size) for size in sizes]
    except TypeError:
        pass  # the error below says so
    raise ArgumentError(
        "hidden_layer_sizes must be > 0: the units of each hidden layer",
        expected="positive integers, such as (100,) or (64, 64); () for a linear model",
        got=repr(hidden_layer_sizes),
        fix="name a size for each layer",
    )
