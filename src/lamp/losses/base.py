"""`Loss`, the base class of losses: a value and its derivative per element, with a reduction."""

import copy
import inspect
import math
from abc import abstractmethod
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lamp.axes import column, replicas_of, sums
from lamp.errors import ArgumentError, CallError, DTypeError, LampError, NonFiniteError, NotTraceable
from lamp.formulas import Number, constant, scalar
from lamp.losses.by_replica import check_replicas, needs_check
from lamp.losses.checks import (
    Limits,
    as_number,
    check_arguments_of_formulas,
    explain_dloss,
    explain_non_finite,
    explain_number,
    explain_pair,
)
from lamp.module import Module
from lamp.overrides import is_lamps
from lamp.parameter import Buffer
from lamp.signatures import switches_of
from lamp.torch_habits import unwritten
from lamp.trees import mapped
from lamp.values import a_switch, kind_of

SMALL = 8192  # the number of elements up to which a dot product with a constant is as exact as a sum, and faster


class Loss(Module):
    """Base of all losses.

    L = reduce(value(output, target))

    reduction  "mean": the sum divided by `divisor`; "sum"; "none": one loss per element (or per sample)
    Shapes     output and target: any, the same, unless the loss says otherwise; L: () for mean and sum
    Backward   doutput = derivative(output, target) * dvalue, where dvalue is 1/divisor for mean, 1 for sum, and the
               argument of backward for none (mean and sum accept one too, as a factor)

    A subclass defines `value` and `derivative`, written over numbers (see lamp.formulas). Both get what `prepare`
    returns: the output and the target, or intermediate values that the two formulas share.

    `L.divisor` is the divisor of "mean", a number, or (K,) in a population if it differs. So the mean over several
    batches is the sum of L * L.divisor divided by the sum of L.divisor.

    A loss with several outputs defines its own forward, which takes outputs and targets as tuples, and a backward that
    returns a tuple of gradients, with None for an output that it does not use. It may use other losses, by calling
    their forward and backward as a container does with its modules.

    In a population the output is (K, ...). The target is (K, ...) too, or has no axis of replicas and is shared. L is
    (K,), with one loss per replica; a loss that is NaN or infinite raises no error there.

    Raises ShapeError, DTypeError or DeviceError for an output and a target that do not fit (nothing is broadcast);
    NonFiniteError for a mean or sum that is NaN or infinite (on a GPU, `fit` raises it at the end of the epoch);
    ArgumentError for an unknown reduction, or a hyperparameter whose number of values is not that of the replicas.
    """

    reduction: str = "mean"  # also where a subclass does not call super().__init__()
    gives_loss: ClassVar[bool] = True
    _agrees = False  # whether a user's formulas were found to give each replica its own loss
    _guards = False  # the check of the whole network's input and output covers what it remembers
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    by_formulas: ClassVar[bool] = True  # whether `value` and `derivative` are all of it, as the compiler needs
    limits: ClassVar[Mapping[str, Limits]] = {}  # allowed ranges of the numeric hyperparameters

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not is_lamps(cls):
            check_arguments_of_formulas(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if len(args) > 1 and all(isinstance(each, Tensor) and each.dim() for each in args[:2]):
            explain_call_of_class(cls, list(inspect.signature(cls).parameters)[:2])
        return super().__new__(cls)

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value if name[:1] == "_" else self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        """The value to store for this attribute. Raises ArgumentError for a wrong value or an unknown name."""
        kind = type(self).__name__
        if is_lamps(type(self)) and name in switches_of(type(self)):
            return a_switch(value, f"{kind}: {name}")
        if name in self.limits:
            return as_number(kind, name, value, self.limits[name])
        if name == "reduction" and (not isinstance(value, str) or value not in self.reductions):
            raise ArgumentError(
                f"unknown reduction for {kind}",
                expected=" or ".join(map(repr, self.reductions)),
                got=repr(value),
                fix="name one of these",
            )
        if is_lamps(type(self)) and not hasattr(type(self), name):
            known = list(dict.fromkeys(["reduction", *inspect.signature(type(self)).parameters]))
            if name not in known:
                close = get_close_matches(name, known, 1)
                raise ArgumentError(
                    f"{kind} has no hyperparameter {name!r}",
                    expected=", ".join(known),
                    got=name,
                    fix=f"did you mean {close[0]}?" if close else "check the name",
                )
        return value

    # ---- the formulas ----------------------------------------------------------------------------------------------
    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        """The arguments of `value` and `derivative`."""
        return output, target

    @abstractmethod
    def value(self, *prepared: Any) -> Number:
        """The loss of each element, before reduction."""
        raise unwritten(self, "value(self, output, target)", "the loss of each element")

    @abstractmethod
    def derivative(self, *prepared: Any) -> Number:
        """d value / d output, element by element."""
        raise unwritten(self, "derivative(self, output, target)", "d value / d output of each element")

    def divisor(self, output: Tensor) -> int:
        """The number that the sum is divided by: the elements for "mean", the samples for "batchmean"."""
        return output.shape[0] if self.reduction == "batchmean" and output.dim() > 0 else output.numel()

    # ---- for tensors -----------------------------------------------------------------------------------------------
    def value_of_tensors(self, *prepared: Any) -> Tensor:
        """`value` for tensors; subclasses may use fewer operations of torch."""
        return self.value(*prepared)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, *prepared: Any) -> Tensor:
        """`derivative` * dvalue for tensors. May overwrite tensors that `prepare` has made."""
        derivative = self.derivative(*prepared)
        try:
            return derivative * dvalue  # type: ignore[no-any-return]
        except TypeError:
            raise explain_formula(self, "derivative", derivative) from None

    def trace(self, tracer: Any, *values: Any) -> Any:
        raise NotTraceable(
            "a loss is no part of a network's graph",
            expected="a network; of a Sequential that ends in its loss, the graph is that of its body",
            got=type(self).__name__,
            fix="lamp.trace(model, x), of the network that the loss is for",
        )

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        replicas = self.replicas or replicas_of(input)
        if replicas is not None and isinstance(target, Tensor):
            target = self.per_replica_target(input, target, replicas)
        if self.hyperparameters:
            self.check_hyperparameters(replicas)
        self.check(input, target)
        prepared = self.prepare(input, target)
        value = (self.value_of_tensors if "value" not in self.__dict__ else self.value)(*prepared)
        divisor = self.divisor(input if replicas is None else input[0])
        try:
            loss, dvalue = self.reduce(value, divisor, 1.0, replicas)
        except (AttributeError, TypeError):
            raise explain_formula(self, "value", value) from None
        if replicas is not None and not self._agrees and needs_check(self):
            check_replicas(self, input, target, value)
            self._agrees = True
        loss.divisor = divisor  # type: ignore[attr-defined]  # for means of several batches
        # On a GPU this would wait for the device at each step; there `fit` checks all losses of an epoch together.
        if replicas is None and dvalue is not None and loss.is_cpu and not math.isfinite(loss.item()):
            raise self._not_finite(loss, value, input, target)
        self.remember((prepared, dvalue, replicas))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        prepared, dvalue, replicas = self.recall()
        if dloss or dvalue is None:
            dvalue = self.times(dvalue, dloss, prepared[0].shape, prepared[0].dtype, replicas)
            if replicas is not None:
                dvalue = column(dvalue, prepared[0]) if dvalue.dim() == 1 else dvalue
        if "derivative" in self.__dict__:  # it was set on the instance
            return self.derivative(*prepared) * dvalue  # type: ignore[no-any-return]
        doutput, dtype = self.doutput(dvalue, *prepared), prepared[0].dtype
        # In half precision dvalue is float32, and so is its product with one number, or with one per replica.
        return doutput if doutput.dtype is dtype else doutput.to(dtype)

    def per_replica_target(self, output: Any, target: Any, replicas: int) -> Any:
        """The target with an axis of replicas, (K, ...); a shared target is expanded.

        A marked target (see lamp.per_replica) is per replica. An unmarked one is per replica if it has as many axes as
        the output; with several outputs or targets, only the mark counts.
        """
        if isinstance(output, Tensor) and isinstance(target, Tensor):
            return self.with_replicas(target, output.dim(), replicas)
        return mapped(target, lambda each: each if replicas_of(each) else each.expand(replicas, *each.shape))

    @staticmethod
    def with_replicas(target: Tensor, axes: int, replicas: int) -> Tensor:
        """The target, expanded to (K, ...) if it is shared. A target per replica has this many axes."""
        if replicas_of(target) is None and target.dim() == axes - 1:
            return target.expand(replicas, *target.shape)
        return target

    def of_replicas(self, rows: Tensor) -> Self:
        """This loss for some replicas of a population, with their values of hyperparameters (K,)."""
        chosen = copy.copy(self)
        for name, numbers in self.numbers():
            vars(chosen)[name] = numbers[rows]  # not through `__setattr__`: the values have been checked before
        if chosen.replicas is not None:  # a loss that is part of the network
            chosen.replicas = len(rows)
        return chosen

    def check_hyperparameters(self, replicas: int | None) -> None:
        """Raise ArgumentError for a hyperparameter with several values that are not one per replica."""
        for name in self.hyperparameters:
            number = getattr(self, name)
            if isinstance(number, Tensor) and (replicas is None or number.shape != (replicas,)):
                raise explain_number(f"{type(self).__name__}: {name}", number, replicas)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise an error if output and target are not floating-point tensors of one shape, dtype and device."""
        try:
            fits = (
                output.shape == target.shape
                and output.dtype is target.dtype
                and output.device == target.device
                and output.is_floating_point()
                and output.numel() > 0
            )
        except AttributeError:
            fits = False
        if not fits:
            raise explain_pair(output, target)

    def reduce(
        self, value: Tensor, divisor: Tensor | int, sign: float = 1.0, replicas: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The reduced loss of sign * value, and dvalue = d loss / d (sign * value), a tensor () or (K,).

        divisor  the divisor of "mean": a number, or (K,) in a population

        For "none" dvalue is None, since it is the argument of backward.
        """
        reduction, dtype = self.reduction, value.dtype
        if reduction == "none":
            return (value if sign > 0 else -value), None
        if replicas is None and isinstance(divisor, int) and value.is_cpu and (n := value.numel()) <= SMALL:
            dvalue, weights = _constants(reduction, divisor, n, sign, dtype)
            if weights is not None:
                return value.reshape(-1).dot(weights), dvalue  # a sum and a product in one operation
        if dtype.itemsize < 4:  # float16, bfloat16: a sum and 1/divisor may leave their range where a mean does not
            divisor = divisor.float() if isinstance(divisor, Tensor) else divisor
            loss, share = self.reduce(value.float(), divisor, sign, replicas)
            return loss.to(dtype), share
        if reduction == "sum":
            dvalue = constant(1.0, value)
        elif isinstance(divisor, int):
            dvalue = constant(1.0 / divisor, value)
        else:
            dvalue = divisor.reciprocal()
        loss = sums(value, replicas) * dvalue
        return loss if sign > 0 else loss.neg_(), dvalue

    def times(
        self,
        dvalue: Tensor | None,
        dloss: tuple[Tensor, ...],
        shape: torch.Size,
        dtype: torch.dtype,
        replicas: int | None = None,
    ) -> Tensor:
        """dvalue times the argument of backward; for reduction="none", that argument alone, of this shape.

        Raises ShapeError for an argument of another shape or dtype, or several of them.
        """
        expected = shape if dvalue is None else () if replicas is None else (replicas,)
        fits = len(dloss) == 1 and isinstance(dloss[0], Tensor) and dloss[0].shape == expected
        if not fits or (dvalue is None and dloss[0].dtype is not dtype):
            raise explain_dloss(dloss, shape if dvalue is None else None, dtype, replicas)
        return dloss[0] if dvalue is None else dvalue * dloss[0]

    def _not_finite(self, loss: Tensor, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        """The error for a loss that is NaN or infinite, which holds the loss: a validation goes on with it."""
        error = self.explain_non_finite(value, output, target)
        if isinstance(error, NonFiniteError):
            error.loss = loss
        return error

    def explain_non_finite(self, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        """The error for a mean or sum that is NaN or infinite."""
        return explain_non_finite(value, output, target)


@lru_cache(maxsize=64)
def _constants(reduction: str, divisor: int, n: int, sign: float, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """dvalue, and the vector whose dot product with n values is the loss; None for half-precision values."""
    share = 1.0 if reduction == "sum" else 1.0 / divisor
    return scalar(share, dtype), torch.full((n,), sign * share, dtype=dtype) if dtype.itemsize >= 4 else None


def explain_call_of_class(kind: type[Loss], names: list[str]) -> None:
    """Raise CallError for two tensors in the place of hyperparameters that cannot both be tensors."""
    if is_lamps(kind) and not all(name in kind.limits or "weight" in name for name in names):
        raise CallError(
            f"{kind.__name__} is a class: output and target are the arguments of the loss, not of its constructor",
            expected=", ".join(names),
            got="two tensors",
            fix=f"criterion = lamp.{kind.__name__}(); loss = criterion(output, target)",
        )


def explain_formula(loss: Loss, name: str, returned: Any) -> DTypeError:
    """The error for a formula of a loss that returned no tensor."""
    return DTypeError(
        f"{type(loss).__name__}.{name} returned no numbers",
        expected="a tensor with one number per element",
        got=kind_of(returned),
        fix=f"end {name} with `return`, of a tensor computed from the output and the target",
    )


def buffer_of(name: str, weight: Tensor | Buffer | None) -> Buffer | None:
    """The weight as a Buffer, which moves with the loss. Raises DTypeError unless it is a floating-point tensor."""
    if weight is None or isinstance(weight, Buffer):
        return weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise DTypeError(
            f"{name} is not a floating-point tensor",
            expected="a floating-point tensor",
            got=weight.dtype if isinstance(weight, Tensor) else type(weight).__name__,
            fix="convert it with torch.tensor([...], dtype=torch.get_default_dtype())",
        )
    return Buffer(weight)
