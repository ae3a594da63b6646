"""Buffers belong to a model's state as parameters do: copied, selected, stacked, kept, restored and saved with them.

The module that shows it is BatchNorm1d, whose running statistics move with each training forward.
"""

import copy
import math
import threading
import warnings

import pytest
import torch

import lamp
from lamp.state import ALL, ModelState, state_buffers
from lamp.training.last_good import LastGood

FEATURES, HIDDEN, OUT, REPLICAS, SAMPLES, BATCH = 4, 6, 2, 3, 33, 7
D = torch.float64
TOLERANCE = 1e-11
ENGINE = "eager"
STATISTICS = ("1.running_mean", "1.running_var", "1.num_batches_tracked")


def network(seed=0, momentum=0.1):
    torch.manual_seed(seed)
    body = (lamp.BatchNorm1d(HIDDEN, momentum=momentum), lamp.Tanh(), lamp.Linear(HIDDEN, OUT))
    return lamp.Sequential(lamp.Linear(FEATURES, HIDDEN), *body).double()


def data(seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=D) * 2.0 + 1.0
    return x, torch.randn(SAMPLES, OUT, generator=generator, dtype=D)


def state_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one)


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype
        told = lambda message, name=name: f"{name}: {message}"  # noqa: E731
        torch.testing.assert_close(tensor, other[name], rtol=TOLERANCE, atol=TOLERANCE, msg=told)


def train(model, x, y, lr=0.1, epochs=3, **more):
    optimizer = lamp.SGD(model.parameters(), lr=lr)
    more = {"batch_size": BATCH, "shuffle": False, "progress": False, "engine": ENGINE, **more}
    return lamp.fit(model, lamp.MSELoss(), optimizer, (x, y), epochs=epochs, **more)


def trained(seed=0, momentum=0.1, **more):
    model = network(seed, momentum)
    train(model, *data(), **more)
    return model


@pytest.fixture(autouse=True, params=["eager", "compiled"])
def engine(request, monkeypatch):
    """Every test trains with both engines."""
    monkeypatch.setattr(f"{__name__}.ENGINE", request.param)
    return request.param


@pytest.fixture
def networks():
    """Networks with different weights, statistics and numbers of batches seen."""
    return [trained(k, epochs=k + 1) for k in range(REPLICAS)]


# ---- the object itself -----------------------------------------------------------------------------------------------
def trained_alone(single, k, batches):
    """The single network for replica k, trained on its batches; the loss of replica 1 becomes infinite."""
    single.reset_parameters(generator=torch.Generator().manual_seed(k))
    own = [(a[k], b[k]) for a, b in batches]
    try:
        lamp.fit(single, lamp.MSELoss(), lamp.SGD(single.parameters(), lr=0.1), own, epochs=3, progress=False)
    except lamp.NonFiniteError:
        assert k == 1
    return single


class Counting(lamp.Module):
    """A module of a user's with buffers of several dtypes and shapes."""

    def __init__(self):
        self.mean, self.seen = lamp.Buffer(torch.zeros(FEATURES, dtype=D)), lamp.Buffer(torch.tensor(0))
        self.mask = lamp.Buffer(torch.ones(2, 5, dtype=torch.bool))

    def forward(self, input):
        if self.training:
            self.seen.data.add_(1)
            self.mean.data.lerp_(input.mean(-2), 0.5)
        return input - self.mean.data.unsqueeze(-2)

    def backward(self, grad_output):
        return grad_output


