"""Any shape that torch takes, drawn at random; and samples are independent of each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamp.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, KLDivLoss, MSELoss, NLLLoss
from tests.cases.module_case import error

shapes = st.lists(st.integers(1, 6), max_size=4).map(tuple)
sizes = st.integers(1, 7)
reductions = st.sampled_from(["mean", "sum", "none"])
seeds = st.integers(0, 1000)
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def check(criterion, twin, output, target):
    """The loss and its gradient are the twin's."""
    x = output.clone().requires_grad_()
    exact = twin(x, target)
    loss = criterion(output, target)
    dloss = torch.randn_like(loss)
    assert error(loss, exact.detach()) < 1e-11
    assert error(criterion.backward(dloss), torch.autograd.grad(exact, x, dloss)[0]) < 1e-11


@given(st.sampled_from(["MSELoss", "HuberLoss", "BCEWithLogitsLoss", "KLDivLoss"]), shapes, reductions, seeds)
def test_elementwise(kind, shape, reduction, seed):
    torch.manual_seed(seed)
    ours = {"MSELoss": MSELoss, "HuberLoss": HuberLoss, "BCEWithLogitsLoss": BCEWithLogitsLoss, "KLDivLoss": KLDivLoss}
    output, target = torch.randn(shape, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    check(ours[kind](reduction=reduction), getattr(torch.nn, kind)(reduction=reduction), output, target)


@given(
    st.one_of(st.none(), sizes), sizes, st.lists(st.integers(1, 5), max_size=2), reductions, st.booleans(),
    st.sampled_from([0.0, 0.1]), st.booleans(), st.booleans(), seeds,
)  # fmt: skip
def test_classes(samples, classes, more, reduction, weighted, label_smoothing, ignoring, likely, seed):
    torch.manual_seed(seed)
    batch = () if samples is None else (samples, *more)
    output_shape = (classes,) if samples is None else (samples, classes, *more)
    output, target = torch.randn(output_shape, dtype=torch.float64), torch.randint(0, classes, batch)
    if ignoring:
        target.view(-1)[1::2] = -100  # the first stays
    options = {"reduction": reduction, "weight": torch.rand(classes, dtype=torch.float64) + 0.1 if weighted else None}
    if likely:
        output = output.log_softmax(0 if samples is None else 1)
        check(NLLLoss(**options), torch.nn.NLLLoss(**options), output, target)
    else:
        options["label_smoothing"] = label_smoothing
        check(CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options), output, target)


@given(sizes, sizes, st.lists(st.integers(1, 5), max_size=2), reductions, seeds)
def test_probabilities(samples, classes, more, reduction, seed):
    torch.manual_seed(seed)
    output = torch.randn(samples, classes, *more, dtype=torch.float64)
    target = torch.randn_like(output).softmax(1)
    options = {"reduction": reduction, "label_smoothing": 0.1}
    check(CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options), output, target)


@given(sizes, sizes, seeds)
def test_a_batch_is_its_samples(samples, classes, seed):
    torch.manual_seed(seed)
    output, target = torch.randn(samples, classes, dtype=torch.float64), torch.randint(0, classes, (samples,))
    criterion = CrossEntropyLoss(reduction="sum")
    loss, doutput = criterion(output, target), criterion.backward()
    total = torch.zeros((), dtype=torch.float64)
    for k in range(samples):
        total += criterion(output[k], target[k])
        assert error(criterion.backward(), doutput[k]) < 1e-13
    assert error(loss, total) < 1e-13


@pytest.mark.parametrize("classes", [2, 3, 7, 8, 15, 16, 17, 127, 128, 129])
@pytest.mark.parametrize("samples", [1, 30, 300])
def test_every_way_to_the_softmax(samples, classes):
    """Short rows and long ones are computed in different ways."""
    output, target = torch.randn(samples, classes, dtype=torch.float64), torch.randint(0, classes, (samples,))
    check(CrossEntropyLoss(), torch.nn.CrossEntropyLoss(), output, target)


def test_the_gradient_lies_in_memory_as_the_output():
    for samples, classes in ((7, 4), (300, 3), (300, 130)):
        criterion = CrossEntropyLoss()
        criterion(torch.randn(samples, classes), torch.randint(0, classes, (samples,)))
        assert criterion.backward().is_contiguous()
