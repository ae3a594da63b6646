"""CTCLoss against a sum over all paths, torch's autograd, and replicas alone."""

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

import lamp
from tests.cases.module_case import error

K = 3
D = torch.float64


def read(path, blank):
    """The labels that a path reads as."""
    merged = [label for label, _ in itertools.groupby(path)]
    return tuple(label for label in merged if label != blank)


def by_all_paths(log_probs, target, blank):
    """-log of the probability of a target (S), summed over all paths through log_probs (T, C)."""
    steps, classes = log_probs.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        if read(path, blank) == tuple(target):
            total += float(sum(log_probs[t, c] for t, c in enumerate(path)).exp())
    return -torch.tensor(total, dtype=D).log()


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("target", [[1], [1, 1], [1, 1, 1], []], ids=str)
def test_the_sum_over_all_paths(target, blank):
    torch.manual_seed(len(target))
    log_probs = torch.randn(5, 3, dtype=D).log_softmax(-1)
    criterion = lamp.CTCLoss(blank=blank, reduction="sum")
    loss = criterion(log_probs, torch.tensor(target, dtype=torch.int64), [5], [len(target)])
    assert error(loss, by_all_paths(log_probs, target, blank)) < 1e-12


def batch(samples, steps, classes, longest, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(steps, samples, classes, dtype=D, generator=generator)
    lengths = torch.randint(0, longest + 1, (samples,), generator=generator)
    inputs = torch.randint(1, steps + 1, (samples,), generator=generator)
    targets = torch.randint(1, classes, (samples, longest), generator=generator)
    return scores, targets, inputs, lengths


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(2, 5), st.integers(1, 4), st.integers(0, 10**6),
    st.sampled_from(["mean", "sum", "none"]),
)  # fmt: skip
def test_values_and_gradients_are_torchs(samples, steps, classes, longest, seed, reduction):
    scores, targets, inputs, lengths = batch(samples, steps, classes, longest, seed)
    criterion = lamp.CTCLoss(reduction=reduction, zero_infinity=True)
    twin = torch.nn.CTCLoss(reduction=reduction, zero_infinity=True)
    variable = scores.log_softmax(-1).requires_grad_()
    exact = twin(variable, targets, inputs, lengths)
    loss = criterion(variable.detach(), targets, inputs, lengths)
    assert error(loss, exact.detach()) < 1e-11
    dloss = torch.randn_like(loss)
    (wanted,) = torch.autograd.grad(exact, variable, dloss)
    assert error(criterion.backward(dloss), wanted) < 1e-10


def test_the_gradient_of_the_scores_is_that_of_finite_differences():
    torch.manual_seed(0)
    scores, targets, _, lengths = batch(3, 8, 4, 3, 1)
    softmax, criterion = lamp.LogSoftmax(-1), lamp.CTCLoss()
    inputs = [8, 8, 7]

    def loss(scores):
        return float(criterion(softmax(scores), targets, inputs, lengths))

    loss(scores)
    found = softmax.backward(criterion.backward())
    for _ in range(5):
        direction = torch.randn_like(scores)
        slope = (loss(scores + 1e-5 * direction) - loss(scores - 1e-5 * direction)) / 2e-5
        assert float((found * direction).sum()) == pytest.approx(slope, rel=1e-7)


