"""Losses between probabilities, element by element: binary cross-entropy and the Kullback-Leibler divergence."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.devices import without_numbers
from lamp.errors import ArgumentError, LampError
from lamp.formulas import Number, constant, softplus
from lamp.losses.base import Loss, buffer_of
from lamp.losses.checks import explain_probability, explain_weight
from lamp.parameter import Buffer

SMALLEST_LOG = -100.0  # lower limit for logarithms of probabilities, as in torch
SMALLEST_VARIANCE = 1e-12  # lower limit for p (1 - p) as a denominator, as in torch


class BinaryLoss(Loss):
    """Base of the losses of binary classification, where each target is a probability of the positive class.

    Raises LabelError for a target outside [0, 1]; ShapeError, DTypeError or DeviceError for a weight that does not
    broadcast to the output; and the errors of Loss.
    """

    def __init__(self, weight: Tensor | None, reduction: str) -> None:
        super().__init__(reduction)
        self.weight = buffer_of("weight", weight)

    def _checked(self, name: str, value: Any) -> Any:
        return buffer_of(name, value) if name in ("weight", "pos_weight") else super()._checked(name, value)

    def check(self, output: Tensor, target: Tensor) -> None:
        super().check(output, target)
        if not _all_probabilities(target):
            raise explain_probability("target", target, "map labels to 0 and 1: a target is 0, 1 or a probability")

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        return output, target, self._fitted("weight", output)

    def _fitted(self, name: str, output: Tensor) -> Tensor | None:
        """The tensor of the buffer of this name, checked to broadcast to the output; None if there is none."""
        buffer: Buffer | None = getattr(self, name)
        if buffer is None:
            return None
        if buffer.data.dtype is output.dtype and buffer.data.device == output.device:
            try:
                buffer.data.expand(output.shape)
                return buffer.data
            except RuntimeError:
                pass  # explained below
        raise explain_weight(name, buffer.data, output, output.shape)


class BCELoss(BinaryLoss):
    """Binary cross-entropy of probabilities, such as the output of a Sigmoid. BCEWithLogitsLoss is more exact.

    value = - weight (t log p + (1 - t) log(1 - p)),   each logarithm at least -100;   p = output, t = target

    Backward  doutput = weight (p - t) / (p (1 - p)) * dvalue,   the denominator at least 1e-12
    Source    torch.nn.BCELoss

    Raises ArgumentError for an output outside [0, 1], and the errors of BinaryLoss.
    """

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, reduction)

    def check(self, output: Tensor, target: Tensor) -> None:
        super().check(output, target)
        alone = not (self.replicas or replicas_of(output))
        if alone and self.reduction == "none":  # a mean or sum is NaN then, and explained by explain_non_finite
            self._check_output(output)

    def value(self, output: Number, target: Number, weight: Number | None = None) -> Number:
        log_yes = output.log().maximum(constant(SMALLEST_LOG, output))
        log_no = (-output).log1p().maximum(constant(SMALLEST_LOG, output))
        value = -log_no.lerp(log_yes, target)
        return value if weight is None else value * weight

    def derivative(self, output: Number, target: Number, weight: Number | None = None) -> Number:
        variance = (constant(1.0, output) - output) * output
        derivative = (output - target) / variance.maximum(constant(SMALLEST_VARIANCE, output))
        return derivative if weight is None else derivative * weight

    def explain_non_finite(self, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        if output.isfinite().all():
            self._check_output(output)
        return super().explain_non_finite(value, output, target)

    def _check_output(self, output: Tensor) -> None:
        if not _all_probabilities(output):
            raise explain_probability("output", output, "end the network in a Sigmoid, or use BCEWithLogitsLoss")


class BCEWithLogitsLoss(BinaryLoss):
    """Binary cross-entropy of logits x: the probability of the positive class is sigmoid(x).

    value = - weight (pos_weight t log sigmoid(x) + (1 - t) log sigmoid(-x));   x = output, t = target
          = weight (pos_weight t softplus(-x) + (1 - t) softplus(x))

    Backward  doutput = weight ((1 - t + pos_weight t) sigmoid(x) - pos_weight t) * dvalue,
              which is (sigmoid(x) - t) * dvalue without weights
    Source    torch.nn.BCEWithLogitsLoss

    Raises the errors of BinaryLoss.
    """

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(weight, reduction)
        self.pos_weight = buffer_of("pos_weight", pos_weight)

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        return output, target, self._fitted("weight", output), self._fitted("pos_weight", output)

    def value(
        self, output: Number, target: Number, weight: Number | None = None, pos_weight: Number | None = None
    ) -> Number:
        yes = target if pos_weight is None else target * pos_weight
        value = yes * softplus(-output) + (constant(1.0, target) - target) * softplus(output)
        return value if weight is None else value * weight

    def derivative(
        self, output: Number, target: Number, weight: Number | None = None, pos_weight: Number | None = None
    ) -> Number:
        if pos_weight is None:
            derivative = output.sigmoid() - target
        else:
            yes = target * pos_weight
            derivative = (constant(1.0, target) - target + yes) * output.sigmoid() - yes
        return derivative if weight is None else derivative * weight

    def value_of_tensors(
        self, output: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None
    ) -> Tensor:
        if pos_weight is None:  # t softplus(-x) + (1 - t) softplus(x) is the logarithm of exp((1 - t) x) + exp(-t x)
            shift = target * output
            value = torch.logaddexp(output - shift, shift.neg_())
        else:
            zero = output.new_zeros(())
            value = torch.logaddexp(output, zero).mul_(constant(1.0, target) - target)
            value.addcmul_(torch.logaddexp(-output, zero), target * pos_weight)
        return value if weight is None else value.mul_(weight)

    def doutput(
        self,
        dvalue: Tensor,
        output: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
    ) -> Tensor:
        doutput = output.sigmoid()
        if pos_weight is None:
            doutput.sub_(target)
        else:
            yes = target * pos_weight
            doutput.mul_((constant(1.0, target) - target).add_(yes)).sub_(yes)
        doutput.mul_(dvalue)
        return doutput if weight is None else doutput.mul_(weight)


class KLDivLoss(Loss):
    """The Kullback-Leibler divergence of a target from an output of log-probabilities.

    value = t (log t - output), and 0 where t = 0;   t = target, or exp(target) with log_target

    reduction  "batchmean" divides by the size of the first axis, as the definition of the divergence does; "mean" by
               the number of elements
    Backward   doutput = -t * dvalue
    Source     torch.nn.KLDivLoss

    Raises ArgumentError for a log_target that is not True or False, and the errors of Loss.
    """

    reductions: ClassVar[tuple[str, ...]] = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def _checked(self, name: str, value: Any) -> Any:
        if name == "log_target" and not isinstance(value, bool):
            raise ArgumentError(
                "KLDivLoss: log_target is a switch", expected="True or False", got=repr(value), fix="log_target=True"
            )
        return super()._checked(name, value)

    def value(self, output: Number, target: Number) -> Number:
        t, log_t = (target.exp(), target) if self.log_target else (target, target.log())
        return (t * (log_t - output)).where((t != 0) | (output != output), 0.0)  # keeps NaN, which equals nothing

    def derivative(self, output: Number, target: Number) -> Number:
        return -(target.exp() if self.log_target else target)


def _all_probabilities(tensor: Tensor) -> bool:
    """Whether all elements are in [0, 1]. Raises DeviceError for a tensor without values."""
    if tensor.is_meta:
        raise without_numbers("the output")
    low, high = tensor.aminmax()
    return low.item() >= 0 and high.item() <= 1
