"""Points in time as people write them: what a column of text is read as, held against Python's datetime."""

import datetime
import re
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from lamp.errors import ArgumentError, DataError
from lamp.tables import Preprocessing, date_column, dates, kinds, month_names, read_table
from lamp.tables.conventions import Conventions
from lamp.tables.month_names import MONTHS

ROWS = 36


def decided(words, asked=None, order=(), **others):
    frame = pl.DataFrame(
        {"d": [words[k % len(words)] for k in range(ROWS)], "beside": [(7 * k) % 13 for k in range(ROWS)], **others},
        strict=False,
    )
    conventions = Conventions.asked(frame.columns, (), (), order)
    return frame, kinds.decide(frame, "", {"d": asked} if asked else None, conventions)


def times(words, **options):
    """The points in time of these words, as a column reads them after training, and again from its JSON."""
    frame, decisions = decided(words, **options)
    assert decisions[0].kind == "date", decisions[0]
    column = Preprocessing().fit(frame, decisions).columns[0]
    again = Preprocessing.from_json(Preprocessing([column]).to_json()).columns[0]
    found = again.read(frame["d"][: len(words)])
    assert found.equals(column.read(frame["d"][: len(words)]), null_equal=True)
    return found.to_list()


def at(text):
    return datetime.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["01/01/18", "02/25/68", "03/22/99"], ["2018-01-01", "2068-02-25", "1999-03-22"]),
        (["1/1/00", "12/31/69", "1/13/70"], ["2000-01-01", "2069-12-31", "1970-01-13"]),
        (["98-02-10", "01-03-04"], ["1998-02-10", "2001-03-04"]),
        (["18-02-10", "18-03-24", "19-03-11"], ["2018-02-10", "2018-03-24", "2019-03-11"]),
        (["10/02/18", "24/03/18", "11/03/19"], ["2018-02-10", "2018-03-24", "2019-03-11"]),
        (["01/02/2021", "13/02/2021"], ["2021-02-01", "2021-02-13"]),
        (["01/02/2021", "02/13/2021"], ["2021-01-02", "2021-02-13"]),
        (["01-02-2021", "13-02-2021"], ["2021-02-01", "2021-02-13"]),
        (["01-02-2021", "02-13-2021"], ["2021-01-02", "2021-02-13"]),
        (["1.2.2021", "13.2.2021"], ["2021-02-01", "2021-02-13"]),
        (["2021/3/4", "2021/12/31"], ["2021-03-04", "2021-12-31"]),
        (["2021.03.04", "2021.12.31"], ["2021-03-04", "2021-12-31"]),
        (["01/01/1998 1:05 AM", "02/10/1998 12:00 PM", "03/22/1998 12:30 am"],
         ["1998-01-01 01:05", "1998-02-10 12:00", "1998-03-22 00:30"]),
        (["3 Mar 2021", "14 December 2021"], ["2021-03-03", "2021-12-14"]),
        (["March 3, 2021", "Sept. 14th, 2021"], ["2021-03-03", "2021-09-14"]),
        (["03-Mar-21", "14-DEC-98"], ["2021-03-03", "1998-12-14"]),
        (["Wed, 03 Mar 2021 14:30:00 +0000", "Thu, 04 Mar 2021 01:00:00 -0500"],
         ["2021-03-03 14:30", "2021-03-04 06:00"]),
        (["2021-Mar-03", "2021-Apr-04"], ["2021-03-03", "2021-04-04"]),
        (["2021-03-03T14:30:00.123", "2021-03-03 14:30:00.000456"],
         ["2021-03-03 14:30:00.123", "2021-03-03 14:30:00.000456"]),
        (["2021-03-03T14:30:00Z", "2021-03-03T14:30:00+02:00", "2021-03-03T14:30-0130"],
         ["2021-03-03 14:30", "2021-03-03 12:30", "2021-03-03 16:00"]),
        (["2021-03-03", "2021-03-04 10:00"], ["2021-03-03", "2021-03-04 10:00"]),
        (["2021-03-03 24:00", "2021-03-05 00:00"], ["2021-03-04", "2021-03-05"]),
        (["2020-02-29", "2000-02-29", "2021-03-01"], ["2020-02-29", "2000-02-29", "2021-03-01"]),
        (["14:30", "2:30 AM", "23:59:59.5"], ["1970-01-01 14:30", "1970-01-01 02:30", "1970-01-01 23:59:59.5"]),
        (["2021-03", "2021-12"], ["2021-03-01", "2021-12-01"]),
        (["03/2021", "12/2021"], ["2021-03-01", "2021-12-01"]),
        (["03-2021", "12-2021"], ["2021-03-01", "2021-12-01"]),
        (["03.2021", "12.2021", "NA"], ["2021-03-01", "2021-12-01", None]),
        (["3.2021", "12.2020", "7.2020", "8.2021"], ["2021-03-01", "2020-12-01", "2020-07-01", "2021-08-01"]),
        (["2021.03", "2020.12", "2019.07", "2021.01"], ["2021-03-01", "2020-12-01", "2019-07-01", "2021-01-01"]),
        (["Mar 2021", "Dec 2020"], ["2021-03-01", "2020-12-01"]),
        (["2021-W01", "2020-W53"], ["2021-01-04", "2020-12-28"]),
        (["2021-W01-3", "2020-W53-7"], ["2021-01-06", "2021-01-03"]),
        (["2021-Q1", "2021-Q4"], ["2021-01-01", "2021-10-01"]),
        (["Q2 2021", "Q3 2021"], ["2021-04-01", "2021-07-01"]),
        (["Wed Jan 03 13:05:07 2018", "Thu Feb  8 01:00:00 2018"], ["2018-01-03 13:05:07", "2018-02-08 01:00"]),
        (["Wed Jan 03 13:05:07 +0100 2018", "Thu Feb 08 01:00:00 UTC 2018"],
         ["2018-01-03 12:05:07", "2018-02-08 01:00"]),
        (["2018/31/01", "2018/03/02"], ["2018-01-31", "2018-02-03"]),
        (["3. März 2021", "14. Dez. 2021", "1. JAN 2021"], ["2021-03-03", "2021-12-14", "2021-01-01"]),
        (["Mi, 3. März 2021", "Sonntag, 14. Februar 2021"], ["2021-03-03", "2021-02-14"]),
        (["03-Mai-21", "14-OKT-98"], ["2021-05-03", "1998-10-14"]),
        (["1er août 2021", "14 dec. 2021", "3 Fevrier 2021"], ["2021-08-01", "2021-12-14", "2021-02-03"]),
        (["3 de marzo de 2021", "14 de diciembre de 2021"], ["2021-03-03", "2021-12-14"]),
        (["2 febbraio 2021", "3 ottobre 2021"], ["2021-02-02", "2021-10-03"]),
        (["3 de março de 2021", "5 de outubro de 2021"], ["2021-03-03", "2021-10-05"]),
        (["3 maart 2021", "14 mei 2021"], ["2021-03-03", "2021-05-14"]),
        (["3 marca 2021", "14 października 2021", "2 listopada 2021"], ["2021-03-03", "2021-10-14", "2021-11-02"]),
        (["3. června 2021", "14. července 2021"], ["2021-06-03", "2021-07-14"]),
        (["3 марта 2021", "14 ДЕКАБРЯ 2021"], ["2021-03-03", "2021-12-14"]),
        (["3rd of March 2021", "14th of May 2021"], ["2021-03-03", "2021-05-14"]),
        (["20210303", "20211231"], ["2021-03-03", "2021-12-31"]),
        (["20210303T143000", "20211231T000000Z"], ["2021-03-03 14:30", "2021-12-31"]),
        (["20210303143000", "20211231000000"], ["2021-03-03 14:30", "2021-12-31"]),
        (["202103031430", "202112310000"], ["2021-03-03 14:30", "2021-12-31"]),
        (["20210303 14:30", "20211231 00:00"], ["2021-03-03 14:30", "2021-12-31"]),
        (["03Mar2021", "14DEC1998"], ["2021-03-03", "1998-12-14"]),
        (["03MAR21:14:30:00", "14DEC98:01:00:00"], ["2021-03-03 14:30", "1998-12-14 01:00"]),
        (["13.02.2021 14:30 Uhr", "14.02.2021 9 Uhr"], ["2021-02-13 14:30", "2021-02-14 09:00"]),
        (["13.02.2021 14.30", "14.02.2021 09.05.07"], ["2021-02-13 14:30", "2021-02-14 09:05:07"]),
        (["13/02/2021 01:30:00 p. m.", "14/02/2021 12:00:00 a. m."], ["2021-02-13 13:30", "2021-02-14"]),
        (["2021-02-13_14:30", "2021-02-14_01:00"], ["2021-02-13 14:30", "2021-02-14 01:00"]),
        (["2021-02-13 14:30 PST", "2021-02-14 01:00 MESZ"], ["2021-02-13 22:30", "2021-02-13 23:00"]),
        (["2021-02-13T14:30:00+01:00[Europe/Berlin]", "2021-02-14T01:00:00Z[UTC]"],
         ["2021-02-13 13:30", "2021-02-14 01:00"]),
        (["14h30", "9h05"], ["1970-01-01 14:30", "1970-01-01 09:05"]),
        (["14:30 Uhr", "9:05 Uhr"], ["1970-01-01 14:30", "1970-01-01 09:05"]),
        (["0999-12-31", "9999-12-31"], ["0999-12-31", "9999-12-31"]),
    ],
)  # fmt: skip
def test_dates(words, expected):
    assert times(words) == [text and at(text) for text in expected]


