"""Networks as scikit-learn's estimators: in pipelines, searches and cross-validation, as any other.

This room needs scikit-learn: pip install "lamp[sklearn]".
"""

from lamp.errors import DataError

try:
    from sklearn.utils.validation import validate_data  # noqa: F401  (since 1.6)
except ImportError as error:
    raise DataError(
        "the estimators are scikit-learn's, which cannot be imported, or is older than 1.6",
        expected="the package scikit-learn",
        got=str(error),
        fix='pip install --upgrade "lamp[sklearn]"',
    ) from error

from lamp.interop.sklearn.classifier import MLPClassifier
from lamp.interop.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
