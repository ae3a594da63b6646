"""What is to be predicted: which task, which classes, and what cannot be a target."""

import math
from datetime import date, timedelta

import polars as pl
import pytest
import torch

from lamp.errors import ArgumentError, DataError
from lamp.tables import remarks, target_column, targets
from lamp.tables.conventions import Conventions
from lamp.tables.descriptions import of_target


def decided(values, task=None):
    return targets.decide(pl.Series("y", values), task)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["no", "yes", "no", "maybe"] * 3, "classification", ("maybe", "no", "yes")),
        ([True, False] * 3, "classification", ("false", "true")),
        ([0, 1, 2] * 5, "classification", ("0", "1", "2")),
        ([0.0, 1.0, 10.0, 2.0] * 5, "classification", ("0", "1", "2", "10")),
        (["10", "9"] * 5, "classification", ("9", "10")),
        ([0.5, 1.0] * 5, "regression", ()),
        (list(range(40)), "regression", ()),
        ([1, 2, 3, 4], "regression", ()),
        (["1,5", "2,5", "3"], "regression", ()),
    ],
)
def test_the_task_is_decided(values, task, classes):
    found = decided(values)
    assert found.task == task
    assert found.classes == classes
    assert found.outputs == (len(classes) or 1)


def test_the_task_can_be_asked_for():
    assert decided([0, 1, 2] * 5, "regression").task == "regression"
    assert decided([0.5, 1.5] * 5, "classification").classes == ("0.5", "1.5")
    with pytest.raises(DataError, match="is not a number everywhere"):
        decided(["a", "b"] * 3, "regression")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a"] * 9, "only one value"),
        ([2.5] * 9, "only one value"),
        ([f"word {k}" for k in range(30)], "too many classes"),
        ([f"word {k % 1200}" for k in range(3600)], "too many classes"),
        ([0.5, 1.5, math.inf], "infinite values"),
        ([[1], [2]], "cannot be predicted"),
    ],
)
def test_what_cannot_be_a_target(values, said):
    with pytest.raises(DataError, match=said) as caught:
        decided(values)
    assert caught.value.fix


@pytest.mark.parametrize("values", [["a", "b", "c"], ["2.5 kg", "x"]])
def test_a_few_rows_are_not_called_too_many_classes(values):
    with pytest.raises(DataError, match=f"too few rows: {len(values)}") as caught:
        decided(values)
    assert caught.value.fix == "collect more rows"


DAYS = [f"{k % 28 + 1:02d}.{k % 12 + 1:02d}.2021" for k in range(60)]
DATES, TIMES = "numbers, such as days since the first date", "numbers, such as minutes since midnight"


def test_a_target_of_dates_is_told_and_advised():
    for values, said, advice in (
        (DAYS[:6] * 9, "'01.01.2021' and the like are dates, but are predicted as classes", DATES),
        (["2021-Q1", "2021-Q2"] * 9, "'2021-Q1' and the like are dates, but are predicted as classes", DATES),
        (["08:30", "09:00"] * 9, "'08:30' and the like are times of day, but are predicted as classes", TIMES),
        ([20210100 + k % 28 + 1 for k in range(90)], "dates, but are predicted as numbers", DATES),
        ([f"{20210100 + k % 28 + 1}" for k in range(90)], "dates, but are predicted as numbers", DATES),
    ):
        why = decided(values).why
        assert said in why
        assert f"to predict when, write them as {advice}" in why
    for values in (["a", "b"] * 9, ["5", "6"] * 9, [2019, 2020] * 9, [1614782400 + k for k in range(90)], ["1", "1.5"]):
        assert not decided(values).why


@pytest.mark.parametrize("task", [None, "regression"])
@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (DAYS, DATES),
        ([f"{k // 60:02d}:{k % 60:02d}" for k in range(900)], TIMES),
        ([date(2021, 1, 1) + timedelta(k) for k in range(60)], DATES),
    ],
)
def test_dates_that_cannot_be_a_target(values, advice, task):
    with pytest.raises(DataError) as caught:
        decided(values, task)
    assert advice in caught.value.fix


def test_limits_in_a_target_are_told():
    words = ["<5", "<5", "3", "<5", "7"] * 12
    assert "36 of 60 values are limits, such as '<5', and count as words" in decided(words).why
    assert "--task regression --leave-out-odd leaves their rows out" in decided(words).why
    assert not decided(["<=50K", ">50K"] * 30).why
    many = [f"<{k / 8}" if k % 3 else f"{k / 8}" for k in range(60)]
    with pytest.raises(DataError, match="too many classes") as caught:
        decided(many)
    assert "40 of 60 values are limits, such as '<0.125'" in caught.value.fix


def test_a_target_that_is_not_there():
    frame = pl.DataFrame({"price": [1], "rooms": [2]})
    assert target_column.find(frame, "price").to_list() == [1]
    for meant in ("prize", "Price", "PRICE"):
        with pytest.raises(ArgumentError, match="did you mean --target 'price'"):
            target_column.find(frame, meant)
    with pytest.raises(ArgumentError, match="price, rooms"):
        target_column.find(frame, "zzz")
    with pytest.raises(ArgumentError, match="first line"):
        target_column.find(pl.DataFrame({"1.5": [1], "2": [2]}), "price")


def test_encoding():
    target = decided(["b", "a", "b", "a"])
    assert target.encode(pl.Series(["a", "b", "b "])).tolist() == [0, 1, 1]
    with pytest.raises(DataError, match="classes that were not in training") as caught:
        target.encode(pl.Series(["a", "c"]))
    assert "c in 1 of 2" in str(caught.value)
    number = targets.Target("y", "regression", mean=2.0, std=4.0)
    values = number.encode(pl.Series([2, 10]))
    assert values.dtype == torch.float64
    assert number.scaled(values).tolist() == [[0.0], [2.0]]


@pytest.mark.parametrize("values", [["b", "a"] * 4, [0.25, 4.5, 1.0]])
def test_to_a_dict_and_back(values):
    target = decided(values)
    assert targets.Target.from_dict(target.to_dict()) == target


@pytest.mark.parametrize(
    ("classes", "said"), [("abcd", "4 classes (a, b, c, d)"), ("abcdef", "6 classes (a, b, c, d, e, ...)")]
)
def test_the_classes_are_named(classes, said):
    assert of_target(decided([*classes] * 3)) == f"classification of y: {said}"


def test_where_a_target_is_missing():
    for values in (["a", "NA", ""], [1.0, None, float("nan")], [True, None, None]):
        assert targets.there(pl.Series(values)).to_list() == [True, False, False]


def test_errors_of_a_spreadsheet_are_no_classes():
    column = pl.Series("y", ["in", "out", "#REF!"] * 12)
    missing = targets.missing_words(column, Conventions())
    assert targets.there(column, missing).to_list() == [True, True, False] * 12
    assert remarks.of_target_words(column, missing, Conventions()) == [
        "'y' is '#REF!' in 12 rows, which count as missing; --missing y=none takes them for values"
    ]
    numbers = pl.Series("y", ["1.5", "2.5", "#REF!"] * 12)
    assert targets.there(numbers, targets.missing_words(numbers, Conventions())).all(), "an odd word, which is refused"
