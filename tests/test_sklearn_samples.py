"""How tables are prepared: standardised columns, equal rows, held-out rows; and learning rates."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import lamp

pytest.importorskip("sklearn", reason="the estimators need scikit-learn 1.6")

from lamp.interop.sklearn.rates import WARM_UP, cosine, inverse_scaling, optimizer_for, planned
from lamp.interop.sklearn.samples import BLOCK, SMALL_TABLE, Samples, Standard

LONG = BLOCK + 703


def samples(rows, columns=3, seed=0, classes=4):
    random = np.random.RandomState(seed)
    return Samples(random.randn(rows, columns), random.randint(0, classes, rows), random.rand(rows) + 0.1)


# ---- columns ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [50, LONG])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_columns_are_brought_to_mean_0_and_deviation_1(rows, dtype):
    table = (samples(rows).inputs * [1.0, 1e6, 1e-6] + [5.0, 1e9, 0.0]).astype(np.float64)
    weights = np.random.RandomState(1).rand(rows)
    found = Standard.of(table, weights)(table, dtype)
    assert found.dtype == dtype
    mean = np.average(found, axis=0, weights=weights)
    assert np.abs(mean).max() < (1e-12 if dtype == "float64" else 1e-6)
    assert np.average(np.square(found - mean), axis=0, weights=weights) == pytest.approx(1.0, rel=1e-5)
    repeated = Standard.of(np.repeat(table, 3, 0), np.repeat(weights, 3))
    assert np.allclose(repeated.mean, Standard.of(table, weights).mean, rtol=1e-12)


def test_columns_of_one_value_are_found():
    table = np.stack([np.full(70, 0.1), np.full(70, 1e20), np.zeros(70), np.linspace(0, 1e-30, 70), np.arange(70.0)], 1)
    standard = Standard.of(table, np.random.RandomState(0).rand(70))
    assert standard.constant.tolist() == [True, True, True, False, False]
    assert not standard(table, "float32")[:, :3].any()
    assert np.isfinite(standard(table, "float32")).all()


# ---- rows ------------------------------------------------------------------------------------------------------------
def test_equal_rows_are_merged_in_small_tables():
    some = samples(60)
    twice = Samples(*(np.concatenate([each, each[:25]]) for each in (some.inputs, some.targets, some.weights)))
    order = np.random.RandomState(2).permutation(85)
    merged, again = twice.merged(7), twice.take(order).merged(7)
    assert len(merged) == 60
    for name in ("inputs", "targets"):
        assert np.array_equal(getattr(merged, name), getattr(again, name))
    assert np.allclose(merged.weights, again.weights, rtol=1e-15)
    assert merged.weights.sum() == pytest.approx(twice.weights.sum())
    for row, label, weight in zip(some.inputs[:25], some.targets, some.weights, strict=False):
        (place,) = np.flatnonzero((merged.inputs == row).all(1))
        assert merged.targets[place] == label
        assert merged.weights[place] == pytest.approx(2 * weight)
    other = twice.merged(8)
    assert not np.array_equal(merged.inputs, other.inputs)  # the order is the seed's
    large = samples(SMALL_TABLE + 1)
    assert large.merged(7) is large


def test_rows_of_equal_inputs_and_other_targets_stay_apart():
    both = Samples(np.ones((2, 3)), np.array([0, 1]), np.ones(2))
    assert len(both.merged(0)) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_key_of_a_row_is_of_its_contents(dtype):
    some = samples(LONG)
    some.inputs = some.inputs.astype(dtype)
    keys = some.keys(3)
    assert len(set(keys.tolist())) == LONG
    order = np.random.RandomState(0).permutation(LONG)
    assert np.array_equal(some.take(order).keys(3), keys[order])
    assert not np.array_equal(some.keys(4), keys)
    assert np.array_equal(Samples(some.inputs.astype(np.float64), some.targets, some.weights).keys(3), keys)
    signed = Samples(np.array([[0.0], [-0.0]]), np.zeros(2), np.ones(2)).keys(0)
    assert signed[0] == signed[1]
    swapped = Samples(np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2), np.ones(2)).keys(0)
    assert swapped[0] != swapped[1]


@pytest.mark.parametrize("rows", [97, 3001])
@pytest.mark.parametrize("fraction", [0.1, 0.37])
def test_a_share_of_each_class_is_held_out(rows, fraction):
    some = samples(rows)
    some.weights = np.ones(rows)
    rest, held_out = some.split(fraction, 5, by_class=True)
    assert len(rest) + len(held_out) == rows
    assert abs(len(held_out) - fraction * rows) <= 1
    for label in range(4):
        wanted = fraction * (some.targets == label).sum()
        assert abs((held_out.targets == label).sum() - wanted) <= 1
    everyone = {tuple(row) for row in np.concatenate([rest.inputs, held_out.inputs])}
    assert everyone == {tuple(row) for row in some.inputs}
    order = np.random.RandomState(0).permutation(rows)
    _, same = some.take(order).split(fraction, 5, by_class=True)
    assert {tuple(row) for row in same.inputs} == {tuple(row) for row in held_out.inputs}
    _, other = some.split(fraction, 6, by_class=True)
    assert {tuple(row) for row in other.inputs} != {tuple(row) for row in held_out.inputs}


def test_equal_rows_stay_together_and_weights_count():
    some = samples(400)
    some.inputs, some.targets = some.inputs.repeat(3, 0)[:400], some.targets.repeat(3)[:400]
    rest, held_out = some.split(0.2, 0, by_class=True)
    assert not {tuple(row) for row in rest.inputs} & {tuple(row) for row in held_out.inputs}
    assert held_out.weights.sum() == pytest.approx(0.2 * some.weights.sum(), rel=0.05)


def test_what_is_too_small_to_hold_out_from():
    for targets in ([0], [0, 1], [1, 1]):
        few = Samples(np.ones((len(targets), 2)), np.array(targets), np.ones(len(targets)))
        with pytest.raises(lamp.DataError, match=f"too small.*(.|\n)*n_samples = {len(targets)}"):
            few.split(0.5, 0, by_class=True)
    rest, held_out = samples(3, classes=1).split(0.1, 0, by_class=True)
    assert (len(rest), len(held_out)) == (2, 1)
    lonely = Samples(np.arange(9.0)[:, None], np.array([0, *[1] * 8]), np.ones(9))
    assert 0 in lonely.split(0.9, 0, by_class=True)[0].targets


# ---- rates -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("plan", [cosine(200), inverse_scaling(0.5, 48, 7)], ids=["cosine", "inverse"])
def test_a_plan_is_the_same_of_numbers_and_tensors(plan):
    steps = torch.arange(1.0, 211, dtype=torch.float64).unsqueeze(1)
    assert plan(steps).flatten().tolist() == pytest.approx([plan(step) for step in range(1, 211)], abs=1e-12)


def test_the_cosine_goes_up_and_down():
    values = [cosine(200)(step) for step in range(1, 201)]
    top = int(200 * WARM_UP)
    assert values[top - 1] == pytest.approx(1.0)
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[0] == pytest.approx(1 / top)
    assert values[-1] == pytest.approx(0.0, abs=1e-12)
    assert values[top + 89] == pytest.approx(0.5)  # half way down
    assert inverse_scaling(0.5, 48, 7)(14) == pytest.approx(1 / math.sqrt(49))
    assert inverse_scaling(0.5, 48, 7)(7) == 1.0


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd", "rmsprop", "adagrad"])
def test_a_planned_optimizer_is_the_optimizer_at_that_rate(solver):
    parameter, twin = lamp.Parameter(torch.ones(5)), lamp.Parameter(torch.ones(5))
    numbers = {"lr": 0.3, "momentum": 0.9, "nesterov": True, "betas": (0.8, 0.9), "eps": 1e-3}
    optimizer = planned(optimizer_for(solver, [{"params": [parameter]}], numbers))
    other = optimizer_for(solver, [{"params": [twin]}], numbers)
    kind = {"adam": lamp.Adam, "adamw": lamp.AdamW, "sgd": lamp.SGD, "rmsprop": lamp.RMSprop, "adagrad": lamp.Adagrad}
    assert isinstance(optimizer, kind[solver])
    optimizer.plan = cosine(6)
    for step in range(1, 7):
        parameter.grad = twin.grad = torch.arange(5.0) * step
        other.param_groups[0]["lr"] = 0.3 * cosine(6)(step)
        optimizer.step()
        other.step()
        assert torch.equal(parameter.data, twin.data)
    assert not torch.equal(parameter.data, torch.ones(5))
    optimizer.plan = None
    assert optimizer.param_groups[0]["lr"] == 0.3


def test_solvers_of_ones_own():
    options = {
        "max_iter": 3,
        "hidden_layer_sizes": (4,),
        "random_state": 0,
        "engine": "eager",
        "learning_rate": "cosine",
    }
    inputs = np.random.RandomState(0).randn(40, 3)
    found = [
        lamp.MLPRegressor(**options, solver=solver, alpha=0.0).fit(inputs, inputs[:, 0]).coefs_[0]
        for solver in (
            "adam",
            lamp.Adam,
            partial(lamp.Adam, lr=0.01, betas=(0.9, 0.999), eps=1e-8),
            lambda groups: lamp.Adam(groups, lr=0.01),
        )
    ]
    assert all(np.array_equal(each, found[0]) for each in found[1:])
    for wrong in ("adamax", 3, lambda groups: None):
        with pytest.raises(lamp.ArgumentError, match="unknown solver"):
            lamp.MLPRegressor(**options, solver=wrong).fit(inputs, inputs[:, 0])


def test_schedules_of_ones_own_and_the_adaptive_one():
    options = {"hidden_layer_sizes": (4,), "random_state": 0, "engine": "eager", "solver": "sgd", "alpha": 0.0}
    inputs = np.random.RandomState(0).randn(40, 3)
    halving = partial(lamp.StepLR, step_size=2, gamma=0.5)
    model = lamp.MLPRegressor(**options, max_iter=6, learning_rate=halving).fit(inputs, inputs[:, 0])
    assert model._learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 8)
    adaptive = lamp.MLPRegressor(**options, max_iter=200, learning_rate="adaptive", tol=10.0, n_iter_no_change=2)
    adaptive.fit(inputs, inputs[:, 0])
    assert adaptive._learner.optimizer.param_groups[0]["lr"] < 1e-6
    assert adaptive.n_iter_ == 4 + 5 * 3  # down by a fifth six times, from 0.01 to below 1e-6


@pytest.mark.parametrize(("rows", "size"), [(5, 1), (100, 12), (130, 16), (500, 32), (9000, 176), (50_000, 256)])
def test_the_size_of_a_batch(rows, size):
    assert lamp.MLPRegressor()._batch_size(rows) == size
    assert lamp.MLPRegressor(batch_size=70)._batch_size(rows) == min(70, rows)


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_numbers_are_constant_for_any_number_of_rows(weighted):
    """However their mean is rounded, they have no deviation that could become a scale; rows without weight do not
    count."""
    for rows in (3, 150, 10_007):
        table = np.tile([4.0, 0.1, -1e9 / 3, 1e-300, 5.0], (rows + 1, 1))
        weights = np.random.RandomState(0).uniform(0.5, 2.0, rows + 1) if weighted else np.ones(rows + 1)
        table[0, :4], weights[0] = 7.0, 0.0
        table[1, 4] = 6.0
        standard = Standard.of(table, weights)
        assert standard.constant.tolist() == [True, True, True, True, False]
        assert standard.scale[:4].tolist() == [1.0] * 4
        assert standard.mean[:4].tolist() == table[1, :4].tolist()
