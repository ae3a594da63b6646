"""How a table writes its values: the words that mean missing, the decimal mark, and the order of days and months.

The user may state each of these for all columns or for one. Otherwise it is detected from all rows of a column and,
where these are ambiguous, from the other columns of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from lamp.errors import ArgumentError
from lamp.tables import dates, decimal_marks
from lamp.tables.cells import Cells, cells_of
from lamp.tables.evidence import ALL, Found, settled
from lamp.tables.missing import MISSING_WORDS, is_text
from lamp.tables.plain import Plain, Summary, plain_numbers
from lamp.tables.reading.names import near

NOTHING = "none"  # --missing none: no word means missing, so that None is an ordinary word
MARKS = {".": ".", ",": ",", "point": ".", "comma": ","}


@dataclass(frozen=True)
class Conventions:
    """How the columns of a table write their values, by column name; the entry ALL applies to all other columns.

    missing  words that mean missing
    decimal  "." or ","
    dates    the order of day, month and year: one of `dates.ORDERS`
    plain    the columns of plain numbers, once `settled` has looked at a table
    cells    the cells of its other columns of text
    """

    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    decimal: Mapping[str, Found] = field(default_factory=dict)
    dates: Mapping[str, Found] = field(default_factory=dict)
    plain: Plain | None = None
    cells: Mapping[str, Cells] = field(default_factory=dict)

    def missing_in(self, name: str) -> tuple[str, ...]:
        """The words that mean missing in a column."""
        return self.missing.get(name, self.missing.get(ALL, MISSING_WORDS))

    def decimal_in(self, name: str) -> Found:
        """The decimal mark of a column."""
        return self.decimal.get(name, self.decimal.get(ALL, Found(".")))

    def dates_in(self, name: str) -> Found:
        """The order of days, months and years in a column."""
        return self.dates.get(name, self.dates.get(ALL, Found("")))

    def settled(self, frame: pl.DataFrame) -> Conventions:
        """These conventions, completed with what the table's rows show of each column and of the whole file."""
        plain = plain_numbers(frame, self.missing_in(ALL))
        texts = {series.name: series.cast(pl.String) for series in frame.get_columns() if is_text(series.dtype)}
        cells = cells_of(series for name, series in texts.items() if name not in plain.summaries)
        points = {
            name: Found(".", "proven" if each.example else "", each.example) for name, each in plain.summaries.items()
        }

        def looked_at(
            asked: Mapping[str, Found], look: Callable[[Cells], Found], known: Mapping[str, Found]
        ) -> dict[str, Found]:
            if ALL in asked:
                return dict(asked)
            found = {name: look(each) for name, each in cells.items() if name not in asked}
            return settled({**known, **found, **asked}) | dict(asked)

        if ALL not in self.decimal:
            decimal_marks.read_all(each for name, each in cells.items() if name not in self.decimal)
        if ALL not in self.dates:
            dates.read_all((each for name, each in cells.items() if name not in self.dates), dates.likely_orders)
        decimal, orders = (
            looked_at(self.decimal, decimal_marks.decimal_mark, points),
            looked_at(self.dates, dates.order, {}),
        )
        made = Conventions(self.missing, decimal, orders, plain)
        rest = cells_of(texts[name] for name in plain.summaries if made.plain_in(name) is None)
        return replace(made, cells={**cells, **rest})

    def cells_of(self, series: pl.Series) -> Cells:
        """The cells of a column of the table that `settled` has looked at."""
        return self.cells.get(series.name) or Cells(series)

    def plain_in(self, name: str) -> Summary | None:
        """The summary of a column of plain numbers; None for other columns and where the user chose another form."""
        if self.plain is None or name in self.missing or self.decimal_in(name).value != ".":
            return None
        return self.plain.summaries.get(name)

    @classmethod
    def asked(
        cls, names: Sequence[str], missing: Iterable[str] = (), decimal: Iterable[str] = (), dates_: Iterable[str] = ()
    ) -> Conventions:
        """The conventions that the user stated as "VALUE" for all columns or "COLUMN=VALUE" for one.

        Raises ArgumentError for an unknown column or value.
        """
        words: dict[str, list[str]] = {}
        for each in missing:
            name, word = _parted(each, names)
            if name == ALL and (column := each.rpartition("=")[0]):
                expected = "a word, for all columns or as COLUMN=WORD for one"
                raise _no_column("--missing", each, near(column, names), expected)
            words.setdefault(name, []).append(word)
        marks = _each(decimal, names, "--decimal", MARKS)
        orders = _each(dates_, names, "--dates", {each: each for each in dates.ORDERS})
        nothing = {name: () if given == [NOTHING] else tuple(given) for name, given in words.items()}
        return cls(nothing, marks, orders)


def _parted(given: str, names: Sequence[str]) -> tuple[str, str]:
    """The column and the value of "COLUMN=VALUE"; the column is ALL for a "VALUE" alone."""
    for at in [k for k, letter in enumerate(given) if letter == "="][::-1]:
        if given[:at] in names:
            return given[:at], given[at + 1 :]
    return ALL, given


def _each(given: Iterable[str], names: Sequence[str], option: str, values: Mapping[str, str]) -> dict[str, Found]:
    found = {}
    for each in given:
        name, value = _parted(each, names)
        if value.lower() not in values:
            column = value.rpartition("=")[0]
            expected = f"{', '.join(map(repr, values))}, for all columns or as COLUMN=VALUE for one"
            if column:
                raise _no_column(option, each, near(column, names), expected)
            raise ArgumentError(
                f"{option} {each}: unknown value",
                expected=expected,
                got=each,
                fix=f"for example, {option} '{next(iter(values))}'",
            )
        found[name] = Found(values[value.lower()], "asked")
    return found


def _no_column(option: str, given: str, meant: str | None, expected: str) -> ArgumentError:
    column = given.rpartition("=")[0]
    return ArgumentError(
        f"{option} {given}: the table has no column {column!r}",
        expected=expected,
        got=given,
        fix=f"did you mean {meant!r}?" if meant is not None else "name a column of the table",
    )
