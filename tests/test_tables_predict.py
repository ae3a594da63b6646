"""Predicting with a trained model: kept columns, values and classes that training did not have."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from sklearn import metrics as theirs

from lamp.errors import ArgumentError, DataError
from lamp.tables.evaluate import evaluate
from lamp.tables.predict import for_csv, predict
from tests.cases.table_models import model_of, people, prices

PRICES, PEOPLE = prices(), people()


@pytest.fixture(scope="module")
def numbers():
    return model_of(PRICES, "close")


@pytest.fixture(scope="module")
def classes():
    return model_of(PEOPLE, "y", ("down", "up"))


# ---- columns that are kept -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("keep", [["low", "high"], ["low"], ["open", "high"]])
def test_kept_columns_named_like_predicted_ones(numbers, keep):
    """They are refused; with a prefix both are there, each with its own numbers."""
    with pytest.raises(ArgumentError, match="--prefix") as caught:
        predict(numbers, PRICES, keep=keep)
    assert all(name in str(caught.value) for name in keep if name != "open")
    both = predict(numbers, PRICES, keep=keep, prefix="predicted_")
    assert both.columns == [*keep, *(f"predicted_{name}" for name in ("prediction", "spread", "low", "high"))]
    for name in keep:
        assert both[name].to_list() == PRICES[name].to_list()
    alone = predict(numbers, PRICES)
    assert both["predicted_low"].to_list() == alone["low"].to_list()


@pytest.mark.parametrize("name", ["prediction", "spread", "p(up)", "y"])
def test_every_name_that_may_meet_a_predicted_one(name):
    frame = PEOPLE.rename({"age": name}) if name != "y" else PEOPLE.rename({"y": "prediction"})
    target = "prediction" if name == "y" else "y"
    model = model_of(frame, target, ("down", "up"))
    kept = target if name == "y" else name
    with pytest.raises(ArgumentError, match="has the name of a prediction"):
        predict(model, frame, keep=[kept])
    both = predict(model, frame, keep=[kept], prefix="its ")
    assert both[kept].to_list() == frame[kept].to_list()
    assert len(set(both.columns)) == len(both.columns)


def test_a_prefix_that_meets_a_kept_column(numbers):
    frame = PRICES.with_columns(pl.lit(1).alias("my low"))
    with pytest.raises(ArgumentError, match="my low"):
        predict(numbers, frame, keep=["my low"], prefix="my ")


def test_kept_twice_and_in_the_order_asked(numbers):
    kept = predict(numbers, PRICES, keep=["close", "open", "close"])
    assert kept.columns[:2] == ["close", "open"]
    assert kept["close"].to_list() == PRICES["close"].to_list()


def test_a_column_that_is_not_there(numbers):
    with pytest.raises(ArgumentError, match="did you mean 'open'"):
        predict(numbers, PRICES, keep=["opne"])


# ---- other tables ----------------------------------------------------------------------------------------------------
def test_columns_in_another_order_and_more_of_them(classes):
    notes = []
    frame = PEOPLE.select(reversed(PEOPLE.columns)).with_columns(pl.lit(1).alias("new"))
    assert predict(classes, frame, notes=notes).equals(predict(classes, PEOPLE))
    assert notes == ["columns that training did not have are not used: new"]


def test_columns_that_are_missing(classes):
    with pytest.raises(DataError, match="rename 'Age' to 'age'"):
        predict(classes, PEOPLE.rename({"age": "Age"}))
    with pytest.raises(DataError, match="lacks 2 columns"):
        predict(classes, PEOPLE.drop("age", "city"))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_rows(classes, numbers, rows):
    for model, frame in ((classes, PEOPLE), (numbers, PRICES)):
        some = predict(model, frame.head(rows), keep=[frame.columns[0]])
        assert some.columns == predict(model, frame, keep=[frame.columns[0]]).columns
        assert len(some) == rows
        whole = predict(model, frame).head(rows)
        assert some.select("spread").to_numpy() == pytest.approx(whole.select("spread").to_numpy(), abs=1e-7)


# ---- values that are not known ---------------------------------------------------------------------------------------
ODD = {
    "age": ["Unknown", "n.b.", "1e999"],
    "city": ["Atlantis"],
    "member": ["perhaps"],
    "since": ["soon", "2020-13-45"],
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_known_is_a_gap_if_asked(classes, name):
    frame = PEOPLE.with_columns(pl.col("age").cast(pl.String))
    words = [*ODD[name], *frame[name].to_list()[len(ODD[name]) :]]
    strange = frame.with_columns(pl.Series(name, words))
    notes = []
    found = predict(classes, strange, unknown="gap", notes=notes)
    empty = frame.with_columns(pl.Series(name, [None] * len(ODD[name]) + words[len(ODD[name]) :]))
    assert found.equals(predict(classes, empty))
    are = "is not known and counts" if len(ODD[name]) == 1 else "are not known and count"
    assert notes[0].startswith(f"{name}: {len(ODD[name])} of 40 values {are} as missing: ")
    assert repr(ODD[name][0]) in notes[0]
    with pytest.raises(DataError, match=f"'{name}'") as caught:
        predict(classes, strange, unknown="error")
    assert ODD[name][0] in str(caught.value)
    if name == "city":  # by default a new word is none of its words, and told
        told = []
        predict(classes, strange, notes=told)
        assert "'Atlantis'" in told[0]
    else:
        with pytest.raises(DataError, match=r"--unknown gap|infinite values"):
            predict(classes, strange)


def test_numbers_beyond_float32_are_gaps_if_asked(numbers):
    frame = PRICES.with_columns(pl.Series("open", [1e300, *PRICES["open"].to_list()[1:]]))
    with pytest.raises(DataError, match="too far") as caught:
        predict(numbers, frame)
    assert "1e+300" in str(caught.value)
    notes = []
    found = predict(numbers, frame, unknown="gap", notes=notes)
    gap = predict(numbers, frame.with_columns(pl.Series("open", [None, *PRICES["open"].to_list()[1:]])))
    assert found.equals(gap)
    assert notes == ["open: 1 number too far from those in training counts as missing", *notes[1:]]


def test_what_training_had_too_is_no_news(classes):
    frame = PEOPLE.with_columns(pl.Series("age", ["?", *map(str, PEOPLE["age"].to_list()[1:])]))
    notes = []
    predict(classes, frame, unknown="error", notes=notes)
    assert len(notes) == 1
    assert "1 missing" in notes[0]


def test_another_kind_of_column(classes):
    frame = PEOPLE.with_columns(pl.col("since").alias("age"))
    with pytest.raises(DataError, match="'2020-01-01' in row 1 is not a number"):
        predict(classes, frame)
    assert len(predict(classes, frame, unknown="gap")) == 40


def test_another_word_for_unknown(classes):
    with pytest.raises(ArgumentError, match="gap"):
        predict(classes, PEOPLE, unknown="gaps")


# ---- numbers and dates written in another way ------------------------------------------------------------------------
SIZES = [f"{36 + k * 29 % 31 / 10 + 0.001:.3f}" for k in range(40)]
PAID = [f"${1000 + 97 * k:,}.50" for k in range(40)]
WHEN = [date(2020, 1, 1) + timedelta(days=17 * k) for k in range(40)]
Y = ["up", "down"] * 20
WRITTEN = pl.DataFrame({"size": SIZES, "paid": PAID, "day": [f"{each:%d/%m/%Y}" for each in WHEN], "y": Y})


@pytest.fixture(scope="module")
def written():
    return model_of(WRITTEN, "y", ("down", "up"))


def as_comma(texts):
    """The numbers as a program writes them where "," is the decimal mark."""
    return [each.translate(str.maketrans(".,", ",.")) for each in texts]


def without_cents(texts):
    return [each.removesuffix(".50") for each in texts]


def test_a_table_like_the_training_table_is_read_without_a_word(written):
    """But where all of its dates fit both orders of day and month."""
    for part in (WRITTEN, *WRITTEN.iter_slices(1), WRITTEN[5:9]):
        predict(written, part, notes=(notes := []), unknown="error")
        day, month = part["day"][0][:2], part["day"][0][3:5]
        assert len(notes) == (len(part) == 1 and day <= "12" and day != month), part


def test_dates_that_fit_both_orders_are_read_as_in_training_and_told(written):
    open_to_both = WRITTEN[:3].with_columns(day=pl.Series(["03/03/2020", "05/06/2020", None]))
    notes = []
    found = predict(written, open_to_both, notes=notes)
    assert notes[0] == (
        "day: '05/06/2020' is read as day/month/year, as in training, but may be month/day/year (--dates day=mdy reads "
        "it so)"
    )
    for order, read in (("dmy", ["2020-03-03", "2020-06-05", None]), ("mdy", ["2020-03-03", "2020-05-06", None])):
        asked = predict(written, open_to_both, asked=written.asked(dates=order), notes=(said := []))
        assert not any("may be" in note for note in said)
        assert asked.equals(predict(written, open_to_both.with_columns(day=pl.Series(read))))
        assert asked.equals(found) == (order == "dmy")


def test_gaps_are_not_advised_where_most_of_a_column_does_not_fit(written, classes):
    for model, frame, name in ((written, WRITTEN, "day"), (classes, PEOPLE, "member"), (classes, PEOPLE, "age")):
        texts = frame[name].cast(pl.String).to_list()
        with pytest.raises(DataError, match=f"column '{name}'") as caught:
            predict(model, frame.with_columns(pl.Series(name, ["soon", "late"] * 11 + texts[22:])))
        assert "--unknown" not in caught.value.fix
        assert "write the values as training had them" in caught.value.fix
        with pytest.raises(DataError, match=f"column '{name}'") as caught:
            predict(model, frame.with_columns(pl.Series(name, ["soon", "late", *texts[2:]])))
        assert "--unknown gap" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "texts", "value", "read", "otherwise"),
    [
        ("size", as_comma(SIZES), "36,001", "is 36001", "36.001"),
        ("paid", as_comma(without_cents(PAID)), "$1.097", "is 1.097", "1097"),
        ("paid", as_comma(PAID), "$1.000,50", "is no number", "1000.5"),
        ("size", as_comma(f"{float(each):.1f}" for each in SIZES), "36,0", "is no number", "36"),
    ],
)
@pytest.mark.parametrize("unknown", [None, "gap"])
def test_the_other_decimal_mark_is_refused_until_it_is_named(written, name, texts, value, read, otherwise, unknown):
    frame = WRITTEN.with_columns(pl.Series(name, texts))
    with pytest.raises(DataError, match=f"column '{name}' seems to have a decimal comma") as caught:
        predict(written, frame, unknown=unknown)
    assert repr(value) in caught.value.got
    assert read in caught.value.got
    assert str(caught.value.got).endswith(f"{otherwise} with a decimal comma")
    assert "--decimal comma" in caught.value.fix
    assert "gap" not in caught.value.fix
    notes = []
    found = predict(written, frame, asked=written.asked(decimal=f"{name}=comma"), notes=notes)
    points = pl.Series(name, [each.replace(".", "").replace(",", ".") for each in texts])
    assert found.equals(predict(written, WRITTEN.with_columns(points)))
    assert notes == []


def test_a_decimal_point_after_commas():
    model = model_of(WRITTEN.with_columns(pl.Series("size", [*as_comma(SIZES[:-1]), "0,5"])), "y", ("down", "up"))
    with pytest.raises(DataError, match="seems to have a decimal point; training had a decimal comma"):
        predict(model, WRITTEN)
    assert len(predict(model, WRITTEN, asked=model.asked(decimal="point"))) == 40


def test_thousands_separators_that_training_did_not_have(written):
    """Alone they are refused, as 1,200 may be 1.2; where some numbers have none they are told; named, they are read."""
    model = model_of(
        pl.DataFrame({"x": [f"{k / 4}" for k in range(8000)], "y": ["up", "down"] * 4000}), "y", ("down", "up")
    )
    every, few = pl.DataFrame({"x": ["1,200", "1,951"]}), pl.DataFrame({"x": ["1,200", "800", "12"]})
    with pytest.raises(DataError, match="decimal comma") as caught:
        predict(model, every)
    assert "'1,200' in row 1, which is 1200 with a decimal point, and 1.2" in caught.value.got
    notes = []
    predict(model, few, notes=notes)
    assert notes == [
        "x: '1,200' is read as 1200, as training had a decimal point, but may mean 1.2 (--decimal x=comma reads it so)"
    ]
    named = predict(model, every, asked=model.asked(decimal="x=point"), notes=(said := []))
    assert named.equals(predict(model, pl.DataFrame({"x": ["1200", "1951"]})))
    assert said == []


@pytest.mark.parametrize("rows", [1, 40])
def test_three_decimals_that_training_did_not_have(rows):
    """$8.720 may be 8,720 in a column of dollars and cents, and from $0 on; numbers with three decimals stay silent."""
    cents = [f"${220 * k:,}.{k % 100:02d}" for k in range(40)]
    model = model_of(pl.DataFrame({"x": cents, "y": Y}), "y", ("down", "up"))
    mirrored = pl.DataFrame({"x": [f"${1 + k % 8}.{100 + 7 * k}" for k in range(rows)]})
    with pytest.raises(DataError, match="'x' seems to have a decimal comma") as caught:
        predict(model, mirrored)
    assert "'$1.100' in row 1, which is 1.1 with a decimal point, and 1100 with a decimal comma" in caught.value.got
    as_points = pl.DataFrame({"x": [f"${1 + k % 8}{100 + 7 * k}" for k in range(rows)]})
    asked = predict(model, mirrored, asked=model.asked(decimal="comma"))
    assert asked.equals(predict(model, as_points))
    saved = model.preprocessing.to_dict()
    assert saved["columns"][0].pop("thousandths") is False
    older = type(model.preprocessing).from_dict(saved)  # a folder that does not say so
    finer = pl.DataFrame({"x": [f"${2.125 * k:,.3f}" for k in range(4000)], "y": Y * 100})
    for preprocessing in (older, model_of(finer, "y", ("down", "up")).preprocessing):
        preprocessing.transform(mirrored, notes := [])
        assert len(notes) == 1
        assert "'$1.100' is read as 1.1, as training had a decimal point, but may mean 1100" in notes[0]


def test_a_slip_among_numbers_is_no_other_mark(written):
    frame = WRITTEN.with_columns(pl.Series("paid", ["$1.000,50", *PAID[1:]]))
    with pytest.raises(DataError, match="is not a number"):
        predict(written, frame)
    assert len(predict(written, frame, unknown="gap")) == 40


def test_another_unit_is_named(written):
    frame = WRITTEN.with_columns(pl.col("paid").str.replace("$", "€", literal=True))
    with pytest.raises(DataError, match=r"'paid' has numbers in €; training had them in \$") as caught:
        predict(written, frame)
    assert "convert the numbers to $" in caught.value.fix
    assert "gap" not in caught.value.fix


def test_fractions_where_training_had_percentages():
    """A spreadsheet's cell of 52.9 % is 0.529."""
    shares = [k * 9 % 97 + 0.5 for k in range(40)]
    model = model_of(pl.DataFrame({"x": [f"{each}%" for each in shares], "y": Y}), "y", ("down", "up"))
    expected = predict(model, pl.DataFrame({"x": [f"{each}%" for each in shares]}))
    with pytest.raises(DataError, match="'x' seems to have fractions; training had percentages") as caught:
        predict(model, pl.DataFrame({"x": [each / 100 for each in shares]}))
    assert "multiply them by 100" in caught.value.fix
    notes = []
    assert predict(model, pl.DataFrame({"x": shares}), notes=notes).equals(expected)
    assert notes == ["x: 40 values without % are read as in %"]
    model = model_of(pl.DataFrame({"x": [each / 100 for each in shares], "y": Y}), "y", ("down", "up"))
    with pytest.raises(DataError, match="'x' has numbers in %; training had them without a unit") as caught:
        predict(model, pl.DataFrame({"x": ["52.9%", "3%"]}))
    assert caught.value.fix == "convert the numbers, and write them without %"


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d %b %Y", "%d/%m/%y", "%d.%m.%Y", "%Y%m%d"])
def test_dates_in_another_form_are_read_and_told(written, form):
    notes = []
    found = predict(written, WRITTEN.with_columns(day=pl.Series([f"{each:{form}}" for each in WHEN])), notes=notes)
    assert found.equals(predict(written, WRITTEN))
    assert len(notes) == 1
    assert "training had day/month/year" in notes[0]
    assert f"'{WHEN[0]:{form}}'" in notes[0] or f"'{WHEN[1]:{form}}'" in notes[0]