class TestModelState:
    def test_it_is_the_models_own(self):
        model = network()
        for tensor in ModelState.of(model).tensors:
            tensor.fill_(3)
        assert all((tensor == 3).all() for tensor in model.state_dict().values())

    def test_a_clone_stays_as_it_is(self):
        model = trained()
        before, kept = state_of(model), ModelState.of(model).clone()
        train(model, *data(2))
        assert not same(state_of(model), before)
        ModelState.of(model).restore(kept)
        assert same(state_of(model), before)

    def test_selected_rows_are_restored(self, networks):
        population = lamp.stack(networks)
        kept = ModelState.of(population).clone()
        for tensor in ModelState.of(population).tensors:
            tensor.zero_()
        ModelState.of(population).restore(kept.select([2]), [0])
        assert same(state_of(population[0]), state_of(networks[2]))
        assert not any(tensor.any() for tensor in population[1].state_dict().values())
        ModelState.of(population).restore(kept.select(torch.tensor([False, True, True])), torch.tensor([1, 2]))
        assert same(state_of(population[1]), state_of(networks[1]))

    def test_all_rows_are_a_copy_too(self):
        model = trained()
        before, kept = state_of(model), ModelState.of(model).select(ALL)
        train(model, *data(2))
        ModelState.of(model).restore(kept)
        assert same(state_of(model), before)

    def test_a_state_of_other_modules_is_told(self):
        model, other = trained(), lamp.Sequential(lamp.Linear(FEATURES, 2, dtype=D))
        before = state_of(model)
        with pytest.raises(lamp.ArgumentError, match="does not fit the model"):
            ModelState.of(model).restore(ModelState.of(other).clone())
        assert same(state_of(model), before)

    def test_where_chooses_rows_of_two_states(self, networks):
        population = lamp.stack(networks)
        other = ModelState.of(lamp.stack(networks[::-1]))
        mixed = ModelState.of(population).where(torch.tensor([True, False, False]), other)
        ModelState.of(population).restore(mixed)
        assert [same(state_of(population[k]), state_of(networks[j])) for k, j in ((0, 2), (1, 1), (2, 2))] == [True] * 3

    def test_dtypes_stay(self):
        module = Counting()
        state = ModelState.of(lamp.Sequential(lamp.Linear(FEATURES, OUT, dtype=D), module))
        dtypes = [D, D, torch.int64, torch.bool]
        for each in (state, state.clone()):
            assert [tensor.dtype for tensor in each.tensors] == dtypes
        chosen = state.where(torch.tensor(True), state.clone())
        assert [tensor.dtype for tensor in chosen.tensors] == dtypes

    def test_moved_between_dtypes(self):
        population = lamp.stack([trained(k) for k in range(REPLICAS)]).float()
        of_state = {name: tensor.dtype for name, tensor in population.state_dict().items()}
        assert of_state.pop("1.num_batches_tracked") == torch.int64
        assert set(of_state.values()) == {torch.float32}
        assert {tensor.dtype for tensor in population[1].state_dict().values()} == {torch.float32, torch.int64}
        assert same(state_of(population.select([1])[0]), state_of(population[1]))

    def test_a_buffer_that_stands_in_two_places_is_one(self):
        first, second = Counting(), Counting()
        second.mean = first.mean
        assert len(state_buffers(lamp.Sequential(first, second))) == 5
        population = lamp.population(lamp.Sequential(first, lamp.Linear(FEATURES, OUT, dtype=D), second), [3, 1])
        assert population.network[0].mean is population.network[2].mean
        assert population.network[0].mean.data.shape == (2, FEATURES)


