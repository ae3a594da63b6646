"""Numbers as people write them: what a column of text is read as, held against what its writer meant."""

import datetime
import json

import numpy as np
import polars as pl
import pytest

from lamp.errors import ArgumentError, DataError
from lamp.tables import Preprocessing, kinds, numbers, read_table, targets
from lamp.tables.cells import Cells
from lamp.tables.conventions import Conventions
from lamp.tables.number_texts import parsed
from lamp.tables.plain import plain_numbers
from lamp.tables.planning import Request, plan_training

FILL = [f"{k}" for k in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8)]


def table(words, **others):
    """A table with a column x of these words, repeated, and one that varies beside it."""
    rows = 36
    return pl.DataFrame(
        {"x": [words[k % len(words)] for k in range(rows)], "beside": [(7 * k) % 13 for k in range(rows)], **others}
    )


def decided(words, asked=None, **said):
    frame = table(words)
    said = {name: [value] if isinstance(value, str) else value for name, value in said.items()}
    conventions = Conventions.asked(frame.columns, said.get("missing", ()), said.get("decimal", ()), ())
    return kinds.decide(frame, "", {"x": asked} if asked else None, conventions)[0]


def values(words, asked=None, **said):
    """The numbers of these words as a column reads them after training, in the table's own text and in a new one."""
    frame, decision = table(words), decided(words, asked, **said)
    assert decision.kind == "number", decision
    column = Preprocessing().fit(frame, [decision]).columns[0]
    again = Preprocessing.from_json(Preprocessing([column]).to_json()).columns[0]
    found = again.read(frame["x"][: len(words)])
    assert found.equals(column.read(frame["x"][: len(words)]), null_equal=True)
    return found.to_list()


# ---- durations -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["3 h 20 min", "0 h 5 min", "45 min"], [12_000, 300, 2700]),
        (["1h20m", "2h", "1 hr 3 s"], [4800, 7200, 3603]),
        (["1:23:45", "30:00:00", "0:00:01.5"], [5025, 108_000, 1.5]),
        (["2 days 04:00:00", "0 days 00:00:10"], [187_200, 10]),  # as pandas writes them
        (["PT3H20M", "P2DT3H", "PT39M"], [12_000, 183_600, 2340]),  # ISO 8601
        (["2 days", "1 day", "1 week"], [172_800, 86_400, 604_800]),
        (["1 year", "6 months", "3 weeks"], [31_557_600, 15_778_800, 1_814_400]),
        (["-1:00:00", "25:00:00"], [-3600, 90_000]),
        (["5 d, 3 h and 2 min", "1 d"], [442_920, 86_400]),
        (["1,5 h", "30 min"], [5400, 1800]),
    ],
)
def test_durations_are_numbers_of_seconds(words, expected):
    assert values(words) == expected
    decision = decided(words)
    assert (decision.known["unit"], decision.reported) == ("s", True)
    assert f"durations, in seconds: {words[0]!r} is read as {expected[0]}" in decision.why


def test_a_single_unit_of_time_stays_as_it_is():
    assert values(["12 days", "7 days"]) == [12, 7]
    assert values(["90 min", "30 min"]) == [90, 30]
    assert decided(["90 min", "30 min"]).known["unit"] == "min"


@pytest.mark.parametrize("words", [["5k", "6k", "9k"], ["$5k", "$6k", "$9k"], ["5 Mio.", "9 Mio."]])
def test_numbers_without_trainings_scale_are_told(words):
    frame = table(words)
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    made = Preprocessing.from_json(made.to_json())
    for x, told in ((["5", "6"], 2), (pl.Series([5.0, 6.0]), 2), ([words[0], "0"], 0)):
        notes: list[str] = []
        made.transform(pl.DataFrame({"x": x, "beside": [0, 7]}), notes)
        said = "x: 2 values without a k, M or the like are read as they stand, such as 5; training had them from 5"
        assert sum(said in note for note in notes) * 2 == told
    notes = []
    made.transform(pl.DataFrame({"x": [made.columns[0].to_dict()["low"]], "beside": [0]}), notes)
    assert not any("a k, M" in note for note in notes)


def test_numbers_without_trainings_units_of_time_are_told():
    frame = table(["3 h 20 min", "45 min"])
    made, notes = Preprocessing().fit(frame, kinds.decide(frame, "")), []
    made.transform(pl.DataFrame({"x": ["200", "45 min"], "beside": [0, 7]}), notes)
    assert notes == ["x: 1 value without s is read as in s"]
    typed = pl.Series([datetime.timedelta(minutes=45)])
    notes = []
    made.transform(pl.DataFrame({"x": typed, "beside": [7]}), notes)
    assert notes == []


