"""A training that is resumed, from any step, ends with the same bits as one that was never stopped.

By default each case is saved at a spread of steps and resumed from each; LAMP_EVERY_STEP=1 saves and resumes at all 60:

    LAMP_EVERY_STEP=1 python -m pytest tests/test_checkpoint_resume.py
"""

from __future__ import annotations

import os
import random
import signal
import warnings

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import ArgumentError, CheckpointError
from lamp.saving.trees import pack
from tests.cases import resumes
from tests.cases.resumes import CASES, EPOCHS, STEPS, build

EVERY_STEP = bool(os.environ.get("LAMP_EVERY_STEP"))
STRIDES = (17, 13, 19, 11, 23)  # steps between two saves of the short form, case by case
BY_THE_CLOCK = ("seconds", "compile_seconds", "why")


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    """Skip fsync, which takes most of the time of a small save and is tested elsewhere."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.fixture(autouse=True)
def _failures_are_expected():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lamp.NonFiniteWarning)
        yield


def left(arguments, history):
    """The complete state after a training, as text and tensors."""
    of_history = history.state_dict()
    model, optimizer, scheduler = arguments["model"], arguments["optimizer"], arguments.get("scheduler")
    callbacks = arguments.get("callbacks", ())
    stopping = [callback for callback in callbacks if isinstance(callback, lamp.EarlyStopping)]
    return pack(
        {
            "weights": model.state_dict(),
            "modules": {path: module.get_extra_state() for path, module in model.named_modules()},
            "optimizer": optimizer.state_dict(),
            "steps": optimizer.step_count,
            "schedule": None if scheduler is None else scheduler.state_dict(),
            "callbacks": [callback.state_dict() for callback in callbacks],
            "best": [(each.best, each.best_epoch) for each in stopping],
            "history": {name: value for name, value in of_history.items() if name not in BY_THE_CLOCK},
            "torch": torch.get_rng_state(),
            "python": random.getstate(),
            "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
            "data": [each.state_dict() for each in arguments.values() if isinstance(each, lamp.DataLoader)],
        }
    )


def assert_same_bits(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    for name, tensor in one[1].items():
        twin = other[1][name]
        assert (twin.shape, twin.dtype) == (tensor.shape, tensor.dtype), name
        both = [each.contiguous().reshape(-1).view(torch.uint8) for each in (tensor, twin)]
        assert torch.equal(*both), f"{name}: {tensor} {twin}"


def trained(name, elsewhere=False, **more):
    """Run the training of a case and return the state after it. `elsewhere`: with unseeded default generators."""
    arguments = {**build(name), **more}
    if elsewhere:
        torch.manual_seed(99)
        random.seed(98)
        np.random.seed(97)  # noqa: NPY002
    history = lamp.fit(**arguments)
    return history, left(arguments, history)


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_from_any_step(name, tmp_path):
    stride = 1 if EVERY_STEP else STRIDES[list(CASES).index(name) % len(STRIDES)]
    checkpoint = lamp.Checkpoint(tmp_path, every_steps=stride, every_epochs=1 if EVERY_STEP else 5, keep=1000)
    history, expected = trained(name)
    _, saving = trained(name, checkpoint=checkpoint)
    assert_same_bits(saving, expected)  # saving leaves no trace
    saved = checkpoint.saved()
    assert len(saved) >= (history.epochs * 6 if EVERY_STEP else 3)
    for path in saved:
        _, resumed = trained(name, elsewhere=True, resume=path)
        assert_same_bits(resumed, expected)


def test_the_cases_are_what_they_say():
    """In the cases, replicas stop at different times, and schedules and early stopping have an effect."""
    for engine in ("eager", "compiled"):
        stopped, _ = trained(f"replicas_that_stop, {engine}")
        ends = [stopped.of(k).epochs for k in range(resumes.REPLICAS)]
        assert len(set(ends)) > 3
        failed, _ = trained(f"replicas_that_fail, {engine}")
        assert 2 < len(failed.failed) < resumes.REPLICAS
        assert len({failed.endings[k].split(",")[0].split("epoch")[1] for k in failed.failed}) > 1
        early, _ = trained(f"early_stopping, {engine}")
        assert 3 < early.epochs < EPOCHS
        assert trained(f"adam_with_everything, {engine}")[0].engine == engine


class Press(lamp.Callback):
    """Ctrl-C at the end of an epoch."""

    needs_model = False

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch(self, training):
        if training.epoch + 1 == self.epoch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", ["doubles_without_a_look, eager", "doubles_without_a_look, compiled"])
def test_ctrl_c_saves_and_the_same_line_goes_on(name, tmp_path):
    """The training is interrupted and resumed until it is complete, also where epochs were trained ahead."""
    _, expected = trained(name)
    checkpoint = lamp.Checkpoint(tmp_path, every_seconds=1000)
    for epoch in (2, 5, 6):
        history, _ = trained(name, callbacks=[Press(epoch)], checkpoint=checkpoint, resume=True)
        assert history.stopped.startswith("interrupted")
        assert history.epochs == epoch
    history, resumed = trained(name, elsewhere=True, checkpoint=checkpoint, resume=True)
    assert history.stopped == "all epochs done"
    resumed[0]["callbacks"] = expected[0]["callbacks"]
    assert_same_bits(resumed, expected)
    again, once_more = trained(name, elsewhere=True, checkpoint=checkpoint, resume=True)  # nothing is left to do
    assert again.stopped == "all epochs done"
    once_more[0]["callbacks"] = expected[0]["callbacks"]
    assert_same_bits(once_more, expected)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_ctrl_c_in_the_middle_of_an_epoch(engine, tmp_path, monkeypatch):
    name = f"adam_with_everything, {engine}"
    _, expected = trained(name)
    for module in ("compiled", "prefetching"):
        monkeypatch.setattr(f"lamp.training.{module}.STRETCH", 0.0)  # one step at a time
    for calls in (9, 17):
        looks = iter(range(1000))
        with monkeypatch.context() as patch:
            press = lambda *_: signal.raise_signal(signal.SIGINT) if next(looks) == calls else None  # noqa: B023, E731
            patch.setattr("lamp.training.progress.Silence.at", press)
            history, _ = trained(name, checkpoint=tmp_path, resume=True)
        assert history.stopped.startswith("interrupted in epoch")
        assert int(lamp.Checkpoint(tmp_path).saved()[-1].name[-3:]) % 5 != 0
    history, resumed = trained(name, elsewhere=True, checkpoint=tmp_path, resume=True)
    assert_same_bits(resumed, expected)


class PressAtOnce(lamp.Callback):
    """Ctrl-C before the first step."""

    needs_model = False

    def on_start(self, training):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_ctrl_c_before_the_first_step(engine, tmp_path):
    """The state at the start, or the state resumed from, is saved, also in a new folder."""
    name = f"momentum_by_epoch, {engine}"
    _, expected = trained(name)
    early = lamp.Checkpoint(tmp_path / "first", every_steps=13, keep=9)
    trained(name, checkpoint=early)
    trained(name, callbacks=[PressAtOnce()], checkpoint=tmp_path / "new")
    trained(name, callbacks=[PressAtOnce()], checkpoint=tmp_path / "second", resume=early.saved()[1])
    for folder in ("new", "second"):
        _, resumed = trained(name, elsewhere=True, checkpoint=tmp_path / folder, resume=True)
        assert_same_bits(resumed, expected)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_objects_that_have_been_trained_go_on_too(engine, tmp_path):
    """As when a notebook cell is run again: optimizer and schedule continue where they stopped."""
    for name in (f"schedule_by_batch, {engine}", f"plateau, {engine}", f"replicas_that_stop, {engine}"):
        _, expected = trained(name)
        arguments = build(name)
        folder = tmp_path / name
        lamp.fit(**{**arguments, "callbacks": [*arguments.get("callbacks", ()), Press(4)]}, checkpoint=folder)
        history = lamp.fit(**arguments, checkpoint=folder, resume=True)
        assert_same_bits(left(arguments, history), expected)


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_more_epochs_than_at_first(engine, tmp_path):
    name = f"adam_with_everything, {engine}"
    _, expected = trained(name)
    trained(name, epochs=7, checkpoint=tmp_path)
    _, resumed = trained(name, elsewhere=True, checkpoint=tmp_path, resume=True)
    assert_same_bits(resumed, expected)


def test_resume_begins_where_nothing_is_saved_yet(tmp_path):
    _, expected = trained("momentum_by_epoch, eager")
    _, first = trained("momentum_by_epoch, eager", checkpoint=tmp_path / "new", resume=True)
    assert_same_bits(first, expected)


def test_an_earlier_checkpoint_makes_later_ones_stale(tmp_path):
    name = "list_of_batches, eager"
    checkpoint = lamp.Checkpoint(tmp_path, every_steps=10, keep=1000)
    trained(name, checkpoint=checkpoint)
    early = checkpoint.saved()[1]
    trained(name, checkpoint=lamp.Checkpoint(tmp_path, every_steps=15, keep=1000), resume=early, epochs=5)
    assert [path.name[-3:] for path in checkpoint.saved()] == ["010", "020", "025"]


def diverging(**more):
    """Replicas whose weights grow by a factor per step until the loss is infinite; two steps per epoch."""
    torch.manual_seed(0)
    model = lamp.population(lamp.Sequential(lamp.Linear(1, 1, bias=False)), range(8))
    model.parameters()[0].data.fill_(1.5)
    x = torch.full((4, 1), 1e5)
    optimizer = lamp.SGD(model.parameters(), lr=torch.logspace(-10.4, -8.5, 8))
    arguments = dict(epochs=18, batch_size=2, shuffle=False, progress=False, **more)
    history = lamp.fit(model, lamp.MSELoss(), optimizer, (x, torch.zeros(4, 1)), **arguments)
    return history, model.parameters()[0].data.clone()


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_replicas_that_fail_keep_the_same_weights(engine, tmp_path):
    """They get their last good weights, also if several epochs were trained in one call."""
    history, weights = diverging(engine=engine)
    at = [
        (int(text.split("epoch ")[1].split(",")[0]), int(text.split("step ")[1])) for text in history.endings.values()
    ]
    assert any(step == 2 * epoch - 1 and (epoch % 2 or epoch % 3 == 1) for epoch, step in at)
    for every in ({"every_epochs": 2}, {"every_epochs": 3}, {"every_steps": 1}):
        checkpoint = lamp.Checkpoint(tmp_path / str(every), **every, keep=1000)
        saving, kept = diverging(engine=engine, checkpoint=checkpoint)
        assert torch.equal(kept, weights)
        assert saving.endings == history.endings
        steps = {int(path.name[-3:]): path for path in checkpoint.saved()}
        chosen = steps if "every_epochs" in every else {k for _, step in at for k in (step - 1, step)}  # about failures
        for step in chosen:
            assert torch.equal(diverging(resume=steps[step])[1], weights)


# ---- other trainings -------------------------------------------------------------------------------------------------
def smaller(arguments):
    x, y = arguments["data"]
    return {"data": (x[:-1], y[:-1])}


OTHERS = {
    "network": lambda a: {"model": resumes.network(lamp.Tanh(), hidden=9)},
    "parameters": lambda a: {"model": a["model"].double()},
    "loss": lambda a: {"criterion": lamp.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))},
    "optimizer": lambda a: {"optimizer": lamp.SGD(a["model"].parameters(), lr=0.03)},
    "hyperparameters": lambda a: {"optimizer": lamp.Adam(a["model"].parameters(), lr=0.02)},
    "kind of schedule": lambda a: {"scheduler": lamp.StepLR(a["optimizer"], 3)},
    "clipping": lambda a: {"clip_norm": 1.0},
    "metrics": lambda a: {"metrics": [lamp.accuracy]},
    "data": smaller,
    "seed": lambda a: {"seed": 5},
    "validation data": lambda a: {"validation": resumes.held_out()},
    "batch": lambda a: {"batch_size": 8},
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_refused(what, tmp_path):
    name = "momentum_by_epoch, eager" if what == "seed" else "list_of_batches, eager"
    plain = {"scheduler": None, "data": resumes.case(resumes.network())["data"], "batch_size": 7}

    def arguments():
        made = build("callbacks, eager") | {"callbacks": [], "seed": 4}
        return made | plain | ({} if what != "parameters" else {"data": (plain["data"][0], plain["data"][1])})

    lamp.fit(**arguments() | {"epochs": 2}, checkpoint=tmp_path)
    others = arguments()
    others |= OTHERS[what](others)
    if what in ("network", "parameters"):
        others["optimizer"] = lamp.Adam(others["model"].parameters(), lr=0.03)
        others["data"] = tuple(
            c.double() if c.is_floating_point() and what == "parameters" else c for c in plain["data"]
        )
    before = [p.data.clone() for p in others["model"].parameters()]
    with pytest.raises(CheckpointError) as error:
        lamp.fit(**others, checkpoint=tmp_path, resume=True)
    named = {"network": "network", "batch": "data"}.get(what, what)
    assert f"belongs to another training, as shown by its {named}" in str(error.value)
    assert all(torch.equal(p.data, b) for p, b in zip(others["model"].parameters(), before, strict=True))
    del name


def test_what_else_does_not_fit(tmp_path):
    make = lambda: build("callbacks, eager")  # noqa: E731
    with pytest.raises(ArgumentError, match="resume=True"):
        lamp.fit(**make(), resume=True)
    lamp.fit(**make(), checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match="already holds a training"):
        lamp.fit(**make(), checkpoint=tmp_path)
    lamp.fit(**make(), checkpoint=tmp_path / "other")
    with pytest.raises(CheckpointError, match="already holds a training"):  # else its files would count as outdated
        lamp.fit(**make(), checkpoint=tmp_path / "other", resume=tmp_path)
    with pytest.raises(ArgumentError, match="more epochs than epochs=3"):
        lamp.fit(**make() | {"epochs": 3}, checkpoint=tmp_path, resume=True)
    with pytest.raises(ArgumentError, match="eager engine"):
        lamp.fit(**make() | {"engine": "compiled"}, resume=tmp_path)
    with pytest.raises(CheckpointError, match="callback that was not passed"):
        lamp.fit(**make() | {"callbacks": []}, resume=tmp_path)
    with pytest.raises(CheckpointError, match="not a folder"):
        lamp.fit(**make(), resume=tmp_path / "nowhere")
    (tmp_path / "begun" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        lamp.fit(**make(), resume=tmp_path / "begun")

    class Steps:
        def step(self):
            pass

    with pytest.raises(ArgumentError, match="cannot be saved"):
        lamp.fit(**make(), scheduler=Steps(), checkpoint=tmp_path / "new")
    for wrong in ({"keep": 0}, {"every_steps": 0}, {"every_epochs": 1.5}, {"every_seconds": -1}, {"keep": True}):
        with pytest.raises(ArgumentError):
            lamp.Checkpoint(tmp_path, **wrong)
    assert STEPS == 60


def test_a_callback_that_cannot_be_saved_says_so(tmp_path):
    class Odd(lamp.Callback):
        def state_dict(self):
            return {"file": object()}

    with pytest.raises(CheckpointError, match=r"callbacks\.0\.state\.file"):
        lamp.fit(**build("list_of_batches, eager"), callbacks=[Odd()], checkpoint=tmp_path)
    assert not lamp.Checkpoint(tmp_path).saved()
