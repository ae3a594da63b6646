"""Predicting with a trained model: kept columns, values and classes that training did not have."""

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
    assert notes[0].startswith(f"{name}: {len(ODD[name])} of 40 values are unknown and count as missing: ")
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
    assert "1 numbers too far" in notes[0]


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
    only = "only in capitals or blanks differ"
    frame = PEOPLE.with_columns(pl.Series("y", ["Up", " DOWN", "gone", *PEOPLE["y"].to_list()[3:]]))
    assert f"y: {only} 'Up' from 'up', 'DOWN' from 'down': if they mean the same" in " ".join(
        evaluate(classes, frame).notes
    )
    with pytest.raises(DataError) as caught:
        evaluate(classes, PEOPLE.with_columns(pl.col("y").str.to_titlecase()))
    assert only in caught.value.fix
    frame = PEOPLE.with_columns(pl.Series("city", ["bern", "Atlantis", *PEOPLE["city"].to_list()[2:]]))
    for unknown in (None, "gap"):
        notes = []
        predict(classes, frame, notes=notes, unknown=unknown)
        assert notes[1] == f"city: {only} 'bern' from 'Bern': if they mean the same, write them as training had them"


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