@pytest.mark.parametrize("unknown", [None, "gap"])
@pytest.mark.parametrize("rows", [40, 3])
def test_dates_with_the_month_first_are_refused_until_they_are_named(written, unknown, rows):
    frame = WRITTEN.with_columns(day=pl.Series([f"{each:%m/%d/%Y}" for each in WHEN]))[:rows]
    with pytest.raises(DataError, match="'day' seems to be written month first") as caught:
        predict(written, frame, unknown=unknown)
    assert "'01/18/2020'" in caught.value.got
    assert str(caught.value.got).endswith("all fit month/day/year")
    assert "--dates mdy" in caught.value.fix
    notes = []
    assert predict(written, frame, asked=written.asked(dates="mdy"), notes=notes).equals(
        predict(written, WRITTEN[:rows])
    )
    assert notes == []
    with pytest.raises(DataError, match="is not a date"):  # the user says that the order is training's
        predict(written, frame, asked=written.asked(dates="day=dmy"))


def test_options_for_columns_that_they_do_not_concern(written):
    with pytest.raises(ArgumentError, match="no column 'soze'"):
        written.asked(decimal="soze=comma")
    with pytest.raises(ArgumentError, match="unknown value"):
        written.asked(dates="usual")
    notes = []
    predict(written, WRITTEN, asked=written.asked("day=comma", "size=dmy"), notes=notes)
    assert len(notes) == 2
    assert "'day' holds no numbers" in notes[0] + notes[1]


