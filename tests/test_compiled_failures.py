"""Failures of compiled trainings: losses that are not finite, and networks that do not compile."""

from __future__ import annotations

import math
import re
import warnings

import pytest
import torch

import lamp
from lamp.errors import ArgumentError, LabelError, NonFiniteError, NonFiniteWarning
from lamp.formulas import is_zero
from lamp.training.eager import evaluate
from tests.cases.compiled import BATCH, close, network, replicas, task, trained

TASK, SQUARES = task("CrossEntropyLoss"), task("MSELoss")
HUGE = 1e150  # a learning rate that soon makes squares infinite


def sgd(lr):
    return lambda parameters: lamp.SGD(parameters, lr=lr)


def both_fail(make, lr, **arguments):
    """The errors of both engines, and the models after them."""
    found = []
    for engine in ("eager", "compiled"):
        kept = []

        def remembered(kept=kept):
            kept.append(make())
            return kept[0]

        with pytest.raises(NonFiniteError) as error:
            trained(engine, remembered, SQUARES.make, sgd(lr), SQUARES.data(), **arguments)
        found.append((error.value, kept[0]))
    return found


# ---- one network -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lr", [HUGE, 1e300, 40.0, 8.0], ids=["step 2", "step 1", "later", "after epochs"])
def test_the_error_names_the_same_module(lr):
    (eager, eager_model), (compiled, model) = both_fail(lambda: network(SQUARES, lamp.ReLU()), lr, epochs=60)
    assert (compiled.where, compiled.what) == (eager.where, eager.what)
    assert compiled.history.epochs == eager.history.epochs
    assert compiled.history.stopped == eager.history.stopped
    close(compiled.history["loss"], eager.history["loss"], 1e-9) if eager.history.epochs else None
    for each in (eager_model, model):
        assert all(parameter.data.isfinite().all() for parameter in each.parameters())
        each.eval()
        assert SQUARES.make()(each(SQUARES.data()[0]), SQUARES.data()[1]).isfinite()


def test_a_first_loss_that_is_not_finite_leaves_everything_as_it_was():
    def make():
        model = network(SQUARES, lamp.Tanh())
        model.reset_parameters(generator=torch.Generator().manual_seed(5))
        return model

    x, y = SQUARES.data()
    for engine in ("eager", "compiled"):
        model = make()
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        with pytest.raises(NonFiniteError) as error:
            lamp.fit(model, lamp.MSELoss(), optimizer, (x, y * 1e200), epochs=2, engine=engine, progress=False)
        assert error.value.history.epochs == 0
        for one, other in zip(model.parameters(), make().parameters(), strict=True):
            assert torch.equal(one.data, other.data)


@pytest.mark.parametrize("count", [None, 3])
def test_a_validation_loss_that_is_not_finite_is_told_and_ends_nothing(count):
    x, y = SQUARES.data(9)
    x[4] = 1e200  # finite, and its square is not
    options = {"count": count, "epochs": 3, "validation": (x, y)}
    for engine in ("eager", "compiled"):
        with pytest.warns(NonFiniteWarning, match="not finite in 3 of 3 epochs") as told:
            left = trained(
                engine, lambda: network(SQUARES, lamp.ReLU()), SQUARES.make, sgd(0.01), SQUARES.data(), **options
            )
        assert len(told) == 1
        assert "ignore" not in str(told[0].message)
        assert (left.history["validation_loss"] == math.inf).all()
        assert left.history["loss"].isfinite().all()
        assert left.history.stopped == "all epochs done"
        assert left.history.failed == []


def test_validation_labels_that_are_all_ignored_are_told():
    nets, x = lamp.population(lamp.Linear(2, 3), range(2)), torch.randn(6, 2)
    criterion, optimizer = lamp.CrossEntropyLoss(ignore_index=2), lamp.SGD(nets.parameters(), lr=0.1)
    data, held_out = (x, torch.tensor([0, 1] * 3)), (x, torch.full((6,), 2))
    with pytest.warns(NonFiniteWarning, match=r"labels that are all ignored \(ignore_index\)"):
        lamp.fit(nets, criterion, optimizer, data, epochs=2, validation=held_out, progress=False)


