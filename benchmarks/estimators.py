"""lamp's scikit-learn estimators and scikit-learn's own networks: their scores, and the time of a fit.

On each table the contenders are fitted in turn, once per seed, on the same split. A ratio compares fits of one seed.
scikit-learn uses one thread or all, whichever is faster on the table. A process compiles in its first fit of a shape.
That fit is timed separately, after all compiled kernels were dropped.
"""

from __future__ import annotations

import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import lamp
from lamp.compiler.kernel import forget

SEEDS = 5
MEMBERS = 8
TEST = 0.25

Array = NDArray[Any]
Data = tuple[Array, Array]

LAMP, ENSEMBLE, SAME_STEPS = "lamp", f"lamp, {MEMBERS} members", "lamp, the same steps"
OURS = LAMP, ENSEMBLE, SAME_STEPS
PEER, SCALED = "scikit-learn", "scikit-learn, standardised"
ABOUT = {
    LAMP: "default parameters",
    ENSEMBLE: f"members={MEMBERS}, else default parameters",
    SAME_STEPS: "with the epochs, batches, rate and solver that scikit-learn's fit had, on standardised columns",
    PEER: "MLPClassifier or MLPRegressor, default parameters",
    SCALED: "the same after StandardScaler, for a regression of the target too",
}


@dataclass(frozen=True)
class Table:
    """A table that the contenders learn.

    epochs  the number of epochs for all contenders. None: each uses its default, which is at most 200 with early
            stopping for scikit-learn, and 30 for lamp
    seeds   the number of seeds; each gives another split and other initial weights
    """

    name: str
    load: Callable[[], Data]
    classes: bool = True
    epochs: int | None = None
    seeds: int = SEEDS


def separated(rows: int, columns: int) -> Data:
    """Five classes, each of two clusters, that three quarters of the columns tell apart."""
    table, labels = datasets.make_classification(
        rows,
        columns,
        n_informative=columns // 2,
        n_redundant=columns // 4,
        n_classes=5,
        n_clusters_per_class=2,
        class_sep=1.5,
        random_state=0,
    )
    return table, labels


def waves(rows: int, columns: int) -> Data:
    """Friedman's function of five of the columns, with noise added."""
    table, target = datasets.make_friedman1(rows, columns, noise=1.0, random_state=0)
    return table, target


def bundled(name: str) -> Callable[[], Data]:
    """A function that loads a data set which comes with scikit-learn."""
    return lambda: getattr(datasets, f"load_{name}")(return_X_y=True)


TABLES = (
    Table("digits", bundled("digits")),
    Table("breast cancer", bundled("breast_cancer")),
    Table("wine", bundled("wine")),
    Table("diabetes", bundled("diabetes"), classes=False),
    Table("100,000 x 30, 5 classes", lambda: separated(100_000, 30), epochs=10, seeds=3),
    Table("1,000,000 x 20, regression", lambda: waves(1_000_000, 20), classes=False, epochs=5, seeds=3),
)


@dataclass
class Measured:
    """One contender on one table, one number per seed. `first`: seconds of the first fit, which compiles."""

    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    first: float | None = None

    def ratios_to(self, other: Measured) -> list[float]:
        """How many times as long the other one takes, per seed."""
        return [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]

    def ratio_to(self, other: Measured) -> float:
        """The median of `ratios_to`."""
        return statistics.median(self.ratios_to(other))


Results = dict[str, dict[str, Measured]]  # table name -> contender -> what was measured


def contenders(table: Table) -> Mapping[str, Callable[[int, int], Any]]:
    """A function per contender that makes its estimator, from a seed and the epochs that scikit-learn's fit took."""
    budget: dict[str, Any] = {} if table.epochs is None else {"max_iter": table.epochs}
    ours = lamp.MLPClassifier if table.classes else lamp.MLPRegressor
    peer = MLPClassifier if table.classes else MLPRegressor

    def scaled(seed: int, _: int) -> Any:
        made = make_pipeline(StandardScaler(), peer(random_state=seed, **budget))
        return made if table.classes else TransformedTargetRegressor(made, transformer=StandardScaler())

    def same_steps(seed: int, epochs: int) -> Any:
        steps: dict[str, Any] = {"batch_size": 200, "learning_rate": "constant", "learning_rate_init": 1e-3}
        return ours(max_iter=epochs, random_state=seed, n_iter_no_change=np.inf, **steps)

    return {
        PEER: lambda seed, _: peer(random_state=seed, **budget),
        SCALED: scaled,
        LAMP: lambda seed, _: ours(random_state=seed, **budget),
        ENSEMBLE: lambda seed, _: ours(members=MEMBERS, random_state=seed, **budget),
        SAME_STEPS: same_steps,
    }


