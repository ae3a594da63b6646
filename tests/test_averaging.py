"""Averages of weights, the learning rate for them, and running statistics afterwards, beside torch.optim.swa_utils."""

import copy

import pytest
import torch
from torch.optim import swa_utils

import lamp
from tests.cases.schedules import step
from tests.test_schedule_nesting import optimizer_of
from tests.test_schedule_values import check, hyperparameters

K = 3


def networks():
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(3, 5), lamp.BatchNorm1d(5), lamp.Tanh(), lamp.Linear(5, 2)).double()
    return model, lamp.to_torch(model)


def change(model, twin):
    """New random weights and running statistics, the same in both."""
    for own, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        if own.is_floating_point():
            other.copy_(torch.rand_like(own) + 0.1)
            own.copy_(other)
        else:
            other.add_(1)
            own.add_(1)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages_are_torchs(decay, use_buffers):
    model, twin = networks()
    averaged = lamp.AveragedModel(model, decay=decay, use_buffers=use_buffers)
    function = None if decay is None else swa_utils.get_ema_avg_fn(decay)
    other = swa_utils.AveragedModel(twin, avg_fn=function, use_buffers=use_buffers)
    assert list(averaged.state_dict()) == list(other.state_dict())
    for _ in range(5):
        change(model, twin)
        averaged.update_parameters(model)
        other.update_parameters(twin)
        for (name, own), theirs in zip(averaged.state_dict().items(), other.state_dict().values(), strict=True):
            if own.is_floating_point():
                torch.testing.assert_close(own, theirs, rtol=1e-12, atol=1e-14)
            else:
                assert own == theirs or use_buffers, name  # torch averages counts of batches too
    x = torch.randn(4, 3).double()
    torch.testing.assert_close(averaged.eval()(x), other.eval()(x).detach())


def test_a_function_of_ones_own():
    model, twin = networks()
    averaged = lamp.AveragedModel(model, avg_fn=lambda mean, new, n: mean * 0.25 + new * 0.75)
    values = []
    for _ in range(3):
        change(model, twin)
        values.append(model[0].weight.data.clone())
        averaged.update_parameters(model)
    expected = 0.25 * (0.25 * values[0] + 0.75 * values[1]) + 0.75 * values[2]
    torch.testing.assert_close(averaged.module[0].weight.data, expected)


def test_the_network_itself_is_left_alone_and_the_averages_are_saved(tmp_path):
    model, twin = networks()
    averaged = lamp.AveragedModel(model)
    change(model, twin)
    before = copy.deepcopy(model.state_dict())
    averaged.update_parameters(model)
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    lamp.save(averaged, tmp_path / "averaged.safetensors")
    again = lamp.AveragedModel(model)
    again.n_averaged.data.fill_(7)
    lamp.load(again, tmp_path / "averaged.safetensors")
    pairs = zip(again.state_dict().values(), averaged.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_averages_of_a_population_are_those_of_each():
    single = lamp.Sequential(lamp.Linear(3, 5), lamp.BatchNorm1d(5), lamp.Linear(5, 2)).double()
    population = lamp.population(single, seeds=range(K))
    together = lamp.AveragedModel(population, decay=0.8)
    alone = [lamp.AveragedModel(population[k], decay=0.8) for k in range(K)]
    for _ in range(4):
        for each in population.parameters():
            each.data.normal_()
        together.update_parameters(population)
        for k, each in enumerate(alone):
            each.update_parameters(population[k])
    for k, each in enumerate(alone):
        for own, other in zip(together.module[k].parameters(), each.module.parameters(), strict=True):
            torch.testing.assert_close(own.data, other.data)


def test_update_bn_gives_torchs_statistics():
    model, twin = networks()
    change(model, twin)
    model.eval(), twin.eval()
    batches = [(torch.randn(n, 3).double(), torch.zeros(n)) for n in (8, 5, 7)]
    lamp.update_bn(batches, model)
    swa_utils.update_bn(batches, twin)
    for own, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other)
    assert model[1].momentum == 0.1
    assert not any(each.training for each in model.modules())


@pytest.mark.parametrize(
    "options", [{}, {"anneal_epochs": 4, "anneal_strategy": "linear"}, {"anneal_epochs": 0}], ids=str
)
def test_the_rate_is_torchs(options):
    ours, theirs = optimizer_of(lamp.optim), optimizer_of(None)
    before = lamp.ExponentialLR(ours, 0.9), torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9)
    for _ in range(5):
        for each in before:
            step(each)
    scheduler, twin = lamp.SWALR(ours, [0.05, 0.3], **options), swa_utils.SWALR(theirs, [0.05, 0.3], **options)
    for _ in range(15):
        check(hyperparameters(scheduler), hyperparameters(twin))
        check(scheduler.get_last_lr(), twin.get_last_lr())
        saved = scheduler.state_dict()
        scheduler.load_state_dict(saved)
        scheduler.step()
        step(twin)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda model: lamp.AveragedModel(torch.nn.Linear(2, 2)), "network"),
        (lambda model: lamp.AveragedModel(model, decay=1.5), "decay"),
        (lambda model: lamp.AveragedModel(model, decay=0.5, avg_fn=lambda a, b, n: a), "decay"),
        (lambda model: lamp.AveragedModel(model).update_parameters(lamp.Linear(2, 2)), "not the one"),
        (lambda model: lamp.SWALR(lamp.SGD(model.parameters()), 0.1, anneal_strategy="square"), "anneal_strategy"),
        (lambda model: lamp.SWALR(lamp.SGD(model.parameters()), -0.1), "swa_lr"),
        (lambda model: lamp.SWALR(lamp.SGD(model.parameters()), 0.1, anneal_epochs=-1), "anneal_epochs"),
    ],
)
def test_what_does_not_fit_is_told(make, words):
    with pytest.raises(lamp.ArgumentError, match=words) as caught:
        make(networks()[0])
    assert caught.value.fix
