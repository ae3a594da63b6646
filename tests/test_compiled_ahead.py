"""Epochs that are trained ahead in a thread give the same results, whatever the size of a block of epochs."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time

import pytest
import torch

import lamp
from lamp.compiler.steps import Steps
from lamp.training.checkpoints import read_checkpoint
from lamp.training.epoch_prefetcher import EpochPrefetcher
from lamp.training.prefetching import PrefetchingEngine
from tests.cases.compiled import BATCH, close, network, replicas, same, same_state, task, trained

TASK = task("CrossEntropyLoss")
SAMPLES = 26  # the last batch of 5
COUNTS = [None, 11]


@pytest.fixture(params=[1, 3, 64], ids="blocks of {}".format)
def block(request, monkeypatch):
    """Sets the largest number of epochs in a block."""
    monkeypatch.setattr("lamp.training.prefetching.MOST_EPOCHS", request.param)
    monkeypatch.setattr("lamp.training.prefetching.BLOCK_SECONDS", (1e9, 1e9))


def adam(parameters):
    return lamp.Adam(parameters, lr=0.02)


def noisy():
    return network(TASK, lamp.Dropout(0.2), lamp.Tanh())


def loader():
    return lamp.DataLoader(TASK.data(SAMPLES), BATCH, True, seed=1)


class Passive(lamp.Callback):
    """Acts after an epoch, and declares that it does not look at the model."""

    needs_model = False

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def on_epoch(self, training):
        if training.epoch + 1 == self.epoch:
            self.act(training)


METRICS = {
    "no metric": {},
    "counted": {"accuracy": lamp.accuracy},
    "outputs": {"accuracy": lamp.accuracy, "mean": lambda output, target: output.mean() + target.double().mean()},
}
SPEC = (noisy, TASK.make, adam, loader)


@functools.cache
def without_blocks(metrics, count, validation=None):
    """Trained by the eager engine, and by the compiled one epoch by epoch, because a callback looks at the model. This
    is the same whatever the size of blocks, so it is done once for all sizes."""
    arguments = dict(count=count, epochs=11, metrics=METRICS[metrics], validation=validation)
    looking = trained("compiled", *SPEC, callbacks=lambda: [lamp.Callback()], **arguments)
    return trained("eager", *SPEC, **arguments), looking


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("metrics", METRICS)
def test_the_same_for_any_size_of_blocks(metrics, count, block):
    """The same bits as when epochs are trained one by one."""
    eager, looking = without_blocks(metrics, count)
    prefetcher = trained("compiled", *SPEC, count=count, epochs=11, metrics=METRICS[metrics])
    for one, other in zip(prefetcher.model.parameters(), looking.model.parameters(), strict=True):
        assert torch.equal(one.data, other.data)
    assert set(prefetcher.history) == {"loss", *METRICS[metrics]}
    for name in prefetcher.history:
        assert torch.equal(prefetcher.history[name], looking.history[name])
    same(eager, prefetcher, 1e-10)


def held_out():
    x, y = TASK.data(61)
    return lamp.DataLoader((x[SAMPLES:], y[SAMPLES:]), 9)  # the last batch of 8


def shuffled():
    x, y = TASK.data(61)
    return lamp.DataLoader((x[SAMPLES:], y[SAMPLES:]), 9, True, seed=3)


@pytest.mark.parametrize("count", [None, 3, 11])
@pytest.mark.parametrize("validation", [held_out, shuffled])
@pytest.mark.parametrize("metrics", METRICS)
def test_validated_between_epochs(metrics, validation, count, block):
    """The same bits as when epochs are trained one by one, on two threads too."""
    eager, looking = without_blocks(metrics, count, validation)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        prefetcher = trained("compiled", *SPEC, count=count, epochs=11, metrics=METRICS[metrics], validation=validation)
        for one, other in zip(prefetcher.model.parameters(), looking.model.parameters(), strict=True):
            assert torch.equal(one.data, other.data)
        assert list(prefetcher.history) == [
            "loss",
            *METRICS[metrics],
            "validation_loss",
            *(f"validation_{name}" for name in METRICS[metrics]),
        ]
        for name in prefetcher.history:
            assert torch.equal(prefetcher.history[name], looking.history[name])
    torch.set_num_threads(1)
    same(eager, prefetcher, 1e-10)


class Weights(lamp.EarlyStopping):
    """Behaves as early stopping does, and records the weights that it sees."""

    seen: list[list[float]] = []  # noqa: RUF012

    def on_epoch(self, training):
        self.seen.append(torch.cat([parameter.data.flatten() for parameter in training.model.parameters()]).tolist())
        super().on_epoch(training)


@pytest.mark.parametrize("count", COUNTS)
def test_early_stopping_sees_the_weights_of_each_epoch(count, block, monkeypatch):
    found = []
    for changes in (False, True):  # with a callback that may do anything epochs go one by one
        Weights.seen = []
        monkeypatch.setattr(Weights, "changes_model", changes, raising=False)
        stop = lambda: [Weights(3)]  # noqa: E731
        arguments = dict(count=count, epochs=14, validation=held_out, callbacks=stop)
        left = trained("compiled", noisy, TASK.make, lambda p: lamp.Adam(p, lr=0.3), loader, **arguments)
        found.append((Weights.seen, left))
    (prefetcher, one), (alone, other) = found
    assert prefetcher == alone
    assert one.history.endings == other.history.endings
    assert one.history.stopped == other.history.stopped
    assert one.history.epochs == other.history.epochs
    for mine, theirs in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine.data, theirs.data)


@pytest.mark.parametrize("count", [None, 11])
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_early_stopping(patience, count, block):
    """Replicas stop at different times, in the middle of a block of epochs."""
    options = dict(count=count, epochs=25, validation=shuffled, callbacks=lambda: [lamp.EarlyStopping(patience)])
    spec = (noisy, TASK.make, lambda parameters: lamp.Adam(parameters, lr=0.1), loader)
    eager, compiled = (trained(engine, *spec, **options) for engine in ("eager", "compiled"))
    assert compiled.history.endings == eager.history.endings
    assert compiled.history.stopped == eager.history.stopped
    same(eager, compiled, 1e-8)


def test_the_loader_of_a_validation_stands_where_the_training_stopped(block):
    for epoch in (2, 4):
        validation, stop = shuffled(), Passive(epoch, lambda training: training.stop("enough"))
        trained("compiled", noisy, TASK.make, adam, loader, epochs=9, validation=validation, callbacks=lambda: [stop])  # noqa: B023
        assert validation.epoch == epoch


def test_a_validation_that_takes_long_counts(monkeypatch):
    """Otherwise Ctrl-C would have no effect during a long block of epochs. At first it counts as estimated."""
    validate = PrefetchingEngine._validate

    def slowly(self):
        time.sleep(0.06)
        return validate(self)

    def never(self, *given, **named):
        raise AssertionError("a lot was asked for")

    monkeypatch.setattr("lamp.training.prefetching.STRETCH", 0.0005)
    monkeypatch.setattr(PrefetchingEngine, "_validate", slowly)
    monkeypatch.setattr(EpochPrefetcher, "add", never)
    many = lambda: lamp.DataLoader(TASK.data(2_500), BATCH)  # noqa: E731
    trained("compiled", noisy, TASK.make, adam, loader, epochs=4, validation=many)


@pytest.mark.parametrize("every", [1, 3])
def test_checkpoints_of_a_validated_training(every, block, tmp_path):
    found = []
    for name, epochs in (("whole", 9), ("half", 5), ("half", 9)):
        keep = lamp.Checkpoint(tmp_path / name, every_epochs=every, keep=20)
        options = dict(count=11, epochs=epochs, checkpoint=keep, resume=len(found) == 2, validation=shuffled)
        stop = lambda: [lamp.EarlyStopping(20)]  # noqa: E731
        found.append(trained("compiled", noisy, TASK.make, adam, loader, callbacks=stop, **options))
    whole, _, resumed = found
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one.data, other.data)
    for name in whole.history:
        assert torch.equal(whole.history[name], resumed.history[name])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("epoch", range(1, 10))
def test_a_stop_that_nobody_saw_coming(epoch, count, block):
    """Loader, Dropout and optimizer continue from the epoch in which the training stopped."""
    left = []
    for engine in ("eager", "compiled"):
        model, data = replicas(noisy(), count), loader()
        optimizer = adam(model.parameters())
        options = dict(engine=engine, progress=False)
        stop = Passive(epoch, lambda training: training.stop("enough"))
        first = lamp.fit(model, TASK.make(), optimizer, data, epochs=12, callbacks=[stop], **options)
        assert first.epochs == data.epoch == epoch
        assert optimizer.state_dict()["state"][0]["step"] == 4 * epoch
        second = lamp.fit(model, TASK.make(), optimizer, data, epochs=2, **options)
        left.append((model, torch.cat([first["loss"], second["loss"]])))
    (eager, losses), (compiled, found) = left
    close(found, losses, 1e-10)
    for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        close(other.data, one.data, 1e-10)


@pytest.mark.parametrize("epoch", range(1, 8))
def test_replicas_that_are_stopped_keep_the_weights_of_their_epoch(epoch, block):
    stop = lambda: [Passive(epoch, lambda training: training.stop("enough", [2, 7]))]  # noqa: E731
    eager, compiled = (
        trained(engine, noisy, TASK.make, adam, loader, count=11, epochs=9, callbacks=stop)
        for engine in ("eager", "compiled")
    )
    same(eager, compiled, 1e-10)
    assert compiled.history.of(2).epochs == epoch
    assert compiled.history.of(3).epochs == 9


@pytest.mark.parametrize("every", [1, 2, 5])
def test_checkpoints_between_blocks(every, block, tmp_path):
    """A run that is resumed from such a checkpoint ends as one that was not interrupted."""
    found = []
    for name, epochs in (("whole", 9), ("half", 5), ("half", 9)):
        keep = lamp.Checkpoint(tmp_path / name, every_epochs=every, keep=20)
        options = dict(count=11, epochs=epochs, checkpoint=keep, resume=len(found) == 2, metrics=[lamp.accuracy])
        found.append(trained("compiled", noisy, TASK.make, adam, loader, **options))
    whole, _, resumed = found
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one.data, other.data)
    for name in whole.history:
        assert torch.equal(whole.history[name], resumed.history[name])
    saved = {each.name for each in (tmp_path / "whole" / "checkpoints").iterdir()}
    assert len(saved) == len({*range(every, 10, every), 9})


@pytest.mark.parametrize("epoch", range(2, 9))
def test_what_the_last_epoch_began_with_is_kept_for_a_failure(epoch, block, tmp_path):
    stop = lambda: [Passive(epoch, lambda training: training.stop("enough"))]  # noqa: E731
    options = dict(count=11, callbacks=stop, checkpoint=tmp_path)
    trained("compiled", noisy, TASK.make, adam, loader, epochs=9, **options)
    (path,) = (tmp_path / "checkpoints").iterdir()
    before = read_checkpoint(path).state["by_engine"]["before"]
    then = trained("compiled", noisy, TASK.make, adam, loader, count=11, epochs=epoch - 1)
    flat = torch.cat([parameter.data.flatten(1) for parameter in then.model.parameters()], 1)
    assert torch.equal(before, flat)


def test_an_error_in_the_thread_reaches_the_caller(monkeypatch):
    """The weights are those of the last epoch that was reported."""
    run, calls = Steps.run, []

    def fails(self, first, stop, *begun):
        if threading.current_thread().name.startswith("lamp-ahead"):
            calls.append(self)
            if len(calls) == 3:
                raise MemoryError("no room")
        run(self, first, stop, *begun)

    monkeypatch.setattr(Steps, "run", fails)
    monkeypatch.setattr("lamp.training.prefetching.MOST_EPOCHS", 2)
    model, data = replicas(noisy(), None), loader()
    optimizer = adam(model.parameters())
    with pytest.raises(MemoryError, match="no room"):
        lamp.fit(model, TASK.make(), optimizer, data, epochs=12, engine="compiled", progress=False)
    monkeypatch.undo()
    assert data.epoch == 2 * 2
    alone = trained("eager", noisy, TASK.make, adam, loader, epochs=data.epoch)
    for one, other in zip(alone.model.parameters(), model.parameters(), strict=True):
        close(other.data, one.data, 1e-10)


def test_no_thread_stays_behind(block):
    trained("compiled", noisy, TASK.make, adam, loader, epochs=9)
    assert not [each for each in threading.enumerate() if each.name.startswith("lamp-ahead")]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    "act",
    [lambda training: training.stop("enough"), lambda training: signal.raise_signal(signal.SIGINT)],
    ids=["stop", "Ctrl-C"],
)
def test_weights_and_history_end_together(act, count):
    """Epochs that were trained but not yet reported are undone."""
    left = []
    for engine in ("eager", "compiled"):
        model = replicas(noisy(), count)
        optimizer = adam(model.parameters())
        given = loader()
        options = dict(epochs=90, engine=engine, progress=False)
        history = lamp.fit(model, TASK.make(), optimizer, given, callbacks=[Passive(38, act)], **options)
        if engine == "compiled":
            assert history.epochs >= 38
        left.append((history.epochs, given.epoch, model, optimizer))
    for epochs, of_loader, *_ in left:
        assert of_loader in (epochs, epochs + 1)  # eager hears Ctrl-C in the middle of an epoch
    if left[0][0] == left[1][0] and left[0][1] == left[1][1]:
        for one, other in zip(left[0][2].parameters(), left[1][2].parameters(), strict=True):
            close(other.data, one.data, 1e-11)
        same_state(left[0][3].state_dict(), left[1][3].state_dict(), 1e-11)


def test_ctrl_c_is_heard_in_the_middle_of_a_call():
    """In a training that would go on for hours."""
    x, y = torch.randn(20_000, 8), torch.randint(0, 3, (20_000,))
    model = lamp.Sequential(lamp.Linear(8, 64), lamp.Tanh(), lamp.Linear(64, 3))
    pressed = []

    def press():
        pressed.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    class Press(lamp.Callback):
        needs_model = False

        def on_start(self, training):
            threading.Timer(1.0, press).start()

    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    history = lamp.fit(
        model,
        lamp.CrossEntropyLoss(),
        optimizer,
        (x, y),
        epochs=10**6,
        engine="compiled",
        progress=False,
        callbacks=[Press()],
    )
    assert "interrupted" in history.stopped
    assert time.perf_counter() - pressed[0] < 5.0  # a quarter of a second on a machine that has nothing else to do
    assert 0 < history.epochs < 10**6


class Broken(Exception):
    """The error that a user's metric raises."""


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("validated", [False, True])
def test_a_metric_that_raises_leaves_the_epochs_that_were_told_of(validated, count, block):
    """Weights and optimizer are those after the epoch of the metric's error, as with the eager engine."""

    def run(engine, raises_at):
        calls = []

        def metric(output, target):
            calls.append(output)
            if len(calls) == raises_at:
                raise Broken("a bug in the metric")
            return output.mean()

        model = replicas(noisy(), count)
        optimizer = adam(model.parameters())
        arguments = dict(epochs=40, metrics={"mine": metric}, engine=engine, progress=False)
        with pytest.raises(Broken, match="a bug in the metric"):
            lamp.fit(model, TASK.make(), optimizer, loader(), validation=held_out() if validated else None, **arguments)
        return model, optimizer

    raises_at = 8 if validated else 5
    (eager, eagers_state), (compiled, state) = run("eager", raises_at), run("compiled", raises_at)
    same_state(eagers_state.state_dict(), state.state_dict(), 1e-10)
    for own, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        close(other.data, own.data, 1e-10)
