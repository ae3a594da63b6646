"""Lazy modules become the plain ones in their first forward, with torch's weights; before it they have none."""

import copy
import pickle

import pytest
import torch

import lamp
import lamp.nn as L
from tests.cases.module_case import error, gradients

CASES = [
    ("LazyLinear", (5, 3), {"out_features": 4}),
    ("LazyLinear", (2, 5, 3), {"out_features": 4, "bias": False}),
    ("LazyConv1d", (2, 4, 9), {"out_channels": 6, "kernel_size": 3, "groups": 2, "padding": "same"}),
    ("LazyConv2d", (3, 5, 6), {"out_channels": 4, "kernel_size": (3, 2), "padding_mode": "circular", "padding": 1}),
    ("LazyConv3d", (2, 3, 4, 5, 3), {"out_channels": 2, "kernel_size": 2, "stride": (1, 2, 1)}),
    ("LazyConvTranspose1d", (2, 3, 5), {"out_channels": 2, "kernel_size": 3, "stride": 2, "output_padding": 1}),
    ("LazyConvTranspose2d", (2, 4, 3, 4), {"out_channels": 6, "kernel_size": 2, "groups": 2, "bias": False}),
    ("LazyConvTranspose3d", (3, 2, 3, 2), {"out_channels": 2, "kernel_size": 2, "dilation": 2}),
    ("LazyBatchNorm1d", (5, 3), {"eps": 0.1}),
    ("LazyBatchNorm1d", (5, 3, 2), {"affine": False}),
    ("LazyBatchNorm2d", (5, 3, 2, 4), {"momentum": None, "bias": False}),
    ("LazyBatchNorm3d", (2, 3, 2, 1, 4), {"affine": False, "momentum": 0.3}),
    ("LazyInstanceNorm1d", (5, 3, 4), {}),
    ("LazyInstanceNorm2d", (5, 3, 2, 4), {"track_running_stats": False}),
    ("LazyInstanceNorm3d", (2, 3, 2, 1, 4), {"affine": False, "momentum": 0.3}),
]
cases = pytest.mark.parametrize(("kind", "shape", "options"), CASES)


def network():
    return lamp.Sequential(lamp.LazyConv2d(4, 3), lamp.Tanh(), lamp.Flatten(), lamp.LazyLinear(2))


@cases
def test_it_becomes_the_plain_module_with_torchs_weights(kind, shape, options):
    x = torch.randn(shape, dtype=torch.float64)
    module, twin = getattr(L, kind)(**options).double(), getattr(torch.nn, kind)(**options).double()
    assert repr(module) == repr(twin)
    torch.manual_seed(4)
    expected = twin(x).detach()
    torch.manual_seed(4)
    y = module(x)
    assert type(module) is getattr(L, kind.removeprefix("Lazy"))
    assert isinstance(getattr(L, kind)(**options), type(module))
    assert repr(module) == repr(twin)
    assert module.state_dict().keys() == twin.state_dict().keys()
    for own, other in zip(module.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other, rtol=0.0, atol=0.0 if "Norm" not in kind else 1e-14)
    assert error(y, expected) < 1e-12
    dy = torch.randn_like(y)
    found = [module.backward(dy), *(parameter.grad for parameter in module.parameters())]
    for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
        assert error(own, autograd) < 1e-11
    assert error(module(x), expected) < 1e-12  # the plain forward


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.parameters(),
        lambda model: list(model.named_parameters()),
        lambda model: model.state_dict(),
        lambda model: model.zero_grad(),
        lambda model: lamp.SGD([model[0].weight], lr=0.1),
        lambda model: lamp.population(model, range(2)),
        lambda model: lamp.stack([model, model]),
        lambda model: lamp.save(model, "never-written.safetensors"),
        lambda model: lamp.trace(model, (2, 1, 5, 5)),
        lambda model: lamp.summary(model, (2, 1, 5, 5)),
        lambda model: lamp.to_onnx(model, "never-written.onnx", input_shape=(1, 5, 5)),
        lambda model: model[0].backward(torch.ones(2)),
    ],
)
def test_who_needs_parameters_before_is_told(use):
    with pytest.raises(lamp.LampError) as caught:
        use(network())
    assert "forward" in str(caught.value)
    assert caught.value.fix is not None


