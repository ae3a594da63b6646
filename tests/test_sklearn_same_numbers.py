"""lamp's estimators with scikit-learn's settings make scikit-learn's steps: weights and losses are equal."""

import math
import warnings

import numpy as np
import pytest
from sklearn import neural_network

import lamp

ROWS, FEATURES, BATCH, EPOCHS = 300, 4, 100, 6  # more rows than are merged where they are equal
SAME = {
    "hidden_layer_sizes": (7,),
    "activation": "tanh",
    "solver": "sgd",
    "momentum": 0.0,
    "nesterovs_momentum": False,
    "alpha": 0.7,
    "learning_rate_init": 0.05,
    "shuffle": False,
    "tol": 0.0,
    "n_iter_no_change": 1000,
    "warm_start": True,
}


def table(kind):
    random = np.random.RandomState(3)
    x = random.randn(ROWS, FEATURES)
    scores = x @ random.randn(FEATURES, 3) + 0.1 * random.randn(ROWS, 3)
    targets = {
        "one": scores[:, 0],
        "outputs": scores,
        "classes": scores.argmax(1),
        "labels": (scores > 0.3).astype(int),
    }
    return x, targets[kind]


def pair(kind, **options):
    """The same kind of estimator of both, with the same weights, after an epoch of which nothing is left but them."""
    name = "MLPRegressor" if kind in ("one", "outputs") else "MLPClassifier"
    x, y = table(kind)
    settings = {**SAME, "batch_size": BATCH, "learning_rate": "constant", "max_iter": 1, **options}
    ours = getattr(lamp, name)(**settings, standardize=False, dtype="float64", random_state=0)
    theirs = getattr(neural_network, name)(**{k: v for k, v in settings.items() if k != "engine"}, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours.fit(x, y)
        theirs.fit(x, y)
    for place, weights in zip(theirs.coefs_, ours.coefs_, strict=True):
        place[...] = weights
    for place, weights in zip(theirs.intercepts_, ours.intercepts_, strict=True):
        place[...] = weights
    return ours, theirs, x, y


def go_on(model, x, y, epochs):
    model.set_params(max_iter=epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged
        model.fit(x, y)


def assert_same_weights(ours, theirs):
    for mine, other in zip([*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_warm_start_begins_without_velocity_and_partial_fit_keeps_it(nesterov):
    """So 3 + 3 epochs are not 6, neither here nor in scikit-learn."""
    momentum = {"momentum": 0.9, "nesterovs_momentum": nesterov}
    of_parts = []
    for parts in ([6], [3, 3]):
        ours, theirs, x, y = pair("one", **momentum)
        for model in (ours, theirs):
            for epochs in parts:
                go_on(model, x, y, epochs)
        assert_same_weights(ours, theirs)
        of_parts.append(ours.coefs_[0])
    assert np.abs(of_parts[0] - of_parts[1]).max() > 1e-3
    for _ in range(3):
        for model in (ours, theirs):
            model.partial_fit(x, y)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("kind", ["one", "outputs", "classes", "labels"])
def test_steps_of_sgd_are_the_same(kind, engine):
    ours, theirs, x, y = pair(kind, engine=engine)
    for model in (ours, theirs):
        go_on(model, x, y, EPOCHS)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_the_penalty_of_a_smaller_last_batch_is_divided_by_its_rows(engine, solver):
    options = {"batch_size": 130, "alpha": 20.0, "engine": engine, "solver": solver, "epsilon": 1e-30}
    ours, theirs, x, y = pair("one", **options)  # batches of 130, 130 and 40
    for model in (ours, theirs):
        go_on(model, x, y, EPOCHS)
    assert_same_weights(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=0.03)
    if engine == "eager" and solver == "sgd":
        for rows in (300, 90, 270):
            ours.partial_fit(x[:rows], y[:rows])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 90 rows are fewer than a batch has
                theirs.partial_fit(x[:rows], y[:rows])
            assert_same_weights(ours, theirs)


@pytest.mark.parametrize("kind", ["one", "outputs", "classes", "labels"])
def test_the_loss_has_the_penalty(kind):
    ours, theirs, x, y = pair(kind, batch_size=ROWS)
    for model in (ours, theirs):
        go_on(model, x, y, EPOCHS)
    np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=1e-10)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-10)
    assert ours.best_loss_ == pytest.approx(min(ours.loss_curve_))
    without = ours.history_["loss"].numpy() / (3 if kind == "outputs" else 1)
    assert ((ours.loss_curve_[1:] - without) > 1e-4).all()


def test_the_loss_of_several_batches_has_about_the_penalty():
    ours, theirs, x, y = pair("one")
    for model in (ours, theirs):
        go_on(model, x, y, EPOCHS)
    np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=1e-3)


def test_members_have_penalties_of_their_own():
    x, y = table("one")
    options = {**SAME, "warm_start": False, "batch_size": ROWS, "learning_rate_init": 1e-13, "max_iter": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: the weights stay as they are drawn
        options |= {"learning_rate": "constant", "early_stopping": False, "dropout": 0.0}
        model = lamp.MLPRegressor(**options, members=3, random_state=0).fit(x, y)
    weights = [layer.weight.data.double() for layer in model.network_.modules() if isinstance(layer, lamp.Linear)]
    penalties = sum(weight.square().sum((1, 2)) for weight in weights) * SAME["alpha"] / 2 / ROWS
    assert len(set(penalties.tolist())) == 3
    assert model.loss_ == pytest.approx(float((model.history_["loss"][0] + penalties).mean()), rel=1e-6)


@pytest.mark.parametrize("partial", [False, True])
def test_invscaling_goes_on_where_scikit_learn_does(partial):
    ours, theirs, x, y = pair("one", learning_rate="invscaling", power_t=0.3)
    for _ in range(3):
        for model in (ours, theirs):
            if partial:
                model.partial_fit(x, y)
            else:
                go_on(model, x, y, 4)
        assert_same_weights(ours, theirs)
        assert ours.t_ == theirs.t_


def test_plateau_watches_the_loss_with_its_penalty():
    """The penalty alone falls: the training goes on as long as it does."""
    x, y = table("one")
    options = {**SAME, "warm_start": False, "alpha": 30.0, "learning_rate": "constant", "tol": 1e-3}
    options |= {"n_iter_no_change": 2, "max_iter": 200, "batch_size": ROWS}
    ours = lamp.MLPRegressor(**options, standardize=False, dtype="float64", random_state=0).fit(x, y)
    assert 3 < ours.n_iter_ < 200
    curve = np.array(ours.loss_curve_)
    assert curve[-4] - curve[-1] < 3 * 1e-3 * 2
    assert math.isclose(ours.loss_, curve[-1])


@pytest.mark.parametrize("power", [-290, -150, 150, 300])
def test_columns_of_any_size_are_learned_from(power):
    x, y = table("one")
    model = lamp.MLPRegressor(random_state=0).fit(x * 10.0**power, y)
    assert model.score(x * 10.0**power, y) > 0.9


@pytest.mark.parametrize("power", [-290, -150, 150, 300])
def test_targets_of_any_size_are_learned(power):
    x, y = table("one")
    small = lamp.MLPRegressor(random_state=0).fit(x, y).predict(x)
    large = lamp.MLPRegressor(random_state=0).fit(x, y * 10.0**power).predict(x)
    np.testing.assert_allclose(large / 10.0**power, small, rtol=1e-3, atol=1e-3)
    in_float32 = lamp.MLPRegressor(random_state=0).fit(x, y * 10.0**power).predict(x.astype(np.float32))
    np.testing.assert_allclose(in_float32 / 10.0**power, small, rtol=1e-3, atol=1e-3)


def test_numbers_that_do_not_fit_the_dtype_are_told():
    x, y = table("one")
    for inputs, targets in ((x * 1e100, y), (x, y * 1e100)):
        with pytest.raises(lamp.DataError, match="float32"):
            lamp.MLPRegressor(standardize=False, random_state=0).fit(inputs, targets)
