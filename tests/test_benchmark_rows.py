"""The rows of the benchmark table: each can be measured, and at small sizes all contenders do the same work."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from benchmarks import __main__ as program
from benchmarks import compiling, report, row20_convolutions, single_work
from benchmarks import row4_mixed as row4
from benchmarks.disk import disk
from benchmarks.disk_work import TORCH_COMPILE
from benchmarks.harness import Contender, NotEqual, Work, measure
from benchmarks.machine import description
from benchmarks.mixed import mixed
from benchmarks.outcome import Entry, Outcome
from benchmarks.populations import Task, disk_sweep, spirals
from benchmarks.populations_lamp import WithCompile, WithLamp
from benchmarks.populations_work import BMM, JAX
from benchmarks.populations_work import work as population_work
from benchmarks.row4_mixed import contenders as mixed_contenders
from benchmarks.row6_full_batch import exponentials
from benchmarks.row8_tables import folds
from benchmarks.row9_medium import contenders as medium_contenders
from benchmarks.row9_medium import images
from benchmarks.row11_residual import residual
from benchmarks.row11_residual import work as residual_work
from benchmarks.row17_transformer import alone, many, texts
from benchmarks.row19_recurrence import work as recurrent_work
from benchmarks.row19_recurrence import work_of_many as recurrent_work_of_many
from benchmarks.single import ADAM, SGD
from benchmarks.single_lamp import WithCompile as WithCompileOfOne
from benchmarks.stacks import POOL, Sizes
from click.testing import CliRunner

from tests.test_disk_cache import written

NEEDS_JAX = "the peer JAX is not installed: pip install jax"


def fewer(work: Work, without: tuple[str, ...] = (TORCH_COMPILE,)) -> Work:
    """The work with few steps and one thread. torch.compile is left out: it takes half a minute."""
    there = tuple(replace(each, threads=(1,)) for each in work.contenders if each.name not in without)
    return replace(work, contenders=there, goals=(), steps=20)


def without_jax(work: Work) -> Work:
    return fewer(work, (TORCH_COMPILE, single_work.JAX))


# ---- the rows there are ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", program.rows())
def test_a_row_can_be_measured_and_its_table_has_a_place(name: str) -> None:
    row = importlib.import_module(program.rows()[name]).ROW
    assert name == f"row{row.number}"
    for marker in (f"<!-- row {row.number}: generated -->", f"<!-- row {row.number}: end -->"):
        assert program.DOCUMENT.read_text().count(marker) == 1
    for each in row.works:
        names = [contender.name for contender in each.contenders]
        assert len(set(names)) == len(names)
        assert {name for goal in each.goals for name in (goal.ours, goal.peer)} <= set(names)
        assert any(contender.ours for contender in each.contenders)


def test_the_program_lists_rows_and_refuses_others() -> None:
    listed = CliRunner().invoke(program.main, []).output
    assert all(
        name in listed for name in ("row1 ", "row2", "row3", "row4", "row6", "row7", "row8", "row9", "row10", "row11")
    )
    refused = CliRunner().invoke(program.main, ["row1000"])
    assert refused.exit_code == 2
    assert "row10" in refused.output


def test_contenders_for_different_networks_do_the_same_work() -> None:
    networks = 3 * 10 * 2
    everyone = mixed_contenders(partial(mixed, 5, widest=3, seeds=2, batch=6, batches=4), networks, 7)
    found = measure(without_jax(Work("small", everyone, networks=networks, tolerance=2e-6)), repetitions=5)
    assert all(entry.absent is None and entry.difference <= 2e-6 for entry in found.entries)


def test_jax_trains_different_networks_as_torch_does() -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    everyone = mixed_contenders(partial(mixed, 5, widest=2, seeds=1, batch=6, batches=4), 20, 7)
    chosen = tuple(each for each in everyone if each.name in (row4.ONE_LAYER, row4.BUCKETS, JAX))
    found = measure(fewer(Work("small", chosen, networks=20)), repetitions=5)
    assert found[JAX].difference <= 1e-5


def test_the_program_draws_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    outcome = Outcome("toy, of two", [Entry("lamp", True, times=[1.0]), Entry("peer", times=[300.0])], (), 1, 1, 1)
    (tmp_path / "row10.json").write_text(report.Report(10, "toys", description(), [outcome]).to_json())
    bars = tmp_path / "bars.png"
    done = CliRunner().invoke(program.main, ["row10", "--from-results", "--figure", str(bars)])
    assert done.exit_code == 0, done.output
    assert bars.stat().st_size > 0
    for wrong in (["--figure", str(bars)], ["row2", "--from-results"]):
        assert CliRunner().invoke(program.main, wrong).exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["row17", "--without", "JAX", "--without", "torch.compile"], "no peer is left to compare lamp with"),
        (["row17", "--only", "convolutions"], "no title contains 'convolutions'; there are"),
        (["row17", "--without", "tinygrad"], "no such contender: tinygrad; there are"),
    ],
)
def test_a_selection_that_leaves_nothing_to_measure_is_refused(wrong: list[str], told: str) -> None:
    done = CliRunner().invoke(program.main, wrong)
    assert done.exit_code == 2
    assert told in done.output


# ---- rows of one network ---------------------------------------------------------------------------------------------
ONE = {
    "row 1, SGD": (1, 0),
    "row 1, Adam": (1, 1),
    "row 10, SGD": (10, 0),
    "row 10, Adam": (10, 1),
}


@pytest.mark.parametrize(("number", "at"), ONE.values(), ids=ONE)
def test_contenders_for_one_network_do_the_same_work(number: int, at: int) -> None:
    (module,) = (module for name, module in program.rows().items() if name == f"row{number}")
    found = measure(without_jax(importlib.import_module(module).ROW.works[at]), repetitions=5)
    assert all(entry.absent is None and entry.difference <= 1e-5 for entry in found.entries)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_contenders_for_recurrent_networks_do_the_same_work(kind: str) -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    for work in (recurrent_work(kind, 20), recurrent_work_of_many(kind, 20, 3)):
        found = measure(fewer(work), repetitions=5)
        assert all(entry.absent is None and entry.difference <= 3e-5 for entry in found.entries)


def test_contenders_of_the_other_rows_of_one_network_do_the_same_work() -> None:
    pytest.importorskip("sklearn", reason="the peer scikit-learn is not installed: pip install scikit-learn")
    full_batch = importlib.import_module("benchmarks.row6_full_batch")
    for contenders, batches in (
        (full_batch.full_batch(7, steps=20).contenders, partial(exponentials, 7)),
        (medium_contenders(partial(images, (6, 5, 4, 3), 8, 2)), partial(images, (6, 5, 4, 3), 8, 2)),
        (residual_work(partial(residual, 9, 2, 8, 2), steps=20).contenders, partial(residual, 9, 2, 8, 2)),
    ):
        assert batches().batch in (7, 8)
        found = measure(without_jax(Work("small", contenders)), repetitions=5)
        assert all(entry.absent is None and entry.difference <= 1e-5 for entry in found.entries)


@pytest.mark.parametrize(
    "task",
    [partial(disk, SGD), partial(disk, ADAM), partial(exponentials, 7), partial(residual, 9, 2, 8, 2)],
    ids=["cross-entropy, SGD", "cross-entropy, Adam", "squared error, Adam", "residual"],
)
def test_jax_trains_one_network_as_torch_does(task: Callable[[], object]) -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    contenders = single_work.torch_nn(task)[0], single_work.jax(task)
    found = measure(fewer(Work("small", contenders)), repetitions=5)
    assert found[single_work.JAX].difference <= 1e-5


@pytest.mark.parametrize("networks", [None, 3])
def test_all_train_the_same_transformer(networks: int | None) -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    task = partial(texts, networks, (9, 1, 2, 8, 6), 4, 2)
    work = alone(task, 20) if networks is None else many(task, networks, 2, 20)
    found = measure(fewer(work), repetitions=5)
    assert all(entry.absent is None and entry.difference <= 1e-5 for entry in found.entries)


STACKS = [(Sizes((2, 8, 7), (4, POOL, 3), 2, (3,)), None), (Sizes((3, 13), (4, 5, POOL), 3, (7, 3)), 3)]


@pytest.mark.parametrize(("sizes", "networks"), STACKS, ids=["an image network", "networks of signals"])
def test_all_train_the_same_stack_of_convolutions(sizes: Sizes, networks: int | None) -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    row = row20_convolutions
    work = (
        row.alone("small", sizes, {}, 20) if networks is None else row.many("small", sizes, networks, 2, (1.0, 1.0), 20)
    )
    found = measure(fewer(work), repetitions=5)
    assert all(entry.absent is None and entry.difference <= 1e-5 for entry in found.entries)


def test_a_compiled_training_goes_on_where_it_was() -> None:
    """Many steps in one call, or in several calls, give the same bits."""
    task = disk(ADAM)
    at_once, in_parts = WithCompileOfOne(task), WithCompileOfOne(task)
    at_once.run(30)
    for steps in (10, 20):
        in_parts.run(steps)
    for name, value in at_once.parameters().items():
        assert np.array_equal(value, in_parts.parameters()[name])


# ---- rows of populations ---------------------------------------------------------------------------------------------
TINY = {
    "row 2": partial(spirals, 5, (2, 4, 2), "Tanh", batch=6, batches=2),
    "row 3": partial(disk_sweep, 5, (2, 4, 3, 2), batch=6, batches=2),
    "row 7": partial(spirals, 3, (2, 8, 7, 2), "Tanh", batch=6, batches=1),
    "row 8": partial(folds, 3, (4, 8, 7, 2), 6, 18),
}


@pytest.fixture(params=TINY.values(), ids=TINY)
def tiny(request: pytest.FixtureRequest) -> Work:
    task: Callable[[], Task] = request.param
    return population_work("tiny", task, task().networks, 2, {})


def test_population_contenders_do_the_same_work(tiny: Work) -> None:
    """JAX has its own test below."""
    found = measure(without_jax(tiny), repetitions=5)
    assert all(entry.absent is None and entry.difference <= 1e-5 for entry in found.entries)


def test_jax_trains_populations_as_the_others_do(tiny: Work) -> None:
    pytest.importorskip("jax", reason=NEEDS_JAX)
    two = tuple(each for each in tiny.contenders if each.name in (BMM, single_work.JAX))
    found = measure(fewer(replace(tiny, contenders=two)), repetitions=5)
    assert found[single_work.JAX].absent is None
    assert found[single_work.JAX].difference <= 1e-5


@pytest.mark.parametrize("engine", [WithLamp, WithCompile], ids=["eager", "compiled"])
@pytest.mark.parametrize("what", ["lr", "decay", "order", "labels"])
def test_a_population_that_mixes_up_its_networks_does_other_work(what: str, engine: type[WithLamp]) -> None:
    task = TINY["row 3"]()
    axis = 1 if what == "order" else 0
    mixed_up = replace(task, **{what: np.flip(getattr(task, what), axis).copy()})
    every = population_work("tiny", lambda: task, task.networks, 2, {})
    peer = next(each for each in every.contenders if each.name == BMM)
    wrong = Contender("lamp", lambda threads: engine(mixed_up), threads=(1,), ours=True)
    with pytest.raises(NotEqual, match="lamp does other work"):
        measure(replace(every, contenders=(peer, wrong), goals=()), repetitions=5)


# ---- compiling -------------------------------------------------------------------------------------------------------
def test_each_round_compiles_once_and_then_reads_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    count = written(monkeypatch)
    found = compiling.measure(disk(SGD), rounds=2)
    assert count == [2]
    assert {name: len(seconds) for name, seconds in found.items()} == {"compiled": 2, "from the disk": 2}
    assert min(map(min, found.values())) > 0


def test_each_goal_of_compiling_is_said_to_be_met_or_missed() -> None:
    found = {"LeNet-5": {"compiled": [0.9, 0.6, 0.8], "from the disk": [0.02, 0.01, 0.03]}}
    found["LSTM"] = {**found["LeNet-5"], "from the disk": [0.004]}
    assert compiling.lines(found) == [("LeNet-5", "0.800", "0.020"), ("LSTM", "0.800", "0.004")]
    missed, met = compiling.remarks(found)
    assert missed == "MISSED: LeNet-5 compiled within 0.7 s; it is 0.800"
    assert met == "met: every kernel from the disk within 0.02 s; it is 0.020"
