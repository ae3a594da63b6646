"""Several inputs and outputs: values, gradients, training, prediction and populations, against torch.nn."""

import signal

import pytest
import torch
from torch import nn

import lamp
from lamp.trees import mapped
from tests.cases.module_case import error
from tests.cases.several import (
    SEVERAL,
    TRAINED,
    Cell,
    FirstHead,
    Gate,
    Heads,
    HeadsInATuple,
    Nested,
    SumOfHeads,
    flat,
    torch_gradients,
    upstream,
)

D = torch.float64
cases = pytest.mark.parametrize("case", SEVERAL, ids=str)
trained_cases = pytest.mark.parametrize("case", TRAINED, ids=str)


def alike(found, expected, tolerance=1e-11):
    assert len(flat(found)) == len(flat(expected))
    for own, theirs in zip(flat(found), flat(expected), strict=True):
        assert error(own, theirs.detach()) < tolerance


def drawn(*shape, seed=3):
    return torch.randn(*shape, dtype=D, generator=torch.Generator().manual_seed(seed))


# ---- one module ------------------------------------------------------------------------------------------------------
@cases
def test_values_and_gradients_are_torchs(case):
    module, twin = case.pair()
    inputs = case.inputs()
    output = module(*inputs)
    alike(output, twin(*inputs))
    dy = upstream(output)
    dinputs, dparameters = torch_gradients(twin, inputs, dy)
    alike(module.backward(dy), dinputs)
    alike([each.grad for each in module.parameters()], dparameters)


@cases
def test_gradients_agree_with_differences(case):
    assert lamp.check_gradients(case.make(), *case.inputs()).ok


def test_a_wrong_gradient_of_the_second_output_is_found():
    class Wrong(Heads):
        def backward(self, dmean, dspread):
            return super().backward(dmean, 1.001 * dspread)

    with pytest.raises(lamp.GradientError):
        lamp.check_gradients(Wrong(), drawn(5, 3))


def test_losses_of_several_outputs_are_checked():
    outputs = drawn(5, 2), drawn(5, 4)
    assert lamp.check_gradients(SumOfHeads(), outputs, (drawn(5, 2, seed=4), drawn(5, 4, seed=5))).ok
    assert lamp.check_gradients(FirstHead(), outputs, drawn(5, 2, seed=4)).ok

    class Wrong(SumOfHeads):
        def backward(self):
            first, second = super().backward()
            return first, 1.001 * second

    with pytest.raises(lamp.GradientError):
        lamp.check_gradients(Wrong(), outputs, (drawn(5, 2, seed=4), drawn(5, 4, seed=5)))


@pytest.mark.parametrize("kind", [Heads, HeadsInATuple, Cell])
@pytest.mark.parametrize("used", [0, 1])
def test_an_output_that_was_not_used_has_no_gradient(kind, used):
    case = next(case for case in SEVERAL if case.make is kind)
    module, twin = case.pair()
    inputs = case.inputs()
    output = module(*inputs)
    dy = tuple(each if k == used else None for k, each in enumerate(upstream(output)))
    given = mapped(inputs, lambda each: each.clone().requires_grad_())
    found = torch.autograd.grad(
        twin(*given)[used], [*given, *twin.parameters()], dy[used], allow_unused=True, materialize_grads=True
    )
    alike(module.backward(dy), found[: len(inputs)])
    alike([each.grad for each in module.parameters()], found[len(inputs) :])


def test_gradients_one_by_one_or_in_a_tuple():
    module = Heads().double()
    x = drawn(5, 3)
    dy = upstream(module(x))
    first = module.backward(dy)  # type: ignore[call-arg]
    module(x)
    assert torch.equal(module.backward(*dy), first)
    with pytest.raises(
        lamp.ArgumentError, match=r"(?s)Heads.backward.*expected +backward\(dmean, dspread\).*3 positional"
    ):
        module(x), module.backward((*dy, dy[0]))  # type: ignore[call-arg]
    module = lamp.Sequential(Heads()).double()
    module(x)
    with pytest.raises(
        lamp.ArgumentError, match=r"^Sequential\.0: .*expected +backward\(dmean, dspread\)|Heads.backward"
    ):
        module.backward(dy[:1])  # type: ignore[call-arg]


