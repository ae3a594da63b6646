"""Errors of modules say what was wrong, expected and given, and the fix; nothing is broadcast silently."""

import math

import pytest
import torch

import lamp.nn as L
from lamp.errors import ArgumentError, DTypeError, LampError, ShapeError
from tests.cases.modules import ACTIVATIONS, LAYERS, NORMALIZATIONS

COMPUTING = [
    case
    for case in [*ACTIVATIONS, *LAYERS, *NORMALIZATIONS]
    if case.name.split("(")[0] not in ("Identity", "Flatten", "Unflatten")
]
CHECKED = [
    case for case in [*ACTIVATIONS, *LAYERS, *NORMALIZATIONS] if case.name.split("(")[0] not in ("Identity", "Linear")
]


def is_told_well(caught, *words):
    text = str(caught.value)
    assert all(f"\n  {label}" in text for label in ("expected", "got", "fix")), text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("case", COMPUTING, ids=str)
class TestNoNumbers:
    @pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
    def test_integers(self, case, dtype):
        with pytest.raises(DTypeError) as caught:
            case.make()(torch.ones(case.shape, dtype=dtype))
        is_told_well(caught, str(dtype))

    def test_integers_in_eval_mode(self, case):
        with pytest.raises(DTypeError):
            case.make().eval()(torch.ones(case.shape, dtype=torch.int64))

    @pytest.mark.parametrize("x", [[[1.0, 2.0, 3.0]], 1.5, None, "x", torch.Tensor], ids=repr)
    def test_no_tensor(self, case, x):
        with pytest.raises(DTypeError) as caught:
            case.make()(x)
        is_told_well(caught, type(x).__name__, "as_tensor")

    def test_an_array(self, case):
        with pytest.raises(DTypeError) as caught:
            case.make()(torch.ones(case.shape).numpy())
        is_told_well(caught, "ndarray")


@pytest.mark.parametrize("case", CHECKED, ids=str)
def test_a_gradient_of_another_shape(case):
    module = case.make()
    y = module(case.input().float())
    for shape in ((*y.shape, 1), (1, *y.shape), (1,) * y.dim() if y.numel() > 1 else (2,), y.shape[:-1] or (3,)):
        module(case.input().float())
        with pytest.raises(ShapeError) as caught:
            module.backward(torch.ones(shape))
        is_told_well(caught, str(tuple(y.shape)), str(tuple(shape)))


@pytest.mark.parametrize("case", CHECKED, ids=str)
def test_a_gradient_that_is_no_tensor(case):
    module = case.make()
    module(case.input().float())
    with pytest.raises((LampError, AttributeError)):
        module.backward(1.0)


class TestShapes:
    @pytest.mark.parametrize("shape", [(5, 4), (3, 5), (4,), (), (2, 3, 5)])
    def test_linear(self, shape):
        with pytest.raises(ShapeError) as caught:
            L.Linear(3, 2)(torch.ones(shape))
        is_told_well(caught, "(B..., 3)", str(tuple(shape)))

    @pytest.mark.parametrize("shape", [(5, 4), (3,), (), (4, 2, 3)])
    def test_prelu(self, shape):
        with pytest.raises(ShapeError) as caught:
            L.PReLU(3)(torch.ones(shape))
        is_told_well(caught, "(B, 3, ...)", str(tuple(shape)))

    @pytest.mark.parametrize("kind", [L.Softmax, L.LogSoftmax])
    @pytest.mark.parametrize("dim", [2, -3, 7])
    def test_softmax(self, kind, dim):
        with pytest.raises(ShapeError) as caught:
            kind(dim)(torch.ones(5, 3))
        is_told_well(caught, f"dim={dim}", "(5, 3)")

    @pytest.mark.parametrize(("start", "end"), [(1, -1), (0, 3), (-3, -1)])
    def test_flatten_without_the_axes(self, start, end):
        with pytest.raises(ShapeError) as caught:
            L.Flatten(start, end)(torch.ones(5))
        is_told_well(caught, "(5,)")

    def test_flatten_backwards(self):
        with pytest.raises(ShapeError) as caught:
            L.Flatten(2, 1)(torch.ones(5, 3, 2))
        is_told_well(caught, "axes 2 to 1")

    @pytest.mark.parametrize(("dim", "sizes"), [(1, (2, 4)), (3, (2, 3)), (1, (4, -1)), (-4, (6,))])
    def test_unflatten(self, dim, sizes):
        with pytest.raises(ShapeError) as caught:
            L.Unflatten(dim, sizes)(torch.ones(5, 6))
        is_told_well(caught, "(5, 6)")

    def test_no_tensor_to_flatten(self):
        for module in (L.Flatten(), L.Unflatten(0, (2, 3))):
            for input in ([1.0] * 6, None, torch.Tensor):
                with pytest.raises(DTypeError):
                    module(input)


class TestDtypes:
    @pytest.mark.parametrize("module", [L.Linear(3, 2), L.PReLU(3)], ids=repr)
    def test_another_than_the_parameters(self, module):
        with pytest.raises(DTypeError) as caught:
            module(torch.ones(5, 3, dtype=torch.float64))
        is_told_well(caught, "float64", "float32", ".to(")


@pytest.mark.parametrize(
    "build",
    [
        lambda: L.Linear(0, 2),
        lambda: L.Linear(3, -1),
        lambda: L.Linear(3.0, 2),
        lambda: L.PReLU(0),
        lambda: L.PReLU(2.5),
        lambda: L.ELU(0.0),
        lambda: L.ELU(-1.0),
        lambda: L.ELU(math.nan),
        lambda: L.CELU(0.0),
        lambda: L.Softplus(0.0),
        lambda: L.Softplus(beta=-2.0),
        lambda: L.GELU("erf"),
        lambda: L.Hardtanh(1.0, 1.0),
        lambda: L.Hardtanh(2.0, -2.0),
        lambda: L.Softshrink(-0.1),
        lambda: L.Hardshrink(-0.1),
        lambda: L.Dropout(-0.1),
        lambda: L.Dropout(1.1),
        lambda: L.Dropout(math.nan),
        lambda: L.Softmax(),
        lambda: L.LogSoftmax(None),
        lambda: L.Softmax("last"),
        lambda: L.Softmax(1.0),
        lambda: L.Flatten(None),
        lambda: L.Flatten(1, 2.0),
        lambda: L.Unflatten("features", (2, 3)),
        lambda: L.Unflatten(1, 6),
        lambda: L.Unflatten(1, ()),
        lambda: L.Unflatten(1, (-1, -1)),
        lambda: L.Unflatten(1, (2.0, 3.0)),
        lambda: L.Unflatten(1, (-2, 3)),
    ],
)
def test_arguments_out_of_range(build):
    with pytest.raises(ArgumentError) as caught:
        build()
    is_told_well(caught)


def test_a_gradient_of_the_wrong_shape_for_a_linear():
    model = L.Sequential(L.Linear(2, 5), L.Linear(5, 3))
    model(torch.rand(7, 2))
    with pytest.raises(ShapeError) as caught:
        model.backward(torch.rand(7, 4))
    assert "Sequential.1: Linear" in str(caught.value)
    assert "(7, 3)" in str(caught.value)
