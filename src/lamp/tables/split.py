"""Split the rows of a table into training, validation and test, or into folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamp.errors import DataError

FEWEST_ROWS = 10
SHARE = 0.2  # of the rows, for the test, and of the rest for validation
MOST_UNEQUAL = 1.5  # how much larger than the smallest the largest fold of groups may be
MOST_VALIDATION, MOST_TEST = 50_000, 200_000  # rows; more would hardly sharpen the estimates


@dataclass(frozen=True)
class Split:
    """The row numbers of each part, in ascending order; every row is in exactly one part.

    training    for weights and preprocessing
    validation  for choosing settings, early stopping and calibration
    test        for measuring only; nothing is chosen by these rows. May be empty
    """

    training: Tensor
    validation: Tensor
    test: Tensor


def part_shares(rows: int, has_test: bool = True, share: float = SHARE) -> tuple[float, float, float]:
    """The shares of the rows for training, validation and test: `share` for the test, and the same of the rest for
    validation, up to MOST_TEST and MOST_VALIDATION rows."""
    test = min(share, MOST_TEST / rows) if has_test else 0.0
    validation = min(share * (1 - test), MOST_VALIDATION / rows)
    return 1 - validation - test, validation, test


def enough(rows: int) -> int:
    """The number of rows. Raises DataError if these are too few to split."""
    if rows < FEWEST_ROWS:
        raise DataError(
            f"the table has too few rows: {rows}",
            expected=f"at least {FEWEST_ROWS}, for training, validation and test",
            got=f"{rows} with a target",
            fix="collect more rows",
        )
    return rows


def split(rows: int, labels: Tensor | None = None, *, seed: int = 0, share: float = SHARE, test: bool = True) -> Split:
    """A random split: a share of all rows for the test, and the same share of the rest for validation.

    labels  class indices (rows,); the split is stratified by them. A class with fewer than three rows is in training
            only
    test    whether to keep rows for a test

    Raises DataError for too few rows.
    """
    enough(rows)
    generator = torch.Generator().manual_seed(seed)
    classes = [torch.arange(rows)] if labels is None else [(labels == c).nonzero().flatten() for c in labels.unique()]
    _, validation_share, test_share = part_shares(rows, test, share)
    parts: tuple[list[Tensor], ...] = ([], [], [])
    for of_class in classes:
        of_class = of_class[torch.randperm(len(of_class), generator=generator)]
        held_out = [
            max(1, round(part * len(of_class))) if part and len(of_class) >= 3 else 0
            for part in (validation_share, test_share)
        ]
        for rows_of, some_of in zip(parts, of_class.split([len(of_class) - sum(held_out), *held_out]), strict=True):
            rows_of.append(some_of)
    return Split(*(torch.cat(part).sort().values for part in parts))


def dealt(groups: Tensor, labels: Tensor | None, shares: Sequence[float], *, seed: int = 0) -> Tensor:
    """(rows,) the part of each row: each group is in one part, and each part has about its share of every class.

    groups  (rows,) the number of each row's group, from 0
    labels  class indices (rows,), or None
    shares  the parts' shares of all rows; each part with a share gets a group at least

    The groups are dealt out one by one, the largest first, equal ones in random order. Each goes to the part that
    lacks most of the group's rows.
    """
    count, classes = int(groups.max()) + 1, 1 if labels is None else int(labels.max()) + 1
    place = groups * classes + (0 if labels is None else labels)
    sizes = torch.bincount(place, minlength=count * classes).view(count, classes).double().numpy()  # (groups, classes)
    random = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    order = random[np.argsort(-sizes[random].sum(1), kind="stable")]
    total = np.maximum(sizes.sum(0), 1.0)
    lacking = np.outer(shares, sizes.sum(0) > 0)  # (parts, classes), as shares of each class's rows
    part = np.zeros(count, np.int64)
    for group in order:
        part[group] = k = int((lacking @ sizes[group]).argmax())
        lacking[k] -= sizes[group] / total
    for k in np.flatnonzero(shares).tolist():  # few groups: a part may still have none
        if not (part == k).any():
            fullest = int(np.bincount(part).argmax())
            part[[group for group in order if part[group] == fullest][-1]] = k
    return torch.from_numpy(part)[groups]


def some(rows: Tensor, most: int, seed: int) -> Tensor:
    """At most `most` of these rows, chosen at random, in ascending order."""
    if len(rows) <= most:
        return rows
    generator = torch.Generator().manual_seed(seed)
    return rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]


def folds(
    rows: int, labels: Tensor | None, count: int, *, seed: int = 0, groups: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    """Random folds of equal size: the rows outside each fold, (count, m), and inside it, (count, size).

    labels  class indices (rows,); the folds are stratified by them
    groups  (rows,) the number of each row's group, from 0: each group is inside one fold

    The remainder of rows / count is inside no fold. Folds of groups are cut to the size of the smallest, and what is
    outside them to that of the largest. Returns None where groups make folds that are too unequal for this.
    """
    if groups is not None:
        return _folds_of_groups(groups, labels, count, seed)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    if labels is not None:
        order = order[labels[order].argsort(stable=True)]  # class by class, dealt out in turn
    size = rows // count
    inside = order[: size * count].view(size, count).T.contiguous()  # (count, size)
    is_inside = torch.zeros(count, rows, dtype=torch.bool).scatter_(1, inside, True)
    outside = (~is_inside).nonzero()[:, 1].view(count, rows - size)
    return outside, inside


def _folds_of_groups(groups: Tensor, labels: Tensor | None, count: int, seed: int) -> tuple[Tensor, Tensor] | None:
    _, groups = groups.unique(return_inverse=True)  # some groups may be elsewhere
    if int(groups.max()) + 1 < count:
        return None
    part = dealt(groups, labels, [1 / count] * count, seed=seed)
    sizes = torch.bincount(part, minlength=count)
    least, most = int(sizes.min()), int(sizes.max())
    if most > MOST_UNEQUAL * least:
        return None
    inside = [some((part == k).nonzero().flatten(), least, seed) for k in range(count)]
    outside = [some((part != k).nonzero().flatten(), len(groups) - most, seed) for k in range(count)]
    return torch.stack(outside), torch.stack(inside)
