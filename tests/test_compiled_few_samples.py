"""Single networks in batches of few samples, where lanes are units, train as with the eager engine."""

import copy
from itertools import pairwise

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.rules.few_inputs import INPUTS, FewInputs
from lamp.compiler.rules.few_samples import FewSamples
from lamp.compiler.tiling import FEW, LONG, MOST_SAMPLES, tiled
from tests.cases.compiled import WIDTHS, lanes, vectors
from tests.test_compiled_branches import same
from tests.test_compiled_products import seeded

MOST = max(lanes() // FEW, 1)  # samples
MOST_OF_LONG = min(MOST_SAMPLES, lanes() * 3 // 2)  # if sums across lanes are long


class Growing(lamp.Activation):
    """y = exp(x). What is in a lane without a sample would become infinite, if it went through this in each step."""

    def sigma(self, x):
        return x.exp()

    def dsigma(self, x, y):
        return y * 1.0


ACTIVATIONS = (lamp.ReLU, lamp.Tanh, lamp.GELU, lamp.SiLU, lamp.Softplus, lamp.Identity)


def row(*widths, activation=lamp.Tanh, bias=True, last=()):
    hidden = [layer for a, b in pairwise(widths[:-1]) for layer in (lamp.Linear(a, b, bias), activation())]
    return lamp.Sequential(*hidden, lamp.Linear(widths[-2], widths[-1], bias), *last).double()


@pytest.fixture
def used(monkeypatch):
    """The rules of the kernels that were made."""
    found = []

    def noted(spec: KernelSpec, machine):
        found.append(list(tiled(spec, machine).heads.values()))
        return tiled(spec, machine)

    monkeypatch.setenv("LAMP_CACHE_DIR", "off")
    monkeypatch.setattr("lamp.compiler.kernel.tiled", noted)
    lamp.compiler.kernel.forget()
    yield found
    lamp.compiler.kernel.forget()


@hypothesis.settings(deadline=None, max_examples=12)
@hypothesis.given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    batch=st.integers(1, MOST_OF_LONG),
    rest=st.integers(0, MOST_OF_LONG),
    bits=st.sampled_from(WIDTHS),
)
def test_rows_drawn_at_random(widths, activation, bias, batch, rest, bits):
    samples = 4 * batch + rest % batch  # the last batch may be smaller
    with vectors(bits):
        same(seeded(lambda: row(*widths, activation=activation, bias=bias)), None, batch=batch, samples=samples)


@hypothesis.settings(deadline=None, max_examples=12)
@hypothesis.given(
    narrow=st.lists(st.integers(1, INPUTS), min_size=2, max_size=2),
    wide=st.lists(st.integers(lanes(), 5 * lanes()), min_size=2, max_size=2),
    activation=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    batch=st.integers(1, MOST_OF_LONG),
    rest=st.integers(0, MOST_OF_LONG),
    bits=st.sampled_from(WIDTHS),
)
def test_few_inputs_and_many_outputs(narrow, wide, activation, bias, batch, rest, bits):
    """Beside one wide layer, which has long sums."""
    widths = narrow[0], wide[0], narrow[1], wide[1], 40, 2
    samples = 4 * batch + rest % batch
    with vectors(bits):
        same(seeded(lambda: row(*widths, activation=activation, bias=bias)), None, batch=batch, samples=samples)


@pytest.mark.parametrize("optimizer", [lamp.SGD, lamp.AdamW])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_lanes_without_samples_do_no_harm(batch, optimizer):
    def network():
        return row(5, 9, 4, activation=lamp.Sigmoid, last=(Growing(),))

    same(seeded(network), None, batch=batch, samples=61, optimizer=optimizer)


def test_two_layers_with_one_weight():
    def shared():
        middle = lamp.Linear(12, 12)
        modules = lamp.Linear(20, 12), lamp.Tanh(), middle, lamp.Tanh(), middle, lamp.GELU(), lamp.Linear(12, 3)
        return lamp.Sequential(*modules).double()

    same(seeded(shared), None, batch=1, samples=9)


@pytest.mark.parametrize("inputs", [1, 2])
def test_two_layers_of_few_inputs_with_one_weight(inputs):
    def shared():
        many = lamp.Linear(inputs, 4 * lanes() + 1)
        back = [lamp.Linear(4 * lanes() + 1, inputs) for _ in range(2)]
        modules = lamp.Linear(20, inputs), many, lamp.Tanh(), back[0], many, lamp.GELU(), back[1]
        return lamp.Sequential(*modules).double()

    same(seeded(shared), None, batch=1, samples=9)


@pytest.mark.parametrize("bits", ["128", "256"])
@pytest.mark.parametrize("batch", [1, 2, 3, 6])
@pytest.mark.parametrize("widths", [(21, 13, 5), (2, 13, 3, 9, 50, 2)])
def test_in_narrower_vectors(widths, bits, batch, monkeypatch):
    monkeypatch.setenv("LAMP_VECTOR_BITS", bits)
    same(seeded(lambda: row(*widths, activation=lamp.SiLU)), None, batch=batch, samples=7)


def test_with_outputs_kept_validation_and_clipping():
    options = {"metrics": {"f1": lamp.metrics.F1(average="macro")}, "clip_norm": 0.1, "validation": 0.3}
    same(seeded(lambda: row(21, 13, 5)), None, batch=1, samples=17, **options)


BRANCHED = lambda: lamp.Sequential(lamp.Linear(20, 20), lamp.Residual(lamp.Linear(20, 20)))  # noqa: E731


@pytest.mark.parametrize(("network", "batch", "few"), [
    (lambda: row(20, 30, 3), 1, True),
    (lambda: row(20, 30, 3), MOST, True),
    (lambda: row(20, 30, 3), MOST_OF_LONG, True),
    (lambda: row(20, 30, 3), MOST_OF_LONG + 1, False),
    (lambda: row(2, 30, LONG, 3), MOST_OF_LONG, True),
    (lambda: row(LONG - 1, LONG - 1, 3), MOST + 1, False),
    (lambda: row(20, 30, 3, activation=lamp.PReLU), 1, False),
    (lambda: row(20, 30, 3, last=(lamp.Softmax(-1), lamp.Linear(3, 3))), 1, False),
    (lambda: BRANCHED().double(), 1, False),
])  # fmt: skip
def test_which_kernels_have_units_as_lanes(network, batch, few, used):
    same(seeded(network), None, batch=batch, samples=4 * batch)
    assert any(used) is few
    for rules in used if few else ():
        assert {type(rule) for rule in rules} <= {FewSamples, FewInputs}


def test_which_layers_have_few_inputs(used):
    wide = lanes()
    same(seeded(lambda: row(1, wide, INPUTS, wide, 3)), None, batch=1, samples=4)
    assert [type(rule) for rule in used[0]] == [FewInputs, FewSamples, FewInputs, FewSamples]
    used.clear()
    same(seeded(lambda: row(INPUTS + 1, wide, 2, wide - 1, 2, wide)), None, batch=1, samples=4)
    assert {type(rule) for rule in used[0]} == {FewSamples}


def test_in_float32():
    torch.manual_seed(0)
    x, y = torch.randn(40, 30), torch.randint(3, (40,))
    trained = []
    for engine in ("eager", "compiled"):
        torch.manual_seed(1)
        model = row(30, 50, 20, 3, activation=lamp.GELU).float()
        optimizer = lamp.SGD(model.parameters(), lr=0.1, momentum=0.9)
        lamp.fit(model, lamp.CrossEntropyLoss(), optimizer, (x, y), epochs=3, batch_size=3, engine=engine, seed=2)
        trained.append(torch.cat([each.data.flatten() for each in model.parameters()]))
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-5)


