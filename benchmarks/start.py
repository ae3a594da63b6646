"""The base of all tasks, for one network or many: initial values and batches of an MLP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Start:
    """The initial values of an MLP, and the batches that it is trained on."""

    widths: tuple[int, ...]
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]

    @property
    @abstractmethod
    def batches(self) -> int:
        """Steps in an epoch."""

    def epochs(self, steps: int) -> int:
        """The number of epochs that this many steps are."""
        if steps % self.batches:
            raise ValueError(f"{steps} steps are no whole number of epochs of {self.batches}")
        return steps // self.batches

    def values(self) -> list[Array]:
        """Weight, bias, weight, bias, ... as `named` takes them; (K, ...) each for many networks."""
        return [each for pair in zip(self.weights, self.biases, strict=True) for each in pair]

    def named(self, values: Iterable[Any]) -> dict[str, Array]:
        """Copies of weight, bias, weight, bias, ... under their keys in a Sequential of torch.nn or lamp."""
        keys = [f"{2 * layer}.{what}" for layer in range(len(self.widths) - 1) for what in ("weight", "bias")]
        return {key: np.asarray(value).copy() for key, value in zip(keys, values, strict=True)}
