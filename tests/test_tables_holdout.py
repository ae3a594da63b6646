"""The user's own split: a test file, groups, time, no test."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from lamp.errors import ArgumentError, DataError
from lamp.tables.holdout import HoldOut
from lamp.tables.member_rows import MemberRows
from lamp.tables.planning import Request, plan_training
from lamp.tables.split import dealt, folds
from lamp.tables.train import train, write

ROWS = 240


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table and another one with new rows."""
    place, draw = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    x, patient = draw.normal(size=ROWS), draw.integers(0, 30, ROWS)
    day = np.datetime64("2020-01-01") + draw.integers(0, 60, ROWS)  # several rows per day, in no order
    frame = pl.DataFrame(
        {
            "patient": [f"p{k:02d}" for k in patient],
            "day": day.astype(str),
            "year": 1980 + draw.permutation(ROWS) // 8,
            "x": x,
            "half": ["first" if k < ROWS // 2 else "second" for k in range(ROWS)],
            "most": ["a"] * (ROWS - 40) + ["b"] * 20 + ["c"] * 20,
            "y": np.where(x + draw.normal(size=ROWS) > 0, "ill", "well"),
            "z": 3 * x + 10,
        }
    )
    frame.write_csv(place / "table.csv")
    frame[:30].with_columns(x=pl.col("x") + 1, z=pl.col("z") + 5).write_csv(place / "june.csv")
    return place


def planned(place, target="y", **held_out):
    return plan_training(Request(place / "table.csv", target, held_out=HoldOut(**held_out), members=8, seconds=1.0))


def parts_of(plan, column):
    """The values of a column in each part."""
    return [set(plan.frame[column].gather(part.numpy())) for part in vars(plan.split).values()]


# ---- groups ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_groups_are_dealt_whole_and_in_proportion(seed):
    draw = torch.Generator().manual_seed(seed)
    groups = (torch.rand(2000, generator=draw) ** 2 * 80).long()  # some are much larger than others
    labels = (torch.rand(2000, generator=draw) < 0.1 + 0.4 * (groups % 3 == 0)).long()
    shares = [0.64, 0.16, 0.2]
    part = dealt(groups, labels, shares, seed=seed)
    assert all(len(part[groups == g].unique()) == 1 for g in groups.unique())
    for k, share in enumerate(shares):
        assert (part == k).sum().item() == pytest.approx(2000 * share, abs=40)
        assert labels[part == k].float().mean().item() == pytest.approx(labels.float().mean().item(), abs=0.06)
    assert (dealt(groups, labels, shares, seed=seed) == part).all()


def test_every_part_gets_a_group():
    for sizes in ([5, 5, 5], [90, 5, 5], [1, 1, 1, 97]):
        groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        assert set(dealt(groups, None, [0.64, 0.16, 0.2]).tolist()) == {0, 1, 2}


def test_folds_of_groups():
    groups = torch.arange(300) % 37 + 4
    outside, inside = folds(300, torch.arange(300) % 3, 5, groups=groups)
    for others, held in zip(outside, inside, strict=True):
        assert not set(groups[others].tolist()) & set(groups[held].tolist())
        assert len(held) >= 48
        assert len(others) >= 230
    of_folds = [set(groups[held].tolist()) for held in inside]
    assert sum(map(len, of_folds)) == len(set().union(*of_folds))
    assert folds(300, None, 5, groups=torch.arange(300) // 250) is None  # fewer groups than folds
    assert folds(300, None, 3, groups=torch.cat([torch.zeros(200).long(), torch.arange(100)])) is None


def test_a_group_stands_in_one_part(place):
    plan = planned(place, groups="patient")
    training, validation, test = parts_of(plan, "patient")
    assert not (training | validation) & test
    assert not training & validation
    assert [len(part) for part in vars(plan.split).values()] == pytest.approx([154, 38, 48], abs=6)
    assert plan.decisions[0].kind == "left out"
    assert "--kind patient=category" in plan.decisions[0].why
    assert any("30 groups, each in one part" in note for note in plan.notes)
    asked = Request(place / "table.csv", "y", kinds={"patient": "category"}, held_out=HoldOut(groups=" patient"))
    assert plan_training(asked).decisions[0].kind == "category"
    words = plan.frame["patient"].gather(plan.known.numpy()).to_list()
    in_search = plan.groups[plan.known].tolist()
    assert len(set(zip(words, in_search, strict=True))) == len(set(words))


def test_no_member_trains_on_a_group_that_it_holds_out():
    groups = torch.arange(120) % 24
    data = torch.arange(120.0).unsqueeze(1), torch.arange(120) % 2
    known, choosing = (data[0][:90], data[1][:90]), (data[0][90:], data[1][90:])
    dealt_out = MemberRows.of(known, choosing, 9, 32, seed=0, groups=groups)
    for others, held in zip(dealt_out.training.indices, dealt_out.rows, strict=True):
        assert not set(groups[others].tolist()) & set(groups[held].tolist())
    assert MemberRows.of(known, choosing, 9, 32, seed=0, folded=False).rows is None


# ---- time ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("column", "said"), [("day", "validation from 2020-0"), ("year", "validation from 19")])
def test_the_last_rows_are_the_test_rows(place, column, said):
    plan = planned(place, time_column=column)
    training, validation, test = parts_of(plan, column)
    assert max(training) < min(validation)
    assert max(validation) < min(test)
    assert [len(part) for part in vars(plan.split).values()] == pytest.approx([154, 38, 48], abs=8)
    assert plan.folded is False
    assert any(said in note for note in plan.notes)
    training, validation, test = parts_of(planned(place, time_column=column, no_test=True), column)
    assert (max(training) < min(validation), test) == (True, set())


def test_rows_without_a_time_are_for_training(place, tmp_path):
    frame = pl.read_csv(place / "table.csv").with_columns(day=pl.when(pl.col("year") > 1982).then("day"))
    frame.write_csv(tmp_path / "table.csv")
    plan = planned(tmp_path, time_column="day")
    gaps = set(frame["day"].is_null().arg_true())
    assert gaps <= set(plan.split.training.tolist())
    assert any(f"{len(gaps)} rows without a time" in note for note in plan.notes)


# ---- another file ----------------------------------------------------------------------------------------------------
def test_the_rows_of_another_file_are_the_test_rows(place, tmp_path):
    other = pl.read_csv(place / "june.csv").with_columns(y=pl.when(pl.int_range(30) > 2).then("y"))
    other.select(pl.exclude("half")).with_columns(new=1, half=pl.lit("first")).write_csv(tmp_path / "june.csv")
    plan = planned(place, test=tmp_path / "june.csv")
    assert [len(part) for part in vars(plan.split).values()] == [192, 48, 27]
    assert plan.rows[plan.split.test].tolist() == list(range(3, 30))
    assert [plan.target.classes[k] for k in plan.truth[plan.split.test]] == other["y"][3:].to_list()
    x = plan.inputs([])[plan.split.test]
    assert (x == plan.preprocessing.transform(other[3:].drop("y").cast(pl.String))).all()
    assert any("3 rows without a value of 'y'" in note for note in plan.notes)
    assert any("columns that training did not have are not used: new" in note for note in plan.notes)
    assert not any("too good" in note for note in plan.notes)
    same = planned(place, test=place / "table.csv", groups="patient")
    assert any("240 of 240 rows are in the table too" in note for note in same.notes)
    assert any("30 of" in note and "groups are in the table too" in note for note in same.notes)


# ---- no test ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["y", "z"])
def test_without_a_test_the_scores_are_those_of_held_out_rows(place, tmp_path, target):
    torch.manual_seed(0)
    plan, said = planned(place, target, no_test=True), []
    outcome = train(plan, progress=False, tell=said.append)
    found = outcome.found
    assert len(plan.known) == ROWS
    assert len(outcome.truth) == len(found.targets) == ROWS  # in small tables each row is held out by some
    if target == "y":
        expected = found.targets
    else:
        expected = found.targets[:, 0].double() * plan.target.std + plan.target.mean
        assert outcome.truth.sort().values.numpy() == pytest.approx(np.sort(plan.frame["z"].cast(pl.Float64)), rel=1e-5)
    assert torch.equal(outcome.truth, expected)
    assert outcome.peers == []
    assert any("scikit-learn's models are not trained" in line for line in said)
    assert any("no row is kept for a test" in note for note in plan.notes)
    write(outcome, tmp_path / "m", {})
    assert not (tmp_path / "m" / "test.csv").exists()
    metrics, config = (json.loads((tmp_path / "m" / f"{name}.json").read_text()) for name in ("metrics", "config"))
    assert (metrics["measured_on"], metrics["rows"]) == ("validation", ROWS)
    assert config["held_out"] == {"no_test": True}


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("held_out", "error", "said"),
    [
        ({"groups": "patients"}, ArgumentError, "did you mean 'patient'"),
        ({"time_column": "days"}, ArgumentError, "did you mean 'day'"),
        ({"groups": "y"}, ArgumentError, "this is the target"),
        ({"groups": "half"}, DataError, "2 groups, the largest, 'first', with 120 of 240 rows"),
        ({"groups": "most"}, DataError, "3 groups, the largest, 'a', with 200 of 240 rows"),
        ({"time_column": "patient"}, DataError, ", ... among 240 values"),
        ({"time_column": "half"}, DataError, "cannot be put in order of time"),
        ({"test": "june.csv", "no_test": True}, ArgumentError, "--test and --no-test exclude each other"),
        ({"groups": "patient", "time_column": "day"}, ArgumentError, "--groups and --time-column exclude each other"),
    ],
)
def test_what_cannot_be_held_out(place, held_out, error, said):
    with pytest.raises(error) as caught:
        planned(place, **held_out)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop("x"), "lacks a column"),
        (lambda frame: frame.drop("y"), "no column 'y' to predict"),
        (lambda frame: frame.head(5), "too few rows"),
        (lambda frame: frame.with_columns(y=pl.lit("dead")), "classes that were not in training"),
    ],
)
def test_a_test_file_that_does_not_fit(place, tmp_path, change, said):
    change(pl.read_csv(place / "june.csv")).write_csv(tmp_path / "june.csv")
    with pytest.raises((ArgumentError, DataError), match=said):
        planned(place, test=tmp_path / "june.csv")


def test_a_part_with_one_class(place, tmp_path):
    frame = pl.read_csv(place / "table.csv").sort("year")
    frame.with_columns(y=pl.when(pl.int_range(ROWS) < 180).then("y").otherwise(pl.lit("ill"))).write_csv(
        tmp_path / "table.csv"
    )
    with pytest.raises(DataError, match="the test rows hold only one class of 'y'") as caught:
        planned(tmp_path, time_column="year")
    assert "another column than 'year'" in caught.value.fix
