"""Rows of modules save memory: a module may overwrite what the one before has made. Nothing that a user has changes."""

import copy

import pytest
import torch

import lamp

D = torch.float64


class Kept(lamp.Module):
    """The identity, which keeps what it has seen."""

    def forward(self, x):
        self.seen = x
        return x

    def backward(self, dy):
        return dy


class OneByOne(lamp.Container):
    """The modules of a row, called one by one: nothing is overwritten, and nothing changes its order."""

    def __init__(self, row):
        self.row = list(row)

    def forward(self, x):
        for module in self.row:
            x = module(x)
        return x

    def backward(self, dy):
        for module in self.row[::-1]:
            dy = module.backward(dy)
        return dy


def images():
    return torch.randn(5, 3, 9, 8, dtype=D)


def rows():
    return torch.randn(5, 6, dtype=D)


NETWORKS = {
    "convolution": (
        lambda: [lamp.Conv2d(3, 4, 3), lamp.ReLU(), lamp.Conv2d(4, 2, 3, padding=1), lamp.Sigmoid()],
        images,
    ),
    "pool": (lambda: [lamp.Conv2d(3, 4, 3), lamp.ReLU(), lamp.MaxPool2d(2), lamp.ReLU()], images),
    "windows that overlap": (
        lambda: [lamp.ReLU(), lamp.MaxPool2d(3, 1, padding=1), lamp.ReLU(), lamp.Flatten()],
        images,
    ),
    "two pools": (lambda: [lamp.ReLU(), lamp.MaxPool2d(2), lamp.ReLU(), lamp.AdaptiveMaxPool2d(2)], images),
    "a pool that gives its places": (lambda: [lamp.ReLU(), lamp.MaxPool2d(2, return_indices=True)], images),
    "norm": (lambda: [lamp.Conv2d(3, 4, 3), lamp.BatchNorm2d(4), lamp.ReLU(), lamp.MaxPool2d(2)], images),
    "norm of the input": (lambda: [lamp.BatchNorm2d(3), lamp.InstanceNorm2d(3), lamp.ReLU()], images),
    "transposed": (lambda: [lamp.ConvTranspose2d(3, 4, 3), lamp.InstanceNorm2d(4, affine=True), lamp.ReLU()], images),
    "residual": (
        lambda: [
            lamp.Conv2d(3, 3, 3, padding=1),
            lamp.Residual(lamp.ReLU(), lamp.Conv2d(3, 3, 3, padding=1), lamp.BatchNorm2d(3)),
            lamp.ReLU(),
            lamp.Residual(lamp.BatchNorm2d(3), lamp.Tanh()),
            lamp.Residual(lamp.Residual(lamp.Conv2d(3, 3, 1))),
            lamp.ReLU(),
        ],
        images,
    ),
    "linear": (lambda: [lamp.Linear(6, 7), lamp.Tanh(), lamp.Linear(7, 4), lamp.BatchNorm1d(4), lamp.ReLU()], rows),
    "branches": (
        lambda: [lamp.Linear(6, 6), lamp.Parallel(lamp.ReLU(), lamp.Tanh(), lamp.Residual(lamp.Linear(6, 6)))],
        rows,
    ),
    "rows in rows": (
        lambda: [lamp.Linear(6, 6), lamp.Sequential(lamp.ReLU(), lamp.Linear(6, 3)), lamp.Sequential(lamp.Tanh())],
        rows,
    ),
}


def trained(network, x):
    """The output, the gradient of the input and those of the parameters, for a random gradient of the output."""
    y = network(x)
    dy = tuple(
        torch.randn(each.shape, dtype=D, generator=torch.Generator().manual_seed(1))
        if each.is_floating_point()
        else None
        for each in (y if isinstance(y, tuple) else (y,))
    )
    dx = network.backward(dy if isinstance(y, tuple) else dy[0])
    return [*(y if isinstance(y, tuple) else (y,)), dx, *(each.grad for each in network.parameters())]


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_computes_what_its_modules_do_one_by_one(name, replicas):
    build, draw = NETWORKS[name]
    torch.manual_seed(0)
    row = lamp.Sequential(*build()).to(D)
    twin = lamp.Sequential(OneByOne(copy.deepcopy(row)))
    x = draw()
    if replicas is not None:
        row, twin = lamp.population(row, range(replicas)), lamp.population(twin, range(replicas))
        twin.load_state_dict(dict(zip(twin.state_dict(), row.state_dict().values(), strict=True)))
        x = lamp.per_replica(torch.stack([x, draw()]))
    before = x.clone()
    for found, expected in zip(trained(row, x), trained(twin, x), strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(x, before)


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_module_of_the_users_has_seen_stays(name, evaluated):
    build, draw = NETWORKS[name]
    modules = build()
    for place in range(len(modules) + 1):
        kept = Kept()
        row = lamp.Sequential(*modules[:place], kept, *modules[place:]).to(D).train(not evaluated)
        x = draw()
        row(x)
        seen = kept.seen
        parts = seen if isinstance(seen, tuple) else (seen,)
        before = [each.clone() for each in parts]
        alone = lamp.Sequential(*modules[:place]).to(D).train(not evaluated)(x) if place else x
        for part, now, same in zip(parts, before, alone if isinstance(alone, tuple) else (alone,), strict=True):
            assert torch.equal(part, now)
            assert torch.allclose(now, same)


def kept_by(cls, *arguments):
    """A module of a user's subclass, which keeps its output."""

    def keep(self, input):
        self.seen = cls.forward(self, input)
        return self.seen

    return type("Keeping", (cls,), {"forward": keep})(*arguments)


def kept_by_instance(cls, *arguments):
    """A module with a forward of its own, which keeps its output."""
    module = cls(*arguments)
    forward = module.forward

    def keep(x):
        module.seen = forward(x)
        return module.seen

    module.forward = keep
    return module


@pytest.mark.parametrize("keep", [kept_by, kept_by_instance])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ((lamp.Linear, 6, 6), lamp.ReLU()),
        ((lamp.Linear, 6, 6), lamp.BatchNorm1d(6)),
        ((lamp.BatchNorm1d, 6), lamp.Sigmoid()),
        ((lamp.Residual, lamp.Linear(6, 6)), lamp.Tanh()),
    ],
)
def test_an_output_that_the_users_subclass_keeps_stays(keep, first, then):
    first = keep(*first).to(D)
    x = rows()
    lamp.Sequential(first, then.to(D))(x)
    kept = first.seen
    first(x)
    assert torch.allclose(kept, first.seen)


