"""The pass that cuts a job for a machine: lanes, columns, parts for threads, and scratch memory."""

from __future__ import annotations

from itertools import pairwise

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


class Tiling:
    """The cut of a job.

    lanes                  W
    numbers                of a network's parameters, P, rounded up to whole vectors in sample lanes
    wide                   whether the products of the first layer run along the features, which then are not kept
    columns                in registers at once; `ragged` where some are left over
    parts                  that a batch of one network is cut into, for as many threads: a matter of the job alone, so
                           that the result does not depend on the threads there are
    chunk                  columns whose activations are kept at once
    spare                  whether a vector may hold lanes beyond the batch
    activations, gradients vectors of scratch memory
    shared, own            the coefficients in the tables of all replicas, and of each: (group, name) in order
    """

    def __init__(self, spec: KernelSpec, machine: Machine) -> None:
        self.one_network, self.lanes = spec.one_network, machine.lanes(spec.dtype)
        size = spec.plan.parameters
        self.numbers = -(-size // self.lanes) * self.lanes if spec.one_network else size
        every = [(k, name, own) for k, names in enumerate(spec.per_replica) for name, own in names.items()]
        self.shared = [(k, name) for k, name, own in every if not own]
        self.per_replica = [(k, name) for k, name, own in every if own]
        vectors = [self.vectors_of(batch) for batch in spec.batches]
        work = 3 * spec.plan.multiplications * max(spec.batches)
        most = min(MOST_PARTS, work // PART, max(vectors) // COLUMNS[0])
        self.parts = max(1, most) if spec.one_network else 1
        parts = {b - a for v in vectors for a, b in pairwise(k * v // self.parts for k in range(self.parts + 1))}
        self.wide = spec.one_network and along_features(spec.plan, self.lanes)
        kept = spec.plan.activations + spec.plan.gradients - (spec.plan.features if self.wide else 0)
        column = kept * self.lanes * spec.dtype.itemsize
        most_columns = next((c for c in CHUNKS if c * column <= CACHE), CHUNKS[-1])
        chunks = {min(most_columns, v) for v in parts} | {v % most_columns for v in parts if v > most_columns} - {0}
        sizes = chunks if spec.one_network else set(vectors)  # of what is cut into blocks of columns
        fitting = [c for c in COLUMNS if all(size % c == 0 for size in sizes)]
        self.columns = fitting[0] if fitting[0] > 1 or max(vectors) == 1 else COLUMNS[0]
        self.columns = min(self.columns, max(vectors))
        self.ragged = any(size % self.columns for size in sizes)
        self.spare = spec.one_network and any(batch % self.lanes for batch in spec.batches)
        self.chunk = min(most_columns, max(parts)) if spec.one_network else self.columns
        self.activations = spec.plan.activations * self.chunk
        self.gradients = spec.plan.gradients * self.chunk

    def vectors_of(self, batch: int) -> int:
        """How many columns a batch is."""
        return -(-batch // self.lanes) if self.one_network else batch

    def __str__(self) -> str:
        lanes = "samples of one network" if self.one_network else "networks"
        cut = f"{self.columns} columns at once" + (", some left over" if self.ragged else "")
        if self.one_network:
            cut += f", {self.chunk} in a chunk, {self.parts} parts of a batch"
        if self.wide:
            cut += "; the first layer runs along its features"
        size = f"{self.activations} vectors of activations, {self.gradients} of their gradients"
        return f"{self.lanes} lanes of {lanes}; {cut}; {size}"
