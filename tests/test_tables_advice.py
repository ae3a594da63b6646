"""What `lamp train`, `predict` and `evaluate` make of awkward tables, and whether what they advise is right."""

import io
import json
import zipfile
from datetime import date, timedelta

import polars as pl
import pytest

from lamp.cli import main
from lamp.errors import ArgumentError, DataError
from lamp.tables.evaluate import evaluate
from lamp.tables.holdout import HoldOut
from lamp.tables.planning import Request, TrainingPlan, plan_training
from lamp.tables.predict import predict
from lamp.tables.reading import ReadOptions
from lamp.tables.train import preprocessed
from tests.cases.table_models import model_of

ROWS = 60
NUMBERS = [f"{((7 * k) % 31) / 8 - 1.5:.3f}" for k in range(ROWS)]
Y = ["yes" if k % 3 else "no" for k in range(ROWS)]
DAYS = [date(2019, 1, 1) + timedelta(days=13 * k) for k in range(ROWS)]


def planned(tmp_path, target="y", **given) -> TrainingPlan:
    """The plan for a table with these columns, beside numbers and, unless it is among them, a target y."""
    options = {
        name: given.pop(name)
        for name in ("task", "kinds", "missing", "dates", "decimal", "leave_out_odd", "held_out")
        if name in given
    }
    columns = {"numbers": NUMBERS, **given} | ({} if target in given else {target: Y})
    path = tmp_path / "t.csv"
    pl.DataFrame(columns).write_csv(path)
    return plan_training(Request(path, target, **options))


def decided(plan: TrainingPlan, name: str) -> tuple[str, str]:
    found = next(each for each in plan.decisions if each.name == name)
    return found.kind, found.why


# ---- dates -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("iso", ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"])
@pytest.mark.parametrize("other", ["%d.%m.%Y", "%m/%d/%Y"])
def test_years_first_are_read_beside_columns_of_another_order(tmp_path, iso, other):
    plan = planned(tmp_path, iso=[day.strftime(iso) for day in DAYS], other=[day.strftime(other) for day in DAYS])
    assert decided(plan, "iso")[0] == decided(plan, "other")[0] == "date"


def test_years_first_are_read_whatever_order_is_asked_for(tmp_path):
    columns = {"iso": list(map(str, DAYS)), "us": [day.strftime("%m/%d/%Y") for day in DAYS]}
    plan = planned(tmp_path, **columns, dates=["dmy"])
    assert decided(plan, "iso")[0] == "date"
    kind, why = decided(plan, "us")
    assert kind == "left out"
    assert "dates written as month/day/year, and not day first as --dates says" in why


@pytest.mark.parametrize("form", ["%d/%b/%Y:%H:%M:%S +0000", "%Y年%m月%d日"])
def test_dates_of_log_files_and_of_china(tmp_path, form):
    plan = planned(tmp_path, when=[day.strftime(form) for day in DAYS])
    assert decided(plan, "when")[0] == "date"


def test_a_day_that_may_mean_missing(tmp_path):
    ends = ["9999-12-31" if k % 9 == 0 else str(day) for k, day in enumerate(DAYS)]
    begins = ["01.01.1900" if k % 9 == 0 else day.strftime("%d.%m.%Y") for k, day in enumerate(DAYS)]
    plan = planned(tmp_path, ends=ends, begins=begins)
    assert "9999-12-31 in 7 rows is far from all others" in decided(plan, "ends")[1]
    assert "--missing begins=1900-01-01" in decided(plan, "begins")[1]
    plan = planned(tmp_path, ends=ends, begins=begins, missing=["ends=9999-12-31", "begins=1900-01-01"])
    assert not any("far from" in why or "does not occur" in why for why in [*plan.notes, decided(plan, "ends")[1]])
    assert {"ends is missing", "begins is missing"} <= set(plan.preprocessing.features)


