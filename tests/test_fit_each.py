"""`fit_each` trains networks of any architectures together; each ends as `fit` alone would leave it."""

from __future__ import annotations

import copy
import os
import signal
from functools import partial

import pytest
import torch

import lamp
from lamp.errors import ArgumentError, NonFiniteError
from lamp.studies.grouping import LARGEST_OF_SEVERAL_WIDTHS, LARGEST_RATIO, together
from tests.cases.compiled import task

TASK = task("CrossEntropyLoss")
SGD = partial(lamp.SGD, lr=0.1, momentum=0.5)


def mlp(*hidden, activation=lamp.Tanh, end=()):
    layers, fan_in = [], 3
    for width in hidden:
        layers += [lamp.Linear(fan_in, width), activation()]
        fan_in = width
    return lamp.Sequential(*layers, lamp.Linear(fan_in, TASK.outputs), *end).double()


def networks():
    """Networks of several depths and activations, and one whose widths must be equal."""
    shapes = [(4,), (9,), (5, 6), (7, 3), (), (2, 2, 2), (30,)]
    made = [mlp(*hidden, activation=kind) for kind in (lamp.Tanh, lamp.Sigmoid) for hidden in shapes]
    made.append(lamp.Sequential(lamp.Linear(3, 6), lamp.Softmax(-1), lamp.Linear(6, TASK.outputs)).double())
    return made


def trained(models, optimizer=SGD, **arguments):
    arguments = dict(epochs=3, batch_size=8, progress=False, seed=5) | arguments
    return lamp.fit_each(models, TASK.make(), optimizer, TASK.data(), **arguments)


def check(models, optimizer=SGD, engine="auto", scheduler=None, seed=5, **arguments):
    alone = copy.deepcopy(models)
    histories = trained(models, optimizer, engine=engine, scheduler=scheduler, seed=seed, **arguments)
    for k, (model, other, history) in enumerate(zip(models, alone, histories, strict=True)):
        rule = optimizer(other.parameters())
        of_one = lamp.fit(
            other,
            TASK.make(),
            rule,
            TASK.data(),
            engine="eager",
            progress=False,
            scheduler=None if scheduler is None else scheduler(rule),
            seed=seed if isinstance(seed, int) else seed[k],
            **(dict(epochs=3, batch_size=8) | arguments),
        )
        assert history.names == of_one.names
        for name in history.names:
            torch.testing.assert_close(history[name], of_one[name], rtol=1e-10, atol=1e-10, msg=f"{name} of {k}")
        torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-10)
    return histories


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_each_network_trains_as_alone(engine):
    models = networks()
    if engine == "compiled":
        models.pop()  # which that engine does not know
    check(models, engine=engine)
    check(models, engine=engine, seed=list(range(len(models))), validation=TASK.data(11), metrics=[lamp.accuracy])


def test_schedules_clipping_and_callbacks():
    def falling(optimizer):
        return lamp.StepLR(optimizer, 1, 0.5)

    check(networks(), scheduler=falling, clip_norm=0.2, callbacks=[lamp.EarlyStopping(1, "loss")], epochs=5)


def test_dropout_goes_on_where_it_was():
    models = [
        lamp.Sequential(lamp.Linear(3, h), lamp.ReLU(), lamp.Dropout(0.3), lamp.Linear(h, TASK.outputs)).double()
        for h in (4, 7)
    ]
    for model in models:
        model[2].seeds()
    check(models)
    assert [model[2].step for model in models] == [15, 15]
    check(models)


def test_a_seed_is_drawn_for_each():
    models = [mlp(4), mlp(6)]
    models[1][0], models[1][2] = copy.deepcopy(models[0][0]), copy.deepcopy(models[0][2])
    histories = trained(models, seed=None)
    assert not torch.equal(histories[0]["loss"], histories[1]["loss"])


def test_networks_that_end_in_their_loss():
    models = [mlp(4, end=[TASK.make()]), mlp(6, end=[TASK.make()])]
    before = copy.deepcopy(models)
    histories = lamp.fit_each(models, None, SGD, TASK.data(), epochs=2, progress=False, seed=1)
    for model, other, history in zip(models, before, histories, strict=True):
        alone = lamp.fit(other, None, SGD(other.parameters()), TASK.data(), epochs=2, progress=False, seed=1)
        torch.testing.assert_close(history["loss"], alone["loss"])
        torch.testing.assert_close(model.state_dict(), other.state_dict())


