"""Lowering of losses: from the outputs of a block of columns to the loss's value and the gradients of the outputs.

The formulas are the losses' own `value` and `derivative`, called with lanes. What stands here is the loop over outputs
or classes, and the weights and ignored labels that depend on the sample.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamp.compiler.code import Code, Pointer
from lamp.compiler.column_block import ColumnBlock
from lamp.compiler.formula_calls import call_formula
from lamp.compiler.indices import Index
from lamp.compiler.lanes import Lane, Mask
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.override_checks import check_overrides
from lamp.compiler.rules.softmax import log_sum_exp
from lamp.formulas import Number, is_zero
from lamp.graph import Shape
from lamp.losses import BCELoss, BCEWithLogitsLoss, ClassLoss, CrossEntropyLoss, Loss, NLLLoss
from lamp.losses.weighted import WeightedLoss
from lamp.paths import describe


@dataclass
class ColumnTargets:
    """The targets of a block's columns, as functions that load them.

    label    (place, column) -> the class number, if targets are labels; else None
    number   (output, column) -> the target of this output, if there is one per output
    counts   column -> which lanes hold a sample; None if all do
    """

    label: Callable[[Index, Index], Lane] | None
    number: Callable[[Index, Index], Lane]
    counts: Callable[[Index], Mask | None]


class LossRule:
    """The rule that compiles a loss.

    shape      of one sample's output
    outputs    the number of outputs per sample
    classes    for a loss over classes, their number: the first axis of a sample
    places     the number of places per sample, each of which has classes; 1 for other losses
    labels     whether targets are class numbers
    ignores    whether some of the labels are ignored
    constants  numbers that the code reads from memory: weights of classes or outputs
    weights    the position of each kind of weight among the constants, by name
    weighted   whether the last column of the targets is the sample's weight

    Raises NotCompiled for a loss that the compiler does not support.
    """

    def __init__(self, criterion: Loss, shape: Shape, labels: bool, ignores: bool = False) -> None:
        self.criterion, self.labels, self.ignores = criterion, labels, ignores
        self.outputs = outputs = self.classes = math.prod(shape)
        self.places = 1
        if isinstance(criterion, ClassLoss) and shape:
            self.classes, self.places = shape[0], math.prod(shape[1:])
        self.constants: list[float] = []
        self.weights: dict[str, int] = {}
        self.weighted = isinstance(criterion, WeightedLoss)
        if criterion.reduction == "none":
            raise NotCompiled('the loss has reduction="none", which gives no single number to minimise')
        check_overrides(criterion)
        for each in (criterion, criterion.loss) if isinstance(criterion, WeightedLoss) else (criterion,):
            if not each.by_formulas:
                raise NotCompiled(f"{describe(each)} is more than a formula for each element or class")
        if isinstance(criterion, WeightedLoss):
            criterion = criterion.loss
            if isinstance(criterion, ClassLoss):
                raise NotCompiled(f"sample weights are not compiled for {describe(criterion)}")
            check_overrides(criterion)
        if isinstance(criterion, ClassLoss) and not isinstance(criterion, CrossEntropyLoss | NLLLoss):
            raise NotCompiled(
                f"{describe(criterion)} is a loss over classes, of which only CrossEntropyLoss and NLLLoss are compiled"
            )
        names: list[str] = []
        if isinstance(criterion, ClassLoss):
            self.ignored = float(criterion.ignore_index)
            names = ["weight"]
        elif isinstance(criterion, BCELoss | BCEWithLogitsLoss):
            names = ["weight", "pos_weight"]
        for name in names:
            buffer = getattr(criterion, name, None)
            if buffer is not None:
                values = buffer.data
                of_classes = isinstance(criterion, ClassLoss)
                count = self.classes if of_classes else outputs
                shared = values.numel() == 1 and not of_classes
                several = len(shape) > 1 and not of_classes and not shared
                if (values.numel() != count and not shared) or values.dim() > 1 or several:
                    raise NotCompiled(f"the {name} of {describe(criterion)} is not one number per output")
                self.weights[name] = len(self.constants)
                self.constants += values.expand(count).tolist()

    def of_lanes(self, code: Code, hyperparameters: dict[str, Lane]) -> None:
        """Begin a kernel: replace the loss's hyperparameters of these names with lanes."""
        self.code = code
        self.rule: Any = copy.copy(self.criterion)
        for name, lane in hyperparameters.items():
            setattr(self.rule, name, lane)

    def divisor(self, samples: Lane) -> Lane | None:
        """The divisor of the sum of a batch's values; None if it depends on the labels."""
        criterion = self.criterion.loss if isinstance(self.criterion, WeightedLoss) else self.criterion
        if criterion.reduction == "sum":
            return self.code.lane(1.0)
        if isinstance(criterion, ClassLoss):
            of_labels = self.labels and (self.ignores or self.weights)
            return None if of_labels else samples if self.places == 1 else samples * float(self.places)
        if criterion.reduction == "batchmean":
            return samples
        return samples * float(self.outputs)

    def weight_of_label(self, constants: Pointer, label: Lane) -> Lane:
        """The weight in the mean of a sample with this label."""
        code = self.code
        weight = code.lane(1.0)
        if "weight" in self.weights:
            with code.carrying(0, self.classes, [code.lane(0.0)]) as (c, state):
                here = code.load_one(constants, code.plus(c, self.weights["weight"]))
                state[0] = here.where(label == code.number(c), state[0])
            weight = state[0]
        if self.ignores:
            weight = code.lane(0.0).where(label == self.ignored, weight)
        return weight

    def emit(self, block: ColumnBlock, target: ColumnTargets, share: Number) -> Lane:
        """Store the gradients of a block's outputs; returns the sum of its columns' values, not yet divided.

        share  the weight of each value in the loss: 1 / divisor
        """
        of_column = self._of_classes if isinstance(self.criterion, ClassLoss) else self._of_elements
        with self.code.carrying(0, block.columns, [self.code.lane(0.0)]) as (s, state):
            state[0] = state[0] + of_column(block, s, target, share)
        return state[0]

    # ---- element by element ----------------------------------------------------------------------------------------
    def _of_elements(self, block: ColumnBlock, s: Index, target: ColumnTargets, share: Number) -> Lane:
        code, last = self.code, block.plan.last
        rule = self.rule.loss if self.weighted else self.rule
        weight = [target.number(self.outputs, s)] if self.weighted else []
        counts = target.counts(s)
        state = [code.lane(0.0)]
        for c in code.each(0, self.outputs, state):
            output, wanted = block.activation(code.plus(c, block.plan.output_offset), s), target.number(c, s)
            if isinstance(rule, BCELoss | BCEWithLogitsLoss):
                weights = [
                    code.load_one(block.arguments.loss_constants, code.plus(c, self.weights[name]))
                    if name in self.weights
                    else None
                    for name in (("weight",) if isinstance(rule, BCELoss) else ("weight", "pos_weight"))
                ]
                prepared: tuple[Any, ...] = (output, wanted, *weights)
            else:
                prepared = call_formula(rule.prepare, output, wanted)
            value = call_formula(self.rule.value, *prepared, *weight)
            gradient = call_formula(self.rule.derivative, *prepared, *weight) * share
            state[0] = state[0] + masked(value, counts)
            block.keep_gradient(code.plus(c, last.gradient_offset), s, masked(gradient, counts))
        return state[0]

    def _weight(self, block: ColumnBlock, name: str, c: Index) -> Lane | None:
        """The weight of class or output c under this name; None if there are no such weights."""
        if name not in self.weights:
            return None
        return self.code.load_one(block.arguments.loss_constants, self.code.plus(c, self.weights[name]))

    # ---- over classes ----------------------------------------------------------------------------------------------
    def _of_classes(self, block: ColumnBlock, s: Index, target: ColumnTargets, share: Number) -> Lane:
        state = [self.code.lane(0.0)]
        for p in self.code.each(0, self.places, state):
            value = self._of_place(block, p, s, target, share)
            state[0] = value if self.places == 1 else state[0] + value
        return state[0]

    def _of_place(self, block: ColumnBlock, p: Index, s: Index, target: ColumnTargets, share: Number) -> Lane:
        """The loss of one place of a column; stores the gradients of its classes."""
        code, rule, last, classes = self.code, self.rule, block.plan.last, self.classes
        counts = target.counts(s)
        smooth = not is_zero(rule.label_smoothing)
        label = None if target.label is None else target.label(p, s)
        kept = None
        if label is not None and self.ignores:
            kept = label != self.ignored
        takes_scores = isinstance(rule, CrossEntropyLoss)

        def unit(c: Index) -> Index:
            return c if self.places == 1 else code.plus(code.times(c, self.places), p)

        if takes_scores:  # exp(x - largest) of each class is stored where its gradient will be
            largest, total = log_sum_exp(
                block,
                block.plan.output_offset,
                classes,
                s,
                unit,
                keep=lambda at, power: block.keep_gradient(code.plus(at, last.gradient_offset), s, power),
            )
            log_total, reciprocal = total.log(), 1.0 / total

        def log_p(c: Index) -> Lane:
            output = block.activation(code.plus(unit(c), block.plan.output_offset), s)
            if not takes_scores:
                return output
            scores: Lane = output - largest - log_total
            return scores.knowing(
                "exp", lambda: block.gradient(code.plus(unit(c), last.gradient_offset), s) * reciprocal
            )

        def q(c: Index) -> Lane:
            hit = None if label is None else code.lane(1.0).where(label == code.number(c), 0.0)
            probability = target.number(unit(c), s) if hit is None else hit
            weight = (
                code.load_one(block.arguments.loss_constants, code.plus(c, self.weights["weight"]))
                if "weight" in self.weights
                else None
            )
            wanted: Lane = call_formula(rule.target_probability, probability, weight, rule.label_smoothing, classes)
            return wanted if kept is None else wanted.where(kept, 0.0)

        mass = code.lane(1.0)
        if label is None or smooth or "weight" in self.weights or kept is not None:
            state = [code.lane(0.0)]
            for c in code.each(0, classes, state):
                state[0] = state[0] + q(c)
            mass = state[0]
        state = [code.lane(0.0)]
        for c in code.each(0, classes, state):
            scores, wanted = log_p(c), q(c)
            state[0] = state[0] + call_formula(rule.value, scores, wanted)
            gradient = call_formula(rule.derivative, scores, wanted, mass) * share
            block.keep_gradient(code.plus(unit(c), last.gradient_offset), s, masked(gradient, counts))
        return masked(state[0], counts)


def masked(x: Lane, counts: Mask | None) -> Lane:
    """x in lanes that hold a sample, 0 in others."""
    return x if counts is None else x.where(counts, 0.0)
