"""A loss's backward gives autograd's gradient of torch.nn's loss, for every reduction."""

from __future__ import annotations

import pytest
import torch

from lamp.losses import CrossEntropyLoss, MSELoss
from tests.cases.losses import LOSSES
from tests.cases.module_case import error
from tests.test_loss_values import reversed_axes, strided

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def expected(case, output, target, *dloss):
    """The gradient that autograd finds with respect to the output."""
    output = output.detach().clone().requires_grad_()
    loss = case.make_torch()(output, target)
    return torch.autograd.grad(loss, output, *dloss)[0]


def upstream(case, loss):
    """The argument of backward: a random gradient if the loss has several elements."""
    return [torch.randn_like(loss)] if case.reduction == "none" else []


@pytest.mark.parametrize("case", LOSSES, ids=str)
class TestGradients:
    def test_gradient(self, case):
        output, target = case.pair()
        criterion = case.make()
        dloss = upstream(case, criterion(output, target))
        assert error(criterion.backward(*dloss), expected(case, output, target, *dloss)) < 1e-11

    def test_gradient_of_a_loss_that_goes_on(self, case):
        output, target = case.pair()
        criterion = case.make()
        dloss = torch.randn_like(criterion(output, target))
        assert error(criterion.backward(dloss), expected(case, output, target, dloss)) < 1e-11

    def test_gradient_in_float32(self, case):
        output, target = case.pair()
        criterion = case.make().float()
        dloss = upstream(case, case.make()(output, target))
        exact = expected(case, output, target, *dloss)
        criterion(output.float(), target.float() if target.is_floating_point() else target)
        doutput = criterion.backward(*(each.float() for each in dloss))
        assert doutput.dtype == torch.float32
        # BCELoss divides by p (1 - p), and what float32 leaves of p is all that there is
        assert error(doutput.double(), exact) < (1e-3 if case.kind == "BCELoss" else 2e-5)

    @pytest.mark.parametrize("lay_out", [strided, reversed_axes])
    def test_memory_layout_does_not_matter(self, case, lay_out):
        output, target = case.pair()
        criterion = case.make()
        dloss = upstream(case, criterion(lay_out(output), lay_out(target)))
        doutput = criterion.backward(*map(lay_out, dloss))
        assert error(doutput, expected(case, output, target, *dloss)) < 1e-11

    def test_the_gradient_given_is_not_modified(self, case):
        output, target = case.pair()
        criterion = case.make()
        dloss = torch.randn_like(criterion(output, target))
        before = dloss.clone()
        criterion.backward(dloss)
        assert torch.equal(dloss, before)

    def test_the_next_call_leaves_a_gradient_alone(self, case):
        output, target = case.pair()
        criterion = case.make()
        dloss = upstream(case, criterion(output, target))
        first = criterion.backward(*dloss)
        before = first.clone()
        criterion(*case.pair())
        criterion.backward(*dloss)
        assert torch.equal(first, before)


def test_two_losses_of_one_criterion_go_back_last_first():
    """Remembered values are a stack, as for every module that is used twice."""
    from lamp.module import Module

    class Twice(Module):
        def __init__(self, criterion):
            self.criterion = criterion

        def forward(self, a, b, target):
            return self.criterion(a, target) + self.criterion(b, target)

        def backward(self):
            db = self.criterion.backward()
            return self.criterion.backward(), db

    for criterion, target in ((MSELoss(), torch.randn(7, 4)), (CrossEntropyLoss(), torch.randint(0, 4, (7,)))):
        a, b = torch.randn(7, 4), torch.randn(7, 4)
        both = Twice(criterion)
        both(a, b, target)
        da, db = both.backward()
        for x, dx in ((a, da), (b, db)):
            criterion(x, target)
            assert torch.equal(criterion.backward(), dx)
