"""A table's ensemble as an ONNX file that takes raw columns: preprocessing, encodings, networks and weights in a graph.

Each column is an input (n, 1): doubles for numbers and dates, text for words and answers. Columns of one kind are
joined, so the graph does not grow with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.interop.onnx import IR_VERSION, OPSET, package, session_of, to_onnx
from lamp.saving import write_file
from lamp.tables import parsing
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.export import probe
from lamp.tables.export.ensembles import bins_of, days_among, ensemble_of
from lamp.tables.groups import Group
from lamp.tables.model import TableModel

FOR_WORDS, FOR_WORDS_VERSION = "ai.onnx.ml", 3  # the operators for text
ERA, FROM_MARCH_0 = 146_097, 719_468  # days in 400 years; days from 0000-03-01 to 1970-01-01
PARTS = ["days", *(f"{curve} of {turn}" for turn in ("year", "month", "week", "day") for curve in ("sine", "cosine"))]


class Graph:
    """An ONNX graph under construction: nodes and constants in order. Values are named by number."""

    def __init__(self, onnx: Any, taken: Sequence[str]) -> None:
        self.onnx, self.nodes, self.constants = onnx, list[Any](), list[Any]()
        self.prefix = "lamp/"
        while any(name.startswith(self.prefix) for name in taken):
            self.prefix = f"_{self.prefix}"

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operator, and return the name of its output."""
        output = output or f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """Add an array, and return its name."""
        name = f"{self.prefix}constant_{len(self.constants)}"
        array = np.array(values, dtype=dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, x: str, kind: str) -> str:
        return self.node("Cast", x, to=getattr(self.onnx.TensorProto, kind))

    def joined(self, values: Sequence[str]) -> str:
        """Values side by side, along axis 1."""
        return values[0] if len(values) == 1 else self.node("Concat", *values, axis=1)

    def picked(self, x: str, places: Sequence[int]) -> str:
        """Some columns of x, in this order."""
        return self.node("Gather", x, self.constant(places, np.int64), axis=1)


def write(model: TableModel, path: Path) -> None:
    """Write the file. Raises ExportError, and writes nothing, if it does not predict what the model predicts."""
    onnx, runtime = package("onnx"), package("onnxruntime")
    data = _model(onnx, model).SerializeToString()

    def write_and_check(file: IO[bytes]) -> None:
        file.write(data)
        file.flush()
        session = session_of(runtime, file.name)
        output = "probabilities" if model.target.is_classes else "prediction"
        probe.check(model, lambda frame: session.run([output], feeds(model, frame))[0], path)

    write_file(path, write_and_check)


def feeds(model: TableModel, frame: pl.DataFrame) -> dict[str, Any]:
    """The inputs of the file for the rows of a table, whatever types its columns have: {name: (n, 1)}."""
    found = {}
    for column in model.preprocessing.used:
        series = frame[column.name]
        if isinstance(column, NumberColumn):
            values = column.read(series).fill_null(float("nan")).to_numpy()
        elif isinstance(column, DateColumn):
            at = column.read(series)
            values = (at.cast(pl.Int64).cast(pl.Float64) / 86400e6).fill_null(float("nan")).to_numpy()
        else:
            values = parsing.words(series, column.missing_words).fill_null("").to_numpy().astype(object)
        found[column.name] = values[:, None]
    return found


