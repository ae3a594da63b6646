"""Dates and numbers in the most frequent notations are read without the grammar, as the grammar reads them."""

import numpy as np
import polars as pl
import pytest

from lamp.tables import dates, durations, kinds, number_texts, parsing
from lamp.tables.quick_dates import days_in_digits, read_quickly

PREFIXES = ["", "-", "+", "$", "-$", "$-", "$ ", "US$", "EUR ", "kr ", "kr.", "CHF", "€", "- ", "+-"]
SUFFIXES = [
    "",
    "%",
    " %",
    " kg",
    "kg",
    "k",
    "M",
    " bn",
    "bn €",
    "m",
    "-",
    " -",
    "kr.",
    " Mio. €",
    "x",
    "E",
    "e-",
    "m2",
    " in",
]
DIGITS = ["5", "0", "007", "0.5", "1,020", "1.020", "12,34,567", "1.234,5", "5.", ".5", "0,0", "1,2,3", "1.2.3"]


def days(draw, form, count):
    """Texts of a form, most of them days, with some mistakes."""
    wanted = {"%Y": (0, 2100, 4), "%y": (0, 100, 2), "%m": (0, 14, 2), "%d": (0, 33, 2)}
    for _ in range(count):
        text = form
        for part, (low, high, width) in wanted.items():
            text = text.replace(part, f"{draw.integers(low, high):0{width}}")
        at = draw.integers(len(text))
        yield text if draw.random() < 0.8 else text[:at] + draw.choice(list("0/x-é")) + text[at + 1 :]


@pytest.mark.parametrize("form", dates.NUMERIC)
def test_days_in_digits_are_read_as_by_the_grammar(form):
    text = pl.Series([*days(np.random.default_rng(0), form, 400), None, ""])
    found, left = read_quickly(text, form)
    by_grammar = dates._read(text, form)
    assert dates.read(text, form).equals(by_grammar)
    assert found.filter(~left).equals(by_grammar.filter(~left))
    assert left.sum() < 150, "the grammar reads the few that are not of fixed places"


def test_most_dates_never_meet_the_grammar(monkeypatch):
    text = pl.Series([f"{day:02}/{month:02}/2019" for day in range(1, 29) for month in range(1, 13)])
    monkeypatch.setattr(dates, "_read", None)
    assert dates.read(text, "%d/%m/%Y").null_count() == 0


def test_whole_numbers_are_read_as_the_days_that_their_digits_are():
    draw, edges = np.random.default_rng(0), [0, -20210303, 99991231, 9999999, 10**8, 202103032400, 202103032401, 10**14]
    some = [draw.integers(0, 10**places, 500) for places in (8, 9, 12, 13, 14, 15)]
    days = draw.integers(1900, 2100, 500) * 10_000 + draw.integers(0, 14, 500) * 100 + draw.integers(0, 33, 500)
    clock = days * 10**4 + draw.integers(0, 25, 500) * 100 + draw.integers(0, 61, 500)
    numbers = np.concatenate([edges, *some, days, clock, clock * 100 + draw.integers(0, 61, 500)])
    by_grammar = dates.read(pl.Series(numbers).cast(pl.String), dates.COMPACT)
    assert pl.Series(days_in_digits(numbers)).equals(by_grammar)
    assert 500 < by_grammar.count() < len(numbers)
    assert parsing.times(pl.Series([20200101, None, 20200102]), dates.COMPACT, ["20200101"]).null_count() == 2


@pytest.mark.parametrize("mark", [".", ","])
def test_numbers_with_affixes_are_read_as_by_the_grammar(mark):
    words = [before + digits + after for before in PREFIXES for digits in DIGITS for after in SUFFIXES]
    text = pl.Series(words)
    text = text.filter(text.str.contains(number_texts.grammar(mark)))
    for inside in (False, True):
        which = pl.repeat(inside, len(text), dtype=pl.Boolean, eager=True)
        found = number_texts._by_affixes(text, which, mark)
        assert found.equals(number_texts._read(text, which, mark), null_equal=True)
    assert len(text) > 500


def test_the_grammar_parses_one_number_per_unit(monkeypatch):
    texts, whole = [], number_texts._read

    def counted(text, *rest):
        texts.extend(text)
        return whole(text, *rest)

    monkeypatch.setattr(number_texts, "_read", counted)
    read = number_texts.parsed(
        pl.Series([f"${n:,}.50" for n in range(1, 3000)] + [f"{n} kg" for n in range(1, 99)]), "."
    )
    assert sorted(texts) == ["$1", "1 kg"]
    assert read["value"].to_list() == [n + 0.5 for n in range(1, 3000)] + list(range(1, 99))


def test_durations_of_a_notation_are_parsed_by_its_pattern_alone():
    words = ["3 h 20 min", "1:23:45", "2 days 04:00:00", "PT2H", "-1:00:00", "90 min", "3 h", "x", None, "5 min 3.5 s"]
    found = durations.parsed(pl.Series(words))
    assert found["value"].to_list() == [12000, 5025, 187200, 7200, -3600, None, None, None, None, 303.5]
    assert found["unit"].to_list() == ["h min s", "h:min:s", "h:min:s", "h min s", "h:min:s", *[None] * 4, "h min s"]


@pytest.mark.parametrize("gaps", [0, 3])
def test_a_column_of_a_spreadsheets_errors_is_called_that(gaps):
    errors = pl.DataFrame({"x": ["#REF!"] * 30 + [""] * gaps, "y": ["#REF!", "#DIV/0!", "#N/A"] * 10 + [""] * gaps})
    decisions = kinds.decide(errors.with_columns(z=pl.Series(range(30 + gaps)) % 7), "")
    assert [each.kind for each in decisions] == ["left out", "left out", "number"]
    assert decisions[0].why == (
        "30 cells with a spreadsheet's error, '#REF!', count as missing (--missing x=none takes them for words); all "
        "values are missing"
    )
    assert decisions[1].why.startswith("20 cells with a spreadsheet's error, '#REF!', '#DIV/0!', count as missing")
