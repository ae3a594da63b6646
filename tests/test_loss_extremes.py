"""Losses are right for large or impossible numbers and at kinks, and NaN is always reported."""

from __future__ import annotations

import math

import pytest
import torch

from lamp.errors import NonFiniteError
from lamp.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from tests.cases.losses import LOSSES
from tests.cases.module_case import error
from tests.test_loss_gradients import expected

INF = math.inf
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def both(criterion, output, target):
    """The loss and its gradient."""
    return criterion(output, target), criterion.backward()


# ---- large scores --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_cross_entropy_of_large_scores(dtype, scale):
    output = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]], dtype=dtype) * scale
    loss, doutput = both(CrossEntropyLoss(reduction="sum"), output, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(2 * scale + math.log(2), rel=1e-6)
    exact = torch.tensor([[0.0, 0.0, 0.0], [-1.0, 0.5, 0.5]], dtype=dtype)
    torch.testing.assert_close(doutput, exact, rtol=1e-6, atol=1e-40)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_of_probabilities_of_large_scores(dtype):
    output = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype)
    q = torch.tensor([[1.0, 0.0], [0.25, 0.75]], dtype=dtype)
    loss, doutput = both(CrossEntropyLoss(reduction="sum"), output, q)
    assert loss.item() == 0.25 * 2e4
    assert torch.equal(doutput, torch.tensor([[0.0, 0.0], [-0.25, 0.25]], dtype=dtype))


@pytest.mark.parametrize("x", [-1e4, -100.0, -50.0, 50.0, 100.0, 1e4])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_log_odds(x, pos_weight):
    """Exact to the last digits on both sides: log(1 + exp(-50)) is exp(-50), not 0."""
    weight = 1.0 if pos_weight is None else pos_weight
    criterion = BCEWithLogitsLoss(pos_weight=None if pos_weight is None else torch.tensor(weight, dtype=torch.float64))
    for target, side in ((1.0, -x), (0.0, x)):  # softplus(side)
        output, t = (torch.tensor([v], dtype=torch.float64) for v in (x, target))
        loss, doutput = both(criterion, output, t)
        factor = weight if target else 1.0
        surprise = max(side, 0.0) + math.log1p(math.exp(-abs(side)))
        slope = math.exp(-max(-side, 0.0)) / (1.0 + math.exp(-abs(side)))
        assert loss.item() == pytest.approx(factor * surprise, rel=1e-13, abs=0.0)
        assert doutput.item() == pytest.approx(
            factor * math.copysign(slope, 0.5 - target), rel=1e-13, abs=1e-16 * factor
        )


def test_sure_probabilities():
    """As in torch, each logarithm is at least -100."""
    output = torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-300], dtype=torch.float64)
    target = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    loss, doutput = both(BCELoss(reduction="sum"), output, target)
    assert loss.item() == 300.0
    x = output.clone().requires_grad_()
    torch.nn.BCELoss(reduction="sum")(x, target).backward()
    assert error(doutput, x.grad) < 1e-8  # torch rounds its 1e-12 to float32


def test_a_large_difference():
    output, target = torch.tensor([1e30, -1e30, 0.0]), torch.zeros(3)
    for criterion in (L1Loss(reduction="sum"), SmoothL1Loss(reduction="sum"), HuberLoss(reduction="sum")):
        loss, doutput = both(criterion, output, target)
        assert loss.item() == pytest.approx(2e30, rel=1e-6)
        assert torch.equal(doutput, torch.tensor([1.0, -1.0, 0.0]))


def test_derivatives_at_kinks_and_bounds():
    """Where output and target are equal, and at the bounds."""
    at = torch.tensor([0.0, 0.5, -0.5, 1.0, -1.0], dtype=torch.float64)
    for case in LOSSES:
        if case.kind in ("L1Loss", "HuberLoss", "SmoothL1Loss") and case.reduction == "sum":
            loss, doutput = both(case.make(), at, torch.zeros_like(at))
            assert error(loss, case.make_torch()(at, torch.zeros_like(at))) < 1e-13
            assert error(doutput, expected(case, at, torch.zeros_like(at))) < 1e-13


# ---- impossible classes --------------------------------------------------------------------------------------------
MASKED = torch.tensor([[-INF, 1.0, 2.0], [0.5, -INF, -INF], [0.1, 0.2, -INF]], dtype=torch.float64)


