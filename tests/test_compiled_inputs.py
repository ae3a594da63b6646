"""Networks with several inputs compile, and train as with the eager engine and as torch's do."""

import pytest
import torch

import lamp
from tests.cases.compiled import both, lanes
from tests.cases.several import Gate

D = torch.float64
COUNTS = [None, 1, 2, 17]


class Joined(lamp.Container):
    """Parts of a network that take an input each, what they put out side by side, and a layer behind."""

    def __init__(self, width, *parts):
        self.parts, self.head = list(parts), lamp.Linear(width, 3)

    def forward(self, *inputs):
        found = [part(x) for part, x in zip(self.parts, inputs, strict=True)]
        self.remember([y.shape[-1] for y in found])
        replicas = max(y.dim() for y in found) - 2  # a part that learns nothing may be shared
        found = [y.expand(*self.head.weight.shape[:replicas], *y.shape[-2:]) for y in found]
        return self.head(torch.cat(found, -1))

    def backward(self, dy):
        given = self.head.backward(dy).split(self.recall(), -1)
        pairs = list(zip(self.parts, given, strict=True))
        return tuple(part.backward(each) for part, each in reversed(pairs))[::-1]

    def trace(self, tracer, *inputs):
        found = [tracer(part, x) for part, x in zip(self.parts, inputs, strict=True)]
        return tracer(self.head, tracer.concat(self, *found))


class Stepped(lamp.Container):
    """An input beside a tuple of two, of which the second one is not used."""

    def __init__(self):
        self.first, self.state, self.tanh, self.head = (
            lamp.Linear(3, 4),
            lamp.Linear(2, 4),
            lamp.Tanh(),
            lamp.Linear(4, 3),
        )

    def forward(self, x, state):
        return self.head(self.tanh(self.first(x) + self.state(state[0])))

    def backward(self, dy):
        dsum = self.tanh.backward(self.head.backward(dy))
        return self.first.backward(dsum), (self.state.backward(dsum), None)

    def trace(self, tracer, x, state):
        both = tracer.add(self, tracer(self.first, x), tracer(self.state, state[0]))
        return tracer(self.head, tracer(self.tanh, both))


class Mapped(lamp.Container):
    """A bilinear map of two inputs at each place, and a layer of all places."""

    def __init__(self):
        self.map, self.head = lamp.Bilinear(3, 4, 5), lamp.Linear(10, 3)

    def forward(self, x, z):
        return self.head(self.map(x, z).flatten(-2))

    def backward(self, dy):
        return self.map.backward(self.head.backward(dy).unflatten(-1, (2, 5)))

    def trace(self, tracer, x, z):
        return tracer(self.head, tracer.reshape(self, tracer(self.map, x, z), (10,)))


class Compared(lamp.Container):
    """Two inputs, each behind a layer, which a module compares line by line, and a layer of the results."""

    def __init__(self, compare, results):
        self.first, self.second, self.compare = lamp.Linear(3, 4), lamp.Linear(5, 4), compare
        self.head = lamp.Linear(results, 3)

    def forward(self, x, z):
        y = self.compare(self.first(x), self.second(z))
        self.remember(y.shape)
        return self.head(y.view(*y.shape[: y.dim() - self.axes], -1))

    def backward(self, dy):
        dfirst, dsecond = self.compare.backward(self.head.backward(dy).view(self.recall()))
        dz = self.second.backward(dsecond)
        return self.first.backward(dfirst), dz

    def trace(self, tracer, x, z):
        y = tracer(self.compare, tracer(self.first, x), tracer(self.second, z))
        return tracer(self.head, tracer.reshape(self, y, (self.head.in_features,)))

    @property
    def axes(self):
        """How many axes the results of a sample have."""
        return 2 if getattr(self.compare, "keepdim", False) else 1


class Padded(lamp.Container):
    """A layer of a transformer over sequences, with a mask of the places that hold nothing."""

    def __init__(self, places=3, width=4, heads=2):
        self.body = lamp.TransformerEncoderLayer(width, heads, 2 * width, 0.0, batch_first=True)
        self.head, self.shape = lamp.Linear(places * width, 3), (places, width)

    def forward(self, x, padding):
        return self.head(self.body(x, None, padding).flatten(-2))

    def backward(self, dy):
        return self.body.backward(self.head.backward(dy).unflatten(-1, self.shape)), None

    def trace(self, tracer, x, padding):
        y = tracer(self.body, x, None, padding)
        return tracer(self.head, tracer.reshape(self, y, (self.head.in_features,)))


def image_and_numbers():
    seen = lamp.Sequential(lamp.Conv2d(1, 2, 3), lamp.ReLU(), lamp.Flatten())
    return Joined(2 * 18 + 4, seen, lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh()))