def test_the_target_with_the_other_decimal_mark(numbers):
    frame = PRICES.with_columns(pl.col("close").map_elements(lambda x: f"{x + 0.25:.2f}", pl.String))
    comma = frame.with_columns(pl.Series("close", as_comma(frame["close"])))
    with pytest.raises(DataError, match="'close' seems to have a decimal comma"):
        evaluate(numbers, comma)
    measured = evaluate(numbers, comma, asked=numbers.asked(decimal="comma"))
    assert measured.estimates == evaluate(numbers, frame).estimates


def test_older_folders_do_not_know_whether_thousands_were_separated(written):
    saved = written.preprocessing.to_dict()
    assert [each.get("grouped") for each in saved["columns"]] == [None, True, None]
    del saved["grouped"]
    made = type(written.preprocessing).from_dict(saved)
    assert [each.grouped for each in made.columns[:2]] == [True, True]


# ---- evaluate --------------------------------------------------------------------------------------------------------
def test_rows_of_new_classes_count_as_wrong(classes):
    truth = ["sideways", "sideways", "gone", *PEOPLE["y"].to_list()[3:]]
    frame = PEOPLE.with_columns(pl.Series("y", truth))
    measured = evaluate(classes, frame)
    said = predict(classes, PEOPLE)
    assert measured.rows == 40
    assert measured.estimates["accuracy"].value == pytest.approx(theirs.accuracy_score(truth, said["prediction"]))
    assert measured.estimates["balanced accuracy"].value == pytest.approx(
        theirs.recall_score(truth, said["prediction"], average="macro", labels=sorted(set(truth)), zero_division=0)
    )
    p = np.column_stack([said["p(down)"], np.zeros(40), np.zeros(40), said["p(up)"]])
    labels = ["down", "gone", "sideways", "up"]
    own = -np.log(np.maximum([p[row, labels.index(word)] for row, word in enumerate(truth)], 1e-15)).mean()
    assert measured.estimates["log loss"].value == pytest.approx(own)
    assert "ROC AUC" not in measured.estimates
    assert any("3 of 40 rows have classes that were not in training" in note for note in measured.notes)
    assert any("sideways, gone" in note for note in measured.notes)
    with pytest.raises(DataError, match="not in training"):
        evaluate(classes, frame, unknown="error")


