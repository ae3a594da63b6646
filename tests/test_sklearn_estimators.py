"""The scikit-learn estimators: predictions, attributes, and errors."""

import pickle

import numpy as np
import pytest
import torch

import lamp

pytest.importorskip("sklearn", reason="the estimators need scikit-learn 1.6")

from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split

QUICK = {"max_iter": 5, "hidden_layer_sizes": (7,), "engine": "eager", "random_state": 0}
PLAIN = {"early_stopping": False, "dropout": 0.0}  # members that are what one network is
BOTH = pytest.mark.parametrize("kind", [lamp.MLPClassifier, lamp.MLPRegressor], ids=["classifier", "regressor"])


@pytest.fixture(scope="module")
def iris():
    return datasets.load_iris(return_X_y=True)


def relu_network(model, inputs, outputs=lambda z: z):
    """The outputs (members, n, outputs), computed from the weights in numpy."""
    members = [(model.coefs_, model.intercepts_)]
    if model.members > 1:
        members = [([w[k] for w in model.coefs_], [b[k] for b in model.intercepts_]) for k in range(model.members)]
    found = []
    for weights, biases in members:
        h = inputs
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            h = h @ w + b
            h = np.maximum(h, 0) if k < len(weights) - 1 else outputs(h)
        found.append(h)
    return np.stack(found)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# ---- what they predict -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("load", "kind", "least"),
    [
        (datasets.load_digits, lamp.MLPClassifier, 0.955),
        (datasets.load_wine, lamp.MLPClassifier, 0.93),
        (datasets.load_breast_cancer, lamp.MLPClassifier, 0.93),
        (datasets.load_diabetes, lamp.MLPRegressor, 0.15),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_defaults_give_good_results_on_tables_as_they_are(load, kind, least):
    inputs, targets = load(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(inputs, targets, random_state=0)
    assert kind(random_state=0).fit(train_x, train_y).score(test_x, test_y) > least


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("hidden", [(), (7,), (7, 6)], ids=str)
def test_coefs_are_the_network_on_raw_inputs(iris, members, hidden):
    """Standardising is folded in, of targets too; the mean over members is what is predicted, the spread its std."""
    inputs = iris[0] * [1.0, 100.0, 0.01, 1.0] + [0.0, 1e4, 0.0, 7.0]
    inputs = np.hstack([inputs, np.full((len(inputs), 1), 5.0)])  # a column that never changes
    options = {**QUICK, "members": members, "hidden_layer_sizes": hidden}
    model = lamp.MLPClassifier(**options).fit(inputs, iris[1])
    each = relu_network(model, inputs, softmax)
    mean, std = model.predict_proba(inputs, return_std=True)
    assert np.abs(mean - each.mean(0)).max() < 1e-9
    assert np.abs(std - each.std(0)).max() < 1e-9
    assert np.array_equal(model.predict(inputs), each.mean(0).argmax(1))
    assert np.array_equal(model.predict(inputs, return_std=True)[1], std[range(150), each.mean(0).argmax(1)])
    assert np.allclose(model.predict_log_proba(inputs), np.log(each.mean(0)))
    targets = np.stack([inputs[:, 0] * 1e5, inputs[:, 3] - 1e3], 1)
    model = lamp.MLPRegressor(**options).fit(inputs, targets)
    each = relu_network(model, inputs)
    mean, std = model.predict(inputs, return_std=True)
    assert np.allclose(mean, each.mean(0), rtol=1e-9)
    assert np.allclose(std, each.std(0), rtol=1e-6, atol=1e-6)
    assert (std.max() > 0) == (members > 1)
    assert [w.shape[-2:] for w in model.coefs_][-1][-1] == model.n_outputs_ == 2
    assert model.n_layers_ == len(hidden) + 2


def test_a_column_that_never_changed_says_nothing():
    inputs = np.random.RandomState(0).randn(50, 3)
    inputs[:, 1] = 4.0
    model = lamp.MLPRegressor(**QUICK).fit(inputs, inputs[:, 0])
    other = inputs.copy()
    other[:, 1] = 1e6
    assert np.array_equal(model.predict(inputs), model.predict(other))


def test_members_are_what_each_would_be_alone(iris):
    """But for the rounding of the other layout: the seeds are consecutive."""
    model = lamp.MLPClassifier(**QUICK, **PLAIN, members=3, dtype="float64").fit(*iris)
    seeds, order = model._learner.seeds, model._learner.order
    alone = lamp.MLPClassifier(**QUICK, dtype="float64").fit(*iris)
    assert alone._learner.seeds == seeds[:1]
    assert alone._learner.order == order
    assert np.allclose(alone.coefs_[0], model.coefs_[0][0], atol=1e-12)
    assert not np.allclose(alone.coefs_[0], model.coefs_[0][1], atol=1e-2)


def test_engines_agree(iris):
    proba = {}
    for engine in ("eager", "compiled"):
        model = lamp.MLPClassifier(**{**QUICK, "engine": engine}, members=2, dtype="float64", dropout=0.2).fit(*iris)
        assert model.history_.engine == engine
        proba[engine] = model.predict_proba(iris[0])
    assert np.abs(proba["eager"] - proba["compiled"]).max() < 1e-10
    assert lamp.MLPClassifier(max_iter=50).fit(*iris).history_.engine == "compiled"
    assert lamp.MLPClassifier(max_iter=1).fit(*iris).history_.engine == "eager"


def test_the_answer_does_not_depend_on_who_else_is_asked(iris):
    model = lamp.MLPClassifier(**QUICK, members=3).fit(*iris)
    together = model.predict_proba(iris[0])
    assert together.dtype == np.float64
    alone = np.vstack([model.predict_proba(row[None]) for row in iris[0]])
    assert np.abs(together - alone).max() < 1e-12
    in_float32 = model.predict_proba(iris[0].astype(np.float32))
    assert in_float32.dtype == np.float32
    assert np.abs(together - in_float32).max() < 1e-4


@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"members": 3}], ids=str)
def test_a_seed_gives_one_result_and_others_other_ones(iris, options):
    options = {**QUICK, **options}
    one, again = (lamp.MLPClassifier(**options).fit(*iris).predict_proba(iris[0]) for _ in range(2))
    other = lamp.MLPClassifier(**{**options, "random_state": 1}).fit(*iris).predict_proba(iris[0])
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    torch.manual_seed(5)
    assert np.array_equal(one, lamp.MLPClassifier(**options).fit(*iris).predict_proba(iris[0]))


