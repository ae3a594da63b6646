"""The check that a user's subclass does not override a method that machine code would replace.

Compiled code calls formulas such as `sigma` and replaces methods such as `forward`. A subclass may override the first
kind; if it overrides the second kind, the compiler refuses the object instead of ignoring the user's method.
"""

from __future__ import annotations

from collections.abc import Iterable

from lamp.data import DataLoader
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.probabilities import BinaryLoss
from lamp.losses.weighted import WeightedLoss
from lamp.module import Module
from lamp.nn import Activation
from lamp.optim import Optimizer, Schedule
from lamp.overrides import overridden
from lamp.paths import describe


class NotCompiled(Exception):
    """Raised for a network, a loss, an optimizer or data that cannot be compiled; its text says why, in one line.

    row  the first sample that cannot be compiled, if samples are the reason
    """

    def __init__(self, why: str, row: int = 0) -> None:
        super().__init__(why)
        self.row = row


# Methods that no training step calls.
APART = (
    "__init__",
    "__repr__",
    "__getstate__",
    "__setstate__",
    "__getattr__",
    "extra_repr",
    "reset_parameters",
    "state_dict",
    "load_state_dict",
    "get_extra_state",
    "set_extra_state",
    "append",
    "extend",
    "insert",
    "add_module",
    "apply",
    "to",
    "float",
    "double",
)
# Methods that are called while code is written, or by the training loop itself; a subclass may override them.
ASKED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Activation, ("sigma", "dsigma", "sigma_of_tensor")),
    (WeightedLoss, ()),
    (ClassLoss, ("of_replicas", "explain_non_finite")),
    (BinaryLoss, ("value", "derivative", "value_of_tensors", "doutput", "of_replicas", "explain_non_finite")),
    (Loss, ("prepare", "value", "derivative", "value_of_tensors", "doutput", "of_replicas", "explain_non_finite")),
    (
        Optimizer,
        ("coefficients", "update", "state_names", "initial_state", "_check_hyperparameters", "add_param_group"),
    ),
    (Schedule, ("lr_at", "get_last_lr", "of_replicas", "_check_state", "_load")),
    (Module, ()),
    (DataLoader, ()),
)


def look_for_overrides(thing: object, only: Iterable[str] | None = None) -> None:
    """Raise NotCompiled if a user's method would be ignored by machine code, or by training in blocks of epochs.

    only  check these methods alone
    """
    asked = next((names for kind, names in ASKED if isinstance(thing, kind)), ())
    found = overridden(thing, (*APART, *asked), only)
    if found is not None:
        name = describe(thing) if isinstance(thing, Module) else type(thing).__name__
        raise NotCompiled(f"{name} has its own {found}: machine code would pass it by")
