"""The temperature of an ensemble's probabilities."""

import math

import pytest
import torch

from lamp.studies import calibration

N, C = 211, 3


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(true):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(20_000, C, generator=generator).double() * 2
    labels = torch.multinomial((scores / true).softmax(1), 1, generator=generator).squeeze(1)
    assert calibration.temperature(scores.unsqueeze(0), labels) == pytest.approx(true, rel=0.05)


def test_the_temperature_is_where_the_loss_is_lowest():
    scores, labels = torch.randn(5, N, C).double(), torch.randint(C, (N,))
    scores[:, torch.arange(N), labels] += 1.5
    found = calibration.temperature(scores, labels)

    def loss(t):
        p = (scores / t).softmax(-1).mean(0).log()
        of_label = p[torch.arange(N), labels]
        e = 1 / (N + 2)
        return math.log(t) ** 2 - float(((1 - e) * of_label + e * (p.sum(1) - of_label) / (C - 1)).sum())

    assert all(loss(found) <= loss(found * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_rows_that_are_all_right_are_no_certainty():
    labels = torch.arange(N) % C
    scores = 50 * torch.eye(C)[labels].double().unsqueeze(0)
    p = calibration.probabilities(scores, calibration.temperature(scores, labels))
    assert p.max() < 1 - 0.3 / (N + 2)


def test_the_temperature_of_all_members_goes_on_from_that_of_some():
    scores, labels = torch.randn(2, N, C).double() * 2, torch.randint(C, (N,))
    scores[:, torch.arange(N), labels] += 2.0
    one = math.log(calibration.temperature(scores.flatten(0, 1).unsqueeze(0), labels.repeat(2)))
    two = math.log(calibration.temperature(scores, labels))
    assert one > two + 0.05
    for members, share in ((2, 0.0), (4, 0.5), (10, 0.8)):
        expected = math.exp(two + share * (two - one))
        assert calibration.of_all_members(scores, labels, members) == pytest.approx(expected)
    assert calibration.of_all_members(scores[:1], labels, 10) == calibration.temperature(scores[:1], labels)


def test_few_rows_do_not_move_the_temperature_far():
    scores = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]]).double()
    assert 0.6 < calibration.temperature(scores, torch.tensor([0, 1])) < 1.6


def test_a_row_of_weight_2_counts_twice():
    scores, labels = torch.randn(2, N, C).double() * 2, torch.randint(C, (N,))
    rows = torch.arange(N).repeat_interleave(1 + (torch.arange(N) % 3))
    weights = torch.bincount(rows).double()
    for members in (1, 2, 9):
        repeated = calibration.of_all_members(scores[:, rows], labels[rows], members)
        assert calibration.of_all_members(scores, labels, members, weights=weights) == pytest.approx(repeated, rel=1e-3)
        assert calibration.of_all_members(scores, labels, members) != pytest.approx(repeated, rel=1e-2)
