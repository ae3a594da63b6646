"""The steps of some epochs, laid out for every kernel state: to be made, and what they left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from lamp.compiler.kernel_state import KernelBuffers, KernelState, StepRange
from lamp.compiler.threads import as_team, on_threads

SLICES = 8  # that few groups' steps are cut into, so that no thread has much more to do than another


@dataclass
class Steps:
    """The steps of some epochs: `run(first, stop)` makes them.

    samples, batch  of an epoch
    count           of steps, in all epochs
    threads         to make them on
    """

    kernel_states: list[KernelState]
    buffers_of: list[tuple[list[StepRange], KernelBuffers]]
    samples: int
    batch: int
    epochs: int
    count: int
    threads: int

    def run(self, first: int, stop: int, begun: Callable[[], None] = lambda: None) -> None:
        """Make the steps from first to stop; `begun` is called when all threads are at it."""
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
        """Steps, or epochs, from first to stop, in slices where few groups are shared out among threads."""
        groups, count = sum(kernel_state.groups for kernel_state in self.kernel_states), stop - first
        slices = min(SLICES, count) if 1 < groups < SLICES * self.threads and self.threads > 1 else 1
        return list(pairwise(first + k * count // slices for k in range(slices + 1)))

    def table(self, k: int) -> Tensor:
        """The calls of all epochs by the k-th kernel state, as `KernelState.table` has them."""
        kernel_state, (step_ranges, buffers) = self.kernel_states[k], self.buffers_of[k]
        steps = self.count // self.epochs
        return kernel_state.table(
            buffers, self.epochs, lambda epoch: _parts(step_ranges, epoch * steps, (epoch + 1) * steps, kernel_state)
        )

    @property
    def losses(self) -> Tensor:
        """(steps, K); of one network (steps, 1)."""
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.losses(buffers, self.count) for kernel_state, (_, buffers) in pairs], 1)

    @property
    def right(self) -> Tensor:
        """How many answers were right, (steps, answers, K); of one network (steps, answers, 1)."""
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.right(buffers, self.count) for kernel_state, (_, buffers) in pairs], 2)

    @property
    def outputs(self) -> Tensor | None:
        """What the networks put out in their steps: (K, samples, outputs), of one network (1, samples, outputs); None
        where it is not kept."""
        if not self.kernel_states[0].spec.keeps_outputs:
            return None
        pairs = zip(self.kernel_states, self.buffers_of, strict=True)
        return torch.cat([kernel_state.outputs(buffers, step_ranges) for kernel_state, (step_ranges, buffers) in pairs])


def _parts(step_ranges: Sequence[StepRange], first: int, stop: int, kernel_state: KernelState) -> list[StepRange]:
    """Those of their steps that lie between first and stop."""
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
