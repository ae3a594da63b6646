"""Networks with branches and different widths train as one population, each as it would alone."""

from __future__ import annotations

import copy

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.replicas.sizes import form
from lamp.studies.grouping import together
from tests.cases.graphs import Gated, Residual
from tests.test_population_sizes import TASK, check

OUT = TASK.outputs


class Reversed(lamp.Container):
    """A network whose layers are defined in another order than they are used."""

    def __init__(self, width):
        self.last, self.first, self.act = lamp.Linear(width, OUT), lamp.Linear(width, width), lamp.Tanh()

    def forward(self, x):
        return self.last(self.act(self.first(x)))

    def trace(self, tracer, x):
        return tracer(self.last, tracer(self.act, tracer(self.first, x)))

    def backward(self, dy):
        return self.first.backward(self.act.backward(self.last.backward(dy)))


def shared(h):
    layer = lamp.Linear(h, h)
    return lamp.Sequential(lamp.Linear(3, h), layer, lamp.Tanh(), layer, lamp.Sigmoid(), lamp.Linear(h, OUT))


def tied(h):
    one, other = lamp.Linear(h, h), lamp.Linear(h, h)
    other.weight = one.weight
    return lamp.Sequential(lamp.Linear(3, h), one, lamp.Tanh(), other, lamp.Sigmoid(), lamp.Linear(h, OUT))


FORMS = {  # of a width; a Sigmoid puts out 1/2 for what is not there
    "residual": lambda h: lamp.Sequential(
        lamp.Linear(3, h),
        lamp.Sigmoid(),
        lamp.Residual(lamp.Linear(h, 2 * h), lamp.Sigmoid(), lamp.Dropout(0.3), lamp.Linear(2 * h, h)),
        lamp.Linear(h, OUT),
    ),
    "a residual of one's own": lambda h: lamp.Sequential(
        lamp.Linear(3, h),
        lamp.Sigmoid(),
        Residual(lamp.Sequential(lamp.Linear(h, h + 2), lamp.GELU(), lamp.Linear(h + 2, h))),
        lamp.Linear(h, OUT),
    ),
    "residuals of the inputs and outputs": lambda h: lamp.Sequential(
        lamp.Residual(lamp.Linear(3, h), lamp.Sigmoid(), lamp.Linear(h, 3)),
        lamp.Linear(3, OUT),
        lamp.Residual(lamp.Linear(OUT, h + 1), lamp.Softplus(), lamp.Linear(h + 1, OUT)),
    ),
    "parallel": lambda h: lamp.Sequential(
        lamp.Linear(3, h),
        lamp.Sigmoid(),
        lamp.Parallel(
            lamp.Linear(h, h + 1),
            lamp.Sequential(lamp.Linear(h, 2 * h), lamp.GELU(), lamp.Linear(2 * h, h + 1), lamp.PReLU(h + 1)),
        ),
        lamp.Sigmoid(),
        lamp.Linear(h + 1, OUT),
    ),
    "a gate": lambda h: lamp.Sequential(
        lamp.Linear(3, h),
        lamp.Sigmoid(),
        Gated(lamp.Linear(h, h + 1), lamp.Sequential(lamp.Linear(h, h + 1), lamp.Sigmoid())),
        lamp.Linear(h + 1, OUT),
    ),
    "joined, of widths that are the same": lambda h: lamp.Sequential(
        lamp.Linear(3, h),
        lamp.Sigmoid(),
        lamp.Parallel(lamp.Linear(h, 2), lamp.Sequential(lamp.Linear(h, 3), lamp.Tanh()), combine="concat"),
        lamp.Linear(5, OUT),
    ),
    "normalised, in a width that is the same": lambda h: lamp.Sequential(
        lamp.Linear(3, h), lamp.Sigmoid(), lamp.Linear(h, 5), lamp.BatchNorm1d(5), lamp.Linear(5, OUT)
    ),
    "a softmax of a width that is the same": lambda h: lamp.Sequential(
        lamp.Linear(3, h), lamp.Sigmoid(), lamp.Linear(h, 5), lamp.Softmax(-1), lamp.Linear(5, OUT)
    ),
    "a layer that stands twice": shared,
    "tied weights": tied,
    "layers in another order": lambda h: lamp.Sequential(lamp.Linear(3, h), lamp.Sigmoid(), Reversed(h)),
    "split and flattened, of a width that is the same": lambda h: lamp.Sequential(
        lamp.Linear(3, h), lamp.Sigmoid(), lamp.Linear(h, 6), lamp.Unflatten(1, (2, 3)), lamp.Tanh(), lamp.Flatten(),
        lamp.Linear(6, OUT),
    ),
}  # fmt: skip
COMPILED = {"split and flattened, of a width that is the same"}


