"""Networks with branches compile, and train as with the eager engine."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler.plan import plan_of
from tests.cases.compiled import WIDTHS, lanes, vectors
from tests.cases.graphs import Added, Gated, Joined, Residual, drawn

EPOCHS = 3


def trained(engine, network, count, *, labels=True, batch=7, samples=23, optimizer=lamp.Adam, **options):
    generator = torch.Generator().manual_seed(5)
    model = network() if count is None else lamp.population(network(), range(count))
    features = next(module.in_features for module in model.modules() if isinstance(module, lamp.Linear))
    outputs = [module.out_features for module in model.modules() if isinstance(module, lamp.Linear)][-1]
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    y = torch.randint(outputs, (samples,), generator=generator)
    criterion = lamp.CrossEntropyLoss() if labels and outputs > 1 else lamp.MSELoss()
    target = y if labels and outputs > 1 else torch.randn(samples, outputs, generator=generator, dtype=torch.float64)
    torch.manual_seed(3)  # Dropout's seeds
    history = lamp.fit(
        model,
        criterion,
        optimizer(model.parameters(), lr=0.01),
        (x, target),
        epochs=EPOCHS,
        batch_size=batch,
        seed=1,
        engine=engine,
        progress=False,
        **options,
    )
    assert history.engine == engine
    return model, history


def same(network, count, tolerance=1e-9, **options):
    (one, eager), (other, compiled) = (trained(engine, network, count, **options) for engine in ("eager", "compiled"))
    assert torch.allclose(eager["loss"], compiled["loss"], rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine.data, theirs.data, rtol=tolerance, atol=tolerance)
    return one


BRANCHES = {
    "residual": lambda: lamp.Sequential(lamp.Linear(3, 5), Residual(lamp.Linear(5, 5)), lamp.Linear(5, 2)),
    "residual with activations": lambda: lamp.Sequential(
        lamp.Linear(3, 5),
        lamp.Tanh(),
        Residual(lamp.Sequential(lamp.Linear(5, 9), lamp.GELU(), lamp.Linear(9, 5), lamp.Tanh())),
        lamp.ReLU(),
        lamp.Linear(5, 2),
    ),
    "the input used twice": lambda: lamp.Sequential(
        Joined(lamp.Linear(3, 4), lamp.Identity(), lamp.Tanh()), lamp.Linear(10, 2)
    ),
    "the input in a residual": lambda: lamp.Sequential(Residual(lamp.Linear(3, 3)), lamp.Linear(3, 2)),
    "a residual at the end": lambda: lamp.Sequential(lamp.Linear(3, 4), Residual(lamp.Linear(4, 4))),
    "twice the same": lambda: lamp.Sequential(
        lamp.Linear(3, 4), Added(lamp.Identity(), lamp.Identity()), lamp.Linear(4, 2)
    ),
    "a square": lambda: lamp.Sequential(lamp.Linear(3, 4), Gated(lamp.Identity(), lamp.Identity()), lamp.Linear(4, 2)),
    "a gate": lambda: lamp.Sequential(
        Gated(lamp.Linear(3, 4), lamp.Sequential(lamp.Linear(3, 4), lamp.Sigmoid())), lamp.Linear(4, 2)
    ),
    "softmax between": lambda: lamp.Sequential(lamp.Linear(3, 4), lamp.Softmax(-1), lamp.Linear(4, 2)),
    "softmax, then more": lambda: lamp.Sequential(
        lamp.Linear(3, 4), lamp.LogSoftmax(1), lamp.Tanh(), lamp.Linear(4, 2)
    ),
    "slopes before the first layer": lambda: lamp.Sequential(lamp.PReLU(3), lamp.Linear(3, 2)),
    "one slope for all": lambda: lamp.Sequential(lamp.Linear(3, 4), lamp.Softmax(-1), lamp.PReLU(), lamp.Linear(4, 2)),
    "dropout on a branch": lambda: lamp.Sequential(
        lamp.Linear(3, 5), Residual(lamp.Sequential(lamp.Linear(5, 5), lamp.Dropout(0.4))), lamp.Linear(5, 2)
    ),
    "flattened on the way": lambda: lamp.Sequential(
        lamp.Linear(3, 6), lamp.Unflatten(1, (2, 3)), lamp.Tanh(), lamp.Flatten(), lamp.Linear(6, 2)
    ),
}


def shared():
    layer = lamp.Linear(4, 4)
    return lamp.Sequential(lamp.Linear(3, 4), layer, lamp.Tanh(), Residual(layer), layer, lamp.Linear(4, 2))


BRANCHES["shared weights"] = shared


@pytest.mark.parametrize("count", [None, 1, 2, 17])
@pytest.mark.parametrize("name", BRANCHES)
def test_as_the_eager_engine(name, count):
    torch.manual_seed(0)
    network = lamp.Sequential(BRANCHES[name]()).double()
    state = {key: value.clone() for key, value in network.state_dict().items()}

    def again():
        model = lamp.Sequential(BRANCHES[name]()).double()
        model.load_state_dict(state)
        return model

    trained_one = same(again, count)
    before = again().state_dict() if count is None else None
    if before is not None:
        assert any(not torch.equal(value, before[key]) for key, value in trained_one.state_dict().items())


@hypothesis.settings(max_examples=20)
@hypothesis.given(
    seed=st.integers(0, 10**6),
    inputs=st.integers(1, 7),
    outputs=st.integers(1, 5),
    count=st.sampled_from([None, 1, 2, 17]),
    batch=st.integers(1, 24),
    validated=st.booleans(),
    bits=st.sampled_from(WIDTHS),
)
def test_graphs_drawn_at_random(seed, inputs, outputs, count, batch, validated, bits):
    generator = torch.Generator().manual_seed(seed + 1)
    held_out = {}
    if validated:
        x = torch.randn(11, inputs, generator=generator, dtype=torch.float64)
        y = torch.randn(11, outputs, generator=generator, dtype=torch.float64)
        held_out = {"validation": (x, y)}
    with vectors(bits):
        same(lambda: drawn(seed, inputs, outputs), count, labels=False, batch=batch, **held_out)


@pytest.mark.parametrize("bits", ["128", "256"])
def test_in_narrower_vectors(bits, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", bits)
    for seed in (1, 2, 3):
        same(lambda seed=seed: drawn(seed, 4, 3), 3)


def test_a_plan_prints():
    torch.manual_seed(0)
    plan = plan_of(BRANCHES["residual with activations"]())
    stages = [
        "s0 = Input()  (3)",
        "s1 = Affine(s0, weight at 0, bias at 15) | Tanh()  (5), 15 multiplications",
        "s2 = Affine(s1, weight at 20, bias at 65) | GELU(approximate='none')  (9), 45 multiplications",
        "s3 = Affine(s2, weight at 74, bias at 119) | Tanh()  (5), 45 multiplications",
        "s4 = Add(s1, s3) | ReLU()  (5)",
        "s5 = Affine(s4, weight at 124, bias at 134)  (2), 10 multiplications",
    ]
    places = [
        "; values at 0",
        "; values at -, 3; gradients at 21",
        "; values at 8, 17; gradients at 12",
        "; values at -, 26; gradients at 7",
        "; values at -, 31; gradients at 2",
        "; values at 36; gradients at 0",
    ]
    assert str(plan.without_offsets()).splitlines() == stages
    assert str(plan).splitlines() == [stage + place for stage, place in zip(stages, places, strict=True)]


def test_outputs_that_backward_does_not_read_take_the_place_of_earlier_ones():
    def block():
        return lamp.Residual(lamp.Sequential(lamp.Linear(6, 6), lamp.Tanh(), lamp.Linear(6, 6)))

    def network():
        torch.manual_seed(0)
        return lamp.Sequential(lamp.Linear(3, 6), block(), block(), block(), lamp.Linear(6, 2)).double()

    plan = plan_of(network())
    # inputs, the first layer; per block a tanh and a sum, whose values backward reads; outputs. The second layers of
    # the three bodies, which only the sums read, need one more place.
    assert plan.activation_count == 3 + 6 * (1 + 3 * 2 + 1) + 2
    for count in (None, 17):
        same(network, count)


def test_every_pass_prints():
    model = lamp.Sequential(lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))
    passes = lamp.compile(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), 32).passes
    graph, stages, places, tiling = passes.split("\n\n")
    assert graph == str(lamp.trace(model, (32, 3)))
    assert stages.splitlines()[1] == "s1 = Affine(s0, weight at 0, bias at 12) | Tanh()  (4), 12 multiplications"
    assert places.splitlines()[1] == stages.splitlines()[1] + "; values at -, 3; gradients at 2"
    width = lanes(torch.float32)
    assert tiling.splitlines()[0] == f"{width} lanes, each a sample of one network"
    assert tiling.splitlines()[-1] == "segment: s1, s2 in blocks"
    population = lamp.population(model, range(width))
    passes = lamp.compile(population, lamp.MSELoss(), lamp.SGD(population.parameters(), lr=0.1), 32).passes
    assert f"{width} lanes, each a network" in passes.splitlines()


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda: lamp.Sequential(lamp.Linear(6, 4), lamp.Softmax(0)), "axis of the batch"),
    ],
)
def test_what_is_not_compiled_is_told(network, reason):
    model = network()
    data = torch.randn(8, 6), torch.randn(8, 4)
    with (
        pytest.warns(lamp.TrainingWarning, match="along the first axis"),
        pytest.raises(lamp.ArgumentError, match="compiled engine cannot") as error,
    ):
        lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), data, epochs=1, engine="compiled")
    assert reason in error.value.got


def test_what_does_not_fit_gets_the_eager_engines_error():
    model = lamp.Sequential(lamp.Linear(5, 4))
    data = torch.randn(8, 6), torch.randn(8, 4)
    for engine in ("eager", "compiled"):
        with pytest.raises(lamp.ShapeError, match="wrong number of features"):
            lamp.fit(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), data, epochs=1, engine=engine)
