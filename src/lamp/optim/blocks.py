"""Where an optimizer works: a group's parameters in blocks of the flat buffers, the rule's state beside each."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lamp.parameter import Parameter, Run, runs

BLOCK = 32768  # elements a thread updates at a time: parameter, gradient, state and what the rule computes stay in cache

States = Mapping[Parameter, Mapping[str, Tensor]]  # what a rule keeps of each parameter, by name, in its shape


class Block:
    """A stretch of a flat buffer: values, gradients and the rule's state, all 1-D."""

    __slots__ = ("data", "grad", "state")

    def __init__(self, data: Tensor, grad: Tensor) -> None:
        self.data, self.grad = data, grad
        self.state: dict[str, Tensor] = {}


class Holding:
    """A group's parameters where they lie now, in `blocks`, with the states in `begins` laid beside them.

    begins  name to value: what each state begins with, where `states` does not bring it
    """

    def __init__(self, parameters: list[Parameter], begins: Mapping[str, float], states: States) -> None:
        self.names = tuple(begins)
        self._runs = runs(parameters)
        self._homes = [(run.home, run.home.departures) for run in self._runs]
        self.gradients = [run.grad for run in self._runs]
        self._blocks_of = [self._blocks(run, begins, states) for run in self._runs]
        self.blocks = [block for blocks in self._blocks_of for block in blocks]

    @staticmethod
    def _blocks(run: Run, begins: Mapping[str, float], states: States) -> list[Block]:
        size = max(run.data.numel(), 1)
        if run.data.device.type == "cpu":
            size = min(size, BLOCK * torch.get_num_threads())
        blocks = [Block(*views) for views in zip(run.data.split(size), run.grad.split(size), strict=True)]
        for name, begin in begins.items():
            known = [states.get(parameter, {}).get(name) for parameter in run.parameters]
            parts = [
                torch.full_like(parameter.data, begin) if state is None else state
                for parameter, state in zip(run.parameters, known, strict=True)
            ]
            whole = torch.cat([part.to(run.data).reshape(-1) for part in parts])
            for block, stretch in zip(blocks, whole.split(size), strict=True):
                block.state[name] = stretch
        return blocks

    @property
    def is_current(self) -> bool:
        """Whether the parameters still lie where the blocks are."""
        for home, departures in self._homes:
            if home.departures != departures:
                return False
        return True

    def states(self) -> dict[Parameter, dict[str, Tensor]]:
        """The states of each parameter, in its shape."""
        found: dict[Parameter, dict[str, Tensor]] = {}
        for run, blocks in zip(self._runs, self._blocks_of, strict=True):
            sizes = [parameter.numel() for parameter in run.parameters]
            for name in self.names:
                whole = torch.cat([block.state[name] for block in blocks])
                for parameter, part in zip(run.parameters, whole.split(sizes), strict=True):
                    found.setdefault(parameter, {})[name] = part.view(parameter.shape)
        return found
