"""How another table writes its numbers and dates, where it is not as the training table wrote them.

A file of another program may have a decimal comma in place of a point, or the month before the day, and most of its
cells can still be read, as other values. So the cells of a column are looked at as a whole before any is read: what is
certain is read and told, and what may be wrong is refused with the option that says how it is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import polars as pl

from lamp.errors import DataError
from lamp.tables import dates, decimal_marks, parsing, remarks
from lamp.tables.cells import Array, Cells
from lamp.tables.column import Column, Unknown
from lamp.tables.columns import NumberColumn
from lamp.tables.conventions import Conventions
from lamp.tables.date_column import DateColumn
from lamp.tables.evidence import ALL, Found
from lamp.tables.number_texts import OTHER
from lamp.tables.numbers import NumberForm, parts_of, read_all
from lamp.tables.targets import Target

FAR = 20.0  # times beyond the training's largest number, or below its smallest, from which a number is of another size
NEARLY_ALL = 0.9  # share of values
MOST = 0.5  # share of values
TARGETS = 10.0  # standard deviations around the mean between which a target's numbers are taken to be
MARK = {".": "decimal point", ",": "decimal comma"}
OPTION = {".": "point", ",": "comma"}


def asked_of(asked: Mapping[str, Found], name: str) -> str | None:
    """What the user said of a column, or of all; None if nothing."""
    found = asked.get(name, asked.get(ALL))
    return None if found is None else found.value


def with_decimal(columns: Sequence[Column], asked: Conventions) -> list[Column]:
    """The columns, with the decimal marks that the user named for another table."""
    return [
        replace(column, decimal=mark)
        if isinstance(column, NumberColumn) and (mark := asked_of(asked.decimal, column.name))
        else column
        for column in columns
    ]


def as_written(
    columns: Sequence[Column],
    cells: Mapping[str, Cells],
    asked: Conventions,
    unknown: Unknown | None,
    notes: Mapping[str, list[str]],
) -> list[Column]:
    """The columns, with dates in the form in which another table writes them; remarks on each column go into `notes`.

    Raises DataError for a column whose numbers seem to have the other decimal mark or another unit, or whose dates seem
    to be of another order.
    """
    texts = {each.name: cells[each.name] for each in columns if parsing.is_text(cells[each.name].dtype)}
    numbers = [each for each in columns if isinstance(each, NumberColumn) and each.name in texts]
    marked = [each for each in numbers if asked_of(asked.decimal, each.name) is None]
    decimal_of = {each.name: each.decimal for each in numbers}
    read_all([texts[name] for name in decimal_of], lambda each: decimal_of[each.name])
    for mark in OTHER:
        decimal_marks.read_marked([texts[each.name] for each in marked], mark)
    for each in marked:
        there = _to_be_read(texts[each.name], each)
        seen = (each.grouped, each.thousandths, each.open)
        learned = Learned(each.name, each.form, each.low, each.high, each.median, *seen)
        learned.check_mark(texts[each.name], there, notes[each.name])
    for each in numbers if unknown != "gap" else ():
        _check_unit(each, texts[each.name])
    for column in columns:
        if isinstance(column, NumberColumn) and column.unit == "%" and parsing.is_number(cells[column.name].dtype):
            _check_fractions(column, cells[column.name])
    forms = {each.name: _forms(each.format) for each in columns if isinstance(each, DateColumn) and each.format}
    dates.read_all([texts[name] for name in forms if name in texts], lambda each: forms[each.name])
    return [
        _with_form(each, texts[each.name], asked_of(asked.dates, each.name), notes[each.name])
        if isinstance(each, DateColumn) and each.name in texts
        else each
        for each in columns
    ]


def target_as_written(target: Target, column: pl.Series, asked: Conventions) -> Target:
    """A target of numbers, with the decimal mark that the user named for another table.

    Raises DataError for numbers that seem to have the other decimal mark.
    """
    if mark := asked_of(asked.decimal, target.name):
        return replace(target, decimal=mark)
    if parsing.is_text(column.dtype):
        cells, reach = Cells(column), TARGETS * target.std
        learned = Learned(target.name, target.form, target.mean - reach, target.mean + reach, target.mean, True, True)
        learned.check_mark(cells, ~cells.missing(target.missing_words), [])
    return target


def _to_be_read(cells: Cells, column: NumberColumn | DateColumn) -> Array:
    """(m,) booleans: which texts hold a value; training's words among the values do not."""
    there = ~cells.missing(column.missing_words)
    if column.words and there.any():
        there &= ~cells.among(column.words, column.missing_words)
    return there


