"""Tables: networks that learn to predict one column of a file from the others, with calibrated uncertainty.

This package needs polars and scikit-learn.
"""

from lamp.errors import DataError
from lamp.installation import install

try:
    import polars  # noqa: F401
except ImportError as error:
    raise DataError(
        "tables are read by polars, which cannot be imported",
        expected="the package polars",
        got=str(error),
        fix=install("tables"),
    ) from None

from lamp.tables.predictor import TablePredictor, load
from lamp.tables.preprocessing import Preprocessing
from lamp.tables.reading import ReadOptions, read_table, read_with
from lamp.tables.writing import write_table

__all__ = ["Preprocessing", "ReadOptions", "TablePredictor", "load", "read_table", "read_with", "write_table"]
