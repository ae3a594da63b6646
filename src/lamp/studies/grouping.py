"""`together`: which networks may train as one population."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.replicas import architecture, form, is_copyable

# Up to this many parameters, networks of several widths stay in the processor's cache together.
LARGEST_OF_SEVERAL_WIDTHS = 2**15
# The largest network of a group may be this many times as large as the smallest: all use the memory of the widest.
LARGEST_RATIO = 4


def together(networks: Sequence[Module]) -> list[list[int]]:
    """Groups of indices of networks that have one architecture, or one form and similar sizes.

    A network may stand in the list several times.
    """
    mixes: dict[Hashable, bool] = {}
    kinds = {id(network): _kind(network, mixes) for network in networks}
    groups: dict[Hashable, list[int]] = {}
    for k, network in enumerate(networks):
        groups.setdefault(kinds[id(network)], []).append(k)
    found = []
    for rows in groups.values():
        size = {id(networks[k]): _size(networks[k]) for k in rows}
        by_size = sorted(rows, key=lambda k: size[id(networks[k])])
        begin = 0
        for at, k in enumerate(by_size):
            if size[id(networks[k])] > LARGEST_RATIO * size[id(networks[by_size[begin]])]:
                found.append(sorted(by_size[begin:at]))
                begin = at
        found.append(sorted(by_size[begin:]))
    return found


def _kind(network: Module, mixes: dict[Hashable, bool]) -> Hashable:
    """A key that is equal for networks that may train together. `mixes` caches for each form what `_mixes` returns."""
    if not is_copyable(network):
        return id(network)
    if _size(network) <= LARGEST_OF_SEVERAL_WIDTHS:
        try:
            found = form(network)
        except ArgumentError:  # without a graph it is unknown which of its widths may differ
            return architecture(network), network.training
        if found not in mixes:
            mixes[found] = _mixes(network)
        if mixes[found]:
            return found, network.training
    return architecture(network), network.training


def _mixes(network: Module) -> bool:
    """Whether networks of this form train fastest in several widths at once.

    That is so if one kernel serves all widths, or if there is no kernel for any.
    """
    try:
        return plan_of(network).is_row
    except NotCompiled:
        return True


def _size(network: Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
