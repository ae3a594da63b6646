"""Read numbers as people write them: 1,203.50 and 1.203,50, $3,036.00, 12 kg, 52.9 %, (100.00), 1 000, 3k, 2 h 5 min.

How a column writes its numbers is decided once, from all of its rows, and saved, so that the same text means the same
number in every table. Text of another form is not a number; it is never read as a different one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import isnan

import numpy as np
import polars as pl

from lamp.tables import durations
from lamp.tables.cells import Array, Cells, read_together, rows_of
from lamp.tables.missing import MISSING_WORDS
from lamp.tables.number_texts import OTHER, parsed
from lamp.tables.scales import open_scales, parted

MOST_SHOWN = 50  # words kept as examples
SLIPS, SLIPS_SHARE = 2, 0.05  # least words, and share of words, with another decimal mark that are no slips


@dataclass(frozen=True)
class NumberForm:
    """How a column writes its numbers.

    decimal  the decimal mark, "." or ","; the other one, blanks, ' and _ may separate thousands
    unit     the text before or after the number, such as "$", "%" or "kg"; None allows any. With "s", durations in
             other units and in several are read too, as seconds
    zeros    whether 007 is the number 7; otherwise it is a word
    scales   whether 3k is 3,000 and 2.5M is 2,500,000
    """

    decimal: str = "."
    unit: str | None = ""
    zeros: bool = False
    scales: bool = False

    @property
    def described(self) -> str:
        """The form in words, for a message."""
        unit = "" if not self.unit else f" in {self.unit}"
        unit += ", or a duration such as 3 h 20 min or 1:23:45" if self.unit == durations.SECOND else ""
        return f"a number{unit}" + (" with a decimal comma" if self.decimal == "," else "")

    def read(self, columns: Sequence[Cells]) -> Array:
        """(c, n) the numbers in columns of text, float64; NaN for what is not a number of this form."""
        if len(columns) == 1:
            return columns[0].rows(self.values(columns[0].read(parts_of, self.decimal, alone=True)), np.nan)[None]
        read_together(columns, parts_of, self.decimal)
        parts = [each.read(parts_of, self.decimal) for each in columns]
        ends = list(accumulate((len(each.value) for each in parts), initial=0))
        values = self.values(Parts.joined(parts))
        return rows_of(columns, [values[start:end] for start, end in pairwise(ends)], np.nan)

    def values(self, parts: Parts) -> Array:
        """(m,) the numbers of texts that `parts_of` has parsed, likewise."""
        value = parts.value
        if self.unit == durations.SECOND:
            value = value * np.array([durations.SECONDS.get(unit.lower(), 1.0) for unit in parts.unit.tolist()])
        value = np.where(self._scaled_now(parts), value / parted(self.unit or "")[0], value)
        return np.where(self.fits(parts), value, np.nan)

    def fits(self, parts: Parts) -> Array:
        """(m,) booleans: which texts are numbers of this form."""
        fits, older = parts.numeric, self._scaled_now(parts)
        if self.unit is not None:
            bare = parts.unit == ""
            if self.unit:
                # beside 50 %, 0.5 is ambiguous; beside 12A, 12B is not 12 billion
                own = (parts.unit == self.unit) | older
                if self.unit == durations.SECOND:
                    own = np.array([unit.lower() in durations.SECONDS for unit in parts.unit.tolist()], bool)
                bare = own | (bare & (parts.value == 0 if self.unit == "%" else ~parts.scaled))
            fits = fits & bare
        if not self.zeros:
            fits = fits & ~parts.zero
        if not self.scales:
            fits = fits & (~parts.scaled | older)
        return fits

    def _scaled_now(self, parts: Parts) -> Array:
        """(m,) booleans: which texts are scaled by a part of this unit, as $5m is where an older folder has "$ m"."""
        scale, unit = parted(self.unit or "")
        return parts.scaled & (parts.unit == unit) if scale != 1.0 else np.zeros(len(parts.value), bool)


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """Texts parsed as numbers, (m,) each; see `parsed`.

    value  float64, NaN where the text is not a number
    """

    value: Array
    unit: Array
    zero: Array
    scaled: Array

    def __getitem__(self, span: slice) -> Parts:
        return Parts(self.value[span], self.unit[span], self.zero[span], self.scaled[span])

    @classmethod
    def joined(cls, parts: Sequence[Parts]) -> Parts:
        """The parts of one column after the other."""
        return cls(*(np.concatenate([getattr(each, name) for each in parts]) for name in cls.__slots__))

    @property
    def numeric(self) -> Array:
        """Which texts are numbers."""
        return ~np.isnan(self.value)


def parts_of(text: pl.Series, decimal: str) -> Parts:
    """The texts as numbers with this decimal mark."""
    return Parts(*(column.to_numpy() for column in parsed(text, decimal)))


def read_all(columns: Iterable[Cells], decimal_of: Callable[[Cells], str]) -> None:
    """Read many columns together, each with its decimal mark; what is asked of each one later is then known."""
    by_mark: dict[str, list[Cells]] = {}
    for cells in columns:
        by_mark.setdefault(decimal_of(cells), []).append(cells)
    for mark, several in by_mark.items():
        read_together(several, parts_of, mark)


# ---- how a column writes its numbers ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Seen:
    """What the words of a column look like as numbers.

    cells      the column
    form       how the numbers are written
    rows       number of rows that hold a number
    odd        the words that are not numbers, the most frequent first
    odd_rows   number of rows that hold such a word
    units      {unit: number of rows}, with "" for no unit
    codes      words that begin with 0 as codes do
    fractions  whether some numbers are not whole
    special    {word: number} for some words in an unusual notation
    scaled     a word with a k or M, or ""
    unscaled   whether some numbers other than 0 have no k or M
    mixed      a word with the other decimal mark, if that occurs beside words that could have either; else ""
    """

    cells: Cells
    form: NumberForm
    rows: int
    odd: list[str]
    odd_rows: int
    units: Counter[str]
    codes: list[str]
    fractions: bool
    special: dict[str, float]
    scaled: str
    unscaled: bool
    mixed: str

    def value(self, word: str, decimal: str) -> float | None:
        """The number that a text of the column is with this decimal mark."""
        value = float(self.cells.read(parts_of, decimal).value[int((self.cells.text == word).arg_max() or 0)])
        return None if isnan(value) else value

    def odd_are_numbers(self, decimal: str) -> bool:
        """Whether all odd words are numbers with this decimal mark."""
        known = dict(zip(self.cells.text.to_list(), self.cells.read(parts_of, decimal).numeric.tolist(), strict=True))
        others = [word for word in self.odd if word not in known]  # 3 where 3.0 stands
        if not all(known.get(word, True) for word in self.odd):
            return False
        return not others or not parsed(pl.Series(others), decimal)["value"].has_nulls()

    @property
    def open_scales(self) -> list[str]:
        """Units of the numbers read that may be scales, if the numbers would have several; see `scales`."""
        return open_scales(self.units, self.form.scales) if self.form.unit != durations.SECOND else []

    @property
    def are_plain(self) -> bool:
        """Whether the words are numbers without units, and nothing else."""
        return self.rows > 0 and not self.odd and self.form == NumberForm(self.form.decimal)

    @property
    def are_codes(self) -> bool:
        """Whether the words are codes in digits, such as 007, rather than numbers."""
        return bool(self.codes) and not (self.fractions or self.form.zeros)


def nothing(cells: Cells) -> Seen:
    """What a column of words looks like."""
    return Seen(cells, NumberForm(), 0, [], 0, Counter(), [], False, {}, "", True, "")


def rows(cells: Cells, decimal: str, missing: Sequence[str] = MISSING_WORDS) -> int:
    """The number of rows that hold a number."""
    return int(cells.count[cells.read(parts_of, decimal).numeric & ~cells.missing(missing)].sum())


def seen(cells: Cells, decimal: str, missing: Sequence[str] = MISSING_WORDS, asked: bool = False) -> Seen:
    """What the words of a column look like as numbers.

    asked  whether the user said that they are numbers; then every unit and leading zeros are accepted
    """
    parts, count, there = cells.read(parts_of, decimal), cells.count, ~cells.missing(missing)
    numeric = there & parts.numeric
    units = _counted(parts.unit[numeric].tolist(), count[numeric])
    named = [unit for unit, _ in units.most_common() if unit]
    unit: str | None = named[0] if named else ""
    if "%" in named:
        plain = int(count[numeric & (parts.unit == "") & (parts.value != 0)].sum())
        if unit == "%" and units["%"] < plain:
            unit = ""
    if durations.are_durations(named):
        # without a day, clocks up to 23:59:59 are times of day, unless the user says that they are numbers
        clocks = not asked and named == [durations.CLOCK] and (np.abs(parts.value[numeric]) < durations.DAY).all()
        unit = "" if clocks else durations.SECOND
    elif asked and (len(named) > 1 or ("%" in named and plain)):
        unit = None
    zero, scaled = numeric & parts.zero, numeric & parts.scaled
    form = NumberForm(decimal, unit, asked and bool(zero.any()), bool(scaled.any()))
    numbers = form.values(parts)
    read = there & ~np.isnan(numbers)
    odd, values, scaled = there & ~read, numbers[read], read & parts.scaled
    text, words = cells.frequent_first(odd, missing)
    return Seen(
        cells,
        form,
        int(count[read].sum()),
        list(dict.fromkeys(words)),
        int(count[odd].sum()),
        units,
        those(cells, zero).sort().head(MOST_SHOWN).to_list() if zero.any() else [],
        bool((values != np.round(values)).any()),
        _special(cells, read, numbers),
        _example(cells, scaled, numbers),
        bool((read & ~parts.scaled & (numbers != 0)).any()),
        _mixed(cells, text, read, decimal) if text else "",
    )


def those(cells: Cells, which: Array) -> pl.Series:
    """Some of a column's different texts; `which` are booleans."""
    return cells.text.filter(pl.Series(which))