PLACED = {
    "flattened": lambda: [lamp.Linear(4, 5), lamp.Flatten(), lamp.Linear(15, 2)],
    "flattened after a formula": lambda: [lamp.Linear(4, 5), lamp.Tanh(), lamp.Flatten(), lamp.Linear(15, 2)],
    "two of places": lambda: [
        lamp.Linear(4, 2),
        lamp.GELU(),
        lamp.Linear(2, 3),
        lamp.Flatten(),
        lamp.Linear(9, 2),
    ],
    "given to places": lambda: [lamp.Flatten(), lamp.Linear(12, 8), lamp.Unflatten(1, (4, 2)), lamp.Linear(2, 2)],
    "places alone": lambda: [lamp.Linear(4, 3), lamp.Tanh(), lamp.Linear(3, 2)],
}


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("batch", range(1, MOST_OF_LONG + 1))
@pytest.mark.parametrize("name", PLACED)
def test_maps_of_each_place_of_a_sequence(name, batch, replicas):
    """Such a map has more inputs per sample than its weight has columns."""
    torch.manual_seed(0)
    alone = lamp.Sequential(*PLACED[name]()).double()
    x = torch.randn(2 * batch, 3, 4, dtype=torch.float64)
    y = torch.randn_like(alone(x))
    found = {}
    for engine in ("eager", "compiled"):
        model = copy.deepcopy(alone) if replicas is None else lamp.stack([alone] * replicas)
        optimizer = lamp.SGD(model.parameters(), lr=0.1)
        history = lamp.fit(model, lamp.MSELoss(), optimizer, (x, y), batch_size=batch, epochs=2, seed=0, engine=engine,
                           progress=False)  # fmt: skip
        found[engine] = [history["loss"], *model.state_dict().values()]
    for one, other in zip(found["eager"], found["compiled"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
