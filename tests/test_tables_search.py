"""The search of settings, the calibration of the ensemble, and the peer models."""

import copy
import json
import math
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_info, threadpool_limits

import lamp
from lamp.replicas import population
from lamp.tables import effort as efforts
from lamp.tables import member_rows
from lamp.tables import pairs as searched_pairs
from lamp.tables import peers as peers_module
from lamp.tables import search as searching
from lamp.tables.effort import Allotment, Deadline, Effort, Shape, allotment, effort_for
from lamp.tables.groups import Group
from lamp.tables.importance import importances
from lamp.tables.member_rows import MemberRows
from lamp.tables.metrics import of_classes
from lamp.tables.mixing import mixed
from lamp.tables.model import TableModel
from lamp.tables.peers import peers
from lamp.tables.search import search
from lamp.tables.targets import Target
from lamp.training.interrupt import Interruptible
from tests.cases.table_models import people

SHAPES = (Shape(0, 0), Shape(17, 1), Shape(19, 2, 0.2))
FEW = Effort(SHAPES, 9, 120, 27, 8, 27, 9, 9, 60.0)


def circles(n, seed=0):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x.square().sum(1) > 1.4).long()


@pytest.fixture(scope="module")
def found():
    return search(circles(150), circles(50, 1), FEW, 2, progress=False)


def test_the_engine_does_not_depend_on_what_is_compiled_already(found):
    """The engine "auto" would be another one where a kernel is on the disk, and the same seed would give other bits."""
    engines = {row.history().engine for row in found.sweep.rows} | {history.engine for history in found.histories}
    assert engines == {"compiled"}


def test_no_sweep_begins_after_ctrl_c_in_one(monkeypatch):
    begun = []

    class Asking(lamp.Callback):
        across_stages, needs_model, asked = True, False, False

        def on_epoch(self, training):
            if not self.asked:
                self.asked = True
                signal.raise_signal(signal.SIGINT)

    def interrupted(*given, **named):
        begun.append(named["epochs"])
        return lamp.sweep(*given, **{**named, "callbacks": [Asking()]})

    monkeypatch.setattr("lamp.tables.pairs.sweep", interrupted)
    both = replace(FEW, shapes=(Shape(0, 0),), encoded=(Shape(0, 0),))
    with pytest.raises(KeyboardInterrupt):
        search(circles(150), circles(50, 1), both, 2, progress=False)
    assert len(begun) == 1


def test_an_effort_is_within_its_time():
    for rows, inputs, seconds in (
        (300, 10, 100),
        (60_000, 30, 100),
        (800_000, 20, 60),
        (800_000, 20, 2000),
        (5_000, 2000, 30),
    ):
        effort = effort_for(rows, inputs, 3, 8, seconds)
        assert effort.settings == efforts.PER_PAIR * len(effort.shapes)
        assert effort.swept_rows <= min(rows, efforts.SWEPT_ROWS)
        assert effort.sweep_epochs >= efforts.HALVING**2
    small, large = effort_for(300, 10, 3, 8, 100), effort_for(800_000, 20, 3, 8, 60)
    assert len(small.shapes) == 4
    assert len(large.shapes) < 4
    assert small.batch_size < large.batch_size
    assert effort_for(7, 3, 2, 20, 10).members == 14


def test_the_share_that_halving_leaves():
    # 27 settings: all to 1/27, 9 to 1/9, 3 to 1/3, one to the end
    by_hand = (27 / 27 + 9 * (1 / 9 - 1 / 27) + 3 * (1 / 3 - 1 / 9) + 2 / 3) / 27
    assert efforts.share_trained(27) == pytest.approx(by_hand)


def test_shapes_are_networks():
    network = Shape(7, 2, 0.2).build(5, 3)
    assert [type(module) for module in network] == [
        lamp.Linear, lamp.ReLU, lamp.Dropout, lamp.Linear, lamp.ReLU, lamp.Dropout, lamp.Linear,
    ]  # fmt: skip
    for shape in SHAPES:
        parameters = shape.build(5, 3).parameters()
        assert shape.weights(5, 3) == sum(p.numel() for p in parameters if p.data.dim() == 2)
    assert efforts.shown(Shape(7, 2, 0.2)) == "7 x 7 units, dropout 0.2"