@cases
def test_the_gradient_belongs_to_the_forward_whose_loss_is_taken(case):
    """Another forward in between changes nothing: the outputs say which one is meant."""
    module, twin = case.pair()
    inputs = case.inputs()
    output = module(*inputs)
    criterion = _criterion(output)
    target = mapped(output, lambda each: each + 1.0)
    loss = criterion(output, target)
    held = module(*case.inputs(seed=7))
    dinputs = module.backward(criterion.backward())
    given = mapped(inputs, lambda each: each.clone().requires_grad_())
    theirs = sum(nn.functional.mse_loss(*each) for each in zip(flat(twin(*given)), flat(target), strict=True))
    assert float(loss) == pytest.approx(float(theirs.detach()))
    alike(dinputs, torch.autograd.grad(theirs, flat(given)))
    del held


class OfAll(lamp.Loss):
    """The sum of the mean squared errors of all outputs."""

    def __init__(self, count):
        super().__init__()
        self.errors = [lamp.MSELoss() for _ in range(count)]

    def forward(self, output, target):
        pairs = zip(self.errors, flat(output), flat(target), strict=True)
        losses = [criterion(*pair) for criterion, *pair in pairs]
        numbers = iter(range(len(losses)))
        self.remember(mapped(output, lambda each: next(numbers)))
        return sum(losses[1:], losses[0])

    def backward(self):
        gradients = [criterion.backward() for criterion in self.errors]

        def placed(tree):
            return tuple(map(placed, tree)) if isinstance(tree, tuple) else gradients[tree]

        return placed(self.recall())


def _criterion(output):
    return lamp.MSELoss() if isinstance(output, torch.Tensor) else OfAll(len(flat(output)))


def test_a_gradient_of_another_network_is_refused():
    one, other = Heads().double(), Heads().double()
    criterion = SumOfHeads()
    criterion(one(drawn(5, 3)), (drawn(5, 2), drawn(5, 4)))
    other(drawn(5, 3))
    with pytest.raises(lamp.BackwardError, match="belongs to the output of another network"):
        other.backward(criterion.backward())  # type: ignore[call-arg]


def test_networks_one_after_the_other():
    """The gradient that a module returns for each of its inputs belongs to whoever put that out."""
    one, two = (lamp.Sequential(lamp.Linear(*sizes), lamp.Tanh()).double() for sizes in ((7, 3), (6, 4)))
    gate = Gate().double()
    x, z = drawn(5, 7), drawn(5, 6)
    y = gate(one(x), two(z))
    one(drawn(5, 7, seed=8)), two(drawn(5, 6, seed=9))
    dy = upstream(y)
    da, db = gate.backward(dy)
    dx, dz = one.backward(da), two.backward(db)
    twins = [lamp.to_torch(each) for each in (one, two, gate.body, gate.gate)]
    given = [each.clone().requires_grad_() for each in (x, z)]
    expected = twins[2](twins[0](given[0])) * twins[3](twins[1](given[1]))
    alike((dx, dz), torch.autograd.grad(expected, given, dy))


# ---- training --------------------------------------------------------------------------------------------------------
def train_torch(twin, inputs, target, epochs, lr=0.1):
    """Gradient descent on the sum of the outputs' mean squared errors, on whole batches."""
    optimizer = torch.optim.SGD(twin.parameters(), lr=lr)
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        pairs = zip(flat(twin(*inputs)), flat(target), strict=True)
        loss = sum(nn.functional.mse_loss(*pair) for pair in pairs)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


class Samples:
    """A data set that is asked one by one."""

    def __init__(self, *fields):
        self.fields = fields

    def __len__(self):
        return len(flat(self.fields)[0])

    def __getitem__(self, k):
        return mapped(self.fields, lambda each: each[k])


