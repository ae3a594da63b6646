"""A loss's derivative is that of its value; both use only lamp.formulas' operations, and agree with the tensor code."""

from __future__ import annotations

import operator
import re

import pytest
import torch

import lamp.formulas
from lamp.losses import CrossEntropyLoss, KLDivLoss
from tests.cases.losses import CLASSES, ELEMENTWISE, log_probabilities, sparse, weights
from tests.cases.module_case import error

SUMS = [case for case in ELEMENTWISE if case.reduction == "sum"]
SUMS_OF_CLASSES = [case for case in CLASSES if case.reduction == "sum"]
LISTED = set(re.findall(r"x\.(\w+)\(", lamp.formulas.__doc__))


class Lane:
    """A number that offers the operations that lamp.formulas lists, and no others."""

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def __getattr__(self, name: str):
        if name not in LISTED:
            raise AttributeError(f"{name} is not listed in lamp.formulas")
        if name in ("maximum", "minimum"):  # the ones that torch refuses a float
            return lambda other: apply(getattr(self.held, name), Lane.of(other))
        return lambda *given, **named: apply(getattr(self.held, name), *given, **named)

    @staticmethod
    def of(x: Lane | float) -> Lane:
        return x if isinstance(x, Lane) else Lane(torch.tensor(x, dtype=torch.float64))

    def __bool__(self) -> bool:
        raise TypeError("a lane decides nothing: use where")


def apply(operation, *given, **named) -> Lane:
    def of(x):
        return x.held if isinstance(x, Lane) else x

    return Lane(operation(*map(of, given), **{name: of(x) for name, x in named.items()}))


def infix(operation):
    return lambda self, other: apply(operation, self, other)


def swapped(operation):
    return lambda self, other: apply(operation, other, self)


for name in ("add", "sub", "mul", "truediv"):
    setattr(Lane, f"__{name}__", infix(getattr(operator, name)))
    setattr(Lane, f"__r{name}__", swapped(getattr(operator, name)))
for name in ("lt", "le", "gt", "ge", "eq", "ne", "and_", "or_"):
    setattr(Lane, f"__{name.rstrip('_')}__", infix(getattr(operator, name)))
Lane.__neg__ = lambda self: apply(operator.neg, self)


def as_lanes(given):
    return [Lane(each) if isinstance(each, torch.Tensor) else each for each in given]


