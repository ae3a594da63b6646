"""Rules for the source: which file may import which, which names may stand where, how long a file may be.

Each rule is a function from source text to complaints, so that it can be seen failing on a few planted lines.
"""

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch

import lamp
from lamp import errors
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Activation, Container
from lamp.optim import LRScheduler, Optimizer
from tests.cases.convolutions import LAZY
from tests.conftest import COMPILED, SLOW
from tests.test_attention import TRANSFORMERS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "lamp").rglob("*.py"))

# The rooms, from the ground up: a file imports from rooms before its own, and from its own.
ROOMS = [
    [
        "installation",
        "errors",
        "missing_names",
        "call_errors",
        "printable",
        "devices",
        "tensor_like",
        "uninitialized",
        "torch_habits",
        "no_autograd",
        "signatures",
        "overrides",
        "module_meta",
        "parameter",
        "formulas",
        "fused",
        "matrix_products",
        "axes",
        "init",
        "state_dict",
        "paths",
        "in_place",
        "loss_value",
        "trees",
        "marks",
        "passes",
        "unmarked",
        "which_pass",
        "calls",
        "values",
        "module",
        "attributes",
        "hidden",
        "state",
        "graph",
        "graph_builder",
        "tracer",
        "tracing",
        "randomness",
        "generators",
        "rounding",
        "intervals",
        "tabular",
        "cpu_settings",
        "workers",
    ],
    ["losses"],
    ["metrics"],
    ["nn"],
    ["optim"],
    ["data"],
    ["replicas"],
    ["saving"],
    ["plots"],
    ["compiler"],
    ["training"],
    ["checks", "summary"],
    ["studies"],
    ["interop"],
    ["tables"],
    ["", "public"],  # the names of `import lamp`, which the rooms above may use as anybody does
    ["experiments"],
    ["cli", "__main__"],
]
SIDE_BY_SIDE = {("checks", "training")}  # neither imports the other
RANKS = {name: rank for rank, room in enumerate(ROOMS) for name in room}

LONGEST = 400  # lines of a file, unless one of its first lines says "Long because"
FIRST_LINES = 10

GRADIENTS = [  # gradients and optimizers that lamp writes itself
    "torch.autograd", "torch.nn", "torch.optim", "torch.func", "torch.vmap", "torch._C._nn", "torch.enable_grad",
    "torch.set_grad_enabled", "torch.load", "torch.save",
]  # fmt: skip
CODE_FROM_FILES = [
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
]  # names that run what they read
PROGRESS_BAR = "lamp.training.progress"  # prints too
WARNS_OF_AUTOGRAD = "lamp.training.mismatches"  # reads whether a user's tensor waits for a gradient of torch's
MEETS_TORCH = ("lamp.interop", "lamp.experiments.torch_peer")  # where torch.nn is the other party


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES_BY_NAME = {module_name(path): path for path in FILES}


