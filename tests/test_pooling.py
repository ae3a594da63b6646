"""Pooling: shapes that hypothesis draws, places of the largest numbers, unpooling, and errors."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given

import lamp
from tests.cases.module_case import error

K = 3
D = torch.float64


def drawn(shape, seed):
    """Numbers of which several are equal, so that the first of them counts."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=generator).to(D) + 0.25


@given(
    axes=st.integers(1, 3), kernel=st.integers(1, 3), stride=st.integers(1, 4), padding=st.integers(0, 1),
    dilation=st.integers(1, 2), ceil=st.booleans(), size=st.integers(1, 9), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_max_pools_of_any_shape(axes, kernel, stride, padding, dilation, ceil, size, seed):
    assume(padding <= kernel // 2)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil, "return_indices": True}
    x = drawn((2, 3, *(size + k for k in range(axes))), seed).requires_grad_()
    twin = getattr(torch.nn, f"MaxPool{axes}d")(kernel, **options)
    module = getattr(lamp, f"MaxPool{axes}d")(kernel, **options)
    try:
        y, places = twin(x)
        assert y.numel()
    except (RuntimeError, AssertionError):
        with pytest.raises(lamp.ShapeError, match="smaller than a window"):
            module(x.detach())
        return
    found, own = module(x.detach())
    assert torch.equal(found, y.detach())
    assert torch.equal(own, places)
    dy = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, x, dy)
    assert error(module.backward(dy, None), wanted) < 1e-12


@given(
    axes=st.integers(1, 3), kernel=st.integers(1, 4), stride=st.integers(1, 5), padding=st.integers(0, 2),
    ceil=st.booleans(), counted=st.booleans(), size=st.integers(1, 9), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_average_pools_of_any_shape(axes, kernel, stride, padding, ceil, counted, size, seed):
    assume(padding <= kernel // 2)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil, "count_include_pad": counted}
    x = drawn((2, 3, *(size + k for k in range(axes))), seed).requires_grad_()
    twin = getattr(torch.nn, f"AvgPool{axes}d")(kernel, **options)
    module = getattr(lamp, f"AvgPool{axes}d")(kernel, **options)
    try:
        y = twin(x)
        assert y.numel()
    except (RuntimeError, AssertionError):
        with pytest.raises(lamp.ShapeError, match="smaller than a window"):
            module(x.detach())
        return
    assert error(module(x.detach()), y.detach()) < 1e-12
    dy = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, x, dy)
    assert error(module.backward(dy), wanted) < 1e-12


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3), data=st.data(), seed=st.integers(0, 10**6))
@pytest.mark.parametrize("kind", ["AdaptiveAvgPool", "AdaptiveMaxPool"])
def test_adaptive_pools_of_any_size(kind, sizes, data, seed):
    outputs = tuple(data.draw(st.one_of(st.none(), st.integers(1, 10))) for _ in sizes)
    assume(kind == "AdaptiveAvgPool" or len(sizes) > 1 or outputs[0] is not None)
    if len(sizes) == 1:
        outputs = (outputs[0] or 2,)
    x = drawn((2, 3, *sizes), seed).requires_grad_()
    twin = getattr(torch.nn, f"{kind}{len(sizes)}d")(outputs)
    module = getattr(lamp, f"{kind}{len(sizes)}d")(outputs)
    y = twin(x)
    assert error(module(x.detach()), y.detach()) < 1e-12
    dy = torch.randn_like(y)
    (wanted,) = torch.autograd.grad(y, x, dy)
    assert error(module.backward(dy), wanted) < 1e-12


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("replicas", [None, K])
def test_unpooling_puts_numbers_back(axes, replicas):
    torch.manual_seed(0)
    shape = (2, 3, *(7, 9, 5)[:axes])
    x = torch.randn(shape, dtype=D)
    pool, unpool = getattr(lamp, f"MaxPool{axes}d")(2, return_indices=True), getattr(lamp, f"MaxUnpool{axes}d")(2)
    twin = getattr(torch.nn, f"MaxUnpool{axes}d")(2)
    y, places = pool(x)
    variable = y.clone().requires_grad_()
    exact = twin(variable, places, output_size=x.shape)
    dz = torch.randn_like(exact)
    (wanted,) = torch.autograd.grad(exact, variable, dz)
    if replicas:
        for module in (pool, unpool):
            module.replicas = replicas
        y, places, dz = (each.expand(replicas, *each.shape) for each in (y, places, dz))
    z = unpool(y, places, output_size=x.shape)
    d = unpool.backward(dz)
    for own, other in [(z, exact.detach()), (d, wanted)]:
        for each in own if replicas else [own]:
            assert error(each, other) < 1e-12
    even = x[(..., *[slice(0, 4)] * axes)]
    y, places = pool(even.expand(replicas, *even.shape) if replicas else even)
    assert unpool(y, places).shape[-axes:] == torch.Size([4] * axes)


