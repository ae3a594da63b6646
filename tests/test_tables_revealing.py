"""Which columns are said to predict the target alone."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from lamp.tables import Preprocessing, kinds
from lamp.tables.revealing import revealing
from lamp.tables.split import split
from lamp.tables.targets import decide
from tests.test_cli import in_process

ROWS = 400
DRAW = np.random.default_rng(0)
X, COUNTRY = DRAW.normal(size=ROWS), DRAW.integers(0, 6, ROWS)
YES = X + DRAW.normal(size=ROWS) > 0
NUMBER = np.exp(X) + DRAW.random(ROWS)

CLASSES = {
    "alive": np.where(YES, "alive", "dead"),
    "score": 5.0 * YES + DRAW.random(ROWS),
    "flag": YES.astype(str),
    "x": X,  # 76 %
    "often": np.where(DRAW.random(ROWS) < 0.1, ~YES, YES).astype(str),  # 90 %
    "city": [f"city {k}" for k in DRAW.integers(0, 40, ROWS)],
}
COUNTRIES = {"city": [f"{k}-{n % 5}" for n, k in enumerate(COUNTRY)], "scale": COUNTRY * 2.0 + X / 9, "x": X}
NUMBERS = {"rounded": NUMBER.round(1), "log": np.log(NUMBER), "near": NUMBER * DRAW.uniform(0.7, 1.3, ROWS), "x": X}


def told(columns, y, rows=ROWS):
    """The columns that remarks are made on."""
    frame = pl.DataFrame({**columns, "y": y})[:rows]
    target = decide(frame["y"])
    truth, made = target.encode(frame["y"]), Preprocessing().fit(frame, kinds.decide(frame, "y"))
    x, parts = made.transform(frame.drop("y")), split(rows, truth if target.is_classes else None)
    found = revealing(made.places(), x, truth, parts, target)
    assert all("--kind" in each and "is it known beforehand?" in each for each in found)
    return {each.split("'")[1] for each in found}


def test_columns_that_give_the_target_away_are_told():
    assert told(CLASSES, np.where(YES, "yes", "no")) == {"alive", "score", "flag"}
    assert told(COUNTRIES, [f"country {k}" for k in COUNTRY]) == {"city", "scale"}
    assert told(NUMBERS, NUMBER) == {"rounded", "log"}


@pytest.mark.parametrize("rows", [30, 60])
def test_a_small_table_is_no_proof(rows):
    assert told(CLASSES, np.where(YES, "yes", "no"), rows) == set()


def test_a_rare_class_is_no_proof():
    rare = np.arange(ROWS) % 50 == 0
    assert told({"x": X, "same": rare.astype(str)}, np.where(rare, "fraud", "fine")) == set()


def test_no_column_of_chance_is_told():
    """With thousands of columns and few rows, some agree with the target by chance, but not on other rows."""
    torch.manual_seed(0)
    x, labels = torch.randn(120, 5000), torch.arange(120) % 2
    target = decide(pl.Series("y", ["a", "b"] * 60))
    places = {f"x{k}": range(k, k + 1) for k in range(5000)}
    assert revealing(places, x, labels, split(120, labels), target) == []
    x[:, 4321] = labels
    assert "'x4321' alone" in revealing(places, x, labels, split(120, labels), target)[0]


def test_a_dry_run_tells_them_too(tmp_path, capsys):
    pl.DataFrame({**CLASSES, "y": np.where(YES, "yes", "no")}).write_csv(tmp_path / "t.csv")
    arguments = ("train", tmp_path / "t.csv", "--target", "y", "--dry-run")
    _, _, told = in_process(arguments, capsys)
    assert "'alive' alone predicts 'y' almost perfectly" in told
    _, document, _ = in_process((*arguments, "--json"), capsys)
    assert any("'alive' alone" in note for note in json.loads(document)["notes"])
