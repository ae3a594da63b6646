"""Replica k of a population is the single network k, for every module of the table."""

import pytest
import torch

from lamp.replicas import stack
from tests.cases.modules import MODULES as ALL

TOLERANCE = 1e-12
MODULES = [case for case in ALL if case.shape]  # in a population an input has a batch axis


@pytest.mark.parametrize("replicas", [1, 2, 7])
@pytest.mark.parametrize("case", MODULES, ids=str)
def test_each_replica_is_its_network(case, replicas):
    singles = [case.pair()[0].train() for _ in range(replicas)]
    inputs = torch.randn(replicas, *case.shape, dtype=torch.float64) * 2.0
    population = stack(singles)
    outputs = population(population.per_replica(inputs))
    assert outputs.shape[0] == replicas
    upstream = torch.randn_like(outputs)
    dinputs = population.backward(upstream)
    for k, single in enumerate(singles):
        torch.testing.assert_close(single(inputs[k]), outputs[k], rtol=TOLERANCE, atol=TOLERANCE)
        torch.testing.assert_close(single.backward(upstream[k]), dinputs[k], rtol=TOLERANCE, atol=TOLERANCE)
        for own, of_all in zip(single.parameters(), population.parameters(), strict=True):
            torch.testing.assert_close(own.grad, of_all.grad[k], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", MODULES, ids=str)
def test_a_poisoned_replica_touches_no_other(case):
    singles = [case.pair()[0].train() for _ in range(3)]
    inputs = torch.randn(3, *case.shape, dtype=torch.float64)
    runs = []
    for poison in (False, True):
        population = stack(singles)
        given = inputs.clone()
        if poison:
            given[1] = float("nan")
        outputs = population(population.per_replica(given))
        upstream = torch.ones_like(outputs)
        runs.append((outputs, population.backward(upstream), [p.grad for p in population.parameters()]))
    for clean, poisoned in zip(runs[0][:2], runs[1][:2], strict=True):
        assert torch.equal(clean[[0, 2]], poisoned[[0, 2]])
    for clean, poisoned in zip(runs[0][2], runs[1][2], strict=True):
        assert torch.equal(clean[[0, 2]], poisoned[[0, 2]])
