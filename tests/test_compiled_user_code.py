"""What a user's formulas read besides their arguments holds in compiled code as in the eager engine, or is refused."""

import os
import random
from collections import deque
from typing import ClassVar

import numpy as np
import pytest
import torch

import lamp
from lamp.errors import ArgumentError

pytestmark = pytest.mark.compiled
X, Y = torch.linspace(-1.0, 1.0, 64, dtype=torch.float64).view(32, 2), torch.ones(32, 1, dtype=torch.float64)
ELSEWHERE = {"factor": 1.0}
EPOCHS, BATCH = 4, 4


class Factor:
    """A callable object with a number."""

    number = 1.0

    def __init__(self):
        self.number = 1.0

    def __call__(self):
        return self.number


def doubled():
    return 2.0 * ELSEWHERE["factor"]


class OfGlobal(lamp.Loss):
    def value(self, output, target):
        return (output - target).square() * ELSEWHERE["factor"]

    def derivative(self, output, target):
        return (output - target) * doubled()


class OfClass(lamp.Loss):
    factor = 1.0

    def value(self, output, target):
        return (output - target).square() * self.factor

    def derivative(self, output, target):
        return (output - target) * (2.0 * OfClass.factor)


class OfCallable(lamp.Loss):
    def __init__(self):
        self.factor = Factor()

    def value(self, output, target):
        return (output - target).square() * self.factor()

    def derivative(self, output, target):
        return (output - target) * (2.0 * self.factor())


def of_closure():
    factor = [1.0]

    class OfClosure(lamp.Loss):
        def value(self, output, target):
            return (output - target).square() * factor[0]

        def derivative(self, output, target):
            return (output - target) * (2.0 * factor[0])

        def halve(self):
            factor[0] *= 0.5

    return OfClosure()


class Held:
    def __init__(self, **held):
        vars(self).update(held)


class Slots:
    __slots__ = ("number",)
    number: float


def of_attribute(held, read):
    """A loss whose formulas read something that one of its attributes holds."""

    class OfAttribute(lamp.Loss):
        def __init__(self):
            self.held = held

        @property
        def factor(self):
            return read(self.held)

        def value(self, output, target):
            return (output - target).square() * read(self.held)

        def derivative(self, output, target):
            return (output - target) * (2.0 * self.factor)

    return OfAttribute()


def of_slots():
    held = Slots()
    held.number = 1.0
    return of_attribute(held, lambda held: held.number)


class ByTrace(lamp.Container):
    """What it does depends on a global variable, which its trace reads too."""

    def __init__(self):
        self.inner = lamp.Tanh()

    def forward(self, x):
        self.remember(ELSEWHERE["factor"] > 0.3)
        return self.inner(x) if ELSEWHERE["factor"] > 0.3 else x

    def backward(self, dy):
        return self.inner.backward(dy) if self.recall() else dy

    def trace(self, tracer, x):
        return tracer(self.inner, x) if ELSEWHERE["factor"] > 0.3 else x


