"""TableModel: preprocessing, an ensemble of networks and its calibration; it predicts the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lamp.cpu_settings import threads_for
from lamp.errors import DataError, StateDictError
from lamp.studies.calibration import of_all_members, weighted
from lamp.tables import metrics, prediction_intervals
from lamp.tables.column import Unknown
from lamp.tables.conventions import Conventions
from lamp.tables.groups import Group, weights_of
from lamp.tables.metrics import Estimates
from lamp.tables.prediction_intervals import PredictionIntervals, within
from lamp.tables.preprocessing import Preprocessing
from lamp.tables.search import Found
from lamp.tables.targets import Target
from lamp.training.arguments import EVALUATION_BATCH

VERSION = 2  # of architecture.json; version 1 had one group, without an encoding
ROUNDING = 1e-6  # of the sum of the weights of all groups
AT_A_TIME = 32_768  # rows predicted together, which bounds the memory for the members' outputs (K, n, outputs)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The ensemble's predictions for n rows.

    mean    for classes, probabilities (n, C) float64; for numbers, (n,) float64 in the target's unit
    spread  (n,) the members' standard deviation; for classes, of the probability of the most likely class
    """

    mean: Tensor
    spread: Tensor


@dataclass(eq=False)
class TableModel:
    """A trained model of a table: preprocessing, networks and calibration.

    groups       the ensemble's members, by encoding and shape
    temperature  for classes, the number that scores are divided by
    intervals    for numbers, the 90 % prediction intervals
    """

    preprocessing: Preprocessing
    target: Target
    groups: list[Group]
    temperature: float = 1.0
    intervals: PredictionIntervals | None = None

    @property
    def members(self) -> int:
        """The number of networks."""
        return sum(len(group.networks) for group in self.groups)

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The lowest and the highest number that is predicted; None where there is no limit."""
        return (None, None) if self.intervals is None else (self.intervals.lowest, self.intervals.highest)

    def calibrate(self, found: Found, known: Tensor) -> None:
        """Set the temperature or the intervals from the members' outputs on rows that they were not trained on.

        known  the classes or numbers (n,) of all training and validation rows
        """
        if self.target.is_classes:
            self.temperature = of_all_members(found.scores, found.targets, self.members, found.weights)
        else:
            predicted, numbers = map(
                self.target.unscaled, (weighted(found.scores.double(), found.weights), found.targets)
            )
            self.intervals = prediction_intervals.fitted(predicted, numbers, known)

    # ---- predictions -------------------------------------------------------------------------------------------------
    def predict(
        self,
        frame: pl.DataFrame,
        notes: list[str] | None = None,
        unknown: Unknown | None = None,
        asked: Conventions | None = None,
    ) -> Prediction:
        """Predictions for the rows of a table.

        notes, unknown and asked are those of Preprocessing.transform, whose errors this raises too.
        """
        inputs = frame.drop(self.target.name, strict=False)
        return self.of_inputs(self.preprocessing.transform(inputs, notes, unknown, asked))

    def asked(self, decimal: str | Sequence[str] = (), dates: str | Sequence[str] = ()) -> Conventions:
        """What the user says of another table, each "VALUE" for all columns or "COLUMN=VALUE" for one.

        decimal  the decimal mark: "point" or ".", "comma" or ","
        dates    the order of day, month and year: "dmy", "mdy", "ymd" or "ydm"

        Raises ArgumentError for an unknown column or value.
        """
        given = ([each] if isinstance(each, str) else each for each in (decimal, dates))
        names = [column.name for column in self.preprocessing.columns]
        return Conventions.asked([*names, self.target.name], (), *given)

    def of_inputs(self, x: Tensor) -> Prediction:
        """Predictions for rows that are preprocessed already, (n, features)."""
        if not len(x):
            outputs = (self.target.outputs,) if self.target.is_classes else ()
            return Prediction(torch.zeros(0, *outputs, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
        with threads_for(max(group.work * len(group.networks) for group in self.groups) * EVALUATION_BATCH):
            parts = [self.of_scores(self.scores(part)) for part in x.split(AT_A_TIME)]
        return Prediction(torch.cat([each.mean for each in parts]), torch.cat([each.spread for each in parts]))

    def scores(self, x: Tensor) -> Tensor:
        """The outputs (K, n, outputs) of the members of all groups for preprocessed rows x (n, features)."""
        return torch.cat([group.scores(x) for group in self.groups])

    def of_scores(self, scores: Tensor, weights: Tensor | None = None) -> Prediction:
        """Predictions from the outputs (K, n, outputs) of the members of all groups: their weighted mean and spread.

        weights  (K,) float64, which add up to 1; by default those of the groups
        """
        scores, weights = scores.double(), weights_of(self.groups) if weights is None else weights
        if not self.target.is_classes:
            numbers = scores.squeeze(2) * self.target.std + self.target.mean
            mean = weighted(numbers, weights)
            return Prediction(within(self.limits, mean), weighted((numbers - mean).square(), weights).sqrt())
        p = (scores / self.temperature).softmax(-1)
        mean = weighted(p, weights)
        likely = mean.argmax(1, keepdim=True)  # (n, 1)
        of_likely = p.gather(2, likely.expand(len(p), -1, 1)).squeeze(2)  # (K, n)
        return Prediction(mean, weighted((of_likely - mean.gather(1, likely).squeeze(1)).square(), weights).sqrt())

    def ends(self, prediction: Prediction) -> tuple[Tensor, Tensor]:
        """The lower and the upper ends (n,) of the 90 % intervals around predicted numbers."""
        assert self.intervals is not None
        return self.intervals.around(prediction.mean)

    @property
    def predicted_names(self) -> list[str]:
        """The names of the columns of `table_of`."""
        if not self.target.is_classes:
            return ["prediction", "spread", "low", "high"]
        return ["prediction", *(f"p({word})" for word in self.target.classes), "spread"]

    def table_of(self, prediction: Prediction) -> pl.DataFrame:
        """Predictions as a table with the columns `predicted_names`.

        For classes: the most likely class, each class's probability, and the members' spread. For numbers: the number,
        the members' spread, and the bounds of the 90 % interval.
        """
        mean = prediction.mean
        if not self.target.is_classes:
            columns = [mean, prediction.spread, *self.ends(prediction)]
        else:
            columns = [mean.argmax(1), *mean.unbind(1), prediction.spread]
        table: dict[str, Any] = {
            name: column.numpy() for name, column in zip(self.predicted_names, columns, strict=True)
        }
        if self.target.is_classes:
            table["prediction"] = pl.Series(self.target.classes, dtype=pl.String).gather(table["prediction"])
        return pl.DataFrame(table)

    def measured(self, prediction: Prediction, truth: Tensor, *, seed: int = 0) -> Estimates:
        """The metrics of predictions, given the true class indices or numbers (n,)."""
        if self.target.is_classes:
            return metrics.of_classes(prediction.mean, truth, seed=seed)
        return metrics.of_numbers(prediction.mean, truth, ends=self.ends(prediction), seed=seed)

    # ---- as JSON and tensors -----------------------------------------------------------------------------------------
    @property
    def architecture(self) -> dict[str, Any]:
        """All that is needed, besides the weights, to build the networks again, as a dict for JSON."""
        return {
            "version": VERSION,
            "inputs": len(self.preprocessing.features),
            "outputs": self.target.outputs,
            "groups": [group.to_dict() for group in self.groups],
            "temperature": self.temperature,
            "intervals": None if self.intervals is None else self.intervals.to_dict(),
            "target": self.target.to_dict(),
        }

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights of all groups by name, (K, ...) each; those of the second group begin with "1."."""
        return {
            f"{place}.{name}": tensor
            for place, group in enumerate(self.groups)
            for name, tensor in group.networks.state_dict().items()
        }

    @classmethod
    def rebuilt(
        cls, architecture: Mapping[str, Any], preprocessing: Preprocessing, state: Mapping[str, Tensor]
    ) -> TableModel:
        """The model that `architecture` and `state` described.

        Raises DataError for an architecture that does not fit, and StateDictError for weights that do not.
        """
        inputs, outputs = architecture["inputs"], architecture["outputs"]
        try:
            target = Target.from_dict(dict(architecture["target"]))
            if (len(preprocessing.features), target.outputs) != (inputs, outputs):
                raise ValueError("preprocessing and target do not fit the network")
            if abs(sum(each["weight"] for each in architecture["groups"]) - 1) > ROUNDING:
                raise ValueError("the weights of the groups do not add up to 1")
            groups = [Group.from_dict(each, inputs, outputs) for each in architecture["groups"]]
            saved = architecture["intervals"]
            if (saved is None) != target.is_classes:
                raise ValueError("prediction intervals are for numbers")
            intervals = None if saved is None else PredictionIntervals.from_dict(saved)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "this is not an architecture of lamp train",
                expected="the file that lamp train wrote",
                got=f"{type(error).__name__}: {error}",
                fix="train again with this version of lamp",
            ) from None
        if without := {name.partition(".")[0] for name in state} - set(map(str, range(len(groups)))):
            raise StateDictError(
                "there are weights of more groups than the architecture has",
                expected=f"{len(groups)} groups",
                got=f"weights of group {', '.join(sorted(without))}",
                fix="train again with this version of lamp",
            )
        for place, group in enumerate(groups):
            start = f"{place}."
            group.networks.load_state_dict(
                {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
            )
            group.networks.eval()
        return cls(preprocessing, target, groups, float(architecture["temperature"]), intervals)
