"""For every loss, replica k has the single network's loss, and no replica affects another."""

from __future__ import annotations

import copy

import pytest
import torch

import lamp
from lamp.axes import marked
from tests.cases.losses import LOSSES
from tests.cases.module_case import error

CASES = [case for case in LOSSES if case.output().dim() > 0]
WITH_LABELS = [case for case in CASES if case.kind in ("CrossEntropyLoss", "NLLLoss")]
TOLERANCE = 1e-12
NAN = float("nan")


def draw(case, replicas):
    """Outputs and targets of K replicas, and an upstream gradient per loss."""
    pairs = [case.pair() for _ in range(replicas)]
    outputs, targets = (torch.stack(each) for each in zip(*pairs, strict=True))
    criterion = case.make()
    losses = criterion(marked(outputs, replicas), targets)
    return outputs, targets, criterion, losses, torch.randn_like(losses)


@pytest.mark.parametrize("replicas", [1, 2, 7])
@pytest.mark.parametrize("case", CASES, ids=str)
class TestEachReplica:
    def test_targets_of_their_own(self, case, replicas):
        outputs, targets, criterion, losses, upstream = draw(case, replicas)
        doutputs = criterion.backward(upstream)
        assert losses.shape[0] == replicas
        assert doutputs.shape == outputs.shape
        for k in range(replicas):
            single = case.make()
            assert error(losses[k], single(outputs[k], targets[k])) < TOLERANCE
            assert error(doutputs[k], single.backward(upstream[k])) < TOLERANCE

    def test_a_target_that_all_share(self, case, replicas):
        outputs = torch.stack([case.output() for _ in range(replicas)])
        target = case.target()
        criterion = case.make()
        losses = criterion(marked(outputs, replicas), target)
        upstream = torch.randn_like(losses)
        doutputs = criterion.backward(upstream)
        for k in range(replicas):
            single = case.make()
            assert error(losses[k], single(outputs[k], target)) < TOLERANCE
            assert error(doutputs[k], single.backward(upstream[k])) < TOLERANCE


@pytest.mark.parametrize("case", [case for case in CASES if case.reduction != "none"], ids=str)
def test_without_a_factor(case):
    outputs, targets, criterion, _, _ = draw(case, 3)
    doutputs = criterion.backward()
    for k in range(3):
        single = case.make()
        single(outputs[k], targets[k])
        assert error(doutputs[k], single.backward()) < TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_poisoned_replica_touches_no_other(case):
    outputs, targets, criterion, losses, upstream = draw(case, 3)
    doutputs = criterion.backward(upstream)
    outputs[1] = NAN
    poisoned = case.make()
    of_poisoned = poisoned(marked(outputs, 3), targets)
    assert of_poisoned[1].isnan().any() or "ignore_index" in str(case)
    others = [0, 2]
    assert error(of_poisoned[others], losses[others]) < TOLERANCE  # a loss that finds NaN computes with more care
    assert error(poisoned.backward(upstream)[others], doutputs[others]) < TOLERANCE


class TestHyperparameters:
    @pytest.mark.parametrize(
        "make",
        [
            lambda number: lamp.HuberLoss(delta=number),
            lambda number: lamp.SmoothL1Loss(beta=number),
            lambda number: lamp.HuberLoss(reduction="sum", delta=number),
        ],
    )
    def test_a_hyperparameter_per_replica(self, make):
        outputs, targets = torch.randn(3, 7, 2, dtype=torch.float64) * 2, torch.randn(3, 7, 2, dtype=torch.float64)
        numbers = torch.tensor([0.4, 1.0, 2.5])
        self.check(make, outputs, targets, numbers)

    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("kind", ["labels", "probabilities", "ignored"])
    @pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
    def test_label_smoothing(self, kind, weighted, reduction):
        weight = torch.tensor([0.3, 1.0, 2.0, 0.7], dtype=torch.float64) if weighted else None
        outputs = torch.randn(3, 7, 4, 5, dtype=torch.float64)
        targets = torch.randint(0, 4, (3, 7, 5)) if kind != "probabilities" else torch.randn_like(outputs).softmax(2)
        if kind == "ignored":
            targets[:, ::3] = -100

        def make(number):
            return lamp.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=number)

        self.check(make, outputs, targets, torch.tensor([0.0, 0.3, 1.0]))

    def check(self, make, outputs, targets, numbers):
        criterion = make(numbers)
        losses = criterion(marked(outputs, 3), targets)
        upstream = torch.randn_like(losses)
        doutputs = criterion.backward(upstream)
        for k in range(3):
            single = make(numbers[k].double().item())
            assert error(losses[k], single(outputs[k], targets[k])) < TOLERANCE
            assert error(doutputs[k], single.backward(upstream[k])) < TOLERANCE

    @pytest.mark.parametrize("make", [lambda n: lamp.HuberLoss(delta=n), lambda n: lamp.SmoothL1Loss(beta=n)])
    def test_wrong_length(self, make):
        x = torch.randn(3, 7)
        with pytest.raises(lamp.ArgumentError, match=r"K = 3"):
            make(torch.tensor([0.1, 0.2]))(marked(x, 3), x)
        with pytest.raises(lamp.ArgumentError, match="one number"):
            make(torch.tensor([0.1, 0.2, 0.3]))(x, x)

    def test_wrong_length_of_label_smoothing(self):
        criterion = lamp.CrossEntropyLoss(label_smoothing=torch.tensor([0.1, 0.2]))
        with pytest.raises(lamp.ArgumentError, match=r"K = 3"):
            criterion(marked(torch.randn(3, 7, 4), 3), torch.zeros(7).long())
        with pytest.raises(lamp.ArgumentError, match="label_smoothing"):
            lamp.CrossEntropyLoss(label_smoothing=torch.tensor([0.1, 1.2]))
        with pytest.raises(lamp.ArgumentError, match="each replica"):
            lamp.SmoothL1Loss(beta=torch.tensor([0.1, 0.0]))


