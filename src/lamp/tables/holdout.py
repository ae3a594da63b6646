"""Which rows are held out from training, where the user says so: another file's, whole groups, the last ones, or none.

Without a word from the user, they are drawn at random (`lamp.tables.split`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError
from lamp.printable import counted, shortened
from lamp.tables import dates, parsing, remarks, target_column, targets
from lamp.tables.conventions import Conventions
from lamp.tables.kinds import LONGEST_NAME, MOSTLY, Decision, form_of, no_column
from lamp.tables.reading import ReadOptions, read_with
from lamp.tables.reading.names import matching, renamed
from lamp.tables.split import FEWEST_ROWS, Split, dealt, enough, part_shares, split
from lamp.tables.targets import Target

FEWEST_PARTS = 3  # groups, or different times: one for each of training, validation and test
MOST_OF_ROWS = 0.5  # largest share of the rows in one group, or at one time
PARTS = ("training", "validation", "test")
WITHOUT_TEST = (
    "--no-test: no row is kept for a test. All scores are those of validation rows, by which the search chose, stopped "
    "and calibrated: new rows will be predicted somewhat worse"
)


@dataclass(frozen=True)
class HoldOut:
    """How the user wants the rows split.

    test         a file whose rows are the test rows; all rows of the table are then for training and validation
    groups       a column; rows with the same value stand in one part, and in one fold
    time_column  a column of dates or numbers; the last rows are the test rows, those before them the validation rows
    no_test      no row is kept for a test

    Raises ArgumentError for options that exclude each other.
    """

    test: Path | None = None
    groups: str | None = None
    time_column: str | None = None
    no_test: bool = False

    def __post_init__(self) -> None:
        for one, other, why in (
            ("test", "no_test", "a test file is there to be measured on"),
            ("groups", "time_column", "a group that lasts from the first rows to the last would stand on both sides"),
        ):
            if getattr(self, one) and getattr(self, other):
                options = " and ".join("--" + name.replace("_", "-") for name in (one, other))
                raise ArgumentError(
                    f"{options} exclude each other: {why}",
                    expected="one of the two",
                    got="both",
                    fix="leave one of them out",
                )

    def with_names_of(self, columns: Sequence[str], target: str) -> HoldOut:
        """The same with the names as in the table. Raises ArgumentError for unknown columns and for the target."""
        found: dict[str, Any] = {}
        for option in ("groups", "time_column"):
            if (name := getattr(self, option)) is not None:
                if (spelled := matching(name, columns)) is None:
                    raise no_column(name, list(columns))
                if spelled == target:
                    raise ArgumentError(
                        f"--{option.replace('_', '-')} {name}: this is the target",
                        expected="another column",
                        got=name,
                        fix="leave the option out: a random split has its share of every class",
                    )
                found[option] = spelled
        return replace(self, **found)

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, as a dict for JSON."""
        asked = {name: value for name, value in asdict(self).items() if value}
        return asked | ({"test": str(self.test)} if self.test is not None else {})


@dataclass(frozen=True)
class Parts:
    """The parts into which the rows are split.

    groups  (rows,) the group of each row; None where each row stands for itself
    folded  whether the members of an ensemble hold out different folds; None leaves that to the size of the table
    """

    split: Split
    groups: Tensor | None = None
    folded: bool | None = None


def without_groups(decisions: Sequence[Decision], asked: HoldOut, kinds: Sequence[str]) -> list[Decision]:
    """The decisions, with the groups' column left out of the inputs, unless the user asked for its kind."""
    name = asked.groups
    if name is None or name in kinds:
        return list(decisions)
    why = f"says which rows stand together; {remarks.option(name, 'category', 'kind')} learns from it too"
    return [Decision(name, "left out", why) if each.name == name else each for each in decisions]


def parts(
    frame: pl.DataFrame,
    labels: Tensor | None,
    asked: HoldOut,
    decisions: Sequence[Decision],
    conventions: Conventions,
    *,
    seed: int,
    notes: list[str],
) -> Parts:
    """The parts of a table's rows; notes say what was done.

    frame   the rows that have a target, with text as it is written
    labels  class indices (rows,) by which a random split and groups are stratified

    Raises DataError for groups or times that cannot be split.
    """
    rows, has_test = enough(len(frame)), asked.test is None and not asked.no_test
    folded = True if asked.no_test else None
    if asked.groups is not None:
        groups = _groups(frame, asked.groups, conventions, notes)
        part = dealt(groups, labels, part_shares(rows, has_test), seed=seed)
        made = Split(*((part == k).nonzero().flatten() for k in range(3)))
        notes.append(_on_groups(asked.groups, groups, made))
        return Parts(made, groups, folded)
    if asked.time_column is not None:
        times = _times(frame, asked.time_column, decisions, conventions, notes)
        made = _by_time(times, asked.time_column, has_test)
        notes.append(_on_times(asked, times, made))
        return Parts(made, None, False)  # a fold would be held out from members that train on what came later
    return Parts(split(rows, labels, seed=seed, test=has_test), None, folded)


