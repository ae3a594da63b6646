"""`fit` gives the same results with both engines: data, schedules, clipping, endings, networks."""

from __future__ import annotations

import pytest
import torch

import lamp
from lamp.compiler.backends.cpu.target import host
from lamp.compiler.kernel import forget
from lamp.compiler.kernel_runner import KernelRunner
from tests.cases.compiled import EPOCHS, both, close, lanes, network, replicas, same, same_state, task, trained

# such as Softmax before cross-entropy, which does not matter for comparing the engines
pytestmark = pytest.mark.filterwarnings("ignore::lamp.TrainingWarning")

TASK, NUMBERS = task("CrossEntropyLoss"), task("HuberLoss(delta=0.4")
SAMPLES, BATCH = 26, 7  # the last batch of 5
COUNTS = [None, 11]  # one network; a group of lanes (of AVX-512) and three networks that go one by one


def adam(parameters):
    return lamp.Adam(parameters, lr=0.02)


def data():
    return TASK.data(SAMPLES)


def held_out():
    x, y = TASK.data(61)
    return x[SAMPLES:], y[SAMPLES:]


def fits(count, *between, given=None, optimizer=adam, criterion=TASK.make, tolerance=1e-11, **arguments):
    return both(
        lambda: network(TASK, *(between or (lamp.Tanh(),))),
        criterion,
        optimizer,
        given or data(),
        count=count,
        tolerance=tolerance,
        **arguments,
    )


def own(count):
    """A number per replica, or one number for a single network."""
    return 0.1 if count is None else torch.linspace(0.05, 2.0, count, dtype=torch.float64)


# ---- what is measured, and schedules ---------------------------------------------------------------------------------
@pytest.mark.parametrize("count", COUNTS)
def test_validation_and_metrics(count):
    metrics = {"accuracy": lamp.accuracy, "mean": lambda output, target: output.mean() + target.double().mean()}
    eager, _ = fits(count, lamp.Tanh(), lamp.Dropout(0.4), validation=held_out(), metrics=metrics)
    assert set(eager.history) == {f"{kind}{name}" for kind in ("", "validation_") for name in ("loss", *metrics)}


def test_validation_that_comes_in_batches():
    x, y = held_out()
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    for validation in (batches, lamp.DataLoader((x, y), 8)):
        for count in (None, 3):
            fits(count, validation=validation, metrics=[lamp.accuracy])


@pytest.mark.parametrize("count", [None, 11])
def test_many_epochs_at_once(count):
    """No callback looks in between, so several epochs are trained in one call."""
    fits(count, lamp.Dropout(0.2), lamp.Tanh(), epochs=40, metrics=[lamp.accuracy], tolerance=1e-10)


SCHEDULES = {
    "StepLR": ("epoch", lamp.SGD, {}, lambda opt: lamp.StepLR(opt, 2, 0.3)),
    "warm-up": ("batch", lamp.SGD, {}, lambda opt: lamp.LinearLR(opt, 0.1, total_iters=9)),
    "OneCycleLR": ("batch", lamp.Adam, {}, lambda opt: lamp.OneCycleLR(opt, 0.1, total_steps=17)),
    "CyclicLR": ("batch", lamp.SGD, {"momentum": 0.5}, lambda opt: lamp.CyclicLR(opt, 0.01, 0.2, step_size_up=3)),
    "momentum by epoch": ("epoch", lamp.RMSprop, {"momentum": 0.5}, lambda opt: lamp.OneCycleLR(opt, 0.02, 5)),
    "to zero and back": ("batch", lamp.SGD, {"momentum": 0.9}, lambda opt: lamp.LambdaLR(opt, lambda k: float(k % 3))),
}


@pytest.mark.parametrize("count", [None, 11])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name, count):
    per, make, options, schedule = SCHEDULES[name]
    fits(
        count,
        optimizer=lambda parameters: make(parameters, lr=0.05, **options),
        scheduler=schedule,
        schedule_per=per,
    )


