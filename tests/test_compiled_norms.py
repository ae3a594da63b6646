"""Networks with norms of each sample compile, and train as with the eager engine."""

import pytest
import torch

import lamp
from tests.test_compiled_windows import network, trained_alike

NETWORKS = {
    "layer": ((4,), lambda: [lamp.Linear(4, 7), lamp.LayerNorm(7), lamp.Tanh()]),
    "layer, the data": ((4,), lambda: [lamp.LayerNorm(4), lamp.Linear(4, 7), lamp.GELU(), lamp.LayerNorm(7)]),
    "layer without bias": ((4,), lambda: [lamp.Linear(4, 9), lamp.LayerNorm(9, bias=False), lamp.ReLU()]),
    "layer without weights": (
        (4,),
        lambda: [lamp.Linear(4, 7), lamp.LayerNorm(7, elementwise_affine=False), lamp.Tanh()],
    ),
    "root mean square": ((4,), lambda: [lamp.Linear(4, 7), lamp.RMSNorm(7, eps=0.01), lamp.Tanh()]),
    "a large eps": ((4,), lambda: [lamp.Linear(4, 7), lamp.LayerNorm(7, eps=0.5), lamp.Tanh()]),
    "one number": ((4,), lambda: [lamp.Linear(4, 1), lamp.RMSNorm(1, eps=0.1), lamp.Tanh()]),
    "layer of images": ((2, 5, 4), lambda: [lamp.Conv2d(2, 3, 2), lamp.LayerNorm([4, 3]), lamp.ReLU()]),
    "groups": ((2, 5, 4), lambda: [lamp.Conv2d(2, 6, 2), lamp.GroupNorm(3, 6), lamp.ReLU(), lamp.MaxPool2d(2)]),
    "each channel": ((2, 5, 4), lambda: [lamp.Conv2d(2, 3, 2), lamp.InstanceNorm2d(3, affine=True), lamp.Tanh()]),
    "residual": (
        (4,),
        lambda: [
            lamp.Linear(4, 6),
            lamp.Residual(lamp.Sequential(lamp.LayerNorm(6), lamp.Linear(6, 9), lamp.GELU(), lamp.Linear(9, 6))),
            lamp.Residual(lamp.Sequential(lamp.LayerNorm(6), lamp.Dropout(0.2))),
        ],
    ),
    "shared": ((4,), lambda: [lamp.Linear(4, 6), norm := lamp.LayerNorm(6), lamp.Tanh(), lamp.Linear(6, 6), norm]),
}


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    shape, make = NETWORKS[name]
    trained_alike(shape, make, count)


@pytest.mark.compiled
@pytest.mark.parametrize(("count", "batch"), [(17, 5), (None, 1), (None, 13)])
def test_any_number_of_networks_and_samples(count, batch):
    shape, make = NETWORKS["groups"]
    trained_alike(shape, make, count, batch=batch)


@pytest.mark.compiled
def test_single_precision():
    shape, make = NETWORKS["layer"]
    trained_alike(shape, make, dtype=torch.float32)


@pytest.mark.compiled
def test_wide_rows():
    """A wide layer before and after is computed for a whole chunk by the matrix product."""
    trained_alike(
        (40,), lambda: [lamp.Linear(40, 64), lamp.LayerNorm(64), lamp.ReLU(), lamp.Linear(64, 48)], samples=90, batch=40
    )


def test_running_statistics_are_not_left_out():
    """An InstanceNorm that keeps them changes with each batch, so it is not compiled."""
    model = network((2, 5), lamp.Conv1d(2, 3, 2), lamp.InstanceNorm1d(3, track_running_stats=True))
    with pytest.raises(lamp.ArgumentError, match="running statistics"):
        lamp.fit(
            model,
            lamp.CrossEntropyLoss(),
            lamp.SGD(model.parameters(), lr=0.1),
            (torch.randn(6, 2, 5, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)),
            epochs=1,
            batch_size=3,
            engine="compiled",
            progress=False,
        )