@pytest.mark.parametrize("dash", ["\u2013", "\u2010", " \u2012"])
def test_an_open_range_is_no_negative_number(dash):
    decision = decided(["2019", "2018", *FILL, "2020" + dash])
    assert (decision.kind, decision.known["words"]) == ("number", ["2020" + dash])
    assert decided([f"{year}{dash}" for year in (2017, 2018, 2019)]).kind == "category"


def test_a_clock_is_a_time_of_day_unless_said_otherwise():
    clocks = ["12:30:00", "7:05:10", "23:59:59"]
    found = decided(clocks)
    assert found.kind == "date"
    assert "--kind x=number reads durations" in found.why
    assert values(clocks, "number") == [45_000, 25_510, 86_399]
    assert decided(["12:30", "7:05"]).kind == "date"
    assert "durations" not in decided(["12:30", "7:05"]).why


@pytest.mark.parametrize("words", [["3 h 20", "4 h 10"], ["12:30:99", "1:61:00"], ["10 m 3 h", "5 m 2 h"], ["P", "PT"]])
def test_what_is_no_duration(words):
    assert decided(words).kind in ("category", "boolean")


def test_another_table_may_write_its_durations_otherwise():
    frame = table(["3 h 20 min", "45 min"])
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    notes = []
    given = pl.DataFrame({"x": ["3:20:00", "0.75 h", "PT45M"], "beside": [0, 7, 7]})
    assert (made.transform(given, notes)[1:] == made.transform(frame[1:2])).all()
    assert notes == []
    with pytest.raises(DataError, match="'x' has numbers in kg; training had them in s") as caught:
        made.transform(given.with_columns(x=pl.lit("3 kg")))
    assert "a duration such as 3 h 20 min" in str(caught.value)