# ---- the decimal mark ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Learned:
    """What training knows of a column of numbers.

    low, high, median  of the numbers
    grouped            whether some had thousands separators
    thousandths        whether some may have had three decimals
    open               whether training did not show which mark is the decimal one
    """

    name: str
    form: NumberForm
    low: float
    high: float
    median: float
    grouped: bool
    thousandths: bool
    open: bool = False

    def check_mark(self, cells: Cells, there: Array, notes: list[str]) -> None:
        """Refuse a column whose cells show the other decimal mark, and add a remark where they may have it.

        there  (m,) booleans: which texts hold a value
        """
        if not cells.read(decimal_marks.has_mark).any():
            return
        mark, other = self.form.decimal, OTHER[self.form.decimal]
        ours, theirs = cells.read(parts_of, mark), cells.read(parts_of, other)
        against, proof = there & theirs.numeric & ~ours.numeric, there & ours.numeric & ~theirs.numeric
        if cells.count[against].sum() > cells.count[proof].sum():
            self._refuse(cells, int(against.argmax()))
        unclear = there & self.form.fits(ours) & self.form.fits(theirs) & (ours.value != theirs.value)
        if against.any() or proof.any() or not unclear.any():
            return
        read, otherwise, count = ours.value[unclear], theirs.value[unclear], cells.count[unclear]
        place = np.flatnonzero(unclear)
        least = min(abs(self.low), abs(self.high)) if self.low * self.high > 0 else 0.0
        size = np.abs(read)
        far = (size > FAR * max(abs(self.low), abs(self.high))) | (size < least / FAR)
        inside, otherwise_inside = ((self.low <= x) & (x <= self.high) for x in (read, otherwise))
        if (wrong := far & otherwise_inside) @ count > MOST * count.sum():
            self._refuse(cells, int(place[wrong.argmax()]))
        if (inside & ~otherwise_inside) @ count > MOST * count.sum():
            return
        with_groups = decimal_marks.grouped(cells, mark)[unclear]  # the others have three decimals
        new = np.where(with_groups, not self.grouped, not self.thousandths)
        if new @ count >= NEARLY_ALL * cells.count[there].sum():
            self._refuse(cells, int(place[new.argmax()]))
        small = np.median(size) < abs(self.median) / FAR and FAR * np.median(np.abs(otherwise)) > abs(self.median)
        if (new.any() or small) and not self.open:
            at = int(place[new.argmax()])
            notes.append(
                f"{self.name}: {cells.text[at]!r} is read as {ours.value[at]:.15g}, as training had a {MARK[mark]}, "
                f"but may mean {theirs.value[at]:.15g} ({remarks.option(self.name, OPTION[other], 'decimal')} reads it "
                "so)"
            )

    def _refuse(self, cells: Cells, at: int) -> NoReturn:
        """Raise the DataError for the other decimal mark, which the text at this place shows."""
        mark, other = self.form.decimal, OTHER[self.form.decimal]
        read, otherwise = (float(cells.read(parts_of, each).value[at]) for each in (mark, other))
        is_none = "is no number" if np.isnan(read) else f"is {read:.15g}"
        change = f"--decimal {OPTION[other]}"
        if not np.isnan(read):
            keep = remarks.option(self.name, OPTION[mark], "decimal")
            change += f" if the table has a {MARK[other]}, or {keep} if this column has a {MARK[mark]}"
        raise DataError(
            f"column {self.name!r} seems to have a {MARK[other]}; training had a {MARK[mark]}",
            expected=f"{self.form.described}, as in training, from about {self.low:.6g} to {self.high:.6g}",
            got=f"{_in_row(cells, at)}, which {is_none} with a {MARK[mark]}, and {otherwise:.15g} with a {MARK[other]}",
            fix=f"{change} (in Python, the argument decimal)",
        )


def _in_row(cells: Cells, at: int) -> str:
    """The text at this place, and the first row that holds it."""
    return f"{cells.text[at]!r} in row {int((cells.places == at).argmax()) + 1:,}"


def _check_unit(column: NumberColumn, cells: Cells) -> None:
    """Refuse a column of which most values are numbers in another unit than training's."""
    there, parts = _to_be_read(cells, column), cells.read(parts_of, column.decimal)
    wrong = there & parts.numeric & ~column.form.fits(parts) & ~parts.zero & (parts.unit != (column.unit or ""))
    rows = int(cells.count[wrong].sum())
    if rows <= MOST * cells.count[there].sum():
        return
    at = int(wrong.argmax())
    unit, known = str(parts.unit[at]), column.unit
    raise DataError(
        f"column {column.name!r} has numbers {f'in {unit}' if unit else 'without a unit'}; "
        f"training had them {f'in {known}' if known else 'without a unit'}",
        expected=column.form.described,
        got=f"{_in_row(cells, at)}; {rows:,} of {len(cells):,} values {'is' if rows == 1 else 'are'} in another unit",
        fix=f"convert the numbers{f' to {known}' if known else ''} and write them as in training; "
        f"if they mean the same, remove {unit}"
        if unit and "%" not in (unit, known)
        else f"convert the numbers, and write them {f'with {known}' if known else f'without {unit}'}",
    )


