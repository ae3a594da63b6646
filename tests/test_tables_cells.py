"""The cells of a column: each different one is read once, and together with other columns they are read as alone."""

import datetime
import random
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamp.errors import DataError
from lamp.tables import Preprocessing, cells, dates, kinds, number_texts, numbers
from lamp.tables.cells import Cells, cells_of
from lamp.tables.conventions import Conventions
from lamp.tables.missing import MISSING_WORDS, as_text
from lamp.tables.planning import Request, plan_training

WORDS = [
    "", " ", None, "NA", "None", "-", "a", " a ", "A", "Ko\u0308ln", "Köln", "yes", "no", "3", "3.0", "03", "1,020",
    "1.020", "0,5", "770", "$3,036.00", "$5", "5%", "(5)", "12 kg", "3k", "-999", "1e5", "2021-03-03", "03/04/2021",
    "13/04/21", "3 Mar 2021", "2:30 PM", "20210303", "9007199254740993",
]  # fmt: skip


def column(draw, rows):
    few = draw.sample(WORDS, draw.randint(1, 4))
    return [draw.choice(few) for _ in range(rows)]


def tables():
    """Tables of mixed columns, some of one form and some of several."""
    for seed in range(25):
        draw = random.Random(seed)
        rows = draw.choice([12, 30, 61])
        yield pl.DataFrame(
            {f"x{k}": column(draw, rows) for k in range(12)},
            schema=dict.fromkeys([f"x{k}" for k in range(12)], pl.String),
        )


def plan(frame):
    try:
        decisions = kinds.decide(frame, "", None, conventions := Conventions().settled(frame))
    except DataError as error:
        return str(error)
    made = Preprocessing().fit(kinds.typed(frame, decisions, conventions), decisions)
    return decisions, made.to_dict(), made.transform(frame, [], "gap").tolist()


def test_columns_read_together_are_read_as_alone(monkeypatch):
    together = [plan(frame) for frame in tables()]
    monkeypatch.setattr(cells, "AT_A_TIME", 1)
    assert [plan(frame) for frame in tables()] == together


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), min_size=1, max_size=9), min_size=1, max_size=4))
def test_cells(columns):
    found = cells_of(pl.Series(f"x{k}", column, dtype=pl.String) for k, column in enumerate(columns))
    for k, column in enumerate(columns):
        alone, each = Cells(pl.Series(f"x{k}", column, dtype=pl.String)), found[f"x{k}"]
        assert each.text.equals(alone.text)
        assert each.count.tolist() == alone.count.tolist()
        assert each.text.n_unique() == len(each.text)
        assert each.count.sum() == len(column) - (each.places < 0).sum()
        rows = each.rows(each.text.to_numpy(), None).tolist()
        assert rows == alone.rows(alone.text.to_numpy(), None).tolist() == as_text(each.series).to_list()
        assert each.words().equals(alone.words(), null_equal=True)
        for mark in ".,":
            parts, parsed = each.read(numbers.parts_of, mark), number_texts.parsed(alone.text, mark)
            np.testing.assert_array_equal(parts.value, parsed["value"].to_numpy())
            assert parts.unit.tolist() == parsed["unit"].to_list()
            assert parts.zero.tolist() == parsed["zero"].to_list()
            assert parts.scaled.tolist() == parsed["scaled"].to_list()


@pytest.mark.parametrize(("odd", "wide"), [("1.25", 1), ("1.250", 2)])
def test_rows_with_odd_target_words_are_left_out_before_the_other_columns_are_looked_at(
    tmp_path, monkeypatch, odd, wide
):
    """Where other columns may tell what 1.250 is, they are looked at twice."""
    frame = pl.DataFrame({f"x{k}": [f"{(k + 7 * row) % 50} kg" for row in range(60)] for k in range(5)})
    target = [odd if row % 2 else str(row) for row in range(60)]
    frame.with_columns(y=pl.Series([*target[:-1], "unknown"])).write_csv(tmp_path / "t.csv")
    widths, settled = [], Conventions.settled

    def counting(self, frame):
        widths.append(frame.width)
        return settled(self, frame)

    monkeypatch.setattr(Conventions, "settled", counting)
    plan = plan_training(Request(tmp_path / "t.csv", "y", "regression", leave_out_odd=True))
    assert (len(plan.rows), plan.target.task) == (59, "regression")
    assert widths.count(6) == wide


def test_each_text_is_parsed_once_with_each_mark_and_in_each_form(monkeypatch):
    draw, day, rows = random.Random(0), datetime.date(2021, 1, 1), 60
    written = [
        lambda: f"${draw.randint(1000, 99999):,}.00",
        lambda: f"{draw.randint(1, 900)} kg",
        lambda: (day + datetime.timedelta(draw.randint(0, 900))).strftime("%d/%m/%Y"),
        lambda: draw.choice(["red", "blue", "green"]),
        lambda: " ".join(draw.choice(["red", "blue", "green"]) for _ in range(9)),
    ]
    frame = pl.DataFrame({f"x{k}": [written[k % 5]() for _ in range(rows)] for k in range(50)})
    texts, calls = Counter(), Counter()

    def counting(name, read):
        def counted(text, form):
            texts[name], calls[name] = texts[name] + len(text), calls[name] + 1
            return read(text, form)

        return counted

    for module, name in ((numbers, "parsed"), (dates, "read")):
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    conventions = Conventions().settled(frame)
    decisions = kinds.decide(frame, "", None, conventions)
    typed = kinds.typed(frame, decisions, conventions)
    assert [each.kind for each in decisions[:5]] == ["number", "number", "date", "category", "left out"]
    assert [typed[f"x{k}"].dtype for k in range(3)] == [pl.Float64, pl.Float64, pl.Datetime("us")]
    assert texts["parsed"] <= 2 * rows * frame.width
    assert texts["read"] <= 2 * rows * frame.width / 5  # the columns of dates, in two orders
    assert max(calls.values()) <= 4  # all columns together


def test_words_among_known_ones_are_looked_up_with_the_words_that_mean_missing():
    some = cells.Cells(pl.Series("x", ["soon", "na", "3.0", "", "soon"]))
    assert some.among(["soon", "na", "3"]).tolist() == [True, False, True]
    assert some.among(["soon", "na", "3"], ()).tolist() == [True, True, True]
    assert some.frequent_first(~some.missing(), MISSING_WORDS) == (["soon", "3.0"], ["soon", "3"])