class TestBadTargets:
    def test_labels_of_the_wrong_shape(self):
        with pytest.raises(lamp.ShapeError) as caught:
            lamp.CrossEntropyLoss()(marked(torch.randn(3, 7, 4), 3), torch.zeros(3, 5).long())
        assert "(3, 7)" in str(caught.value)

    def test_a_label_out_of_range(self):
        labels = torch.zeros(3, 7).long()
        labels[2, 5] = 4
        with pytest.raises(lamp.LabelError, match=r"2, 5"):
            lamp.CrossEntropyLoss()(marked(torch.randn(3, 7, 4), 3), labels)

    def test_numbers_of_the_wrong_shape(self):
        with pytest.raises(lamp.ShapeError, match=r"\(3, 7, 2\)"):
            lamp.MSELoss()(marked(torch.randn(3, 7, 2), 3), torch.zeros(3, 5, 2))

    def test_a_factor_of_the_wrong_shape(self):
        criterion = lamp.MSELoss()
        criterion(marked(torch.randn(3, 7, 2), 3), torch.randn(7, 2))
        with pytest.raises(lamp.ShapeError, match=r"\(3,\)"):
            criterion.backward(torch.tensor(1.0))


def test_an_impossible_class_costs_nothing_where_it_is_not_meant():
    outputs = torch.randn(3, 7, 4, dtype=torch.float64)
    outputs[1, 2, 3] = -float("inf")
    targets = torch.zeros_like(outputs)
    targets[..., 0] = 1
    losses = lamp.CrossEntropyLoss()(marked(outputs, 3), targets)
    assert losses.isfinite().all()
    assert error(losses[1], lamp.CrossEntropyLoss()(outputs[1], targets[1])) < TOLERANCE


class OfOne(lamp.Loss):
    """A mean over everything, replicas included."""

    def forward(self, output, target):
        self.remember((output, target))
        return (output - target).square().mean()

    def backward(self):
        output, target = self.recall()
        return (output - target) * (2.0 / output.numel())


class OfEach(OfOne):
    """The mean of each replica."""

    def forward(self, output, target):
        self.remember((output, target))
        return (output - target).square().mean((-1, -2))

    def backward(self):
        output, target = self.recall()
        return (output - target) * (2.0 / (output.shape[-1] * output.shape[-2]))


class Mixed(OfEach):
    def forward(self, output, target):
        return super().forward(output, target).sum() * torch.ones(len(output))


class MixedBackward(OfEach):
    def backward(self):
        gradient = super().backward()
        return gradient - gradient.mean(0) if gradient.dim() == 3 else gradient


@pytest.mark.parametrize(
    ("kind", "says"),
    [(OfOne, "gives no loss for each"), (Mixed, "mixes replicas"), (MixedBackward, "mixes"), (OfEach, None)],
)
@pytest.mark.parametrize("seed", [0, [0, 1, 2]])
def test_a_forward_of_ones_own(kind, says, seed):
    """A loss that defines forward itself is compared with what it gives each replica alone."""
    nets = lamp.population(lamp.Linear(3, 2), range(3))
    data = torch.randn(8, 3), torch.randn(8, 2)
    if says is None:
        alone = [copy.deepcopy(net) for net in nets]
    fit = lambda model, seed: lamp.fit(  # noqa: E731
        model, kind(), lamp.SGD(model.parameters(), lr=0.1), data, epochs=2, batch_size=4, seed=seed, progress=False
    )
    if says is not None:
        with pytest.raises(lamp.ArgumentError, match=says):
            fit(nets, seed)
        return
    history = fit(nets, seed)
    for k, net in enumerate(alone):
        torch.testing.assert_close(history["loss"][:, k], fit(net, seed if isinstance(seed, int) else k)["loss"])
