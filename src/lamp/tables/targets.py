"""The target: the column to be predicted, which holds classes or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError
from lamp.printable import counted
from lamp.tables import dates, numbers, parsing, remarks
from lamp.tables.cells import Cells
from lamp.tables.conventions import Conventions
from lamp.tables.evidence import ALL
from lamp.tables.kinds import MOSTLY, listed, mostly
from lamp.tables.missing import MISSING_WORDS, SHEET_ERRORS
from lamp.tables.number_texts import OTHER, parsed
from lamp.tables.numbers import NumberForm
from lamp.tables.scales import refuse_open_scales
from lamp.tables.split import enough
from lamp.tables.target_column import is_finite

Task = Literal["classification", "regression"]
TASKS = ("classification", "regression")

MOST_NUMBERED_CLASSES = 20  # up to so many different whole numbers are taken for classes,
ROWS_PER_CLASS = 3  # if there are at least this many rows per class
MOST_CLASSES = 1000
MOST_ROWS = 5  # row numbers listed in a message
MEANT = {"classification": "classes", "regression": "numbers"}
NUMBERS_ALONE = "--task regression --leave-out-odd leaves their rows out"


@dataclass
class Target:
    """The column to be predicted, and how it is encoded.

    task       "classification" or "regression"
    classes    the classes' words, in the order of the network's outputs
    mean, std  for numbers: the network predicts (number - mean) / std
    decimal, unit, zeros, scales  how the text writes numbers: see NumberForm
    missing_words  the words that mean missing; an empty cell always does
    why        a remark on how the column was read
    """

    name: str
    task: Task
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    decimal: str = "."
    unit: str | None = ""
    zeros: bool = False
    scales: bool = False
    missing_words: tuple[str, ...] = MISSING_WORDS
    why: str = ""

    @property
    def form(self) -> NumberForm:
        """How the text writes numbers."""
        return NumberForm(self.decimal, self.unit, self.zeros, self.scales)

    @property
    def is_classes(self) -> bool:
        return self.task == "classification"

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return len(self.classes) if self.is_classes else 1

    def encode(self, series: pl.Series) -> Tensor:
        """The column as class indices (n,) int64, or as unscaled numbers (n,) float64.

        Raises DataError for an unknown class, or for text that is not a number.
        """
        if not self.is_classes:
            return torch.from_numpy(_as_numbers(series, self.form).to_numpy().copy())
        cells = Cells(series)
        at = cells.looked_up(self.classes, self.missing_words, -1)
        if (unknown := at == -1).any():
            new = cells.words(self.missing_words).filter(pl.Series(unknown)).unique(maintain_order=True).to_list()
            raise DataError(
                f"the target {self.name!r} has classes that were not in training",
                expected=listed(self.classes),
                got=f"{listed([str(each) for each in new], 5)} in {unknown.sum():,} of {len(at):,} rows",
                fix="; ".join(remarks.of_spellings(new, self.classes)) or "leave these rows out, or train with them",
            )
        return torch.from_numpy(at)

    def unknown(self, series: pl.Series) -> pl.Series:
        """(n,) booleans: where `encode` would refuse a value (an unknown class, text that is not a number)."""
        if self.is_classes:
            return pl.Series(Cells(series).looked_up(self.classes, self.missing_words, -1) == -1)
        numbers = parsing.numbers(series, self.form)
        return numbers.is_null() | numbers.is_infinite().fill_null(False)

    def scaled(self, numbers: Tensor) -> Tensor:
        """Numbers (n,) scaled as the network predicts them, (n, 1) float32."""
        return ((numbers - self.mean) / self.std).float().unsqueeze(1)

    def unscaled(self, targets: Tensor) -> Tensor:
        """Class indices (n,) as they are; scaled numbers (n, 1) as they were before `scaled`, (n,) float64."""
        return targets if self.is_classes else targets.squeeze(1).double() * self.std + self.mean

    def to_dict(self) -> dict[str, Any]:
        """The target as a dict for JSON."""
        fields: dict[str, Any] = {"name": self.name, "task": self.task, "missing_words": list(self.missing_words)}
        fields |= {"why": self.why} if self.why else {}
        if self.is_classes:
            return fields | {"classes": list(self.classes)}
        return fields | {"mean": self.mean, "std": self.std} | asdict(self.form)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Target:
        """The target that `to_dict` described."""
        words = {"missing_words": tuple(saved["missing_words"])} if "missing_words" in saved else {}
        return cls(**{**saved, "classes": tuple(saved.get("classes", ())), **words})


def missing_words(column: pl.Series, conventions: Conventions) -> tuple[str, ...]:
    """The words that mean missing in a target; a frequent "None" among other words is a class instead.

    Beside words, a spreadsheet's errors such as #REF! mean missing; among numbers they are odd words.
    """
    words = conventions.missing_in(column.name)
    if column.name in conventions.missing or ALL in conventions.missing or not parsing.is_text(column.dtype):
        return words
    cells = Cells(column)
    is_class, has_errors = bool(cells.frequent_missing(["none"])), cells.missing(SHEET_ERRORS).any()
    if not (is_class or has_errors):
        return words
    others = ~cells.missing(words)
    numeric = max((cells.read(numbers.parts_of, mark).numeric & others).sum() for mark in OTHER)
    if numeric > others.sum() / 2:
        return words
    return tuple(each for each in words if not (is_class and each == "none")) + SHEET_ERRORS * bool(has_errors)


def there(column: pl.Series, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """(n,) booleans: where a target is not missing."""
    if parsing.is_text(column.dtype):
        return parsing.words(column, missing).is_not_null()
    return parsing.numbers(column, missing=missing).is_not_null() if column.dtype.is_numeric() else column.is_not_null()


def may_follow_others(column: pl.Series, alone: Conventions) -> bool:
    """Whether other columns may decide how a target's numbers are read; `alone` has looked at the target only."""
    if not parsing.is_text(column.dtype) or alone.decimal_in(column.name).known in ("asked", "proven"):
        return False
    return bool(column.cast(pl.String).str.contains_any([".", ","]).any())


