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
SHAPES = {"Muon": [(3, 4), (6, 2), (5, 5)]}


@pytest.fixture(autouse=True)
def in_float64():
    with numbers_in_float64():
        yield


def configurations(name):
    return INFOS[name].optim_inputs_func(device="cpu")


def pair(name, kwargs):
    kwargs = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}  # torch: in lr's dtype
    data = [torch.randn(shape) for shape in SHAPES.get(name, [(3, 4), (4,), (2, 3, 5), (1,)])]
    params, twins = [Parameter(x.clone()) for x in data], [torch.nn.Parameter(x.clone()) for x in data]
    flatten(params)
    return params, twins, getattr(lamp, name)(params, **kwargs), INFOS[name].optim_cls(twins, **kwargs)


@pytest.mark.parametrize("name", INFOS)
def test_twenty_steps(name, capsys):
    failures, total = {}, 0
    for given in configurations(name):
        total += 1
        try:
            check_steps(name, given.kwargs)
        except (AssertionError, lamp.LampError) as error:
            failures[given.desc] = str(error)
    with capsys.disabled():
        print(f"{name} {total - len(failures)}/{total}")
    assert not failures
    assert total


def check_steps(name, kwargs):
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


# Where lamp does something else than raise the same error: words of torch's, and what lamp raises.
OTHERWISE = {
    "duplicate": lamp.ArgumentError,  # where torch warns
    **dict.fromkeys(("foreach", "fused", "capturable"), lamp.LampError),  # how torch computes: no options of lamp's
    **dict.fromkeys(("dense parameter", "complex"), lamp.LampError),  # from lamp.Parameter
    "betas must be either": None,  # numbers and tensors may be mixed
}


def errors():
    for name, info in INFOS.items():
        for k, wrong in enumerate(info.optim_error_inputs_func(device="cpu", dtype=torch.float64)):
            yield pytest.param(name, wrong, id=f"{name}-{k}")


def as_lamps(params):
    """Parameters, names and groups as torch's, with lamp's parameters."""
    made = {}

    def own(each):
        if isinstance(each, dict):
            return {**each, "params": own(each["params"])}
        if isinstance(each, list | tuple):
            return type(each)(map(own, each))
        if isinstance(each, torch.Tensor):
            return made.setdefault(id(each), each if each is params else Parameter(each.detach()))
        return each

    return [Parameter(torch.randn(3, 4))] if params is None else own(params)


@pytest.mark.parametrize(("name", "wrong"), list(errors()))
def test_errors(name, wrong):
    given = wrong.optimizer_error_input
    kinds = [kind for words, kind in OTHERWISE.items() if words in wrong.error_regex]
    if kinds == [None]:
        getattr(lamp, name)(as_lamps(given.params), **given.kwargs)
        return
    with pytest.raises(kinds[0] if kinds else wrong.error_type) as caught:
        getattr(lamp, name)(as_lamps(given.params), **given.kwargs)
    assert isinstance(caught.value, lamp.LampError)
    assert None not in (caught.value.expected, caught.value.got, caught.value.fix)
    assert kinds or wrong.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR


def test_no_optimizer_of_the_table_is_missing():
    assert len(INFOS) >= 15
    assert sum(len(configurations(name)) for name in INFOS) >= 91
    assert len(list(errors())) >= 124
    assert all(issubclass(getattr(lamp, name), Optimizer) for name in INFOS)
