"""Networks with different widths of hidden layers train as one population, each as it would alone."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lamp
from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.plan import NotCompiled, plan_of  # type: ignore[attr-defined]
from lamp.errors import ArgumentError
from tests.cases import modules, optimizers
from tests.cases.compiled import lanes, task

TASK, PLAIN = task("CrossEntropyLoss"), task("HuberLoss(delta=0.4")
WIDTHS = [(5, 7), (1, 4), (6, 2), (5, 7), (3, 3), (2, 9), (8, 1), (4, 6), (7, 5), (1, 1), (9, 8)]
ENGINES = ["eager", "compiled"]
ACTIVATIONS = [case for case in modules.ACTIVATIONS if case.shape]
ROUNDING = 1e-11


def mlp(hidden, *, activation=lamp.Tanh, outputs=TASK.outputs, bias=True, dropout=None, dtype=torch.float64):
    layers = []
    for fan_in, fan_out in pairwise([3, *hidden, outputs]):
        layers += [lamp.Linear(fan_in, fan_out, bias), activation()]
        layers += [] if dropout is None else [lamp.Dropout(dropout)]
    made = lamp.Sequential(*layers[: -1 if dropout is None else -2]).to(dtype)
    made.reset_parameters(generator=torch.Generator().manual_seed(sum(hidden)))
    return made


def sgd(parameters):
    return lamp.SGD(parameters, lr=0.1)


def check(networks, engine, optimizer=sgd, of_task=TASK, tolerance=ROUNDING, **arguments):
    """Train the networks together, and each alone by the eager engine; returns the population."""
    arguments = dict(epochs=3, batch_size=7, progress=False, seed=4) | arguments
    dtype = networks[0].parameters()[0].dtype
    data = of_task.data(dtype=dtype)
    population = lamp.stack(networks)
    history = lamp.fit(
        population, of_task.make().to(dtype), optimizer(population.parameters()), data, engine=engine, **arguments
    )
    assert history.engine == engine
    for k, network in enumerate(networks):
        own = dict(arguments)
        if isinstance(own["seed"], list):
            own["seed"] = own["seed"][k]
        alone = copy.deepcopy(network)
        of_one = lamp.fit(alone, of_task.make().to(dtype), optimizer(alone.parameters()), data, engine="eager", **own)
        for name, expected in alone.state_dict().items():
            found = population[k].state_dict()[name]
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, msg=f"{name} of {k}")
        torch.testing.assert_close(history.of(k)["loss"], of_one["loss"], rtol=tolerance, atol=tolerance)
    assert_what_is_not_there_stays_zero(population)
    return population


def assert_what_is_not_there_stays_zero(population):
    for k in range(len(population)):
        for own, of_all in zip(population[k].parameters(), population.parameters(), strict=True):
            there = torch.zeros_like(of_all.data[k], dtype=torch.bool)
            there[tuple(slice(n) for n in own.shape)] = True
            assert (of_all.data[k][~there] == 0).all()


# ---- each as alone ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", ACTIVATIONS, ids=str)
def test_activations(case, engine):
    """For some activations a missing unit would have an output or a derivative other than 0."""
    check([mlp(hidden[:1], activation=case.make) for hidden in WIDTHS[:5]], engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "case",
    [case for case in optimizers.OPTIMIZERS if not case.groups and getattr(lamp, case.kind).elementwise],
    ids=str,
)
def test_optimizers(case, engine):
    """Parameters of missing units never change, whatever the rule."""
    forgets = case.options.get("alpha") == 0.0 or case.options.get("betas") == (0.0, 0.0)
    check(
        [mlp(hidden[:1], activation=lamp.Sigmoid) for hidden in WIDTHS[:4]],
        engine,
        case.make,
        tolerance=1e-6 if forgets else 1e-9,  # as in tests/test_compiled.py: such rules enlarge what rounding leaves
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "networks",
    [
        [mlp(hidden, activation=lamp.Softplus) for hidden in WIDTHS],
        [mlp(hidden, bias=False) for hidden in WIDTHS[:3]],
        [mlp(hidden, dropout=0.4) for hidden in WIDTHS[:4]],
        [mlp((*hidden, 3), activation=lamp.Sigmoid, dropout=0.2) for hidden in WIDTHS[:4]],
        [lamp.Sequential(lamp.Linear(3, h), lamp.PReLU(h), lamp.Linear(h, TASK.outputs)).double() for h in (2, 5, 3)],
        [
            lamp.Sequential(
                lamp.Sequential(lamp.Linear(3, h), lamp.GELU()), lamp.Identity(), lamp.Linear(h, TASK.outputs)
            ).double()
            for h in (4, 9, 2)
        ],
        [
            lamp.Sequential(lamp.Dropout(0.3), lamp.Linear(3, h), lamp.Linear(h, TASK.outputs)).double()
            for h in (4, 9, 2)
        ],
    ],
    ids=["two layers", "no bias", "dropout", "three layers", "slopes", "nested", "dropout before"],
)
def test_networks(networks, engine):
    for network in networks:
        for module in network.modules():
            if isinstance(module, lamp.Dropout):
                module.seeds()
    check(networks, engine)
    check(networks, engine, seed=list(range(len(networks))), batch_size=10)


@pytest.mark.parametrize("engine", ENGINES)
def test_clipping_schedules_and_validation(engine):
    networks = [mlp(hidden) for hidden in WIDTHS[:5]]
    check(networks, engine, clip_norm=0.3, clip_value=0.2, validation=TASK.data(samples=11), metrics=[lamp.accuracy])


@pytest.mark.parametrize("engine", ENGINES)
def test_single_precision(engine):
    networks = [mlp(hidden, dtype=torch.float32) for hidden in WIDTHS]
    check(networks, engine, tolerance=1e-5)


@pytest.mark.parametrize("bits", [128, 256])
def test_narrower_vectors(bits, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", str(bits))
    assert lanes() == bits // 64
    check([mlp(hidden, activation=lamp.Sigmoid) for hidden in WIDTHS], "compiled")


@settings(max_examples=12, deadline=None)
@given(
    widths=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 13)), min_size=2, max_size=19),
    batch=st.integers(1, 36),
    sigmoid=st.booleans(),
)
def test_any_widths(widths, batch, sigmoid):
    activation = lamp.Sigmoid if sigmoid else lamp.LeakyReLU
    networks = [mlp(hidden, activation=activation) for hidden in widths]
    check(networks, "compiled", batch_size=batch, epochs=2)


@pytest.mark.parametrize("engine", ENGINES)
def test_each_stops_for_itself(engine):
    networks = [mlp(hidden) for hidden in WIDTHS[:6]]
    lrs = torch.tensor([0.001, 0.5, 3.0, 0.2, 1.0, 0.05], dtype=torch.float64)
    population = lamp.stack(networks)
    arguments = dict(epochs=30, seed=1, progress=False, validation=TASK.data(samples=12), batch_size=8)
    history = lamp.fit(
        population,
        TASK.make(),
        lamp.SGD(population.parameters(), lr=lrs),
        TASK.data(),
        engine=engine,
        callbacks=[lamp.EarlyStopping(2)],
        **arguments,
    )
    lengths = set()
    for k, network in enumerate(networks):
        of_one = lamp.fit(
            network,
            TASK.make(),
            lamp.SGD(network.parameters(), lr=lrs[k].item()),
            TASK.data(),
            engine="eager",
            callbacks=[lamp.EarlyStopping(2)],
            **arguments,
        )
        lengths.add(of_one.epochs)
        assert history.of(k).epochs == of_one.epochs
        for own, alone in zip(population[k].parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(own.data, alone.data, rtol=1e-9, atol=1e-9)
    assert len(lengths) > 2


@pytest.mark.parametrize("engine", ENGINES)
def test_one_that_fails_leaves_the_others_alone(engine):
    networks = [mlp(hidden) for hidden in WIDTHS[:4]]
    networks[1][2].weight.data[0, 0] = torch.inf
    population = lamp.stack(networks)
    with pytest.warns(lamp.NonFiniteWarning, match="1 of 4"):
        history = lamp.fit(
            population, TASK.make(), sgd(population.parameters()), TASK.data(), epochs=3, seed=4, progress=False,
            engine=engine,
        )  # fmt: skip
    assert history.failed == [1]
    for k in (0, 2, 3):
        lamp.fit(networks[k], TASK.make(), sgd(networks[k].parameters()), TASK.data(), epochs=3, seed=4, progress=False)
        for own, alone in zip(population[k].parameters(), networks[k].parameters(), strict=True):
            torch.testing.assert_close(own.data, alone.data, rtol=1e-10, atol=1e-10)


# ---- as a population -------------------------------------------------------------------------------------------------
def test_each_is_what_it_was():
    networks = [mlp(hidden) for hidden in WIDTHS]
    population = lamp.stack(networks)
    x = torch.randn(13, 3, dtype=torch.float64)
    together = population(x)
    for k, network in enumerate(networks):
        assert repr(population[k]) == repr(network)
        torch.testing.assert_close(together[k], network(x))
        torch.testing.assert_close(population[k](x), network(x))


def test_the_gradient_of_the_input():
    networks = [mlp(hidden, activation=lamp.Sigmoid) for hidden in WIDTHS[:3]]
    population = lamp.stack(networks)
    x, dy = torch.randn(3, 13, 3, dtype=torch.float64), torch.randn(3, 13, TASK.outputs, dtype=torch.float64)
    population(population.per_replica(x))
    dx = population.backward(dy)
    for k, network in enumerate(networks):
        network(x[k])
        torch.testing.assert_close(dx[k], network.backward(dy[k]))


def test_select_copy_and_reset():
    networks = [mlp(hidden) for hidden in WIDTHS[:5]]
    population = lamp.stack(networks)
    some = population.select([4, 0, 3])
    assert [repr(each) for each in some] == [repr(networks[k]) for k in (4, 0, 3)]
    some.copy_(1, 2)  # both are 5, 7
    torch.testing.assert_close(some[1].state_dict(), networks[3].state_dict())
    with pytest.raises(ArgumentError, match="of the same widths"):
        some.copy_(0, 1)
    population.reset_parameters(generator=torch.Generator().manual_seed(1))
    assert not torch.equal(population[1][0].weight.data, networks[1][0].weight.data)
    assert_what_is_not_there_stays_zero(population)


def test_a_loss_at_the_end():
    networks = [lamp.Sequential(*mlp((h,)).children(), TASK.make()) for h in (4, 2, 7)]
    population = lamp.stack(networks)
    history = lamp.fit(population, None, sgd(population.parameters()), TASK.data(), epochs=2, seed=0, progress=False)
    for k, network in enumerate(networks):
        alone = lamp.fit(network, None, sgd(network.parameters()), TASK.data(), epochs=2, seed=0, progress=False)
        torch.testing.assert_close(history.of(k)["loss"], alone["loss"])
    assert [repr(each) for each in population.body] == [repr(network.body) for network in networks]


def test_alike_are_next_to_each_other():
    """Groups of lanes hold networks of similar sizes, whatever order they were given in."""
    drawn = torch.Generator().manual_seed(0)
    networks = [mlp((h,)) for h in torch.randperm(64, generator=drawn).add(1).tolist()]
    population = lamp.stack(networks)
    (kernel_state,) = KernelRunner(
        population, TASK.make(), sgd(population.parameters()), batches=[7], labels=True
    ).kernel_states
    width = kernel_state.width
    of_groups = kernel_state.sizes[:, 0, 0].tolist()
    assert sorted(of_groups) == list(range(width, 65, width))
    assert sum(of_groups) * width < 1.15 * sum(range(65)) + width * width


def test_one_kernel_serves_all_widths():
    kernels = []
    for widths in ((3, 8, 5), (2, 30, 41), (1, 1, 2)):
        population = lamp.stack([mlp((h, h + 1)) for h in widths])
        runner = KernelRunner(population, TASK.make(), sgd(population.parameters()), batches=[7], labels=True)
        kernels.append(runner.kernel_states[0].kernel.machine_code)
    assert kernels[0] is kernels[1]
    assert kernels[1] is kernels[2]


# ---- what does not fit -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: mlp((4, 5)), "made differently"),
        (lambda: mlp((5,), activation=lamp.ReLU), "made differently"),
        (lambda: mlp((5,), outputs=TASK.outputs + 1), "made differently"),
        (lambda: mlp((5,), bias=False), "made differently"),
        (lambda: mlp((5,), dtype=torch.float32), "made differently"),
        (lambda: mlp((5,), dropout=0.5), "made differently"),
        (
            lambda: lamp.Sequential(lamp.Linear(3, 5), lamp.Softmax(-1), lamp.Linear(5, TASK.outputs)).double(),
            "Softmax",
        ),
    ],
)
def test_networks_that_are_made_differently(other, match):
    with pytest.raises(ArgumentError, match=match):
        lamp.stack([mlp((4,)), other()])


def test_several_groups_of_parameters_train_eagerly():
    population = lamp.stack([mlp((h,)) for h in (2, 5)])
    weights, biases = population.parameters()[::2], population.parameters()[1::2]
    optimizer = lamp.SGD([dict(params=weights, lr=0.1), dict(params=biases, lr=0.2)])
    with pytest.raises(NotCompiled, match="several groups"):
        KernelRunner(population, TASK.make(), optimizer, batches=[7], labels=True)
    assert plan_of(population).sizes.tolist() == [[2], [5]]


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("shared", [True, False])
def test_slopes_of_several_sizes_are_compiled(shared, bits, monkeypatch):
    if bits > lanes(torch.float32) * 32:
        pytest.skip(f"this CPU has no vectors of {bits} bits")
    monkeypatch.setenv("LAMP_VECTOR_BITS", str(bits))

    def network(width):
        slopes = [lamp.PReLU(1 if shared else each, 0.1 * each) for each in (width, width + 2)]
        layers = lamp.Linear(3, width), lamp.Linear(width, width + 2), lamp.Linear(width + 2, 4)
        return lamp.Sequential(layers[0], slopes[0], layers[1], slopes[1], layers[2])

    found = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(0)
        population = lamp.stack([network(width).double() for width in (3, 8, 5, 2)])
        optimizer = lamp.Adam(population.parameters(), lr=0.01)
        history = lamp.fit(
            population, TASK.make(), optimizer, TASK.data(), epochs=4, seed=1, engine=engine, progress=False
        )
        assert history.engine == engine
        found.append(population)
    for own, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(other.data, own.data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["Adafactor", "Muon"])
def test_rules_for_whole_parameters_are_refused(kind):
    """Their means over rows would count the zeros of missing units."""
    networks = lamp.stack([mlp(hidden[:1]) for hidden in WIDTHS[:4]])
    params = [each for each in networks.parameters() if each.dim() == 3]
    with pytest.raises(lamp.ArgumentError, match="several sizes"):
        getattr(lamp, kind)(params)
