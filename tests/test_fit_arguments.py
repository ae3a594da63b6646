"""Arguments in the forms of other libraries work, or the error says what to write instead."""

import copy
import pickle
import re
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import lamp
from lamp.training.active_replicas import ActiveReplicas

GENERATOR = torch.Generator().manual_seed(6)
X = torch.randn(120, 3, generator=GENERATOR)
Y = (X.sum(1) > 0).long()
CE = lamp.CrossEntropyLoss


def network(*last, outputs=2):
    torch.manual_seed(1)
    return lamp.Sequential(lamp.Linear(3, 6), lamp.Tanh(), lamp.Linear(6, outputs), *last)


def fitted(data=(X, Y), *more, model=None, criterion=None, **options):
    model = network() if model is None else model
    optimizer = options.pop("optimizer", None) or lamp.SGD(model.parameters(), lr=0.1)
    options = {"epochs": 2, "seed": 3, "progress": False} | options
    return lamp.fit(model, criterion or CE(), optimizer, data, *more, **options)


class TestHabits:
    def test_inputs_and_targets_as_two_arguments(self):
        assert torch.equal(fitted(X, Y)["loss"], fitted((X, Y))["loss"])
        assert torch.equal(fitted(X.numpy(), Y.numpy())["loss"], fitted((X, Y))["loss"])
        model = network()
        assert lamp.evaluate(model, CE(), X, Y) == lamp.evaluate(model, CE(), (X, Y))

    @pytest.mark.parametrize(
        ("name", "own", "value"),
        [
            ("validation_data", "validation", (X, Y)),
            ("validation_split", "validation", 0.25),
            ("random_state", "seed", 5),
            ("num_epochs", "epochs", 3),
        ],
    )
    def test_other_libraries_names(self, name, own, value):
        options = {"epochs": 2, "seed": 3}
        options.pop(own, None)
        model, twin = network(), network()
        one = lamp.fit(model, CE(), lamp.SGD(model.parameters()), (X, Y), progress=False, **options, **{name: value})
        two = lamp.fit(twin, CE(), lamp.SGD(twin.parameters()), (X, Y), progress=False, **options, **{own: value})
        assert one.names == two.names
        assert all(torch.equal(one[key], two[key]) for key in one)

    @pytest.mark.parametrize("epochs", [np.int64(2), np.uint8(2), torch.tensor(2), np.array(2)], ids=repr)
    def test_integers_of_any_kind(self, epochs):
        history = fitted(
            epochs=epochs,
            batch_size=np.int32(10),
            seed=np.int64(3),
            validation=(X, Y),
            callbacks=lamp.EarlyStopping(patience=np.int64(5)),
        )
        assert history.epochs == 2

    def test_one_callback_and_one_metric_need_no_list(self):
        stopping = lamp.EarlyStopping(patience=1, monitor="val_loss", min_delta=100.0)
        assert fitted(validation=(X, Y), callbacks=stopping, metrics=lamp.accuracy, epochs=9).epochs == 2
        assert stopping.monitor == "validation_loss"

    def test_samples_in_a_list(self):
        pairs = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
        assert torch.equal(fitted(pairs)["loss"], fitted((X, Y))["loss"])
        numbers = [(x, x[:1]) for x in X]
        model = network(outputs=1)
        assert fitted(numbers, model=model, criterion=lamp.MSELoss()).epochs == 2
        batches = [(X[:60], Y[:60]), (X[60:], Y[60:])]
        assert fitted(batches, seed=None).epochs == 2

    def test_an_iterable_data_set_in_torchs_loader(self, tmp_path):
        class Stream(torch.utils.data.IterableDataset):
            def __iter__(self):
                yield from zip(X, Y, strict=True)

        loader = torch.utils.data.DataLoader(Stream(), batch_size=20)
        for engine in ("eager", "auto"):
            history = fitted(loader, seed=None, validation=loader, checkpoint=tmp_path / engine, engine=engine)
            assert history.epochs == 2

    @pytest.mark.parametrize(
        "inputs", [X.numpy(), X.tolist(), list(X), list(X.numpy()), X.double().numpy()], ids=lambda x: type(x).__name__
    )
    def test_predict_takes_what_holds_numbers(self, inputs):
        model = network()
        assert torch.equal(lamp.predict(model, inputs), lamp.predict(model, X))


