"""The gradient checker accepts correct gradients, and finds and names every planted mistake."""

import copy
import inspect

import pytest
import torch

import lamp
from lamp import axes
from lamp.checks import GradientReport, check_gradients

B, IN, OUT, DEEP = 7, 3, 5, 4  # pairwise distinct


def default_activations():
    """All public activations with default arguments; Threshold with its two."""
    for name in lamp.nn.__all__:
        module = getattr(lamp.nn, name)
        if inspect.isclass(module) and issubclass(module, lamp.nn.Activation) and module is not lamp.nn.Activation:
            yield name, (module(0.1, 20.0) if name == "Threshold" else module())  # type: ignore[call-arg]


class TwoIntoTwo(lamp.Module):
    """y = a + w b and z = a b, of a pair."""

    def __init__(self, size):
        self.w = lamp.Parameter(torch.randn(size))

    def forward(self, pair):
        a, b = pair
        self.remember((a, b))
        return a + self.w.data * b, a * b

    def backward(self, gradients):
        dy, dz = gradients
        a, b = self.recall()
        self.w.grad.add_((dy * b).sum(0))
        return dy + dz * b, self.w.data * dy + dz * a


class TwoArguments(TwoIntoTwo):
    """The same, with arguments of their own."""

    def forward(self, a, b):
        return super().forward((a, b))

    def backward(self, dy, dz):
        return super().backward((dy, dz))


class Thrice(lamp.Module):
    """One layer used three times."""

    def __init__(self, layer):
        self.layer, self.bend = layer, lamp.Tanh()

    def forward(self, x):
        return self.layer(self.bend(self.layer(self.bend(self.layer(x)))))

    def backward(self, dy):
        for module in (self.layer, self.bend, self.layer, self.bend, self.layer):
            dy = module.backward(dy)
        return dy


class Noisy(lamp.Module):
    """y = x m, with a new random m at each call, from the generator it is given or else torch's own."""

    def __init__(self, generator=None):
        self.generator = generator

    def forward(self, x):
        m = torch.rand(x.shape, generator=self.generator, dtype=x.dtype)
        self.remember(m)
        return x * m

    def backward(self, dy):
        return dy * self.recall()


class Pick(lamp.Module):
    """Selects rows of a table by their indices."""

    def __init__(self, rows, columns):
        self.table = lamp.Parameter(torch.randn(rows, columns))

    def forward(self, numbers):
        self.remember(numbers)
        return self.table.data[numbers]

    def backward(self, dy):
        self.table.grad.index_add_(0, self.recall(), dy)


# ---- what is right passes -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "activation"), list(default_activations()), ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_activation_passes(name, activation):
    check_gradients(activation, torch.randn(B, IN))


def test_gradients_of_networks_are_right():
    check_gradients(lamp.Linear(IN, OUT), torch.randn(B, IN))
    check_gradients(lamp.Linear(IN, OUT, bias=False), torch.randn(2, B, IN))
    inner = lamp.Sequential(lamp.Linear(OUT, DEEP), lamp.ReLU())
    network = lamp.Sequential(lamp.Linear(IN, OUT), lamp.SELU(), inner, lamp.Linear(DEEP, 2))
    report = check_gradients(network, torch.randn(B, IN))
    assert [tensor.name for tensor in report.tensors] == [
        "input 0", "0.weight", "0.bias", "2.0.weight", "2.0.bias", "3.weight", "3.bias",
    ]  # fmt: skip
    assert report.worst.error < 1e-8


@pytest.mark.parametrize("samples", [1, 7, 20, 64])
def test_a_gradient_of_one_number_is_right(samples):
    """That of a bias with one output, whose size is the number itself."""
    for seed in range(4):
        torch.manual_seed(seed)
        lamp.check_gradients(lamp.Linear(3, 1), torch.randn(samples, 3))


