"""Initialisations draw the same bits as torch.nn.init, and have the documented moments."""

import inspect
import math

import pytest
import torch
from torch import nn

import lamp.nn as L
from lamp import init
from lamp.errors import ArgumentError, DTypeError, ShapeError

ROWS = [
    ("uniform_", {}),
    ("uniform_", {"a": -0.3, "b": 2.0}),
    ("normal_", {}),
    ("normal_", {"mean": 1.5, "std": 0.2}),
    ("constant_", {"val": 0.7}),
    ("zeros_", {}),
    ("ones_", {}),
    ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 1.7}),
    ("xavier_normal_", {}),
    ("xavier_normal_", {"gain": init.calculate_gain("tanh")}),
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {}),
    ("kaiming_normal_", {"a": 0.2, "mode": "fan_out"}),
    ("kaiming_normal_", {"nonlinearity": "selu"}),
    ("orthogonal_", {}),
    ("orthogonal_", {"gain": 0.6}),
]
SHAPES = [(7, 4), (4, 7), (5, 5), (1, 6), (6, 2, 3), (3, 4, 2, 5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "options"), ROWS)
def test_bits_are_those_of_torch(name, options, shape, dtype):
    torch.manual_seed(3)
    expected = getattr(nn.init, name)(torch.empty(shape, dtype=dtype), **options)
    state = torch.get_rng_state()
    torch.manual_seed(3)
    tensor = torch.empty(shape, dtype=dtype)
    assert getattr(init, name)(tensor, **options) is tensor, "an initialisation fills in place"
    assert torch.equal(tensor, expected)
    assert torch.equal(torch.get_rng_state(), state), "it drew more or fewer numbers"
    tensor.zero_()
    getattr(init, name)(tensor, **options, generator=torch.Generator().manual_seed(3))
    assert torch.equal(tensor, expected), "another generator of the same seed gives the same"


def test_every_initialisation_has_a_row():
    functions = {name for name, value in vars(init).items() if name.endswith("_") and inspect.isfunction(value)}
    functions.discard("__getattr__")
    assert functions - {name for name, _ in ROWS} == {"lecun_uniform_"}


def test_lecun_uniform_is_torchs_kaiming_of_gain_one():
    torch.manual_seed(3)
    expected = nn.init.kaiming_uniform_(torch.empty(3, 5), nonlinearity="linear")
    torch.manual_seed(3)
    assert torch.equal(init.lecun_uniform_(torch.empty(3, 5)), expected)


class TestMoments:
    shape = (300, 200)

    def moments(self, function, **options):
        tensor = function(torch.empty(self.shape, dtype=torch.float64), **options)
        spread = 1.0 / math.sqrt(tensor.numel())
        std = float(tensor.std())
        assert abs(float(tensor.mean())) < 4 * std * spread
        return std, 4 * std * spread, float(tensor.abs().max())

    def test_xavier(self):
        for function in (init.xavier_normal_, init.xavier_uniform_):
            std, allowed, _ = self.moments(function, gain=1.3)
            assert abs(std - 1.3 * math.sqrt(2 / 500)) < allowed

    @pytest.mark.parametrize(("mode", "fan"), [("fan_in", 200), ("fan_out", 300)])
    def test_kaiming(self, mode, fan):
        for function in (init.kaiming_normal_, init.kaiming_uniform_):
            std, allowed, _ = self.moments(function, mode=mode, nonlinearity="relu")
            assert abs(std - math.sqrt(2 / fan)) < allowed

    def test_lecun_uniform(self):
        std, allowed, largest = self.moments(init.lecun_uniform_)
        assert abs(std - 1 / math.sqrt(200)) < allowed
        assert 0.99 * math.sqrt(3 / 200) < largest <= math.sqrt(3 / 200)

    def test_normal_and_uniform(self):
        std, allowed, _ = self.moments(init.normal_, std=0.3)
        assert abs(std - 0.3) < allowed
        std, allowed, largest = self.moments(init.uniform_, a=-0.2, b=0.2)
        assert abs(std - 0.2 / math.sqrt(3)) < allowed
        assert 0.199 < largest <= 0.2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal_is_orthogonal(shape):
    matrix = init.orthogonal_(torch.empty(shape, dtype=torch.float64), gain=2.0).flatten(1) / 2.0
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64), rtol=0, atol=1e-12)


