"""The rows that an ensemble's members train on, and those that they hold out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.data import DataLoader
from lamp.replicas import Population
from lamp.tables.split import folds
from lamp.training import predict
from lamp.training.arguments import EVALUATION_BATCH

FOLDED_ROWS = 20_000  # training and validation rows up to which the members of the ensemble hold out folds
HELD_BY = 2  # members of a group that hold out the same fold
FEWEST_FOLDS = 4  # with fewer folds, all members hold out the validation rows

Data = tuple[Tensor, Tensor]  # inputs (n, features); class indices (n,) or numbers (n, 1)


@dataclass(frozen=True)
class MemberRows:
    """The rows that members train on and hold out; `rows` (K, m) are each member's held-out rows, None if shared."""

    training: DataLoader
    held_out: DataLoader
    rows: Tensor | None

    @classmethod
    def of(
        cls,
        training: Data,
        validation: Data,
        members: int,
        batch_size: int,
        *,
        seed: int,
        groups: Tensor | None = None,
        folded: bool | None = None,
    ) -> MemberRows:
        """The rows of so many members: folds of all rows in a small table, else the validation rows held out.

        groups  (n,) the group of each row, training rows first; a group is inside one fold
        folded  whether to make folds: in tables of any size, never, or by default (None) in small tables

        Equally many members have the same folds.
        """
        inputs, targets = (torch.cat(pair) for pair in zip(training, validation, strict=True))
        count, seeds = members // HELD_BY, list(range(seed, seed + members))
        labels = None if targets.is_floating_point() else targets
        may_fold = len(inputs) <= FOLDED_ROWS if folded is None else folded
        may_fold = may_fold and count >= FEWEST_FOLDS
        made = folds(len(inputs), labels, count, seed=seed, groups=groups) if may_fold else None
        if made is None:
            loader = DataLoader(training, batch_size, True, seed=seeds)
            return cls(loader, DataLoader(validation, EVALUATION_BATCH), None)
        fold_of = [k % count for k in range(members)]
        others, held = (rows[fold_of] for rows in made)
        columns = (inputs, targets)
        return cls(
            DataLoader(columns, batch_size, True, seed=seeds, indices=others),
            DataLoader(columns, EVALUATION_BATCH, indices=held),
            held,
        )

    def unseen(self, networks: Population, failed: list[int]) -> Data:
        """The members' outputs (m, n', outputs) on held-out rows, without members that failed, and these rows' targets.

        m is the number of members, or HELD_BY with folds. Rows that only members held out that failed are missing.
        """
        inputs, targets = self.held_out.columns
        if self.rows is None:
            scores = predict(networks, inputs)
            return scores[[k for k in range(len(scores)) if k not in failed]], targets
        scores = predict(networks, networks.per_replica(inputs[self.rows]))  # (K, m, outputs)
        count = len(scores) // HELD_BY
        of_folds, targets_of_folds = [], []
        for fold in range(count):
            whole = [k for k in range(fold, HELD_BY * count, count) if k not in failed]
            if whole:
                of_folds.append(scores[(whole * HELD_BY)[:HELD_BY]])  # (HELD_BY, m, outputs)
                targets_of_folds.append(targets[self.rows[fold]])
        return torch.cat(of_folds, 1), torch.cat(targets_of_folds)
