"""A network in Python code computes with numpy alone what its torch.nn twin computes, and is readable."""

from __future__ import annotations

import ast
import base64
import os
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch

import lamp
from lamp.interop import python_rules, python_text
from lamp.interop.expressions import Expression
from lamp.trees import leaves
from tests.cases.graphs import Gated, Joined, Residual
from tests.cases.module_case import Case, error
from tests.cases.sequences import CELLS, RECURRENT, STEPS_FIRST
from tests.test_interop_onnx import ELEMENTWISE, EXPORTED, SHAPES, Snake, classifier, sample_shape

PRECISIONS = [torch.float32, torch.float64]
ALONE = """
import sys
for name in ("torch", "lamp", "onnx", "scipy"):
    sys.modules[name] = None
import runpy
import numpy as np
predict = runpy.run_path(sys.argv[1])["predict"]
print(predict(np.arange(8.0).reshape(2, 4)).tolist())
"""


def run(path, x):
    """What the file computes of a tensor."""
    return torch.from_numpy(np.asarray(runpy.run_path(str(path))["predict"](x.numpy())))


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_modules(case: Case, dtype, tmp_path):
    module, twin = case.pair()
    twin = twin.to(dtype).eval()
    path = lamp.to_python(module, tmp_path / "network.py", input_shape=sample_shape(case), dtype=dtype)
    assert os.listdir(tmp_path) == ["network.py"]
    for batch in (2, 9):
        x = case.input(dtype, (batch, *sample_shape(case)))
        assert error(run(path, x), twin(x).detach()) < (1e-5 if dtype is torch.float32 else max(case.tolerance, 1e-13))
    tree = ast.parse(path.read_text())
    imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert imported <= {"numpy", "base64"}
    for node in tree.body:
        assert not isinstance(node, ast.FunctionDef) or ast.get_docstring(node)


def outputs_of(found):
    """The tensors of nested outputs, in order."""
    return [y.detach() for _, y in leaves(found)]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("case", [*CELLS, *RECURRENT, *STEPS_FIRST], ids=str)
def test_recurrent_modules(case, count, tmp_path):
    if not case.batched and not (len(case.shape) == 3 and case.shape[1] == 5):
        return  # a single sequence
    batch = 0 if case.batched else 1
    module, twin = case.pair()
    model = module if count is None else lamp.population(module, range(count))
    shape = (*case.shape[:batch], *case.shape[batch + 1 :])
    predict = runpy.run_path(str(lamp.to_python(model, tmp_path / "network.py", input_shape=shape)))["predict"]
    x = case.input(torch.float64, (*shape[:batch], 9, *shape[batch:]))
    twins = [twin] if count is None else [lamp.to_torch(model[k]) for k in range(count)]
    wanted = [outputs_of(each.eval()(x)) for each in twins]
    found = predict(x.numpy())
    for y, *expected in zip(found if isinstance(found, tuple) else (found,), *wanted, strict=True):
        assert error(torch.from_numpy(y), torch.stack(expected).mean(0)) < 1e-13


WINDOWS = [case for case in EXPORTED if any(name in case.name for name in ("Conv", "Pool", "Upsampl", "fold", "Fold"))]


@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_populations_of_windows(case, tmp_path):
    """All replicas at once, each with its own weights."""
    networks = lamp.population(lamp.Sequential(lamp.Tanh(), case.make().double()), range(3))
    for each in networks.parameters():
        each.data.normal_()
    shape = sample_shape(case)
    path = lamp.to_python(networks, tmp_path / "network.py", input_shape=shape, dtype=torch.float64)
    x = case.input(torch.float64, (5, *shape))
    expected = torch.stack([lamp.to_torch(networks[k]).eval()(x).detach() for k in range(3)]).mean(0)
    assert error(run(path, x), expected) < max(case.tolerance, 1e-13)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_extremes(case, dtype, tmp_path):
    """Large numbers do not overflow (numpy's warnings are errors here), and small ones keep their digits."""
    twin = case.make_torch().to(dtype)
    path = lamp.to_python(case.make(), tmp_path / "network.py", input_shape=(5,), dtype=dtype)
    eps = torch.finfo(dtype).eps
    x = torch.tensor([[0.0, -1e4, 1e4, -300.0, 300.0], [1e-7, -1e-7, 20.5, -20.5, 6.5]], dtype=dtype)
    y, expected = run(path, x), twin(x)
    tiny = torch.finfo(dtype).tiny
    small = 0.0 if case.name[:4] not in ("GELU", "Tanh") else 8 * eps  # torch's lose them too: x - tanh x, 1 + erf x
    of_sum = eps if case.name.startswith("LogSoftmax") else 0.0  # a sum of exponentials near 1, rounded either way
    assert ((y - expected).abs() <= 64 * eps * expected.abs() + small * x.abs() + of_sum + tiny).all()


