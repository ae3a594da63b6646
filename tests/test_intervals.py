"""Means, standard deviations and confidence intervals of a few runs."""

import math

import pytest
import torch

from lamp.intervals import margin_of_mean, mean_std, student_t

# Tables of Student's t: degrees of freedom, level, t
TABLE = [
    (1, 0.5, 1.0),
    (1, 0.95, 12.7062047364),
    (2, 0.95, 4.3026527297),
    (3, 0.9, 2.3533634348),
    (9, 0.99, 3.2498355416),
]
TABLE += [(30, 0.95, 2.0422724563), (101, 0.5, 0.6769265960), (1000, 0.95, 1.9623390808)]


@pytest.mark.parametrize(("degrees", "level", "t"), TABLE)
def test_students_t(degrees, level, t):
    assert student_t(level, degrees) == pytest.approx(t, rel=1e-9)


def test_no_degree_of_freedom():
    assert math.isnan(student_t(0.95, 0))


def test_mean_and_std_of_what_is_finite():
    nan, inf = math.nan, math.inf
    values = torch.tensor([[1.0, 2.0, 4.0], [3.0, nan, 5.0], [inf, 2.0, nan], [nan, nan, nan]], dtype=torch.float64)
    mean, std, count = mean_std(values)
    assert mean[:3].tolist() == pytest.approx([7 / 3, 4.0, 2.0])
    assert mean[3].isnan()
    assert std[:2].tolist() == pytest.approx([values[0].std().item(), math.sqrt(2)])
    assert std[2:].isnan().all()
    assert count.tolist() == [3, 2, 1, 0]


def test_margin_of_a_mean():
    values = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    assert margin_of_mean(values).item() == pytest.approx(4.3026527297 * values.std().item() / math.sqrt(3))


def test_an_interval_holds_the_mean_as_often_as_it_says():
    draws = torch.randn(4000, 5, dtype=torch.float64)
    held = (draws.mean(1).abs() < margin_of_mean(draws, 0.9)).double().mean().item()
    assert held == pytest.approx(0.9, abs=0.02)
