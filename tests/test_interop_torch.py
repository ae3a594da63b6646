"""A network moved to torch.nn and back has the same outputs, gradients and shared parameters."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

import lamp
from lamp.interop import torch as bridge
from lamp.interop.scaling import rescaling, standardising
from tests.cases.convolutions import LAZY
from tests.cases.losses import LOSSES
from tests.cases.module_case import detached, equal, error, gradients, like, stacked
from tests.cases.modules import MODULES
from tests.test_attention import TRANSFORMERS
from tests.test_sample_losses import CASES as SAMPLE_LOSSES

# torch warns that the mean of KLDivLoss is not the divergence
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss:UserWarning")


def same_state(one, other):
    """Check that both have equal tensors under the same keys in the same order, and share no memory."""
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    for key, tensor in mine.items():
        assert torch.equal(tensor, theirs[key])
        assert tensor.dtype == theirs[key].dtype
        assert tensor.data_ptr() != theirs[key].data_ptr() or tensor.numel() == 0


def our_gradients(module, x, dy):
    module.zero_grad()
    module(x)
    dx = module.backward(dy)
    return [dx, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("case", MODULES, ids=str)
class TestModules:
    def test_from_torch(self, case):
        _, twin = case.pair()
        moved = lamp.from_torch(twin)
        assert repr(moved) == repr(case.make())
        same_state(moved, twin)
        x = case.input()
        if "Dropout" not in case.name:
            assert error(moved(x), detached(twin(x))) < case.tolerance
        assert error(moved.eval()(x), detached(twin.eval()(x))) < case.tolerance

    def test_to_torch(self, case):
        module, twin = case.pair()
        moved = lamp.to_torch(module)
        assert repr(moved) == repr(twin)
        same_state(module, moved)
        x = case.input()
        if "Dropout" not in case.name:
            assert equal(moved(x), twin(x))
        assert equal(moved.eval()(x), twin.eval()(x))

    def test_there_and_back(self, case):
        module, twin = case.pair()
        back = lamp.from_torch(lamp.to_torch(module))
        assert repr(back) == repr(module)
        same_state(back, module)
        again = lamp.to_torch(lamp.from_torch(twin))
        assert repr(again) == repr(twin)
        same_state(again, twin)
        if "Dropout" in case.name:
            return
        x = case.input()
        y = module(x)
        assert equal(back(x), y)
        dy = like(y)
        for one, other in zip(our_gradients(module, x, dy), our_gradients(back, x, dy), strict=True):
            assert equal(one, other)
        for one, other in zip(gradients(twin, x, dy=stacked([dy])), gradients(again, x, dy=stacked([dy])), strict=True):
            assert equal(one, other)

    def test_gradients_are_torchs(self, case):
        _, twin = case.pair()
        if "Dropout" in case.name:
            return
        moved, x = lamp.from_torch(twin), case.input()
        dy = like(moved(x))
        theirs = gradients(twin, x, dy=stacked([dy]))
        for one, other in zip(our_gradients(moved, x, dy), theirs, strict=True):
            assert other is None or error(one, other) < max(case.tolerance, 1e-10)


@pytest.mark.parametrize("case", LOSSES, ids=str)
def test_losses(case):
    criterion, twin = case.make(), case.make_torch()
    same_state(criterion, lamp.to_torch(criterion))
    moved, back = lamp.from_torch(twin), lamp.from_torch(lamp.to_torch(criterion))
    for each in (moved, back):
        assert type(each) is type(criterion)
        same_state(each, criterion)
    output, target = case.pair()
    given = output.clone().requires_grad_()
    loss = lamp.to_torch(criterion)(given, target)
    upstream = torch.randn_like(loss)
    (doutput,) = torch.autograd.grad(loss, given, upstream)
    for each in (moved, back):
        assert error(each(output, target), loss.detach()) < 1e-11
        assert error(each.backward(upstream), doutput) < 1e-10


def test_every_module_and_loss_has_its_counterpart():
    kinds = {type(module) for case in MODULES for module in case.make().modules()}
    kinds |= {type(case.make()) for case in LOSSES} | {type(case.make()) for case in SAMPLE_LOSSES}
    kinds |= {lamp.CTCLoss, lamp.nn.LinearCrossEntropyLoss, lamp.MaxUnpool1d, lamp.MaxUnpool2d, lamp.MaxUnpool3d}
    kinds |= {lamp.FractionalMaxPool2d, lamp.FractionalMaxPool3d, lamp.AdaptiveLogSoftmaxWithLoss}
    kinds |= {lamp.Bilinear, lamp.PairwiseDistance, lamp.CosineSimilarity}
    kinds |= LAZY | TRANSFORMERS
    assert {*bridge.TWINS, *bridge.ROWS.values()} == kinds


def test_a_network_that_ends_in_its_loss():
    network = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.CrossEntropyLoss(torch.rand(4), label_smoothing=0.2))
    network.double()
    moved = lamp.to_torch(network)
    x, labels = torch.randn(5, 3, dtype=torch.float64), torch.randint(0, 4, (5,))
    output, loss = network(x, labels)
    network.backward()
    their_output, their_loss = moved(x, labels)
    their_loss.backward()
    assert error(output, their_output.detach()) < 1e-12
    assert error(loss, their_loss.detach()) < 1e-12
    for one, other in zip(network.parameters(), moved.parameters(), strict=True):
        assert error(one.grad, other.grad) < 1e-12
    assert torch.equal(moved(x), their_output)
    assert list(moved.state_dict()) == ["0.weight", "0.bias", "2.weight"] == list(network.state_dict())
    back = lamp.from_torch(moved)
    assert repr(back) == repr(network)
    assert back.loss is back[-1]  # type: ignore[attr-defined]
    assert back.loss.label_smoothing == 0.2  # type: ignore[attr-defined]
    plain = nn.Sequential(nn.Linear(3, 4), nn.MSELoss())
    assert isinstance(lamp.from_torch(plain).loss, lamp.MSELoss)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    twin = nn.Sequential(nn.Linear(3, 4), nn.PReLU()).to(dtype)
    moved = lamp.from_torch(twin)
    same_state(moved, twin)
    same_state(lamp.to_torch(moved), moved)


def test_a_dtype_each():
    twin = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2).double())
    moved = lamp.from_torch(twin)
    same_state(moved, twin)
    same_state(lamp.to_torch(moved), moved)


def test_devices():
    twin = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.BCELoss(torch.rand(3))).to("meta")
    moved = lamp.from_torch(twin)
    assert {tensor.device.type for tensor in moved.state_dict().values()} == {"meta"}
    assert {tensor.device.type for tensor in lamp.to_torch(moved).state_dict().values()} == {"meta"}


def test_modes_stay_each_with_its_module():
    twin = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.7), nn.Tanh()))
    twin[1].eval()
    moved = lamp.from_torch(twin)
    modes = [module.training for module in twin.modules()]
    assert [module.training for module in moved.modules()] == modes
    assert len(set(modes)) == 2
    assert [module.training for module in lamp.to_torch(moved).modules()] == modes
    assert (moved[0].p, moved[1][0].p) == (0.3, 0.7)


def test_nothing_is_drawn_and_the_other_network_is_left_alone():
    twin, network = nn.Sequential(nn.Linear(30, 4), nn.PReLU(4)), lamp.Sequential(lamp.Linear(3, 4), lamp.Dropout(0.4))
    before, flat = torch.get_rng_state(), [id(span.buffer) for span in lamp.parameter.spans(network.parameters())]
    moved, theirs = lamp.from_torch(twin), lamp.to_torch(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert [id(span.buffer) for span in lamp.parameter.spans(network.parameters())] == flat
    kept = [tensor.clone() for tensor in twin.state_dict().values()]
    for parameter in moved.parameters():
        parameter.data.add_(1.0)
    assert all(map(torch.equal, kept, twin.state_dict().values()))
    kept = [tensor.clone() for tensor in network.state_dict().values()]
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(1.0)
    assert all(map(torch.equal, kept, network.state_dict().values()))


def test_what_is_shared_stays_shared():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    twin = nn.Sequential(OrderedDict(a=one, b=nn.Tanh(), c=other, d=one, e=nn.Sequential(nn.SELU(), one))).double()
    moved = lamp.from_torch(twin)
    for network in (moved, lamp.to_torch(moved), lamp.from_torch(lamp.to_torch(moved))):
        assert network.a is network.d is network.e[1]
        assert network.a.weight is network.c.weight
        assert network.a.bias is not network.c.bias
        assert len([*network.parameters()]) == 3
        assert list(network.state_dict()) == list(twin.state_dict())
    x = torch.randn(5, 4, dtype=torch.float64)
    y = moved(x)
    dy = torch.randn_like(y)
    for ours, theirs in zip(our_gradients(moved, x, dy), gradients(twin, x, dy=dy[None]), strict=True):
        assert error(ours, theirs) < 1e-11


def test_a_moved_network_trains_on():
    twin = nn.Sequential(nn.Linear(3, 6), nn.GELU("tanh"), nn.Linear(6, 2)).double()
    moved = lamp.from_torch(twin)
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 2, dtype=torch.float64)
    criterion, optimizer = lamp.MSELoss(), lamp.Adam(moved.parameters(), lr=0.01)
    theirs = torch.optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(5):
        criterion(moved(x), y)
        optimizer.zero_grad()
        moved.backward(criterion.backward())
        optimizer.step()
        theirs.zero_grad()
        nn.functional.mse_loss(twin(x), y).backward()
        theirs.step()
    for one, other in zip(moved.parameters(), twin.parameters(), strict=True):
        assert error(one.data, other.detach()) < 1e-11


def test_a_sequential_of_another_class():
    class Network(nn.Sequential):
        """A subclass without a forward."""

    moved = lamp.from_torch(Network(nn.Linear(3, 4), nn.ReLU(inplace=True)))
    assert repr(moved) == repr(lamp.Sequential(lamp.Linear(3, 4), lamp.ReLU()))
    network = type("Mine", (lamp.Sequential,), {})(lamp.Linear(3, 4))
    assert type(lamp.to_torch(network)) is nn.Sequential


def test_names_of_a_slice_stay():
    twin = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))[1:]
    assert list(lamp.from_torch(twin).state_dict()) == list(twin.state_dict())


# ---- standardised inputs -------------------------------------------------------------------------------------------
def test_layers_that_scale():
    mean, scale = torch.tensor([3.0, -2.0, 0.5]).double(), torch.tensor([2.0, 0.25, 7.0]).double()
    x, before = torch.randn(5, 3, dtype=torch.float64), torch.get_rng_state()
    standard, own = standardising(mean, scale, torch.float64), rescaling(mean, scale, torch.float64)
    assert torch.equal(torch.get_rng_state(), before)
    assert error(standard(x), (x - mean) / scale) < 1e-14
    assert error(own(x), x * scale + mean) < 1e-14
    network = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh()).double()
    whole = lamp.to_torch(lamp.Sequential(standard, *network))
    assert error(whole(x).detach(), network((x - mean) / scale)) < 1e-12
    assert standardising(2.0, 4.0)(torch.ones(2, 1)).tolist() == [[-0.25], [-0.25]]
    assert standardising([1, 2], 4).weight.dtype == torch.float32
    with pytest.raises(lamp.ArgumentError, match="scale"):
        standardising(mean, [1.0, 0.0, 1.0])


# ---- errors --------------------------------------------------------------------------------------------------------
class WithForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def hooked():
    linear = nn.Linear(3, 4)
    linear.register_forward_hook(lambda module, x, y: y * 2)
    return linear


def weight_norm():
    return nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))


def with_more():
    linear = nn.Linear(3, 4)
    linear.scale = nn.Parameter(torch.ones(4))
    return linear


def with_a_module():
    linear = nn.Linear(3, 4)
    linear.inner = nn.Tanh()
    return linear


def with_its_own_forward():
    tanh = nn.Tanh()
    tanh.forward = torch.sin
    return tanh


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: nn.SyncBatchNorm(3), ["no such module", "SyncBatchNorm(3", "Linear, LinearCross", "lamp.Module"]),
        (lambda: nn.ModuleDict(), ["ModuleDict()"]),
        (lambda: WithForward(3, 4), ["a forward of its own"]),
        (with_its_own_forward, ["a forward of its own"]),
        (hooked, ["forward hooks"]),
        (weight_norm, ["Linear"]),
        (with_more, ["scale", "remove"]),
        (with_a_module, ["modules inside"]),
        (lambda: nn.Softmax(), ["dim"]),
        (lambda: nn.ModuleList([nn.Linear(3, 4)]), ["ModuleList"]),
        (lambda: nn.Linear(3, 4, dtype=torch.complex64), ["floating-point"]),
    ],
)
def test_what_lamp_has_not(make, told):
    network = nn.Sequential(nn.Tanh(), nn.Sequential(OrderedDict(inner=make())))
    with pytest.raises(lamp.LampError) as raised:
        lamp.from_torch(network)
    text = str(raised.value)
    assert text.startswith("Sequential.1.inner: ")
    for each in told:
        assert each in text, text
    if type(make()) in (nn.ModuleList, nn.ModuleDict):
        return  # see test_lists_that_a_network_of_ones_own_calls
    with pytest.raises(lamp.LampError) as raised:
        lamp.from_torch(make())
    assert not raised.value.where.startswith("Sequential")


def test_lists_that_a_network_of_ones_own_calls():
    shared = nn.Linear(3, 3)
    theirs = nn.ModuleDict({"first": nn.ModuleList([shared, nn.Tanh(), shared]), "last": nn.Linear(3, 2).eval()})
    ours = lamp.from_torch(theirs)
    assert [type(each) for each in (ours, ours["first"])] == [lamp.ModuleDict, lamp.ModuleList]
    assert ours["first"][0] is ours["first"][2]
    assert [each.training for each in (ours, ours["first"], ours["last"])] == [True, True, False]
    again = lamp.to_torch(ours)
    assert repr(again) == repr(theirs)
    assert again["first"][0] is again["first"][2]
    for one, other, third in zip(*(each.state_dict().items() for each in (theirs, ours, again)), strict=True):
        assert one[0] == other[0] == third[0]
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[1], third[1])
    with pytest.raises(lamp.ArgumentError) as raised:
        lamp.from_torch(nn.ModuleList([nn.ModuleList([nn.SyncBatchNorm(3)])]))
    assert raised.value.where.startswith("ModuleList.0.0: SyncBatchNorm")
    with pytest.raises(lamp.ArgumentError, match="no such module"):
        lamp.to_torch(lamp.Sequential(lamp.ModuleList([lamp.Tanh()])))


def test_an_option_that_lamp_has_not_is_refused(monkeypatch):
    class Tanh(nn.Tanh):
        def __init__(self, slope=1.0):
            super().__init__()
            self.slope = slope

    monkeypatch.setitem(bridge.PAIRS, Tanh, lamp.Tanh)
    assert repr(lamp.from_torch(Tanh())) == "Tanh()"
    with pytest.raises(lamp.ArgumentError, match="no option slope"):
        lamp.from_torch(nn.Sequential(Tanh(2.0)))


def test_a_loss_in_the_middle():
    with pytest.raises(lamp.ArgumentError, match="a loss can only be the last module") as raised:
        lamp.from_torch(nn.Sequential(nn.Sequential(nn.MSELoss(), nn.Tanh())))
    assert raised.value.where.startswith("Sequential.0: ")


class Square(lamp.Module):
    def forward(self, x):
        self.remember(x)
        return x * x

    def backward(self, dy):
        return 2 * self.recall() * dy


class Cube(lamp.Activation):
    remembers = "x"

    def sigma(self, x):
        return x * x * x

    def dsigma(self, x, y):
        return 3 * x * x


@pytest.mark.parametrize("make", [Square, Cube])
def test_what_torch_has_not(make):
    with pytest.raises(lamp.ArgumentError) as raised:
        lamp.to_torch(lamp.Sequential(lamp.Tanh(), lamp.Sequential({"inner": make()})))
    assert raised.value.where == f"Sequential.1.inner: {make.__name__}()"
    assert "torch.nn has no such module" in str(raised.value)


def test_a_sequential_with_a_forward_of_its_own():
    class Residual(lamp.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    with pytest.raises(lamp.ArgumentError, match="forward of its own"):
        lamp.to_torch(Residual(lamp.Tanh()))

    class TheirResidual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    with pytest.raises(lamp.ArgumentError, match="forward of its own"):
        lamp.from_torch(TheirResidual(nn.Tanh()))


def test_populations_are_moved_network_by_network():
    network = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.HuberLoss(delta=2.0))
    population = lamp.population(network, seeds=range(3))
    for whole in (population, population.network):
        with pytest.raises(lamp.ArgumentError, match=r"population\[k\]"):
            lamp.to_torch(whole)
    moved = nn.ModuleList(lamp.to_torch(each) for each in population)
    x = torch.randn(5, 3)
    assert torch.equal(torch.stack([each(x) for each in moved]).detach(), torch.stack([each(x) for each in population]))
    numbers = lamp.population(
        lamp.Sequential(lamp.Linear(3, 4), lamp.HuberLoss(delta=torch.tensor([1.0, 2.0]))), seeds=range(2)
    )
    assert lamp.to_torch(numbers[1])[1].delta == 2.0


@pytest.mark.parametrize(
    ("move", "thing"),
    [(lamp.from_torch, lamp.Tanh()), (lamp.to_torch, nn.Tanh()), (lamp.from_torch, 3), (lamp.to_torch, nn.Tanh)],
)
def test_the_wrong_kind_of_thing(move, thing):
    with pytest.raises(lamp.ArgumentError, match="takes a"):
        move(thing)


def test_public_names():
    for name in ("from_torch", "to_torch", "to_onnx", "to_python"):
        assert name in dir(lamp)
        assert getattr(lamp, name).__doc__
