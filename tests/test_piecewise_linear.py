"""PiecewiseLinearEncoding: the edges that it chooses, and what it refuses. Its values are tested with all modules'."""

import numpy as np
import pytest
import torch

import lamp


def test_edges_are_quantiles():
    x = torch.randn(1001, 2)
    encoding = lamp.PiecewiseLinearEncoding.fit(x, 4)
    assert encoding.bins == [4, 4]
    for column, edges in zip(x.T, encoding.edges, strict=True):
        np.testing.assert_array_equal(edges, np.quantile(column, [0, 0.25, 0.5, 0.75, 1]))


def test_many_equal_values_leave_bins_to_the_others():
    x = torch.cat([torch.zeros(900), torch.arange(1.0, 101.0)]).unsqueeze(1)
    (edges,) = lamp.PiecewiseLinearEncoding.fit(x, 10).edges
    assert edges[0] == 0
    assert edges[-1] == 100
    assert len(edges) == 11
    assert edges.diff().max() <= 12


def test_a_value_each_where_there_are_few():
    columns = [torch.tensor([3.0, 3, 3, 3]), torch.tensor([1.0, 2, 1, 1]), torch.tensor([1.0, 7, 2, 2])]
    encoding = lamp.PiecewiseLinearEncoding.fit(torch.stack(columns, 1))
    assert [each.tolist() for each in encoding.edges] == [[], [], [1, 2, 7]]
    assert encoding(torch.tensor([[0.0, 0.0, 4.5]])).tolist() == [[0, 0, 4.5, 1, 0.5]]


def test_chosen_features():
    assert lamp.PiecewiseLinearEncoding.fit(torch.randn(50, 4), 3, [1, -1]).bins == [0, 3, 0, 3]


@pytest.mark.parametrize("edges", [[0.0], [0.0, 0.0], [1.0, 0.0], [0.0, float("inf")], [0.0, float("nan"), 1.0]])
def test_edges_that_are_no_bins(edges):
    with pytest.raises(lamp.ArgumentError, match="edges of feature 1 are no bins"):
        lamp.PiecewiseLinearEncoding([[0.0, 1.0], edges])


def test_inputs_that_do_not_fit():
    with pytest.raises(lamp.ArgumentError, match="finite"):
        lamp.PiecewiseLinearEncoding.fit(torch.tensor([[0.0], [float("nan")]]))
    encoding = lamp.PiecewiseLinearEncoding.fit(torch.randn(50, 4))
    with pytest.raises(lamp.ShapeError, match="4"):
        encoding(torch.randn(5, 3))
    with pytest.raises(lamp.DTypeError):
        encoding(torch.arange(4))


def test_replicas_with_different_edges_have_no_graph():
    one, other = (lamp.PiecewiseLinearEncoding.fit(torch.randn(50, 2), 3) for _ in range(2))
    x = torch.randn(5, 2)
    population = lamp.stack([lamp.Sequential(one), lamp.Sequential(other)])
    torch.testing.assert_close(population(x), torch.stack([one(x), other(x)]))
    with pytest.raises(lamp.NotTraceable, match="different edges"):
        lamp.trace(population, x)