def derivative_of(formula, x, *others):
    """What autograd finds for a formula that takes every element by itself."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(formula(x, *others).sum(), x)[0]


# ---- a loss for each element ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", SUMS, ids=str)
class TestElementwise:
    def test_derivative_is_that_of_value(self, case):
        criterion = case.make()
        output, target = case.pair()

        def value(output):
            return criterion.value(*criterion.prepare(output, target))

        derivative = criterion.derivative(*criterion.prepare(output, target)).expand(output.shape)
        assert error(derivative, derivative_of(value, output)) < 1e-12

    def test_other_numbers_than_tensors(self, case):
        criterion = case.make()
        output, target = case.pair()
        prepared = criterion.prepare(output, target)
        lanes = criterion.prepare(Lane(output), Lane(target)) if len(prepared) == 1 else as_lanes(prepared)
        assert error(criterion.value(*lanes).held, criterion.value(*prepared)) < 1e-14
        assert error(criterion.derivative(*lanes).held, criterion.derivative(*prepared)) < 1e-14

    def test_what_tensors_compute_is_the_formula(self, case):
        criterion = case.make()
        output, target = case.pair()
        value = criterion.value(*criterion.prepare(output, target))
        derivative = criterion.derivative(*criterion.prepare(output, target))
        assert error(criterion.value_of_tensors(*criterion.prepare(output, target)), value) < 1e-13
        assert error(criterion(output, target), value.sum()) < 1e-13
        assert error(criterion.backward(), derivative) < 1e-13


# ---- a loss for each sample, over classes --------------------------------------------------------------------------
def distribution(criterion, output, target):
    """q, by the formula, from labels or probabilities; and the axis of classes."""
    axis = min(output.dim() - 1, 1)
    classes = output.shape[axis]
    shape = [classes if k == axis else 1 for k in range(output.dim())]
    weight = None if criterion.weight is None else criterion.weight.data.view(shape)
    if target.is_floating_point():
        return criterion.target_probability(target, weight, criterion.label_smoothing, classes), axis
    hits = (target.unsqueeze(axis) == torch.arange(classes).view(shape)).double()
    q = criterion.target_probability(hits, weight, criterion.label_smoothing, classes)
    return q * (target != criterion.ignore_index).unsqueeze(axis), axis


@pytest.mark.parametrize("case", SUMS_OF_CLASSES, ids=str)
class TestClasses:
    def test_derivative_is_that_of_value(self, case):
        criterion = case.make()
        output, target = case.pair()
        q, axis = distribution(criterion, output, target)

        def value(output):
            return criterion.value(criterion.log_probabilities(output, axis), q)

        log_p = criterion.log_probabilities(output, axis)
        derivative = criterion.derivative(log_p, q, q.sum(axis, keepdim=True))
        assert error(derivative, derivative_of(value, output)) < 1e-12

    def test_other_numbers_than_tensors(self, case):
        criterion = case.make()
        output, target = case.pair()
        q, axis = distribution(criterion, output, target)
        log_p, mass = criterion.log_probabilities(output, axis), q.sum(axis, keepdim=True)
        assert error(criterion.value(Lane(log_p), Lane(q)).held, criterion.value(log_p, q)) < 1e-14
        given = log_p, q, mass
        assert error(criterion.derivative(*as_lanes(given)).held, criterion.derivative(*given)) < 1e-14
        weight = None if criterion.weight is None else torch.rand_like(q)
        of_lanes = criterion.target_probability(*as_lanes((q, weight)), smoothing=criterion.label_smoothing, classes=4)
        assert error(of_lanes.held, criterion.target_probability(q, weight, criterion.label_smoothing, 4)) < 1e-14

    def test_what_tensors_compute_is_the_formula(self, case):
        criterion = case.make()
        output, target = case.pair()
        q, axis = distribution(criterion, output, target)
        log_p = criterion.log_probabilities(output, axis)
        value = criterion.value(log_p, q).sum()
        derivative = criterion.derivative(log_p, q, q.sum(axis, keepdim=True))
        assert error(criterion(output, target), value) < 1e-13
        assert error(criterion.backward(), derivative) < 1e-13

    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_care_changes_nothing_where_all_is_finite(self, case, reduction):
        criterion = case.make()
        criterion.reduction = reduction
        output, target = case.pair()
        axis = min(output.dim() - 1, 1)
        found = []
        for careful in (False, True):
            log_p = criterion.log_probabilities(output, axis)
            terms = criterion.terms(log_p, target, axis, criterion.label_smoothing, careful, log_p.dtype)
            loss, _ = criterion.reduce(terms.value, terms.divisor, terms.sign)
            found.append((loss, terms.doutput(torch.tensor(0.7, dtype=torch.float64))))
        assert error(found[0][0], found[1][0]) < 1e-13
        assert error(found[0][1], found[1][1]) < 1e-13


def test_an_impossible_class_that_the_target_does_not_ask_for_costs_nothing():
    zero, minus_infinity = torch.tensor(0.0), torch.tensor(-torch.inf)
    assert CrossEntropyLoss().value(minus_infinity, zero) == 0.0
    assert CrossEntropyLoss().value(minus_infinity, torch.tensor(0.5)) == torch.inf
    assert KLDivLoss().value(minus_infinity, zero) == 0.0
    assert KLDivLoss(log_target=True).value(minus_infinity, minus_infinity) == 0.0


def test_nan_is_not_taken_for_zero():
    nan, one, zero = torch.tensor(torch.nan), torch.tensor(1.0), torch.tensor(0.0)
    assert CrossEntropyLoss().value(nan, zero).isnan()
    assert KLDivLoss().value(nan, zero).isnan()
    assert CrossEntropyLoss().value(nan, one).isnan()
    assert CrossEntropyLoss().value(one, nan).isnan()
    assert KLDivLoss().value(one, nan).isnan()
    assert KLDivLoss().value(one, -one).isnan()


def test_a_lane_is_strict():
    lane = Lane(torch.tensor(1.0))
    with pytest.raises(AttributeError, match="not listed"):
        lane.softmax(0)
    with pytest.raises(TypeError):
        bool(lane > 0)
    assert {"exp", "clamp", "where", "lerp", "sigmoid"} <= LISTED


def test_a_long_row_and_a_short_one_have_the_same_softmax():
    """The shape decides between three ways to compute the softmax."""
    criterion = CrossEntropyLoss(weight=weights(130))
    output, target = log_probabilities(300, 130)(), sparse(300, 130)()
    criterion(output, target)
    together = criterion.backward() * 300.0
    for k in range(3):
        criterion(output[k], target[k])
        assert error(criterion.backward(), together[k]) < 1e-13
