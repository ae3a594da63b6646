"""A verdict in words: whether a model is better than guessing and than other models, how sure that is, what to try.

A difference counts only where its 95 % interval, paired over the test rows, lies on one side of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lamp.printable import counted, printable, rounded
from lamp.tables.holdout import WITHOUT_TEST
from lamp.tables.importance import Importance
from lamp.tables.metrics import Estimate, Estimates, advantages
from lamp.tables.prediction_intervals import COVERAGE
from lamp.tables.targets import Target

GUESSING, LINEAR, TREES = "guessing", "linear model", "gradient boosting"
NAMES = {LINEAR: "a linear model", "MLP": "scikit-learn's MLP"}  # in a sentence
FEWEST_ROWS = 20  # with fewer test rows, bootstrap intervals are too narrow for a judgement
FEW_ROWS = 300  # test rows up to which more of them are advised
DOMINATES = 0.75  # share of the rises of all columns from which on one column is told
MORE = 4  # times the budget that is advised where it ended a training
BETTER, WORSE, SAME, UNKNOWN = "better", "worse", "no difference beyond noise", "too few test rows"


@dataclass(frozen=True)
class Comparison:
    """A model's loss beside another's on the same test rows.

    metric        "log loss", or "RMSE"
    ours, theirs  its values
    advantage     theirs - ours, with its 95 % interval; positive where the model is better
    rows          number of test rows
    """

    other: str
    metric: str
    ours: float
    theirs: float
    advantage: Estimate
    rows: int

    @property
    def result(self) -> str:
        """BETTER, WORSE, SAME or UNKNOWN."""
        low, high = self.advantage.low, self.advantage.high
        if self.rows < FEWEST_ROWS or low is None or high is None:
            return UNKNOWN
        return BETTER if low > 0 else WORSE if high < 0 else SAME

    def to_dict(self) -> dict[str, Any]:
        """The comparison as a dict for JSON."""
        advantage = self.advantage.to_dict()
        return {"with": self.other, "metric": self.metric, "advantage": advantage, "result": self.result}

    def __str__(self) -> str:
        return self.sentence(self.margin)

    @property
    def margin(self) -> float:
        """Half the width of the advantage's interval."""
        return self.advantage.margin or 0.0

    def sentence(self, margin: float) -> str:
        """The result in words, with the two values in as many digits as fit this margin."""
        other = NAMES.get(self.other, self.other)
        low, high = (rounded(abs(end or 0.0), self.margin) for end in (self.advantage.low, self.advantage.high))
        values = f"{self.metric} {rounded(self.ours, margin)} against {rounded(self.theirs, margin)}"
        return {
            BETTER: f"Better than {other}: {values}, lower by {low} to {high}.",
            WORSE: f"Worse than {other}: {values}, higher by {high} to {low}.",
            SAME: f"No difference from {other} beyond noise: {values}, from {low} higher to {high} lower.",
            UNKNOWN: f"Too few test rows for a comparison with {other}: {values}.",
        }[self.result]


@dataclass(frozen=True)
class Verdict:
    """What a training has come to: comparisons, what they and the metrics say in sentences, and what to try next."""

    comparisons: Sequence[Comparison]
    sentences: Sequence[str]
    advice: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """The verdict as a dict for JSON."""
        compared = [each.to_dict() for each in self.comparisons]
        return {"comparisons": compared, "sentences": list(self.sentences), "advice": list(self.advice)}


def compared(target: Target, ours: Tensor, others: Mapping[str, Tensor], *, seed: int = 0) -> list[Comparison]:
    """Compare a model with others by their losses on each test row, (n,): log losses, or squared errors."""
    if not others:
        return []
    metric, root = ("log loss", False) if target.is_classes else ("RMSE", True)

    def of(losses: Tensor) -> float:
        return float(losses.mean().sqrt() if root else losses.mean())

    found = advantages(ours, others, root=root, seed=seed)
    return [Comparison(name, metric, of(ours), of(losses), found[name], len(ours)) for name, losses in others.items()]


