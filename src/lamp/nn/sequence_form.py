"""`SequenceForm`: the form in which a recurrent layer was given its sequences."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lamp.formulas import wide
from lamp.nn.packing import places
from lamp.trees import is_packed, with_data


class SequenceForm:
    """The form of one input: one sequence, a padded batch, or a packed sequence; in a population with K of them.

    `inside` turns a tensor of that form into (T, B, ...), and (T, K, B, ...) in a population; `outside` turns it back.
    The other two methods do so with states: (L, B, H), and (L, K, B, H), where L counts layers and directions.

    sizes  of a packed sequence the number of sequences that have each step, else None
    """

    def __init__(self, input: Any, batch_first: bool, replicas: int | None) -> None:
        self.lead, self.batch_first = 0 if replicas is None else 1, batch_first
        self.packed = input if is_packed(input) else None
        self.unbatched = self.packed is None and input.dim() == 2 + self.lead
        self.dtype = input.data.dtype
        self.sizes: list[int] | None = None
        if self.packed is not None:
            self.sizes = self.packed.batch_sizes.tolist()
            self._places = places(self.packed.batch_sizes).to(self.packed.data.device)

    def inside(self, x: Any) -> Tensor:
        """An input, output or gradient of this form as (T, B, ...), or (T, K, B, ...)."""
        lead = self.lead
        if self.sizes is not None:
            data = x.data if is_packed(x) else x
            rows = len(self.sizes) * self.sizes[0]
            padded = data.new_zeros(*data.shape[:lead], rows, data.shape[-1]).index_copy_(lead, self._places, data)
            x = padded.unflatten(lead, (len(self.sizes), self.sizes[0]))
        elif self.unbatched:
            x = x.unsqueeze(lead + 1)
        elif self.batch_first:
            x = x.transpose(lead, lead + 1)
        return wide(x.transpose(0, 1) if lead else x)

    def outside(self, x: Tensor) -> Any:
        """The opposite of `inside`."""
        lead = self.lead
        x = (x.transpose(0, 1) if lead else x).to(self.dtype)
        if self.packed is not None:
            return with_data(self.packed, x.flatten(lead, lead + 1).index_select(lead, self._places))
        if self.unbatched:
            return x.squeeze(lead + 1)
        return x.transpose(lead, lead + 1) if self.batch_first else x

    def state_inside(self, state: Tensor) -> Tensor:
        """A state (L, B, H) or (L, H), with K first in a population, as (L, B, H) or (L, K, B, H)."""
        state = state.unsqueeze(-2) if self.unbatched else self._permuted(state, "sorted_indices")
        return wide(state.transpose(0, 1) if self.lead else state)

    def state_outside(self, state: Tensor) -> Tensor:
        """The opposite of `state_inside`."""
        state = (state.transpose(0, 1) if self.lead else state).to(self.dtype)
        return state.squeeze(-2) if self.unbatched else self._permuted(state, "unsorted_indices")

    def _permuted(self, state: Tensor, name: str) -> Tensor:
        order = None if self.packed is None else getattr(self.packed, name)
        return state if order is None else state.index_select(-2, order)


def flat(x: Tensor) -> Tensor:
    """The steps and the batch of (T, B, ...) as one axis, (T B, ...); of (T, K, B, ...) as (K, T B, ...)."""
    return x.flatten(0, 1) if x.dim() == 3 else x.transpose(0, 1).flatten(1, 2)


def flat_gates(gates: Tensor) -> Tensor:
    """The same of gates (G, T, B, H): (G, T B, H), or (G, K, T B, H)."""
    return gates.flatten(1, 2) if gates.dim() == 4 else gates.transpose(1, 2).flatten(2, 3)


def in_steps(x: Tensor, like: Tensor) -> Tensor:
    """The opposite of `flat`, with the axes of `like` but the last one."""
    if like.dim() == 3:
        return x.view(*like.shape[:2], -1)
    in_order: Tensor = x.unflatten(1, (like.shape[0], like.shape[2]))  # (K, T, B, ...)
    return in_order.transpose(0, 1).contiguous()