# ---- kinds of targets ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("labels", [["setosa", "versicolor", "virginica"], [3, 7, 5], [True, False, True]])
def test_labels_of_any_kind(iris, labels):
    named = np.array(labels)[iris[1]]
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 40}).fit(iris[0], named)
    assert np.array_equal(model.classes_, np.unique(named))
    assert model.predict(iris[0]).dtype == named.dtype
    assert model.score(iris[0], named) > 0.9
    assert model.out_activation_ == "softmax"


def test_one_class_only():
    model = lamp.MLPClassifier(**QUICK).fit(np.eye(4), ["only"] * 4)
    assert set(model.predict(np.eye(4))) == {"only"}
    assert np.array_equal(model.predict_proba(np.eye(4)), np.ones((4, 1)))


@pytest.mark.parametrize("loss", ["log_loss", "mse"], ids=str)
def test_several_labels_a_sample(loss):
    inputs, wanted = datasets.make_multilabel_classification(200, 6, n_classes=4, random_state=0)
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 60}, members=2, loss=loss).fit(inputs, wanted)
    proba = model.predict_proba(inputs)
    assert proba.shape == (200, 4)
    assert np.abs(proba.sum(1) - 1).max() > 0.1
    assert np.array_equal(model.predict(inputs), (proba > 0.5).astype(int))
    assert (model.predict(inputs) == wanted).mean() > 0.78
    assert model.out_activation_ == "logistic"
    with pytest.raises(lamp.LabelError, match="do not know"):
        model.partial_fit(inputs, wanted[:, :3])
    with pytest.raises(lamp.ArgumentError, match="independent labels"):
        lamp.MLPClassifier(loss=lamp.CrossEntropyLoss()).fit(inputs, wanted)
    with pytest.raises(lamp.ArgumentError, match="class_weight"):
        lamp.MLPClassifier(class_weight="balanced").fit(inputs, wanted)


def test_targets_that_are_none(iris):
    for wrong, says in (
        (iris[1] + 0.5, "Unknown label type"),
        (np.stack([iris[1], iris[1]], 1), "multiclass-multioutput|indicators"),
        (np.where(iris[1] > 0, np.nan, 0.0), "NaN"),
    ):
        with pytest.raises(ValueError, match=says):
            lamp.MLPClassifier(**QUICK).fit(iris[0], wrong)
    with pytest.raises(ValueError, match="infinity"):
        lamp.MLPRegressor(**QUICK).fit(np.where(iris[0] > 7, np.inf, iris[0]), iris[1])
    with pytest.raises(NotFittedError):
        lamp.MLPRegressor().predict(iris[0])
    model = lamp.MLPRegressor(**QUICK).fit(*iris)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(iris[0][:, :3])


