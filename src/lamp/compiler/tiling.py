"""The tiling pass: from a KernelSpec and a machine to a Tiling, the sizes of the kernel's loops and memory.

It decides how many lanes a vector has, how many columns are computed at once, how many parts a batch has for threads,
and how much scratch memory is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lamp.compiler.code import Machine
from lamp.compiler.kernel_spec import KernelSpec
from lamp.compiler.rules.batch_norm import ByBatch
from lamp.compiler.rules.feature_major import FeatureMajor
from lamp.compiler.rules.few_inputs import FewInputs, has_few_inputs
from lamp.compiler.rules.few_samples import FewSamples, is_row_of_formulas
from lamp.compiler.rules.instance_norm import BySample
from lamp.compiler.rules.products import Products
from lamp.compiler.rules.rule import ChunkRule, CouplingRule
from lamp.compiler.stages import Plan, Stage

COLUMNS = (4, 5, 6, 3, 7, 2)  # columns computed at once: the first of these that leaves none over, or the fewest
PART = 2_000_000  # multiplications per step from which another thread is worth while
MOST_PARTS = 4
CHUNKS = (32, 16, 8)  # columns of one network whose activations are stored at once: the most that fit in CACHE
CACHE = 2**18  # bytes
WINDOWS_CACHE = 2**21  # the same for networks with windows, which read each value many times
LIGHT = 0.2  # share of the multiplications that is left to short code
FEW = 2  # a batch is of few samples if a vector has at least so many times as many lanes
# So is a larger one, of up to MOST_SAMPLES and one and a half vectors, if the sums across lanes, one for each unit and
# sample, are sums of LONG products or more on average.
MOST_SAMPLES, LONG = 12, 16
WIDE = 64  # least number of features for which the first layer is computed with features as lanes
# A layer is computed by the machine's matrix product if it has at least LARGE weights, and SLIM inputs and outputs.
LARGE, SLIM = 2048, 8
# Then a chunk has at most PRODUCT_CHUNK columns, and a batch is split into so many parts from so many columns on: each
# part has its own gradients of all parameters, so it must be large.
PRODUCT_CHUNK, PRODUCT_COLUMNS = 32, {4: 128, 2: 4, 1: 0}


def _reads_rows(plan: Plan) -> bool:
    """Whether nothing but the first layer reads the inputs, so that it may take them as they lie in the data."""
    given, first = plan.stages[:2]
    affine = first.kind == "Affine" and first.places == 1
    return given.users == 1 and not given.chain and affine and first.inputs == [given]


def _heads(plan: Plan, machine: Machine, lanes: int, batch: int) -> dict[Stage, ChunkRule]:
    """The stages of a single network that are computed for a whole chunk of samples at once, and how.

    batch  the most samples in a batch
    """
    if is_row_of_formulas(plan) and _takes_few_samples(plan, lanes, batch):
        few, few_inputs = FewSamples(batch), FewInputs(batch)
        return {stage: few_inputs if has_few_inputs(plan, stage, lanes) else few for stage in plan.layers}
    rows = _reads_rows(plan)
    heads: dict[Stage, ChunkRule] = {}
    for stage in plan.layers:
        if stage.kind != "Affine" or stage.places > 1:
            continue
        inputs, outputs = stage.width
        if machine.products and inputs * outputs >= LARGE and min(inputs, outputs) >= SLIM:
            heads[stage] = Products(from_rows=rows)
        elif rows and stage is plan.stages[1] and inputs >= WIDE:
            heads[stage] = FeatureMajor()
    return heads


def _has_products(heads: Mapping[Stage, ChunkRule]) -> bool:
    return any(isinstance(rule, Products) for rule in heads.values())


def _coupling(stage: Stage) -> CouplingRule | None:
    """How a stage is computed, if it couples the samples of a batch."""
    if stage.attributes.get("by_batch"):
        return ByBatch()
    return BySample() if stage.attributes.get("tracks") else None


def _takes_few_samples(plan: Plan, lanes: int, batch: int) -> bool:
    """Whether a batch of at most so many samples is computed with units as lanes."""
    if batch * FEW <= lanes:
        return True
    summed = [stage for stage in plan.layers if not has_few_inputs(plan, stage, lanes)]  # across lanes
    products = sum(stage.multiplications for stage in summed)
    return batch <= min(MOST_SAMPLES, lanes * 3 // 2) and products >= LONG * sum(stage.units for stage in summed)


def _light(plan: Plan, heads: Collection[Stage]) -> frozenset[int]:
    """The numbers of the layers that do the least of the work, LIGHT of it together, without the heads."""
    found, left = set(), LIGHT * plan.multiplications
    for stage in sorted(plan.layers, key=lambda stage: stage.multiplications):
        left -= stage.multiplications
        if left >= 0 and stage not in heads and stage.layer is not None:
            found.add(stage.layer)
    return frozenset(found)


@dataclass(frozen=True)
class Tiling:
    """The sizes of a kernel's loops and memory.

    one_network  sample lanes; else replica lanes
    lanes        W, numbers per vector
    numbers      P, the parameters of a network; in sample lanes rounded up to whole vectors
    heads        the stages that are computed for a whole chunk at once, and how
    couplings    the stages that couple the samples of a batch, and how they are computed. Then each part is one chunk
    light        the numbers of the other layers that do the least of the work, LIGHT of it together. Their code is
                 short, since they take longer to compile than they would gain
    rows         whether the first of them reads rows of the data, instead of stored values of the inputs
    columns      computed at once
    ragged       whether a part's last block may reach beyond its columns, whose number is no multiple of `columns`
    parts        the number of parts of a batch, each for one thread. It depends on the spec alone, so that results do
                 not depend on the number of threads
    chunk        columns whose activations are stored at once
    stride       the same, rounded up to whole blocks: so many are stored side by side
    overwrites   whether a part is a single chunk, so that some rules may store gradients instead of adding them
    spare        whether lanes of a part's last block may hold no sample, so that they are masked
    activations  vectors of scratch memory for the values of a chunk
    gradients    vectors of scratch memory for gradients of values
    """

    one_network: bool
    lanes: int
    numbers: Any
    heads: Mapping[Stage, ChunkRule]
    couplings: Mapping[Stage, CouplingRule]
    light: frozenset[int]
    rows: bool
    columns: int
    ragged: bool
    parts: int
    chunk: int
    stride: int
    overwrites: bool
    spare: bool
    activations: int
    gradients: int

    @property
    def has_products(self) -> bool:
        """Whether some stages are computed by the machine's matrix product."""
        return _has_products(self.heads)

    @property
    def phases(self) -> int:
        """Into how many phases the gradients of a step are divided: a phase needs what the one before has stored for
        all parts."""
        return 1 + 2 * len(self.couplings)

    @property
    def chunks(self) -> int:
        """How many chunks are kept at once: those of all parts, if their samples are coupled."""
        return self.parts if self.couplings else 1

    def vectors_of(self, batch: int) -> int:
        """The number of columns of a batch."""
        return _vectors_of(batch, self.lanes, self.one_network)

    def __str__(self) -> str:
        lines = [f"{self.lanes} lanes, each {'a sample of one network' if self.one_network else 'a network'}"]
        cut = f"{self.columns} columns at once" + (", the last of which may be masked" if self.ragged else "")
        if self.light:
            cut += f", layers {', '.join(map(str, sorted(self.light)))} in short code"
        if self.one_network:
            cut += f", in chunks of {self.chunk}"
            cut += f", in {self.parts} parts of the batch" if self.parts > 1 else ""
        lines += [cut, f"{self.activations} vectors of activations, {self.gradients} of their gradients"]
        return "\n".join(lines)


