"""The memory of the networks that one kernel trains: their parameters and states in its layout, and its calls.

A kernel is called once per group. In replica lanes a group is W networks, with arrays (P, W); in sample lanes a group
is one network, with arrays (P,). KernelState converts between tensors with one row per replica and this layout.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.compiler.arguments import LINE, KernelArguments
from lamp.compiler.coefficients import Columns, keys_of
from lamp.compiler.kernel import Kernel
from lamp.compiler.kernel_spec import KernelSpec

# The columns of a call table (the kernel's address, then its arguments) that hold the addresses of scratch memory.
SCRATCH = [1 + KernelArguments._fields.index(name) for name in ("gradients", "activations", "activation_gradients")]

ALIGNED = 64  # bytes of the widest vector


def aligned(size: int, dtype: torch.dtype) -> Tensor:
    """Zeros (size,) whose address is a multiple of the widest vector."""
    memory = torch.zeros(size + ALIGNED // dtype.itemsize, dtype=dtype)
    start = -memory.data_ptr() % ALIGNED // dtype.itemsize
    return memory[start : start + size]


def _address(memory: Tensor, group: int) -> int:
    """Where the numbers of a group begin, in memory (groups, ...)."""
    return memory.data_ptr() + group * memory.stride(0) * memory.element_size()


@dataclass(frozen=True)
class StepRange:
    """Consecutive steps of one batch size: steps first, ..., first + count - 1.

    batch   samples per step
    at      the position of the first sample in the order of all samples
    column  the first column in the outputs of all steps
    """

    first: int
    count: int
    batch: int
    at: int
    column: int


@dataclass
class KernelBuffers:
    """The arrays that the steps of some epochs read and write, in the kernel's layout."""

    inputs: Tensor
    targets: Tensor
    order: Tensor  # int32: (m,) or (groups, m, W), in sample lanes (groups, columns W)
    shared: Tensor  # (steps, C), in sample lanes (groups, steps, C)
    per_replica: Tensor  # (groups, steps, C, W)
    keys: Tensor  # (groups, steps, masks, 2, W)
    losses: Tensor  # (groups, steps, parts, W)
    outputs: Tensor  # (groups, columns, outputs, W)
    right: Tensor  # (groups, steps, parts, answers, W)


