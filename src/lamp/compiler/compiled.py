"""`lamp.compile`: the compiled engine as an object, for users who write their own training loop.

A model, a loss and an optimizer come in; a callable comes out that trains them in place. It checks the data and
compiles, when first called, a kernel for their shapes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.cache_key import staleness_key
from lamp.compiler.eager_checks import check_loss, run_eagerly
from lamp.compiler.kernel_runner import KernelRunner
from lamp.compiler.kernel_spec import Entry
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.lowering import listed
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.plan import plan_of
from lamp.compiler.samples import kind_of_targets, laid_out, numbers_of, shapes_of
from lamp.compiler.stages import Plan
from lamp.compiler.steps import Steps
from lamp.cpu_settings import denormals_flushed, threads_for
from lamp.data.columns import as_column, check_memory, is_several
from lamp.errors import ArgumentError, LampError, MissingNameError, ShapeError
from lamp.losses import Loss
from lamp.losses.classification import ClassLoss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.optim import Optimizer
from lamp.replicas import Population
from lamp.signatures import called
from lamp.tracing import takes_any_size, takes_one_input
from lamp.trees import flat, mapped
from lamp.values import natural

INSTEAD = {  # arguments of other frameworks' training calls, and what to write here
    "shuffle": "compiled(inputs, targets, torch.randperm(n)): the order of the samples",
    "epochs": "call it once per epoch",
    "batch_size": "pass it to lamp.compile(model, criterion, optimizer, batch_size)",
}


class Compiled:
    """A network, its loss and its optimizer as one function of machine code, which makes many steps per call.

    `lamp.compile(model, criterion, optimizer, batch_size)` returns one. Calling it trains the model in place (the first
    call tells the shape of a sample, where no Linear takes the inputs):

    losses = compiled(inputs, targets)          one epoch, the samples in their order
    losses = compiled(inputs, targets, order)   the samples with these indices, in this order, in batches

    A step can also be made in two halves, for example to average gradients over several machines in between:

    loss = compiled.gradients(inputs, targets)  computes the gradients of one batch, into the parameters' `grad`
    compiled.update()                           makes the optimizer's step by them

    Arrays and lists are converted as by `lamp.data.as_column`. Changes to the network, the loss or the optimizer take
    effect at the next call. A copied or unpickled object compiles again.

    Shapes  inputs (n, ...), several in a tuple   targets as the loss takes them for n samples
            order (m,) indices, any number of them   losses (steps,): the loss of each batch before its step
            A population also takes an order (K, m), one row per replica, and data (K, n, ...) with
            `per_replica_data=True`; its losses are (steps, K)

    The last batch is smaller if batch_size does not divide the number of samples. Nothing is checked between steps: if
    a loss is not finite, it is returned and the weights are lost (`lamp.fit` keeps the last good ones). A call trains
    whatever the mode of the model, with the masks of Dropout that the eager engine would draw.

    passes    what each pass of the compiler returned, as text
    llvm_ir   the generated code, as LLVM IR
    assembly  the same, as assembly for this processor

    Raises ArgumentError for an order whose indices or shape do not fit the data, and for what cannot be compiled (see
    `lamp.compile`); ShapeError for inputs and targets that do not fit together.
    """

    def __init__(self, model: Module, criterion: Loss, optimizer: Optimizer, batch_size: int) -> None:
        self.model, self.criterion, self.optimizer, self.batch_size = model, criterion, optimizer, batch_size
        self._forget()
        try:
            # Else the first call tells the sizes of axes, or of each input.
            if takes_one_input(model) and not any(map(takes_any_size, model.modules())):
                self._plan()
        except NotCompiled as reason:
            raise _explained(reason) from None

    def _forget(self) -> None:
        self._runners: dict[Entry, tuple[Hashable, KernelRunner]] = {}  # each with the kind of data that it is for
        self._made_from: Hashable = None
        self._shapes: tuple[Any, ...] | None = None  # of one sample's inputs; None before the first call

    def __getstate__(self) -> dict[str, Any]:
        """The arguments it was made with; a copy compiles again."""
        return {name: vars(self)[name] for name in ("model", "criterion", "optimizer", "batch_size")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _plan(self, shapes: tuple[Any, ...] | None = None) -> Plan:
        """The plan of the network as it is now. Raises NotCompiled if the network or the loss cannot be compiled."""
        plan = plan_of(self.model, shapes=shapes)
        if isinstance(self.criterion, ClassLoss):
            labels = torch.zeros(self.batch_size, *plan.output_shape[1:], dtype=torch.int64)
            check_loss(self.criterion, plan, labels, False, self.model.replicas, self.batch_size)
        LossRule(self.criterion, plan.output_shape, isinstance(self.criterion, ClassLoss))
        return plan

    def _current(self, entry: Entry = "step") -> KernelRunner | None:
        """The runner for this entry, if the network, the loss and the optimizer have not changed since it was made."""
        now = staleness_key(self.model, self.criterion, self.optimizer)
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
        plan: Plan,
    ) -> KernelRunner:
        """The runner for data of this kind, compiled if need be, with the model's present weights and state."""
        kind = (batches, labels, ignores, per_replica_order, threads, plan.shapes)
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
            plan=plan,
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
            expected="compiled(inputs, targets), which makes a training step per batch",
            got=name,
            fix=known.get(name, f"compiled.model.{name}, if the network has it"),
        )

    @called(instead=INSTEAD)
    def __call__(self, inputs: Any, targets: Any, order: Any = None, *, per_replica_data: bool = False) -> Tensor:
        return self._run("step", inputs, targets, order, per_replica_data)

    @called(instead=INSTEAD)
    def gradients(self, inputs: Any, targets: Any, *, per_replica_data: bool = False) -> Tensor:
        """The loss of these samples as one batch; computes the gradients of the parameters.

        They replace the gradients that were there (`parameter.grad`), and may be changed before `update` makes the
        step. Nothing is checked: a loss that is not finite is returned.

        Shapes  inputs and targets as in a call   loss (), of a population (K,)

        Raises what a call raises.
        """
        return self._run("gradients", inputs, targets, None, per_replica_data)[0]

    @called()
    def update(self) -> None:
        """Make the optimizer's step by the gradients in the parameters. Raises ArgumentError if it cannot be
        compiled."""
        threads = torch.get_num_threads()
        with threads_for(0), denormals_flushed():
            known = self._current("update")
            try:
                plan = self._plan(self._shapes) if known is None else known.plan
                runner = self._prepare("update", (1,), False, False, False, threads, plan)
            except NotCompiled as reason:
                raise _explained(reason) from None
            nothing = torch.zeros(1, plan.features, dtype=plan.dtype)  # an update reads no samples, so these stand in
            steps = runner.prepare(nothing, nothing, torch.zeros(1, dtype=torch.int32), 1)
            _run(runner, steps)

    def _run(self, entry: Entry, inputs: Any, targets: Any, order: Any, per_replica_data: bool) -> Tensor:
        """Run a call; returns the losses of its steps. "gradients" takes all samples as one batch."""
        replicas = self.model.replicas
        inputs, targets = _columns(inputs), as_column(targets, "targets")
        check_memory(targets, "targets")
        samples = self._check_samples(flat(inputs), targets, per_replica_data)
        self._shapes = shapes = shapes_of(inputs, per_replica_data)
        taken = self._places(order, samples, per_replica_data)
        length = taken.shape[-1]
        size = length if entry == "gradients" else min(self.batch_size, length)
        rest = {length % size} - {0}
        threads = torch.get_num_threads()
        with threads_for(0), denormals_flushed():  # torch's own threads would slow down the kernel's
            known = self._current(entry)
            try:
                plan = self._plan(shapes) if known is None or shapes != known.plan.shapes else known.plan
                features = laid_out(plan, inputs, per_replica_data)
                labels, ignores = kind_of_targets(self.criterion, plan, targets, per_replica_data)
                if known is None:
                    check_loss(self.criterion, plan, targets, per_replica_data, replicas, size)
                runner = self._prepare(entry, (size, *rest), labels, ignores, taken.dim() == 2, threads, plan)
            except NotCompiled as reason:
                raise self._refused(reason, inputs, targets, per_replica_data) from None
            numbers = numbers_of(targets, per_replica_data, features.dtype)
            steps = runner.prepare(features, numbers, taken.to(torch.int32, copy=True), size)
            _run(runner, steps)
        return steps.losses if replicas is not None else steps.losses[:, 0]

    def _check_samples(self, inputs: Sequence[Tensor], targets: Tensor, per_replica_data: bool) -> int:
        """The number of samples. Raises ShapeError if inputs and targets do not fit together."""
        replicas, columns = self.model.replicas, [*inputs, targets]
        shapes = f"inputs {', '.join(str(tuple(x.shape)) for x in inputs)}, targets {tuple(targets.shape)}"
        if per_replica_data and (replicas is None or any(each.shape[0] != replicas for each in columns)):
            raise ShapeError(
                "data per replica must begin with the axis of replicas",
                expected=f"({replicas}, n, ...)" if replicas else "a population",
                got=shapes,
                fix="per_replica_data=False, if all replicas share the data"
                if replicas
                else "leave per_replica_data out",
            )
        rows = int(per_replica_data)  # the axis of samples
        if any(each.dim() <= rows or each.shape[rows] != targets.shape[rows] for each in reversed(columns)):
            raise ShapeError(
                "inputs and targets differ in length",
                expected="one target per input",
                got=shapes,
                fix="select the same samples in both",
            )
        return targets.shape[rows]

    def _refused(
        self, reason: NotCompiled, inputs: tuple[Any, ...], targets: Tensor, per_replica_data: bool
    ) -> LampError:
        """The error for what cannot be compiled: the eager engine's own error if it refuses the batch too."""
        rows = slice(reason.row, reason.row + self.batch_size)
        *x, target = mapped((*inputs, targets), lambda each: each[:, rows] if per_replica_data else each[rows])
        if isinstance(self.model, Population):
            x = mapped(x, self.model.per_replica if per_replica_data else self.model.shared)
        try:
            run_eagerly(self.model, self.criterion, x, target)
        except LampError as error:
            return error
        return _explained(reason)

    def _places(self, given: Any, samples: int, per_replica_data: bool) -> Tensor:
        """The indices of the samples, checked: (m,) or (K, m). Raises ArgumentError for indices that do not fit."""
        replicas = self.model.replicas
        order = torch.arange(samples) if given is None else given
        order = order if isinstance(order, Tensor) else as_column(order, "order")
        if order.is_floating_point() or order.dtype is torch.bool or order.dim() not in (1, 2) or not order.numel():
            raise ArgumentError(
                "an order consists of indices of samples",
                expected="integers (m,)" + ("" if replicas is None else f" or ({replicas}, m)"),
                got=f"{tuple(order.shape)}, {order.dtype}",
                fix="mask.nonzero().flatten() turns a mask into indices",
            )
        if order.dim() == 2 and order.shape[0] != replicas:
            raise ArgumentError(
                "an order for another number of replicas",
                expected="(m,)" if replicas is None else f"(m,) or ({replicas}, m)",
                got=tuple(order.shape),
                fix="pass one row of indices per replica",
            )
        low, high = (0, samples - 1) if given is None else map(int, order.aminmax())
        if low < 0 or high >= samples:
            raise ArgumentError(
                "an index of the order is out of range",
                expected=f"from 0 to {samples - 1} for {samples} samples",
                got=low if low < 0 else high,
                fix="check how the order was made",
            )
        if not per_replica_data:
            return order
        assert replicas is not None
        return order.expand(replicas, -1) + torch.arange(0, replicas * samples, samples).unsqueeze(1)

    @property
    def passes(self) -> str:
        """What each pass of the compiler returned: the graph, the stages, the stages with offsets, and per kernel the
        tiling and the segments."""
        runner = self._compiled
        tilings = "\n".join(
            f"{state.tiling}\n{listed(state.spec.plan, {**state.tiling.heads, **state.tiling.couplings})}"
            for state in runner.kernel_states
        )
        stages = runner.plan.without_offsets()
        return "\n\n".join(map(str, (runner.plan.graph, stages, runner.plan, tilings)))

    @property
    def llvm_ir(self) -> str:
        """The generated functions, as LLVM IR."""
        return "\n".join(
            kernel_state.kernel.llvm_ir(kernel_state.spec) for kernel_state in self._compiled.kernel_states
        )

    @property
    def assembly(self) -> str:
        """The functions, as assembly for this processor."""
        return "\n".join(
            kernel_state.kernel.assembly(kernel_state.spec) for kernel_state in self._compiled.kernel_states
        )

    @property
    def _compiled(self) -> KernelRunner:
        if (current := self._current()) is not None:
            return current
        labels = isinstance(self.criterion, ClassLoss)
        try:
            return self._prepare(
                "step", (self.batch_size,), labels, False, False, torch.get_num_threads(), self._plan()
            )
        except NotCompiled as reason:
            raise _explained(reason) from None