@pytest.mark.parametrize(
    "days",
    [
        ["2019-Q1", "2019-Q2", "2019-Q3", "2019-Q4"],  # the last is farther from the third than half of their range
        ["2019-03-01", "2021-03-01"],  # two waves of a survey
        ["2019-01-01", "2019-01-02", "2019-07-01"],
    ],
)
def test_a_few_days_are_not_far_from_each_other(tmp_path, days):
    plan = planned(tmp_path, day=[days[k % len(days)] for k in range(len(DAYS))])
    assert "far from all others" not in decided(plan, "day")[1]


@pytest.mark.parametrize("other", ["%m/%d/%Y", "%d %B %Y"])
def test_dates_of_two_forms_are_not_called_free_text_alone(tmp_path, other):
    plan = planned(tmp_path, when=[day.strftime(other if k % 2 else "%Y-%m-%d") for k, day in enumerate(DAYS)])
    kind, why = decided(plan, "when")
    assert kind == "left out"
    assert "30 of 60 values are dates written as year-month-day" in why


def test_a_time_of_day_is_told_where_training_had_none_and_back(tmp_path):
    days, times = list(map(str, DAYS)), [f"{day} {k % 24:02d}:10" for k, day in enumerate(DAYS)]
    for learned, given, said in ((days, times, "a time of day in 59 rows"), (times, days, "no row has a time of day")):
        plan, notes = planned(tmp_path, when=learned), []
        given = [days[0], *given[1:]]
        plan.preprocessing.transform(pl.DataFrame({"numbers": NUMBERS, "when": given}), notes)
        assert any(said in note for note in notes), notes
        assert not any("time of day" in note for note in _notes(plan))


def _notes(plan: TrainingPlan) -> list[str]:
    notes: list[str] = []
    plan.preprocessing.transform(plan.frame.drop("y"), notes)
    return notes


# ---- numbers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u0966"])
def test_digits_of_other_scripts(tmp_path, zero):
    written = ["".join(chr(ord(zero) + int(digit)) for digit in str(100 + 7 * k)) for k in range(ROWS)]
    plan = planned(tmp_path, x=written)
    assert decided(plan, "x")[0] == "number"
    assert plan.frame["x"].to_list() == [100 + 7 * k for k in range(ROWS)]


def test_hexadecimal_digits_are_no_unit(tmp_path):
    with pytest.raises(DataError, match="none of its values is a number"):
        planned(tmp_path, x=[f"{12 * k + 10:#x}" for k in range(ROWS)], kinds={"x": "number"})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            lambda k: f"{k / 8:.3f}".replace(".", "," if k % 2 else "."),
            "a decimal point and numbers with a decimal comma",
        ),
        (lambda k: f"{k / 8:.3f}" + "*" * (k % 4 == 0), "45 of 60 values are numbers, but not '0.000*'"),
    ],
)
def test_columns_of_almost_numbers_are_not_called_free_text_alone(tmp_path, written, said):
    x = [written(k) for k in range(ROWS)]
    kind, why = decided(planned(tmp_path, x=x), "x")
    assert kind == "left out"
    assert said in why
    with pytest.raises(DataError, match="too many classes") as caught:
        planned(tmp_path, "x", x=x)
    assert said in caught.value.fix


def test_both_decimal_marks_in_a_column(tmp_path):
    x = [f"{k / 8:.3f}".replace(".", "," if k % 2 else ".") for k in range(ROWS)]  # 1,125 may be 1125 or 1.125
    with pytest.raises(DataError, match="one decimal mark"):
        planned(tmp_path, "x", x=x, task="regression")
    assert (
        "decimal point and numbers with a decimal comma"
        in decided(planned(tmp_path, x=x, kinds={"x": "number"}), "x")[1]
    )
    one_slip = [f"{1000 + 7 * k:,}" for k in range(ROWS - 1)] + ["0,5"]
    assert decided(planned(tmp_path, x=one_slip), "x")[0] == "number"


def test_advice_on_a_target_in_several_units_works(tmp_path):
    x = [f"{k / 10}%" if k % 2 else f"{k / 1000}" for k in range(ROWS)]
    with pytest.raises(DataError, match="--task regression reads the numbers"):
        planned(tmp_path, "x", x=x)
    assert planned(tmp_path, "x", x=x, task="regression").target.task == "regression"


