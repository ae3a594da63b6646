"""The compiled engine computes what the eager one does: every activation, loss and optimizer, alone and combined."""

from __future__ import annotations

import random

import pytest
import torch

import lamp
from lamp.errors import ArgumentError
from lamp.formulas import Number
from tests.cases import modules, optimizers
from tests.cases.compiled import TASKS, both, close, lanes, network, replicas, same, task, trained

ACTIVATIONS = [case for case in modules.ACTIVATIONS if case.shape]
ANY_TASK, OTHER_TASK = task("CrossEntropyLoss"), task("HuberLoss(delta=0.4")
KINDS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")


def sgd(parameters):
    return lamp.SGD(parameters, lr=0.02)


def counts(dtype=torch.float64):
    """One network, and a population of whole groups of lanes and a few networks beyond them."""
    return None, 2 * lanes(dtype) + 3


def tolerance_of(case):
    """Rules that divide by the size of the gradients enlarge what rounding leaves of small ones, most those that
    remember no other."""
    forgets = case.options.get("alpha") == 0.0 or case.options.get("betas") == (0.0, 0.0)
    return None if case.kind == "SGD" else 1e-9 if forgets else 1e-11


def check(of_task, *between, optimizer=sgd, dtype=torch.float64, **arguments):
    for count in counts(dtype):
        both(
            lambda: network(of_task, *[each() for each in between], dtype=dtype),
            lambda: of_task.make().to(dtype),
            optimizer,
            of_task.data(dtype=dtype),
            count=count,
            **arguments,
        )


# ---- the tables ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_activations(case):
    check(ANY_TASK, case.make)


@pytest.mark.parametrize("case", ACTIVATIONS[::5], ids=str)
def test_activations_before_another_loss(case):
    check(OTHER_TASK, case.make)


@pytest.mark.parametrize("case", TASKS, ids=str)
def test_losses(case):
    check(case, lamp.Tanh)


@pytest.mark.parametrize("case", TASKS[::7], ids=str)
def test_losses_after_another_activation(case):
    check(case, lamp.LeakyReLU)


@pytest.mark.parametrize("case", optimizers.OPTIMIZERS, ids=str)
def test_optimizers(case):
    check(ANY_TASK, lamp.Tanh, optimizer=case.make, tolerance=tolerance_of(case))


@pytest.mark.parametrize("k", range(24))
def test_some_of_all_combinations(k):
    drawn = random.Random(k)
    chosen, activation = drawn.choice(TASKS), drawn.choice(ACTIVATIONS).make
    dtype = torch.float32 if k % 3 == 0 else torch.float64
    tame = [case for case in optimizers.OPTIMIZERS if dtype is torch.float64 or case.kind == "SGD"]
    optimizer = drawn.choice(tame)
    tolerance = 1e-5 if dtype is torch.float32 else tolerance_of(optimizer)
    check(chosen, activation, optimizer=optimizer.make, dtype=dtype, tolerance=tolerance)