class TestAShareHeldOut:
    def test_is_a_share_by_the_seed(self):
        one, two, other = (fitted(validation=0.2, seed=seed) for seed in (3, 3, 4))
        assert torch.equal(one["validation_loss"], two["validation_loss"])
        assert not torch.equal(one["validation_loss"], other["validation_loss"])

    @pytest.mark.parametrize("engine", ["eager", "compiled"])
    def test_no_sample_is_in_both(self, engine, monkeypatch):
        class Seen(ActiveReplicas):
            def __init__(self, model, criterion, optimizer, batches, validation):
                super().__init__(model, criterion, optimizer, batches, validation)
                loaders.extend([batches, validation])

        loaders = []
        monkeypatch.setattr("lamp.training.loop.ActiveReplicas", Seen)
        fitted(validation=0.25, engine=engine)
        train, held = (set(loader.indices.tolist()) for loader in loaders)
        assert len(held) == 30
        assert train | held == set(range(120))
        assert not train & held

    def test_of_a_data_set_that_is_asked_sample_by_sample(self):
        class Samples:
            def __len__(self):
                return len(X)

            def __getitem__(self, k):
                return X[k], Y[k]

        whole = fitted(Samples(), validation=0.2)
        assert torch.allclose(whole["validation_loss"], fitted(validation=0.2)["validation_loss"])

    def test_a_share_held_out_of_a_population(self):
        nets = lamp.population(network(), seeds=[1, 2])
        optimizer = lamp.SGD(nets.parameters(), lr=0.1)
        history = lamp.fit(nets, CE(), optimizer, (X, Y), epochs=2, validation=0.2, progress=False)
        assert history["validation_loss"].shape == (2, 2)

    def test_goes_on_with_the_same(self, tmp_path):
        whole = fitted(validation=0.2, seed=None, epochs=4, shuffle=False)
        fitted(validation=0.2, seed=None, epochs=2, shuffle=False, checkpoint=tmp_path)
        resumed = fitted(validation=0.2, seed=None, epochs=4, shuffle=False, checkpoint=tmp_path, resume=True)
        assert torch.equal(resumed["validation_loss"], whole["validation_loss"])


