"""What becomes of each column, held against hand calculation; and what a table may not have."""

import datetime
import json
import math

import numpy as np
import polars as pl
import pytest

from lamp.errors import ArgumentError, DataError
from lamp.tables import Preprocessing, kinds
from lamp.tables.columns import MOST_LEVELS

RANDOM = np.random.default_rng(0)


def fitted(**columns):
    frame = pl.DataFrame(columns)
    return Preprocessing().fit(frame), frame


def transformed(preprocessing, notes=None, **columns):
    return preprocessing.transform(pl.DataFrame(columns, strict=False), notes).double().numpy()


def kind_of(name, values, asked=None):
    frame = pl.DataFrame({name: values, "beside": list(range(len(values)))[::-1] if len(values) < 20 else [
        (7 * k) % 13 for k in range(len(values))]})  # fmt: skip
    return kinds.decide(frame, "", asked)[0]


# ---- what a column is ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "values", "kind", "why"),
    [
        ("x", [0.5, 1.5, 2.5, None], "number", ""),
        ("x", [3, 1, 3, 1], "number", ""),
        ("x", ["1.5", "2.5", "NA", "4"], "number", ""),
        ("x", ["1,5", "2,5", "3", "4"], "number", "comma"),
        ("x", ["7.5"] * 15 + ["8"] * 15 + ["unknown"], "number", "'unknown'"),
        ("x", ["1", "2", "a", "b"] * 5, "category", ""),
        ("x", [True, False, True, None], "boolean", ""),
        ("x", ["yes", "no", "yes", ""], "boolean", ""),
        ("x", ["a", "b"] * 5, "category", ""),
        ("x", ["2024-01-01", "2024-01-02", None], "date", ""),
        ("x", ["01/02/2024", "02/03/2024"], "date", "month/day/year"),
        ("x", ["31/02/2024", "02/03/2024"], "left out", ""),
        ("x", [datetime.date(2024, 1, 1), datetime.date(2025, 1, 1)], "date", ""),
        ("x", [None, None, None], "left out", "missing"),
        ("x", ["", "NA", "?"], "left out", "missing"),
        ("x", [float("nan")] * 3, "left out", "missing"),
        ("x", [4, 4, 4], "left out", "constant: 4"),
        ("x", ["a", "a", "a"], "left out", "constant: a"),
        ("x", ["a", "a", None], "category", "missing"),
        ("x", [2.5, 2.5, None], "category", "missing"),
        ("x", [[1], [2], [3]], "left out", "neither"),
        ("x", list(range(100, 140)), "left out", "row numbers"),
        ("user_id", [k * k for k in range(40)], "left out", "identifier"),
        ("userId", [k * k for k in range(40)], "left out", "identifier"),
        ("width", [k * k for k in range(40)], "number", ""),
        ("x", [f"word {k}" for k in range(40)], "left out", "every value differs"),
        ("x", [f"word {k % 35}" for k in range(40)], "left out", "different words"),
    ],
)
def test_kinds(name, values, kind, why):
    found = kind_of(name, values)
    assert found.kind == kind
    assert why in found.why
    assert why or not found.why or kind == "left out"


def test_a_kind_can_be_asked_for():
    assert kind_of("x", [1, 2, 1], {"x": "category"}).kind == "category"
    assert kind_of("x", [f"word {k}" for k in range(40)], {"x": "category"}).kind == "category"
    assert kind_of("x", [1.0, 2.0], {"x": "drop"}).kind == "left out"
    with pytest.raises(DataError, match="none of its values"):
        kind_of("x", ["a", "b"], {"x": "number"})
    with pytest.raises(ArgumentError, match="unknown kind"):
        kind_of("x", ["a", "b"], {"x": "colour"})
    with pytest.raises(ArgumentError, match="did you mean 'beside'"):
        kind_of("x", ["a", "b"], {"besides": "number"})


def test_a_hundred_thousand_words():
    frame = pl.DataFrame({"x": [f"w{k}" for k in range(100_000)] * 2, "y": [0.0, 1.0] * 100_000})
    found = kinds.decide(frame, "")
    assert [each.kind for each in found] == ["left out", "number"]
    assert "100,000" in found[0].why
    asked = kinds.decide(frame, "", {"x": "category"})
    made = Preprocessing().fit(frame, asked)
    assert made.features == ["x is another", "y"]


def test_no_column_is_left():
    with pytest.raises(DataError, match="no column is left") as caught:
        kinds.decide(pl.DataFrame({"a": [1, 1], "b": [None, None], "t": [0, 1]}), "t")
    assert "constant" in str(caught.value)


