"""The verdict in words: differences beyond noise and within it, what is advised, and the commands."""

import math
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from sklearn import metrics as theirs

from lamp.tables.holdout import WITHOUT_TEST
from lamp.tables.importance import Importance
from lamp.tables.metrics import Estimate, advantages, log_losses, losses_of, overconfidence
from lamp.tables.targets import Target
from lamp.tables.usage import commands, quoted
from lamp.tables.verdict import BETTER, GUESSING, LINEAR, SAME, UNKNOWN, WORSE, compared, verdict

CLASSES, NUMBERS = Target("y", "classification", ("a", "b")), Target("y", "regression")
N = 400


def losses(mean, n=N, seed=0):
    """Positive losses with this mean, about as skewed as log losses."""
    drawn = torch.empty(n, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.mean() * mean


# ---- comparisons -----------------------------------------------------------------------------------------------------
def test_advantages_are_differences_of_the_metrics():
    p, q = torch.rand(2, 90, 3).double().softmax(-1)
    labels = torch.randint(3, (90,))
    found = advantages(log_losses(p, labels), {"q": log_losses(q, labels)})["q"].value
    assert found == pytest.approx(theirs.log_loss(labels, q) - theirs.log_loss(labels, p))
    truth, one, other = torch.randn(3, 90).double()
    found = advantages(losses_of(one, truth), {"other": losses_of(other, truth)}, root=True)["other"].value
    expected = theirs.root_mean_squared_error(truth, other) - theirs.root_mean_squared_error(truth, one)
    assert found == pytest.approx(expected)


def test_rows_that_are_hard_for_both_cancel():
    """The interval of a difference is that of the differences row by row: 1.96 std / sqrt(n)."""
    hard, n = losses(1.0), 400
    less = hard - 0.02 + 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(1)).double()
    found = advantages(less, {"other": hard})["other"]
    expected = 1.96 * (hard - less).std().item() / math.sqrt(n)
    assert found.margin == pytest.approx(expected, rel=0.1)
    assert found.margin < 0.2 * 1.96 * hard.std().item() / math.sqrt(n)


