"""The decimal mark of a column: which of 1.020 and 1,020 is about one, as the column's own rows show it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import polars as pl

from lamp.tables import dates
from lamp.tables.cells import Array, Cells, read_together
from lamp.tables.evidence import Found
from lamp.tables.number_texts import OTHER
from lamp.tables.numbers import contains, parts_of

A_FEW, ENOUGH = 20, 1_000  # so many words decide the decimal mark if they agree
MOST = 0.5  # least share of numbers among the words that contain a mark

# Numbers without a unit in which "." can only be the decimal point: 0.5, 1.25, 1000.125
PLAIN = re.compile(r"[+-]?(?:0?\.\d+|\d{4,}\.\d*|\d*\.(?:\d{1,2}|\d{4,}))(?:[eE][+-]?\d+)?$")


def decimal_mark(column: pl.Series | Cells) -> Found:
    """The decimal mark of a column of text, as its own rows show it."""
    cells = Cells.of(column)
    if dates.months_in(cells):
        return Found(".")
    if example := _point(cells):
        return Found(".", "proven", example)
    marked = cells.read(has_mark)
    rows = cells.count[marked].sum()
    if not rows:
        return Found(".")
    found = None
    if rows > ENOUGH:  # a long column is decided by its first rows, if they prove it
        places = cells.places[cells.places >= 0]
        first_marked = np.zeros_like(marked)
        first_marked[places[marked[places]][:ENOUGH]] = True
        found = _shown_by(cells, first_marked)
    if not (found is not None and found.known == "proven"):
        found = _shown_by(cells, marked)
    if found is None or found.known != "assumed":
        return found or Found(".")
    return _by_the_others(cells, found)


def read_all(columns: Iterable[Cells]) -> None:
    """Read many columns together with either decimal mark, where `decimal_mark` will ask for it."""
    several = [cells for cells in columns if not _point(cells) and cells.read(has_mark).any()]
    for mark in OTHER:
        read_together(several, parts_of, mark)


def read_marked(columns: Iterable[Cells], mark: str) -> None:
    """Read the columns that contain a point or a comma together, with this decimal mark."""
    read_together([cells for cells in columns if cells.read(has_mark).any()], parts_of, mark)


def grouped(cells: Cells, mark: str) -> Array:
    """(m,) booleans: which texts are numbers with thousands separators, if this is their decimal mark."""
    has_separator: Array = cells.read(contains, OTHER[mark]) & cells.read(parts_of, mark).numeric
    return has_separator


def three_decimals(cells: Cells, mark: str) -> Array:
    """(m,) booleans: which texts are numbers with three decimals and no more than three digits before this mark.

    With the other decimal mark, these have a thousands separator in its place.
    """
    has_three: Array = cells.read(_has_three_decimals, mark) & cells.read(parts_of, mark).numeric
    return has_three


def seen_in(cells: Cells, mark: str) -> dict[str, bool]:
    """The fields `grouped` and `thousandths` of a NumberColumn with this decimal mark."""
    return {"grouped": bool(grouped(cells, mark).any()), "thousandths": bool(three_decimals(cells, mark).any())}


def _point(cells: Cells) -> str:
    """A number in the first rows that shows that the point is the decimal mark; "" if there is none."""

    def look() -> str:
        first = cells.first(A_FEW)
        return "" if "," in "".join(first) else next(filter(PLAIN.match, first), "")

    return cells.once((_point,), look)


def _shown_by(cells: Cells, marked: Array) -> Found | None:
    """The decimal mark that these words with marks show; None if most of them are not numbers.

    marked  (m,) booleans: which texts to look at
    """
    looked_at = marked & ~cells.missing()
    point, comma = (cells.read(parts_of, mark) for mark in (".", ","))
    by_point, by_comma = looked_at & point.numeric, looked_at & comma.numeric
    if max(by_point.sum(), by_comma.sum()) <= MOST * looked_at.sum():
        return None
    proofs = {".": np.flatnonzero(by_point & ~by_comma), ",": np.flatnonzero(by_comma & ~by_point)}
    if len(proofs["."]) or len(proofs[","]):
        mark = max(proofs, key=lambda each: len(proofs[each]))
        all_the_same = not len(proofs[OTHER[mark]])
        return Found(mark, "proven" if all_the_same else "likely", cells.text[int(proofs[mark][0])])
    open_ones = np.flatnonzero(by_point & by_comma & (point.value != comma.value))
    return Found(".", "assumed", cells.text[int(open_ones[0])]) if len(open_ones) else Found(".")


def _by_the_others(cells: Cells, found: Found) -> Found:
    """The meaning of an ambiguous 1.020 or 1,020, judged by the numbers without a mark.

    If these are all below 1000 (such as 770, and no 2000), the mark separates thousands: a program that writes 1.02 as
    1.020 would also write 770 as 770.000.
    """
    mark = "." if "." in found.example else ","
    with_mark = cells.read(contains, mark)
    others = cells.read(parts_of, ".").value[~with_mark]
    others = others[np.isfinite(others) & (others != 0)]
    if len(others) and (with_mark & cells.read(_ends_in_zero)).any() and bool((np.abs(others) < 1000).all()):
        return Found(OTHER[mark], "likely", found.example)
    return found


def has_mark(text: pl.Series) -> Array:
    """(m,) booleans: which texts contain a point or a comma."""
    return text.str.contains_any([".", ","]).to_numpy()


def _ends_in_zero(text: pl.Series) -> Array:
    return text.str.contains(r"[.,]\d\d0(?:\D|$)").to_numpy()


def _has_three_decimals(text: pl.Series, mark: str) -> Array:
    return text.str.contains(rf"(?:^|\D)[1-9]\d{{0,2}}\{mark}\d{{3}}(?:\D|$)").to_numpy()