def test_a_pool_with_indices_within_a_network():
    """Its backward takes a gradient for each output, and none for the places."""
    pool = lamp.MaxPool1d(2, return_indices=True)
    y, _ = pool(torch.tensor([[[1.0, 3.0, 2.0, 2.0]]]))
    assert torch.equal(y, torch.tensor([[[3.0, 2.0]]]))
    d = pool.backward((torch.tensor([[[5.0, 7.0]]]), None))
    assert torch.equal(d, torch.tensor([[[0.0, 5.0, 7.0, 0.0]]]))  # of two equal numbers the first one


@pytest.mark.parametrize("shape", [(37, 1, 6, 6), (3, 22, 5, 4), (1, 1, 200, 190), (0, 3, 6, 6)])
def test_planes_are_pooled_alike_however_many_there_are_and_however_large(shape):
    x = drawn(shape, 0).requires_grad_()
    dy = torch.randn(*shape[:2], shape[2] // 2, shape[3] // 2, dtype=D)
    twin, module = torch.nn.MaxPool2d(2), lamp.MaxPool2d(2)
    y = twin(x)
    y.backward(dy)
    assert torch.equal(module(x.detach()), y)
    assert torch.equal(module.backward(dy), x.grad)


def test_infinities_have_a_place():
    x = torch.full((1, 1, 4, 4), float("-inf"))
    for pool in (lamp.MaxPool2d(2, return_indices=True), lamp.MaxPool2d(3, 1, 1, return_indices=True)):
        y, places = pool(x)
        assert (y == float("-inf")).all()
        assert ((places >= 0) & (places < 16)).all()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: lamp.MaxPool2d(3, padding=2), lamp.ArgumentError, "half the window"),
        (lambda: lamp.MaxPool2d(0), lamp.ArgumentError, "kernel_size"),
        (lambda: lamp.MaxPool2d((2, 2, 2)), lamp.ArgumentError, "kernel_size"),
        (lambda: lamp.MaxPool2d(5)(torch.ones(1, 1, 4, 4)), lamp.ShapeError, "smaller than a window"),
        (lambda: lamp.MaxPool2d(2)(torch.ones(4, 4)), lamp.ShapeError, "B, C, H, W"),
        (lambda: lamp.AvgPool2d(2)(torch.ones(1, 1, 4, 4).long()), lamp.DTypeError, "int64"),
        (lambda: lamp.AvgPool2d(2, divisor_override=0), lamp.ArgumentError, "divisor_override"),
        (lambda: lamp.LPPool2d(0, 2), lamp.ArgumentError, "norm_type"),
        (lambda: lamp.AdaptiveAvgPool2d((2, 2, 2)), lamp.ArgumentError, "output_size"),
        (lambda: lamp.MaxUnpool1d(2)(torch.ones(1, 1, 2), torch.full((1, 1, 2), 9)), lamp.ArgumentError, "index"),
        (lambda: lamp.MaxUnpool1d(2)(torch.ones(1, 1, 2), torch.ones(1, 1, 2)), lamp.ArgumentError, "int64"),
        (lambda: lamp.MaxUnpool1d(2)(torch.ones(1, 1, 2), torch.ones(1, 1, 1).long()), lamp.ShapeError, "place"),
        (
            lambda: lamp.MaxUnpool1d(2)(torch.ones(1, 1, 2), torch.zeros(1, 1, 2).long(), output_size=(9,)),
            lamp.ArgumentError,
            "output_size",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert caught.value.fix


def test_fractional_pools_draw_as_seed_and_step_say():
    """Other windows at each step, the same after a reset to seed and step, and in eval mode those of the last step."""
    x = torch.randn(2, 3, 9, 8, dtype=D)
    pool = lamp.FractionalMaxPool2d(2, output_ratio=0.6)
    torch.manual_seed(1)
    first, second = pool(x), pool(x)
    assert not torch.equal(first, second)
    seed, _, generator = pool.get_extra_state()
    pool.set_extra_state((seed, 0, generator))
    assert torch.equal(pool(x), first)
    assert torch.equal(pool(x), second)
    pool.eval()
    assert torch.equal(pool(x), pool(x))


def test_replicas_of_a_fractional_pool_have_their_own_windows():
    x = torch.randn(2, 3, 9, 8, dtype=D)
    networks = lamp.population(lamp.Sequential(lamp.FractionalMaxPool2d(2, 4)), seeds=range(K))
    y = networks(x)
    assert not torch.equal(y[0], y[1])
    for k in range(K):
        alone = networks[k]
        alone[0].step = 0
        assert torch.equal(alone(x), y[k])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lamp.FractionalMaxPool2d(2), "output_size or output_ratio"),
        (lambda: lamp.FractionalMaxPool2d(2, 3, 0.5), "output_size or output_ratio"),
        (lambda: lamp.FractionalMaxPool2d(2, output_ratio=1.5), "output_ratio"),
        (lambda: lamp.FractionalMaxPool2d(3, 3)(torch.ones(1, 1, 4, 4)), "too small"),
    ],
)
def test_what_does_not_fit_a_fractional_pool(call, words):
    with pytest.raises(lamp.LampError, match=words) as caught:
        call()
    assert caught.value.fix