@pytest.mark.parametrize("rows", [1, 200])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0], [1.0, 2.0, 0.0]])
def test_a_masked_class_that_is_no_label(rows, reduction, weight):
    weight = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    output, target = MASKED.repeat(rows, 1), torch.tensor([1, 0, 0]).repeat(rows)
    loss, doutput = both(CrossEntropyLoss(weight=weight, reduction=reduction), output, target)
    x = output.clone().requires_grad_()
    exact = torch.nn.CrossEntropyLoss(weight=weight, reduction=reduction)(x, target)
    exact.backward()
    assert error(loss, exact.detach()) < 1e-13
    assert error(doutput, x.grad) < 1e-13
    assert not doutput[output == -INF].any()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_masked_class_of_no_probability(reduction):
    """torch finds 0 * -inf here, which is NaN; the limit of q log p is 0."""
    q = torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], dtype=torch.float64)
    finite = MASKED.clamp(min=-1e6)
    criterion = CrossEntropyLoss(reduction=reduction)
    dloss = [torch.randn(3, dtype=torch.float64)] if reduction == "none" else []
    loss, doutput = criterion(MASKED, q), criterion.backward(*dloss)
    exact, gradient = criterion(finite, q), criterion.backward(*dloss)
    assert error(loss, exact) < 1e-13
    assert error(doutput, gradient) < 1e-13


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_an_impossible_label_whose_class_has_no_weight(reduction):
    weight = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    criterion = CrossEntropyLoss(weight=weight, reduction=reduction)
    dloss = [torch.randn(3, dtype=torch.float64)] if reduction == "none" else []
    loss, doutput = criterion(MASKED, torch.tensor([2, 1, 0])), criterion.backward(*dloss)
    finite = MASKED.clamp(min=-1e6)
    exact, gradient = criterion(finite, torch.tensor([2, 1, 0])), criterion.backward(*dloss)
    assert error(loss, exact) < 1e-13
    assert error(doutput, gradient) < 1e-13
    assert not doutput[1].any()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("bad", [[INF, 0.0, 0.0], [math.nan] * 3, [-INF] * 3, [-INF, 0.0, 1.0]])
def test_what_came_out_for_an_ignored_label_counts_for_nothing(label_smoothing, weight, reduction, bad):
    output = torch.randn(5, 3, dtype=torch.float64)
    target = torch.tensor([0, -100, 2, 1, 1])
    criterion = CrossEntropyLoss(weight=weight, reduction=reduction, label_smoothing=label_smoothing)
    dloss = [torch.randn(5, dtype=torch.float64)] if reduction == "none" else []
    exact, gradient = criterion(output, target), criterion.backward(*dloss)
    output[1] = torch.tensor(bad)
    assert error(criterion(output, target), exact) < 1e-13
    assert error(criterion.backward(*dloss), gradient) < 1e-13
    assert not gradient[1].any()


def test_nll_of_an_ignored_nan():
    output = torch.randn(5, 3, dtype=torch.float64)
    output[1] = math.nan
    loss, doutput = both(NLLLoss(), output, torch.tensor([0, -100, 2, 1, 1]))
    assert loss.item() == pytest.approx(-(output[0, 0] + output[2, 2] + output[3, 1] + output[4, 1]).item() / 4)
    assert doutput.isfinite().all()


def test_divergence_from_an_impossible_class():
    """0 (log 0 - log p) is 0, even where p is 0."""
    output = torch.tensor([-INF, math.log(0.4), math.log(0.6)], dtype=torch.float64)
    target = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    exact = 0.5 * math.log(0.5 / 0.4) + 0.5 * math.log(0.5 / 0.6)
    loss, doutput = both(KLDivLoss(reduction="sum"), output, target)
    assert loss.item() == pytest.approx(exact, rel=1e-13)
    assert torch.equal(doutput, -target)
    assert both(KLDivLoss(reduction="sum", log_target=True), output, target.log())[0].item() == pytest.approx(exact)


# ---- what is not finite is told ------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", [case for case in LOSSES if case.reduction != "none"], ids=str)
@pytest.mark.parametrize("bad", [math.nan, INF])
def test_a_bad_output(case, bad):
    output, target = case.pair()
    output.view(-1)[-1] = bad
    if case.kind == "KLDivLoss":
        target.view(-1)[-1] = 0.5  # nothing comes of an impossible class's logarithm
    if not target.is_floating_point():
        target.view(-1)[-1] = 0  # a label that counts
    if case.kind == "NLLLoss":
        output.fill_(bad)
    if case.kind == "HingeEmbeddingLoss":
        target.view(-1)[-1] = 1.0  # a pair that should be near
    criterion = case.make()
    if "ignore_index=0" in case.name or (case.kind == "BCELoss" and bad == INF):
        return
    with pytest.raises(NonFiniteError) as caught:
        criterion(output, target)
    text = str(caught.value)
    assert repr(criterion) in text.splitlines()[0]
    assert f"of {output.numel()} outputs" in text


@pytest.mark.parametrize("criterion", [MSELoss(), L1Loss(reduction="sum"), KLDivLoss(), BCEWithLogitsLoss()], ids=repr)
def test_a_bad_target(criterion):
    target = torch.rand(7, 3)
    target[4, 2] = math.nan
    with pytest.raises(NonFiniteError) as caught:
        criterion(torch.randn(7, 3), target)
    assert "(4, 2)" in str(caught.value)


def test_which_loss_is_infinite():
    with pytest.raises(NonFiniteError) as caught:
        CrossEntropyLoss()(MASKED, torch.tensor([1, 0, 2]))
    assert "0 NaN and 4 infinite of 9 outputs" in str(caught.value)
    assert "the loss at (2,) is inf" in str(caught.value)


def test_a_sum_out_of_range():
    with pytest.raises(NonFiniteError) as caught:
        MSELoss(reduction="sum")(torch.full((9000,), 1e18), torch.zeros(9000))
    assert "out of the range of torch.float32" in str(caught.value)
    assert "1e+18" in str(caught.value)


def test_a_criterion_goes_on_after_an_error():
    criterion = MSELoss()
    with pytest.raises(NonFiniteError):
        criterion(torch.tensor([math.nan]), torch.zeros(1))
    criterion(torch.ones(1), torch.zeros(1))
    assert criterion.backward().item() == 2.0
