"""Peers: a linear model, an MLP and gradient-boosted trees of scikit-learn, trained on the same rows for comparison."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.installation import install
from lamp.printable import counted
from lamp.tables import metrics
from lamp.tables.effort import guard
from lamp.tables.metrics import Estimates
from lamp.tables.split import some
from lamp.tables.targets import Target

MLP_EPOCHS, MLP_PATIENCE, MLP_TOLERANCE, MLP_UNITS = 200, 10, 1e-4, 100  # scikit-learn's defaults
TREES, TREES_AT_A_TIME, TREE_BINS, TREE_LEAVES = 100, 20, 256, 31
LINEAR_ROWS = 200_000  # more rows hardly change a linear model
LINE_STEPS, LEAST_STEPS = 1000, 20
C_OF_A_LINE = 1.0

# Rough rates per second, by which the budget is counted in work instead of by the clock
LINE_NUMBERS = 5e8  # table cells times classes, in steps of the logistic regression
RIDGE_WORK = 1e10  # multiplications
MLP_WORK = 1e10  # multiplications and additions
TREE_NUMBERS = 5e7  # table cells and histogram cells, in rounds of boosting
TREE_COLUMN = 5e-4  # seconds per column to divide it into bins, before the first round
TOO_LONG = 1.0  # seconds that a peer may take although its budget does not suffice for the fewest rows and steps
FEWEST_ROWS = 200
SMALL = 1e6  # table cells up to which one thread is faster than several


@dataclass(frozen=True)
class Peer:
    """A scikit-learn model trained on the training and validation rows, and its metrics on the test rows.

    losses   (n,) its loss on each test row: log loss, or squared error
    seconds  how long training and prediction took
    note     how its training was cut short, or ""
    """

    name: str
    estimates: Estimates
    losses: Tensor
    seconds: float
    note: str = ""


def peers(
    target: Target,
    training: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    seconds: float,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Peer]:
    """Train each peer on (inputs, targets), and measure it on the test rows.

    seconds  budget per model, counted in work, so that rows, steps and rounds are the same on any machine. If it does
             not suffice, the model's note says so; a model that would take far longer is left out, and `tell` says so

    Raises DataError if scikit-learn cannot be imported.
    """
    from threadpoolctl import threadpool_limits

    found = []
    for name, (make, least) in _models(target, seed).items():
        needed = least(min(FEWEST_ROWS, len(training[0])), training[0].shape[1])
        if needed > max(seconds, TOO_LONG):
            tell(
                f"scikit-learn's {name} is left out: with {training[0].shape[1]:,} inputs it takes {needed:.0f} s or "
                f"more, and has {seconds:.1f} s of the budget"
            )
            continue
        tell(f"training scikit-learn's {name}")
        begun = time.monotonic()
        threads = 1 if training[0].numel() <= SMALL else None
        with warnings.catch_warnings(), threadpool_limits(threads):
            warnings.simplefilter("ignore")  # scikit-learn warns if epochs do not suffice; `note` says so instead
            model, note = _on_rows(make, least, seed, training[0].numpy(), training[1].numpy(), seconds)
            predicted = _predicted(model, target, test[0].numpy())
        took = time.monotonic() - begun
        if target.is_classes:
            estimates = metrics.of_classes(predicted, test[1], seed=seed)
        else:
            estimates = metrics.of_numbers(predicted, test[1], seed=seed)
        found.append(Peer(name, estimates, metrics.losses_of(predicted, test[1]), took, note))
    return found


def check_installed() -> tuple[Any, Any, Any]:
    """The modules of scikit-learn that are needed. Raises DataError if they cannot be imported."""
    try:
        from sklearn import ensemble, linear_model, neural_network
    except ImportError as error:
        raise DataError(
            "the models for comparison are scikit-learn's, which cannot be imported",
            expected="the package scikit-learn",
            got=str(error),
            fix=f"{install('tables')}, or --no-peers",
        ) from None
    return ensemble, linear_model, neural_network


Fit = Callable[[Any, Any, float], tuple[Any, str]]  # inputs, targets, seconds -> the model, and what was cut short


def _models(target: Target, seed: int) -> dict[str, tuple[Fit, Callable[[int, int], float]]]:
    """{name of the peer: the function that fits it, and the least seconds of budget for so many rows and features}."""
    ensemble, linear_model, neural_network = check_installed()
    if target.is_classes:
        line = linear_model.LogisticRegression(C=C_OF_A_LINE)
        mlp = neural_network.MLPClassifier(random_state=seed)
        trees = ensemble.HistGradientBoostingClassifier(random_state=seed)
    else:
        line = linear_model.Ridge()
        mlp = neural_network.MLPRegressor(random_state=seed)
        trees = ensemble.HistGradientBoostingRegressor(random_state=seed)
    return {
        "linear model": (partial(_fit_line, line, target), partial(_line_seconds, target)),
        "MLP": (partial(_fit_mlp, mlp, target), partial(_mlp_seconds, target)),
        "gradient boosting": (partial(_fit_trees, trees, target), partial(_first_tree_seconds, target)),
    }


def _on_rows(
    fit: Fit, least: Callable[[int, int], float], seed: int, x: Any, y: Any, seconds: float
) -> tuple[Any, str]:
    """Fit on as many rows as the budget allows; `least(rows, features)` is the least number of seconds needed."""
    count = len(x)
    while count > FEWEST_ROWS and least(count, x.shape[1]) > seconds:
        count = max(FEWEST_ROWS, count // 2)
    rows = some(torch.arange(len(x)), count, seed).numpy()
    model, note = fit(x[rows], y[rows], seconds)
    return model, ", ".join(filter(None, (f"on {count:,} rows" if count < len(x) else "", note)))


# ---- seconds of budget that each takes -------------------------------------------------------------------------------
def _line_seconds(target: Target, rows: int, features: int) -> float:
    """Seconds for LEAST_STEPS of a logistic regression, or for a ridge regression; infinite beyond LINEAR_ROWS."""
    if rows > LINEAR_ROWS:
        return math.inf
    if target.is_classes:
        return LEAST_STEPS * rows * features * target.outputs / LINE_NUMBERS
    return rows * features * min(rows, features) / RIDGE_WORK


def _mlp_seconds(target: Target, rows: int, features: int) -> float:
    """Seconds per epoch."""
    return 6 * rows * MLP_UNITS * (features + target.outputs) / MLP_WORK


def _tree_seconds(target: Target, rows: int, features: int) -> float:
    """Seconds per round: one tree, or one per class if there are more than two."""
    trees = target.outputs if target.outputs > 2 else 1
    return trees * features * (rows + TREE_BINS * TREE_LEAVES) / TREE_NUMBERS


def _first_tree_seconds(target: Target, rows: int, features: int) -> float:
    """Seconds for the first round."""
    return TREE_COLUMN * features + _tree_seconds(target, rows, features)


# ---- fitting each ----------------------------------------------------------------------------------------------------
def _fit_line(line: Any, target: Target, x: Any, y: Any, seconds: float) -> tuple[Any, str]:
    if not target.is_classes:
        return line.fit(x, y), ""
    steps = int(LEAST_STEPS * seconds / _line_seconds(target, *x.shape))
    line.set_params(max_iter=min(LINE_STEPS, max(LEAST_STEPS, steps))).fit(x, y)
    is_cut = line.n_iter_.max() >= line.max_iter < LINE_STEPS
    return line, f"cut short after {counted(line.max_iter, 'step')}" if is_cut else ""


def _fit_mlp(mlp: Any, target: Target, x: Any, y: Any, seconds: float) -> tuple[Any, str]:
    """Call the MLP's `fit`, or, if the budget is too small for that, train epoch by epoch."""
    if not target.is_classes:
        mlp, y = _Scaled(mlp, target), (y - target.mean) / target.std
    epochs = max(1, int(seconds / _mlp_seconds(target, *x.shape)))
    if epochs >= MLP_EPOCHS:
        mlp.fit(x, y)
        return mlp, "" if mlp.n_iter_ < MLP_EPOCHS else f"not converged in {MLP_EPOCHS} epochs"
    first = {"classes": np.unique(y)} if target.is_classes else {}
    best, waited, ends = np.inf, 0, time.monotonic() + guard(seconds)
    for epoch in range(1, epochs + 1):
        mlp.partial_fit(x, y, **(first if epoch == 1 else {}))
        waited = 0 if mlp.loss_ < best - MLP_TOLERANCE else waited + 1
        best = min(best, mlp.loss_)
        if waited > MLP_PATIENCE:
            return mlp, ""
        if time.monotonic() > ends:
            return mlp, f"cut short by the clock after {epoch} epochs"
    return mlp, f"cut short after {counted(epochs, 'epoch')}"