@pytest.mark.parametrize(
    "words",
    [
        ["2021-13-13", "2021-14-14"],
        ["2021-02-30", "2021-02-31"],
        ["1900-02-29", "2021-02-29"],
        ["31/04/2021", "31/06/2021"],
        ["25:00", "14:60"],
        ["2021-03-03 25:00", "2021-03-03 24:01"],
        ["13:30 PM", "0:30 PM"],
        ["2021-W53", "2021-W54"],
        ["2021-Q5", "2021-Q6"],
        ["0000-01-01", "0000-00-00"],
        ["May", "June"],
        ["3 ožujka 2021", "4 siječnja 2021"],
        ["2021-03-03 until noon", "to 2021-03-04"],
        ["Marathon 3, 2021", "Marble 4, 2021"],
        ["1-2-3", "4-5-6"],
    ],
)
def test_what_is_no_date(words):
    assert decided(words)[1][0].kind != "date"


def test_numbers_stay_numbers():
    for words in (["1614782400", "1614868800"], ["44258", "44259"], ["2021", "2022"], ["20211399", "20210303"],
                  ["3.2021", "4.2020"], ["3.19", "4.20", "5.19", "6.20"], ["2021.05", "2021.55", "2021.04", "1999.01"],
                  ["13.2021", "03.2021", "4.2021", "5.2021"]):  # fmt: skip
        assert decided(words)[1][0].kind == "number"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["01/02/2021", "13/02/2021"], "read as day/month/year, as '13/02/2021' shows"),
        (["01/02/2021", "02/13/2021"], "read as month/day/year, as '02/13/2021' shows"),
        (["01/02/2021", "03/04/2021"],
         "read as month/day/year, but '01/02/2021' may mean day first (--dates d=dmy reads it so)"),
        (["1.2.2021", "3.4.2021"], "read as day.month.year, but '1.2.2021' may mean month first (--dates d=mdy"),
        (["1/13/17", "2/14/18"], "years 00 to 69 are 2000 to 2069"),
        (["3 Mar 2021", "4 Mar 2021"], "read as day, month's name and year, as in 3 Mar 2019"),
        (["03Mar2021", "04Apr2021"], "read as day, month's name and year, as in 3Mar2019"),
        (["98-02-10", "99-03-04"], "read as year-month-day with years of two digits"),
        (["2021年3月4日", "2021年4月5日"], "read as year, month and day, as in 2019年2月3日"),
        (["14:30", "15:00"], "read as a time of day"),
        (["2018/31/01", "2018/03/02"], "read as year/day/month; where both fit, year/month/day is taken"),
    ],
)  # fmt: skip
def test_what_was_decided_is_told(words, said):
    found = decided(words)[1][0]
    assert said in found.why
    assert found.reported


