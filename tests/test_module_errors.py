"""Errors of modules say what was wrong, expected and given, and the fix; nothing is broadcast silently."""

import math

import pytest
import torch

import lamp.nn as L
from lamp.errors import ArgumentError, DTypeError, LampError, ShapeError
from tests.cases.convolutions import CONVOLUTIONS, FOLDS, PADS
from tests.cases.modules import ACTIVATIONS, LAYERS
from tests.cases.normalization import NORMALIZATIONS, NORMALIZATIONS_OF_SAMPLES
from tests.cases.small_modules import SMALL

ALL = [*ACTIVATIONS, *LAYERS, *NORMALIZATIONS, *NORMALIZATIONS_OF_SAMPLES, *SMALL, *CONVOLUTIONS, *PADS, *FOLDS]
MOVING = ("Identity", "Flatten", "Unflatten", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle")
COMPUTING = [case for case in ALL if case.name.split("(")[0] not in MOVING]
CHECKED = [case for case in ALL if case.name.split("(")[0] not in ("Identity", "Linear")]


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
    for shape in ((*y.shape, 1), (1, *y.shape), (1,) * y.dim() if y.numel() > 1 else (2,), y.shape[:-1] or (4,)):
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

    @pytest.mark.parametrize(
        ("module", "shape", "said"),
        [
            (L.Conv1d(3, 2, 2), (5, 4, 6), "(B, 3, L)"),
            (L.Conv1d(3, 2, 2), (4,), "(3, L)"),
            (L.Conv2d(3, 2, 2), (5, 3, 1, 6), "at least (2, 2)"),
            (L.Conv2d(3, 2, 2), (2, 5, 3, 4, 6), "(B, 3, H, W)"),
            (L.Conv2d(3, 2, 3, padding=4, padding_mode="reflect"), (5, 3, 4, 6), "at least 5 on axis -2"),
            (L.Conv2d(3, 2, 3, padding=5, padding_mode="circular"), (5, 3, 6, 4), "at least 5 on axis -1"),
            (L.ConvTranspose2d(3, 2, 2), (5, 2, 4, 6), "(B, 3, H, W)"),
            (L.ConvTranspose1d(3, 2, 2, padding=3), (5, 3, 4), "no output"),
            (L.ReflectionPad1d(4), (5, 3, 4), "at least 5 on axis -1"),
            (L.ReflectionPad2d((0, 0, 2, 5)), (3, 4, 9), "at least 6 on axis -2"),
            (L.CircularPad1d((0, 5)), (5, 3, 4), "at least 5 on axis -1"),
            (L.CircularPad1d((-2, 3)), (5, 3, 4), "at least 5 on axis -1"),
            (L.ReplicationPad2d(1), (5, 3, 0, 4), "at least 1 on axis -2"),
            (L.ReplicationPad1d((-2, -2)), (5, 3, 4), "at least 5 on axis -1"),
            (L.ReflectionPad1d(1), (4,), "(C, W)"),
            (L.ZeroPad2d(-2), (3, 4, 3), "at least 4 on axis -1"),
            (L.ConstantPad3d(1, 2.0), (3, 4), "(..., D, H, W)"),
            (L.Unfold(2), (3, 4), "(B, C, H, W)"),
            (L.Unfold(5, padding=1), (2, 3, 2, 4), "at least (3, 3)"),
            (L.Fold((4, 5), 2), (2, 12, 11), "(B, C 4, 12)"),
            (L.Fold((4, 5), 2), (2, 11, 12), "(B, C 4, 12)"),
            (L.Fold((4, 5), 2), (12,), "(B, C 4, 12)"),
        ],
        ids=repr,
    )
    def test_windows_and_borders(self, module, shape, said):
        with pytest.raises(ShapeError) as caught:
            module(torch.ones(shape))
        is_told_well(caught, said, str(tuple(shape)))

    @pytest.mark.parametrize("size", [(7, 8), (11, 9), (5, 3, 7, 9), (9,), 9, "x", (7.5, 9)])
    def test_output_size(self, size):
        with pytest.raises(ArgumentError) as caught:
            L.ConvTranspose2d(3, 2, 2, stride=2)(torch.ones(5, 3, 4, 5), output_size=size)
        if size == (5, 3, 7, 9) or size == (7, 8):
            is_told_well(caught, "from (8, 10) to (9, 11)")
        is_told_well(caught, repr(size))


class TestDtypes:
    @pytest.mark.parametrize("module", [L.Linear(3, 2), L.PReLU(3), L.Conv1d(5, 2, 2)], ids=repr)
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
        lambda: L.Conv2d(3, 4, 0),
        lambda: L.Conv2d(3, 4, (2, 2, 2)),
        lambda: L.Conv2d(3, 4, 2.0),
        lambda: L.Conv2d(3, 4, 2, stride=0),
        lambda: L.Conv2d(3, 4, 2, padding=-1),
        lambda: L.Conv2d(3, 4, 2, padding="full"),
        lambda: L.Conv2d(3, 4, 2, stride=(1, 2), padding="same"),
        lambda: L.Conv2d(3, 4, 2, groups=2),
        lambda: L.Conv2d(4, 3, 2, groups=2),
        lambda: L.Conv2d(4, 4, 2, groups=0),
        lambda: L.Conv2d(3, 4, 2, padding_mode="wrap"),
        lambda: L.ConvTranspose2d(3, 4, 2, padding_mode="reflect"),
        lambda: L.ConvTranspose2d(3, 4, 2, padding="same"),
        lambda: L.ConvTranspose2d(3, 4, 2, stride=2, output_padding=2),
        lambda: L.ReflectionPad2d((1, 2)),
        lambda: L.ReflectionPad1d("1"),
        lambda: L.ConstantPad1d(1, math.nan),
        lambda: L.Unfold((2, 2, 2)),
        lambda: L.Unfold(2, stride=0),
        lambda: L.Fold("x", 2),
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