def _fit_trees(trees: Any, target: Target, x: Any, y: Any, seconds: float) -> tuple[Any, str]:
    """Call the trees' `fit`, or, if the budget is too small for that, add some rounds at a time."""
    rounds = max(1, int((seconds - TREE_COLUMN * x.shape[1]) / _tree_seconds(target, *x.shape)))
    if rounds >= TREES:
        return trees.fit(x, y), ""
    trees.set_params(warm_start=True, early_stopping=False)
    ends, count = time.monotonic() + guard(seconds), 0
    while count < rounds:
        count = min(count + TREES_AT_A_TIME, rounds)
        trees.set_params(max_iter=count).fit(x, y)
        if time.monotonic() > ends and count < rounds:
            return trees, f"cut short by the clock after {count} rounds"
    return trees, f"cut short after {counted(count, 'round')}"


class _Scaled:
    """The MLP for regression, trained on scaled targets because it learns numbers far from 1 badly."""

    def __init__(self, mlp: Any, target: Target) -> None:
        self.mlp, self.target = mlp, target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mlp, name)

    def predict(self, x: Any) -> Any:
        return self.mlp.predict(x) * self.target.std + self.target.mean


def _predicted(model: Any, target: Target, x: Any) -> Tensor:
    """Probabilities (n, C), which are 0 for classes that the model has not seen; or numbers (n,)."""
    if not target.is_classes:
        return torch.from_numpy(np.asarray(model.predict(x), dtype=np.float64))
    p = torch.zeros(len(x), len(target.classes), dtype=torch.float64)
    p[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(x).astype(np.float64))
    return p / p.sum(1, keepdim=True)