def _columns(inputs: Any) -> tuple[Any, ...]:
    """The inputs as tensors, nested as the network takes them."""

    def column(each: Any) -> Any:
        if is_several(each):
            return tuple(map(column, each))
        tensor = as_column(each, "inputs")
        check_memory(tensor, "inputs")
        return tensor

    return tuple(map(column, inputs)) if is_several(inputs) else (column(inputs),)


def _run(runner: KernelRunner, steps: Steps) -> None:
    """Make the steps, and copy the results into the model and the optimizer."""
    steps.run(0, steps.count)
    runner.count(steps.count)
    runner.store()


def _explained(reason: NotCompiled) -> ArgumentError:
    return ArgumentError(
        "this cannot be compiled",
        expected="the modules, losses and optimizers that lamp.compile lists",
        got=str(reason),
        fix="lamp.fit, whose eager engine trains every model",
    )


def described(given: object) -> str:
    """A wrong argument, as errors name it: its class, or that it is a class."""
    kind = given if isinstance(given, type) else type(given)
    return f"{'the class' if isinstance(given, type) else 'a'} {kind.__module__}.{kind.__qualname__}"


@called()
def compile(model: Module, criterion: Loss | None, optimizer: Optimizer, batch_size: int) -> Compiled:
    """The network, its gradient, the loss and the optimizer, compiled to one function of machine code.

    model       a network of Linear, convolutions, pools (MaxPool, AvgPool, LPPool, adaptive ones), pads, LayerNorm,
                RMSNorm, GroupNorm, InstanceNorm, BatchNorm, LocalResponseNorm, RNN, LSTM, GRU and their cells,
                elementwise activations, Dropout, Softmax, LogSoftmax, GLU, Bilinear, CosineSimilarity,
                PairwiseDistance, Upsample, Fold, Unfold, Embedding, EmbeddingBag, MultiheadAttention,
                TransformerEncoder, Flatten and Identity, in a row or with branches that `lamp.trace` can follow, with
                one input or several; or a population of such networks. float32 or float64, on the CPU
    criterion   any of lamp's losses; None for a Sequential that ends in its loss
    optimizer   any of lamp's optimizers, with the model's parameters; its hyperparameters are read at each call
    batch_size  samples per step

    Raises ArgumentError for what cannot be compiled; the message says why in one line.
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
                expected=f"a lamp.{kind.__name__}",
                got="None" if given is None else described(given),
                fix=fix,
            )
    assert criterion is not None
    return Compiled(model, criterion, optimizer, natural(batch_size, "batch_size", least=1))
