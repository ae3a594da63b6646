"""A copy of a population's network that has only some of the replicas, with the modules as they are now."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from lamp.module import Module
from lamp.parameter import Buffer, selected
from lamp.replicas.shared_attributes import check_copyable
from lamp.state import copied_extras, state_members


def network_of(network: Module, rows: Sequence[int]) -> Module:
    """A copy of a population's network with these replicas, in this order. Parameters, buffers, hyperparameters (K,)
    and generators are those of the replicas; everything else is copied as it is.

    Raises ArgumentError for a method set on a module that refers to a module itself.
    """
    check_copyable(network)
    parameters, buffers = state_members(network)
    copies: dict[int, Any] = {id(each): twin for each, twin in selected(parameters, rows).items()}
    copies |= {id(each): Buffer(each.data[rows]) for each in buffers}
    chosen = copy.deepcopy(network, copies)
    extras = copied_extras(network, rows)
    for module, extra in zip(chosen.modules(), extras, strict=True):
        if module.replicas is not None:
            module.replicas = len(rows)
        if module.units is not None:
            module.units = module.units[rows]
        for name, numbers in module.numbers():
            vars(module)[name] = numbers[rows]  # not through `__setattr__`: the values have been checked before
        if extra is not None:
            module.set_extra_state(extra)
    return chosen
