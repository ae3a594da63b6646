"""Shared or per replica is marked, never guessed from shapes; an operation that drops the mark is reported."""

import pytest
import torch

import lamp
from tests.cases.module_case import error

K, D = 4, torch.float64


def images():
    return lamp.Sequential(lamp.Flatten(), lamp.Linear(2 * 3 * 5, 7), lamp.Tanh(), lamp.Linear(7, 3)).double()


class Tokens(lamp.Module):
    """A lookup of rows: ids (B, T) to (B, T, 5); in a population the table is (K, 11, 5)."""

    def __init__(self):
        self.table = lamp.Parameter(torch.randn(11, 5, dtype=D))

    def reset_parameters(self, *, generator=None):
        self.table.data.normal_(generator=generator)

    def forward(self, ids):
        self.remember(ids)
        if self.replicas is None:
            return self.table.data[ids]
        return torch.stack([rows[own] for rows, own in zip(self.table.data, ids, strict=True)])

    def backward(self, dy):
        ids = self.recall()
        pairs = [(self.table.grad, ids, dy)] if self.replicas is None else zip(self.table.grad, ids, dy, strict=True)
        for grad, own, d in pairs:
            grad.index_add_(0, own.reshape(-1), d.reshape(-1, 5))


class TestBatches:
    @pytest.mark.parametrize("batch", [1, K, K + 1])
    def test_a_batch_is_shared_whatever_its_axes(self, batch):
        population = lamp.population(images(), range(K))
        x = torch.randn(batch, 2, 3, 5, dtype=D)
        y = population(x)
        assert y.shape == (K, batch, 3)
        for k, network in enumerate(population):
            assert error(network(x), y[k]) < 1e-12

    @pytest.mark.parametrize("mark", [lambda p, x: p.per_replica(x), lambda p, x: lamp.per_replica(x)])
    def test_one_of_their_own_is_marked(self, mark):
        population = lamp.population(images(), range(K))
        x = torch.randn(K, 6, 2, 3, 5, dtype=D)
        y = population(mark(population, x))
        for k, network in enumerate(population):
            assert error(network(x[k]), y[k]) < 1e-12

    @pytest.mark.parametrize("own", [False, True])
    def test_token_ids(self, own):
        population = lamp.population(lamp.Sequential(Tokens()), range(K))
        ids = torch.randint(11, (K, 6) if own else (K, 3))
        y = population(population.per_replica(ids) if own else ids)
        for k, network in enumerate(population):
            assert torch.equal(network(ids[k] if own else ids), y[k])

    def test_a_mark_of_another_number_of_replicas(self):
        population = lamp.population(images(), range(K))
        with pytest.raises(lamp.ShapeError, match=r"(?s)5 replicas in a population of 4.*population\.per_replica"):
            population(lamp.per_replica(torch.randn(5, 6, 2, 3, 5, dtype=D)))

    @pytest.mark.parametrize("batch", [K, K + 1])
    def test_lists_of_batches_and_prediction(self, batch):
        x, y = torch.randn(batch, 2, 3, 5, dtype=D), torch.randint(3, (batch,))
        population = lamp.population(images(), range(K))
        networks = list(population)
        fit(population, [(x, y)])
        for network in networks:
            fit(network, [(x, y)])
        for k, network in enumerate(networks):
            assert error(population[k][1].weight.data, network[1].weight.data) < 1e-12
            assert error(lamp.predict(population, x)[k], lamp.predict(network, x)) < 1e-12
        found = lamp.evaluate(population, lamp.CrossEntropyLoss(), [(x, y)])["loss"]
        each = [lamp.evaluate(network, lamp.CrossEntropyLoss(), [(x, y)])["loss"] for network in networks]
        assert error(found, torch.tensor(each, dtype=D)) < 1e-12

    def test_lists_of_batches_of_their_own(self):
        x, y = torch.randn(K, 6, 2, 3, 5, dtype=D), torch.randint(3, (K, 6))
        population = lamp.population(images(), range(K))
        networks = list(population)
        fit(population, [(lamp.per_replica(x), lamp.per_replica(y))])
        for k, network in enumerate(networks):
            fit(network, [(x[k], y[k])])
            assert error(population[k][1].weight.data, network[1].weight.data) < 1e-12

    def test_a_batch_of_their_own_that_is_not_marked_is_told_how(self):
        x, y = torch.randn(K, 6, 30, dtype=D), torch.randint(3, (K, 6))
        population = lamp.population(images()[1:], range(K))
        with pytest.raises(lamp.ShapeError, match=r"lamp\.per_replica\(x\)"):
            fit(population, [(x, y)])

    def test_a_population_that_ends_in_its_loss(self):
        model = lamp.Sequential(*images(), lamp.CrossEntropyLoss())
        for own in (False, True):
            population = lamp.population(model, range(K))
            x, y = torch.randn(K, 2, 3, 5, dtype=D), torch.randint(3, (K,))
            if own:
                x, y = torch.randn(K, 6, 2, 3, 5, dtype=D), torch.randint(3, (K, 6))
            _, loss = population(*((population.per_replica(x), population.per_replica(y)) if own else (x, y)))
            population.backward()
            for k, network in enumerate(population):
                _, alone = network(*((x[k], y[k]) if own else (x, y)))
                network.backward()
                assert error(loss[k], alone) < 1e-12
                assert error(population.parameters()[0].grad[k], network.parameters()[0].grad) < 1e-12


