"""Every rule of the compiler trains as the eager engine does, whatever the sizes, options, batches, vectors and numbers
of networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler import kernel_runner
from lamp.compiler.backends.cpu.target import host
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.rules import RULES
from lamp.compiler.rules.chain import IN_CHAINS
from tests import test_compiled_inputs, test_compiled_recurrence, test_compiled_states
from tests.cases.attention import Attended, Picked, Placed, Repeated, Turned
from tests.cases.compiled import WIDTHS, both, lanes, vectors
from tests.cases.graphs import Gated

CLASSES = 3
ALONE = {"FeatureMajor", "Products"}  # what computes stages of one network for a whole chunk of samples
WHOLE = {*ALONE, "ByBatch", "BySample"}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-3}
FAMILIES: dict[str, tuple[set[str], Callable]] = {}


def family(*kinds: str):
    """Mark a strategy of networks, each of which has all these kinds of operations or stages. It draws (layers, data):
    functions that return the layers, and the inputs of so many samples in a dtype; or (network, data)."""

    def add(draw: Callable) -> Callable:
        FAMILIES[draw.__name__] = set(kinds), st.composite(draw)
        return draw

    return add


def numbers(*shape: int):
    return lambda samples, dtype: torch.randn(samples, *shape, generator=generator(), dtype=torch.float64).to(dtype)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def per_axis(draw, axes: int, least: int, most: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(least, most)) for _ in range(axes))


# ---- windows ---------------------------------------------------------------------------------------------------------
def windows(draw, axes: int):
    """Kernel, stride, dilation and padding of a convolution, and how large its input must be."""
    kernel, stride = per_axis(draw, axes, 1, 3), per_axis(draw, axes, 1, 3)
    dilation, padding = per_axis(draw, axes, 1, 2), per_axis(draw, axes, 0, 2)
    least = [max(d * (k - 1) + 1 - 2 * p, p + 1, 2) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    return kernel, stride, dilation, padding, least


@family("Conv", "Pad")
def convolutions(draw):
    axes, groups, bias = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.booleans())
    kernel, stride, dilation, padding, least = windows(draw, axes)
    channels, outputs = (groups * n for n in per_axis(draw, 2, 1, 3))
    sizes = [n + draw(st.integers(0, 9 // axes)) for n in least]
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    border = (1, *per_axis(draw, 2 * axes - 1, 0, 1))
    kinds = ["Constant", "Replication", "Reflection", "Circular"]
    edge, value = getattr(lamp, f"{draw(st.sampled_from(kinds))}Pad{axes}d"), draw(st.sampled_from([0.0, 0.5]))
    kind = getattr(lamp, f"Conv{axes}d")

    def layers():
        bordered = edge(border, value) if "Constant" in edge.__name__ else edge(border)
        last = kind(channels, outputs, kernel, stride, padding, dilation, groups, bias, mode)
        return [kind(channels, channels, 1), lamp.Tanh(), bordered, last, lamp.Tanh()]

    return layers, numbers(channels, *sizes)


@family("ConvTranspose")
def transposed_convolutions(draw):
    axes, groups, bias = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.booleans())
    kernel, stride, dilation, _, _ = windows(draw, axes)
    channels, outputs = (groups * n for n in per_axis(draw, 2, 1, 3))
    sizes = per_axis(draw, axes, 1, 5 - axes)
    beyond = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    longest = [
        (n - 1) * s + d * (k - 1) + b for n, s, d, k, b in zip(sizes, stride, dilation, kernel, beyond, strict=True)
    ]
    padding = tuple(draw(st.integers(0, min(2, n // 2))) for n in longest)
    first, kind = getattr(lamp, f"Conv{axes}d"), getattr(lamp, f"ConvTranspose{axes}d")

    def layers():
        last = kind(channels, outputs, kernel, stride, padding, beyond, groups, bias, dilation)
        return [first(channels, channels, 1), lamp.Tanh(), last, lamp.Tanh()]

    return layers, numbers(channels, *sizes)


@family("MaxPool", "AdaptiveMaxPool")
def pools_of_the_largest(draw):
    axes, window, step = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    border, dilation, ceil = draw(st.integers(0, window // 2)), draw(st.integers(1, 2)), draw(st.booleans())
    sizes, outputs = per_axis(draw, axes, dilation * (window - 1) + 1, 11 - 2 * axes), per_axis(draw, axes, 1, 4)
    convolution, pool, adaptive = (getattr(lamp, f"{name}{axes}d") for name in ("Conv", "MaxPool", "AdaptiveMaxPool"))

    def layers():
        largest = pool(window, step, border, dilation, ceil_mode=ceil)
        return [convolution(2, 3, 1), largest, lamp.Tanh(), adaptive(outputs)]

    return layers, numbers(2, *sizes)


@family("AvgPool", "AdaptiveAvgPool", "LPPool", "Power", "Root")
def pools_of_means(draw):
    axes, window, step = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    border, ceil, counted = draw(st.integers(0, window // 2)), draw(st.booleans()), draw(st.booleans())
    power, places = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    sizes, outputs = per_axis(draw, axes, 6, 8), per_axis(draw, axes, 1, 4)
    by = {} if axes == 1 else {"divisor_override": draw(st.sampled_from([None, 5]))}
    names = ("Conv", "LPPool", "AvgPool", "AdaptiveAvgPool")
    convolution, norms, mean, adaptive = (getattr(lamp, f"{name}{axes}d") for name in names)

    def layers():
        pools = [norms(power, places, ceil_mode=ceil), lamp.Tanh(), mean(window, step, border, ceil, counted, **by)]
        return [convolution(2, 3, 1), lamp.Softplus(), *pools, lamp.GELU(), adaptive(outputs)]

    return layers, numbers(2, *sizes)


@family("Unfold", "Fold", "ResponseNorm", "Resize")
def windows_as_columns(draw):
    kernel, stride, dilation, padding, least = windows(draw, 2)
    channels, sizes = draw(st.integers(1, 3)), [n + draw(st.integers(0, 3)) for n in least]
    beside, larger = draw(st.integers(1, 4)), per_axis(draw, 2, 1, 9)
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]))
    resize = {"scale_factor": (2, 3)} if draw(st.booleans()) else {"size": larger}
    if mode.startswith("bi"):
        resize["align_corners"] = draw(st.booleans())

    def layers():
        fold = lamp.Fold(sizes, kernel, dilation, padding, stride)
        columns = [lamp.Unfold(kernel, dilation, padding, stride), lamp.GELU(), fold, lamp.Tanh()]
        after = [lamp.LocalResponseNorm(beside, alpha=0.3, k=0.7), lamp.Upsample(mode=mode, **resize), lamp.Tanh()]
        return [lamp.Conv2d(2, channels, 1), lamp.Tanh(), *columns, *after]

    return layers, numbers(2, *sizes)


# ---- norms -----------------------------------------------------------------------------------------------------------
@family("Norm", "Standardise")
def norms_of_samples(draw):
    groups, each, (height, width) = draw(st.integers(1, 3)), draw(st.integers(1, 4)), per_axis(draw, 2, 3, 6)
    eps, own = draw(st.sampled_from([1e-5, 0.1])), draw(st.booleans())
    channels, row = groups * each, draw(st.sampled_from(["layer", "layer, without bias", "root mean square"]))

    def layers():
        of_groups = (
            lamp.InstanceNorm2d(channels, eps, affine=own) if each == 1 else lamp.GroupNorm(groups, channels, eps, own)
        )
        of_row = (
            lamp.RMSNorm(width, eps=eps) if "root" in row else lamp.LayerNorm(width, eps, bias="without" not in row)
        )
        return [lamp.Conv2d(2, channels, (2, 1)), of_groups, lamp.Tanh(), of_row, lamp.GELU()]

    return layers, numbers(2, height, width)


@family("BatchNorm", "BatchStandardise", "ByBatch", "BySample")
def norms_of_batches(draw):
    channels, (height, width) = draw(st.integers(1, 9)), per_axis(draw, 2, 3, 5)
    eps, own, momentum = (
        draw(st.sampled_from([1e-5, 0.1])),
        draw(st.booleans()),
        draw(st.sampled_from([0.1, 0.7, None])),
    )

    def layers():
        by_sample = lamp.InstanceNorm2d(channels, eps, momentum, affine=own, track_running_stats=True)
        batch = lamp.BatchNorm2d(channels, eps, momentum, affine=not own)
        return [lamp.Conv2d(2, channels, 2, bias=own), batch, lamp.Tanh(), by_sample, lamp.GELU()]

    return layers, numbers(2, height, width)


# ---- branches, sequences, random numbers -----------------------------------------------------------------------------
@family("Affine", "Add", "Multiply", "Concat", "Softmax", "Negative", "Elementwise")
def branches(draw):
    lead = per_axis(draw, draw(st.integers(0, 2)), 1, 4)
    features, first, second, last = per_axis(draw, 4, 1, 7)
    axis, log = draw(st.integers(1, len(lead) + 1)), draw(st.booleans())
    width = first + features + second

    def layers():
        joined = lamp.Parallel(
            lamp.Linear(features, first),
            lamp.Tanh(),
            lamp.Sequential(lamp.Linear(features, second, bias=False), lamp.GELU()),
            combine="concat",
        )
        softmax = lamp.LogSoftmax(axis) if log else lamp.Softmax(axis)
        gated = Gated(lamp.Sequential(lamp.Linear(width, width), lamp.Sigmoid()), lamp.Identity())
        residual = lamp.Residual(lamp.Sequential(lamp.Softmin(-1), lamp.Linear(width, width), lamp.PReLU()))
        return [lamp.Linear(features, features), joined, gated, residual, lamp.Linear(width, last), softmax]

    return layers, numbers(*lead, features)


@family("Gate", "Permute", "Select", "Expand", "Constant", "View")
def sequences(draw):
    places, features, width, outputs, m, n = per_axis(draw, 6, 1, 6)
    place, other = (draw(st.integers(-outputs, outputs - 1)) for _ in range(2))

    def layers():
        turned = [Turned(), lamp.Linear(places, outputs), Turned(), lamp.GELU()]
        column = lamp.Sequential(Turned(), lamp.Linear(outputs, 1), Turned(), Picked(0))
        picked = lamp.Parallel(Picked(place), Picked(other), column)
        before = [lamp.Linear(features, 2 * width), lamp.GLU(), Placed(places, width), lamp.Tanh()]
        return [*before, *turned, picked, Repeated(m, n), lamp.Linear(n, 2)]

    return layers, numbers(places, features)


@family("MatMul", "Softmax", "Shift")
def attention(draw):
    heads, places = draw(st.integers(1, 4)), draw(st.integers(1, 11))
    width = heads * draw(st.integers(-(-4 // heads), 5))  # a norm of 2 numbers is all rounding
    mask = torch.linspace(-1, 1, places**2).view(places, places)
    mask = torch.ones(places, places).triu(1).bool() if draw(st.booleans()) else mask
    dropout, wide, first = draw(st.sampled_from([0.0, 0.3])), draw(st.integers(1, 13)), draw(st.booleans())
    more = draw(st.booleans())

    def layers():
        options = {"batch_first": True, "norm_first": first}
        layer = [lamp.TransformerEncoderLayer(width, heads, wide, dropout, **options)] if more else []
        return [Attended(width, heads, mask, dropout=dropout), *layer]

    return layers, numbers(places, width)


@family("Mask", "ChannelMask", "AlphaMask", "RandomSlope")
def random_numbers(draw):
    channels, length, outputs = per_axis(draw, 3, 1, 6)
    p, slopes = draw(st.sampled_from([0.0, 0.3, 0.8])), draw(st.booleans())

    def layers():
        masks = [lamp.Dropout1d(p), lamp.AlphaDropout(p), lamp.RReLU(), lamp.Dropout(p)]
        convolution = [lamp.Conv1d(channels, outputs, 1), lamp.PReLU(outputs if slopes else 1)]
        return [*convolution, *masks, lamp.FeatureAlphaDropout(p), lamp.Linear(length, 3), lamp.RReLU(0.2, 0.4)]

    return layers, numbers(channels, length)


# ---- one network whose layers are computed for a whole chunk of samples ----------------------------------------------
@family("Affine", "FeatureMajor")
def wide_inputs(draw):
    features, width = draw(st.integers(64, 90)), draw(st.integers(1, 7))
    return lambda: [lamp.Linear(features, width), lamp.PReLU(), lamp.Linear(width, 4), lamp.Tanh()], numbers(features)


@family("Affine", *(["Products"] if host().products else []))
def wide_layers(draw):
    features, first, second = per_axis(draw, 3, 46, 64)
    layers = [
        lambda: lamp.Linear(features, first),
        lamp.PReLU,
        lambda: lamp.Linear(first, second, bias=False),
        lamp.GELU,
    ]
    return lambda: [layer() for layer in layers], numbers(features)


# ---- indices, states, several inputs ---------------------------------------------------------------------------------
@family("Gather", "Reduce")
def indices(draw):
    rows, length, features, width = per_axis(draw, 4, 1, 7)
    padding = draw(st.one_of(st.none(), st.integers(0, rows - 1)))
    mode = draw(st.sampled_from(["mean", "sum", "max"]))

    def layers():
        words = lamp.Sequential(lamp.Embedding(rows, features, padding), lamp.Tanh(), lamp.Flatten())
        return [lamp.Parallel(words, lamp.EmbeddingBag(rows, width, mode=mode), combine="concat")]

    return layers, lambda samples, dtype: torch.randint(rows, (samples, length), generator=generator())


@family("Scan")
def recurrence(draw):
    of_recurrence = test_compiled_recurrence
    kind, count = draw(st.sampled_from([*of_recurrence.KINDS, "projected"])), draw(st.integers(1, 3))
    steps, features, hidden = draw(st.integers(1, 5)), draw(st.integers(1, 2 * lanes() + 3)), draw(st.integers(2, 9))
    options = {"bidirectional": draw(st.booleans()), "bias": draw(st.booleans())}
    options["dropout"] = draw(st.sampled_from([0.0, 0.3])) if count > 1 else 0.0
    if kind == "projected":
        kind, options["proj_size"] = "LSTM", max(1, hidden // 2)
    read = draw(st.sampled_from(["state", "both"]))

    def network():
        model = of_recurrence.Network(of_recurrence.layer(kind, hidden, count, **options)(features), read)
        model(torch.zeros(1, steps, features))
        return model

    return network, numbers(steps, features)


def unrolled(kind, begins):
    given = numbers(3, 2), numbers(2)
    data = lambda samples, dtype: tuple(each(samples, dtype) for each in given)  # noqa: E731
    return lambda: test_compiled_states.Unrolled(kind, begins), data


@family("Cell")
def cells(draw):
    return unrolled(draw(st.sampled_from([lamp.RNNCell, lamp.GRUCell])), draw(st.booleans()))


@family("Cell", "LastState")
def cells_of_two_states(draw):
    return unrolled(lamp.LSTMCell, draw(st.booleans()))


class Compared(lamp.Container):
    """A module of two inputs, which two layers compute from one."""

    def __init__(self, first, second, module):
        self.first, self.second, self.module = first, second, module

    def forward(self, x):
        return self.module(self.first(x), self.second(x))

    def backward(self, dy):
        of_first, of_second = self.module.backward(dy)
        dx = self.second.backward(of_second)
        return self.first.backward(of_first) + dx

    def trace(self, tracer, x):
        return tracer(self.module, tracer(self.first, x), tracer(self.second, x))


@family("CosineSimilarity", "Distance", "Bilinear")
def comparisons(draw):
    places, features, width, other, outputs = per_axis(draw, 5, 1, 6)
    p, axis = draw(st.sampled_from([1.0, 2.0, 3.0, 2.7, float("inf")])), draw(st.sampled_from([1, -1]))
    eps, bias = draw(st.sampled_from([1e-6, 1e-2])), draw(st.booleans())

    def layers():
        def compared(module, second=width):
            made = Compared(lamp.Linear(features, width), lamp.Linear(features, second), module)
            return lamp.Sequential(made, lamp.Flatten())

        bilinear = compared(lamp.Bilinear(width, other, outputs, bias=bias), other)
        distance = compared(lamp.PairwiseDistance(p, eps))
        return [lamp.Parallel(compared(lamp.CosineSimilarity(axis)), distance, bilinear, combine="concat")]

    return layers, numbers(places, features)


@family("Exclude")
def masks_of_padding(draw):
    places, heads = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    width = heads * draw(st.integers(-(-4 // heads), 4))

    def data(samples, dtype):
        return numbers(places, width)(samples, dtype), test_compiled_inputs.padding(samples, places=places)

    return lambda: test_compiled_inputs.Padded(places, width, heads), data


# ---- the test --------------------------------------------------------------------------------------------------------
def network(made, x, dtype):
    """The model that a family has drawn; layers get a Linear behind them."""
    torch.manual_seed(5)
    found = made()
    if isinstance(found, lamp.Module):
        return found.to(dtype)
    model = lamp.Sequential(*found, lamp.Flatten(), lamp.LazyLinear(CLASSES)).to(dtype).eval()
    model(x[:2])
    return model.train()


@contextmanager
def noting(seen: set[str]) -> Iterator[None]:
    """Note kinds of operations and stages, and the lanes, of the kernels that are made. All networks of a population
    are trained in groups, also those that would be faster one by one."""
    begin = KernelState.__init__

    def begun(state, kernel, spec, *about):
        begin(state, kernel, spec, *about)
        stages = spec.plan.stages
        seen.update(each.kind for each in (*spec.plan.graph.ops, *stages))
        seen.update(element.kind for stage in stages for element in stage.chain)
        seen.update(type(rule).__name__ for rule in (*state.tiling.heads.values(), *state.tiling.couplings.values()))
        seen.add("samples" if spec.one_network else "networks")

    groups = mock.patch.object(kernel_runner, "_in_groups", lambda replicas, *about: replicas)
    with mock.patch.object(KernelState, "__init__", begun), groups:
        yield


def test_every_kind_of_operation_has_a_family():
    assert {*RULES, *IN_CHAINS} == set().union(*(kinds for kinds, _ in FAMILIES.values())) - WHOLE


@pytest.mark.compiled
@pytest.mark.parametrize("name", FAMILIES)
def test_any_sizes(name):
    kinds, strategy = FAMILIES[name]

    @hypothesis.settings(max_examples=5, phases=[hypothesis.Phase.generate], derandomize=True)
    @hypothesis.given(
        drawn=strategy(), batch=st.integers(1, 35), rest=st.integers(0, 34), bits=st.sampled_from(WIDTHS),
        dtype=st.sampled_from([torch.float64, torch.float32]), count=st.sampled_from([None, None, 1, 2, "full"]),
    )  # fmt: skip
    def train(drawn, batch, rest, bits, dtype, count):
        made, data = drawn
        seen: set[str] = set()
        with vectors(bits), noting(seen):
            replicas = lanes(dtype) + 1 if count == "full" else count
            size = batch if replicas is None else min(batch, 9)
            samples = 2 * size + rest % size
            x, y = data(samples, dtype), torch.randint(CLASSES, (samples,), generator=generator())
            both(
                lambda: network(made, x, dtype),
                lamp.CrossEntropyLoss,
                lambda parameters: lamp.SGD(parameters, lr=0.05, momentum=0.5),
                (x, y),
                count=replicas,
                epochs=2,
                batch_size=size,
                tolerance=TOLERANCE[dtype],
                **({"validation": (x, y)} if "BatchStandardise" in kinds else {}),
            )
        wanted = kinds if count is None else kinds - ALONE
        assert wanted <= seen, wanted - seen
        assert ("samples" if count is None else "networks") in seen

    train()
