"""What the trainings of a task start from, whether of one network or of many."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Start:
    """An MLP's initial values, and the batches it is trained on."""

    widths: tuple[int, ...]
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    @property
    @abstractmethod
    def batches(self) -> int:
        """Steps in an epoch."""

    def epochs(self, steps: int) -> int:
        """How many times through the batches so many steps are."""
        if steps % self.batches:
            raise ValueError(f"{steps} steps are no whole number of epochs of {self.batches}")
        return steps // self.batches

    def values(self) -> list[Array]:
        """Weight, bias, weight, bias, ... as `named` takes them; of many networks each (K, ...)."""
        return [each for pair in zip(self.weights, self.biases, strict=True) for each in pair]

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        """Copies of weight, bias, weight, bias, ... under the keys they have in a Sequential, torch.nn's and lamp's."""
        keys = [f"{2 * layer}.{what}" for layer in range(len(self.widths) - 1) for what in ("weight", "bias")]
        return {key: np.asarray(value).copy() for key, value in zip(keys, values, strict=True)}
