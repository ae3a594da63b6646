"""Training in one call, and what it measures."""

from lamp.training.callbacks import Callback, EarlyStopping
from lamp.training.checkpoints import Checkpoint
from lamp.training.diagnosis import first_non_finite
from lamp.training.fit import evaluate, fit, predict
from lamp.training.history import History
from lamp.training.run import Training

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Training",
    "evaluate",
    "first_non_finite",
    "fit",
    "predict",
]