def _model(onnx: Any, model: TableModel) -> Any:
    """The ONNX model."""
    helper, proto, used = onnx.helper, onnx.TensorProto, model.preprocessing.used
    names = [column.name for column in used]
    outputs = ["prediction", "probabilities"] if model.target.is_classes else ["prediction"]
    if unusable := [name for name in names if not name or name in outputs]:
        raise DataError(
            "an input of an ONNX file cannot have this name",
            expected=f"columns that are not called {', '.join(outputs)}",
            got=", ".join(map(repr, unusable)),
            fix="rename the column in the table, and train again",
        )
    graph = Graph(onnx, names)
    x, inputs, mean = _features(graph, used), len(model.preprocessing.features), ""
    for place, group in enumerate(model.groups):
        y = _group(graph, model, group, x, inputs, f"{graph.prefix}group_{place + 1}/")
        y = y if group.weight == 1 else graph.node("Mul", y, graph.constant(group.weight, np.float32))
        mean = graph.node("Add", mean, y) if mean else y
    if model.target.is_classes:
        graph.node("Identity", mean, output="probabilities")
        words = graph.node("ArgMax", mean, axis=1, keepdims=0)
        graph.node(
            "LabelEncoder", words, output="prediction", domain=FOR_WORDS, keys_int64s=list(range(model.target.outputs)),
            values_strings=list(model.target.classes),
        )  # fmt: skip
        kinds = {"prediction": (proto.STRING, ["n"]), "probabilities": (proto.FLOAT, ["n", model.target.outputs])}
    else:
        y = graph.node("Mul", graph.cast(mean, "DOUBLE"), graph.constant(model.target.std))
        y = graph.node("Add", y, graph.constant(model.target.mean))
        for kind, limit in zip(("Max", "Min"), model.limits, strict=True):
            y = y if limit is None else graph.node(kind, y, graph.constant(limit))
        graph.node("Squeeze", y, graph.constant([1], np.int64), output="prediction")
        kinds = {"prediction": (proto.DOUBLE, ["n"])}
    described = helper.make_tensor_value_info
    of_words = (BooleanColumn, CategoryColumn)
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "lamp",
            [described(c.name, proto.STRING if isinstance(c, of_words) else proto.DOUBLE, ["n", 1]) for c in used],
            [described(name, *kinds[name]) for name in outputs],
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(FOR_WORDS, FOR_WORDS_VERSION)],
        ir_version=IR_VERSION,
        producer_name="lamp",
    )
    helper.set_model_props(made, {"target": model.target.name, "members": str(model.members)})
    onnx.checker.check_model(made, full_check=True)
    return made


def _group(graph: Graph, model: TableModel, group: Group, x: str, inputs: int, prefix: str) -> str:
    """Add a group's encoding and networks; returns their mean (n, outputs)."""
    if (bins := bins_of(group, inputs)) is not None:
        of, lower, width = bins
        t = graph.node("Sub", graph.picked(x, of.tolist()), graph.constant(lower.numpy(), np.float32))
        t = graph.node("Div", t, graph.constant(width.numpy(), np.float32))
        t = graph.node("Clip", t, graph.constant(0.0, np.float32), graph.constant(1.0, np.float32))
        x = graph.joined([x, t])
    with TemporaryDirectory() as folder:
        path = to_onnx(ensemble_of(model, group), Path(folder) / "group.onnx", input_name="x", output_name="y")
        networks = graph.onnx.compose.add_prefix(graph.onnx.load(path), prefix).graph
    graph.node("Identity", x, output=f"{prefix}x")
    graph.nodes += networks.node
    graph.constants += networks.initializer
    return f"{prefix}y"


# ---- preprocessing ---------------------------------------------------------------------------------------------------
Added = tuple[str, int, list[list[int]]]  # a value (n, width) float32, its width, and the places of each column in it


def _features(graph: Graph, used: Sequence[Column]) -> str:
    """Add the preprocessing of all columns; returns the networks' inputs (n, features) float32."""
    values, places, start = [], dict[str, list[int]](), 0
    for kind, add in (
        (NumberColumn, _numbers),
        (BooleanColumn, _answers),
        (CategoryColumn, _words),
        (DateColumn, _dates),
    ):
        columns: list[Any] = [column for column in used if isinstance(column, kind)]
        if columns:
            value, width, of_columns = add(graph, columns)
            values.append(value)
            places |= {c.name: [start + k for k in of] for c, of in zip(columns, of_columns, strict=True)}
            start += width
    return graph.picked(graph.joined(values), [place for column in used for place in places[column.name]])


