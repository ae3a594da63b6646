"""Losses: `criterion(output, target)` is the loss, `criterion.backward()` its gradient with respect to the output."""

from lamp.losses.base import Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.cross_entropy import CrossEntropyLoss, NLLLoss
from lamp.losses.ctc import CTCLoss
from lamp.losses.embeddings import CosineEmbeddingLoss, TripletMarginLoss, TripletMarginWithDistanceLoss
from lamp.losses.likelihoods import GaussianNLLLoss, PoissonNLLLoss
from lamp.losses.margins import (
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
)
from lamp.losses.probabilities import BCELoss, BCEWithLogitsLoss, BinaryLoss, KLDivLoss
from lamp.losses.regression import DifferenceLoss, HuberLoss, L1Loss, MSELoss, SmoothL1Loss
from lamp.losses.several import SampleLoss
from lamp.missing_names import module_getattr

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "BinaryLoss",
    "CTCLoss",
    "ClassLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "DifferenceLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SampleLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
