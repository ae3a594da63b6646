"""Export a table's ensemble for other programs: a file with the networks, scaling and calibration, and a recipe.

The exported networks take numbers. The recipe, `NAME.inputs.json`, says how the caller computes each input from words,
dates and missing values.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError
from lamp.nn import Linear, Softmax
from lamp.replicas import Population
from lamp.saving import save_json, save_tensors, write_file
from lamp.studies import Ensemble
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.groups import Group
from lamp.tables.model import TableModel

KINDS = {"onnx": ".onnx", "torch": ".py", "safetensors": ".safetensors", "python": ".py"}
LOSSY = 1e4  # |mean| / std beyond which float32 is too coarse, so that the caller scales the number in float64


@dataclass(frozen=True)
class Input:
    """One input of an exported network: its column, how to compute it, and how the file then scales it."""

    feature: str
    column: str
    how: str
    mean: float = 0.0
    scale: float = 1.0


def export(model: TableModel, kind: str, path: Path) -> list[Path]:
    """Write the model for another program. Returns the paths written: the model's files, and the recipe for its inputs.

    onnx         from inputs in their own units to probabilities, or to numbers in the target's unit; for onnxruntime
    python       the same as a Python file that needs only numpy
    torch        the same as a Python file for torch.nn, with the weights in a second file
    safetensors  the weights alone, named "k.layer.weight" for member k, as in torch.nn.ModuleList

    Raises ArgumentError for another kind, DataError if a package is missing, and CheckpointError if a file cannot be
    written.
    """
    if kind not in KINDS:
        raise ArgumentError("unknown export", expected=", ".join(KINDS), got=kind, fix="name one of these")
    inputs = inputs_of(model)
    mean, scale = [each.mean for each in inputs], [each.scale for each in inputs]
    scaling = (torch.tensor(mean, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))
    recipe = path.with_name(f"{path.stem}.inputs.json")
    files = [path]
    if kind in ("onnx", "python"):
        _by_interop(kind)(ensemble_of(model), path, input_scaling=scaling, output_scaling=_output_scaling(model))
    else:
        weights = path.with_suffix(".safetensors")
        save_tensors(
            weights, _member_weights(_only_group(model).networks), {"format": "pt", "members": str(model.members)}
        )
        if kind == "torch":
            write_file(path, lambda file: file.write(_torch_file(model, scaling, weights.name).encode()))
            files.append(weights)
    save_json(recipe, _recipe(model, inputs, kind))
    return [*files, recipe]


def inputs_of(model: TableModel) -> list[Input]:
    """All inputs of the networks, in order."""
    return [each for column in model.preprocessing.used for each in _inputs(column)]


def ensemble_of(model: TableModel) -> Population | Ensemble:
    """The networks as one predictor of scaled inputs, with the temperature folded into the last layer's weights."""
    networks = copy.deepcopy(_only_group(model).networks)
    if not model.target.is_classes:
        return networks
    last = [module for module in networks.modules() if isinstance(module, Linear)][-1]
    for parameter in last.parameters():
        parameter.data.div_(model.temperature)
    return Ensemble(networks, probabilities=Softmax(-1))


def _only_group(model: TableModel) -> Group:
    """The model's group of networks. Raises DataError for several groups, and for an encoding."""
    if len(model.groups) > 1 or model.groups[0].encoding is not None:
        raise DataError(
            "an ensemble of several shapes, or with an encoding, cannot be exported",
            expected="networks of one shape, without an encoding",
            got=" and ".join(map(str, model.groups)),
            fix="lamp predict uses it as it is",
        )
    return model.groups[0]


def _by_interop(kind: str) -> Callable[..., Any]:
    if kind == "onnx":
        from lamp.interop.onnx import to_onnx

        return to_onnx
    from lamp.interop.python_file import to_python

    return to_python


def _output_scaling(model: TableModel) -> tuple[float, float] | None:
    return None if model.target.is_classes else (model.target.mean, model.target.std)


# ---- the recipe ------------------------------------------------------------------------------------------------------
def _inputs(column: Column) -> list[Input]:
    """The inputs made from a column."""
    name, gap = column.name, Input(f"{column.name} is missing", column.name, "1 where it is missing, else 0")
    if isinstance(column, NumberColumn):
        number = f"the number, in {column.unit}" if column.unit else "the number"
        how = f"{number}; {column.median!r} where it is missing"
        if column.curve is not None:
            centre, width = column.curve["centre"], column.curve["width"]
            how = f"asinh((x - {centre!r}) / {width!r}) of the number x; {column.median!r} for x where it is missing"
        return [_scaled(name, name, how, column.mean, column.std)] + [gap] * column.indicator
    if isinstance(column, BooleanColumn):
        return [Input(name, name, "1 for yes, 0 for no, 0.5 where it is missing")] + [gap] * column.indicator
    if isinstance(column, CategoryColumn):
        found = [Input(f"{name} = {level}", name, f"1 where it is {level!r}, else 0") for level in column.levels]
        if column.rare:
            found.append(Input(f"{name} is another", name, "1 where it is none of these words and not missing, else 0"))
        return found + [gap] * column.missing
    assert isinstance(column, DateColumn)
    turns = {
        "year": "(day of the year / 365.25)",
        "month": "(day of the month / 31)",
        "week": "(weekday, Monday 1, / 7)",
    }
    turns["day"] = "(seconds since midnight / 86400)"
    found = []
    for part, (mean, std) in column.parts.items():
        how = f"days since 1970-01-01, with decimals; {mean!r} where it is missing"
        if part != "days":
            curve, _, turn = part.partition(" of ")
            how = f"{'sin' if curve == 'sine' else 'cos'}(2 pi {turns[turn]}); {mean!r} where it is missing"
        found.append(_scaled(f"{name}: {part}", name, how, mean, std))
    return found + [gap] * column.indicator


