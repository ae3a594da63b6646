"""Columns in any style are read as written, or as text, or with a remark; never wrongly in silence.

Numbers and instants are drawn, rendered as the people of some country write them, and read again.
"""

import datetime
import os

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamp.tables import Preprocessing, kinds
from lamp.tables.conventions import Conventions

SETTINGS = settings(max_examples=int(os.environ.get("LAMP_EXAMPLES", "100")), deadline=None, derandomize=True)
GAPS = ("", "NA", "null", None)


# ---- numbers ---------------------------------------------------------------------------------------------------------
def grouped(digits, mark, indian=False):
    """Digits with a mark between thousands."""
    if not mark or len(digits) <= 3:
        return digits
    head, groups = digits[:-3], [digits[-3:]]
    size = 2 if indian else 3
    while head:
        groups.insert(0, head[-size:])
        head = head[:-size]
    return mark.join(groups)


STYLES = {  # thousands, decimals
    "program": ("", "."),
    "English": (",", "."),
    "German": (".", ","),
    "French": ("\u202f", ","),
    "SI": (" ", "."),
    "Swiss": ("'", "."),
    "Python": ("_", "."),
    "plain comma": ("", ","),
    "Indian": (",", "."),
}
DRESSES = {
    "bare": lambda negative, text: ("-" if negative else "") + text,
    "minus": lambda negative, text: ("\u2212" if negative else "") + text,
    "plus": lambda negative, text: ("-" if negative else "+") + text,
    "behind": lambda negative, text: text + ("-" if negative else ""),
    "dollar": lambda negative, text: ("-" if negative else "") + "$" + text,
    "dollar first": lambda negative, text: "$" + ("-" if negative else "") + text,
    "euro": lambda negative, text: ("-" if negative else "") + text + "\u00a0€",
    "code": lambda negative, text: "CHF " + ("-" if negative else "") + text,
    "percent": lambda negative, text: ("-" if negative else "") + text + "%",
    "percent apart": lambda negative, text: ("-" if negative else "") + text + " %",
    "accounts": lambda negative, text: f"({text})" if negative else text,
    "dollar accounts": lambda negative, text: f"(${text})" if negative else f"${text}",
    "unit": lambda negative, text: ("-" if negative else "") + text + " kg",
}


def rendered(number, decimals, style, dress):
    thousands, point = STYLES[style]
    whole, _, rest = f"{abs(number):.{decimals}f}".partition(".")
    text = grouped(whole, thousands, indian=style == "Indian") + (point + rest if rest else "")
    return DRESSES[dress](number < 0, text)


def decided(cells):
    frame = pl.DataFrame({"x": pl.Series(cells, dtype=pl.String), "beside": [(7 * k) % 13 for k in range(len(cells))]})
    return frame, kinds.decide(frame, "")[0]


numbers_of = st.lists(st.integers(-(10**8), 10**8), min_size=8, max_size=30, unique=True)


@SETTINGS
@given(st.sampled_from(list(STYLES)), st.sampled_from(list(DRESSES)), numbers_of, st.integers(0, 4), st.booleans())
def test_numbers_of_one_style(style, dress, whole, decimals, with_gaps):
    values = [number / 10**decimals for number in whole]
    cells = [rendered(value, decimals, style, dress) for value in values]
    expected = [float(f"{value:.{decimals}f}") for value in values]
    if with_gaps:
        cells, expected = cells + list(GAPS), expected + [None] * len(GAPS)
    frame, found = decided(cells)
    if found.kind == "left out" and "row numbers" in found.why:
        return
    if found.kind != "number":  # taken for text: then as written, and told where it holds numbers
        assert found.reported or found.kind == "left out", (cells, found)
        return
    column = Preprocessing().fit(frame, [found]).columns[0]
    read = column.read(frame["x"]).to_list()
    if read != expected:
        assert "may mean" in found.why or "the numbers without a mark" in found.why, (cells, read, expected, found)
        mark = STYLES[style][1]
        asked = Conventions.asked(frame.columns, (), [f"x={mark}"])
        told = kinds.decide(frame, "", None, asked)[0]
        assert Preprocessing().fit(frame, [told]).columns[0].read(frame["x"]).to_list() == expected
        assert f"x={mark}" in found.why
    typed = kinds.typed(frame, [found], Conventions().settled(frame))["x"].to_list()
    assert typed == read


@SETTINGS
@given(st.sampled_from(list(STYLES)), numbers_of)
def test_numbers_with_decimals_are_numbers(style, whole):
    """Two decimals prove the mark: then nothing is left open."""
    cells = [rendered(number / 100, 2, style, "bare") for number in whole]
    frame, found = decided(cells)
    assert found.kind == "number", (cells, found)
    assert Preprocessing().fit(frame, [found]).columns[0].read(frame["x"]).to_list() == [
        number / 100 for number in whole
    ]


