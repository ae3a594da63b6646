"""Habits from torch.nn and Keras that work in lamp too."""

import copy
import gc
import importlib
import inspect
import traceback

import numpy as np
import pytest
import torch
from torch import nn

import lamp
from tests.cases.losses import LOSSES
from tests.cases.module_case import equal
from tests.cases.modules import MODULES


def two():
    return lamp.Sequential(lamp.Linear(3, 4), lamp.ReLU())


# ---- a parameter stands for its tensor -------------------------------------------------------------------------------
def same(ours, theirs):
    assert type(ours) is type(theirs.detach()) if isinstance(theirs, torch.Tensor) else True
    torch.testing.assert_close(ours, theirs.detach() if isinstance(theirs, torch.Tensor) else theirs)


@pytest.mark.parametrize("kind", [lamp.Parameter, lamp.Buffer])
@pytest.mark.parametrize(
    "compute",
    [
        lambda x, p: x * p, lambda x, p: p * x, lambda x, p: x + p, lambda x, p: p + x, lambda x, p: x - p,
        lambda x, p: p - x, lambda x, p: x / p, lambda x, p: p / x, lambda x, p: x @ p.mT, lambda x, p: p @ x.mT,
        lambda x, p: p**2, lambda x, p: 2.0**p, lambda x, p: -p,
        lambda x, p: abs(p), lambda x, p: 2 * p, lambda x, p: p / 2,
        lambda x, p: 1 - p, lambda x, p: torch.add(x, p), lambda x, p: torch.mul(p, x),
        lambda x, p: torch.stack([p, x]),
        lambda x, p: torch.cat((p, p)), lambda x, p: torch.where(p > 0, p, x), lambda x, p: nn.functional.linear(x, p),
        lambda x, p: p.sum(), lambda x, p: p.norm(), lambda x, p: p.T, lambda x, p: p[0], lambda x, p: p[:, 1:],
        lambda x, p: p < x, lambda x, p: p >= x, lambda x, p: p.detach().clone(), lambda x, p: p.mean(0),
        lambda x, p: torch.addmm(x, x.clone(), input=p) if False else torch.clamp(input=p, min=0),
        lambda x, p: list(p)[2], lambda x, p: torch.as_tensor(np.asarray(p.detach())), lambda x, p: len(p),
        lambda x, p: p // 1, lambda x, p: p % 1, lambda x, p: x.clone().mul_(p),
        lambda x, p: torch.einsum("ij,kj->ik", x, p), lambda x, p: x.addcmul(p, p, value=2.0),
    ],
)  # fmt: skip
def test_arithmetic(kind, compute):
    x, values = torch.randn(4, 4), torch.randn(4, 4)
    same(compute(x, kind(values.clone())), compute(x, nn.Parameter(values.clone())))


def test_in_place_changes_stay_in_the_flat_buffer():
    model = two()
    weight = model.parameters()[0]
    before = weight.data.clone()
    weight += 1
    weight *= 2.0
    weight -= torch.ones(3)
    weight /= 4
    weight.add_(weight.grad)
    weight[0] = 0.5
    torch.testing.assert_close(weight.data[1:], ((before + 1) * 2 - 1)[1:] / 4)
    assert torch.equal(weight.data[0], torch.full((3,), 0.5))
    assert weight is model[0].weight
    nn.init.constant_(model[0].weight, 0.25)
    assert torch.equal(model.state_dict()["0.weight"], torch.full((4, 3), 0.25))


def test_a_parameter_is_still_a_key_and_equal_to_itself_alone():
    one, other = lamp.Parameter(torch.ones(2)), lamp.Parameter(torch.ones(2))
    assert one == one and one != other and one in [other, one] and len({one, other}) == 2  # noqa: PT018
    with pytest.raises(AttributeError):
        one.nothing_of_this_name  # noqa: B018
    assert hasattr(one, "sum")
    assert "norm" in dir(one)


def test_a_module_with_arithmetic_on_its_parameters():
    class Affine(lamp.Module):
        def __init__(self):
            self.w, self.b = lamp.Parameter(torch.randn(3)), lamp.Parameter(torch.randn(3))

        def forward(self, x):
            self.remember(x)
            return torch.add(x * self.w, self.b)

        def backward(self, dy):
            x = self.recall()
            self.w.grad += (dy * x).sum(0)
            self.b.grad += dy.sum(0)
            return dy * self.w

    assert lamp.check_gradients(Affine(), torch.randn(5, 3)).ok


