"""The state of a model: all numbers that training changes, as one object to copy, select from and put back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from lamp.module import Module
from lamp.parameter import Buffer, Parameter, flatten, spans
from lamp.tensor_like import TensorLike

ALL = ...  # every replica, and a single network as a whole


class ModelState:
    """The parameters of a model and the buffers of its modules, such as running statistics and counters.

    `ModelState.of(model)` holds the model's own tensors: what is put into it by `restore` is put into the model.
    `clone()` and `select(rows)` are copies, which stay as they are.

    tensors  first the parameters, as the pieces of flat buffers in which they lie, (P) each, usually one; then each
             buffer. In a population all are (K, ...), and row k is replica k's

    Gradients lie beside the parameters in the flat buffers (`lamp.parameter`) and are no part of it: each step makes
    them anew.
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    @classmethod
    def of(cls, model: Module) -> Self:
        """The model's own tensors as they are now; ask again after a module was added, moved or given a new buffer."""
        parameters, buffers = state_members(model)
        return cls([*(span.data for span in spans(parameters)), *(buffer.data for buffer in buffers)])

    def clone(self) -> ModelState:
        """A copy of all of it."""
        return ModelState([tensor.clone() for tensor in self.tensors])

    def select(self, rows: Any) -> ModelState:
        """A copy of these replicas' rows: indices, or a mask (K,)."""
        return ModelState([tensor[rows].clone() if rows is ALL else tensor[rows] for tensor in self.tensors])

    def where(self, chosen: Tensor, other: ModelState) -> ModelState:
        """A new state: the other's rows where `chosen` (K,) is True, else these. A chosen () decides for all at once.

        Nothing here waits for a GPU, as a mask in `select` would.
        """
        pairs = zip(self.tensors, other.tensors, strict=True)
        return ModelState([torch.where(_column(chosen, own), theirs, own) for own, theirs in pairs])

    def restore(self, saved: ModelState, rows: Any = ALL) -> None:
        """Overwrite all numbers, or those of these replicas, with saved ones, one row for each."""
        for own, kept in zip(self.tensors, saved.tensors, strict=True):
            if rows is ALL:
                own.copy_(kept)
            else:
                own[rows] = kept

    def to(self, device: torch.device) -> ModelState:
        """The same on this device."""
        return ModelState([tensor.to(device) for tensor in self.tensors])


def state_members(model: Module) -> tuple[list[Parameter], list[Buffer]]:
    """The parameters of a model, which lie in one flat buffer from here on, and the buffers of its state, each once.

    A loss's buffers, such as class weights, are options of it and no part of the state. They stay as they are while it
    trains, and all replicas of a population share them.
    """
    parameters: dict[Parameter, None] = {}
    buffers: dict[Buffer, None] = {}
    for module in model.modules():
        for _, member in module._members(TensorLike):
            if isinstance(member, Parameter):
                parameters[member] = None
            elif isinstance(member, Buffer) and not module.gives_loss:
                buffers[member] = None
    flatten(parameters)
    return list(parameters), list(buffers)


def state_buffers(model: Module) -> list[Buffer]:
    """The buffers of a model's state, each once."""
    return state_members(model)[1]


def copied_extras(model: Module, rows: Sequence[int]) -> list[Any]:
    """For each module of a population what it keeps beside tensors for these replicas, a list, or None for nothing.

    See `Module.get_extra_state`. All is copied, a generator once per replica: modules that share it share its copy.
    """
    states, memos = [module.get_extra_state() for module in model.modules()], [dict[int, Any]() for _ in rows]
    return [
        None if each is None else [copy.deepcopy(each[k], memo) for k, memo in zip(rows, memos, strict=True)]
        for each in states
    ]


def _column(chosen: Tensor, like: Tensor) -> Tensor:
    """A mask (K,) as it meets a tensor (K, ...): (K, 1, ...)."""
    chosen = chosen.to(like.device)
    return chosen.view(-1, *[1] * (like.dim() - 1)) if chosen.dim() else chosen
