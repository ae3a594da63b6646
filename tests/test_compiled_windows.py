"""Networks with convolutions and pools compile, and train as with the eager engine."""

import re

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler.code import Code
from lamp.compiler.plan import plan_of
from lamp.compiler.rules.windows import Axis, shares
from tests.cases.compiled import both, lanes, replicas


def network(shape, *layers, classes=3, dtype=torch.float64):
    """These layers for samples of this shape, then a Linear with so many outputs."""
    model = lamp.Sequential(*layers, lamp.Flatten(), lamp.LazyLinear(classes)).to(dtype).eval()
    model(torch.zeros(2, *shape, dtype=dtype))
    return model.train()


def trained_alike(shape, make, count=None, samples=13, batch=5, dtype=torch.float64, **options):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(samples, *shape, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(3, (samples,), generator=generator)
    return both(
        lambda: network(shape, *make(), dtype=dtype),
        lamp.CrossEntropyLoss,
        lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
        (x, y),
        count=count,
        epochs=2,
        batch_size=batch,
        tolerance=1e-11 if dtype is torch.float64 else 2e-5,
        **options,
    )


def after_a_convolution(*layers):
    return lambda: [lamp.Conv2d(2, 4, 3, padding=1), *[layer() for layer in layers]]


SHAPE = (2, 9, 8)
NETWORKS = {
    "one": ((2, 7, 6), lambda: [lamp.Conv2d(2, 3, 3), lamp.Tanh()]),
    "padded, strided, of two sizes": (
        (2, 7, 6),
        lambda: [
            lamp.Conv2d(2, 3, 3, padding=1),
            lamp.ReLU(),
            lamp.Conv2d(3, 4, (3, 2), stride=2, padding=(1, 0)),
            lamp.Tanh(),
        ],
    ),
    "groups, dilation, a long activation": (
        SHAPE,
        lambda: [
            lamp.Conv2d(2, 4, 2, bias=False),
            lamp.GELU(),
            lamp.Conv2d(4, 6, 3, dilation=2, stride=3, padding=2, groups=2),
            lamp.Tanh(),
        ],
    ),
    "each channel by itself": (SHAPE, lambda: [lamp.Conv2d(2, 4, 3, groups=2), lamp.Conv2d(4, 4, 3, groups=4)]),
    "as wide as before": (SHAPE, lambda: [lamp.Conv2d(2, 2, (2, 4), padding="same"), lamp.ReLU()]),
    "one number to each": (SHAPE, lambda: [lamp.Conv2d(2, 9, 1), lamp.Tanh(), lamp.Conv2d(9, 2, 1, stride=2)]),
    "as large as the input": (SHAPE, lambda: [lamp.Conv2d(2, 3, (9, 8)), lamp.Tanh()]),
    "one axis": (
        (3, 21),
        lambda: [lamp.Conv1d(3, 4, 5, stride=4, padding=2), lamp.Tanh(), lamp.Conv1d(4, 2, 1)],
    ),
    "three axes": (
        (1, 5, 4, 6),
        lambda: [
            lamp.Conv3d(1, 2, 2),
            lamp.Tanh(),
            lamp.Conv3d(2, 2, 2, stride=2, groups=2),
            lamp.AvgPool3d((2, 1, 2)),
        ],
    ),
    "dropout": (SHAPE, after_a_convolution(lambda: lamp.Dropout(0.3), lamp.ReLU)),
    "one slope": (SHAPE, after_a_convolution(lamp.PReLU)),
    "a slope for each channel": (SHAPE, after_a_convolution(lambda: lamp.PReLU(4), lamp.Tanh)),
    "branches joined": (
        SHAPE,
        lambda: [
            lamp.Conv2d(2, 2, 1),
            lamp.Parallel(
                lamp.Conv2d(2, 3, 3, padding=1),
                lamp.Sequential(lamp.MaxPool2d(3, 1, 1), lamp.Tanh()),
                combine="concat",
                dim=1,
            ),
            lamp.Conv2d(5, 2, 1),
        ],
    ),
    "padding of its own": (SHAPE, lambda: [lamp.ConstantPad2d((1, 2, 0, 3), 0.5), lamp.Conv2d(2, 3, 3)]),
    "borders mirrored": (SHAPE, after_a_convolution(lambda: lamp.ReflectionPad2d((1, 2, 0, 3)), lamp.Tanh)),
    "borders repeated": (SHAPE, after_a_convolution(lamp.GELU, lambda: lamp.ReplicationPad2d((2, 0, 1, 3)))),
    "borders from the other end, and a crop": (
        SHAPE,
        after_a_convolution(lamp.Tanh, lambda: lamp.CircularPad2d((2, -1, -2, 3)), lambda: lamp.Conv2d(4, 2, 3)),
    ),
    "borders mirrored, and a crop": (SHAPE, after_a_convolution(lambda: lamp.ReflectionPad2d((2, -1, -3, 1)))),
    "cropped, and a border of a number": (
        SHAPE,
        after_a_convolution(lamp.Tanh, lambda: lamp.ConstantPad2d((-1, 2, 1, -2), 0.3), lamp.GELU),
    ),
    "a convolution that mirrors": (
        SHAPE,
        lambda: [lamp.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), lamp.Tanh()],
    ),
    "norms of windows": (SHAPE, after_a_convolution(lambda: lamp.LPPool2d(2, 3, 2), lamp.Tanh)),
    "cubic norms of windows, the last beyond the border": (
        (2, 8, 7),
        after_a_convolution(lamp.Softplus, lambda: lamp.LPPool2d(3, (2, 3), ceil_mode=True)),
    ),
    "divided by the channels beside": (
        (2, 4, 3),
        after_a_convolution(lambda: lamp.LocalResponseNorm(2, alpha=0.3, k=0.7), lambda: lamp.LocalResponseNorm(3)),
    ),
    "windows as columns, and an image of their sums": (
        (2, 7, 6),
        after_a_convolution(
            lamp.Tanh,
            lambda: lamp.Unfold((3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1)),
            lamp.GELU,
            lambda: lamp.Fold((7, 6), (3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1)),
            lamp.Tanh,
        ),
    ),
    "windows that overlap, as many numbers as before": (
        (2, 1, 6),
        lambda: [lamp.Conv2d(2, 3, 1), lamp.Tanh(), lamp.Unfold((1, 3), stride=(1, 2)), lamp.Linear(2, 4)],
    ),
    "columns of the data": ((2, 5, 4), lambda: [lamp.Unfold(2, padding=1), lamp.Linear(30, 3), lamp.Tanh()]),
    "larger, between the places": (
        (2, 5, 6),
        after_a_convolution(lambda: lamp.Upsample(scale_factor=2, mode="bilinear"), lamp.Tanh),
    ),
    "other sizes, from corner to corner": (
        (2, 5, 6),
        after_a_convolution(lambda: lamp.UpsamplingBilinear2d((9, 3)), lamp.Tanh),
    ),
    "other sizes, the nearest and a cubic": (
        (2, 5, 4),
        after_a_convolution(
            lambda: lamp.Upsample(size=(7, 3)), lambda: lamp.Upsample(size=(4, 5), mode="bicubic"), lamp.Tanh
        ),
    ),
    "larger": (SHAPE, after_a_convolution(lamp.Tanh, lambda: lamp.Upsample(scale_factor=(2, 3)), lamp.GELU)),
    "larger, to a size": (
        (2, 5),
        lambda: [lamp.Conv1d(2, 3, 2), lamp.Upsample(size=12, mode="nearest-exact"), lamp.Conv1d(3, 2, 3)],
    ),
    "dropout of channels": (SHAPE, after_a_convolution(lambda: lamp.Dropout2d(0.3), lamp.Tanh)),
    "dropout that keeps mean and variance": (SHAPE, after_a_convolution(lamp.SELU, lambda: lamp.AlphaDropout(0.3))),
    "the same of channels": (SHAPE, after_a_convolution(lambda: lamp.FeatureAlphaDropout(0.4), lamp.SELU)),
    "random slopes": (SHAPE, after_a_convolution(lamp.RReLU, lambda: lamp.Conv2d(4, 2, 1), lamp.RReLU)),
    "largest": (SHAPE, after_a_convolution(lamp.ReLU, lambda: lamp.MaxPool2d(2))),
    "largest, then more": (SHAPE, after_a_convolution(lambda: lamp.MaxPool2d((3, 2)), lamp.Tanh)),
    "largest, overlapping": (SHAPE, after_a_convolution(lamp.Tanh, lambda: lamp.MaxPool2d(3, 2, 1), lamp.Tanh)),
    "largest, dilated": (
        SHAPE,
        after_a_convolution(lamp.Tanh, lambda: lamp.MaxPool2d(2, 1, 1, dilation=2, ceil_mode=True)),
    ),
    "largest, with gaps": (SHAPE, after_a_convolution(lamp.Tanh, lambda: lamp.MaxPool2d(2, 3, ceil_mode=True))),
    "mean": (SHAPE, after_a_convolution(lamp.Tanh, lambda: lamp.AvgPool2d(2))),
    "mean with padding": (SHAPE, after_a_convolution(lambda: lamp.AvgPool2d(3, 2, 1, ceil_mode=True), lamp.Tanh)),
    "mean without padding": (
        SHAPE,
        after_a_convolution(lambda: lamp.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
    ),
    "mean by another number": (SHAPE, after_a_convolution(lambda: lamp.AvgPool2d(3, 2, 1, divisor_override=5))),
    "mean in unequal windows": (SHAPE, after_a_convolution(lamp.GELU, lambda: lamp.AdaptiveAvgPool2d((4, 3)))),
    "mean of all": (SHAPE, after_a_convolution(lamp.GELU, lambda: lamp.AdaptiveAvgPool2d(1))),
    "largest in unequal windows": (SHAPE, after_a_convolution(lambda: lamp.AdaptiveMaxPool2d((4, 3)), lamp.Tanh)),
    "pools of the data": ((2, 19), lambda: [lamp.AvgPool1d(2), lamp.Conv1d(2, 4, 3), lamp.MaxPool1d(2, 1)]),
    "residual": (
        SHAPE,
        lambda: [
            lamp.Conv2d(2, 4, 3, padding=1),
            lamp.Residual(lamp.Sequential(lamp.ReLU(), lamp.Conv2d(4, 4, 3, padding=1))),
            lamp.MaxPool2d(3, 1, 1),
            lamp.Residual(lamp.Sequential(lamp.AvgPool2d(3, 1, 1), lamp.Tanh())),
        ],
    ),
    "transposed": (SHAPE, lambda: [lamp.ConvTranspose2d(2, 3, (3, 2)), lamp.Tanh(), lamp.ConvTranspose2d(3, 2, 1)]),
    "transposed, padded, strided": (
        (2, 4, 3),
        after_a_convolution(
            lamp.Tanh,
            lambda: lamp.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=(1, 0), output_padding=1, groups=2),
            lamp.GELU,
        ),
    ),
    "transposed, more padding at the end than left out": (
        (3, 5),
        lambda: [lamp.ConvTranspose1d(3, 2, 2, stride=4, padding=1, output_padding=3, bias=False), lamp.Tanh()],
    ),
    "transposed, dilated, read twice": (
        (2, 6),
        lambda: [
            lamp.ConvTranspose1d(2, 3, 3, dilation=2, padding=1, stride=3),
            lamp.Residual(lamp.Conv1d(3, 3, 3, padding=1)),
        ],
    ),
    "transposed along three axes": (
        (1, 2, 3, 2),
        lambda: [lamp.ConvTranspose3d(1, 2, 2, padding=(1, 0, 0)), lamp.Tanh(), lamp.ConvTranspose3d(2, 2, 2, 2)],
    ),
    "the same weights twice": (SHAPE, lambda: [shared := lamp.Conv2d(2, 2, 3, padding=1), lamp.Tanh(), shared]),
}


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    shape, make = NETWORKS[name]
    trained_alike(shape, make, count)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [1, 2, 17])
