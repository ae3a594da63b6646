"""A user's `update` must treat each number by itself, or say `elementwise = False`; and never mix replicas."""

import pytest
import torch

import lamp
from lamp.errors import ArgumentError

LR = 0.1
K = 3


class Own(lamp.Optimizer):
    """A rule whose direction is given by a function of the gradient."""

    def __init__(self, params, direction, lr=LR):
        super().__init__(params, {"lr": lr})
        self._direction = direction

    def coefficients(self, group, step):
        return {"lr": group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        return parameter - lamp.axes.column(c["lr"], gradient) * self._direction(gradient)


class OwnOfMatrices(Own):
    elementwise = False


def network(seed=0):
    torch.manual_seed(seed)
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2)).to(torch.float64)


def stepped(model, kind, direction):
    """The parameters after one step with random gradients."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    kind(model.parameters(), direction).step()
    return [parameter.data for parameter in model.parameters()]


MIXING = {
    "norm": lambda g: g / g.norm(),
    "mean": lambda g: g - g.mean(-1, keepdim=True),
    "sum of neighbours": lambda g: g.cumsum(-1),
    "reversed": lambda g: g.flip(-1),
    "first": lambda g: g[..., :1].expand_as(g),
    "view": lambda g: g.view(*g.shape[:-1], 13, 2).sum(-1, keepdim=True).expand(*g.shape[:-1], 13, 2).reshape(g.shape),
}


@pytest.mark.parametrize("replicas", [None, K])
@pytest.mark.parametrize("name", MIXING)
def test_a_rule_that_looks_at_other_numbers_is_refused_and_changes_nothing(name, replicas):
    model = network() if replicas is None else lamp.population(network(), range(replicas))
    before = [parameter.data.clone() for parameter in model.parameters()]
    with pytest.raises(ArgumentError, match=r"Own.update does not treat each number by itself"):
        stepped(model, Own, MIXING[name])
    assert all(map(torch.equal, before, [parameter.data for parameter in model.parameters()]))


@pytest.mark.parametrize("in_backward", [False, True])
def test_fit_refuses_it_too(in_backward):
    model, data = network(), (torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64))
    with pytest.raises(ArgumentError, match="elementwise = False"):
        lamp.fit(
            model,
            lamp.MSELoss(),
            Own(model.parameters(), MIXING["norm"]),
            data,
            epochs=1,
            step_in_backward=in_backward,
            progress=False,
        )


def test_whole_parameters_are_what_such_a_rule_asks_for():
    found, model = stepped(network(), OwnOfMatrices, MIXING["norm"]), network()
    generator = torch.Generator().manual_seed(1)
    for new, old in zip(found, model.parameters(), strict=True):
        gradient = torch.randn(old.shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(new, old.data - LR * gradient / gradient.norm())


@pytest.mark.parametrize(
    "direction",
    [lambda g: g / g.norm(), lambda g: g - g.mean(0), lambda g: g.flip(0), lambda g: g.roll(1, 0)],
    ids=["norm", "mean", "reversed", "shifted"],
)
@pytest.mark.parametrize("kind", [Own, OwnOfMatrices])
def test_a_rule_that_mixes_replicas_is_refused(kind, direction):
    with pytest.raises(ArgumentError, match=r"mixes the replicas|each number by itself"):
        stepped(lamp.population(network(), range(K)), kind, direction)


def test_a_rule_that_keeps_replicas_apart_gives_each_the_step_it_makes_alone():
    population = lamp.population(network(), range(K))
    alone = [population[k] for k in range(K)]
    gradients = [torch.randn(each.shape, dtype=torch.float64) for each in population.parameters()]
    for model, rows in ((population, slice(None)), *((alone[k], k) for k in range(K))):
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient[rows]
        axes = (lambda g: tuple(range(1, g.dim()))) if model is population else (lambda g: tuple(range(g.dim())))
        OwnOfMatrices(model.parameters(), lambda g, axes=axes: g / g.norm(dim=axes(g), keepdim=True)).step()
    for k, model in enumerate(alone):
        for together, single in zip(population.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(together.data[k], single.data)


def test_a_rule_with_random_numbers_draws_them_once():
    torch.manual_seed(5)
    found = stepped(network(), Own, lambda g: g + torch.randn_like(g))
    torch.manual_seed(5)
    model, generator = network(), torch.Generator().manual_seed(1)
    sizes = [parameter.data.numel() for parameter in model.parameters()]
    for new, old, noise in zip(
        found, model.parameters(), torch.randn(sum(sizes), dtype=torch.float64).split(sizes), strict=True
    ):
        gradient = torch.randn(old.shape, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(new, old.data - LR * (gradient + noise.view(old.shape)))


class Keeping(Own):
    """A rule that keeps things in attributes of its own."""

    def __init__(self, params):
        super().__init__(params, None)
        self._calls, self._seen, self._mean = 0, [], {}
        self._generator = torch.Generator().manual_seed(2)

    def update(self, parameter, gradient, state, c, group):
        self._calls += 1
        self._seen.append(tuple(parameter.shape))
        mean = self._mean.setdefault("mean", torch.zeros_like(parameter))
        mean.add_(gradient)
        noise = torch.randn(parameter.shape, generator=self._generator, dtype=torch.float64)
        return parameter - c["lr"] * mean + noise


def test_the_check_leaves_the_optimizers_attributes_alone():
    model = network()
    optimizer = Keeping(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones(parameter.shape, dtype=torch.float64)
    before = torch.cat([parameter.data.flatten() for parameter in model.parameters()])
    optimizer.step()
    drawn = torch.randn(before.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    after = torch.cat([parameter.data.flatten() for parameter in model.parameters()])
    torch.testing.assert_close(after, before - LR + drawn)
    assert (optimizer._calls, optimizer._seen) == (1, [tuple(before.shape)])
    assert torch.equal(optimizer._mean["mean"], torch.ones_like(before))