# ---- populations -----------------------------------------------------------------------------------------------------
class TestPopulations:
    @pytest.mark.parametrize("momentum", [0.1, None, 1.0])
    def test_steps_are_the_single_networks(self, networks, momentum):
        for each in networks:
            each[1].momentum = momentum
        population = lamp.stack(networks)
        for step in range(4):
            inputs = torch.randn(REPLICAS, 5 + step, FEATURES, dtype=D)
            outputs = population(population.per_replica(inputs))
            upstream = torch.randn_like(outputs)
            dinputs = population.backward(upstream)
            for k, single in enumerate(networks):
                torch.testing.assert_close(single(inputs[k]), outputs[k], rtol=TOLERANCE, atol=TOLERANCE)
                torch.testing.assert_close(single.backward(upstream[k]), dinputs[k], rtol=TOLERANCE, atol=TOLERANCE)
        for k, single in enumerate(networks):
            assert_close(state_of(population[k]), state_of(single))

    def test_channels_and_positions(self):
        singles = [lamp.BatchNorm1d(FEATURES).double() for _ in range(REPLICAS)]
        population = lamp.stack(singles)
        inputs = torch.randn(REPLICAS, 5, FEATURES, 7, dtype=D)
        outputs = population(population.per_replica(inputs))
        for k, single in enumerate(singles):
            torch.testing.assert_close(single(inputs[k]), outputs[k], rtol=TOLERANCE, atol=TOLERANCE)
            assert_close(state_of(population[k]), state_of(single))

    @pytest.mark.parametrize("momentum", [0.1, None])
    def test_fit_is_the_single_networks(self, momentum):
        x, y = data()
        population, lr = lamp.population(network(0, momentum), range(REPLICAS)), torch.tensor([0.05, 0.1, 0.2])
        assert population.state_dict()["1.running_mean"].shape == (REPLICAS, HIDDEN)
        assert population.state_dict()["1.num_batches_tracked"].shape == (REPLICAS,)
        train(population, x, y, lr.double(), validation=(x[:9] + 1.0, y[:9]))
        for k in range(REPLICAS):
            single = network(0, momentum)
            single.reset_parameters(generator=torch.Generator().manual_seed(k))
            train(single, x, y, lr[k].item())
            assert_close(state_of(population[k]), state_of(single))
            assert single[1].num_batches_tracked.item() == 15

    def test_selected_copied_and_given(self, networks):
        population = lamp.stack(networks)
        before = state_of(population)
        chosen = population.select([2, 0, 2])
        for k, j in enumerate([2, 0, 2]):
            assert same(state_of(chosen[k]), state_of(networks[j]))
        assert same(state_of(population.select(torch.tensor([False, True, True]))[0]), state_of(networks[1]))
        population.copy_([0, 1], [1, 0])
        assert same(state_of(population[0]), state_of(networks[1]))
        assert same(state_of(population[1]), state_of(networks[0]))
        population.copy_([2], lamp.stack([networks[0]]))
        assert same(state_of(population[2]), state_of(networks[0]))
        population.load_state_dict(before)
        assert all(same(state_of(each), state_of(own)) for each, own in zip(population, networks, strict=True))
        other = network(9)
        assert same(state_of(population.give(1, other)), state_of(networks[1]))

    def test_what_is_taken_out_is_independent(self, networks):
        population = lamp.stack(networks)
        before = state_of(population)
        for other in (population[1], population.select([0, 1]), copy.deepcopy(population)):
            for tensor in other.state_dict().values():
                tensor.zero_()
        for each in networks:
            for tensor in each.state_dict().values():
                tensor.zero_()
        assert same(state_of(population), before)

    def test_reset(self, networks):
        population = lamp.population(network(), range(REPLICAS))
        fresh = state_of(population)
        train(population, *data())
        population.reset_parameters()
        assert same(state_of(population), fresh)

    def test_reset_leaves_what_no_module_initialises(self):
        single = lamp.Sequential(Counting(), lamp.Linear(FEATURES, OUT, dtype=D))
        population = lamp.population(single, range(REPLICAS))
        population.network[0].mean.data.copy_(torch.arange(12.0).view(REPLICAS, FEATURES))
        population.reset_parameters()
        assert torch.equal(population[2][0].mean.data, torch.arange(8.0, 12.0, dtype=D))

    def test_own_modules(self):
        """A user's module that was written for both keeps a row per replica, each as the single network's."""
        single = lamp.Sequential(Counting(), lamp.Linear(FEATURES, OUT, dtype=D))
        population = lamp.population(single, range(REPLICAS))
        x = torch.randn(REPLICAS, 5, FEATURES, dtype=D)
        population(population.per_replica(x))
        for k in range(REPLICAS):
            alone = copy.deepcopy(single)
            alone(x[k])
            assert_close(state_of(alone[0]), state_of(population[k][0]))

    def test_own_modules_that_mix_replicas_are_refused(self):
        class Wrong(Counting):
            def forward(self, input):
                self.mean.data.lerp_(input.mean(tuple(range(input.dim() - 1))), 0.5)
                return input

        class Shrink(lamp.Activation):
            def __init__(self):
                self.scale = lamp.Buffer(torch.tensor(0.5, dtype=D))

            def sigma(self, x):
                return x * self.scale.data

            def dsigma(self, x, y):
                return torch.ones_like(x) * self.scale.data

        for kind in (Wrong, Shrink):
            population = lamp.population(lamp.Sequential(lamp.Linear(3, FEATURES, dtype=D), kind()), range(4))
            with pytest.raises(lamp.ArgumentError, match=kind.__name__):
                population(torch.randn(5, 3, dtype=D))

    def test_class_weights_are_shared(self):
        body = lamp.Linear(FEATURES, 3)
        single = lamp.Sequential(body, lamp.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])))
        population = lamp.population(single, range(2))
        assert population.state_dict()["1.weight"].shape == (3,)
        assert population(torch.randn(5, FEATURES), torch.tensor([0, 1, 2, 2, 1]))[1].shape == (2,)
        other = copy.deepcopy(single)
        other[-1].weight = torch.tensor([1.0, 1.0, 1.0])
        with pytest.raises(lamp.ArgumentError, match="made differently"):
            lamp.stack([single, other])
        assert lamp.stack([single, copy.deepcopy(single)]).state_dict()["1.weight"].shape == (3,)

    def test_what_does_not_stack(self):
        with pytest.raises(lamp.ArgumentError, match="BatchNorm"):
            lamp.stack([lamp.Sequential(lamp.Linear(3, n), lamp.BatchNorm1d(n), lamp.Linear(n, 2)) for n in (4, 5)])
        with pytest.raises(lamp.ArgumentError):
            lamp.stack([lamp.BatchNorm1d(3), lamp.BatchNorm1d(3, momentum=0.2)])

    def test_networks_of_several_widths_train_apart(self):
        singles = [
            lamp.Sequential(lamp.Linear(FEATURES, n), lamp.BatchNorm1d(n), lamp.Tanh(), lamp.Linear(n, OUT)).double()
            for n in (3, 5, 3)
        ]
        alone = [copy.deepcopy(each) for each in singles]
        x, y = data()
        arguments = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "progress": False, "seed": 0}
        optimizer = lambda parameters: lamp.SGD(parameters, lr=0.1)  # noqa: E731
        lamp.fit_each(singles, lamp.MSELoss(), optimizer, (x, y), **arguments)
        for each, own in zip(singles, alone, strict=True):
            train(own, x, y, 0.1, 2)
            assert_close(state_of(each), state_of(own))