def test_words_that_differ_in_capitals_alone_are_told(classes):
    only = "only in capitals, blanks or leading zeros: if the same is meant, write"
    frame = PEOPLE.with_columns(pl.Series("y", ["Up", " DOWN", "gone", *PEOPLE["y"].to_list()[3:]]))
    notes = evaluate(classes, frame).notes
    assert f"y: 'Up', 'DOWN' differ from training's 'up', 'down' {only} them as in training" in notes
    with pytest.raises(DataError) as caught:
        evaluate(classes, PEOPLE.with_columns(pl.col("y").str.to_titlecase()))
    assert only in caught.value.fix
    frame = PEOPLE.with_columns(pl.Series("city", ["bern", "Atlantis", *PEOPLE["city"].to_list()[2:]]))
    for unknown in (None, "gap"):
        notes = []
        predict(classes, frame, notes=notes, unknown=unknown)
        assert notes[1] == f"city: 'bern' differs from training's 'Bern' {only} it as in training"


def test_numbers_where_training_had_codes_are_told():
    """A spreadsheet may keep 02 as 2."""
    model = model_of(pl.DataFrame({"x": ["01", "02", "10", "02"] * 10, "y": Y}), "y", ("down", "up"))
    predict(model, pl.DataFrame({"x": [2, 10]}), notes=(notes := []))
    assert any("'2' differs from training's '02' only in capitals, blanks or leading zeros" in note for note in notes)