# ---- methods of a module ---------------------------------------------------------------------------------------------
def test_half_double_cpu_cuda_and_to_convert_all_tensors():
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.BCELoss(torch.ones(4)))
    for move, dtype in [
        (model.half, torch.float16), (model.bfloat16, torch.bfloat16), (model.double, torch.float64),
        (model.float, torch.float32), (lambda: model.type(torch.float64), torch.float64), (model.cpu, torch.float64),
        (lambda: model.to(torch.ones(2)), torch.float32), (lambda: model.to("cpu", torch.float64), torch.float64),
    ]:  # fmt: skip
        assert move() is model
        assert {each.dtype for each in model.state_dict().values()} == {dtype}
    if not torch.cuda.is_available():
        for move in (model.cuda, lambda: model.cuda(1), lambda: model.cuda("cuda:0"), lambda: model.to("cuda")):
            with pytest.raises(lamp.DeviceError, match="no such GPU"):
                move()


def test_the_first_parameter():
    model = two()
    first = next(model.parameters())
    assert first is model[0].weight is next(model.parameters())
    assert first.device == torch.device("cpu")
    assert next(lamp.ReLU().parameters(), None) is None
    assert model.parameters() == [model[0].weight, model[0].bias]


def test_names_of_members():
    model = lamp.Sequential(lamp.Sequential(lamp.Linear(3, 4)), lamp.BCELoss(torch.ones(4)))
    assert model.get_parameter("0.0.weight") is model[0][0].weight
    assert model.get_submodule("0.0") is model[0][0]
    assert model.get_submodule("") is model
    assert model.get_buffer("1.weight") is next(iter(model.buffers()))
    assert list(model.children()) == list(model)
    assert [name for name, _ in model.named_children()] == ["0", "1"]
    with pytest.raises(lamp.MissingNameError, match=r"0\.0\.bias"):
        model.get_parameter("weight")


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    model = two()
    model[0].weight.grad.fill_(1.0)
    model.zero_grad(set_to_none=set_to_none)
    assert not model[0].weight.grad.any()
    model[0].weight.grad = torch.ones(4, 3)
    model[0].weight.grad = None
    assert not model[0].weight.grad.any()


