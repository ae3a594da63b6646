"""Populations of all modules of torch's own table of cases: each replica is the network alone, to 1e-10."""

import pytest

import lamp
from lamp.errors import LampError
from tests.cases import torch_populations, torch_tables

MOST = 12  # samples of a module; of longer lists some are left out
REFUSED = {  # modules that refuse some samples in a population, and why
    "CTCLoss": "its targets and lengths have no axis of replicas; tests/test_ctc.py has its populations",
    "KLDivLoss": "the samples are not probabilities, and a single network raises an error for the loss NaN",
    **dict.fromkeys(
        (
            "MultiheadAttention",
            "Transformer",
            "TransformerDecoderLayer",
            "TransformerEncoder",
            "TransformerEncoderLayer",
        ),
        "some masks have no axis of replicas",
    ),
    "Softmax": "a sample that is one number has no axis beside that of the replicas",
    "LogSoftmax": "as Softmax",
    "Softmin": "as Softmax",
}
NAMES = [name for name in torch_tables.MODULES if hasattr(lamp, name)]


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["inputs of their own", "shared inputs"])
@pytest.mark.parametrize("name", NAMES)
def test_each_replica_is_its_network(name, own, capsys):
    samples = list(torch_tables.samples(name, True))
    samples = samples[:: -(-len(samples) // MOST)]
    failures, refused = {}, 0
    for what, sample in samples:
        try:
            torch_populations.check(name, sample, True, own)
        except LampError as error:
            if name in REFUSED:
                refused += 1
            else:
                failures[what] = str(error)
        except AssertionError as error:
            failures[what] = str(error)
    with capsys.disabled():
        print(f"{name} {len(samples) - len(failures) - refused}/{len(samples)}")
    assert not failures
    assert refused <= (len(samples) if name in ("CTCLoss", "MultiheadAttention") else 0.6 * len(samples))


def test_few_modules_refuse_samples():
    assert len(NAMES) >= 114
    assert len(REFUSED) <= 10
