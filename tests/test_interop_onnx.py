"""A network in ONNX computes in onnxruntime what its torch.nn twin computes; a wrong file is not written."""

from __future__ import annotations

import errno
import itertools
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import lamp
from lamp.interop import agreement
from lamp.interop import onnx as exporter
from lamp.interop.expressions import COMPOSED, Expression, in_order
from lamp.interop.onnx_rules import RULES
from tests.cases.graphs import Gated, Joined, Residual
from tests.cases.module_case import Case, error
from tests.cases.modules import ACTIVATIONS, LAYERS, MODULES
from tests.cases.sequences import CELLS, RECURRENT, STEPS_FIRST

PRECISIONS = [torch.float32, torch.float64]


def sample_shape(case: Case) -> tuple[int, ...]:
    """The shape of one sample: the case's without its first axis, where that is the batch."""
    return case.shape if case.shape == (3,) or not case.batched else case.shape[1:]


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, x):
    """What onnxruntime computes of a tensor."""
    session = session_of(path)
    (given,) = session.get_inputs()
    (y,) = session.run(None, {given.name: x.numpy()})
    return torch.from_numpy(np.asarray(y))


def operators(path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def classifier():
    return lamp.Sequential(
        lamp.Linear(4, 7), lamp.SELU(), lamp.Dropout(0.3), lamp.Linear(7, 3), lamp.CrossEntropyLoss()
    )


OF_THE_BATCH = ("Unflatten(0", "track_running_stats=False")  # they need one batch size, or its statistics
EXPORTED = [case for case in MODULES if case.batched and not any(name in case.name for name in OF_THE_BATCH)]
EXPORTED = [case for case in EXPORTED if case not in (*CELLS, *RECURRENT, *STEPS_FIRST)]
ELEMENTWISE = [
    case for case in ACTIVATIONS + [case for case in LAYERS if "Softmax" in case.name] if len(case.shape) == 2
]


def refusal(module, dtype):
    """What the export says of a module that onnxruntime cannot run; None if it can."""
    for part in module.modules():
        kind = type(part).__name__
        if dtype is torch.float64 and ("Conv" in kind or kind.startswith(("AvgPool", "LPPool"))):
            return r"(Conv|Pool)[^:]*: .* only in float32"
    return None


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_modules(case, dtype, tmp_path):
    module, twin = case.pair()
    module, twin = module.to(dtype), twin.to(dtype).eval()
    why = refusal(module, dtype)
    if why is not None:
        with pytest.raises(lamp.ArgumentError, match=why):
            lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=sample_shape(case), dtype=dtype)
        return
    path = lamp.to_onnx(module, tmp_path / "network.onnx", input_shape=sample_shape(case), dtype=dtype)
    assert os.listdir(tmp_path) == ["network.onnx"]
    for batch in (2, 9):
        x = case.input(dtype, (batch, *sample_shape(case)))
        y, expected = run(path, x), twin(x).detach()
        assert error(y, expected) < (1e-5 if dtype is torch.float32 else max(case.tolerance, 1e-12))
    made = onnx.load(path)
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 17)]
    assert made.ir_version == 8
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_operator_where_onnx_has_one(tmp_path):
    network = lamp.Sequential(
        lamp.Linear(4, 7), lamp.ReLU(), lamp.ELU(0.4), lamp.CELU(2.0), lamp.SELU(), lamp.LeakyReLU(0.2),
        lamp.Softsign(), lamp.Softplus(), lamp.Hardsigmoid(), lamp.Hardswish(), lamp.Hardtanh(), lamp.ReLU6(),
        lamp.Tanh(), lamp.Sigmoid(), lamp.PReLU(7), lamp.Softmax(-1), lamp.LogSoftmax(1),
    )  # fmt: skip
    path = lamp.to_onnx(network, tmp_path / "network.onnx")
    assert operators(path) == [
        "Gemm", "Relu", "Elu", "Celu", "Selu", "LeakyRelu", "Softsign", "Softplus", "HardSigmoid", "HardSwish", "Clip",
        "Clip", "Tanh", "Sigmoid", "PRelu", "Softmax", "LogSoftmax",
    ]  # fmt: skip
    names = {each.name for each in onnx.load(path).graph.initializer}
    assert {"0.weight", "0.bias", "14.weight"} <= names