class Averaging(lamp.Module):
    """A module written as one of torch.nn would be."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("nothing", None)
        self.register_parameter("scale", lamp.Parameter(torch.ones(3)))
        self.register_parameter("bias", None)
        self.add_module("inner", lamp.Linear(3, 3))

    def forward(self, x):
        self.mean = 0.5 * self.mean + 0.5 * x.mean(0)
        return self.inner((x - self.mean) * self.scale)  # type: ignore[attr-defined]


def test_registered_members_are_state_and_stay_so():
    model = Averaging()
    keys = ["mean", "scale", "inner.weight", "inner.bias"]
    assert sorted(model.state_dict()) == sorted(keys)
    x = torch.randn(10, 3)
    model(x)
    model(x)
    torch.testing.assert_close(model.state_dict()["mean"], 0.75 * x.mean(0))
    again = copy.deepcopy(model)
    again.load_state_dict(model.state_dict())
    assert sorted(again.double().state_dict()) == sorted(keys)
    assert again.state_dict()["mean"].dtype == torch.float64
    assert [name for name, _ in model.named_children()] == ["inner"]


# ---- a Sequential as a list ------------------------------------------------------------------------------------------
def kinds(model):
    return [type(module).__name__ for module in model]


def both():
    ours = lamp.Sequential(lamp.Linear(3, 4), lamp.ReLU(), lamp.Tanh())
    theirs = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Tanh())
    return [(ours, lamp), (theirs, nn)]


def change(model, how, package):
    how(model, package)
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda m, p: m + p.Sequential(p.Sigmoid()),
        lambda m, p: m * 2,
        lambda m, p: 3 * m,
        lambda m, p: m[1:],
        lambda m, p: m[::-1],
        lambda m, p: change(m, lambda m, p: m.pop(1), p),
        lambda m, p: change(m, lambda m, p: m.pop(-1), p),
        lambda m, p: change(m, lambda m, p: m.insert(1, p.GELU()), p),
        lambda m, p: change(m, lambda m, p: m.insert(3, p.GELU()), p),
        lambda m, p: change(m, lambda m, p: m.extend([p.GELU(), p.ELU()]), p),
        lambda m, p: change(m, lambda m, p: m.extend(p.Sequential(p.GELU(), p.ELU())), p),
        lambda m, p: change(m, lambda m, p: m.append(p.GELU()), p),
        lambda m, p: change(m, lambda m, p: m.__delitem__(slice(0, 2)), p),
        lambda m, p: change(m, lambda m, p: m.__delitem__(0), p),
        lambda m, p: change(m, lambda m, p: m.__setitem__(-1, p.ELU()), p),
        lambda m, p: change(m, lambda m, p: m.__setitem__(np.int64(1), p.ELU()), p),
        lambda m, p: m.__iadd__(p.Sequential(p.ELU())),
        lambda m, p: m.__imul__(2),
        lambda m, p: change(m, lambda m, p: m.add_module("end", p.ELU()), p),
    ],
)  # fmt: skip
def test_sequential_as_a_list(make):
    (ours, names), (theirs, twins) = [
        (kinds(made), list(made._modules) if isinstance(made, nn.Module) else [n for n, _ in made.named_children()])
        for made in (make(model, package) for model, package in both())
    ]
    assert ours == theirs
    assert names == twins


def test_the_rest_of_a_list():
    model = both()[0][0]
    first, *_, last = model
    assert model.pop(0) is first
    assert list(reversed(model)) == [last, model[0]]
    assert last in model
    assert len(model * 2) == 4
    assert (model * 2)[0] is (model * 2)[2]
    assert kinds(lamp.Sequential([lamp.ReLU(), lamp.Tanh()])) == ["ReLU", "Tanh"]
    model.extend(model)
    assert kinds(model) == ["ReLU", "Tanh"] * 2


# ---- sizes and numbers of numpy and torch ----------------------------------------------------------------------------
@pytest.mark.parametrize("size", [np.int64(3), np.uint8(3), torch.tensor(3), 3])
def test_sizes(size):
    layer = lamp.Linear(size, size)
    assert layer.weight.shape == (3, 3)
    assert repr(layer) == "Linear(in_features=3, out_features=3, bias=True)"
    assert lamp.PReLU(size).weight.shape == (3,)
    assert lamp.Flatten(size - 2)(torch.ones(2, 3, 4)).shape == (2, 12)
    assert lamp.Unflatten(1, (size, 2))(torch.ones(2, 6)).shape == (2, 3, 2)


@pytest.mark.parametrize("p", [np.float32(0.5), torch.tensor(0.5), np.array(0.5), 0.5])
def test_numbers(p):
    assert repr(lamp.Dropout(p)) == "Dropout(p=0.5)"
    assert repr(lamp.LeakyReLU(p)) == "LeakyReLU(negative_slope=0.5)"


INITS = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]


@pytest.mark.parametrize("name", INITS)
def test_torchs_inits_fill_a_parameter(name):
    """All functions of torch.nn.init fill a parameter with the numbers that they fill a tensor with."""
    more = {"constant_": (0.25,), "sparse_": (0.5,)}.get(name, ())
    shape = (4, 3, 3) if name == "dirac_" else (4, 3)
    parameter, tensor = lamp.Parameter(torch.full(shape, 7.0)), torch.full(shape, 7.0)
    for each in (parameter, tensor):
        torch.manual_seed(0)
        getattr(nn.init, name)(each, *more)
    assert torch.equal(parameter.data, tensor)
    assert not parameter.data.requires_grad
    assert (parameter.size(0), parameter.size()) == (4, shape)


def test_an_init_that_returns_its_numbers():
    layer = lamp.Linear(3, 4, init=lambda tensor, generator=None: torch.full_like(tensor, 0.5))
    assert torch.equal(layer.weight.data, torch.full((4, 3), 0.5))
    assert torch.equal(layer.bias.data, torch.zeros(4))
    torch.manual_seed(1)
    ours = lamp.Linear(3, 4, init=nn.init.xavier_uniform_)
    torch.manual_seed(1)
    assert torch.equal(ours.weight.data, nn.init.xavier_uniform_(torch.empty(4, 3)))


def test_a_slope_that_is_the_output_itself():
    class Exp(lamp.Activation):
        def sigma(self, x):
            return x.exp()

        def dsigma(self, x, y):
            return y

    exp, x = Exp(), torch.randn(5, 3)
    y = exp(x)
    before = y.clone()
    torch.testing.assert_close(exp.backward(torch.full((5, 3), 2.0)), 2 * x.exp())
    assert torch.equal(y, before)


def test_a_network_is_freed_when_nobody_holds_it():
    class Watched(lamp.Module):
        gone = 0

        def __del__(self):
            Watched.gone += 1

    model = lamp.Sequential(Watched(), lamp.Linear(2, 3))
    del model
    gc.collect()
    assert Watched.gone == 1


# ---- names -----------------------------------------------------------------------------------------------------------
def test_lamp_nn_has_the_names_of_torch_nn():
    import lamp.nn as nn_of_lamp

    assert nn_of_lamp.Module is lamp.Module
    assert nn_of_lamp.Parameter is lamp.Parameter
    for name in lamp.losses.__all__:
        assert not hasattr(nn, name) or getattr(nn_of_lamp, name) is getattr(lamp.losses, name)


@pytest.mark.parametrize("package", ["lamp", "lamp.nn", "lamp.optim", "lamp.losses", "lamp.data"])
def test_every_name_of_torch_that_is_not_there_is_told(package):
    room, told = importlib.import_module(package), 0
    for name in {*dir(nn), *dir(nn.functional), *dir(torch.optim)}:
        if name.startswith("_") or hasattr(room, name):
            continue
        with pytest.raises(lamp.MissingNameError) as raised:
            getattr(room, name)
        assert f"{package} has no {name}" in str(raised.value)
        told += raised.value.fix is not None and "check the name" not in raised.value.fix
    assert told > 100


def test_a_name_that_is_imported_and_not_there():
    with pytest.raises(ImportError, match=r"lamp\.nn\.Conv2d") as raised:
        from lamp.nn import Conv2D  # noqa: F401
    assert isinstance(raised.value, lamp.LampError)
    with pytest.raises(ImportError, match="did you mean"):
        from lamp import Liner  # noqa: F401
    assert not hasattr(lamp, "Conv2D")
    assert not hasattr(lamp, "__nothing__")


# ---- calls -----------------------------------------------------------------------------------------------------------
def test_inputs_by_name():
    model, x = two(), torch.randn(5, 3)
    assert torch.equal(model(input=x), model(x))
    assert torch.equal(model[0](x=x), model[0](x))
    labels = torch.tensor([0, 1, 2, 3, 0])
    loss = lamp.CrossEntropyLoss()
    assert loss(input=model(x), target=labels) == loss(model(x), labels)
    model.zero_grad()
    loss(input=model(input=x), target=labels)
    model.backward(loss.backward())
    by_name = model[0].weight.grad.clone()
    model.zero_grad()
    loss(model(x), labels)
    model.backward(loss.backward())
    assert torch.equal(model[0].weight.grad, by_name)

    class Masked(lamp.Module):
        def forward(self, x, *, mask=None):
            return x if mask is None else x * mask

    assert torch.equal(Masked()(x, mask=2.0), 2 * x)
    assert torch.equal(lamp.Sequential(Masked())(input=x), x)


def test_forwards_name_their_inputs_as_torch_does():
    """This holds for all modules and losses that torch.nn has too."""
    kinds = [getattr(package, name) for package in (lamp.nn, lamp.losses) for name in package.__all__]
    pairs = [(kind, getattr(torch.nn, kind.__name__)) for kind in kinds if hasattr(torch.nn, kind.__name__)]
    assert len(pairs) > 40
    for kind, twin in pairs:
        if kind is lamp.Container:  # torch.nn.Container is something else
            continue
        own, theirs = (
            [p.name for p in inspect.signature(each.forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
            for each in (kind, twin)
        )
        assert own == theirs, kind.__name__
    for kind in (each for each in kinds if not hasattr(torch.nn, each.__name__)):
        first = list(inspect.signature(kind.forward).parameters)[1]
        assert first in ("input", "inputs"), kind.__name__


@pytest.mark.parametrize("case", [*MODULES, *LOSSES], ids=str)
def test_every_module_and_loss_is_called_by_name(case):
    module = case.make().double()
    given = (case.input(),) if hasattr(case, "shape") else case.pair()
    expected = module(*given)
    for first in ("input", "x", "output"):
        named = dict(zip((first, "target"), given, strict=False))
        assert equal(module(**named), expected)
        if len(given) == 2:
            assert torch.equal(module(given[0], target=given[1]), expected)
    with pytest.raises(lamp.ArgumentError, match="label="):
        module(*given, label=1)


def test_a_target_by_name_where_a_network_ends_in_its_loss():
    model = lamp.Sequential(lamp.Linear(3, 2), lamp.MSELoss())
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    for network in (model, lamp.population(model, range(2))):
        expected = network(x, y)
        for found in (network(input=x, target=y), network(x, target=y), network(target=y, input=x)):
            assert all(map(torch.equal, found, expected))
        with pytest.raises(lamp.ArgumentError, match="does not take these arguments"):
            network(target=y)


def test_a_traceback_shows_the_users_own_lines():
    class Own(lamp.Module):
        def __init__(self):
            self.inner = lamp.Sequential(lamp.Linear(3, 4))

        def forward(self, x):
            return self.inner(x)

    def called():
        Own()(torch.ones(2, 5))

    try:
        called()
    except lamp.ShapeError as error:
        shown = "".join(traceback.format_exception(error))
    assert "called()" in shown
    assert "return self.inner(x)" in shown
    assert "lamp/nn" not in shown
    assert "During handling" not in shown
    assert len(shown.splitlines()) < 16


def test_to_takes_non_blocking():
    module = lamp.Linear(2, 3)
    assert module.to("cpu", non_blocking=True) is module


# ---- data sets and results -------------------------------------------------------------------------------------------
def test_data_sets_are_added():
    x, y = torch.randn(5, 3), torch.arange(5) % 2
    one, other = lamp.Dataset(x, y, "left", ["a", "b"]), lamp.Dataset(-x[:2], 1 - y[:2], "right", ["a", "b"])
    both = one + other
    assert torch.equal(both.inputs, torch.cat([x, -x[:2]]))
    assert torch.equal(both.targets, torch.cat([y, 1 - y[:2]]))
    assert (both.name, both.classes, (one + one).name) == ("left + right", ("a", "b"), "left")
    assert torch.equal(sum([one, other]).inputs, both.inputs)


def test_results_have_a_length():
    x, y = torch.randn(12, 2), torch.arange(12) % 2
    study = {"criterion": lamp.CrossEntropyLoss(), "epochs": 1, "progress": False}
    model = lamp.Linear(2, 2)
    assert len(lamp.sweep(model, {"lr": [0.1, 0.2, 0.3]}, (x, y), **study)) == 3
    assert len(lamp.cross_validate(model, (x, y), folds=4, **study)) == 4


def test_a_history_equals_itself_alone():
    x, y = torch.randn(12, 2), torch.arange(12) % 2

    def history():
        model = lamp.Linear(2, 2)
        return lamp.fit(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters()), (x, y), epochs=2, progress=False)

    one, other = history(), history()
    assert one == one
    assert one != other
    assert [other, one].index(one) == 1


def test_options_by_other_libraries_names_are_told():
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.LeakyReLU(), lamp.Dropout(0.5))
    model[1].alpha, model[2].rate = 0.3, 0.1
    with pytest.warns(lamp.TrainingWarning) as told:
        lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters()), (torch.randn(5, 3), torch.randn(5, 4)), epochs=1)
    texts = [str(each.message) for each in told]
    assert len(texts) == 2
    assert "LeakyReLU" in texts[0]
    assert "module.negative_slope = ..." in texts[0]
    assert "rate = 0.1 is read by nothing. Fix: module.p = ..." in texts[1]


@pytest.mark.parametrize("name", ["trainable", "requires_grad"])
def test_an_attribute_that_freezes_nothing_is_told(name):
    model = two()
    setattr(model[0], name, False)
    criterion, data = lamp.MSELoss(), (torch.randn(5, 3), torch.randn(5, 4))
    with pytest.warns(lamp.TrainingWarning, match=rf"Linear.*{name} = False freezes nothing.*requires_grad_\(False\)"):
        lamp.fit(model, criterion, lamp.SGD(model.parameters()), data, epochs=1, progress=False)