class TestTheOptimizerBelongs:
    @pytest.mark.parametrize("engine", ["eager", "compiled"])
    def test_of_another_network(self, engine):
        with pytest.raises(lamp.ArgumentError, match="the optimizer belongs to another network"):
            fitted(optimizer=lamp.SGD(network().parameters()), engine=engine)

    def test_a_copy_alone(self):
        model = network()
        optimizer = lamp.SGD(model.parameters())
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            with pytest.raises(lamp.ArgumentError, match="as one object"):
                fitted(model=copied, optimizer=optimizer)
        its_model, its_optimizer = copy.deepcopy((model, optimizer))
        before = its_model[0].weight.data.clone()
        fitted(model=its_model, optimizer=its_optimizer)
        assert not torch.equal(its_model[0].weight.data, before)

    def test_a_layer_appended_after(self):
        model = network()
        optimizer = lamp.SGD(model.parameters())
        model.append(lamp.Linear(2, 2))
        with pytest.warns(lamp.TrainingWarning, match=r"does not have 3\.weight, 3\.bias") as told:
            fitted(model=model, optimizer=optimizer)
        assert told[0].filename == __file__

    def test_a_head_alone_is_meant_where_the_rest_is_frozen(self):
        model = network()
        model[0].requires_grad_(False)
        before, head = model[0].weight.data.clone(), model[2].weight.data.clone()
        fitted(model=model, optimizer=lamp.SGD(model[2].parameters(), lr=0.1))
        assert torch.equal(model[0].weight.data, before)
        assert not torch.equal(model[2].weight.data, head)

    def test_parameters_of_another_network_beside(self):
        model, other = network(), network()
        with pytest.warns(lamp.TrainingWarning, match="4 parameters that are not in this network"):
            fitted(model=model, optimizer=lamp.SGD([*model.parameters(), *other.parameters()]))

    @pytest.mark.parametrize("part", [slice(0, None), slice(2, None)])
    def test_nothing_to_train(self, part):
        model = network().requires_grad_(False)
        with pytest.warns(lamp.TrainingWarning, match="are frozen, so nothing is trained") as told:
            fitted(model=model, optimizer=lamp.SGD(model[part].parameters(), lr=0.1))
        assert told[0].filename == __file__

    @pytest.mark.parametrize("forgotten", ["the backward", "one of two"])
    def test_a_module_inside_whose_backward_is_forgotten(self, forgotten):
        class Own(lamp.Module):
            def __init__(self):
                self.inner = lamp.Sequential(lamp.ReLU(), lamp.Linear(2, 2))

            def forward(self, x):
                return self.inner(x) + (0 if forgotten == "the backward" else self.inner(x))

            def backward(self, dy):
                return dy if forgotten == "the backward" else self.inner.backward(dy)

        model = lamp.Sequential(lamp.Linear(3, 2), Own())
        with pytest.warns(lamp.TrainingWarning, match=r"^1\.inner\.1: Linear\(.* what no backward recalled") as told:
            fitted(model=model, criterion=CE())
        assert len(told) == 1
        assert told[0].filename == __file__
        model[1].requires_grad_(False)
        fitted(model=model, optimizer=lamp.SGD(model[0].parameters()))  # without a warning

    @pytest.mark.parametrize("where", ["a set", "a namespace", "the class", "a closure"])
    @pytest.mark.parametrize("count", [None, 2])
    def test_a_module_where_the_network_does_not_find_it(self, where, count):
        layer = lamp.Linear(3, 2)

        class Own(lamp.Container):
            inner = layer if where == "the class" else None

            def __init__(self):
                self.within = {"a set": {layer}, "a namespace": SimpleNamespace(first=layer)}.get(where)
                self.last = lamp.Linear(2, 2)

            def row(self):
                return [layer, self.last]

            def forward(self, input):
                return self.forward_through(self.row(), input)

            def backward(self, grad_output):
                return self.backward_through(self.row(), grad_output)

            def trace(self, tracer, x):
                return self.trace_through(tracer, self.row(), x)

        model = Own()
        if count is not None:
            with pytest.warns(lamp.TrainingWarning, match=r"^Own does not find Linear\(in_features=3, .* not trained"):
                model = lamp.population(model, range(count))
        with pytest.warns(
            lamp.TrainingWarning, match=r"^Linear\(in_features=3, .* takes part in .* not trained"
        ) as told:
            history = fitted(model=model, criterion=CE())
        assert len(told) == 1
        assert told[0].filename == __file__
        assert "Linear(in_features=3, out_features=2, bias=True) is where its network does not find it" in history.why
        layer.requires_grad_(False)
        fitted(model=model, criterion=CE(), engine="eager")  # without a warning

    def test_a_loss_needs_no_call_of_the_constructor_above(self):
        class Scaled(lamp.Loss):
            def __init__(self, factor):
                self.factor = factor

            def value(self, output, target):
                return (output - target) ** 2 * self.factor

            def derivative(self, output, target):
                return (output - target) * (2.0 * self.factor)

        output, target = torch.randn(5, 2), torch.randn(5, 2)
        assert torch.equal(Scaled(2.0)(output, target), lamp.MSELoss()(output, target) * 2)
        assert fitted((X, X[:, :2]), criterion=Scaled(2.0)).epochs == 2

    @pytest.mark.parametrize("kind", ["parameter", "tensor", "module", "list", "dict"])
    def test_what_waits_for_a_gradient_of_autograd(self, kind):
        of: dict[str, Any] = {
            "parameter": torch.nn.Parameter(torch.ones(3)),
            "tensor": torch.ones(3, requires_grad=True),
        }
        of |= {"module": torch.nn.Linear(3, 3), "list": [torch.nn.Linear(3, 3)], "dict": {"a": of["parameter"]}}

        class Own(lamp.Module):
            def __init__(self):
                self.held = of[kind]

            def forward(self, x):
                return x * 2

            def backward(self, dy):
                return dy * 2

        model = lamp.Sequential(lamp.Linear(3, 2), Own())
        with pytest.warns(lamp.TrainingWarning, match=r"^1\.held, a .*, is not trained\. Fix: lamp\.Parameter") as told:
            fitted(model=model)
        assert len(told) == 1
        assert told[0].filename == __file__
        for each in [of["parameter"], of["tensor"], *of["module"].parameters(), *of["list"][0].parameters()]:
            each.requires_grad_(False)
        fitted(model=model)  # without a warning

    def test_the_body_of_a_network_that_ends_in_its_loss(self):
        model = network(CE())
        lamp.fit(model, None, lamp.SGD(model.parameters()), (X, Y), epochs=1, progress=False)
        nets = lamp.population(network(CE()), seeds=[1, 2])
        lamp.fit(nets, None, lamp.SGD(nets.parameters()), (X, Y), epochs=1, progress=False)

    def test_a_schedule_of_another_optimizer(self):
        model = network()
        optimizer, other = (lamp.SGD(model.parameters()) for _ in range(2))
        with pytest.raises(lamp.ArgumentError, match="the scheduler belongs to another optimizer"):
            fitted(model=model, optimizer=optimizer, scheduler=lamp.StepLR(other, 3))
        theirs = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(torch.nn.Linear(2, 2).parameters()), 3)
        with pytest.raises(lamp.ArgumentError, match="the scheduler belongs to another optimizer"):
            fitted(model=model, optimizer=optimizer, scheduler=theirs)

    def test_a_schedule_of_ones_own(self):
        class Mine:
            steps = 0

            def step(self):
                self.steps += 1

        mine = Mine()
        fitted(scheduler=mine)
        assert mine.steps == 2


