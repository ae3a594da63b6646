"""Weights of samples and classes, the penalty and equal rows, compared with a loop written in torch."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", reason="the estimators need scikit-learn 1.6")

import lamp
from lamp.interop.sklearn.samples import SMALL_TABLE
from lamp.losses.weighted import WeightedLoss

ROWS, FEATURES, HIDDEN = 300, 4, 5  # more rows than a table has whose equal rows are merged
PLAIN = {
    "hidden_layer_sizes": (HIDDEN,),
    "activation": "tanh",
    "solver": "sgd",
    "momentum": 0.0,
    "learning_rate": "constant",
    "learning_rate_init": 0.3,
    "batch_size": 10**6,
    "shuffle": False,
    "standardize": False,
    "tol": 0.0,
    "n_iter_no_change": float("inf"),
    "dtype": "float64",
    "random_state": 3,
    "early_stopping": False,
    "dropout": 0.0,
}


def table(seed=0):
    random = np.random.RandomState(seed)
    return random.randn(ROWS, FEATURES), random


def targets(kind, inputs, random):
    score = inputs @ random.randn(FEATURES, 3)
    return {
        "classes": score.argmax(1),
        "labels": (score > 0.3).astype(int),
        "numbers": score[:, :2],
    }[kind]


def estimator(kind, **options):
    made = lamp.MLPRegressor if kind == "numbers" else lamp.MLPClassifier
    return made(**{**PLAIN, **options})


def fitted(kind, inputs, wanted, weights=None, **options):
    with pytest.warns(Warning, match="not converged"):
        return estimator(kind, **options).fit(inputs, wanted, weights)


def by_torch(kind, start, inputs, wanted, weights, alpha, epochs):
    """Gradient descent on sum of w loss / sum of w + alpha / 2 |W|^2 / sum of w, as autograd has it."""
    parameters = [torch.tensor(each, requires_grad=True) for pair in zip(*start, strict=True) for each in pair]
    x, w = torch.tensor(inputs), torch.tensor(weights)
    y = torch.tensor(wanted) if kind == "classes" else torch.tensor(wanted, dtype=torch.float64)
    value = {"classes": nn.CrossEntropyLoss, "labels": nn.BCEWithLogitsLoss, "numbers": nn.MSELoss}[kind](
        reduction="none"
    )
    for _ in range(epochs):
        w1, b1, w2, b2 = parameters
        each = value((x @ w1 + b1).tanh() @ w2 + b2, y)
        each = each if kind == "classes" else each.sum(1) / (2 if kind == "numbers" else 1)  # as scikit-learn has it
        loss = (w @ each + alpha / 2 * (w1.square().sum() + w2.square().sum())) / w.sum()
        gradients = torch.autograd.grad(loss, parameters)
        parameters = [
            (p - PLAIN["learning_rate_init"] * d).detach().requires_grad_()
            for p, d in zip(parameters, gradients, strict=True)
        ]
    return [each.detach().numpy() for each in parameters]


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
def test_a_fit_is_gradient_descent_on_the_weighted_mean_and_the_penalty(kind, engine, weighted):
    inputs, random = table()
    wanted = targets(kind, inputs, random)
    weights = random.rand(ROWS) * 5 if weighted else np.full(ROWS, 2.5)
    alpha = 40.0
    model = fitted(kind, inputs, wanted, weights, alpha=alpha, max_iter=7, engine=engine)
    assert model.history_.engine == engine
    network = lamp.MLPRegressor if kind == "numbers" else lamp.MLPClassifier
    initial = network(**{**PLAIN, "solver": lambda groups: lamp.SGD(groups, lr=0.0), "max_iter": 1})
    with pytest.warns(Warning, match="not converged"):
        initial.fit(inputs, wanted)
    expected = by_torch(kind, (initial.coefs_, initial.intercepts_), inputs, wanted, weights, alpha, 7)
    found = [each for pair in zip(model.coefs_, model.intercepts_, strict=True) for each in pair]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-12
    moved = [np.abs(one - other).max() for one, other in zip(found, [initial.coefs_[0]], strict=False)]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
@pytest.mark.parametrize("members", [1, 3])
def test_a_row_of_weight_two_is_a_row_that_comes_twice(kind, members):
    """In batches of all rows of a larger table, to rounding."""
    inputs, random = table(1)
    wanted, weights = targets(kind, inputs, random), random.randint(0, 4, ROWS)
    once = fitted(kind, inputs, wanted, weights, members=members, max_iter=20)
    repeated = fitted(kind, inputs.repeat(weights, 0), wanted.repeat(weights, 0), members=members, max_iter=20)
    for one, other in zip(once.coefs_, repeated.coefs_, strict=True):
        assert np.abs(one - other).max() < 1e-12


@pytest.mark.parametrize(
    "options",
    [{}, {"members": 3}, {"early_stopping": True, "dropout": 0.3}, {"class_weight": "balanced"}, {"batch_size": 7}],
    ids=str,
)
def test_in_a_small_table_that_is_so_to_the_bit(options):
    """With batches, dropout and rows held out too; and the order of rows does not matter."""
    inputs, random = table(2)
    inputs, wanted = inputs[:60], targets("classes", inputs, random)[:60]
    weights = random.randint(0, 4, 60)
    order = random.permutation(weights.sum())
    once = lamp.MLPClassifier(random_state=1, max_iter=5, **options).fit(inputs, wanted, weights)
    repeated = lamp.MLPClassifier(random_state=1, max_iter=5, **options)
    assert weights.sum() <= SMALL_TABLE
    repeated.fit(inputs.repeat(weights, 0)[order], wanted.repeat(weights)[order])
    assert np.array_equal(once.predict_proba(inputs), repeated.predict_proba(inputs))


def test_label_smoothing_and_weights_together():
    """Weights all alike are no weights, whatever way they go through the loss."""
    inputs, random = table(3)
    wanted = targets("classes", inputs, random)
    loss = lamp.CrossEntropyLoss(label_smoothing=0.2)
    nearly = np.ones(ROWS)
    nearly[0] += 1e-9
    plain = fitted("classes", inputs, wanted, None, loss=loss, max_iter=9)
    weighted = fitted("classes", inputs, wanted, nearly, loss=loss, max_iter=9)
    without = fitted("classes", inputs, wanted, nearly, max_iter=9)
    assert np.abs(plain.coefs_[0] - weighted.coefs_[0]).max() < 1e-8
    assert np.abs(plain.coefs_[0] - without.coefs_[0]).max() > 1e-4


def test_class_weights_are_sample_weights():
    inputs, random = table(4)
    wanted = np.array(["a", "b", "c"])[targets("classes", inputs, random)]
    weights = random.rand(ROWS)
    factors = {"a": 3.0, "c": 0.5}
    of_each = weights * np.array([factors.get(each, 1.0) for each in wanted])
    named = fitted("classes", inputs, wanted, weights, class_weight=factors, max_iter=5)
    direct = fitted("classes", inputs, wanted, of_each, max_iter=5)
    assert np.array_equal(named.coefs_[0], direct.coefs_[0])
    balanced = fitted("classes", inputs, wanted, class_weight="balanced", max_iter=5)
    counts = {each: (wanted == each).sum() for each in "abc"}
    by_hand = fitted("classes", inputs, wanted, [1 / counts[each] for each in wanted], max_iter=5)
    penalty_aside = np.abs(balanced.coefs_[0] - by_hand.coefs_[0]).max()
    assert penalty_aside < 1e-3
    assert penalty_aside < np.abs(balanced.coefs_[0] - direct.coefs_[0]).max() / 10


def test_weights_that_are_none_are_refused():
    inputs, random = table()
    wanted = targets("numbers", inputs, random)
    for wrong, says in (
        (np.zeros(ROWS), "weights are zero"),
        (np.full(ROWS, -1.0), "at least 0"),
        (np.ones(ROWS - 1), r"shape \(300,\)"),
        (np.full(ROWS, np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=says):
            lamp.MLPRegressor().fit(inputs, wanted, wrong)


# ---- the loss --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("inner", [lamp.MSELoss(), lamp.HuberLoss("sum", delta=0.4), lamp.BCEWithLogitsLoss()], ids=str)
def test_a_weighted_loss_is_the_weighted_sum_of_its_values(inner, replicas):
    lead = () if replicas is None else (replicas,)
    output, target = torch.randn(*lead, 7, 2, dtype=torch.float64), torch.rand(*lead, 7, 2, dtype=torch.float64)
    weight = torch.rand(*lead, 7, 1, dtype=torch.float64)
    function = {
        "MSELoss": nn.functional.mse_loss,
        "HuberLoss": lambda x, y, reduction: nn.functional.huber_loss(x, y, reduction, 0.4),
        "BCEWithLogitsLoss": nn.functional.binary_cross_entropy_with_logits,
    }[type(inner).__name__]
    x = output.clone().requires_grad_()
    values = weight * function(x, target, reduction="none")
    expected = values.sum((-1, -2)) / (1 if inner.reduction == "sum" else 14)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    loss = WeightedLoss(inner)
    if replicas is not None:
        output.replicas = replicas  # type: ignore[attr-defined]
    found = loss(output, torch.cat([target, weight], -1))
    assert torch.allclose(found, expected.detach(), atol=1e-14)
    assert torch.allclose(loss.backward(), gradient, atol=1e-14)


@pytest.mark.parametrize("replicas", [None, 3, 18])
def test_weighted_losses_compile_each_for_itself(replicas):
    """In one process, in the same shapes: no kernel serves two of them."""
    inputs, targets = torch.randn(37, 5, dtype=torch.float64), torch.rand(37, 3, dtype=torch.float64)
    both = torch.cat([targets, torch.rand(37, 1, dtype=torch.float64) * 3], 1)
    single = lamp.Sequential(
        lamp.Linear(5, 4, dtype=torch.float64), lamp.Tanh(), lamp.Linear(4, 3, dtype=torch.float64)
    )
    losses = []
    for inner in (lamp.MSELoss(), lamp.HuberLoss(delta=0.3), lamp.HuberLoss(delta=0.7), lamp.BCEWithLogitsLoss()):
        of_engine = []
        for engine in ("eager", "compiled"):
            model = copy.deepcopy(single) if replicas is None else lamp.population(single, seeds=range(replicas))
            optimizer = lamp.SGD(model.parameters(), lr=0.1)
            options = {"batch_size": 8, "epochs": 3, "seed": 1, "progress": False, "validation": (inputs[:9], both[:9])}
            history = lamp.fit(model, WeightedLoss(inner), optimizer, (inputs, both), engine=engine, **options)
            of_engine.append(torch.stack([history["loss"], history["validation_loss"]]))
        assert torch.allclose(*of_engine, atol=1e-13, rtol=0)
        losses.append(of_engine[0])
    assert all((one - other).abs().min() > 1e-4 for one, other in pairwise(losses))


def test_a_weighted_loss_asks_for_the_weight():
    with pytest.raises(lamp.ShapeError):
        WeightedLoss(lamp.MSELoss())(torch.ones(4, 2), torch.ones(4, 2))
    with pytest.raises(lamp.ArgumentError, match="one value per replica"):
        WeightedLoss(lamp.HuberLoss(delta=torch.ones(3)))