def test_a_network_trains_once_it_was_called():
    torch.manual_seed(0)
    x, labels = torch.randn(40, 1, 6, 6), torch.randint(2, (40,))
    model = network()
    model.to("cpu")
    with lamp.evaluating():
        model(x[:1])
    optimizer = lamp.Adam(model.parameters(), lr=0.05)
    history = lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (x, labels), epochs=30, batch_size=20, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert len(lamp.population(model, range(2))[1].parameters()) == 4


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_lazy_too(duplicate):
    model = network().double()
    twin = duplicate(model)
    for each in (model, twin):
        y = each(torch.randn(3, 2, 5, 5, dtype=torch.float64))
        each.backward(torch.randn_like(y))
        assert each[0].in_channels == 2
    assert model[0].weight is not twin[0].weight
    assert duplicate(model)[3].in_features == 36


def test_a_frozen_one_stays_frozen():
    model = network()
    model[0].weight.requires_grad_(False)
    model(torch.randn(3, 2, 5, 5))
    assert [parameter.requires_grad for parameter in model.parameters()] == [False, True, True, True]


@cases
def test_who_needs_parameters_or_statistics_before_is_told(kind, shape, options):
    for use in (lambda model: model.state_dict(), lambda model: lamp.population(model, range(2))):
        with pytest.raises(lamp.ArgumentError, match="before its first forward"):
            use(lamp.Sequential(getattr(L, kind)(**options)))


@cases
def test_a_mode_and_a_dtype_that_were_set_before_hold(kind, shape, options):
    module, twin = getattr(L, kind)(**options).double().eval(), getattr(torch.nn, kind)(**options).double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    torch.manual_seed(4)
    y = module(x)
    torch.manual_seed(4)
    assert error(y, twin(x).detach()) < 1e-12
    assert not module.training


@cases
def test_conversion_before_the_first_forward(kind, shape, options):
    twin = getattr(torch.nn, kind)(**options).double()
    module = lamp.from_torch(twin)
    back = lamp.to_torch(module)
    assert repr(module) == repr(twin) == repr(back)
    x = torch.randn(shape, dtype=torch.float64)
    torch.manual_seed(4)
    y = module(x)
    torch.manual_seed(4)
    assert error(y, back(x).detach()) < 1e-12


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_a_sample_alone(shape):
    """Which torch's lazy module takes for a batch."""
    module = L.LazyInstanceNorm1d()
    y = module(torch.randn(shape))
    assert y.shape == shape
    assert module.num_features == 3


def test_one_without_parameters_and_statistics():
    """torch's keeps num_features=0."""
    module = L.LazyBatchNorm2d(affine=False, track_running_stats=False)
    plain = L.BatchNorm2d(3, affine=False, track_running_stats=False)
    x = torch.randn(5, 3, 2, 4)
    assert torch.equal(module(x), plain(x))
    assert repr(module) == repr(plain)
    assert not module.state_dict()


def test_torchs_lazy_modules_stay_lazy():
    parts = [torch.nn.LazyConv2d(4, 3), torch.nn.LazyBatchNorm2d(), torch.nn.Flatten(), torch.nn.LazyLinear(2)]
    twin = torch.nn.Sequential(*parts).double()
    model = lamp.from_torch(twin)
    back = lamp.to_torch(model)
    assert repr(model) == repr(twin) == repr(back)
    x = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    assert model(x).shape == back(x).shape == (3, 2)


@pytest.mark.parametrize(
    ("module", "x", "kind"),
    [
        (L.LazyLinear(3), torch.tensor(1.0), lamp.ShapeError),
        (L.LazyLinear(3), torch.ones(2, 3).long(), lamp.DTypeError),
        (L.LazyLinear(3), [1.0], lamp.DTypeError),
        (L.LazyConv2d(4, 3), torch.ones(5, 5), lamp.ShapeError),
        (L.LazyConv2d(4, 3, groups=2), torch.ones(1, 3, 5, 5), lamp.ArgumentError),
        (L.LazyConv1d(4, 3), torch.ones(2, 0, 5), lamp.ShapeError),
        (L.LazyBatchNorm1d(), torch.ones(5), lamp.ShapeError),
        (L.LazyBatchNorm2d(), torch.ones(2, 3, 4), lamp.ShapeError),
        (L.LazyInstanceNorm2d(), torch.ones(2, 3, 4).int(), lamp.DTypeError),
    ],
)
def test_a_wrong_first_input_leaves_it_lazy(module, x, kind):
    before = type(module)
    with pytest.raises(kind) as caught:
        module(x)
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    assert type(module) is before
