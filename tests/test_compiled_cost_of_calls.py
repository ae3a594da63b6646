"""What `fit` does beside its steps when the compiled engine trains, counted as operations on tensors."""

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

import lamp
from tests.cases.compiled import network, task

TASK = task("CrossEntropyLoss")
DATA = TASK.data(20)


class Counted(TorchDispatchMode):
    """Counts the operations on tensors of this thread."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(epochs, **options):
    """How many operations on tensors a training of so many epochs makes, in this thread."""
    model = network(TASK)
    optimizer = lamp.SGD(model.parameters(), lr=0.01)
    given = {"batch_size": 5, "shuffle": False, "progress": False, "engine": "compiled", **options}
    with Counted() as counted:
        lamp.fit(model, TASK.make(), optimizer, DATA, epochs=epochs, **given)
    return counted.count


@pytest.mark.parametrize("metrics", [(), "accuracy"], ids=["loss", "accuracy"])
def test_an_epoch_trained_ahead_costs_no_operation_on_tensors(metrics, monkeypatch):
    monkeypatch.setattr("lamp.training.prefetching.BLOCK_SECONDS", (1e9, 1e9))  # all epochs but the first in one block
    few, many = (operations(epochs, metrics=metrics) for epochs in (50, 200))
    assert few > 0
    assert many - few < 20, "operations for 150 more epochs"
