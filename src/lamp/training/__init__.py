"""Training in one call, and what it measures."""

from lamp.training.callbacks import Callback, EarlyStopping
from lamp.training.checkpoints import Checkpoint
from lamp.training.diagnosis import first_non_finite
from lamp.training.fit import evaluate, fit, predict
from lamp.training.history import History
from lamp.training.metrics import Accuracy, accuracy
from lamp.training.run import Training

__all__ = [
    "Accuracy",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "Training",
    "accuracy",
    "evaluate",
    "first_non_finite",
    "fit",
    "predict",
]