PAIRS = {
    "softmax": ((lamp.Softmax(1),), CE(), "Softmax.* before CrossEntropyLoss"),
    "log-softmax": ((lamp.LogSoftmax(1),), CE(), "LogSoftmax.* before CrossEntropyLoss.*NLLLoss"),
    "sigmoid and cross-entropy": ((lamp.Sigmoid(),), CE(), "Sigmoid.* before CrossEntropyLoss"),
    "tanh and cross-entropy": ((lamp.Tanh(),), CE(), "Tanh.* before CrossEntropyLoss"),
    "relu and cross-entropy": ((lamp.ReLU(),), CE(), "ReLU.* before CrossEntropyLoss.*none below 0"),
    "softplus and log-odds": ((lamp.Softplus(),), lamp.BCEWithLogitsLoss(), "Softplus.* no probability is below 0.5"),
    "a Dropout between": ((lamp.Softmax(1), lamp.Dropout(0.1)), CE(), "Softmax.* before CrossEntropyLoss"),
    "in a Sequential": ((lamp.Sequential(lamp.Tanh(), lamp.Softmax(1)),), CE(), "Softmax.* before CrossEntropyLoss"),
    "no log-softmax": ((), lamp.NLLLoss(), "Linear.* before NLLLoss.*LogSoftmax"),
    "softmax before likelihood": ((lamp.Softmax(1),), lamp.NLLLoss(), "Softmax.* before NLLLoss"),
    "sigmoid twice": ((lamp.Sigmoid(),), lamp.BCEWithLogitsLoss(), "Sigmoid.* before BCEWithLogitsLoss"),
    "no sigmoid": ((), lamp.BCELoss(), "Linear.* before BCELoss.*BCEWithLogitsLoss"),
    "tanh before BCE": ((lamp.Tanh(),), lamp.BCELoss(), "Tanh.* before BCELoss"),
    "log-softmax along the batch": ((lamp.LogSoftmax(0),), lamp.NLLLoss(), r"LogSoftmax\(dim=0\).*batch.*dim=1"),
    "softmax along the batch": ((lamp.Softmax(0),), lamp.BCELoss(), r"Softmax\(dim=0\).*batch.*dim=1"),
    "divergence of probabilities": ((lamp.Softmax(1),), lamp.KLDivLoss(), "Softmax.* before KLDivLoss"),
}
FINE = {
    "scores": ((), CE()),
    "log-softmax": ((lamp.LogSoftmax(1),), lamp.NLLLoss()),
    "sigmoid": ((lamp.Sigmoid(),), lamp.BCELoss()),
    "softmax and yes or no": ((lamp.Softmax(1),), lamp.BCELoss()),
    "clamped": ((lamp.Hardtanh(0.0, 1.0),), lamp.BCELoss()),
    "log-odds": ((), lamp.BCEWithLogitsLoss()),
    "softmax and squares": ((lamp.Softmax(1),), lamp.MSELoss()),
    "divergence": ((lamp.LogSoftmax(1),), lamp.KLDivLoss()),
}


ELSEWHERE = (  # said of a Sequential alone: Dropout changes the sums, and BCELoss refuses these outputs
    "a Dropout between",
    "no sigmoid",
    "tanh before BCE",
)