def test_new_classes_alone_are_refused(classes):
    with pytest.raises(DataError, match="not in training"):
        evaluate(classes, PEOPLE.with_columns(pl.lit("else").alias("y")))


def test_words_for_numbers_in_the_target(numbers):
    frame = PRICES.with_columns(pl.Series("close", ["closed", "inf", *map(str, PRICES["close"].to_list()[2:])]))
    with pytest.raises(DataError, match="--unknown gap") as caught:
        evaluate(numbers, frame)
    assert "'closed'" in str(caught.value)
    measured = evaluate(numbers, frame, unknown="gap")
    assert measured.rows == 38
    assert measured.notes == ["2 rows are left out, where 'close' is not a finite number"]
    assert measured.estimates == evaluate(numbers, PRICES[2:]).estimates


@pytest.mark.filterwarnings("error")
def test_one_row(classes, numbers):
    assert evaluate(classes, PEOPLE.head(1)).rows == 1
    assert evaluate(numbers, PRICES.head(1)).to_dict()["metrics"]["R2"]["value"] is None


# ---- for spreadsheets ------------------------------------------------------------------------------------------------
def test_formulas_are_escaped_if_asked():
    words = ["=cmd|'/c calc'!A0", "+1 is more", "-2", "@sum", "\tx", "plain", "-1.5e3", None, "a=b"]
    frame = pl.DataFrame({"=1+1": words, "'=1+1": range(9), "p(=x)": [0.5] * 9})
    assert for_csv(frame).equals(frame)
    safe = for_csv(frame, escape_formulas=True)
    expected = ["'=cmd|'/c calc'!A0", "'+1 is more", "-2", "'@sum", "'\tx", "plain", "-1.5e3", None, "a=b"]
    assert safe.to_series(0).to_list() == expected
    assert len(set(safe.columns)) == 3
    assert safe.columns[0].startswith("'")
    assert safe.columns[2] == "p(=x)"


