"""The recipe beside an exported file: what it takes and returns, and, where it takes features, how each is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamp.tables import dates
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.export.ensembles import taken
from lamp.tables.model import TableModel

LOSSY = 1e4  # |mean| / std beyond which float32 is too coarse, so that the caller scales the number in float64


@dataclass(frozen=True)
class Input:
    """One input of an exported network: its column, how to compute it, and how the file then scales it."""

    feature: str
    column: str
    how: str
    mean: float = 0.0
    scale: float = 1.0


# ---- of raw columns --------------------------------------------------------------------------------------------------
def of_columns(model: TableModel, kind: str) -> dict[str, Any]:
    """The recipe of a file that takes raw columns."""
    form = _in_onnx if kind == "onnx" else taken
    columns = [{"column": each.name, "kind": each.kind, "value": form(each)} for each in model.preprocessing.used]
    unread = "taken for missing" if kind == "onnx" else "refused"
    return {
        "columns": columns,
        "missing": "NaN in numbers and dates, an empty text in others"
        if kind == "onnx"
        else "None, NaN or an empty text",
        "words that training did not have": "as in lamp predict: the feature for rare words, or no feature",
        "answers that are neither yes nor no": unread,
        "outputs": _outputs(model, weights_alone=False),
    }


def _in_onnx(column: Column) -> str:
    """What the input of a column holds."""
    if isinstance(column, BooleanColumn | CategoryColumn):
        return f"text (n, 1), without blanks around it: {taken(column)}"
    if isinstance(column, NumberColumn):
        return f"doubles (n, 1): {taken(column)}"
    assert isinstance(column, DateColumn)
    if column.format == dates.TIME_ALONE:
        return "doubles (n, 1): the time as a share of the day, 0.5 at noon"
    return f"doubles (n, 1): days since 1970-01-01, with the time of day {_zone(column)}as decimals"


def _zone(column: DateColumn) -> str:
    """How the times of a column of dates are written, where training's had any."""
    return "as it stands, because training's named no time zone, " if column.zoned is False else "in UTC "


# ---- of features -----------------------------------------------------------------------------------------------------
def inputs_of(model: TableModel) -> list[Input]:
    """All inputs of the networks, in order."""
    return [each for column in model.preprocessing.used for each in _inputs(column)]


def of_features(model: TableModel, kind: str) -> dict[str, Any]:
    """The recipe of a file that takes the networks' inputs, one row each."""
    weights_alone = kind == "safetensors"
    fields: dict[str, Any] = {
        "inputs": [
            {"feature": each.feature, "column": each.column, "value": each.how, "mean": each.mean, "scale": each.scale}
            for each in inputs_of(model)
        ],
        "scaling": "to be done by the caller: (value - mean) / scale"
        if weights_alone
        else "done in the file: pass the values unscaled",
        "outputs": _outputs(model, weights_alone),
    }
    if weights_alone:
        fields["groups"], first = [], 0
        for group in model.groups:
            described = group.to_dict()
            last = first + described["members"] - 1
            fields["groups"].append(
                {"members": [first, last], "weight": group.weight}
                | {key: described[key] for key in ("edges", "layers")}
            )
            first = last + 1
        fields["encoding"] = (
            "where a group has edges: the inputs, followed by clamp((input - lower) / (upper - lower), 0, 1) for each "
            "two neighbouring edges of each input"
        )
        fields["then"] = (
            f"the mean over members of softmax(scores / {model.temperature!r}), weighted over groups"
            if model.target.is_classes
            else f"the mean over members, weighted over groups, times {model.target.std!r} plus {model.target.mean!r}; "
            "then moved to the intervals' lowest or highest where it lies beyond it, unless that is null"
        )
    return fields


def _outputs(model: TableModel, weights_alone: bool) -> dict[str, Any]:
    outputs: dict[str, Any] = {"target": model.target.name}
    if model.target.is_classes:
        outputs |= {"classes": list(model.target.classes)}
        return outputs | {"are": "scores of the classes" if weights_alone else "the probability of each class"}
    outputs["are"] = "a standardised number" if weights_alone else "the number, in the target's unit"
    assert model.intervals is not None
    how = (
        "90 % of the numbers lie between p - below(p) and p + above(p), where p is the predicted number; below and "
        "above are linear between the predictions in 'at' and constant outside of them, as in numpy.interp. Both ends "
        "are then moved to lowest or highest where they lie beyond it, unless that is null"
    )
    return outputs | {"intervals": {"are": how, **model.intervals.to_dict()}}


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
