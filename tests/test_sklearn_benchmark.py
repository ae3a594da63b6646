"""The benchmark of estimators can be measured, saved and shown."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks import __main__ as program
from click.testing import CliRunner

pytest.importorskip("sklearn", reason="the peer scikit-learn is not installed: pip install scikit-learn")
estimators = importlib.import_module("benchmarks.estimators")
command = importlib.import_module("benchmarks.estimators_command")


def small(classes: bool) -> object:
    def load() -> tuple[np.ndarray, np.ndarray]:
        random = np.random.RandomState(0)
        inputs = random.randn(80, 3)
        return inputs, (inputs[:, 0] > 0).astype(int) if classes else inputs[:, 0] * 100

    return estimators.Table(f"small, {classes}", load, classes=classes, epochs=4, seeds=2)


@pytest.mark.parametrize("classes", [True, False])
def test_a_table_is_measured(classes: bool) -> None:
    found = estimators.measure(small(classes))
    assert set(found) == set(estimators.ABOUT)
    for name, measured in found.items():
        assert len(measured.scores) == len(measured.seconds) == 2
        assert measured.epochs == [4, 4]
        assert all(seconds > 0 for seconds in measured.seconds)
        assert (measured.first is not None) == name.startswith("lamp")
    results = {"small": found}
    again, machine = estimators.from_json(estimators.to_json(results, {"cores": 2}))
    assert again == results
    assert machine == {"cores": 2}
    body = estimators.lines(results)
    assert [line[1] for line in body] == list(found)
    assert body[0][-1] == "1"
    assert all(name in estimators.markdown(results, "a machine") for name in found)


def test_the_same_steps_are_scikit_learns() -> None:
    table = small(True)
    with pytest.warns(Warning, match="not converged"):
        model = estimators.contenders(table)[estimators.SAME_STEPS](0, 3).fit(*table.load())  # type: ignore[attr-defined]
    assert model.n_iter_ == 3
    assert model._batch_size(1000) == 200
    assert model._learner.optimizer.param_groups[0]["lr"] == 1e-3
    assert model._learner.optimizer.plan is None


def test_ratios_are_taken_within_a_seed_and_goals_are_told() -> None:
    one, peer = estimators.Measured(seconds=[1.0, 2.0, 4.0]), estimators.Measured(seconds=[3.0, 8.0, 8.0])
    assert one.ratio_to(peer) == 3.0
    each = {name: replace(one, scores=[0.5], epochs=[1]) for name in estimators.ABOUT}
    told = estimators.remarks({"wine": {**each, estimators.PEER: replace(peer, scores=[0.4], epochs=[1])}})
    assert any(line.startswith("MISSED: wine: lamp 10 times") for line in told)
    assert any(line.startswith("met: wine: lamp, 8 members 1 times") for line in told)


def test_the_program_shows_and_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(estimators, "TABLES", (small(True),))
    document = tmp_path / "docs.md"
    document.write_text("before\n<!-- estimators: generated -->\nold\n<!-- estimators: end -->\nafter\n")
    monkeypatch.setattr(program, "DOCUMENT", document)
    runner = CliRunner()
    done = runner.invoke(program.main, ["estimators", "--write-docs"])
    assert done.exit_code == 0, done.output
    assert "scikit-learn, standardised" in done.output
    assert (tmp_path / "estimators.json").exists()
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- estimators: generated -->\n| table |")
    assert text.endswith("<!-- estimators: end -->\nafter\n")
    again = runner.invoke(program.main, ["estimators", "--from-results"])
    assert again.exit_code == 0, again.output
    assert runner.invoke(program.main, ["estimators", "--only", "no such table"]).exit_code == 2
    document.write_text("no place")
    assert runner.invoke(program.main, ["estimators", "--from-results", "--write-docs"]).exit_code == 1
    assert "estimators" in runner.invoke(program.main, []).output
