"""The same rows given to scikit-learn: a linear model, its MLP, and gradient-boosted trees."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.errors import DataError
from lamp.installation import install
from lamp.tables import metrics
from lamp.tables.metrics import Estimates
from lamp.tables.split import some
from lamp.tables.targets import Target

SMALL_TABLE = 20_000  # rows up to which a peer trains by its own `fit`, without looking at the clock
MLP_EPOCHS, MLP_PATIENCE, MLP_TOLERANCE = 200, 10, 1e-4  # scikit-learn's defaults
TREES, TREES_AT_A_TIME = 100, 20
LINEAR_ROWS = 200_000  # more do not change it
C_OF_A_LINE = 1.0


@dataclass(frozen=True)
class Peer:
    """A model of scikit-learn's, trained on the training and validation rows, and how it did on the test rows.

    note  what of it was cut short
    """

    name: str
    estimates: Estimates
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
    """Train each on (inputs, targets) and measure it on the test rows.

    seconds  for each on a large table; on a small one they take what they take

    Raises DataError where scikit-learn cannot be imported.
    """
    found = []
    for name, make in _models(target, seed).items():
        tell(f"scikit-learn's {name}")
        begun = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of epochs that did not suffice: `note` says it
            model, note = make(training[0].numpy(), training[1].numpy(), begun + seconds)
            predicted = _predicted(model, target, test[0].numpy())
        took = time.monotonic() - begun
        if target.is_classes:
            estimates = metrics.of_classes(predicted, test[1], seed=seed)
        else:
            estimates = metrics.of_numbers(predicted, test[1], seed=seed)
        found.append(Peer(name, estimates, took, note))
    return found


def check_installed() -> tuple[Any, Any, Any]:
    """The modules of scikit-learn that are needed. Raises DataError where they cannot be imported."""
    try:
        from sklearn import ensemble, linear_model, neural_network
    except ImportError as error:
        raise DataError(
            "the models to compare with are scikit-learn's, which cannot be imported",
            expected="the package scikit-learn",
            got=str(error),
            fix=f"{install('tables')}, or --no-peers",
        ) from None
    return ensemble, linear_model, neural_network


Make = Callable[[Any, Any, float], tuple[Any, str]]


def _models(target: Target, seed: int) -> dict[str, Make]:
    """What makes and fits each, given inputs, targets and when it is to end."""
    ensemble, linear_model, neural_network = check_installed()
    if target.is_classes:
        line = linear_model.LogisticRegression(C=C_OF_A_LINE, max_iter=1000)
        mlp = neural_network.MLPClassifier(random_state=seed)
        trees = ensemble.HistGradientBoostingClassifier(random_state=seed)
    else:
        line = linear_model.Ridge()
        mlp = neural_network.MLPRegressor(random_state=seed)
        trees = ensemble.HistGradientBoostingRegressor(random_state=seed)

    def fit_line(x: Any, y: Any, _: float) -> tuple[Any, str]:
        rows = some(torch.arange(len(x)), LINEAR_ROWS, seed).numpy()
        line.fit(x[rows], y[rows])
        return line, f"on {len(rows):,} rows" if len(rows) < len(x) else ""

    return {
        "linear model": fit_line,
        "MLP": lambda x, y, end: _fit_mlp(mlp, x, y, end, target),
        "gradient boosting": lambda x, y, end: _fit_trees(trees, x, y, end, target),
    }


def _fit_mlp(mlp: Any, x: Any, y: Any, end: float, target: Target) -> tuple[Any, str]:
    """`fit`, or on a large table the same epochs one by one, until the time is over."""
    if not target.is_classes:
        mlp, y = _Scaled(mlp, target), (y - target.mean) / target.std
    if len(x) <= SMALL_TABLE:
        mlp.fit(x, y)
        return mlp, "" if mlp.n_iter_ < MLP_EPOCHS else f"not converged in {MLP_EPOCHS} epochs"
    first = {"classes": np.unique(y)} if target.is_classes else {}
    best, waited = np.inf, 0
    for epoch in range(1, MLP_EPOCHS + 1):
        mlp.partial_fit(x, y, **(first if epoch == 1 else {}))
        waited = 0 if mlp.loss_ < best - MLP_TOLERANCE else waited + 1
        best = min(best, mlp.loss_)
        if waited > MLP_PATIENCE:
            return mlp, ""
        if time.monotonic() > end:
            return mlp, f"cut short after {epoch} epochs"
    return mlp, f"not converged in {MLP_EPOCHS} epochs"


class _Scaled:
    """The MLP for numbers, told and asked in the target's unit: it is bad at numbers far from 1."""

    def __init__(self, mlp: Any, target: Target) -> None:
        self.mlp, self.target = mlp, target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mlp, name)

    def predict(self, x: Any) -> Any:
        return self.mlp.predict(x) * self.target.std + self.target.mean


def _fit_trees(trees: Any, x: Any, y: Any, end: float, target: Target) -> tuple[Any, str]:
    """`fit`, or on a large table (with many classes, a tree for each) some at a time, until the time is over."""
    if len(x) * target.outputs <= SMALL_TABLE:
        return trees.fit(x, y), ""
    trees.set_params(warm_start=True, early_stopping=False)
    for count in range(TREES_AT_A_TIME, TREES + 1, TREES_AT_A_TIME):
        trees.set_params(max_iter=count).fit(x, y)
        if time.monotonic() > end and count < TREES:
            return trees, f"cut short after {count} rounds"
    return trees, ""


def _predicted(model: Any, target: Target, x: Any) -> Tensor:
    """Probabilities (n, C), of classes it has not seen 0; or numbers (n,)."""
    if not target.is_classes:
        return torch.from_numpy(np.asarray(model.predict(x), dtype=np.float64))
    p = torch.zeros(len(x), len(target.classes), dtype=torch.float64)
    p[:, torch.from_numpy(model.classes_)] = torch.from_numpy(model.predict_proba(x).astype(np.float64))
    return p / p.sum(1, keepdim=True)