def test_names_metadata_and_modes(tmp_path):
    network = classifier()
    path = lamp.to_onnx(network, tmp_path / "network.onnx", input_name="features", output_name="scores")
    made, session = onnx.load(path), session_of(path)
    assert [(each.name, each.shape) for each in session.get_inputs()] == [("features", ["batch", 4])]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [("scores", ["batch", 3])]
    assert made.producer_name == "lamp"
    assert {each.key: each.value for each in made.metadata_props} == {
        "lamp_version": lamp.__version__,
        "members": "1",
    }
    assert "SELU()" in made.doc_string
    assert network.training
    assert network[2].seed is None
    assert "Dropout" not in operators(path)


def test_a_training_in_progress_is_not_disturbed(tmp_path):
    network, criterion = classifier().body, lamp.MSELoss()
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    state = torch.get_rng_state()
    criterion(network(x), y)
    drawn = torch.get_rng_state()
    lamp.to_onnx(network, tmp_path / "network.onnx")
    assert torch.equal(drawn, torch.get_rng_state())
    network.backward(criterion.backward())
    between = [parameter.grad.clone() for parameter in network.parameters()]
    torch.set_rng_state(state)
    network[2].reset_parameters()
    network.zero_grad()
    criterion(network(x), y)
    network.backward(criterion.backward())
    assert all(torch.equal(one, other.grad) for one, other in zip(between, network.parameters(), strict=True))


def test_shared_parameters_are_held_once(tmp_path):
    one, other = lamp.Linear(4, 4), lamp.Linear(4, 4)
    other.weight = one.weight
    network = lamp.Sequential(one, lamp.Tanh(), other, one)
    path = lamp.to_onnx(network, tmp_path / "network.onnx")
    assert sorted(each.name for each in onnx.load(path).graph.initializer) == ["0.bias", "0.weight", "2.bias"]
    x = torch.randn(5, 4)
    assert error(run(path, x), network(x)) < 1e-6


# ---- many networks ---------------------------------------------------------------------------------------------
SHAPES = {
    "features": ((4,), lambda: [lamp.Linear(4, 7), lamp.PReLU(7), lamp.Linear(7, 3), lamp.PReLU()]),
    "more axes": ((5, 4), lambda: [lamp.Softmax(1), lamp.Linear(4, 7), lamp.PReLU(5), lamp.Linear(7, 3, bias=False)]),
    "flattened": ((2, 4), lambda: [lamp.Flatten(), lamp.Linear(8, 6), lamp.Unflatten(1, (2, 3)), lamp.LogSoftmax(2)]),
    "no parameters": ((4,), lambda: [lamp.Tanh(), lamp.Softmax(1)]),
    "ends in a loss": ((4,), lambda: [lamp.Linear(4, 3), lamp.GELU(), lamp.HuberLoss()]),
}


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("kind", SHAPES)
def test_populations(kind, dtype, tmp_path):
    shape, layers = SHAPES[kind]
    population = lamp.population(lamp.Sequential(*layers()).to(dtype), seeds=range(3))
    for parameter in population.parameters():
        parameter.data.normal_()
    path = lamp.to_onnx(population, tmp_path / "population.onnx", input_shape=shape, dtype=dtype)
    x = torch.randn(6, *shape, dtype=dtype)
    expected = torch.stack([network.eval()(x) for network in population]).mean(0)
    assert error(run(path, x), expected) < (1e-5 if dtype is torch.float32 else 1e-12)
    assert {each.key: each.value for each in onnx.load(path).metadata_props}["members"] == "3"


@pytest.mark.parametrize("probabilities", [lamp.Softmax(-1), lamp.Softmax(1), lamp.Sigmoid(), None], ids=repr)
def test_ensembles(probabilities, tmp_path):
    population = lamp.population(classifier(), seeds=range(5))
    ensemble = lamp.Ensemble(population.body, probabilities=probabilities)
    x = torch.randn(6, 4)
    path = lamp.to_onnx(ensemble, tmp_path / "ensemble.onnx")
    each = [network.body.eval()(x) for network in population]
    made = [each if probabilities is None else probabilities(each) for each in each]
    assert error(run(path, x), torch.stack(made).mean(0)) < 1e-5


