"""Modules agree with torch.nn and autograd for shapes and strides that hypothesis draws."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

import lamp.nn as L
from tests.cases.module_case import error, gradients
from tests.cases.modules import ACTIVATIONS

SIZES = st.integers(0, 5)
SHAPES = st.lists(SIZES, min_size=0, max_size=4).map(tuple)


@st.composite
def laid_out(draw, shape):
    """A random tensor of this shape, its axes in any order in memory, with gaps, or expanded."""
    order = draw(st.permutations(range(len(shape))))
    gaps = [draw(st.integers(1, 2)) for _ in shape]
    expanded = [draw(st.integers(0, 4)) == 0 for _ in shape]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    stored = [1 if expanded[k] and shape[k] else shape[k] * gaps[k] for k in order]
    x = torch.randn(stored, generator=generator, dtype=torch.float64) * 2.0
    back = [0] * len(shape)
    for place, axis in enumerate(order):
        back[axis] = place
    x = x.permute(back) if shape else x
    for axis, size in enumerate(shape):
        if not (expanded[axis] and size):
            x = x[(slice(None),) * axis + (slice(None, None, gaps[axis]),)]
    return x.expand(shape)


def check(module, twin, x, data):
    """Value and all gradients, for a gradient laid out in any way."""
    y = module(x)
    assert error(y, twin(x).detach()) < 1e-11
    dy = data.draw(laid_out(tuple(y.shape)))
    found = [module.backward(dy), *(parameter.grad for parameter in module.parameters())]
    for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
        assert error(own, autograd) < 1e-11


@given(st.data())
def test_linear(data):
    inputs, outputs = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    bias = data.draw(st.booleans())
    batch = data.draw(st.lists(SIZES, min_size=0, max_size=3))
    module, twin = L.Linear(inputs, outputs, bias).double(), torch.nn.Linear(inputs, outputs, bias).double()
    module.load_state_dict(twin.state_dict())
    check(module, twin, data.draw(laid_out((*batch, inputs))), data)


@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@given(data=st.data())
def test_softmax(kind, data):
    shape = data.draw(st.lists(SIZES, min_size=1, max_size=4))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    check(getattr(L, kind)(dim), getattr(torch.nn, kind)(dim), data.draw(laid_out(tuple(shape))), data)


@given(st.data())
def test_flatten(data):
    shape = data.draw(st.lists(SIZES, min_size=1, max_size=4))
    start = data.draw(st.integers(0, len(shape) - 1))
    end = data.draw(st.integers(start, len(shape) - 1))
    if data.draw(st.booleans()):
        end -= len(shape)
    check(L.Flatten(start, end), torch.nn.Flatten(start, end), data.draw(laid_out(tuple(shape))), data)


@given(st.data())
def test_unflatten(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    before, after = (data.draw(st.lists(SIZES, min_size=0, max_size=2)) for _ in range(2))
    size = int(torch.tensor(sizes).prod())
    if data.draw(st.booleans()):
        sizes[data.draw(st.integers(0, len(sizes) - 1))] = -1
    dim = len(before) - data.draw(st.sampled_from([0, len(before) + 1 + len(after)]))
    x = data.draw(laid_out((*before, size, *after)))
    check(L.Unflatten(dim, tuple(sizes)), torch.nn.Unflatten(dim, tuple(sizes)), x, data)


@given(st.data())
def test_activations(data):
    case = data.draw(st.sampled_from([case for case in ACTIVATIONS if case.tolerance == 1e-11]))
    check(*case.pair(), data.draw(laid_out(data.draw(SHAPES))), data)  # type: ignore[call-arg]


@given(st.data())
def test_prelu(data):
    channels = data.draw(st.integers(1, 4))
    shape = data.draw(SHAPES) if channels == 1 else (data.draw(SIZES), channels, *data.draw(SHAPES)[:2])
    module, twin = L.PReLU(channels).double(), torch.nn.PReLU(channels).double()
    check(module, twin, data.draw(laid_out(shape)), data)
