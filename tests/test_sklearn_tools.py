"""The estimators in scikit-learn's hands: pipelines, searches, copies; and what they say of wrong parameters."""

import copy
import pickle

import numpy as np
import pytest
import torch

import lamp

pytest.importorskip("sklearn", reason="the estimators need scikit-learn 1.6")

from sklearn import datasets
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

QUICK = {"max_iter": 5, "hidden_layer_sizes": (7,), "engine": "eager", "random_state": 0}
BOTH = pytest.mark.parametrize("kind", [lamp.MLPClassifier, lamp.MLPRegressor], ids=["classifier", "regressor"])


@pytest.fixture(scope="module")
def iris():
    return datasets.load_iris(return_X_y=True)


def test_pipelines_searches_and_cross_validation(iris):
    pipeline = make_pipeline(MinMaxScaler(), lamp.MLPClassifier(**{**QUICK, "max_iter": 20}))
    assert cross_val_score(pipeline, *iris, cv=3).mean() > 0.8
    grid = {"mlpclassifier__hidden_layer_sizes": [(4,), (9,)], "mlpclassifier__activation": ["tanh", lamp.ELU(0.5)]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(*iris)
    assert search.best_score_ > 0.8
    with_weights = GridSearchCV(lamp.MLPRegressor(**QUICK), {"alpha": [0.1, 1.0]}, cv=2)
    assert with_weights.fit(*iris, sample_weight=np.arange(1, 151)).best_params_["alpha"] in (0.1, 1.0)


@BOTH
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies_are_independent_and_alike(iris, kind, members, way):
    model = kind(**QUICK, members=members, activation="prelu", dropout=0.2, solver="adamw").fit(*iris)
    twin = way(model)
    expected = model.predict(iris[0])
    assert np.array_equal(twin.predict(iris[0]), expected)
    twin.partial_fit(*iris)
    model_too = way(model).partial_fit(*iris)
    assert np.array_equal(twin.coefs_[0], model_too.coefs_[0])
    assert np.array_equal(model.predict(iris[0]), expected)
    assert np.array_equal(model.partial_fit(*iris).coefs_[0], twin.coefs_[0])
    untouched = clone(model)
    assert not hasattr(untouched, "coefs_")
    assert untouched.get_params() == model.get_params()
    assert str(model).startswith(kind.__name__)


def test_names_of_features_are_kept_and_compared():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0]})
    model = lamp.MLPRegressor(**QUICK).fit(frame, [1.0, 2.0, 3.0])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a"]])


@pytest.mark.parametrize(
    "kind",
    ["datetime64[ns]", "timedelta64[ms]", "Date", "Datetime", "Duration", "Time", "a frame", "a frame of pandas"],
)
def test_dates_are_no_numbers(kind):
    """As numbers they would be nanoseconds in one library, and microseconds in another."""
    polars = pytest.importorskip("polars")
    days = np.arange(3).astype("datetime64[D]").astype("datetime64[ns]")
    lasting = days - days[0]
    if kind == "a frame of pandas":
        moments = pytest.importorskip("pandas").DataFrame({"when": days})
    elif kind == "a frame":
        moments = polars.DataFrame({"x": [1.0, 2.0, 3.0], "when": days})
    elif "64" in kind:
        moments = (days if kind.startswith("date") else lasting).astype(kind)
    else:
        moments = polars.Series("when", lasting if kind == "Duration" else days).cast(getattr(polars, kind))
    x, column = np.eye(3), "when" if "frame" in kind else "this"
    with pytest.raises(lamp.DataError, match=f"y: .*{column} holds dates or durations"):
        lamp.MLPRegressor(**QUICK).fit(x, moments)
    table = moments if "frame" in kind else polars.DataFrame({"when": moments})
    with pytest.raises(lamp.DataError, match="X: the column when holds dates or durations"):
        lamp.MLPClassifier(**QUICK).fit(table, [0, 1, 0])
    fitted = lamp.MLPRegressor(**QUICK).fit(np.eye(3)[:, : table.shape[1]], [1.0, 2.0, 3.0])
    with pytest.raises(lamp.DataError, match="X: the column when holds dates or durations"):
        fitted.predict(table)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.bfloat16(), lambda x: x.half(), lambda x: x.requires_grad_(), lambda x: x.to_sparse(),
        lambda x: torch.complex(x, -x).conj().imag, lambda x: x.flip(0).T.contiguous().T.flip(0),
    ],
    ids=["bfloat16", "float16", "with a gradient", "sparse", "a bit for its sign", "another layout"],
)  # fmt: skip
def test_tensors_are_taken_as_arrays(change):
    x = torch.arange(24.0).view(8, 3) % 5
    given, y = change(x.clone()), x[:, 0] - x[:, 1]
    expected = lamp.MLPRegressor(**QUICK).fit(x.numpy(), y.numpy()).predict(x.numpy())
    model = lamp.MLPRegressor(**QUICK).fit(given, y)
    np.testing.assert_allclose(model.predict(given), expected, rtol=1e-6)


def test_parameters_out_of_range_are_told(iris):
    for name, wrong in {
        "alpha": -1.0, "dropout": 1.0, "batch_size": 0, "learning_rate": "fast", "learning_rate_init": 0.0,
        "max_iter": 0, "members": 0, "tol": -1e-3, "validation_fraction": 1.0, "n_iter_no_change": 0,
        "dtype": "float16", "engine": "gpu", "clip_norm": 0.0, "shuffle": "yes", "hidden_layer_sizes": (4, 0),
        "solver": "lbfgs", "beta_1": 1.0, "epsilon": 0.0, "momentum": 2.0, "warm_start": 1, "class_weight": "most",
    }.items():  # fmt: skip
        with pytest.raises(lamp.ArgumentError, match=name):
            lamp.MLPClassifier(**{name: wrong}).fit(*iris)


def test_every_parameter_is_described():
    for kind in (lamp.MLPClassifier, lamp.MLPRegressor):
        for name in kind().get_params():
            assert name in kind.__doc__, name