def test_an_output_that_was_kept_by_a_forward_put_into_lamps_class(monkeypatch):
    seen, forward = [], lamp.Linear.forward

    def keep(self, input):
        seen.append(forward(self, input))
        return seen[-1]

    monkeypatch.setattr(lamp.Linear, "forward", keep)
    model = lamp.Sequential(lamp.Linear(6, 6), lamp.ReLU())
    model(torch.randn(5, 6))
    assert (seen[0] < 0).any()


class Doubled(lamp.ReLU):
    """An activation of a user's, which is no ReLU."""

    def sigma(self, x):
        return x * -2.0

    def dsigma(self, x, y):
        return y * 0.0 - 2.0


class ReadsItsInput(lamp.ReLU):
    """A ReLU of a user's, whose derivative reads x."""

    remembers = "x"

    def dsigma(self, x, y):
        return x.sign().clamp(min=0.0)


def test_a_users_derivative_reads_what_it_says():
    row = lamp.Sequential(lamp.Linear(6, 6), ReadsItsInput()).to(D)
    assert lamp.check_gradients(row, rows())


@pytest.mark.parametrize("of_instance", [False, True])
def test_a_users_activation_takes_the_place_of_the_one_that_it_is_made_of(of_instance):
    activation = Doubled() if not of_instance else lamp.ReLU()
    if of_instance:
        activation.sigma, activation.dsigma = (lambda x: -x), (lambda x, y: y * 0.0 - 1.0)
    row = lamp.Sequential(lamp.Conv2d(3, 4, 3), activation, lamp.MaxPool2d(2)).to(D)
    twin, x = OneByOne(copy.deepcopy(row)), images()
    assert torch.equal(row(x), twin(x))


def test_two_forwards_wait_for_their_backwards():
    torch.manual_seed(0)
    row = lamp.Sequential(*NETWORKS["norm"][0]()).to(D)
    x, other, dy = images(), images(), torch.randn(5, 4, 3, 3, dtype=D)
    alone = copy.deepcopy(row)
    alone(x)
    alone.backward(dy)
    y = row(x)
    z = row(other)
    criterion = lamp.MSELoss(reduction="sum")
    criterion(y, y.detach() - dy / 2)
    row.backward(criterion.backward())
    for mine, expected in zip(row.parameters(), alone.parameters(), strict=True):
        assert torch.allclose(mine.grad, expected.grad, rtol=1e-8, atol=1e-10)
    assert z.shape == y.shape


def remembered(row, x):
    """The bytes of all tensors that the modules of a row remember of an input, but the input itself."""
    y = row(x)
    found = {}

    def look(value):
        if isinstance(value, torch.Tensor):
            found[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, tuple | list):
            for each in value:
                look(each)

    look([value for stack in row._through.memory.values() for value, _ in stack])
    found.pop(x.untyped_storage().data_ptr(), None)
    return sum(found.values()), y.numel() * y.element_size()


def test_what_a_row_made_is_overwritten(monkeypatch):
    over, places = lamp.ReLU.sigma_over, []

    def seen(self, x):
        y = over(self, x)
        places.append((x.data_ptr(), y.data_ptr()))
        return y

    monkeypatch.setattr(lamp.ReLU, "sigma_over", seen)
    lamp.Sequential(lamp.ReLU(), lamp.Linear(6, 6), lamp.ReLU())(torch.randn(5, 6))
    ((before, after),) = places
    assert before == after


def test_a_row_remembers_no_output_twice():
    x = torch.randn(4, 3, 16, 16)
    convolution = lamp.Conv2d(3, 8, 3, padding=1)
    kept, output = remembered(lamp.Sequential(convolution, lamp.ReLU()), x)
    assert kept == output
    kept, output = remembered(lamp.Sequential(convolution, lamp.ReLU(), lamp.MaxPool2d(2)), x)
    assert kept == 1.5 * output  # and places of two bytes
    kept, output = remembered(lamp.Sequential(convolution, lamp.BatchNorm2d(8), lamp.ReLU()), x)
    assert kept < 2.01 * output
    block = lamp.Residual(lamp.Conv2d(3, 3, 3, padding=1))
    kept, output = remembered(lamp.Sequential(block, lamp.ReLU()), x)
    assert kept == output
