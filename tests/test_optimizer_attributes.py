"""Hyperparameters that are set later, habits from torch, user-defined rules, and copies of optimizers."""

import copy
import io
import math
import pickle
import warnings

import numpy as np
import pytest
import torch

import lamp
from lamp.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from lamp.parameter import Parameter

KINDS = [SGD, Adam, AdamW, RMSprop, Adagrad]


def network():
    torch.manual_seed(1)
    return lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))


def train(model, optimizer, steps=3, seed=2):
    generator = torch.Generator().manual_seed(seed)
    criterion = lamp.MSELoss()
    for _ in range(steps):
        x, y = torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)
        criterion(model(x), y)
        optimizer.zero_grad()
        model.backward(criterion.backward())
        optimizer.step()
    return [parameter.data.clone() for parameter in model.parameters()]


def equal(one, other):
    return all(map(torch.equal, one, other))


class TestAttributes:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("name", ["lr", "weight_decay"])
    def test_setting_one_is_setting_it_in_every_group(self, kind, name):
        model, twin = network(), network()
        optimizer = kind(model.parameters(), lr=0.01)
        train(model, optimizer)
        setattr(optimizer, name, 0.05)
        assert getattr(optimizer, name) == optimizer.param_groups[0][name] == 0.05
        other = kind(twin.parameters(), lr=0.01)
        train(twin, other)
        other.param_groups[0][name] = 0.05
        assert equal(train(model, optimizer, seed=3), train(twin, other, seed=3))

    def test_reading(self):
        optimizer = Adam([{"params": [Parameter(torch.zeros(2))]}, {"params": [Parameter(torch.zeros(2))], "lr": 0.5}])
        assert optimizer.betas == (0.9, 0.999)
        assert optimizer.lr == [1e-3, 0.5]
        optimizer.lr = np.float32(0.25)
        assert optimizer.lr == 0.25
        assert not hasattr(optimizer, "momentum")

    @pytest.mark.parametrize("bad", [-1.0, math.nan, "0.1", None, [0.1, 0.2], torch.ones(3)], ids=repr)
    def test_assigned_values_are_checked(self, bad):
        optimizer = SGD(network().parameters(), lr=0.1)
        with pytest.raises(lamp.ArgumentError, match="SGD: lr is"):
            optimizer.lr = bad
        with pytest.raises(lamp.ArgumentError, match="SGD: lr is"):
            optimizer.param_groups[0]["lr"] = bad
        with pytest.raises(lamp.ArgumentError, match="SGD: lr is"):
            optimizer.param_groups[0].update(lr=bad)
        assert optimizer.lr == 0.1

    def test_what_belongs_together_is_asked_together(self):
        optimizer = SGD(network().parameters(), momentum=0.9, nesterov=True)
        with pytest.raises(lamp.ArgumentError, match="Nesterov momentum needs a momentum"):
            optimizer.momentum = 0.0

    @pytest.mark.parametrize(
        ("name", "meant"),
        [("learning_rate", "lr"), ("Lr", None), ("weight_decy", "weight_decay"), ("wd", "weight_decay"), ("tag", None)],
    )
    def test_another_name_is_refused(self, name, meant):
        optimizer = SGD(network().parameters())
        with pytest.raises(lamp.ArgumentError, match=f"SGD has no hyperparameter '{name}'") as caught:
            setattr(optimizer, name, 0.5)
        assert meant is None or f"did you mean {meant}" in str(caught.value)
        with pytest.raises(lamp.ArgumentError, match=f"SGD has no hyperparameter '{name}'"):
            optimizer.param_groups[0][name] = 0.5
        with pytest.raises(AttributeError, match=f"SGD has no hyperparameter '{name}'"):
            getattr(optimizer, name)

    def test_the_parameters_of_a_group_stay(self):
        optimizer = SGD(network().parameters())
        with pytest.raises(lamp.ArgumentError, match="add_param_group"):
            optimizer.param_groups[0]["params"] = network().parameters()

    def test_a_method_may_be_replaced(self):
        optimizer = SGD(network().parameters())
        optimizer.step = lambda: 3
        assert optimizer.step() == 3

    def test_a_schedule_says_that_it_would_overwrite(self):
        optimizer = SGD(network().parameters(), lr=0.1)
        scheduler = lamp.StepLR(optimizer, 5)
        optimizer.lr = 0.5
        with pytest.raises(lamp.ArgumentError, match="would overwrite it"):
            scheduler.step()

    def test_a_population(self):
        nets = lamp.population(network(), seeds=[1, 2, 3])
        optimizer = SGD(nets.parameters(), lr=0.1)
        optimizer.lr = np.array([0.1, 0.2, 0.3])
        assert optimizer.lr.tolist() == [0.1, 0.2, 0.3]
        optimizer.lr = [0.1, 0.2, 0.4]
        assert optimizer.param_groups[0]["lr"].tolist() == [0.1, 0.2, 0.4]
        with pytest.raises(lamp.ArgumentError, match=r"a tensor \(3,\)"):
            optimizer.lr = torch.ones(2)


