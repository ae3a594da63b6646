"""TableModel: preprocessing, an ensemble of networks and its calibration; it predicts the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import torch
from torch import Tensor

from lamp.cpu_settings import threads_for
from lamp.errors import DataError
from lamp.replicas import Population, population
from lamp.tables import calibration, metrics
from lamp.tables.column import Unknown
from lamp.tables.effort import Shape
from lamp.tables.metrics import Estimates
from lamp.tables.preprocessing import Preprocessing
from lamp.tables.search import Found
from lamp.tables.targets import Target
from lamp.training import predict
from lamp.training.arguments import EVALUATION_BATCH

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

    temperature  for classes, the number that scores are divided by
    margin       for numbers, half the width of the 90 % prediction interval, in the target's unit
    """

    preprocessing: Preprocessing
    target: Target
    networks: Population
    shape: Shape
    temperature: float = 1.0
    margin: float = 0.0

    def calibrate(self, found: Found) -> None:
        """Set the temperature or the margin from the members' outputs on rows that they were not trained on."""
        if self.target.is_classes:
            self.temperature = calibration.of_all_members(found.scores, found.targets, len(self.networks))
        else:
            errors = (found.scores.double().mean(0) - found.targets.double()).squeeze(1) * self.target.std
            self.margin = calibration.margin(errors)

    # ---- predictions -------------------------------------------------------------------------------------------------
    def predict(
        self, frame: pl.DataFrame, notes: list[str] | None = None, unknown: Unknown | None = None
    ) -> Prediction:
        """Predictions for the rows of a table.

        notes and unknown are those of Preprocessing.transform, whose errors this raises too.
        """
        inputs = frame.drop(self.target.name, strict=False)
        return self.of_inputs(self.preprocessing.transform(inputs, notes, unknown))

    def of_inputs(self, x: Tensor) -> Prediction:
        """Predictions for rows that are preprocessed already, (n, features)."""
        if not len(x):
            outputs = (self.target.outputs,) if self.target.is_classes else ()
            return Prediction(torch.zeros(0, *outputs, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
        numbers = self.networks.network.parameters()
        with threads_for(sum(parameter.numel() for parameter in numbers) * EVALUATION_BATCH):
            parts = [self.of_scores(predict(self.networks, part)) for part in x.split(AT_A_TIME)]
        return Prediction(torch.cat([each.mean for each in parts]), torch.cat([each.spread for each in parts]))

    def of_scores(self, scores: Tensor) -> Prediction:
        """Predictions from the networks' outputs (K, n, outputs)."""
        scores = scores.double()
        if not self.target.is_classes:
            numbers = scores.squeeze(2) * self.target.std + self.target.mean
            return Prediction(numbers.mean(0), numbers.std(0, correction=0))
        p = (scores / self.temperature).softmax(-1)
        mean = p.mean(0)
        spread = p.std(0, correction=0).gather(1, mean.argmax(1, keepdim=True)).squeeze(1)
        return Prediction(mean, spread)

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
            columns = [mean, prediction.spread, mean - self.margin, mean + self.margin]
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
        return metrics.of_numbers(prediction.mean, truth, margin=self.margin, seed=seed)

    # ---- as JSON and tensors -----------------------------------------------------------------------------------------
    @property
    def architecture(self) -> dict[str, Any]:
        """All that is needed, besides the weights, to build the networks again, as a dict for JSON."""
        return {
            "inputs": len(self.preprocessing.features),
            "outputs": self.target.outputs,
            **asdict(self.shape),
            "activation": "ReLU",
            "members": len(self.networks),
            "layers": [repr(module) for module in self.networks.network.children()],
            "temperature": self.temperature,
            "margin": self.margin,
            "target": self.target.to_dict(),
        }

    @classmethod
    def rebuilt(cls, architecture: Mapping[str, Any], preprocessing: Preprocessing, weights: Any) -> TableModel:
        """The model that `architecture` described; `weights` is called with the new networks to load their weights.

        Raises DataError for an architecture that does not fit.
        """
        try:
            target = Target.from_dict(dict(architecture["target"]))
            shape = Shape(architecture["width"], architecture["depth"], architecture["dropout"])
            fits = (len(preprocessing.features), target.outputs) == (architecture["inputs"], architecture["outputs"])
            if not fits or architecture["activation"] != "ReLU":
                raise ValueError("preprocessing and target do not fit the network")
            single = shape.build(architecture["inputs"], architecture["outputs"])
            networks = population(single, range(architecture["members"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "this is not an architecture of lamp train",
                expected="the file that lamp train wrote",
                got=f"{type(error).__name__}: {error}",
                fix="train again with this version of lamp",
            ) from None
        weights(networks)
        networks.eval()
        return cls(
            preprocessing, target, networks, shape, float(architecture["temperature"]), float(architecture["margin"])
        )
