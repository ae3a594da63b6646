"""`ModelState`: everything that training changes in a model, as one object that can be copied and restored."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.parameter import Buffer, Parameter, flatten, spans
from lamp.tensor_like import TensorLike
from lamp.uninitialized import initialized

ALL = ...  # every replica, and a single network as a whole


class ModelState:
    """The parameters of a model and the buffers of its modules, such as running statistics and counters.

    `ModelState.of(model)` holds the model's own tensors, so `restore` changes the model. `clone()` and `select(rows)`
    return copies, which later training does not change.

    tensors  first the parameters, as the pieces of flat buffers that they lie in, (P,) each, usually one piece; then
             each buffer. In a population all are (K, ...), with replica k in row k

    Gradients are not part of the state, because each step computes them anew.
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    @classmethod
    def of(cls, model: Module) -> Self:
        """The state of a model, made of its own tensors. Call it again after a module was added, moved or changed."""
        parameters, buffers = state_members(model)
        return cls([*(span.data for span in spans(parameters)), *(buffer.data for buffer in buffers)])

    def clone(self) -> ModelState:
        """A copy of the state."""
        return ModelState([tensor.clone() for tensor in self.tensors])

    def select(self, rows: Any) -> ModelState:
        """A copy of the rows of these replicas, given as indices or as a mask (K,)."""
        return ModelState([tensor[rows].clone() if rows is ALL else tensor[rows] for tensor in self.tensors])

    def where(self, chosen: Tensor, other: ModelState) -> ModelState:
        """A new state with the other state's rows where `chosen` (K,) is True, and this one's rows elsewhere.

        A `chosen` without axes holds for all rows. This does not wait for a GPU, as a mask in `select` would.
        """
        pairs = zip(self.tensors, other.tensors, strict=True)
        return ModelState([torch.where(_column(chosen, own), theirs, own) for own, theirs in pairs])

    def fits(self, saved: ModelState, rows: Any = ALL) -> bool:
        """Whether `restore` can put back this saved state: no module was added, removed or replaced by another size."""
        first = 0 if rows is ALL else 1
        return [own.shape[first:] for own in self.tensors] == [kept.shape[first:] for kept in saved.tensors]

    def restore(self, saved: ModelState, rows: Any = ALL) -> None:
        """Overwrite the state, or these replicas' rows of it, with a saved one that has one row for each of them.

        Raises ArgumentError if the saved state is that of other modules.
        """
        if not self.fits(saved, rows):
            raise ArgumentError(
                "a saved state does not fit the model, whose modules have changed since",
                expected=f"parameters and buffers {[tuple(kept.shape) for kept in saved.tensors]}, as saved",
                got=f"{[tuple(own.shape) for own in self.tensors]}",
                fix="leave the modules as they are while a best state is kept, or pass restore_best=False",
            )
        for own, kept in zip(self.tensors, saved.tensors, strict=True):
            if rows is ALL:
                own.copy_(kept)
            else:
                own[rows] = kept

    def to(self, device: torch.device) -> ModelState:
        """The state on this device."""
        return ModelState([tensor.to(device) for tensor in self.tensors])


def state_members(model: Module) -> tuple[list[Parameter], list[Buffer]]:
    """The parameters of a model and the buffers of its state, each once. The parameters are moved to one flat buffer.

    A loss's buffers, such as class weights, are its options and not part of the state: training does not change them,
    and all replicas of a population share them.
    """
    parameters: dict[Parameter, None] = {}
    buffers: dict[Buffer, None] = {}
    for module in model.modules():
        for _, member in module._members(TensorLike):
            if isinstance(member, Parameter):
                parameters[member] = None
            elif isinstance(member, Buffer) and not module.gives_loss:
                buffers[member] = None
    flatten(initialized(parameters))
    return list(parameters), list(buffers)


def state_buffers(model: Module) -> list[Buffer]:
    """The buffers of a model's state, each once."""
    return state_members(model)[1]


def copied_extras(model: Module, rows: Sequence[int]) -> list[Any]:
    """For each module of a population a list of the extra states of these replicas, or None if it has none.

    See `Module.get_extra_state`. The states are copies. Modules that share a generator share its copy.
    """
    states, memos = [module.get_extra_state() for module in model.modules()], [dict[int, Any]() for _ in rows]
    return [
        None if each is None else [copy.deepcopy(each[k], memo) for k, memo in zip(rows, memos, strict=True)]
        for each in states
    ]


def _column(chosen: Tensor, like: Tensor) -> Tensor:
    """A mask (K,) reshaped to (K, 1, ...), to broadcast against a tensor (K, ...)."""
    chosen = chosen.to(like.device)
    return chosen.view(-1, *[1] * (like.dim() - 1)) if chosen.dim() else chosen