def _scaled(feature: str, column: str, how: str, mean: float, std: float) -> Input:
    if abs(mean) > LOSSY * std:
        return Input(feature, column, f"(x - {mean!r}) / {std!r} in float64, where x is {how}")
    return Input(feature, column, how, mean, std)


def _recipe(model: TableModel, inputs: list[Input], kind: str) -> dict[str, Any]:
    classes = model.target.is_classes
    weights_alone = kind == "safetensors"
    outputs: dict[str, Any] = {"target": model.target.name}
    if classes:
        outputs |= {"classes": list(model.target.classes)}
        outputs["are"] = "scores of the classes" if weights_alone else "the probability of each class"
    else:
        outputs["are"] = "a standardised number" if weights_alone else "the number, in the target's unit"
        outputs["interval"] = f"90 % of the numbers lie within {model.margin!r} of it"
    fields = {
        "inputs": [
            {"feature": each.feature, "column": each.column, "value": each.how, "mean": each.mean, "scale": each.scale}
            for each in inputs
        ],
        "scaling": "to be done by the caller: (value - mean) / scale"
        if weights_alone
        else "done in the file: pass the values unscaled",
        "outputs": outputs,
    }
    if weights_alone:
        fields["then"] = (
            f"the mean over members of softmax(scores / {model.temperature!r})"
            if classes
            else f"the mean over members times {model.target.std!r} plus {model.target.mean!r}"
        )
        fields["layers"] = model.architecture["groups"][0]["layers"]
    return fields


# ---- for torch -------------------------------------------------------------------------------------------------------
def _member_weights(networks: Population) -> dict[str, Tensor]:
    """The weights of all members, under torch.nn's keys with "k." before them."""
    return {
        f"{k}.{name}": tensor[k].contiguous()
        for k in range(len(networks))
        for name, tensor in networks.state_dict().items()
    }


TORCH_FILE = '''"""{title}

    from {name} import load
    network = load()
    {outputs} = network(inputs)

inputs (n, {features}) float32, in the order and the units that {recipe} gives.
Written by lamp; needs torch and safetensors, and {weights} beside this file.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

MEAN = {mean}
SCALE = {scale}
MEMBERS = {members}


def member():
    """One network of the ensemble, for standardised inputs."""
    return torch.nn.Sequential(
{layers}
    )


class Ensemble(torch.nn.Module):
    """{doing}"""

    def __init__(self):
        super().__init__()
        self.members = torch.nn.ModuleList(member() for _ in range(MEMBERS))
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float64).float())
        self.register_buffer("scale", torch.tensor(SCALE, dtype=torch.float64).float())

    def forward(self, inputs):
        z = (inputs - self.mean) / self.scale
        scores = torch.stack([network(z) for network in self.members])
        return {result}


def load(path=Path(__file__).with_name("{weights}")):
    """The ensemble with its weights, in eval mode."""
    ensemble = Ensemble()
    ensemble.members.load_state_dict(load_file(path))
    return ensemble.eval()
'''


def _torch_file(model: TableModel, scaling: tuple[Tensor, Tensor], weights: str) -> str:
    target = model.target
    layers = "\n".join(f"        torch.nn.{layer}," for layer in model.architecture["groups"][0]["layers"])
    if target.is_classes:
        result, outputs = f"(scores / {model.temperature!r}).softmax(-1).mean(0)", "probabilities"
        doing = "The members' mean probabilities of the classes, (n, C)."
    else:
        result, outputs = f"scores.mean(0) * {target.std!r} + {target.mean!r}", "numbers"
        doing = "The members' mean, in the target's unit, (n, 1)."
    stem = Path(weights).stem
    if not stem.isidentifier():
        raise DataError(
            f"{stem}.py could not be imported", expected="letters, digits and _", got=stem, fix="--out another_name.py"
        )
    return TORCH_FILE.format(
        title="".join(letter for letter in f"An ensemble that predicts {target.name}." if letter not in '"\\'),
        name=stem,
        outputs=outputs,
        features=len(scaling[0]),
        recipe=f"{stem}.inputs.json",
        weights=weights,
        mean=scaling[0].tolist(),
        scale=scaling[1].tolist(),
        members=model.members,
        layers=layers,
        doing=doing,
        result=result,
    )
