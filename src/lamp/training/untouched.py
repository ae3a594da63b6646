"""Finds writes by user code to numbers of a training that are not read again, so that they would have no effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.data.columns import is_held
from lamp.module import Module
from lamp.nn.dropout import RandomMask
from lamp.optim import Optimizer
from lamp.state import ModelState

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # the integers of so many bytes


class Untouched:
    """A copy of a training's numbers as lamp left them: the model's state, and counts of steps, masks and epochs.

    It is made for the modules that the model has, and must be made anew if they change.
    """

    def __init__(self, model: Module, optimizer: Optimizer, loaders: Iterable[Any]) -> None:
        self._tensors = ModelState.of(model).tensors
        self._numbers = [_bits(tensor) for tensor in self._tensors]
        self._copies = [torch.empty_like(numbers) for numbers in self._numbers]
        self._optimizer = optimizer
        self._dropouts = [module for module in model.modules() if isinstance(module, RandomMask)]
        self._loaders = [loader for loader in loaders if isinstance(loader, DataLoader)]
        self.note()

    def note(self) -> None:
        """Copy all numbers as they are now."""
        for copy, numbers in zip(self._copies, self._numbers, strict=True):
            copy.copy_(numbers)
        self._versions, self._state = writes_to(self._tensors), self._optimizer.state_key
        self.note_counts()

    def note_counts(self) -> None:
        """Copy the counts as they are now; nobody has written to the tensors."""
        self._counts = self._count()

    @property
    def written(self) -> str | None:
        """What was written to since `note`, the weights or the optimizer's state; None if neither was.

        torch counts writes, even of the numbers that were there. Writes that torch does not count show in the numbers.
        """
        pairs = zip(self._copies, self._numbers, strict=True)
        if (
            not all(map(is_held, self._tensors))
            or writes_to(self._tensors) != self._versions
            or not all(torch.equal(copy, numbers) for copy, numbers in pairs)
        ):
            return "the weights"
        return None if self._optimizer.state_key == self._state else "the optimizer's state"

    @property
    def changed(self) -> str | None:
        """What was written to, or counts otherwise, since `note`; None if nothing was and does."""
        now = self._count()
        if now == self._counts:
            return self.written
        masks, _ = zip(now, self._counts, strict=True)
        return "the epoch of a DataLoader" if masks[0] == masks[1] else "the seed or the step of a Dropout"

    def _count(self) -> tuple[list[Any], list[int]]:
        """What decides the next masks, and the next orders."""
        masks = [(each.seed, each.step, each.lags) for each in self._dropouts]
        return masks, [loader.epoch for loader in self._loaders]


def writes_to(tensors: Iterable[Tensor]) -> list[int]:
    """How often torch has written to each tensor; 0 where it does not count."""
    return [0 if tensor.is_inference() else tensor._version for tensor in tensors]


def _bits(tensor: Tensor) -> Tensor:
    """A view of the numbers as integers, where NaN equals itself."""
    return tensor.view(BITS[tensor.element_size()]) if tensor.is_floating_point() else tensor