def test_months_beside_numbers_with_decimal_commas():
    """03.2021 shows no decimal point."""
    months = [f"{k % 12 + 1:02d}.{2019 + k % 3}" for k in range(ROWS)]
    frame = pl.DataFrame({"d": months, "x": [f"{k % 7 + 1},020" for k in range(ROWS)], "y": ["0,5", "1,5"] * 18})
    found = {each.name: each for each in kinds.decide(frame, "")}
    assert found["d"].known["format"] == "%m.%Y"
    assert "'01.2019' and the like are read as month.year (--kind d=number reads numbers)" in found["d"].why
    assert found["x"].known["decimal"] == ","
    assert read_table(b"d,z\n03.2021,1\n12.2020,2\n")["d"].to_list() == ["03.2021", "12.2020"]


HOURS = [f"2021-01-0{k % 9 + 1}T{k % 24:02d}:30" for k in range(ROWS)]
NAIVE = pl.Series([at("2021-01-03 10:30")])


@pytest.mark.parametrize(
    ("training", "new", "said"),
    [
        ([each + "+09:00" for each in HOURS], ["2021-01-03T10:30"], "1 time without a time zone is read as UTC"),
        ([each + "+09:00" for each in HOURS], NAIVE, "1 time without a time zone is read as UTC"),
        ([each + "Z" for each in HOURS], ["2021-01-03T10:30+01:00"], ""),
        (HOURS, ["2021-01-03T10:30+09:00", "2021-01-03 02:00 CET"], "2 times with a time zone are read in UTC"),
        (HOURS, NAIVE.dt.replace_time_zone("Asia/Tokyo"), "1 time with a time zone is read in UTC"),
        (HOURS, NAIVE, ""),
        (HOURS, ["2021-01-03", "2021-01-03T10:30"], ""),
        ([each[:10] for each in HOURS], ["2021-01-03T10:30Z"], ""),
    ],
)
def test_zones_that_training_had_not_are_told(training, new, said):
    frame, found = decided(training)
    made = Preprocessing().fit(kinds.typed(frame, found, Conventions().settled(frame)), found)
    notes: list[str] = []
    made = Preprocessing.from_json(made.to_json())
    made.transform(pl.DataFrame({"d": new, "beside": [1] * len(new)}), notes)
    assert [note for note in notes if "zone" in note] == ([note for note in notes if said in note] if said else [])
    assert not said or any(said in note for note in notes)


