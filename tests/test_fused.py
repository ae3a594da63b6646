"""Formulas of large tensors in machine code: the numbers of torch's calls, only where they are asked for."""

import math
import subprocess
import sys

import pytest
import torch

import lamp
from lamp import fused
from lamp.compiler import disk_cache
from lamp.compiler.backends.cpu import openmp
from lamp.fused import MOST, SMALLEST
from lamp.nn import Activation
from tests.cases.modules import ACTIVATIONS

FUSED = [case for case in ACTIVATIONS if isinstance(made := case.make(), Activation) and made.fused_from < math.inf]
SIZE = 3 * 32768 + 5  # three threads would share it, and the last vector overlaps with the one before
SPECIAL = [0.0, -0.0, math.nan, math.inf, -math.inf, 1e30, -1e30, 1e-40, -1e-40, 3.0, -3.0, 6.0, 0.5, -0.5, 20.0, 88.8]

pytestmark = pytest.mark.skipif(not openmp.addresses(), reason="torch has no OpenMP that kernels can use")


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch):
    """Kernels are compiled anew; each test sees its own."""
    monkeypatch.setattr(fused, "_kernels", {})
    monkeypatch.setattr(fused, "_counts", {})


def kernels():
    """The names of the formulas that were compiled."""
    return [key[1] for key, kernel in fused._kernels.items() if kernel is not None]


def both_ways(activation, x, dy):
    return activation(x), activation.backward(dy)


def by_torch(activation, x, dy):
    """The same by torch's calls."""
    found = []
    for part, of_part in zip(x.flatten().split(1000), dy.flatten().split(1000), strict=True):
        found.append(both_ways(activation, part, of_part))
    return [torch.cat(each).view(x.shape) for each in zip(*found, strict=True)]


@pytest.mark.parametrize("case", FUSED, ids=str)
class TestActivations:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_numbers_are_those_of_torchs_calls(self, case, dtype):
        activation = case.make()
        x, dy = torch.randn(SIZE, dtype=dtype) * 4.0, torch.randn(SIZE, dtype=dtype)
        x[: len(SPECIAL)] = x[-len(SPECIAL) :] = torch.tensor(SPECIAL, dtype=dtype)
        found = both_ways(activation, x, dy)
        assert "_product" in kernels()
        for own, theirs in zip(found, by_torch(activation, x, dy), strict=True):
            eps = torch.finfo(dtype).eps
            torch.testing.assert_close(own, theirs, rtol=16 * eps, atol=16 * eps, equal_nan=True)

    def test_gradients_are_those_of_autograd(self, case):
        x, dy = torch.randn(SIZE, dtype=torch.float64) * 4.0, torch.randn(SIZE, dtype=torch.float64)
        variable = x.clone().requires_grad_()
        y = case.make_torch()(variable)
        y.backward(dy)
        for own, theirs in zip(both_ways(case.make(), x, dy), (y.detach(), variable.grad), strict=True):
            rtol = 1e-7 if case.name.startswith("Hardsigmoid") else 1e-10  # torch's derivative is 1/6 in float32
            torch.testing.assert_close(own, theirs, rtol=rtol, atol=1e-13)

    def test_bits_do_not_depend_on_threads_and_places(self, case):
        activation, before = case.make(), torch.get_num_threads()
        x, dy = torch.randn(2, SIZE), torch.randn(2, SIZE)
        y = activation(x)
        reads = activation.reads or activation.remembers
        dx = activation._dx(dy, x if "x" in reads else None, y if "y" in reads else None)
        try:
            torch.set_num_threads(3)
            for rows in (slice(0, 2), slice(1, 2)):
                read = (x[rows] if "x" in reads else None, y[rows] if "y" in reads else None)
                assert torch.equal(activation._dx(dy[rows], *read), dx[rows])
        finally:
            torch.set_num_threads(before)


