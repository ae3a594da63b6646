"""The steps of some epochs, laid out for every fleet: to be made, and what they left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from lamp.compiler.fleet import Fleet, Layout, Stretch
from lamp.compiler.threads import as_team, on_threads

SLICES = 8  # that few groups' steps are cut into, so that no thread has much more to do than another


@dataclass
class Steps:
    """The steps of some epochs: `run(first, stop)` makes them.

    samples, batch  of an epoch
    count           of steps, in all epochs
    threads         to make them on
    """

    fleets: list[Fleet]
    layouts: list[tuple[list[Stretch], Layout]]
    samples: int
    batch: int
    epochs: int
    count: int
    threads: int

    def run(self, first: int, stop: int, begun: Callable[[], None] = lambda: None) -> None:
        """Make the steps from first to stop; `begun` is called when all threads are at it."""
        fleet = self.fleets[0]
        if len(self.fleets) == fleet.groups == 1 and fleet.kernel.parts > 1 and self.threads > 1:
            ((stretches, layout),) = self.layouts
            calls = [fleet.calls(layout, part)[0] for part in _parts(stretches, first, stop, fleet)]
            as_team(fleet, calls, self.threads, begun)
            return
        work: list[list[Callable[[], None]]] = []
        for fleet, (stretches, layout) in zip(self.fleets, self.layouts, strict=True):
            parts = [part for cut in self.cuts(first, stop) for part in _parts(stretches, *cut, fleet)]
            by_group = zip(*[fleet.calls(layout, part) for part in parts], strict=True)
            work += [[partial(fleet.run, call) for call in calls] for calls in by_group]
        on_threads(work, self.threads, begun)

    def cuts(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Steps, or epochs, from first to stop, in slices where few groups are shared out among threads."""
        groups, count = sum(fleet.groups for fleet in self.fleets), stop - first
        slices = min(SLICES, count) if 1 < groups < SLICES * self.threads and self.threads > 1 else 1
        return list(pairwise(first + k * count // slices for k in range(slices + 1)))

    def table(self, k: int) -> Tensor:
        """The calls of all epochs by the k-th fleet, as `Fleet.table` has them."""
        fleet, (stretches, layout) = self.fleets[k], self.layouts[k]
        steps = self.count // self.epochs
        return fleet.table(
            layout, self.epochs, lambda epoch: _parts(stretches, epoch * steps, (epoch + 1) * steps, fleet)
        )

    @property
    def losses(self) -> Tensor:
        """(steps, K); of one network (steps, 1)."""
        pairs = zip(self.fleets, self.layouts, strict=True)
        return torch.cat([fleet.losses(layout, self.count) for fleet, (_, layout) in pairs], 1)

    @property
    def right(self) -> Tensor:
        """How many answers were right, (steps, answers, K); of one network (steps, answers, 1)."""
        pairs = zip(self.fleets, self.layouts, strict=True)
        return torch.cat([fleet.right(layout, self.count) for fleet, (_, layout) in pairs], 2)

    @property
    def outputs(self) -> Tensor | None:
        """What the networks put out in their steps: (K, samples, outputs), of one network (1, samples, outputs); None
        where it is not kept."""
        if not self.fleets[0].job.keeps_outputs:
            return None
        pairs = zip(self.fleets, self.layouts, strict=True)
        return torch.cat([fleet.outputs(layout, stretches) for fleet, (stretches, layout) in pairs])


def _parts(stretches: Sequence[Stretch], first: int, stop: int, fleet: Fleet) -> list[Stretch]:
    """Those of their steps that lie between first and stop."""
    found = []
    for stretch in stretches:
        begin, end = max(first, stretch.first), min(stop, stretch.first + stretch.count)
        if begin < end:
            before = begin - stretch.first
            column = stretch.column + before * fleet.kernel.vectors_of(stretch.batch)
            found.append(Stretch(begin, end - begin, stretch.batch, stretch.at + before * stretch.batch, column))
    return found