@pytest.mark.parametrize("count", [None, 11])
def test_plateaus_of_each_replica(count):
    eager, _ = fits(
        count,
        optimizer=lambda parameters: lamp.SGD(parameters, lr=1.5),
        scheduler=lambda opt: lamp.ReduceLROnPlateau(opt, factor=0.3, patience=0, threshold=0.01),
        validation=held_out(),
        epochs=8,
    )
    lr = eager.optimizer.param_groups[0]["lr"]
    assert lr < 1.5 if count is None else len(lr.unique()) > 1


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("limits", [("clip_norm",), ("clip_value",), ("clip_norm", "clip_value")], ids="+".join)
def test_clipping(limits, count):
    sgd = lambda parameters: lamp.SGD(parameters, lr=0.3, momentum=0.5)  # noqa: E731
    for own_limit in (False, True) if count else (False,):
        chosen = {name: (own(count) if own_limit else 0.1) * (0.2 if name == "clip_value" else 1.0) for name in limits}
        fits(count, optimizer=sgd, **chosen)


# ---- endings of each replica -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [None, 3, 19])
def test_early_stopping(count):
    eager, compiled = fits(
        count,
        lamp.Dropout(0.1),
        lamp.Tanh(),
        optimizer=lambda parameters: lamp.Adam(parameters, lr=own(count)),
        criterion=lambda: lamp.CrossEntropyLoss(label_smoothing=0.1 if count is None else own(count) * 0.4),
        clip_norm=own(count),
        validation=held_out(),
        callbacks=lambda: [lamp.EarlyStopping(2)],
        scheduler=lambda opt: lamp.CosineAnnealingLR(opt, 25),
        epochs=25,
        seed=list(range(count)) if count else 3,
        tolerance=1e-8,
    )
    assert compiled.history.endings == eager.history.endings
    assert compiled.history.stopped == eager.history.stopped
    if count:
        assert len({eager.history.of(k).epochs for k in range(count)}) > 1  # the replicas did end at different times


def test_replicas_leave_one_after_another():
    class Drop(lamp.Callback):
        def on_epoch(self, training):
            training.stop("enough", [[2, 17], [0, 1, 3, 4, 5, 6, 7, 8], [18], []][training.epoch])

    for order in (1, list(range(19))):
        fits(19, callbacks=lambda: [Drop()], seed=order)


def test_a_callback_that_changes_the_weights():
    class Halve(lamp.Callback):
        def on_epoch(self, training):
            for parameter in training.model.parameters():
                parameter.data.mul_(0.5)

    for count in (None, 3):
        fits(count, callbacks=lambda: [Halve()])


# ---- data ------------------------------------------------------------------------------------------------------------
def of_each(count, n=SAMPLES):
    """Different data for each replica, (K, n, ...)."""
    x, y = TASK.data(n)
    return torch.stack([x + 0.1 * k for k in range(count)]), torch.stack([y.roll(k) for k in range(count)])


LOADERS = {
    "orders of their own": lambda k: lamp.DataLoader(data(), BATCH, True, seed=range(5, 5 + k)),
    "one order": lambda k: lamp.DataLoader(data(), BATCH, True, seed=5),
    "as they stand": lambda k: lamp.DataLoader(data(), BATCH),
    "drop_last": lambda k: lamp.DataLoader(data(), BATCH, True, seed=range(k), drop_last=True),
    "some of them": lambda k: lamp.DataLoader(data(), BATCH, True, seed=2, indices=torch.arange(1, 26, 2)),
    "folds": lambda k: lamp.DataLoader(
        data(), BATCH, True, seed=range(k), indices=torch.stack([torch.arange(20).roll(j) + j % 5 for j in range(k)])
    ),
    "data of their own": lambda k: lamp.DataLoader(of_each(k), BATCH, True, seed=range(k), replicas=k),
    "their own as they stand": lambda k: lamp.DataLoader(of_each(k), BATCH, replicas=k),
    "folds of their own": lambda k: lamp.DataLoader(
        of_each(k), BATCH, indices=torch.stack([torch.randperm(26)[:15] for _ in range(k)]), replicas=k
    ),
}


@pytest.mark.parametrize("count", [11])
@pytest.mark.parametrize("kind", LOADERS)
def test_data(kind, count):
    def make():
        torch.manual_seed(0)
        return LOADERS[kind](count)

    fits(count, lamp.Dropout(0.2), lamp.Tanh(), given=make, validation=make, metrics=[lamp.accuracy])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("size", [1, 2, 26, 40])
def test_batches(size, count):
    fits(count, batch_size=size, epochs=2, metrics=[lamp.accuracy])


@pytest.mark.parametrize("count", [None, 3, 11])
def test_one_sample_and_one_class(count):
    x, y = TASK.data(1)
    fits(count, given=(x, y))
    one = task("CrossEntropyLoss(mean) on (7, 1)")
    both(lambda: network(one, lamp.Tanh()), one.make, adam, one.data(9), count=count)


