"""Losses as scikit-learn has them: summed over a sample's outputs, the mean over samples.

lamp's own losses, as torch's, are means over all elements. With several outputs, or a squared error that is not halved,
the same learning rate and penalty would mean something else there.
"""

from __future__ import annotations

from typing import ClassVar

from lamp.formulas import Number
from lamp.losses import BCEWithLogitsLoss, L1Loss
from lamp.losses.regression import DifferenceLoss


class HalfSquaredError(DifferenceLoss):
    """Half the squared error, summed over a sample's outputs, the mean over samples.

    value = d^2 / 2,  d = output - target

    Backward  doutput = d * dvalue
    Source    scikit-learn's loss="squared_error"
    """

    reductions: ClassVar[tuple[str, ...]] = ("batchmean",)

    def __init__(self) -> None:
        super().__init__("batchmean")

    def value(self, difference: Number) -> Number:
        return difference.square() * 0.5

    def derivative(self, difference: Number) -> Number:
        return difference


class AbsoluteError(L1Loss):
    """The absolute error, summed over a sample's outputs, the mean over samples."""

    reductions: ClassVar[tuple[str, ...]] = ("batchmean",)

    def __init__(self) -> None:
        super().__init__("batchmean")


class LabelsLogLoss(BCEWithLogitsLoss):
    """The log loss of several labels, each for itself, summed over a sample's labels, the mean over samples.

    Source    scikit-learn's loss of multilabel targets
    """

    reductions: ClassVar[tuple[str, ...]] = ("batchmean",)

    def __init__(self) -> None:
        super().__init__(reduction="batchmean")
