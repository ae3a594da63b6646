"""Metrics of numbers: mean absolute and squared error, and R2."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.axes import replicas_of, sums
from lamp.errors import ShapeError
from lamp.metrics.metric import SumMetric, another_form, check_tensors, share
from lamp.metrics.targets import per_replica
from lamp.signatures import called
from lamp.state_dict import check_state_of


class ErrorMetric(SumMetric):
    """Base of the metrics that are the mean, over all outputs, of a function of output - target.

    output, target  (B, ...), of the same shape; in a population outputs are (K, B, ...), and a target that all replicas
                    share comes without the axis K

    Raises ShapeError for tensors that do not fit together: nothing is broadcast.
    """

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """The error of each element, from output - target."""

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        difference = output.double() - numbers_of(output, target)
        return sums(self.error(difference), replicas), output.numel() // (replicas or 1)

    def of(self, error: Tensor, count: int) -> Tensor:
        return share(error, count)


class MeanAbsoluteError(ErrorMetric):
    """The mean of |output - target| over all outputs.

    output, target  (B, ...), of the same shape; in a population outputs are (K, B, ...), and a target that all replicas
                    share comes without the axis K

    Raises ShapeError for tensors that do not fit together: nothing is broadcast.
    """

    name = "mean_absolute_error"

    def error(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MeanSquaredError(ErrorMetric):
    """The mean of (output - target)^2 over all outputs. Shapes and errors are those of MeanAbsoluteError."""

    name = "mean_squared_error"

    def error(self, difference: Tensor) -> Tensor:
        return difference.square()


class R2(SumMetric):
    """The share of the targets' variance that the outputs explain: 1 - sum (target - output)^2 / sum (target - mean)^2.

    1 is perfect; 0 is as good as always predicting the mean of the targets. With several outputs per sample it is the
    mean of their scores. If all targets are equal, it is 1 for outputs that equal them and 0 for others. NaN for fewer
    than two samples.

    Shapes and errors are those of MeanAbsoluteError.
    """

    name = "r2"
    # The target of the first sample, ([K,] 1, outputs). Sums of differences from it have small rounding errors.
    _origin: Tensor | None = None

    @called()
    def reset(self) -> None:
        super().reset()
        self._origin = None

    @called()
    def update(self, output: Tensor, target: Tensor) -> None:
        check_tensors(output, target)
        target = numbers_of(output, target)
        if output.dim() == (replicas_of(output) is not None):
            raise ShapeError("R2 needs several samples", expected="outputs (B, ...)", got=(), fix="pass a batch")
        if target.numel() == 0:
            return
        if self._origin is None:
            self._origin = _rows(target, replicas_of(output)).narrow(-2, 0, 1).clone()
        super().update(output, target)

    @called()
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "origin": self._origin}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        check_state_of(self, state_dict, "origin", "sums")
        super().load_state_dict(state_dict)
        origin = state_dict["origin"]
        self._origin = None if origin is None else origin.clone()

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """The number of samples; per output the sums of deviations from the origin, their squares, squared errors."""
        output, target = _rows(output.double(), replicas), _rows(target, replicas)  # ([K,] B, outputs)
        origin = self._origin
        if origin is None or origin.shape[:-2] != target.shape[:-2] or origin.shape[-1] != target.shape[-1]:
            raise another_form(self, output)
        deviation = target - origin
        sums_over_samples = [each.sum(-2) for each in (deviation, deviation.square(), (output - target).square())]
        return target.shape[-2], *sums_over_samples

    def of(self, count: int, deviation: Tensor, squares: Tensor, errors: Tensor) -> Tensor:
        if count < 2:
            return torch.full_like(errors[..., 0], math.nan)
        total = squares - deviation.square() / count
        scores = (1.0 - errors / total).where(total > 0, (errors == 0).double())
        return scores.where(~errors.isnan(), math.nan).mean(-1)


def numbers_of(output: Tensor, target: Tensor) -> Tensor:
    """The target in float64 and in the output's shape. Raises ShapeError for another shape."""
    given = per_replica(target, [output.shape], replicas_of(output))
    if given is None:
        raise ShapeError(
            "outputs and targets do not fit together",
            expected=f"targets {tuple(output.shape)}, the outputs' shape: nothing is broadcast",
            got=tuple(target.shape),
            fix="target.reshape(output.shape)" if target.numel() == output.numel() else "pass one target per output",
        )
    return given.double()


def _rows(tensor: Tensor, replicas: int | None) -> Tensor:
    """Samples (B, ...) as rows of numbers, (B, outputs); in a population (K, B, outputs)."""
    return tensor.reshape(*tensor.shape[: 1 if replicas is None else 2], -1)