FORMS = {  # of a tuple of inputs and a target: data, and targets beside them
    "one after another": lambda x, y: ((*x, y), None),
    "inputs in a tuple": lambda x, y: ((x, y), None),
    "targets apart": lambda x, y: (x, y),
    "a loader": lambda x, y: (lamp.DataLoader((x, y), 12), None),
    "a loader of columns": lambda x, y: (lamp.DataLoader((*x, y), 12), None),
    "a list of batches": lambda x, y: ([(*x, y)], None),
    "a list of batches with inputs in a tuple": lambda x, y: ([(x, y)], None),
    "a data set": lambda x, y: (lamp.DataLoader(Samples(*x, y), 12), None),
    "a data set with inputs in a tuple": lambda x, y: (lamp.DataLoader(Samples(x, y), 12), None),
    "a loader of torch's": lambda x, y: (torch.utils.data.DataLoader(Samples(x, y), 12), None),
    "arrays": lambda x, y: ((mapped(x, lambda t: t.numpy()), mapped(y, lambda t: t.numpy())), None),
}
BESIDE_EACH_OTHER = ("one after another", "a loader of columns", "a list of batches", "a data set")


@trained_cases
@pytest.mark.parametrize("form", FORMS)
def test_fit_trains_as_torch_does(case, form, monkeypatch):
    monkeypatch.setattr(torch, "get_default_dtype", lambda: D)  # of what arrays become
    module, twin = case.pair()
    inputs = case.inputs(12)
    if form in BESIDE_EACH_OTHER and case.name == "one input that is a tuple":
        pytest.skip("such an input is given as ((a, b),), for (a, b) are two")
    target = mapped(twin(*inputs), lambda each: drawn(*each.shape, seed=each.shape[-1]))
    data, targets = FORMS[form](inputs, target)
    expected = train_torch(twin, inputs, target, 4)
    optimizer = lamp.SGD(module.parameters(), lr=0.1)
    options = {} if lamp.data.is_batched(data) else {"batch_size": 12, "shuffle": False}
    history = lamp.fit(module, _criterion(target), optimizer, data, targets, epochs=4, progress=False, **options)
    assert history.engine == "eager"
    assert history["loss"].tolist() == pytest.approx(expected, rel=1e-10)
    alike([each.data for each in module.parameters()], list(twin.parameters()))


def test_shuffled_samples_stay_together():
    """The rows of all columns are taken in one order, over several batches, held-out ones as well."""
    x, z = drawn(40, 3), drawn(40, 4)
    module, twin = next(case for case in SEVERAL if case.make is Gate).pair()
    y = twin(x, z).detach()  # so that rows which belong together have no loss
    history = lamp.fit(
        module, lamp.MSELoss(), lamp.SGD(module.parameters(), lr=0.1), ((x, z), y), epochs=3, batch_size=7,
        validation=0.3, seed=1, progress=False,
    )  # fmt: skip
    assert history["loss"].max() < 1e-28
    assert history["validation_loss"].max() < 1e-28


def test_a_loss_of_one_of_the_outputs_trains():
    module, twin = next(case for case in SEVERAL if case.make is Nested).pair()
    inputs, target = ((drawn(12, 3), (drawn(12, 4), drawn(12, 2)))), drawn(12, 2)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(twin(*inputs)[0], target).backward()
        optimizer.step()
    own = lamp.SGD(module.parameters(), lr=0.1)
    lamp.fit(module, FirstHead(), own, (inputs, target), epochs=3, batch_size=12, shuffle=False, progress=False)
    alike([each.data for each in module.parameters()], list(twin.parameters()))


def test_a_loop_of_ones_own():
    module, twin = next(case for case in SEVERAL if case.make is Heads).pair()
    x, target = drawn(12, 3), (drawn(12, 2), drawn(12, 4))
    expected = train_torch(twin, (x,), target, 3)
    optimizer, criterion = lamp.SGD(module.parameters(), lr=0.1), SumOfHeads()
    for loss in expected:
        assert float(criterion(module(x), target)) == pytest.approx(loss)
        module.zero_grad()
        module.backward(criterion.backward())
        optimizer.step()
    alike([each.data for each in module.parameters()], list(twin.parameters()))


def relative(output, target):
    """A metric of two outputs and two targets."""
    return float((output[0] - target[0]).abs().mean() + 10.0 * (output[1] - target[1]).abs().mean())


