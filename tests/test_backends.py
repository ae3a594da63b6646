"""The interface between compiler and backends: rules, losses and optimizers do not depend on LLVM or a CPU."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import lamp
from lamp.compiler.code import Code
from lamp.compiler.lanes import Lane, Mask, Whole
from lamp.compiler.rules.few_samples import FewSamples
from tests.cases.attention import Attended
from tests.cases.compiled import close, lanes
from tests.cases.graphs import Gated, Joined, Residual
from tests.cases.recorded import RecordedKernel

COMPILER = Path(lamp.__file__).parent / "compiler"
BACKENDS = COMPILER / "backends"
# Files that may import the CPU's backend: they make kernels, lay out their memory and call them.
KNOWS_THE_CPU = {"elementwise.py", "kernel.py", "kernel_runner.py", "call_table.py"}
# Files that use only the interface, besides the rules.
OVER_CODE = (
    "column_block",
    "lowering",
    "loss_rules",
    "correct_counts",
    "updates",
    "kernel_builder",
    "functions",
    "formula_calls",
)


def names_imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_only_a_backend_knows_llvm():
    package = COMPILER.parent
    knowing = {path for path in package.rglob("*.py") if any("llvmlite" in name for name in names_imported(path))}
    assert knowing
    assert all(BACKENDS in path.parents for path in knowing)


def test_few_know_which_backend_there_is():
    files = [path for path in COMPILER.rglob("*.py") if BACKENDS not in path.parents]
    knowing = {path.name for path in files if any("backends" in name for name in names_imported(path))}
    assert knowing == KNOWS_THE_CPU


# ---- a second backend -----------------------------------------------------------------------------------------------
def perceptron(*widths):
    layers = [layer for a, b in pairwise(widths) for layer in (lamp.Linear(a, b), lamp.Tanh())]
    return lamp.Sequential(*layers[:-1])


NETWORKS = {
    "row": lambda: perceptron(3, 5, 4),
    "wide": lambda: perceptron(64, 5, 4),
    "branches": lambda: lamp.Sequential(
        lamp.Linear(3, 5), Joined(Residual(lamp.Linear(5, 5)), lamp.Identity(), lamp.GELU()), lamp.PReLU(),
        Gated(lamp.Identity(), lamp.Linear(15, 15)), lamp.Linear(15, 4),
    ),
    "softmax": lambda: lamp.Sequential(lamp.Linear(3, 6), lamp.Softmax(-1), lamp.PReLU(6), lamp.Linear(6, 4)),
    "dropout": lambda: lamp.Sequential(lamp.Linear(3, 6), lamp.Softplus(), lamp.Dropout(0.4), lamp.Linear(6, 4)),
    "words": lambda: lamp.Sequential(
        lamp.Embedding(5, 4, padding_idx=1), Attended(4, 2, torch.ones(3, 3).triu(1).bool(), bias=False, dropout=0.2),
        lamp.Linear(4, 6), lamp.GLU(), lamp.Flatten(), lamp.Linear(9, 4),
    ),
}  # fmt: skip
LOSSES = {
    "labels": lamp.CrossEntropyLoss,
    "weighted": lambda: lamp.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 2.0, 0.1]).double(), label_smoothing=0.1),
    "numbers": lamp.HuberLoss,
}


def after_steps(network, count, loss="labels", optimizer=lamp.Adam, samples=11, batch=6):
    torch.manual_seed(5)
    model = network()
    model = model if model.replicas else model.double()
    if count is not None:
        model = lamp.population(model, range(count))
    features = next(each.in_features for each in model.modules() if isinstance(each, lamp.Linear))
    x = torch.randn(samples, features, dtype=torch.float64)
    if any(isinstance(each, lamp.Embedding) for each in model.modules()):
        x = torch.randint(5, (samples, 3))
    y = torch.randn(samples, 4, dtype=torch.float64) if loss == "numbers" else torch.randint(4, (samples,))
    of_model = optimizer(model.parameters(), lr=0.01)
    compiled = lamp.compile(model, LOSSES[loss](), of_model, batch)
    losses = compiled(x, y)
    loss = compiled.gradients(x, y)
    compiled.update()
    return [losses, loss, *(each.data for each in model.parameters())]


def same_on_both(monkeypatch, *job, **options):
    expected = after_steps(*job, **options)
    with monkeypatch.context() as patch:
        patch.setattr("lamp.compiler.kernel_runner.Kernel", RecordedKernel)
        patch.setattr(RecordedKernel, "made", [])
        found = after_steps(*job, **options)
        made = RecordedKernel.made
    for mine, theirs in zip(found, expected, strict=True):
        close(mine, theirs, 1e-12)
    assert made
    return made


@pytest.mark.parametrize("count", [None, 2 * lanes()])
@pytest.mark.parametrize("name", NETWORKS)
def test_another_backend_computes_the_same_by_the_same_rules(name, count, monkeypatch):
    same_on_both(monkeypatch, NETWORKS[name], count)


@pytest.mark.parametrize("count", [None, 2 * lanes()])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_the_same_on_both_backends(loss, count, monkeypatch):
    same_on_both(monkeypatch, NETWORKS["row"], count, loss=loss)


@pytest.mark.parametrize("optimizer", [lamp.SGD, lamp.RMSprop])
def test_optimizers_too(optimizer, monkeypatch):
    same_on_both(monkeypatch, NETWORKS["row"], None, optimizer=optimizer)


def test_networks_of_several_sizes_too(monkeypatch):
    same_on_both(monkeypatch, lambda: lamp.stack([perceptron(3, n, 4).double() for n in (2, 7, 4, 3, 6)]), None)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_batches_of_few_samples_too(loss, batch, monkeypatch):
    made = same_on_both(monkeypatch, lambda: perceptron(2, 9, 4, 4), None, loss=loss, samples=5, batch=batch)
    assert all(isinstance(rule, FewSamples) for kernel in made for rule in kernel.tiling.heads.values())
    assert any(kernel.tiling.heads for kernel in made)


def test_a_batch_in_parts_too(monkeypatch):
    monkeypatch.setattr("lamp.compiler.tiling.PART", 1)  # then any batch is worth a thread for each part
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the second backend has one
    try:
        made = same_on_both(monkeypatch, NETWORKS["row"], None, samples=80, batch=64)
        assert any(kernel.tiling.parts > 1 for kernel in made)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "words"])
def test_matrix_products_too(name, monkeypatch):
    monkeypatch.setattr("lamp.compiler.tiling.LARGE", 1)
    monkeypatch.setattr("lamp.compiler.tiling.SLIM", 1)
    monkeypatch.setattr("lamp.compiler.tiling.FEW", 10**6)
    monkeypatch.setattr("lamp.compiler.tiling.MOST_SAMPLES", 0)
    monkeypatch.setattr(RecordedKernel, "products", "its own")
    monkeypatch.setenv("LAMP_BLAS", "off")  # so that only the second backend calls them
    for kernel in same_on_both(monkeypatch, NETWORKS[name], None):
        assert any(type(rule).__name__ == "Products" for rule in kernel.tiling.heads.values())


def test_what_rules_know_of_a_backend_is_its_interface():
    """Every attribute of `Code` that rules, losses or optimizers use is part of the interface."""
    names = {"code", "lane"}
    offered = {name for kind in (Code, Lane, Mask, Whole) for name in dir(kind)} | {
        "lanes",
        "dtype",
        "machine",
        "arguments",
    }
    files = [*(COMPILER / "rules").glob("*.py"), *(COMPILER / f"{each}.py" for each in OVER_CODE)]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] in names:
                assert node.attr in offered, f"{path.name}, line {node.lineno}: {node.attr}"
