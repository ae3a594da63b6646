"""Pairs of an encoding and a shape: a sweep tries settings of each, and ranks them by their validation losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lamp.errors import NonFiniteError
from lamp.losses import Loss
from lamp.nn import PiecewiseLinearEncoding
from lamp.optim import AdamW, CosineAnnealingLR
from lamp.studies import Sweep, log_uniform, samples, sweep
from lamp.studies.settings import Setting
from lamp.studies.trial import Trial
from lamp.tables.effort import BINS, ENGINE, Deadline, Effort, Shape
from lamp.tables.member_rows import Data
from lamp.training import predict

BEST_SETTINGS = 4  # most settings of a pair in the ensemble
NOT_WORSE = 1.2  # their validation losses are within 20 % of the pair's best
RANKED_BY = 3  # a pair is ranked by the mean of so many of its best settings, because a single one may be luck
NEAR = 1.15  # pairs whose loss is within 15 % of the best may be in the ensemble


@dataclass(frozen=True)
class Pair:
    """An encoding (None for preprocessed inputs as they are) and a shape, with the best of its settings first.

    loss  the mean validation loss of its RANKED_BY best settings; infinite before the sweep
    """

    shape: Shape
    encoding: PiecewiseLinearEncoding | None = None
    settings: tuple[Setting, ...] = ()
    loss: float = math.inf

    def of(self, data: Data) -> Data:
        """Inputs and targets, with the inputs encoded."""
        return data if self.encoding is None else (predict(self.encoding, data[0]), data[1])

    def inputs(self, features: int) -> int:
        """The number of the networks' inputs."""
        return features if self.encoding is None else self.encoding.out_features


def pairs_of(effort: Effort, inputs: Tensor) -> list[Pair]:
    """The pairs that an effort tries; the encoding is fitted to these training inputs (n, features)."""
    plain = [Pair(shape) for shape in effort.shapes]
    if not effort.encoded:
        return plain
    encoding = PiecewiseLinearEncoding.fit(inputs, BINS)
    if not sum(encoding.bins):
        return plain
    encoding.eval()
    return plain + [Pair(shape, encoding) for shape in effort.encoded]


def swept(
    pairs: Sequence[Pair],
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    criterion: Loss,
    alarm: Deadline,
    *,
    seed: int,
    progress: bool,
) -> tuple[Sweep, list[Pair]]:
    """All settings tried, the best first, and the pairs with their best settings, the best pair first.

    Each pair gets equally many settings. The networks of an encoding share a sweep, because a sweep has one table of
    inputs. After Ctrl-C in one of these sweeps, no other one begins.

    Raises NonFiniteError if no setting has a finite loss.
    """
    count = effort.settings * len(pairs) // len(effort.shapes + effort.encoded)
    drawn = samples(count, seed=seed, lr=log_uniform(5e-4, 2e-2), weight_decay=log_uniform(1e-4, 1.0))
    settings = [{**setting, "pair": k % len(pairs)} for k, setting in enumerate(drawn)]
    found: list[Sweep] = []
    for encoding in dict.fromkeys(pair.encoding for pair in pairs):
        sharing = [k for k, pair in enumerate(pairs) if pair.encoding is encoding]
        (inputs, targets), held_out = pairs[sharing[0]].of(training), pairs[sharing[0]].of(validation)
        found.append(
            sweep(
                lambda pair, width=inputs.shape[1]: pairs[pair].shape.build(width, outputs),
                [setting for setting in settings if setting["pair"] in sharing],
                (inputs, targets),
                criterion=criterion,
                optimizer=AdamW,
                epochs=effort.sweep_epochs,
                batch_size=effort.batch_size,
                validation=held_out,
                seeds=[seed],
                halving=effort.halving,
                scheduler=lambda optimizer: CosineAnnealingLR(optimizer, effort.sweep_epochs),
                callbacks=[alarm],
                engine=ENGINE,
                progress=progress,
            )
        )
        if found[-1].stopped.startswith("interrupted"):
            break
    rows = sorted((row for each in found for row in each.rows), key=lambda row: row.place("min"))
    stopped = "; ".join(dict.fromkeys(each.stopped for each in found))
    return Sweep(rows, found[0].seeds, found[0].score, found[0].mode, stopped), _ranked(pairs, rows)


def _ranked(pairs: Sequence[Pair], rows: Sequence[Trial]) -> list[Pair]:
    """The pairs with their settings and losses, the best first.

    Settings are ranked by their best epoch, not by their last one, because the ensemble will stop early too.
    """
    scored: list[list[tuple[float, Setting]]] = [[] for _ in pairs]
    for row in rows:
        if row.going and row.epochs:
            scored[row.setting["pair"]].append((_lowest(row), row.setting))
    ranked = []
    for pair, found in zip(pairs, scored, strict=True):
        found.sort(key=lambda each: each[0])
        best = [loss for loss, _ in found[:RANKED_BY]]
        near = tuple(setting for loss, setting in found if loss <= found[0][0] * NOT_WORSE)[:BEST_SETTINGS]
        if best and math.isfinite(best[0]):
            ranked.append(Pair(pair.shape, pair.encoding, near, sum(best) / len(best)))
    if not ranked:
        raise NonFiniteError(
            "no setting of the sweep had a finite loss",
            expected="a finite loss on the validation rows",
            got="infinity or NaN in all of them",
            fix="look for huge numbers in the table",
        )
    return sorted(ranked, key=lambda pair: pair.loss)


def good_enough(ranked: Sequence[Pair]) -> list[Pair]:
    """The pairs whose loss is near the best one's."""
    return [pair for pair in ranked if pair.loss <= ranked[0].loss * NEAR]


def _lowest(row: Trial) -> float:
    losses = row.history()["validation_loss"]
    return float(losses.nan_to_num(nan=math.inf).min())
