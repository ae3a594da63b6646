"""Convolutions and pads agree with torch.nn and autograd for options and sizes that hypothesis draws."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings

import lamp
import lamp.nn as L
from lamp.nn import correlation
from lamp.nn.borders import MODES, misfit, padded
from tests.cases.module_case import error, gradients

D = torch.float64


def per_axis(data, axes, low, high):
    """One number for all axes, or one for each."""
    if data.draw(st.booleans()):
        return data.draw(st.integers(low, high))
    return tuple(data.draw(st.integers(low, high)) for _ in range(axes))


def least(option, axis):
    return option if isinstance(option, int) else option[axis]


def check(module, twin, x, tolerance=1e-11):
    module.load_state_dict(twin.double().state_dict()) if module.state_dict() else None
    y = module(x)
    assert error(y, twin(x).detach()) < tolerance
    dy = torch.randn_like(y)
    found = [module.backward(dy), *(parameter.grad for parameter in module.parameters())]
    for own, autograd in zip(found, gradients(twin, x, dy=dy[None]), strict=True):
        assert error(own, autograd) < tolerance


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_convolutions(axes, data):
    groups = data.draw(st.integers(1, 3))
    channels = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 3))
    options = {name: per_axis(data, axes, 1, 3) for name in ("kernel_size", "stride", "dilation")}
    mode = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    same = data.draw(st.integers(0, 3)) == 0
    options["padding"] = "same" if same else per_axis(data, axes, 0, 3)
    options["stride"] = 1 if same else options["stride"]
    sizes = [data.draw(st.integers(1, 6)) for _ in range(axes)]
    lead = data.draw(st.sampled_from([(), (1,), (2,)]))
    bias = data.draw(st.booleans())
    options |= {"groups": groups, "bias": bias, "padding_mode": mode}
    module, twin = (getattr(space, f"Conv{axes}d")(*channels, **options).to(D) for space in (L, torch.nn))
    x = torch.randn(*lead, channels[0], *sizes, dtype=D)
    try:
        twin(x)
    except RuntimeError:
        with pytest.raises(lamp.ShapeError):
            module(x)
        return
    check(module, twin, x)


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_transposed_convolutions(axes, data):
    groups = data.draw(st.integers(1, 3))
    channels = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 3))
    options = {name: per_axis(data, axes, 1, 3) for name in ("kernel_size", "stride", "dilation")}
    most = [max(least(options["stride"], k), least(options["dilation"], k)) - 1 for k in range(axes)]
    options["output_padding"] = tuple(data.draw(st.integers(0, n)) for n in most)
    options |= {"padding": per_axis(data, axes, 0, 2), "groups": groups, "bias": data.draw(st.booleans())}
    sizes = [data.draw(st.integers(1, 5)) for _ in range(axes)]
    lead = data.draw(st.sampled_from([(), (1,), (2,)]))
    module, twin = (getattr(space, f"ConvTranspose{axes}d")(*channels, **options).to(D) for space in (L, torch.nn))
    x = torch.randn(*lead, channels[0], *sizes, dtype=D)
    try:
        twin(x)
    except RuntimeError:
        with pytest.raises(lamp.ShapeError):
            module(x)
        return
    check(module, twin, x)


@given(st.data())
@settings(deadline=None)
def test_output_size(data):
    stride, padding, size = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 1)), data.draw(st.integers(2, 5))
    wanted = (size - 1) * stride - 2 * padding + 3 + data.draw(st.integers(0, stride - 1))
    module, twin = (space.ConvTranspose1d(2, 3, 3, stride, padding).to(D) for space in (L, torch.nn))
    module.load_state_dict(twin.state_dict())
    x = torch.randn(4, 2, size, dtype=D)
    for given_size in ([wanted], (wanted,), (4, 3, wanted)):
        y = module(x, given_size)
        assert y.shape[-1] == wanted
        assert error(y, twin(x, list(given_size)).detach()) < 1e-11
        dy = torch.randn_like(y)
        leaf = x.clone().requires_grad_()
        (dx,) = torch.autograd.grad(twin(leaf, output_size=list(given_size)), leaf, dy)
        assert error(module.backward(dy), dx) < 1e-11


@pytest.mark.parametrize("kind", ["Reflection", "Replication", "Circular", "Constant"])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_pads(kind, data):
    axes = data.draw(st.integers(1, 3))
    pads = tuple(data.draw(st.integers(-2, 4)) for _ in range(2 * axes))
    sizes = [data.draw(st.integers(1, 5)) for _ in range(axes)]
    value = (0.5,) if kind == "Constant" else ()
    module, twin = (getattr(space, f"{kind}Pad{axes}d")(pads, *value) for space in (L, torch.nn))
    x = torch.randn(*data.draw(st.sampled_from([(2,), (3, 2)])), *sizes, dtype=D)
    try:
        expected = twin(x)
    except RuntimeError:
        with pytest.raises(lamp.ShapeError):
            module(x)
        return
    if not expected.numel() or (kind == "Circular" and misfit(x.shape, pads, "circular")):
        return  # torch lets some of these pass, with nothing, or with numbers from nowhere
    assert torch.equal(module(x), expected)
    check(module, twin, x)


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
def test_a_border_holds_what_the_table_says(mode, data):
    n, before, after = (data.draw(st.integers(low, 5)) for low in (1, 0, 0))
    assume(misfit((n,), (before, after), mode) is None)
    places = range(-before, n + after)
    of = {
        "constant": lambda i: i if 0 <= i < n else -1,
        "reflect": lambda i: -i if i < 0 else 2 * (n - 1) - i if i >= n else i,
        "replicate": lambda i: min(max(i, 0), n - 1),
        "circular": lambda i: i % n,
    }[mode]
    assert padded(torch.arange(n), (before, after), mode, -1).tolist() == [of(i) for i in places]


@pytest.mark.parametrize("shared", [False, True], ids=["a batch each", "one batch"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: L.Conv2d(2, 3, 3, padding=1),
        lambda: L.Conv2d(2, 4, 3, 2, 1, groups=2, padding_mode="circular"),
        lambda: L.Conv1d(2, 3, 2, padding="same"),
        lambda: L.ConvTranspose2d(2, 3, 3, 2, 1, 1),
        lambda: L.Sequential(L.Conv2d(2, 3, 3), L.Tanh(), L.Conv2d(3, 4, 2), L.Flatten(), L.Linear(24, 2)),
    ],
)
def test_a_population_of_one_batch_or_of_its_own(make, shared):
    networks = lamp.population(make().to(D), range(3))
    axes = 1 if "Conv1d" in repr(networks) else 2
    x = torch.randn(*(() if shared else (3,)), 5, 2, *(6, 5)[:axes], dtype=D)
    y = networks(x if shared else networks.per_replica(x))
    dy = torch.randn_like(y)
    dx = networks.backward(dy)
    for k, single in enumerate(networks):
        own = x if shared else x[k]
        assert error(y[k], single(own)) < 1e-12
        assert error(dx[k], single.backward(dy[k])) < 1e-12
        for one, of_all in zip(single.parameters(), networks.parameters(), strict=True):
            assert error(of_all.grad[k], one.grad) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("make", [lambda s: s.Conv2d(4, 6, 3, padding=1), lambda s: s.ConvTranspose2d(4, 6, 3, 2)])
def test_the_gradients_of_weights_are_as_near_to_the_truth_as_torchs(make, dtype):
    torch.manual_seed(0)
    module, twin, truth = make(L), make(torch.nn), make(torch.nn).double()
    module.to(dtype), twin.to(dtype)
    module.load_state_dict(twin.state_dict())
    truth.load_state_dict(twin.state_dict())
    x = torch.randn(40, 4, 9, 8).to(dtype)
    dy = torch.randn_like(module(x))
    module(x), module.backward(dy)
    exact = gradients(truth, x.double(), dy=dy.double()[None])[1:]
    theirs = gradients(twin, x, dy=dy[None])[1:]
    for own, other, right in zip(module.parameters(), theirs, exact, strict=True):
        off, torchs = (float((each.double() - right).norm() / right.norm()) for each in (own.grad, other))
        assert off <= 1.5 * torchs + 1e-9


def test_gradients_by_the_checker():
    lamp.check_gradients(L.Conv2d(2, 3, 3, 2, 1), torch.randn(3, 2, 6, 5))
    lamp.check_gradients(L.ConvTranspose1d(2, 3, 3, 2), torch.randn(3, 2, 5))
    lamp.check_gradients(L.ReflectionPad2d(1), torch.randn(3, 2, 4, 5))
    lamp.check_gradients(L.Unfold(2), torch.randn(3, 2, 4, 5))


def test_a_batch_of_nothing():
    conv = L.Conv2d(2, 3, 3)
    y = conv(torch.randn(0, 2, 5, 6))
    assert y.shape == (0, 3, 3, 4)
    assert conv.backward(y).shape == (0, 2, 5, 6)
    assert not conv.weight.grad.any()


@pytest.mark.parametrize("groups_apart", [True, False])
def test_groups_are_the_same_together_and_one_by_one(groups_apart, monkeypatch):
    """Whether groups are convolved one by one depends on their work alone."""
    monkeypatch.setattr(correlation, "MUCH_WORK", 0 if groups_apart else 2**60)
    module = lamp.Conv2d(6, 9, (3, 2), padding=1, groups=3, dtype=torch.float64)
    peer = lamp.to_torch(module)
    x = torch.randn(5, 6, 7, 4, dtype=torch.float64, requires_grad=True)
    dy = torch.randn(5, 9, 7, 5, dtype=torch.float64)
    y = peer(x)
    y.backward(dy)
    assert torch.allclose(module(x.detach()), y, rtol=1e-12, atol=1e-12)
    assert torch.allclose(module.backward(dy), x.grad, rtol=1e-12, atol=1e-12)
    assert torch.allclose(module.weight.grad, peer.weight.grad, rtol=1e-12, atol=1e-12)
    assert torch.allclose(module.bias.grad, peer.bias.grad, rtol=1e-12, atol=1e-12)
