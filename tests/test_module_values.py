"""Forward gives torch.nn's values for inputs with any strides, and does not change its input."""

import inspect

import pytest
import torch

import lamp.nn
from lamp.module import Module
from tests.cases.convolutions import LAZY
from tests.cases.module_case import detached, equal, error, like
from tests.cases.modules import MODULES
from tests.cases.several import SEVERAL
from tests.test_attention import TRANSFORMERS


@pytest.mark.parametrize("case", MODULES, ids=str)
class TestForward:
    def test_value(self, case):
        module, twin = case.pair()
        x = case.input()
        assert error(module(x), detached(twin(x))) < case.tolerance

    def test_value_in_eval_mode(self, case):
        module, twin = case.pair()
        x = case.input()
        assert error(module.eval()(x), detached(twin.eval()(x))) < case.tolerance

    @pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
    def test_value_in_float32(self, case):
        module, twin = case.pair()
        x = case.input(torch.float32)
        assert error(module.float()(x), detached(twin.float()(x))) < 1e-5

    def test_transposed_input(self, case):
        module, twin = case.pair()
        x = case.input().mT.contiguous().mT if len(case.shape) > 1 else case.input()
        assert len(case.shape) < 2 or 1 in case.shape or not x.is_contiguous()
        assert error(module(x), detached(twin(x))) < case.tolerance

    def test_strided_input(self, case):
        module, twin = case.pair()
        x = torch.stack([case.input(), case.input()], dim=-1)[..., 0]
        assert error(module(x), detached(twin(x))) < case.tolerance

    def test_input_is_not_modified(self, case):
        module, _ = case.pair()
        x = case.input()
        before = x.clone()
        y = module(x)
        module.backward(like(y))
        assert torch.equal(x, before)

    def test_same_input_same_output(self, case):
        module, _ = case.pair()
        x = case.input()
        assert equal(module(x), module(x))


def test_every_public_module_has_a_row():
    public = {getattr(lamp.nn, name) for name in lamp.nn.__all__}
    modules = {kind for kind in public if issubclass(kind, Module) and not inspect.isabstract(kind)}
    made = [*(case.make() for case in MODULES), *(case.make() for case in SEVERAL)]
    in_rows = {type(module) for each in made for module in each.modules()}
    elsewhere = {lamp.LinearCrossEntropyLoss, lamp.AdaptiveLogSoftmaxWithLoss, *LAZY}
    elsewhere |= {lamp.MaxUnpool1d, lamp.MaxUnpool2d, lamp.MaxUnpool3d}
    elsewhere |= {lamp.FractionalMaxPool2d, lamp.FractionalMaxPool3d}  # they have tests of their own
    elsewhere |= {lamp.ModuleList, lamp.ModuleDict}  # they compute nothing
    elsewhere |= TRANSFORMERS
    assert modules - in_rows - elsewhere == {lamp.nn.Activation, lamp.nn.Container}, (
        "a module without a row in tests/cases/modules.py"
    )


def test_public_names_are_sorted_and_exist():
    assert len(set(lamp.nn.__all__)) == len(lamp.nn.__all__)
    assert all(hasattr(lamp.nn, name) for name in lamp.nn.__all__)