def test_a_layer_used_three_times_passes():
    report = check_gradients(Thrice(lamp.Linear(IN, IN)), torch.randn(B, IN))
    assert [tensor.name for tensor in report.tensors] == ["input 0", "layer.weight", "layer.bias"]


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_populations(own, factor):
    """The gradient of an input that the replicas share is the sum of theirs."""

    class Product(lamp.Container):
        def __init__(self):
            self.left, self.right = lamp.Linear(IN, OUT), lamp.Linear(OUT, OUT)

        def forward(self, first, second):
            left, right = self.left(first), self.right(second)
            self.remember((left, right))
            return left * right

        def backward(self, grad_output):
            left, right = self.recall()
            return self.left.backward(grad_output * right), self.right.backward(grad_output * left * factor)

    population = lamp.population(Product(), range(3))
    x, z = (torch.randn(B, size) for size in (IN, OUT))
    if own:
        z = population.per_replica(torch.randn(3, B, OUT))
    report = check_gradients(population, x, z, raise_exception=False)
    right = {"input 0", "network.left.weight", "network.left.bias"}
    assert {row.name for row in report.tensors if row.ok} == (
        right if factor != 1.0 else {r.name for r in report.tensors}
    )
    assert report.ok == (factor == 1.0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_replicas(reduction):
    output, target, labels = torch.randn(3, B, OUT), torch.randn(B, OUT), torch.randint(OUT, (3, B))
    check_gradients(lamp.HuberLoss(reduction, delta=torch.tensor([0.1, 0.5, 2.0])), lamp.per_replica(output), target)
    check_gradients(lamp.CrossEntropyLoss(reduction=reduction), lamp.per_replica(output), lamp.per_replica(labels))
    if reduction != "none":
        network = lamp.Sequential(lamp.Linear(IN, OUT), lamp.MSELoss(reduction=reduction))
        check_gradients(lamp.population(network, range(3)), torch.randn(B, IN), target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_of_losses_are_right(reduction):
    check_gradients(lamp.MSELoss(reduction=reduction), torch.randn(B, IN), torch.randn(B, IN))
    check_gradients(lamp.CrossEntropyLoss(reduction=reduction), torch.randn(B, OUT), torch.randint(OUT, (B,)))
    check_gradients(lamp.CrossEntropyLoss(reduction=reduction), torch.randn(OUT), torch.tensor(2))  # one sample


def test_a_network_that_ends_in_its_loss_passes():
    network = lamp.Sequential(lamp.Linear(IN, OUT), lamp.Tanh(), lamp.Linear(OUT, 2), lamp.MSELoss())
    report = check_gradients(network, torch.randn(B, IN), torch.randn(B, 2))
    assert "not compared" in next(tensor.note for tensor in report.tensors if tensor.name == "input 1")


def test_randomness_repeats():
    check_gradients(Noisy(), torch.randn(B, IN))
    check_gradients(Noisy(torch.Generator().manual_seed(5)), torch.randn(B, IN))
    check_gradients(lamp.Sequential(lamp.Linear(IN, OUT), lamp.Dropout(0.4)), torch.randn(B, IN))


def test_tuples_go_in_and_out():
    a, b = torch.randn(B, IN), torch.randn(B, IN)
    names = [tensor.name for tensor in check_gradients(TwoIntoTwo(IN), (a, b)).tensors]
    assert names == ["input 0[0]", "input 0[1]", "w"]
    names = [tensor.name for tensor in check_gradients(TwoArguments(IN), a, b).tensors]
    assert names == ["input 0", "input 1", "w"]


def test_inputs_that_are_no_numbers_have_no_gradient():
    report = check_gradients(Pick(DEEP, IN), torch.tensor([0, 2, 2, 1, 0]))
    assert [tensor.name for tensor in report.tensors] == ["table"]


def test_kinks_are_stepped_around():
    check_gradients(lamp.ReLU(), torch.randn(B, 40) * 1e-5)  # a kink within every finite difference
    check_gradients(
        lamp.ReLU(), torch.zeros(B, IN)
    )  # a kink exactly at the point, where the slope is the mean of both sides
    check_gradients(lamp.Softshrink(3e-6), torch.zeros(B, IN))  # one on each side, at the same distance
    check_gradients(lamp.L1Loss(), torch.ones(B, IN), torch.ones(B, IN))


def test_a_gradient_of_zero_is_said_to_be_one():
    class Forgetful(lamp.Module):
        def __init__(self):
            self.unused = lamp.Parameter(torch.randn(IN))

        def forward(self, x):
            return x

        def backward(self, dy):
            return dy

    report = check_gradients(Forgetful(), torch.randn(B, IN))
    assert [tensor.note for tensor in report.tensors] == ["", "zero"]


def test_large_and_small_inputs():
    network = lamp.Sequential(lamp.Linear(IN, OUT), lamp.Tanh())
    check_gradients(network, 1e-4 * torch.randn(B, IN))
    check_gradients(lamp.Linear(IN, OUT), 1e6 * torch.randn(B, IN))


def test_the_module_is_left_as_it_was():
    network = lamp.Sequential(lamp.Linear(IN, OUT), lamp.ReLU(), lamp.Linear(OUT, 2))
    network.eval()
    network[2].train()
    x = torch.randn(B, IN)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape)
    values = [(p.data, p.data.clone(), p.grad, p.grad.clone()) for p in network.parameters()]
    network.train()
    dy = torch.randn_like(network(x))
    expected = copy.deepcopy(network)
    expected(x)
    dx = expected.backward(dy)
    network[0].eval()
    before, given = torch.get_rng_state(), x.clone()
    check_gradients(network, x)
    assert [module.training for module in network.modules()] == [True, False, True, True]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, given)
    for parameter, (data, data_before, grad, grad_before) in zip(network.parameters(), values, strict=True):
        assert parameter.data is data
        assert parameter.grad is grad
        assert torch.equal(data, data_before)
        assert torch.equal(grad, grad_before)
    assert torch.equal(network.backward(dy), dx)  # the network still has its remembered values


