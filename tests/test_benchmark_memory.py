"""Peak memory in benchmarks: how it is measured, its part of a table, and the networks that it is measured for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import __main__ as program
from benchmarks import memory, report, row12_memory, row16_networks
from benchmarks.harness import Contender, measure
from benchmarks.machine import description
from benchmarks.networks import Net, WithHooks, WithTorchNN
from benchmarks.outcome import Entry, Goal, Outcome
from click.testing import CliRunner

import lamp

MEGA = 250_000  # float32 numbers in a megabyte


class Kept:
    """A training that keeps three megabytes, and in each step needs five more, of which two at a time."""

    def __init__(self, threads: int) -> None:
        self.kept = torch.zeros(3 * MEGA)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for size in (1, 2, 2):
                torch.ones(size * MEGA).sum()

    def parameters(self) -> dict[str, object]:
        return {}


def test_the_peak_of_tensors_is_exact() -> None:
    assert memory.tensors(Contender("kept", Kept), 1) == pytest.approx(5.0, abs=0.01)


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux resets the peak of a process")
def test_the_peak_of_a_process_has_all_tensors_in_it() -> None:
    """In a process of its own: this one may have given back memory that it then gets again."""
    code = (
        "from benchmarks import memory; from benchmarks.harness import Contender; import torch\n"
        "class Kept:\n"
        "    def __init__(self, threads): self.kept = torch.ones(30 * 250_000)\n"
        "    def run(self, steps): torch.ones(20 * 250_000).sum()\n"
        "print(memory.resident(Contender('kept', Kept), 1))"
    )
    root = Path(program.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert 49.0 < float(done.stdout) < 55.0


def test_memory_is_measured_for_the_contender_that_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (work,) = row12_memory.ROW.works
    monkeypatch.setattr(row12_memory, "ROW", replace(row12_memory.ROW, works=(replace(work, contenders=(KEPT, NONE)),)))
    memory._main("benchmarks.row12_memory", work.title, "kept", "1")
    tensors, _ = json.loads(capsys.readouterr().out)
    assert tensors == pytest.approx(5.0, abs=0.01)


KEPT, NONE = Contender("kept", Kept), Contender("none", Kept)


def test_memory_has_a_table_and_goals_of_its_own() -> None:
    ours = Entry("lamp", True, threads=1, times=[2.0], tensors=30.0, resident=33.0)
    peer, compiled = Entry("peer", threads=1, times=[3.0], tensors=60.0), Entry("none", threads=1, times=[3.0])
    goals = tuple(Goal("lamp", name, 0.5, memory=True) for name in ("peer", "none"))
    goals += (Goal("lamp", "peer", 0.4, memory=True), Goal("lamp", "peer", 1.25))
    outcome = Outcome("toy", [ours, peer, compiled], goals, 1, 1, 1)
    assert report.memory_cells(outcome)[1] == [["lamp", "30", "0.50", "33"], ["peer", "60", "1.00", ""]]
    verdicts = [outcome.verdict(goal).split(":")[0] for goal in goals]
    assert verdicts == ["met", "not measured", "MISSED", "met"]
    whole = report.Report(12, "toys", description(), [outcome])
    assert report.Report.from_json(whole.to_json()) == whole
    assert "| lamp | 30 | 0.50 | 33 |" in report.markdown(whole)


def test_memory_is_measured_where_the_work_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def pretend(*which: object) -> tuple[float, None]:
        asked.append(which)
        return float(len(asked)), None

    monkeypatch.setattr(memory, "measure", pretend)
    work = row16_networks.ROW.works[0]
    two = tuple(replace(each, threads=(1,)) for each in work.contenders[:2])
    chosen = replace(work, contenders=two, goals=(), steps=1)
    assert [each.tensors for each in measure(chosen, repetitions=5).entries] == [1.0, 2.0]
    assert asked == [(row16_networks.__name__, work.title, each.name, 1) for each in two]
    assert measure(replace(chosen, module=""), repetitions=5).entries[0].tensors is None


# ---- the networks ----------------------------------------------------------------------------------------------------
def small(net: Net) -> Net:
    """The same network with one small batch."""
    return replace(net, batches=lambda: [tuple(each[:3] for each in batch) for batch in net.batches()[:1]])


@pytest.mark.parametrize("name", row16_networks.THERE)
def test_networks_of_lamp_and_torch_do_the_same_work(name: str) -> None:
    chosen = [replace(each, threads=(1,)) for each in row16_networks.contenders(small(row16_networks.NETS[name]))]
    without = replace(
        row16_networks.work(name), contenders=tuple(each for each in chosen if not each.compiles), goals=(), module=""
    )
    found = measure(replace(without, steps=1), repetitions=5)
    assert all(entry.absent is None for entry in found.entries)


def test_hooks_step_as_the_optimizer_does() -> None:
    model = partial(lamp.Sequential, lamp.Linear(3, 4), lamp.Tanh(), lamp.Linear(4, 2))
    batches = [(torch.randn(5, 3), torch.randn(5, 2))]
    net = Net(model, lamp.to_torch, "MSELoss", lambda: batches, "Adam", {"lr": 0.01})
    usual, hooked = WithTorchNN(net), WithHooks(net)
    for each in (usual, hooked):
        each.run(3)
    for name, value in usual.parameters().items():
        assert (value == hooked.parameters()[name]).all()


def test_contenders_can_be_left_out() -> None:
    work = row16_networks.ROW.works[0]
    left = work.without((row16_networks.COMPILE, row16_networks.FUSED))
    assert [each.name for each in left.contenders] == [row16_networks.LAMP, row16_networks.NN]
    assert [goal.peer for goal in left.goals] == [row16_networks.NN]
    listed = CliRunner().invoke(program.main, ["networks", "--without", "torch"])
    assert listed.exit_code == 2
    assert "torch.compile" in listed.output