def test_advice_on_a_target_of_almost_numbers_works(tmp_path):
    x = [f"{k / 8}" + "*" * (k % 4 == 0) for k in range(ROWS)]
    with pytest.raises(DataError, match="--task regression --leave-out-odd leaves those rows out"):
        planned(tmp_path, "x", x=x)
    assert len(planned(tmp_path, "x", x=x, task="regression", leave_out_odd=True).rows) == 45


# ---- counters, codes, few rows ---------------------------------------------------------------------------------------
def test_a_counter_of_the_whole_file_is_found_although_rows_are_left_out(tmp_path):
    y = ["" if k % 7 == 3 else word for k, word in enumerate(Y)]
    plan = planned(tmp_path, y=y, n=list(range(5, ROWS + 5)), code=[k * 3 % 61 for k in range(ROWS)])
    assert decided(plan, "n") == ("left out", "row numbers: every whole number in its range occurs once in the file")
    assert decided(plan, "code")[0] == "number"
    assert decided(planned(tmp_path, y=y, n=list(range(ROWS)), kinds={"n": "number"}), "n")[0] == "number"


@pytest.mark.parametrize("name", ["zip", "ZIP_code", "PLZ", "store_id", "productCode"])
def test_codes_in_digits_are_told(tmp_path, name):
    codes = [[10115, 80331, 20095, 50667][k % 4] for k in range(ROWS)]
    plan = planned(tmp_path, **{name: codes})
    assert decided(plan, name)[0] == "number"
    note = next(note for note in plan.notes if note.startswith(name))
    assert f"if they are codes: --kind {name}=category" in note
    assert decided(planned(tmp_path, **{name: codes}, kinds={name: "category"}), name)[0] == "category"
    assert not planned(tmp_path, height=codes, zip=[k / 4 for k in range(ROWS)]).notes


def test_few_rows_and_rare_classes_are_told(tmp_path):
    frame = pl.DataFrame({"x": NUMBERS, "y": Y})
    frame[:11].write_csv(tmp_path / "few.csv")
    plan = plan_training(Request(tmp_path / "few.csv", "y"))
    assert any("11 rows are very few to learn from, and 2 to measure on" in note for note in plan.notes)
    y = ["rare" if k % 15 == 0 else word for k, word in enumerate(Y)]
    rare = [note for note in planned(tmp_path, y=y).notes if "rare" in note]
    assert rare == ["rare classes, which will hardly be learned or measured: rare (4, 1 of them measured on)"]
    assert planned(tmp_path).notes == []


# ---- words for what is missing ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("asked", ["damage=None", "damage=none", "None"])
def test_what_the_user_said_of_none_is_not_contradicted(tmp_path, asked):
    damage = [["None", "Minor", "Major"][k % 3] for k in range(ROWS)]
    plan = planned(tmp_path, "damage", damage=damage, missing=[asked])
    there = asked == "damage=none"  # which says that no word means missing
    assert plan.target.classes == (("Major", "Minor", "None") if there else ("Major", "Minor"))
    assert not any("is a class of" in note for note in plan.notes)


def test_a_missing_word_for_a_column_that_is_not_there(tmp_path):
    with pytest.raises(ArgumentError, match="the table has no column 'zzz'"):
        planned(tmp_path, missing=["zzz=none"])


# ---- where the names of the columns are ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("Report 2020,,\n,,\na,b,y\n1,2,no\n", "row 2 of the table seems to name the columns: --skip-lines"),
        ("a^b^y\n1^2^no\n", "--separator '^'"),
        ("a\x01b\x01y\n1\x012\x01no\n", "--separator $'\\x01'"),
        ('"a,b,y"\n"1,2,no"\n', "if each line is in quotes as a whole"),
        ('"""a"",""b"",""y"""\n"""1"",""2"",""no"""\n', "if each line is in quotes as a whole"),
        ("a,b,Y\n1,2,no\n", "did you mean --target 'Y'"),
        ("0.5,x,no\n1.5,z,yes\n", "if the first line is data, --no-header"),
    ],
)
def test_where_a_target_is(tmp_path, text, fix):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        plan_training(Request(path, "y"))
    assert fix in caught.value.fix


