"""The benchmark harness with toy contenders: what it refuses, the order of timing, and the ratios.

No test here uses a real clock.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks import figure, harness, machine, report
from benchmarks.harness import Absent, Computer, Contender, NotEqual, Work, measure
from benchmarks.outcome import Entry, Goal, Outcome, Ratio
from rich.console import Console

ALL = 4  # the toy computer's threads
SECOND = 1e6  # in microseconds


@dataclass
class Toy:
    """A computer whose clock moves only when a toy trains, with a log of the trainings."""

    now: float = 0.0
    threads: int = 0
    log: list[tuple[str, int, int]] = field(default_factory=list)  # name, threads, steps

    @property
    def computer(self) -> Computer:
        return Computer(clock=lambda: self.now, set_threads=self._set, all_threads=ALL)

    def _set(self, threads: int) -> None:
        self.threads = threads

    def contender(
        self,
        name: str,
        seconds: float | Callable[[int], float] = 1.0,  # a step; or from the threads
        *,
        rate: float = 0.1,
        begin: float = 1.0,
        first_step: float = 0.0,  # additional seconds, as for compiling
        absent: Callable[[int], bool] = lambda threads: False,
        **options: object,
    ) -> Contender:
        toy = self

        class Training:
            def __init__(self, threads: int) -> None:
                if absent(threads):
                    raise Absent(f"{name} is not installed")
                self.weight, self.pending = np.full((2, 3), begin), first_step

            def run(self, steps: int) -> None:
                toy.log.append((name, toy.threads, steps))
                a_step = seconds(toy.threads) if callable(seconds) else seconds
                toy.now += steps * a_step + self.pending
                self.pending = 0.0
                self.weight = self.weight * (1 - rate) ** steps

            def parameters(self) -> dict[str, np.ndarray]:
                return {"weight": self.weight.copy()}

        return Contender(name, Training, **options)


def work(*contenders: Contender, **options: object) -> Work:
    return Work("toy", contenders, **{"steps": 50, **options})


# ---- the same work ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rate": 0.1 * 1.001}, "weight differs by .* after 20 steps"),
        ({"begin": 1.001}, "weight differs by .* before the first step"),
        ({"begin": float("nan")}, "weight differs by nan"),
    ],
    ids=["0.1 % more rate", "0.1 % other start", "NaN"],
)
@pytest.mark.parametrize("ours", [False, True], ids=["a peer", "lamp"])
def test_other_work_is_refused_before_anything_is_timed(wrong: dict[str, float], says: str, ours: bool) -> None:
    toy = Toy()
    contenders = toy.contender("peer"), toy.contender("wrong", ours=ours, **wrong), toy.contender("lamp", ours=True)
    with pytest.raises(NotEqual, match=f"wrong does other work.*{says}"):
        measure(work(*contenders), computer=toy.computer)
    assert {steps for _, _, steps in toy.log} == {20}


def test_a_difference_within_the_tolerance_is_let_pass_and_told() -> None:
    toy = Toy()
    rate = 0.1 * (1 + 1e-6)
    found = measure(work(toy.contender("peer"), toy.contender("lamp", ours=True, rate=rate)), computer=toy.computer)
    assert found["lamp"].difference == pytest.approx(0.9**20 - (1 - rate) ** 20)
    assert 0 < found["lamp"].difference < 1e-5


@pytest.mark.parametrize(("wrong", "passes"), [(1e-7, True), (1e-5, False)])
def test_where_parameters_move_far_they_may_differ_as_much_more(wrong: float, passes: bool) -> None:
    toy = Toy()
    contenders = toy.contender("peer", rate=-0.2), toy.contender("lamp", ours=True, rate=-0.2 - wrong)
    if passes:
        found = measure(work(*contenders), computer=toy.computer)
        assert 1e-5 < found["lamp"].difference < 1.2**20 * 1e-5  # they grow by a fifth in each step
    else:
        with pytest.raises(NotEqual, match="lamp does other work"):
            measure(work(*contenders), computer=toy.computer)


def test_parameters_of_other_names_or_shapes_are_refused() -> None:
    toy = Toy()
    strange = toy.contender("strange", ours=True)

    def prepare(threads: int) -> harness.Training:
        training = strange.prepare(threads)
        training.weight = training.weight[:1]  # type: ignore[attr-defined]
        return training

    with pytest.raises(NotEqual, match=r"strange.*\(1, 3\).*\(2, 3\)"):
        measure(work(toy.contender("peer"), replace(strange, prepare=prepare)), computer=toy.computer)


def test_a_reference_that_hardly_moves_is_refused() -> None:
    toy = Toy()
    with pytest.raises(NotEqual, match="too little to tell"):
        measure(work(toy.contender("peer", rate=1e-6), toy.contender("lamp", rate=0.0)), computer=toy.computer)


def test_the_reference_is_the_first_peer_and_must_be_there() -> None:
    toy = Toy()
    peers = toy.contender("peer", absent=lambda threads: True), toy.contender("another")
    with pytest.raises(NotEqual, match="peer, the reference of all others, is absent"):
        measure(work(toy.contender("lamp", ours=True), *peers), computer=toy.computer)


# ---- side by side ----------------------------------------------------------------------------------------------------
def test_contenders_are_timed_in_turn() -> None:
    toy = Toy()
    measure(work(*map(toy.contender, "ABC")), repetitions=6, computer=toy.computer)
    timed = "".join(name for name, _, steps in toy.log if steps == 50)
    tried = harness.RACE_ROUNDS * 2  # runs with one and with all threads, before
    assert timed == "A" * tried + "B" * tried + "C" * tried + "ABC" * 6
    for (before, _, warming), (name, _, steps) in pairwise(toy.log):
        assert steps != 50 or (before, warming) == (name, 20)  # each timed run follows a run that is not timed


def test_each_runs_at_its_best_thread_count() -> None:
    toy = Toy()
    contenders = (
        toy.contender("one", lambda threads: {1: 1.0, ALL: 1.5}[threads]),
        toy.contender("all", lambda threads: {1: 1.0, ALL: 0.5}[threads]),
        toy.contender("told", threads=(3,)),
    )
    found = measure(work(*contenders), computer=toy.computer)
    assert [entry.threads for entry in found.entries] == [1, ALL, 3]
    timed = [(name, threads) for name, threads, steps in toy.log if steps == 50]
    assert set(timed[-3 * harness.REPETITIONS :]) == {("one", 1), ("all", ALL), ("told", 3)}
    assert toy.threads == ALL  # put back


def test_times_are_of_one_step_of_one_network() -> None:
    toy = Toy()
    found = measure(work(toy.contender("peer", 3.0), toy.contender("lamp", 2.0), networks=4), computer=toy.computer)
    assert found["peer"].times == pytest.approx([3.0 * SECOND / 4] * harness.REPETITIONS)


def test_who_is_quick_makes_more_steps_in_a_round() -> None:
    """What a call takes beside its steps then counts for less; the others make as many steps as before."""
    toy = Toy()
    quick = toy.contender("quick", 3.0, threads=(1,))

    def prepare(threads: int) -> harness.Training:
        training = quick.prepare(threads)
        steps_of = training.run

        def run(steps: int) -> None:
            steps_of(steps)
            toy.now += 8.0  # what a call takes

        training.run = run
        return training

    quick_one = replace(quick, prepare=prepare, longer=4)
    found = measure(
        work(toy.contender("peer", 2.0), quick_one, toy.contender("lamp", ours=True)), computer=toy.computer
    )
    assert max(steps for name, _, steps in toy.log if name == "quick") == 200
    assert max(steps for name, _, steps in toy.log if name == "peer") == 50
    assert found["quick"].times == pytest.approx([(3.0 + 8.0 / 200) * SECOND] * harness.REPETITIONS)
    assert found["peer"].times == pytest.approx([2.0 * SECOND] * harness.REPETITIONS)


def test_a_sample_of_the_networks_stands_for_all() -> None:
    """It is checked against its own networks, its times are per network, and it is never the reference."""
    toy = Toy()

    def of_a_sample(**options: float) -> Contender:
        some = toy.contender("some", 3.0, compiles=True, first_step=7.0, threads=(1,), **options)

        def prepare(threads: int) -> harness.Training:
            training = some.prepare(threads)
            training.weight = training.weight[:1]  # type: ignore[attr-defined]
            return training

        return replace(some, prepare=prepare, sample=1)

    others = toy.contender("peer", 2.0), toy.contender("lamp", 2.0, ours=True)
    found = measure(work(of_a_sample(), *others, networks=2, job_steps=100), computer=toy.computer)
    assert toy.log[0][0] == "peer"
    assert found["some"].times == pytest.approx([3.0 * SECOND] * harness.REPETITIONS)
    assert found["peer"].times == pytest.approx([2.0 * SECOND / 2] * harness.REPETITIONS)
    assert found["some"].compile_seconds == pytest.approx(7.0)
    assert found["some"].with_compile == pytest.approx((3.0 + 7.0 / 100) * SECOND)
    with pytest.raises(NotEqual, match="some does other work"):
        measure(work(of_a_sample(rate=0.1 * 1.001), *others, networks=2), computer=toy.computer)


def test_warming_up_takes_no_longer_than_the_timing() -> None:
    toy = Toy()
    measure(work(toy.contender("peer", threads=(1,)), steps=7), repetitions=5, computer=toy.computer)
    assert [steps for _, _, steps in toy.log] == [20, *[7] * 10]


def test_ratios_are_taken_within_a_round() -> None:
    """The machine gets slower from round to round, so medians of times would give another ratio."""
    toy = Toy()
    slowdown = [1.0, 1.0, 2.0, 3.0, 5.0]

    def a_step(name: str, cost: list[float]) -> Callable[[int], float]:
        return lambda threads: cost[at] * slowdown[at] if (at := timed(name)) < len(cost) else 1.0

    def timed(name: str) -> int:
        """The number of the present round, counted from the log, which already has the present run."""
        return max(sum(who == name and steps == 50 for who, _, steps in toy.log) - 1, 0)

    peer = toy.contender("peer", a_step("peer", [6.0, 6.0, 6.0, 6.0, 6.0]), threads=(1,))
    lamp = toy.contender("lamp", a_step("lamp", [1.0, 2.0, 3.0, 2.0, 1.0]), threads=(1,), ours=True)
    found = measure(work(lamp, peer), repetitions=5, computer=toy.computer)
    assert found["lamp"].times == pytest.approx([1 * SECOND, 2 * SECOND, 6 * SECOND, 6 * SECOND, 5 * SECOND])
    ratio = found.ratio("peer", "lamp")
    assert ratio is not None
    assert (ratio.median, ratio.lowest, ratio.highest) == pytest.approx((3.0, 2.0, 6.0))
    assert found["peer"].median / found["lamp"].median == pytest.approx(12 / 5)  # the wrong ratio
    assert found["lamp"].minimum == pytest.approx(SECOND)


def test_fewer_repetitions_than_the_protocol_wants_are_refused() -> None:
    with pytest.raises(ValueError, match="4 repetitions are too few"):
        measure(work(Toy().contender("peer")), repetitions=4)


# ---- compiling -------------------------------------------------------------------------------------------------------
def test_compile_time_is_apart_and_included_once() -> None:
    toy = Toy()
    contenders = toy.contender("peer"), toy.contender("compiler", 0.5, first_step=30.0, compiles=True, threads=(1,))
    found = measure(work(*contenders, job_steps=100), computer=toy.computer)["compiler"]
    assert found.compile_seconds == pytest.approx(30.0)
    assert found.median == pytest.approx(0.5 * SECOND)
    assert found.with_compile == pytest.approx((0.5 + 30 / 100) * SECOND)


def test_who_compiles_in_every_run_is_timed_without_it() -> None:
    toy = Toy()
    anew = toy.contender("anew", 0.5, compiles=True, threads=(1,))

    def prepare(threads: int) -> harness.Training:
        training = anew.prepare(threads)
        run = training.run

        def compile_and_run(steps: int) -> None:
            training.compiling = 7.0  # type: ignore[attr-defined]
            toy.now += 7.0
            run(steps)

        training.run = compile_and_run
        return training

    contenders = toy.contender("peer"), replace(anew, prepare=prepare)
    found = measure(work(*contenders, job_steps=100), computer=toy.computer)["anew"]
    assert found.median == pytest.approx(0.5 * SECOND)
    assert found.compile_seconds == pytest.approx(7.0)
    assert found.with_compile == pytest.approx((0.5 + 7 / 100) * SECOND)


def test_a_compiler_that_takes_too_long_is_absent() -> None:
    toy = Toy()
    slow = toy.contender("slow", compiles=True)

    def prepare(threads: int) -> harness.Training:
        try:
            time.sleep(60)
        except Exception:  # as a compiler may handle errors inside it
            pytest.fail("the limit must not look like an error of the compiler's own")
        return slow.prepare(threads)

    found = measure(work(toy.contender("peer"), replace(slow, prepare=prepare, time_limit=0.01)), computer=toy.computer)
    assert found["slow"].absent == "not ready within 0.01 s"
    assert found["slow"].times == []


# ---- absent peers ----------------------------------------------------------------------------------------------------
@pytest.fixture
def measured() -> Outcome:
    toy = Toy()
    contenders = (
        toy.contender("lamp", 1.0, ours=True),
        toy.contender("peer", 3.0, note="the usual way"),
        toy.contender("missing", absent=lambda threads: True),
        toy.contender("single", 5.0, absent=lambda threads: threads > 1, compiles=True, first_step=7.0),
    )
    goals = Goal("lamp", "peer", 2.0), Goal("lamp", "peer", 4.0), Goal("lamp", "missing", 1.0)
    return measure(work(*contenders, goals=goals), computer=toy.computer)


def test_an_absent_peer_is_named_in_every_table(measured: Outcome) -> None:
    assert measured["missing"].absent == "missing is not installed"
    assert (measured["single"].absent, measured["single"].threads) == (None, 1)
    _, body = report.cells(measured)
    assert [line[0] for line in body] == ["lamp", "peer", "missing", "single"]
    assert body[2][1] == "absent"
    whole = report.Report(99, "toys", machine.description(), [measured])
    console = Console(width=200)
    with console.capture() as printed:
        report.print_report(whole, console)
    for text in (printed.get(), report.markdown(whole)):
        assert "missing is absent: missing is not installed" in text
        assert "peer: the usual way" in text


def test_a_table_has_medians_least_times_ratios_and_compile_time(measured: Outcome) -> None:
    head, body = report.cells(measured)
    lines = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    assert lines["lamp"]["ratio"] == "1"
    peer = lines["peer"]
    assert (peer["us/step"], peer["least"], peer["ratio"]) == ("3,000,000", "3,000,000", "3.00 (3.00-3.00)")
    assert peer["compile"] == ""
    assert lines["single"]["compile"] == "7"
    assert lines["single"]["over 10,000"] == "5,000,700"


def test_goals_met_missed_and_not_measured_are_told_apart(measured: Outcome) -> None:
    met, missed, unknown = report.remarks(measured)[:3]
    assert met.startswith("met: lamp 2 times as fast as peer; it is 3.00")
    assert missed.startswith("MISSED: lamp 4 times as fast as peer")
    assert missed.endswith("25 % short")
    assert unknown.startswith("not measured: lamp 1 times as fast as missing")


def test_a_noisy_measurement_says_so(measured: Outcome) -> None:
    assert not any("NOISY" in remark for remark in report.remarks(measured))
    measured["peer"].times[3] *= 1.6
    assert any("NOISY" in remark for remark in report.remarks(measured))


# ---- where it is written ---------------------------------------------------------------------------------------------
def test_results_come_back_from_json_as_they_were(measured: Outcome) -> None:
    whole = report.Report(99, "toys", machine.description(), [measured])
    again = report.Report.from_json(whole.to_json())
    assert report.markdown(again) == report.markdown(whole)
    assert again.outcomes[0] == measured


def test_docs_are_rewritten_between_their_markers_only(measured: Outcome, tmp_path: Path) -> None:
    whole = report.Report(99, "toys", machine.description(), [measured])
    document = tmp_path / "benchmarks.md"
    document.write_text("before\n<!-- row 99: generated -->\nold\n<!-- row 99: end -->\nafter\n")
    for _ in range(2):
        report.write_into(document, whole)
        text = document.read_text()
        assert text.startswith("before\n<!-- row 99: generated -->\n**toy**")
        assert text.endswith("\n<!-- row 99: end -->\nafter\n")
        assert "old" not in text
    document.write_text("no markers")
    with pytest.raises(ValueError, match="row 99: generated"):
        report.write_into(document, whole)


def test_the_figure_has_a_bar_for_each_who_was_timed_shortest_first(measured: Outcome, tmp_path: Path) -> None:
    whole = report.Report(99, "toys", machine.description(), [measured])
    panel, *empty = figure.draw([whole, replace(whole, row=100)]).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["lamp", "peer", "single"]
    ends = [bar.get_x() + bar.get_width() for bar in panel.patches]  # type: ignore[attr-defined]
    assert ends == pytest.approx([1 * SECOND, 3 * SECOND, 5 * SECOND])
    colors = [bar.get_facecolor() for bar in panel.patches]
    assert colors[0] != colors[1] == colors[2]
    assert panel.get_xscale() == "log"
    assert "99" in panel.get_title(loc="left")
    assert "100" in empty[0].get_title(loc="left")
    figure.write_figure([whole], tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 0


def test_the_machine_is_described_without_naming_it() -> None:
    found = machine.description()
    assert {"processor", "cores", "torch", "jax"} <= found.keys()
    told = json.dumps(found)
    assert machine.platform.node() not in told  # type: ignore[attr-defined]
    assert "/" not in told


def test_entries_know_median_and_minimum() -> None:
    times = [5.0, 1.0, 4.0]
    entry = Entry("one", times=times)
    assert (entry.median, entry.minimum) == (statistics.median(times), 1.0)
    assert str(Ratio(12.34, 11.0, 20.0)) == "12.3 (11.0-20.0)"