@pytest.mark.parametrize("count", [None, 3])
def test_metrics_and_validation_see_all_outputs(count):
    network = Heads().double()
    model = network if count is None else lamp.population(network, range(count))
    x, target = drawn(20, 3), (drawn(20, 2), drawn(20, 4))
    history = lamp.fit(
        model, SumOfHeads(), lamp.SGD(model.parameters(), lr=0.0), (x, target), epochs=2, batch_size=7,
        validation=(x, target), metrics=[relative], progress=False,
    )  # fmt: skip
    found = lamp.evaluate(model, SumOfHeads(), (x, target), metrics={"relative": relative}, batch_size=6)
    networks = [model] if count is None else list(model)
    for k, one in enumerate(networks):
        output = one(x)
        loss = float((output[0] - target[0]).square().mean() + (output[1] - target[1]).square().mean())
        for name, expected in (("loss", loss), ("relative", relative(output, target))):
            values = [history[name][-1], history[f"validation_{name}"][-1], torch.as_tensor(found[name])]
            assert all(float(value if count is None else value[k]) == pytest.approx(expected) for value in values)


@pytest.mark.parametrize("count", [None, 2])
def test_a_checkpoint_within_an_epoch(tmp_path, count):
    """A training of several inputs and outputs that is cut at a step ends with the same bits."""

    def train(folder, stop=None):
        torch.manual_seed(0)
        model = Cell().double()
        model = model if count is None else lamp.population(model, range(count))
        data = ((drawn(20, 3), drawn(20, 4)), (drawn(20, 2), drawn(20, 4)))

        class Stop(lamp.Callback):
            def on_batch(self, training, loss):
                if training.step == stop:
                    signal.raise_signal(signal.SIGINT)

        history = lamp.fit(
            model, SumOfHeads(), lamp.Adam(model.parameters()), data, epochs=3, batch_size=6, seed=4,
            metrics=[relative], callbacks=[Stop()], progress=False, checkpoint=folder, resume=True,
        )  # fmt: skip
        return model, history

    whole, expected = train(tmp_path / "whole")
    for stop in (2, 5):
        folder = tmp_path / str(stop)
        train(folder, stop)
        model, history = train(folder)
        assert torch.equal(history["relative"], expected["relative"])
        assert torch.equal(history["loss"], expected["loss"])
        for one, other in zip(model.parameters(), whole.parameters(), strict=True):
            assert torch.equal(one.data, other.data)


# ---- prediction ------------------------------------------------------------------------------------------------------
@cases
@pytest.mark.parametrize("count", [None, 3])
def test_predict(case, count):
    network = case.make().double()
    model = network if count is None else lamp.population(network, range(count))
    inputs = case.inputs(11)
    found = lamp.predict(model, inputs, batch_size=4)
    if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor):
        alike(found, lamp.predict(model, inputs[0]))
    with lamp.evaluating():
        if count is None:
            alike(found, network(*inputs))
        else:
            for k, one in enumerate(model):
                alike(mapped(found, lambda each, k=k: each[k]), one(*inputs))


def test_predict_refuses_what_are_not_the_inputs():
    gate, x, z = Gate().double(), drawn(5, 3), drawn(5, 4)
    refused = [
        (gate, (x, z, x), "a tuple of 3"),
        (gate, (x, drawn(6, 4)), r"differ in length.*\(5, 3\), \(6, 4\)"),
        (lamp.Linear(3, 2).double(), (x, z), "a tuple of 2"),
        (lamp.Sequential(lamp.Linear(3, 2), lamp.MSELoss()).double(), (x, z), "a tuple of 2"),
        (gate, [(x, z)], "a list"),
    ]
    for model, inputs, said in refused:
        with pytest.raises(lamp.DataError, match=f"(?s){said}"):
            lamp.predict(model, inputs)
    assert lamp.predict(gate, (x.float().numpy(), z.tolist())).dtype == D


# ---- populations -----------------------------------------------------------------------------------------------------
@cases
def test_a_population_computes_as_its_networks_alone(case):
    population = lamp.population(case.make().double(), range(3))
    inputs = case.inputs()
    networks = list(population)
    output = population(*inputs)
    dy = upstream(output)
    dinputs = population.backward(dy)
    for k, one in enumerate(networks):

        def row(tree, k=k):
            return mapped(tree, lambda each: each[k])

        alike(row(output), one(*inputs))
        alike(row(dinputs), one.backward(row(dy)))
        for own, of_all in zip(one.parameters(), population.parameters(), strict=True):
            assert error(of_all.grad[k], own.grad) < 1e-11