def test_orthogonal_of_nothing():
    assert init.orthogonal_(torch.empty(0, 3)).shape == (0, 3)


class TestGains:
    @pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
    def test_gains_are_torchs(self, name):
        assert init.calculate_gain(name) == nn.init.calculate_gain(name)

    @pytest.mark.parametrize("slope", [0.0, 0.2, 1, math.sqrt(5)])
    def test_leaky_relu(self, slope):
        assert init.calculate_gain("leaky_relu", slope) == nn.init.calculate_gain("leaky_relu", slope)

    def test_unknown(self):
        with pytest.raises(ArgumentError, match="leaky_relu") as caught:
            init.calculate_gain("gelu")
        assert "got       gelu" in str(caught.value)


class TestErrors:
    @pytest.mark.parametrize(
        "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "orthogonal_"]
    )
    @pytest.mark.parametrize("shape", [(), (3,)])
    def test_no_fans_without_two_axes(self, name, shape):
        with pytest.raises(ShapeError, match="fan in and fan out need a weight"):
            getattr(init, name)(torch.empty(shape))

    def test_unknown_mode_or_nonlinearity(self):
        with pytest.raises(ArgumentError, match="'fan_in' or 'fan_out'"):
            init.kaiming_normal_(torch.empty(3, 4), mode="fan_avg")
        with pytest.raises(ArgumentError, match="no gain is known"):
            init.kaiming_uniform_(torch.empty(3, 4), nonlinearity="swish")


def build(package):
    return package.Sequential(
        package.Linear(3, 8),
        package.Dropout(0.2),
        package.Sequential(package.Linear(8, 5, bias=False), package.PReLU(5)),
        package.Linear(5, 2),
    )


class TestNetworks:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_same_seed_same_bits_as_torch(self, dtype):
        torch.manual_seed(11)
        twin = nn.Sequential(nn.Linear(3, 8, dtype=dtype), nn.Linear(8, 2, dtype=dtype))
        torch.manual_seed(11)
        model = L.Sequential(L.Linear(3, 8, dtype=dtype), L.Linear(8, 2, dtype=dtype))
        assert all(torch.equal(model.state_dict()[key], value) for key, value in twin.state_dict().items())

    def test_a_network_with_dropout_draws_what_torchs_draws(self):
        torch.manual_seed(11)
        twin, state = build(nn), torch.get_rng_state()
        torch.manual_seed(11)
        model = build(L)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(model.state_dict()[key], value) for key, value in twin.state_dict().items())

    def test_reset_parameters_is_a_network_of_that_seed(self):
        torch.manual_seed(11)
        twin = build(nn)
        model = build(L)
        model.reset_parameters(generator=torch.Generator().manual_seed(11))
        assert all(torch.equal(model.state_dict()[key], value) for key, value in twin.state_dict().items())

    def test_reset_parameters_without_a_generator_uses_torchs(self):
        model = build(L)
        model(torch.randn(4, 3))
        torch.manual_seed(11)
        model.reset_parameters()
        assert all(
            torch.equal(own, new)
            for own, new in zip(model.state_dict().values(), self.of_seed(11).state_dict().values(), strict=True)
        )

    def of_seed(self, seed):
        torch.manual_seed(seed)
        return build(L)

    def test_reset_parameters_keeps_views_and_flat_buffers(self):
        model = build(L)
        parameters = model.parameters()
        storage = parameters[0].data.untyped_storage().data_ptr()
        model.reset_parameters()
        assert all(parameter.data.untyped_storage().data_ptr() == storage for parameter in model.parameters())

    def test_linear_with_an_initialisation_of_its_own(self):
        torch.manual_seed(11)
        layer = L.Linear(4, 3, init=init.xavier_normal_)
        torch.manual_seed(11)
        assert torch.equal(layer.weight.data, nn.init.xavier_normal_(torch.empty(3, 4)))
        assert not layer.bias.data.any()

    def test_linear_keeps_its_initialisation_when_reset(self):
        layer = L.Linear(4, 3, init=lambda tensor, generator=None: init.uniform_(tensor, 5.0, 6.0, generator=generator))
        layer.bias.data.fill_(1.0)
        layer.reset_parameters(generator=torch.Generator().manual_seed(2))
        assert ((layer.weight.data >= 5.0) & (layer.weight.data <= 6.0)).all()
        assert not layer.bias.data.any()