@pytest.mark.parametrize("kind", ["before", "after"])
def test_factors_beside_a_matrix_product_keep_their_digits(kind, tmp_path):
    """Even in float64, onnxruntime fuses the two into one operator whose factor is float32."""
    third = type("Third", (lamp.Activation,), {"sigma": lambda self, x: x * (1.0 / 3.0)})
    layers = [third(), lamp.Linear(4, 3)] if kind == "before" else [lamp.Linear(4, 3, bias=False), third()]
    network = lamp.Sequential(*layers).double()
    for model, shape in ((network, (5, 4)), (lamp.population(network, seeds=range(2)), (4,))):
        path = lamp.to_onnx(model, tmp_path / "network.onnx", input_shape=shape)
        x = torch.randn(6, *shape, dtype=torch.float64)
        expected = model(x).mean(0) if model is not network else model(x)
        assert error(run(path, x), expected) < 1e-14


# ---- scalings ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("many", [False, True])
def test_scalings(many, tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 7), lamp.Tanh(), lamp.Linear(7, 2)).double()
    model = lamp.population(network, seeds=range(3)) if many else network
    mean, scale = np.array([2020.0, -3.0, 0.0, 5.0]), torch.tensor([5.0, 0.01, 1.0, 100.0])
    path = lamp.to_onnx(
        model, tmp_path / "network.onnx", input_scaling=(mean, scale), output_scaling=([1e6, 0.001], [1e5, 0.01])
    )
    z = torch.randn(6, 4, dtype=torch.float64)
    x = z * scale.double() + torch.from_numpy(mean)
    outputs = model(z).mean(0) if many else model(z)
    expected = outputs * torch.tensor([1e5, 0.01]).double() + torch.tensor([1e6, 0.001]).double()
    y = run(path, x)
    for k in range(2):
        assert error(y[:, k], expected[:, k]) < 1e-7  # 0.01 was rounded to float32 above


@pytest.mark.parametrize("name", ["input_scaling", "output_scaling"])
@pytest.mark.parametrize(
    "given",
    [3.0, (1.0,), ([1.0, 2.0, 3.0, 4.0, 5.0], 1.0), ("a", "b"), (0.0, 0.0), (0.0, np.inf), (np.nan, 1.0)],
    ids=str,
)
def test_scalings_that_do_not_fit(name, given, tmp_path):
    with pytest.raises(lamp.ArgumentError, match=name):
        lamp.to_onnx(classifier(), tmp_path / "network.onnx", **{name: given})
    assert not os.listdir(tmp_path)


# ---- formulas ------------------------------------------------------------------------------------------------------
class Snake(lamp.Activation):
    """x + tanh(x)^2 where x is between -1 and 3, else a number from every operation there is."""

    remembers = "x"

    def sigma(self, x):
        within = (x >= -1.0) & (x <= 3.0)
        size = x.abs()
        rest = (size + 1.0).log() + (size + 2.0).rsqrt() + (size + 1.0).reciprocal() + (-size).exp() - size.sqrt() / 7.0
        rest = rest + x.sign().lerp(size, 0.3) + size.log1p() * (x * 0.1).expm1() + x.sigmoid() * x.erf()
        rest = rest.maximum(-x).minimum(size * 3.0).where((x != 4.0) | (x == 5.0), 2.0)
        return (x + x.tanh().square()).where(within, 1.0 - rest.clamp(max=50.0)).where((x < 1e9) | (x > 2e9), 0.0)

    def dsigma(self, x, y):
        return x


class Sine(lamp.Activation):
    def sigma(self, x):
        return x.sin()

    def dsigma(self, x, y):
        return x


class Branching(lamp.Activation):
    def sigma(self, x):
        return x if isinstance(x, torch.Tensor) or x > 0 else -x

    def dsigma(self, x, y):
        return x


