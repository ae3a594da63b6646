"""Networks with BatchNorm compile: parameters, running statistics and histories are those of the eager engine."""

import pytest
import torch

import lamp
from lamp.compiler.kernel import forget
from lamp.compiler.statistics import WHOLE
from tests.test_compiled_windows import network, trained_alike

NETWORKS = {
    "features": ((4,), lambda: [lamp.Linear(4, 7), lamp.BatchNorm1d(7), lamp.Tanh()]),
    "the data": ((4,), lambda: [lamp.BatchNorm1d(4), lamp.Linear(4, 7), lamp.GELU(), lamp.BatchNorm1d(7)]),
    "one feature": ((4,), lambda: [lamp.Linear(4, 1), lamp.BatchNorm1d(1, eps=0.1), lamp.Tanh()]),
    "without bias": ((4,), lambda: [lamp.Linear(4, 9), lamp.BatchNorm1d(9, bias=False), lamp.ReLU()]),
    "without weights": ((4,), lambda: [lamp.Linear(4, 17), lamp.BatchNorm1d(17, affine=False), lamp.Tanh()]),
    "a mean of all batches": ((4,), lambda: [lamp.Linear(4, 7), lamp.BatchNorm1d(7, momentum=None), lamp.Tanh()]),
    "no momentum": ((4,), lambda: [lamp.Linear(4, 7), lamp.BatchNorm1d(7, momentum=0.0), lamp.Tanh()]),
    "no statistics": ((4,), lambda: [lamp.Linear(4, 7), lamp.BatchNorm1d(7, track_running_stats=False), lamp.Tanh()]),
    "signals": ((2, 9), lambda: [lamp.Conv1d(2, 3, 2), lamp.BatchNorm1d(3), lamp.ReLU()]),
    "images": (
        (2, 5, 4),
        lambda: [lamp.Conv2d(2, 10, 2, bias=False), lamp.BatchNorm2d(10, eps=0.01), lamp.ReLU(), lamp.MaxPool2d(2)],
    ),
    "volumes": ((1, 3, 4, 3), lambda: [lamp.Conv3d(1, 2, 2), lamp.BatchNorm3d(2, momentum=0.7), lamp.Tanh()]),
    "residual": (
        (2, 5, 4),
        lambda: [
            lamp.Conv2d(2, 3, 3, padding=1),
            lamp.BatchNorm2d(3),
            lamp.ReLU(),
            lamp.Residual(
                lamp.Sequential(
                    lamp.Conv2d(3, 3, 3, padding=1, bias=False),
                    lamp.BatchNorm2d(3),
                    lamp.ReLU(),
                    lamp.Dropout(0.2),
                    lamp.Conv2d(3, 3, 3, padding=1, bias=False),
                    lamp.BatchNorm2d(3),
                )
            ),
            lamp.ReLU(),
            lamp.AdaptiveAvgPool2d(1),
        ],
    ),
    "shared": ((4,), lambda: [lamp.Linear(4, 6), norm := lamp.BatchNorm1d(6), lamp.Tanh(), lamp.Linear(6, 6), norm]),
}


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_agree(name, count):
    shape, make = NETWORKS[name]
    trained_alike(shape, make, count)


@pytest.mark.compiled
@pytest.mark.parametrize("bits", ["128", "256"])
@pytest.mark.parametrize(("count", "batch"), [(17, 5), (2, 13), (None, 13), (None, 6), (1, 4)])
@pytest.mark.parametrize("name", ["the data", "images"])
def test_any_number_of_networks_and_samples(name, count, batch, bits, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", bits)
    shape, make = NETWORKS[name]
    trained_alike(shape, make, count, batch=batch, samples=26 if batch == 13 else 14)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 17])
def test_single_precision(count):
    shape, make = NETWORKS["images"]
    trained_alike(shape, make, count, dtype=torch.float32)


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
def test_validation_takes_the_running_statistics(count):
    shape, make = NETWORKS["images"]
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(7, *shape, generator=generator, dtype=torch.float64)
    trained_alike(shape, make, count, validation=(x, torch.arange(7) % 3), metrics=[lamp.accuracy])


