"""`CTCLoss`, connectionist temporal classification: a sequence of labels without their places in time."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.axes import replicas_of
from lamp.errors import ArgumentError, DTypeError, LabelError, LampError, NonFiniteError, ShapeError
from lamp.formulas import wide
from lamp.losses.base import Loss
from lamp.losses.checks import explain_pair

NEVER = float("-inf")  # the logarithm of probability 0


class CTCLoss(Loss):
    """The negative log-likelihood of a sequence of labels, summed over all ways to place it in time.

    A network puts out a class per step, one of which is blank. A path reads as the labels that remain once repeated
    classes are merged and blanks removed; the loss is -log of the total probability of the paths that read as the
    target.

    With l = (blank, l1, blank, l2, ..., blank), the sums over the beginnings and over the ends of paths are
    alpha[t, s] = (alpha[t-1, s] + alpha[t-1, s-1] + alpha[t-1, s-2]) p[t, l_s]
    beta[t, s]  = (beta[t+1, s]  + beta[t+1, s+1]  + beta[t+1, s+2])  p[t, l_s]
    where the last term is left out unless l_s is a label that differs from the one before (or after). All are computed
    as logarithms.

    value = -log(alpha[T-1, last] + alpha[T-1, last - 1])

    blank          the number of the blank class
    zero_infinity  whether a target that does not fit into its steps costs 0 in place of infinity
    reduction      "mean" divides each value by the length of its target, then takes the mean over the batch
    Shapes         log_probs (T, B, C) or (T, C), as LogSoftmax(-1) gives them   targets (B, S), or all in one row
                   input_lengths and target_lengths (B), tensors or lists of integers
                   In a population (K, T, B, C); targets are for all replicas, or per replica, (K, B, S), with lengths
                   (K, B)
    Backward       dlog_probs[t, c] = (p[t, c] - q[t, c]) dvalue, and 0 from the input's length on, where
                   q[t, c] = sum over s with l_s = c of alpha[t, s] beta[t, s] / (p[t, c] P) is the share of paths with
                   class c at step t, and P = exp(-value). As in torch, the term p[t, c] is that of the softmax before:
                   the gradient of the scores is right, and that of log_probs alone would lack it
    Source         torch.nn.CTCLoss; Graves et al. 2006

    Call it as torch's, `criterion(log_probs, targets, input_lengths, target_lengths)`, or with these three in a tuple
    as the target.

    Raises ArgumentError for lengths that do not fit, LabelError for labels out of range, NonFiniteError if a target
    does not fit into its steps, unless zero_infinity; and the errors of Loss.
    """

    by_formulas = False

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def _checked(self, name: str, value: Any) -> Any:
        if name == "blank":
            try:
                return operator.index(value)
            except TypeError:
                raise ArgumentError(
                    "CTCLoss: blank is the number of a class", expected="an integer", got=repr(value), fix="blank=0"
                ) from None
        return super()._checked(name, value)

    def prepare(self, output: Any, target: Any) -> tuple[Any, ...]:
        raise NotImplementedError

    value = derivative = prepare

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, log_probs: Tensor, targets: Any, input_lengths: Any = None, target_lengths: Any = None) -> Tensor:
        if input_lengths is None and isinstance(targets, tuple | list) and len(targets) == 3:
            targets, input_lengths, target_lengths = targets
        if not isinstance(log_probs, Tensor) or not log_probs.is_floating_point() or not log_probs.numel():
            raise explain_pair(log_probs, targets)
        replicas = self.replicas or replicas_of(log_probs)
        shape = log_probs.shape
        lp = wide(log_probs)  # the sums have as many terms as there are steps
        if replicas is not None:  # (K, T, B, C) to (T, K B, C)
            lp = lp.movedim(0, 1)
            lp = lp.flatten(1, 2) if lp.dim() == 4 else lp
        if lp.dim() not in (2, 3):
            raise ShapeError(
                "log_probs do not have the axes of steps, samples and classes",
                expected="(T, B, C) or (T, C); (K, T, B, C) marked with lamp.per_replica",
                got=tuple(shape),
                fix="y.log_softmax(-1), with the steps first",
            )
        alone = lp.dim() == 2
        lp = lp.unsqueeze(1) if alone else lp
        problem = self._problem(lp, targets, input_lengths, target_lengths, replicas or 1, alone)
        alpha = _forward_sums(problem)
        value = -_total(alpha, problem)
        impossible = value == float("inf")
        if self.zero_infinity:
            value = value.masked_fill(impossible, 0.0)
        lengths = problem.target_lengths.clamp(min=1).to(value.dtype)
        scaled = value / lengths if self.reduction == "mean" else value
        of_sample = (scaled.squeeze(0) if alone and replicas is None else scaled).to(log_probs.dtype)
        loss, dvalue = self.reduce(of_sample, value.numel() // (replicas or 1), 1.0, replicas)
        loss.divisor = value.numel() // (replicas or 1)  # type: ignore[attr-defined]
        if replicas is None and dvalue is not None and loss.is_cpu and not bool(loss.isfinite()):
            raise self._not_finite(loss, of_sample, log_probs, targets)
        if replicas is not None and dvalue is None:
            loss = loss.unflatten(0, (replicas, -1))
        share = lengths.reciprocal() if self.reduction == "mean" else torch.ones_like(lengths)
        if self.zero_infinity:
            share = share.masked_fill(impossible, 0.0)
        self.remember((problem, alpha, share, dvalue, loss.shape, log_probs.dtype, shape, replicas))
        return loss

    def backward(self, *dloss: Tensor) -> Tensor:
        problem, alpha, share, dvalue, of_loss, dtype, shape, replicas = self.recall()
        if dloss or dvalue is None:
            dvalue = self.times(dvalue, dloss, of_loss, dtype, replicas)
        samples = share.numel()
        if replicas is not None and dvalue.dim() == 1:
            dvalue = dvalue.unsqueeze(-1).expand(replicas, samples // replicas)
        factor = share * (dvalue.reshape(-1) if dvalue.dim() else dvalue)  # (B,)
        d: Tensor = _gradient(problem, alpha, _backward_sums(problem)) * factor.unsqueeze(-1)
        d = d.masked_fill((factor == 0.0).unsqueeze(-1), 0.0).to(dtype)
        if replicas is None:
            return d.view(shape)
        d = d.unflatten(1, (replicas, -1)).movedim(1, 0)
        return d.reshape(shape)

    # ---- the arguments ---------------------------------------------------------------------------------------------
    def _problem(
        self, lp: Tensor, targets: Any, input_lengths: Any, target_lengths: Any, replicas: int, alone: bool
    ) -> Problem:
        """The batch as the recursions need it. Raises an error for arguments that do not fit."""
        steps, samples, classes = lp.shape
        own = replicas_of(targets) is not None  # each replica has targets and lengths of its own
        once = samples if own else samples // replicas
        if not 0 <= self.blank < classes:
            raise ArgumentError(
                "CTCLoss: blank is the number of a class",
                expected=f"an integer from 0 to {classes - 1}",
                got=self.blank,
                fix="blank=0",
            )
        if not isinstance(targets, Tensor):
            raise explain_pair(lp, targets)
        if targets.is_floating_point() or targets.dtype is torch.bool:
            raise DTypeError("targets are labels", expected=torch.int64, got=targets.dtype, fix="targets.long()")
        if own:
            targets = targets.flatten(0, 1)
        inputs = _lengths("input_lengths", input_lengths, once, samples // replicas, lp)
        labels = _lengths("target_lengths", target_lengths, once, samples // replicas, lp)
        if bool((inputs > steps).any()):
            raise ArgumentError(
                "an input is longer than log_probs",
                expected=f"input_lengths of at most {steps}",
                got=int(inputs.max()),
                fix="pass the number of steps of each sample",
            )
        table = _table(targets, labels, once, alone)
        used = torch.arange(table.shape[1], device=lp.device) < labels.unsqueeze(1)
        wrong = used & ((table < 0) | (table >= classes))
        if bool(wrong.any()):
            raise LabelError(
                "a label names no class",
                expected=f"labels from 0 to {classes - 1}",
                got=str(table[wrong][0].item()),
                fix="let the network have an output for each class, and one for the blank",
            )
        table = torch.where(used, table, self.blank)
        times = samples // once
        table, inputs, labels = (each.repeat(times, *[1] * (each.dim() - 1)) for each in (table, inputs, labels))
        extended = torch.full((samples, 2 * table.shape[1] + 1), self.blank, device=lp.device)
        extended[:, 1::2] = table
        skips = torch.zeros_like(extended, dtype=torch.bool)
        skips[:, 2:] = (extended[:, 2:] != self.blank) & (extended[:, 2:] != extended[:, :-2])
        of_states = lp.gather(2, extended.expand(steps, -1, -1))  # (T, B, 2 S + 1)
        return Problem(lp, of_states, extended, skips, inputs, labels)

    def explain_non_finite(self, value: Tensor, output: Tensor, target: Tensor) -> LampError:
        """The error for a target that does not fit into its steps, or for log-probabilities that are no numbers."""
        if bool(output.isnan().any()) or not bool(value.isinf().any()):
            return super().explain_non_finite(value, output, target)
        return NonFiniteError(
            "a target does not fit into its steps",
            expected="a step for each label, and one more between two equal labels, which a blank divides",
            got=f"a loss of {float(value.max())} at {value.reshape(-1).isinf().nonzero()[0].item()}",
            fix="CTCLoss(zero_infinity=True) leaves such samples out; or let the network put out more steps",
        )

    def extra_repr(self) -> str:
        return ""


class Problem(NamedTuple):
    """A batch of sequences.

    log_probs  log p of the classes, (T, B, C)      of_states  of the states, (T, B, 2 S + 1)
    extended   the class of each state              skips      whether it may be entered from two states before
    """

    log_probs: Tensor
    of_states: Tensor
    extended: Tensor
    skips: Tensor
    input_lengths: Tensor
    target_lengths: Tensor


def _forward_sums(problem: Problem) -> Tensor:
    """log alpha, (T, B, 2 S + 1)."""
    lp, skips = problem.of_states, problem.skips
    alpha = torch.full_like(lp, NEVER)
    alpha[0, :, :2] = lp[0, :, :2]
    never = torch.full_like(lp[0, :, :2], NEVER)
    for t in range(1, len(lp)):
        before = alpha[t - 1]
        shifted = torch.cat([never, before], 1)
        two = shifted[:, :-2].masked_fill(~skips, NEVER)
        alpha[t] = torch.logaddexp(torch.logaddexp(before, shifted[:, 1:-1]), two) + lp[t]
    return alpha


def _backward_sums(problem: Problem) -> Tensor:
    """log beta, (T, B, 2 S + 1): at a sample's last step only its last two states are possible."""
    lp = problem.of_states
    states = torch.arange(lp.shape[2], device=lp.device)
    last = 2 * problem.target_lengths.unsqueeze(1)
    ends = (states == last) | (states == last - 1)  # (B, 2 S + 1)
    skips = torch.cat([problem.skips[:, 2:], torch.zeros_like(problem.skips[:, :2])], 1)
    beta = torch.full_like(lp, NEVER)
    after = beta[0].clone()
    never = torch.full_like(lp[0, :, :2], NEVER)
    for t in range(len(lp) - 1, -1, -1):
        shifted = torch.cat([after, never], 1)
        two = shifted[:, 2:].masked_fill(~skips, NEVER)
        after = torch.logaddexp(torch.logaddexp(after, shifted[:, 1:-1]), two) + lp[t]
        is_last = (problem.input_lengths == t + 1).unsqueeze(1)
        after = torch.where(is_last, lp[t].masked_fill(~ends, NEVER), after)
        beta[t] = after
    return beta