@pytest.mark.parametrize("of", [TASK, SQUARES], ids=["classes", "squares"])
def test_a_loss_that_is_not_finite_is_an_error_only_where_it_was_asked_for(of):
    x, y = of.data(9)
    data = [(x[:5], y[:5]), (x[5:] * math.inf, y[5:])]
    model = network(of)
    with pytest.raises(NonFiniteError):
        lamp.evaluate(model, of.make(), data)
    assert not math.isfinite(evaluate(model, of.make(), data, {}, finite=False)["loss"])


# ---- a population ----------------------------------------------------------------------------------------------------
def lrs(count, poisoned, value=HUGE):
    numbers = torch.linspace(0.01, 0.05, count, dtype=torch.float64)
    numbers[poisoned] = value
    return numbers


@pytest.mark.parametrize("count", [3, 11, 19])
@pytest.mark.parametrize("epochs", [1, 7])
def test_failed_replicas_are_set_aside(count, epochs):
    poisoned = [1, count - 1]
    found = {}
    for engine, numbers in (
        ("eager", lrs(count, poisoned)),
        ("compiled", lrs(count, poisoned)),
        ("without poison", lrs(count, poisoned, 0.02)),
    ):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found[engine] = trained(
                "eager" if engine == "eager" else "compiled",
                lambda: network(SQUARES, lamp.Tanh()),
                SQUARES.make,
                sgd(numbers),
                SQUARES.data(),
                count=count,
                epochs=epochs,
                validation=SQUARES.data(9),
            )
        assert [each.category for each in told] == ([] if engine == "without poison" else [NonFiniteWarning])
    eager, compiled, clean = found.values()
    assert sorted(compiled.history.failed) == sorted(eager.history.failed) == poisoned
    assert compiled.history.endings == eager.history.endings
    others = [k for k in range(count) if k not in poisoned]
    for name in eager.history:
        close(compiled.history[name], eager.history[name], 1e-11)
        assert compiled.history[name][:, poisoned].isnan().all()
    trio = zip(eager.model.parameters(), compiled.model.parameters(), clean.model.parameters(), strict=True)
    for own, other, without in trio:
        assert other.data.isfinite().all()
        close(other.data[others], own.data[others], 1e-11)
        if epochs == 1:  # later the other replicas may be in other lanes
            assert torch.equal(other.data[others], without.data[others])


def test_kept_weights_had_a_finite_loss():
    x, y = SQUARES.data()
    with pytest.warns(NonFiniteWarning):
        left = trained(
            "compiled",
            lambda: network(SQUARES, lamp.ReLU()),
            SQUARES.make,
            sgd(lrs(11, [0, 4, 9], 8.0)),
            (x, y),
            count=11,
            epochs=60,
        )
    assert sorted(left.history.failed) == [0, 4, 9]
    for k in left.history.failed:
        assert SQUARES.make()(left.model[k](x), y).isfinite()


def test_an_error_when_every_replica_fails():
    (eager, _), (compiled, _) = both_fail(lambda: network(SQUARES, lamp.Tanh()), HUGE, count=3)
    assert compiled.what == eager.what
    assert sorted(compiled.history.failed) == [0, 1, 2]


@pytest.mark.parametrize("count", [None, 3])
def test_batches_of_ignored_labels_only(count):
    x, _ = TASK.data()
    for engine in ("eager", "compiled"):
        with pytest.raises(LabelError if count is None else NonFiniteError):
            trained(
                engine,
                lambda: network(TASK, lamp.Tanh()),
                TASK.make,
                sgd(0.1),
                (x, torch.full((len(x),), -100)),
                count=count,
            )


# ---- what cannot be compiled -----------------------------------------------------------------------------------------
class Sine(lamp.Activation):
    remembers = "x"

    def sigma(self, x):
        return torch.sin(x)

    def dsigma(self, x, y):
        return torch.cos(x)