def networks(make, widths=(4, 2, 7, 1)):
    torch.manual_seed(0)
    made = [make(h).double() for h in widths]
    for network in made:
        for module in network.modules():
            if isinstance(module, lamp.Dropout):
                module.seeds()
    return made


@pytest.mark.parametrize("name", FORMS)
def test_each_network_trains_as_alone(name):
    check(networks(FORMS[name]), "eager", tolerance=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_with_clipping_and_weight_decay(name):
    check(
        networks(FORMS[name], (3, 5)),
        "eager",
        lambda parameters: lamp.SGD(parameters, lr=0.1, momentum=0.5, weight_decay=0.1),
        clip_norm=0.2,
        batch_size=10,
    )


@pytest.mark.parametrize("name", FORMS)
def test_the_compiled_engine_trains_rows_and_says_why_not_others(name):
    made = networks(FORMS[name])
    if name in COMPILED:
        check(made, "compiled")
        return
    population = lamp.stack(made)
    optimizer = lamp.SGD(population.parameters(), lr=0.1)
    history = lamp.fit(population, TASK.make(), optimizer, TASK.data(), epochs=1, progress=False)
    assert history.engine == "eager"
    with pytest.raises(lamp.ArgumentError, match="compiled engine cannot") as error:
        lamp.fit(population, TASK.make(), optimizer, TASK.data(), epochs=1, progress=False, engine="compiled")
    assert "networks of several sizes are compiled only" in error.value.got or "is not compiled" in error.value.got


def test_replicas_come_out_as_they_went_in():
    made = networks(FORMS["parallel"])
    population = lamp.stack(made)
    x = torch.randn(5, 3).double()
    for k, network in enumerate(made):
        assert repr(population[k]) == repr(network)
        torch.testing.assert_close(population[k].state_dict(), network.state_dict())
        torch.testing.assert_close(population(x)[k], network(x))
    some = population.select([2, 0])
    torch.testing.assert_close(some(x), population(x)[[2, 0]])
    copied = copy.deepcopy(population)
    torch.testing.assert_close(copied(x), population(x))


def block(drawn, kinds, width, inner):
    """A branch of these widths, its kind the next one of `kinds`."""
    activation = [lamp.Sigmoid, lamp.Tanh, lamp.GELU, lamp.LeakyReLU][next(kinds) % 4]
    tail = [lamp.Identity(), lamp.Dropout(0.2), lamp.PReLU(inner) if inner > 1 else lamp.Identity(), activation()]
    body = lamp.Sequential(lamp.Linear(width, inner), activation(), tail[next(kinds) % 4], lamp.Linear(inner, width))
    kind = next(kinds) % 4
    if kind == 0:
        return lamp.Residual(*body)
    if kind == 1:
        return lamp.Parallel(body, lamp.Linear(width, width), lamp.Identity())
    if kind == 2:
        return Gated(body, lamp.Sequential(lamp.Linear(width, width), lamp.Sigmoid()))
    return body


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    kinds=st.lists(st.integers(0, 3), min_size=9, max_size=9),
    widths=st.lists(st.tuples(st.integers(2, 9), st.integers(2, 6)), min_size=2, max_size=5),
    batch=st.integers(1, 36),
)
def test_branches_of_any_widths(kinds, widths, batch):
    def make(width, inner):
        given = iter(kinds)
        blocks = [block(lamp, given, width, inner) for _ in range(3)]
        return lamp.Sequential(lamp.Linear(3, width), lamp.Sigmoid(), *blocks, lamp.Linear(width, OUT))

    made = networks(lambda pair: make(*pair), widths)
    check(made, "eager", lamp.Adam, tolerance=1e-8, batch_size=batch, epochs=2)


# ---- what does not fit -----------------------------------------------------------------------------------------------
class Scaled(lamp.Container):
    """A factor that goes with its width."""

    def __init__(self, width):
        self.linear, self.factor = lamp.Linear(width, width), width**-0.5

    def forward(self, x):
        return self.linear(x)

    def trace(self, tracer, x):
        return tracer(self.linear, x)

    def backward(self, dy):
        return self.linear.backward(dy)


