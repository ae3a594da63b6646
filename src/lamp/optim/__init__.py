"""Optimizers, learning-rate schedules and gradient clipping."""

from lamp.optim.adagrad import Adagrad
from lamp.optim.adam import Adam, AdamW
from lamp.optim.clipping import clip_grad_norm_, clip_grad_value_
from lamp.optim.optimizer import Optimizer
from lamp.optim.rmsprop import RMSprop
from lamp.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
]
