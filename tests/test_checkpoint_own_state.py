"""What a user's objects keep of their own: generators and numbers go on when a training is resumed; the rest is told.

Each training is stopped at several steps, in the middle of an epoch and between two, and resumed with new objects.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import CheckpointError, CheckpointWarning

INPUTS = torch.randn(22, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randn(22, 2, generator=torch.Generator().manual_seed(1))
STOPS = (1, 3, 7, 9, 13)  # of 6 epochs of 3 steps
KINDS = {
    "torch": lambda: torch.Generator().manual_seed(5),
    "numpy": lambda: np.random.default_rng(5),
    "numpy, MT19937": lambda: np.random.Generator(np.random.MT19937(5)),
    "numpy, legacy": lambda: np.random.RandomState(5),
    "Python": lambda: random.Random(5),
}


def drawn(generator):
    """A number between 0 and 1."""
    if isinstance(generator, torch.Generator):
        return torch.rand((), generator=generator).item()
    return generator.random_sample() if isinstance(generator, np.random.RandomState) else generator.random()


class Noisy:
    """A data set that adds noise, drawn from its own generator, to each sample."""

    def __init__(self, generator):
        self._generator = generator

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        return INPUTS[index] + drawn(self._generator), TARGETS[index]


class Transformed(Noisy):
    """A data set whose generator is in a transform, one of several."""

    def __init__(self, generator):
        self.transforms = [abs, Shift(generator)]

    def __getitem__(self, index):
        return self.transforms[1](INPUTS[index]), TARGETS[index]


class Shift:
    def __init__(self, generator):
        self.generator, self.calls = generator, 0

    def __call__(self, inputs):
        self.calls += 1
        return inputs + drawn(self.generator) / self.calls


class Epochs:
    """Batches that depend on how often they were asked for."""

    def __init__(self):
        self._epoch = 0

    def __len__(self):
        return 3

    def __iter__(self):
        self._epoch += 1
        for k in range(3):
            yield INPUTS[k::3] / self._epoch, TARGETS[k::3]


class Jitter(lamp.Module):
    """Multiplies by a number that is drawn in each forward, and that shrinks from step to step."""

    def __init__(self, generator):
        self.generator, self._calls = generator, 0

    def forward(self, x):
        factor = 1.0
        if self.training:
            self._calls += 1
            factor += drawn(self.generator) / self._calls
        self.remember(factor)
        return x * factor

    def backward(self, dy):
        return dy * self.recall()


class Noised(lamp.Optimizer):
    """Gradient descent with a learning rate that is drawn anew in each step."""

    def __init__(self, parameters, generator):
        super().__init__(parameters, {"lr": 0.1})
        vars(self)["source"] = generator

    def coefficients(self, group, step):
        return {"lr": group["lr"] * drawn(self.source)}

    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * c["lr"]


class Draws(lamp.Callback):
    """Sets the learning rate at random."""

    def __init__(self, generator):
        self.generator = generator

    def on_epoch(self, training):
        training.optimizer.param_groups[0]["lr"] = 0.1 * drawn(self.generator)


class Stop(lamp.Callback):
    """Ends the process, as it were, after a step."""

    class Ended(BaseException):
        pass

    def __init__(self, step):
        self._step = step

    def on_batch(self, training, loss):
        if training.step == self._step:
            raise Stop.Ended


def with_closure(generator):
    """Batches by a function that draws from a variable of its closure, through another function."""

    def noise():
        return drawn(generator)

    class Closed(Noisy):
        def __init__(self):
            pass

        def __getitem__(self, index):
            return INPUTS[index] + noise(), TARGETS[index]

    return Closed()


def loader(dataset):
    return lamp.DataLoader(dataset, 8, shuffle=True, seed=1)


def network(*between):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return lamp.Sequential(lamp.Linear(4, 5), *between, lamp.Tanh(), lamp.Linear(5, 2))


def training(data=None, between=(), optimizer=lambda model: lamp.SGD(model.parameters(), lr=0.1), callbacks=(), **more):
    model = network(*between)
    return {
        "model": model,
        "criterion": lamp.MSELoss(),
        "optimizer": optimizer(model),
        "data": (INPUTS, TARGETS) if data is None else data,
        "callbacks": list(callbacks),
        "epochs": 6,
        "engine": "eager",
        **({"batch_size": 8, "seed": 3} if data is None else {}),
        **more,
    }


def run(arguments, folder, stop=None, resume=False):
    """Train, saving every step, to the end or until it is stopped."""
    arguments["callbacks"] = [*arguments["callbacks"], Stop(stop)]
    try:
        return lamp.fit(**arguments, checkpoint=lamp.Checkpoint(folder, every_steps=1), resume=resume)
    except Stop.Ended:
        return None


def assert_goes_on(make, tmp_path, stops=STOPS):
    """The training that `make` makes ends with the same bits when it is stopped and resumed."""
    whole = make()
    expected = run(whole, tmp_path / "whole")
    for stop in stops:
        assert run(make(), tmp_path / str(stop), stop) is None
        resumed = make()
        history = run(resumed, tmp_path / str(stop), resume=True)
        assert torch.equal(history["loss"], expected["loss"]), stop
        for one, other in zip(whole["model"].parameters(), resumed["model"].parameters(), strict=True):
            assert torch.equal(one.data, other.data), stop


PLACES = {
    "a data set": lambda generator: training(loader(Noisy(generator))),
    "a transform": lambda generator: training(loader(Transformed(generator))),
    "a closure": lambda generator: training(loader(with_closure(generator))),
    "torch's loader": lambda generator: training(torch.utils.data.DataLoader(Noisy(generator), 8)),
    "a subset": lambda generator: training(
        torch.utils.data.DataLoader(torch.utils.data.Subset(Noisy(generator), range(20)), 8)
    ),
    "a module": lambda generator: training(between=[Jitter(generator)]),
    "an optimizer": lambda generator: training(optimizer=lambda model: Noised(model.parameters(), generator)),
    "a callback": lambda generator: training(callbacks=[Draws(generator)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_generators_go_on(place, kind, tmp_path):
    assert_goes_on(lambda: PLACES[place](KINDS[kind]()), tmp_path, STOPS[1:3])


GLOBAL = np.random.default_rng(0)


class FromGlobal(Noisy):
    def __init__(self):
        GLOBAL.bit_generator.state = np.random.default_rng(7).bit_generator.state

    def __getitem__(self, index):
        return INPUTS[index] + GLOBAL.random(), TARGETS[index]


CHANGES = {
    "a generator in a global variable": lambda: training(loader(FromGlobal())),
    "a number of an iterable": lambda: training(Epochs()),
    "the batch size": lambda: _with_changes(
        lambda training, data: setattr(data, "batch_size", 6 + training.epoch % 2 * 4)
    ),
    "the order": lambda: _with_changes(lambda training, data: setattr(data, "shuffle", training.epoch % 2 == 0)),
    "clipping": lambda: _with_changes(
        lambda training, data: setattr(training, "clip_norm", 0.01 * training.epoch + 0.01)
    ),
    "the memory of LBFGS": lambda: training(
        optimizer=lambda model: lamp.LBFGS(model.parameters(), lr=0.5, max_iter=3, line_search_fn="strong_wolfe")
    ),
}


def _with_changes(change):
    data = loader((INPUTS, TARGETS))

    class Changes(lamp.Callback):
        def on_epoch(self, training):
            change(training, data)

    return training(data, callbacks=[Changes()])


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_goes_on_changed(name, tmp_path):
    assert_goes_on(CHANGES[name], tmp_path)


def test_a_generator_of_another_kind_is_refused(tmp_path):
    run(training(loader(Noisy(KINDS["numpy"]()))), tmp_path, 4)
    with pytest.raises(CheckpointError, match=r"data\._generator is another generator"):
        run(training(loader(Noisy(KINDS["torch"]()))), tmp_path, resume=True)


def test_a_private_number_of_the_data_must_be_as_it_was(tmp_path):
    def made(strength):
        data: Any = Noisy(KINDS["Python"]())
        data._strength = strength
        return training(loader(data))

    run(made(0.1), tmp_path, 4)
    with pytest.raises(CheckpointError, match=r"shown by its data\._strength"):
        run(made(0.2), tmp_path, resume=True)


# ---- what does not go on is told -------------------------------------------------------------------------------------
class Lists(lamp.Module):
    def __init__(self):
        self._seen = []

    def forward(self, x):
        if self.training:
            self._seen.append(1)
        return x

    def backward(self, dy):
        return dy


class Counts(lamp.Callback):
    def __init__(self, epoch=0):
        self.epoch = epoch

    def on_epoch(self, training):
        self.epoch += 1


class CountingBoard(lamp.TensorBoard):
    def __init__(self, folder):
        super().__init__(folder)
        self.written = 0

    def on_epoch(self, training):
        super().on_epoch(training)
        self.written += 1


class Patient(lamp.Callback):
    """A callback with an option, which may be another one when a training is resumed."""

    def __init__(self, every):
        self.every = every


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _: training(between=[Lists()]), r"network\.1\._seen"),
        (lambda _: training(callbacks=[Counts()]), "Counts.epoch"),
        (
            lambda folder: training(callbacks=[CountingBoard(folder / "board")]),
            r"CountingBoard\.written",
        ),  # and not what lamp's class keeps
    ],
)
def test_what_begins_again_is_told(make, name, tmp_path):
    run(make(tmp_path), tmp_path, 5)
    with pytest.warns(CheckpointWarning, match=rf"^{name} had changed .* begins again as it was made\. Fix: ") as told:
        run(make(tmp_path), tmp_path, resume=True)
    assert len(told) == 1


def test_options_of_callbacks_may_change(tmp_path):
    for every, stop in ((1, 4), (5, 7), (9, None)):
        run(training(callbacks=[Patient(every)]), tmp_path, stop, resume=True)


def test_groups_that_a_callback_added(tmp_path):
    class Grows(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 0:
                layer = lamp.Linear(2, 2)
                training.model.append(layer)
                training.optimizer.add_param_group({"params": layer.parameters()})

    run(training(callbacks=[Grows()]), tmp_path, 5)
    with pytest.raises(CheckpointError, match="had changed the optimizer's groups of parameters"):
        run(training(callbacks=[Grows()]), tmp_path, resume=True)