class Logarithm(lamp.Activation):
    remembers = "x"

    def sigma(self, x):
        return x.log()

    def dsigma(self, x, y):
        return x.reciprocal()


class Root(lamp.Activation):
    remembers = "y"

    def sigma(self, x):
        return x.sqrt()

    def dsigma(self, x, y):
        return y.reciprocal() * 0.5


def around(*middle):
    """A network of a width with these modules on it."""
    return lambda h: lamp.Sequential(lamp.Linear(3, h), *[each(h) for each in middle], lamp.Linear(h, OUT))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (around(lambda h: lamp.Softmax(-1)), r"Softmax \(1: Softmax\(dim=-1\)\) needs one width"),
        (around(lambda h: lamp.Tanh(), lambda h: lamp.LogSoftmax(1)), r"Softmax \(2: LogSoftmax\(dim=1\)\)"),
        (around(lambda h: lamp.BatchNorm1d(h)), "BatchNorm"),
        (around(lambda h: lamp.Unflatten(1, (1, h)), lambda h: lamp.Flatten()), r"Reshape \(1: Unflatten"),
        (around(lambda h: Logarithm()), r"Elementwise \(1: Logarithm\(\)\)"),
        (around(lambda h: Root()), r"Elementwise \(1: Root\(\)\)"),
        (around(lambda h: Scaled(h)), "made differently"),
        (
            lambda h: lamp.Sequential(
                lamp.Parallel(lamp.Linear(3, h), lamp.Linear(3, 2), combine="concat"), lamp.Linear(h + 2, OUT)
            ),
            r"Concat \(0: Parallel\)",
        ),
        (lambda h: lamp.Sequential(lamp.Linear(3, h), lamp.Tanh()), "a width of the outputs"),
        (lambda h: lamp.Sequential(lamp.Linear(h, 4), lamp.Linear(4, OUT)), "a width of the inputs"),
    ],
)
def test_widths_that_must_be_the_same(make, told):
    with pytest.raises(lamp.ArgumentError, match="made differently") as error:
        lamp.stack([make(4), make(4), make(6)])
    assert "network 2 of 3" in str(error.value)
    assert lamp.stack([make(4), make(4)]).sizes is None
    with pytest.raises(lamp.ArgumentError, match=told):
        lamp.stack([make(4), make(6)])


def test_what_cannot_be_traced():
    class Untold(lamp.Module):
        def forward(self, x):
            self.remember(None)
            return x

        def backward(self, dy):
            self.recall()
            return dy

    with pytest.raises(
        lamp.ArgumentError, match=r"and this one has no graph\n.*\n.*Sequential\.1: Untold\(\): Untold does not say"
    ):
        lamp.stack([around(lambda h: Untold())(h) for h in (3, 4)])
    with pytest.raises(lamp.ArgumentError, match="without a Linear"):
        lamp.stack([lamp.PReLU(3), lamp.PReLU(4)])


def test_forms_and_groups():
    residual, parallel = FORMS["residual"], FORMS["parallel"]
    assert form(residual(3)) == form(residual(5)) != form(parallel(3))
    sigmoid = around(lambda h: lamp.Sigmoid())
    assert form(sigmoid(3)) != form(around(lambda h: lamp.Tanh())(3))
    assert form(shared(4)) != form(lamp.Sequential(*shared(4)[:3], lamp.Linear(4, 4), *shared(4)[4:]))
    made = [residual(3), parallel(3), residual(4), parallel(4)]
    assert together(made) == [[0], [1], [2], [3]]  # each has a kernel of its own, and none serves several widths
    assert together([residual(3), residual(4), residual(3)]) == [[0, 2], [1]]
    rows = [sigmoid(3), sigmoid(5), around(lambda h: lamp.Tanh())(3)]
    assert together(rows) == [[0, 1], [2]]
    normalised = FORMS["normalised, in a width that is the same"]
    assert together([normalised(3), normalised(5)]) == [[0], [1]]
    assert together([shared(3), shared(4)]) == [[0], [1]]
    found = lamp.fit_each(
        made,
        TASK.make(),
        lambda parameters: lamp.SGD(parameters, lr=0.1),
        [each.float() if each.is_floating_point() else each for each in TASK.data()],
        epochs=1,
        progress=False,
    )
    assert len(found) == 4