def tiled(spec: KernelSpec, machine: Machine) -> Tiling:
    """The tiling of a kernel for a machine."""
    plan, lanes, one_network = spec.plan, machine.lanes(spec.dtype), spec.one_network
    vectors = [_vectors_of(batch, lanes, one_network) for batch in spec.batches]
    work = 3 * plan.multiplications * max(spec.batches)
    heads = _heads(plan, machine, lanes, max(spec.batches)) if one_network else {}
    couplings = {stage: rule for stage in plan.stages if (rule := _coupling(stage)) is not None}
    products = _has_products(heads)
    parts = 1
    if one_network and (plan.has_windows or couplings):  # their work is large beside the gradients that each part keeps
        parts = next(n for n in (4, 2, 1) if n == 1 or (work >= n * PART and max(vectors) >= n))
    elif products:
        parts = next(n for n in (4, 2, 1) if max(vectors) >= PRODUCT_COLUMNS[n] and work >= n * PART * (n > 1))
    elif one_network:
        parts = max(1, min(MOST_PARTS, work // PART, max(vectors) // COLUMNS[0]))
    sizes_of_parts = {b - a for v in vectors for a, b in pairwise(k * v // parts for k in range(parts + 1))}
    rows = plan.stages[1] in heads and _reads_rows(plan)
    unused = rows and not isinstance(heads[plan.stages[1]], Products)  # the inputs are not stored
    column = (plan.activation_count + plan.gradient_count - (plan.features if unused else 0)) * lanes
    most_columns = next((c for c in CHUNKS if c * column * spec.dtype.itemsize <= CACHE), CHUNKS[-1])
    if couplings:
        most_columns = max(sizes_of_parts)
    elif plan.has_windows:
        most_columns = max(1, WINDOWS_CACHE // (column * spec.dtype.itemsize))
    elif products:  # the larger the matrices the better, so the chunks are equal and no small one is left over
        chunks = -(-max(sizes_of_parts) // PRODUCT_CHUNK)
        most_columns = -(-max(sizes_of_parts) // chunks)
    sizes = set(vectors)  # the numbers of columns that are split into blocks
    if one_network:
        sizes = {min(most_columns, v) for v in sizes_of_parts}
        sizes |= {v % most_columns for v in sizes_of_parts if v > most_columns} - {0}
    columns = 1 if one_network and plan.has_windows else min(_columns_for(sizes), most_columns, max(sizes))
    ragged = any(size % columns for size in sizes)
    chunk = min(most_columns, max(sizes_of_parts)) if one_network or couplings else columns
    stride = -(-chunk // columns) * columns
    return Tiling(
        one_network=one_network,
        lanes=lanes,
        numbers=-(-plan.parameters // lanes) * lanes if one_network else plan.parameters,
        heads=heads,
        couplings=couplings,
        light=_light(plan, heads),
        rows=rows,
        columns=columns,
        ragged=ragged,
        parts=parts,
        chunk=chunk,
        stride=stride,
        overwrites=any(rule.overwrites for rule in heads.values()) and max(sizes_of_parts) <= chunk,
        spare=ragged or (one_network and any(batch % lanes for batch in spec.batches)),
        activations=plan.activation_count * stride,
        gradients=plan.gradient_count * stride,
    )


def _columns_for(sizes: Collection[int]) -> int:
    """How many columns to compute at once if blocks have to cover so many."""
    return min(COLUMNS, key=lambda c: sum(-size % c for size in sizes))


def _vectors_of(batch: int, lanes: int, one_network: bool) -> int:
    return -(-batch // lanes) if one_network else batch