def odd_words(column: pl.Series, task: str | None, conventions: Conventions) -> pl.Series:
    """(n,) booleans: where a target holds words or infinities although it is, or is to be, a finite number."""
    none = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if task == "classification":
        return none
    if not parsing.is_text(column.dtype):
        return _infinite(column, task) if column.dtype.is_float() else none
    missing = missing_words(column, conventions)
    seen = _seen(column, missing, conventions)
    if task is not None and not mostly(seen.rows, seen.rows + seen.odd_rows, seen.odd):
        seen = _seen(column, missing, conventions, asked=True)  # numbers in several units too
    if task is not None and (found := seen.open_scales):
        refuse_open_scales(column.name, found, seen.scaled)
    if task is not None and seen.mixed and conventions.decimal_in(column.name).known != "asked":
        raise DataError(
            f"the target {column.name!r} holds {remarks.BOTH_MARKS}",
            expected="one decimal mark",
            got=f"{seen.mixed!r} beside numbers with {seen.form.decimal!r}",
            fix="write all in one way, or name it: " + remarks.option(column.name, seen.form.decimal, "decimal"),
        )
    if not seen.rows or (
        task is None and (seen.are_codes or seen.mixed or not mostly(seen.rows, seen.rows + seen.odd_rows, seen.odd))
    ):
        return none
    read = parsing.numbers(column, seen.form, missing)
    if not seen.odd:
        return _infinite(read, task)
    odd = parsing.words(column, missing).is_not_null() & ~read.is_finite().fill_null(False)
    return none if task is None and _few(read.drop_nulls()) else odd


def _infinite(read: pl.Series, task: str | None) -> pl.Series:
    """(n,) booleans: where these numbers are infinite, unless they are taken for classes."""
    infinite = read.is_infinite().fill_null(False)
    return infinite & (task is not None or not _few(read.drop_nulls())) if infinite.any() else infinite


def refuse_odd_words(column: pl.Series, rows: pl.Series) -> NoReturn:
    """Raise the DataError for a numeric target that holds words or infinities in these rows (counted from 0)."""
    words, what = _odd(column, rows)
    raise DataError(
        f"the target {column.name!r} holds numbers, but {what} in {len(rows):,} of {len(column):,} rows",
        expected="finite numbers",
        got=f"{remarks.some(words)} in {_rows(rows)}",
        fix=f"--leave-out-odd leaves these rows out; {remarks.option(column.name, str(words[0]), 'missing')} takes "
        "a value for missing; --task classification takes all values for classes",
    )