@pytest.mark.compiled
@pytest.mark.parametrize(("batch", "threads"), [(9, 2), (21, 1), (40, 2)])
@pytest.mark.parametrize("name", ["the data", "residual", "without weights", "shared", "a mean of all batches"])
def test_parts_of_a_batch_exchange_their_moments(name, batch, threads, monkeypatch):
    """With vectors of 2 or 4 samples a batch has up to 4 parts, of which some may be empty in the last batch."""
    monkeypatch.setenv("LAMP_VECTOR_BITS", "128" if batch < 40 else "256")
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1)
    forget()  # kernels in other parts
    shape, make = NETWORKS[name]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _, compiled = trained_alike(shape, make, samples=44, batch=batch)
        step = lamp.compile(compiled.model, lamp.CrossEntropyLoss(), compiled.optimizer, batch)
        step(torch.zeros(batch, *shape, dtype=torch.float64), torch.zeros(batch, dtype=torch.int64))
        assert step._compiled.kernel_states[0].tiling.parts > 1
    finally:
        torch.set_num_threads(before)
        forget()


@pytest.mark.compiled
def test_threads_of_a_team_share_the_memory_that_they_exchange_moments_in(monkeypatch):
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1)
    forget()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    _, make = NETWORKS["images"]
    try:
        trained_alike((2, 32, 32), make, samples=1280, batch=64)  # so much work that both threads take some of it
    finally:
        forget()


@pytest.mark.compiled
def test_wide_layers():
    """Those before and after are computed by the matrix product."""
    trained_alike(
        (40,),
        lambda: [lamp.Linear(40, 64), lamp.BatchNorm1d(64), lamp.ReLU(), lamp.Linear(64, 48), lamp.BatchNorm1d(48)],
        samples=90,
        batch=40,
    )


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 2])
def test_batches_are_counted_beyond_what_a_float_holds(count):
    """float32 has no number between 2^24 and 2^24 + 2."""
    model = network((4,), lamp.BatchNorm1d(4), dtype=torch.float32)
    nets = model if count is None else lamp.population(model, range(count))
    (counted,) = (each for each in nets.modules() if isinstance(each, lamp.BatchNorm1d))
    counted.num_batches_tracked.data.fill_(17 * WHOLE - 2)
    optimizer = lamp.SGD(nets.parameters(), lr=0.1)
    data = torch.randn(12, 4), torch.zeros(12, dtype=torch.int64)
    lamp.fit(nets, lamp.CrossEntropyLoss(), optimizer, data, batch_size=4, epochs=1, engine="compiled", progress=False)
    assert counted.num_batches_tracked.data.tolist() == (17 * WHOLE + 1 if count is None else [17 * WHOLE + 1] * count)


def test_a_batch_of_one_number_per_channel_is_refused():
    model = network((4,), lamp.BatchNorm1d(4))
    data = torch.randn(9, 4, dtype=torch.float64), torch.zeros(9, dtype=torch.int64)
    with pytest.raises(lamp.ShapeError, match="one number per channel has no variance"):
        lamp.fit(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), data, batch_size=4, epochs=1)


def test_evaluating_without_running_statistics_is_refused():
    model = network((4,), lamp.BatchNorm1d(4, track_running_stats=False))
    data = torch.randn(8, 4, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    with pytest.raises(lamp.ArgumentError, match="no running statistics"):
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, data, validation=data, epochs=1, engine="compiled")


@pytest.mark.compiled
@pytest.mark.parametrize("count", [None, 3])
def test_halves_of_a_step_and_whole_steps_move_the_same_statistics(count):
    made = []
    for whole in (True, False):
        torch.manual_seed(2)
        model = network((2, 5), lamp.Conv1d(2, 3, 2), lamp.BatchNorm1d(3))
        model = model if count is None else lamp.population(model, range(count))
        if count is None:
            model.reset_parameters(generator=torch.Generator().manual_seed(1))
        step = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.Adam(model.parameters()), batch_size=6)
        generator = torch.Generator().manual_seed(4)
        for _ in range(3):
            x, y = torch.randn(6, 2, 5, generator=generator, dtype=torch.float64), torch.arange(6) % 3
            if whole:
                step(x, y)
            else:
                step.gradients(x, y)
                step.update()
        made.append(model.state_dict())
    for name, value in made[0].items():
        torch.testing.assert_close(made[1][name], value, rtol=1e-11, atol=1e-12)
    assert made[0]["1.num_batches_tracked"].flatten()[0] == 3


@pytest.mark.compiled
def test_steps_do_not_compile_anew_because_statistics_have_moved():
    model = network((4,), lamp.BatchNorm1d(4))
    step = lamp.compile(model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), batch_size=5)
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.arange(5) % 3
    step(x, y)
    runner = step._compiled
    step(x, y)
    assert step._compiled is runner
