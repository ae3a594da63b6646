"""Estimators of several members: what each holds out, how sure they are together; and columns in bins."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="the estimators need scikit-learn 1.6")

from sklearn import datasets

import lamp
from lamp.interop.sklearn import learner
from lamp.interop.sklearn.samples import MOST_FOLDED, MOST_HELD_OUT, Samples

QUICK = {"max_iter": 5, "hidden_layer_sizes": (7,), "engine": "eager", "random_state": 0}
BOTH = pytest.mark.parametrize("kind", [lamp.MLPClassifier, lamp.MLPRegressor], ids=["classifier", "regressor"])


def noisy(rows=400, columns=20, right=0.75):
    """Two classes that the sign of one column tells, with this probability: networks soon know it by heart."""
    random = np.random.RandomState(0)
    inputs = random.randn(rows, columns)
    return inputs, np.where(random.rand(rows) < right, inputs[:, 0] > 0, inputs[:, 0] <= 0).astype(int)


def log_loss(proba, labels):
    return -np.log(proba[np.arange(len(labels)), labels]).mean()


@pytest.fixture
def loaders(monkeypatch):
    """The training and the validation loader of each training."""
    found = []

    def fit(model, criterion, optimizer, loader, *, validation, **options):
        found.append((loader, validation))
        return lamp.fit(model, criterion, optimizer, loader, validation=validation, **options)

    monkeypatch.setattr(learner, "fit", fit)
    return found


# ---- what members hold out -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("rows", "members", "fraction"), [(211, 8, 0.1), (97, 2, 0.2), (60, 25, 0.1), (50, 3, 0.99)])
def test_folds(rows, members, fraction):
    random = np.random.RandomState(0)
    some = Samples(random.randn(rows, 3), random.randint(0, 3, rows), np.ones(rows))
    folds = some.folds(members, fraction, 5, by_class=True)
    for trained, held_out in zip(folds.training, folds.held_out, strict=True):
        assert sorted([*trained, *held_out.flatten()]) == list(range(rows))
        assert abs(held_out.size - min(fraction, 0.5) * rows) <= 2 / fraction
        for label in range(3):
            share = (some.targets == label).mean()
            assert abs((some.targets[held_out] == label).mean(1) - share).max() <= 2 / held_out.shape[1]
    assert set(folds.training.flatten()) == set(range(rows))
    order = random.permutation(rows)
    again = some.take(order).folds(members, fraction, 5, by_class=True)
    assert np.array_equal(order[again.held_out], folds.held_out)
    assert not np.array_equal(some.folds(members, fraction, 6, by_class=True).held_out, folds.held_out)
    outputs = np.stack([np.broadcast_to(np.arange(members)[:, None, None], folds.held_out.shape), folds.held_out], -1)
    by_members, unseen = folds.unseen(outputs)
    assert len(set(unseen)) == len(unseen) > 0
    assert len(by_members) == min(members - 1, 2)
    for found in by_members:
        assert np.array_equal(found[:, 1], unseen)
        assert not any(row in folds.training[member] for member, row in found)
    assert members == 2 or (by_members[0, :, 0] != by_members[1, :, 0]).all()


@BOTH
def test_no_member_trains_on_what_it_holds_out_and_all_rows_are_trained_on(kind, loaders):
    inputs, labels = noisy(300)
    kind(**QUICK, members=4).fit(inputs, labels)
    ((loader, validation),) = loaders
    trained, held_out = [set() for _ in range(4)], [set() for _ in range(4)]
    for batches, found in ((loader, trained), (validation, held_out)):
        for _ in range(12):
            for x, _ in batches:
                for k, rows in enumerate(x):
                    found[k] |= {tuple(row) for row in rows.tolist()}
    for one, other in zip(trained, held_out, strict=True):
        assert not one & other
        assert len(one) + len(other) == 300
        assert len(other) == 60
    assert len(set.union(*trained)) == 300
    assert len(set.union(*held_out)) == 150  # five of ten parts


def test_what_is_held_out_by_default(loaders):
    inputs, labels = noisy(39)
    one, several, few, large, all_rows = range(5)
    lamp.MLPClassifier(**QUICK).fit(inputs, labels)
    lamp.MLPClassifier(**QUICK, members=2).fit(*noisy(40))
    lamp.MLPClassifier(**QUICK, members=2).fit(inputs, labels)
    lamp.MLPClassifier(**{**QUICK, "max_iter": 1}, members=2).fit(*noisy(2 * MOST_FOLDED, 2))
    lamp.MLPClassifier(**QUICK, members=2, early_stopping=False).fit(*noisy(40))
    assert [each[1] is not None for each in loaders] == [False, True, False, True, False]
    assert loaders[several][0].samples == 32
    assert loaders[few][0].samples == loaders[one][0].samples == 39
    assert len(loaders[large][1][0]) == pytest.approx(MOST_HELD_OUT, rel=0.01)  # the same for all members
    assert loaders[all_rows][0].samples == 40


def test_a_warm_start_goes_on_holding_out_the_same_rows(loaders):
    model = lamp.MLPClassifier(**{**QUICK, "random_state": None}, members=3, warm_start=True)
    for _ in range(2):
        model.fit(*noisy(300))
    both = [{tuple(row) for _ in range(12) for x, _ in loader for row in x[1].tolist()} for loader, _ in loaders]
    assert both[0] == both[1]
    assert len(both[0]) == 240


@pytest.mark.parametrize("step", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("parameter", "value"),
    [("members", 3), ("hidden_layer_sizes", (5,)), ("activation", "tanh"), ("dtype", "float64"), ("dropout", 0.3)],
)
def test_networks_that_exist_are_not_made_anew(step, parameter, value):
    """A parameter that they are made of would be ignored, so it is refused."""
    model = lamp.MLPClassifier(**QUICK, members=2, warm_start=True).fit(*noisy(40))
    old = model.get_params()[parameter]
    model.set_params(**{parameter: value})
    with pytest.raises(lamp.ArgumentError, match=f"{parameter} was changed after the networks were made"):
        getattr(model, step)(*noisy(40))
    getattr(pickle.loads(pickle.dumps(model.set_params(**{parameter: old}))), step)(*noisy(40))
    model.set_params(**{parameter: value, "warm_start": False}).fit(*noisy(40))


def test_defaults_of_several_members_and_values_that_win():
    inputs, labels = noisy(60)
    sizes = {1: [100, 2], 2: [64, 64, 2]}
    for members, expected in sizes.items():
        network = lamp.MLPClassifier(members=members, max_iter=1, engine="eager").fit(inputs, labels).network_
        assert [layer.out_features for layer in network.modules() if isinstance(layer, lamp.Linear)] == expected
        assert not any(isinstance(module, lamp.Dropout) for module in network.modules())


# ---- how good they are -----------------------------------------------------------------------------------------------
def test_an_ensemble_is_better_than_a_member_that_has_all_of_many_rows():
    """What protects members from too few rows must not cost much where rows are plentiful."""
    inputs, targets = datasets.make_friedman1(28_000, 8, noise=0.1, random_state=0)
    (x, new_x), (y, new_y) = np.split(inputs, [24_000]), np.split(targets, [24_000])
    options = {"hidden_layer_sizes": (32, 32), "max_iter": 5, "random_state": 0, "members": 4}
    alone = lamp.MLPRegressor(**options, early_stopping=False).fit(x, y)
    outputs = lamp.predict(alone.network_, torch.from_numpy(alone._standard(new_x, "float32"))).numpy()
    error_of_a_member = np.square(alone._predictions(outputs)[..., 0] - new_y).mean()
    error = np.square(lamp.MLPRegressor(**options).fit(x, y).predict(new_x) - new_y).mean()
    assert error < error_of_a_member


def test_members_end_together_and_each_has_its_best_weights(loaders):
    """A kernel for the members that remain would take longer to prepare than the rest of the training."""
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 200}, members=4, n_iter_no_change=3, learning_rate="constant")
    model.fit(*noisy())
    losses = model.history_["validation_loss"]  # (epochs, members)
    assert 4 < model.n_iter_ < 200
    assert losses.isfinite().all()
    assert not model.history_.endings
    assert len(set(losses.argmin(0).tolist())) > 1
    ((_, validation),) = loaders
    kept = lamp.evaluate(model.network_, model._learner.criterion, validation)["loss"]
    assert kept == pytest.approx(losses.min(0).values, abs=2e-4)  # tol is 1e-4


# ---- how sure they are -----------------------------------------------------------------------------------------------
def test_members_are_as_sure_as_they_are_right():
    inputs, labels = noisy()
    (x, new_x), (y, new_y) = np.split(inputs, 2), np.split(labels, 2)
    options = {"hidden_layer_sizes": (50,), "max_iter": 60, "random_state": 0, "members": 4}
    plain = lamp.MLPClassifier(**options, early_stopping=False, dropout=0.0).fit(x, y)
    assert plain.temperature_ == 1.0
    proba = plain.predict_proba(new_x)
    assert log_loss(proba, new_y) > 1.0
    assert proba.max(1).mean() - (proba.argmax(1) == new_y).mean() > 0.25  # overconfident
    model = lamp.MLPClassifier(**options).fit(x, y)
    proba = model.predict_proba(new_x)
    assert log_loss(proba, new_y) < 0.68
    assert abs(proba.max(1).mean() - (proba.argmax(1) == new_y).mean()) < 0.15


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_the_temperature_has_the_lowest_loss_on_a_validation_set(weighted):
    """Which all members hold out, so that the search is over their mean."""
    inputs, labels = noisy()
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 40}, members=3, n_iter_no_change=np.inf)
    weights = np.random.RandomState(1).rand(200) * 3 if weighted else np.ones(200)
    held_out = {"X_val": inputs[200:], "y_val": labels[200:], "sample_weight_val": weights}
    model.fit(inputs[:200], labels[:200], **held_out)

    def loss(temperature):
        other = copy.copy(model)
        other.temperature_ = temperature
        own = -np.log(other.predict_proba(inputs[200:]))
        doubt = 1 / (weights.sum() + 2)
        right, wrong = own[np.arange(200), labels[200:]], own[np.arange(200), 1 - labels[200:]]
        return (weights * ((1 - doubt) * right + doubt * wrong)).sum() + np.log(temperature) ** 2

    assert model.temperature_ != pytest.approx(1.0, abs=0.01)
    for factor in (0.97, 1.03):
        assert loss(model.temperature_) < loss(model.temperature_ * factor)


def test_probabilities_are_of_scores_divided_by_the_temperature():
    inputs, labels = noisy()
    model = lamp.MLPClassifier(**QUICK, members=3, dtype="float64").fit(inputs, labels)
    assert model.temperature_ != pytest.approx(1.0, abs=1e-3)
    scores = lamp.predict(model.network_, torch.from_numpy(model._standard(inputs, "float64")))
    expected = (scores / model.temperature_).softmax(-1).mean(0).numpy()
    assert np.abs(model.predict_proba(inputs) - expected).max() < 1e-12
    assert pickle.loads(pickle.dumps(model)).temperature_ == model.temperature_
    before = model.temperature_
    assert model.partial_fit(inputs, labels).temperature_ == before


def test_where_there_is_no_temperature(loaders):
    inputs, labels = noisy(100)
    several = np.stack([labels, 1 - labels, inputs[:, 1] > 0], 1).astype(int)
    for options, targets in (
        ({"members": 1, "early_stopping": True}, labels),
        ({"members": 2, "loss": "mse"}, labels),
        ({"members": 2, "loss": "mse"}, several),
        ({"members": 2}, np.zeros(100)),
    ):
        assert lamp.MLPClassifier(**QUICK, **options).fit(inputs, targets).temperature_ == 1.0
    assert lamp.MLPClassifier(**QUICK, members=2).fit(inputs, several).temperature_ != 1.0
    assert not hasattr(lamp.MLPRegressor(**QUICK, members=2).fit(inputs, labels), "temperature_")


# ---- columns in bins -------------------------------------------------------------------------------------------------
def test_bins_learn_what_jumps():
    inputs = np.random.RandomState(0).rand(600, 2)
    targets = np.floor(inputs[:, 0] * 10) % 2 + inputs[:, 1]
    options = {"hidden_layer_sizes": (20,), "random_state": 0, "members": 2}
    scores = [
        lamp.MLPRegressor(**options, encoding=encoding, n_bins=30).fit(inputs[:400], targets[:400])
        .score(inputs[400:], targets[400:])
        for encoding in (None, "piecewise")
    ]  # fmt: skip
    assert scores[1] > max(0.7, scores[0])


def test_an_encoding_is_kept_in_copies_and_goes_on():
    inputs, labels = noisy(100, 4)
    model = lamp.MLPClassifier(**QUICK, members=2, encoding="piecewise", n_bins=4).fit(inputs, labels)
    twin = pickle.loads(pickle.dumps(model))
    assert np.array_equal(twin.predict_proba(inputs), model.predict_proba(inputs))
    assert np.array_equal(twin.partial_fit(inputs, labels).coefs_[0], model.partial_fit(inputs, labels).coefs_[0])


@BOTH
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_coefs_are_of_raw_columns_and_shares_of_bins(kind, members, dtype):
    inputs, labels = datasets.load_iris(return_X_y=True)
    inputs = np.hstack([inputs * [1.0, 100.0, 0.01, 1.0] + [0.0, 1e3, 0.0, 7.0], np.full((150, 1), 4.0)])
    options = {**QUICK, "members": members, "hidden_layer_sizes": (), "early_stopping": False, "dtype": dtype}
    model = kind(**options, encoding="piecewise", n_bins=5).fit(inputs, labels)
    standard = model._standard(inputs, "float64")
    shares = []
    for k, edges in enumerate(model.network_[0].edges if members == 1 else model.network_[0][0].edges):
        numbers = edges.double().numpy()
        shares += [((standard[:, k] - a) / (b - a)).clip(0, 1) for a, b in pairwise(numbers)]
    assert len(shares) == 4 * 5  # the constant column has no bins
    table = np.column_stack([inputs, *shares])
    weight, bias = model.coefs_[0], model.intercepts_[0]
    outputs = table @ weight + (bias[:, None] if members > 1 else bias)
    if kind is lamp.MLPClassifier:
        e = np.exp(outputs - outputs.max(-1, keepdims=True))
        outputs, found = e / e.sum(-1, keepdims=True), model.predict_proba(inputs)
    else:
        found = model.predict(inputs)[:, None]
    assert np.abs((outputs.mean(0) if members > 1 else outputs) - found).max() < 1e-6
    other = inputs.copy()
    other[:, 4] = 1e5
    assert np.array_equal(model.predict(inputs), model.predict(other))
