"""`CrossEntropyLoss` of scores, and `NLLLoss`, the negative log-likelihood of log-probabilities."""

from typing import ClassVar

import torch
from torch import Tensor

from lamp.formulas import Number
from lamp.losses.checks import Limits, explain_pair
from lamp.losses.classification import ClassLoss

# torch's log_softmax is not vectorised for rows shorter than a vector register (LANES numbers). With MANY
# numbers or more it is then faster on the transposed matrix.
LANES, MANY = (16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8), 384
LARGE, LONG = 32768, 128  # softmax is faster than exp for this many numbers in all and per row


class CrossEntropyLoss(ClassLoss):
    """Cross-entropy between the softmax of scores and the target.

    value = - q log p, summed over the classes;   p = softmax(output)
    q = weight ((1 - label_smoothing) t + label_smoothing / C);   t is the probability of the class in the target

    Backward  doutput = (p sum(q) - q) * dvalue,   which is (p - t) * dvalue without weights and smoothing
    Source    torch.nn.CrossEntropyLoss; Szegedy et al. 2015, section 7, for label smoothing

    label_smoothing may be (K,) in a population.

    Raises ArgumentError for a label_smoothing outside [0, 1], and the errors of ClassLoss.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ("label_smoothing",)
    limits: ClassVar = {
        "label_smoothing": Limits(0.0, 1.0, "from 0 (no smoothing) to 1 (all classes equal)", "0.1 is usual")
    }
    by_label = True

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: Number = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        return log_p.exp() * mass - q

    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        if output.numel() >= MANY and output.dim() == 2 and output.shape[1] < LANES and output.is_cpu:
            return output.t().contiguous().log_softmax(0).t().contiguous()  # vectorised over samples
        return output.log_softmax(axis)

    def derivative_per_mass(self, log_p: Tensor, axis: int) -> Tensor:
        # For long rows softmax is faster than exp, although it computes more.
        return log_p.softmax(axis) if log_p.numel() >= LARGE and log_p.shape[-1] >= LONG else log_p.exp_()


class NLLLoss(ClassLoss):
    """Negative log-likelihood of the label, for an output of log-probabilities, such as that of LogSoftmax.

    value = - weight[label] output[label]

    Backward  doutput = -weight[label] * dvalue at the label, 0 elsewhere
    Source    torch.nn.NLLLoss

    Raises the errors of ClassLoss.
    """

    takes_probabilities, by_label = False, True

    def __init__(self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(weight, ignore_index, reduction)

    def derivative(self, log_p: Number, q: Number, mass: Number) -> Number:
        return -q

    def log_probabilities(self, output: Tensor, axis: int) -> Tensor:
        if not output.is_floating_point():
            raise explain_pair(output, output)
        return output

    def derivative_per_mass(self, log_p: Tensor, axis: int) -> Tensor:
        return torch.zeros_like(log_p)
