"""The benchmark of tables: who learns from which rows, how scores are ranked, and what is kept."""

import importlib
from functools import partial

import numpy as np
import polars as pl
import pytest
from benchmarks import __main__ as program
from click.testing import CliRunner

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="the peers need scikit-learn")
tables, data, peers, report, command = (
    importlib.import_module(f"benchmarks.tables{name}") for name in ("", "_data", "_peers", "_report", "_command")
)
ROWS = 60


def small(classes):
    random = np.random.default_rng(0)
    x = random.standard_normal(ROWS)
    words = np.where(np.arange(ROWS) % 3 == 0, "red", "blue")
    words[7] = "once"
    columns = {"x": x, "word": words, "row": np.arange(ROWS) * 1.0}
    y = np.where(x + (words == "red") > 0, "yes", "no") if classes else 10 * x + (words == "red")
    return data.Loaded(
        pl.DataFrame({**columns, "target": y}).with_columns(x=pl.when(pl.col("row") > 3).then("x")), "target", 0.1
    )


def score(table="a", contender="lamp 1 s", value=1.0, split=0, **more):
    return tables.Score(table, 0, split, contender, "RMSE", value, 2.0, **more)


@pytest.fixture
def seen(monkeypatch):
    """What a peer was given and answered, for each training; it is the only peer, and answers at random."""
    found = []

    def fit(rows):
        """It guesses."""

        def predict(x):
            random = np.random.default_rng(len(x))
            answer = random.dirichlet([1.0] * rows.classes, len(x)) if rows.classes else random.random(len(x))
            found.append((rows, x, answer))
            return answer

        return predict

    monkeypatch.setattr(peers, "PEERS", {"toy": fit})
    monkeypatch.setattr(tables, "PEERS", peers.PEERS)
    monkeypatch.setattr(report, "PEERS", peers.PEERS)
    monkeypatch.setattr(data, "tables", lambda: [data.Table("small", partial(small, True))])
    return found


@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
def test_lamp_and_the_peers_learn_from_the_same_rows(seen, classes, monkeypatch):
    of_lamp, real = [], tables.train

    def train(plan, **more):
        of_lamp.append(plan)
        return real(plan, **more)

    monkeypatch.setattr(tables, "train", train)
    known = {}
    table = small(classes)
    assert not tables.measure(data.Table("small", lambda: table), {"lamp 1 s": 1.0, "toy": None}, 1, 0, known)
    ((rows, x, answer),), (plan,) = seen, of_lamp
    assert {*rows.x[:, 2], *x[:, 2]} == {*range(ROWS)}
    assert (len(rows.x), len(x)) == (ROWS - ROWS // 5, ROWS // 5)
    assert plan.frame["row"].cast(pl.Float64).to_numpy()[plan.split.test.numpy()].tolist() == x[:, 2].tolist()
    assert rows.categories == (1,)
    words = np.where(np.isin(rows.x[:, 2], [7.0]), 2, rows.x[:, 2] % 3 == 0)
    assert len({*zip(rows.x[:, 1], words, strict=True)}) == len({*rows.x[:, 1]})  # one code per word
    assert np.isnan(rows.x[:, 0]).sum() + np.isnan(x[:, 0]).sum() == 4
    truth = table.frame["target"].to_numpy()[x[:, 2].astype(int)]
    ours, toy = known.values()
    if classes:
        assert toy.value == pytest.approx(sklearn_metrics.log_loss(truth, answer))
        assert ours.calibration_error is not None
    else:
        assert toy.value == pytest.approx(sklearn_metrics.root_mean_squared_error(truth, answer))
        assert len(ours.fifths) == 5
        assert 0.3 < np.mean(ours.fifths) <= 1.0
        assert ours.value < toy.value
    assert (toy.fifths, toy.floor, toy.measure) == (None, 0.1, "log loss" if classes else "RMSE")


def test_a_class_that_is_not_in_training_has_no_chance(seen):
    """Where classes are rare, the columns of a peer's probabilities are those of the classes that it saw."""
    frame = small(True).frame.with_columns(target=pl.Series(["a"] * 29 + ["b"] + ["c"] * 30))
    table, y = data.Loaded(frame, "target"), np.repeat([0, 1, 2], [29, 1, 30])
    test = np.arange(ROWS) % 3 == 2  # the only row of class 1 too
    found = tables._peer("toy", table, y, 3, test, 0)
    ((_, _, answer),) = seen
    p = np.insert(answer, 1, 0.0, axis=1)[np.arange(20), y[test]]
    assert found["value"] == pytest.approx(-np.log(np.maximum(p, 1e-15)).mean())


@pytest.mark.parametrize("name", ["checkerboard", "steps", "zeros"])
def test_a_floor_is_the_least_score(name):
    """Boosted trees come close to the floor of what is made of steps, and not below it."""
    table = next(each for each in data.tables() if each.name == name)
    known = {}
    tables.measure(table, {"HistGB": None, "linear": None}, 1, 0, known)
    trees, line = known.values()
    assert 0.93 * trees.floor < trees.value < 1.8 * trees.floor
    assert line.value > trees.value


def test_ranks_and_comparisons():
    scores = report.Scores(
        score(table, name, value, split)
        for table, by_name in {
            "a": {"lamp 1 s": (1.0, 3.0), "CatBoost": (2.0, 4.1), "linear": (2.0, 2.0)},
            "b": {"lamp 1 s": (2.0, 2.0), "CatBoost": (1.0, 1.0), "linear": (4.0, 4.0)},
            "c": {"lamp 1 s": (0.0, 0.0), "CatBoost": (9.0, 9.0)},  # not ranked
        }.items()
        for name, values in by_name.items()
        for split, value in enumerate(values)
    )
    assert scores.complete == ["a", "b"]
    assert scores.ranks(["lamp 1 s", "CatBoost", "linear"]) == {
        "lamp 1 s": [1.5, 2.0], "CatBoost": [3.0, 1.0], "linear": [1.5, 3.0],
    }  # fmt: skip
    assert scores.against("lamp 1 s", "CatBoost") == (1, 0, 1)
    assert scores.against("lamp 1 s", "linear") == (1, 1, 0)
    assert scores.against("CatBoost", "linear") == (1, 1, 0)  # on "a" by 1.05, with an error of 1.05
    head, *body = report.summary(scores, [1.0])
    assert head[:3] == ["contender", "mean rank at 1 s", "lamp 1 s ahead / even / behind"]
    assert body[0] == ["lamp 1 s", "1.75 ±.25", "", "2", ""]
    assert [line[0] for line in body[1:]] == ["CatBoost", "linear"]
    assert report.by_table(scores)[1] == ["a", "**2.00 ±1.00**", "3.05 ±1.05", "**2.00 ±.00**", ""]
    assert "c is not ranked: some contenders lack splits" in report.remarks(scores, {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0.298,), ".298"), ((2800.0, 2900.0), "2,850 ±50"), ((0.0192, 0.02), ".0196 ±.0004"), ((12.3, 12.3), "12.3 ±.0")],
)
def test_a_mean_has_three_digits(values, expected):
    assert report.shown(values) == expected


