"""Gradient clipping gives torch.nn.utils' values for any layout, and clips each replica of a population by itself."""

import inspect

import pytest
import torch

from lamp.errors import ArgumentError, NonFiniteError
from lamp.nn import Linear, Sequential
from lamp.optim import SGD, clip_grad_norm_, clip_grad_value_
from lamp.parameter import Parameter, flatten
from tests.cases.optimizers import SHAPES, close

CLIPPERS = (clip_grad_norm_, clip_grad_value_)


def pair(lay=flatten, scale=1.0, dtype=torch.float64):
    data = [torch.randn(shape, dtype=dtype) for shape in SHAPES]
    params, twins = [Parameter(x.clone()) for x in data], [torch.nn.Parameter(x.clone()) for x in data]
    lay(params)
    for param, twin in zip(params, twins, strict=True):
        twin.grad = torch.randn_like(twin) * scale
        param.grad = twin.grad
    return params, twins


def _apart(params):
    pass


def _halves(params):
    flatten(params[::2])
    flatten(params[1::2])


@pytest.mark.parametrize("lay", [flatten, _apart, _halves])
@pytest.mark.parametrize("norm_type", [2.0, 2, 1.0, 3.0, 0.7, float("inf"), "inf"])
@pytest.mark.parametrize("max_norm", [0.0, 0.3, 2, 1e3, float("inf")])
def test_clip_grad_norm_is_torchs(max_norm, norm_type, lay):
    params, twins = pair(lay, scale=0.5)
    ours = clip_grad_norm_(params, max_norm, norm_type)
    theirs = torch.nn.utils.clip_grad_norm_(twins, max_norm, norm_type)
    assert ours.shape == theirs.shape
    close(ours, theirs)
    for param, twin in zip(params, twins, strict=True):
        close(param.grad, twin.grad)


@pytest.mark.parametrize("lay", [flatten, _apart, _halves])
@pytest.mark.parametrize("clip_value", [0.0, 0.3, 2, 1e3])
def test_value(clip_value, lay):
    params, twins = pair(lay)
    assert clip_grad_value_(params, clip_value) is None
    torch.nn.utils.clip_grad_value_(twins, clip_value)
    for param, twin in zip(params, twins, strict=True):
        assert torch.equal(param.grad, twin.grad)