# ---- what is a number ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1,020", "770", "1,465"], [1020, 770, 1465]),
        (["1.020", "770", "1.460"], [1020, 770, 1460]),
        (["1,203.50", "406.00"], [1203.5, 406]),
        (["1.203,50", "406,00"], [1203.5, 406]),
        (["12,34,567.00", "5.50"], [1234567, 5.5]),
        (["1,234,567", "5"], [1234567, 5]),
        (["0,5", "12,25", "3"], [0.5, 12.25, 3]),
        (["$3,036.00", "$12.50"], [3036, 12.5]),
        (["-$3.00", "$-4.00", "($5.00)", "$(6.00)", "$7"], [-3, -4, -5, -6, 7]),
        (["€ 12", "12,5 €"], [12, 12.5]),
        (["USD 5", "USD 6.25"], [5, 6.25]),
        (["CHF 1'000.50", "CHF 3.00"], [1000.5, 3]),
        (["300.\u2013", "5.50"], [300, 5.5]),
        (["R$ 5,50", "R$ 1.000,00"], [5.5, 1000]),
        (["52.9%", "3 %", "0"], [52.9, 3, 0]),
        (["(100.00)", "100.00"], [-100, 100]),
        (["1 000", "1 000 000", "7"], [1000, 1e6, 7]),
        (["1\u00a0000,5", "1\u2009000,5", "1\u202f000"], [1000.5, 1000.5, 1000]),
        (["1'000", "1\u2019500", "7"], [1000, 1500, 7]),
        (["1_000", "7"], [1000, 7]),
        (["\u22125", "5", "\u20136"], [-5, 5, -6]),
        (["5-", "6"], [-5, 6]),
        (["300.-", "1'250.-", "99.50", "-5.-"], [300, 1250, 99.5, -5]),
        (["300,-", "1.250,-", "99,50"], [300, 1250, 99.5]),
        (["CHF 300.--", "CHF 99.50"], [300, 99.5]),
        (["300,- €", "1.250,50 €"], [300, 1250.5]),
        (["\\N", "5.5", "<NA>", "6.5", "7.5"], [None, 5.5, None, 6.5, 7.5]),
        (["+3", "-3"], [3, -3]),
        (["1e3", "1.5E-3", "2"], [1000, 0.0015, 2]),
        ([".5", "5.", "1.25"], [0.5, 5, 1.25]),
        (["3k", "2.5M", "500"], [3000, 2.5e6, 500]),
        (["$2.5M", "$800k"], [2.5e6, 8e5]),
        (["3 Mio €", "2,5 Mrd €"], [3e6, 2.5e9]),
        (["$1m", "$3m", "$1.5bn", "$2 k", "$7", "$2b"], [1e6, 3e6, 1.5e9, 2e3, 7, 2e9]),
        (["1M", "1.5B"], [1e6, 1.5e9]),
        (["1m €", "1.5bn €", "3m€", "2mn€", "5 k €", "7 €"], [1e6, 1.5e9, 3e6, 2e6, 5e3, 7]),
        (["EUR 3m", "1.5bn EUR", "4 B EUR"], [3e6, 1.5e9, 4e9]),
        (["12m", "7.5m", "3 m"], [12, 7.5, 3]),  # metres
        (["12 kg", "7.5 kg"], [12, 7.5]),
        (["20°C", "-3°C"], [20, -3]),
        (["36 months", "60 months"], [36, 60]),
        (["05.50", "12.25"], [5.5, 12.25]),
        ([" 3", "4 ", "\t5"], [3, 4, 5]),
        (["3", "", "NA", "null", "5", "4"], [3, None, None, None, 5, 4]),
        (["3", "-", "4", "5"], [3, None, 4, 5]),
    ],
)
def test_numbers(words, expected):
    assert values(words) == pytest.approx(expected, nan_ok=True) if None not in expected else values(words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["007", "7", "8"],
        ["01", "02", "11"],
        ["5%", "0.5"],
        ["$5", "€6"],
        ["12 kg", "3 lb"],
        ["0x1F", "0x2F"],
        [">100", "<5"],
        ["~3", "~4"],
        ["10-20", "20-30"],
        ["1/2", "1/4"],
        ["1.2.3", "1.2.4"],
        ["192.168.1.1", "10.0.0.1"],
        ["9007199254740993", "9007199254740992"],
        ["1st", "2nd", "3rd"],
        ["A12", "B7"],
        ["1,2,3", "4,5,6"],
        ["12A", "12B"],
        ["-5-", "-6-"],
    ],
)
def test_what_is_no_number(words):
    assert decided(words).kind == "category"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["007", "7"], "numbers do not begin with 0 (--kind x=number"),
        (["5%", "0.5"], "with and without %"),
        (["$5", "€6"], "several units"),
        (["9007199254740993", "9007199254740992"], "beyond 2**53"),
        (["1,020", "2,300"], "'1,020' is read as 1020 but may mean 1.02 (--decimal x=, reads 1.02)"),
        (["1.020", "2.300"], "'1.020' is read as 1.02 but may mean 1020 (--decimal x=, reads 1020)"),
        (
            ["1.020", "770"],
            "'1.020' is read as 1020, because the numbers without a mark are below 1000 (--decimal x=. reads 1.02)",
        ),
        (["0,5", "0,25"], "decimal comma: '0,5' is read as 0.5"),
        (["$3.00", "$4.00", "5"], "in $, 12 values without it"),
        (["(5)", "6"], "'(5)' is read as -5"),
        (["3k", "500"], "'3k' is read as 3000"),
        (["1.000.000", "5"], "'1.000.000' is read as 1000000"),
        (["-", "5", "6", "7"], "9 of 36 values are not numbers and count as missing: '-'"),
        (["x", *FILL, *FILL, *FILL[1:]], "1 of 36 values is not a number and counts as missing: 'x'"),
        (["#DIV/0!", "5.5", "6"], "count as missing: '#DIV/0!'"),
        (["1 000", "5"], "'1 000' is read as 1000"),
        (["-999", *FILL], "-999 in 3 rows is far from all others; if it means missing: --missing x=-999"),
        (["9999", *FILL], "9999 in 3 rows is far from all others"),
        (["99", *FILL], "99 in 3 rows is far from all others"),
        (["Bern", "bern", "Oslo"], "'Bern' and 'bern' are kept apart"),
        (["New  York", "New York", "Oslo"], "'New  York' and 'New York' are kept apart"),
        (
            ["#REF!", "US", "DE"],
            "12 cells with a spreadsheet's error, '#REF!', count as missing",
        ),
        (["NA", "US", "DE"], "'NA' in 12 rows counts as missing (--missing x=none takes it for a word)"),
        (["20210303", "20210412"], "20210303 is read as 2021-03-03 (--kind x=number reads numbers)"),
    ],
)
def test_what_was_decided_is_told(words, said):
    found = decided(words)
    assert said in found.why
    assert found.reported