# ---- what cannot be meant --------------------------------------------------------------------------------------------
WRONG = [
    ("uniform_", {"a": "0"}),
    ("uniform_", {"a": 1.0, "b": 0.0}),
    ("uniform_", {"a": math.nan}),
    ("uniform_", {"b": math.inf}),
    ("uniform_", {"generator": 3}),
    ("normal_", {"mean": None}),
    ("normal_", {"mean": [0.0]}),
    ("normal_", {"std": -0.1}),
    ("normal_", {"std": math.nan}),
    ("normal_", {"std": torch.ones(3)}),
    ("constant_", {"val": "1"}),
    ("constant_", {"val": None}),
    ("constant_", {"val": True}),
    ("xavier_uniform_", {"gain": "relu"}),
    ("xavier_normal_", {"gain": -1.0}),
    ("xavier_normal_", {"gain": 1j}),
    ("kaiming_uniform_", {"a": "relu"}),
    ("kaiming_normal_", {"mode": "fan_avg"}),
    ("kaiming_normal_", {"nonlinearity": ["relu"]}),
    ("orthogonal_", {"gain": "x"}),
]


@pytest.mark.parametrize(("name", "options"), WRONG)
def test_a_number_of_a_wrong_kind_is_named(name, options):
    with pytest.raises(ArgumentError) as caught:
        getattr(init, name)(torch.empty(4, 3), **options)
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    assert (name in str(caught.value)) or set(options) & {"mode", "nonlinearity"}


@pytest.mark.parametrize("name", [name for name in dir(init) if name.endswith("_") and not name.startswith("_")])
def test_only_floating_point_tensors_are_filled(name):
    options = {"val": 1.0} if name == "constant_" else {}
    layer = L.Linear(3, 4)
    for wrong in (layer, [[1.0]], layer.weight.data.numpy(), torch.zeros(4, 3, dtype=torch.int64), None):
        with pytest.raises(DTypeError, match=name):
            getattr(init, name)(wrong, **options)
    getattr(init, name)(layer.weight, **options)


def test_numbers_of_numpy_and_tensors_are_numbers():
    a, b = (
        init.normal_(torch.empty(5, 3), std=std, generator=torch.Generator().manual_seed(1))
        for std in (torch.tensor(2.0), 2)
    )
    assert torch.equal(a, b)


def test_orthogonal_in_half_precision():
    tensor = init.orthogonal_(torch.empty(4, 4, dtype=torch.float16)).double()
    assert torch.allclose(tensor @ tensor.t(), torch.eye(4, dtype=torch.float64), atol=5e-3)


@pytest.mark.parametrize("returned", ["weights", 3.0, torch.ones(5), torch.ones(()), [[1.0]]], ids=repr)
def test_an_init_that_returns_something_else_is_told(returned):
    with pytest.raises(ArgumentError, match="init did not return values"):
        L.Linear(3, 4, init=lambda tensor, generator=None: returned)
    layer = L.Linear(3, 4, init=lambda tensor, generator=None: torch.full((4, 3), 0.5))
    assert bool((layer.weight.data == 0.5).all())