def test_gradients_of_two_dtypes():
    """As in torch, the norm is taken over all gradients."""
    (params, twins), (more, their_twins) = pair(), pair(dtype=torch.float32)
    params, twins = [*params, *more], [*twins, *their_twins]
    ours, theirs = clip_grad_norm_(params, 0.3), torch.nn.utils.clip_grad_norm_(twins, 0.3)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for param, twin in zip(params, twins, strict=True):
        assert param.grad.dtype == twin.dtype
        torch.testing.assert_close(param.grad, twin.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("lay", [flatten, _apart, _halves])
def test_an_optimizer_in_place_of_its_parameters(lay):
    for clip in CLIPPERS:
        params, twins = pair(lay)
        optimizer = SGD([{"params": params[:2]}, {"params": params[2:]}])
        lay(params)
        clip(optimizer, 0.3)
        getattr(torch.nn.utils, clip.__name__)(twins, 0.3)
        for param, twin in zip(params, twins, strict=True):
            close(param.grad, twin.grad)


def test_only_the_parameters_given():
    model = Sequential(Linear(3, 5), Linear(5, 2))
    for param in model.parameters():
        param.grad = torch.ones(param.shape)
    clip_grad_norm_(model[0].parameters(), 0.1)
    clip_grad_value_(model[1].bias, 0.5)
    first, second = (torch.cat([p.grad.flatten() for p in layer.parameters()]) for layer in model)
    torch.testing.assert_close(first.norm(), torch.tensor(0.1), rtol=1e-4, atol=0)
    assert second.tolist() == [1.0] * 10 + [0.5] * 2


@pytest.mark.parametrize("apart", [False, True])
def test_each_network_of_a_population_by_its_own_norm(apart):
    scales = torch.tensor([0.01, 1.0, 5.0], dtype=torch.float64)
    shapes = [(3, 2, 4), (3, 5)]
    grads = [torch.randn(shape, dtype=torch.float64) * scales.view(3, *[1] * (len(shape) - 1)) for shape in shapes]
    params = [Parameter(torch.zeros_like(grad), replicas=3) for grad in grads]
    if not apart:
        flatten(params)
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    norm = clip_grad_norm_(params, 1.0)
    assert norm.shape == (3,)
    for k in range(3):
        twins = [torch.nn.Parameter(torch.zeros_like(grad[k])) for grad in grads]
        for twin, grad in zip(twins, grads, strict=True):
            twin.grad = grad[k].clone()
        close(norm[k], torch.nn.utils.clip_grad_norm_(twins, 1.0))
        for param, twin in zip(params, twins, strict=True):
            close(param.grad[k], twin.grad)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_norms_that_are_not_finite(bad):
    params, twins = pair()
    for one in (params[1], twins[1]):
        one.grad[2] = bad
    before = [param.grad.clone() for param in params]
    with pytest.raises(NonFiniteError, match="1 NaN or infinite elements"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    for param, old in zip(params, before, strict=True):
        torch.testing.assert_close(param.grad, old, rtol=0, atol=0, equal_nan=True)
    ours, theirs = clip_grad_norm_(params, 1.0), torch.nn.utils.clip_grad_norm_(twins, 1.0)
    torch.testing.assert_close(ours, theirs, equal_nan=True)
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param.grad, twin.grad, equal_nan=True)


@pytest.mark.parametrize("clip", CLIPPERS)
@pytest.mark.parametrize("limit", [-1.0, float("nan"), None, "1"])
def test_a_limit_that_is_none(clip, limit):
    params, _ = pair()
    before = [param.grad.clone() for param in params]
    with pytest.raises(ArgumentError, match="is out of range"):
        clip(params, limit)
    assert all(torch.equal(param.grad, old) for param, old in zip(params, before, strict=True))


@pytest.mark.parametrize("norm_type", [0.0, -1.0, float("nan"), -float("inf"), "two"])
def test_a_norm_that_is_none(norm_type):
    with pytest.raises(ArgumentError, match="no norm of this order"):
        clip_grad_norm_(pair()[0], 1.0, norm_type)


@pytest.mark.parametrize("clip", CLIPPERS)
@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ([], "has no parameters"),
        (torch.zeros(3), "needs an ordered collection"),
        ([torch.nn.Parameter(torch.zeros(3))], "needs lamp's parameters"),
        (Sequential(Linear(2, 3)), "pass model.parameters()"),
    ],
    ids=["none", "a tensor", "torch's", "a network"],
)
def test_what_are_no_parameters(clip, parameters, says):
    with pytest.raises(ArgumentError) as caught:
        clip(parameters, 1.0)
    assert says in str(caught.value)


@pytest.mark.parametrize("clip", CLIPPERS)
def test_arguments_are_torchs(clip):
    theirs = inspect.signature(getattr(torch.nn.utils, clip.__name__)).parameters
    ours = inspect.signature(clip).parameters
    assert [*ours, "foreach"] == list(theirs)
    assert all(parameter.default == theirs[name].default for name, parameter in ours.items())


def test_a_norm_that_float16_cannot_hold():
    """torch's norm is infinite there, and all gradients become 0."""
    parameter = Parameter(torch.zeros(5, dtype=torch.float16))
    parameter.grad = torch.full((5,), 60_000.0, dtype=torch.float16)
    norm = clip_grad_norm_([parameter], 1.0)
    assert norm.item() == pytest.approx(60_000.0 * 5**0.5)
    assert parameter.grad.tolist() == pytest.approx([5**-0.5] * 5, rel=1e-3)
