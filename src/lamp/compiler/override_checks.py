"""The check that a user's subclass does not override a method that machine code would replace.

Compiled code calls formulas such as `sigma` and replaces methods such as `forward`. A subclass may override the first
kind; if it overrides the second kind, the compiler refuses the object instead of ignoring the user's method.
"""

from __future__ import annotations

from collections.abc import Iterable

from lamp.compiler.not_compiled import NotCompiled
from lamp.data import DataLoader
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.losses.probabilities import BinaryLoss
from lamp.losses.weighted import WeightedLoss
from lamp.module import Module
from lamp.nn import Activation
from lamp.optim import Optimizer, Schedule
from lamp.overrides import overridden

# Methods that no training step calls.
NOT_IN_A_STEP = (
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
MAY_OVERRIDE: tuple[tuple[type, tuple[str, ...]], ...] = (
    (Activation, ("sigma", "dsigma", "sigma_of_tensor", "sigma_over", "dsigma_of_tensor")),
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


def check_overrides(thing: object, only: Iterable[str] | None = None) -> None:
    """Raise NotCompiled if a user's method would be ignored by machine code, or by training in blocks of epochs.

    only  check these methods alone
    """
    allowed = next((names for kind, names in MAY_OVERRIDE if isinstance(thing, kind)), ())
    found = overridden(thing, (*NOT_IN_A_STEP, *allowed), only)
    if found is not None:
        why = f"has its own {found}: machine code would ignore it"
        if isinstance(thing, Module):
            raise NotCompiled(why, module=thing)
        raise NotCompiled(f"{type(thing).__name__} {why}")
