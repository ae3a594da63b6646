"""BatchNorm1d beyond what every module is tested for: its running statistics are torch's, and errors are told."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given

import lamp
from tests.cases.module_case import error
from tests.cases.normalization import NORMALIZATIONS

D = torch.float64


@pytest.mark.parametrize("case", NORMALIZATIONS, ids=str)
class TestRunningStatistics:
    def test_running_statistics_are_torchs(self, case):
        module, twin = case.pair()
        for rows in (5, 2, 9):
            x = torch.randn(rows, *case.shape[1:], dtype=D) * 3.0 - 1.0
            assert error(module(x), twin(x).detach()) < case.tolerance
        own, theirs = module.state_dict(), twin.state_dict()
        assert own.keys() == theirs.keys()
        for name, tensor in theirs.items():
            if tensor.is_floating_point():
                assert error(own[name], tensor) < case.tolerance, name
            else:
                assert torch.equal(own[name], tensor)
        module.eval(), twin.eval()
        x = torch.randn(4, *case.shape[1:], dtype=D)
        assert error(module(x), twin(x).detach()) < case.tolerance

    def test_eval_of_a_call_and_of_a_module(self, case):
        module, _ = case.pair()
        module(case.input())
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        x = case.input()
        with lamp.evaluating():
            within = module(x)
        assert torch.equal(within, module.eval()(x))
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())

    def test_reset_parameters_resets_the_statistics(self, case):
        module, _ = case.pair()
        fresh = {name: tensor.clone() for name, tensor in case.make().double().state_dict().items()}
        module(case.input())
        module.reset_parameters()
        assert all(torch.equal(fresh[name], buffer.data) for name, buffer in module.named_buffers())


def test_numbers_far_from_zero_in_float32():
    """The variance is not the difference of two large numbers."""
    module, twin = lamp.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    x = torch.randn(50, 3) + 1e4
    exact = (x.double() - x.double().mean(0)) / (x.double().var(0, correction=0) + 1e-5).sqrt()
    assert (module(x) - exact).abs().max() <= 2 * (twin(x).detach() - exact).abs().max() + 1e-5


def test_a_constant_channel_has_no_gradient_and_no_nan():
    module = lamp.BatchNorm1d(2).double()
    x = torch.tensor([[1.0, 5.0], [1.0, -5.0], [1.0, 2.0]], dtype=D)
    y = module(x)
    assert torch.equal(y[:, 0], torch.zeros(3, dtype=D))
    assert module.backward(torch.randn(3, 2, dtype=D)).isfinite().all()


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("shape", [(), (3,), (5, 4), (3, 5), (5, 4, 3), (2, 3, 4, 5)])
    @pytest.mark.parametrize("training", [True, False])
    def test_inputs_with_other_axes_are_refused(self, shape, training):
        with pytest.raises(lamp.ShapeError) as caught:
            lamp.BatchNorm1d(3).train(training)(torch.ones(shape))
        assert "(B, 3) or (B, 3, L)" in str(caught.value)
        assert f"got       {tuple(shape)}" in str(caught.value)

    @pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0)])
    def test_an_empty_batch_gives_an_empty_output_and_leaves_the_statistics(self, shape):
        module = lamp.BatchNorm1d(3)
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        assert module(torch.zeros(shape)).shape == shape
        assert module.backward(torch.zeros(shape)).shape == shape
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
        assert not module.weight.grad.any()

    @pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1)])
    def test_a_single_number_per_channel(self, shape):
        module = lamp.BatchNorm1d(3)
        with pytest.raises(lamp.ShapeError, match="more than 1 value per channel when training"):
            module(torch.ones(shape))
        assert module.num_batches_tracked.item() == 0
        assert module.eval()(torch.ones(shape)).shape == shape
        with pytest.raises(lamp.ShapeError, match="more than 1 value"):
            lamp.BatchNorm1d(3, track_running_stats=False).eval()(torch.ones(shape))

    def test_in_a_population(self):
        population = lamp.population(lamp.Sequential(lamp.Linear(2, 3), lamp.BatchNorm1d(3)), range(4))
        with pytest.raises(lamp.ShapeError, match="more than 1 value per channel"):
            population(torch.ones(1, 2))
        with pytest.raises(lamp.ShapeError, match=r"\(K, B, 3\) or \(K, B, 3, L\)"):
            population.network[1](torch.ones(5, 3))

    @pytest.mark.parametrize("module", [lamp.BatchNorm1d(3), lamp.BatchNorm1d(3, affine=False)], ids=repr)
    def test_dtype_and_device(self, module):
        with pytest.raises(lamp.DTypeError, match="float64"):
            module(torch.ones(5, 3, dtype=D))
        with pytest.raises(lamp.DeviceError):
            module(torch.ones(5, 3, device="meta"))
        assert module.num_batches_tracked.item() == 0

    @pytest.mark.parametrize(
        "arguments",
        [
            {"num_features": 0},
            {"num_features": 2.5},
            {"num_features": 3, "eps": -1.0},
            {"num_features": 3, "eps": float("nan")},
            {"num_features": 3, "momentum": "0.1"},
            {"num_features": 3, "affine": 1},
            {"num_features": 3, "bias": None},
            {"num_features": 3, "track_running_stats": "yes"},
            {"num_features": 3, "dtype": torch.int64},
        ],
        ids=str,
    )
    def test_arguments(self, arguments):
        with pytest.raises(lamp.LampError):
            lamp.BatchNorm1d(**arguments)

    def test_backward_in_eval_mode(self):
        module = lamp.BatchNorm1d(3).eval()
        module(torch.ones(5, 3))
        with pytest.raises(lamp.BackwardError, match="eval"):
            module.backward(torch.ones(5, 3))

    def test_exporters_refuse_statistics_of_the_batch(self, tmp_path):
        model = lamp.Sequential(lamp.Linear(2, 3), lamp.BatchNorm1d(3, track_running_stats=False))
        for export in (lamp.to_onnx, lamp.to_python):
            with pytest.raises(lamp.LampError, match=r"Sequential.1: BatchNorm1d"):
                export(model, tmp_path / "network")
        assert not list(tmp_path.iterdir())


# ---- any shape and options -------------------------------------------------------------------------------------------
def compare(module, twin, x, tolerance=1e-10):
    """Compare output and gradients with autograd's, and the state afterwards."""
    module.zero_grad()
    leaf = x.clone().requires_grad_()
    y, found = twin(leaf), module(x)
    assert error(found, y.detach()) < tolerance
    dy = torch.randn_like(y)
    wanted = torch.autograd.grad(y, [leaf, *twin.parameters()], dy)
    for own, other in zip([module.backward(dy), *(p.grad for p in module.parameters())], wanted, strict=True):
        assert float((own - other).abs().max()) < tolerance * (1.0 + float(other.abs().max()))
    for own, other in zip(module.state_dict().values(), twin.state_dict().values(), strict=True):
        assert error(own.double(), other.double()) < tolerance


