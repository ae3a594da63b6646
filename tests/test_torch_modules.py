"""All modules of torch's own table of cases: output, gradients of inputs and of parameters, beside autograd."""

import pytest

import lamp
from tests.cases import torch_tables

NAMES = list(torch_tables.MODULES)
NOT_YET = sorted(name for name in NAMES if not hasattr(lamp, name))


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_YET])
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


def test_no_module_of_the_table_is_missing():
    assert len(NAMES) >= 114
    assert not NOT_YET