def test_any_number_of_networks(count):
    shape, make = NETWORKS["padded, strided, of two sizes"]
    trained_alike(shape, make, count)


@pytest.mark.compiled
@pytest.mark.parametrize(
    "name",
    [
        "norms of windows",
        "cubic norms of windows, the last beyond the border",
        "divided by the channels beside",
        "windows as columns, and an image of their sums",
        "windows that overlap, as many numbers as before",
        "larger, between the places",
        "other sizes, from corner to corner",
        "other sizes, the nearest and a cubic",
    ],
)
def test_gradients_are_torchs(name):
    shape, make = NETWORKS[name]
    model, generator = network(shape, *make(), dtype=torch.float64), torch.Generator().manual_seed(7)
    x = torch.randn(5, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (5,), generator=generator)
    twin = lamp.to_torch(model)
    loss = torch.nn.functional.cross_entropy(twin(x), y)
    loss.backward()
    compiled = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), 5)
    assert float(compiled.gradients(x, y)) == pytest.approx(float(loss.detach()), rel=1e-12)
    for own, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(own.grad, theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("batch", [1, lanes() - 1, 2 * lanes(), 3 * lanes() + 1])
def test_any_size_of_a_batch(batch):
    shape, make = NETWORKS["largest"]
    trained_alike(shape, make, samples=2 * batch + 1, batch=batch)


def test_a_relu_follows_the_pool_that_it_stands_before():
    """Fewer numbers go through it there. Where something else reads its output, it stays where it is."""
    plans = [
        str(plan_of(lamp.Sequential(*layers, lamp.Flatten(), lamp.Linear(2 * 9, 2)), shapes=((1, 8, 8),)))
        for layers in (
            (lamp.Conv2d(1, 2, 3), lamp.ReLU(), lamp.MaxPool2d(2)),
            (lamp.Conv2d(1, 2, 3), lamp.Tanh(), lamp.MaxPool2d(2)),
            (lamp.Conv2d(1, 2, 3), lamp.ReLU(), lamp.AvgPool2d(2)),
            (lamp.Conv2d(1, 2, 3), lamp.ReLU(), lamp.Residual(lamp.MaxPool2d(3, 1, 1)), lamp.AvgPool2d(2)),
        )
    ]
    moved = [re.findall(r"= (\w+)\(.*\) \| ReLU", plan) for plan in plans]
    assert moved == [["MaxPool"], [], ["Conv"], ["Conv"]]


@pytest.mark.compiled
def test_single_precision():
    shape, make = NETWORKS["largest"]
    trained_alike(shape, make, dtype=torch.float32)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 2])
