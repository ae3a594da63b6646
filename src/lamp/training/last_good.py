"""LastGood: a copy of the last state of a model whose loss was finite, to be restored if a loss is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lamp.module import Module
from lamp.state import ALL, ModelState, state_buffers

EVERY = 64  # steps between two copies of the state


class LastGood:
    """A copy of the state of a network or a population, renewed every 64 steps."""

    def __init__(self) -> None:
        self._kept: ModelState | None = None
        self._next = 0  # the step at which to copy it again

    def begin(self, model: Module) -> None:
        """Copy the state before the first step if the model has buffers, because its first forward may change them."""
        if self._kept is None and state_buffers(model):
            self._kept = ModelState.of(model).clone()

    def follow(self, model: Module) -> None:
        """Drop the copy if it no longer fits the model, because user code has added or removed modules."""
        if self._kept is not None and not ModelState.of(model).fits(self._kept):
            self._kept, self._next = None, 0

    def note(self, model: Module, loss: Tensor, step: int) -> None:
        """Copy the state if a copy is due; in a population, only that of replicas whose loss is finite.

        The loss of a single network on a CPU is finite here, since the criterion has checked it. On a GPU it has not
        been checked; the copy is chosen on the GPU, so that the step need not wait.
        """
        if step < self._next:
            return
        self.follow(model)
        self._next = step + EVERY
        now = ModelState.of(model)
        if self._kept is not None and (model.replicas is not None or not loss.is_cpu):
            self._kept = self._kept.where(loss.isfinite(), now)
        else:
            self._kept = now.clone()

    def take(self, state: ModelState, step: int) -> None:
        """Use this state as the copy until after this step."""
        self._kept, self._next = state, step + 1

    def put_back(self, model: Module, rows: Any = ALL) -> None:
        """Restore the copy in the model. If there is none, the first loss failed and the model has not changed."""
        self.follow(model)
        if self._kept is not None:
            ModelState.of(model).restore(self._kept.select(rows), rows)

    def of(self, rows: Tensor) -> None:
        """Keep only these replicas, given by a mask."""
        self._kept = None if self._kept is None else self._kept.select(rows)

    def state_dict(self) -> dict[str, Any]:
        """The copy, and the step at which the next one is due."""
        return {"kept": [] if self._kept is None else self._kept.tensors, "next": self._next}

    def load_state_dict(self, state_dict: Mapping[str, Any], device: torch.device) -> None:
        """Restore what `state_dict` returned."""
        self._kept = ModelState(state_dict["kept"]).to(device) if state_dict["kept"] else None
        self._next = state_dict["next"]