class Residual(lamp.Sequential):
    def forward(self, x, *target):
        return x + super().forward(x)

    def backward(self, *dy):
        return dy[0] + super().backward(*dy)


class Doubled(lamp.Tanh):
    def forward(self, x):
        return super().forward(x) * 2.0

    def backward(self, dy):
        return super().backward(dy * 2.0)


class Scale(lamp.Module):
    def forward(self, x):
        return x * 2.0

    def backward(self, dy):
        return dy * 2.0


class TwoSteps(lamp.SGD):
    def step(self):
        super().step()
        super().step()


class FromGroup(lamp.Optimizer):
    """Takes its numbers from the group, where code would keep them as they were when it was written."""

    def __init__(self, params, lr, decay=0.0):
        super().__init__(params, {"lr": lr, "decay": decay})

    def coefficients(self, group, step):
        return {}

    def update(self, parameter, gradient, state, c, group):
        return parameter - group["lr"] * gradient


class FromItself(FromGroup):
    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * self.lr


class Zero(FromGroup):
    def coefficients(self, group, step):
        return {"lr": group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        return parameter - c["lr"] * gradient - parameter * group["decay"]


class Switch(Zero):
    """Reads only which terms it has."""

    def update(self, parameter, gradient, state, c, group):
        moved = parameter - c["lr"] * gradient
        return moved if is_zero(group["decay"]) and not group["decay"] else moved * 0.5


class HalfLoss(lamp.MSELoss):
    def forward(self, output, target):
        return super().forward(output, target) * 0.5

    def backward(self, *dloss):
        return super().backward(*dloss) * 0.5


class Look(lamp.Callback):
    def on_batch(self, training, loss):
        pass


def spec(*layers, model=None, criterion=None, optimizer=None, data=None, **arguments):
    layers = layers or (lamp.Linear(3, 4),)
    model = model or lamp.Sequential(*layers).double()
    optimizer = optimizer or lamp.SGD
    default = dict(epochs=2, progress=False) | ({} if isinstance(data, list) else {"batch_size": BATCH})
    return (
        (model, criterion or lamp.CrossEntropyLoss(), optimizer(model.parameters(), lr=0.1), data or TASK.data()),
        default | arguments,
    )


def in_batches():
    x, y = TASK.data()
    return list(zip(x.split(7), y.split(7), strict=True))


def numbers(*shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


REFUSED = {
    "Scale.* is not compiled": lambda: spec(lamp.Linear(3, 4), Scale()),
    "lamp.formulas does not list": lambda: spec(lamp.Linear(3, 4), Sine()),
    "Residual has its own backward": lambda: spec(Residual(lamp.Linear(3, 3), lamp.Tanh()), lamp.Linear(3, 4)),
    "Doubled.* has its own backward": lambda: spec(lamp.Linear(3, 4), Doubled()),
    "along the axis of the batch": lambda: spec(lamp.Linear(3, 4), lamp.Softmax(0), lamp.Linear(4, 4)),
    "TwoSteps has its own step": lambda: spec(optimizer=TwoSteps),
    "FromGroup takes lr from group": lambda: spec(optimizer=FromGroup),
    "FromItself takes lr from group": lambda: spec(optimizer=FromItself),
    "Zero takes decay from group": lambda: spec(optimizer=Zero),
    "HalfLoss.* has its own backward": lambda: spec(lamp.Linear(3, 3), criterion=HalfLoss(), data=SQUARES.data()),
    "one number per output": lambda: spec(
        lamp.Linear(3, 3),
        lamp.Sigmoid(),
        criterion=lamp.BCELoss(weight=numbers(7, 1)),
        data=(TASK.data()[0], numbers(35, 3)),
    ),
}
REFUSED_BY_FIT = {
    "Look looks at every batch": lambda: spec(callbacks=[Look()]),
    "come from a list": lambda: spec(data=in_batches()),
    "of torch.int32": lambda: spec(data=(TASK.data()[0], TASK.data()[1].int())),
}


@pytest.mark.parametrize("reason", [*REFUSED, *REFUSED_BY_FIT])
def test_what_cannot_be_compiled_is_told(reason, monkeypatch):
    make = (REFUSED | REFUSED_BY_FIT)[reason]
    positional, named = make()
    with pytest.raises(ArgumentError, match="compile") as error:
        lamp.fit(*positional, **named, engine="compiled")
    assert re.search(reason, error.value.got)
    assert "\n" not in error.value.got
    if reason in REFUSED:
        model, criterion, optimizer, given = make()[0]
        with pytest.raises(ArgumentError, match=reason):
            lamp.compile(model, criterion, optimizer, BATCH)(*given)
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)  # so that compiling always pays
    positional, named = make()
    history = lamp.fit(*positional, **named, engine="auto")
    assert history.engine == "eager"
    assert re.search(reason, history.why)
    assert history.compile_seconds == 0.0


def test_a_rule_that_asks_group_only_which_terms_it_has_is_compiled():
    found = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        (model, criterion, optimizer, data), named = spec(optimizer=Switch)
        lamp.fit(
            model, criterion, optimizer, data, **named, scheduler=lamp.StepLR(optimizer, 1, 0.1), seed=0, engine=engine
        )
        found.append(model[0].weight.data)
    torch.testing.assert_close(*found)


class Squares(lamp.Activation):
    """A user's formula that lanes can compute, unless lamp has a bug."""

    remembers = "x"

    def sigma(self, x):
        return x.square()

    def dsigma(self, x, y):
        return x + x


def broken(line):
    """A function that appears to be defined in lamp's code of lanes."""
    from lamp.compiler import lanes

    names = dict(vars(lanes))
    exec(f"def broken(self, *others):\n    {line}", names)
    return names["broken"]


@pytest.mark.parametrize(
    ("method", "line", "error"),
    [("square", "return self.code.nothing(self)", AttributeError), ("square", "return len(self.code)", TypeError)],
)
@pytest.mark.parametrize("layer", [Squares, lamp.Tanhshrink])
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_a_bug_of_lamps_is_not_taken_for_a_network_that_cannot_be_compiled(
    method, line, error, layer, engine, monkeypatch
):
    from lamp.compiler import kernel, lanes

    kernel.forget()
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    monkeypatch.setattr(lanes.Lane, method, broken(line))
    positional, named = spec(lamp.Linear(3, 5), layer(), lamp.Linear(5, 4))
    with pytest.raises(error):
        lamp.fit(*positional, **named, engine=engine)
    positional, named = spec(lamp.Linear(3, 5), layer(), lamp.Linear(5, 4))
    with pytest.raises(error):
        lamp.compile(*positional[:3], BATCH)(*positional[3])  # type: ignore[call-arg]


class Odd(lamp.Activation):
    """A formula that only tensors can compute, in one of several ways."""

    remembers = "x"

    def __init__(self, way):
        self.way = way

    def sigma(self, x):
        return self.way(x)

    def dsigma(self, x, y):
        return torch.ones_like(x)


@pytest.mark.parametrize(
    "way",
    [
        torch.sin,
        lambda x: x.sin(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x + torch.zeros(4, dtype=x.dtype),
        lambda x: torch.nn.functional.hardtanh(x),
        lambda x: x**2,
        lambda x: x * math.exp(x.mean()),
        lambda x: [x][0].new_tensor(1.0) * x,
    ],
)
def test_a_formula_that_lanes_cannot_compute_is_left_to_eager(way, monkeypatch):
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    positional, named = spec(lamp.Linear(3, 4), Odd(way))
    history = lamp.fit(*positional, **named, engine="auto")
    assert history.engine == "eager"
    assert "sigma of Odd uses operations that lamp.formulas does not list" in history.why


WRONG = {
    "a label beyond the classes": (lambda: TASK, lambda y: y + 1, LabelError),
    "labels that are no integers": (lambda: TASK, lambda y: y.double(), lamp.LampError),
    "a probability beyond 1": (lambda: task("BCEWithLogitsLoss"), lambda y: y + 0.5, LabelError),
    "targets in float32": (lambda: SQUARES, lambda y: y.float(), lamp.DTypeError),
    "targets of another width": (lambda: SQUARES, lambda y: y[:, :1], lamp.ShapeError),
    "probabilities for labels": (lambda: task("NLLLoss"), lambda y: numbers(len(y), 4), lamp.ShapeError),
}


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("what", WRONG)
def test_wrong_targets(what, count, monkeypatch):
    """All engines raise the eager engine's error."""
    of_task, change, kind = WRONG[what]
    x, y = of_task().data()
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    told = []
    for engine in ("compiled", "eager", "auto"):
        with pytest.raises(kind) as error:
            trained(engine, lambda: network(of_task()), of_task().make, sgd(0.1), (x, change(y)), count=count)
        told.append((type(error.value), error.value.what))
    assert told[0] == told[1] == told[2]
    model = replicas(network(of_task()), count)
    compiled = lamp.compile(model, of_task().make(), lamp.SGD(model.parameters(), lr=0.1), BATCH)
    with pytest.raises(kind) as error:
        compiled(x, change(y))
    assert (type(error.value), error.value.what) == told[0]


def test_compile_refuses_what_makes_no_sense():
    model = network(TASK)
    optimizer = lamp.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match="no loss"):
        lamp.compile(model, None, optimizer, 5)
    for size in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="batch_size"):
            lamp.compile(model, lamp.CrossEntropyLoss(), optimizer, size)
    compiled = lamp.compile(model, lamp.CrossEntropyLoss(), optimizer, 5)
    x, y = TASK.data()
    for order in (
        torch.tensor([35]),
        torch.tensor([-1]),
        torch.tensor([0.5]),
        torch.tensor([[0]]),
        torch.tensor([]).long(),
    ):
        with pytest.raises(ArgumentError):
            compiled(x, y, order)
    with pytest.raises(lamp.ShapeError):
        compiled(x, y[:-1])
    with pytest.raises(lamp.ShapeError):
        compiled(x, y, per_replica_data=True)
    other = network(TASK)
    with pytest.raises(ArgumentError, match="not the network's"):
        lamp.compile(other, lamp.CrossEntropyLoss(), optimizer, 5)(x, y)
    mixed = lamp.Sequential(lamp.Linear(3, 4).double(), lamp.Linear(4, 4))
    with pytest.raises(lamp.DTypeError, match="another dtype"):  # as in eager
        lamp.compile(mixed, lamp.CrossEntropyLoss(), lamp.SGD(mixed.parameters()), 5)(x, y)
    half = network(TASK, dtype=torch.float16)
    with pytest.raises(ArgumentError, match="float16"):
        lamp.compile(half, lamp.CrossEntropyLoss(), lamp.SGD(half.parameters()), 5)(x.half(), y)


# ---- which engine ran, and why ---------------------------------------------------------------------------------------
def test_the_history_says_which_engine_ran(monkeypatch):
    def run(engine):
        positional, named = spec()
        return lamp.fit(*positional, **named, engine=engine)

    eager, compiled, short = run("eager"), run("compiled"), run("auto")
    assert (eager.engine, eager.why, eager.compile_seconds) == ("eager", "asked for", 0.0)
    assert (compiled.engine, compiled.why) == ("compiled", "asked for")
    assert compiled.compile_seconds > 0.0
    assert short.engine == "eager"
    assert "compiling" in short.why
    monkeypatch.setattr("lamp.training.cost_model.Costs.is_worth_compiling", True)
    chosen = run("auto")
    assert chosen.engine == "compiled"
    assert chosen.why.startswith("faster")
    with pytest.raises(ArgumentError, match="unknown engine"):
        run("quick")
