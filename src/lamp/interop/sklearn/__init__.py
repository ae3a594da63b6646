"""Networks as scikit-learn's estimators: in pipelines, searches and cross-validation, as any other.

This room needs scikit-learn 1.6 or later.
"""

from lamp.errors import DataError
from lamp.installation import install

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  (since 1.6)
except ImportError as error:
    raise DataError(
        "the estimators are scikit-learn's, which cannot be imported, or is older than 1.6",
        expected="the package scikit-learn",
        got=str(error),
        fix=install("sklearn"),
    ) from None

from lamp.interop.sklearn.classifier import MLPClassifier
from lamp.interop.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
