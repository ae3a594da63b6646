"""The last weights whose loss was finite, kept in case the next one is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.module import Module
from lamp.parameter import spans

EVERY = 64  # steps between two copies of the weights


class LastGood:
    """Copies of a network's or a population's weights, taken now and then."""

    def __init__(self) -> None:
        self._kept: list[Tensor] = []
        self._next = 0  # the step at which to copy them again

    def note(self, model: Module, loss: Tensor, step: int) -> None:
        """Copy the weights if it is time: those whose loss is finite.

        Of one network on a CPU it is, or an error would have come. On a GPU nobody has looked, and nobody does here.
        """
        if step < self._next:
            return
        self._next = step + EVERY
        now = [span.data for span in spans(model.parameters())]
        if self._kept and (model.replicas is not None or not loss.is_cpu):
            finite = loss.isfinite().unsqueeze(-1)
            self._kept = [torch.where(finite, data, kept) for data, kept in zip(now, self._kept, strict=True)]
        else:
            self._kept = [data.clone() for data in now]

    def take(self, model: Module, weights: Tensor, step: int) -> None:
        """Keep these weights (P,) through this step."""
        self._kept = list(weights.split([len(span.data) for span in spans(model.parameters())]))
        self._next = step + 1

    def put_back(self, model: Module, rows: Any = ...) -> None:
        """Put the copy into the model. Without one the first loss failed and nothing has moved."""
        for span, kept in zip(spans(model.parameters()), self._kept, strict=False):
            span.data[rows] = kept[rows]

    def of(self, rows: Tensor) -> None:
        """Go on with these replicas, a mask."""
        self._kept = [kept[rows] for kept in self._kept]

    def state_dict(self) -> dict[str, Any]:
        """The copy, and when the next one is due."""
        return {"kept": self._kept, "next": self._next}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self._kept, self._next = [kept.to(device) for kept in state_dict["kept"]], state_dict["next"]