@SETTINGS
@given(st.lists(st.sampled_from(
    ["1,020", "1.020", "770", "1.5", "1,5", "$5", "€5", "5%", "5", "0.5", "007", "7", "3k", "5-", "(5)", "x", "", "NA",
     "12 kg", "12 lb", "1 000", "1e3", "inf?", "2021-01-01", "1/2/2021"]), min_size=6, max_size=24))  # fmt: skip
def test_mixtures_are_told(cells):
    """Whatever stands together: each number read is the one that its decimal mark makes it, and all else is told."""
    frame, found = decided(cells)
    if found.kind != "number":
        return
    column = Preprocessing().fit(frame, [found]).columns[0]
    mark = column.decimal  # type: ignore[attr-defined]
    for cell, value in zip(cells, column.read(frame["x"]).to_list(), strict=True):
        if value is None:
            assert cell in ("", "NA") or f"{cell!r}" in found.why or "..." in found.why, (cells, found)
        else:
            other = {".": ",", ",": "."}[mark]
            digits = "".join(letter for letter in cell if letter.isdigit() or letter in ".,e").replace(other, "")
            scale = 1000 if cell.endswith("k") else 1
            assert abs(value) == pytest.approx(float(digits.replace(mark, ".")) * scale), (cells, found)
    if {"1,020", "1,5"} & set(cells):
        assert found.reported


# ---- dates -----------------------------------------------------------------------------------------------------------
def name(instant, form):
    return instant.strftime(form)


DAY_FORMS = {
    "ISO": "%Y-%m-%d",
    "slashes": "%Y/%m/%d",
    "German": "%d.%m.%Y",
    "British": "%d/%m/%Y",
    "American": "%m/%d/%Y",
    "dashes": "%d-%m-%Y",
    "American dashes": "%m-%d-%Y",
    "short": "%m/%d/%y",
    "short German": "%d.%m.%y",
    "name": "%d %b %Y",
    "long name": "%B %d, %Y",
    "Oracle": "%d-%b-%y",
    "mail": "%a, %d %b %Y",
    "compact": "%Y%m%d",
}
CLOCKS = {
    "day": ("", datetime.timedelta(days=1)),
    "minute": (" %H:%M", datetime.timedelta(minutes=1)),
    "second": ("T%H:%M:%S", datetime.timedelta(seconds=1)),
    "micro": (" %H:%M:%S.%f", datetime.timedelta(microseconds=1)),
    "half": (" %I:%M %p", datetime.timedelta(minutes=1)),
    "zone": ("T%H:%M:%SZ", datetime.timedelta(seconds=1)),
}
instants_of = st.lists(
    st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2069, 12, 31)), min_size=12, max_size=30, unique=True
)


def cut(instant, step):
    start = datetime.datetime(1970, 1, 1)
    return start + (instant - start) // step * step


@SETTINGS
@given(st.sampled_from(list(DAY_FORMS)), st.sampled_from(list(CLOCKS)), instants_of, st.booleans())
def test_dates_of_one_form(day, clock, instants, with_gaps):
    written, step = CLOCKS[clock]
    if day == "compact" and written:
        written = "T%H%M%S"
        step = datetime.timedelta(seconds=1)
    expected = [cut(instant, step) for instant in instants]
    cells = [instant.strftime(DAY_FORMS[day] + written) for instant in expected]
    if with_gaps:
        cells, expected = cells + list(GAPS), expected + [None] * len(GAPS)
    frame, found = decided(cells)
    if found.kind != "date":
        assert len(set(cells)) == 1, (cells, found)  # constant, or one value and gaps
        return
    read = Preprocessing().fit(frame, [found]).columns[0].read(frame["x"]).to_list()
    if read != expected:
        assert "may be" in found.why, (cells, found, read)
        order = "dmy" if DAY_FORMS[day].startswith("%d") else "mdy"
        told = kinds.decide(frame, "", None, Conventions.asked(frame.columns, (), (), [f"x={order}"]))[0]
        assert Preprocessing().fit(frame, [told]).columns[0].read(frame["x"]).to_list() == expected


# ---- words -----------------------------------------------------------------------------------------------------------
@SETTINGS
@given(st.lists(st.text(max_size=6), min_size=6, max_size=30), st.integers(0, 2**31))
def test_any_text_is_decided_and_read(cells, seed):
    """No text raises anything raw; what a fitted column reads, its JSON reads too."""
    order = np.random.default_rng(seed).integers(0, len(cells), 40)
    frame, found = decided([cells[k] for k in order])
    preprocessing = Preprocessing().fit(frame, [found])
    again = Preprocessing.from_json(preprocessing.to_json())
    assert (again.transform(frame.select("x")) == preprocessing.transform(frame.select("x"))).all()
    typed = kinds.typed(frame, [found], Conventions().settled(frame))
    assert (preprocessing.transform(typed.select("x")) == preprocessing.transform(frame.select("x"))).all()
