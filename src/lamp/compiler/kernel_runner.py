"""KernelRunner: the link between a model and the kernels that train it.

It decides which kernels a model needs (groups of replicas in replica lanes, the others one by one in sample lanes),
copies weights and optimizer state to and from them, and prepares the steps of epochs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.backends.cpu.target import CPU, NARROWEST, host
from lamp.compiler.coefficients import Limits, check_step_counts, coefficients, coefficients_of_step
from lamp.compiler.correct_counts import Answer
from lamp.compiler.eager_checks import check_batches, check_training_mode
from lamp.compiler.kernel import Kernel
from lamp.compiler.kernel_spec import Entry, KernelSpec
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.not_compiled import NotCompiled
from lamp.compiler.override_checks import check_overrides
from lamp.compiler.plan import may_differ_in_eval_mode, plan_of
from lamp.compiler.ragged_kernel_state import RaggedKernelState
from lamp.compiler.stages import Plan
from lamp.compiler.statistics import numbers_of as statistics_of_buffers
from lamp.compiler.statistics import store as store_statistics
from lamp.compiler.steps import Steps
from lamp.data.columns import check_memory
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.optim.blocks import Block
from lamp.optim.clipping import check_limits
from lamp.parameter import spans
from lamp.state import ALL

DTYPES = (torch.float32, torch.float64)
# The cost of a sample in sample lanes, relative to one in replica lanes: gradients are summed across lanes, and weights
# loaded one at a time. A group with too many unused lanes is therefore trained one by one.
ONE_BY_ONE = 1.3
CACHE = 2**22  # bytes; the parameters, gradients and states of a group beyond this do not stay in cache between steps


class KernelRunner:
    """The kernels for a model, with its weights and optimizer state in their layout.

    optimizer          None to measure losses (and outputs) in eval mode, or to compute gradients alone
    batches            the batch sizes that may occur
    labels             whether targets are class numbers
    ignores            whether some labels are ignored
    per_replica_order  whether each replica takes its own samples
    limits             "clip_norm" and "clip_value", if gradients are clipped
    keeps_outputs      whether the networks' outputs are stored
    answers            the kinds of predictions whose correct ones are counted
    threads            the number of threads; None for torch.get_num_threads()
    like               another runner of the same networks, whose memory of weights this one shares, to measure them
    plan               the plan of the model in training; None to make it, for rows of features
    entry              "step", or "gradients" of a batch alone, or the "update" by the gradients that the model has

    Raises NotCompiled for what the compiler does not support.
    """

    def __init__(
        self,
        model: Module,
        criterion: Loss,
        optimizer: Optimizer | None,
        *,
        batches: Sequence[int],
        labels: bool,
        ignores: bool = False,
        per_replica_order: bool = False,
        limits: Limits | None = None,
        keeps_outputs: bool = False,
        answers: Sequence[Answer] = (),
        threads: int | None = None,
        like: KernelRunner | None = None,
        plan: Plan | None = None,
        entry: Entry = "step",
    ) -> None:
        self.threads: int = like.threads if like is not None else threads or torch.get_num_threads()
        self.model, self.criterion, self.optimizer, self.entry = model, criterion, optimizer, entry
        learns = optimizer is not None or entry == "gradients"
        self.limits: Limits = limits or {}
        self.replicas = model.replicas
        if optimizer is not None:
            check_overrides(optimizer)
            if not optimizer.elementwise:
                raise NotCompiled(f"{type(optimizer).__name__} does not treat each number of the parameters by itself")
            check_step_counts(optimizer)
            check_limits(optimizer, self.limits.get("clip_norm"), self.limits.get("clip_value"))
        if learns and model.training:
            check_training_mode(model)
        if plan is None:
            plan = plan_of(model, learns)
        elif not learns and may_differ_in_eval_mode(plan, model):
            plan = plan_of(model, learns, plan.shapes)
        if entry != "update":  # which has no batch
            check_batches(plan, batches, learns)
        self.plan: Plan = plan
        self._spans = spans(plan.offsets)
        self.dtype = self._dtype()
        groups = [] if optimizer is None else optimizer.param_groups
        self._states = [() if optimizer is None else optimizer.state_names(group) for group in groups]
        self._step_count: tuple[int, ...] = ()
        self._in_one = optimizer is not None and len(optimizer.param_groups) == 1 and len(self._spans) == 1
        if self._in_one and optimizer is not None:  # then the states have the same layout as the weights
            self._in_one = [bounds for bounds, _ in self._pieces(optimizer, 0)] == [(0, self.plan.parameters)]
        if self.plan.sizes is not None and optimizer is not None and not self._in_one:
            raise NotCompiled("the networks are of several sizes, and their parameters are in several groups")
        self.together = 0  # the number of replicas that are trained in groups; the others are trained one by one
        rule = LossRule(criterion, self.plan.output_shape, labels, ignores)
        hyperparameters = tuple(name for name, _ in criterion.numbers())
        machine = host()
        self.groups_on: CPU = machine if like is None else like.groups_on
        kind = KernelState if self.plan.sizes is None else RaggedKernelState

        def kernel_state(one_network: bool, rows: range) -> KernelState:
            spec = KernelSpec(
                self.plan,
                rule,
                optimizer,
                self._ranges(),
                () if optimizer is None else self._own(optimizer, one_network),
                tuple(batches),
                one_network,
                per_replica_order,
                "clip_norm" in self.limits,
                "clip_value" in self.limits,
                hyperparameters,
                keeps_outputs,
                tuple(answers),
                self.dtype,
                entry,
            )
            return kind(Kernel(spec, machine if one_network else self.groups_on), spec, rows)

        self.kernel_states: list[KernelState] = []
        if self.replicas is None:
            self.kernel_states.append(kernel_state(True, range(1)))
        else:
            width = machine.lanes(self.dtype)
            if like is not None:
                together = like.together
            elif self.plan.sizes is not None:
                together = self.replicas
            else:
                fits = not self.plan.has_windows and self._group_bytes(width) <= CACHE
                together = _in_groups(self.replicas, width, max(batches), fits)
            self.together = together
            if like is None:
                self.groups_on = _narrowed(machine, self.dtype, together, self.threads)
            if together:
                self.kernel_states.append(kernel_state(False, range(together)))
            if together < self.replicas:
                self.kernel_states.append(kernel_state(True, range(together, self.replicas)))
        if like is None:
            self.load()
        else:
            for own, other in zip(self.kernel_states, like.kernel_states, strict=True):
                own.weights, own.loss_hyperparameters = other.weights, other.loss_hyperparameters

    # ---- what is compiled --------------------------------------------------------------------------------------
    def _dtype(self) -> torch.dtype:
        kinds = {(parameter.dtype, parameter.device.type) for span in self._spans for parameter in span.parameters}
        if len(kinds) != 1:
            raise NotCompiled("the parameters are of several dtypes or on several devices")
        ((dtype, device),) = kinds
        if device != "cpu" or dtype not in DTYPES:
            raise NotCompiled(f"the parameters are {dtype} on {device}; only float32 and float64 on cpu are compiled")
        return dtype

    def _group_bytes(self, width: int) -> int:
        """The bytes of a group of `width` networks: parameters, gradients and the optimizer's state."""
        states = (
            0
            if self.optimizer is None
            else max(len(self.optimizer.state_names(group)) for group in self.optimizer.param_groups)
        )
        return int(self.plan.parameters) * width * self.dtype.itemsize * (2 + states)

    def _ranges(self) -> list[list[tuple[int, int]]]:
        """For each parameter group, the ranges of its numbers among a network's P, adjacent ranges joined."""
        if self.optimizer is None:
            return []
        found = []
        for k in range(len(self.optimizer.param_groups)):
            ranges: list[tuple[int, int]] = []
            for start, stop in sorted(bounds for bounds, _ in self._pieces(self.optimizer, k)):
                if ranges and ranges[-1][1] == start:
                    ranges[-1] = (ranges[-1][0], stop)
                else:
                    ranges.append((start, stop))
            found.append(ranges)
        return found

    def _pieces(self, optimizer: Optimizer, k: int) -> Iterator[tuple[tuple[int, int], list[Block]]]:
        """The contiguous pieces of a parameter group: each one's range among a network's P numbers, and the optimizer's
        blocks of it."""
        for span, blocks in optimizer.pieces(k):
            start = self.plan.offsets.get(span.parameters[0])
            if start is None or any(parameter not in self.plan.offsets for parameter in span.parameters):
                raise NotCompiled("the optimizer has parameters that are not the network's")
            yield (start, start + span.data.shape[-1]), blocks

    def _own(self, optimizer: Optimizer, one_network: bool) -> list[Mapping[str, bool]]:
        columns = coefficients_of_step(optimizer, self.limits, 1, optimizer.step_count)
        return [{name: not one_network and column.shape[1] > 1 for name, column in named.items()} for named in columns]

    # ---- to and from the model ---------------------------------------------------------------------------------
    @property
    def is_current(self) -> bool:
        """Whether the model's parameters are still in the same memory."""
        return all(span.is_current for span in self._spans)

    def load(self) -> None:
        """Copy the weights, the optimizer's state and the loss's hyperparameters from the model."""
        for span in self._spans:
            check_memory(span.data, "parameters")
        parameters = _joined([span.data for span in self._spans])
        states: list[Tensor] = []
        if self.optimizer is not None:
            self._step_count = self.optimizer.step_count
            count = max(kernel_state.states for kernel_state in self.kernel_states)
            states = [torch.zeros_like(parameters) for _ in range(count)] if not self._in_one else []
            for k, group in enumerate(self.optimizer.param_groups):
                for (start, stop), blocks in self._pieces(self.optimizer, k):
                    for number, name in enumerate(self.optimizer.state_names(group)):
                        state = _joined([block.state[name] for block in blocks])
                        if self._in_one:
                            states.append(state)
                        else:
                            states[number][..., start:stop] = state
        size, held = self.plan.parameters, self.plan.statistics
        statistics = statistics_of_buffers(held, self.replicas, self.dtype) if held else None
        for kernel_state in self.kernel_states:
            kernel_state.load(parameters.view(-1, size), [state.view(-1, size) for state in states], statistics)
            if self.entry == "update":
                kernel_state.load_gradients(_joined([span.grad for span in self._spans]).view(-1, size))
            kernel_state.load_hyperparameters([numbers.to(self.dtype) for _, numbers in self.criterion.numbers()])

    def parameters(self, of: Sequence[Tensor] | None = None) -> Tensor:
        """The weights (K, P + S), running statistics last; of one network (1, P + S). Read from `of`, copies of each
        kernel state's weights, if given."""
        kept = [kernel_state.weights for kernel_state in self.kernel_states] if of is None else of
        pairs = list(zip(self.kernel_states, kept, strict=True))
        found = [_joined([state.parameters(self.plan.parameters, of=each) for state, each in pairs], 0)]
        if count := self.plan.statistic_count:
            found.append(_joined([state.statistics(count, of=each) for state, each in pairs], 0))
        return _joined(found)

    def store_weights(self, of: Sequence[Tensor] | None = None) -> None:
        """Copy the weights into the model; those in `of` (see `CallTable.weights`), if given."""
        now, start = self.parameters(of), 0
        for span in self._spans:
            stop = start + span.data.shape[-1]
            check_memory(span.data, "parameters")
            span.data.copy_(now[:, start:stop].view(span.data.shape))
            start = stop
        store_statistics(now[:, start:], self.plan.statistics, self.replicas)

    def _store_gradients(self) -> None:
        """Copy the gradients into the model, replacing those that were there, and the running statistics."""
        size = self.plan.parameters
        now, start = _joined([kernel_state.gradients(size) for kernel_state in self.kernel_states], 0), 0
        for span in self._spans:
            for parameter in span.parameters:
                stop = start + parameter.elements
                parameter.grad.copy_(now[:, start:stop].view(parameter.shape))  # dropped if it is frozen
                start = stop
        store_statistics(self.parameters()[:, size:], self.plan.statistics, self.replicas)

    def store(self) -> None:
        """Copy the results into the model: weights, running statistics and the optimizer's state; or gradients instead
        of weights and state, if entry says so."""
        if self.entry == "gradients":
            self._store_gradients()
            return
        self.store_weights()
        if self.optimizer is None:
            return
        size = self.plan.parameters
        count = max(kernel_state.states for kernel_state in self.kernel_states)
        now = [_joined([kernel_state.state(k, size) for kernel_state in self.kernel_states], 0) for k in range(count)]
        self.optimizer.step_count = self._step_count
        for k in range(len(self.optimizer.param_groups)):
            for (start, _), blocks in self._pieces(self.optimizer, k):
                for block in blocks:
                    stop = start + block.data.shape[-1]
                    for number, name in enumerate(self._states[k]):
                        if name in block.state:  # else the optimizer no longer uses it
                            block.state[name].copy_(now[number][:, start:stop].view(block.data.shape))
                    start = stop

    # ---- snapshots ---------------------------------------------------------------------------------------------
    def snapshot(self) -> list[Tensor]:
        """A copy of the weights and the optimizer's state."""
        return [memory.clone() for memory in self._memories()]

    def restore(self, snapshot: Sequence[Tensor]) -> None:
        """Go back to a snapshot. The caller resets the number of steps."""
        for memory, kept in zip(self._memories(), snapshot, strict=True):
            memory.copy_(kept)

    def _memories(self) -> Iterator[Tensor]:
        """The weights and the optimizer's state of each kernel state, alternating."""
        for kernel_state in self.kernel_states:
            yield from (kernel_state.weights, kernel_state.optimizer_state)

    def weights_in(self, snapshot: Sequence[Tensor]) -> Tensor:
        """The weights of a snapshot, (K, P + S)."""
        return self.parameters(snapshot[::2])

    def put(self, weights: Tensor, k: Any = ALL) -> None:
        """Copy weights (P + S,) into the model, in a population as those of replica k."""
        start = 0
        for span in self._spans:
            stop = start + span.data.shape[-1]
            span.data[k].copy_(weights[start:stop])
            start = stop
        store_statistics(weights[start:], self.plan.statistics, self.replicas, k)

    # ---- steps -------------------------------------------------------------------------------------------------
    @property
    def in_parts(self) -> bool:
        """Whether batches are split into parts for several threads."""
        return any(kernel_state.tiling.parts > 1 for kernel_state in self.kernel_states)

    def prepare(
        self,
        inputs: Tensor,
        targets: Tensor,
        order: Tensor,
        batch: int,
        epochs: int = 1,
        advance: Callable[[], None] | None = None,
    ) -> Steps:
        """The steps of some epochs, ready to run.

        inputs   (n, features), in the network's dtype
        targets  as `samples.numbers_of` returns them
        order    int32 (m,) or (K, m): the samples of all epochs, one epoch after another
        batch    samples per step
        advance  called after each step to advance a schedule that changes per batch
        """
        samples = order.shape[-1] // epochs
        steps = epochs * -(-samples // batch)
        columns = []
        if self.optimizer is not None:
            columns = coefficients(self.optimizer, self.limits, self._step_count, steps, advance)
        buffers_of = []
        for kernel_state in self.kernel_states:
            step_ranges = kernel_state.step_ranges(epochs, samples, batch)
            buffers_of.append((step_ranges, kernel_state.prepare(inputs, targets, order, columns, step_ranges)))
        return Steps(self.kernel_states, buffers_of, samples, batch, epochs, steps, self.threads)

    def count(self, steps: int) -> None:
        """Count so many steps as made, in the optimizer and in Dropout."""
        self._step_count = tuple(taken + steps for taken in self._step_count)
        for module, _ in self.plan.masks if self.entry != "update" else ():
            module.step += steps


def _joined(pieces: Sequence[Tensor], dim: int = -1) -> Tensor:
    """The pieces concatenated; a single piece is not copied."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim)


def _narrowed(machine: CPU, dtype: torch.dtype, networks: int, threads: int) -> CPU:
    """The CPU with the narrowest vectors that give no thread more groups than the widest would.

    Each lane computes the same bits in any vector, fewer lanes are unused, and many processors take half the time for a
    vector of half the width.
    """

    def each(vectors: CPU) -> int:
        return math.ceil(math.ceil(networks / vectors.lanes(dtype)) / threads)

    chosen = machine
    while chosen.bits > NARROWEST and each(host(chosen.bits // 2)) <= each(machine):
        chosen = host(chosen.bits // 2)
    return chosen


def _in_groups(replicas: int, width: int, batch: int, fits: bool) -> int:
    """How many replicas to train in groups of `width`; the others are trained one by one.

    None if what a step reads again and again does not fit in the cache. A remainder that would leave too many lanes of
    a group unused goes one by one.
    """
    alone = ONE_BY_ONE * -(-batch // width) * width  # the work for one network, in lane-samples of a group
    if not fits and alone < 2 * batch:
        return 0
    over = replicas % width
    return replicas - over if over * alone < width * batch else replicas