# ---- planted mistakes are caught and named --------------------------------------------------------------------------
class Square(lamp.Linear):
    """A Linear whose backward is split into parts, to plant mistakes in."""

    def __init__(self, size=IN):
        super().__init__(size, size)

    def backward(self, dy):
        x = self.recall()
        self.weight.grad.add_(self.dweight(dy, x))
        self.bias.grad.add_(self.dbias(dy))
        return self.dx(dy)

    def dweight(self, dy, x):
        return dy.t() @ x

    def dbias(self, dy):
        return dy.sum(0)

    def dx(self, dy):
        return dy @ self.weight.data


class Scaled(Square):
    def dweight(self, dy, x):
        return 1.001 * super().dweight(dy, x)


class NoBias(Square):
    def dbias(self, dy):
        return torch.zeros(IN, dtype=dy.dtype)


class Mean(Square):
    def dbias(self, dy):
        return dy.mean(0)


class OneSample(Square):
    def dbias(self, dy):
        return dy[0]


class Transposed(Square):
    def dweight(self, dy, x):
        return x.t() @ dy


class WrongSign(Square):
    def dweight(self, dy, x):
        return -super().dweight(dy, x)


class WrongInput(Square):
    def dx(self, dy):
        return dy @ self.weight.data.t()


class WrongElement(Square):
    def dweight(self, dy, x):
        dweight = super().dweight(dy, x)
        dweight[2, 1] *= 1.001
        return dweight


class NoGradient(Square):
    def dx(self, dy):
        return None


class WrongShape(Square):
    def dx(self, dy):
        return super().dx(dy).sum(0)


class SinglePrecision(Square):
    def dx(self, dy):
        return super().dx(dy).float()


MISTAKES = [
    (Scaled, "weight", "off by factor 1.001"),
    (NoBias, "bias", "zero: backward does not compute it"),
    (Mean, "bias", f"off by factor 1/{B}: a mean over the batch in place of a sum"),
    (OneSample, "bias", "of sample 0 alone: the sum over the batch is missing"),
    (Transposed, "weight", "transposed"),
    (WrongSign, "weight", "the sign is wrong"),
    (WrongInput, "input 0", "elements off, most at"),
    (WrongElement, "weight", "1 of 9 elements off, most at (2, 1)"),
    (WrongShape, "input 0", "its gradient has shape (3,)"),
    (SinglePrecision, "input 0", "its gradient comes in torch.float32"),
]


@pytest.mark.parametrize(("mistaken", "name", "note"), MISTAKES, ids=lambda each: getattr(each, "__name__", None))
def test_a_mistake_is_caught_and_named(mistaken, name, note):
    report = check_gradients(mistaken(), torch.randn(B, IN), raise_exception=False)
    assert [tensor.name for tensor in report.tensors if not tensor.ok] == [name]
    assert report.worst.name == name
    assert note in report.worst.note
    assert not report
    with pytest.raises(lamp.GradientError, match=rf"{name}\b.*WRONG"):
        check_gradients(mistaken(), torch.randn(B, IN))


def test_the_square_without_mistakes_passes():
    check_gradients(Square(), torch.randn(B, IN))
    report = check_gradients(NoGradient(), torch.randn(B, IN))
    assert report.tensors[0].note == "not compared, backward returns None"


