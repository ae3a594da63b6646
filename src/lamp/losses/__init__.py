"""Losses: `criterion(output, target)` is the loss, `criterion.backward()` its gradient with respect to the output."""

from lamp.losses.base import Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.cross_entropy import CrossEntropyLoss, NLLLoss
from lamp.losses.probabilities import BCELoss, BCEWithLogitsLoss, BinaryLoss, KLDivLoss
from lamp.losses.regression import DifferenceLoss, HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from lamp.missing_names import module_getattr

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BinaryLoss",
    "ClassLoss",
    "CrossEntropyLoss",
    "DifferenceLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "SmoothL1Loss",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