def test_compile_learns_the_shape_at_the_first_call(count):
    """Nothing but the data tells the sizes of images."""
    results = []
    for engine in ("eager", "compiled"):
        model = replicas(network(SHAPE, lamp.Conv2d(2, 4, 3), lamp.ReLU(), lamp.MaxPool2d(2)), count)
        optimizer = lamp.Adam(model.parameters(), lr=0.01)
        x, y = (
            torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
            torch.arange(8) % 3,
        )
        if engine == "eager":
            lamp.fit(
                model,
                lamp.CrossEntropyLoss(),
                optimizer,
                (x, y),
                epochs=2,
                batch_size=4,
                shuffle=False,
                engine="eager",
                progress=False,
            )
        else:
            compiled = lamp.compile(model, lamp.CrossEntropyLoss(), optimizer, batch_size=4)
            losses = [compiled(x, y) for _ in range(2)]
            assert all(each.isfinite().all() for each in losses)
            assert "Conv" in compiled.passes
        results.append([each.data.clone() for each in model.parameters()])
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
def test_a_network_may_end_in_a_picture(count):
    x = torch.rand(7, 1, 5, 5, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def picture():
        return lamp.Sequential(lamp.Conv2d(1, 2, 3, padding=1), lamp.Tanh(), lamp.Conv2d(2, 1, 3, padding=1)).double()

    def optimizer(parameters):
        return lamp.SGD(parameters, lr=0.1)

    both(picture, lamp.MSELoss, optimizer, (x, x), count=count, epochs=2, batch_size=3, tolerance=1e-11)


class Numbers(Code):
    """The integers of a backend alone, computed at once."""

    __init__ = object.__init__
    index = staticmethod(lambda x: x)
    product = staticmethod(lambda x, y: x * y)
    minus = staticmethod(lambda x, y: x - y)
    quotient = staticmethod(lambda x, y: x // y)
    least, greatest = staticmethod(min), staticmethod(max)


Numbers.__abstractmethods__ = frozenset()
SIZES = st.integers(1, 6)


@hypothesis.given(SIZES, SIZES, SIZES, SIZES, st.integers(0, 5))
def test_readers_are_those_who_read(outputs, kernel, stride, dilation, beyond):
    """What an axis says from the inputs' side is what it says from the outputs' side."""
    code = Numbers()
    axis = Axis((outputs - 1) * stride + dilation * (kernel - 1) + 1 + beyond, outputs, kernel, stride, dilation)
    expected = {(o, t, axis.read(code, o, t)) for o in range(outputs) for t in range(kernel)}
    found, inputs = [], []
    for each in axis.readers:
        for a in range(each.count):
            first, stop = each.taps_at(code, a)
            place = a * stride + each.remainder
            inputs.append(place)
            if each.inner[0] <= a < each.inner[1]:
                assert (first, stop) == (0, each.taps)
            found += [
                (a + each.offset - each.spacing * t, each.first + each.step * t, place) for t in range(first, stop)
            ]
    assert sorted(inputs) == list(range(axis.size))
    assert len(found) == len(set(found))
    assert set(found) == expected


@hypothesis.given(st.integers(1, 20), st.integers(1, 25))
def test_shares_are_those_of_torch(size, outputs):
    """Each window of an adaptive pool, found by the places whose gradient is not 0."""
    code, axis = Numbers(), shares(size, outputs)
    for o in range(outputs):
        x = torch.zeros(1, size, requires_grad=True)
        torch.nn.functional.adaptive_avg_pool1d(x, outputs)[0, o].backward()
        read = [axis.read(code, o, t) for t in range(axis.taps(code, o))]
        assert read == x.grad[0].nonzero().flatten().tolist()
