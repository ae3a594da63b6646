"""lamp: deep learning on PyTorch tensors with every gradient written out.

    import lamp

    model = lamp.Sequential(lamp.Linear(2, 25), lamp.ReLU(), lamp.Linear(25, 2))
    criterion = lamp.CrossEntropyLoss()
    optimizer = lamp.Adam(model.parameters(), lr=1e-3)
    history = lamp.fit(model, criterion, optimizer, (inputs, targets), epochs=100)

The public names are defined in `lamp.public`, which is imported when one of them is first used. So `import lamp` alone,
and a command line that only prints its help, do not wait for torch. Names that need further packages (scikit-learn,
LLVM) are listed in `ELSEWHERE`, and are imported one by one.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lamp import fused
from lamp.installation import VERSION

if TYPE_CHECKING:
    from lamp.compiler.compiled import compile as compile
    from lamp.interop.onnx import to_onnx as to_onnx
    from lamp.interop.python_file import to_python as to_python
    from lamp.interop.sklearn import MLPClassifier as MLPClassifier
    from lamp.interop.sklearn import MLPRegressor as MLPRegressor
    from lamp.interop.tensorboard import TensorBoard as TensorBoard
    from lamp.interop.torch import from_torch as from_torch
    from lamp.interop.torch import to_torch as to_torch
    from lamp.nn import *  # noqa: F403
    from lamp.optim import *  # noqa: F403
    from lamp.public import *  # noqa: F403

__version__: str = VERSION

ELSEWHERE: dict[str, str] = {  # a public name: the module that holds it
    "MLPClassifier": "lamp.interop.sklearn",
    "MLPRegressor": "lamp.interop.sklearn",
    "TensorBoard": "lamp.interop.tensorboard",
    "compile": "lamp.compiler.compiled",
    "from_torch": "lamp.interop.torch",
    "to_onnx": "lamp.interop.onnx",
    "to_python": "lamp.interop.python_file",
    "to_torch": "lamp.interop.torch",
}


def _compile_formula(*arguments: Any) -> Any:
    return import_module("lamp.compiler.elementwise").compile_formula(*arguments)


fused.compile_formula = _compile_formula


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module 'lamp' has no attribute {name!r}")
    if find_spec(f"lamp.{name}") is not None:
        return import_module(f"lamp.{name}")  # a submodule, such as lamp.init
    if name in ELSEWHERE:
        return getattr(import_module(ELSEWHERE[name]), name)
    public = import_module("lamp.public")
    globals().update({each: getattr(public, each) for each in public.__all__})
    if name not in globals():
        missing = import_module("lamp.missing_names")
        raise missing.missing_name("lamp", name, [*ELSEWHERE, *public.__all__], missing.called_by_import())
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *ELSEWHERE, *import_module("lamp.public").__all__})