# ---- groups ----------------------------------------------------------------------------------------------------------
def _groups(frame: pl.DataFrame, name: str, conventions: Conventions, notes: list[str]) -> Tensor:
    """(rows,) the number of each row's group; a row without one is a group of its own."""
    words = parsing.words(conventions.cells_of(frame[name]), conventions.missing_in(name))
    gaps = words.is_null()
    named = words.rank("dense").cast(pl.Int64)
    alone = pl.Series(np.arange(len(frame)) + len(frame) + 1)
    numbers: Tensor = torch.from_numpy(named.fill_null(alone).to_numpy().copy()).unique(return_inverse=True)[1]
    sizes = torch.bincount(numbers)
    if gaps.any():
        each = "a row without a value is a group" if gaps.sum() == 1 else "rows without a value are groups"
        notes.append(f"--groups {name}: {counted(int(gaps.sum()), 'row')} without a value; {each} of their own")
    largest = int(sizes.max())
    if len(sizes) < FEWEST_PARTS or largest > MOST_OF_ROWS * len(frame):
        word = str(words[int((numbers == int(sizes.argmax())).nonzero()[0])])
        raise DataError(
            f"--groups {name}: the groups cannot be split into training, validation and test",
            expected=f"at least {FEWEST_PARTS} groups, none of them with more than half of the rows",
            got=f"{counted(len(sizes), 'group')}, the largest, {word!r}, with {largest:,} of {len(frame):,} rows",
            fix="name a column with more values; --test FILE takes the test rows from another file",
        )
    if largest == 1:
        notes.append(f"--groups {name}: every value occurs once, so the split is as random as without it")
    return numbers


def _on_groups(name: str, groups: Tensor, made: Split) -> str:
    counts = [len(groups[rows].unique()) for rows in (made.training, made.validation, made.test)]
    shown = ", ".join(f"{count:,} {part}" for count, part in zip(counts, PARTS, strict=True) if count)
    return f"--groups {name}: {sum(counts):,} groups, each in one part: {shown}"


# ---- times -----------------------------------------------------------------------------------------------------------
def _times(
    frame: pl.DataFrame, name: str, decisions: Sequence[Decision], conventions: Conventions, notes: list[str]
) -> pl.Series:
    """(rows,) the column as points in time or as numbers; null where there is none."""
    cells, missing = conventions.cells_of(frame[name]), conventions.missing_in(name)
    decision = next((each for each in decisions if each.name == name), Decision(name, ""))
    if decision.kind == "date":
        read = parsing.times(cells, decision.known["format"], missing)
    elif decision.kind == "number" or parsing.is_number(cells.dtype):
        read = parsing.numbers(cells, form_of(decision), missing)
    else:
        form = dates.best(cells, missing, conventions.dates_in(name).value)
        numbers = parsing.numbers(cells, conventions.decimal_in(name).value, missing)
        read = parsing.times(cells, form[0], missing) if form and form[1] > numbers.count() else numbers
    there, clock = cells.there(missing), cells.dtype == pl.Time or decision.known.get("format") == dates.TIME_ALONE
    if clock or read.count() < max(1, MOSTLY * there):
        odd = parsing.words(cells, missing).filter(read.is_null()).drop_nulls().unique(maintain_order=True).to_list()
        raise DataError(
            f"--time-column {name}: its values cannot be put in order of time",
            expected="dates, or numbers such as years",
            got="times of day without a date" if clock else f"{remarks.some(odd)} among {there:,} values",
            fix="name another column, or correct the values; --dates says the order of day, month and year",
        )
    if gaps := read.null_count():
        notes.append(f"--time-column {name}: {counted(gaps, 'row')} without a time {'is' if gaps == 1 else 'are'} "
                     "for training")  # fmt: skip
    return read