@pytest.mark.parametrize(
    ("count", "dtype"),
    [(1, torch.float64), (8, torch.float64), (15, torch.float64), (17, torch.float64), (31, torch.float32)],
    ids=str,
)
def test_any_number_of_replicas(count, dtype):
    both(
        lambda: network(NUMBERS, lamp.Tanh(), dtype=dtype),
        NUMBERS.make,
        lambda parameters: lamp.SGD(parameters, lr=0.05),
        NUMBERS.data(SAMPLES, dtype=dtype),
        count=count,
        seed=list(range(count)),
    )


@pytest.mark.parametrize("own", [False, True], ids=["one order", "own orders"])
@pytest.mark.parametrize("count", [None, "1/4", "1", "1 + 2", "3"])
def test_on_any_number_of_threads(count, own, monkeypatch):
    """The batch of one network is divided into parts, and few networks use narrower vectors, so that every thread has
    work. The bits do not depend on the number of threads."""
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1000)
    forget()  # kernels in other parts
    size = 5 * 7 * lanes() + 3 if count is None else 29
    replicas = (
        None if count is None else {"1/4": lanes() // 4 + 1, "1 + 2": lanes() + 2}.get(count) or int(count) * lanes()
    )

    def run(engine="compiled"):
        return trained(
            engine,
            lambda: network(TASK, lamp.Tanh(), lamp.Dropout(0.3)),
            TASK.make,
            adam,
            TASK.data(2 * size + 40),
            batch_size=size,
            clip_norm=0.1,
            metrics=[lamp.accuracy],
            validation=TASK.data(11),
            count=replicas,
            seed=list(range(replicas)) if own and replicas else 4,
        )

    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            found.append(run())
        finally:
            torch.set_num_threads(1)
    forget()
    same(run("eager"), found[0], 1e-11)
    for other in found[1:]:
        for one, two in zip(found[0].model.parameters(), other.model.parameters(), strict=True):
            assert torch.equal(one.data, two.data)
        for name in found[0].history:
            assert torch.equal(found[0].history[name], other.history[name])


@pytest.mark.parametrize(
    ("networks", "threads", "bits"),
    [
        (16, 1, 512),
        (16, 2, 256),
        (16, 4, 128),
        (7, 1, 256),
        (3, 1, 128),
        (17, 2, 512),
        (24, 2, 512),
        (24, 3, 256),
        (100, 2, 512),
    ],
)
def test_narrower_vectors_where_they_cost_no_thread_more(networks, threads, bits):
    if host().bits < 512:
        pytest.skip("for vectors of 512 bits")
    model = lamp.population(lamp.Linear(3, TASK.outputs), range(networks))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runner = KernelRunner(model, TASK.make(), adam(model.parameters()), batches=[1], labels=True)
    finally:
        torch.set_num_threads(before)
    assert runner.together == networks
    assert runner.kernel_states[0].tiling.lanes * 32 == bits


WIDE_NETWORKS = {
    "one layer": lambda: [lamp.Linear(64, 4)],
    "no bias": lambda: [lamp.Linear(128, 7, bias=False), lamp.Tanh(), lamp.Linear(7, 4)],
    "slopes, dropout, a tail": lambda: [
        lamp.Linear(64, 5), lamp.PReLU(5), lamp.Dropout(0.2), lamp.Linear(5, 4), lamp.Mish(), lamp.Linear(4, 4),
        lamp.Softmax(-1),
    ],
    "a module before": lambda: [lamp.Dropout(0.3), lamp.Linear(64, 5), lamp.SELU(), lamp.Linear(5, 4)],
    "a rest of features": lambda: [lamp.Linear(67, 5), lamp.SELU(), lamp.Linear(5, 4)],
    "a rest of one, many outputs": lambda: [lamp.Linear(129, 9), lamp.GELU(), lamp.Linear(9, 4)],
    "a rest of all but one": lambda: [lamp.Linear(95, 2), lamp.Tanh(), lamp.Linear(2, 4)],
}  # fmt: skip


@pytest.mark.parametrize("bits", [None, 128, 256])
@pytest.mark.parametrize("name", WIDE_NETWORKS)
def test_products_along_many_features(name, bits, monkeypatch):
    """The first layer of one network, for parts on several threads, for the rest of a batch, and for fewer lanes."""
    if bits is not None:
        monkeypatch.setenv("LAMP_VECTOR_BITS", str(bits))
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1000)
    forget()
    features = WIDE_NETWORKS[name]()[0 if name != "a module before" else 1].in_features
    for dtype in [torch.float64, torch.float32][slice(None) if bits is None else slice(bits // 256, bits // 128)]:
        x, y = TASK.data(8 * lanes(dtype) + 5, features=features, dtype=dtype)
        for batch in (3, 6 * lanes(dtype) + 1):
            both(
                lambda: lamp.Sequential(*WIDE_NETWORKS[name]()).to(dtype),  # noqa: B023
                lambda: TASK.make().to(dtype),  # noqa: B023
                lambda parameters: lamp.SGD(parameters, lr=0.02, momentum=0.5),
                (x, y),
                tolerance=1e-11 if dtype is torch.float64 else 1e-5,
                batch_size=batch,
                epochs=2,
                validation=(x[:7], y[:7]),
            )
    forget()


# ---- networks --------------------------------------------------------------------------------------------------------
NETWORKS = {
    "one layer": lambda: [lamp.Linear(6, 4)],
    "deep": lambda: [
        lamp.Linear(6, 5), lamp.ReLU(), lamp.Linear(5, 3), lamp.Linear(3, 7), lamp.SiLU(), lamp.Linear(7, 4),
    ],
    "nested": lambda: [
        lamp.Sequential(lamp.Linear(6, 3, bias=False), lamp.Sequential(lamp.PReLU(3), lamp.Sequential())),
        lamp.Identity(),
        lamp.Sequential(lamp.Linear(3, 5), lamp.GELU(), lamp.Identity(), lamp.Linear(5, 4, bias=False)),
    ],
    "several activations in a row": lambda: [
        lamp.Linear(6, 3), lamp.Tanh(), lamp.SELU(), lamp.PReLU(), lamp.Mish(), lamp.PReLU(3, 0.1), lamp.Linear(3, 4),
    ],
    "what stands before the first layer": lambda: [
        lamp.Identity(), lamp.Softsign(), lamp.Dropout(0.2), lamp.Tanh(), lamp.Linear(6, 4),
    ],
    "masks": lambda: [
        lamp.Dropout(0.1), lamp.Linear(6, 5), lamp.Dropout(0.6), lamp.Tanh(), lamp.Dropout(0.0), lamp.Linear(5, 4),
        lamp.Dropout(0.3),
    ],
    "all masked": lambda: [lamp.Linear(6, 5), lamp.Dropout(1.0), lamp.Linear(5, 4)],
    "softmax": lambda: [lamp.Linear(6, 5), lamp.ReLU(), lamp.Linear(5, 4), lamp.Softmax(-1)],
    "log-softmax": lambda: [lamp.Linear(6, 5), lamp.Tanh(), lamp.Linear(5, 4), lamp.Tanh(), lamp.LogSoftmax(1)],
    "an activation last": lambda: [lamp.Linear(6, 5), lamp.Tanh(), lamp.Linear(5, 4), lamp.ELU(0.7), lamp.PReLU(4)],
}  # fmt: skip


@pytest.mark.parametrize("count", [None, 11])
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks(kind, count):
    both(
        lambda: lamp.Sequential(*NETWORKS[kind]()).double(),
        TASK.make,
        adam,
        TASK.data(SAMPLES, features=6),
        count=count,
        validation=TASK.data(9, features=6),
        seed=1 if count is None else list(range(count)),
        tolerance=1e-10,
    )


@pytest.mark.parametrize("count", [None, 3])
def test_inputs_of_more_axes(count):
    x, y = TASK.data(SAMPLES, features=6)
    columns, seed = (x.view(SAMPLES, 2, 3), y), 1 if count is None else range(count)
    both(
        lambda: lamp.Sequential(lamp.Flatten(), lamp.Linear(6, 5), lamp.Tanh(), lamp.Linear(5, 4)).double(),
        TASK.make,
        adam,
        lambda: lamp.DataLoader(columns, BATCH, True, seed=seed),
        count=count,
    )


@pytest.mark.parametrize("count", [None, 3])
def test_a_network_that_ends_in_its_loss(count):
    def ended():
        return lamp.Sequential(*network(TASK, lamp.Tanh()), lamp.CrossEntropyLoss(label_smoothing=0.1)).double()

    both(ended, lambda: None, adam, data(), count=count)


# ---- one engine goes on where the other one was ----------------------------------------------------------------------
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: lamp.SGD(parameters, lr=0.1, momentum=0.9, dampening=0.3),
        lambda parameters: lamp.Adam(parameters, lr=0.05, amsgrad=True),
        lambda parameters: lamp.RMSprop(
            [{"params": list(parameters)[:1], "centered": True}, {"params": list(parameters)[1:], "momentum": 0.5}],
            lr=0.01,
        ),
        lambda parameters: lamp.Adagrad(parameters, lr=0.1, lr_decay=0.1),
    ],
    ids=["SGD", "Adam", "RMSprop", "Adagrad"],
)
def test_engines_take_turns(make, count):
    left = []
    for engines in (["eager"] * 3, ["eager", "compiled", "eager"], ["compiled", "eager", "compiled"]):
        model = replicas(network(TASK, lamp.Dropout(0.2), lamp.Tanh()), count)
        optimizer = make(model.parameters())
        loader = lamp.DataLoader(data(), BATCH, True, seed=1)
        for engine in engines:
            history = lamp.fit(
                model, TASK.make(), optimizer, loader, epochs=2, engine=engine, progress=False, metrics=[lamp.accuracy]
            )
        assert loader.epoch == 6
        left.append((model, optimizer.state_dict(), history))
    for model, state, history in left[1:]:
        for one, other in zip(left[0][0].parameters(), model.parameters(), strict=True):
            close(other.data, one.data, 1e-11)
        same_state(left[0][1], state, 1e-11)
        close(history["loss"], left[0][2]["loss"], 1e-11)


