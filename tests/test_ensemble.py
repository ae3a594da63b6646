"""An ensemble predicts what its members predict one by one; the oracle is numpy on their outputs."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

import lamp
from lamp.studies import Ensemble
from tests.cases.several import Gate

K, N, C = 5, 37, 3


def network(outputs=C, *last):
    layers = [lamp.Linear(2, 7), lamp.Tanh(), lamp.Dropout(0.5), lamp.Linear(7, outputs)]
    return lamp.Sequential(*layers, *last).double()


def members(outputs=C, *last):
    """Members that differ so much that votes differ from the mean."""
    population = lamp.population(network(outputs, *last), range(K))
    for parameter in population.parameters():
        parameter.data.mul_(3)
    return population


@pytest.fixture
def x():
    return torch.randn(N, 2, dtype=torch.float64)


def asked_one_by_one(population, x):
    """The outputs (K, n, C) of the members, asked one by one, in numpy."""
    each = []
    for member in population:
        hidden, _, _, last = list(member.children())[:4]
        weights = [p.data.numpy() for layer in (hidden, last) for p in (layer.weight, layer.bias)]
        each.append(np.tanh(x.numpy() @ weights[0].T + weights[1]) @ weights[2].T + weights[3])
    return np.stack(each)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def entropy(p):
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(-1)


def same(tensor, array):
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-12, atol=1e-14)
    assert tensor.numpy().shape == np.shape(array)


class TestAgainstNumpy:
    @pytest.mark.parametrize("batch_size", [1024, 10])
    def test_outputs_as_they_are(self, x, batch_size):
        population = members()
        ensemble = Ensemble(population, batch_size=batch_size)
        each = asked_one_by_one(population, x)
        found = ensemble.predict(x)
        same(found.members, each)
        same(found.mean, each.mean(0))
        same(found.std, each.std(0))
        same(ensemble(x), each.mean(0))
        assert (found.vote, found.agreement, found.entropy, found.mutual_information) == (None,) * 4
        assert population.training  # as it was

    @pytest.mark.parametrize("dim", [-1, 1])
    def test_classes(self, x, dim):
        population = members()
        ensemble = Ensemble(population, probabilities=lamp.Softmax(dim))
        p = softmax(asked_one_by_one(population, x))  # (K, n, C)
        found = ensemble.predict(x)
        same(found.members, p)
        same(found.mean, p.mean(0))
        same(found.std, p.std(0))
        same(ensemble(x), p.mean(0))
        votes = np.stack([np.bincount(answers, minlength=C) for answers in p.argmax(-1).T])  # (n, C)
        winners = np.array([max(range(C), key=lambda c: (votes[i, c], p.mean(0)[i, c])) for i in range(N)])
        assert (winners != p.mean(0).argmax(-1)).any()  # the vote is another thing than the mean
        same(found.vote, winners)
        same(found.agreement, votes.max(-1) / K)
        assert len(set(found.agreement.tolist())) > 2
        same(found.entropy, entropy(p.mean(0)))
        same(found.mutual_information, entropy(p.mean(0)) - entropy(p).mean(0))

    def test_a_probability_each(self, x):
        population = members(2)
        found = Ensemble(population, probabilities=lamp.Sequential(lamp.Identity(), lamp.Sigmoid())).predict(x)
        p = 1 / (1 + np.exp(-asked_one_by_one(population, x)))  # (K, n, 2): two questions, a yes or no each
        pairs = np.stack([1 - p, p], -1)
        same(found.mean, p.mean(0))
        yes = (p > 0.5).sum(0)
        same(found.vote, (yes > K / 2).astype(int))
        same(found.agreement, np.maximum(yes, K - yes) / K)
        same(found.entropy, entropy(pairs.mean(0)))
        same(found.mutual_information, entropy(pairs.mean(0)) - entropy(pairs).mean(0))


def constant(*scores):
    """A network that returns these scores for any input."""
    model = lamp.Linear(2, len(scores)).double()
    model.weight.data.zero_()
    model.bias.data.copy_(torch.tensor(scores, dtype=torch.float64))
    return model


class TestVotes:
    def test_a_tie_goes_to_the_higher_mean(self, x):
        networks = [constant(0.1, 0.0, -9.0), constant(0.0, 5.0, -9.0), constant(0.1, 0.0, -9.0), constant(0, 5.0, -9)]
        found = Ensemble(networks, probabilities=lamp.Softmax(-1)).predict(x)
        assert found.vote.tolist() == [1] * N
        assert found.agreement.tolist() == [0.5] * N

    def test_members_that_are_certain_and_disagree(self, x):
        """0 log 0 is 0. Two members that are certain of different classes disagree by log 2."""
        sure = Ensemble([constant(0.0, 1e4)] * 3, probabilities=lamp.Softmax(-1)).predict(x)
        assert sure.entropy.tolist() == [0.0] * N
        assert sure.mutual_information.tolist() == [0.0] * N
        torn = Ensemble([constant(0.0, 1e4), constant(1e4, 0.0)], probabilities=lamp.Softmax(-1)).predict(x)
        same(torn.mutual_information, np.full(N, np.log(2)))

    def test_disagreement_is_never_below_zero(self, x):
        found = Ensemble([network()] * 7, probabilities=lamp.Softmax(-1)).predict(x)  # 0, but for rounding
        assert (found.mutual_information >= 0).all()


class TestMembers:
    def test_an_ensemble_of_one_network_is_that_network(self, x):
        model = network()
        ensemble = Ensemble([model], probabilities=lamp.Softmax(-1))
        found = ensemble.predict(x)
        assert len(ensemble) == 1
        assert torch.allclose(ensemble(x), lamp.predict(model, x).softmax(-1))
        assert found.members.shape == (1, N, C)
        assert found.std.abs().max() == 0
        assert found.mutual_information.abs().max() < 1e-14
        assert (found.agreement == 1).all()

    def test_a_list_is_stacked_and_a_population_is_not_copied(self, x):
        population = members()
        ensemble, of_list = Ensemble(population), Ensemble(list(population))
        assert torch.equal(ensemble(x), of_list(x))
        population.parameters()[0].data.add_(1.0)
        assert not torch.equal(ensemble(x), of_list(x))
        assert torch.equal(ensemble(x), lamp.predict(population, x).mean(0))

    def test_networks_that_end_in_their_loss(self, x):
        assert torch.equal(Ensemble(members(C, lamp.CrossEntropyLoss()))(x), Ensemble(members())(x))

    def test_images_and_outputs_of_more_axes(self):
        images = torch.randn(11, 2, 4, dtype=torch.float64)
        model = lamp.Sequential(lamp.Flatten(), lamp.Linear(8, 6), lamp.Unflatten(1, (2, 3))).double()
        population = lamp.population(model, range(K))
        found = Ensemble(population, probabilities=lamp.Softmax(-1)).predict(images)
        assert found.mean.shape == (11, 2, 3)
        assert found.vote.shape == found.entropy.shape == (11, 2)
        each = np.stack([lamp.predict(member, images).numpy() for member in population])
        same(found.mean, softmax(each).mean(0))

    def test_repr(self):
        text = repr(Ensemble(members(), probabilities=lamp.Softmax(-1)))
        assert text.startswith("Ensemble(\n  5 members, probabilities=Softmax(dim=-1)\n  Sequential(")


BAD_MEMBERS = {
    "one network": (lambda: network(), "a list of one network"),
    "none": (lambda: [], "at least one"),
    "numbers": (lambda: [1, 2], "list with a int"),
    "populations": (lambda: [members()], "list with a Population"),
    "other networks": (lambda: [network(), network(4)], "made differently"),
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_bad_members(name):
    make, match = BAD_MEMBERS[name]
    with pytest.raises(lamp.ArgumentError, match=match):
        Ensemble(make())


def test_bad_arguments(x):
    with pytest.raises(lamp.ArgumentError, match=r"lamp\.Softmax\(-1\)"):
        Ensemble(members(), probabilities=torch.softmax)
    with pytest.raises(lamp.ArgumentError, match="batch_size"):
        Ensemble(members(), batch_size=0)


@pytest.mark.parametrize(
    ("outputs", "probabilities"),
    [(C, lamp.LogSoftmax(-1)), (C, lamp.Softmax(0)), (C, lamp.Identity()), (C, lamp.Tanh()), (1, lamp.Softmax(-1))],
    ids=str,
)
def test_what_makes_no_probabilities(x, outputs, probabilities):
    with pytest.raises(lamp.ArgumentError, match=r"(?s)does not make probabilities.*lamp\.Softmax\(-1\)"):
        Ensemble(members(outputs), probabilities=probabilities)(x)


@pytest.mark.parametrize("batch_size", [1024, 10])
def test_networks_with_two_inputs(batch_size):
    networks = [Gate() for _ in range(K)]
    after = lamp.Softmax(-1)
    ensemble = Ensemble(networks, probabilities=after, batch_size=batch_size)
    x, z = torch.randn(N, 3), torch.randn(N, 4)
    each = torch.stack([after(network(x, z)) for network in networks])
    found = ensemble.predict((x, z))
    torch.testing.assert_close(found.members, each)
    torch.testing.assert_close(ensemble(x, z), each.mean(0))
    with pytest.raises(lamp.ShapeError, match="share their inputs"):
        ensemble(x, ensemble.members.per_replica(z.expand(K, -1, -1)))
    for inputs in ((), (x,), (x, z, x)):
        with pytest.raises(lamp.LampError):
            ensemble(*inputs)


def test_bad_inputs(x):
    population = members()
    ensemble = Ensemble(population)
    with pytest.raises(lamp.ShapeError, match="share their inputs"):
        ensemble(population.per_replica(x.expand(K, -1, -1)))
    with pytest.raises(lamp.ShapeError, match="a single number"):
        ensemble(torch.tensor(1.0))
    with pytest.raises(lamp.DTypeError, match="ndarray"):
        ensemble.predict(x.numpy())
    with pytest.raises(lamp.LampError, match=r"Linear\(in_features=2"):
        ensemble(x[:, :1])


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits come with scikit-learn")
def test_together_they_are_better_than_on_average():
    train, test = (lamp.data.digits(part).flattened() for part in (True, False))
    model = lamp.Sequential(lamp.Linear(64, 24), lamp.ReLU(), lamp.Linear(24, 10))
    population = lamp.population(model, range(8))
    optimizer = lamp.Adam(population.parameters(), lr=1e-2)
    criterion = lamp.CrossEntropyLoss()
    lamp.fit(population, criterion, optimizer, train, epochs=4, progress=False)
    found = Ensemble(population, probabilities=lamp.Softmax(-1)).predict(test.inputs)
    alone = lamp.evaluate(population, criterion, test, metrics=[lamp.accuracy])
    right = found.mean.argmax(1) == test.targets
    assert right.float().mean().item() > alone["accuracy"].mean().item()
    of_the_mean = -found.mean[torch.arange(len(test)), test.targets].log().mean().item()
    assert of_the_mean < alone["loss"].mean().item()  # by Jensen's inequality
    assert found.entropy[~right].mean() > 3 * found.entropy[right].mean()  # and it knows when it may be wrong