@pytest.mark.parametrize("words", [["5m", "1.5bn", "7m"], ["5 M", "1.5 B"], ["$1m", "2m"], ["5 m", "3k"]])
def test_numbers_that_may_be_scaled_are_not_mixed(tmp_path, words):
    with pytest.raises(DataError, match="may be units or thousands, millions, billions"):
        decided(words, "number")
    assert decided(words).kind == "category"
    assert "write the numbers out" in decided(words).why
    with pytest.raises(DataError, match="may be units or thousands, millions, billions"):
        looked(tmp_path, words * 12, task="regression")


def test_a_unit_of_an_older_folder_is_the_scale_that_it_was():
    """Older folders took the letters beside a currency for a part of the unit: 5 of $5m, in "$ m"."""
    for unit, words, read in (
        ("$ m", ["$5m", "$1.5m", "$7 m", "$1.5bn", "$3", "5 kg"], [5, 1.5, 7, 1500, None, None]),
        ("k EUR", ["5 k EUR", "5 EUR k", "5k EUR"], [5, None, 5]),
        ("m€", ["3m€", "3m €", "3€"], [3, 3, None]),
        ("m", ["3m", "3 m", "$3m"], [3, 3, None]),  # metres
        ("K", ["300 K", "300K"], [300, None]),  # kelvins
    ):
        form = numbers.NumberForm(unit=unit)
        assert pl.Series(form.read([Cells(pl.Series(words))])[0]).fill_nan(None).to_list() == read


def test_limits_beside_few_numbers_are_told():
    """What a laboratory writes for less than it can measure; <=50K and >50K are classes, and <18 beside 18-35 too."""
    found = decided(["<5", "<5", "3", "<5", "7"])
    assert found.reported
    assert "22 of 36 values are limits, such as '<5', and count as words: write numbers in their place" in found.why
    assert "--kind x=number takes them for gaps" in found.why
    for words in (["<=50K", ">50K"], ["<18", "18-35", ">35", "9"], ["< 3 years", "red"]):
        assert "limits" not in decided(words).why


@pytest.mark.parametrize(
    "words",
    [FILL, ["0.5", "1.25"], ["a", "b"], ["1.020", "0.5"], ["99", "98", "97", "90"], ["5", "NA"], ["10.125", "1.5"]],
)
def test_what_is_plain_is_not(words):
    assert not decided(words).reported


# ---- what the user says ----------------------------------------------------------------------------------------------
def test_a_kind_that_is_asked_for_reads_money_codes_and_units():
    assert values(["$3,036.00", "$12"], "number") == [3036, 12]
    assert values(["007", "7", "12"], "number") == [7, 7, 12]
    assert values(["$5", "€6", "7"], "number") == [5, 6, 7]
    assert values(["5%", "0.5"], "number") == [5, 0.5]
    assert values(["5", "many", "7"], "number") == [5, None, 7]
    assert "'many'" in decided(["5", "many", "7"], "number").why


def test_the_decimal_mark_can_be_said():
    assert values(["1,020", "770"], decimal="x=,") == [1.02, 770]
    assert values(["1.020", "770"], decimal=",") == [1020, 770]
    assert values(["1.020", "770"], decimal="point") == [1.02, 770]
    with pytest.raises(ArgumentError, match="unknown value"):
        decided(["1"], decimal="x=;")
    with pytest.raises(ArgumentError, match="no column 'y'"):
        decided(["1"], decimal="y=,")


def test_what_means_missing_can_be_said():
    assert values(["-999", "1", "2", "-999.0"], missing="-999") == [None, 1, 2, None]
    assert values(["unknown", "1", "2"] + FILL * 2, missing="x=unknown")[:3] == [None, 1, 2]
    frame = table(["NA", "US", "DE"])
    for said, levels in (((), ["DE", "US"]), (["none"], ["DE", "NA", "US"]), (["x=none"], ["DE", "NA", "US"]),
                         (["US"], ["DE", "NA"]), (["US", "DE"], ["NA"])):  # fmt: skip
        conventions = Conventions.asked(frame.columns, said)
        made = Preprocessing().fit(frame, kinds.decide(frame, "", None, conventions))
        column = made.columns[0]
        assert sorted(column.levels) == levels  # type: ignore[attr-defined]
        assert column.missing == (len(levels) < 3)  # type: ignore[attr-defined]
        again = Preprocessing.from_json(made.to_json())
        assert (again.transform(frame) == made.transform(frame)).all()