def _gaps(graph: Graph, x: str, codes: Sequence[Sequence[float]]) -> str:
    """Where numbers (n, columns) are missing: NaN, or one of a column's numbers that mean missing."""
    gaps = graph.node("IsNaN", x)
    for k in range(max(map(len, codes))):
        row = [own[k] if k < len(own) else np.nan for own in codes]
        gaps = graph.node("Or", gaps, graph.node("Equal", x, graph.constant(row)))
    return gaps


def _standardised(graph: Graph, x: str, mean: Sequence[float], std: Sequence[float]) -> str:
    return graph.node("Div", graph.node("Sub", x, graph.constant(mean)), graph.constant(std))


def _numbers(graph: Graph, columns: Sequence[NumberColumn]) -> Added:
    x = graph.joined([column.name for column in columns])  # (n, columns) double
    gaps = _gaps(graph, x, [parsing.numbers_among(tuple(column.missing_words)) for column in columns])
    x = graph.node("Where", gaps, graph.constant([column.median for column in columns]), x)
    curves = [column.curve for column in columns]
    if any(curves):
        centres, widths = (
            [curve[key] if curve else of_none for curve in curves] for key, of_none in (("centre", 0.0), ("width", 1.0))
        )
        u = _standardised(graph, x, centres, widths)
        root = graph.node("Sqrt", graph.node("Add", graph.node("Mul", u, u), graph.constant(1.0)))
        size = graph.node("Log", graph.node("Add", graph.node("Abs", u), root))  # asinh |u|
        asinh = graph.node("Mul", graph.node("Sign", u), size)
        x = graph.node("Where", graph.constant([curve is not None for curve in curves], np.bool_), asinh, x)
    z = _standardised(graph, x, [column.mean for column in columns], [column.std for column in columns])
    count = len(columns)
    value = graph.joined([graph.cast(z, "FLOAT"), graph.cast(gaps, "FLOAT")])
    return value, 2 * count, [[k, count + k][: 1 + column.indicator] for k, column in enumerate(columns)]


def _answers(graph: Graph, columns: Sequence[BooleanColumn]) -> Added:
    found, (yes, no) = [], parsing.all_answers()
    for column in columns:
        meaning = {text: 1.0 for word in yes for text in (*_written(word), f"{word}.0")}
        meaning |= {text: 0.0 for word in no for text in (*_written(word), f"{word}.0")}
        meaning |= {text: 0.5 for word in column.missing_words for text in _written(word)}
        found.append(
            graph.node(
                "LabelEncoder", column.name, domain=FOR_WORDS, keys_strings=list(meaning),
                values_floats=list(meaning.values()), default_float=0.5,
            )
        )  # fmt: skip
    x, count = graph.joined(found), len(columns)
    gaps = graph.node("Equal", x, graph.constant(0.5, np.float32))
    value = graph.joined([x, graph.cast(gaps, "FLOAT")])
    return value, 2 * count, [[k, count + k][: 1 + column.indicator] for k, column in enumerate(columns)]


def _words(graph: Graph, columns: Sequence[CategoryColumn]) -> Added:
    values, places, start = [], list[list[int]](), 0
    for column in columns:
        known, features = len(column.levels), len(column.features)
        gap, other = known, known + 1
        meaning = {text: gap for word in ["", *column.missing_words] for text in _written(word)}
        answers = sorted(level.lower() for level in column.levels) == ["false", "true"]
        for place, level in enumerate(column.levels):
            texts = _written(level) if answers else [level]
            meaning |= dict.fromkeys([*texts, f"{level}.0"] if level.lstrip("+-").isdecimal() else texts, place)
        at = graph.node(
            "LabelEncoder", column.name, domain=FOR_WORDS, keys_strings=list(meaning),
            values_int64s=list(meaning.values()), default_int64=other,
        )  # fmt: skip
        rows = np.zeros((known + 2, features))  # each word's features
        rows[range(known), range(known)] = 1.0
        if column.rare:
            rows[other, known] = 1.0
        if column.missing:
            rows[gap, -1] = 1.0
        at = graph.node("Squeeze", at, graph.constant([1], np.int64))  # (n,)
        values.append(graph.node("Gather", graph.constant(rows, np.float32), at, axis=0))  # (n, features)
        places.append([*range(start, start + features)])
        start += features
    return graph.joined(values), start, places


