"""The small data sets that come with scikit-learn, so that nothing is downloaded.

None of them has a published split: `train=True` is a fixed 80 % of the samples, `train=False` the other 20 %, and
`train=None` all of them. `normalize=True` brings each column of the inputs (for images, all pixels together) to mean 0
and standard deviation 1, by the statistics of the training 80 %.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from lamp.data.columns import as_column
from lamp.data.dataset import Dataset, part_of
from lamp.errors import DataError
from lamp.installation import install
from lamp.signatures import called

BRIGHTEST = 16.0  # the pixels of scikit-learn's digits are from 0 to 16


@called()
def digits(train: bool | None = None, *, normalize: bool = False) -> Dataset:
    """1,797 handwritten digits: inputs (n, 1, 8, 8) float32 in [0, 1], targets (n,) int64, 10 classes."""
    raw = _loaded("digits")
    images = as_column(raw.images).float().div(BRIGHTEST).unsqueeze(1)  # (n, 1, 8, 8)
    return part_of(Dataset(images, raw.target, "digits", classes=_texts(raw.target_names)), train, normalize)


@called()
def iris(train: bool | None = None, *, normalize: bool = False) -> Dataset:
    """150 flowers with 4 lengths in cm: inputs (n, 4) float32, targets (n,) int64, 3 classes."""
    return part_of(_classification("iris"), train, normalize)


@called()
def wine(train: bool | None = None, *, normalize: bool = False) -> Dataset:
    """178 wines with 13 chemical measurements: inputs (n, 13) float32, targets (n,) int64, 3 classes."""
    return part_of(_classification("wine"), train, normalize)


@called()
def breast_cancer(train: bool | None = None, *, normalize: bool = False) -> Dataset:
    """569 tumours with 30 measurements: inputs (n, 30) float32, targets (n,) int64, 0 malignant and 1 benign."""
    return part_of(_classification("breast_cancer"), train, normalize)


@called()
def diabetes(train: bool | None = None, *, normalize: bool = False) -> Dataset:
    """442 patients with 10 measurements, and the progression of their disease a year later: a regression.

    Inputs (n, 10) float32; targets (n, 1) float32 from 25 to 346, which are never normalized.
    """
    raw = _loaded("diabetes", scaled=False)
    targets = as_column(raw.target).float().unsqueeze(1)  # (n, 1)
    whole = Dataset(as_column(raw.data).float(), targets, "diabetes", features=_texts(raw.feature_names))
    return part_of(whole, train, normalize)


def _classification(name: str) -> Dataset:
    raw = _loaded(name)
    inputs = as_column(raw.data).float()
    return Dataset(inputs, raw.target, name, classes=_texts(raw.target_names), features=_texts(raw.feature_names))


def _loaded(name: str, **options: Any) -> Any:
    try:
        module = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise DataError(
            f"the data set {name} comes with scikit-learn, which cannot be imported",
            expected="the package scikit-learn",
            got=str(error),
            fix=install("data"),
        ) from None
    load: Callable[..., Any] = getattr(module, f"load_{name}")
    return load(**options)


def _texts(names: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in names)