@cases
def test_each_replica_has_inputs_of_its_own(case):
    population = lamp.population(case.make().double(), range(3))
    each = [case.inputs(seed=k) for k in range(3)]
    stacked = each[0]
    numbers = iter(range(len(flat(each[0]))))
    places = mapped(each[0], lambda _: next(numbers))
    rows = [flat(one) for one in each]

    def own(tree):
        if isinstance(tree, tuple):
            return tuple(map(own, tree))
        return lamp.per_replica(torch.stack([row[tree] for row in rows]))

    stacked = own(places)
    output = population(*stacked)
    for k, one in enumerate(population):
        alike(mapped(output, lambda tensor, k=k: tensor[k]), one(*each[k]))


@trained_cases
@pytest.mark.parametrize("own", [False, True])
def test_a_population_trains_as_its_networks_alone(case, own):
    population = lamp.population(case.make().double(), range(3))
    networks = list(population)
    inputs = case.inputs(12)
    target = mapped(networks[0](*inputs), lambda each: drawn(*each.shape))
    rows = [mapped((inputs, target), lambda each, k=k: each + k if own else each) for k in range(3)]

    def together(*trees):
        if isinstance(trees[0], tuple):
            return tuple(together(*branches) for branches in zip(*trees, strict=True))
        return lamp.per_replica(torch.stack(trees))

    batch = together(*rows) if own else (inputs, target)
    expected = []
    for network, (x, y) in zip(networks, rows, strict=True):
        optimizer = lamp.SGD(network.parameters(), lr=0.1)
        history = lamp.fit(network, _criterion(target), optimizer, [(x, y)], epochs=3, progress=False)
        expected.append(history["loss"])
    optimizer = lamp.SGD(population.parameters(), lr=0.1)
    history = lamp.fit(population, _criterion(target), optimizer, [batch], epochs=3, progress=False)
    alike(history["loss"], torch.stack(expected, 1))
    for k, network in enumerate(networks):
        for one, of_all in zip(network.parameters(), population.parameters(), strict=True):
            assert error(of_all.data[k], one.data) < 1e-11


def test_a_replica_that_ends_takes_its_rows_of_all_columns_along():
    torch.manual_seed(0)
    population = lamp.population(Cell().double(), range(3))
    networks = list(population)
    each = [((drawn(6, 3, seed=k), drawn(6, 4, seed=k)), (drawn(6, 2, seed=k), drawn(6, 4, seed=k))) for k in range(3)]

    def own(path):
        a, b = path
        return lamp.per_replica(torch.stack([one[a][b] for one in each]))

    batch = ((own((0, 0)), own((0, 1))), (own((1, 0)), own((1, 1))))

    class Stop(lamp.Callback):
        def on_epoch(self, training):
            if training.epoch == 0:
                training.stop("enough", [1])

    lamp.fit(
        population, SumOfHeads(), lamp.SGD(population.parameters(), lr=0.1), [batch], epochs=3,
        callbacks=[Stop()], progress=False,
    )  # fmt: skip
    for k, (network, data) in enumerate(zip(networks, each, strict=True)):
        optimizer = lamp.SGD(network.parameters(), lr=0.1)
        lamp.fit(network, SumOfHeads(), optimizer, [data], epochs=1 if k == 1 else 3, progress=False)
        for one, of_all in zip(network.parameters(), population.parameters(), strict=True):
            assert error(of_all.data[k], one.data) < 1e-11


class Shift(lamp.Module):
    """Two inputs, written for one network: in a population the parameter (K, d) would meet the samples."""

    fits = False

    def __init__(self):
        self.w = lamp.Parameter(torch.randn(4, dtype=D))

    def reset_parameters(self, *, generator=None):
        self.w.data.normal_(generator=generator)

    def _weight(self):
        return self.w.data.unsqueeze(-2) if self.fits else self.w.data

    def forward(self, x, z):
        self.remember(z)
        return x + self._weight() * z

    def backward(self, dy):
        z = self.recall()
        self.w.grad.add_((dy * z).sum(-2))
        return dy, dy * self._weight()


