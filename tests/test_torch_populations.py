"""Populations of all modules of torch's own table of cases: each replica is the network alone, to 1e-10."""

import copy

import pytest
import torch

import lamp
from tests.cases import torch_populations, torch_tables

REFUSED = {  # the only samples that a population refuses, by module: words of their description and of the error
    # A sample that is one number has dim 0 all the same in torch. In a population its one axis is that of the replicas.
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmin"), ("scalar", "does not have the axes needed")),
    # The two labels that are drawn with seed 0 are both to be ignored: torch's loss is 0 / 0, an error for one network.
    "CrossEntropyLoss": ("2d_ignore_index_mean", "no label is left to take the mean over"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "training"), torch_tables.MODES)
def test_each_replica_is_its_network(name, training, capsys):
    """Both with inputs of its own and with inputs that all replicas share."""
    torch.manual_seed(0)  # from which the samples are drawn
    failures, refused, total = {}, [], 0
    for what, sample in torch_tables.samples(name, training):
        sample_words, error_words = REFUSED.get(name, ("no sample", ""))
        made = torch_populations.networks(name, sample, training)
        for own in (True, False):
            total += 1
            told = f"{what}, {'inputs of their own' if own else 'shared inputs'}"
            try:
                torch_populations.check(copy.deepcopy(made), sample, own)
            except lamp.LampError as error:
                if sample_words in what and error_words in str(error):
                    refused.append(told)
                else:
                    failures[told] = str(error)
            except AssertionError as error:
                failures[told] = str(error)
    with capsys.disabled():
        print(f"{name} {total - len(failures) - len(refused)}/{total}")
    assert not failures
    assert len(refused) == 2 * (name in REFUSED)


def test_no_module_of_the_table_is_missing():
    assert len(torch_tables.MODULES) >= 114
    assert all(hasattr(lamp, name) for name in torch_tables.MODULES)