def two_tables_and_numbers():
    return Joined(4 + 2 + 3, lamp.Embedding(7, 4), lamp.Embedding(5, 2), lamp.Identity())


def bags():
    tables = [lamp.EmbeddingBag(rows, 3, mode=mode) for rows, mode in ((7, "mean"), (5, "sum"), (4, "max"))]
    return Joined(9, *tables)


def padding(*n, places=3):
    drawn = indices(*n, places, below=2, seed=8) == 1
    drawn[..., 0] = False  # each sequence has a place
    return drawn


def wide():  # a first layer that is computed by the machine's matrix product
    return Joined(64 + 3, lamp.Sequential(lamp.Linear(40, 64), lamp.Tanh()), lamp.PReLU(3))


def numbers(*shape, seed=3):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


def indices(*shape, below, seed=4):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


COMPARED = [
    ("the cosine", lambda: lamp.CosineSimilarity(-1), 2),
    ("the cosine along places", lambda: lamp.CosineSimilarity(1, eps=0.8), 4),
    ("the distance", lamp.PairwiseDistance, 2),
    ("absolute differences", lambda: lamp.PairwiseDistance(1.0, keepdim=True), 2),
    ("cubes", lambda: lamp.PairwiseDistance(3.0, 1e-3), 2),
    ("another power", lambda: lamp.PairwiseDistance(2.7), 2),
    ("the largest difference", lambda: lamp.PairwiseDistance(float("inf")), 2),
]
NETWORKS = {
    "an image and numbers": (image_and_numbers, lambda *n: (numbers(*n, 1, 5, 8), numbers(*n, 3))),
    "indices and numbers": (
        two_tables_and_numbers,
        lambda *n: (indices(*n, below=7), indices(*n, below=5, seed=5), numbers(*n, 3)),
    ),
    "a wide input and a narrow one": (wide, lambda *n: (numbers(*n, 40), numbers(*n, 3))),
    "bags of indices": (bags, lambda *n: tuple(indices(*n, 6, below=rows) for rows in (7, 5, 4))),
    "a bilinear map": (Mapped, lambda *n: (numbers(*n, 2, 3), numbers(*n, 2, 4))),
    **{
        f"compared by {each}": (
            lambda make=make, results=results: Compared(make(), results),
            lambda *n: (numbers(*n, 2, 3), numbers(*n, 2, 5)),
        )
        for each, make, results in COMPARED
    },
    "padded sequences": (Padded, lambda *n: (numbers(*n, 3, 4), padding(*n))),
    "a tuple among the inputs": (Stepped, lambda *n: (numbers(*n, 3), (numbers(*n, 2, seed=5), numbers(*n, 2)))),
}


def trained_alike(name, count, inputs, targets, batch, dtype=D, **options):
    make, _ = NETWORKS[name]
    return both(
        lambda: make().to(dtype),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (inputs, targets),
        count=count,
        epochs=2,
        batch_size=batch,
        tolerance=1e-11 if dtype is D else 2e-5,
        **options,
    )


@pytest.mark.compiled
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    inputs, batch = NETWORKS[name][1], lanes() + 3 if count is None else 5
    n = 2 * batch + 3
    held_out = inputs(7), indices(7, below=3)
    trained_alike(name, count, inputs(n), indices(n, below=3), batch, validation=held_out, metrics=["accuracy"])


@pytest.mark.compiled
def test_float32():
    x, z = (each.float() for each in NETWORKS["an image and numbers"][1](23))
    trained_alike("an image and numbers", None, (x, z), indices(23, below=3), 7, torch.float32)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["indices and numbers", "a tuple among the inputs"])
def test_each_replica_has_its_own_samples(name):
    make, inputs = NETWORKS[name]
    both(
        lambda: make().double(),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05),
        lambda: lamp.DataLoader((inputs(3, 13), indices(3, 13, below=3)), 5, shuffle=True, seed=[1, 2, 3], replicas=3),
        count=3,
        tolerance=1e-11,
    )