def verdict(
    target: Target,
    comparisons: Sequence[Comparison],
    estimates: Estimates,
    importances: Sequence[Importance],
    *,
    overconfidence: Estimate | None = None,
    cut: str = "",
    seconds: float,
) -> Verdict:
    """The verdict on a model, from its comparisons (none without test rows) and its metrics.

    overconfidence  for classes: mean over the test rows of (probability of the predicted class - whether it is right)
    cut             how the budget or the clock ended the training early, "" if they did not
    seconds         the budget of the training
    """
    if not comparisons:
        return Verdict([], [WITHOUT_TEST], _of_budget(cut, seconds))
    doubts, doubtful = _of_calibration(estimates, overconfidence, comparisons[0].rows)
    margin = min(each.margin for each in comparisons)  # for all, so that the model's own value reads alike in each
    return Verdict(
        comparisons,
        [*(each.sentence(margin) for each in comparisons), *_how_sure(comparisons), *doubts],
        [
            *_of_budget(cut, seconds),
            *_of_others(target, comparisons),
            *_of_columns(target, importances),
            *doubtful,
            *_of_rows(comparisons),
        ],
    )


def _how_sure(comparisons: Sequence[Comparison]) -> list[str]:
    """What the number of test rows cannot tell."""
    first, models = comparisons[0], [each for each in comparisons if each.other != GUESSING]
    if first.rows < FEWEST_ROWS:
        return [f"{counted(first.rows, 'test row')} can tell very little: a comparison needs {FEWEST_ROWS} or more."]
    closest = min((each.margin for each in models), default=0.0)
    if not closest:
        return []
    return [
        f"These are 95 % intervals, paired over {first.rows:,} test rows. On so many, a difference in {first.metric} "
        f"of less than about {rounded(closest, closest)} from another model is noise."
    ]


def _of_calibration(estimates: Estimates, overconfidence: Estimate | None, rows: int) -> tuple[list[str], list[str]]:
    """Whether probabilities or intervals can be taken at their word: a sentence, and advice where they cannot."""
    if rows < FEWEST_ROWS:
        return [], []
    if overconfidence is None:
        coverage = estimates.get("coverage")
        if coverage is None or coverage.low is None or coverage.high is None:
            return [], []
        if coverage.low <= COVERAGE <= coverage.high:
            return [], []  # the line on intervals says so
        much = "only " if coverage.high < COVERAGE else ""
        said = f"Its 90 % intervals hold {much}{100 * coverage.value:.0f} % of the test rows."
        return [said], ["Look at residuals.png before you rely on the intervals."] if much else []
    right = estimates["accuracy"].value
    said = f"On average it is {100 * (right + overconfidence.value):.0f} % sure, and right in {100 * right:.0f} %"
    low, high = overconfidence.low or 0.0, overconfidence.high or 0.0
    if low <= 0 <= high:
        return [f"{said} of the test rows: no difference beyond noise."], []
    much = "too sure of itself" if low > 0 else "less sure than it could be"
    return [f"It is {much}. {said} of the test rows."], [
        "Look at calibration.png before you rely on the probabilities."
    ]


# ---- advice ----------------------------------------------------------------------------------------------------------
def _of_budget(cut: str, seconds: float) -> list[str]:
    if not cut:
        return []
    return [f"The training was {cut}. Try the same command with --time-budget {MORE * seconds:.0f}."]


def _of_others(target: Target, comparisons: Sequence[Comparison]) -> list[str]:
    results = {each.other: each.result for each in comparisons}
    name = printable(target.name)
    if results[GUESSING] in (SAME, WORSE):
        return [
            f"Nothing was found that tells {name!r} beyond guessing. Check what each column was taken for (lamp train "
            "with --dry-run), and whether the columns can say anything about it."
        ]
    advice = [
        f"{NAMES.get(other, other).capitalize()} predicts this table better: use it, or try a larger --time-budget."
        for other, result in results.items()
        if result == WORSE
    ]
    if results.get(LINEAR) == SAME and not advice:
        advice.append("Nothing shows that this is better than a linear model, which is easier to explain.")
    return advice


def _of_columns(target: Target, importances: Sequence[Importance]) -> list[str]:
    rises = {each.column: each.mean for each in importances if each.mean > 0}
    if len(importances) < 2 or not rises:
        return []
    first = max(rises, key=lambda column: rises[column])
    share = rises[first] / sum(rises.values())
    if share < DOMINATES:
        return []
    return [
        f"Most of what it knows comes from {printable(first)!r}, {100 * share:.0f} % of the importance of all columns. "
        f"Make sure that this is known before {printable(target.name)!r} is, and does not follow from it."
    ]


def _of_rows(comparisons: Sequence[Comparison]) -> list[str]:
    rows = comparisons[0].rows
    if rows >= FEW_ROWS:
        return []
    return [f"{counted(rows, 'test row', 'few')}: measure it on more rows with lamp evaluate, or train on more."]