# ---- trainings -------------------------------------------------------------------------------------------------------
class Record(lamp.Callback):
    """The state after each epoch."""

    def on_start(self, training):
        self.states = []

    def on_epoch(self, training):
        self.states.append(state_of(training.model))


class TestEarlyStopping:
    def test_the_best_is_restored(self):
        x, y = data()
        model, record, stopping = network(), Record(), lamp.EarlyStopping(3)
        train(model, x, y, 0.5, 40, validation=data(5), callbacks=[record, stopping])
        assert 0 <= stopping.best_epoch < len(record.states) - 1 < 39
        assert same(state_of(model), record.states[stopping.best_epoch])
        assert not same(state_of(model), record.states[-1])

    def test_in_a_population(self):
        x, y = data()
        lr = torch.tensor([0.02, 0.2, 0.7], dtype=D)
        population, record, stopping = lamp.population(network(), range(REPLICAS)), Record(), lamp.EarlyStopping(3)
        train(population, x, y, lr, 40, validation=data(5), callbacks=[record, stopping])
        assert len(set(stopping.best_epoch.tolist())) > 1
        for k in range(REPLICAS):
            best = record.states[int(stopping.best_epoch[k])]
            assert same(state_of(population[k]), {name: tensor[k] for name, tensor in best.items()})
            single, alone = network(), lamp.EarlyStopping(3)
            single.reset_parameters(generator=torch.Generator().manual_seed(k))
            train(single, x, y, lr[k].item(), 40, validation=data(5), callbacks=[alone])
            assert alone.best_epoch == stopping.best_epoch[k]
            assert_close(state_of(population[k]), state_of(single))


class Torchlike(lamp.Module):
    """Statistics as written for torch.nn: registered buffers that each forward assigns."""

    def __init__(self):
        self.register_buffer("mean", torch.zeros(HIDDEN, dtype=D))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, input):
        if self.training:
            self.seen = self.seen + 1
            self.mean = 0.8 * self.mean + 0.2 * input.mean(-2)
        return input - torch.as_tensor(self.mean + 0.0).unsqueeze(-2)

    def backward(self, grad_output):
        return grad_output  # the statistics are constants to it


