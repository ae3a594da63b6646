"""The tables of `python -m benchmarks tables`: scikit-learn's, generated ones, and the CSV files of a folder.

A generated table may know its floor: the log loss, or the root mean squared error, of whoever knows how it was
generated. Its rows are the same in every process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn import datasets

from lamp.tables import targets
from lamp.tables.split import split as split_of

FOLDER = "LAMP_TABLES"  # the environment variable that names a folder of CSV files
TARGET = "target"
GAPS = ["", "?", "NA", "NaN"]  # how CSV files write a missing value

Array = NDArray[Any]
Columns = Mapping[str, Array]
Generated = tuple[Columns, Array, float | None]  # columns, target, floor


@dataclass(frozen=True)
class Loaded:
    """A table in memory, without rows that have no target. `floor` is the least score possible, where it is known."""

    frame: pl.DataFrame
    target: str
    floor: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that the contenders learn; `load` reads or generates it."""

    name: str
    load: Callable[[], Loaded]


# ---- splits ----------------------------------------------------------------------------------------------------------
def labels_of(table: Loaded) -> tuple[Array, int]:
    """The targets (n,) and the number of classes: class numbers, or numbers and 0. `lamp train` decides which."""
    column = table.frame[table.target]
    found = targets.decide(column)
    return found.encode(column).numpy(), len(found.classes) if found.is_classes else 0


def used(rows: int, most: int) -> Array:
    """The numbers of at most `most` rows, chosen at random, in ascending order; of all rows where `most` is 0."""
    return np.sort(np.random.default_rng(0).permutation(rows)[: most or rows])


def is_test(y: Array, classes: int, split: int) -> Array:
    """Which rows are for the test, (n,): the fifth that `lamp train` holds out when this number is its seed."""
    labels = torch.from_numpy(y) if classes else None
    found = np.zeros(len(y), dtype=bool)
    found[split_of(len(y), labels, seed=split).test.numpy()] = True
    return found


# ---- generated tables ------------------------------------------------------------------------------------------------
def _odds(p: Array, random: np.random.Generator) -> tuple[Array, float]:
    """Classes "yes" and "no" drawn with these probabilities (n,) of "yes", and their mean entropy."""
    entropy = -(p * np.log(p) + (1 - p) * np.log1p(-p))
    return np.where(random.random(len(p)) < p, "yes", "no"), float(entropy.mean())


def _named(x: Array) -> dict[str, Array]:
    return {f"x{k}": column for k, column in enumerate(x.T)}


def checkerboard(random: np.random.Generator) -> Generated:
    """The colour of a field on a board of 4 x 4 fields, wrong in a tenth of the rows; four columns mean nothing."""
    x = random.random((3000, 6))
    is_black = np.floor(4 * x[:, :2]).sum(1) % 2 == 1
    return _named(x), *_odds(np.where(is_black, 0.9, 0.1), random)


def clusters(random: np.random.Generator) -> Generated:
    """scikit-learn's `make_classification`: four classes, each of three clusters, in 8 of 20 columns."""
    seed = int(random.integers(2**31))
    x, y = datasets.make_classification(
        2000, 20, n_informative=8, n_redundant=4, n_classes=4, n_clusters_per_class=3, random_state=seed
    )
    return _named(x), y, None


def steps(random: np.random.Generator) -> Generated:
    """A sum of steps along the axes and where two of them meet; six of ten columns mean nothing."""
    a, b, c, d = (x := random.random((2000, 10))).T[:4]
    y = 3.0 * ((a > 0.3) & (b < 0.6)) - 2.0 * (c > 0.5) + 4.0 * ((d > 0.8) & (a < 0.7))
    noise = 0.5
    return _named(x), y + noise * random.standard_normal(len(x)), noise


def categories(random: np.random.Generator) -> Generated:
    """Two columns of 300 and 30 categories, common and rare ones, of which each has an effect, and two numbers."""
    n, chances = 4000, 1 / np.arange(1, 301)
    city, shop = random.choice(300, n, p=chances / chances.sum()), random.integers(30, size=n)
    age, price = random.standard_normal((2, n))
    effects = random.standard_normal(300)[city] + random.standard_normal(30)[shop]
    columns = {"city": np.char.add("c", city.astype(str)), "shop": np.char.add("s", shop.astype(str))}
    p = 1 / (1 + np.exp(-(effects + 0.8 * age)))
    return {**columns, "age": age, "price": price}, *_odds(p, random)


def uneven_noise(random: np.random.Generator) -> Generated:
    """A smooth function whose noise is a hundred times as large at one end as at the other."""
    x = random.random((2000, 5))
    spread = np.exp(4.6 * x[:, 0] - 2.3)
    y = 10 * x[:, 0] + 3 * np.sin(6 * x[:, 1]) + spread * random.standard_normal(len(x))
    return _named(x), y, float(np.sqrt((spread**2).mean()))


def zeros(random: np.random.Generator) -> Generated:
    """Eight columns, each zero in four fifths of the rows and of a long tail elsewhere. Both matter."""
    there = random.random((2000, 8)) < 0.2
    x = np.where(there, random.lognormal(3.0, 1.5, there.shape), 0.0)
    effects = random.standard_normal((2, 8))
    noise = 0.5
    y = there @ (2 * effects[0]) + np.log1p(x) @ effects[1] + noise * random.standard_normal(len(x))
    return _named(x), y, noise


def friedman(number: int, noise: float, random: np.random.Generator) -> Generated:
    """scikit-learn's `make_friedman1`, 2 or 3, with noise of this standard deviation."""
    make = getattr(datasets, f"make_friedman{number}")
    x, y = make(2000, noise=noise, random_state=int(random.integers(2**31)))
    return _named(x), y, noise


# ---- all of them -----------------------------------------------------------------------------------------------------
def _generated(make: Callable[[np.random.Generator], Generated]) -> Loaded:
    columns, y, floor = make(np.random.default_rng(0))
    return Loaded(pl.DataFrame({**columns, TARGET: y}), TARGET, floor)


def _bundled(name: str) -> Loaded:
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Loaded(pl.DataFrame({**_named(x), TARGET: y}), TARGET)


def _file(path: Path) -> Loaded:
    frame = pl.read_csv(path, infer_schema_length=None, null_values=GAPS)
    target = TARGET if TARGET in frame.columns else frame.columns[-1]
    return Loaded(frame.drop_nulls(target), target)


BUNDLED = ("iris", "wine", "breast_cancer", "digits", "diabetes")
GENERATED: dict[str, Callable[[np.random.Generator], Generated]] = {
    "clusters": clusters,
    "checkerboard": checkerboard,
    "categories": categories,
    "friedman 1": partial(friedman, 1, 1.0),
    "friedman 2": partial(friedman, 2, 100.0),
    "friedman 3": partial(friedman, 3, 0.1),
    "steps": steps,
    "uneven noise": uneven_noise,
    "zeros": zeros,
}


def tables() -> list[Table]:
    """All tables: those that need no file, and the CSV files of the folder that LAMP_TABLES names, by their paths.

    The target of a file is its column "target", or else its last column.
    """
    found = [Table(name.replace("_", " "), partial(_bundled, name)) for name in BUNDLED]
    found += [Table(name, partial(_generated, make)) for name, make in GENERATED.items()]
    if folder := os.environ.get(FOLDER):
        found += [
            Table(f"{path.parent.name}/{path.stem}", partial(_file, path))
            for path in sorted(Path(folder).glob("*.csv"))
        ]
    return found