def test_coverage_is_the_mean_over_splits():
    one, other = score(fifths=[0.5, 1, 1, 1, 1]), score(split=1, fifths=[1.0, 1, 1, 1, 0.7])
    assert report.coverage(report.Scores([one, other]))[1] == ["a", "lamp 1 s", "75", "100", "100", "100", "85", "92"]
    assert report.coverage(report.Scores([score()])) == []


def test_a_library_that_is_not_installed_is_told(monkeypatch):
    def broken(name):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(peers, "import_module", broken)
    for name in peers.PEERS:
        absent = tables.measure(data.Table("small", partial(small, True)), {name: None}, 2, 0, {})
        assert "cannot be imported (no " in absent[name]


def test_the_program_goes_on_from_what_it_has(seen, tmp_path, monkeypatch):
    document = tmp_path / "docs.md"
    document.write_text("before\n<!-- tables: generated -->\nold\n<!-- tables: end -->\nafter\n")
    monkeypatch.setattr(program, "DOCUMENT", document)
    monkeypatch.delenv(data.FOLDER, raising=False)
    saved = tmp_path / "scores.json"

    def run(*arguments):
        options = ["tables", "--without", "lamp", "--splits", "2", "--results", str(saved)]
        return CliRunner().invoke(program.main, [*options, *arguments])

    first = run("--write-docs")
    assert first.exit_code == 0, first.output
    assert len(seen) == 2
    assert document.read_text().startswith("before\n<!-- tables: generated -->\n| contender | ")
    assert document.read_text().endswith("<!-- tables: end -->\nafter\n")
    again = run()
    assert again.output == first.output
    assert len(seen) == 2
    assert run("--rows", "40", "--splits", "1").exit_code == 0
    assert sum(len(part) for part in (seen[-1][0].x, seen[-1][1])) == 40
    assert run("--again", "toy").exit_code == 0
    assert len(seen) == 5
    scores, machines = tables.from_json(saved.read_text())
    assert len({each.key for each in scores}) == len(scores) == 3
    assert len(machines) == 1
    assert "toy" in run("--from-results").output
    assert len(seen) == 5
    assert run("--only", "no such table").exit_code == 2
    monkeypatch.setenv(data.FOLDER, str(tmp_path))
    assert "unset LAMP_TABLES" in run("--write-docs").output


def test_files_of_a_folder_are_tables(tmp_path, monkeypatch):
    (tmp_path / "one.csv").write_text("target,b\n1.5,NA\n2.5,x\n,y\n")
    (tmp_path / "two.csv").write_text("a,b\n1.5,2.5\n")
    monkeypatch.setenv(data.FOLDER, str(tmp_path))
    one, two = (table.load() for table in data.tables() if table.name.startswith(f"{tmp_path.name}/"))
    assert (one.target, two.target) == ("target", "b")
    assert one.frame.rows() == [(1.5, None), (2.5, "x")]