class TestTorchsHabits:
    def test_a_closure(self):
        model, twin = network(), network()
        optimizer, other = SGD(model.parameters(), lr=0.1), SGD(twin.parameters(), lr=0.1)
        x, y, criterion = torch.ones(2, 3), torch.ones(2, 2), lamp.MSELoss()

        def closure():
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(x), y)
            model.backward(criterion.backward())
            return loss

        loss = optimizer.step(closure)
        assert loss.item() == criterion(twin(x), y).item()
        twin.backward(criterion.backward())
        other.step()
        assert equal([p.data for p in model.parameters()], [p.data for p in twin.parameters()])
        assert optimizer.step() is None

    def test_the_state_by_parameter(self):
        model = network()
        optimizer = Adam(model.parameters())
        train(model, optimizer)
        saved = optimizer.state_dict()["state"]
        for k, parameter in enumerate(model.parameters()):
            assert set(optimizer.state[parameter]) == {"exp_avg", "exp_avg_sq"}
            assert torch.equal(optimizer.state[parameter]["exp_avg"], saved[k]["exp_avg"])

    @pytest.mark.parametrize("bad", [{"learning_rate": 0.1}, {"lrr": 0.1}, {"betas": (0.9, 0.9)}], ids=str)
    def test_another_argument(self, bad):
        with pytest.raises(TypeError, match="SGD does not take these arguments") as caught:
            SGD(network().parameters(), **bad)
        assert isinstance(caught.value, lamp.LampError)

    @pytest.mark.parametrize("pair", [[0.1, 0.2], (0.1, 0.2)])
    def test_several_rates_for_one_network(self, pair):
        with pytest.raises(lamp.ArgumentError, match="lr is one number"):
            SGD(network().parameters(), lr=pair)

    def test_integers_of_numpy(self):
        optimizer = SGD(network().parameters(), lr=np.int64(1), momentum=np.float32(0.5))
        scheduler = lamp.StepLR(optimizer, np.int64(2), gamma=np.float64(0.5))
        for _ in range(2):
            scheduler.step()
        assert optimizer.lr == 0.5