@pytest.mark.compiled
def test_steps_are_torchs():
    x, z, y = numbers(9, 3), numbers(9, 4), numbers(9, 5)
    module = Gate().double()
    weights = [each.data.clone().requires_grad_() for each in module.parameters()]
    compiled = lamp.compile(module, lamp.MSELoss(), lamp.SGD(module.parameters(), lr=0.1), 4)
    losses, order = compiled((x, z), y), range(0, 9, 4)
    for k, loss in zip(order, losses, strict=True):
        rows = slice(k, k + 4)
        w, b, v, c = weights
        output = torch.nn.functional.linear(x[rows], w, b) * torch.nn.functional.linear(z[rows], v, c).sigmoid()
        theirs = torch.nn.functional.mse_loss(output, y[rows])
        assert float(loss) == pytest.approx(float(theirs.detach()), rel=1e-12)
        gradients = torch.autograd.grad(theirs, weights)
        weights = [
            (weight - 0.1 * each).detach().requires_grad_() for weight, each in zip(weights, gradients, strict=True)
        ]
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        assert torch.allclose(parameter.data, weight.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.compiled
def test_gradients_of_a_bilinear_map_are_torchs():
    module, (x, z), y = Mapped().double(), NETWORKS["a bilinear map"][1](11), indices(11, below=3)
    w, b, v, c = weights = [each.data.clone().requires_grad_() for each in module.parameters()]
    output = torch.nn.functional.linear(torch.nn.functional.bilinear(x, z, w, b).flatten(1), v, c)
    torch.nn.functional.cross_entropy(output, y).backward()
    lamp.compile(module, lamp.CrossEntropyLoss(), lamp.SGD(module.parameters(), lr=0.1), 11).gradients((x, z), y)
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        assert torch.allclose(parameter.grad, weight.grad, rtol=1e-11, atol=1e-14)


@pytest.mark.compiled
@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, float("inf")])
def test_equal_differences_and_none(p):
    """The largest differences share the gradient, and where there is no difference, there is none."""
    module = Compared(lamp.PairwiseDistance(p, eps=0.0), 2).double()
    for layer in (module.first, module.second):
        layer.weight.data.zero_()
        layer.bias.data.copy_(torch.tensor([0.0, 2.0, -2.0, 1.0]))
    module.first.weight.data[1, 0] = module.first.weight.data[2, 0] = 1.0
    x = torch.tensor([[[0.0, 1.0, 1.0], [0.5, 1.0, 1.0]], [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]], dtype=D)
    inputs, y = (x, numbers(2, 2, 5)), torch.tensor([0, 2])
    criterion = lamp.CrossEntropyLoss()
    criterion(module(*inputs), y)
    module.backward(criterion.backward())
    expected = [parameter.grad.clone() for parameter in module.parameters()]
    compiled = lamp.compile(module, criterion, lamp.SGD(module.parameters(), lr=0.1), 2)
    compiled.gradients(inputs, y)
    for parameter, grad in zip(module.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("p", [0.0, -1.0])
def test_a_count_of_differences_is_not_compiled(p):
    module = Compared(lamp.PairwiseDistance(p), 2).double()
    compiled = lamp.compile(module, lamp.CrossEntropyLoss(), lamp.SGD(module.parameters(), lr=0.1), 4)
    with pytest.raises(lamp.ArgumentError, match=r"compare: PairwiseDistance.*p > 0"):
        compiled((numbers(4, 2, 3), numbers(4, 2, 5)), indices(4, below=3))


def test_truth_values_that_are_no_mask_are_told():
    module, (x, _) = Gate().double(), (numbers(9, 3), None)
    compiled = lamp.compile(module, lamp.MSELoss(), lamp.SGD(module.parameters(), lr=0.1), 4)
    with pytest.raises(lamp.LampError, match="bool"):
        compiled((x, numbers(9, 4) > 0), numbers(9, 5))


WRONG = {
    "one of two": (lambda: numbers(9, 3), "forward does not take"),
    "another shape": (lambda: (numbers(9, 3), numbers(9, 5)), r"\(B..., 4\)|features"),
    "another length": (lambda: (numbers(9, 3), numbers(8, 4)), r"\(9, 3\), \(8, 4\), targets \(9, 5\)"),
    "whole numbers": (lambda: (numbers(9, 3), indices(9, 4, below=3)), "int64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_inputs_are_told(name):
    given, message = WRONG[name]
    module = Gate().double()
    compiled = lamp.compile(module, lamp.MSELoss(), lamp.SGD(module.parameters(), lr=0.1), 4)
    with pytest.raises(lamp.LampError, match=message):
        compiled(given(), numbers(9, 5))


def test_an_index_that_no_table_has_is_told():
    module = two_tables_and_numbers().double()
    user, item, x = NETWORKS["indices and numbers"][1](9)
    compiled = lamp.compile(module, lamp.CrossEntropyLoss(), lamp.SGD(module.parameters(), lr=0.1), 4)
    with pytest.raises(lamp.LampError, match=r"parts\.1.*5"):
        compiled((user, item + 4, x), indices(9, below=3))


def test_what_is_not_finite_is_found():
    module = Gate().double()
    x, z = numbers(9, 3), numbers(9, 4)
    module.body.weight.data.fill_(1e308)
    optimizer = lamp.SGD(module.parameters(), lr=0.1)
    with pytest.raises(lamp.NonFiniteError, match="body"):
        lamp.fit(
            module, lamp.MSELoss(), optimizer, ((x, z), numbers(9, 5)), epochs=1, engine="compiled", progress=False
        )
