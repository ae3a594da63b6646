"""A network or a population in machine code: what is compiled for it, where its numbers lie, and its epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lamp.compiler.backends.cpu.target import CPU, NARROWEST, host
from lamp.compiler.coefficients import Limits, coefficients
from lamp.compiler.correct_counts import Answer
from lamp.compiler.kernel import Kernel
from lamp.compiler.kernel_spec import Entry, KernelSpec
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.plan import plan_of
from lamp.compiler.ragged_kernel_state import RaggedKernelState
from lamp.compiler.refusals import look_at_modes
from lamp.compiler.stages import Plan
from lamp.compiler.stand_ins import NotCompiled, look_for_overrides
from lamp.compiler.steps import Steps
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.optim.blocks import Block
from lamp.optim.clipping import check_limits
from lamp.parameter import spans

DTYPES = (torch.float32, torch.float64)
# In sample lanes a network's gradients are added up across lanes, and its weights fetched one at a time: so much more
# work a sample is than a lane of its own. A group of which fewer lanes are taken than that pays for goes one by one.
ONE_BY_ONE = 1.3
CACHE = 2**22  # bytes of a group's numbers beyond which each step fetches them from memory anew


class KernelRunner:
    """The machine code of a job and the networks it trains; raises NotCompiled for what it cannot.

    optimizer  None: nothing is learned, losses (and outputs) are measured, in eval mode; None too for gradients alone
    batches    how many samples steps may have
    targets    some targets, of the kind that will come
    per_replica_order  whether each replica takes samples of its own
    limits     "clip_norm" and "clip_value", where gradients are clipped
    answers    how outputs are read to count right answers
    threads    that its steps are made on; None: as many as torch may use now (torch itself needs one while they are)
    shape      of one sample's input, where it is no row of features
    like       a runner of the same networks, whose weights are measured where they lie
    entry      "step", or "gradients" of a batch alone, or the "update" by the gradients that the model has
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
        shape: Sequence[int] | None = None,
        entry: Entry = "step",
    ) -> None:
        self.threads: int = like.threads if like is not None else threads or torch.get_num_threads()
        self.model, self.criterion, self.optimizer, self.entry = model, criterion, optimizer, entry
        learns = optimizer is not None or entry == "gradients"
        self.limits: Limits = limits or {}
        self.replicas = model.replicas
        self._spans = spans(model.parameters())
        if optimizer is not None:
            look_for_overrides(optimizer)
            check_limits(optimizer, self.limits.get("clip_norm"), self.limits.get("clip_value"))
        if learns and model.training:
            look_at_modes(model)
        self.plan: Plan = plan_of(model, learns, shape)
        self.dtype = self._dtype()
        groups = [] if optimizer is None else optimizer.param_groups
        self._states = [() if optimizer is None else optimizer.state_names(group) for group in groups]
        self._step_count: tuple[int, ...] = ()
        self._in_one = optimizer is not None and len(optimizer.param_groups) == 1 and len(self._spans) == 1
        if self._in_one and optimizer is not None:  # then the states lie as the weights do
            self._in_one = [bounds for bounds, _ in self._pieces(optimizer, 0)] == [(0, self.plan.parameters)]
        if self.plan.sizes is not None and optimizer is not None and not self._in_one:
            raise NotCompiled("the networks are of several sizes, and their parameters in several groups")
        self.together = 0  # how many replicas are trained in groups
        rule = LossRule(criterion, self.plan.outputs, labels, ignores)
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
                together = _in_groups(self.replicas, width, max(batches), self._group_bytes(width))
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
            raise NotCompiled(f"the parameters are {dtype} on {device}; the compiler knows float32 and float64 on cpu")
        return dtype

    def _group_bytes(self, width: int) -> int:
        """What the numbers of a group take: parameters, gradients and the optimizer's state."""
        states = (
            0
            if self.optimizer is None
            else max(len(self.optimizer.state_names(group)) for group in self.optimizer.param_groups)
        )
        return int(self.plan.parameters) * width * self.dtype.itemsize * (2 + states)

    def _ranges(self) -> list[list[tuple[int, int]]]:
        """Where the parameters of each group lie among a network's P numbers, neighbours as one."""
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
        """Where each piece of a group lies among a network's P numbers, and the optimizer's blocks of it."""
        for span, blocks in optimizer.pieces(k):
            start = self.plan.places.get(span.parameters[0])
            if start is None or any(parameter not in self.plan.places for parameter in span.parameters):
                raise NotCompiled("the optimizer has parameters that are not the network's")
            yield (start, start + span.data.shape[-1]), blocks

    def _own(self, optimizer: Optimizer, one_network: bool) -> list[Mapping[str, bool]]:
        columns = coefficients(optimizer, self.limits, optimizer.step_count, 1)
        return [{name: not one_network and column.shape[1] > 1 for name, column in named.items()} for named in columns]

    # ---- to and from the model ---------------------------------------------------------------------------------
    @property
    def is_current(self) -> bool:
        """Whether the model's parameters still lie where they did."""
        return all(span.is_current for span in self._spans)

    def load(self) -> None:
        """Take over the weights and the optimizer's state as they are now."""
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
        size = self.plan.parameters
        for kernel_state in self.kernel_states:
            kernel_state.load(parameters.view(-1, size), [state.view(-1, size) for state in states])
            if self.entry == "update":
                kernel_state.load_gradients(_joined([span.grad for span in self._spans]).view(-1, size))
            kernel_state.load_hyperparameters([numbers.to(self.dtype) for _, numbers in self.criterion.numbers()])

    def parameters(self, of: Sequence[Tensor] | None = None) -> Tensor:
        """The weights as they are now, or were, (K, P); of one network (1, P)."""
        kept = [kernel_state.weights for kernel_state in self.kernel_states] if of is None else of
        pairs = zip(self.kernel_states, kept, strict=True)
        return _joined([kernel_state.parameters(self.plan.parameters, of=each) for kernel_state, each in pairs], 0)

    def store_weights(self, of: Sequence[Tensor] | None = None) -> None:
        """Copy the weights into the model; those in `of` (see `CallTable.weights`) in place of the present ones."""
        now, start = self.parameters(of), 0
        for span in self._spans:
            stop = start + span.data.shape[-1]
            span.data.copy_(now[:, start:stop].view(span.data.shape))
            start = stop

    def _store_gradients(self) -> None:
        """Put the gradients into the model, in place of what was there."""
        size = self.plan.parameters
        now, start = _joined([kernel_state.gradients(size) for kernel_state in self.kernel_states], 0), 0
        for span in self._spans:
            for parameter in span.parameters:
                stop = start + parameter.size
                parameter.grad.copy_(now[:, start:stop].view(parameter.shape))  # a frozen one's is nobody's
                start = stop

    def store(self) -> None:
        """Put the weights into the model, and the state into the optimizer; or the gradients, where they are all."""
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
                        if name in block.state:  # else it is not asked for any more
                            block.state[name].copy_(now[number][:, start:stop].view(block.data.shape))
                    start = stop

    # ---- weights of a moment -----------------------------------------------------------------------------------
    def snapshot(self) -> list[Tensor]:
        """The weights and the state as they are now."""
        return [memory.clone() for memory in self._memories()]

    def restore(self, snapshot: Sequence[Tensor]) -> None:
        """Go back to a snapshot (the steps are counted by the caller)."""
        for memory, kept in zip(self._memories(), snapshot, strict=True):
            memory.copy_(kept)

    def _memories(self) -> Iterator[Tensor]:
        """The weights and the optimizer's state of each kernel state."""
        for kernel_state in self.kernel_states:
            yield from (kernel_state.weights, kernel_state.optimizer_state)

    def weights_in(self, snapshot: Sequence[Tensor]) -> Tensor:
        """The weights of a snapshot, (K, P)."""
        return self.parameters(snapshot[::2])

    def put(self, k: int, weights: Tensor) -> None:
        """Put weights (P,) into the model as those of replica k."""
        start = 0
        for span in self._spans:
            stop = start + span.data.shape[-1]
            span.data[k].copy_(weights[start:stop])
            start = stop

    # ---- steps -------------------------------------------------------------------------------------------------
    @property
    def in_parts(self) -> bool:
        """Whether a network's batch is cut into parts, for several threads."""
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
        """Lay out the steps of some epochs: inputs (n, features) and targets in the network's dtype.

        order    (m,) or (K, m), int32: the samples of all epochs, one after another
        advance  the schedule's step, where it is called after each batch
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
        """So many steps have been made."""
        self._step_count = tuple(taken + steps for taken in self._step_count)
        for module in self.plan.dropouts if self.entry != "update" else ():
            module.step += steps


def _joined(pieces: Sequence[Tensor], dim: int = -1) -> Tensor:
    """Pieces one after another; the one there is, as it lies."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim)


def _narrowed(machine: CPU, dtype: torch.dtype, networks: int, threads: int) -> CPU:
    """Vectors as narrow as gives no thread more groups than the widest would: what a lane computes is the same, less is
    computed for nothing, and many processors make half a vector in half the time."""

    def each(vectors: CPU) -> int:
        return math.ceil(math.ceil(networks / vectors.lanes(dtype)) / threads)

    chosen = machine
    while chosen.bits > NARROWEST and each(host(chosen.bits // 2)) <= each(machine):
        chosen = host(chosen.bits // 2)
    return chosen


def _in_groups(replicas: int, width: int, batch: int, group_bytes: int) -> int:
    """How many replicas go in groups of `width`: none where a group leaves the cache; those too few to fill one do not.

    The others go one by one.
    """
    alone = ONE_BY_ONE * -(-batch // width) * width  # the work of one, in lanes of a sample
    if group_bytes > CACHE and alone < 2 * batch:
        return 0
    over = replicas % width
    return replicas - over if over * alone < width * batch else replicas
