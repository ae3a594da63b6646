"""A table's ensemble as a Python file that needs only numpy and takes raw columns."""

from __future__ import annotations

import inspect
import pprint
import runpy
import warnings
from functools import cache
from pathlib import Path
from typing import IO, Any

import polars as pl

from lamp.installation import VERSION
from lamp.interop.predictor import predictor
from lamp.interop.python_rules import RULES
from lamp.interop.python_script import Script
from lamp.interop.python_text import docstring
from lamp.saving import write_file
from lamp.tables import dates, parsing
from lamp.tables.calendars import points_in_time
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, NumberColumn
from lamp.tables.export import probe, reader
from lamp.tables.export.ensembles import bins_of, days_among, ensemble_of, taken
from lamp.tables.kinds import listed
from lamp.tables.model import TableModel
from lamp.tables.month_names import MONTH_OF
from lamp.tables.quick_dates import ISO

OPENING = """Predicts {target} with an ensemble of {members} networks. Needs only numpy.

    from {name} import predict

    predict({{{first!r}: [...], ...}})  # {outputs}

predict takes a dict or a data frame of columns, or a list with a dict per row. None, NaN and an empty text are missing
values. These are the columns:

{columns}

Written by lamp {version}.
"""
IMPORTS = """from __future__ import annotations

import base64
import datetime
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np"""
PREDICT = '''def predict(table):
    """The {outputs}."""
    x = features(table, COLUMNS)  # (n, {features})
    y = {mean}
    return {result}'''
WIDTH = 116
READER = (
    reader.features, reader.is_gap, reader.number, reader.boolean, reader.word, reader.category, reader.date,
    reader.in_words, reader.names_zone, points_in_time, reader.parts_of_times, reader.encoded,
)  # fmt: skip


def write(model: TableModel, path: Path) -> None:
    """Write the file. Raises ExportError, and writes nothing, if it does not predict what the model predicts."""
    text = _text(model, path.stem)

    def write_and_check(file: IO[bytes]) -> None:
        file.write(text.encode())
        file.flush()
        run = cache(runpy.run_path)

        def predicted(frame: pl.DataFrame) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # times of these random rows name no zone
                return run(file.name)["predict"](frame.to_dict(as_series=False))

        probe.check(model, predicted, path)

    write_file(path, write_and_check)


def _text(model: TableModel, name: str) -> str:
    """The contents of the file."""
    target, used, inputs = model.target, model.preprocessing.used, len(model.preprocessing.features)
    outputs = (
        f"probabilities of {listed(target.classes, 5)}, (n, {target.outputs})" if target.is_classes else "numbers, (n,)"
    )
    opening = OPENING.format(
        target=target.name,
        members=model.members,
        name=name if name.isidentifier() else "this_file",
        first=used[0].name,
        outputs=outputs,
        columns="\n".join(f"    {column.name}: {taken(column)}" for column in used),
        version=VERSION,
    )
    reserved = [*(each.__name__ for each in READER), *(f"group_{k + 1}" for k in range(len(model.groups))), "COLUMNS"]
    script: Script | None = None
    groups, terms = [], []
    for place, group in enumerate(model.groups):
        plan = predictor(ensemble_of(model, group), RULES)
        script = Script(plan, name, RULES, f"group_{place + 1}", reserved, script)
        groups.append(script.definition())
        x = "x"
        if (bins := bins_of(group, inputs)) is not None:
            arrays = (
                script.array(f"{what}_{place + 1}", each)
                for what, each in zip(("of", "lower", "width"), bins, strict=True)
            )
            x = f"encoded(x, {', '.join(arrays)})"
        terms.append(f"group_{place + 1}({x})" if group.weight == 1 else f"{group.weight!r} * group_{place + 1}({x})")
    assert script is not None
    columns = {column.name: (column.kind, learned(column)) for column in used}
    predict = PREDICT.format(
        outputs=outputs.replace('"', "'"),
        features=inputs,
        mean=" + ".join(terms),
        result="y" if target.is_classes else _in_unit(model),
    )
    blocks = [
        f"{docstring(opening)}\n\n{IMPORTS}",
        *(inspect.getsource(each).rstrip() for each in READER),
        *script.definitions(),
        f"COLUMNS = {pprint.pformat(columns, width=WIDTH, sort_dicts=False)}",
        *groups,
        predict,
    ]
    return "\n\n\n".join(blocks) + "\n"


def _in_unit(model: TableModel) -> str:
    """The expression of the numbers in the target's unit, within its limits."""
    numbers = f"y[:, 0].astype(np.float64) * {model.target.std!r} + {model.target.mean!r}"
    return numbers if model.limits == (None, None) else f"np.clip({numbers}, {', '.join(map(repr, model.limits))})"


def learned(column: Column) -> dict[str, Any]:
    """The arguments of the column's function in `lamp.tables.export.reader`, besides its name and values."""
    gaps = sorted({each.lower() for each in [*column.missing_words, *getattr(column, "words", [])]})
    if isinstance(column, NumberColumn):
        return {
            "gaps": gaps,
            "codes": parsing.numbers_among(tuple(column.missing_words)),
            "median": column.median,
            "mean": column.mean,
            "std": column.std,
            "indicator": column.indicator,
            "curve": column.curve,
            "text": column.decimal == "." and column.unit == "",
        }
    if isinstance(column, BooleanColumn):
        yes, no = parsing.all_answers()
        return {"gaps": gaps, "yes": yes, "no": no, "indicator": column.indicator}
    if isinstance(column, CategoryColumn):
        return {"gaps": gaps, "levels": column.levels, "others": bool(column.rare), "missing": column.missing}
    assert isinstance(column, DateColumn)
    form = column.format or ISO
    return {
        "gaps": gaps,
        "codes": days_among(column),
        "grammar": dates.grammar(form),
        "short_years": "%y" in form,
        "digits": form == dates.COMPACT,
        "clock": form == dates.TIME_ALONE,
        "months": MONTH_OF if "%b" in form else {},
        "zones": dates.ZONES,
        "parts": {part: (mean, std) for part, (mean, std) in column.parts.items()},
        "indicator": column.indicator,
        "zoned": column.zoned,
    }
