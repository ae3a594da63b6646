"""`SampleLoss`, the base class of losses that are computed per sample on whole tensors, of one or several outputs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.formulas import wide
from lamp.losses.base import Loss
from lamp.losses.checks import explain_pair

Shape = tuple[int, ...]


class SampleLoss(Loss):
    """Base of the losses of one or several outputs, for which a formula over single numbers does not say enough.

    L = reduce(losses(outputs, target))

    Several outputs are passed one by one, as in torch, `criterion(x1, x2, target)`, or as a tuple, as a network with
    several outputs gives them: `criterion((x1, x2), target)`. Then backward returns a tuple of gradients.

    A subclass defines two methods. `losses` returns the loss of each sample and what `doutputs` needs, and `doutputs`
    returns the gradient of each output, given the factor of each sample's loss. Both take any axes before those of a
    sample; so they hold for a population, too.

    outputs     the number of outputs
    features    the number of axes of a sample that the loss sums over
    labels      whether the target holds the numbers of classes
    in_float32  whether half precision is computed in float32
    """

    by_formulas = False
    outputs: ClassVar[int] = 1
    features: ClassVar[int] = 1
    has_target: ClassVar[bool] = True
    labels: ClassVar[bool] = False
    in_float32: ClassVar[bool] = True

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        raise NotImplementedError

    value = derivative = prepare

    @abstractmethod
    def losses(self, outputs: tuple[Tensor, ...], target: Any) -> tuple[Tensor, Any]:
        """The loss of each sample, (B...), and what `doutputs` needs."""

    @abstractmethod
    def doutputs(self, dvalue: Tensor, kept: Any) -> tuple[Tensor | None, ...]:
        """The gradient of each output, where dvalue is d L / d loss of each sample, (B...) or of a shape that
        broadcasts to it."""

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, input: Any, target: Any) -> Tensor:
        return self.measure(input, target)

    def measure(self, *given: Any) -> Tensor:
        """The loss of the arguments of a call. Arguments at the end that are None were not passed."""
        while given and given[-1] is None:
            given = given[:-1]
        outputs, target = self.arranged(given)
        self.check_outputs(outputs)
        first = outputs[0]
        replicas = self.replicas or replicas_of(first)
        if replicas is not None and isinstance(target, Tensor):
            target = self.with_replicas(target, self.target_axes(first), replicas)
        if self.hyperparameters:
            self.check_hyperparameters(replicas)
        self.check(outputs, target)
        if isinstance(target, Tensor) and not self.labels:
            target = target.to(first.dtype)  # signs and 0s and 1s may be integers
        if first.dtype.itemsize < 4 and self.in_float32:
            outputs = tuple(map(wide, outputs))
            target = wide(target) if isinstance(target, Tensor) else target
        value, kept = self.losses(outputs, target)
        value = value.to(first.dtype)
        divisor = value.numel() // (replicas or 1)
        loss, dvalue = self.reduce(value, divisor, 1.0, replicas)
        loss.divisor = divisor  # type: ignore[attr-defined]  # for means of several batches
        if replicas is None and dvalue is not None and loss.is_cpu and not bool(loss.isfinite()):
            raise self._not_finite(loss, value, first, target)
        self.remember((kept, dvalue, value.shape, value.dtype, replicas, self.order(given)))
        return loss

    def backward(self, *dloss: Tensor) -> Any:
        kept, dvalue, shape, dtype, replicas, order = self.recall()
        if dloss or dvalue is None:
            dvalue = self.times(dvalue, dloss, shape, dtype, replicas)
        if replicas is not None and dvalue.dim() == 1 and len(shape) > 1:
            dvalue = dvalue.view(-1, *[1] * (len(shape) - 1))
        gradients = self.doutputs(dvalue, kept)
        found = [None if each is None else each.to(dtype) for each in gradients]  # dvalue is wider than half precision
        return found[0] if order is None else tuple(None if k is None else found[k] for k in order)

    # ---- the arguments ---------------------------------------------------------------------------------------------
    def arranged(self, given: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], Any]:
        """The outputs and the target among the arguments of a call."""
        if given and isinstance(given[0], tuple | list):
            outputs, rest = tuple(given[0]), given[1:]
        else:
            outputs, rest = given[: self.outputs], given[self.outputs :]
        most = 1 if self.has_target else 0
        if len(outputs) != self.outputs or len(rest) != most:
            raise ArgumentError(
                f"{type(self).__name__} takes {self.outputs} outputs{' and a target' if self.has_target else ''}",
                expected=f"{type(self).__name__}()({', '.join(self.argument_names())})",
                got=f"{len(given)} arguments",
                fix="pass each as a tensor, or the outputs as one tuple",
            )
        return outputs, rest[0] if rest else None

    def argument_names(self) -> list[str]:
        """The names of the arguments of a call."""
        names = [f"input{k + 1}" for k in range(self.outputs)] if self.outputs > 1 else ["input"]
        return names + ["target"] * self.has_target

    def order(self, given: tuple[Any, ...]) -> tuple[int | None, ...] | None:
        """Which output's gradient backward returns at each place; None for the first output's alone."""
        return None if self.outputs == 1 else tuple(range(self.outputs))

    # ---- checks ----------------------------------------------------------------------------------------------------
    def target_axes(self, output: Tensor) -> int:
        """The number of axes that a target per replica has, given the first output (K, B...)."""
        return output.dim()

    def check_outputs(self, outputs: tuple[Any, ...]) -> None:
        """Raise an error unless the outputs are floating-point tensors of one shape, dtype and device."""
        first = outputs[0]
        for other in outputs[1:] if len(outputs) > 1 else outputs:
            self.check_alike(first, other)
        if first.dim() < self.features:
            raise ShapeError(
                f"{type(self).__name__} sums over the features of a sample",
                expected="an output (B, features)",
                got=tuple(first.shape),
                fix="output.unsqueeze(-1) makes one feature of each number",
            )

    @staticmethod
    def check_alike(first: Any, other: Any) -> None:
        """Raise an error unless these are floating-point tensors of one shape, dtype and device."""
        fits = isinstance(first, Tensor) and isinstance(other, Tensor)
        fits = fits and first.shape == other.shape and first.dtype is other.dtype and first.device == other.device
        if not fits and isinstance(first, Tensor) and isinstance(other, Tensor) and first.shape != other.shape:
            raise ShapeError(
                "the outputs that a loss compares differ in shape, and nothing is broadcast in a loss",
                expected=tuple(first.shape),
                got=tuple(other.shape),
                fix="pass tensors of one shape",
            )
        if not fits or not first.is_floating_point() or not first.numel():
            raise explain_pair(first, other)

    def check(self, outputs: Any, target: Any) -> None:
        """Raise an error unless the target fits the outputs."""
        self.check_target(target, tuple(outputs[0].shape), outputs[0])

    def check_target(self, target: Any, shape: Shape, like: Tensor) -> None:
        """Raise an error unless the target is a tensor of this shape: of integers, or of the output's dtype."""
        if not isinstance(target, Tensor):
            raise explain_pair(like, target)
        if target.shape != torch.Size(shape):
            raise ShapeError(
                "output and target do not fit together, and nothing is broadcast in a loss",
                expected=f"a target {tuple(shape)} for an output {tuple(like.shape)}",
                got=tuple(target.shape),
                fix="target.view(...) or target.squeeze(...) brings it to this shape",
            )
        if target.dtype is not torch.int64 and (self.labels or target.dtype is not like.dtype):
            raise DTypeError(
                "the target has another dtype than this loss takes",
                expected=torch.int64 if self.labels else like.dtype,
                got=target.dtype,
                fix="target.long()" if self.labels else f"target.to({like.dtype})",
            )
        if target.device != like.device:
            raise explain_pair(like, target)

    def extra_repr(self) -> str:
        return ""
