"""`lamp.compile`: the compiled engine for people with a loop of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.compiler.loss_rules import LossRule
from lamp.compiler.plan import plan_of
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of
from lamp.compiler.stand_ins import NotCompiled
from lamp.compiler.tables import options_of
from lamp.compiler.trainer import Trainer
from lamp.errors import ArgumentError, ShapeError
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer
from lamp.processor import denormals_flushed, threads_for
from lamp.replicas import Population


class Compiled:
    """A network, its loss and its optimizer as one function of machine code, which makes many steps in one call.

    `lamp.compile(model, criterion, optimizer, batch_size)` makes one. Calling it trains in place:

    losses = compiled(inputs, targets)          an epoch, the samples as they stand
    losses = compiled(inputs, targets, order)   the samples at these places, batch after batch

    Shapes  inputs (n, features); targets as the loss takes them for n samples; order (m,), of any length: indices.
            Of a population order may be (K, m), each replica's own, and data (K, n, ...) with `own_data=True`.
            losses (steps,), the loss of each batch before its step; of a population (steps, K)

    The last batch is smaller where batch_size does not divide the samples. Nothing is checked between the steps: a loss
    that is not finite is returned, and the weights are lost (`lamp.fit` keeps the last good ones).
    The model is in training mode for the call, Dropout's masks are those that the eager engine would draw.

    llvm_ir   what was generated, and `assembly`: what LLVM made of it for this processor

    Raises ArgumentError for an order that names no samples or is for another number of replicas, and what cannot be
    compiled: see `lamp.compile`.
    """

    def __init__(self, model: Module, criterion: Loss, optimizer: Optimizer, batch_size: int) -> None:
        self.model, self.criterion, self.optimizer, self.batch_size = model, criterion, optimizer, batch_size
        self._trainer: Trainer | None = None
        self._kind: Any = None
        try:
            self._plan = plan_of(model)
            LossRule(criterion, self._plan.outputs, isinstance(criterion, ClassLoss))
        except NotCompiled as reason:
            raise _explained(reason) from reason

    def _prepare(
        self,
        batches: tuple[int, ...],
        labels: bool,
        ignores: bool,
        own_order: bool,
        threads: int,
        shape: tuple[int, ...] | None = None,
    ) -> Trainer:
        """The trainer for data of this kind, with the weights and the state as they are now."""
        kind = (batches, labels, ignores, own_order, threads, shape, options_of(self.optimizer))
        if self._trainer is not None and kind == self._kind and self._trainer.is_current:
            self._trainer.load()
            return self._trainer
        try:
            self._trainer = Trainer(
                self.model,
                self.criterion,
                self.optimizer,
                batches=batches,
                labels=labels,
                ignores=ignores,
                own_order=own_order,
                threads=threads,
                shape=shape,
            )
        except NotCompiled as reason:
            raise _explained(reason) from reason
        self._kind = kind
        return self._trainer

    def __call__(
        self, inputs: Tensor, targets: Tensor, order: Tensor | None = None, *, own_data: bool = False
    ) -> Tensor:
        replicas = self.model.replicas
        if own_data and (replicas is None or inputs.shape[0] != replicas or targets.shape[0] != replicas):
            raise ShapeError(
                "data of their own begin with the axis of replicas",
                expected=f"({replicas}, n, ...)" if replicas else "a population",
                got=f"inputs {tuple(inputs.shape)}, targets {tuple(targets.shape)}",
            )
        shape = tuple(inputs.shape[1 + own_data :])
        try:
            plan = self._plan if shape == self._plan.input_shape else plan_of(self.model, shape=shape)
            rows = laid_out(plan, inputs, own_data)
            labels, ignores = kind_of_targets(self.criterion, plan, targets, own_data)
        except NotCompiled as reason:
            raise _explained(reason) from reason
        samples = inputs.shape[1] if own_data else inputs.shape[0]
        numbers = numbers_of(targets, own_data, rows.dtype)
        if len(numbers) != len(rows):
            raise ShapeError("inputs and targets differ in length", expected=len(rows), got=len(numbers))
        taken = self._places(order, samples, own_data)
        size, length = min(self.batch_size, taken.shape[-1]), taken.shape[-1]
        rest = {length % size} - {0}
        threads = torch.get_num_threads()
        with threads_for(0), denormals_flushed():  # torch's own threads would be in the way of the kernel's
            trainer = self._prepare((size, *rest), labels, ignores, taken.dim() == 2, threads, shape)
            steps = trainer.prepare(rows, numbers, taken.to(torch.int32), size)
            steps.run(0, steps.count)
            trainer.count(steps.count)
            trainer.store()
        return steps.losses if replicas is not None else steps.losses[:, 0]

    def _places(self, order: Tensor | None, samples: int, own_data: bool) -> Tensor:
        """The rows that the steps take, checked: (m,) or (K, m)."""
        replicas = self.model.replicas
        if order is None:
            order = torch.arange(samples)
        if order.is_floating_point() or order.dim() not in (1, 2) or not order.numel():
            raise ArgumentError("an order is indices", expected="integers (m,)", got=f"{tuple(order.shape)}")
        if order.dim() == 2 and order.shape[0] != replicas:
            raise ArgumentError(
                "an order for another number of replicas",
                expected="(m,)" if replicas is None else f"(m,) or ({replicas}, m)",
                got=tuple(order.shape),
            )
        low, high = (int(each) for each in order.aminmax())
        if low < 0 or high >= samples:
            raise ArgumentError(
                "an index names no sample", expected=f"from 0 to {samples - 1}", got=low if low < 0 else high
            )
        if not own_data:
            return order
        assert replicas is not None
        return order.expand(replicas, -1) + torch.arange(0, replicas * samples, samples).unsqueeze(1)

    @property
    def llvm_ir(self) -> str:
        """The functions as they were generated: in LLVM's intermediate representation."""
        return "\n".join(fleet.kernel.machine_code.llvm_ir for fleet in self._compiled.fleets)

    @property
    def assembly(self) -> str:
        """The functions as this processor runs them."""
        return "\n".join(fleet.kernel.machine_code.assembly for fleet in self._compiled.fleets)

    @property
    def _compiled(self) -> Trainer:
        if self._trainer is None:
            self._prepare(
                (self.batch_size,), isinstance(self.criterion, ClassLoss), False, False, torch.get_num_threads()
            )
        assert self._trainer is not None
        return self._trainer


def _explained(reason: NotCompiled) -> ArgumentError:
    return ArgumentError(
        "this cannot be compiled",
        expected="what lamp.compile lists",
        got=str(reason),
        fix="lamp.fit trains everything; its eager engine is the modules themselves",
    )


def compile(model: Module, criterion: Loss | None, optimizer: Optimizer, batch_size: int) -> Compiled:
    """The network, its gradient, the loss and the optimizer as one function of machine code.

    model      a network of Linear, elementwise activations, Dropout, Softmax, LogSoftmax, Flatten and Identity, in a
               row or with branches that `lamp.trace` follows; or a population of such; float32 or float64, on the CPU
    criterion  any loss of lamp's; None for a Sequential that ends in its loss
    optimizer  any of lamp's, of the model's parameters; its hyperparameters are read anew at each call

    Raises ArgumentError that says in one line what cannot be compiled.
    """
    if criterion is None and isinstance(model, Sequential | Population) and model.loss is not None:
        model, criterion = model.body, model.loss
    if criterion is None:
        raise ArgumentError("there is no loss to compile", expected="a criterion", got="None")
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ArgumentError("batch_size is a count", expected="an integer of at least 1", got=batch_size)
    return Compiled(model, criterion, optimizer, batch_size)
