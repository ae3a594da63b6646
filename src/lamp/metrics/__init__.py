"""Metrics: what is measured of outputs and targets, batch by batch.

    f1 = lamp.metrics.F1()
    for x, y in batches:
        f1.update(model(x), y)
    f1.value()

A metric takes in batches (`update`), says its value over all of them (`value`), and begins anew (`reset`). It keeps
counts and sums, not the batches; AUC alone keeps the scores. Outputs of a population give one value per replica.
"""

from lamp.metrics.classification import F1, Accuracy, ConfusionMatrix, Precision, Recall, accuracy
from lamp.metrics.metric import Metric, SumMetric
from lamp.metrics.perplexity import Perplexity
from lamp.metrics.ranking import AUC
from lamp.metrics.regression import R2, MeanAbsoluteError, MeanSquaredError
from lamp.missing_names import module_getattr

__all__ = [
    "AUC",
    "F1",
    "R2",
    "Accuracy",
    "ConfusionMatrix",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "SumMetric",
    "accuracy",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