def _check_fractions(column: NumberColumn, cells: Cells) -> None:
    """Refuse numbers that seem to be fractions where training had percentages.

    A spreadsheet keeps 52.9 % as 0.529, which is how its cells are read; a CSV file from it has 52.9%.
    """
    size = np.abs(parsing.numbers(cells, column.form, column.missing_words).drop_nulls().to_numpy())
    typical, usual = float(np.median(size)) if len(size) else 0.0, abs(column.median)
    if column.without or not FAR * typical < usual < FAR * 100 * typical:
        return
    example = float(size[int(np.abs(size - typical).argmin())])
    raise DataError(
        f"column {column.name!r} seems to have fractions; training had percentages",
        expected=f"{column.form.described}, as in training, from {column.low:.6g} to {column.high:.6g}",
        got=f"numbers without %, such as {example:.6g}",
        fix=f"multiply them by 100; or, if they are percentages as they are, write them as text: '{example:.6g}%'",
    )


# ---- dates -----------------------------------------------------------------------------------------------------------
def _forms(form: str) -> list[str]:
    """A form of dates, and the one with the day in place of the month where they may be taken for each other."""
    return [form, dates.swapped(form)] if dates.order_of(form) in ("dmy", "mdy") else [form]


def _with_form(column: DateColumn, cells: Cells, asked: str | None, notes: list[str]) -> DateColumn:
    """The column, with the form in which another table writes its dates."""
    there, trained = _to_be_read(cells, column), column.format
    rows = int(cells.count[there].sum())
    if asked is not None:
        found = dates.best(cells, column.missing_words, asked)
        return replace(column, format=found[0]) if found and dates.order_of(found[0]) == asked else column
    if trained is None or not rows or trained == dates.TIME_ALONE:
        return column
    fitting = int(cells.count[there & ~np.isnat(dates.days(cells, trained, column.missing_words))].sum())
    if fitting == rows:
        _tell_order(column, cells, there, notes)
        return column
    if fitting > MOST * rows:
        found = dates.best(cells, column.missing_words)
        if found is None or found[1] < rows:
            return column
    else:
        found = dates.best(cells, column.missing_words)
    if found is None or found[1] < NEARLY_ALL * rows or found[1] <= fitting or not _same_parts(found[0], trained):
        return column
    form, example = found[0], str(cells.text[int(there.argmax())])
    order, known = dates.order_of(form), dates.order_of(trained)
    if order and form[:2] != "%Y":
        shown = dates.order(cells)
        if shown.known == "proven" and shown.value not in ("", order):
            form = (dates.best(cells, column.missing_words, shown.value) or found)[0]
        example, order = shown.example or example, dates.order_of(form)
        if (shown.known != "proven" and order != known) or (known in ("dmy", "mdy") and order != known):
            _refuse_order(column, form, example, rows - fitting, rows, found[1])
    notes.append(
        f"{column.name}: {example!r} is read as {dates.described(form)}; training had {dates.described(trained)}"
    )
    return replace(column, format=form)


def _tell_order(column: DateColumn, cells: Cells, there: Array, notes: list[str]) -> None:
    """Add a remark if all dates fit training's order of day and month, and the other one as well.

    there  (m,) booleans: which texts hold a date
    """
    forms = _forms(str(column.format))
    ours, theirs = (dates.days(cells, each, column.missing_words)[there] for each in (forms[0], forms[-1]))
    unclear = ours != theirs
    if np.isnat(theirs).any() or not unclear.any():
        return
    example = str(cells.text.filter(pl.Series(there))[int(unclear.argmax())])
    change = remarks.option(column.name, dates.order_of(forms[-1]), "dates")
    notes.append(
        f"{column.name}: {example!r} is read as {dates.described(forms[0])}, as in training, but may be "
        f"{dates.described(forms[-1])} ({change} reads it so)"
    )


def _same_parts(form: str, trained: str) -> bool:
    """Whether both forms name a day, so that one may stand for the other."""
    return all("%d" in each for each in (form, trained))


def _refuse_order(column: DateColumn, form: str, example: str, odd: int, rows: int, fitting: int) -> NoReturn:
    """Raise the DataError for dates that seem to be written in another order than training's."""
    trained, order = str(column.format), dates.order_of(form)
    back = dates.order_of(trained)
    keep = f", or {remarks.option(column.name, back, 'dates')} if the other values are mistakes" if back else ""
    count = "all" if fitting == rows else f"{fitting:,}"
    raise DataError(
        f"column {column.name!r} seems to be written {dates.ORDERS[order]}, as {dates.described(form)}; "
        f"training had {dates.described(trained)}",
        expected=dates.expected(trained),
        got=f"{example!r}; {odd:,} of {rows:,} values {'does' if odd == 1 else 'do'} not fit, and {count} fit "
        f"{dates.described(form)}",
        fix=f"--dates {order} if the table is written {dates.ORDERS[order]}{keep} (in Python, the argument dates)",
    )
