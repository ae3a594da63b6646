"""LossValue: the class of the tensor that a loss returns.

What is computed from it is in no gradient, since lamp records no operations. So the results of arithmetic on it answer
`backward()`, and a loss that was replaced by such a result is noticed when its gradient goes back without it.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from lamp.errors import BackwardError, TrainingWarning, warn_of
from lamp.passes import Further, Pass, pass_of

OPERATIONS = ("add", "sub", "mul", "truediv", "pow")
Origin = tuple[weakref.ref[Pass], weakref.ref[Tensor]]  # the pass of a network, and the loss of its output
REDUCTIONS = ("mean", "sum")  # of the losses of a population, to look at


class LossValue(Tensor):
    """The value of a loss, or what was computed from one by an arithmetic operation of Python. Else a plain tensor."""

    # Without this, every operation of torch on it would be a call of Python, and return this class again.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def backward(self, *_: Any, **__: Any) -> NoReturn:
        """Raise BackwardError, with what to call. (On the value of a loss itself its mark answers, a Pass.)"""
        raise BackwardError(
            "this tensor was computed from the value of a loss, and lamp records no graph for tensor.backward()",
            expected="a call of a module's backward",
            got="backward() called on a tensor",
            fix="model.backward(criterion.backward() * c) for a loss times c; add the gradients of several losses",
        )

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return repr(_plain(self))

    def __format__(self, spec: str) -> str:
        return format(_plain(self), spec)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return copy.deepcopy(_plain(self), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _plain(self).__reduce_ex__(protocol)


def _plain(value: LossValue) -> Tensor:
    """A plain tensor of the same memory, with the same marks."""
    plain = value.as_subclass(Tensor)
    plain.__dict__.update((name, mark) for name, mark in value.__dict__.items() if name != "origin")
    return plain


def _computing(name: str) -> Callable[..., Any]:
    """An operation on the value of a loss whose result answers `backward()`, and is noted if it changes the loss."""
    operation = getattr(Tensor, name)

    def computed(self: LossValue, *others: Any, **named: Any) -> Any:
        result = operation(self, *others, **named)
        if not isinstance(result, Tensor):
            return result
        if type(result) is Tensor:
            result.__class__ = LossValue
        if name not in REDUCTIONS:
            _note(self, result)  # type: ignore[arg-type]
        return result

    computed.__name__, computed.__doc__ = name, operation.__doc__
    return computed


for _name in (
    *(f"__{prefix}{each}__" for each in OPERATIONS for prefix in ("", "r", "i")),
    *("__neg__", "add", "sub", "mul", "div", "neg", *REDUCTIONS, "add_", "sub_", "mul_", "div_"),
):
    setattr(LossValue, _name, _computing(_name))


def _note(value: LossValue, result: LossValue) -> None:
    """Note the result of arithmetic on a loss, or on what was computed from one, in the pass of the network."""
    through = pass_of(value)
    origin: Origin | None = value.__dict__.get("origin") if through is None else _origin(through, value)
    if origin is not None:
        network, loss = origin[0](), origin[1]
        if network is not None:
            network.further = Further(loss, weakref.ref(result))
        result.__dict__["origin"] = origin


def _origin(through: Pass, loss: LossValue) -> Origin | None:
    """The pass that the first input of a loss came out of, and the loss; None after the loss's backward."""
    source = pass_of(through.inputs[0]) if through.inputs else None
    return None if source is None else (source.weak or source.weakly(), weakref.ref(loss))


def tell_of_further(through: Pass, gradients: tuple[Any, ...]) -> None:
    """Warn if a gradient goes back as the loss returned it, although what was computed from the loss replaced it."""
    further, through.further = through.further, None
    if further is not None and further.replaced and gradients and pass_of(gradients[0]) is through:
        warn_of(
            "a loss was computed further (divided, say, or a penalty was added), and that is not in the gradient which "
            "criterion.backward() returns. Do it to the gradient too: model.backward(criterion.backward() / 4) after "
            "loss / 4. To keep a number of it, use loss.item().",
            TrainingWarning,
        )