def with_torchlike():
    torch.manual_seed(0)
    return lamp.Sequential(lamp.Linear(FEATURES, HIDDEN), Torchlike(), lamp.Tanh(), lamp.Linear(HIDDEN, OUT)).double()


class TestAssignedBuffers:
    """A user's buffers that each forward replaces by a new tensor."""

    def test_early_stopping_in_a_population(self):
        x, y = data()
        lr, validation = torch.tensor([0.004, 0.02, 0.5], dtype=D), data(5)
        population, record, stopping = (
            lamp.population(with_torchlike(), range(REPLICAS)),
            Record(),
            lamp.EarlyStopping(3),
        )
        eager = {"engine": "eager"}  # the compiled engine does not know the module
        train(population, x, y, lr, 40, validation=validation, callbacks=[record, stopping], **eager)
        assert len(set(stopping.best_epoch.tolist())) > 1
        for k in range(REPLICAS):
            best = record.states[int(stopping.best_epoch[k])]
            assert same(state_of(population[k]), {name: tensor[k] for name, tensor in best.items()})
            single = with_torchlike()
            single.reset_parameters(generator=torch.Generator().manual_seed(k))
            train(single, x, y, lr[k].item(), 40, validation=validation, callbacks=[lamp.EarlyStopping(3)], **eager)
            assert_close(state_of(population[k]), state_of(single))

    @pytest.mark.parametrize("step", [0, 3])
    def test_a_replica_that_fails(self, step):
        population = lamp.population(with_torchlike(), range(REPLICAS))
        batches = TestFailures.poisoned(step)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lamp.NonFiniteWarning)
            optimizer = lamp.SGD(population.parameters(), lr=0.1)
            marked = [(lamp.per_replica(a), b) for a, b in batches]
            lamp.fit(population, lamp.MSELoss(), optimizer, marked, epochs=3, progress=False)
        assert population.state_dict()["1.seen"].tolist() == [15, 1 if step else 0, 15]
        for k in range(REPLICAS):
            assert_close(state_of(population[k]), state_of(trained_alone(with_torchlike(), k, batches)))


