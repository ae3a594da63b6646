"""Metrics against scikit-learn, intervals against known ones, temperatures against a search, and splits."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as theirs

from lamp.errors import DataError
from lamp.metrics.ranking import roc_area
from lamp.tables import calibration, metrics
from lamp.tables.split import FEWEST_ROWS, folds, some, split

N, C = 211, 3


@pytest.fixture
def classes():
    scores = torch.randn(N, C).double()
    labels = torch.randint(C, (N,))
    scores[torch.arange(N), labels] += 1.0
    return scores.softmax(1), labels


def test_metrics_of_classes(classes):
    p, labels = classes
    found = metrics.of_classes(p, labels)
    predicted = p.argmax(1)
    assert found["accuracy"].value == pytest.approx(theirs.accuracy_score(labels, predicted))
    assert found["balanced accuracy"].value == pytest.approx(theirs.balanced_accuracy_score(labels, predicted))
    assert found["log loss"].value == pytest.approx(theirs.log_loss(labels, p))
    assert "ROC AUC" not in found


def test_metrics_of_two_classes():
    p = torch.rand(N).double().mul(8).round().div(8)  # with many ties
    labels = (torch.rand(N) < p).long()
    found = metrics.of_classes(torch.stack([1 - p, p], 1), labels)
    assert found["ROC AUC"].value == pytest.approx(theirs.roc_auc_score(labels, p))


def test_metrics_of_numbers():
    truth = torch.randn(N).double() * 7 + 3
    predicted = truth + torch.randn(N)
    ends = (predicted - 1, predicted + torch.arange(1, N + 1) / N)
    found = metrics.of_numbers(predicted, truth, ends=ends)
    assert found["R2"].value == pytest.approx(theirs.r2_score(truth, predicted))
    assert found["RMSE"].value == pytest.approx(theirs.root_mean_squared_error(truth, predicted))
    assert found["MAE"].value == pytest.approx(theirs.mean_absolute_error(truth, predicted))
    inside = ((ends[0] <= truth) & (truth <= ends[1])).numpy()
    assert found["coverage"].value == pytest.approx(inside.mean())
    fifths = np.array_split(inside[np.argsort(predicted.numpy())], 5)
    assert [found[name].value for name in metrics.FIFTHS] == pytest.approx([each.mean() for each in fifths])
    assert found["interval width"].value == pytest.approx(1.5 + 0.5 / N)
    few = metrics.of_numbers(predicted[:49], truth[:49], ends=(ends[0][:49], ends[1][:49]))
    assert not few.keys() & set(metrics.FIFTHS)


def test_a_weighted_metric_is_that_of_rows_repeated(classes):
    p, labels = classes
    counts = torch.randint(0, 4, (N,))
    rows = torch.repeat_interleave(torch.arange(N), counts)
    right = (p.argmax(1) == labels).double()
    assert metrics._balanced(counts.double(), right, labels, C) == pytest.approx(
        theirs.balanced_accuracy_score(labels[rows], p.argmax(1)[rows])
    )
    two = (labels > 0).long()
    assert roc_area(p[:, 1], two == 1)(counts.double()).item() == pytest.approx(
        theirs.roc_auc_score(two[rows], p[rows, 1])
    )


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # R: prop.test(right, n, correct=FALSE)$conf.int
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0)],
)
def test_wilson(right, n, low, high):
    found = metrics.wilson(right, n)
    assert found.value == right / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one():
    """The mean absolute error is a mean: its interval is about mean -+ 1.96 std / sqrt(n), however many samples."""
    for n in (400, 40_000):
        error = torch.randn(n).double()
        found = metrics.of_numbers(error, torch.zeros(n).double() + torch.randn(n) * 1e-9)["MAE"]
        margin = 1.96 * error.abs().std().item() / math.sqrt(n)
        assert found.high - found.low == pytest.approx(2 * margin, rel=0.25)
        assert found.low < found.value < found.high


def test_calibration_error_by_hand():
    p = torch.tensor([[0.95, 0.05], [0.92, 0.08], [0.35, 0.65], [0.61, 0.39]]).double()
    labels = torch.tensor([0, 1, 1, 1])
    # the bin of 0.9: mean 0.935, right 1/2; that of 0.6: mean 0.63, right 1/2
    assert metrics.calibration_error(p, labels) == pytest.approx((abs(0.935 - 0.5) + abs(0.63 - 0.5)) / 2)
    mean, right, rows = metrics.bins_of(p, labels)
    assert rows.tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert (mean[6], right[6]) == (pytest.approx(0.63), 0.5)  # type: ignore[comparison-overlap]


# ---- guessing --------------------------------------------------------------------------------------------------------
def test_guessing_by_shares():
    known, labels = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1])
    expected = -(math.log(4 / 6) + math.log(2 / 6)) / 2
    assert calibration.losses_of_shares(labels, known, 2).mean().item() == pytest.approx(expected)


# ---- splits ----------------------------------------------------------------------------------------------------------
def parts_of(found):
    return found.training, found.validation, found.test


def test_every_row_is_in_one_part():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 3 + [3] * 2)
    found = split(len(labels), labels, seed=5)
    assert torch.cat(parts_of(found)).sort().values.tolist() == list(range(len(labels)))
    counts = [torch.bincount(labels[part], minlength=4).tolist() for part in parts_of(found)]
    assert counts == [[64, 26, 1, 2], [16, 6, 1, 0], [20, 8, 1, 0]]
    again, other = split(len(labels), labels, seed=5), split(len(labels), labels, seed=6)
    assert (again.test == found.test).all()
    assert not (len(other.test) == len(found.test) and (other.test == found.test).all())


def test_a_split_without_classes():
    assert [len(part) for part in parts_of(split(1000))] == [640, 160, 200]
    assert [len(part) for part in parts_of(split(2_000_000))] == [1_750_000, 50_000, 200_000]
    assert all(len(part) for part in parts_of(split(FEWEST_ROWS)))
    with pytest.raises(DataError, match="too few rows: 9"):
        split(9)


def test_folds():
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 7)
    outside, inside = folds(77, labels, 5, seed=1)
    assert outside.shape == (5, 62)
    assert inside.shape == (5, 15)
    for row in range(5):
        assert torch.cat([outside[row], inside[row]]).sort().values.tolist() == list(range(77))
    assert len(inside.flatten().unique()) == 75
    shares = np.array([torch.bincount(labels[each], minlength=3).tolist() for each in inside])
    assert (shares.max(0) - shares.min(0) <= 1).all()


def test_some_rows():
    rows = torch.arange(100, 200)
    assert some(rows, 100, 0) is rows
    few = some(rows, 7, 0)
    assert len(few) == 7
    assert (few.sort().values == few).all()
    assert set(few.tolist()) <= set(rows.tolist())


def test_rows_that_are_too_few_for_an_interval():
    """All bootstrap samples of one row are that row, and R2 of two rows is the same in all samples that have both."""
    one = metrics.of_numbers(torch.tensor([5.5]).double(), torch.tensor([0.0]).double())
    two = metrics.of_numbers(torch.tensor([5.5, 1.0]).double(), torch.tensor([0.0, 2.0]).double())
    assert [one["RMSE"].margin, one["MAE"].margin, two["R2"].margin] == [None] * 3
    assert two["MAE"].margin > 0
