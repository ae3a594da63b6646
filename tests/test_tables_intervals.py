"""Prediction intervals against closed forms and on a real table: each fifth of the predictions holds its share."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_predict

from lamp.tables.metrics import shares_by_size
from lamp.tables.prediction_intervals import FEWEST, PredictionIntervals, conformal, fitted, limits_of

NO_LIMITS = torch.tensor([-1.0, 0.0, 1.0])


def growing_errors(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions from 1 to 10, and numbers whose errors are predictions / 5 times those of (an exponential - 1)."""
    generator = torch.Generator().manual_seed(seed)
    predicted = 1 + 9 * torch.rand(n, generator=generator, dtype=torch.float64)
    drawn = -torch.rand(n, generator=generator, dtype=torch.float64).log()
    return predicted, predicted + predicted / 5 * (drawn - 1)


def shares(intervals, predicted, numbers):
    """The share of the numbers within their intervals, of all rows and by fifths of the prediction."""
    low, high = intervals.around(predicted)
    inside = (low <= numbers) & (numbers <= high)
    return inside.double().mean().item(), [each.value for each in shares_by_size(predicted, inside)]


def test_the_ends_are_the_quantiles_of_errors_that_grow():
    intervals = fitted(*growing_errors(20_000, 0), NO_LIMITS)
    p = torch.linspace(2, 9, 8, dtype=torch.float64)
    low, high = intervals.around(p)
    assert ((p - low) / (p / 5)).tolist() == pytest.approx([1 + math.log(0.95)] * 8, rel=0.06)
    assert ((high - p) / (p / 5)).tolist() == pytest.approx([-math.log(0.05) - 1] * 8, rel=0.12)
    overall, by_fifth = shares(intervals, *growing_errors(20_000, 1))
    assert overall == pytest.approx(0.9, abs=0.01)
    assert by_fifth == pytest.approx([0.9] * 5, abs=0.03)


@pytest.mark.parametrize("n", [20, FEWEST, 300])
def test_new_rows_are_held_on_average_however_few_rows_there_were(n):
    held = [shares(fitted(*growing_errors(n, seed), NO_LIMITS), *growing_errors(500, -seed - 1)) for seed in range(60)]
    overall, by_fifth = np.mean([each for each, _ in held]), np.mean([each for _, each in held], 0)
    assert overall == pytest.approx(0.91, abs=0.02)
    assert (min(by_fifth) > 0.84) == (n >= FEWEST), by_fifth


def test_a_real_table():
    """Diabetes: the errors of a linear model are largest in the middle. One width holds 97 % to 82 % of the fifths."""
    x, y = load_diabetes(return_X_y=True)
    found = []
    for seed in range(5):
        for known, new in KFold(2, shuffle=True, random_state=seed).split(x):
            held_out = cross_val_predict(LinearRegression(), x[known], y[known], cv=5)
            predicted = LinearRegression().fit(x[known], y[known]).predict(x[new])
            intervals = fitted(torch.from_numpy(held_out), torch.from_numpy(y[known]), torch.from_numpy(y[known]))
            found.append(shares(intervals, *map(torch.from_numpy, (predicted, y[new])))[1])
    assert np.mean(found, 0).tolist() == pytest.approx([0.9] * 5, abs=0.05)


def test_few_rows_get_one_width():
    errors = torch.arange(1.0, 20.0)[torch.randperm(19)]  # 19: the ceil(20 * 0.9) = 18th smallest
    one = fitted(torch.zeros(19), -errors, NO_LIMITS)
    assert (one.below, one.above) == ((18.0,), (18.0,))
    assert "±18" in one.remark
    assert not fitted(*growing_errors(FEWEST, 0), NO_LIMITS).remark
    assert conformal(np.arange(10.0)) == 9.0  # the ceil(11 * 0.9) = 10th
    assert conformal(np.array([2.0, 3.0])) == 3.0


def test_a_model_without_errors():
    numbers = torch.arange(200.0)
    low, high = fitted(numbers, numbers, NO_LIMITS).around(numbers)
    assert (low == numbers).all()
    assert (high == numbers).all()


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (torch.arange(60.0) + 3, (0.0, None)),
        (-torch.arange(60.0) - 3, (None, 0.0)),
        (torch.arange(60.0) - 30, (None, None)),
        (torch.arange(40.0) + 3, (None, None)),  # too few rows
        (torch.cat([torch.arange(1.0, 100.0), torch.full((5,), 100.0)]), (0.0, 100.0)),  # percentages
        (torch.cat([torch.arange(2000.0), torch.full((5,), 2000.0)]), (0.0, None)),  # 5 of 2,005 rows
    ],
)
def test_limits(numbers, expected):
    assert limits_of(numbers) == expected


def test_ends_stay_within_the_limits():
    predicted, numbers = growing_errors(1000, 0)
    free, limited = (fitted(predicted - 1, numbers - 1, known) for known in (NO_LIMITS, torch.arange(1.0, 100.0)))
    p = torch.linspace(-5, 10, 40, dtype=torch.float64)
    (low, high), (low_limited, high_limited) = free.around(p), limited.around(p)
    assert low.min() < 0
    assert (low_limited == low.clamp_min(0)).all()
    assert (high_limited == high.clamp_min(0)).all()
    assert limited.remark == "no prediction or interval goes below 0, because no number in training does"


def test_intervals_go_to_json():
    intervals = fitted(*growing_errors(200, 0), torch.arange(60.0))
    assert PredictionIntervals.from_dict(json.loads(json.dumps(intervals.to_dict()))) == intervals
    for wrong in ({"below": [1.0]}, {"at": list(intervals.at)[::-1]}, {"above": [-1.0] * len(intervals.at)}):
        with pytest.raises(ValueError, match="do not fit together"):
            PredictionIntervals.from_dict({**intervals.to_dict(), **wrong})
