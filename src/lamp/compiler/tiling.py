"""The tiling pass: from a KernelSpec and a machine to a Tiling, the sizes of the kernel's loops and memory.

It decides how many lanes a vector has, how many columns are computed at once, how many parts a batch has for threads,
and how much scratch memory is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lamp.compiler.code import Machine
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.stages import Plan

COLUMNS = (4, 5, 6, 3, 7, 2, 1)  # columns computed at once: the first of these that leaves no remainder
PART = 2_000_000  # multiplications per step from which another thread is worth while
MOST_PARTS = 4
CHUNKS = (32, 16, 8)  # columns of one network whose activations are stored at once: the most that fit in CACHE
CACHE = 2**18  # bytes
WIDE = 64  # least number of features for which the first layer is computed with features as lanes


def along_features(plan: Plan, lanes: int) -> bool:
    """Whether the first layer of a single network is computed with features, instead of samples, as lanes."""
    given, first = plan.stages[:2]
    alone = given.users == 1 and not given.chain and first.kind == "Affine"
    return alone and plan.features >= WIDE and plan.features % lanes == 0


@dataclass(frozen=True)
class Tiling:
    """The sizes of a kernel's loops and memory.

    one_network  sample lanes; else replica lanes
    lanes        W, numbers per vector
    numbers      P, the parameters of a network; in sample lanes rounded up to whole vectors
    wide         whether the first layer has features as lanes; then the inputs are not stored
    columns      computed at once
    ragged       whether the number of columns is not always a multiple of `columns`
    parts        the number of parts of a batch, each for one thread. It depends on the spec alone, so that results do
                 not depend on the number of threads
    chunk        columns whose activations are stored at once
    spare        whether the last vector of a batch may hold fewer than W samples
    activations  vectors of scratch memory for values
    gradients    vectors of scratch memory for gradients of values
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
        """The number of columns of a batch."""
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
    """The tiling of a kernel for a machine."""
    plan, lanes, one_network = spec.plan, machine.lanes(spec.dtype), spec.one_network
    vectors = [_vectors_of(batch, lanes, one_network) for batch in spec.batches]
    work = 3 * plan.multiplications * max(spec.batches)
    most = min(MOST_PARTS, work // PART, max(vectors) // COLUMNS[0])
    parts = max(1, most) if one_network else 1
    sizes_of_parts = {b - a for v in vectors for a, b in pairwise(k * v // parts for k in range(parts + 1))}
    wide = one_network and along_features(plan, lanes)
    kept = plan.activation_count + plan.gradient_count - (plan.features if wide else 0)
    column = kept * lanes * spec.dtype.itemsize
    most_columns = next((c for c in CHUNKS if c * column <= CACHE), CHUNKS[-1])
    sizes = set(vectors)  # the numbers of columns that are split into blocks
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
        activations=plan.activation_count * chunk,
        gradients=plan.gradient_count * chunk,
    )


def _vectors_of(batch: int, lanes: int, one_network: bool) -> int:
    return -(-batch // lanes) if one_network else batch