class Learned(lamp.Activation):
    def __init__(self):
        self.slope = lamp.Parameter(torch.ones(1))

    def sigma(self, x):
        return self.slope.data * x

    def dsigma(self, x, y):
        return x


class Added(lamp.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class Square(lamp.Module):
    def forward(self, x):
        return x * x


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_an_activation_of_ones_own(dtype, tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 7), Snake()).to(dtype)
    path = lamp.to_onnx(network, tmp_path / "network.onnx")
    x = torch.randn(50, 4, dtype=dtype) * 9
    assert error(run(path, x), network(x)) < (1e-5 if dtype is torch.float32 else 1e-12)


def test_a_subclass_with_another_formula_is_not_taken_for_its_base(tmp_path):
    class Ramp(lamp.ReLU):
        def sigma(self, x):
            return x.clamp(min=0.0) * 2.0

        def sigma_of_tensor(self, x):
            return self.sigma(x)

    network = lamp.Sequential(lamp.Linear(4, 7), Ramp())
    x = torch.randn(5, 4)
    assert error(run(lamp.to_onnx(network, tmp_path / "network.onnx"), x), network(x)) < 1e-6


def evaluated(expression: Expression, x: torch.Tensor) -> torch.Tensor:
    """An expression computed with torch, in float64."""
    made = {}
    for each in in_order(expression):
        operands = () if each.operation == "name" else each.operands
        values = [made[id(o)] if isinstance(o, Expression) else torch.tensor(o, dtype=x.dtype) for o in operands]
        made[id(each)] = {
            "name": lambda: x, "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
            "neg": torch.neg, "where": torch.where, "clip": torch.clamp, "abs": torch.abs, "sign": torch.sign,
            "exp": torch.exp, "log": torch.log, "tanh": torch.tanh, "lt": torch.lt, "le": torch.le, "eq": torch.eq,
        }[each.operation](*values)  # fmt: skip
    return made[id(expression)]


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_functions_are_exact_everywhere(name):
    (x,) = Expression.named("x")
    points = torch.cat([torch.logspace(-12, 1.2, 4001, dtype=torch.float64), torch.tensor([0.0, 30.0, 700.0]).double()])
    points = torch.cat([-points, points]) if name != "log1p" else torch.cat([-points[points < 0.99], points])
    exact = {"sigmoid": torch.sigmoid, "expm1": torch.expm1, "log1p": torch.log1p, "erf": torch.erf}[name](points)
    got = evaluated(COMPOSED[name](x), points)
    assert ((got - exact).abs() <= 2e-15 * exact.abs()).all()
    ends = torch.tensor([float("inf"), float("nan"), *([-float("inf")] if name != "log1p" else [])]).double()
    exact = {"sigmoid": torch.sigmoid, "expm1": torch.expm1, "log1p": torch.log1p, "erf": torch.erf}[name](ends)
    assert torch.equal(evaluated(COMPOSED[name](x), ends).nan_to_num(7.0), exact.nan_to_num(7.0))


