"""Replica k of a population is the single network k, for every module of the table."""

import pytest
import torch

from lamp.replicas import stack
from lamp.trees import leaves, mapped
from tests.cases.module_case import equal, like
from tests.cases.modules import MODULES as ALL

TOLERANCE = 1e-12
MODULES = [case for case in ALL if case.shape]  # in a population an input has a batch axis


def of_replica(tree, k):
    return mapped(tree, lambda each: each[k])


def close(one, other):
    for (_, a), (_, b) in zip(leaves(one), leaves(other), strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("replicas", [1, 2, 7])
@pytest.mark.parametrize("case", MODULES, ids=str)
def test_a_batch_that_all_replicas_share(case, replicas):
    singles = [case.pair()[0].train() for _ in range(replicas)]
    x, population = case.input(), stack(singles)
    outputs = population(x)
    upstream = like(outputs)
    dinputs = population.backward(upstream)
    for k, single in enumerate(singles):
        close(single(x), of_replica(outputs, k))
        close(single.backward(of_replica(upstream, k)), of_replica(dinputs, k))
        for own, of_all in zip(single.parameters(), population.parameters(), strict=True):
            close(own.grad, of_all.grad[k])


@pytest.mark.parametrize("replicas", [1, 2, 7])
@pytest.mark.parametrize("case", MODULES, ids=str)
def test_each_replica_is_its_network(case, replicas):
    singles = [case.pair()[0].train() for _ in range(replicas)]
    inputs = case.input(shape=(replicas, *case.shape))
    population = stack(singles)
    outputs = population(population.per_replica(inputs))
    assert all(each.shape[0] == replicas for _, each in leaves(outputs))
    upstream = like(outputs)
    dinputs = population.backward(upstream)
    for k, single in enumerate(singles):
        close(single(inputs[k]), of_replica(outputs, k))
        close(single.backward(of_replica(upstream, k)), of_replica(dinputs, k))
        for own, of_all in zip(single.parameters(), population.parameters(), strict=True):
            torch.testing.assert_close(own.grad, of_all.grad[k], rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", [case for case in MODULES if case.indices is None], ids=str)
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
        upstream = mapped(outputs, torch.ones_like)
        runs.append((outputs, population.backward(upstream), tuple(p.grad for p in population.parameters())))
    clean, poisoned = (mapped(run, lambda each: each[[0, 2]]) for run in runs)
    assert equal(clean, poisoned)
