"""`CrossValidation`: the scores of all folds, with their mean and its confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.intervals import student_t
from lamp.replicas import Population
from lamp.signatures import called
from lamp.tabular import Table
from lamp.torch_habits import explains_attributes, without_items
from lamp.training import History
from lamp.trees import first_leaf
from lamp.values import a_number, a_switch

ROWS_SHOWN = 12
INSTEAD = {  # what users of scikit-learn and Keras look for
    **dict.fromkeys(("test_score", "cv_results_", "results", "validation_loss", "val_loss"), "result.scores, a dict"),
    **dict.fromkeys(("models", "networks", "estimator", "estimators_"), "result.population, with a network per fold"),
    **dict.fromkeys(("best", "model", "network", "best_estimator_", "best_model"), "result.population[k], of fold k"),
    **dict.fromkeys(("histories", "fit_time"), "result.history, with a column per fold"),
    **dict.fromkeys(("predictions", "oof", "oof_predictions"), "result.outputs: each sample by the fold without it"),
    **dict.fromkeys(("fold", "splits", "indices"), "result.folds[k], the samples that fold k held out"),
    **dict.fromkeys(
        ("average", "best_score_", "score"), "result.mean('loss'), result.std('loss'), result.interval('loss')"
    ),
    "plot": "result.history.plot()",
}


@explains_attributes(
    lambda found: INSTEAD | {name: f"result.scores[{name!r}]" for name in vars(found).get("scores", ())}
)
@dataclass(frozen=True, eq=False, repr=False)
class CrossValidation:
    """The result of `cross_validate`. It prints as a table, with a row per fold.

    There are K = repeats x folds replicas; replica k belongs to repeat k // folds and fold k % folds.

    scores      name -> (K,) float64: "loss" and each metric on the samples held out from replica k; NaN if it failed
    outputs     (repeats, n, ...): for each sample the output of the replica that was not trained on it; a tuple of such
                tensors for a network with several outputs
    folds       K tensors: the indices of the samples held out from each replica
    training    (K, n - ceil(n / folds)): the indices of the samples that each replica was trained on
    population  the K trained networks
    history     the history of their training; `history.failed` lists the replicas that failed
    """

    scores: dict[str, Tensor]
    outputs: Any
    folds: list[Tensor]
    training: Tensor
    population: Population
    history: History

    def __len__(self) -> int:
        """The number of networks, one per fold of each repeat."""
        return len(self.folds)

    def __getitem__(self, index: Any) -> Any:
        fix = "result.scores['loss'] has a score per fold; result.population[0] is the first fold's network"
        raise without_items(self, index, fix)

    @called()
    def mean(self, name: str = "loss") -> float:
        """The mean over the folds whose training did not fail."""
        return self._finished(name).mean().item()

    @called()
    def std(self, name: str = "loss") -> float:
        """The standard deviation over those folds; NaN for a single one."""
        values = self._finished(name)
        return values.std().item() if len(values) > 1 else math.nan

    @called()
    def interval(self, name: str = "loss", level: float = 0.95, *, corrected: bool = False) -> tuple[float, float]:
        """The confidence interval (low, high) of the mean over m folds, by Student's t with m - 1 degrees of freedom.

        mean -+ t std sqrt(1 / m)                        if the scores were independent
        mean -+ t std sqrt(1 / m + 1 / (folds - 1))      corrected

        The scores are not independent, because the networks share most of their training data. So the first interval is
        too narrow, and with repeats it becomes narrower although there is no more information. With repeats use
        `corrected=True`.

        Source    Nadeau & Bengio 2003, "Inference for the generalization error" (the correction)
        """
        if not 0 < a_number(level, "level") < 1:
            raise ArgumentError("level is out of range", expected="between 0 and 1", got=level, fix="level=0.95")
        mean, count = self.mean(name), len(self._finished(name))
        shared = 1 / (len(self.folds) // len(first_leaf(self.outputs)) - 1) if a_switch(corrected, "corrected") else 0.0
        margin = student_t(level, count - 1) * self.std(name) * math.sqrt(1 / count + shared)
        return mean - margin, mean + margin

    def _finished(self, name: str) -> Tensor:
        if not isinstance(name, str) or name not in self.scores:
            raise ArgumentError(
                f"{name!r} was not measured", expected=", ".join(self.scores), got=name, fix="pass it in metrics="
            )
        return self.scores[name][[k for k in range(len(self.folds)) if k not in self.history.failed]]

    def _spread(self, name: str) -> str:
        return f"{self.mean(name):.4g} ± {self.std(name):.2g}".removesuffix(" ± nan")

    @called()
    def table(self) -> Table:
        """The scores of some folds, evenly spaced, and their mean and standard deviation."""
        repeats, replicas = len(first_leaf(self.outputs)), len(self.folds)
        per_repeat = replicas // repeats
        rows = []
        for k in sorted({round(row * (replicas - 1) / (ROWS_SHOWN - 1)) for row in range(ROWS_SHOWN)}):
            repeat, fold = divmod(k, per_repeat)
            values = ["failed" if k in self.history.failed else f"{v[k].item():.4g}" for v in self.scores.values()]
            rows.append([f"{repeat + 1}." * (repeats > 1) + f"{fold + 1}", str(len(self.folds[k])), *values])
        rows.append(["mean ± std", "", *map(self._spread, self.scores)])
        headline = f"{per_repeat} folds" + (f" x {repeats} repeats" if repeats > 1 else "")
        headline += f" of {first_leaf(self.outputs).shape[1]} samples, {self.history.epochs} epochs in "
        headline += f"{self.history.seconds.sum().item():.2f} s; {self.history.stopped}"
        if failed := self.history.failed:
            headline += f"\n{len(failed)} of {replicas} trainings failed and are not in the mean"
        name = "fold" if repeats == 1 else "repeat.fold"
        return Table(headline, [name, "samples", *(each.replace("_", " ") for each in self.scores)], rows, wraps=True)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __repr__(self) -> str:
        return f"CrossValidation({len(self.folds)} folds; {', '.join(f'{n} {self._spread(n)}' for n in self.scores)})"
