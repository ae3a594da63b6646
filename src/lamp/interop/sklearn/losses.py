"""scikit-learn's losses: the sum over a sample's outputs, averaged over the samples.

lamp's own losses, like torch's, are means over all elements. With them, a learning rate and a penalty of scikit-learn
would have another effect on networks with several outputs, and with the squared error, which scikit-learn halves.
"""

from __future__ import annotations

from typing import ClassVar

from lamp.formulas import Number
from lamp.losses import BCEWithLogitsLoss, L1Loss
from lamp.losses.regression import DifferenceLoss


class HalfSquaredError(DifferenceLoss):
    """Half the squared error, summed over a sample's outputs and averaged over samples.

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
    """The absolute error, summed over a sample's outputs and averaged over samples."""

    reductions: ClassVar[tuple[str, ...]] = ("batchmean",)

    def __init__(self) -> None:
        super().__init__("batchmean")


class LabelsLogLoss(BCEWithLogitsLoss):
    """The log loss of several independent labels, summed over a sample's labels and averaged over samples.

    Source    scikit-learn's loss of multilabel targets
    """

    reductions: ClassVar[tuple[str, ...]] = ("batchmean",)

    def __init__(self) -> None:
        super().__init__(reduction="batchmean")