def targets_for(criterion, outputs=2):
    return Y if isinstance(criterion, CE | lamp.NLLLoss) else torch.full((len(X), outputs), 0.5)


class Wrapped(lamp.Module):
    """A network within a module of ones own, whose outputs are multiplied."""

    def __init__(self, body, factor=1.0):
        self.body, self.factor = body, factor

    def forward(self, x):
        return self.body(x) * self.factor if self.factor != 1.0 else self.body(x)

    def backward(self, dy):
        return self.body.backward(dy * self.factor)


class TestPairs:
    @pytest.mark.parametrize("name", PAIRS)
    @pytest.mark.parametrize("ending", [False, True])
    def test_one_warning_at_the_line_of_the_user(self, name, ending):
        last, criterion, message = PAIRS[name]
        model = network(*copy.deepcopy(last), *([criterion] if ending else []))
        optimizer = lamp.SGD(model.parameters(), lr=1e-4)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                lamp.fit(model, None if ending else criterion, optimizer, (X, targets_for(criterion)), epochs=3)
            except lamp.ArgumentError:
                assert isinstance(criterion, lamp.BCELoss)  # numbers that are no probabilities are refused
        assert re.search(message, str(told[0].message))
        assert [each.category for each in told] == [lamp.TrainingWarning]
        assert told[0].filename == __file__
        assert "Fix: " in str(told[0].message)

    @pytest.mark.parametrize("name", FINE)
    def test_nothing_is_said_of_others(self, name):
        last, criterion = FINE[name]
        fitted((X, targets_for(criterion)), model=network(*last), criterion=criterion)

    @pytest.mark.parametrize("name", [name for name in PAIRS if name not in ELSEWHERE])
    def test_in_a_forward_of_ones_own(self, name):
        last, criterion, message = PAIRS[name]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            fitted((X, targets_for(criterion)), model=Wrapped(network(*copy.deepcopy(last))), criterion=criterion)
        assert re.search(message, str(told[0].message))
        assert len(told) == 1
        assert told[0].filename == __file__

    @pytest.mark.parametrize("name", FINE)
    def test_nothing_is_said_of_others_in_a_forward_of_ones_own(self, name):
        last, criterion = FINE[name]
        fitted((X, targets_for(criterion)), model=Wrapped(network(*last)), criterion=criterion)

    @pytest.mark.parametrize("last", [lamp.Softmax(1), lamp.LogSoftmax(1), lamp.Sigmoid(), lamp.Tanh()])
    def test_what_a_forward_of_ones_own_computes_further_is_not_judged(self, last):
        fitted(model=Wrapped(network(last), factor=-30.0), criterion=CE())

    def test_evaluate_says_it_too(self):
        with pytest.warns(lamp.TrainingWarning, match="Softmax.* before CrossEntropyLoss") as told:
            lamp.evaluate(network(lamp.Softmax(1)), CE(), (X, Y))
        assert told[0].filename == __file__

    @pytest.mark.parametrize("criterion", [lamp.SoftMarginLoss(), lamp.HingeEmbeddingLoss()])
    def test_labels_0_and_1_where_they_are_to_be_signs(self, criterion):
        labels = torch.stack([Y % 2, 1 - Y % 2], 1).float()
        with pytest.warns(lamp.TrainingWarning, match=r"are -1 and 1, and .* from 0 to 1.*2 \* targets - 1") as told:
            fitted((X, labels), criterion=criterion)
        assert told[0].filename == __file__
        fitted((X, 2 * labels - 1), criterion=criterion)  # without a warning

    @pytest.mark.parametrize("metric", [lamp.accuracy, lamp.metrics.F1("macro")])
    def test_classes_measured_of_a_regression(self, metric):
        values, told_of = torch.linspace(-1, 1, Y.numel() * 2).view(-1, 2), "of a regression it says nothing.*R2"
        model = network(outputs=2)
        with pytest.warns(lamp.TrainingWarning, match=told_of) as told:
            fitted((X, values), model=model, criterion=lamp.MSELoss(), metrics=[metric])
        assert told[0].filename == __file__
        with pytest.warns(lamp.TrainingWarning, match=told_of):
            lamp.evaluate(model, lamp.L1Loss(), (X, values), metrics=[metric])
        for fine in (values.sign(), values.softmax(1), torch.nn.functional.one_hot(Y % 2, 2).float()):  # no warning
            fitted((X, fine), model=model, criterion=lamp.MSELoss(), metrics=[metric])
        fitted((X, values), model=model, criterion=lamp.MSELoss(), metrics=[lamp.metrics.R2()])

    def test_one_output(self):
        for criterion in (CE(), lamp.NLLLoss()):
            last = [lamp.LogSoftmax(1)] if isinstance(criterion, lamp.NLLLoss) else []
            with pytest.warns(lamp.TrainingWarning, match="of one class the probability is always 1"):
                fitted((X, torch.zeros_like(Y)), model=network(*last, outputs=1), criterion=criterion)

    def test_a_population_too(self):
        nets = lamp.population(network(lamp.Softmax(1)), seeds=[1, 2])
        with pytest.warns(lamp.TrainingWarning, match="Softmax"):
            lamp.fit(nets, CE(), lamp.SGD(nets.parameters()), (X, Y), epochs=1, progress=False)

    def test_modules_and_losses_of_ones_own_are_not_judged(self):
        class Scaled(lamp.Module):
            def forward(self, x):
                return x * 2

            def backward(self, dy):
                return dy * 2

        class Mine(CE):
            def log_probabilities(self, output, axis):
                return output.log()

            def derivative_per_mass(self, log_p, axis):
                return torch.zeros_like(log_p)

        fitted(model=network(Scaled()), criterion=lamp.NLLLoss())
        fitted(model=network(lamp.Softmax(1)), criterion=Mine())