# ---- the rules ------------------------------------------------------------------------------------------------------
@lru_cache(maxsize=1)
def nodes(source: str) -> list[ast.AST]:
    """All nodes of a file, the file itself first. The rules look at one file after another."""
    return list(ast.walk(ast.parse(source)))


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """What a chain of attributes stands for, `getattr(torch, "nn")` included; "?" for a beginning nobody knows."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "?")
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, names) or '?'}.{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        target, attribute = node.args[:2]
        if isinstance(attribute, ast.Constant):
            return f"{dotted(target, names) or '?'}.{attribute.value}"  # type: ignore[str-bytes-safe]
    return None


def names_used(source: str) -> Iterator[tuple[int, str]]:
    """Every imported module and every attribute chain, by the name its beginning was imported from."""
    names: dict[str, str] = {}
    for node in nodes(source):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield node.lineno, each.name
                names[each.asname or each.name.split(".")[0]] = each.name if each.asname else each.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for each in node.names:
                yield node.lineno, f"{node.module}.{each.name}"
                names[each.asname or each.name] = f"{node.module}.{each.name}"
    for node in nodes(source):
        name = dotted(node, names) if isinstance(node, ast.Attribute | ast.Call) else None
        if name:
            yield node.lineno, name  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            yield from ((node.lineno, f"?.{keyword.arg}") for keyword in node.keywords)
            loads = dotted(node.func, names) in ("importlib.import_module", "?.__import__") or (
                isinstance(node.func, ast.Name) and node.func.id == "__import__"
            )
            if loads and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def forbidden_names(source: str, module: str = "lamp.nn.somewhere") -> list[str]:
    """Names by which a file would let torch make gradients, or would run code that it reads from a file."""

    def within(name: str, roots: list[str]) -> bool:
        return any(name == root or name.startswith(root + ".") for root in roots)

    found = []
    for line, name in names_used(source):
        last = name.split(".")[-1]
        gradients = (
            within(name, GRADIENTS)
            or (last == "requires_grad" and module != WARNS_OF_AUTOGRAD)
            or last in ("requires_grad_", "grad_fn")
            or (name.startswith("torch.") and any(part.endswith("_backward") for part in name.split(".")))
        )
        if (
            (gradients and not module.startswith(MEETS_TORCH))
            or within(name, CODE_FROM_FILES)
            or last == "allow_pickle"
        ):
            found.append(f"line {line}: {name.removeprefix('?.')}")
    return found


def without_types(tree: ast.Module) -> ast.Module:
    """A file as it runs: what stands under TYPE_CHECKING taken out."""

    class Running(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.If | None:
            return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    return Running().visit(tree)


def imports(within: Iterable[ast.AST], module: str, package: bool, modules: frozenset[str]) -> list[tuple[int, str]]:
    """The modules of lamp that a file imports, wherever in the file it does. `within`: all nodes of the file."""
    found = []
    for node in within:
        if isinstance(node, ast.Import):
            found += [(node.lineno, each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + package]
                base = ".".join([*above, base] if base else above)
            found += [
                (node.lineno, f"{base}.{each.name}" if f"{base}.{each.name}" in modules else base)
                for each in node.names
            ]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and node.args:
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if called in ("import_module", "__import__") and isinstance(node.args[0], ast.Constant):
                found.append((node.lineno, str(node.args[0].value)))
    return [(line, name) for line, name in found if name.split(".")[0] == "lamp"]


def room(module: str) -> str:
    """The room a module stands in: "nn" for lamp.nn.linear, "" for lamp itself."""
    return [*module.split("."), ""][1]


def climbing_imports(source: str, module: str, package: bool, modules: frozenset[str]) -> list[str]:
    """Imports from a room above, or beside."""
    own, found = room(module), []
    for line, name in imports(nodes(source), module, package, modules):
        other = room(name)
        if other not in RANKS:
            found.append(f"line {line}: {name} stands in no room")
        elif other != own and (RANKS[other] > RANKS[own] or tuple(sorted((own, other))) in SIDE_BY_SIDE):
            found.append(f"line {line}: {name} stands above {module}")
    return found


def cycle(edges: dict[str, set[str]]) -> list[str]:
    """A cycle in a graph, or an empty list."""
    done: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if found := search(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := search(node, []))), [])


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components with more than one node."""
    reached: dict[str, set[str]] = {}
    for node in edges:
        ahead = [node]
        reached[node] = set()
        while ahead:
            new = edges.get(ahead.pop(), set()) - reached[node]
            reached[node] |= new
            ahead += new
    found = {frozenset(other for other in reached[node] if node in reached.get(other, ())) for node in edges}
    return [set(circle) for circle in found if circle]


def too_long(source: str) -> list[str]:
    """A file beyond the limit that does not say why."""
    lines = source.splitlines()
    if len(lines) <= LONGEST or any("Long because" in line for line in lines[:FIRST_LINES]):
        return []
    return [f"{len(lines)} lines, at most {LONGEST}"]


def undocumented(source: str) -> list[str]:
    """The file, and its public classes, where they have no docstring."""
    tree = nodes(source)[0]
    assert isinstance(tree, ast.Module)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    found = [] if not tree.body or ast.get_docstring(tree) else ["the file"]
    return found + [f"line {node.lineno}: {node.name}" for node in classes if not ast.get_docstring(node)]


def private_imports(source: str) -> list[str]:
    """Private names taken from another file of the package."""
    return [
        f"line {node.lineno}: {each.name}"
        for node in nodes(source)
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "lamp")
        for each in node.names
        if each.name.startswith("_") and not each.name.startswith("__")
    ]