def _written(word: str) -> list[str]:
    """The ways in which people write a word whose case does not matter."""
    return list(dict.fromkeys([word, word.lower(), word.upper(), word.capitalize()]))


def _dates(graph: Graph, columns: Sequence[DateColumn]) -> Added:
    """From days since 1970-01-01, with decimals, to their parts.

    Source    Hinnant, "chrono-compatible low-level date algorithms", days_from_civil and its inverse: years that begin
              in March, so that the leap day is the last
    """

    def add(x: str, y: float | str) -> str:
        return graph.node("Add", x, y if isinstance(y, str) else graph.constant(y))

    def times(x: str, factor: float) -> str:
        return graph.node("Mul", x, graph.constant(factor))

    def minus(x: str, y: str) -> str:
        return graph.node("Sub", x, y)

    def over(x: str, divisor: float) -> str:
        return graph.node("Floor", graph.node("Div", x, graph.constant(divisor)))

    def rest(x: str, divisor: float) -> str:
        return minus(x, times(over(x, divisor), divisor))

    def whether(x: str, comparison: str, y: float) -> str:
        return graph.cast(graph.node(comparison, x, graph.constant(y)), "DOUBLE")

    x, count = graph.joined([column.name for column in columns]), len(columns)
    gaps = _gaps(graph, x, [days_among(column) for column in columns])
    at = graph.node("Where", gaps, graph.constant(0.0), x)  # (n, columns) double
    day = graph.node("Floor", at)
    in_era = rest(add(day, FROM_MARCH_0), ERA)
    leap_days = minus(add(over(in_era, 36_524), times(over(in_era, 1_460), -1)), over(in_era, ERA - 1))
    year = over(add(in_era, leap_days), 365)  # of the era's 400, from March on
    begun = minus(add(times(year, 365), over(year, 4)), over(year, 100))
    in_year = minus(in_era, begun)  # 0 on March 1
    month = over(add(times(in_year, 5), 2), 153)  # 0 in March
    in_month = minus(in_year, over(add(times(month, 153), 2), 5))
    # a year from January on: January and February are the last 59 or 60 days of the year from March on
    new_year = whether(in_year, "GreaterOrEqual", 306)
    is_leap = minus(whether(rest(year, 4), "Equal", 0), whether(rest(year, 100), "Equal", 0))
    is_leap = add(is_leap, whether(year, "Equal", 0))
    before_march = graph.node("Mul", add(is_leap, 59), graph.node("Sub", graph.constant(1.0), new_year))
    of_year = add(minus(add(in_year, before_march), times(new_year, 306)), 1)
    turns = {
        "year": times(of_year, 1 / 365.25),
        "month": times(add(in_month, 1), 1 / 31),
        "week": times(add(rest(add(day, 3), 7), 1), 1 / 7),
        "day": minus(at, day),
    }
    parts = [at]
    for turn in turns.values():
        angle = times(turn, 2 * np.pi)
        parts += [graph.node("Sin", angle), graph.node("Cos", angle)]
    chosen = [(k, part) for k, column in enumerate(columns) for part in column.parts]
    flags = graph.cast(gaps, "FLOAT")
    wide = len(chosen)
    of_columns = []
    for k, column in enumerate(columns):
        own = [place for place, (of, _) in enumerate(chosen) if of == k]
        of_columns.append([*own, wide + k] if column.indicator else own)
    if not chosen:
        return flags, count, of_columns
    z = graph.picked(graph.joined(parts), [PARTS.index(part) * count + k for k, part in chosen])
    mean, std = zip(*(columns[k].parts[part] for k, part in chosen), strict=True)
    z = graph.node(
        "Where", graph.picked(gaps, [k for k, _ in chosen]), graph.constant(0.0), _standardised(graph, z, mean, std)
    )
    return graph.joined([graph.cast(z, "FLOAT"), flags]), wide + count, of_columns
