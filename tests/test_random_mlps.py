"""The benchmark of random MLPs: it draws networks by a seed, measures them and reports the results."""

import importlib
import io

import pytest
from rich.console import Console

mlps = importlib.import_module("benchmarks.random_mlps")
command = importlib.import_module("benchmarks.random_mlps_command")
who = importlib.import_module("benchmarks.single_work")


def found(ours=10.0, fused=20.0, jax=5.0, auto=1.0, first=1.5, eager=4.0, compiled=0.8, engine="compiled", **more):
    step = {who.FIT: 40.0, who.FIT_COMPILED: ours, who.FUSED: fused, who.JAX: jax}
    training = {"auto": auto, "auto, first": first, "eager": eager, "compiled": compiled}
    return mlps.Found(mlps.Drawn((3, 4, 2), "Tanh", "Adam", 5, 0.1, 1), 8, step, training, engine, **more)


def test_a_seed_draws_the_same_networks():
    some, more = mlps.draw(4, 3), mlps.draw(4, 9)
    assert more[:3] == some
    assert mlps.draw(5, 3) != some
    for each in more:
        assert all(1 <= width <= mlps.WIDEST for width in each.widths)
        assert 3 <= len(each.widths) <= mlps.DEEPEST + 2
        assert mlps.SECONDS[0] <= each.seconds <= mlps.SECONDS[1]
        task = each.task()
        assert task.inputs.shape == (mlps.BATCHES, each.batch, each.widths[0])


def test_remarks_count_and_name_the_least_ratio():
    told = mlps.remarks([found(), found(fused=9.0, auto=2.0, first=1.0)])
    assert told[0] == "ahead of torch.nn fused in 1 of 2, least ratio 0.90"
    assert told[1] == "ahead of JAX in 0 of 2, least ratio 0.50"
    assert told[2].startswith("auto within 1.3 times the better engine in 1 of 2")
    assert told[3].startswith("auto at most 0.70 s behind")
    assert mlps.lines([found()]) == [
        ["3-4-2 Tanh, Adam, batch 5", "compiled", "10", "2.00x", "0.50x", "1.25x", "+0.70 s"]
    ]
    assert found(engine="eager").ratio(who.FUSED) == 0.5
    assert found(engine="eager").ratio(who.JAX) == 0.5  # its step leaves compiling out, so the compiled engine's does


def test_what_is_saved_comes_back():
    results = [found(), found(wrong="not the same")]
    again, seed, machine = mlps.from_json(mlps.to_json(results, 7, {"cores": 2}))
    assert (again, seed, machine) == (results, 7, {"cores": 2})


@pytest.mark.parametrize("rule", list(mlps.RULES))
def test_a_network_is_measured(rule, monkeypatch):
    monkeypatch.setattr(mlps, "ROUND", 1e-6)
    drawn = mlps.Drawn((3, 4, 2), "GELU", rule, 5, 1e-3, 1)

    def here(drawn, engine, epochs, folder):
        told = mlps.train({"drawn": mlps.asdict(drawn), "engine": engine, "epochs": epochs})
        assert told["seconds"] > 0
        return told

    result = mlps.run(drawn, child=here)
    assert not result.wrong
    assert {who.FIT, who.FIT_COMPILED, who.FUSED} <= result.step.keys()
    assert result.engine in ("eager", "compiled")
    axes = command.draw([result]).axes[0]
    assert axes.get_yscale() == "log"


def test_of_short_trainings_in_a_second_process_the_shorter_counts(monkeypatch):
    monkeypatch.setattr(mlps, "ROUND", 1e-6)
    seconds = iter([0.5, 0.3, 0.2, 7.0, 0.6, 0.1, 0.4])

    def child(drawn, engine, epochs, folder):
        return {"seconds": next(seconds), "engine": "compiled"}

    result = mlps.run(mlps.Drawn((3, 4, 2), "Tanh", "SGD", 5, 1e-3, 1), child=child)
    expected = {"auto, first": 0.5, "auto": 0.2, "eager": 7.0, "compiled, first": 0.6, "compiled": 0.1}
    assert result.training == expected
    assert next(seconds, None) is None


def test_saved_results_are_shown(tmp_path):
    saved, document, text = tmp_path / "mlps.json", tmp_path / "doc.md", io.StringIO()
    saved.write_text(mlps.to_json([found()], 7, {"cores": 2, "processor": "a", "vectors": "b", "system": "c"}))
    document.write_text("<!-- mlps: generated -->\n<!-- mlps: end -->\n")
    options = {"only": "", "write_docs": True, "from_results": True, "seed": 0, "count": 1}
    command.run(Console(file=text), document, saved, **options)
    assert "3-4-2 Tanh" in text.getvalue()
    assert "| 3-4-2 Tanh, Adam, batch 5 | compiled |" in document.read_text()
    assert (tmp_path / "mlps.png").exists()
