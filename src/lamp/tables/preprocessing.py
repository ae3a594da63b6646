"""Preprocessing: turns a table into the numbers that a network takes; learned from training rows, saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import accumulate, pairwise
from typing import Any, NoReturn

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError, DTypeError
from lamp.printable import counted
from lamp.tables import another_table, kinds, remarks
from lamp.tables.cells import AT_A_TIME, Cells, cells_of
from lamp.tables.column import Column, Numbers, Unknown, check_type
from lamp.tables.columns import KINDS, LeftOut, NumberColumn
from lamp.tables.conventions import Conventions
from lamp.tables.few_lines import in_few_lines
from lamp.tables.kinds import Decision, listed
from lamp.tables.missing import MISSING_WORDS
from lamp.tables.plain import plain_numbers
from lamp.tables.reading.names import renamed

VERSION = 1
MOST_BYTES = 16 * 2**30  # largest size of a table as numbers
UNKNOWN = ("gap", "error")
LOOKED_FOR = 5  # missing columns for which an error suggests similar names
CLOSE = 0.75  # similarity (difflib's ratio) from which a name may be a misspelling of another


class Preprocessing:
    """The map from the columns of a table to the inputs of a network.

    columns   one object per column, in the table's order: see `lamp.tables.columns`
    features  the names of the network's inputs, in order

    `Preprocessing().fit(frame)` learns from training rows; `transform(frame)` applies it to any table with these
    columns, in any order; `to_json` and `from_json` save it as readable text.
    """

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        self.columns = list(columns)

    def fit(
        self, frame: pl.DataFrame, decisions: Sequence[Decision] | None = None, *, target: str = ""
    ) -> Preprocessing:
        """Learn from these rows, and return self. `decisions` gives each column's kind; by default it is detected."""
        frame = _a_frame(frame, "fit")
        decisions = kinds.decide(frame, target) if decisions is None else decisions
        there = dict(zip(frame.columns, frame.get_columns(), strict=True))
        cells = cells_of(there[each.name] for each in decisions)
        made: dict[str, Column] = {}
        for kind, some in _together([KINDS[each.kind] for each in decisions], len(frame)):
            group = [decisions[k] for k in some]
            known = [{"why": each.why, **each.known} for each in group]
            made |= {column.name: column for column in kind.fit([cells[each.name] for each in group], known)}
        self.columns = [made[each.name] for each in decisions]
        return self

    @property
    def features(self) -> list[str]:
        return [feature for column in self.columns for feature in column.features]

    @property
    def numbers(self) -> list[str]:
        """The features that are numbers, and not answers to yes or no."""
        return [feature for column in self.columns if column.kind in ("number", "date") for feature in column.features]

    @property
    def used(self) -> list[Column]:
        """The columns that are not left out."""
        return [column for column in self.columns if not isinstance(column, LeftOut)]

    def places(self) -> dict[str, range]:
        """{column: range of its features}, for each column that is used."""
        found, start = {}, 0
        for column in self.used:
            found[column.name] = range(start, start + len(column.features))
            start += len(column.features)
        return found

    def transform(
        self,
        frame: pl.DataFrame,
        notes: list[str] | None = None,
        unknown: Unknown | None = None,
        asked: Conventions | None = None,
    ) -> Tensor:
        """The table as a tensor (n, features) float32.

        notes    a list to which remarks are added, such as on new words and on columns that are not needed
        unknown  what to do with words that were not in training, and with values that do not fit their column (a word
                 among numbers): "gap" takes both for missing, "error" refuses both, None refuses only the latter
        asked    the decimal marks and the order of dates that the user stated for this table; by default those of
                 training, where the table's cells do not show others

        Raises ArgumentError for another value of `unknown`, and DataError for missing columns, for refused values, and
        for columns that seem to have another decimal mark, unit or order of dates than training.
        """
        if unknown not in (None, *UNKNOWN):
            raise ArgumentError(
                "unknown must say what to do with values that were not in training",
                expected=" or ".join(map(repr, UNKNOWN)),
                got=repr(unknown),
                fix="name one of these, or leave it out",
            )
        notes = [] if notes is None else notes
        frame = _a_frame(frame, "transform")
        frame = renamed(frame, [column.name for column in self.used])
        self._check_columns(frame, notes)
        features = len(self.features)
        if 4 * len(frame) * features > MOST_BYTES:
            raise DataError(
                "the table is too large as numbers",
                expected=f"at most {MOST_BYTES // 2**30} GiB",
                got=f"{len(frame):,} rows of {features:,} features",
                fix="take fewer rows, or leave out categories with many words: --kind NAME=drop",
            )
        table = np.empty((len(frame), features), np.float32)
        asked = asked or Conventions()
        used, places = another_table.with_decimal(self.used, asked), self.places()
        notes += remarks.of_unused_forms(asked, {column.name: column.kind for column in used})
        schema = frame.schema
        for column in used:
            check_type(column, schema[column.name])
        there = _with_plain_numbers(used, dict(zip(frame.columns, frame.get_columns(), strict=True)))
        cells = cells_of(there[column.name] for column in used)
        said: dict[str, list[str]] = {column.name: [] for column in used}
        try:
            used = another_table.as_written(used, cells, asked, unknown, said)
            for _, some in _together([type(column) for column in used], len(frame)):
                columns = [used[k] for k in some]
                names = [column.name for column in columns]
                numbers = _numbers(columns, [cells[name] for name in names], [said[name] for name in names], unknown)
                table[:, [k for name in names for k in places[name]]] = numbers.T
        finally:
            pairs = ((name, note.removeprefix(f"{name}: ")) for name, several in said.items() for note in several)
            notes.extend(in_few_lines(pairs))
        return torch.from_numpy(table)

    def _check_columns(self, frame: pl.DataFrame, notes: list[str]) -> None:
        there = set(frame.columns)
        missing = [column.name for column in self.used if column.name not in there]
        known = {column.name for column in self.columns}
        extra = [name for name in frame.columns if name not in known]
        if missing:
            small = {other.lower(): other for other in extra}
            close = {name: get_close_matches(name.lower(), small, 1, CLOSE) for name in missing[:LOOKED_FOR]}
            meant = [f"{small[found[0]]!r} to {name!r}" for name, found in close.items() if found]
            count = "a column" if len(missing) == 1 else f"{len(missing)} columns"
            raise DataError(
                f"the table lacks {count} that the training table had",
                expected=listed(missing),
                got=f"{len(frame.columns)} columns: {listed(frame.columns)}",
                fix=f"rename {', '.join(meant[:3])}"
                if meant
                else "the file's first line must name the columns"
                if len(missing) > 1 and known.isdisjoint(there)
                else "add them; leave the cells of unknown values empty",
            )
        if extra:
            notes.append(f"columns that training did not have are not used: {listed(extra)}")

    # ---- as JSON -----------------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """The preprocessing as a dict for JSON."""
        return {
            "version": VERSION,
            "missing_words": list(MISSING_WORDS),  # of columns without words of their own
            "grouped": False,  # of columns of numbers that do not say so; older files do not know it
            "columns": [column.to_dict() for column in self.columns],
            "features": self.features,
        }

    def to_json(self) -> str:
        """The preprocessing as JSON text, which `from_json` reads."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Preprocessing:
        """The preprocessing that `to_dict` described. Raises DataError for anything else."""
        try:
            if saved["version"] != VERSION:
                raise ValueError(f"version {saved['version']}")
            usual = saved.get("missing_words", MISSING_WORDS)
            grouped = bool(saved.get("grouped", True))
            columns = [_column(each, usual, grouped) for each in saved["columns"]]
            made = cls(columns)
            if made.features != saved["features"]:
                raise ValueError("the columns do not have these features")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "this is not a preprocessing",
                expected=f"the output of Preprocessing.to_json, version {VERSION}",
                got=f"{type(error).__name__}: {error}",
                fix="write it again with this version of lamp",
            ) from None
        return made

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """The preprocessing that `to_json` wrote. Raises DataError for any other text."""
        try:
            saved = json.loads(text)
        except ValueError as error:
            raise DataError(
                "this is not a preprocessing", expected="JSON", got=str(error), fix="pass the text of to_json()"
            ) from None
        return cls.from_dict(saved)

    def __repr__(self) -> str:
        return f"Preprocessing({len(self.used)} of {len(self.columns)} columns, {len(self.features)} features)"


def _a_frame(frame: Any, what: str) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    kind = type(frame)
    raise DTypeError(
        f"Preprocessing.{what} takes a polars table",
        expected="a polars DataFrame",
        got=f"{kind.__module__.split('.')[0]}.{kind.__name__}",
        fix="polars.from_pandas(frame)"
        if kind.__module__.startswith("pandas")
        else "lamp.tables.read_table(path), or polars.DataFrame(...)",
    )


def _with_plain_numbers(used: Sequence[Column], there: dict[str, pl.Series]) -> dict[str, pl.Series]:
    """The columns of a table by name, with plain numbers parsed, for all columns at once."""
    usual = [there[each.name] for each in used if isinstance(each, NumberColumn) and each.reads_plain]
    empty = [each.cast(pl.Float64) for each in usual if each.null_count() == len(each)]
    read = [*plain_numbers(pl.DataFrame(usual)).numbers.get_columns(), *empty]
    return there | {each.name: each for each in read}


def _together(kinds: Sequence[type[Column]], rows: int) -> Iterator[tuple[type[Column], list[int]]]:
    """Each kind with the indices of its columns; a kind of many cells comes several times, with some columns each."""
    most = max(1, AT_A_TIME // max(1, rows))
    for kind in dict.fromkeys(kinds):
        those = [k for k, each in enumerate(kinds) if each is kind]
        yield from ((kind, those[start : start + most]) for start in range(0, len(those), most))


def _numbers(
    columns: Sequence[Column], cells: Sequence[Cells], notes: Sequence[list[str]], unknown: Unknown | None
) -> Numbers:
    """Columns of one kind as numbers (features, n) float32."""
    if unknown is not None:
        cells = [column.known(each, unknown, said) for column, each, said in zip(columns, cells, notes, strict=True)]
    before = list(map(len, notes))
    with np.errstate(over="ignore"):  # numbers too large for float32 are refused below
        numbers = type(columns[0]).transform(columns, cells, notes).astype(np.float32, copy=False)
    if np.isfinite(numbers).all():
        return numbers
    ends = accumulate((len(column.features) for column in columns), initial=0)
    for k, (start, end) in enumerate(pairwise(ends)):
        far: Numbers = np.any(~np.isfinite(numbers[start:end]), axis=0, keepdims=False)
        if not far.any():
            continue
        if unknown != "gap":
            _refuse_far(columns[k], cells[k], far)
        del notes[k][before[k] :]  # the second call below adds them again
        count = int(far.sum())
        notes[k].append(
            f"{columns[k].name}: {counted(count, 'number')} too far from those in training "
            f"{'counts' if count == 1 else 'count'} as missing"
        )
        numbers[start:end] = _numbers([columns[k]], [cells[k].without(far)], [notes[k]], None)
    return numbers


def _refuse_far(column: Column, cells: Cells, far: Numbers) -> NoReturn:
    """Raise the DataError for numbers too far from those in training; `far` are booleans (n,)."""
    largest = cells.series.filter(pl.Series(far)).cast(pl.Float64, strict=False).abs().max()
    raise DataError(
        f"column {column.name!r} has numbers too far from those in training",
        expected="numbers of about the same size",
        got=f"{float(largest or 0):.3g}",  # type: ignore[arg-type]
        fix="correct them, or take them for missing with --unknown gap",
    )


def _column(saved: Mapping[str, Any], missing_words: Sequence[str], grouped: bool) -> Column:
    kind = KINDS[saved["kind"]]
    usual = {"grouped": grouped} if kind is NumberColumn else {}
    learned = {"missing_words": list(missing_words), **usual, **saved}
    del learned["kind"]
    return kind(**learned)