def test_times_of_which_only_some_name_a_zone_are_told():
    _, found = decided(["2021-03-03T14:30+09:00", "2021-03-04T14:30", "2021-03-05T14:30Z"])
    assert "24 of 36 times name a time zone and count in UTC; the others are read as they stand" in found[0].why
    assert found[0].reported
    assert "zone" not in decided(["2021-03-03T14:30Z", "2021-03-04"])[1][0].why


def test_the_order_can_be_said():
    words = ["01/02/2021", "03/04/2021"]
    for order, day in (("dmy", "2021-02-01"), ("d=dmy", "2021-02-01"), ("mdy", "2021-01-02")):
        assert times(words, order=[order])[0] == at(day)
    assert times(["01/02/03", "04/05/06"], order=["d=ymd"])[0] == at("2001-02-03")
    for order, day in (([], "2018-01-02"), (["d=ydm"], "2018-02-01")):
        assert times(["2018-01-02", "2018-03-04"], order=order)[0] == at(day)
    with pytest.raises(ArgumentError, match="unknown value"):
        decided(words, order=["day first"])


def test_another_column_shows_the_order():
    frame, found = decided(["01/02/2021", "03/04/2021"], other=["13/02/2021", "01/03/2021"] * (ROWS // 2))
    assert "read as day/month/year, as in column 'other'" in found[0].why
    assert Preprocessing().fit(frame, found).columns[0].read(frame["d"])[0] == at("2021-02-01")


def test_a_bad_date_is_a_gap_and_told():
    words = [str(datetime.date(2021, 1, 1) + timedelta(3 * k)) for k in range(35)] + ["unknown"]
    frame, found = decided(words)
    assert "1 of 36 values is not a date and counts as missing: 'unknown'; read as year-month-day" in found[0].why
    assert "2 of 36 values are not dates and count as missing" in decided([*words[1:], "unknown"] * 2)[1][0].why
    made = Preprocessing().fit(frame, found)
    assert made.columns[0].read(frame["d"]).null_count() == 1
    assert "d is missing" in made.features
    again = Preprocessing.from_json(made.to_json())
    assert (again.transform(frame) == made.transform(frame)).all()
    with pytest.raises(DataError, match="'soon' in row 1 is not a date") as caught:
        made.transform(pl.DataFrame({"d": ["soon"], "beside": [1]}))
    assert "year-month-day" in str(caught.value)


def test_a_dash_between_dates_is_a_gap():
    assert times(["2021-01-01", "-", "2021-03-04"]) == [at("2021-01-01"), None, at("2021-03-04")]
    assert times(["2021-01-01", "0000-00-00", "2021-03-04"]) == [at("2021-01-01"), None, at("2021-03-04")]


def test_days_and_times_of_day_fit_each_other():
    """A table of days reads points in time, and the other way, whatever type they have."""
    frame, found = decided(["2021-01-01", "2021-02-03", "2021-03-05"])
    made = Preprocessing().fit(frame, found)
    moments = [at("2021-01-05 06:00"), at("2021-02-01 00:00")]
    beside = {"beside": [1, 2]}
    expected = made.transform(pl.DataFrame({"d": ["2021-01-05 06:00", "2021-02-01"], **beside}))
    for series in (
        pl.Series(moments),
        pl.Series(moments).dt.cast_time_unit("ns"),
        pl.Series(moments).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
        pl.Series(["2021-01-05T06:00:00Z", "2021-02-01T00:00:00.000"]),
    ):
        assert (made.transform(pl.DataFrame({"d": series, **beside})) == expected).all()
    days = pl.Series([datetime.date(2021, 2, 1)])
    assert (made.transform(pl.DataFrame({"d": days, "beside": [2]})) == expected[1:]).all()
    typed = pl.DataFrame({"d": pl.Series(moments * 18), "beside": [(7 * k) % 13 for k in range(36)]})
    made = Preprocessing().fit(typed, kinds.decide(typed, ""))
    text = pl.DataFrame({"d": ["2021-01-05 06:00:00"], "beside": [0]})
    assert (made.transform(text) == made.transform(typed[:1].with_columns(beside=pl.lit(0)))).all()


def test_times_of_day_are_no_days():
    hours = [datetime.time(k % 24, 30) for k in range(ROWS)]
    frame = pl.DataFrame({"d": hours, "beside": [(7 * k) % 13 for k in range(ROWS)]})
    made = Preprocessing().fit(frame, kinds.decide(frame, ""))
    text = frame.with_columns(pl.col("d").dt.to_string("%H:%M"))
    assert (made.transform(text) == made.transform(frame)).all()
    as_text = Preprocessing().fit(text, kinds.decide(text, ""))
    assert (as_text.transform(frame) == made.transform(frame)).all()
    days = frame.with_columns(pl.lit(datetime.date(2021, 1, 1)).alias("d"))
    with pytest.raises(DataError, match="is not a date"):
        made.transform(days)


def test_a_date_that_means_missing():
    frame = pl.DataFrame(
        {"d": [datetime.date(2021, 1, 1), datetime.date(9999, 12, 31)] * 9 + [datetime.date(2021, 2, 2)]}
    )
    decisions = kinds.decide(frame, "", None, Conventions.asked(frame.columns, ["9999-12-31"]))
    assert Preprocessing().fit(frame, decisions).columns[0].read(frame["d"]).null_count() == 9


def test_forms_and_their_names():
    assert len(set(dates.FORMS)) == len(dates.FORMS)
    for form in dates.FORMS:
        assert "%" not in dates.described(form)


def test_a_name_is_that_of_one_month():
    months = [{spelled for name in names.split() for spelled in month_names.spellings(name)} for names in MONTHS]
    assert sum(map(len, months)) == len(set().union(*months))


@pytest.mark.parametrize("form", dates.FORMS)
def test_every_form_begins_as_dates_do(form):
    parts = {"%Y": "2003", "%y": "03", "%m": "2", "%d": "5", "%b": "feb", "%V": "07", "%u": "3", "%q": "1", "%H": "12"}
    parts["%T"] = "12:30:07"
    text = re.sub("%.", lambda found: parts.get(found[0], "30"), form).lower() if form != dates.COMPACT else "20030205"
    assert dates.likely([text], (form,)) == [form]
    assert dates.likely([f"wed, {text}"], (form,)) == ([form] if form not in (dates.TIME_ALONE, dates.COMPACT) else [])


@pytest.mark.parametrize(("shape", "days"), [((5, 400), 3000), ((3, 7), 3000), ((0, 3), 1), ((2, 50), 3_000_000)])
def test_parts_of_few_days_are_the_bits_of_each_alone(shape, days):
    draw = np.random.default_rng(0)
    at = np.datetime64("1950-01-01", "us") + draw.integers(0, days, shape) * np.timedelta64(1, "D")
    together = date_column._parts(at + draw.integers(0, 86_400_000_000, shape))
    assert tuple(together) == date_column.PARTS
    waves = date_column._waves(date_column._turns(at.astype("datetime64[D]")))
    assert all(np.array_equal(together[name], wave) for name, wave in waves.items())