# ---- what cannot be written ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Added(lamp.Tanh()), "Sequential.1.inner: Added: this module cannot be exported"),
        (lambda: Square(), "Sequential.1.inner: Square(): this module cannot be exported"),
        (lambda: Sine(), "the formula of Sine() cannot be exported"),
        (lambda: Branching(), "the formula of Branching() cannot be exported"),
        (lambda: Learned(), "the formula of Learned() cannot be exported"),
        (lambda: lamp.Unflatten(0, (2, 3)), "Sequential.1.inner: Unflatten(dim=0, unflattened_size=(2, 3))"),
        (lambda: lamp.Linear(5, 6), "Sequential.1.inner: Linear("),
        (lambda: lamp.Linear(4, 5).double(), "one precision"),
    ],
)
@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
def test_modules_that_cannot_be_exported(make, told, export, tmp_path):
    network = lamp.Sequential(lamp.Linear(3, 4), lamp.Sequential({"inner": make()}))
    with pytest.raises(lamp.LampError) as raised:
        export(network, tmp_path / "network")
    assert told in str(raised.value)
    assert raised.value.fix or raised.value.where
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
def test_models_that_cannot_be_exported(export, tmp_path):
    population = lamp.population(classifier(), seeds=range(3))
    for model, told in (
        (torch.nn.Linear(3, 4), "lamp.from_torch"),
        (lamp.MSELoss(), "export the network"),
        (population.network, "export the population"),
        (3, "a builtins.int"),
        (lamp.Linear(3, 4).to(torch.bfloat16), "dtype=torch.float32"),
        (lamp.Sequential(lamp.Linear(3, 4), lamp.Linear(4, 2).double()), "one precision"),
        (lamp.Sequential(lamp.Flatten(), lamp.Linear(8, 4)), "input_shape=(28, 28)"),
        (lamp.Sequential(), "input_shape"),
    ):
        with pytest.raises(lamp.LampError) as raised:
            export(model, tmp_path / "network")
        assert told in str(raised.value)
    for shape in (4, (0,), (2.0,), "ab", (-1, 3)):
        with pytest.raises(lamp.ArgumentError, match="input_shape is not a shape"):
            export(classifier(), tmp_path / "network", input_shape=shape)
    with pytest.raises(lamp.ArgumentError, match="where B can be any size") as raised:
        export(lamp.Linear(3, 2), tmp_path / "network", input_shape=())
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["", 3, None])
def test_names_that_are_none(name, tmp_path):
    with pytest.raises(lamp.ArgumentError, match="output_name"):
        lamp.to_onnx(classifier(), tmp_path / "network.onnx", output_name=name)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(lamp.ExportError, match=r'pip install "onnx>=1.16" "onnxruntime'):
        lamp.to_onnx(classifier(), tmp_path / "network.onnx")
    assert not os.listdir(tmp_path)


def test_a_network_too_large_for_the_format(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "LARGEST", 100)
    with pytest.raises(lamp.ExportError, match="too large"):
        lamp.to_onnx(classifier(), tmp_path / "network.onnx")
    assert not os.listdir(tmp_path)


# ---- a wrong export is noticed --------------------------------------------------------------------------------
def scaled_by_a_little(rule):
    """A rule whose output is 0.1 % too large."""
    return lambda graph, op, at, *inputs: graph.node("Mul", rule(graph, op, at, *inputs), graph.number(1.001), at=at)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("Affine", classifier),
        ("Elementwise", lamp.PReLU),
        ("Elementwise", lamp.GELU),
        ("Softmax", lambda: lamp.Softmax(-1)),
        ("Reshape", lambda: lamp.Unflatten(1, (7, 1))),
        ("Add", lambda: Residual(lamp.Tanh())),
        ("Multiply", lambda: Gated(lamp.Tanh(), lamp.Identity())),
        ("Concat", lambda: Joined(lamp.Tanh(), lamp.Identity())),
    ],
)
def test_a_wrong_rule_is_noticed(kind, make, dtype, tmp_path, monkeypatch):
    monkeypatch.setitem(RULES, kind, scaled_by_a_little(RULES[kind]))
    path = tmp_path / "network.onnx"
    path.write_text("what was there before")
    network = lamp.Sequential(lamp.Linear(4, 7), make()) if make is not classifier else make()
    with pytest.raises(lamp.ExportError, match="does not compute what the network computes") as raised:
        lamp.to_onnx(network.to(dtype), path)
    assert "outputs differ" in str(raised.value)
    assert path.read_text() == "what was there before"
    assert os.listdir(tmp_path) == ["network.onnx"]


def test_a_wrong_shape_or_dtype_is_noticed():
    plan = exporter.predictor(classifier(), RULES)  # type: ignore[attr-defined]
    compute = lambda x: plan(torch.from_numpy(x)).numpy()  # noqa: E731
    agreement.check_agreement(plan, compute, "here")
    for wrong in (
        lambda x: compute(x)[:, :2],
        lambda x: compute(x).astype(np.float64),
        lambda x: compute(x)[::-1] if len(x) == 64 else compute(x),
        lambda x: np.where(compute(x) > 0, compute(x), np.nan),
        lambda x: compute(x) + 1e-3,
    ):
        with pytest.raises(lamp.ExportError, match="computes"):
            agreement.check_agreement(plan, wrong, "here")