def test_typed_numbers_have_missing_codes_too():
    frame = pl.DataFrame({"x": [1.0, 2.0, -999.0, 4.0], "n": [1, 2, 3, -999]})
    made = Preprocessing().fit(frame, kinds.decide(frame, "", None, Conventions.asked(frame.columns, ["-999"])))
    assert made.columns[0].read(frame["x"]).to_list() == [1, 2, None, 4]
    assert made.columns[1].read(frame["n"]).to_list() == [1, 2, 3, None]


def test_other_columns_prove_the_decimal_mark():
    frame = table(["1,020", "2,300"], price=["0,5", "1,25", "3"] * 12)
    found = kinds.decide(frame, "")[0]
    assert "as in column 'price'" in found.why
    assert found.known["decimal"] == ","
    frame = table(["1.020", "2.300"], price=["0.5", "1.25", "3"] * 12)
    found = kinds.decide(frame, "")[0]
    assert (found.known.get("decimal", "."), found.reported) == (".", False)


# ---- the same in every table -----------------------------------------------------------------------------------------
def test_a_column_reads_typed_numbers_too():
    frame = table(["$3,036.00", "$12.50"])
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    notes = []
    typed = made.transform(pl.DataFrame({"x": [3036.0, 12.5], "beside": [1, 2]}), notes)
    assert (typed == made.transform(frame[:2].with_columns(beside=pl.Series([1, 2])))).all()
    assert "x: 2 values without $ are read as in $" in notes


@pytest.mark.parametrize("word", ["007", "1,5", "€5", "12 kg", "3k", "many"])
def test_what_training_did_not_have_is_refused(word):
    frame = table(["1.5", "2.25"])
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    with pytest.raises(DataError, match=f"'{word}' in row 2 is not a number"):
        made.transform(pl.DataFrame({"x": ["1.5", word], "beside": [1, 2]}))


def test_what_training_left_open_is_told():
    frame = table(["770", "610"])
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    notes = []
    made.transform(pl.DataFrame({"x": ["1,020", "3"], "beside": [1, 2]}), notes)
    assert "x: '1,020' is read as 1020; training had no number like it" in notes


def test_a_word_is_the_same_in_composed_form_and_read_as_a_boolean():
    frame = table(["é", "e\u0301", "a"])
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    assert made.columns[0].levels == ["é", "a"]  # type: ignore[attr-defined]
    frame = pl.DataFrame({"y": ["True", "False"] * 9})
    target = targets.decide(frame["y"])
    assert target.classes == ("False", "True")
    assert target.encode(pl.Series("y", [True, False])).tolist() == [1, 0]
    old = targets.Target.from_dict({"name": "y", "task": "classification", "classes": ["false", "true"]})
    assert old.encode(frame["y"])[:2].tolist() == [1, 0]


def test_a_folder_of_an_older_version_is_read():
    number = {
        "name": "x", "kind": "number", "median": 2.0, "mean": 2.0, "std": 1.0, "indicator": False, "low": 1.0,
        "high": 3.0, "curve": None, "words": [], "decimal": ",",
    }  # fmt: skip
    date = {
        "name": "d",
        "kind": "date",
        "format": "%Y-%m-%dT%H:%M:%S%.f%#z",
        "parts": {"days": [0.0, 1.0]},
        "indicator": False,
    }
    text = json.dumps({"version": 1, "columns": [number, date], "features": ["x", "d: days"]})
    made = Preprocessing.from_json(text)
    found = made.transform(pl.DataFrame({"x": ["1,5", "3"], "d": ["1970-01-02T00:00:00Z", "1970-01-03"]}))
    assert found.tolist() == [[-0.5, 1.0], [1.0, 2.0]]
    number = targets.Target.from_dict({"name": "y", "task": "regression", "mean": 0.0, "std": 1.0, "decimal": "."})
    assert number.encode(pl.Series(["1.5", "2"])).tolist() == [1.5, 2]  # type: ignore[attr-defined]


