"""A compiled step in two halves, gradients and update, so that data parallelism can stand between them."""

import pytest
import torch

import lamp
from lamp.compiler.kernel import forget
from tests.cases.compiled import close, lanes
from tests.cases.graphs import Residual

COUNTS = [None, 3, 2 * lanes() + 3]
ROUNDING = 1e-12


def classifier():
    return lamp.Sequential(lamp.Linear(3, 5), lamp.Tanh(), lamp.Linear(5, 4))


NETWORKS = {
    "row": classifier,
    "residual": lambda: lamp.Sequential(
        lamp.Linear(3, 5), Residual(lamp.Sequential(lamp.Linear(5, 5), lamp.PReLU(5))), lamp.Linear(5, 4)
    ),
    "batch norm": lambda: lamp.Sequential(lamp.Linear(3, 5), lamp.BatchNorm1d(5), lamp.Linear(5, 4)),
    "dropout": lambda: lamp.Sequential(lamp.Linear(3, 6), lamp.GELU(), lamp.Dropout(0.4), lamp.Linear(6, 4)),
}
OPTIMIZERS = {
    "Adam": lambda parameters: lamp.Adam(parameters, lr=0.01, weight_decay=0.1),
    "SGD": lambda parameters: lamp.SGD(parameters, lr=0.1, momentum=0.9),
    "groups": lambda parameters: lamp.Adam(
        [{"params": list(parameters)[:1], "lr": 0.1}, {"params": list(parameters)[1:]}], lr=0.01
    ),
}