def test_infinities_are_refused_with_their_row():
    with pytest.raises(DataError, match="'x' has infinite values") as caught:
        kinds.decide(pl.DataFrame({"x": [1.0, 2.0, math.inf, None], "y": [1, 2, 3, 5]}), "")
    assert "row 3" in str(caught.value)


# ---- numbers by hand -------------------------------------------------------------------------------------------------
def test_numbers_by_hand():
    made, _ = fitted(x=[1.0, 2.0, None, 9.0])
    # gaps become the median 2; mean 3.5; deviations -2.5, -1.5, -1.5, 5.5
    std = math.sqrt((2.5**2 + 2 * 1.5**2 + 5.5**2) / 4)
    assert made.features == ["x", "x is missing"]
    expected = [[(5 - 3.5) / std, 0.0], [(2 - 3.5) / std, 1.0]]
    assert transformed(made, x=[5.0, None]) == pytest.approx(np.array(expected), rel=1e-6)


def test_long_tails_are_drawn_in():
    values = [float(k % 10) for k in range(400)] + [1e6]
    made, frame = fitted(x=values)
    (column,) = made.columns
    low, high = np.quantile(values, [0.25, 0.75])
    assert column.curve == {"centre": np.median(values), "width": high - low}
    z = made.transform(frame).numpy()[:, 0]
    bent = np.arcsinh((np.array(values) - np.median(values)) / (high - low))
    assert z == pytest.approx((bent - bent.mean()) / bent.std(), rel=1e-5, abs=1e-6)


def test_words_between_numbers():
    made, _ = fitted(x=[str(k) for k in range(40)] + ["closed"])
    assert made.features == ["x", "x is missing"]
    assert transformed(made, x=["closed", "3"])[:, 1].tolist() == [1.0, 0.0]
    assert transformed(made, x=[3, 5])[:, 1].tolist() == [0.0, 0.0]
    with pytest.raises(DataError, match="'open' in row 2 is not a number"):
        transformed(made, x=["3", "open"])


def test_such_words_count_though_training_rows_have_none():
    frame = pl.DataFrame({"x": [str(k / 2) for k in range(40)] + ["closed"]})
    made = Preprocessing().fit(frame[:40], kinds.decide(frame, ""))
    notes = []
    assert np.isfinite(made.transform(frame, notes).numpy()).all()
    assert "1 missing" in notes[0]


def test_text_where_numbers_were():
    made, _ = fitted(x=[1.0, 2.0, 4.0])
    with pytest.raises(DataError, match="'many' in row 1 is not a number") as caught:
        transformed(made, x=["many", "few", "3"])
    assert "2 of 3" in str(caught.value)
    with pytest.raises(DataError, match="infinite values"):
        transformed(made, x=[1.0, -math.inf])


# ---- answers, words, dates by hand -----------------------------------------------------------------------------------
def test_yes_and_no_as_people_write_them():
    made, _ = fitted(b=["yes", "no", None])
    assert transformed(made, b=["no", "YES", None, "true"]).tolist() == [[0, 0], [1, 0], [0.5, 1], [1, 0]]
    with pytest.raises(DataError, match="'perhaps' in row 1 is not a boolean"):
        transformed(made, b=["perhaps"])


def test_words_by_hand():
    made, _ = fitted(c=["a"] * 5 + ["b"] * 4 + ["rare", "rarer", None])
    assert made.features == ["c = a", "c = b", "c is another", "c is missing"]
    got = transformed(made, c=["b", "rare", "new", None, " a "])
    assert got.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]]


def test_unseen_words_where_training_had_no_rare_ones():
    made, _ = fitted(c=["a"] * 5 + ["b"] * 4)
    notes = []
    assert transformed(made, notes, c=["a", "new", None]).tolist() == [[1, 0], [0, 0], [0, 0]]
    assert any("'new'" in note for note in notes)
    assert any("1 missing" in note for note in notes)


def test_only_so_many_words_have_a_feature():
    words = [f"w{k:02d}" for k in range(MOST_LEVELS + 9)] * 4
    made, _ = fitted(c=words)
    assert made.features == [f"c = w{k:02d}" for k in range(MOST_LEVELS)] + ["c is another"]


def test_numbers_as_words_however_they_are_read():
    frame = pl.DataFrame({"zip": [10115, 20095] * 4})
    made = Preprocessing().fit(frame, kinds.decide(frame, "", {"zip": "category"}))
    for values in ([10115, 20095], [10115.0, 20095.0], ["10115", "20095"]):
        assert transformed(made, zip=values).tolist() == [[1, 0], [0, 1]]