class TestCopies:
    def pairs(self, thing):
        yield copy.deepcopy(thing)
        yield pickle.loads(pickle.dumps(thing))
        file = io.BytesIO()
        torch.save(thing, file)
        file.seek(0)
        yield torch.load(file, weights_only=False)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_a_pair_belongs_together(self, kind, order):
        model = network()
        optimizer = kind(model.parameters(), lr=0.05)
        train(model, optimizer)
        pair = (model, optimizer)
        copies = [[copied[order.index(k)] for k in (0, 1)] for copied in self.pairs(tuple(pair[k] for k in order))]
        expected = train(model, optimizer, seed=5)
        for its_model, its_optimizer in copies:
            its_optimizer.param_groups[0]["lr"] = 0.05
            assert equal(train(its_model, its_optimizer, seed=5), expected)
        assert not any(a is b for a in model.parameters() for b in copies[0][0].parameters())

    def test_with_a_schedule_and_before_the_first_step(self):
        model = network()
        optimizer = Adam(model.parameters(), lr=0.1)
        scheduler = lamp.StepLR(optimizer, 1)
        its_model, its_optimizer, its_scheduler = pickle.loads(pickle.dumps((model, optimizer, scheduler)))
        its_scheduler.step()
        assert its_optimizer.lr == pytest.approx(0.01)
        assert optimizer.lr == 0.1
        before = [p.data.clone() for p in its_model.parameters()]
        assert not equal(train(its_model, its_optimizer), before)

    def test_a_deep_copy_of_a_population_and_its_optimizer(self):
        nets = lamp.population(network(), seeds=[1, 2])
        optimizer = Adam(nets.parameters(), lr=torch.tensor([0.1, 0.2]))
        its_nets, its_optimizer = copy.deepcopy((nets, optimizer))
        assert equal(train(nets, optimizer), train(its_nets, its_optimizer))

    def test_a_copy_alone_trains_its_own_parameters(self):
        model = network()
        optimizer = copy.deepcopy(SGD(model.parameters(), lr=0.1))
        before = [p.data.clone() for p in model.parameters()]
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.ones_like(p.data)
        optimizer.step()
        assert equal([p.data for p in model.parameters()], before)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_copy_without_its_model_is_told_of(self, kind):
        """There is a warning at its first step. A pair that was copied together gets none."""
        model = network()
        optimizer = kind(model.parameters(), lr=0.05)
        train(model, optimizer)
        for alone in self.pairs(optimizer):
            with pytest.warns(UserWarning, match=r"copied or pickled without its model[\s\S]*\(model, optimizer\)"):
                train(model, alone)
        for its_model, its_optimizer in self.pairs((model, optimizer)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                train(its_model, its_optimizer)


class Signs(Optimizer):
    """A user's rule: a step of lr along the sign."""

    ranges = SGD.ranges

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0})
        self.calls = 0

    def coefficients(self, group, step):
        self.calls += 1
        return {"lr": group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        return parameter - c["lr"] * gradient.sign()


class TestOnesOwn:
    def test_it_trains_and_keeps_attributes_of_its_own(self):
        model = network()
        optimizer = Signs(model.parameters())
        train(model, optimizer)
        assert optimizer.calls == 3
        with pytest.raises(lamp.ArgumentError, match="Signs has no hyperparameter 'cals'"):
            optimizer.cals = 0

    @pytest.mark.parametrize(
        ("name", "function"),
        [
            ("update", lambda self, parameter, gradient: parameter),
            ("coefficients", lambda self, group: {}),
            ("state_names", lambda self: ()),
            ("initial_state", lambda self, name: 0.0),
        ],
    )
    def test_a_method_with_other_arguments(self, name, function):
        kind = type("Mine", (Signs,), {name: function})
        with pytest.raises(lamp.ArgumentError, match=f"Mine.{name} cannot be called as lamp calls it"):
            kind(network().parameters())

    @pytest.mark.parametrize("given", [None, 3.0, torch.ones(2)], ids=repr)
    def test_an_update_that_gives_no_parameter_back(self, given):
        kind = type("Mine", (Signs,), {"update": lambda self, *_: given})
        with pytest.raises(lamp.ArgumentError, match=r"Mine\.update did not return the parameter"):
            kind(network().parameters()).step()

    def test_a_schedule_with_other_arguments(self):
        class Mine(lamp.LRScheduler):
            def lr_at(self, epoch):
                return 0.1

        with pytest.raises(lamp.ArgumentError, match=r"Mine\.lr_at cannot be called as lamp calls it"):
            Mine(SGD(network().parameters()))

    @pytest.mark.parametrize("factor", [None, math.nan, -1.0, "1"], ids=repr)
    def test_a_factor_that_is_none(self, factor):
        optimizer = SGD(network().parameters(), lr=0.1)
        with pytest.raises(lamp.ArgumentError, match=r"lr_lambda\(0\) is out of range"):
            lamp.LambdaLR(optimizer, lambda epoch: factor)