def test_a_state_dict_saved_by_one_is_loaded_for_the_other():
    compiled = trained("compiled", lambda: network(TASK, lamp.Tanh()), TASK.make, adam, data())
    again = network(TASK, lamp.Tanh())
    again.load_state_dict(compiled.model.state_dict())
    optimizer = adam(again.parameters())
    optimizer.load_state_dict(compiled.optimizer.state_dict())
    for model, of_model, engine in ((again, optimizer, "eager"), (compiled.model, compiled.optimizer, "compiled")):
        lamp.fit(model, TASK.make(), of_model, data(), epochs=EPOCHS, seed=9, engine=engine, progress=False)
    for one, other in zip(again.parameters(), compiled.model.parameters(), strict=True):
        close(other.data, one.data, 1e-11)


@pytest.mark.parametrize("shuffle", [True, False])
def test_data_per_replica_are_those_of_the_eager_engine(shuffle):
    """With more samples than replicas, and another number of features."""
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(3, 11, 4, generator=generator), torch.randn(3, 11, 2, generator=generator)
    weights = []
    for engine in ("eager", "compiled"):
        nets = lamp.population(lamp.Sequential(lamp.Linear(4, 5), lamp.Tanh(), lamp.Linear(5, 2)), range(3))
        loader = lamp.DataLoader((x, y), 4, shuffle, seed=[5, 6, 7] if shuffle else None, replicas=3)
        optimizer = lamp.SGD(nets.parameters(), lr=0.1)
        lamp.fit(nets, lamp.MSELoss(), optimizer, loader, epochs=3, engine=engine, progress=False)
        weights.append(torch.cat([parameter.data.flatten() for parameter in nets.parameters()]))
    assert torch.allclose(*weights, rtol=1e-4, atol=1e-6)


def test_numbers_that_torch_negates_by_a_bit():
    """Kernels read memory, where the sign is the other one."""
    x, y = torch.randn(20, 3), torch.randn(20, 1)
    found = []
    for inputs, targets in ((x, y), (torch._neg_view(-x), torch._neg_view(-y))):
        torch.manual_seed(1)
        model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 1))
        optimizer, data = lamp.SGD(model.parameters(), lr=0.1), (inputs, targets)
        history = lamp.fit(
            model, lamp.MSELoss(), optimizer, data, epochs=2, validation=data, seed=0, engine="compiled", progress=False
        )
        found.append([history["loss"], history["validation_loss"]])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("kind", [lamp.GELU, lamp.SiLU, lamp.Mish])
def test_activations_of_numbers_that_torch_negates_by_a_bit(kind):
    x, dy = torch.randn(512, 1024), torch.randn(512, 1024)
    found = []
    for inputs, gradient in ((x, dy), (torch._neg_view(-x), torch._neg_view(-dy))):
        module = kind()
        found += [module(inputs), module.backward(gradient)]
    torch.testing.assert_close(found[:2], found[2:], rtol=1e-5, atol=1e-6)