def _total(alpha: Tensor, problem: Problem) -> Tensor:
    """The log-probability of each target, (B)."""
    samples = torch.arange(alpha.shape[1], device=alpha.device)
    at, last = (problem.input_lengths - 1).clamp(min=0), 2 * problem.target_lengths
    ends_in_blank = alpha[at, samples, last]
    ends_in_label = alpha[at, samples, (last - 1).clamp(min=0)].masked_fill(last == 0, NEVER)
    total = torch.logaddexp(ends_in_blank, ends_in_label)
    nothing = problem.input_lengths == 0  # no step: the empty target is certain, any other impossible
    certain = torch.where(last == 0, 0.0, NEVER).to(total.dtype)
    return torch.where(nothing, certain, total)


def _gradient(problem: Problem, alpha: Tensor, beta: Tensor) -> Tensor:
    """p - the probability of each class at each step, given that the path reads as the target; (T, B, C).

    The states of a step share the target's probability. Divided by their own sum, what alpha and beta have lost of
    their last digits by then, in all states alike, is lost from both.
    """
    possible = (alpha > NEVER) & (beta > NEVER)
    of_paths = alpha + beta - problem.of_states
    share = of_paths.masked_fill(~possible, NEVER).softmax(2)
    steps = len(alpha)
    d = problem.log_probs.exp().scatter_add_(2, problem.extended.expand(steps, -1, -1), -share)
    over = torch.arange(steps, device=d.device).unsqueeze(1) >= problem.input_lengths
    return d.masked_fill_(over.unsqueeze(-1), 0.0)