def test_dates_by_hand():
    days = ["2024-01-01", "2024-01-08", "2024-03-11"]  # all Mondays, at midnight: neither week nor day vary
    made, frame = fitted(d=[*days, None])
    assert made.features == [
        "d: days", "d: sine of year", "d: cosine of year", "d: sine of month", "d: cosine of month", "d is missing",
    ]  # fmt: skip
    since = np.array([19723.0, 19730.0, 19793.0])
    turn = 2 * math.pi * np.array([1, 8, 71]) / 365.25
    got = made.transform(frame).double().numpy()
    for column, raw in ((0, since), (1, np.sin(turn)), (2, np.cos(turn))):
        assert got[:3, column] == pytest.approx((raw - raw.mean()) / raw.std(), rel=1e-5)
    assert got[3].tolist() == [0, 0, 0, 0, 0, 1]
    dates = pl.DataFrame({"d": [datetime.date.fromisoformat(day) for day in days]})
    assert made.transform(dates).numpy() == pytest.approx(got[:3], rel=1e-6)
    with pytest.raises(
        DataError, match=r"seems to be written day first, as day\.month\.year; training had year-month-day"
    ):
        transformed(made, d=["11.03.2024"])


def test_the_hour_of_the_day():
    made, frame = fitted(d=["2024-01-01 00:00", "2024-01-01 06:00", "2024-01-01 18:00"])
    assert made.features == ["d: days", "d: sine of day", "d: cosine of day"]
    raw = np.array([0.0, 1.0, -1.0])
    assert made.transform(frame).numpy()[:, 1] == pytest.approx(raw / raw.std(), abs=1e-6)


# ---- tables ----------------------------------------------------------------------------------------------------------
MIXED = {
    "x": [1.0, None, 3.5, 4.0],
    "c": ["u", "v", "u", "v"],
    "b": [True, False, None, True],
    "d": ["2024-01-01", "2024-05-02", "2024-09-09", None],
    "same": [1, 1, 1, 1],
}


def test_to_json_and_back():
    made, frame = fitted(**MIXED)
    text = made.to_json()
    again = Preprocessing.from_json(text)
    assert again.to_json() == text
    assert again.features == made.features
    assert (again.transform(frame) == made.transform(frame)).all()
    assert json.loads(text)["columns"][4] == {"name": "same", "kind": "left out", "why": "constant: 1"}


@pytest.mark.parametrize(
    "text", ["", "{}", '{"version": 99}', '{"version": 1, "columns": [{"kind": "soup"}], "features": []}']
)
def test_what_is_no_preprocessing(text):
    with pytest.raises(DataError, match="not a preprocessing"):
        Preprocessing.from_json(text)


def test_columns_in_another_order_missing_extra_and_renamed():
    made, frame = fitted(**MIXED)
    expected = made.transform(frame)
    assert (made.transform(frame.select(["d", "b", "c", "x"])) == expected).all()
    notes = []
    made.transform(frame.with_columns(pl.lit(1).alias("new")), notes)
    assert "new" in notes[0]
    with pytest.raises(DataError, match="lacks 2 columns") as caught:
        made.transform(frame.select(["x", "c"]))
    assert "b, d" in str(caught.value)
    named, renamed = fitted(income=[1.0, 2.0], age=[3.0, 4.0])
    with pytest.raises(DataError, match="lacks a column") as caught:
        named.transform(renamed.rename({"income": "Income"}))
    assert "rename 'Income' to 'income'" in str(caught.value)


def test_a_large_table_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("lamp.tables.preprocessing.MOST_BYTES", 100)
    made, frame = fitted(**MIXED)
    with pytest.raises(DataError, match="too large"):
        made.transform(frame)


def test_numbers_too_far_for_float32():
    made, _ = fitted(x=[1e-3, 2e-3, 4e-3])
    with pytest.raises(DataError, match="too far"):
        transformed(made, x=[1e39])


def test_fields_with_their_default_value_are_left_out_of_the_file():
    known, _ = fitted(x=[1.5, 2.5, 4.0, 9.0], price=["$1", "$2", "$30", "$4"], word=["a", "b", "a", "b"])
    saved = known.to_dict()
    assert [set(each) & {"missing_words", "decimal", "unit", "words"} for each in saved["columns"]] == [
        set(), {"unit"}, set()]  # fmt: skip
    assert saved["missing_words"] == known.columns[0].missing_words
    assert Preprocessing.from_json(known.to_json()).columns == known.columns
    # a folder of a version in which other words meant missing keeps them, as does one with the words in each column
    other = Preprocessing.from_dict({**saved, "missing_words": ["9"]})
    assert {tuple(each.missing_words) for each in other.columns} == {("9",)}
    every = [{**each, "missing_words": ["8"]} for each in saved["columns"]]
    assert Preprocessing.from_dict({**saved, "columns": every}).columns[0].missing_words == ["8"]