def test_what_a_search_leaves(found):
    assert len(found.groups[0].networks) == len(found.settings) == 9
    assert len(found.sweep.rows) == 9
    assert all(setting["pair"] == found.settings[0]["pair"] for setting in found.settings)
    assert SHAPES[found.settings[0]["pair"]] == found.groups[0].shape != Shape(0, 0)  # a circle is no line
    x, labels = circles(1000, 2)
    p = lamp.predict(found.groups[0].networks, x).softmax(-1).mean(0)
    assert (p.argmax(1) == labels).double().mean() > 0.8


def test_rows_are_calibrated_by_members_that_have_not_seen_them(found):
    """Nine members make four folds, each held out by two; the ninth holds out the first as well, and is not asked."""
    assert found.scores.shape == (2, 200, 2)
    inputs = torch.cat([circles(150)[0], circles(50, 1)[0]])
    targets = torch.cat([circles(150)[1], circles(50, 1)[1]])
    _, inside = member_rows.folds(200, targets, 4, seed=0)  # type: ignore[attr-defined]
    for half in range(2):
        expected = torch.cat(
            [lamp.predict(found.groups[0].networks[4 * half + fold], inputs[inside[fold]]) for fold in range(4)]
        )
        torch.testing.assert_close(found.scores[half], expected)
    assert (found.targets == targets[inside].flatten()).all()


def test_members_that_failed_are_not_asked(found):
    networks, data = found.groups[0].networks, circles(200)
    dealt = MemberRows.of((data[0][:150], data[1][:150]), (data[0][150:], data[1][150:]), 9, 8, seed=0)
    both, targets = dealt.unseen(networks, [])
    one, same = dealt.unseen(networks, [2])
    assert (same == targets).all()
    assert (one[:, 100:150] == both[1, 100:150]).all()  # of the third fold, the other member's
    assert (one[:, :100] == both[:, :100]).all()
    neither, fewer = dealt.unseen(networks, [2, 6])
    assert neither.shape == (2, 150, 2)
    assert (fewer == torch.cat([targets[:100], targets[150:]])).all()


def test_the_same_seed_finds_the_same(found):
    again = search(circles(150), circles(50, 1), FEW, 2, progress=False)
    assert again.settings == found.settings
    for one, other in zip(again.groups[0].networks.parameters(), found.groups[0].networks.parameters(), strict=True):
        assert (one.data == other.data).all()
    other = search(circles(150), circles(50, 1), FEW, 2, seed=7, progress=False)
    assert other.settings != found.settings


def test_a_large_table_holds_the_validation_rows_out(monkeypatch):
    monkeypatch.setattr(member_rows, "FOLDED_ROWS", 100)
    validation = circles(50, 1)
    found = search(circles(150), validation, FEW, 2, progress=False)
    assert found.scores.shape == (9, 50, 2)
    torch.testing.assert_close(found.scores, lamp.predict(found.groups[0].networks, validation[0]))


def test_numbers_and_one_member():
    x = torch.randn(120, 3)
    y = (x @ torch.tensor([1.0, -0.5, 0.0])).unsqueeze(1)
    effort = Effort(SHAPES[:1], 3, 100, 9, 32, 30, 9, 1, 60.0)
    found = search((x[:90], y[:90]), (x[90:], y[90:]), effort, 1, progress=False)
    assert found.scores.shape[2] == 1
    assert len(found.groups[0].networks) == 1