@pytest.mark.parametrize(
    "loss",
    [
        "CrossEntropyLoss",
        "bce_with_logits",
        lamp.MSELoss,
        lamp.HuberLoss(delta=0.3),
        lamp.CrossEntropyLoss(label_smoothing=0.1),
    ],
    ids=str,
)
def test_losses_of_classes(iris, loss):
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 60}, loss=loss).fit(*iris)
    assert model.score(*iris) > 0.9
    assert np.abs(model.predict_proba(iris[0]).sum(1) - 1).max() < 1e-6


def test_losses_that_do_not_fit(iris):
    for loss, says in (
        (lamp.NLLLoss(), "CrossEntropyLoss"),
        (lamp.BCELoss, "BCEWithLogitsLoss"),
        ("hinge", "unknown loss"),
        (lamp.CrossEntropyLoss(reduction="sum"), "the mean"),
    ):
        with pytest.raises(lamp.ArgumentError, match=says):
            lamp.MLPClassifier(loss=loss).fit(*iris)
    with pytest.raises(lamp.ArgumentError, match="is not a loss for regression"):
        lamp.MLPRegressor(loss=lamp.CrossEntropyLoss()).fit(*iris)


# ---- networks of one's own -------------------------------------------------------------------------------------------
class Bump(lamp.Activation):
    """y = x exp(-x^2)"""

    remembers = "x"

    def sigma(self, x):
        return x * (-x.square()).exp()

    def dsigma(self, x, y):
        return (x.square() * -2.0 + 1.0) * (-x.square()).exp()


@pytest.mark.parametrize(
    "activation", ["relu", "logistic", "identity", "GELU", "leaky_relu", lamp.ELU, lamp.ELU(0.5), Bump], ids=str
)
def test_activations(iris, activation):
    model = lamp.MLPClassifier(**{**QUICK, "max_iter": 60, "hidden_layer_sizes": (8, 6)}, activation=activation)
    model.fit(*iris)
    assert model.score(*iris) > 0.9
    own = [module for module in model.network_ if not isinstance(module, lamp.Linear)]  # type: ignore[attr-defined]
    assert len({id(module) for module in own}) == 2
    assert not any(module is activation for module in own)


def test_what_is_no_activation(iris):
    for wrong in ("relux", 3, lamp.Threshold):
        with pytest.raises(lamp.ArgumentError, match=r"activation|needs arguments"):
            lamp.MLPClassifier(activation=wrong).fit(*iris)


# ---- learning on -----------------------------------------------------------------------------------------------------
@BOTH
def test_curves_and_counts(iris, kind):
    model = kind(**QUICK, **PLAIN, members=2).fit(*iris)
    assert model.n_iter_ == len(model.loss_curve_) == 5
    assert model.loss_curve_ == pytest.approx(model.history_["loss"].mean(1).tolist(), rel=1e-3)  # and the penalty
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_loss_curve_ is None
    held_out = kind(**QUICK).fit(iris[0][::2], iris[1][::2], X_val=iris[0][1::2], y_val=iris[1][1::2])
    assert len(held_out.validation_loss_curve_) == 5
    assert held_out.best_validation_loss_ == min(held_out.validation_loss_curve_)
    with pytest.raises(lamp.ArgumentError, match="X_val and y_val"):
        kind(**QUICK).fit(*iris, X_val=iris[0])


@BOTH
def test_partial_fit_is_an_epoch_more(iris, kind):
    """As fit with a constant rate, whose order of samples and optimizer it goes on with."""
    options = {**QUICK, **PLAIN, "learning_rate": "constant", "dropout": 0.2, "n_iter_no_change": np.inf}
    with pytest.warns(ConvergenceWarning):
        whole = kind(**options, members=2).fit(*iris)
    steps = kind(**options, members=2)
    classes = {"classes": [0, 1, 2]} if kind is lamp.MLPClassifier else {}
    for epoch in range(5):
        steps.partial_fit(*iris, **classes)
        assert len(steps.loss_curve_) == epoch + 1
        if epoch == 2:
            steps = pickle.loads(pickle.dumps(steps))
    for one, other in zip(whole.coefs_, steps.coefs_, strict=True):
        assert np.abs(one - other).max() < 1e-9