class KernelState:
    """The memory of the replicas `rows`, a contiguous range, which one kernel trains in groups.

    weights               (groups, numbers) in sample lanes, (groups, numbers W) in replica lanes: the parameters, then
                          the running statistics
    optimizer_state       as many as the parameters for each of the optimizer's states, one after another
    kept_gradients        the gradients, if the kernel makes half a step; in a whole step they are scratch memory
    loss_hyperparameters  the loss's hyperparameters that differ between replicas
    sizes                 (groups, hidden layers, 1 + W) the widths of hidden layers, if networks differ in them
    """

    def __init__(self, kernel: Kernel, spec: KernelSpec, rows: range) -> None:
        self.kernel, self.spec, self.rows, self.tiling = kernel, spec, rows, kernel.tiling
        width = self.tiling.lanes
        self.width = 1 if spec.one_network else width  # networks per group
        self.groups = -(-len(self.rows) // self.width)
        self.dtype = spec.dtype
        self.states = max([len(names) for names in spec.states], default=0)
        self.weights = self._memory(self.tiling.numbers + spec.plan.statistic_count)
        self.optimizer_state = self._memory(self.states * self.tiling.numbers)
        self.kept_gradients = None if spec.entry == "step" else self._memory(self.tiling.parts * self.tiling.numbers)
        self.loss_hyperparameters = self._memory(max(len(spec.hyperparameters), 1))
        self.loss_constants = aligned(max(len(spec.loss.constants), 1), self.dtype)
        self.loss_constants[: len(spec.loss.constants)] = torch.tensor(spec.loss.constants, dtype=torch.float64)
        self.constants = spec.plan.constants.to(self.dtype)
        self._mine = threading.local()
        self._nothing = aligned(1, self.dtype)
        self.sizes = torch.zeros(self.groups, 1, dtype=torch.int32)

    def _memory(self, size: int) -> Tensor:
        """New memory (groups, size W) in replica lanes, (groups, size) in sample lanes."""
        whole = -(-size * self.width * self.dtype.itemsize // ALIGNED) * ALIGNED // self.dtype.itemsize
        return aligned(self.groups * whole, self.dtype).view(self.groups, whole)

    def _in_lanes(self, values: Tensor) -> Tensor:
        """(all replicas, size) -> (groups, size, W). Unused lanes repeat the last replica."""
        spare = self.groups * self.width - len(self.rows)
        chosen = self._of_replicas(values)
        if self.width == 1:
            return chosen.flatten(1).unsqueeze(2)
        if spare:
            chosen = torch.cat([chosen, chosen[-1:].expand(spare, -1)])
        return chosen.reshape(self.groups, self.width, -1).transpose(1, 2)

    def _of_replicas(self, values: Tensor) -> Tensor:
        """(all replicas, ...) -> (own replicas, ...), in the order of the lanes."""
        return values[self.rows[0] : self.rows[-1] + 1]

    def _of_lanes(self, memory: Tensor) -> Tensor:
        """(groups, size, W) -> (own replicas, size)."""
        if self.width == 1:
            return memory.squeeze(2)
        return memory.transpose(1, 2).reshape(self.groups * self.width, -1)[: len(self.rows)]

    # ---- the networks' numbers ---------------------------------------------------------------------------------
    def _places(self, memory: Tensor, start: int, size: int) -> Tensor:
        return memory[:, start * self.width : (start + size) * self.width].view(self.groups, size, self.width)

    def load(self, parameters: Tensor, states: Sequence[Tensor], statistics: Tensor | None) -> None:
        """Copy parameters (all replicas, P), the optimizer's states, each of the same shape, and running statistics
        (all replicas, S) into the layout."""
        self._lay(self.weights, 0, parameters)
        if statistics is not None:
            self._places(self.weights, self.tiling.numbers, statistics.shape[1]).copy_(self._in_lanes(statistics))
        for k, state in enumerate(states):
            self._lay(self.optimizer_state, k, state)

    def load_gradients(self, gradients: Tensor) -> None:
        """Copy gradients (all replicas, P) into the layout, for a kernel that only updates."""
        assert self.kept_gradients is not None
        self._lay(self.kept_gradients, 0, gradients)

    def _lay(self, memory: Tensor, k: int, values: Tensor) -> None:
        """Copy numbers (all replicas, P) into the k-th array of each group."""
        self._places(memory, k * self.tiling.numbers, values.shape[1]).copy_(self._in_lanes(values))

    def load_hyperparameters(self, numbers: Sequence[Tensor]) -> None:
        """Copy the loss's hyperparameters, each (all replicas,), into the layout."""
        if numbers:
            laid = self._in_lanes(torch.stack(list(numbers), 1))
            self._places(self.loss_hyperparameters, 0, len(numbers)).copy_(laid)

    def parameters(self, size: int, of: Tensor | None = None) -> Tensor:
        """The parameters (own replicas, P); read from `of`, a copy of `weights`, if given."""
        return self._of_lanes(self._places(self.weights if of is None else of, 0, size))

    def statistics(self, size: int, of: Tensor | None = None) -> Tensor:
        """The running statistics (own replicas, S), likewise."""
        return self._of_lanes(self._places(self.weights if of is None else of, self.tiling.numbers, size))

    def gradients(self, size: int) -> Tensor:
        """The gradients (own replicas, P), summed over the parts of the batch."""
        assert self.kept_gradients is not None
        parts, each = self.tiling.parts, self.tiling.numbers * self.width
        first, *others = self.kept_gradients[:, : parts * each].chunk(parts, 1)
        for other in others:
            first = first + other
        return self.parameters(size, of=first)

    def state(self, k: int, size: int) -> Tensor:
        """The optimizer's k-th state, (own replicas, P)."""
        return self._of_lanes(self._places(self.optimizer_state, k * self.tiling.numbers, size))

    # ---- steps -------------------------------------------------------------------------------------------------
    def step_ranges(self, epochs: int, samples: int, batch: int) -> list[StepRange]:
        """The steps of some epochs of so many samples: full batches, and a smaller last one where samples remain."""
        batch = min(batch, samples)
        full, rest = divmod(samples, batch)
        if not rest:
            return [StepRange(0, epochs * full, batch, 0, 0)]
        found, column = [], 0
        for epoch in range(epochs):
            first, at = epoch * (full + 1), epoch * samples
            for step_range in (
                StepRange(first, full, batch, at, column),
                StepRange(first + full, 1, rest, at + full * batch, column + full * self.tiling.vectors_of(batch)),
            ):
                found.append(step_range)
                column = step_range.column + step_range.count * self.tiling.vectors_of(step_range.batch)
        return found

    def prepare(
        self, inputs: Tensor, targets: Tensor, order: Tensor, columns: Columns, step_ranges: Sequence[StepRange]
    ) -> KernelBuffers:
        """The buffers of these steps. order: int32 (m,) or (all replicas, m), the samples of all epochs."""
        spec, width, lanes = self.spec, self.width, self.tiling.lanes
        last = step_ranges[-1]
        steps = last.first + last.count
        if spec.one_network:
            rows = order.expand(1, -1) if order.dim() == 1 else order[self.rows[0] : self.rows[-1] + 1]
            laid = torch.cat([self._in_vectors(rows, step_range) for step_range in step_ranges], 1)
            laid = laid.expand(self.groups, -1)
        else:
            laid = self._in_lanes(order) if order.dim() == 2 else order
        masks = spec.plan.masks
        keys = torch.zeros(1, dtype=torch.int32)
        if masks:
            keys = self._in_lanes(keys_of(masks, range(masks[0][0].replicas or 1), steps).flatten(0, 2).t())
        vectors = last.column + last.count * self.tiling.vectors_of(last.batch)
        outputs = vectors * spec.plan.outputs * lanes if spec.keeps_outputs else 1
        return KernelBuffers(
            inputs,
            targets,
            laid.contiguous(),
            self._shared(columns, steps),
            self._own(columns, steps),
            keys.contiguous(),
            aligned(self.groups * steps * width * self.tiling.parts, self.dtype).view(self.groups, -1),
            aligned(self.groups * outputs, self.dtype).view(self.groups, -1),
            aligned(self.groups * steps * self._counts, self.dtype).view(self.groups, steps * self._counts),
        )

    def _in_vectors(self, rows: Tensor, step_range: StepRange) -> Tensor:
        """The samples of each batch, padded to whole vectors with the last sample, which the kernel then masks."""
        batches = rows[:, step_range.at : step_range.at + step_range.count * step_range.batch].unflatten(
            1, (step_range.count, -1)
        )
        spare = self.tiling.vectors_of(step_range.batch) * self.tiling.lanes - step_range.batch
        if spare:
            batches = torch.cat([batches, batches[:, :, -1:].expand(-1, -1, spare)], 2)
        vectors: Tensor = batches.flatten(1)
        return vectors

    def _shared(self, columns: Columns, steps: int) -> Tensor:
        """The coefficients that all replicas share, (steps, C). In sample lanes all are, per network:
        (groups, steps, C)."""
        wanted = [columns[group][name] for group, name in self.spec.shared_coefficients]
        if not wanted:
            return self._nothing
        if not self.spec.one_network:
            return torch.cat(wanted, 1).to(self.dtype)
        mine = slice(self.rows[0], self.rows[-1] + 1)
        each = [column[:, mine] if column.shape[1] > 1 else column for column in wanted]
        if self.groups == 1:
            return torch.cat(each, 1).to(self.dtype).unsqueeze(0)
        each = [column.expand(-1, self.groups) for column in each]
        return torch.stack(each, 2).transpose(0, 1).to(self.dtype).contiguous()

    def _own(self, columns: Columns, steps: int) -> Tensor:
        wanted = [columns[group][name] for group, name in self.spec.replica_coefficients]
        if not wanted:
            return self._nothing
        laid = self._in_lanes(torch.stack(wanted, 1).flatten(0, 1).t())  # (groups, steps C, W)
        memory = aligned(laid.numel(), self.dtype).view(self.groups, -1)
        memory.view_as(laid).copy_(laid)
        return memory

    def calls(self, buffers: KernelBuffers, step_range: StepRange) -> list[KernelArguments]:
        """The arguments of the kernel for these steps, per group. Scratch memory and counters are left 0."""
        spec, size, width, lanes = self.spec, self.dtype.itemsize, self.width, self.tiling.lanes
        per_replica_order = spec.one_network or spec.per_replica_order
        at = step_range.column * lanes if spec.one_network else step_range.at * (width if per_replica_order else 1)
        order = buffers.order.data_ptr() + 4 * at
        per_group = 4 * (buffers.order[0].numel() if per_replica_order else 0)
        names, own, first = len(self.spec.shared_coefficients), len(self.spec.replica_coefficients), step_range.first
        shared_per_group = buffers.shared.shape[1] * names * size if spec.one_network and names else 0
        outputs = step_range.column * spec.plan.outputs * lanes if spec.keeps_outputs else 0
        keys = first * len(spec.plan.masks) * 2 * width
        keys_per_group = buffers.keys[0].numel() if spec.plan.masks else 0
        return [
            KernelArguments(
                parameters=_address(self.weights, g),
                gradients=0 if self.kept_gradients is None else _address(self.kept_gradients, g),
                states=_address(self.optimizer_state, g) if self.states else self._nothing.data_ptr(),
                activations=0,
                activation_gradients=0,
                inputs=buffers.inputs.data_ptr(),
                targets=buffers.targets.data_ptr(),
                shared_coefficients=buffers.shared.data_ptr() + g * shared_per_group + first * names * size,
                replica_coefficients=(_address(buffers.per_replica, g) if own else self._nothing.data_ptr())
                + first * own * width * size,
                loss_hyperparameters=_address(self.loss_hyperparameters, g),
                loss_constants=self.loss_constants.data_ptr(),
                constants=self.constants.data_ptr(),
                losses=_address(buffers.losses, g) + first * width * self.tiling.parts * size,
                outputs=_address(buffers.outputs, g) + outputs * size,
                right_answers=buffers.right.data_ptr() + (g * buffers.right.shape[1] + first * self._counts) * size,
                order=order + g * per_group,
                keys=buffers.keys.data_ptr() + 4 * (g * keys_per_group + keys),
                steps=step_range.count,
                batch=step_range.batch,
                sizes=_address(self.sizes, g),
                counters=0,
            )
            for g in range(self.groups)
        ]

    def run(self, call: KernelArguments) -> None:
        """Call the kernel, with the scratch memory of the calling thread."""
        mine = self._memory_of_thread(gradients=True)
        mine.counters.zero_()
        self.run_with(mine.gradients, mine.counters, call)

    def table(self, buffers: KernelBuffers, epochs: int, of_epoch: Callable[[int], Sequence[StepRange]]) -> Tensor:
        """The calls of all epochs, int64 (groups, epochs, calls per epoch, 1 + arguments).

        A row is the kernel's address and its arguments. Scratch memory is left 0 (see `use_scratch`).
        """

        def given(epoch: int) -> Tensor:
            return torch.tensor([self.calls(buffers, step_range) for step_range in of_epoch(epoch)]).transpose(0, 1)

        first = given(0)
        each = given(1) - first if epochs > 1 else torch.zeros_like(first)  # every address moves by a fixed amount
        table = torch.zeros(self.groups, epochs, first.shape[1], 1 + first.shape[2], dtype=torch.int64)
        table[..., 0] = self.kernel.machine_code.address("train")
        table[..., 1:] = first.unsqueeze(1) + torch.arange(epochs).view(-1, 1, 1) * each.unsqueeze(1)
        return table

    def use_scratch(self, table: Tensor) -> None:
        """Write the calling thread's scratch memory into the rows of a call table. For a kernel with one part."""
        mine = self._memory_of_thread(gradients=True)
        for column, memory in zip(SCRATCH, (mine.gradients, *mine.activations), strict=True):
            table[..., column] = memory.data_ptr()

    def gradient_memory(self) -> Tensor:
        """New memory for the gradients of one group."""
        return aligned(self.tiling.parts * self.tiling.numbers * self.width, self.dtype)

    def coupled_scratch(self) -> list[Tensor] | None:
        """The memory of the calling thread for activations and their gradients, if all threads of a team need it,
        because what one computes the others read; else None."""
        scratch: list[Tensor] = self._memory_of_thread().activations
        return scratch if self.tiling.couplings else None

    def run_with(
        self, gradients: Tensor, counters: Tensor, call: KernelArguments, scratch: list[Tensor] | None = None
    ) -> None:
        """Call the kernel. Several threads may do so together, with the same gradients and counters (0 at first).

        scratch  memory for activations and their gradients; None for that of the calling thread
        """
        activations, activation_gradients = scratch or self._memory_of_thread().activations
        arguments = call._replace(
            gradients=call.gradients or gradients.data_ptr(),
            activations=activations.data_ptr(),
            activation_gradients=activation_gradients.data_ptr(),
            counters=counters.data_ptr(),
        )
        self.kernel.run(*arguments)

    def _memory_of_thread(self, gradients: bool = False) -> Any:
        """The scratch memory of the calling thread, allocated when it is first needed."""
        mine = self._mine
        if not hasattr(mine, "activations"):
            mine.activations = [
                aligned(size * self.tiling.lanes * self.tiling.chunks, self.dtype)
                for size in (self.tiling.activations, self.tiling.gradients)
            ]
            mine.gradients = None
        if gradients and mine.gradients is None:
            mine.gradients, mine.counters = self.gradient_memory(), torch.zeros(2 * LINE // 8, dtype=torch.int64)
        return mine

    @property
    def _counts(self) -> int:
        """The number of counts of correct predictions per step and group."""
        return self.tiling.parts * len(self.spec.answers) * self.width

    # ---- results -----------------------------------------------------------------------------------------------
    def losses(self, buffers: KernelBuffers, steps: int) -> Tensor:
        """The losses (steps, own replicas)."""
        of_parts = buffers.losses.view(self.groups, steps, self.tiling.parts, self.width)
        return self._of_lanes(of_parts.sum(2)).t()

    def right(self, buffers: KernelBuffers, steps: int) -> Tensor:
        """The numbers of correct predictions (steps, answers, own replicas)."""
        answers, replicas = len(self.spec.answers), len(self.rows)
        if not answers:
            return torch.zeros(steps, 0, replicas, dtype=self.dtype)
        of_parts = buffers.right.view(self.groups, steps, self.tiling.parts, answers * self.width)
        by_step = self._of_lanes(of_parts.sum(2).view(self.groups, steps * answers, self.width)).t()
        return by_step.reshape(steps, answers, replicas)

    def outputs(self, buffers: KernelBuffers, step_ranges: Sequence[StepRange]) -> Tensor:
        """The networks' outputs (own replicas, samples of all steps, outputs)."""
        spec, lanes = self.spec, self.tiling.lanes
        count = spec.plan.outputs
        laid = buffers.outputs.view(self.groups, -1, count, lanes)
        if not spec.one_network:
            by_replica: Tensor = self._of_lanes(laid.flatten(1, 2)).unflatten(1, (-1, count))
            return by_replica
        by_sample = laid.transpose(2, 3)  # (groups, columns, W, outputs)
        found = []
        for step_range in step_ranges:
            vectors = self.tiling.vectors_of(step_range.batch)
            part = by_sample[:, step_range.column : step_range.column + step_range.count * vectors]
            part = part.reshape(self.groups, step_range.count, vectors * lanes, count)[:, :, : step_range.batch]
            found.append(part.flatten(1, 2))
        return torch.cat(found, 1)
