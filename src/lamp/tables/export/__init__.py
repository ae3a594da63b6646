"""Export a table's ensemble for other programs: files, and a recipe that says what they take and return.

The ONNX and the Python file take raw columns. Those for torch take the networks' inputs, and the recipe,
`FILE.inputs.json`, says how the caller computes each of them from words, dates and missing values.
"""

from __future__ import annotations

from pathlib import Path

from lamp.errors import ArgumentError
from lamp.saving import save_json
from lamp.tables.export import onnx_file, python_file, recipe, torch_file
from lamp.tables.model import TableModel

KINDS = {"onnx": ".onnx", "torch": ".py", "safetensors": ".safetensors", "python": ".py"}


def export(model: TableModel, kind: str, path: Path) -> list[Path]:
    """Write the model for another program. Returns the paths written: the model's files, and the recipe.

    onnx         from raw columns to probabilities, or to numbers in the target's unit; for onnxruntime
    python       the same as a Python file that needs only numpy
    torch        from the networks' inputs: a Python file for torch.nn, with the weights in a second file
    safetensors  the weights alone, named "k.layer.weight" for member k, as in torch.nn.ModuleList

    The ONNX and the Python file are run on random rows first, and must predict what the model predicts.

    Raises ArgumentError for another kind, DataError for a name that the file cannot have, ExportError if a package is
    missing or the file predicts something else, and CheckpointError if a file cannot be written.
    """
    if kind not in KINDS:
        raise ArgumentError("unknown export", expected=", ".join(KINDS), got=kind, fix="name one of these")
    files = [path]
    if kind == "onnx":
        onnx_file.write(model, path)
    elif kind == "python":
        python_file.write(model, path)
    else:
        weights = path.with_suffix(".safetensors")
        torch_file.write_weights(model, weights)
        if kind == "torch":
            torch_file.write(model, path, weights.name)
            files.append(weights)
    written = recipe_of(path)
    told = recipe.of_columns(model, kind) if kind in ("onnx", "python") else recipe.of_features(model, kind)
    save_json(written, told)
    return [*files, written]


def recipe_of(path: Path) -> Path:
    """The path of the recipe beside an exported file; no two files share one."""
    return path.with_name(f"{path.name}.inputs.json")


__all__ = ["KINDS", "export", "recipe_of"]
