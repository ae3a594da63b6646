"""Columns that alone predict the target almost perfectly: they may follow from it, and not be known beforehand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lamp.printable import counted
from lamp.tables.column import Numbers
from lamp.tables.remarks import option
from lamp.tables.split import Split, some
from lamp.tables.targets import Target

MOST_ROWS = 5_000  # of each part that are looked at
FEWEST_ROWS, FEWEST_OTHERS = (
    20,
    5,
)  # validation rows, and those outside the most frequent class; fewer may agree by chance
ALMOST_ALL = 0.99  # accuracy on validation rows,
NO_ERRORS = 0.1  # and the errors, compared with those of always naming the most frequent class
CORRELATED = 0.995  # rank correlation of two numbers on validation rows
LOOKED_AT = 0.5  # share of the target's variance that a column explains linearly, from which it is looked at closely
MOST_COLUMNS = 50  # columns that are looked at closely
SHOWN = 3  # columns that a remark is made on


def revealing(places: Mapping[str, range], x: Tensor, truth: Tensor, parts: Split, target: Target) -> list[str]:
    """Remarks on columns that alone predict the target almost perfectly, on validation rows.

    places  the features of each column
    x       (n, features) all rows
    truth   (n,) class indices or numbers

    All columns are looked at in products of matrices. Of those that explain much of the target, a rule is made: for
    classes, the most frequent class of each word, or of the nearest number; for numbers, the order of their ranks.
    """
    known, held = some(parts.training, MOST_ROWS, 0), some(parts.validation, MOST_ROWS, 0)
    y = truth[held]
    if len(held) < FEWEST_ROWS:
        return []
    if target.is_classes and len(held) - int(torch.bincount(y).max()) < FEWEST_OTHERS:
        return []
    scores = _explained(places, x[known], truth[known], target)
    close = [name for name in sorted(scores, key=lambda each: -scores[each]) if scores[name] >= LOOKED_AT]
    found = []
    for name in close[:MOST_COLUMNS]:
        columns = slice(places[name].start, places[name].stop)
        here, there = x[known, columns].numpy(), x[held, columns].numpy()
        if target.is_classes:
            reveals = _names_the_class(here, truth[known].numpy(), there, y.numpy())
        else:
            reveals = abs(_rank_correlation(there[:, 0], y.numpy())) >= CORRELATED
        found += [name] if reveals else []
    more = len(found) - SHOWN
    return [
        f"{name!r} alone predicts {target.name!r} almost perfectly: is it known beforehand? If not: "
        f"{option(name, 'drop', 'kind')}"
        for name in found[:SHOWN]
    ] + ([f"so {'does' if more == 1 else 'do'} {counted(more, 'more column')}"] if more > 0 else [])


def _explained(places: Mapping[str, range], x: Tensor, truth: Tensor, target: Target) -> dict[str, float]:
    """{column: about the share of the target's variance that it explains}, an upper bound rather than too little.

    That is the largest of its features' shares (for classes, of a feature's variance between the classes), or their
    shares of the target's variance in sum, if that is more: the words of a category hardly overlap.
    """
    y = torch.eye(target.outputs)[truth] if target.is_classes else truth.float().unsqueeze(1)
    of_x = x - x.mean(0)
    of_y = y - y.mean(0)
    products, variance = (of_x.T @ of_y).square(), of_x.square().sum(0).clamp_min(1e-12).unsqueeze(1)  # (features, C)
    summed = (products / (variance * of_y.square().sum())).sum(1)
    single = (products / (variance * y.sum(0).clamp_min(1))).sum(1) if target.is_classes else summed
    until = torch.cat([torch.zeros(1), summed.cumsum(0)]).tolist()
    largest = single.tolist()
    return {
        name: max(until[place.stop] - until[place.start], *largest[place.start : place.stop], 0.0)
        for name, place in places.items()
    }


def _names_the_class(x: Numbers, labels: Numbers, others: Numbers, truth: Numbers) -> bool:
    """Whether the most frequent class of each kind of rows in training is that of almost all other rows."""
    kinds, of_others = _kinds(x, x), _kinds(x, others)
    counts = np.zeros((int(max(kinds.max(), of_others.max())) + 1, int(max(labels.max(), truth.max())) + 1))
    np.add.at(counts, (kinds, labels), 1)
    errors = np.mean(counts.argmax(1)[of_others] != truth)
    guessing = np.mean(truth != np.bincount(labels).argmax())
    return bool(errors <= 1 - ALMOST_ALL and errors <= NO_ERRORS * guessing)


def _kinds(x: Numbers, rows: Numbers) -> Numbers:
    """(n,) the kind of each row: the word that it has, or which number of `x` is the nearest to its own."""
    if x.shape[1] > 2 or set(np.unique(x)) <= {0.0, 1.0}:
        word: Numbers = rows.argmax(1) + rows.shape[1] * (rows.max(1) > 0)
        return word
    values = np.unique(x[:, 0])
    return np.searchsorted((values[1:] + values[:-1]) / 2, rows[:, 0])


def _rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's rank correlation, with mean ranks for ties; 0 for a constant."""
    ranks = []
    for values in (one, other):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((counts.cumsum() - (counts + 1) / 2)[inverse.ravel()])
    stds = [rank.std() for rank in ranks]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if all(stds) else 0.0
