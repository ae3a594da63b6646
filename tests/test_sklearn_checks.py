"""scikit-learn's own checks of an estimator: none may fail, in several configurations, with no list of exceptions.

By default the first configuration runs all of them and the others a share; LAMP_ALL_CHECKS=1 runs all (some 20 seconds
for each configuration on one core).
"""

import os
import warnings
from unittest import SkipTest

import pytest

import lamp

generator = pytest.importorskip("sklearn.utils.estimator_checks", reason="the estimators need scikit-learn 1.6")

ALL = os.environ.get("LAMP_ALL_CHECKS") == "1"
SHARE = 6  # one check of so many runs by default
ALWAYS = ("sample_weight", "one_label")
CONFIGURATIONS = {
    "default": {},
    "members": {"members": 4},
    "encoding": {"encoding": "piecewise", "n_bins": 4, "members": 2, "hidden_layer_sizes": (20,)},
    "early stopping, dropout": {"early_stopping": True, "dropout": 0.2},
    "sgd, float64": {
        "solver": "sgd",
        "learning_rate": "constant",
        "activation": "tanh",
        "standardize": False,
        "dtype": "float64",
    },
    "other loss, schedule": {"loss": "huber", "members": 2, "solver": "adamw", "batch_size": 16, "clip_norm": 1.0},
}


def name_of(check):
    """What a check is called, in a partial too."""
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize("kind", [lamp.MLPClassifier, lamp.MLPRegressor], ids=["classifier", "regressor"])
@pytest.mark.parametrize("number", range(len(CONFIGURATIONS)), ids=CONFIGURATIONS)
def test_scikit_learns_checks_pass(kind, number):
    options = {**list(CONFIGURATIONS.values())[number], **({} if ALL else {"max_iter": 20})}
    options = {**options, "engine": "eager"} if number and not ALL else options  # little is worth compiling
    checks = list(generator.estimator_checks_generator(kind(**options)))
    assert len(checks) > 50
    passed = 0
    for k, (estimator, check) in enumerate(checks):
        if ALL or k % SHARE == number or any(word in name_of(check) for word in ALWAYS if number == 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    check(estimator)
                    passed += 1
                except SkipTest:  # of packages that are not installed
                    pass
    assert passed >= (50 if ALL else 8)
