"""The pass that cuts a job for a machine: lanes, columns, parts for threads, and scratch memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lamp.compiler.code import Machine
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.stages import Plan

COLUMNS = (4, 5, 6, 3, 7, 2, 1)  # columns in registers at once: the first that leaves nothing over is taken
PART = 2_000_000  # multiplications of a step for which a thread of its own pays
MOST_PARTS = 4
CHUNKS = (32, 16, 8)  # columns of one network whose activations are kept at once: so many that they stay in cache
CACHE = 2**18  # bytes
WIDE = 64  # features from which on one network's first products run along them


def along_features(plan: Plan, lanes: int) -> bool:
    """Whether the products of one network's first layer run along the features."""
    given, first = plan.stages[:2]
    alone = given.users == 1 and not given.chain and first.kind == "Affine"
    return alone and plan.features >= WIDE and plan.features % lanes == 0


@dataclass(frozen=True)
class Tiling:
    """The cut of a job.

    one_network  sample lanes; else replica lanes
    lanes        W
    numbers      of a network's parameters, P, rounded up to whole vectors in sample lanes
    wide         whether the products of the first layer run along the features, which then are not kept
    columns      in registers at once; `ragged` where some are left over
    parts        that a batch of one network is cut into, for as many threads: a matter of the job alone, so that the
                 result does not depend on the threads there are
    chunk        columns whose activations are kept at once
    spare        whether a vector may hold lanes beyond the batch
    activations, gradients  vectors of scratch memory
    """

    one_network: bool
    lanes: int
    numbers: Any
    wide: bool
    columns: int
    ragged: bool
    parts: int
    chunk: int
    spare: bool
    activations: int
    gradients: int

    def vectors_of(self, batch: int) -> int:
        """How many columns a batch is."""
        return _vectors_of(batch, self.lanes, self.one_network)

    def __str__(self) -> str:
        lines = [f"{self.lanes} lanes, each {'a sample of one network' if self.one_network else 'a network'}"]
        cut = f"{self.columns} columns at once" + (", or one of those left over" if self.ragged else "")
        if self.one_network:
            cut += f", in chunks of {self.chunk}"
            cut += f", in {self.parts} parts of the batch" if self.parts > 1 else ""
            cut += ", the first layer along its features" if self.wide else ""
        lines += [cut, f"{self.activations} vectors of activations, {self.gradients} of their gradients"]
        return "\n".join(lines)


def tiled(spec: KernelSpec, machine: Machine) -> Tiling:
    """The cut of a job for a machine."""
    plan, lanes, one_network = spec.plan, machine.lanes(spec.dtype), spec.one_network
    vectors = [_vectors_of(batch, lanes, one_network) for batch in spec.batches]
    work = 3 * plan.multiplications * max(spec.batches)
    most = min(MOST_PARTS, work // PART, max(vectors) // COLUMNS[0])
    parts = max(1, most) if one_network else 1
    sizes_of_parts = {b - a for v in vectors for a, b in pairwise(k * v // parts for k in range(parts + 1))}
    wide = one_network and along_features(plan, lanes)
    kept = plan.activations + plan.gradients - (plan.features if wide else 0)
    column = kept * lanes * spec.dtype.itemsize
    most_columns = next((c for c in CHUNKS if c * column <= CACHE), CHUNKS[-1])
    sizes = set(vectors)  # of what is cut into blocks of columns
    if one_network:
        sizes = {min(most_columns, v) for v in sizes_of_parts}
        sizes |= {v % most_columns for v in sizes_of_parts if v > most_columns} - {0}
    fitting = [c for c in COLUMNS if all(size % c == 0 for size in sizes)]
    columns = fitting[0] if fitting[0] > 1 or max(vectors) == 1 else COLUMNS[0]
    columns = min(columns, max(vectors))
    chunk = min(most_columns, max(sizes_of_parts)) if one_network else columns
    return Tiling(
        one_network=one_network,
        lanes=lanes,
        numbers=-(-plan.parameters // lanes) * lanes if one_network else plan.parameters,
        wide=wide,
        columns=columns,
        ragged=any(size % columns for size in sizes),
        parts=parts,
        chunk=chunk,
        spare=one_network and any(batch % lanes for batch in spec.batches),
        activations=plan.activations * chunk,
        gradients=plan.gradients * chunk,
    )


def _vectors_of(batch: int, lanes: int, one_network: bool) -> int:
    return -(-batch // lanes) if one_network else batch
