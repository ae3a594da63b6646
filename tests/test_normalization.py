"""BatchNorm1d beyond what every module is tested for: its running statistics are torch's, and errors are told."""

import pytest
import torch

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