# ---- columns of plain numbers, all at once ---------------------------------------------------------------------------
def test_plain_columns():
    frame = pl.DataFrame(
        {
            "whole": ["1", "2", None, "NA"],
            "point": ["1.020", "0.5", "", " 3 "],
            "open": ["1.020", "770", "2.500", "2"],
            "code": ["1", "01", "2", "3"],
            "huge": ["9007199254740993", "1", "2", "3"],
            "word": ["1", "2", "x", "3"],
            "inf": ["1", "inf", "2", "3"],
            "comma": ["1,5", "2", "3", "4"],
            "empty": ["", None, "NA", "null"],
        },
        schema=dict.fromkeys(["whole", "point", "open", "code", "huge", "word", "inf", "comma", "empty"], pl.String),
    )
    found = plain_numbers(frame)
    assert list(found.summaries) == ["whole", "point"]
    assert found.numbers["whole"].to_list() == [1, 2, None, None]
    assert found.numbers["point"].to_list() == [1.02, 0.5, None, 3]
    assert found.summaries["whole"].whole
    assert found.summaries["point"].example == "0.5"


# ---- targets ---------------------------------------------------------------------------------------------------------
def looked(tmp_path, words, name="t.csv", **request):
    """The plan for a file with a target y of these words, quoted."""
    rows = [words[k % len(words)] for k in range(60)] if len(words) < 20 else words
    random = np.random.default_rng(0)
    text = "a,y\n" + "".join(f'{random.normal():.3f},"{word}"\n' for word in rows)
    (tmp_path / name).write_text(text)
    return plan_training(Request(tmp_path / name, "y", **request))


def test_a_target_with_thousands(tmp_path):
    words = [f"{700 + 37 * k:,}" for k in range(30)]
    plan = looked(tmp_path, words)
    assert plan.truth.tolist() == [700 + 37 * k for k in range(30)]
    assert any("as in column 'a'" in note for note in plan.notes)
    assert looked(tmp_path, words, decimal=["y=,"]).truth[10].item() == 1.07


def test_a_target_of_money(tmp_path):
    plan = looked(tmp_path, [f"${1000 + 37.5 * k:,.2f}" for k in range(30)])
    assert plan.truth.tolist() == [1000 + 37.5 * k for k in range(30)]
    assert (plan.target.unit, plan.target.task) == ("$", "regression")


def test_codes_are_classes(tmp_path):
    plan = looked(tmp_path, ["01", "02", "1"])
    assert plan.target.classes == ("01", "1", "02")
    assert "begin with 0" in plan.target.why


def test_odd_words_in_a_target(tmp_path):
    words = [f"{k * 1.5}" for k in range(60)]
    words[16] = words[40] = "sold"
    with pytest.raises(DataError, match="words in 2 of 60 rows") as caught:
        looked(tmp_path, words)
    assert "'sold' in 2 rows (17, 41)" in str(caught.value)
    assert "--leave-out-odd" in caught.value.fix
    assert "--missing y=sold" in caught.value.fix
    for request in ({"leave_out_odd": True}, {"missing": ["y=sold"]}):
        plan = looked(tmp_path, words, **request)
        assert len(plan.rows) == 58
        assert 16 not in plan.rows
        assert plan.truth.tolist() == [k * 1.5 for k in range(60) if k not in (16, 40)]
        assert any("left out" in note for note in plan.notes)


@pytest.mark.parametrize("infinity", ["inf", "-Infinity"])
def test_infinities_in_a_target_are_odd(tmp_path, infinity):
    words = [f"{k * 1.5}" for k in range(60)]
    words[16] = infinity
    with pytest.raises(DataError, match=r"holds numbers, but infinite values in 1 of 60 rows") as caught:
        looked(tmp_path, words)
    assert f"'{infinity}' in row 17" in str(caught.value)
    words[40] = "sold"
    with pytest.raises(DataError, match=r"words and infinite values in 2 of 60 rows"):
        looked(tmp_path, words, task="regression")
    plan = looked(tmp_path, words, leave_out_odd=True)
    assert plan.truth.tolist() == [k * 1.5 for k in range(60) if k not in (16, 40)]
    assert any("where 'y' is not a finite number" in note for note in plan.notes)
    assert len(looked(tmp_path, words, missing=[f"y={infinity}", "y=sold"]).rows) == 58


def test_infinities_in_a_target_of_floats_are_odd(tmp_path):
    frame = pl.DataFrame({"a": range(60), "b": [0.5, 1.5] * 30, "y": [*np.arange(59) / 4, -np.inf]})
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="-inf in row 60"):
        plan_training(Request(tmp_path / "t.parquet", "y"))
    assert len(plan_training(Request(tmp_path / "t.parquet", "y", leave_out_odd=True)).rows) == 59


