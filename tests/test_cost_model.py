"""The estimates by which `engine="auto"` chooses: they grow with the work, and one job is always trained alike."""

from itertools import pairwise

import pytest

import lamp
from lamp.compiler.plan import plan_of
from lamp.training.cost_model import ADVANCE, DOUBT, LEAST_SAVED, Costs, costs
from tests.cases.attention import CausalTransformer


def of(*widths, batch=32, steps=100, replicas=None, optimizer=lamp.SGD):
    layers = [layer for a, b in pairwise(widths) for layer in (lamp.Linear(a, b), lamp.Tanh())]
    model = lamp.Sequential(*layers)
    return costs(plan_of(model), optimizer(model.parameters(), lr=0.1), batch, steps, replicas)


@pytest.mark.parametrize("more", [
    {"steps": 200}, {"batch": 64}, {"replicas": 2}, {"optimizer": lamp.Adam},
], ids=str)  # fmt: skip
def test_more_work_takes_longer(more):
    less, longer = of(4, 8, 2), of(4, 8, 2, **more)
    assert longer.eager > less.eager
    assert longer.compiled > less.compiled


def test_time_is_proportional_to_steps():
    once, ten_times = of(4, 8, 2, steps=7), of(4, 8, 2, steps=70)
    assert ten_times.eager == pytest.approx(10 * once.eager)
    assert ten_times.compiled == pytest.approx(10 * once.compiled)
    assert ten_times.compiling == once.compiling


def test_deeper_networks_take_longer_to_compile():
    assert of(4, 8, 8, 8, 2).compiling > of(4, 8, 2).compiling


def test_small_networks_gain_most():
    small, large = of(4, 8, 2), of(800, 1000, 800, batch=1000)
    assert small.eager > 5 * small.compiled
    assert 0.5 < large.eager / large.compiled < 2


def test_few_samples_of_images_take_as_long_as_a_vector_of_them():
    model = lamp.Sequential(lamp.Conv2d(3, 8, 3), lamp.Flatten(), lamp.Linear(8 * 36, 2))
    plan, optimizer = plan_of(model, shapes=((3, 8, 8),)), lamp.SGD(model.parameters(), lr=0.1)
    one, few, many = (costs(plan, optimizer, batch, 100, None) for batch in (1, 16, 32))
    assert one.compiled == few.compiled < many.compiled
    assert one.eager < few.eager


@pytest.mark.parametrize(("eager", "compiled", "compiling", "worth"), [
    (0.99 * LEAST_SAVED / (1.0 + DOUBT), 0.0, 0.0, False),
    (1.01 * LEAST_SAVED / (1.0 + DOUBT), 0.0, 0.0, True),
    (0.14, 0.13, 0.0, False),
    (0.14, 0.12, 0.0, True),  # it takes as long as the eager engine, loading included, or less
    (0.5, 0.49, 0.0, True),
    (1.0, 1.1, 0.0, False),
    (0.2, 0.1, ADVANCE, True),  # behind by less than ADVANCE the first time
    (0.2, 0.1, ADVANCE + 0.2, False),
    (2.0, 1.0, ADVANCE + 0.9, True),
])  # fmt: skip
def test_compiling_must_save_time_soon(eager, compiled, compiling, worth):
    assert Costs(eager, compiled, compiling).is_worth_compiling is worth


def test_a_large_transformer_is_left_to_the_eager_engine():
    """Its products are large, and its values lie beyond the cache; a small one is compiled."""
    worth = []
    for sizes, batch in (((65, 2, 2, 32, 32), 16), ((65, 4, 4, 128, 64), 12)):
        model = CausalTransformer(*sizes)
        plan = plan_of(model, shapes=((sizes[-1],),))
        worth.append(costs(plan, lamp.Adam(model.parameters()), batch, 5_000, None).is_worth_compiling)
    assert worth == [True, False]