def printing(source: str) -> list[str]:
    """Calls of print."""
    return [
        f"line {node.lineno}"
        for node in nodes(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def swallowing(source: str) -> list[str]:
    """Handlers of every exception that neither raise it again in the end nor hand it to another thread."""

    def names(kind: ast.expr | None) -> set[str]:
        return {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)} if kind else {"BaseException"}

    return [
        f"line {node.lineno}"
        for node in nodes(source)
        if isinstance(node, ast.ExceptHandler) and names(node.type) & {"Exception", "BaseException"}
        if not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
        and "set_exception" not in ast.unparse(node)
    ]


def chained(source: str) -> list[str]:
    """Errors raised with another one in front of them."""
    return [
        f"line {node.lineno}"
        for node in nodes(source)
        if isinstance(node, ast.Raise) and isinstance(node.cause, ast.Name)
    ]


def incomplete(source: str, kinds: frozenset[str]) -> list[str]:
    """Errors of lamp's that do not say what was expected, what came, or what to do."""
    return [
        f"line {node.lineno}: no {', '.join(sorted(missing))}"
        for node in nodes(source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
        if None not in (given := {each.arg for each in node.keywords})  # **told may have all of them
        if (missing := {"expected", "got", "fix"} - given)
    ]


HOMES = re.compile(r"(?<![\w.])(/(?:home|Users|root|work)/\w|[A-Z]:\\Users\\)")


def machine_paths(text: str) -> list[str]:
    """Lines that name a folder of somebody's machine."""
    return [f"line {k}: {line.strip()}" for k, line in enumerate(text.splitlines(), 1) if HOMES.search(line)]


# ---- the rules hold -------------------------------------------------------------------------------------------------
# All tests of one file follow each other, so that it is parsed once.
per_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(SOURCE / "lamp")), scope="module"
)


@per_file
def test_no_forbidden_name(path):
    assert not forbidden_names(path.read_text(), module_name(path))


@per_file
def test_imports_go_down(path):
    module = module_name(path)
    assert room(module) in RANKS, f"{module} stands in no room: add it to ROOMS"
    assert not climbing_imports(path.read_text(), module, path.name == "__init__.py", frozenset(MODULES_BY_NAME))


def test_every_exception_is_used():
    assert all((SOURCE / name.replace(".", "/")).with_suffix(".py").exists() for name in MEETS_TORCH[1:])


@per_file
def test_files_are_short_and_documented(path):
    source = path.read_text()
    assert not too_long(source)
    assert not undocumented(source)
    assert not private_imports(source)


@per_file
def test_no_error_is_swallowed_or_stands_in_front_of_lamps(path):
    source = path.read_text()
    assert not swallowing(source)
    assert not chained(source)


ERRORS = frozenset(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.LampError)
)


@per_file
def test_every_error_says_expected_got_and_fix(path):
    assert not incomplete(path.read_text(), ERRORS)


@per_file
def test_only_the_command_line_prints(path):
    module = module_name(path)
    assert module == PROGRESS_BAR or not printing(path.read_text())
    if room(module) == "cli" and module != "lamp.cli.terminal":  # there names become printable
        assert "click.echo" not in path.read_text()


def test_the_tiers_name_files_that_are_there():
    there = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(SLOW) <= there
    assert all(any(name.startswith(begin) for name in there) for begin in COMPILED)


def test_file_names_say_something():
    assert not {path.stem for path in FILES} & {"util", "utils", "helper", "helpers", "common", "core", "misc", "tools"}


def edges_between_files(types: bool) -> dict[str, set[str]]:
    """The files of the package that each one imports, without the __init__ of its own package."""
    names, edges = frozenset(MODULES_BY_NAME), {}
    for name, path in MODULES_BY_NAME.items():
        tree = ast.parse(path.read_text())
        found = imports(ast.walk(tree if types else without_types(tree)), name, path.name == "__init__.py", names)
        edges[name] = {each for _, each in found if not name.startswith(f"{each}.")} - {name}
    return edges


def test_no_import_cycle():
    assert not cycle(edges_between_files(types=False))


def test_no_circle_of_types():
    """What a file imports for its types alone counts: who reads one file of a circle must read all."""
    assert not circles(edges_between_files(types=True))


def test_every_public_name_is_documented():
    for package in (lamp.public, lamp.nn, lamp.losses, lamp.metrics, lamp.optim, lamp.data, lamp.training, lamp.plots):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__  # a base's is not its own
                assert own, f"{package.__name__}.{name} has no docstring"


def test_no_file_names_a_folder_of_a_machine():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        assert not machine_paths(text), name


# ---- every public class stands in a table of cases ------------------------------------------------------------------
def public_classes(package, base, but=()) -> set[type]:
    """The classes under a base that a package names and that one can build."""
    found = {getattr(package, name) for name in package.__all__}
    return {each for each in found if inspect.isclass(each) and issubclass(each, base) and each is not base} - set(but)


def is_abstract(kind: type) -> bool:
    """Whether a class leaves a method of its base to be written."""
    return any(getattr(getattr(kind, name, None), "__isabstractmethod__", False) for name in dir(kind))


