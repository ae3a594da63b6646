"""All optimizers of torch's own table of cases: 20 steps from the same values by the same gradients."""

import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import lamp
from lamp.optim import Optimizer
from lamp.parameter import Parameter, flatten
from tests.cases.optimizers import numbers_in_float64

INFOS = {info.optim_cls.__name__: info for info in optim_db}  # type: ignore[attr-defined]
STEPS = 20
NOT_LAMPS = ("foreach", "fused", "differentiable", "capturable")  # how torch computes, not what
SHAPES = {"Muon": [(3, 4), (6, 2), (5, 5)]}


@pytest.fixture(autouse=True)
def in_float64():
    with numbers_in_float64():
        yield


def configurations():
    for name, info in INFOS.items():
        for k, given in enumerate(info.optim_inputs_func(device="cpu")):
            if not set(NOT_LAMPS) & set(given.kwargs):
                yield pytest.param(name, given.kwargs, id=f"{name}-{k}-{given.desc}".replace(" ", "-"))


def pair(name, kwargs):
    kwargs = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}  # torch: in lr's dtype
    data = [torch.randn(shape) for shape in SHAPES.get(name, [(3, 4), (4,), (2, 3, 5), (1,)])]
    params, twins = [Parameter(x.clone()) for x in data], [torch.nn.Parameter(x.clone()) for x in data]
    flatten(params)
    return params, twins, getattr(lamp, name)(params, **kwargs), INFOS[name].optim_cls(twins, **kwargs)


@pytest.mark.parametrize(("name", "kwargs"), list(configurations()))
def test_twenty_steps(name, kwargs):
    torch.manual_seed(0)
    params, twins, optimizer, twin = pair(name, kwargs)
    goals = [torch.randn_like(x) for x in twins]

    def gradients(values):
        """Those of a sum of squares with curvatures 1 to 4, plus noise that both get."""
        return [(1 + k) * (x.detach() - goal) for k, (x, goal) in enumerate(zip(values, goals, strict=True))]

    def loss(values):
        pairs = zip(values, goals, strict=True)
        return sum((1 + k) * (x.detach() - goal).square().sum() / 2 for k, (x, goal) in enumerate(pairs))

    def put(values, found):
        for x, gradient in zip(values, found, strict=True):
            x.grad = gradient

    for _ in range(STEPS):
        if name == "LBFGS":
            data = [each.data for each in params]

            def closure(data=data):
                put(params, gradients(data))
                return loss(data)

            def closure_of_twin():
                put(twins, gradients(twins))
                return loss(twins)

            optimizer.step(closure)
            twin.step(closure_of_twin)
        else:
            noise = [torch.randn_like(x) for x in twins]
            put(params, [g + n for g, n in zip(gradients([each.data for each in params]), noise, strict=True)])
            put(twins, [g + n for g, n in zip(gradients(twins), noise, strict=True)])
            if name == "SparseAdam":
                for x, part in zip(twins, params, strict=True):
                    part.grad[..., 0] = 0.0
                    x.grad[..., 0] = 0.0
                    x.grad = x.grad.to_sparse()
            optimizer.step()
            twin.step()
        for param, other in zip(params, twins, strict=True):
            torch.testing.assert_close(param.data, other.detach(), rtol=1e-12, atol=1e-14)


# Errors of torch about what lamp does not have, or does: options that say how torch computes, sparse and complex
# parameters, names of parameters, and hyperparameters that are tensors, which lamp takes.
NOT_HERE = ("foreach", "names", "betas must be either", "dense parameter", "complex", "duplicate", "capturable")


def errors():
    for name, info in INFOS.items():
        for k, wrong in enumerate(info.optim_error_inputs_func(device="cpu", dtype=torch.float64)):
            if not any(word in wrong.error_regex for word in NOT_HERE):
                yield pytest.param(name, wrong, id=f"{name}-{k}")


@pytest.mark.parametrize(("name", "wrong"), list(errors()))
def test_errors(name, wrong):
    given = wrong.optimizer_error_input
    shape = (3, 4)

    def as_lamps(params):
        if params is None or isinstance(params, torch.Tensor):
            return params if params is not None else [Parameter(torch.randn(shape))]
        return [
            {**each, "params": as_lamps(each["params"])} if isinstance(each, dict) else Parameter(torch.randn(shape))
            for each in params
        ]

    params = given.params
    if "more than one parameter group" in wrong.error_regex:
        one = Parameter(torch.randn(shape))
        params = [{"params": [one]}, {"params": [one]}]
    elif "2D" in wrong.error_regex:
        params = [Parameter(torch.randn(3))]
    else:
        params = as_lamps(params)
    with pytest.raises(wrong.error_type) as caught:
        getattr(lamp, name)(params, **given.kwargs)
    assert isinstance(caught.value, lamp.LampError)
    assert wrong.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR


def test_no_optimizer_of_the_table_is_missing():
    assert len(INFOS) >= 15
    assert all(issubclass(getattr(lamp, name), Optimizer) for name in INFOS)