class ShiftThatFits(Shift):
    fits = True


class SecondGradientMixes(ShiftThatFits):
    def backward(self, dy):
        dx, dz = super().backward(dy)
        return dx, dz if dz.dim() == 2 else dz.mean(0, keepdim=True).expand_as(dz)


class SecondOutputMixes(Heads):
    def forward(self, x):
        mean, spread = super().forward(x)
        return mean, spread if spread.dim() == 2 else spread.flip(0)


def test_a_module_of_several_that_mixes_replicas_is_named():
    class Around(lamp.Container):
        def __init__(self, part):
            self.part = part

        def forward(self, *inputs):
            return self.part(*inputs)

        def backward(self, gradients):
            return self.part.backward(gradients)

    x, z = drawn(5, 4), drawn(5, 4)
    for kind, inputs in ((Shift, (x, z)), (SecondGradientMixes, (x, z)), (SecondOutputMixes, (drawn(5, 3),))):
        population = lamp.population(Around(kind()).double(), range(4))
        with pytest.raises(lamp.ArgumentError, match="something else in a population") as caught:
            population(*inputs)
        assert caught.value.where.startswith(f"Around.part: {kind.__name__}")
    assert lamp.population(Around(ShiftThatFits()).double(), range(4))(x, z).shape == (4, 5, 4)


def test_inputs_by_name_reach_the_networks():
    population = lamp.population(Cell().double(), range(3))
    x, h = drawn(5, 3), drawn(5, 4)
    for found in (population(input=x, hx=h), population(x, hx=h)):
        alike(found, population(x, h))
    with pytest.raises(lamp.ArgumentError, match="state="):
        population(x, state=h)


# ---- graphs and engines ----------------------------------------------------------------------------------------------
@cases
def test_the_graph_says_the_shapes(case):
    module, inputs = case.make().double(), case.inputs()
    if not case.traced:
        with pytest.raises((lamp.NotTraceable, lamp.ArgumentError)):
            lamp.trace(module, *inputs)
        return
    graph = lamp.trace(module, *inputs, training=case.make is not HeadsInATuple)  # which has a backward of its own
    output = module(*inputs)
    assert [value.shape for value in graph.inputs] == [tuple(x.shape[1:]) for x in inputs]
    assert [value.shape for value in graph.outputs] == [tuple(y.shape[1:]) for y in flat(output)]
    assert lamp.summary(module, *inputs).compiled == (case.make is Gate or "Bilinear" in case.name)


def test_the_compiled_engine_refuses_what_it_cannot_take():
    heads = Heads()
    for model, criterion, data in (
        (heads, SumOfHeads(), (torch.randn(8, 3), (torch.randn(8, 2), torch.randn(8, 4)))),
        (heads, FirstHead(), (torch.randn(8, 3), torch.randn(8, 2))),
    ):
        optimizer = lamp.SGD(model.parameters())
        with pytest.raises(lamp.ArgumentError, match="compiled engine cannot"):
            lamp.fit(model, criterion, optimizer, data, epochs=1, engine="compiled", progress=False)
        history = lamp.fit(model, criterion, optimizer, data, epochs=1, progress=False)
        assert "several" in history.why


def test_what_is_not_finite_is_found():
    module = Heads().double()
    module.spread[0].weight.data.fill_(1e308)
    module.spread[0].weight.data[0, 0] = -1e308
    x, target = drawn(12, 3), (drawn(12, 2), drawn(12, 4))
    with pytest.raises(lamp.NonFiniteError):
        lamp.fit(module, SumOfHeads(), lamp.SGD(module.parameters()), (x, target), epochs=1, progress=False)
    x[0, 0] = float("nan")
    gate = Gate().double()
    with pytest.raises(lamp.NonFiniteError, match="inputs"):
        lamp.fit(gate, lamp.MSELoss(), lamp.SGD(gate.parameters()), ((x, drawn(12, 4)), drawn(12, 5)), epochs=1)