def test_it_needs_numpy_alone(tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 30), lamp.GELU(), lamp.Linear(30, 3), lamp.Softmax(1)).double()
    path = lamp.to_python(network, tmp_path / "network.py")
    got = subprocess.run([sys.executable, "-I", "-c", ALONE, str(path)], capture_output=True, text=True, check=True)
    expected = network(torch.arange(8.0).double().view(2, 4))
    assert error(torch.tensor(ast.literal_eval(got.stdout), dtype=torch.float64), expected) < 1e-13


READABLE = '''"""A neural network that needs only numpy.

    from network import predict

    y = predict(x)  # x (n, 2) -> y (n, 1), float64

Written by lamp VERSION from

    Sequential(
      (scale): Linear(in_features=2, out_features=3, bias=True)
      (act): SELU()
      (1): Linear(in_features=3, out_features=1, bias=False)
      (2): Sigmoid()
    )
"""

import numpy as np


def selu(x):
    """SELU()"""
    return np.maximum(x, 0.0) * 1.0507009873554805 + np.expm1(np.minimum(x, 0.0)) * 1.7580993408473766


def sigmoid(x):
    """1 / (1 + exp(-x)), without overflow, because it uses exp(-|x|)."""
    a = np.exp(-np.abs(x))
    return np.where(x < 0.0, a, 1.0) / (1.0 + a)


input_mean = np.array([1.0, 2.0], dtype=np.float64)
input_scale = np.array([0.5, 3.0], dtype=np.float64)
weight_scale = np.array(
    [[0.5, 0.5, 0.5],
     [0.5, 0.5, 0.5]],
    dtype=np.float64,
)
bias_scale = np.array([0.5, 0.5, 0.5], dtype=np.float64)
weight_1 = np.array(
    [[0.5],
     [0.5],
     [0.5]],
    dtype=np.float64,
)


def predict(x):
    """The outputs y for inputs x: x (n, 2) -> y (n, 1), float64."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1:] != (2,):
        raise ValueError(f"expected inputs of shape (n, 2), got {x.shape}")
    x = (x - input_mean) / input_scale
    x = x @ weight_scale + bias_scale  # (n, 3)
    x = selu(x)
    x = x @ weight_1  # (n, 1)
    x = sigmoid(x)
    return x
'''


def test_it_can_be_read(tmp_path):
    layers = {"scale": lamp.Linear(2, 3), "act": lamp.SELU(), "1": lamp.Linear(3, 1, bias=False), "2": lamp.Sigmoid()}
    network = lamp.Sequential(layers).double()
    for parameter in network.parameters():
        parameter.data.fill_(0.5)
    path = lamp.to_python(network, tmp_path / "network.py", input_scaling=([1.0, 2.0], [0.5, 3.0]))
    assert path.read_text() == READABLE.replace("VERSION", lamp.__version__)


def test_functions_are_written_once(tmp_path):
    network = lamp.Sequential(
        lamp.Linear(4, 5),
        lamp.ELU(),
        lamp.Linear(5, 5),
        lamp.ELU(),
        lamp.ELU(0.5),
        lamp.GELU(),
        lamp.GELU(),
        lamp.PReLU(),
    )
    text = lamp.to_python(network, tmp_path / "network.py").read_text()
    assert re.findall(r"^def (\w+)", text, flags=re.MULTILINE) == ["elu", "elu_2", "erf", "gelu", "prelu", "predict"]


