"""Search for a table's networks: settings are tried as populations, and the best are trained as an ensemble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.losses import CrossEntropyLoss, Loss, MSELoss
from lamp.optim import AdamW, CosineAnnealingLR
from lamp.replicas import population
from lamp.studies import Sweep
from lamp.studies.settings import Setting
from lamp.tables.effort import (
    ENGINE,
    SWEPT_ROWS,
    Allotment,
    Deadline,
    Effort,
    allotment,
    compiling,
    epoch_seconds,
    guard,
    seconds_left,
)
from lamp.tables.groups import Group
from lamp.tables.member_rows import FEWEST_FOLDS, HELD_BY, Data, MemberRows
from lamp.tables.mixing import mixed
from lamp.tables.pairs import Pair, good_enough, pairs_of, swept
from lamp.tables.split import some
from lamp.training import EarlyStopping, History, fit
from lamp.training.interrupt import Interruptible

CHOOSING_ROWS = 20_000  # most validation rows in a sweep
BY_BUDGET = "stopped by the"  # budget or clock: so begins what is said of a training that was cut short


@dataclass
class Found:
    """The result of a search.

    groups     the members of the ensemble, by encoding and shape
    settings   the setting of each member, group by group
    histories  the history of each group's training
    sweep      all settings tried, the best first
    scores     (m, n', outputs) the members' outputs on rows that they were not trained on: m = K, or, with folds, the
               m = HELD_BY members of each group that held a row out
    weights    (m,) float64, their weights in the mean, which add up to 1
    targets    the targets of these rows
    """

    groups: list[Group]
    settings: list[Setting]
    histories: list[History]
    sweep: Sweep
    scores: Tensor
    weights: Tensor
    targets: Tensor


def search(
    training: Data,
    validation: Data,
    effort: Effort,
    outputs: int,
    *,
    seed: int = 0,
    groups: Tensor | None = None,
    folded: bool | None = None,
    progress: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> Found:
    """Try pairs of an encoding and a shape on the training rows, and train the best as the groups of an ensemble.

    The validation rows choose. In a small table the ensemble trains on all of these rows: they are split into folds,
    and each fold is held out for early stopping by two members of each group. In a large table, and with few members,
    all members hold out the validation rows. The groups' weights are fitted to rows that their networks held out.

    groups  (n,) the group of each row, training rows first; a group is inside one fold
    folded  whether members hold out folds: in tables of any size, never, or by default (None) in small tables
    tell    a function that is called with a line of text at each stage

    Raises KeyboardInterrupt after Ctrl-C, once the current step is done, and NonFiniteError if no setting has a finite
    loss.
    """
    criterion: Loss = MSELoss() if training[1].is_floating_point() else CrossEntropyLoss()
    with Interruptible() as interrupt:
        return _Search(effort, outputs, criterion, seed, groups, folded, progress, tell, interrupt).found(
            training, validation
        )


@dataclass(frozen=True)
class _Trained:
    """A group with each member's setting, its history, and its outputs on held-out rows with their targets."""

    group: Group
    settings: list[Setting]
    history: History
    unseen: Data


@dataclass
class _Search:
    """The stages of a search, and what they share."""

    effort: Effort
    outputs: int
    criterion: Loss
    seed: int
    row_groups: Tensor | None
    folded: bool | None
    progress: bool
    tell: Callable[[str], None]
    interrupt: Interruptible

    def found(self, training: Data, validation: Data) -> Found:
        """Sweep, train the best pairs, and mix them."""
        self.begun = time.monotonic()
        choosing = _some(validation, CHOOSING_ROWS, self.seed)
        torch.manual_seed(self.seed)
        pairs = pairs_of(self.effort, training[0])
        tried, ranked = self._swept(pairs, training, choosing)
        best = good_enough(ranked)
        allotted = self._allotted(pairs, best, training)
        rows = len(training[0]) + len(validation[0])
        if allotted.rows < 1:
            training = _some(training, max(SWEPT_ROWS, int(len(training[0]) * allotted.rows)), self.seed)
        if self.row_groups is not None and len(training[0]) + len(choosing[0]) < rows:
            self.row_groups, self.folded = None, False  # some rows were left out, and the groups are those of all
        trained = [
            self._trained(pair, training, choosing, allotted, self.seed + place * allotted.members)
            for place, pair in enumerate(best[: allotted.pairs])
        ]
        return _mixed(trained, tried)

    def _swept(self, pairs: list[Pair], training: Data, validation: Data) -> tuple[Sweep, list[Pair]]:
        """All settings tried, and the pairs, the best first."""
        effort = self.effort
        rows = _some(training, effort.swept_rows, self.seed)
        self.tell(
            f"sweep: {effort.settings} settings on {len(rows[0]):,} rows for {effort.sweep_epochs} epochs"
            + (f"; after each round the best {_ordinal(effort.halving)} goes on" if effort.halving else "")
        )
        alarm = Deadline(guard(effort.seconds) / 2)
        found = swept(
            pairs, rows, validation, effort, self.outputs, self.criterion, alarm, seed=self.seed, progress=self.progress
        )
        self._stop_if_asked()
        if alarm.passed:
            seconds = f"{alarm.seconds:.0f} s"
            self.tell(f"the clock ended the sweep after {seconds}, so the same seed may give another result")
        return found

    def _allotted(self, pairs: list[Pair], best: list[Pair], training: Data) -> Allotment:
        """How many of the best pairs are trained, and how, with what the sweep of all pairs leaves of the budget."""
        rows, features = training[0].shape
        sizes = [(pair.shape, pair.inputs(features)) for pair in pairs]
        costs = [
            epoch_seconds(pair.shape, pair.inputs(features), self.outputs, rows, self.effort.batch_size)
            for pair in best
        ]
        kernels = [compiling(pair.shape) for pair in best]
        left = seconds_left(self.effort, sizes, self.outputs)
        return allotment(self.effort, costs, left, rows, kernels, wide=features > rows)

    def _trained(self, pair: Pair, training: Data, validation: Data, allotted: Allotment, seed: int) -> _Trained:
        """A group of networks of this pair, initialised with seeds from `seed` on."""
        effort, members, epochs = self.effort, allotted.members, allotted.epochs
        options: dict[str, Any] = {"seed": self.seed, "groups": self.row_groups, "folded": self.folded}
        of_members = MemberRows.of(pair.of(training), pair.of(validation), members, effort.batch_size, **options)
        if self.folded and of_members.rows is None and seed == self.seed:  # said once
            self.tell(
                "no network learns from the validation rows, which end the training: folds need "
                f"{HELD_BY * FEWEST_FOLDS} members or more, and groups of similar sizes"
            )
        settings = [pair.settings[k % len(pair.settings)] for k in range(members)]
        single = pair.shape.build(pair.inputs(training[0].shape[1]), self.outputs)
        networks = population(single, range(seed, seed + members))
        group = Group(networks, pair.shape, encoding=pair.encoding)
        self.tell(f"ensemble: {group}, on {of_members.training.samples:,} rows each")
        optimizer = AdamW(
            networks.parameters(),
            lr=torch.tensor([setting["lr"] for setting in settings]),
            weight_decay=torch.tensor([setting["weight_decay"] for setting in settings]),
        )
        left = self.begun + guard(effort.seconds) - time.monotonic()
        history = fit(
            networks,
            self.criterion,
            optimizer,
            of_members.training,
            epochs=epochs,
            validation=of_members.held_out,
            scheduler=CosineAnnealingLR(optimizer, epochs),
            callbacks=[EarlyStopping(effort.patience), Deadline(left)],
            engine=ENGINE,
            progress=self.progress,
        )
        self._stop_if_asked()
        if cut := _cut(history, epochs, effort):
            history.stopped = cut
            self.tell(cut)
        networks.eval()
        unseen = of_members.unseen(networks, history.failed)
        if history.failed:
            whole = [k for k in range(members) if k not in history.failed]
            group.networks, settings = networks.select(whole), [settings[k] for k in whole]
        return _Trained(group, settings, history, unseen)

    def _stop_if_asked(self) -> None:
        if self.interrupt.asked:
            raise KeyboardInterrupt


def _mixed(trained: list[_Trained], tried: Sweep) -> Found:
    """The groups with their weights, without those of weight 0 and those that have lost all members of a fold."""
    most = max(len(each.unseen[1]) for each in trained)
    whole = [each for each in trained if len(each.unseen[1]) == most]
    targets = whole[0].unseen[1]
    for each, weight in zip(whole, mixed([each.unseen[0] for each in whole], targets), strict=True):
        each.group.weight = weight
    kept = [each for each in whole if each.group.weight]
    counts = [len(each.unseen[0]) for each in kept]
    shares = [each.group.weight / count for each, count in zip(kept, counts, strict=True)]
    return Found(
        [each.group for each in kept],
        [setting for each in kept for setting in each.settings],
        [each.history for each in kept],
        tried,
        torch.cat([each.unseen[0] for each in kept]),
        torch.tensor(shares, dtype=torch.float64).repeat_interleave(torch.tensor(counts)),
        targets,
    )


def _cut(history: History, epochs: int, effort: Effort) -> str:
    """Why the budget or the clock ended a training early; "" if they did not."""
    at = f"at epoch {history.epochs} of {effort.epochs}"
    if history.stopped == Deadline.REASON:
        return (
            f"{BY_BUDGET} clock {at}, after {guard(effort.seconds):.0f} s with a budget of {effort.seconds:.0f} s: "
            "the machine is slow or busy, so the same seed may give another result"
        )
    return f"{BY_BUDGET} budget {at}" if history.epochs == epochs < effort.epochs else ""


def _some(data: Data, most: int, seed: int) -> Data:
    rows = some(torch.arange(len(data[0])), most, seed)
    return data if len(rows) == len(data[0]) else (data[0][rows], data[1][rows])


def _ordinal(n: int) -> str:
    return {2: "half", 3: "third"}.get(n, f"1/{n}")