def test_lists_do_not_go_into_csv():
    with pytest.raises(DataError, match=r"\.jsonl"):
        for_csv(pl.DataFrame({"a": [[1, 2], [3]]}))


# ---- many columns ----------------------------------------------------------------------------------------------------
def test_work_is_in_proportion_to_the_columns(monkeypatch):
    """Counted, not timed: how often names are listed and places are made does not grow with the columns."""
    from lamp.tables.preprocessing import Preprocessing

    calls = {}

    def counted(owner, name):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            calls[name] = calls.get(name, 0) + 1
            return real.fget(*args) if isinstance(real, property) else real(*args, **kwargs)

        monkeypatch.setattr(owner, name, property(call) if isinstance(real, property) else call)

    random = np.random.default_rng(0)
    frames = [
        pl.DataFrame(random.normal(size=(20, columns)), schema=[f"g{i}" for i in range(columns)])
        for columns in (20, 200)
    ]
    fitted = [Preprocessing().fit(frame) for frame in frames]
    for name in ("places", "features", "used"):
        counted(Preprocessing, name)
    counted(pl.DataFrame, "columns")
    counts = []
    for frame, preprocessing in zip(frames, fitted, strict=True):
        calls.clear()
        assert torch.isfinite(preprocessing.transform(frame)).all()
        counts.append(dict(calls))
    assert counts[0] == counts[1]
