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


class ErrorMetric(SumMetric):
    """Base of the means, over all outputs, of a function of output - target.

    output, target  (B, ...), the same shape; in a population outputs (K, B, ...), and a target that all replicas share
                    comes without the axis K

    Raises ShapeError where the two do not fit: nothing is broadcast.
    """

    @abstractmethod
    def error(self, difference: Tensor) -> Tensor:
        """What is averaged."""

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        difference = output.double() - numbers_of(output, target)
        return sums(self.error(difference), replicas), output.numel() // (replicas or 1)

    def of(self, error: Tensor, count: int) -> Tensor:
        return share(error, count)


class MeanAbsoluteError(ErrorMetric):
    """The mean of |output - target| over all outputs.

    output, target  (B, ...), the same shape; in a population outputs (K, B, ...), and a target that all replicas share
                    comes without the axis K

    Raises ShapeError where the two do not fit: nothing is broadcast.
    """

    name = "mean_absolute_error"

    def error(self, difference: Tensor) -> Tensor:
        return difference.abs()


class MeanSquaredError(ErrorMetric):
    """The mean of (output - target)^2 over all outputs. Shapes and errors as for MeanAbsoluteError."""

    name = "mean_squared_error"

    def error(self, difference: Tensor) -> Tensor:
        return difference.square()


class R2(SumMetric):
    """The share of the targets' variance that the outputs explain: 1 - sum (target - output)^2 / sum (target - mean)^2.

    1 is perfect, 0 as good as the targets' mean. Of several outputs per sample it is the mean of each one's. Where all
    targets are one number it is 1 if the outputs are that too, else 0. NaN for fewer than two samples.

    Shapes and errors as for MeanAbsoluteError.
    """

    name = "r2"
    # The first sample's target, ([K,] 1, outputs): sums of what the others differ from it lose little to rounding.
    _origin: Tensor | None = None

    def reset(self) -> None:
        super().reset()
        self._origin = None

    def update(self, output: Tensor, target: Tensor) -> None:
        check_tensors(output, target)
        target = numbers_of(output, target)
        if output.dim() == (replicas_of(output) is not None):
            raise ShapeError("R2 is of several samples", expected="outputs (B, ...)", got=(), fix="give a batch")
        if target.numel() == 0:
            return
        if self._origin is None:
            self._origin = _rows(target, replicas_of(output)).narrow(-2, 0, 1).clone()
        super().update(output, target)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "origin": self._origin}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        origin = state_dict["origin"]
        self._origin = None if origin is None else origin.clone()

    def terms(self, output: Tensor, target: Tensor, replicas: int | None) -> tuple[Tensor | int, ...]:
        """How many samples; per output the sums of deviations from the origin, of their squares, of squared errors."""
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
    """The target in float64, of the output's shape. Raises ShapeError where it has another one."""
    given = per_replica(target, [output.shape], replicas_of(output))
    if given is None:
        raise ShapeError(
            "outputs and targets do not fit",
            expected=f"targets {tuple(output.shape)}, as the outputs are: nothing is broadcast",
            got=tuple(target.shape),
            fix="target.reshape(output.shape)" if target.numel() == output.numel() else "give one target per output",
        )
    return given.double()


def _rows(tensor: Tensor, replicas: int | None) -> Tensor:
    """Samples (B, ...) as rows of numbers, (B, outputs); in a population (K, B, outputs)."""
    return tensor.reshape(*tensor.shape[: 1 if replicas is None else 2], -1)
