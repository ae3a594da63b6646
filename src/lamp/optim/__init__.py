"""Optimizers, learning-rate schedules and gradient clipping."""

from lamp.missing_names import module_getattr
from lamp.optim.adadelta import Adadelta
from lamp.optim.adafactor import Adafactor
from lamp.optim.adagrad import Adagrad
from lamp.optim.adam import Adam, AdamW
from lamp.optim.adamax import Adamax
from lamp.optim.asgd import ASGD
from lamp.optim.averaging import SWALR, AveragedModel, update_bn
from lamp.optim.clipping import clip_grad_norm_, clip_grad_value_
from lamp.optim.cycles import CyclicLR, OneCycleLR
from lamp.optim.lbfgs import LBFGS
from lamp.optim.lion import Lion
from lamp.optim.muon import Muon
from lamp.optim.nadam import NAdam, RAdam
from lamp.optim.optimizer import Optimizer
from lamp.optim.plateau import ReduceLROnPlateau
from lamp.optim.rmsprop import RMSprop
from lamp.optim.rprop import Rprop
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
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
)
from lamp.optim.sgd import SGD
from lamp.optim.sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "SWALR",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AveragedModel",
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
    "Lion",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "Rprop",
    "ScaledLR",
    "Schedule",
    "SequentialLR",
    "SparseAdam",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
    "update_bn",
]

__getattr__ = module_getattr(__name__, lambda: __all__)
