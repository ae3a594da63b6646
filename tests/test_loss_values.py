"""A loss is torch.nn's, for pairs laid out in any way, and leaves the pair alone."""

from __future__ import annotations

import functools
import inspect
import warnings

import pytest
import torch

import lamp.losses
from lamp.losses import CrossEntropyLoss, HuberLoss, MSELoss
from tests.cases.losses import LOSSES, Case
from tests.cases.module_case import error

# torch warns that the mean of KLDivLoss is not the divergence
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


KINDS = {case.kind for case in LOSSES}


def expected(case: Case, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return case.make_torch()(output, target)


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers, every other place in memory."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def reversed_axes(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers, the first axis the fastest in memory."""
    axes = tuple(reversed(range(tensor.dim())))
    return tensor.permute(axes).contiguous().permute(axes)


@pytest.mark.parametrize("case", LOSSES, ids=str)
class TestValues:
    def test_value(self, case):
        output, target = case.pair()
        assert error(case.make()(output, target), expected(case, output, target)) < 1e-11

    def test_value_in_eval_mode(self, case):
        output, target = case.pair()
        assert error(case.make().eval()(output, target), expected(case, output, target)) < 1e-11

    def test_value_in_float32(self, case):
        output, target = case.pair()
        exact = expected(case, output, target)
        if target.is_floating_point():
            target = target.float()
        loss = case.make().float()(output.float(), target)
        assert loss.dtype == torch.float32
        assert error(loss.double(), exact) < 2e-5

    @pytest.mark.parametrize("lay_out", [strided, reversed_axes])
    def test_memory_layout_does_not_matter(self, case, lay_out):
        output, target = case.pair()
        criterion = case.make()
        loss = criterion(lay_out(output), lay_out(target))
        assert error(loss, expected(case, output, target)) < 1e-11

    def test_the_pair_is_not_modified(self, case):
        output, target = case.pair()
        criterion = case.make()
        kept = [tensor.clone() for tensor in (output, target, *criterion.state_dict().values())]
        loss = criterion(output, target)
        criterion.backward(*([torch.randn_like(loss)] if case.reduction == "none" else []))
        now = output, target, *criterion.state_dict().values()
        assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))

    def test_same_pair_same_loss(self, case):
        output, target = case.pair()
        criterion = case.make()
        assert torch.equal(criterion(output, target), criterion(output, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_reduces_in_float32(dtype):
    output, target = torch.full((100003,), 62.5, dtype=dtype), torch.zeros(100003, dtype=dtype)
    criterion = HuberLoss(delta=100.0)
    assert criterion(output, target).item() == pytest.approx(
        62.5**2 / 2, rel=4e-3
    )  # the sum is out of the range of float16
    exact = torch.full((100003,), 62.5 / 100003).to(dtype)  # while 1 / 100003 has lost digits there
    assert torch.equal(criterion.backward(), exact)
    output, target = torch.full((400, 300), 3.0, dtype=dtype), torch.zeros(400, 300, dtype=dtype)
    assert MSELoss()(output, target) == 9.0
    criterion = MSELoss(reduction="sum")
    criterion(output[:5], target[:5])
    assert torch.equal(criterion.backward(), torch.full((5, 300), 6.0, dtype=dtype))
    criterion = CrossEntropyLoss(ignore_index=1)
    labels = torch.arange(3000) % 2
    loss = criterion(torch.zeros(3000, 2, dtype=dtype), labels)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(0.6931, rel=4e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_other_integers(dtype):
    output, labels = torch.randn(7, 4), torch.randint(0, 4, (7,))
    weight = torch.rand(4)
    for options in ({}, {"weight": weight}, {"ignore_index": 2}, {"label_smoothing": 0.2}):
        criterion = CrossEntropyLoss(**options)
        loss, doutput = criterion(output, labels), criterion.backward()
        assert torch.equal(criterion(output, labels.to(dtype)), loss)
        assert torch.equal(criterion.backward(), doutput)


def test_labels_to_ignore_may_come_and_go():
    criterion, twin = CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    for ignored in ([], [2, 5], [], [0], []):
        output, labels = torch.randn(7, 4), torch.randint(0, 4, (7,))
        labels[ignored] = -100
        assert error(criterion(output, labels), twin(output, labels)) < 1e-6


# ---- torch's own samples -------------------------------------------------------------------------------------------
@functools.cache
def samples() -> list[tuple[str, dict, tuple]]:
    """Constructor arguments and pairs from torch's own tests, for the losses that lamp has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_modules import module_db
    found = []
    for info in module_db:
        name = info.module_cls.__name__
        if name not in KINDS:
            continue
        inputs = info.module_inputs_func(info, torch.device("cpu"), torch.float64, requires_grad=False, training=True)
        for sample in inputs:
            made, called = sample.constructor_input, sample.forward_input
            arguments = inspect.signature(getattr(torch.nn, name)).bind(*made.args, **made.kwargs).arguments
            if not {"size_average", "reduce"} & set(arguments) and not called.kwargs:
                found.append((name, arguments, called.args))
    return found


def test_torchs_own_samples():
    ran = set()
    for name, arguments, (output, target) in samples():
        exact = getattr(torch.nn, name)(**arguments)(output, target)
        if not exact.isfinite().all():
            continue  # the mean of nothing, and logarithms of negative numbers: lamp refuses them
        criterion = getattr(lamp.losses, name)(**arguments)
        assert error(criterion(output, target), exact) < 1e-11, (name, arguments)
        ran.add(name)
    assert ran == KINDS
