"""Training in one call, and what it measures."""

from lamp.missing_names import module_getattr
from lamp.training.callback import Callback, Training
from lamp.training.checkpoints import Checkpoint
from lamp.training.diagnosis import first_non_finite
from lamp.training.early_stopping import EarlyStopping
from lamp.training.fit import evaluate, fit
from lamp.training.history import History
from lamp.training.prediction import predict

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

__getattr__ = module_getattr(__name__, lambda: __all__)