def measure(table: Table, say: Callable[[str], None] = lambda text: None) -> dict[str, Measured]:
    """Fit all contenders on a table, in turn, and return what was measured of each."""
    inputs, targets = table.load()
    makers = contenders(table)
    found = {name: Measured() for name in makers}
    threads: dict[str, int] = {}  # for the matrix products of scikit-learn's contenders
    for seed in range(table.seeds):
        train_inputs, test_inputs, train_targets, test_targets = train_test_split(
            inputs, targets, test_size=TEST, random_state=seed, stratify=targets if table.classes else None
        )
        taken = 0
        for name, make in makers.items():
            say(f"{table.name}, seed {seed + 1} of {table.seeds}: {name}")
            if seed == 0 and name == OURS[0]:
                for ours in OURS:
                    forget()
                    found[ours].first, _ = _timed(makers[ours](seed, taken), train_inputs, train_targets)
                for ours in OURS[:-1]:  # their kernels were dropped again by the next one's `forget`
                    _timed(makers[ours](seed, taken), train_inputs, train_targets)
            if seed == 0 and name not in OURS:
                threads[name] = _best_threads(partial(make, 0, 0), train_inputs, train_targets)
            model = make(seed, taken)
            with threadpool_limits(threads.get(name), user_api="blas"):
                seconds, epochs = _timed(model, train_inputs, train_targets)
            taken = epochs if name == PEER else taken
            measured = found[name]
            measured.seconds.append(seconds)
            measured.epochs.append(epochs)
            measured.scores.append(float(model.score(test_inputs, test_targets)))
    return found


def _best_threads(make: Callable[[], Any], inputs: Array, targets: Array) -> int:
    """The number of threads, one or all, with which this estimator's fit is faster."""
    seconds = {}
    for threads in (1, os.cpu_count() or 1):
        with threadpool_limits(threads, user_api="blas"):
            seconds[threads], _ = _timed(make(), inputs, targets)
    return min(seconds, key=seconds.__getitem__)


def _timed(model: Any, inputs: Array, targets: Array) -> tuple[float, int]:
    """The seconds that a fit took, and its number of epochs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where it stops before it has converged
        begun = time.perf_counter()
        model.fit(inputs, targets)
        seconds = time.perf_counter() - begun
    network = getattr(model, "regressor_", model)
    network = network[-1] if hasattr(network, "steps") else network
    return seconds, int(network.n_iter_)


# ---- what was found --------------------------------------------------------------------------------------------------
HEAD = ["table", "contender", "score", "epochs", "first fit, s", "fit, s", "times as fast"]


def lines(results: Results) -> list[list[str]]:
    """The body of the table: one line per contender."""
    body = []
    for table, found in results.items():
        for name, measured in found.items():
            mean, spread = statistics.mean(measured.scores), statistics.pstdev(measured.scores)
            first = "" if measured.first is None else f"{measured.first:.3g}"
            ratios = measured.ratios_to(found[PEER])
            ratio = f"{statistics.median(ratios):.3g} ({min(ratios):.3g}-{max(ratios):.3g})"
            body.append(
                [
                    table if name == PEER else "",
                    name,
                    f"{mean:.4f} ± {spread:.4f}",
                    f"{statistics.mean(measured.epochs):.0f}",
                    first,
                    f"{statistics.median(measured.seconds):.3g}",
                    "1" if name == PEER else ratio,
                ]
            )
    return body


def remarks(results: Results) -> list[str]:
    """The lines below the table: how to read it, and whether the goals are met."""
    told = [f"{name}: {about}" for name, about in ABOUT.items()]
    told.append("score: accuracy, or R2 of a regression, on a quarter held out; mean ± std over seeds")
    told.append("fit: median over seeds; times as fast: as scikit-learn's fit of the same seed (lowest-highest)")
    told.append(
        "first fit: of a process that has compiled nothing yet; scikit-learn is on its better number of threads"
    )
    for table, found in results.items():
        size = 5.0 if "," in table and table[0].isdigit() else 10.0
        for name, aim in ((LAMP, size), (ENSEMBLE, 1.0)):
            ratio = found[name].ratio_to(found[PEER])
            score = statistics.mean(found[name].scores) - statistics.mean(found[PEER].scores)
            verdict = "met" if ratio >= aim and score >= 0 else "MISSED"
            told.append(f"{verdict}: {table}: {name} {aim:g} times as fast; it is {ratio:.3g}, score {score:+.4f}")
    return told


def to_json(results: Results, machine: Mapping[str, Any]) -> str:
    """The results and the machine as JSON."""
    tables = {table: {name: asdict(each) for name, each in found.items()} for table, found in results.items()}
    return json.dumps({"machine": dict(machine), "tables": tables}, indent=1) + "\n"


def from_json(text: str) -> tuple[Results, Mapping[str, Any]]:
    """The results and the machine, read from JSON."""
    saved = json.loads(text)
    tables = {
        table: {name: Measured(**each) for name, each in found.items()} for table, found in saved["tables"].items()
    }
    return tables, saved["machine"]


def markdown(results: Results, machine: str) -> str:
    """The table and its remarks as Markdown."""
    rows = [HEAD, ["---", "---", *["--:"] * (len(HEAD) - 2)], *lines(results)]
    text = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*text, "", *[f"- {remark}" for remark in remarks(results)], "", f"{machine}."])


def chosen(only: str) -> Sequence[Table]:
    """The tables whose name contains this."""
    return [table for table in TABLES if only.lower() in table.name]
