"""Losses have torch's names, repr and state; what they remember, and when they forget it."""

from __future__ import annotations

import copy
import inspect
import io

import pytest
import torch
from torch import nn

import lamp.losses
from lamp.errors import BackwardError, StateDictError
from lamp.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from lamp.parameter import Buffer
from tests.cases.losses import LOSSES, weights
from tests.cases.module_case import error

SETTINGS = [case for case in LOSSES if case.reduction == "mean"]
KINDS = sorted({case.kind for case in LOSSES})
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def test_every_public_loss_has_a_row():
    public = {name for name in lamp.losses.__all__ if not inspect.isabstract(getattr(lamp.losses, name))}
    bases = {"Loss", "ClassLoss", "DifferenceLoss", "BinaryLoss", "SampleLoss"}
    elsewhere = {name for name in public if issubclass(getattr(lamp.losses, name), lamp.losses.SampleLoss)} | {
        "CTCLoss"
    }
    assert public - bases - elsewhere == set(KINDS)  # tests/test_sample_losses.py and tests/test_ctc.py have the others
    assert all(hasattr(lamp.losses, name) for name in lamp.losses.__all__)


@pytest.mark.parametrize("kind", KINDS)
def test_constructor_arguments_are_torchs(kind):
    def arguments(package):
        found = inspect.signature(getattr(package, kind)).parameters.values()
        return [(each.name, each.default) for each in found if each.name not in ("size_average", "reduce")]

    assert arguments(lamp.losses) == arguments(nn)


@pytest.mark.parametrize("case", SETTINGS, ids=str)
class TestState:
    def test_repr_is_torchs(self, case):
        assert repr(case.make()) == repr(case.make_torch())

    def test_state_dict_is_torchs(self, case):
        ours, theirs = case.make().state_dict(), case.make_torch().state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    def test_attributes_are_torchs(self, case):
        criterion, twin = case.make(), case.make_torch()
        for name in ("reduction", "ignore_index", "label_smoothing", "delta", "beta", "log_target"):
            assert hasattr(criterion, name) == hasattr(twin, name) or name == "label_smoothing"  # NLLLoss: always 0
            assert not hasattr(twin, name) or getattr(criterion, name) == getattr(twin, name)

    def test_weights_are_loaded(self, case):
        criterion, twin = case.make(), case.make_torch()
        for tensor in twin.state_dict().values():
            tensor.mul_(torch.rand_like(tensor) + 0.5)
        criterion.load_state_dict(twin.state_dict())
        output, target = case.pair()
        assert error(criterion(output, target), twin(output, target)) < 1e-11

    def test_weights_move_with_the_loss(self, case):
        criterion = case.make().float()
        assert all(tensor.dtype == torch.float32 for tensor in criterion.state_dict().values())
        assert not criterion.parameters()

    def test_a_copy_is_the_same_loss_and_remembers_nothing(self, case):
        criterion = case.make()
        output, target = case.pair()
        loss = criterion(output, target)
        twin = copy.deepcopy(criterion)
        with pytest.raises(BackwardError):
            twin.backward(loss)
        assert torch.equal(twin(output, target), loss)
        stored = io.BytesIO()
        torch.save(criterion, stored)
        stored.seek(0)
        assert torch.equal(torch.load(stored, weights_only=False)(output, target), loss)

    def test_backward_before_forward(self, case):
        with pytest.raises(BackwardError, match="backward before forward"):
            case.make().backward()

    def test_backward_twice(self, case):
        criterion = case.make()
        dloss = [torch.ones_like(criterion(*case.pair()))]
        criterion.backward(*dloss)
        with pytest.raises(BackwardError, match="backward twice"):
            criterion.backward(*dloss)

    def test_backward_in_eval_mode(self, case):
        criterion = case.make().eval()
        criterion(*case.pair())
        with pytest.raises(BackwardError, match="eval mode"):
            criterion.backward()

    def test_nothing_grows_from_call_to_call(self, case):
        criterion = case.make()
        for _ in range(3):
            loss = criterion(*case.pair())
        assert len(criterion._through.memory[criterion]) == 1
        criterion.backward(torch.ones_like(loss))
        assert not criterion._through.memory[criterion]


def test_weights_are_buffers():
    criterion = BCEWithLogitsLoss(weight=weights(3), pos_weight=weights(3))
    assert isinstance(criterion.weight, Buffer)
    assert [name for name, _ in criterion.named_buffers()] == ["weight", "pos_weight"]
    assert CrossEntropyLoss().weight is None
    assert CrossEntropyLoss().state_dict() == {}


def test_weights_of_another_length_are_not_loaded():
    with pytest.raises(StateDictError):
        CrossEntropyLoss(weight=weights(3)).load_state_dict({"weight": weights(4)})


def test_a_loss_of_ones_own():
    """A user's loss needs two formulas; lamp does not change the tensors that they return."""

    class HalfSquare(Loss):
        def value(self, output, target):
            return (output - target).square() * 0.5

        def derivative(self, output, target):
            return output - target

    class Size(Loss):
        def value(self, output, target):
            return output.square() * 0.5

        def derivative(self, output, target):
            return output  # the very tensor that came in

    output, target = torch.randn(7, 3), torch.randn(7, 3)
    criterion = HalfSquare()
    assert error(criterion(output, target), 0.5 * nn.MSELoss()(output, target)) < 1e-6
    assert error(criterion.backward(), (output - target) / 21.0) < 1e-6
    before = output.clone()
    criterion = Size("sum")
    criterion(output, target)
    assert torch.equal(criterion.backward(), before)
    assert torch.equal(output, before)


def test_the_abstract_loss_says_what_is_missing():
    with pytest.raises(NotImplementedError):
        Loss()(torch.ones(2), torch.ones(2))


def test_a_network_may_end_in_its_loss():
    model = lamp.Sequential(lamp.Linear(3, 2), MSELoss())
    x, y = torch.randn(7, 3), torch.randn(7, 2)
    output, loss = model(x, y)
    assert error(loss, nn.MSELoss()(output, y)) < 1e-6
    assert error(model.backward(), (2.0 / 14.0) * (output - y) @ model[0].weight.data) < 1e-6
