"""Data: the forms it may have, batches in a reproducible order, and data sets to start with."""

from lamp.data.batches import as_batches, is_batched, length_of
from lamp.data.bundled import breast_cancer, diabetes, digits, iris, wine
from lamp.data.columns import as_column, as_columns, check_finite
from lamp.data.dataset import Dataset
from lamp.data.loader import DataLoader
from lamp.data.mnist import mnist, read_idx
from lamp.data.orders import order
from lamp.data.synthetic import disk, spirals
from lamp.data.text import characters, tiny_shakespeare
from lamp.missing_names import module_getattr

__all__ = [
    "DataLoader",
    "Dataset",
    "as_batches",
    "as_column",
    "as_columns",
    "breast_cancer",
    "characters",
    "check_finite",
    "diabetes",
    "digits",
    "disk",
    "iris",
    "is_batched",
    "length_of",
    "mnist",
    "order",
    "read_idx",
    "spirals",
    "tiny_shakespeare",
    "wine",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
