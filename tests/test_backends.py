"""The seam between the compiler and its backends: rules, losses and optimizers know neither LLVM nor a CPU."""

import ast
from pathlib import Path

import lamp

COMPILER = Path(lamp.__file__).parent / "compiler"
BACKENDS = COMPILER / "backends"
# Who may ask for the CPU by name: what makes kernels, lays out their memory and calls them.
KNOWS_THE_CPU = {"kernel.py", "kernel_runner.py", "call_table.py"}


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
