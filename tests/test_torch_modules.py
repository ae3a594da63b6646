"""All modules of torch's own table of cases: output, gradients of inputs and of parameters, beside autograd."""

import copy

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import lamp
from tests.cases import torch_tables

NAMES = list(torch_tables.MODULES)
NOT_YET = sorted(name for name in NAMES if not hasattr(lamp, name))


@pytest.mark.parametrize(("name", "training"), [each for each in torch_tables.MODES if each.values[0] not in NOT_YET])
def test_every_sample(name, training, capsys):
    failures, total = {}, 0
    for what, sample in torch_tables.samples(name, training):
        total += 1
        try:
            torch_tables.check(name, sample, training)
        except (AssertionError, lamp.LampError) as error:
            failures[what] = str(error).replace("\n", " ")
    with capsys.disabled():
        print(f"{name} {total - len(failures)}/{total}")
    assert not failures
    assert total


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_YET and torch_tables.errors(name)])
def test_every_error(name):
    failures = {}
    for k, wrong in enumerate(torch_tables.errors(name)):
        try:
            torch_tables.check_error(name, wrong)
        except AssertionError as error:
            failures[k] = f"{error}: {wrong.error_regex}"
    assert not failures


@pytest.mark.parametrize("name", NAMES)
def test_the_default_dtype_changes_nothing(name):
    """Float32 modules compute the same bits where torch's default is float64."""
    for _, sample in list(torch_tables.samples(name, True))[:2]:
        given = tree_map(as_float32, (sample.forward_input.args, sample.forward_input.kwargs))
        first = torch_tables.own(name, sample).float()
        found = []
        for default, module in ((torch.float32, first), (torch.float64, copy.deepcopy(first))):
            torch.set_default_dtype(default)
            torch.manual_seed(0)
            try:
                runs = module if isinstance(module, lamp.Loss) else torch_tables.Within(module)
                y = runs(*given[0], **given[1])
                dy = tree_map(lambda x: torch.ones_like(x) if x.is_floating_point() else None, y)
                dx = runs.backward(*dy) if isinstance(dy, tuple) else runs.backward(dy)
                gradients = [parameter.grad for parameter in module.parameters()]
            except lamp.NonFiniteError:
                break  # some inputs of KLDivLoss are NaN
            finally:
                torch.set_default_dtype(torch.float32)
            tensors = [each for each in tree_leaves((y, dx, gradients)) if isinstance(each, torch.Tensor)]
            assert {each.dtype for each in tensors if each.is_floating_point()} <= {torch.float32}
            found.append(tensors)
        for one, other in zip(*found, strict=True) if found else ():
            assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


def as_float32(x):
    if not isinstance(x, torch.Tensor):
        return x
    return x.detach().float() if x.is_floating_point() else x.detach()


def test_no_module_of_the_table_is_missing():
    assert len(NAMES) >= 114
    assert not NOT_YET
    assert sum(1 for name in NAMES for mode in (True, False) for _ in torch_tables.samples(name, mode)) >= 3_618
    assert sum(len(torch_tables.errors(name)) for name in NAMES) >= 90