class Rule(lamp.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def coefficients(self, group, step):
        return {"lr": group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * c["lr"] * ELSEWHERE["factor"]


class RuleOfClass(Rule):
    factor = 1.0

    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * c["lr"] * self.factor


class OfSet(Rule):
    DROPS: ClassVar = {3, 6}

    def coefficients(self, group, step):
        return {"lr": 0.0 if step in self.DROPS else group["lr"]}

    def update(self, parameter, gradient, state, c, group):
        return parameter - gradient * c["lr"]


class OfKind(OfSet):
    def coefficients(self, group, step):
        return {"lr": 0.3 / step if isinstance(step, int) else 1.0}


class OfTable(OfSet):
    def coefficients(self, group, step):
        return {"lr": {2: 0.3, 5: 0.5}.get(step, 0.01)}


class Halves(lamp.Callback):
    """Changes something after each epoch, and looks at no weights."""

    def __init__(self, change):
        self._change = change

    def on_epoch(self, training):
        self._change(training)


def halve(thing, name):
    setattr(thing, name, getattr(thing, name) * 0.5)


def elsewhere(training):
    ELSEWHERE["factor"] *= 0.5


CHANGES = {
    "a global": (OfGlobal, lamp.SGD, elsewhere),
    "a class attribute": (OfClass, lamp.SGD, lambda training: halve(OfClass, "factor")),
    "a callable object": (OfCallable, lamp.SGD, lambda training: halve(training.criterion.factor, "number")),
    "a closure": (of_closure, lamp.SGD, lambda training: training.criterion.halve()),
    "an object four deep": (
        lambda: of_attribute(Held(a=Held(b=Held(c=Held(number=1.0)))), lambda held: held.a.b.c.number),
        lamp.SGD,
        lambda training: halve(training.criterion.held.a.b.c, "number"),
    ),
    "slots": (of_slots, lamp.SGD, lambda training: halve(training.criterion.held, "number")),
    "a deque": (
        lambda: of_attribute(deque([1.0]), lambda held: held[-1]),
        lamp.SGD,
        lambda training: training.criterion.held.append(training.criterion.held[-1] * 0.5),
    ),
    "a global of a rule": (lamp.MSELoss, Rule, elsewhere),
    "a class attribute of a rule": (lamp.MSELoss, RuleOfClass, lambda training: halve(RuleOfClass, "factor")),
    "steps in a set": (lamp.MSELoss, OfSet, lambda training: None),
    "steps by their type": (lamp.MSELoss, OfKind, lambda training: None),
    "steps in a dict": (lamp.MSELoss, OfTable, lambda training: None),
}


def test_what_a_trace_reads_elsewhere_holds():
    histories = {}
    for engine in ("eager", "compiled"):
        ELSEWHERE["factor"] = 1.0
        histories[engine] = trained(lamp.MSELoss(), lamp.SGD, engine, [Halves(elsewhere)], [ByTrace()])
    torch.testing.assert_close(histories["compiled"]["loss"], histories["eager"]["loss"], rtol=1e-9, atol=0.0)


def trained(criterion, kind, engine, callbacks=(), layers=(), validation=None):
    torch.manual_seed(0)
    model = lamp.Sequential(lamp.Linear(2, 1), *layers).to(torch.float64)
    optimizer = kind(model.parameters()) if kind is not lamp.SGD else lamp.SGD(model.parameters(), lr=0.1)
    return lamp.fit(
        model, criterion, optimizer, (X, Y), epochs=EPOCHS, batch_size=BATCH, seed=0, callbacks=callbacks,
        engine=engine, progress=False, validation=validation,
    )  # fmt: skip


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_callback_changes_elsewhere_holds(name, looks):
    make, kind, change = CHANGES[name]
    histories = {}
    for engine in ("eager", "compiled"):
        ELSEWHERE["factor"] = OfClass.factor = RuleOfClass.factor = 1.0
        halves = Halves(change)
        halves.needs_model = looks
        histories[engine] = trained(make(), kind, engine, [halves])
    assert histories["compiled"].engine == "compiled"
    torch.testing.assert_close(histories["compiled"]["loss"], histories["eager"]["loss"], rtol=1e-9, atol=0.0)
    assert len(set(histories["eager"]["loss"].tolist())) == EPOCHS


class Counting(lamp.Activation):
    remembers = "x"

    def __init__(self):
        self.calls = 0

    def sigma(self, x):
        self.calls += 1
        return x * (1.0 / self.calls)

    def dsigma(self, x, y):
        return x * 0.0 + 1.0 / self.calls


class Random(Counting):
    def sigma(self, x):
        return x * (1.0 + random.random())

    def dsigma(self, x, y):
        return x * 0.0 + 1.5


class OfNumpy(Random):
    def sigma(self, x):
        return x * (1.0 + float(np.random.rand()))  # noqa: NPY002


class OfTorch(Random):
    def sigma(self, x):
        return x * (1.0 + torch.rand(()).item())


class OfMode(Counting):
    def _factor(self):
        return 2.0 if self.training else 1.0

    def sigma(self, x):
        return x * self._factor()

    def dsigma(self, x, y):
        return x * 0.0 + self._factor()


class OfParameter(Counting):
    def __init__(self):
        self.weight = lamp.Parameter(torch.ones((), dtype=torch.float64))

    def sigma(self, x):
        return x * self.weight.data.item()

    def dsigma(self, x, y):
        return x * 0.0 + self.weight.data.item()


class OfType(Counting):
    def sigma(self, x):
        return x * (2.0 if isinstance(x, torch.Tensor) else 1.0)

    def dsigma(self, x, y):
        return x * 0.0 + 2.0


class Penalised(lamp.Loss):
    """Reads the weight of a layer."""

    def __init__(self):
        self.layer = lamp.Linear(2, 1).to(torch.float64).requires_grad_(False)

    def value(self, output, target):
        return (output - target).square() + self.layer.weight.data.square().sum().item()

    def derivative(self, output, target):
        return (output - target) * 2.0


class CountingLoss(lamp.Loss):
    def __init__(self):
        self.seen = [0]

    def value(self, output, target):
        self.seen[0] += 1
        return (output - target).square() * (1.0 / self.seen[0])

    def derivative(self, output, target):
        return (output - target) * (2.0 / self.seen[0])


class CountingRule(OfSet):
    def __init__(self, params):
        super().__init__(params)
        self._calls = 0

    def coefficients(self, group, step):
        self._calls += 1
        return {"lr": group["lr"] / self._calls}


class RandomRule(OfSet):
    def coefficients(self, group, step):
        return {"lr": group["lr"] * random.random()}


REFUSED = {
    "a counter": ({"layers": [Counting]}, "the sigma of Counting changes something at each call"),
    "Python's generator": ({"layers": [Random]}, "the sigma of Random draws random numbers"),
    "numpy's generator": ({"layers": [OfNumpy]}, "the sigma of OfNumpy draws random numbers"),
    "torch's generator": ({"layers": [OfTorch]}, "the sigma of OfTorch draws random numbers"),
    "the mode": ({"layers": [OfMode]}, r"the sigma of OfMode asks for self\.training"),
    "a parameter": ({"layers": [OfParameter]}, "the sigma of OfParameter reads weights"),
    "the type": ({"layers": [OfType]}, "the sigma of OfType asks for the type"),
    "the environment": ({"criterion": lambda: OfEnvironment()}, "the value of OfEnvironment uses environ"),
    "weights in a loss": ({"criterion": Penalised}, "the value of Penalised reads weights"),
    "a counter of a loss": ({"criterion": CountingLoss}, "the value of CountingLoss changes something at each call"),
    "a counter of a rule": ({"kind": CountingRule}, "the coefficients of CountingRule changes? something"),
    "random coefficients": ({"kind": RandomRule}, "the coefficients of RandomRule draws? random numbers"),
}


def _of(parts, engine):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    layers, criterion = [each() for each in parts.get("layers", ())], parts.get("criterion", lamp.MSELoss)()
    return trained(criterion, parts.get("kind", lamp.SGD), engine, layers=layers, validation=(X, Y))


@pytest.mark.parametrize("name", REFUSED)
def test_formulas_that_give_something_else_at_each_call_are_left_to_the_eager_engine(name):
    parts, why = REFUSED[name]
    with pytest.raises(ArgumentError, match="compiled engine cannot run this") as caught:
        _of(parts, "compiled")
    assert caught.match(why)
    eager, auto = (_of(parts, engine) for engine in ("eager", "auto"))
    assert auto.engine == "eager"
    for column in ("loss", "validation_loss"):
        assert torch.equal(eager[column], auto[column])


class OfEnvironment(lamp.Loss):
    def value(self, output, target):
        return (output - target).square() * float(os.environ.get("FACTOR", "1"))

    def derivative(self, output, target):
        return (output - target) * (2.0 * float(os.environ.get("FACTOR", "1")))


class Doubling(lamp.AvgPool1d):
    """Has a method of its own that only forward and backward call."""

    def means(self, *given):
        return super().means(*given) * 2.0

    def means_back(self, *given):
        return super().means_back(*given) * 2.0


class OwnMomentum(lamp.BatchNorm1d):
    @property
    def momentum(self):
        return 0.5

    @momentum.setter
    def momentum(self, value):
        pass


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (lambda: [lamp.Unflatten(1, (1, 1)), Doubling(1), lamp.Flatten()], r"Doubling\(.* has its own means"),
        (lambda: [OwnMomentum(1)], r"OwnMomentum\(.* has its own momentum"),
    ],
)
def test_methods_of_a_subclass_that_lamps_forward_calls_are_not_ignored(layers, why):
    with pytest.raises(ArgumentError, match="compiled engine cannot run this") as caught:
        trained(lamp.MSELoss(), lamp.SGD, "compiled", layers=layers())
    assert caught.match(why)
    eager, auto = (trained(lamp.MSELoss(), lamp.SGD, engine, layers=layers()) for engine in ("eager", "auto"))
    assert torch.equal(eager["loss"], auto["loss"])