def test_targets_in_one_row_and_lengths_of_any_kind():
    scores, targets, inputs, lengths = batch(3, 9, 4, 3, 5)
    log_probs = scores.log_softmax(-1)
    inputs = torch.full_like(inputs, 9)
    expected = lamp.CTCLoss()(log_probs, targets, inputs, lengths)
    row = torch.cat([row[:n] for row, n in zip(targets, lengths.tolist(), strict=True)])
    for given_inputs, given_lengths in [
        (inputs, lengths),
        (inputs.tolist(), lengths.tolist()),
        (tuple(inputs.tolist()), lengths.int()),
    ]:
        assert torch.equal(lamp.CTCLoss()(log_probs, row, given_inputs, given_lengths), expected)
        assert torch.equal(lamp.CTCLoss()(log_probs, (targets, given_inputs, given_lengths)), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_replicas_of_a_population(reduction):
    each = [batch(4, 8, 4, 2, k)[0].log_softmax(-1) for k in range(K)]
    _, targets, _, lengths = batch(4, 8, 4, 2, 9)
    inputs = [8, 7, 8, 6]
    criterion, alone = lamp.CTCLoss(reduction=reduction), lamp.CTCLoss(reduction=reduction)
    loss = criterion(lamp.per_replica(torch.stack(each)), targets, inputs, lengths)
    dloss = torch.randn_like(loss)
    found = criterion.backward(dloss)
    for k in range(K):
        assert error(loss[k], alone(each[k], targets, inputs, lengths)) < 1e-12
        assert error(found[k], alone.backward(dloss[k])) < 1e-11


@pytest.mark.parametrize("samples", [K, K + 1])
@pytest.mark.parametrize("in_one_row", [False, True])
def test_targets_per_replica(samples, in_one_row):
    each = [batch(samples, 8, 4, 2, k) for k in range(K)]
    each = [
        (scores.log_softmax(-1), targets, torch.full_like(inputs, 8), torch.full_like(lengths, 2))
        for scores, targets, inputs, lengths in each
    ]
    log_probs, targets, inputs, lengths = (lamp.per_replica(torch.stack(parts)) for parts in zip(*each, strict=True))
    if in_one_row:
        targets = lamp.per_replica(targets.flatten(1))
    criterion = lamp.CTCLoss()
    loss, found = criterion(log_probs, targets, inputs, lengths), criterion.backward()
    for k in range(K):
        alone = lamp.CTCLoss()
        assert error(loss[k], alone(*each[k])) < 1e-12
        assert error(found[k], alone.backward()) < 1e-11


def test_lengths_that_hold_for_targets_per_replica():
    each = [(scores.log_softmax(-1), targets) for scores, targets, *_ in (batch(4, 8, 4, 2, k) for k in range(K))]
    log_probs, targets = (lamp.per_replica(torch.stack(parts)) for parts in zip(*each, strict=True))
    inputs, lengths = [8, 7, 8, 6], (2, 1, 2, 0)
    loss = lamp.CTCLoss()(log_probs, targets, inputs, lengths)
    for k, (of_replica, labels) in enumerate(each):
        assert error(loss[k], lamp.CTCLoss()(of_replica, labels, inputs, lengths)) < 1e-12


def test_an_impossible_target_is_told_or_costs_nothing():
    log_probs = torch.randn(2, 1, 3, dtype=D).log_softmax(-1)
    targets = torch.tensor([[1, 1, 2]])
    with pytest.raises(lamp.NonFiniteError):
        lamp.CTCLoss()(log_probs, targets, [2], [3])
    criterion = lamp.CTCLoss(zero_infinity=True)
    assert criterion(log_probs, targets, [2], [3]) == 0
    assert not criterion.backward().any()


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ((torch.tensor([[1, 5]]), [4], [2]), lamp.LabelError, "0 to 2"),
        ((torch.tensor([[1, 2]]), [5], [2]), lamp.ArgumentError, "longer than log_probs"),
        ((torch.tensor([[1, 2]]), [4], [3]), lamp.ShapeError, "do not fit their lengths"),
        ((torch.tensor([[1, 2]]), [4, 4], [2]), lamp.ArgumentError, "input_lengths"),
        ((torch.tensor([[1, 2]]), [4], [-1]), lamp.ArgumentError, "target_lengths"),
        ((torch.tensor([[1.0, 2.0]]), [4], [2]), lamp.DTypeError, "labels"),
        (("ab", [4], [2]), lamp.DTypeError, "tensor"),
    ],
)
def test_what_does_not_fit_is_told(arguments, kind, words):
    log_probs = torch.randn(4, 1, 3, dtype=D).log_softmax(-1)
    with pytest.raises(kind, match=words) as caught:
        lamp.CTCLoss()(log_probs, *arguments)
    assert caught.value.fix
    with pytest.raises(lamp.ShapeError, match="axes of steps"):
        lamp.CTCLoss()(log_probs.expand(2, 4, 1, 3), *arguments)
    with pytest.raises(lamp.ArgumentError, match="blank"):
        lamp.CTCLoss(blank=3)(log_probs, torch.tensor([[1]]), [4], [1])