def test_an_output_of_small_numbers_is_held_to_its_own_scale(tmp_path):
    plan = exporter.predictor(classifier(), RULES, None, None, ([0.0, 0.0, 0.0], [1e6, 1.0, 1e-6]))  # type: ignore[attr-defined]

    def wrong(x):
        y = plan(torch.from_numpy(x)).numpy()
        return y * np.array([1.0, 1.0, 1.001], dtype=np.float32)

    with pytest.raises(lamp.ExportError, match=r"output\[0, 2\]"):
        agreement.check_agreement(plan, wrong, "here")


def random_network(seed: int) -> lamp.Sequential:
    """Some layers of random widths with any activations between them."""
    chosen = np.random.default_rng(seed)
    widths = chosen.choice([1, 2, 5, 17, 64], size=chosen.integers(2, 7))
    layers = []
    for before, after in itertools.pairwise(map(int, widths)):
        layers += [lamp.Linear(before, after, bias=bool(chosen.random() < 0.8)), chosen.choice(ELEMENTWISE).make()]
    network = lamp.Sequential(*layers)
    for parameter in network.parameters():
        parameter.data.normal_().mul_(chosen.choice([0.1, 0.5, 1.0, 3.0]))
    return network


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
def test_networks_of_any_kind_are_no_false_alarm(seed, export, tmp_path):
    network = random_network(seed)
    scaling = torch.randn(network[0].in_features) * 10, torch.rand(network[0].in_features) + 0.01
    for dtype in PRECISIONS:
        export(network, tmp_path / "network", dtype=dtype, input_scaling=scaling)
        export(lamp.population(network, seeds=range(2)), tmp_path / "network", dtype=dtype)


def test_a_network_of_small_probabilities_is_no_false_alarm(tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 3), lamp.Sigmoid())
    network[0].bias.data.fill_(-16.0)
    lamp.to_onnx(network, tmp_path / "network.onnx")


def test_a_network_that_overflows_is_compared_too(tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 7), lamp.Linear(7, 3))
    network[0].weight.data.mul_(1e25)
    network[1].weight.data.mul_(1e25)
    path = lamp.to_onnx(network, tmp_path / "network.onnx")
    x = torch.randn(6, 4)
    y = network(x)
    assert not y.isfinite().all()
    assert torch.equal(run(path, x).isfinite(), y.isfinite())


# ---- the disk -------------------------------------------------------------------------------------------------
def refusing(number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
@pytest.mark.parametrize(("call", "number"), [("fsync", errno.ENOSPC), ("fsync", errno.EIO), ("replace", errno.EACCES)])
def test_a_disk_that_refuses(call, number, export, tmp_path, monkeypatch):
    path = tmp_path / "network"
    path.write_text("what was there before")
    monkeypatch.setattr(os, call, refusing(number))
    with pytest.raises(lamp.CheckpointError, match=os.strerror(number)) as raised:
        export(classifier(), path)
    assert str(path) in str(raised.value)
    assert path.read_text() == "what was there before"
    assert os.listdir(tmp_path) == ["network"]


@pytest.mark.parametrize("export", [lamp.to_onnx, lamp.to_python])
def test_a_place_that_cannot_be_written(export, tmp_path):
    (tmp_path / "file").write_text("a file, not a folder")
    with pytest.raises(lamp.CheckpointError, match="could not be saved"):
        export(classifier(), tmp_path / "file" / "network")
    (tmp_path / "folder").mkdir()
    with pytest.raises(lamp.CheckpointError, match="folder is not a regular file"):
        export(classifier(), tmp_path / "folder")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        return  # whoever runs this may write anywhere
    with pytest.raises(lamp.CheckpointError, match="could not be saved"):
        export(classifier(), closed / "network")


def test_an_interrupted_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "check_agreement", interrupt)
    with pytest.raises(KeyboardInterrupt):
        lamp.to_onnx(classifier(), tmp_path / "network.onnx")
    assert not os.listdir(tmp_path)
