"""Networks with norms of each sample compile, and train as with the eager engine."""

import pytest
import torch

import lamp
from lamp.compiler.kernel import forget
from tests.test_compiled_windows import trained_alike

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
    "each channel, tracked": (
        (2, 5, 4),
        lambda: [
            lamp.Conv2d(2, 10, 2, bias=False),
            lamp.InstanceNorm2d(10, affine=True, track_running_stats=True),
            lamp.GELU(),
            lamp.InstanceNorm2d(10, momentum=0.7, track_running_stats=True),
            lamp.GELU(),
        ],
    ),
    "tracked, without momentum": (
        (2, 9),
        lambda: [lamp.InstanceNorm1d(2, momentum=None, track_running_stats=True), lamp.Conv1d(2, 3, 2), lamp.Tanh()],
    ),
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


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
@pytest.mark.parametrize("tracked", [False, True])
def test_samples_of_one_number_per_channel_are_refused(tracked, engine):
    model = lamp.Sequential(lamp.Conv1d(2, 3, 4), lamp.InstanceNorm1d(3, track_running_stats=tracked), lamp.Flatten())
    data, optimizer = (torch.randn(9, 2, 4), torch.randint(3, (9,))), lamp.SGD(model.parameters(), lr=0.1)
    with pytest.raises(lamp.LampError, match=r"1: InstanceNorm1d[^:]*: one number per channel has no variance"):
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, epochs=1, engine=engine, progress=False)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
def test_validation_takes_the_running_statistics(count):
    shape, make = NETWORKS["each channel, tracked"]
    x = torch.randn(7, *shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    trained_alike(shape, make, count, validation=(x, torch.arange(7) % 3), metrics=[lamp.accuracy])


@pytest.mark.compiled
@pytest.mark.parametrize(("batch", "threads"), [(9, 2), (21, 1)])
def test_parts_of_a_batch_have_one_mean_of_their_moments(batch, threads, monkeypatch):
    """With vectors of 2 samples a batch has up to 4 parts, of which some may be empty in the last batch."""
    monkeypatch.setenv("LAMP_VECTOR_BITS", "128")
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    forget()  # kernels in other parts
    shape, make = NETWORKS["each channel, tracked"]
    trained_alike(shape, make, samples=44, batch=batch)
    forget()