# ---- which train together --------------------------------------------------------------------------------------------
def test_rows_that_differ_in_widths_train_together():
    models = [mlp(4), mlp(4, 5), mlp(5), mlp(6, activation=lamp.ReLU), mlp(4), mlp(5, 6)]
    assert together(models) == [[0, 2, 4], [1, 5], [3]]


def test_small_and_large_ones_do_not():
    models = [mlp(2), mlp(3), mlp(3 * LARGEST_RATIO + 2), mlp(3 * LARGEST_RATIO)]
    assert together(models) == [[0, 1], [2, 3]]


def test_what_leaves_the_cache_trains_with_its_like_alone():
    wide = LARGEST_OF_SEVERAL_WIDTHS // 3
    assert together([mlp(wide), mlp(wide + 1), mlp(wide)]) == [[0, 2], [1]]


# ---- what goes wrong -------------------------------------------------------------------------------------------------
def test_failures_are_named_and_leave_the_others_alone():
    models = networks()
    for k in (2, 4, 14):  # among others, alone, of another architecture
        models[k].parameters()[-2].data[0, 0] = torch.inf
    alone = copy.deepcopy(models)
    with pytest.warns(lamp.NonFiniteWarning, match="3 of 15 networks .*: 2, 4, 14"):
        histories = trained(models)
    for k, model in enumerate(models):
        if k in (2, 4, 14):
            assert histories[k].epochs == 0
            continue
        lamp.fit(
            alone[k],
            TASK.make(),
            SGD(alone[k].parameters()),
            TASK.data(),
            epochs=3,
            batch_size=8,
            seed=5,
            progress=False,
        )
        torch.testing.assert_close(model.state_dict(), alone[k].state_dict(), rtol=1e-10, atol=1e-10)


def test_all_failed():
    models = [mlp(4), mlp(5), mlp(3, 3)]
    for model in models:
        model.parameters()[-2].data[0, 0] = torch.inf
    with pytest.raises(NonFiniteError):
        trained(models)


def test_an_interrupt_ends_all():
    class Press(lamp.Callback):
        def on_epoch(self, training):
            os.kill(os.getpid(), signal.SIGINT)

    histories = trained([mlp(4), mlp(5), mlp(3, 3)], callbacks=[Press()], epochs=9)
    assert [history.epochs for history in histories] == [1, 1, 0]
    assert histories[0].stopped.startswith("interrupted")
    assert histories[2].stopped == "interrupted before it began"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (dict(models=[]), "(?s)fit_each needs a list of networks.*at least one"),
        (dict(models=[mlp(4), "network"]), "item 1 is not a network"),
        (dict(models=[lamp.population(mlp(4), range(2))]), "(?s)item 0 is not a network.*Population"),
        (dict(models=[mlp(4)], optimizer=lambda parameters: None), "does not make an optimizer"),
        (dict(models=[mlp(4)], seed=[1, 2]), "a seed for each"),
        (dict(models=[mlp(4)], epochs=0), "epochs"),
        (dict(models=[mlp(4)], scheduler=lambda optimizer: None), "scheduler"),
    ],
)
def test_bad_input(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        trained(**arguments)


def test_a_network_given_twice():
    model = mlp(4)
    with pytest.raises(ArgumentError, match="given twice"):
        trained([model, mlp(3), model])


@pytest.mark.parametrize("seed", [None, 7, [7, 8, 9, 10]])
def test_a_share_is_held_out_once_for_all(seed):
    """Networks that train in different groups hold out the same samples: those of the first seed, or of 0."""
    inputs = torch.arange(20.0).view(20, 1)
    targets = torch.zeros(20, 1)
    made = [lamp.Sequential(lamp.Linear(1, 1)), lamp.Sequential(lamp.Linear(1, 1), lamp.Tanh(), lamp.Linear(1, 1))]
    networks = [copy.deepcopy(network) for network in (*made, *made)]
    histories = lamp.fit_each(
        networks, lamp.MSELoss(), lambda p: lamp.SGD(p, lr=1e-12), (inputs, targets),
        epochs=1, validation=0.25, seed=seed, progress=False, batch_size=4,
    )  # fmt: skip
    first = 0 if seed is None else 7
    for network, history in zip(networks, histories, strict=True):
        alone = lamp.fit(
            network, lamp.MSELoss(), lamp.SGD(network.parameters(), lr=1e-12), (inputs, targets),
            epochs=1, validation=0.25, seed=first, progress=False, batch_size=4,
        )  # fmt: skip
        torch.testing.assert_close(history["validation_loss"], alone["validation_loss"])
