"""Steps: the training steps of some epochs, prepared for all kernels of a population, and their results.

A KernelRunner prepares the buffers; `run` calls the kernels, and the properties read losses, counts and outputs back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from lamp.compiler.kernel_state import KernelBuffers, KernelState, StepRange
from lamp.compiler.threads import as_team, on_threads

SLICES = 8  # the steps of few groups are split into so many calls, so that threads get similar amounts of work


@dataclass
class Steps:
    """The steps of some epochs. `run(first, stop)` makes them.

    kernel_states  the networks, one KernelState per kernel
    buffers_of     per kernel state, the steps and the arrays that they read and write
    samples        per epoch
    batch          samples per step
    count          the number of steps in all epochs
    threads        the number of threads to run on
    """

    kernel_states: list[KernelState]
    buffers_of: list[tuple[list[StepRange], KernelBuffers]]
    samples: int
    batch: int
    epochs: int
    count: int
    threads: int

    def run(self, first: int, stop: int, begun: Callable[[], None] = lambda: None) -> None:
        """Make the steps from first to stop. `begun` is called once all threads have started."""
        kernel_state = self.kernel_states[0]
        if len(self.kernel_states) == kernel_state.groups == 1 and kernel_state.tiling.parts > 1 and self.threads > 1:
            ((step_ranges, buffers),) = self.buffers_of
            calls = [kernel_state.calls(buffers, part)[0] for part in _parts(step_ranges, first, stop, kernel_state)]
            as_team(kernel_state, calls, self.threads, begun)
            return
        work: list[list[Callable[[], None]]] = []
        for kernel_state, (step_ranges, buffers) in zip(self.kernel_states, self.buffers_of, strict=True):
            parts = [part for cut in self.cuts(first, stop) for part in _parts(step_ranges, *cut, kernel_state)]
            by_group = zip(*[kernel_state.calls(buffers, part) for part in parts], strict=True)
            work += [[partial(kernel_state.run, call) for call in calls] for calls in by_group]
        on_threads(work, self.threads, begun)

    def cuts(self, first: int, stop: int) -> list[tuple[int, int]]:
        """The range from first to stop, of steps or epochs, split into slices if few groups are shared among
        threads."""
        groups, count = sum(kernel_state.groups for kernel_state in self.kernel_states), stop - first
        slices = min(SLICES, count) if 1 < groups < SLICES * self.threads and self.threads > 1 else 1
        return list(pairwise(first + k * count // slices for k in range(slices + 1)))

    def table(self, k: int) -> Tensor:
        """The call table of the k-th kernel state for all epochs (see `KernelState.table`)."""
        kernel_state, (step_ranges, buffers) = self.kernel_states[k], self.buffers_of[k]
        steps = self.count // self.epochs
        return kernel_state.table(
            buffers, self.epochs, lambda epoch: _parts(step_ranges, epoch * steps, (epoch + 1) * steps, kernel_state)
        )

    @property
    def losses(self) -> Tensor:
        """The losses (steps, K); of one network (steps, 1)."""
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.losses(buffers, self.count) for kernel_state, (_, buffers) in pairs], 1)

    @property
    def right(self) -> Tensor:
        """The numbers of correct predictions (steps, answers, K); of one network (steps, answers, 1)."""
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.right(buffers, self.count) for kernel_state, (_, buffers) in pairs], 2)

    @property
    def outputs(self) -> Tensor | None:
        """The networks' outputs (K, samples, outputs); of one network (1, samples, outputs). None if they are not
        kept."""
        if not self.kernel_states[0].spec.keeps_outputs:
            return None
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.outputs(buffers, step_ranges) for kernel_state, (step_ranges, buffers) in pairs])


def _parts(step_ranges: Sequence[StepRange], first: int, stop: int, kernel_state: KernelState) -> list[StepRange]:
    """The parts of these step ranges that lie between first and stop."""
    found = []
    for step_range in step_ranges:
        begin, end = max(first, step_range.first), min(stop, step_range.first + step_range.count)
        if begin < end:
            before = begin - step_range.first
            column = step_range.column + before * kernel_state.tiling.vectors_of(step_range.batch)
            found.append(
                StepRange(begin, end - begin, step_range.batch, step_range.at + before * step_range.batch, column)
            )
    return found
