"""Successive halving: the remaining networks end as without it, and the others cost nothing more."""

import functools
import gc
import weakref

import pytest

import lamp
from lamp.studies.group import Group
from tests.test_sweep import close, dropping, swept

LRS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.8]


NINE = dict(epochs=9, optimizer=functools.partial(lamp.SGD, momentum=0.3))


@pytest.mark.parametrize("at_once", [None, 4])
def test_those_that_remain_end_as_without_it(at_once):
    def plateau(optimizer):
        return lamp.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)

    settings = [{"lr": lr, "label_smoothing": 0.03 * k, "clip_norm": 0.2 + lr} for k, lr in enumerate(LRS)]
    arguments = NINE | dict(scheduler=plateau, model=dropping())
    halved, whole = (swept(settings, halving=each, at_once=at_once, **arguments) for each in (3, None))
    assert [row.epochs for row in halved.rows] == [9] + [3] * 2 + [1] * 6
    (rank,) = [k for k, row in enumerate(whole.rows) if row.setting == halved.best]
    for name in halved.history():
        close(halved.history()[name], whole.history(rank)[name], 1e-12)
    pairs = zip(halved.population().parameters(), whole.population(rank).parameters(), strict=True)
    for own, other in pairs:
        close(own.data, other.data, 1e-12)


def test_the_best_third_goes_on():
    halved, whole = (swept({"lr": LRS}, halving=each, score="loss", **NINE) for each in (3, None))
    score = {row.setting["lr"]: whole.history(k).mean("loss") for k, row in enumerate(whole.rows)}
    first = sorted(LRS, key=lambda lr: score[lr][0])  # after the first epoch; then after three
    second = sorted(first[:3], key=lambda lr: score[lr][2])
    assert first != LRS[::-1] or second != first[:3]
    assert [row.setting["lr"] for row in halved.rows] == second + first[3:]


@pytest.mark.parametrize(
    ("settings", "halving", "epochs", "expected"),
    [
        (9, 2, 30, [30] + [15] * 1 + [8] * 2 + [4] * 5),
        (5, 3, 10, [10] + [3] * 4),
        (2, 3, 10, [10, 10]),
        (8, 2, 4, [4] * 2 + [2] * 2 + [1] * 4),  # the first two rungs are one
    ],
)
def test_rungs(settings, halving, epochs, expected):
    lrs = [0.1 * (k + 1) for k in range(settings)]
    result = swept({"lr": lrs}, halving=halving, epochs=epochs, seeds=2, batch_size=53)
    assert [row.epochs for row in result.rows] == expected


def test_the_memory_of_the_others_is_free(monkeypatch):
    kept, sizes, alive = Group.keep, [], []

    def watched(group, trials):
        alive.extend([weakref.ref(group.population), weakref.ref(group.optimizer), weakref.ref(group.criterion)])
        sizes.append(group.population.replicas)
        kept(group, trials)

    class Look(lamp.Callback):
        def on_start(self, training):
            dead.append([each() is None for each in alive])

    dead, tell = [], Look()
    monkeypatch.setattr(Group, "keep", watched)
    train = Group.train
    monkeypatch.setattr(Group, "train", lambda group, epochs, callbacks: train(group, epochs, [*callbacks, tell]))
    gc.disable()  # what only the collector would find may stay for long
    try:
        result = swept({"lr": LRS}, halving=3, **NINE)
    finally:
        gc.enable()
    assert sizes == [27, 9]
    assert dead == [[], [True] * 3, [True] * 6]
    assert result.rows[0].group.population.replicas == 3
    with pytest.raises(lamp.ArgumentError, match=r"dropped after 3 epochs"):
        result.networks(1)


def test_an_epoch_takes_less_time():
    wide = lamp.Sequential(lamp.Linear(4, 300), lamp.Tanh(), lamp.Linear(300, 200), lamp.Tanh(), lamp.Linear(200, 3))
    result = swept(
        {"lr": LRS}, wide.double(), halving=3, epochs=18, seeds=2, validation=None, metrics=(), batch_size=53
    )
    seconds = result.history().seconds
    assert seconds[6:].median() < seconds[:2].min() / 2


def test_callbacks_would_begin_anew():
    with pytest.raises(lamp.ArgumentError, match="EarlyStopping"):
        swept({"lr": LRS}, halving=3, callbacks=[lamp.EarlyStopping()], epochs=9)