def missing_classes(public: set[type], tested: set[type]) -> set[str]:
    """The public classes, abstract ones aside, that no row of a table builds."""
    return {kind.__name__ for kind in public if not is_abstract(kind)} - {kind.__name__ for kind in tested}


def table(name: str) -> list:
    """The rows of a table of cases."""
    return getattr(importlib.import_module(f"tests.cases.{name}"), name.upper())


def test_every_module_stands_in_the_table():
    rows = [*table("modules"), *table("several")]
    tested = {type(module) for row in rows for module in row.make().modules()}
    but = [
        Activation,
        Container,
        lamp.AdaptiveLogSoftmaxWithLoss,
        lamp.LinearCrossEntropyLoss,
        lamp.MaxUnpool1d,
        lamp.MaxUnpool2d,
        lamp.MaxUnpool3d,
    ]
    but += [lamp.nn.ModuleList, lamp.nn.ModuleDict]  # tests/test_module_own.py: they compute nothing
    but += [lamp.FractionalMaxPool2d, lamp.FractionalMaxPool3d]  # tests/test_pooling.py and tests/test_sample_losses.py
    assert not missing_classes(public_classes(lamp.nn, Module, but=[*but, *LAZY, *TRANSFORMERS]), tested)


def test_every_loss_stands_in_the_table():
    elsewhere = [lamp.CTCLoss, lamp.losses.SampleLoss]  # tests/test_ctc.py and tests/test_sample_losses.py
    public = {kind for kind in public_classes(lamp.losses, Loss, but=elsewhere) if not issubclass(kind, elsewhere[1])}
    assert not missing_classes(public, {type(row.make()) for row in table("losses")})


def test_every_optimizer_stands_in_the_table():
    parameters = [lamp.Parameter(torch.ones(3)) for _ in range(6)]  # several, for the rows with groups
    tested = {type(row.make(parameters)) for row in table("optimizers")}
    elsewhere = [lamp.Lion, lamp.Muon, lamp.SparseAdam, lamp.LBFGS]  # tests/test_other_optimizers.py
    assert not missing_classes(public_classes(lamp.optim, Optimizer, but=elsewhere), tested)


def test_every_schedule_stands_in_the_table():
    tested = {type(row.make()) for row in table("schedules")}
    public = public_classes(lamp.optim, LRScheduler)
    assert public
    assert not missing_classes(public, tested)


# ---- each rule is seen failing --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line",
    [
        "import torch.nn",
        "import torch.nn as nn",
        "from torch import nn",
        "from torch.nn import functional as F",
        "from torch import Tensor, autograd",
        "import torch; y = torch.nn.functional.relu(x)",
        "import torch as t; y = t.nn.Linear(2, 3)",
        "import torch; y = getattr(torch, 'nn').Linear(2, 3)",
        "import torch; y = torch._C._nn.gelu(x)",
        "import torch; y = torch.ops.aten.threshold_backward(dy, x, 0.0)",
        "import torch; y = torch.ops.aten.gelu_backward.default(dy, x)",
        "import torch; torch.optim.SGD(parameters)",
        "import torch; torch.func.grad(f)",
        "from torch import vmap",
        "import torch; torch.save(x, path)",
        "import torch; torch.load(path, weights_only=True)",
        "import torch\ndef f():\n    with torch.enable_grad():\n        pass",
        "x.requires_grad_()",
        "x.requires_grad = True",
        "import torch; x = torch.ones(3, requires_grad=True)",
        "from importlib import import_module; import_module('torch.nn')",
        "__import__('torch.autograd')",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import cloudpickle",
        "import numpy as np; np.load(path, allow_pickle=True)",
    ],
)
def test_a_forbidden_name_is_found(line):
    assert forbidden_names(line)


@pytest.mark.parametrize(
    "line",
    [
        '"""As torch.nn.Linear has it."""',
        "import torch; no_autograd = getattr(torch._C, '_AutoDispatchBelowAutograd', torch.no_grad)",
        "import torch; y = torch.selu(x); z = x.where(x > 0, y)",
        "from lamp import nn; nn.Linear(2, 3)",
        "model.backward(criterion.backward()); optimizer.load(); history.save(path)",
        "def backward(self, dy): return dy  # not torch.autograd",
        "import numpy as np; np.load(path)",
    ],
)
def test_a_harmless_name_is_not(line):
    assert not forbidden_names(line)