def _counted(units: Sequence[str], count: Array) -> Counter[str]:
    """{unit: number of rows}."""
    found: Counter[str] = Counter()
    if len(set(units)) == 1:
        found[units[0]] = int(count.sum())
        return found
    for unit, rows in zip(units, count.tolist(), strict=True):
        found[unit] += rows
    return found


def _mixed(cells: Cells, odd: Sequence[str], read: Array, decimal: str) -> str:
    """A word that is a number with the other decimal mark alone, if there are too many of them to be slips and the
    mark occurs in other words too, where it was taken for a thousands separator; else "". `read` (m,) says where."""
    marked = int(np.count_nonzero(read & cells.read(contains, OTHER[decimal])))
    if not marked:
        return ""
    others = set(those(cells, cells.read(parts_of, OTHER[decimal]).numeric).to_list())
    proofs = [word for word in odd if word in others]
    return proofs[0] if len(proofs) >= max(SLIPS, SLIPS_SHARE * (marked + len(proofs))) else ""


def _special(cells: Cells, read: Array, numbers: Array) -> dict[str, float]:
    """{text: number} for a few of a column's numbers in a notation that programs do not use."""
    few = np.flatnonzero(read & cells.read(_in_own_notation))
    few = np.concatenate([few[numbers[few] != 0], few[numbers[few] == 0]])[:MOST_SHOWN]  # -0,0 explains nothing
    texts = cells.text.head(int(few.max()) + 1).to_list() if len(few) else []
    return {texts[k]: float(numbers[k]) for k in few.tolist()}


def _example(cells: Cells, which: Array, numbers: Array) -> str:
    """One of some of a column's texts, if possible of a number that is not 0; "" if there is none."""
    telling = which & (numbers != 0)
    which = telling if telling.any() else which
    return str(cells.text[int(which.argmax())]) if which.any() else ""


def contains(text: pl.Series, mark: str) -> Array:
    """(m,) booleans: which texts contain a mark."""
    return text.str.contains(mark, literal=True).to_numpy()


def _in_own_notation(text: pl.Series) -> Array:
    """(m,) booleans: which texts are no numbers as programs write them."""
    return text.str.contains(r"[^0-9.+\-eE]|[\d.-]-$|\..*\.").to_numpy()