def _odd(column: pl.Series, rows: pl.Series) -> tuple[list[Any], str]:
    """The different values in some rows, none of which is a finite number, and what they are."""
    words = column.gather(rows).unique(maintain_order=True)
    infinite = parsed(words.cast(pl.String), ".")["value"].is_infinite().fill_null(False)
    what = "infinite values" if infinite.all() else "words and infinite values" if infinite.any() else "words"
    return words.to_list(), what


def remark_on_gaps(column: pl.Series, there: pl.Series) -> str:
    """The remark that the rows without a target are left out."""
    gaps = int((~there).sum())
    return f"{counted(gaps, 'row')} without a value of {column.name!r} {'is' if gaps == 1 else 'are'} left out"


def remark_on_odd_words(column: pl.Series, rows: pl.Series) -> str:
    """The remark that these rows (counted from 0) are left out because of the words or infinities in them."""
    words, what = _odd(column, rows)
    number = "a number" if what == "words" else "a finite number"
    are = "is" if len(rows) == 1 else "are"
    return f"{_rows(rows)} {are} left out, where {column.name!r} is not {number}: {remarks.some(words)}"


def _rows(rows: pl.Series) -> str:
    shown = ", ".join(f"{row + 1:,}" for row in rows.head(MOST_ROWS)) + (", ..." if len(rows) > MOST_ROWS else "")
    return f"row {shown}" if len(rows) == 1 else f"{len(rows):,} rows ({shown})"


def decide(series: pl.Series, task: str | None = None, conventions: Conventions | None = None) -> Target:
    """The target for a column without missing values: its task, unless that is given, and its classes.

    Text, booleans and a few different whole numbers are classes; all else is regression.

    Raises ArgumentError for an unknown task, and DataError for a column that cannot be predicted: a single value, too
    many classes, text where numbers are wanted, infinities.
    """
    if task not in (None, *TASKS):
        raise ArgumentError("unknown task", expected=" or ".join(TASKS), got=task, fix="name one of these")
    conventions = conventions or Conventions()
    if conventions.plain is None:
        conventions = conventions.settled(series.to_frame())
    missing = missing_words(series, conventions)
    seen = _seen(series, missing, conventions) if parsing.is_text(series.dtype) else None
    form_of_dates = _form_of_dates(series, missing)
    found = task or _task(series, seen, missing, form_of_dates)
    told = form_of_dates and (found == "classification" or form_of_dates != dates.TIME_ALONE)  # as seconds, these serve
    why = [remarks.of_dates_in_target(form_of_dates, str(series[0]), MEANT[found])] if told else []
    if found == "classification":
        classes = _classes(series, missing, seen, form_of_dates)
        why += _why_classes(classes, seen)
        return Target(series.name, "classification", classes, missing_words=missing, why="; ".join(why))
    decimal = conventions.decimal_in(series.name)
    if seen is not None and (seen.odd or seen.codes):
        seen = _seen(series, missing, conventions, asked=True)
    form = seen.form if seen is not None else NumberForm(decimal.value)
    read = _as_numbers(series, form, remarks.instead_of_dates(form_of_dates) if form_of_dates else "")
    if read.n_unique() < 2:
        raise _one_value(series.name, read[0])
    why += filter(None, [remarks.of_numbers(series.name, decimal, seen) if seen is not None else ""])
    return Target(series.name, "regression", **asdict(form), missing_words=missing, why="; ".join(why))


def _form_of_dates(series: pl.Series, missing: Sequence[str]) -> str:
    """The form in which almost all values of a target are dates or times of day; "" if they are not."""
    if parsing.is_time(series.dtype):
        return dates.TIME_ALONE if series.dtype == pl.Time else dates.FORMS[0]
    if not (parsing.is_text(series.dtype) or series.dtype.is_integer()):
        return ""
    cells = Cells(series.cast(pl.String))
    form, rows = dates.best(cells, missing) or ("", 0)
    return form if rows >= MOSTLY * cells.there(missing) else ""


def _seen(series: pl.Series, missing: Sequence[str], conventions: Conventions, asked: bool = False) -> numbers.Seen:
    return numbers.seen(Cells(series), conventions.decimal_in(series.name).value, missing, asked)