def test_shared_parameters_are_held_once(tmp_path):
    one = lamp.Linear(4, 4)
    path = lamp.to_python(lamp.Sequential(one, lamp.Tanh(), one), tmp_path / "network.py")
    assert re.findall(r"^(\w+) = ", path.read_text(), flags=re.MULTILINE) == ["weight_0", "bias_0"]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_every_bit_of_the_weights_is_there(dtype, tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 3), lamp.Linear(3, 50)).to(dtype)
    names = runpy.run_path(str(lamp.to_python(network, tmp_path / "network.py")))
    for k in (0, 1):
        assert names[f"weight_{k}"].dtype == str(dtype).split(".")[1]
        assert np.array_equal(names[f"weight_{k}"], network[k].weight.data.mT.numpy())
        assert np.array_equal(names[f"bias_{k}"], network[k].bias.data.numpy())
    stored = re.findall(r'stored\("""\n(.*?)\n"""', (tmp_path / "network.py").read_text(), flags=re.DOTALL)
    assert len(stored) == 1
    raw = np.frombuffer(base64.b64decode(stored[0]), "<f4" if dtype is torch.float32 else "<f8")
    assert np.array_equal(raw, network[1].weight.data.mT.flatten().numpy())
    assert max(map(len, stored[0].splitlines())) <= 100


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("kind", SHAPES)
def test_populations(kind, dtype, tmp_path):
    shape, layers = SHAPES[kind]
    population = lamp.population(lamp.Sequential(*layers()).to(dtype), seeds=range(3))
    for parameter in population.parameters():
        parameter.data.normal_()
    path = lamp.to_python(population, tmp_path / "population.py", input_shape=shape, dtype=dtype)
    x = torch.randn(6, *shape, dtype=dtype)
    expected = torch.stack([network.eval()(x) for network in population]).mean(0)
    assert error(run(path, x), expected) < (1e-5 if dtype is torch.float32 else 1e-12)


def test_ensembles_and_scalings(tmp_path):
    population = lamp.population(classifier(), seeds=range(5))
    ensemble = lamp.Ensemble(population, probabilities=lamp.Softmax(1))
    path = lamp.to_python(
        ensemble, tmp_path / "a.py", input_scaling=(3.0, torch.rand(4) + 1), output_scaling=(1.0, [1.0, 10.0, 100.0])
    )
    z = torch.randn(6, 4)
    scale = torch.from_numpy(runpy.run_path(str(path))["input_scale"])
    expected = ensemble(z) * torch.tensor([1.0, 10.0, 100.0]) + 1.0
    assert error(run(path, z * scale + 3.0), expected) < 1e-5


def test_what_predict_takes(tmp_path):
    predict = runpy.run_path(str(lamp.to_python(classifier(), tmp_path / "network.py")))["predict"]
    y = predict(np.arange(8).reshape(2, 4))
    assert y.dtype == np.float32
    assert np.array_equal(predict([[0, 1, 2, 3], [4, 5, 6, 7]]), y)
    assert predict(np.zeros((0, 4))).shape == (0, 3)
    given = np.arange(8.0).reshape(2, 4).astype(np.float32)
    predict(given)
    assert np.array_equal(given, np.arange(8).reshape(2, 4))
    for wrong in (np.zeros(4), np.zeros((2, 5)), np.zeros((1, 2, 4))):
        with pytest.raises(ValueError, match=r"expected inputs of shape \(n, 4\), got"):
            predict(wrong)


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_an_activation_of_ones_own(dtype, tmp_path):
    network = lamp.Sequential(lamp.Linear(4, 7), Snake()).to(dtype)
    path = lamp.to_python(network, tmp_path / "network.py")
    x = torch.randn(50, 4, dtype=dtype) * 9
    assert error(run(path, x), network(x)) < (1e-5 if dtype is torch.float32 else 1e-12)


HOSTILE = [
    '"""\nraise SystemExit\n"""',
    "\\",
    "quote'",
    'quote"',
    "x\x00y",
    "ü\u2028",
    "class",
    "predict",
    "np",
    "  ",
]


def test_names_are_only_names(tmp_path):
    """Names and reprs of modules become text, never code."""

    class Predict(lamp.Tanhshrink):
        def extra_repr(self):
            return '"""\n1/0'

    layers = {name: lamp.Linear(4, 4) for name in HOSTILE}
    network = lamp.Sequential({**layers, "own": Predict(), "pair": type("Lambda", (lamp.ELU,), {})(0.3)})
    path = lamp.to_python(network, tmp_path / "network.py")
    x = torch.randn(3, 4)
    assert error(run(path, x), network(x)) < 1e-5
    assert "raise SystemExit" in ast.get_docstring(ast.parse(path.read_text()))