class TestFailures:
    """A loss that is not finite: the last good state comes back, statistics included."""

    @staticmethod
    def poisoned(step, k=1):
        """Batches per replica, in which replica k has a NaN from this step on."""
        x, y = (torch.stack([each] * REPLICAS) for each in data())
        batches = [(a.clone(), b) for a, b in zip(x.split(BATCH, 1), y.split(BATCH, 1), strict=True)]
        for a, _ in batches[step:]:
            a[k, 2, 1] = math.nan
        return batches

    @pytest.mark.parametrize("step", [0, 1, 3])
    def test_one_network(self, step):
        model = network()
        batches = [(a[1], b[1]) for a, b in self.poisoned(step)]
        before = state_of(model)
        with pytest.raises(lamp.NonFiniteError):
            lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), batches, epochs=2, progress=False)
        if step == 0:
            assert same(state_of(model), before)  # nothing has moved, though the first forward had moved statistics
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        assert model[1].num_batches_tracked.item() == (1 if step else 0)

    @pytest.mark.parametrize("step", [0, 1, 3])
    def test_one_replica(self, step):
        population = lamp.population(network(), range(REPLICAS))
        batches = self.poisoned(step)
        marked = [(lamp.per_replica(a), b) for a, b in batches]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lamp.NonFiniteWarning)
            optimizer = lamp.SGD(population.parameters(), lr=0.1)
            history = lamp.fit(population, lamp.MSELoss(), optimizer, marked, epochs=3, progress=False)
        assert history.failed == [1]
        for k in range(REPLICAS):
            assert_close(state_of(population[k]), state_of(trained_alone(network(), k, batches)))
        assert population.state_dict()["1.num_batches_tracked"].tolist() == [15, 1 if step else 0, 15]

    def test_late_in_a_long_epoch(self):
        """The copy is made every 64 steps."""
        generator = torch.Generator().manual_seed(3)
        x = torch.randn(150, 2, 5, FEATURES, generator=generator, dtype=D)
        y = torch.randn(150, 2, 5, OUT, generator=generator, dtype=D)
        x[100, 0] = math.inf
        population = lamp.population(network(), [4, 6])
        counts = []

        class Count(lamp.Callback):
            def on_batch(self, training, loss):
                counts.append(state_of(training.model))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", lamp.NonFiniteWarning)
            batches = [(lamp.per_replica(a), b) for a, b in zip(x, y, strict=True)]
            optimizer = lamp.SGD(population.parameters(), lr=0.01)
            lamp.fit(population, lamp.MSELoss(), optimizer, batches, epochs=1, callbacks=[Count()], progress=False)
        assert population.state_dict()["1.num_batches_tracked"].tolist() == [65, 150]
        # statistics after the forward of step 65, weights before its update
        for name in STATISTICS:
            assert torch.equal(population.state_dict()[name][0], counts[64][name][0])
        assert torch.equal(population.state_dict()["0.weight"][0], counts[63]["0.weight"][0])

    def test_a_resumed_training_puts_back_what_was_saved(self):
        model, good = trained(), LastGood()
        good.note(model, torch.tensor(0.5), 0)
        before = state_of(model)
        resumed = LastGood()
        resumed.load_state_dict(good.state_dict(), torch.device("cpu"))
        train(model, *data(2))
        resumed.note(model, torch.tensor(0.5), 1)  # not due yet
        resumed.put_back(model)
        assert same(state_of(model), before)

    def test_a_copy_of_other_modules_is_not_put_back(self):
        model, good = trained(), LastGood()
        good.note(model, torch.tensor(0.5), 0)
        model.append(lamp.Linear(OUT, 3, dtype=D))
        before = state_of(model)
        good.put_back(model)
        assert same(state_of(model), before)

    def test_weights_that_an_engine_kept(self):
        """They are restored together with the buffers of the same time."""
        model, good = trained(), LastGood()
        before = state_of(model)
        good.take(lamp.state.ModelState.of(model).clone(), 3)
        train(model, *data(2))
        good.note(model, torch.tensor(0.5), 3)
        good.put_back(model)
        assert same(state_of(model), before)

    def test_the_step_after_weights_of_an_engine_is_copied_again(self):
        model, good = trained(), LastGood()
        good.take(lamp.state.ModelState.of(model).clone(), 3)
        train(model, *data(2))
        before = state_of(model)
        good.note(model, torch.tensor(0.5), 4)
        train(model, *data(3))
        good.put_back(model)
        assert same(state_of(model), before)

    def test_after_modules_were_added_the_next_step_is_copied(self):
        model, good = trained(), LastGood()
        good.note(model, torch.tensor(0.5), 0)
        model.append(lamp.Linear(OUT, 3, dtype=D))
        good.follow(model)
        before = state_of(model)
        good.note(model, torch.tensor(0.5), 1)
        for parameter in model.parameters():
            parameter.data.fill_(math.nan)
        good.put_back(model)
        assert same(state_of(model), before)

    def test_another_epoch_does_not_replace_it_by_a_state_that_no_loss_has_shown(self):
        model, good = trained(), LastGood()
        good.begin(model)
        good.note(model, torch.tensor(0.5), 0)
        before = state_of(model)
        for parameter in model.parameters():
            parameter.data.fill_(math.nan)  # by the last step of the epoch
        good.begin(model)
        good.put_back(model)
        assert same(state_of(model), before)


def test_a_state_moves_between_devices():
    state = ModelState.of(trained())
    moved = state.to(torch.device("meta"))
    assert [each.shape for each in moved.tensors] == [each.shape for each in state.tensors]
    assert all(each.is_meta for each in moved.tensors)
    assert not any(each.is_meta for each in state.tensors)


# ---- elsewhere -------------------------------------------------------------------------------------------------------
class TestSaving:
    def test_a_network(self, tmp_path):
        model = trained()
        lamp.save(model, tmp_path / "model.safetensors")
        other = network(8)
        lamp.load(other, tmp_path / "model.safetensors")
        assert same(state_of(other), state_of(model))

    def test_a_population(self, tmp_path, networks):
        population = lamp.stack(networks)
        lamp.save(population, tmp_path / "model.safetensors")
        other = lamp.population(network(8), range(REPLICAS))
        lamp.load(other, tmp_path / "model.safetensors")
        assert all(same(state_of(each), state_of(own)) for each, own in zip(other, networks, strict=True))