@pytest.mark.parametrize(("where", "stage"), [(searched_pairs, "sweep"), (searching, "fit")])
def test_ctrl_c_ends_the_search(monkeypatch, where, stage):
    """Also where it comes too late for the training in hand to notice."""
    real = getattr(where, stage)

    def interrupted(*args, **kwargs):
        result = real(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(where, stage, interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(circles(150), circles(50, 1), FEW, 2, progress=False)


def test_a_late_ctrl_c_reaches_whoever_waits_outside():
    with Interruptible() as outer:
        with Interruptible():
            signal.raise_signal(signal.SIGINT)
        assert outer.asked


TIGHT = Effort(SHAPES, 9, 120, 27, 8, 200, 200, 9, 2e-2)  # a budget that does not suffice for 200 epochs


def test_a_budget_is_counted_in_work(monkeypatch):
    """A busy machine finds the same result; here each stage waits, and the clock runs fast."""
    said = []
    found = search(circles(150), circles(50, 1), TIGHT, 2, progress=False, tell=said.append)
    epochs = found.histories[0].epochs
    assert efforts.LEAST_EPOCHS[-1] <= epochs < 200
    assert said[-1] == f"stopped by the budget at epoch {epochs} of 200" == found.histories[0].stopped
    real, begun = searched_pairs.sweep, time.monotonic()  # type: ignore[attr-defined]

    def slow(*args, **kwargs):
        time.sleep(1.0)
        return real(*args, **kwargs)

    monkeypatch.setattr(searched_pairs, "sweep", slow)
    clock = SimpleNamespace(monotonic=lambda: begun + 2 * (time.monotonic() - begun))
    monkeypatch.setattr(searching, "time", clock)
    again = search(circles(150), circles(50, 1), TIGHT, 2, progress=False)
    assert again.settings == found.settings
    for one, other in zip(again.groups[0].networks.parameters(), found.groups[0].networks.parameters(), strict=True):
        assert (one.data == other.data).all()


def test_the_clock_is_a_guard(monkeypatch):
    monkeypatch.setattr(efforts, "GUARD", 0.0)
    monkeypatch.setattr(efforts, "GRACE", -TIGHT.seconds)  # no time at all, so that it does not count how fast this is
    assert efforts.guard(TIGHT.seconds) == 0.0
    said = []
    found = search(circles(150), circles(50, 1), TIGHT, 2, progress=False, tell=said.append)
    assert found.histories[0].epochs >= 1
    assert f"stopped by the clock at epoch {found.histories[0].epochs} of 200" in said[-1]
    assert any("the clock ended the sweep" in line for line in said)
    assert max(row.epochs for row in found.sweep.rows) <= 3  # an epoch of each stage
    assert found.histories[0].stopped == said[-1]


def test_a_budget_counts_the_columns_of_a_wide_table():
    assert efforts.training_seconds(100, 5_000, 20) == 20
    assert efforts.training_seconds(3_000, 300, 20) == pytest.approx(20 - efforts.COLUMN * 2_900)
    assert efforts.training_seconds(3, 2_000_000, 20) == pytest.approx(20 - efforts.CELL * 5_000_000)  # few, but long
    assert efforts.training_seconds(3_000, 2_000, 20) < efforts.training_seconds(3_000, 300, 20) < 20
    assert efforts.training_seconds(100_000, 300, 20) == 3
    assert not efforts.remark_on_columns(3_000, 300, 20)
    assert "10,000 columns of 400 rows take most of the budget of 20 s" in efforts.remark_on_columns(10_000, 400, 20)[0]
    too_wide = efforts.remark_on_columns(10_000, 2_000, 20)[0]
    assert "take about 35 s to read and preprocess alone, which is more than the budget of 20 s" in too_wide


def test_an_epoch_counts_what_is_moved_where_there_is_little_to_compute():
    linear, hidden = Shape(0, 0), Shape(64, 1)
    assert efforts.epoch_seconds(linear, 40_000, 2, 192, 32) > 192 * 40_000 * efforts.INPUT
    updated, computed = hidden.weights(40_000, 2) - efforts.CACHED, 6 * hidden.weights(40_000, 2) * 192 / efforts.RATE
    assert efforts.epoch_seconds(hidden, 40_000, 2, 192, 32) > 6 * updated * efforts.UPDATE > computed
    assert efforts.epoch_seconds(hidden, 20, 2, 640, 64) == 6 * hidden.weights(20, 2) * 640 / efforts.RATE + 1e-5


@pytest.mark.parametrize("inputs", [4_000, 40_000])
def test_the_sweep_of_a_wide_table_is_within_its_share_of_the_budget(inputs):
    effort = effort_for(192, inputs, 2, 10, 10.0, numbers=inputs)
    pairs = [(shape, inputs) for shape in effort.shapes]
    swept = efforts.sweep_seconds(pairs, 2, effort.swept_rows, effort.batch_size, effort.sweep_epochs, effort.halving)
    assert swept <= 10.0 * efforts.SWEEP
    assert not effort.encoded


def test_a_larger_budget_is_more_epochs():
    epochs = []
    for seconds in (1e-4, 0.85, 60.0):
        effort = Effort(SHAPES[1:2], 3, 120, 27, 8, 90, 90, 4, seconds)
        epochs.append(search(circles(150), circles(50, 1), effort, 2, progress=False).histories[0].epochs)
    assert efforts.LEAST_EPOCHS[-1] == epochs[0] < epochs[1] < epochs[2]


def test_what_is_left_of_a_budget():
    """First members and pairs, then epochs, then fewer of all; never fewer epochs than a network needs."""
    effort = Effort(SHAPES, 9, 1000, 27, 64, 150, 50, 24, 100.0)
    assert allotment(effort, [1e-3, 1e-3, 1e-3, 1e-3], 60.0, 5_000) == Allotment(3, 8, 150)
    assert allotment(effort, [1e-2, 1e-2, 1e-2], 20.0, 5_000) == Allotment(3, 8, 79)
    assert allotment(effort, [1e-2, 1e-2, 1e-2], 12.0, 5_000) == Allotment(2, 9, 63)
    assert allotment(effort, [1e-2, 1e-1, 1e-2], 12.0, 5_000) == Allotment(1, 19, 61)
    assert allotment(effort, [1e-2, 1e-2, 1e-2], 13.2, 5_000, [0.3, 0.3, 5.0]) == Allotment(2, 10, 60)
    assert allotment(effort, [1e-1, 1e-1], 24.2, 5_000) == Allotment(1, 8, 30)
    assert allotment(effort, [1e-1, 1e-1], 10.452, 5_000) == Allotment(1, 8, 26, 0.5)
    assert allotment(effort, [1e-1, 1e-1], 4.05, 50_000) == Allotment(1, 4, 10)


def test_small_budgets_count_kernels_and_epochs_and_large_ones_stay_as_they_were():
    """What a training costs besides its multiplications does not grow with the budget."""
    for seconds in (0.6, 3.0, 12.0, 72.0):
        effort = effort_for(600, 60, 2, 24, seconds, numbers=7)
        pairs = [(shape, 60) for shape in effort.shapes] + [(shape, 60 + 7 * 16) for shape in effort.encoded]
        of_sweep = effort.swept_rows, effort.batch_size, effort.sweep_epochs, effort.halving
        swept = efforts.sweep_seconds(pairs, 2, *of_sweep)
        assert swept <= efforts.SWEEP * seconds or (len(pairs) == 2 and effort.sweep_epochs == efforts.EPOCHS[0])
    assert (len(effort.shapes), len(effort.encoded), effort.halving) == (4, 4, efforts.HALVING)
    assert effort_for(600, 60, 2, 24, 3.0, numbers=7).halving is None


def test_numbers_that_bend():
    """A target that is a wave of one number; nine members with an encoding, where that is better."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(400, 2, generator=generator)
    y = (5 * x[:, :1]).sin()
    effort = Effort(SHAPES[:1], 6, 250, 27, 8, 60, 60, 9, 60.0, SHAPES[:1])
    found = search((x[:250], y[:250]), (x[250:320], y[250:320]), effort, 1, progress=False)
    (group,) = found.groups
    assert group.encoding.bins == [16, 16]
    assert {setting["pair"] for setting in found.settings} == {1}
    assert {row.setting["pair"] for row in found.sweep.rows} == {0, 1}
    error = group.scores(x[320:]).mean(0) - y[320:]
    assert error.square().mean() < 0.5 * y.var()  # a straight line explains nothing


def test_groups_are_mixed_by_rows_that_they_held_out(monkeypatch):
    monkeypatch.setattr(searched_pairs, "NEAR", 9.0)
    monkeypatch.setattr(searching, "mixed", lambda scores, targets: (0.3, 0.7))
    few = Effort((Shape(17, 1), Shape(18, 1)), 6, 120, 27, 8, 27, 9, 16, 60.0)
    found = search(circles(150), circles(50, 1), few, 2, progress=False)
    assert len(found.groups) == 2
    assert [group.weight for group in found.groups] == [0.3, 0.7]
    assert [len(group.networks) for group in found.groups] == [8, 8]
    assert found.scores.shape == (4, 200, 2)
    assert found.weights.sum() == pytest.approx(1)
    for group, weights in zip(found.groups, found.weights.split(2), strict=True):
        assert (weights == group.weight / 2).all()
    first, second = (next(iter(group.networks.parameters())).data for group in found.groups)
    assert first.shape != second.shape


def test_weights_are_those_with_the_lowest_loss():
    labels = torch.arange(600) % 3
    good = torch.randn(2, 600, 3, generator=torch.Generator().manual_seed(1))
    good += 2 * torch.nn.functional.one_hot(labels, 3)
    bad = torch.randn(3, 600, 3, generator=torch.Generator().manual_seed(2))
    assert mixed([bad], labels) == (1.0,)
    assert mixed([bad, good], labels) == (0.0, 1.0)
    assert mixed([good, bad, good], labels)[1] == 0.0
    p = [each.double().softmax(-1).mean(0)[torch.arange(600), labels] for each in (good, good.flip(0) * 0.2)]
    losses = {w: -(w * p[0] + (1 - w) * p[1]).log().mean() for w in np.arange(11) / 10}
    assert mixed([good, good.flip(0) * 0.2], labels)[0] == pytest.approx(min(losses, key=losses.get))
    y = torch.randn(500, 1, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(2, 500, 1, generator=torch.Generator().manual_seed(4))
    assert mixed([y + noise[:1], y + noise[1:]], y) == (0.5, 0.5)
    assert mixed([y + noise[:1], y + 3 * noise[1:]], y) == (0.9, 0.1)


def test_few_rows_are_mixed_equally():
    labels = torch.tensor([0, 1, 1])
    one, other = torch.zeros(1, 3, 2), torch.tensor([[[1.0, 0], [0, 1], [0, 1]]])
    assert mixed([one, other], labels)[0] > 0.2
    assert mixed([one, other, one, other], labels)[0] > 0.0


def test_a_deadline():
    x, y = circles(100)
    model = lamp.Sequential(lamp.Linear(2, 2))
    begun = time.monotonic()
    history = lamp.fit(
        model, lamp.CrossEntropyLoss(), lamp.SGD(model.parameters(), lr=0.1), (x, y), epochs=1_000_000,
        callbacks=[Deadline(0.2)], progress=False,
    )  # fmt: skip
    assert history.stopped == "the time is up"
    assert time.monotonic() - begun < 20


# ---- importance ------------------------------------------------------------------------------------------------------
def test_what_matters_is_found(found):
    preprocessing = lamp.tables.Preprocessing().fit(
        lamp.tables.preprocessing.pl.DataFrame({"a": circles(60)[0][:, 0].numpy(), "b": circles(60)[0][:, 1].numpy()})  # type: ignore[attr-defined]
    )
    model = TableModel(preprocessing, Target("y", "classification", ("in", "out")), found.groups)
    for parameter in [*found.groups[0].networks.parameters()][:1]:
        kept = parameter.data.clone()
        parameter.data[..., 1] = 0.0  # now the second column does nothing
    x, labels = circles(400, 3)
    one, other = importances(model, x, labels)
    next(iter(found.groups[0].networks.parameters())).data.copy_(kept)
    assert (one.column, other.column) == ("a", "b")
    assert one.mean > 0.01
    assert other.mean == 0.0


@pytest.mark.parametrize("shape", [Shape(0, 0), Shape(8, 1), Shape(8, 2, 0.2)])
@pytest.mark.parametrize("classes", [("a", "b", "c"), ()])
def test_importance_by_the_change_of_the_first_layer_is_that_of_shuffled_rows(shape, classes):
    """Held against predictions for rows whose column really is shuffled."""
    frame = people()
    target = Target("y", "classification", classes) if classes else Target("y", "regression", mean=10.0, std=2.0)
    preprocessing = lamp.tables.Preprocessing().fit(frame.drop("y"))
    networks = population(shape.build(len(preprocessing.features), target.outputs), range(3))
    networks.eval()
    model = TableModel(preprocessing, target, [Group(networks, shape)])
    x = preprocessing.transform(frame.drop("y"))
    truth = torch.arange(40) % 3 if classes else torch.randn(40).double() + 10
    found = {each.column: each for each in importances(model, x, truth, seed=5)}

    def loss(x):
        mean = model.of_inputs(x).mean
        if classes:
            return -mean.gather(1, truth.unsqueeze(1)).log().mean().item()
        return ((mean - truth) ** 2).mean().item() / 4

    generator = torch.Generator().manual_seed(5)
    for name, at in preprocessing.places().items():
        rises = []
        for _ in range(5):
            shuffled, order = x.clone(), torch.randperm(40, generator=generator)
            shuffled[:, at.start : at.stop] = x[order, at.start : at.stop]
            rises.append(loss(shuffled) - loss(x))
        assert found[name].mean == pytest.approx(np.mean(rises), abs=1e-6)
        assert found[name].std == pytest.approx(np.std(rises, ddof=1), abs=1e-6)


def test_importance_of_too_many_columns_is_that_of_the_heaviest(found, monkeypatch):
    monkeypatch.setattr("lamp.tables.importance.MANY_COLUMNS", 1)
    x, labels = circles(60)
    frame = pl.DataFrame({"a": x[:, 0].numpy(), "b": x[:, 1].numpy()})
    preprocessing = lamp.tables.Preprocessing().fit(frame)
    networks = copy.deepcopy(found.groups[0].networks)
    next(iter(networks.parameters())).data[..., 0] *= 0.01
    model = TableModel(
        preprocessing, Target("y", "classification", ("in", "out")), [Group(networks, found.groups[0].shape)]
    )
    assert len(importances(model, x, labels)) == 2
    assert [each.column for each in importances(model, x, labels, seconds=1e-9)] == ["b"]
    monkeypatch.setattr("lamp.tables.importance.MOST_WORK", 0.0)
    notes = []
    (only,) = importances(model, x, labels, notes=notes)
    assert only.column == "b"
    assert notes == ["importance is measured for the 1 columns with the largest weights, of 2"]


# ---- scikit-learn's models -------------------------------------------------------------------------------------------
def test_peers_of_classes():
    x, labels = circles(150)
    test = circles(80, 4)
    target = Target("y", "classification", ("in", "out", "never"))  # a class that no row has
    found = peers(target, (x, labels), test, seconds=9, seed=0)
    assert [peer.name for peer in found] == ["linear model", "MLP", "gradient boosting"]
    p = LogisticRegression(max_iter=1000).fit(x.numpy(), labels.numpy()).predict_proba(test[0].numpy())
    expected = of_classes(torch.from_numpy(np.column_stack([p, np.zeros(80)])).double(), test[1])
    assert found[0].estimates["log loss"].value == pytest.approx(expected["log loss"].value, rel=1e-6)
    assert "200 epochs" in found[1].note


def test_peers_of_numbers():
    x = torch.randn(150, 3)
    y = 1000 + 50 * x[:, 0].double()
    target = Target("y", "regression", mean=float(y.mean()), std=float(y.std()))
    found = peers(target, (x, y), (x[:40], y[:40]), seconds=9, seed=0)
    ridge = Ridge().fit(x.numpy(), y.numpy())
    expected = 1 - ((y[:40].numpy() - ridge.predict(x[:40].numpy())) ** 2).sum() / ((y[:40] - y[:40].mean()) ** 2).sum()
    assert found[0].estimates["R2"].value == pytest.approx(float(expected))
    assert found[1].estimates["R2"].value > 0.9  # though its target is far from 1


def test_peers_count_their_work():
    """With few seconds there are fewer rows, steps and rounds, the same ones on any machine."""
    x, labels = circles(150)
    target = Target("y", "classification", ("in", "out"))
    found = peers(target, (x, labels), circles(80, 4), seconds=1e-5, seed=0)
    assert [peer.note for peer in found] == ["", "cut short after 1 epoch", "cut short after 1 round"]
    x, labels = circles(5_000)
    notes = [peer.note for peer in peers(target, (x, labels), circles(80, 4), seconds=5e-4, seed=0)]
    assert notes[0].startswith("on 2,500 rows")
    assert notes[1] == "on 1,250 rows, cut short after 1 epoch"
    again = [peer.note for peer in peers(target, (x, labels), circles(80, 4), seconds=5e-4, seed=0)]
    assert again == notes
    y = x[:, 0].double()
    target = Target("y", "regression", mean=float(y.mean()), std=float(y.std()))
    notes = [peer.note for peer in peers(target, (x, y), (x[:80], y[:80]), seconds=1e-6, seed=0)]
    cut = ["on 312 rows", "on 200 rows, cut short after 1 epoch", "on 200 rows, cut short after 1 round"]
    assert notes[1:] == cut[1:]
    assert notes[0].startswith("on ")


@pytest.mark.parametrize(("most", "expected"), [(1e6, {1}), (10, {2})], ids=["small", "large"])
def test_peers_of_a_small_table_use_one_thread(monkeypatch, most, expected):
    """Threads of a small table wait for each other, on a busy machine hundreds of times as long as they compute."""
    threads, fit = [], peers_module._fit_trees

    def counted(*arguments):
        threads.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "openmp")
        return fit(*arguments)

    monkeypatch.setattr(peers_module, "_fit_trees", counted)
    monkeypatch.setattr(peers_module, "SMALL", most)
    x, labels = circles(150)
    with threadpool_limits(2):
        peers(Target("y", "classification", ("in", "out")), (x, labels), circles(80, 4), seconds=1e-3, seed=0)
    assert threads
    assert {*threads} == expected


def test_a_peer_that_takes_far_longer_than_its_budget_is_left_out():
    """Gradient boosting divides each column into bins and looks through all of them in each round."""
    x = torch.randn(60, 9_000)
    said = []
    found = peers(
        Target("y", "regression", mean=0.0, std=1.0), (x, x[:, 0].double()), (x, x[:, 0].double()),
        seconds=0.5, seed=0, tell=said.append,
    )  # fmt: skip
    assert [peer.name for peer in found] == ["linear model", "MLP"]
    assert said[-1].startswith("scikit-learn's gradient boosting is left out: with 9,000 inputs it takes 6 s or more")


def test_a_clock_that_runs_away_ends_the_peers(monkeypatch):
    hours = iter(range(0, 10**9, 3600))
    monkeypatch.setattr("lamp.tables.peers.time", SimpleNamespace(monotonic=lambda: next(hours)))
    x, labels = circles(3_000)
    target = Target("y", "classification", ("in", "out"))
    found = peers(target, (x, labels), circles(80, 4), seconds=0.02, seed=0)
    assert "cut short by the clock after 1 epoch" in found[1].note
    assert "cut short by the clock after 20 rounds" in found[2].note or "rounds" in found[2].note


def test_estimates_go_to_json():
    p = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).double()
    told = {name: each.to_dict() for name, each in of_classes(p, torch.tensor([1, 1])).items()}
    assert math.isnan(of_classes(p, torch.tensor([1, 1]))["ROC AUC"].value)
    assert json.loads(json.dumps(told, allow_nan=False))["ROC AUC"]["value"] is None
