"""The commands for tables: train, predict, evaluate, inspect, export, and what they refuse."""

import errno
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from html import escape
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn import datasets, metrics

from lamp.tables.metrics import Estimate
from lamp.tables.planning import Request, plan_training
from lamp.tables.targets import Target
from lamp.tables.train import Outcome, check_room, train
from tests.test_cli import in_process

ROWS = 240


@pytest.fixture
def call(capsys):
    """Exit code, stdout and stderr of a command."""
    return lambda *arguments: in_process(arguments, capsys)


def customers(rows=ROWS, seed=0):
    """A table with every kind of column."""
    random = np.random.default_rng(seed)
    age, city = random.normal(45, 12, rows), random.choice(["Bern", "Oslo", "Rome"], rows)
    day, member = random.integers(0, 1400, rows), random.random(rows) < 0.5
    score = 0.1 * (age - 45) + np.where(city == "Oslo", 2.0, -1.0) + member
    when = [str(np.datetime64("2020-01-01") + int(d)) for d in day]
    frame = pl.DataFrame(
        {
            "customer_id": np.arange(1000, 1000 + rows),
            "age": age.round(1),
            "city": city,
            "member": np.where(member, "yes", "no"),
            "first visit": when,
            "comment": [f"text {k}" for k in range(rows)],
            "country": ["EU"] * rows,
            "fax": pl.Series([None] * rows, dtype=pl.String),
            "outcome": np.where(score > 0, "stays", "goes"),
        }
    )
    gaps = pl.Series(random.random(rows) < 0.1)
    columns = [pl.when(gaps).then(None).otherwise(pl.col(name)).alias(name) for name in ("age", "first visit")]
    return frame.with_columns(columns)