def data(samples=20, features=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    return x, torch.randint(4, (samples,), generator=generator)


def made(network=classifier, count=None, optimizer=OPTIMIZERS["Adam"], batch_size=20, criterion=None):
    torch.manual_seed(2)
    model = network().double()
    if count is not None:
        model = lamp.population(model, range(count))
    return model, lamp.compile(model, criterion or lamp.CrossEntropyLoss(), optimizer(model.parameters()), batch_size)


def all_numbers(model, optimizer):
    states = [tensor for state in optimizer.state_dict()["state"].values() for tensor in state.values()]
    return [*(parameter.data for parameter in model.parameters()), *(each for each in states if each.dim())]


def same_bits(one, whole, other, halves):
    pairs = zip(all_numbers(one, whole.optimizer), all_numbers(other, halves.optimizer), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def by_autograd(model, count, x, y):
    """The losses and gradients of the classifier by autograd, one network at a time."""
    losses, gradients = [], []
    for k in range(count or 1):
        leaves = [
            (each.data if count is None else each.data[k]).clone().requires_grad_() for each in model.parameters()
        ]
        w, b, v, c = leaves
        loss = torch.nn.functional.cross_entropy(torch.tanh(x @ w.T + b) @ v.T + c, y)
        loss.backward()
        losses.append(loss.detach())
        gradients.append([leaf.grad for leaf in leaves])
    if count is None:
        return losses[0], gradients[0]
    return torch.stack(losses), [torch.stack(each) for each in zip(*gradients, strict=True)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("samples", [1, 20, 33])
def test_gradients_are_those_of_autograd(count, samples):
    model, compiled = made(count=count)
    x, y = data(samples)
    before = [parameter.data.clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad.fill_(7.0)  # must be overwritten
    for _ in range(2):
        loss = compiled.gradients(x, y)
        expected, gradients = by_autograd(model, count, x, y)
        close(loss, expected, ROUNDING)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            close(parameter.grad, gradient, ROUNDING)
    assert all(torch.equal(parameter.data, old) for parameter, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_both_halves_are_a_step_to_the_bit(network, optimizer, count):
    """Whole steps keep gradients in memory too, so the rounding is the same."""
    x, y = data()
    (one, whole), (other, halves) = (made(NETWORKS[network], count, OPTIMIZERS[optimizer]) for _ in range(2))
    for _ in range(3):
        torch.manual_seed(4)  # Dropout draws its seed when it is first used
        losses = whole(x, y)
        torch.manual_seed(4)
        loss = halves.gradients(x, y)
        halves.update()
        assert torch.equal(losses[0], loss)
        assert same_bits(one, whole, other, halves)
    assert whole.optimizer.step_count == halves.optimizer.step_count
    assert [each.step for each in one.modules() if isinstance(each, lamp.Dropout)] == [
        each.step for each in other.modules() if isinstance(each, lamp.Dropout)
    ]


@pytest.mark.parametrize("count", COUNTS)
def test_the_mean_of_half_batches_is_the_whole_batch(count):
    x, y = data()
    (one, whole), (other, halves) = (made(count=count) for _ in range(2))
    for _ in range(3):
        whole(x, y)
        mean = [torch.zeros_like(parameter.data) for parameter in other.parameters()]
        for half in (slice(10), slice(10, None)):
            halves.gradients(x[half], y[half])
            for total, parameter in zip(mean, other.parameters(), strict=True):
                total.add_(parameter.grad, alpha=0.5)
        for total, parameter in zip(mean, other.parameters(), strict=True):
            parameter.grad = total
        halves.update()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        close(theirs.data, mine.data, 1e-10)


@pytest.mark.parametrize("count", COUNTS)
def test_an_update_is_the_optimizers_step(count):
    (one, compiled), (other, _) = (made(count=count) for _ in range(2))
    eager = lamp.Adam(other.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator, dtype=torch.float64)
            theirs.grad = mine.grad
        compiled.update()
        eager.step()
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        close(mine.data, theirs.data, ROUNDING)


@pytest.mark.parametrize("count", [None, 3])
def test_frozen_parameters_have_no_gradients_and_stay(count):
    model, compiled = made(count=count)
    weight, bias, *_ = model.parameters()
    weight.requires_grad = False
    before = weight.data.clone(), bias.data.clone()
    compiled.gradients(*data())
    compiled.update()
    assert torch.equal(weight.data, before[0])
    assert not torch.equal(bias.data, before[1])
    assert not weight.grad.any()
    assert not weight._buffer.grad[..., weight._start : weight._start + weight.elements].any()


def test_networks_of_several_sizes():
    def sized():
        torch.manual_seed(3)
        networks = [
            lamp.Sequential(lamp.Linear(3, n), lamp.Sigmoid(), lamp.Linear(n, 4)).double() for n in (2, 7, 4) * lanes()
        ]
        population = lamp.stack(networks)
        return population, lamp.compile(
            population, lamp.CrossEntropyLoss(), lamp.Adam(population.parameters(), lr=0.01), 20
        )

    x, y = data()
    (one, whole), (other, halves) = sized(), sized()
    for _ in range(3):
        losses = whole(x, y)
        assert torch.equal(halves.gradients(x, y), losses[0])
        halves.update()
    assert same_bits(one, whole, other, halves)


def test_a_batch_in_parts_on_several_threads():
    def wide():
        return lamp.Sequential(
            lamp.Linear(100, 120), lamp.ReLU(), lamp.Linear(120, 110), lamp.Tanh(), lamp.Linear(110, 4)
        )

    x, y = data(256, 100)
    (one, whole), (other, halves) = (made(wide, batch_size=256) for _ in range(2))
    losses, loss = whole(x, y), halves.gradients(x, y)
    (state,) = halves._runners["gradients"][1].kernel_states
    assert state.tiling.parts > 1
    gradients = [parameter.grad.clone() for parameter in other.parameters()]
    other.zero_grad()
    criterion = lamp.CrossEntropyLoss()
    criterion(other(x), y)
    other.backward_parameters(criterion.backward())
    for parameter, gradient in zip(other.parameters(), gradients, strict=True):
        close(gradient, parameter.grad, ROUNDING)
        parameter.grad = gradient
    halves.update()
    assert torch.equal(losses[0], loss)
    assert same_bits(one, whole, other, halves)


def test_what_changes_between_the_halves_holds():
    model, compiled = made(optimizer=OPTIMIZERS["SGD"])
    x, y = data()
    compiled.gradients(x, y)
    compiled.update()
    for group in compiled.optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.data.clone() for parameter in model.parameters()]
    compiled.gradients(x, y)
    compiled.update()
    assert all(torch.equal(parameter.data, old) for parameter, old in zip(model.parameters(), before, strict=True))


def test_samples_of_their_own_and_wrong_ones():
    model, compiled = made(count=3)
    x, y = data(30)
    own = x.view(3, 10, 3), y.view(3, 10)
    losses = compiled.gradients(*own, per_replica_data=True)
    for k in range(3):
        expected, gradients = by_autograd(model, 3, own[0][k], own[1][k])
        close(losses[k], expected[k], ROUNDING)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            close(parameter.grad[k], gradient[k], ROUNDING)
    with pytest.raises(lamp.ShapeError, match="differ in length"):
        compiled.gradients(x, y[:-1])
    with pytest.raises(lamp.ShapeError, match="wrong number of features"):
        compiled.gradients(x[:, :2], y)


def test_kernels_of_the_same_shapes_are_not_mistaken_for_each_other(tmp_path, monkeypatch):
    """A kernel that measures losses and one that computes gradients differ only in what they do."""
    monkeypatch.setenv("LAMP_CACHE_DIR", str(tmp_path))
    forget()
    x, y = data()
    model, compiled = made()
    lamp.fit(
        model, lamp.CrossEntropyLoss(), compiled.optimizer, (x, y), epochs=2, batch_size=20, validation=(x, y),
        engine="compiled", progress=False,
    )  # fmt: skip
    for _ in range(2):  # compiled, then from the disk
        _, halves = made()
        loss = halves.gradients(x, y)
        expected, gradients = by_autograd(halves.model, None, x, y)
        close(loss, expected, ROUNDING)
        for parameter, gradient in zip(halves.model.parameters(), gradients, strict=True):
            close(parameter.grad, gradient, ROUNDING)
        forget()
