"""What every loss is: a value and its derivative, reduced."""

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
from lamp.errors import ArgumentError, DTypeError, LampError
from lamp.formulas import Number, constant, scalar
from lamp.losses.checks import Limits, as_number, explain_dloss, explain_non_finite, explain_number, explain_pair
from lamp.module import Module
from lamp.overrides import is_lamps
from lamp.parameter import Buffer
from lamp.trees import mapped

SMALL = 8192  # numbers up to which a dot product with a constant is as exact as a sum, and faster


class Loss(Module):
    """Base of all losses.

    L = reduce(value(output, target))

    reduction  "mean": the sum over `divisor`; "sum"; "none": a loss for each element (or sample)
    Shapes     output and target: any, the same, unless the loss says otherwise; L: () for mean and sum
    Backward   doutput = derivative(output, target) * dvalue, where dvalue is 1/divisor for mean, 1 for sum, and the
               argument of backward for none (which mean and sum take too, as a factor)

    A subclass writes `value` and `derivative`, over numbers (see lamp.formulas). Both get what `prepare` returns: the
    output and the target as they are, or something that the two formulas share.

    `L.divisor` is what "mean" divides by, a number or in a population also (K,): the mean over several batches is the
    sum of L * L.divisor over the sum of L.divisor.

    A loss of several outputs has a forward of its own, which takes them and the target as tuples, and a backward that
    returns their gradients as one, None for an output that it does not use. Losses within it are called and gone back
    through as modules are.

    In a population the output is (K, ...), and so is the target, or it has no axis of replicas and all share it. L is
    (K,), each replica's own, whatever those of others are: a replica whose loss is NaN raises nothing.

    Raises ShapeError, DTypeError or DeviceError for a pair that does not fit (nothing is broadcast), NonFiniteError for
    a mean or sum that is NaN or infinite (on a GPU `fit` does, at the end of the epoch), and ArgumentError for an
    unknown reduction, or for a hyperparameter of several numbers where there are not as many replicas.
    """

    gives_loss: ClassVar[bool] = True
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    limits: ClassVar[Mapping[str, Limits]] = {}  # of the hyperparameters that are numbers

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value if name[:1] == "_" else self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        """What is set under this name, in the constructor or later, as it is kept; raises ArgumentError."""
        kind = type(self).__name__
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
                    fix=f"its name is {close[0]}" if close else "check its name",
                )
        return value

    # ---- the formulas ----------------------------------------------------------------------------------------------
    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        """What `value` and `derivative` take."""
        return output, target

    @abstractmethod
    def value(self, *prepared: Any) -> Number:
        """The loss of each element, before reduction."""
        raise NotImplementedError

    @abstractmethod
    def derivative(self, *prepared: Any) -> Number:
        """d value / d output, element by element."""
        raise NotImplementedError

    def divisor(self, output: Tensor) -> int:
        """What the sum is divided by: the elements for "mean", the samples for "batchmean", where a loss has that."""
        return output.shape[0] if self.reduction == "batchmean" and output.dim() > 0 else output.numel()

    # ---- for tensors -----------------------------------------------------------------------------------------------
    def value_of_tensors(self, *prepared: Any) -> Tensor:
        """`value`, in fewer operations where torch has them."""
        return self.value(*prepared)  # type: ignore[no-any-return]

    def doutput(self, dvalue: Tensor, *prepared: Any) -> Tensor:
        """`derivative` * dvalue; it may overwrite what `prepare` has made."""
        return self.derivative(*prepared) * dvalue  # type: ignore[no-any-return]

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
        loss, dvalue = self.reduce(value, divisor, 1.0, replicas)
        loss.divisor = divisor  # type: ignore[attr-defined]  # for means of several batches
        # Elsewhere it would wait for the device at each step: there `fit` looks at the losses of an epoch together.
        if replicas is None and dvalue is not None and loss.is_cpu and not math.isfinite(loss.item()):
            raise self.explain_non_finite(value, input, target)
        self.remember((prepared, dvalue, replicas))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        prepared, dvalue, replicas = self.recall()
        if dloss or dvalue is None:
            dvalue = self.times(dvalue, dloss, prepared[0].shape, prepared[0].dtype, replicas)
            if replicas is not None:
                dvalue = column(dvalue, prepared[0]) if dvalue.dim() == 1 else dvalue
        if "derivative" in self.__dict__:  # somebody has set it on this loss
            return self.derivative(*prepared) * dvalue  # type: ignore[no-any-return]
        return self.doutput(dvalue, *prepared)

    def per_replica_target(self, output: Any, target: Any, replicas: int) -> Any:
        """The target with its axis of replicas, (K, ...): one that all share comes without it, and is expanded.

        A target that is marked is each replica's own. Of others the output's shape, which they must have, says it; of
        several targets, or outputs, only the mark does.
        """
        if isinstance(output, Tensor) and isinstance(target, Tensor):
            return self.with_replicas(target, output.dim(), replicas)
        return mapped(target, lambda each: each if replicas_of(each) else each.expand(replicas, *each.shape))

    @staticmethod
    def with_replicas(target: Tensor, axes: int, replicas: int) -> Tensor:
        """A target that has so many axes where it is each replica's own, expanded where it is shared."""
        if replicas_of(target) is None and target.dim() == axes - 1:
            return target.expand(replicas, *target.shape)
        return target

    def of_replicas(self, rows: Tensor) -> Self:
        """This loss for some replicas of a population: of hyperparameters (K,) their numbers."""
        chosen = copy.copy(self)
        for name, numbers in self.numbers():
            vars(chosen)[name] = numbers[rows]  # which were checked when they were set
        if chosen.replicas is not None:  # the one that each network ends in
            chosen.replicas = len(rows)
        return chosen

    def check_hyperparameters(self, replicas: int | None) -> None:
        """Raise ArgumentError where one of them is several numbers, and not one for each replica."""
        for name in self.hyperparameters:
            number = getattr(self, name)
            if isinstance(number, Tensor) and (replicas is None or number.shape != (replicas,)):
                raise explain_number(f"{type(self).__name__}: {name}", number, replicas)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise where output and target cannot meet element by element."""
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
        """The loss sign * value reduced, and dvalue = d loss / d (sign * value), one number or (K,).

        "mean" divides by the divisor, a number; in a population also (K,), each replica's. For "none" dvalue is None:
        the caller of backward says it.
        """
        reduction, dtype = self.reduction, value.dtype
        if reduction == "none":
            return (value if sign > 0 else -value), None
        if replicas is None and isinstance(divisor, int) and value.is_cpu and (n := value.numel()) <= SMALL:
            dvalue, weights = _constants(reduction, divisor, n, sign, dtype)
            if weights is not None:
                return value.reshape(-1).dot(weights), dvalue  # one operation for two
        if dtype.itemsize < 4:  # float16 and bfloat16: a sum and 1/divisor may leave their range where a mean does not
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
        """dvalue times the argument of backward; without a dvalue (reduction="none") that argument, of this shape."""
        expected = shape if dvalue is None else () if replicas is None else (replicas,)
        fits = len(dloss) == 1 and isinstance(dloss[0], Tensor) and dloss[0].shape == expected
        if not fits or (dvalue is None and dloss[0].dtype is not dtype):
            raise explain_dloss(dloss, shape if dvalue is None else None, dtype, replicas)
        return dloss[0] if dvalue is None else dvalue * dloss[0]

    def explain_non_finite(self, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        """The error for a mean or sum that is NaN or infinite."""
        return explain_non_finite(value, output, target)


@lru_cache(maxsize=64)
def _constants(reduction: str, divisor: int, n: int, sign: float, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """dvalue, and what n values are multiplied with to add up to the loss; None where more exact sums are needed."""
    share = 1.0 if reduction == "sum" else 1.0 / divisor
    return scalar(share, dtype), torch.full((n,), sign * share, dtype=dtype) if dtype.itemsize >= 4 else None


def buffer_of(name: str, weight: Tensor | Buffer | None) -> Buffer | None:
    """A weight as part of a loss's state. Raises DTypeError for anything but a floating-point tensor."""
    if weight is None or isinstance(weight, Buffer):
        return weight
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise DTypeError(
            f"{name} is not a tensor of numbers",
            expected="a floating-point tensor",
            got=weight.dtype if isinstance(weight, Tensor) else type(weight).__name__,
            fix="torch.tensor([...], dtype=torch.get_default_dtype()) makes one",
        )
    return Buffer(weight)