def test_an_ensemble_of_several_outputs_is_refused():
    population = lamp.population(Heads().double(), range(3))
    with pytest.raises(lamp.ArgumentError, match="one output"):
        lamp.Ensemble(population)(drawn(5, 3))


# ---- what is said of calls that do not fit ---------------------------------------------------------------------------
def test_a_call_within_a_network_that_does_not_fit_names_the_module():
    class Outer(lamp.Container):
        def __init__(self, count):
            self.gate, self.count = Gate(), count

        def forward(self, *inputs):
            return self.gate(*inputs[: self.count])

        def backward(self, dy):
            return self.gate.backward(*[dy] * self.count)

    x, z = torch.randn(5, 3), torch.randn(5, 4)
    for count in (0, 1, 3):
        with pytest.raises(lamp.ArgumentError, match=rf"(?s)^Outer\.gate: .*forward\(x, z\).*{count} positional"):
            Outer(count)(x, z, x)
    model = Outer(2)
    model(x, z)
    with pytest.raises(lamp.ArgumentError, match=r"(?s)^Outer\.gate: .*backward\(dy\).*2 positional"):
        model.backward(torch.randn(5, 5))
    with pytest.raises(lamp.ArgumentError, match=r"(?s)^Sequential\.1: .*Gate\.forward.*1 positional"):
        lamp.Sequential(lamp.Linear(7, 3), Gate())(torch.randn(5, 7))
    network = lamp.Sequential(Heads())
    network(x)
    with pytest.raises(lamp.ArgumentError, match=r"(?s)^Sequential\.0: .*backward\(dmean, dspread\).*1 positional"):
        network.backward((torch.randn(5, 2),))


def test_an_error_of_the_users_own_call_stays_a_type_error():
    class Own(lamp.Module):
        def forward(self, x):
            return len(x, x)  # type: ignore[call-arg]

    for model in (Own(), lamp.Sequential(Own())):
        with pytest.raises(TypeError, match="exactly one argument"):
            model(torch.randn(3))


class Weighted(lamp.Container):
    """An input that all samples share, a matrix, and one that comes by name alone."""

    def __init__(self):
        self.body = lamp.Linear(3, 2)

    def forward(self, x, mixing, *, factor):
        y = self.body(x)
        self.remember((y, mixing, factor))
        return y @ mixing * factor

    def backward(self, dy):
        y, mixing, factor = self.recall()
        return self.body.backward(dy * factor @ mixing.mT), y.mT @ (dy * factor)


@pytest.mark.parametrize("samples", [2, 5])
def test_inputs_without_samples_and_by_name_alone_in_a_population(samples):
    population = lamp.population(Weighted().double(), range(3))
    x, mixing, factor = drawn(samples, 3), drawn(2, 2), drawn(samples, 1)
    output = population(x, mixing, factor=factor)
    dy = upstream(output)
    found = population.backward(dy)
    for k, one in enumerate(population):
        assert error(output[k], one(x, mixing, factor=factor)) < 1e-12
        alike([each[k] for each in found], one.backward(dy[k]))
    with pytest.raises(lamp.ArgumentError, match=r"(?s)Population\.network.*factor"):
        population(x, mixing)


def test_a_pass_whose_output_nobody_holds_can_be_gone_back_through():
    """Also where a class's forward calls its base's, which joins the pass of the same module."""

    class Louder(lamp.Linear):
        def forward(self, input):
            return 2.0 * super().forward(input)

        def backward(self, grad_output):
            return super().backward(2.0 * grad_output)

    model = Louder(3, 2).double()
    x, dy = drawn(5, 3), drawn(5, 2)
    model(x)
    assert error(model.backward(dy), 2.0 * dy @ model.weight.data) < 1e-12


def test_outputs_that_are_no_tensors():
    class Named(Heads):
        def forward(self, x):
            return dict(zip("ab", super().forward(x), strict=True))

    with pytest.raises(lamp.DTypeError, match="dict"):
        lamp.predict(Named().double(), drawn(5, 3))
    for criterion in (lamp.MSELoss(), lamp.CrossEntropyLoss()):
        with pytest.raises(lamp.DTypeError, match=r"(?s)tuple.*lamp.Loss of your own"):
            criterion((drawn(5, 2), drawn(5, 4)), drawn(5, 2))


