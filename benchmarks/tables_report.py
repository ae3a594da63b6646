"""What `python -m benchmarks tables` shows: mean ranks, a score per table, and the coverage of intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from benchmarks.tables import FIFTHS, Score, lamp_name
from benchmarks.tables_peers import PEERS

Lines = list[list[str]]
NOISE = 2.0  # standard errors beyond which a difference counts


class Scores:
    """Scores by table, contender and split. Contenders are in the order of the scores' first table."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self.of: dict[str, dict[str, dict[int, Score]]] = {}
        for score in scores:
            self.of.setdefault(score.table, {}).setdefault(score.contender, {})[score.split] = score
        self.contenders = list(dict.fromkeys(name for found in self.of.values() for name in found))

    @property
    def complete(self) -> list[str]:
        """The tables on which all contenders have the same splits."""
        return [
            table
            for table, found in self.of.items()
            if len(found) == len(self.contenders) and len({tuple(sorted(splits)) for splits in found.values()}) == 1
        ]

    def values(self, table: str, contender: str) -> list[float]:
        """The contender's scores on a table, one per split."""
        return [score.value for _, score in sorted(self.of[table].get(contender, {}).items())]

    def each(self, contender: str) -> list[Score]:
        """All scores of a contender."""
        return [score for found in self.of.values() for score in found.get(contender, {}).values()]

    def ranks(self, among: Sequence[str]) -> dict[str, list[float]]:
        """The rank of each of these contenders per complete table, 1 for the least mean score; ties share a rank."""
        found: dict[str, list[float]] = {name: [] for name in among}
        for table in self.complete:
            means = {name: statistics.mean(self.values(table, name)) for name in among}
            for name, mean in means.items():
                ahead, level = (sum(test(other, mean) for other in means.values()) for test in (_less, _equal))
                found[name].append(ahead + (level + 1) / 2)
        return found

    def against(self, ours: str, other: str) -> tuple[int, int, int]:
        """The numbers of complete tables on which `ours` is ahead beyond noise, within noise, and behind beyond it."""
        signs = []
        for table in self.complete:
            differences = np.subtract(self.values(table, other), self.values(table, ours))
            error = _error(differences)
            signs.append(0 if abs(differences.mean()) <= NOISE * error else np.sign(differences.mean()))
        return signs.count(1), signs.count(0), signs.count(-1)


def _less(one: float, other: float) -> bool:
    return one < other


def _equal(one: float, other: float) -> bool:
    return one == other


def _error(values: Sequence[float] | np.ndarray) -> float:
    """The standard error of the mean; NaN for a single value."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def shown(values: Sequence[float]) -> str:
    """A mean with its standard error, with three digits of the mean: ".298 ±.006" or "2,870 ±41"."""
    mean, error = statistics.mean(values), _error(values)
    digits = max(0, 2 - math.floor(math.log10(abs(mean)))) if mean else 2
    parts = [f"{mean:,.{digits}f}"] + ([] if math.isnan(error) else [f"±{error:,.{digits}f}"])
    return " ".join(part.replace("0.", ".", 1) if part.lstrip("±").startswith("0.") else part for part in parts)


# ---- the three tables ------------------------------------------------------------------------------------------------
def summary(scores: Scores, budgets: Sequence[float]) -> Lines:
    """One line per contender, the best first, below a head: ranks, comparison with lamp, time, calibration."""
    ours = [lamp_name(budget) for budget in sorted(budgets) if lamp_name(budget) in scores.contenders]
    peers = [name for name in scores.contenders if name in PEERS]
    ranks = {name: scores.ranks([name, *peers]) for name in ours}
    best = ours[-1] if ours else ""
    head = [
        "contender",
        *[f"mean rank at {name.removeprefix('lamp ')}" for name in ours],
        f"{best} ahead / even / behind",
        "seconds",
        "ECE",
    ]
    keyed = []
    for name in [*ours, *peers]:
        cells = [shown(ranks[each][name]) if ranks[each].get(name) else "" for each in ours]
        beside = "" if name == best else "{} / {} / {}".format(*scores.against(best, name)) if best else ""
        seconds = statistics.median(score.seconds for score in scores.each(name))
        errors = [score.calibration_error for score in scores.each(name) if score.calibration_error is not None]
        ece = f"{statistics.mean(errors):.3f}".replace("0.", ".", 1) if errors else ""
        by = [statistics.mean(of[name]) for of in ranks.values() if of.get(name)]
        keyed.append((by[-1] if by else math.inf, [name, *cells, beside, f"{seconds:.3g}", ece]))
    return [head, *[line for _, line in sorted(keyed, key=lambda pair: pair[0])]]


def by_table(scores: Scores, bold: str = "**{}**") -> Lines:
    """One line per table below a head: the score of each contender, the best one bold, and the floor."""
    body = []
    for table, found in scores.of.items():
        means = {name: statistics.mean(scores.values(table, name)) for name in found}
        least = min(means.values())
        cells = []
        for name in scores.contenders:
            text = shown(scores.values(table, name)) if name in found else ""
            cells.append(bold.format(text) if means.get(name) == least else text)
        floor = next(iter(next(iter(found.values())).values())).floor
        body.append([table, *cells, "" if floor is None else shown([floor])])
    return [["table", *scores.contenders, "floor"], *body]


def coverage(scores: Scores) -> Lines:
    """One line per contender with intervals and per regression table, below a head: coverage per fifth, in percent."""
    body = []
    for table, found in scores.of.items():
        for name, splits in found.items():
            fifths = [score.fifths for score in splits.values() if score.fifths]
            if fifths:
                shares = [*np.mean(fifths, axis=0), np.mean(fifths)]
                body.append([table, name, *[f"{100 * share:.0f}" for share in shares]])
    return (
        [["table", "contender", *["lowest fifth", *map(str, range(2, FIFTHS)), "highest fifth"], "all"], *body]
        if body
        else []
    )


def remarks(scores: Scores, absent: Mapping[str, str]) -> list[str]:
    """How to read the tables, and what is missing in them."""
    splits = {len(found) for of in scores.of.values() for found in of.values()}
    tables = len(scores.complete)
    told = [
        f"score: log loss for classes, root mean squared error for numbers, on test rows; mean ± standard error of "
        f"{' or '.join(map(str, sorted(splits)))} splits; the least is bold",
        f"mean rank: over {tables} tables, ± standard error over them, beside lamp of one budget",
        f"ahead / even / behind: tables on which lamp is better, level and worse; a difference counts beyond {NOISE:g} "
        "standard errors, paired over splits",
        "floor: the score of whoever knows how the table was generated; seconds: median over tables and splits, one "
        "thread; ECE: expected calibration error, mean",
    ]
    told.append("lamp: `lamp train` with this many seconds of budget, else its defaults")
    told += [
        f"{name}: {(peer.__doc__ or '').strip().splitlines()[0]}"
        for name, peer in PEERS.items()
        if name in scores.contenders
    ]
    told += [f"{name} is left out: {reason}" for name, reason in absent.items()]
    told += [
        f"{table} is not ranked: some contenders lack splits" for table in scores.of if table not in scores.complete
    ]
    told += [
        f"{score.contender} on {score.table}, split {score.split}: {score.note}"
        for name in scores.contenders
        for score in scores.each(name)
        if score.note
    ]
    return told