class Cubic(lamp.Module):
    """y = x + x^3."""

    def forward(self, x):
        self.remember(x)
        return x + x**3

    def backward(self, dy):
        x = self.recall()
        return dy * 3 * x**2  # and 1


def test_a_forgotten_term_is_caught():
    report = check_gradients(Cubic(), torch.randn(B, IN), raise_exception=False)
    assert "21 of 21 elements off" in report.worst.note


class Overwriting(Square):
    def backward(self, dy):
        x = self.recall()
        self.weight.grad = self.dweight(dy, x)
        self.bias.grad.add_(self.dbias(dy))
        return self.dx(dy)


def test_an_overwritten_gradient_is_caught():
    report = check_gradients(Overwriting(), torch.randn(B, IN), raise_exception=False)
    assert [(tensor.name, tensor.note) for tensor in report.tensors if not tensor.ok] == [
        ("weight", "overwritten: backward must add to grad")
    ]


def test_a_gradient_that_multiplies_what_it_finds_is_caught():
    class Doubling(Square):
        def backward(self, dy):
            self.bias.grad.mul_(2.0)
            return super().backward(dy)

    report = check_gradients(Doubling(), torch.randn(B, IN), raise_exception=False)
    assert [tensor.name for tensor in report.tensors if "not added" in tensor.note] == ["bias"]


def test_a_small_mistake_is_seen_on_large_inputs():
    class SlightlyWrong(Square):
        def dx(self, dy):
            return 1.00001 * super().dx(dy)

    report = check_gradients(SlightlyWrong(), 1e6 * torch.randn(B, IN), raise_exception=False)
    assert report.worst.note == "off by factor 1.00001"


def test_inputs_changed_in_place_are_caught():
    class InPlace(lamp.ReLU):
        def forward(self, x):
            return super().forward(x.relu_())

    class InPlaceBackward(lamp.ReLU):
        def backward(self, dy):
            _, y = self.recall()
            return dy.mul_(y.sign())

    class Decaying(Square):
        def forward(self, x):
            y = super().forward(x)
            self.weight.data.mul_(0.5)
            return y

    assert check_gradients(InPlace(), torch.randn(B, IN), raise_exception=False).problems == [
        "forward changes input 0 in place"
    ]
    assert check_gradients(InPlaceBackward(), torch.randn(B, IN), raise_exception=False).problems == [
        "backward changes the gradient it is given in place"
    ]
    problems = check_gradients(Decaying(), torch.randn(B, IN), raise_exception=False).problems
    assert problems == ["forward changes weight in place"]


def test_a_forward_that_differs_from_call_to_call_is_caught():
    generator = torch.Generator()

    class Elsewhere(Noisy):
        def forward(self, x):
            self.generator = generator  # not in the module's attributes when it is copied
            return super().forward(x)

    report = check_gradients(Elsewhere(), torch.randn(B, IN), raise_exception=False)
    assert "different outputs on the same inputs" in report.problems[0]
    with pytest.raises(lamp.GradientError, match="different outputs"):
        report.raise_if_wrong()


def test_nan_is_caught():
    class Root(Cubic):
        def forward(self, x):
            super().forward(x)
            return x.sqrt()

    with pytest.raises(lamp.GradientError, match="NaN or infinity"):
        check_gradients(Root(), torch.randn(B, IN))


def test_tensors_that_must_be_contiguous_are_caught():
    class Viewing(lamp.Module):
        def forward(self, x):
            return x.view(-1)

        def backward(self, dy):
            return dy.view(B, IN)

    class Reading(lamp.Module):
        def forward(self, x):
            return x.as_strided((B, IN), (IN, 1)) * 2.0

        def backward(self, dy):
            return dy.as_strided((B, IN), (IN, 1)) * 2.0

    report = check_gradients(Viewing(), torch.randn(B, IN), raise_exception=False)
    assert "not contiguous are refused" in report.problems[0]
    report = check_gradients(Reading(), torch.randn(B, IN), raise_exception=False)
    assert report.problems == ["the gradient of input 0 is another where tensors are not contiguous"]


def test_a_forward_that_leaves_float64_is_named():
    class Single(lamp.Tanh):
        def forward(self, x):
            return super().forward(x.float()).double()

        def backward(self, dy):
            return super().backward(dy.float()).double()

    report = check_gradients(Single(), torch.randn(B, IN), raise_exception=False)
    assert "leave float64" in report.worst.note