def test_partial_fit_needs_the_classes_and_keeps_them(iris):
    model = lamp.MLPClassifier(**QUICK)
    with pytest.raises(lamp.ArgumentError, match="classes must be passed"):
        model.partial_fit(*iris)
    model.partial_fit(iris[0][:60], iris[1][:60], classes=[2, 1, 0])
    model.partial_fit(iris[0][60:], iris[1][60:])
    with pytest.raises(lamp.LabelError, match="do not know"):
        model.partial_fit(*iris, classes=[0, 1])
    with pytest.raises(lamp.LabelError, match="do not know"):
        model.partial_fit(iris[0], iris[1] + 1)
    assert model.predict_proba(iris[0]).shape == (150, 3)


def test_learning_anew_what_one_point_is():
    model = lamp.MLPRegressor(random_state=0).fit([[2.0]], [4.0])
    assert model.predict([[2.0]]) == pytest.approx(4.0, abs=0.2)
    for _ in range(200):
        model.partial_fit([[2.0]], [1.0])
    assert model.predict([[2.0]]) == pytest.approx(1.0, abs=1e-3)


@BOTH
def test_warm_start_goes_on(iris, kind):
    model = kind(**{**QUICK, "warm_start": True}).fit(*iris)
    before, first = model.coefs_[0], model.loss_curve_
    model.fit(*iris)
    assert model.n_iter_ == 5
    assert model.loss_curve_[:5] == first
    assert model.loss_curve_[5] < first[0]
    assert not np.array_equal(before, model.coefs_[0])
    anew = kind(**QUICK).fit(*iris)
    assert np.array_equal(anew.fit(*iris).coefs_[0], before)


@BOTH
@pytest.mark.parametrize("members", [1, 3])
def test_early_stopping_keeps_the_best(kind, members):
    """Of each member, on the rows that it holds out."""
    random = np.random.RandomState(0)
    inputs, targets = random.randn(120, 9), random.randint(0, 2, 120)  # nothing to learn: soon it overfits
    options = {**QUICK, "max_iter": 300, "n_iter_no_change": 4, "learning_rate": "constant"}
    model = kind(**options, members=members, early_stopping=True).fit(inputs, targets)
    assert model.n_iter_ < 200
    validation = model.history_["validation_loss"].reshape(-1, members)
    assert len(model.validation_loss_curve_) == model.n_iter_
    best = [float(each[each.isfinite()].min()) for each in validation.unbind(1)]
    every = model._samples(inputs, targets, None, reset=False, first=False).merged(model._learner.order)
    by_class = kind is lamp.MLPClassifier
    if members == 1:
        rest, held_out = every.split(0.1, model._learner.order, by_class)
        assert len(rest) + len(held_out) == 120
        of_members = [held_out]
    else:
        folds = every.folds(members, 0.2, model._learner.order, by_class)
        of_members = [every.take(rows.flatten()) for rows in folds.held_out]
    assert {len(each) for each in of_members} == {12 if members == 1 else 24}
    networks = [model.network_] if members == 1 else [model.network_[k] for k in range(members)]
    for network, held_out, lowest in zip(networks, of_members, best, strict=True):
        x = torch.from_numpy(model._standard(held_out.inputs, "float32"))
        y = model._tensor(held_out.targets, model._learner.criterion, None)
        assert lamp.evaluate(network, model._learner.criterion, (x, y))["loss"] == pytest.approx(lowest, rel=1e-5)


def test_tol_ends_a_training_and_without_it_there_is_a_warning(iris):
    options = {**QUICK, "learning_rate": "constant", "max_iter": 200}
    model = lamp.MLPClassifier(**options, tol=10.0, n_iter_no_change=3).fit(*iris)
    assert model.n_iter_ == 5  # the first is better than nothing, then four are not
    assert "not improved" in model.history_.stopped
    compiled = lamp.MLPClassifier(**{**options, "engine": "compiled"}, tol=10.0, n_iter_no_change=3).fit(*iris)
    assert compiled.n_iter_ == 5
    with pytest.warns(ConvergenceWarning, match="max_iter=200"):
        endless = lamp.MLPClassifier(**options, tol=10.0, n_iter_no_change=np.inf).fit(*iris)
    assert endless.n_iter_ == 200


def test_a_large_penalty_makes_small_weights(iris):
    sizes = [np.abs(lamp.MLPClassifier(**QUICK, alpha=alpha).fit(*iris).coefs_[0]).sum() for alpha in (0, 1, 30)]
    assert sizes[0] > sizes[1] > sizes[2]