def test_names_where_no_header_was_asked_for(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,2,no\n3,4,yes\n")
    with pytest.raises(ArgumentError) as caught:
        plan_training(Request(path, "y", reading=ReadOptions(header=False)))
    assert "leave out --no-header" in caught.value.fix


def test_more_lines_are_skipped_than_there_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,2,no\n3,4,yes\n")
    with pytest.raises(DataError) as caught:
        plan_training(Request(path, "y", reading=ReadOptions(skip_lines=9)))
    assert "--skip-lines 9 skips all" in caught.value.fix


def test_a_number_for_a_target_is_not_looked_for_among_the_values(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("0.5;0;0.25\n" + "".join(f"0.{k};{k};0.75\n" for k in range(1, 9)))
    with pytest.raises(ArgumentError) as caught:
        plan_training(Request(path, "3"))
    assert "--skip-lines" not in caught.value.fix
    assert "--no-header" in caught.value.fix


def test_an_error_comes_with_the_remarks_on_the_file(tmp_path, capfd):
    path = tmp_path / "t.csv"
    path.write_text("0.5;no\n" + "\n".join(f"{number};{y}" for number, y in zip(NUMBERS, Y, strict=True)))
    for quiet in ([], ["--quiet"]):
        with pytest.raises(SystemExit):
            main(args=["train", str(path), "--target", "y", "--dry-run", *quiet])
        said = capfd.readouterr().err
        assert ("the first line looks like data" in said) == (not quiet)
        assert "no column 'y'" in said


def test_a_new_table_without_names():
    frame = pl.DataFrame({"numbers": NUMBERS, "x": [str(7 * k % 23) for k in range(ROWS)], "y": Y})
    model = model_of(frame, "y", ("no", "yes"))
    with pytest.raises(DataError) as caught:
        predict(model, pl.DataFrame({"0.5": ["1.5"], "3": ["2"]}))
    assert "first line must name the columns" in caught.value.fix


# ---- what is shown of a cell -----------------------------------------------------------------------------------------
def test_errors_show_a_cell_as_it_is_in_the_file():
    frame = pl.DataFrame({"x": [f"{k / 8:.2f}".replace(".", ",") for k in range(ROWS)], "y": Y})
    model = model_of(frame, "y", ("no", "yes"))
    with pytest.raises(DataError, match=r"'-5\.00' in row 2"):
        predict(model, pl.DataFrame({"x": ["5,00", "-5.00"]}))


def test_evaluate_names_the_row_of_the_file():
    model = model_of(pl.DataFrame({"x": NUMBERS, "price": [f"{k * 1.5:.2f}" for k in range(ROWS)]}), "price")
    with pytest.raises(DataError, match="is not a number in 1 of 2 rows") as caught:
        evaluate(model, pl.DataFrame({"x": NUMBERS[:3], "price": ["1.00", "", "soon"]}))
    assert "'soon' in row 3" in str(caught.value)


# ---- files -----------------------------------------------------------------------------------------------------------
def test_blanks_around_quotes(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f'{number}, "a, {k % 4}" ,{y}' for k, (number, y) in enumerate(zip(NUMBERS, Y, strict=True))]
    path.write_text("\n".join(["x,where,y", *rows]) + "\n")
    plan = plan_training(Request(path, "y"))
    assert plan.frame["where"].to_list()[:3] == ["a, 0", "a, 1", "a, 2"]
    assert len(plan.rows) == ROWS


def test_a_doubled_quote_before_a_blank_keeps_the_blank(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f'{number}, "a "" , {k % 4}" ,{y}' for k, (number, y) in enumerate(zip(NUMBERS, Y, strict=True))]
    path.write_text("\n".join(["x,where,y", *rows]) + "\n")
    assert plan_training(Request(path, "y")).frame["where"][0] == 'a " , 0'


@pytest.mark.parametrize("form", ["columns", "split", "index of letters"])
def test_json_that_pandas_writes(tmp_path, form):
    columns = {"x": list(map(float, NUMBERS)), "y": Y}
    if form == "columns":
        document = {name: {str(k): value for k, value in enumerate(values)} for name, values in columns.items()}
    else:
        document = {"columns": list(columns), "data": [list(row) for row in zip(*columns.values(), strict=True)]}
        document |= {"index": [f"row {k}" for k in range(ROWS)]} if form != "split" else {}
    path = tmp_path / "t.json"
    path.write_text(json.dumps(document))
    plan = plan_training(Request(path, "y"))
    assert plan.frame["x"].to_list() == columns["x"]


def test_archives(tmp_path):
    for files, said in (({}, "an empty archive"), ({"README.txt": "hello", "a.csv": "x,y\n"}, '--sheet "a.csv"')):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        (tmp_path / "t.zip").write_bytes(packed.getvalue())
        with pytest.raises(DataError) as caught:
            plan_training(Request(tmp_path / "t.zip", "y"))
        assert said in str(caught.value)


# ---- what is said of values and options ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([f"{k}k" for k in range(ROWS)], "'1k' is read as 1000"),  # 0k would explain nothing
        ([f"{k % 9},{k % 7}" for k in range(ROWS)], "'1,1' is read as 1.1"),
        (["007" if k % 3 else "8" for k in range(ROWS)], "'007' is taken for a word"),
        ([f"{2018 + k // 4}-Q{k % 4 + 1}" for k in range(ROWS)], "year and quarter, as in 2019-Q3"),
        ([f"{2018 + k // 50}-W{k % 50 + 1:02}" for k in range(ROWS)], "year and week, as in 2019-W05"),
    ],
)
def test_examples_explain_how_cells_are_read(tmp_path, cells, said):
    assert said in decided(planned(tmp_path, x=cells), "x")[1]


