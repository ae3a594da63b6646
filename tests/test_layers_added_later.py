"""Parameters that a callback adds while a network trains are in no optimizer, and told of."""

import warnings

import pytest
import torch

import lamp


class Changes(lamp.Callback):
    def __init__(self, change):
        self.change = change

    def on_epoch(self, training):
        if training.epoch == 1:
            self.change(training)


def grown(change, engine, epochs=4, replicas=None):
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 4), lamp.Tanh())
    model = lamp.population(model, range(replicas)) if replicas else model
    x, y = torch.randn(24, 3), torch.randn(24, 4)
    lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), (x, y), batch_size=8, epochs=epochs,
             callbacks=[Changes(change)], engine=engine, progress=False)  # fmt: skip
    return model


def replace(training):
    training.model[2] = lamp.Linear(4, 4)


def append(training):
    training.model.append(lamp.Linear(4, 4))


def append_and_train(training):
    append(training)
    training.optimizer.add_param_group({"params": list(training.model[-1].parameters())})


def append_frozen(training):
    append(training)
    training.model[-1].requires_grad_(False)


def replace_in_population(training):
    training.model.network[2] = lamp.population(lamp.Linear(4, 4), range(3)).network


@pytest.mark.parametrize("engine", ["eager", "auto"])
@pytest.mark.parametrize(("change", "name"), [(replace, "2.weight, 2.bias"), (append, "4.weight, 4.bias")])
def test_added_parameters_that_the_optimizer_lacks_are_told_of_once(change, name, engine):
    with pytest.warns(lamp.TrainingWarning, match=f"the optimizer does not have {name}") as caught:
        grown(change, engine, epochs=2000 if engine == "auto" else 4)
    assert len(caught) == 1
    assert "add_param_group" in str(caught[0].message)


def test_in_a_population_too():
    with pytest.warns(lamp.TrainingWarning, match="the optimizer does not have network.2.weight"):
        grown(replace_in_population, "eager", replicas=3)


@pytest.mark.parametrize("change", [append_and_train, append_frozen, lambda training: None])
def test_those_that_it_has_or_that_are_frozen_are_not(change):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grown(change, "eager")