def _lengths(name: str, given: Any, samples: int, of_replica: int, like: Tensor) -> Tensor:
    """The lengths as a tensor of int64, one per sample; or given for one replica's samples, and the same for all.

    Raises ArgumentError for anything but one integer per sample.
    """
    try:
        found = torch.as_tensor(given, device=like.device)
        right = not found.is_floating_point() and found.dtype is not torch.bool
        right = right and found.numel() in (samples, of_replica)
    except (TypeError, ValueError, RuntimeError):
        right = False
    if not right or bool((found < 0).any()):
        raise ArgumentError(
            f"CTCLoss: {name} is one integer per sample",
            expected=f"{samples} integers of at least 0",
            got=f"{given!r}"[:80],
            fix=f"{name}=torch.full(({samples},), ...), if all are equally long",
        )
    return found.reshape(-1).long().repeat(samples // max(found.numel(), 1))


def _table(targets: Tensor, lengths: Tensor, samples: int, alone: bool) -> Tensor:
    """The targets as (B, S), from that or from all labels in one row."""
    targets = targets.long()
    longest, total = int(lengths.max()), int(lengths.sum())
    if targets.dim() == 2 and targets.shape[0] == samples and longest <= targets.shape[1]:
        return targets
    if targets.dim() == 1 and total <= targets.shape[0] and (alone or total == targets.shape[0]):
        starts = lengths.cumsum(0) - lengths
        at = starts.unsqueeze(1) + torch.arange(max(longest, 1), device=targets.device)
        return targets[at.clamp(max=max(len(targets) - 1, 0))] if len(targets) else at * 0
    raise ShapeError(
        "the targets do not fit their lengths",
        expected=f"targets ({samples}, at least {longest}), or ({total},)",
        got=tuple(targets.shape),
        fix="pad the targets to one length, or concatenate them",
    )