# ---- expressions as text -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (lambda x: x + 1 - (x - 2), "x + 1.0 - (x - 2.0)"),
        (lambda x: (x + 1) * 2 + x * -3, "(x + 1.0) * 2.0 + x * -3.0"),
        (lambda x: -(x + 1) / (2 / x), "-(x + 1.0) / (2.0 / x)"),
        (lambda x: x / (x * 2), "x / (x * 2.0)"),
        (lambda x: x + (x + 2), "x + (x + 2.0)"),
        (lambda x: x + -0.5 - -0.25, "x - 0.5 - -0.25"),
        (lambda x: 1 - (-x), "1.0 - -x"),
        (lambda x: x.where((x > 1) & (x < 2) | (x == 3), 0), "np.where((x > 1.0) & (x < 2.0) | (x == 3.0), x, 0.0)"),
        (
            lambda x: x.where((x > 1) & ((x < 2) | (x == 3)), 0),
            "np.where((x > 1.0) & ((x < 2.0) | (x == 3.0)), x, 0.0)",
        ),
        (lambda x: x.clamp(min=-1, max=2).clamp(min=0), "np.maximum(np.clip(x, -1.0, 2.0), 0.0)"),
        (lambda x: x.minimum(float("inf")).maximum(float("-inf")), "np.maximum(np.minimum(x, np.inf), -np.inf)"),
        (lambda x: x.where(x != float("nan"), 1), "np.where(x != np.nan, x, 1.0)"),
    ],
)
def test_text_of_expressions(formula, text):
    (x,) = Expression.named("x")
    lines, returned = python_text.expression_text(formula(x))
    assert (lines, returned) == ([], text)
    points = np.linspace(-3, 4, 29) + 1e-3
    if "inf" not in text:  # torch's minimum takes no float
        ours = eval(returned, {"np": np, "x": points})
        assert np.allclose(ours, formula(torch.from_numpy(points)).numpy(), rtol=1e-15, atol=0)


def test_what_is_needed_twice_has_a_name():
    a, x = Expression.named("a", "x")
    lines, returned = python_text.expression_text((x + a).exp() * (x + a) + (x + a).exp())
    assert lines == ["b = x + a", "c = np.exp(b)"]
    assert returned == "c * b + c"


# ---- a wrong export is noticed -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("Affine", classifier),
        ("Elementwise", lamp.PReLU),
        ("Elementwise", lamp.Mish),
        ("Softmax", lambda: lamp.LogSoftmax(-1)),
        ("Reshape", lambda: lamp.Unflatten(1, (7, 1))),
        ("Add", lambda: Residual(lamp.Tanh())),
        ("Multiply", lambda: Gated(lamp.Tanh(), lamp.Identity())),
        ("Concat", lambda: Joined(lamp.Tanh(), lamp.Identity())),
    ],
)
def test_a_wrong_rule_is_noticed(kind, make, dtype, tmp_path, monkeypatch):
    right = python_rules.RULES[kind]
    monkeypatch.setitem(python_rules.RULES, kind, lambda *given: f"({right(*given)}) * 1.001")
    path = tmp_path / "network.py"
    path.write_text("what was there before")
    network = make() if make is classifier else lamp.Sequential(lamp.Linear(4, 7), make())
    with pytest.raises(lamp.ExportError, match="does not compute what the network computes"):
        lamp.to_python(network.to(dtype), path)
    assert path.read_text() == "what was there before"
    assert os.listdir(tmp_path) == ["network.py"]


@pytest.mark.parametrize("wrong", ["x @", "unknown_name + x"])
def test_python_that_does_not_run_is_noticed(wrong, tmp_path, monkeypatch):
    monkeypatch.setitem(python_rules.RULES, "Affine", lambda *given: wrong)
    with pytest.raises(lamp.ExportError, match="does not run"):
        lamp.to_python(lamp.Linear(3, 4), tmp_path / "network.py")
    assert not os.listdir(tmp_path)


def test_a_part_of_a_formula_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    """The comparison notices a change in every coefficient, even in the last term of a formula."""
    monkeypatch.setitem(python_text.FUNCTIONS, "log1p", "np.sin")
    with pytest.raises(lamp.ExportError):
        lamp.to_python(lamp.Sequential(lamp.Linear(4, 7), lamp.LogSigmoid()), tmp_path / "network.py")
    assert not os.listdir(tmp_path)