def test_options_that_change_nothing_are_told(tmp_path):
    words = ["a" if k % 2 else "b" for k in range(ROWS)]
    notes = planned(tmp_path, x=words, dates=["numbers=dmy"], decimal=["x=,"]).notes
    assert any("--dates: 'numbers' holds no dates" in note for note in notes)
    assert any("--decimal: 'x' holds no numbers" in note for note in notes)


def test_a_target_whose_missing_words_are_told(tmp_path):
    notes = planned(tmp_path, y=["NA" if k % 3 == 0 else "up" if k % 3 == 1 else "down" for k in range(ROWS)]).notes
    assert [note for note in notes if "left out" in note] == ["20 rows without a value of 'y' are left out"]
    assert any("'y' is 'NA' in 20 rows" in note and "--missing y=none" in note for note in notes)


def test_the_kind_of_the_target_is_not_asked_for(tmp_path):
    with pytest.raises(ArgumentError, match="'y' is the target") as caught:
        planned(tmp_path, kinds={"y": "drop"})
    assert "--task" in caught.value.fix


def test_a_test_file_with_odd_values_gets_advice_for_training(tmp_path):
    """lamp train has no --unknown, which the same error in lamp predict recommends."""
    pl.DataFrame({"numbers": ["1", "odd"] * 20, "y": Y[:40]}).write_csv(tmp_path / "new.csv")
    plan = planned(tmp_path, held_out=HoldOut(test=tmp_path / "new.csv"))
    with pytest.raises(DataError, match=r"new\.csv: column 'numbers': 'odd' in row 2") as caught:
        preprocessed(plan)
    assert "--" not in caught.value.fix


def test_infinite_values_at_predict_get_advice_for_predict(tmp_path):
    frame = pl.DataFrame({"numbers": list(map(float, NUMBERS)), "y": Y})
    model = model_of(frame, "y", ("no", "yes"))
    asked = frame.with_columns(numbers=pl.lit(float("inf")))
    with pytest.raises(DataError, match="infinite values") as caught:
        predict(model, asked)
    assert "--unknown gap" in caught.value.fix
    assert "--kind" not in caught.value.fix
    assert len(predict(model, asked, unknown="gap")) == ROWS