def fit(model, data):
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, epochs=2, progress=False)


CHANGED = {
    "squeeze": (lambda y: y.squeeze(-1), lambda d: d.unsqueeze(-1)),
    "view": (lambda y: y.view(K, -1), lambda d: d.view(K, -1, 1)),
    "slice": (lambda y: y[..., 0], lambda d: d.unsqueeze(-1)),
    "product": (lambda y: y * 2, lambda d: d * 2),
    "product alone": (lambda y: y * 2, lambda d: d),
    "clone": (lambda y: y.clone(), lambda d: d),
}


@pytest.mark.parametrize("loss", [lamp.MSELoss, lamp.L1Loss, lamp.HuberLoss])
@pytest.mark.parametrize("change", CHANGED)
class TestDerivedOutputs:
    def make(self, loss):
        population = lamp.population(
            lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Linear(5, 1)).double(), range(K)
        )
        return population, loss(), torch.randn(6, 3, dtype=D)

    def test_a_mean_over_replicas_is_refused(self, change, loss):
        there, back = CHANGED[change]
        population, criterion, x = self.make(loss)
        output = there(population(x))
        criterion(output, torch.randn(output.shape, dtype=D))
        for way in (lambda d: d, population.per_replica):
            criterion(there(population(x)), torch.randn(output.shape, dtype=D))
            with pytest.raises(
                lamp.BackwardError, match=r"(?s)one mean over all replicas.*lamp\.per_replica\(outputs\)"
            ):
                population.backward(way(back(criterion.backward())))

    def test_marked_again_each_replica_learns_as_alone(self, change, loss):
        there, back = CHANGED[change]
        population, criterion, x = self.make(loss)
        output = there(population(x))
        target = torch.randn(output.shape[1:], dtype=D)
        assert criterion(lamp.per_replica(output), target).shape == (K,)
        dx = population.backward(lamp.per_replica(back(criterion.backward())))
        for k, network in enumerate(population):
            single = there(network(x).unsqueeze(0).expand(K, -1, -1))[0]
            criterion(single, target)
            d = back(criterion.backward().unsqueeze(0).expand(K, *target.shape).contiguous())[0]
            assert error(dx[k], network.backward(d)) < 1e-12
            assert error(population.parameters()[0].grad[k], network.parameters()[0].grad) < 1e-12


class TestGradients:
    def test_upstream_gradients_with_and_without_a_mark(self):
        population = lamp.population(lamp.Linear(3, 2).double(), range(K))
        x, dy = torch.randn(6, 3, dtype=D), torch.randn(K, 6, 2, dtype=D)
        for mark in (lambda d: d, population.per_replica):
            population(x)
            dx = population.backward(mark(dy))
            for k, network in enumerate(population):
                network(x)
                assert error(dx[k], network.backward(dy[k])) < 1e-12

    def test_sums_need_no_replicas(self):
        """A sum over all has each replica's own gradient."""
        population = lamp.population(lamp.Linear(3, 1).double(), range(K))
        x, t = torch.randn(6, 3, dtype=D), torch.randn(K, 6, dtype=D)
        criterion = lamp.MSELoss("sum")
        criterion(population(x).squeeze(-1), t)
        dx = population.backward(criterion.backward().unsqueeze(-1))
        for k, network in enumerate(population):
            criterion(network(x).squeeze(-1), t[k])
            assert error(dx[k], network.backward(criterion.backward().unsqueeze(-1))) < 1e-12

    def test_of_another_number_of_replicas(self):
        population = lamp.population(lamp.Linear(3, 2).double(), range(K))
        population(torch.randn(6, 3, dtype=D))
        with pytest.raises(lamp.ShapeError, match="5 replicas"):
            population.backward(lamp.per_replica(torch.randn(5, 6, 2, dtype=D)))

    def test_the_loss_of_one_replica_is_no_hindrance(self):
        population = lamp.population(lamp.Linear(3, 2).double(), range(K))
        x, t = torch.randn(6, 3, dtype=D), torch.randn(6, 2, dtype=D)
        criterion, dy = lamp.MSELoss(), torch.zeros(K, 6, 2, dtype=D)
        criterion(population(x)[1], t)
        dy[1] = criterion.backward()
        population.backward(population.per_replica(dy))
        assert population.parameters()[0].grad[1].any()


def test_per_replica():
    x = torch.randn(3, 5)
    marked = lamp.per_replica(x)
    assert marked.replicas == 3  # type: ignore[attr-defined]
    assert marked.data_ptr() == x.data_ptr()
    assert getattr(x, "replicas", None) is None
    with pytest.raises(lamp.ShapeError):
        lamp.per_replica(torch.tensor(1.0))
    with pytest.raises(lamp.DTypeError):
        lamp.per_replica([1.0])