def test_a_tensor_is_left_to_torch_unless_a_kernel_can_read_it():
    class Marked(torch.Tensor):
        pass

    activation = lamp.GELU()
    x, dy = torch.randn(80, 100), torch.randn(80, 100)
    for input, gradient in (
        (x[:40, :50], dy[:40, :50]),
        (x.t(), dy.t()),
        (x, dy[:1].expand(80, 100)),
        (x, dy.double()),
        (x.as_subclass(Marked), dy),
        (x[:40], dy[:40]),
    ):
        activation(input)
        dx = activation.backward(gradient)
        assert not kernels()
        lamp_dx = both_ways(activation, input[3].clone(), gradient[3].clone())[1]
        torch.testing.assert_close(dx[3], lamp_dx, check_dtype=False)
    both_ways(activation, x, dy)
    assert kernels() == ["_product"]


def test_an_option_that_changes_is_heeded():
    activation, x = lamp.ELU(), -torch.rand(SMALLEST)
    for alpha in (1.0, 0.5, 2, 0.5):
        activation.alpha = alpha
        activation(x)
        torch.testing.assert_close(activation.backward(torch.ones_like(x)), alpha * x.exp())
    assert len(kernels()) == 3
    for alpha in (torch.tensor(3.0), [4.0], math.nan):
        activation.alpha = alpha
        fused.fused(activation._product, x, x, None)
    assert len(kernels()) == 3


def test_an_option_that_changes_at_each_step_compiles_few_kernels(monkeypatch):
    compiled = []
    monkeypatch.setattr(fused, "compile_formula", lambda key, *_: compiled.append(key))
    for k in range(3 * MOST):
        both_ways(lamp.LeakyReLU(k / 100.0), torch.randn(SMALLEST), torch.randn(SMALLEST))
    assert len(compiled) == MOST


def test_a_users_formula_runs_itself(monkeypatch):
    class Steep(lamp.GELU):
        def dsigma(self, x, y):
            return super().dsigma(x, y) * 2.0

    class Inherits(lamp.GELU):
        pass

    x, ones = torch.randn(SMALLEST), torch.ones(SMALLEST)
    plain, on_instance = lamp.GELU(), lamp.GELU()
    dx = by_torch(plain, x, ones)[1]
    on_instance.dsigma = lambda x, y: plain.dsigma(x, y) * 2.0
    torch.testing.assert_close(both_ways(Inherits(), x, ones)[1], dx)
    torch.testing.assert_close(both_ways(Steep(), x, ones)[1], dx * 2.0)
    torch.testing.assert_close(both_ways(on_instance, x, ones)[1], dx * 2.0)
    assert not kernels()
    torch.testing.assert_close(both_ways(plain, x, ones)[1], dx)
    assert kernels() == ["_product"]
    for name in ("dsigma", "dsigma_of_tensor"):
        with monkeypatch.context() as patched:
            patched.setattr(lamp.GELU, name, lambda self, x, y: x * 3.0)
            torch.testing.assert_close(both_ways(plain, x, ones)[1], x * 3.0)
    torch.testing.assert_close(both_ways(plain, x, ones)[1], dx)


def test_a_second_process_finds_the_machine_code_on_the_disk(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMP_CACHE_DIR", str(tmp_path / "kernels"))
    x, dy = torch.randn(SMALLEST), torch.randn(SMALLEST)
    first = both_ways(lamp.SELU(), x, dy)
    (entry,) = disk_cache.entries()
    fused._kernels.clear()
    monkeypatch.setattr("lamp.compiler.backends.cpu.elementwise.text_of", None)  # what would write it
    for own, before in zip(both_ways(lamp.SELU(), x, dy), first, strict=True):
        assert torch.equal(own, before)
    assert [each.path for each in disk_cache.entries()] == [entry.path]


def test_small_tensors_and_predictions_import_no_compiler():
    code = f"""
import sys, torch, lamp
network = lamp.Sequential(lamp.Linear(8, 8), lamp.GELU(), lamp.ReLU())
network.backward(network(torch.randn({SMALLEST // 16}, 8)))
network.eval()(torch.randn({SMALLEST}, 8))
assert "llvmlite" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