TRAIN = ("--time-budget", 1, "--members", 8)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with two tables and what was trained on them."""
    from lamp.cli import main

    place = tmp_path_factory.mktemp("tables")
    customers().write_csv(place / "customers.csv")
    data = datasets.load_diabetes(scaled=False)
    frame = pl.DataFrame(data.data, schema=list(data.feature_names)).with_columns(pl.Series("progress", data.target))
    frame.write_parquet(place / "diabetes.parquet")
    torch.manual_seed(0)
    for table, target, folder in (("customers.csv", "outcome", "classes"), ("diabetes.parquet", "progress", "numbers")):
        options = [
            "train",
            place / table,
            "--target",
            target,
            "--out",
            place / folder,
            *TRAIN,
            "--no-peers",
            "-q",
            "--json",
        ]
        with pytest.raises(SystemExit) as ended:
            main(args=[str(each) for each in options], prog_name="lamp")
        assert not ended.value.code
    return place


# ---- train -----------------------------------------------------------------------------------------------------------
def test_train_prints_a_table_beside_scikit_learn(tmp_path, call):
    data = datasets.load_breast_cancer()
    frame = pl.DataFrame(data.data, schema=list(data.feature_names)).with_columns(pl.Series("kind", data.target))
    frame.write_csv(tmp_path / "cancer.csv")
    code, out, err = call("train", tmp_path / "cancer.csv", "--target", "kind", "--out", tmp_path / "new" / "m", *TRAIN)
    assert code == 0
    for said in ("113 test rows", "accuracy", "lamp ensemble", "linear model", "MLP", "gradient", "most important"):
        assert said in out
    for said in (
        "verdict",
        "Better than guessing: log loss",
        "a linear model",
        f"lamp predict {tmp_path / 'new' / 'm'} NEW.csv",
    ):
        assert said in out
    for said in ("classification of kind", "columns: 30 number", "sweep:", "ensemble:", "epoch"):
        assert said in err
    assert max(map(len, out.splitlines()[:15])) <= 80
    report = json.loads((tmp_path / "new" / "m" / "metrics.json").read_text())
    assert report["models"]["lamp ensemble"]["accuracy"]["value"] > 0.9
    assert len(report["models"]) == 4
    compared = {each["with"]: each for each in report["verdict"]["comparisons"]}
    assert list(compared) == ["guessing", "linear model", "MLP", "gradient boosting"]
    of = {name: each["log loss"]["value"] for name, each in report["models"].items()}
    advantage = of["linear model"] - of["lamp ensemble"]
    assert compared["linear model"]["advantage"]["value"] == pytest.approx(advantage)
    page = (tmp_path / "new" / "m" / "report.html").read_text()
    assert all(escape(line) in page for line in report["verdict"]["sentences"])
    assert page.count("data:image/png;base64,") == 4
    assert "report.html" in json.loads((tmp_path / "new" / "m" / "manifest.json").read_text())["files"]


def test_the_folder(places):
    expected = {
        "preprocessing.json", "architecture.json", "model.safetensors", "metrics.json", "config.json", "history.json",
        "sweep.csv", "test.csv", "curves.png", "importance.png", "manifest.json", "report.html",
    }  # fmt: skip
    assert set(os.listdir(places / "classes")) == expected | {"calibration.png", "confusion.png"}
    assert set(os.listdir(places / "numbers")) == expected | {"residuals.png"}
    for folder in ("classes", "numbers"):
        for path in (places / folder).iterdir():
            if path.suffix == ".png":
                assert path.read_bytes().startswith(b"\x89PNG")
            elif path.suffix == ".json":
                json.loads(path.read_text())
    config = json.loads((places / "classes" / "config.json").read_text())
    assert config["rows"] == ROWS == config["training"] + config["validation"] + config["test"]
    assert {each["name"]: each["kind"] for each in config["columns"]} == {
        "customer_id": "left out", "age": "number", "city": "category", "member": "boolean", "first visit": "date",
        "comment": "left out", "country": "left out", "fax": "left out",
    }  # fmt: skip


def test_the_metrics_are_those_of_the_test_rows(places, call):
    """metrics.json agrees with what scikit-learn computes from test.csv."""
    told = json.loads((places / "classes" / "metrics.json").read_text())["models"]["lamp ensemble"]
    test = pl.read_csv(places / "classes" / "test.csv")
    table = pl.read_csv(places / "customers.csv")
    assert (table["outcome"].gather(test["row"] - 1) == test["true"]).all()
    assert told["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(test["true"], test["prediction"]))
    p = test.select("p(goes)", "p(stays)").to_numpy()
    assert told["log loss"]["value"] == pytest.approx(metrics.log_loss(test["true"], p))
    assert told["ROC AUC"]["value"] == pytest.approx(metrics.roc_auc_score(test["true"] == "stays", p[:, 1]))
    told = json.loads((places / "numbers" / "metrics.json").read_text())["models"]["lamp ensemble"]
    test = pl.read_csv(places / "numbers" / "test.csv")
    assert told["R2"]["value"] == pytest.approx(metrics.r2_score(test["true"], test["prediction"]))
    inside = (test["true"] >= test["low"]) & (test["true"] <= test["high"])
    assert told["coverage"]["value"] == pytest.approx(inside.mean())


@pytest.mark.parametrize(("folder", "table"), [("classes", "customers.csv"), ("numbers", "diabetes.parquet")])
def test_predict_gives_the_numbers_of_training(places, call, tmp_path, folder, table):
    code, _, _ = call("predict", places / folder, places / table, "--out", tmp_path / "p.parquet")
    assert code == 0
    predicted, test = pl.read_parquet(tmp_path / "p.parquet"), pl.read_csv(places / folder / "test.csv")
    for name in predicted.columns:
        again, then = predicted[name].gather(test["row"] - 1), test[name]
        if then.dtype == pl.String:
            assert (again == then).all()
        else:
            assert again.to_numpy() == pytest.approx(then.to_numpy(), rel=1e-4, abs=1e-5)


def test_no_row_of_the_test_is_looked_at(places, monkeypatch):
    """Neither the search nor the preprocessing gets test rows."""
    seen = []

    class Enough(Exception):
        pass

    def search(training, validation, *_, **__):
        seen.extend([training, validation])
        raise Enough

    monkeypatch.setattr("lamp.tables.train.search", search)
    plan = plan_training(Request(places / "diabetes.parquet", "progress"))
    with pytest.raises(Enough):
        train(plan)
    everything = plan.preprocessing.transform(plan.frame.drop("progress"))
    for (inputs, targets), rows in zip(seen, (plan.split.training, plan.split.validation), strict=True):
        assert (inputs == everything[rows]).all()
        own = plan.frame["progress"].gather(rows.numpy()).to_numpy()
        known = plan.frame["progress"].gather(plan.split.training.numpy()).to_numpy()
        assert targets[:, 0].numpy() == pytest.approx((own - known.mean()) / known.std(), rel=1e-5, abs=1e-6)
    assert everything[plan.split.training].mean(0).abs().max() < 1e-4
    assert everything[plan.split.test].mean(0).abs().max() > 1e-3


def test_one_seed_one_result(call, tmp_path):
    customers(60).write_csv(tmp_path / "few.csv")
    results = []
    for k in range(2):
        arguments = ["train", tmp_path / "few.csv", "--target", "outcome", "--out", tmp_path / str(k), "--seed", 3]
        code, out, err = call(*arguments, "--time-budget", 60, "--members", 1, "--no-peers", "-q", "--json")
        assert (code, err) == (0, "")
        results.append(json.loads(out)["models"])
    assert results[0] == results[1]


def test_dry_run_trains_and_writes_nothing(places, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call("train", places / "customers.csv", "--target", "outcome", "--dry-run")
    assert code == 0
    for said in ("classification of outcome", "240 rows", "constant: EU", "category", "first visit"):
        assert said in out
    code, out, err = call(
        "train", places / "customers.csv", "--target", "age", "--dry-run", "--json", "--kind", "city=drop"
    )
    told = json.loads(out)
    assert (code, told["target"]["task"]) == (0, "regression")
    assert told["columns"][1] == {"name": "city", "kind": "left out", "why": "asked for"}
    assert "without a value of 'age'" in err or "without a value of 'age'" in told["notes"][0]
    assert not os.listdir(tmp_path)


def test_no_better_than_guessing_exits_with_1(places, call, tmp_path, monkeypatch):
    monkeypatch.setattr("lamp.tables.train.Outcome.falls_short", True)
    arguments = ["train", places / "customers.csv", "--target", "outcome", "--out", tmp_path / "m"]
    code, _, err = call(*arguments, *TRAIN, "--no-peers", "-q")
    assert code == 1
    assert "no better than guessing" in err
    assert (tmp_path / "m" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("classes", "metric", "value", "guessing", "short"),
    [
        (("a", "b"), "log loss", 0.6, 0.69, False),
        (("a", "b"), "log loss", 0.7, 0.69, True),
        ((), "R2", 0.1, 0.0, False),
        ((), "R2", -0.1, 0.0, True),
    ],
)
def test_what_falls_short(classes, metric, value, guessing, short):
    target = Target("y", "classification" if classes else "regression", classes)
    outcome = SimpleNamespace(
        plan=SimpleNamespace(target=target), estimates={metric: Estimate(value)}, guessing=guessing
    )
    assert Outcome.falls_short.fget(outcome) == short  # type: ignore[attr-defined]


def test_ctrl_c_exits_with_130_and_leaves_nothing(python, places, tmp_path):
    command = [*python, "-m", "lamp", "train", str(places / "customers.csv"), "--target", "outcome", "--out"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "m")], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if line.startswith("sweep:"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert out == ""
    assert not os.listdir(tmp_path)


# ---- predict, evaluate, inspect --------------------------------------------------------------------------------------
def test_predict_on_stdout(places, call):
    code, out, err = call("predict", places / "classes", places / "customers.csv", "--keep", "customer_id")
    assert (code, err) == (0, "")
    frame = pl.read_csv(out.encode())
    assert frame.columns == ["customer_id", "prediction", "p(goes)", "p(stays)", "spread"]
    assert frame["customer_id"].to_list() == list(range(1000, 1000 + ROWS))
    assert (frame["p(goes)"] + frame["p(stays)"]).to_numpy() == pytest.approx(1)
    assert ((frame["prediction"] == "goes") == (frame["p(goes)"] > 0.5)).all()
    code, out, err = call("predict", places / "numbers", places / "diabetes.parquet", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 442
    assert all(line["low"] < line["prediction"] < line["high"] for line in lines)


def test_predictions_go_where_a_link_leads(places, call, tmp_path):
    (tmp_path / "there.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("there.csv")
    code, _, _ = call("predict", places / "numbers", places / "diabetes.parquet", "--out", tmp_path / "link.csv")
    assert (code, (tmp_path / "link.csv").is_symlink()) == (0, True)
    assert len(pl.read_csv(tmp_path / "there.csv")) == 442


def test_kept_columns_stay_as_they_are_written(places, call, tmp_path):
    frame = customers(20, 9).with_columns(zip=pl.Series([f"{k:05d}" for k in range(20)]), fee=pl.lit("1.50"))
    frame.write_csv(tmp_path / "new.csv")
    keep = ("--keep", "zip", "--keep", "fee", "--keep", "customer_id", "-q")
    code, out, _ = call("predict", places / "classes", tmp_path / "new.csv", *keep)
    assert code == 0
    assert out.splitlines()[2].startswith("00001,1.50,1001,")
    code, out, _ = call("predict", places / "classes", tmp_path / "new.csv", *keep, "--json")
    first = json.loads(out.splitlines()[1])
    assert (first["zip"], first["fee"], first["customer_id"]) == ("00001", 1.5, 1001)


def test_predict_on_other_tables(places, call, tmp_path):
    frame = (
        customers(20, 9)
        .drop("outcome", "comment", "fax")
        .with_columns(pl.lit("Atlantis").alias("city"), pl.lit(1).alias("new"))
    )
    frame.write_csv(tmp_path / "new.csv")
    code, out, err = call("predict", places / "classes", tmp_path / "new.csv")
    assert (code, len(out.splitlines())) == (0, 21)
    assert "'Atlantis'" in err
    assert "columns that training did not have are not used: new" in err
    assert call("predict", places / "classes", tmp_path / "new.csv", "-q")[2] == ""
    frame.rename({"age": "Age"}).write_csv(tmp_path / "renamed.csv")
    code, out, err = call("predict", places / "classes", tmp_path / "renamed.csv")
    assert (code, out) == (2, "")
    assert "rename 'Age' to 'age'" in err
    frame.with_columns(pl.lit("old").alias("age")).write_csv(tmp_path / "words.csv")
    code, out, err = call("predict", places / "classes", tmp_path / "words.csv")
    assert (code, out) == (2, "")
    assert "'old' in row 1 is not a number" in err
    code, out, err = call("predict", places / "classes", tmp_path / "new.csv", "--keep", "customerid")
    assert code == 2
    assert "did you mean 'customer_id'" in err


def test_evaluate(places, call, tmp_path):
    frame = customers(90, 5)
    frame.write_csv(tmp_path / "other.csv")
    code, out, err = call("evaluate", places / "classes", tmp_path / "other.csv", "--json")
    told = json.loads(out)
    predicted = pl.read_csv(call("predict", places / "classes", tmp_path / "other.csv")[1].encode())
    assert code == 0
    assert told["rows"] == 90
    assert told["metrics"]["accuracy"]["value"] == pytest.approx(
        metrics.accuracy_score(frame["outcome"], predicted["prediction"])
    )
    code, out, err = call("evaluate", places / "classes", tmp_path / "other.csv")
    assert "90 rows, outcome" in out
    frame.with_columns(pl.when(pl.col("age") > 50).then(None).otherwise(pl.col("outcome")).alias("outcome")).write_csv(
        tmp_path / "gaps.csv"
    )
    code, out, err = call("evaluate", places / "classes", tmp_path / "gaps.csv")
    assert code == 0
    assert "are left out" in err
    frame.drop("outcome").write_csv(tmp_path / "without.csv")
    code, out, err = call("evaluate", places / "classes", tmp_path / "without.csv")
    assert (code, out) == (2, "")
    frame.with_columns(pl.lit("returns").alias("outcome")).write_csv(tmp_path / "unknown.csv")
    code, out, err = call("evaluate", places / "classes", tmp_path / "unknown.csv")
    assert code == 2
    assert "classes that were not in training" in err


def test_inspect(places, call):
    code, out, err = call("inspect", places / "classes")
    assert (code, err) == (0, "")
    for said in ("classification of outcome", "8 networks of", "category", "'Oslo'", "constant: EU", "accuracy"):
        assert said in out
    told = json.loads(call("inspect", places / "numbers", "--json")[1])
    assert told["architecture"]["target"]["task"] == "regression"
    assert len(told["preprocessing"]["columns"]) == 10


# ---- export ----------------------------------------------------------------------------------------------------------
def inputs_by_recipe(recipe, frame):
    """The inputs of an exported network of numbers alone, as its recipe says."""
    columns = [frame[each["column"]].to_numpy() for each in recipe["inputs"]]
    assert all(each["value"].startswith("the number") for each in recipe["inputs"])
    return np.stack(columns, 1).astype(np.float32)


@pytest.mark.parametrize("kind", ["onnx", "python", "torch", "safetensors"])
def test_export_computes_the_same(places, call, tmp_path, monkeypatch, kind):
    ending = {"onnx": ".onnx", "safetensors": ".safetensors"}.get(kind, ".py")
    path = tmp_path / f"exported{ending}"
    code, out, err = call("export", places / "numbers", "--to", kind, "--out", path)
    assert code == 0
    assert str(path) in out.splitlines()
    recipe = json.loads((tmp_path / f"{path.name}.inputs.json").read_text())
    frame = pl.read_parquet(places / "diabetes.parquet")
    call("predict", places / "numbers", places / "diabetes.parquet", "--out", tmp_path / "p.csv")
    predicted = pl.read_csv(tmp_path / "p.csv")
    expected = predicted["prediction"].to_numpy()
    of = recipe["outputs"]["intervals"]
    low = np.clip(expected - np.interp(expected, of["at"], of["below"]), of["lowest"], of["highest"])
    assert low == pytest.approx(predicted["low"].to_numpy())
    if kind == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        columns = [each["column"] for each in recipe["columns"]]
        (got,) = session.run(None, {name: frame[name].cast(pl.Float64).to_numpy()[:, None] for name in columns})
    elif kind == "python":
        got = runpy.run_path(str(path))["predict"](frame)
    elif kind == "torch":
        x = torch.from_numpy(inputs_by_recipe(recipe, frame))
        with torch.no_grad():
            got = runpy.run_path(str(path))["load"]()(x).numpy()
    else:
        from safetensors.torch import load_file

        weights, x = load_file(path), inputs_by_recipe(recipe, frame)
        z = (x - [each["mean"] for each in recipe["inputs"]]) / [each["scale"] for each in recipe["inputs"]]
        z = torch.from_numpy(z).float()
        standardised = torch.zeros(len(z), 1)
        for group in recipe["groups"]:
            given, (first, last) = z, group["members"]
            for column, edges in zip(z.T, group["edges"] or [], strict=False):
                for lower, upper in itertools.pairwise(edges):
                    given = torch.cat([given, ((column - lower) / (upper - lower)).clamp(0, 1)[:, None]], 1)
            for k in range(first, last + 1):
                y = given
                own = [name.split(".")[1] for name in weights if name.startswith(f"{k}.") and name.endswith("weight")]
                for layer in sorted(own, key=int):
                    y = y @ weights[f"{k}.{layer}.weight"].T + weights[f"{k}.{layer}.bias"]
                    y = y if layer == max(own, key=int) else y.relu()
                standardised += y * group["weight"] / (last + 1 - first)
        factor, _, shift = recipe["then"].partition(";")[0].partition(" times ")[2].partition(" plus ")
        got = standardised.numpy() * float(factor) + float(shift)
    assert np.asarray(got).ravel() == pytest.approx(expected, rel=1e-4)
    code, out, err = call("export", places / "numbers", "--to", kind, "--out", path)
    assert code == 2
    assert "--force" in err
    assert call("export", places / "numbers", "--to", kind, "--out", path, "--force")[0] == 0


def test_export_of_classes(places, call, tmp_path):
    """The probabilities include the temperature. The recipe says how the caller encodes words and gaps."""
    _, out, _ = call("export", places / "classes", "--to", "torch", "--out", tmp_path / "m.py", "--json")
    assert len(json.loads(out)["files"]) == 3
    recipe = json.loads((tmp_path / "m.py.inputs.json").read_text())
    assert recipe["outputs"]["classes"] == ["goes", "stays"]
    frame = customers(30, 3).drop_nulls("age").drop_nulls("first visit")
    day = frame["first visit"].str.to_date()
    turns = {"year": day.dt.ordinal_day() / 365.25, "month": day.dt.day() / 31, "week": day.dt.weekday() / 7}
    columns = []
    for each in recipe["inputs"]:
        name, how = each["feature"], each["value"]
        column = frame[each["column"]]
        if how.startswith("the number"):
            columns.append(column.to_numpy())
        elif how.startswith("days since 1970"):
            columns.append((day - pl.Series(["1970-01-01"]).str.to_date()[0]).dt.total_days().to_numpy())
        elif "2 pi" in how:
            spoken = {
                "year": "day of the year / 365.25",
                "month": "day of the month / 31",
                "week": "weekday, Monday 1, / 7",
            }
            assert f"({spoken[name.split()[-1]]})" in how
            turn = 2 * np.pi * turns[name.split()[-1]].to_numpy()
            columns.append(np.sin(turn) if how.startswith("sin") else np.cos(turn))
        elif "1 for yes" in how:
            columns.append((column == "yes").to_numpy())
        elif name.endswith("is missing"):
            columns.append(np.zeros(len(frame)))
        else:
            columns.append((column == name.partition(" = ")[2]).to_numpy())
    x = np.stack([np.asarray(column, dtype=np.float32) for column in columns], 1)
    with torch.no_grad():
        got = runpy.run_path(str(tmp_path / "m.py"))["load"]()(torch.from_numpy(x)).numpy()
    frame.write_csv(tmp_path / "t.csv")
    expected = pl.read_csv(call("predict", places / "classes", tmp_path / "t.csv")[1].encode())
    assert got == pytest.approx(expected.select("p(goes)", "p(stays)").to_numpy(), abs=1e-4)


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a,b\n" + "1,2\n3,4\n" * 9, ["--target", "c"], "no column 'c' to predict"),
        ("amount,b\n" + "1,2\n3,4\n" * 9, ["--target", "amuont"], "did you mean --target 'amount'"),
        ("a,b\n" + "1,x\n2,x\n" * 9, ["--target", "b"], "only one value"),
        ("a,b\n1,2\n", ["--target", "a"], "only one value"),
        ("a,b\n" + "1,2\n3,4\n" * 2, ["--target", "a"], "too few rows: 4"),
        ("a,b\n", ["--target", "a"], "the table is empty"),
        ("", ["--target", "a"], "the table is empty"),
        ("a;b\n" + "1;2\n3;4\n" * 9, ["--target", "a", "--separator", ","], '--separator ";"'),
        ("a,b\n" + "1,2\n3,4,5\n" * 9, ["--target", "a"], "line 3: more values (3)"),
        ("a,b\n" + ",2\n,4\n" * 9, ["--target", "a"], "missing in every row"),
        ("a,b\n" + "1,\n2,\n" * 9, ["--target", "a"], "no column is left"),
        ("a,b\n" + "1,2\n2,inf\n" * 9, ["--target", "a"], "infinite values"),
        ("a,b\n" + "1,2\ninf,3\n" * 9 + "0.5,1\n", ["--target", "a"], "infinite values"),
        ("a,b\n" + "x,2\ny,3\n" * 9, ["--target", "a", "--task", "regression"], "is not a number everywhere"),
        ("a,b\n" + "x,2\n" * 20 + "y,3\n", ["--target", "a"], "but one have too few rows"),
        ("a,b\n" + "x,2\ny,3\n" * 9, ["--target", "a", "--kind", "b"], "NAME=KIND"),
        ("a,b\n" + "x,2\ny,3\n" * 9, ["--target", "a", "--kind", "b=soup"], "unknown kind"),
    ],
)
def test_bad_tables(tmp_path, call, content, options, said):
    path = tmp_path / "table.csv"
    path.write_text(content)
    code, out, err = call("train", path, "--out", tmp_path / "m", *options)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_file_that_is_missing(tmp_path, call):
    for command in (["train", tmp_path / "no.csv", "--target", "y"], ["train", tmp_path / "no.csv"]):
        code, out, err = call(*command, "--out", tmp_path / "m")
        assert (code, out) == (2, "")
        assert "no such file" in err or "--target" in err


def test_a_folder_that_is_there_is_kept(places, call, tmp_path):
    shutil.copytree(places / "classes", tmp_path / "m")
    train = ["train", places / "customers.csv", "--target", "outcome", *TRAIN, "--no-peers", "-q", "--json"]
    code, _, err = call(*train, "--out", tmp_path / "m")
    assert code == 2
    assert "--force" in err
    before = (tmp_path / "m" / "config.json").read_text()
    code, _, _ = call(*train, "--out", tmp_path / "m", "--force", "--seed", 3)
    assert code == 0
    assert (tmp_path / "m" / "config.json").read_text() != before
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    code, _, err = call(*train, "--out", tmp_path / "home", "--force")
    assert code == 2
    assert "not replaced" in err
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    check_room(tmp_path / "empty", force=False)


def test_a_disk_that_is_full(places, call, tmp_path, monkeypatch):
    """Before training, and when the folder is written: the folder that was there stays."""
    shutil.copytree(places / "classes", tmp_path / "m")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    train = ["train", places / "customers.csv", "--target", "outcome", *TRAIN, "--no-peers", "-q", "--force"]
    with monkeypatch.context() as patched:
        patched.setattr("lamp.tables.train.disk_usage", lambda _: type("U", (), {"free": 1000}))
        code, out, err = call(*train, "--out", tmp_path / "m")
        assert (code, out) == (2, "")
        assert os.strerror(errno.ENOSPC) in err
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patched.setattr("lamp.tables.train.write_table", full)
        code, out, err = call(*train, "--out", tmp_path / "m")
        assert (code, out) == (2, "")
        assert os.strerror(errno.ENOSPC) in err
        assert str(tmp_path / "m") in err
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == kept
    assert os.listdir(tmp_path) == ["m"]


def test_a_folder_that_may_not_be_written(places, call, tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("lamp.tables.train.TemporaryFile", refuse)
    code, out, err = call("train", places / "customers.csv", "--target", "outcome", "--out", tmp_path / "m")
    assert (code, out) == (2, "")
    assert os.strerror(errno.EROFS) in err
    (tmp_path / "file").write_text("in the way")
    code, out, err = call("train", places / "customers.csv", "--target", "outcome", "--out", tmp_path / "file" / "m")
    assert code == 2
    assert "Traceback" not in err


def test_what_is_no_folder_of_lamps(places, call, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    for folder, said in (("empty", "an empty folder"), ("other", "letter.txt"), ("none", "no such folder")):
        for command in (["inspect"], ["predict"], ["evaluate"], ["export", "--to", "onnx"]):
            table = [places / "customers.csv"] if command[0] in ("predict", "evaluate") else []
            code, out, err = call(command[0], tmp_path / folder, *table, *command[1:])
            assert (code, out) == (2, "")
            assert said in err


@pytest.mark.parametrize(
    "name", ["model.safetensors", "preprocessing.json", "architecture.json", "metrics.json", "manifest.json"]
)
def test_a_damaged_folder(places, call, tmp_path, name):
    for damage in (lambda data: data[:-9], lambda data: data.replace(b"5", b"6", 1), lambda _: b""):
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        shutil.copytree(places / "classes", tmp_path / "m")
        path = tmp_path / "m" / name
        path.write_bytes(damage(path.read_bytes()))
        code, out, err = call("predict", tmp_path / "m", places / "customers.csv")
        assert (code, out) == (2, "")
        assert str(path) in err
        assert "fix" in err
    path.unlink()
    code, out, err = call("inspect", tmp_path / "m")
    assert (code, out) == (2, "")
    assert name in err


def test_help_has_examples(call):
    for command in ("train", "predict", "evaluate", "inspect", "export"):
        code, out, _ = call(command, "--help")
        assert code == 0
        assert "Examples:" in out
        assert "--json" in out


@pytest.mark.parametrize("package", ["polars", "sklearn"])
def test_without_a_package(places, package, tmp_path):
    """The error says how to install the package. Prediction needs no scikit-learn."""
    table = str(places / "customers.csv")
    train = ["train", table, "--target", "outcome", "--out", str(tmp_path / "m"), "-q", *map(str, TRAIN)]
    code = f"import sys; sys.modules[{package!r}] = None\nfrom lamp.cli import main\nmain(args={train!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert 'pip install "polars>=1.20" "scikit-learn>=1.6"' in done.stderr.replace("\n", " ")
    assert not os.listdir(tmp_path)
    predict = code.replace(repr(train), repr(["predict", str(places / "classes"), table]))
    done = subprocess.run([sys.executable, "-c", predict], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if package == "polars" else 0)