class TestCallbacks:
    def test_a_hook_that_would_never_be_called(self):
        class Mine(lamp.Callback):
            def on_epoch_end(self, epoch, logs=None):
                raise AssertionError

        with pytest.raises(lamp.ArgumentError, match=r"Mine\.on_epoch_end would never be called") as caught:
            fitted(callbacks=Mine())
        assert "name it on_epoch(self, training)" in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "function"),
        [
            ("on_epoch", lambda self: None),
            ("on_batch", lambda self, training: None),
            ("on_start", lambda self, a, b: None),
        ],
    )
    def test_a_hook_with_other_arguments(self, name, function):
        kind = type("Mine", (lamp.Callback,), {name: function})
        with pytest.raises(lamp.ArgumentError, match=rf"Mine\.{name} cannot be called as lamp calls it"):
            fitted(callbacks=[kind()])

    def test_early_stopping_without_what_it_monitors_is_told_before(self):
        model = network()
        before = model[0].weight.data.clone()
        for stopping in (lamp.EarlyStopping(), lamp.EarlyStopping(monitor="accuracy")):
            with pytest.raises(lamp.ArgumentError, match="which is not measured"):
                fitted(model=model, callbacks=stopping)
        assert torch.equal(model[0].weight.data, before)
        fitted(callbacks=lamp.EarlyStopping(monitor="loss"))
        fitted(callbacks=lamp.EarlyStopping(monitor="validation_accuracy"), validation=0.2, metrics="accuracy")


@pytest.mark.parametrize("engine", ["eager", "compiled"])
@pytest.mark.parametrize("limit", ["1", [1.0, -1.0], torch.ones(3), True, float("nan"), 0, "auto"], ids=repr)
@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
def test_limits(name, limit, engine):
    nets = lamp.population(network(), seeds=[1, 2, 3, 4])
    with pytest.raises(lamp.ArgumentError, match=name):
        lamp.fit(
            nets, CE(), lamp.SGD(nets.parameters()), (X, Y), epochs=1, progress=False, engine=engine, **{name: limit}
        )


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
@pytest.mark.parametrize("weight", [torch.ones(3), torch.ones(1), torch.ones(2, dtype=torch.float64)], ids=repr)
def test_class_weights_that_do_not_fit(weight, engine):
    with pytest.raises(lamp.LampError):
        fitted(criterion=CE(weight=weight), engine=engine, epochs=300 if engine == "auto" else 1)


@pytest.mark.parametrize("engine", ["eager", "compiled", "auto"])
def test_targets_out_of_the_range_of_float32(engine):
    targets = np.full((120, 2), 1e300)
    with pytest.raises(lamp.LampError, match="targets"):
        fitted((X, targets), criterion=lamp.MSELoss(), engine=engine)
    model = network().double()
    with pytest.raises(lamp.LampError):
        fitted((X.double(), torch.from_numpy(targets)), model=model, criterion=lamp.MSELoss(), engine=engine)