class Sum(lamp.Container):
    """The sum of two layers, by methods of its own."""

    def __init__(self):
        self.a, self.b = lamp.Tanh(), lamp.Sigmoid()

    def combined(self, u, v):
        return u + v

    def apart(self, dy):
        return dy, dy

    def forward(self, x):
        return self.combined(self.a(x), self.b(x))

    def backward(self, dy):
        of_a, of_b = self.apart(dy)
        return self.a.backward(of_a) + self.b.backward(of_b)

    def trace(self, tracer, x):
        return tracer.add(self, tracer(self.a, x), tracer(self.b, x))


class Difference(Sum):
    """Overrides what forward and backward call, and not the trace."""

    def combined(self, u, v):
        return u - v

    def apart(self, dy):
        return dy, -dy


def set_on_it():
    layer = Sum()
    layer.combined, layer.apart = lambda u, v: u - v, lambda dy: (dy, -dy)
    return layer


@pytest.mark.parametrize("make", [Difference, set_on_it])
def test_a_trace_does_not_stand_for_methods_that_were_overridden(make):
    with pytest.raises(ArgumentError, match="apart, which its trace does not know"):
        trained(lamp.MSELoss(), lamp.SGD, "compiled", layers=[make()])
    eager, auto = (trained(lamp.MSELoss(), lamp.SGD, engine, layers=[make()]) for engine in ("eager", "auto"))
    assert auto.engine == "eager"
    assert torch.equal(eager["loss"], auto["loss"])
    assert trained(lamp.MSELoss(), lamp.SGD, "compiled", layers=[Sum()]).engine == "compiled"
