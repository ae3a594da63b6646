"""The contenders beside lamp in `python -m benchmarks tables`, each with the defaults of its library and one thread.

A peer gets the rows as numbers, with categories as codes and gaps as NaN, and says which columns are categories to a
library that has a way of its own for them. Categories that are not in the training rows are gaps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Absent

Array = NDArray[Any]
Predict = Callable[[Array], Array]  # rows (n, columns) -> probabilities (n, C), or numbers (n,)

MOST_CODES = 255  # categories that HistGradientBoosting takes in one column
STEPS = 1000  # of the logistic regression, where scikit-learn's 100 rarely suffice


@dataclass(frozen=True)
class Training:
    """The rows that a peer learns from.

    x           (n, columns) float64
    y           (n,) class numbers 0 to C - 1, all of which occur; or numbers
    categories  the columns whose values are codes of categories
    classes     the number of classes C, or 0 for a regression
    """

    x: Array
    y: Array
    categories: tuple[int, ...]
    classes: int
    seed: int

    @property
    def kind(self) -> str:
        """How libraries end the names of their classes."""
        return "Classifier" if self.classes else "Regressor"

    def answers(self, model: Any, view: Callable[[Array], Any]) -> Predict:
        """The predictions of a fitted model, which sees rows through `view`."""
        return lambda x: np.asarray((model.predict_proba if self.classes else model.predict)(view(x)))


def _library(name: str) -> Any:
    """A module. Raises Absent where it cannot be imported."""
    try:
        return import_module(name)
    except ImportError as error:
        raise Absent(f"{name.split('.')[0]} cannot be imported ({error})") from None


def _frame(rows: Training, gaps: dict[int, float] | None = None) -> Callable[[Array], Any]:
    """A view of rows as a table of pandas: categories as words of the dtype "category", other columns as numbers.

    gaps  {column: number} to put where a number is missing, for a library that takes none
    """
    pandas = _library("pandas")
    numbers = [k for k in range(rows.x.shape[1]) if k not in rows.categories]
    levels = {k: [*map(str, np.unique(rows.x[~np.isnan(rows.x[:, k]), k])), "nan"] for k in rows.categories}

    def view(x: Array) -> Any:
        columns = {}
        for k in range(x.shape[1]):
            if k in numbers:
                columns[f"c{k}"] = np.where(np.isnan(x[:, k]), gaps[k], x[:, k]) if gaps else x[:, k]
            else:
                columns[f"c{k}"] = pandas.Categorical([str(code) for code in x[:, k]], categories=levels[k])
        return pandas.DataFrame(columns)

    return view


# ---- boosted trees ---------------------------------------------------------------------------------------------------
def catboost(rows: Training) -> Predict:
    """1,000 rounds, with CatBoost's own encoding of categories."""
    library, view = _library("catboost"), _frame(rows)
    model = getattr(library, f"CatBoost{rows.kind}")(
        random_seed=rows.seed, thread_count=1, verbose=False, allow_writing_files=False
    )
    model.fit(view(rows.x), rows.y, cat_features=list(rows.categories))
    return rows.answers(model, view)


def lightgbm(rows: Training) -> Predict:
    """100 rounds, with splits by sets of categories."""
    library, view = _library("lightgbm"), _frame(rows)
    model = getattr(library, f"LGBM{rows.kind}")(random_state=rows.seed, n_jobs=1, verbose=-1)
    return rows.answers(model.fit(view(rows.x), rows.y), view)


def xgboost(rows: Training) -> Predict:
    """100 rounds, with splits by sets of categories."""
    library, view = _library("xgboost"), _frame(rows)
    model = getattr(library, f"XGB{rows.kind}")(random_state=rows.seed, n_jobs=1, enable_categorical=True)
    return rows.answers(model.fit(view(rows.x), rows.y), view)


def hist_gradient_boosting(rows: Training) -> Predict:
    """scikit-learn's HistGradientBoosting: 100 rounds, fewer where more than 10,000 rows do not need them.

    It takes at most 255 categories in a column; codes of more are numbers.
    """
    library = _library("sklearn.ensemble")
    native = [k for k in rows.categories if np.nanmax(rows.x[:, k], initial=0) < MOST_CODES]
    make = getattr(library, f"HistGradientBoosting{rows.kind}")
    model = make(random_state=rows.seed, categorical_features=native or None)
    return rows.answers(model.fit(rows.x, rows.y), lambda x: x)


# ---- others ----------------------------------------------------------------------------------------------------------
def linear(rows: Training) -> Predict:
    """scikit-learn's LogisticRegression or Ridge, on standardised numbers and a column per category."""
    compose, models = _library("sklearn.compose"), _library("sklearn.linear_model")
    impute, pipeline, ready = (_library(f"sklearn.{name}") for name in ("impute", "pipeline", "preprocessing"))
    numbers = [k for k in range(rows.x.shape[1]) if k not in rows.categories]
    prepared = compose.ColumnTransformer(
        [
            ("numbers", pipeline.make_pipeline(impute.SimpleImputer(), ready.StandardScaler()), numbers),
            ("categories", ready.OneHotEncoder(handle_unknown="ignore"), list(rows.categories)),
        ]
    )
    line = models.LogisticRegression(max_iter=STEPS) if rows.classes else models.Ridge()
    model = pipeline.make_pipeline(prepared, line)
    return rows.answers(model.fit(rows.x, rows.y), lambda x: x)


def _pytabkit(name: str, rows: Training) -> Predict:
    """A network of pytabkit, which holds out a fifth of the rows and keeps its best epoch. Gaps are filled by means."""
    library = _library("pytabkit")
    means = np.nan_to_num(np.nanmean(np.where(np.isnan(rows.x).all(0), 0.0, rows.x), axis=0))
    view = _frame(rows, dict(enumerate(means)))
    model = getattr(library, f"{name}_{rows.kind}")(random_state=rows.seed, n_threads=1, device="cpu", verbosity=0)
    model.fit(view(rows.x), rows.y, cat_col_names=[f"c{k}" for k in rows.categories])
    return rows.answers(model, view)


def real_mlp(rows: Training) -> Predict:
    """pytabkit's RealMLP with its tuned defaults, a single model."""
    return _pytabkit("RealMLP_TD", rows)


def tab_m(rows: Training) -> Predict:
    """pytabkit's TabM with its defaults, a single model."""
    return _pytabkit("TabM_D", rows)


PEERS: dict[str, Callable[[Training], Predict]] = {
    "CatBoost": catboost,
    "LightGBM": lightgbm,
    "XGBoost": xgboost,
    "HistGB": hist_gradient_boosting,
    "RealMLP": real_mlp,
    "TabM": tab_m,
    "linear": linear,
}


def learned(name: str, rows: Training) -> Predict:
    """The predictions of a peer that is trained on these rows. Raises Absent where its library is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some warn where they stop before they have converged
        return PEERS[name](rows)