@pytest.mark.parametrize("target", [CLASSES, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize(
    ("mean", "n", "result", "begins"),
    [
        (2.0, N, BETTER, "Better than a linear model: "),
        (0.5, N, WORSE, "Worse than a linear model: "),
        (1.0, N, SAME, "No difference from a linear model beyond noise: "),
        (9.0, 19, UNKNOWN, "Too few test rows for a comparison with a linear model: "),
    ],
)
def test_results(target, mean, n, result, begins):
    (found,) = compared(target, losses(1.0, n), {LINEAR: losses(mean, n, seed=1)})
    assert found.result == result == found.to_dict()["result"]
    metric, theirs = ("log loss", mean) if target.is_classes else ("RMSE", math.sqrt(mean))
    assert (found.ours, found.theirs) == pytest.approx((1.0, theirs))
    assert str(found).startswith(f"{begins}{metric} 1.")


def test_the_models_own_value_reads_alike_in_each_sentence():
    others = {GUESSING: losses(1e4, seed=1), LINEAR: losses(1e3, seed=2), "MLP": losses(1.01)}
    said = verdict(CLASSES, compared(CLASSES, losses(1.0), others), {"accuracy": Estimate(0.9)}, [], seconds=60,
                   overconfidence=Estimate(0.0, -0.1, 0.1)).sentences  # fmt: skip
    assert len({re.search(r"log loss (\S+) against", each)[1] for each in said[:3]}) == 1


def test_a_difference_is_told_with_its_interval():
    other, ours = losses(0.6), losses(0.4, seed=3)
    (better,), (worse,) = (compared(CLASSES, *pair) for pair in ((ours, {"MLP": other}), (other, {"MLP": ours})))
    low, high = better.advantage.low, better.advantage.high
    assert 0 < low < 0.2 < high
    assert str(better).endswith(f"log loss 0.400 against 0.600, lower by {low:.3f} to {high:.3f}.")
    assert str(worse).endswith(f"log loss 0.600 against 0.400, higher by {low:.3f} to {high:.3f}.")


def test_equally_good_models_are_seldom_called_different():
    """By the definition of a 95 % interval in 1 of 20 cases; with few rows and skewed losses in a few more."""
    drawn = torch.empty(61, 60, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(5))
    different = 0
    for k in range(60):
        (found,) = compared(CLASSES, drawn[k], {LINEAR: drawn[k + 1]})
        different += found.result != SAME
    assert different <= 8


def test_overconfidence():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double().repeat(200, 1)
    found = overconfidence(p, torch.tensor([0, 0] * 200))
    assert found.value == pytest.approx(0.85 - 0.5)
    assert found.low is not None
    assert found.low > 0.2


# ---- sentences and advice --------------------------------------------------------------------------------------------
def judged(target=CLASSES, guessing=2.0, linear=1.0, n=N, **given):
    others = {GUESSING: losses(guessing, n, 1), LINEAR: losses(linear, n, 2)}
    estimates = {"accuracy": Estimate(0.7, 0.6, 0.8)} if target.is_classes else {"coverage": Estimate(0.9, 0.87, 0.93)}
    estimates = given.pop("estimates", estimates)
    if target.is_classes:
        given.setdefault("overconfidence", Estimate(0.0, -0.02, 0.02))
    important = [Importance(name, rise, 0.0) for name, rise in given.pop("rises", {"a": 1.0, "b": 1.0}).items()]
    return verdict(target, compared(target, losses(1.0, n), others), estimates, important, **{"seconds": 60, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"linear": 2.0}, []),
        ({"linear": 1.0}, ["Nothing shows that this is better than a linear model"]),
        ({"linear": 0.5}, ["A linear model predicts this table better"]),
        ({"guessing": 1.0, "linear": 2.0}, ["Nothing was found that tells 'y' beyond guessing"]),
        ({"linear": 2.0, "cut": "cut at epoch 3"}, ["cut at epoch 3. Try the same command with --time-budget 240"]),
        ({"linear": 2.0, "rises": {"a": 1.0, "b": 9.0}}, ["comes from 'b', 90 % of the importance"]),
        ({"linear": 2.0, "rises": {"b": 9.0}}, []),
        ({"linear": 9.0, "n": 100}, ["100 test rows are few"]),
        ({"linear": 2.0, "overconfidence": Estimate(0.1, 0.05, 0.15)}, ["calibration.png"]),
        ({"linear": 2.0, "overconfidence": Estimate(-0.1, -0.15, -0.05)}, ["calibration.png"]),
        ({"linear": 2.0, "target": NUMBERS}, []),
        ({"linear": 2.0, "target": NUMBERS, "estimates": {"coverage": Estimate(0.8, 0.77, 0.83)}}, ["residuals.png"]),
    ],
)  # fmt: skip
def test_advice(given, said):
    found = judged(**given)
    assert len(found.advice) == len(said), found.advice
    for line, part in zip(found.advice, said, strict=True):
        assert part in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overconfidence": Estimate(0.1, 0.05, 0.15)}, "It is too sure of itself. On average it is 80 % sure, and"),
        ({"overconfidence": Estimate(-0.1, -0.15, -0.05)}, "It is less sure than it could be. On average it is 60 %"),
        ({}, "On average it is 70 % sure, and right in 70 % of the test rows: no difference beyond noise."),
        ({"target": NUMBERS, "estimates": {"coverage": Estimate(0.8, 0.77, 0.83)}}, "Its 90 % intervals hold only 80"),
        ({"target": NUMBERS, "estimates": {"coverage": Estimate(0.97, 0.94, 0.99)}}, "Its 90 % intervals hold 97"),
    ],
)  # fmt: skip
def test_whether_probabilities_and_intervals_can_be_relied_on(given, said):
    assert judged(**given).sentences[-1].startswith(said)


def test_nothing_is_claimed_from_few_rows():
    found = judged(n=12)
    assert [each.result for each in found.comparisons] == [UNKNOWN, UNKNOWN]
    assert found.sentences[-1] == "12 test rows can tell very little: a comparison needs 20 or more."
    assert not any("linear" in line or "guessing" in line for line in found.advice)


def test_without_test_rows_nothing_is_claimed():
    comparisons = compared(CLASSES, losses(1.0), {})
    found = verdict(CLASSES, comparisons, {}, [], cut="stopped by the clock at epoch 3 of 60", seconds=60)
    assert found.sentences == [WITHOUT_TEST]
    assert len(found.advice) == 1
    assert found.to_dict()["comparisons"] == []


# ---- commands --------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform == "win32", reason="for the shells of other systems")
@pytest.mark.parametrize("name", ["m", "a model's", "$(rm -rf x)", "-m", "töne; ls", "a\nb"])
def test_commands_survive_the_shell(name):
    words = shlex.split(commands(Path(name), Path("t.parquet"))["predict new rows"])
    assert words[:2] == ["lamp", "predict"]
    assert Path(words[2]) == Path(name)
    assert not words[2].startswith("-")
    assert words[3:] == ["NEW.parquet"]


@pytest.mark.parametrize(("table", "new"), [("-", "NEW.csv"), ("t.csv.gz", "NEW.csv"), ("s-*.json", "NEW.json")])
def test_the_new_table_is_like_the_old(table, new):
    assert commands(Path("m"), Path(table))["measure it on other rows"] == quoted("lamp", "evaluate", "m", new)
