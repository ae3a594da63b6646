"""The last state of a model whose loss was finite, kept in case the next one is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.module import Module
from lamp.parameter import spans
from lamp.state import ALL, ModelState, state_buffers

EVERY = 64  # steps between two copies of the state


class LastGood:
    """Copies of a network's or a population's state, taken now and then."""

    def __init__(self) -> None:
        self._kept: ModelState | None = None
        self._next = 0  # the step at which to copy it again

    def begin(self, model: Module) -> None:
        """Copy the state before the first step where the model has buffers: its first forward may change those."""
        if self._kept is None and state_buffers(model):
            self._kept = ModelState.of(model).clone()

    def note(self, model: Module, loss: Tensor, step: int) -> None:
        """Copy the state if it is time; in a population, that of the replicas whose loss is finite.

        A single network's loss on a CPU is finite, or an error would have come. On a GPU nobody has looked, and nobody
        does here.
        """
        if step < self._next:
            return
        self._next = step + EVERY
        now = ModelState.of(model)
        if self._kept is not None and (model.replicas is not None or not loss.is_cpu):
            self._kept = self._kept.where(loss.isfinite(), now)
        else:
            self._kept = now.clone()

    def take(self, model: Module, weights: Tensor, step: int) -> None:
        """Keep these weights (P,) through this step, with the buffers as they are."""
        pieces = weights.split([len(span.data) for span in spans(model.parameters())])
        self._kept = ModelState([*pieces, *ModelState.of(model).tensors[len(pieces) :]]).clone()
        self._next = step + 1

    def put_back(self, model: Module, rows: Any = ALL) -> None:
        """Put the copy into the model. Without one the first loss failed and nothing has moved."""
        if self._kept is not None:
            ModelState.of(model).restore(self._kept.select(rows), rows)

    def of(self, rows: Tensor) -> None:
        """Go on with these replicas, a mask."""
        self._kept = None if self._kept is None else self._kept.select(rows)

    def state_dict(self) -> dict[str, Any]:
        """The copy, and when the next one is due."""
        return {"kept": [] if self._kept is None else self._kept.tensors, "next": self._next}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Go on from there."""
        self._kept = ModelState(state_dict["kept"]).to(device) if state_dict["kept"] else None
        self._next = state_dict["next"]
