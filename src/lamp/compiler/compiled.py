"""`lamp.compile`: the compiled engine for people with a loop of their own."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.kernel_spec import Entry
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.plan import plan_of
from lamp.compiler.refusals import check_loss, try_eagerly
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of
from lamp.compiler.sources import sources
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled
from lamp.compiler.steps import Steps
from lamp.cpu_settings import denormals_flushed, threads_for
from lamp.data import as_column
from lamp.errors import ArgumentError, LampError, MissingNameError, ShapeError
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer
from lamp.replicas import Population
from lamp.signatures import called
from lamp.values import natural

INSTEAD = {  # arguments that others' training calls take
    "shuffle": "compiled(inputs, targets, torch.randperm(n)): the order of the samples",
    "epochs": "call it once for each epoch",
    "batch_size": "lamp.compile(model, criterion, optimizer, batch_size) has it",
}


class Compiled:
    """A network, its loss and its optimizer as one function of machine code, which makes many steps in one call.

    `lamp.compile(model, criterion, optimizer, batch_size)` makes one. Calling it trains in place:

    losses = compiled(inputs, targets)          an epoch, the samples as they stand
    losses = compiled(inputs, targets, order)   the samples at these places, batch after batch

    A step may also be made in two halves, between which something may stand (gradients from other machines, say):

    loss = compiled.gradients(inputs, targets)  the gradients of one batch, in the parameters
    compiled.update()                           the optimizer's step by them

    Arrays and lists convert as in `lamp.data.as_column`. What becomes of the network, the loss or the optimizer between
    calls holds from the next one on; a copy, or what was pickled, compiles anew.

    Shapes  inputs (n, features); targets as the loss takes them for n samples; order (m,), of any length: indices.
            Of a population order may be (K, m), each replica's own, and data (K, n, ...) with `per_replica_data=True`.
            losses (steps,), the loss of each batch before its step; of a population (steps, K)

    The last batch is smaller where batch_size does not divide the samples. Nothing is checked between the steps: a loss
    that is not finite is returned, and the weights are lost (`lamp.fit` keeps the last good ones).
    The model is in training mode for the call, Dropout's masks are those that the eager engine would draw.

    passes    what each pass of the compiler made, as text
    llvm_ir   what was generated, and `assembly`: what LLVM made of it for this processor

    Raises ArgumentError for an order that names no samples or is for another number of replicas, and what cannot be
    compiled: see `lamp.compile`.
    """

    def __init__(self, model: Module, criterion: Loss, optimizer: Optimizer, batch_size: int) -> None:
        self.model, self.criterion, self.optimizer, self.batch_size = model, criterion, optimizer, batch_size
        self._forget()
        try:
            self._plan()
        except NotCompiled as reason:
            raise _explained(reason) from None

    def _forget(self) -> None:
        self._runners: dict[Entry, tuple[Hashable, KernelRunner]] = {}  # and the kind of data that each is for
        self._made_from: Hashable = None
        self._shape: tuple[int, ...] | None = None  # of one sample's input, once there was one

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of: a copy compiles anew."""
        return {name: vars(self)[name] for name in ("model", "criterion", "optimizer", "batch_size")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _plan(self, shape: tuple[int, ...] | None = None) -> Plan:
        """The network as it is now. Raises NotCompiled where it, or the loss, is not compiled."""
        plan = plan_of(self.model, shape=shape)
        if isinstance(self.criterion, ClassLoss):
            labels = torch.zeros(self.batch_size, dtype=torch.int64)
            check_loss(self.criterion, plan, labels, False, self.model.replicas, self.batch_size)
        LossRule(self.criterion, plan.outputs, isinstance(self.criterion, ClassLoss))
        return plan

    def _current(self, entry: Entry = "step") -> KernelRunner | None:
        """The runner, while it is what the network, the loss and the optimizer ask for."""
        now = sources(self.model, self.criterion, self.optimizer)
        if now != self._made_from:
            self._runners, self._made_from = {}, now
        _, runner = self._runners.get(entry, (None, None))
        return runner if runner is not None and runner.is_current else None

    def _prepare(
        self,
        entry: Entry,
        batches: tuple[int, ...],
        labels: bool,
        ignores: bool,
        per_replica_order: bool,
        threads: int,
        shape: tuple[int, ...] | None = None,
    ) -> KernelRunner:
        """The runner for data of this kind, with the weights and the state as they are now."""
        kind = (batches, labels, ignores, per_replica_order, threads, shape)
        known, runner = self._runners.get(entry, (None, None))
        if runner is not None and kind == known and runner.is_current:
            runner.load()
            return runner
        runner = KernelRunner(
            self.model,
            self.criterion,
            None if entry == "gradients" else self.optimizer,
            batches=batches,
            labels=labels,
            ignores=ignores,
            per_replica_order=per_replica_order,
            threads=threads,
            shape=shape,
            entry=entry,
        )
        self._runners[entry] = kind, runner
        return runner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        known = {"parameters": "compiled.model.parameters()", "state_dict": "compiled.model.state_dict()"}
        raise MissingNameError(
            f"a compiled network has no attribute {name!r}",
            expected="compiled(inputs, targets), which goes forward, back and makes a step for each batch",
            got=name,
            fix=known.get(name, f"compiled.model.{name}, where the network has it"),
        )

    @called(instead=INSTEAD)
    def __call__(self, inputs: Any, targets: Any, order: Any = None, *, per_replica_data: bool = False) -> Tensor:
        return self._run("step", inputs, targets, order, per_replica_data)

    @called(instead=INSTEAD)
    def gradients(self, inputs: Any, targets: Any, *, per_replica_data: bool = False) -> Tensor:
        """The loss of these samples, as one batch of any size. Its gradients stand in the parameters afterwards.

        They take the place of what was there, and may be changed (`parameter.grad`) before `update` makes the step.
        Nothing is checked: a loss that is not finite is returned, as by a call.

        Shapes  as of a call; the loss is a number, or of a population (K,)
        """
        return self._run("gradients", inputs, targets, None, per_replica_data)[0]

    @called()
    def update(self) -> None:
        """The optimizer's step by the gradients that stand in the parameters."""
        threads = torch.get_num_threads()
        with threads_for(0), denormals_flushed():
            self._current("update")
            try:
                runner = self._prepare("update", (1,), False, False, False, threads, self._shape)
            except NotCompiled as reason:
                raise _explained(reason) from None
            plan = runner.plan
            nothing = torch.zeros(1, plan.features, dtype=plan.dtype)  # an update reads no samples
            steps = runner.prepare(nothing, nothing, torch.zeros(1, dtype=torch.int32), 1)
            _run(runner, steps)

    def _run(self, entry: Entry, inputs: Any, targets: Any, order: Any, per_replica_data: bool) -> Tensor:
        """The losses of the steps: an epoch's, or for gradients alone of all samples as one batch."""
        replicas = self.model.replicas
        inputs, targets = as_column(inputs, "inputs"), as_column(targets, "targets")
        samples = self._check_samples(inputs, targets, per_replica_data)
        self._shape = shape = tuple(inputs.shape[1 + per_replica_data :])
        taken = self._places(order, samples, per_replica_data)
        length = taken.shape[-1]
        size = length if entry == "gradients" else min(self.batch_size, length)
        rest = {length % size} - {0}
        threads = torch.get_num_threads()
        with threads_for(0), denormals_flushed():  # torch's own threads would be in the way of the kernel's
            known = self._current(entry)
            try:
                plan = self._plan(shape) if known is None or shape != known.plan.input_shape else known.plan
                features = laid_out(plan, inputs, per_replica_data)
                labels, ignores = kind_of_targets(self.criterion, plan, targets, per_replica_data)
                if known is None:
                    check_loss(self.criterion, plan, targets, per_replica_data, replicas, size)
                runner = self._prepare(entry, (size, *rest), labels, ignores, taken.dim() == 2, threads, shape)
            except NotCompiled as reason:
                raise self._refused(reason, inputs, targets, per_replica_data) from None
            numbers = numbers_of(targets, per_replica_data, features.dtype)
            steps = runner.prepare(features, numbers, taken.to(torch.int32, copy=True), size)
            _run(runner, steps)
        return steps.losses if replicas is not None else steps.losses[:, 0]

    def _check_samples(self, inputs: Tensor, targets: Tensor, per_replica_data: bool) -> int:
        """How many samples there are. Raises ShapeError where inputs and targets do not fit together."""
        replicas = self.model.replicas
        if per_replica_data and (replicas is None or inputs.shape[0] != replicas or targets.shape[0] != replicas):
            raise ShapeError(
                "data of their own begin with the axis of replicas",
                expected=f"({replicas}, n, ...)" if replicas else "a population",
                got=f"inputs {tuple(inputs.shape)}, targets {tuple(targets.shape)}",
                fix="per_replica_data=False, where all replicas share the data"
                if replicas
                else "leave per_replica_data out",
            )
        rows = int(per_replica_data)  # the axis of samples
        if inputs.dim() <= rows or targets.dim() <= rows or inputs.shape[rows] != targets.shape[rows]:
            raise ShapeError(
                "inputs and targets differ in length",
                expected="a target for each input",
                got=f"inputs {tuple(inputs.shape)}, targets {tuple(targets.shape)}",
                fix="select the same samples in both",
            )
        return inputs.shape[rows]

    def _refused(self, reason: NotCompiled, inputs: Tensor, targets: Tensor, per_replica_data: bool) -> LampError:
        """The error for what is not compiled: the eager engine's, if that does not take it either."""
        rows = slice(reason.row, reason.row + self.batch_size)
        x, target = (each[:, rows] if per_replica_data else each[rows] for each in (inputs, targets))
        if isinstance(self.model, Population):
            x = self.model.per_replica(x) if per_replica_data else self.model.shared(x)
        try:
            try_eagerly(self.model, self.criterion, [x], target)
        except LampError as error:
            return error
        return _explained(reason)

    def _places(self, given: Any, samples: int, per_replica_data: bool) -> Tensor:
        """The rows that the steps take, checked: (m,) or (K, m)."""
        replicas = self.model.replicas
        order = torch.arange(samples) if given is None else given
        order = order if isinstance(order, Tensor) else as_column(order, "places")
        if order.is_floating_point() or order.dtype is torch.bool or order.dim() not in (1, 2) or not order.numel():
            raise ArgumentError(
                "an order is the places of samples",
                expected="integers (m,)" + ("" if replicas is None else f" or ({replicas}, m)"),
                got=f"{tuple(order.shape)}, {order.dtype}",
                fix="mask.nonzero().flatten() makes places of a mask",
            )
        if order.dim() == 2 and order.shape[0] != replicas:
            raise ArgumentError(
                "an order for another number of replicas",
                expected="(m,)" if replicas is None else f"(m,) or ({replicas}, m)",
                got=tuple(order.shape),
                fix="one row of places for each replica",
            )
        low, high = (int(each) for each in order.aminmax())
        if low < 0 or high >= samples:
            raise ArgumentError(
                "an index names no sample",
                expected=f"from 0 to {samples - 1} for {samples} samples",
                got=low if low < 0 else high,
                fix="look at how the order was made",
            )
        if not per_replica_data:
            return order
        assert replicas is not None
        return order.expand(replicas, -1) + torch.arange(0, replicas * samples, samples).unsqueeze(1)

    @property
    def passes(self) -> str:
        """What each pass of the compiler makes of the network: a graph, stages, places, and how kernels are cut."""
        runner = self._compiled
        tilings = "\n".join(str(state.tiling) for state in runner.kernel_states)
        stages = runner.plan.without_places()
        return "\n\n".join(map(str, (runner.plan.graph, stages, runner.plan, tilings)))

    @property
    def llvm_ir(self) -> str:
        """The functions as they were generated: in LLVM's intermediate representation."""
        return "\n".join(
            kernel_state.kernel.llvm_ir(kernel_state.spec) for kernel_state in self._compiled.kernel_states
        )

    @property
    def assembly(self) -> str:
        """The functions as this processor runs them."""
        return "\n".join(
            kernel_state.kernel.assembly(kernel_state.spec) for kernel_state in self._compiled.kernel_states
        )

    @property
    def _compiled(self) -> KernelRunner:
        if (current := self._current()) is not None:
            return current
        labels = isinstance(self.criterion, ClassLoss)
        try:
            return self._prepare("step", (self.batch_size,), labels, False, False, torch.get_num_threads())
        except NotCompiled as reason:
            raise _explained(reason) from None


def _run(runner: KernelRunner, steps: Steps) -> None:
    """Make the steps, and put what comes of them into the model and the optimizer."""
    steps.run(0, steps.count)
    runner.count(steps.count)
    runner.store()


def _explained(reason: NotCompiled) -> ArgumentError:
    return ArgumentError(
        "this cannot be compiled",
        expected="what lamp.compile lists",
        got=str(reason),
        fix="lamp.fit trains everything; its eager engine is the modules themselves",
    )


def described(given: object) -> str:
    """A wrong argument, as an error says it."""
    kind = given if isinstance(given, type) else type(given)
    return f"{'the class' if isinstance(given, type) else 'a'} {kind.__module__}.{kind.__qualname__}"


@called()
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
    for what, given, kind, fix in (
        ("model", model, Module, "lamp.Sequential(...)"),
        ("loss", criterion, Loss, "an instance, such as lamp.CrossEntropyLoss()"),
        ("optimizer", optimizer, Optimizer, "an instance, such as lamp.Adam(model.parameters())"),
    ):
        if not isinstance(given, kind):
            raise ArgumentError(
                f"there is no {what} to compile",
                expected=f"lamp's own kind of {what}",
                got="None" if given is None else described(given),
                fix=fix,
            )
    assert criterion is not None
    return Compiled(model, criterion, optimizer, natural(batch_size, "batch_size", least=1))