def _why_classes(classes: Sequence[str], seen: numbers.Seen | None) -> list[str]:
    parts = remarks.of_twins(pl.Series(classes, dtype=pl.String))
    if seen is not None and seen.are_codes:
        parts.append(remarks.of_codes_in_digits(seen.codes))
    if seen is not None:
        parts += remarks.of_limits(seen.cells, seen.form.decimal, (), MOSTLY, NUMBERS_ALONE)
    return parts


def _task(series: pl.Series, seen: numbers.Seen | None, missing: Sequence[str], form: str) -> Task:
    """The task for a target; `form` is that of its dates, if it holds any."""
    if series.dtype == pl.Boolean or (seen is not None and (seen.odd or seen.are_codes)):
        return "classification"
    if seen is None and not parsing.is_number(series.dtype):
        raise DataError(
            f"the target {series.name!r} has a type that cannot be predicted",
            expected="numbers, words or booleans",
            got=series.dtype,
            fix=remarks.instead_of_dates(form)
            if form
            else "name another column, or convert this one to numbers or words",
        )
    read = parsing.numbers(series, seen.form if seen is not None else ".", missing)
    return "classification" if _few(read) else "regression"


def _few(read: pl.Series) -> bool:
    """Whether these are whole numbers of few different values, which are taken for classes."""
    different = read.n_unique()
    whole = bool((read == read.round()).all())
    return whole and different <= MOST_NUMBERED_CLASSES and different * ROWS_PER_CLASS <= len(read)


def _classes(series: pl.Series, missing: Sequence[str], seen: numbers.Seen | None, form: str) -> tuple[str, ...]:
    """The words of a target, sorted. `form` is that of its dates, if it holds any."""
    text = parsing.words(series, missing)
    found = text.unique().to_list()
    if len(found) == 1:
        raise _one_value(series.name, found[0])
    if len(found) > MOST_CLASSES or len(found) > len(text) / 2:
        enough(len(text))
        raise DataError(
            f"the target {series.name!r} has too many classes",
            expected=f"at most {MOST_CLASSES:,} classes, with two rows each on average",
            got=f"{len(found):,} different values in {len(text):,} rows",
            fix=remarks.instead_of_dates(form) if form else _instead_of_classes(series, text, seen),
        )
    if all(is_finite(word) for word in found):
        return tuple(sorted(found, key=lambda word: (float(word), word)))
    return tuple(sorted(found))


def _instead_of_classes(series: pl.Series, text: pl.Series, seen: numbers.Seen | None) -> str:
    """The fix for a column with too many different values for classes."""
    if seen is None or (seen.rows >= MOSTLY * len(text) and not seen.mixed):
        return "--task regression, if these are numbers" if seen or series.dtype.is_numeric() else "name another column"
    if near := remarks.of_near_numbers(seen, len(text), MOSTLY, "--task regression"):
        return near[0].replace("takes those for gaps", "--leave-out-odd leaves those rows out")
    limits = remarks.of_limits(seen.cells, seen.form.decimal, (), MOSTLY, NUMBERS_ALONE)
    return limits[0] if limits else "name another column"


def _as_numbers(series: pl.Series, form: NumberForm, fix: str = "") -> pl.Series:
    """The numbers of a target. Raises DataError, with the fix that is given, for values that are none."""
    numbers = parsing.numbers(series, form, ())
    wrong = numbers.is_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"the target {series.name!r} is not a number everywhere",
            expected="numbers",
            got=f"{series[row]!r}; not a number in {int(wrong.sum()):,} of {len(series):,} rows",
            fix=fix or "--task classification, or correct the values",
        )
    infinite = numbers.is_infinite()
    if infinite.any():
        raise DataError(
            f"the target {series.name!r} has infinite values",
            expected="finite numbers",
            got=f"{int(infinite.sum()):,} of {len(series):,} values",
            fix="correct them, or leave these rows out",
        )
    return numbers


def _one_value(name: str, value: object) -> DataError:
    return DataError(
        f"the target {name!r} has only one value, so there is nothing to learn",
        expected="at least two classes, or numbers that vary",
        got=repr(value),
        fix="name another column, or add rows with other values",
    )


def shares(labels: Tensor, classes: Sequence[str]) -> dict[str, int]:
    """{class: number of rows}."""
    counts = np.bincount(labels.numpy(), minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}