def test_a_jump_is_not_smooth():
    class Jump(lamp.Module):
        def forward(self, x):
            self.remember(x)
            return (x * 1e7).round() * 1e-7

        def backward(self, dy):
            self.recall()
            return dy

    report = check_gradients(Jump(), torch.randn(B, IN), raise_exception=False)
    assert "does forward jump" in report.worst.note


def test_one_gradient_for_two_inputs_is_caught():
    class First(TwoArguments):
        def backward(self, dy, dz):
            return super().backward(dy, dz)[0]

    class ShortTuple(TwoArguments):
        def backward(self, dy, dz):
            return super().backward(dy, dz)[:1]

    for mistaken in (First, ShortTuple):
        report = check_gradients(mistaken(IN), torch.randn(B, IN), torch.randn(B, IN), raise_exception=False)
        assert [(tensor.name, tensor.note) for tensor in report.tensors if not tensor.ok] == [
            ("input 1", "backward returns no gradient for it")
        ]


# ---- what it says ---------------------------------------------------------------------------------------------------
def test_the_module_inside_that_is_wrong_is_named():
    network = lamp.Sequential(lamp.Linear(DEEP, IN), lamp.Sequential(lamp.Tanh(), Scaled()), WrongInput(), lamp.Tanh())
    report = check_gradients(network, torch.randn(B, DEEP), raise_exception=False)
    assert [suspect.split(":")[0] for suspect in report.suspects] == ["Sequential.1.1", "Sequential.2"]
    with pytest.raises(lamp.GradientError, match=r"fix +begin with Sequential\.1\.1: Scaled"):
        report.raise_if_wrong()


def test_a_mistake_of_the_network_itself_is_not_blamed_on_its_layers():
    class Skipping(Thrice):
        def backward(self, dy):
            super().backward(dy)
            return dy

    report = check_gradients(Skipping(lamp.Linear(IN, IN)), torch.randn(B, IN), raise_exception=False)
    assert report.suspects == []
    assert [tensor.name for tensor in report.tensors if not tensor.ok] == ["input 0"]


def test_the_report_is_a_table():
    report = check_gradients(NoBias(), torch.randn(B, IN), raise_exception=False)
    head, titles, *rows = str(report).splitlines()
    assert head.startswith("gradients of NoBias(")
    assert head.endswith(": WRONG")
    assert titles.split() == ["shape", "analytic", "numeric", "error"]
    assert [row.split("  ")[0] for row in rows] == ["input 0", "weight", "bias"]
    assert rows[1].endswith("  ok")
    assert rows[2].endswith("  WRONG: zero: backward does not compute it")
    assert isinstance(report, GradientReport)


def test_the_error_is_both_lamps_and_an_assertion():
    with pytest.raises(AssertionError) as caught:
        check_gradients(NoBias(), torch.randn(B, IN))
    assert isinstance(caught.value, lamp.LampError)
    assert "1 of 3 gradients wrong" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "options", "complaint"),
    [
        ((torch.nn.Tanh(), torch.ones(1)), {}, "checks modules"),
        ((lamp.Tanh(), torch.ones(1)), {"directions": 0}, "must be positive"),
        ((lamp.Tanh(), torch.ones(1)), {"eps": -1.0}, "must be positive"),
        ((lamp.Identity(), torch.ones(1, dtype=torch.int64)), {}, "no gradient to check"),
    ],
)
def test_arguments_it_cannot_work_with(arguments, options, complaint):
    with pytest.raises(lamp.ArgumentError, match=complaint):
        check_gradients(*arguments, **options)


def test_errors_of_the_module_come_through():
    with pytest.raises(lamp.ShapeError, match=r"Sequential\.1"):
        check_gradients(lamp.Sequential(lamp.Tanh(), lamp.Linear(IN, OUT)), torch.randn(B, DEEP))


def test_the_matrix_product_of_axes_is_what_is_checked(monkeypatch):
    """A mistake in a function that modules share is found by checking any of them."""

    def forgetting(dweight, dbias, dy, x):
        dweight.addmm_(dy.t(), x)

    monkeypatch.setattr(axes, "add_affine", forgetting)
    report = check_gradients(lamp.Linear(IN, OUT), torch.randn(B, IN), raise_exception=False)
    assert [tensor.name for tensor in report.tensors if not tensor.ok] == ["bias"]
