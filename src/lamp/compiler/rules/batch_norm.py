"""The rules for BatchNorm: channels are standardised over the whole batch, then weighted as in other norms.

The moments are known once all samples of the batch have come so far, so the first of the two stages couples them. In
evaluation the running statistics take their place, and each sample is computed by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lamp.compiler.code import Condition
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane
from lamp.compiler.rules.chain import (
    apply_chain,
    chain_backward_of_all,
    each_column,
    give_gradients,
    note_all_given,
)
from lamp.compiler.rules.norm import TOGETHER, Norm
from lamp.compiler.rules.rule import Batch, CouplingRule, Rule
from lamp.compiler.stages import Stage
from lamp.compiler.statistics import WHOLE
from lamp.graph import Op

STANDARDISE = "BatchStandardise"
# What a stage keeps per channel: its moments, which backward replaces; and per column, the moments of the column alone.
SCALE, MEAN, VAR, COLUMN_MEAN, COLUMN_SQUARES, COLUMN_DY, COLUMN_SHARE = range(KEPT := 7)
MEAN_DY, MEAN_SHARE = MEAN, VAR


class BatchNorm(Norm):
    """y = w x + b for x standardised over the batch, with one weight and one bias per channel."""

    def prepared(self, op: Op, inputs: list[Stage]) -> list[Stage]:
        shape, given = op.inputs[0].shape, op.attributes
        module: Any = op.module
        about = {
            "channels": shape[0],
            "inner": math.prod(shape[1:]),
            "by_batch": given["by_batch"],
            "eps": given["eps"],
            "momentum": module.momentum,
        }
        return [Stage(STANDARDISE, inputs, math.prod(shape), attributes=about)]


class ByRunningStatistics(Rule):
    """y = (x - running_mean) / sqrt(running_var + eps) for each channel. For evaluation, so there is no backward.

    What is kept is for `ByBatch`, which takes this rule's place in training.
    """

    keeps_source = True
    reads_inputs = False

    def kept(self, stage: Stage) -> int:
        return KEPT * stage.attributes["channels"] if stage.attributes["by_batch"] else 0

    def forward(self, block: ColumnBlock, stage: Stage) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        with code.loop(0, given["channels"]) as channel:
            mean, var = (
                block.statistic(code.plus(channel, stage.statistics[name])) for name in ("running_mean", "running_var")
            )
            scale = (var + given["eps"]).rsqrt()
            with code.loop(0, given["inner"]) as k, each_column(block, stage) as columns:
                unit = code.plus(code.times(channel, given["inner"]), k)
                for s in columns:
                    x = block.activation(code.plus(unit, before.output_offset), s)
                    apply_chain(block, stage, unit, s, (x - mean) * scale)

    def backward(self, block: ColumnBlock, stage: Stage) -> None:
        raise AssertionError("nothing is learned in evaluation")


class ByBatch(CouplingRule):
    """y = (x - mean) s for each channel of the batch, s = 1 / sqrt(mean of (x - mean)^2 + eps).

    The running statistics move towards mean and variance, as the module's docstring says. Each column first takes the
    moments of its own numbers, which lie in the cache for the second look at them; the batch's are made of these.

    Backward  dx = s (dy - mean(dy) - y mean(dy y))
    """

    def begin_forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        if _is_direct(stage, batch):
            return
        for first, together in block.tiles(stage.attributes["channels"], TOGETHER):
            with block.code.loop(0, columns) as s:
                _keep_moments_of_column(block, stage, first, together, s)

    def forward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch, is_first: Condition) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        for first, together in block.tiles(given["channels"], TOGETHER):
            _keep_moments_of_batch(block, stage, batch, first, together)
        if stage.statistics:
            in_first_part(block, is_first, lambda: _move_statistics(block, stage))
        with code.loop(0, given["channels"]) as channel:
            mean, scale = (_kept(block, stage, what, channel) for what in (MEAN, SCALE))
            with code.loop(0, given["inner"]) as k, code.loop(0, columns) as s:
                unit = code.plus(code.times(channel, given["inner"]), k)
                x = block.activation(code.plus(unit, before.output_offset), s)
                apply_chain(block, stage, unit, s, (x - mean) * scale)

    def begin_backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        chain_backward_of_all(block, stage, columns)
        if _is_direct(stage, batch) or not stage.inputs[0].learns:
            return
        for first, together in block.tiles(stage.attributes["channels"], TOGETHER):
            with block.code.loop(0, columns) as s:
                _keep_sums_of_column(block, stage, first, together, s)

    def backward(self, block: ColumnBlock, stage: Stage, columns: Index, batch: Batch) -> None:
        code, (before,), given = block.code, stage.inputs, stage.attributes
        if not before.learns:
            return
        for first, together in block.tiles(given["channels"], TOGETHER):
            _keep_means_of_batch(block, stage, batch, first, together)
        with code.loop(0, given["channels"]) as channel:
            mean_dy, mean_share, scale = (_kept(block, stage, what, channel) for what in (MEAN_DY, MEAN_SHARE, SCALE))
            with code.loop(0, given["inner"]) as k, code.loop(0, columns) as s:
                unit = code.plus(code.times(channel, given["inner"]), k)
                dy, y = _dy_and_y(block, stage, unit, s)
                dx = (dy - mean_dy - y * mean_share) * scale
                give_gradients(block, before, unit, {s: block.counted([dx], [s])[0]})
        note_all_given(block, before)


def in_first_part(block: ColumnBlock, is_first: Condition, write: Callable[[], None]) -> None:
    """Write code that runs in the first part of the batch alone. is_first: None if there is only one part."""
    if is_first is None:
        write()
        return
    with block.code.either(is_first) as (first_part, others):
        with first_part:
            write()
        with others:
            pass


# ---- moments ---------------------------------------------------------------------------------------------------------
def _is_direct(stage: Stage, batch: Batch) -> bool:
    """Whether sums over the batch are taken of the values themselves: a channel has one per sample, and there is one
    part."""
    return stage.attributes["inner"] == 1 and len(batch) == 1


def _keep_moments_of_column(block: ColumnBlock, stage: Stage, first: Index, together: int, s: Index) -> None:
    """Store the mean, and the sum of squares around it, of the numbers that a column has in these channels."""
    code, (before,), inner = block.code, stage.inputs, stage.attributes["inner"]

    def x(k: Index, r: int) -> Lane:
        unit = code.plus(code.times(code.plus(first, r), inner), k)
        return block.activation(code.plus(unit, before.output_offset), s)

    means = [each * (1.0 / inner) for each in _over_positions(block, stage, together, x)]
    squares = _over_positions(block, stage, together, lambda k, r: (x(k, r) - means[r]).square())
    for r in range(together):
        _keep(block, stage, COLUMN_MEAN, code.plus(first, r), means[r], s)
        _keep(block, stage, COLUMN_SQUARES, code.plus(first, r), squares[r], s)


def _keep_moments_of_batch(block: ColumnBlock, stage: Stage, batch: Batch, first: Index, together: int) -> None:
    """Store mean, variance and scale of these channels."""
    code, inner, direct = block.code, stage.attributes["inner"], _is_direct(stage, batch)

    def mean(of: ColumnBlock, r: int, s: Index) -> Lane:
        channel = code.plus(first, r)
        if direct:
            return of.activation(code.plus(channel, stage.inputs[0].output_offset), s)
        return _kept(of, stage, COLUMN_MEAN, channel, s)

    def squares(of: ColumnBlock, r: int, s: Index) -> Lane:
        around = (mean(of, r, s) - means[r]).square()
        if direct:
            return around
        return around.times_plus(code.lane(float(inner)), _kept(of, stage, COLUMN_SQUARES, code.plus(first, r), s))

    samples = code.number(block.arguments.batch)
    means = [each / samples for each in over_batch(block, batch, together, mean)]
    for r, each in enumerate(over_batch(block, batch, together, squares)):
        var, channel = each / (samples * float(inner)), code.plus(first, r)
        _keep(block, stage, MEAN, channel, means[r])
        _keep(block, stage, VAR, channel, var)
        _keep(block, stage, SCALE, channel, (var + stage.attributes["eps"]).rsqrt())


def _keep_sums_of_column(block: ColumnBlock, stage: Stage, first: Index, together: int, s: Index) -> None:
    """Store the sums of dy and dy y of the numbers that a column has in these channels."""
    code, inner = block.code, stage.attributes["inner"]

    def unit(k: Index, r: int) -> Index:
        return code.plus(code.times(code.plus(first, r), inner), k)

    sums = _over_positions(block, stage, together, lambda k, r: _dy_and_y(block, stage, unit(k, r), s)[0])
    shares = _over_positions(block, stage, together, lambda k, r: _share(block, stage, unit(k, r), s))
    for r in range(together):
        _keep(block, stage, COLUMN_DY, code.plus(first, r), sums[r], s)
        _keep(block, stage, COLUMN_SHARE, code.plus(first, r), shares[r], s)


def _keep_means_of_batch(block: ColumnBlock, stage: Stage, batch: Batch, first: Index, together: int) -> None:
    """Store the means of dy and dy y of these channels."""
    code, direct = block.code, _is_direct(stage, batch)

    def dy(of: ColumnBlock, r: int, s: Index) -> Lane:
        channel = code.plus(first, r)
        return _dy_and_y(of, stage, channel, s)[0] if direct else _kept(of, stage, COLUMN_DY, channel, s)

    def share(of: ColumnBlock, r: int, s: Index) -> Lane:
        channel = code.plus(first, r)
        return _share(of, stage, channel, s) if direct else _kept(of, stage, COLUMN_SHARE, channel, s)

    n = _count(block, stage)
    for what, value in ((MEAN_DY, dy), (MEAN_SHARE, share)):
        for r, each in enumerate(over_batch(block, batch, together, value)):
            _keep(block, stage, what, code.plus(first, r), each / n)


def _over_positions(block: ColumnBlock, stage: Stage, together: int, value: Callable[[Index, int], Lane]) -> list[Lane]:
    """The sums of a value over the positions of a channel, for several channels.

    value  from a position and the number of the channel among these
    """
    with block.code.carrying(0, stage.attributes["inner"], [block.code.lane(0.0)] * together) as (k, sums):
        sums[:] = [total + value(k, r) for r, total in enumerate(sums)]
    return sums


def over_batch(
    block: ColumnBlock, batch: Batch, together: int, value: Callable[[ColumnBlock, int, Index], Lane]
) -> list[Lane]:
    """The sums of a value over all samples of the batch, for several channels.

    value  from a block, the number of the channel among these, and a column
    """
    sums = [block.code.lane(0.0)] * together
    for of, columns in batch:
        with block.code.carrying(0, columns, sums) as (s, inner):
            inner[:] = [total + of.counted([value(of, r, s)], [s])[0] for r, total in enumerate(inner)]
        sums = inner
    return [each.sum_of_lanes() if block.one_network else each for each in sums]


def _dy_and_y(block: ColumnBlock, stage: Stage, unit: Index, s: Index) -> tuple[Lane, Lane]:
    dy = block.gradient(block.code.plus(unit, stage.gradient_offset), s)
    return dy, block.activation(block.code.plus(unit, stage.value_offsets[0]), s)


def _share(block: ColumnBlock, stage: Stage, unit: Index, s: Index) -> Lane:
    dy, y = _dy_and_y(block, stage, unit, s)
    return dy * y


def _count(block: ColumnBlock, stage: Stage) -> Lane:
    """n, how many numbers of the batch belong to a channel."""
    return block.code.number(block.arguments.batch) * float(stage.attributes["inner"])


def _keep(block: ColumnBlock, stage: Stage, what: int, channel: Index, value: Lane, s: Index = 0) -> None:
    block.keep_activation(_own(block, stage, what, channel), s, value)


def _kept(block: ColumnBlock, stage: Stage, what: int, channel: Index, s: Index = 0) -> Lane:
    return block.activation(_own(block, stage, what, channel), s)


def _own(block: ColumnBlock, stage: Stage, what: int, channel: Index) -> Index:
    """Where the stage keeps one of its numbers for a channel."""
    return block.code.plus(channel, stage.kept_offset + what * stage.attributes["channels"])


# ---- running statistics ----------------------------------------------------------------------------------------------
def _move_statistics(block: ColumnBlock, stage: Stage) -> None:
    """Count the batch, and move the running statistics towards its mean and variance."""
    code, n, momentum = block.code, _count(block, stage), _momentum(block, stage)
    with code.loop(0, stage.attributes["channels"]) as channel:
        mean, var = (_kept(block, stage, what, channel) for what in (MEAN, VAR))
        for name, value in (("running_mean", mean), ("running_var", var * (n / (n - 1.0)))):
            at = code.plus(channel, stage.statistics[name])
            block.keep_statistic(at, block.statistic(at).lerp(value, momentum))


def _momentum(block: ColumnBlock, stage: Stage) -> Lane:
    """Count the batch. Returns the share by which running statistics move."""
    at, momentum = stage.statistics["num_batches_tracked"], stage.attributes["momentum"]
    wholes, rest = block.statistic(at), block.statistic(at + 1) + 1.0
    is_whole = rest >= float(WHOLE)
    wholes, rest = (wholes + 1.0).where(is_whole, wholes), block.code.lane(0.0).where(is_whole, rest)
    block.keep_statistic(at, wholes)
    block.keep_statistic(at + 1, rest)
    return (wholes * float(WHOLE) + rest).reciprocal() if momentum is None else block.code.lane(momentum)