def both(kind, *args, **options):
    module, twin = (getattr(package, kind)(*args, **options).double() for package in (lamp, torch.nn))
    for each in twin.parameters():
        torch.nn.init.normal_(each)
    module.load_state_dict(twin.state_dict())
    return module, twin


class Frozen(lamp.Module):
    """A network around a module in eval mode."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return self.inner(x)

    def backward(self, dy):
        return self.inner.backward(dy)

    def state_dict(self):
        return self.inner.state_dict()


EPS = st.sampled_from([1e-5, 1e-3, 0.5])


@given(
    kind=st.sampled_from(["BatchNorm", "InstanceNorm"]), sizes=st.lists(st.integers(1, 4), max_size=3),
    batch=st.integers(1, 4), channels=st.integers(1, 4), eps=EPS, affine=st.booleans(), bias=st.booleans(),
    momentum=st.sampled_from([None, 0.1, 0.7, 1.0, 0.0]), tracked=st.booleans(), steps=st.integers(0, 2),
    alone=st.booleans(),
)  # fmt: skip
def test_channels_of_any_shape(kind, sizes, batch, channels, eps, affine, bias, momentum, tracked, steps, alone):
    axes = max(len(sizes), 1)
    assume(sizes or kind == "BatchNorm")
    options = {"eps": eps, "momentum": momentum, "affine": affine, "track_running_stats": tracked, "bias": bias}
    module, twin = both(f"{kind}{axes}d", channels, **options)
    shape = (channels, *sizes) if alone and kind == "InstanceNorm" else (batch, channels, *sizes)
    count = math.prod(sizes) * (batch if kind == "BatchNorm" else 1)
    for _ in range(steps):
        x = torch.randn(shape, dtype=D) * 2.0 + 1.0
        if count == 1:
            with pytest.raises(lamp.ShapeError, match="more than 1 value"):
                module(x)
            break
        compare(module, twin, x)
    module.eval(), twin.eval()
    if count > 1 or tracked:
        compare(Frozen(module), twin, torch.randn(shape, dtype=D))


@given(
    lead=st.lists(st.integers(1, 4), max_size=3), last=st.lists(st.integers(1, 4), min_size=1, max_size=3), eps=EPS,
    affine=st.booleans(), bias=st.booleans(), root=st.booleans(),
)  # fmt: skip
def test_last_axes_of_any_shape(lead, last, eps, affine, bias, root):
    options = {"eps": eps, "elementwise_affine": affine} | ({} if root else {"bias": bias})
    module, twin = both("RMSNorm" if root else "LayerNorm", last, **options)
    compare(module, twin, torch.randn(*lead, *last, dtype=D))


@given(
    groups=st.integers(1, 3), size=st.integers(1, 3), batch=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 4), max_size=3), eps=EPS, affine=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_groups_of_any_shape(groups, size, batch, sizes, eps, affine, bias):
    assume(batch * size * math.prod(sizes) > 1)  # torch refuses a single number
    module, twin = both("GroupNorm", groups, groups * size, eps=eps, affine=affine, bias=bias)
    compare(module, twin, torch.randn(batch, groups * size, *sizes, dtype=D))


@given(
    size=st.integers(1, 7), channels=st.integers(1, 6), batch=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3), alpha=st.floats(0.01, 2.0), beta=st.floats(0.1, 2.0),
    k=st.floats(0.5, 2.0),
)  # fmt: skip
def test_windows_of_channels_of_any_size(size, channels, batch, sizes, alpha, beta, k):
    module, twin = both("LocalResponseNorm", size, alpha=alpha, beta=beta, k=k)
    compare(module, twin, torch.randn(batch, channels, *sizes, dtype=D))