def test_the_rooms_where_torch_is_the_other_party_may_name_it():
    line = "import torch; network = torch.nn.Linear(2, 3)"
    assert forbidden_names(line, "lamp.experiments.mini_2019")
    assert not forbidden_names(line, "lamp.experiments.torch_peer")
    assert not forbidden_names(line, "lamp.interop.torch")
    assert forbidden_names("import pickle", "lamp.interop.torch")


PLANTED = frozenset(
    {"lamp", "lamp.module", "lamp.nn", "lamp.nn.linear", "lamp.optim", "lamp.checks", "lamp.training.fit"}
)


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("from lamp.optim import Adam", "lamp.nn.linear"),
        ("import lamp.optim", "lamp.nn.linear"),
        ("from lamp import optim", "lamp.nn.linear"),
        ("from lamp import Linear", "lamp.nn.linear"),
        ("def f():\n    from lamp.optim.adam import Adam", "lamp.nn.linear"),
        ("if TYPE_CHECKING:\n    from lamp.optim import Adam", "lamp.nn.linear"),
        ("from ..optim import Adam", "lamp.nn.linear"),
        ("from .. import optim", "lamp.nn.linear"),
        ("from importlib import import_module\nimport_module('lamp.optim')", "lamp.nn.linear"),
        ("from lamp.nn.linear import Linear", "lamp.module"),
        ("from lamp.training.fit import fit", "lamp.checks"),
        ("from lamp.cellar import wine", "lamp.nn.linear"),
    ],
)
def test_an_import_from_above_is_found(line, module):
    assert climbing_imports(line, module, False, PLANTED)


def test_imports_from_below_are_not():
    source = "import torch\nfrom lamp import module\nfrom lamp.module import Module\nfrom .sequential import Sequential"
    assert not climbing_imports(source, "lamp.nn.linear", False, PLANTED)
    assert not climbing_imports("from .linear import Linear", "lamp.nn", True, PLANTED)


def test_a_cycle_is_found():
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "a"]
    assert not cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_a_circle_is_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "e"}, "e": {"d"}, "f": {"a", "d"}}
    assert sorted(map(sorted, circles(edges))) == [["a", "b", "c"], ["d", "e"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_what_is_imported_for_types_alone_is_no_cycle():
    source = "from lamp.nn.linear import Linear\nif TYPE_CHECKING:\n    from lamp.training.fit import Training"
    found = imports(ast.walk(without_types(ast.parse(source))), "lamp.module", False, PLANTED)
    assert found == [(1, "lamp.nn.linear")]


def test_a_long_file_is_found():
    assert too_long("x = 1\n" * 401)
    assert not too_long("x = 1\n" * 400)
    assert not too_long("# Long because it is one table.\n" + "x = 1\n" * 401)


def test_a_missing_docstring_is_found():
    assert undocumented('"""File."""\nclass A:\n    pass\nclass B:\n    "B."\nclass _C: pass') == ["line 2: A"]
    assert undocumented("x = 1") == ["the file"]
    assert not undocumented("")


def test_private_imports_and_prints_are_found():
    assert private_imports("from lamp.module import _now")
    assert not private_imports("from lamp import __version__\nfrom functools import _make_key")
    assert swallowing("try:\n    f()\nexcept Exception as e:\n    pass")
    assert swallowing("try:\n    f()\nexcept:\n    g()")
    assert swallowing("try:\n    f()\nexcept (OSError, BaseException):\n    raise ValueError from None")
    assert not swallowing("try:\n    f()\nexcept Exception as e:\n    tell(e)\n    raise")
    assert not swallowing("try:\n    f()\nexcept OSError:\n    pass")
    assert incomplete("raise DataError('no', expected=1, got=2)", ERRORS)
    assert not incomplete("raise DataError('no', expected=1, got=2, fix='x')", ERRORS)
    assert not incomplete("raise DataError('no', **told)", ERRORS)
    assert chained("try:\n    f()\nexcept OSError as e:\n    raise ValueError from e")
    assert not chained("raise ValueError from None")
    assert printing("def f():\n    print(1)")
    assert not printing("console.print(table)")


def test_a_folder_of_a_machine_is_found():
    home = "/".join(["", "home", "someone", "lamp"])
    assert machine_paths(f"path = '{home}'")
    assert machine_paths("C:" + r"\Users\someone")
    assert not machine_paths("https://example.org/home/page and lamp.nn/work and ./work/x")


def test_a_missing_case_is_found():
    class Base(Module):
        pass

    class Tested(Base):
        pass

    class Forgotten(Base):
        pass

    assert missing_classes({Tested, Forgotten}, {Tested}) == {"Forgotten"}
    assert missing_classes({Loss, Tested}, {Tested}) == set()