def test_none_is_a_class(tmp_path):
    words = ["Major"] * 9 + ["Minor"] * 9 + ["None"] * 22
    plan = looked(tmp_path, words)
    assert plan.target.classes == ("Major", "Minor", "None")
    assert any("'None', in 22 rows, is a class of 'y'; --missing y=None leaves" in note for note in plan.notes)
    plan = looked(tmp_path, words, missing=["y=None"])
    assert plan.target.classes == ("Major", "Minor")
    assert targets.Target.from_dict(plan.target.to_dict()) == plan.target
    assert targets.there(pl.Series(words), plan.target.missing_words).sum() == 18


def test_a_frequent_word_that_means_missing_is_told(tmp_path):
    words = ["EMEA"] * 9 + ["APAC"] * 9 + ["NA"] * 22
    plan = looked(tmp_path, words)
    assert plan.target.classes == ("APAC", "EMEA")
    assert any("'y' is 'NA' in 22 rows" in note and "--missing y=none" in note for note in plan.notes)
    assert looked(tmp_path, words, missing=["none"]).target.classes == ("APAC", "EMEA", "NA")


def test_cells_stay_as_they_are_written(tmp_path):
    (tmp_path / "t.csv").write_text("zip,n,f\n01234,1,1.50\n12345,2,2.5\n")
    assert read_table(tmp_path / "t.csv", as_text=True)["f"].to_list() == ["1.50", "2.5"]
    typed = read_table(tmp_path / "t.csv")
    assert typed["zip"].to_list() == ["01234", "12345"]
    assert typed["n"].to_list() == [1, 2]


@pytest.mark.parametrize("mark", [".", ","])
def test_the_grammar_reads_each_word_in_one_way(mark):
    """A word is the same number whatever stands beside it, for one decimal mark."""
    words = ["1,020", "1.020", "$5", "(5)", "3k", "x", "1 000", "5-", "12 kg", "007"]
    alone = [parsed(pl.Series([word]), mark).row(0) for word in words]
    assert parsed(pl.Series(words), mark).rows() == alone


# ---- numbers of another size -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("mark", ["-1.7976931348623157e+308", "-3.4028235e+38", "1e30"])
@pytest.mark.parametrize("typed", [False, True])
def test_a_mark_for_no_data_counts_as_missing_and_is_told(mark, typed):
    words = [str(k % 7 + 0.5) for k in range(59)]
    frame = pl.DataFrame({"x": [*words, mark], "beside": [(7 * k) % 13 for k in range(60)]})
    frame = frame.with_columns(pl.col("x").cast(pl.Float64)) if typed else frame
    found = kinds.decide(frame, "")
    assert (
        f"{float(mark):g} in 1 row counts as missing, as a mark for no data: the others are below 6.5" in found[0].why
    )
    assert found[0].reported
    made = Preprocessing.from_json(Preprocessing().fit(frame, found).to_json())
    column = made.columns[0]
    np.testing.assert_allclose(column.read(frame["x"]).drop_nulls(), list(map(float, words)))
    z = made.transform(frame).numpy()
    assert made.features[:2] == ["x", "x is missing"]
    assert z[-1, 1] == 1
    np.testing.assert_allclose(z[:59, 0].std(), 1, atol=0.02)


def test_large_numbers_that_are_no_marks_stay():
    for words in (["1e40", "2e40", "3e40"], ["1e31", "2e28", "3e28"]):
        assert "no data" not in decided(words).why
        assert None not in values(words)
    frame = table(["1e200", "2e180", "3e180"])
    with pytest.raises(DataError, match="too large to be standardised"):
        Preprocessing().fit(frame, kinds.decide(frame, ""))


@pytest.mark.parametrize(("x", "told"), [(1e6, 1), (1e30, 1), (-999, 1), (75, 0), (20, 0), (-10, 0)])
def test_numbers_far_from_trainings_are_told(x, told):
    frame = table([str(k) for k in range(20, 50)])
    made, notes = Preprocessing().fit(frame, kinds.decide(frame, "")), list[str]()
    for given in (x, f"{x}"):
        made.transform(pl.DataFrame({"x": [given], "beside": [0]}), notes)
    said = f"x: 1 number far from training's 20 to 49, such as {x:g}"
    assert [note for note in notes if "far" in note] == [said] * 2 * told