# ---- studies ---------------------------------------------------------------------------------------------------------
def test_a_cross_validation_is_of_each_fold_alone():
    """The scores are those of networks that are trained on each fold's samples by `fit`."""
    x, z, y = drawn(12, 3), drawn(12, 4), drawn(12, 5)
    target = drawn(12, 2), drawn(12, 4)
    for model, inputs, wanted, criterion in (
        (Gate().double(), (x, z), y, lamp.MSELoss()),
        (Heads().double(), x, target, SumOfHeads()),
    ):
        found = lamp.cross_validate(
            model, (inputs, wanted), criterion=criterion, optimizer=lambda p: lamp.SGD(p, lr=0.1), folds=3, epochs=2,
            batch_size=4, progress=False,
        )  # fmt: skip
        assert "3 folds of 12 samples" in str(found)
        for k, held in enumerate(found.folds):
            one = found.population[k]
            given = mapped(inputs, lambda each, held=held: each[held])
            output = one(*given) if isinstance(given, tuple) else one(given)
            alike(mapped(found.outputs, lambda each, held=held: each[0, held]), output)
            loss = criterion(output, mapped(wanted, lambda each, held=held: each[held]))
            assert float(loss) == pytest.approx(float(found.scores["loss"][k]))
    with pytest.raises(lamp.DataError, match="as many inputs as the network takes"):
        lamp.cross_validate(Heads().double(), ((x, z), y), criterion=lamp.MSELoss(), epochs=1)
    with pytest.raises(lamp.LabelError, match="several targets"):
        lamp.cross_validate(Heads().double(), (x, target), criterion=SumOfHeads(), epochs=1, stratify=True)


def test_a_sweep_of_several_inputs_and_outputs():
    data = (drawn(12, 3), (drawn(12, 2), drawn(12, 4)))
    found = lamp.sweep(
        Heads().double(), {"lr": [0.1, 0.01]}, data, criterion=SumOfHeads(), seeds=2, epochs=2, progress=False,
        validation=data,
    )  # fmt: skip
    assert len(found.rows) == 2
    assert [len(model(data[0])) for model in found.networks()] == [2, 2]


def test_the_cosine_of_vectors_shorter_than_eps():
    """Their length counts as eps, so it has no gradient; torch's gradient keeps that term."""
    module = lamp.CosineSimilarity(dim=-1, eps=1.0)
    x1, x2 = torch.randn(5, 3, dtype=D) * 0.1, torch.randn(5, 3, dtype=D) * 3.0
    leaves = [each.clone().requires_grad_() for each in (x1, x2)]
    one, other = (each / each.square().sum(-1, keepdim=True).sqrt().clamp(min=1.0) for each in leaves)
    expected = (one * other).sum(-1)
    y = module(x1, x2)
    dy = torch.randn_like(y)
    for own, autograd in zip(module.backward(dy), torch.autograd.grad(expected, leaves, dy), strict=True):
        assert error(own, autograd) < 1e-12
    assert error(y, expected.detach()) < 1e-12


@pytest.mark.parametrize("case", [case for case in SEVERAL if case.name.startswith("Bilinear")], ids=str)
def test_the_same_seed_gives_the_same_parameters_as_torch(case):
    torch.manual_seed(5)
    own = case.make().state_dict()
    torch.manual_seed(5)
    assert all(torch.equal(own[name], other) for name, other in case.make_torch().state_dict().items())


def test_equal_largest_differences_share_the_gradient():
    module, twin = lamp.PairwiseDistance(p=float("inf"), eps=0.0), nn.PairwiseDistance(p=float("inf"), eps=0.0)
    x1, x2 = torch.tensor([[1.0, -3.0, 3.0], [2.0, 0.5, -2.0]], dtype=D), torch.zeros(2, 3, dtype=D)
    leaves = [each.clone().requires_grad_() for each in (x1, x2)]
    dy = torch.tensor([0.7, -1.3], dtype=D)
    module(x1, x2)
    for own, autograd in zip(module.backward(dy), torch.autograd.grad(twin(*leaves), leaves, dy), strict=True):
        assert torch.equal(own, autograd)
