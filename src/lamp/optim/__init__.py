"""Optimizers, learning-rate schedules and gradient clipping."""

from lamp.missing_names import module_getattr
from lamp.optim.adagrad import Adagrad
from lamp.optim.adam import Adam, AdamW
from lamp.optim.clipping import clip_grad_norm_, clip_grad_value_
from lamp.optim.cycles import CyclicLR, OneCycleLR
from lamp.optim.optimizer import Optimizer
from lamp.optim.plateau import ReduceLROnPlateau
from lamp.optim.rmsprop import RMSprop
from lamp.optim.schedule import LRScheduler, ScaledLR, Schedule
from lamp.optim.schedules import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    InverseTimeDecay,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
)
from lamp.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "InverseTimeDecay",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RMSprop",
    "ReduceLROnPlateau",
    "ScaledLR",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
