"""Split the rows of a table into training, validation and test, or into folds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.errors import DataError

FEWEST_ROWS = 10
MOST_VALIDATION, MOST_TEST = 50_000, 200_000  # rows; more would hardly sharpen the estimates


@dataclass(frozen=True)
class Split:
    """The row numbers of each part, in ascending order; every row is in exactly one part.

    training    for weights and preprocessing
    validation  for choosing settings, early stopping and calibration
    test        for measuring only; nothing is chosen by these rows
    """

    training: Tensor
    validation: Tensor
    test: Tensor


def split(rows: int, labels: Tensor | None = None, *, seed: int = 0, share: float = 0.2) -> Split:
    """A random split: a share of all rows for the test, and the same share of the rest for validation.

    labels  class indices (rows,); the split is stratified by them. A class with fewer than three rows is in training
            only

    Raises DataError for too few rows.
    """
    if rows < FEWEST_ROWS:
        raise DataError(
            f"the table has too few rows: {rows}",
            expected=f"at least {FEWEST_ROWS}, for training, validation and test",
            got=f"{rows} with a target",
            fix="collect more rows",
        )
    generator = torch.Generator().manual_seed(seed)
    groups = [torch.arange(rows)] if labels is None else [(labels == c).nonzero().flatten() for c in labels.unique()]
    test_share, validation_share = min(share, MOST_TEST / rows), min(share * (1 - share), MOST_VALIDATION / rows)
    parts: tuple[list[Tensor], ...] = ([], [], [])
    for group in groups:
        group = group[torch.randperm(len(group), generator=generator)]
        least = 1 if len(group) >= 3 else 0
        test = max(least, round(test_share * len(group))) if least else 0
        validation = max(least, round(validation_share * len(group))) if least else 0
        for part, rows_of in zip(parts, group.split([len(group) - validation - test, validation, test]), strict=True):
            part.append(rows_of)
    return Split(*(torch.cat(part).sort().values for part in parts))


def some(rows: Tensor, most: int, seed: int) -> Tensor:
    """At most `most` of these rows, chosen at random, in ascending order."""
    if len(rows) <= most:
        return rows
    generator = torch.Generator().manual_seed(seed)
    return rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]


def folds(rows: int, labels: Tensor | None, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random folds of equal size: the rows outside each fold, (count, m), and inside it, (count, rows // count).

    labels  class indices (rows,); the folds are stratified by them

    The remainder of rows / count is inside no fold.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    if labels is not None:
        order = order[labels[order].argsort(stable=True)]  # class by class, dealt out in turn
    size = rows // count
    inside = order[: size * count].view(size, count).T.contiguous()  # (count, size)
    is_inside = torch.zeros(count, rows, dtype=torch.bool).scatter_(1, inside, True)
    outside = (~is_inside).nonzero()[:, 1].view(count, rows - size)
    return outside, inside