class TestAsking:
    """Prediction and evaluation do not change running statistics."""

    @pytest.mark.parametrize("of_all", [False, True])
    def test_predict_evaluate_and_validation(self, of_all, networks):
        model = lamp.stack(networks) if of_all else networks[0]
        x, y = data(7)
        before = state_of(model)
        lamp.predict(model, x)
        lamp.evaluate(model, lamp.MSELoss(), (x, y))
        with lamp.evaluating():
            model(x)
        lamp.trace(model, x)
        lamp.summary(model, x)
        assert same(state_of(model), before)
        other = copy.deepcopy(model)
        train(model, *data(), validation=(x + 3.0, y))
        train(other, *data())
        assert same(state_of(model), state_of(other))

    def test_predictions_use_the_statistics(self, networks):
        model, (x, _) = networks[1], data(7)
        twin = lamp.to_torch(model).eval()
        torch.testing.assert_close(lamp.predict(model, x[:1]), twin(x[:1]).detach(), rtol=TOLERANCE, atol=TOLERANCE)
        of_all = lamp.predict(lamp.stack(networks), x)
        torch.testing.assert_close(of_all[1], twin(x).detach(), rtol=TOLERANCE, atol=TOLERANCE)

    def test_check_gradients(self):
        of_all = lamp.stack([trained(k) for k in range(REPLICAS)]).network
        for model, shape in ((trained(), (5, FEATURES)), (of_all, (REPLICAS, 5, FEATURES))):
            before = state_of(model)
            assert lamp.check_gradients(model, torch.randn(shape, dtype=D)).ok
            assert same(state_of(model), before)
            assert model.training

    def test_sixteen_threads(self, networks):
        model, (x, _) = networks[0], data(7)
        expected, before, wrong = lamp.predict(model, x), state_of(model), []

        def ask():
            wrong.extend(k for k in range(20) if not torch.equal(lamp.predict(model, x), expected))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert same(state_of(model), before)

    def test_a_thread_that_trains_and_others_that_predict(self):
        model, other, (x, y) = network(), network(), data()
        asked = threading.Event()

        def ask():
            while not asked.is_set():
                lamp.predict(model, x)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        train(model, x, y, epochs=10)
        asked.set()
        for thread in threads:
            thread.join()
        train(other, x, y, epochs=10)
        assert same(state_of(model), state_of(other))


class TestStudies:
    def test_ensemble(self, networks):
        x, _ = data(7)
        ensemble = lamp.Ensemble(networks)
        expected = torch.stack([lamp.predict(each, x) for each in networks]).mean(0)
        torch.testing.assert_close(ensemble(x), expected, rtol=TOLERANCE, atol=TOLERANCE)

    def test_cross_validation(self):
        x, y = data()
        arguments = {"criterion": lamp.MSELoss(), "epochs": 2, "batch_size": 6, "progress": False}
        found = lamp.cross_validate(
            network(), (x, y), **arguments, optimizer=lambda parameters: lamp.SGD(parameters, lr=0.1), folds=REPLICAS
        )
        for k, held in enumerate(found.folds):
            single = network()
            single.reset_parameters(generator=torch.Generator().manual_seed(k))
            rows = found.training[k]
            lamp.fit(
                single,
                optimizer=lamp.SGD(single.parameters(), lr=0.1),
                data=(x[rows], y[rows]),
                seed=k,
                **arguments,
            )
            assert_close(state_of(found.population[k]), state_of(single))
            torch.testing.assert_close(
                found.outputs[0, held], lamp.predict(single, x[held]), rtol=TOLERANCE, atol=TOLERANCE
            )

    def test_sweep_with_halving(self):
        x, y = data()
        found = lamp.sweep(
            network(),
            {"lr": [0.01, 0.1, 0.3, 0.5]},
            (x, y),
            criterion=lamp.MSELoss(),
            optimizer=lamp.SGD,
            epochs=4,
            halving=2,
            batch_size=BATCH,
            shuffle=False,
            seeds=[3, 5],
            validation=data(5),
            progress=False,
        )
        best = found.population()
        for k, seed in enumerate([3, 5]):
            single = network()
            single.reset_parameters(generator=torch.Generator().manual_seed(seed))
            train(single, x, y, found.best["lr"], 4)
            assert_close(state_of(best[k]), state_of(single))