def _by_time(times: pl.Series, name: str, has_test: bool) -> Split:
    """The last rows for the test, those before them for validation; rows of the same time stand in one part."""
    rows = len(times)
    rank = torch.from_numpy(times.rank("dense").fill_null(0).cast(pl.Int64).to_numpy().copy())  # no time: first
    until = torch.bincount(rank).cumsum(0)  # rows up to and including each time
    training, validation, _ = part_shares(rows, has_test)
    parts = FEWEST_PARTS if has_test else FEWEST_PARTS - 1
    bounds: list[int] = []  # the last time of training, and of validation
    for wanted in (training, training + validation)[: parts - 1]:
        first = bounds[-1] + 1 if bounds else 0
        open_to = until[first : len(until) - (parts - 1 - len(bounds))]
        if len(open_to):
            bounds.append(first + int((open_to - wanted * rows).abs().argmin()))
    most = int(torch.bincount(rank).max())
    if len(bounds) < parts - 1 or most > MOST_OF_ROWS * rows:
        raise DataError(
            f"--time-column {name}: the rows cannot be split by time",
            expected=f"at least {parts} different times, none of them with more than half of the rows",
            got=f"{counted(times.drop_nulls().n_unique(), 'time')}; {most:,} of {rows:,} rows have the same",
            fix="name a column with finer times; --test FILE takes the test rows from another file",
        )
    ends = [*bounds, int(rank.max())]
    part = torch.bucketize(rank, torch.tensor(ends))
    return Split(*((part == k).nonzero().flatten() for k in range(3)))


def _on_times(asked: HoldOut, times: pl.Series, made: Split) -> str:
    first: list[Any] = [times.gather(rows.numpy()).min() for rows in (made.validation, made.test) if len(rows)]
    shown = [remarks.moment(at) if parsing.is_time(times.dtype) else f"{at:.15g}" for at in first]
    said = f"--time-column {asked.time_column}: validation from {shown[0]} on"
    said += f", test from {shown[1]} on" if len(shown) > 1 else ""
    return f"{said}; the networks train on the rows before that alone, so that none has seen what comes later"


# ---- another file ----------------------------------------------------------------------------------------------------
def test_rows(
    path: Path, reading: ReadOptions, target: Target, columns: Sequence[str], notes: list[str]
) -> tuple[pl.DataFrame, Tensor, Tensor]:
    """The rows of a test file that have a target, their numbers in the file, and their targets as `Target.encode`s.

    columns  the names of the training table's columns

    Raises what `read_with` does, ArgumentError without the target's column, and DataError for targets that do not fit.
    """
    whole = renamed(read_with(path, reading, notes=notes, as_text=True), columns)
    column = target_column.find(whole, target.name)
    there = targets.there(column, target.missing_words)
    if there.sum() < FEWEST_ROWS:
        raise DataError(
            f"the test file {path} has too few rows with a value of {shortened([target.name], LONGEST_NAME)[0]!r}",
            expected=f"at least {FEWEST_ROWS} rows with true values to compare with",
            got=f"{int(there.sum()):,} of {len(whole):,} rows",
            fix="collect more, or leave --test out: a fifth of the table's rows is then kept for the test",
        )
    if not there.all():
        notes.append(f"{path}: {targets.remark_on_gaps(column, there)}")
    frame, rows = whole.filter(there), there.arg_true().cast(pl.Int64)
    if not target.is_classes and (odd := target.unknown(frame[target.name])).any():
        raise DataError(
            f"{path}: the target {target.name!r} is not {target.form.described} in {int(odd.sum()):,} rows",
            expected="finite numbers to compare with, or empty cells",
            got=f"{column[int(rows.filter(odd)[0])]!r} in row {rows.filter(odd)[0] + 1:,}",
            fix="correct the values, or empty these cells",
        )
    return frame, torch.from_numpy(rows.to_numpy().copy()), target.encode(frame[target.name])


def on_test_rows(tests: pl.DataFrame, table: pl.DataFrame, asked: HoldOut) -> list[str]:
    """Remarks on rows of a test file that the table has too, and on its groups."""
    same = [name for name in table.columns if tests.schema.get(name) == table.schema[name]]
    notes, path = [], asked.test
    if len(same) == table.width:
        known = tests.select(same).hash_rows().is_in(table.hash_rows().implode())
        if known.any():
            rows = int(known.sum())
            are, them = ("is", "it") if rows == 1 else ("are", "them")
            notes.append(
                f"{path}: {rows:,} of {len(tests):,} rows {are} in the table too, so the networks learn from {them} "
                "and the scores are too good"
            )
    if asked.groups in same:
        words = parsing.words(tests[asked.groups]).drop_nulls()
        if known_too := words.filter(words.is_in(parsing.words(table[asked.groups]).implode())).n_unique():
            are = "is" if known_too == 1 else "are"
            notes.append(f"--groups {asked.groups}: {known_too:,} of {path}'s groups {are} in the table too")
    return notes
