"""Which networks may train as one population."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from lamp.compiler.plan import plan_of
from lamp.compiler.stand_ins import NotCompiled
from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.replicas import architecture, form, refers_outside

TOGETHER = 2**15  # parameters of a network up to which networks of other widths stay in the cache beside it
ALIKE = 4  # how many times as large as the smallest the largest may be: all take the room of the widest


def together(networks: Sequence[Module]) -> list[list[int]]:
    """Groups of networks, by number: of one architecture, or of one form and similar sizes. One may stand in the list
    several times."""
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
            if size[id(networks[k])] > ALIKE * size[id(networks[by_size[begin]])]:
                found.append(sorted(by_size[begin:at]))
                begin = at
        found.append(sorted(by_size[begin:]))
    return found


def _kind(network: Module, mixes: dict[Hashable, bool]) -> Hashable:
    """Alike for networks that may train together; `mixes` keeps which forms train in several widths at once."""
    if refers_outside(network):  # it cannot be copied into a population
        return id(network)
    if _size(network) <= TOGETHER:
        try:
            found = form(network)
        except ArgumentError:  # nothing says which of its widths can differ
            return architecture(network), network.training
        if found not in mixes:
            mixes[found] = _mixes(network)
        if mixes[found]:
            return found, network.training
    return architecture(network), network.training


def _mixes(network: Module) -> bool:
    """Whether its form trains best in several widths at once: one kernel serves them all, or there is none for any."""
    try:
        return plan_of(network).is_row
    except NotCompiled:
        return True


def _size(network: Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
