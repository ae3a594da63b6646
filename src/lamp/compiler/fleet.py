"""Networks that one kernel trains: their numbers in its layout, and its calls.

In replica lanes W networks are a group, whose numbers are (P, W); in sample lanes a group is one network, (P,).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.compiler.kernel import Kernel
from lamp.compiler.tables import Columns, keys_of

ALIGNED = 64  # bytes: a vector of the widest kind


def aligned(size: int, dtype: torch.dtype) -> Tensor:
    """Zeros that begin where a vector may."""
    memory = torch.zeros(size * dtype.itemsize + ALIGNED, dtype=torch.uint8)
    start = -memory.data_ptr() % ALIGNED
    return memory[start : start + size * dtype.itemsize].view(dtype)


@dataclass
class Epoch:
    """What the steps of an epoch read and leave, in the kernel's layout. `steps` of `batch` samples, then `rest`."""

    inputs: Tensor
    targets: Tensor
    order: Tensor  # int32: (m + spare,) or (groups, m, W), in sample lanes (groups, m + spare)
    shared: Tensor  # (steps, C), in sample lanes (groups, steps, C)
    own: Tensor  # (groups, steps, C, W)
    keys: Tensor  # (groups, steps, dropouts, 2, W)
    losses: Tensor  # (groups, steps, W)
    outputs: Tensor  # (groups, columns of the epoch, outputs, W)
    batch: int


class Fleet:
    """The groups of some replicas, `rows`; `rows=None` is one network."""

    def __init__(self, kernel: Kernel, rows: Sequence[int] | None) -> None:
        self.kernel, self.rows = kernel, [0] if rows is None else list(rows)
        job, width = kernel.job, kernel.lanes
        self.width = 1 if job.one_network else width  # networks a group
        self.groups = -(-len(self.rows) // self.width)
        self.dtype = job.dtype
        self.states = max([len(names) for names in kernel.states], default=0)
        self.p = self._memory(kernel.numbers)
        self.s = self._memory(self.states * kernel.numbers)
        self.h = self._memory(max(len(job.hyperparameters), 1))
        self.k = aligned(max(len(job.loss.constants), 1), self.dtype)
        self.k[: len(job.loss.constants)] = torch.tensor(job.loss.constants, dtype=torch.float64)
        self._scratch = threading.local()
        self._nothing = aligned(1, self.dtype)

    def _memory(self, size: int) -> Tensor:
        """(groups, size, W), in sample lanes (groups, size)."""
        whole = -(-size * self.width * self.dtype.itemsize // ALIGNED) * ALIGNED // self.dtype.itemsize
        return aligned(self.groups * whole, self.dtype).view(self.groups, whole)

    def _in_lanes(self, values: Tensor) -> Tensor:
        """(all replicas, size) as (groups, size, W); spare lanes repeat the last."""
        spare = self.groups * self.width - len(self.rows)
        chosen = values[[*self.rows, *[self.rows[-1]] * spare]]
        return chosen.view(self.groups, self.width, -1).transpose(1, 2)

    def _of_lanes(self, memory: Tensor) -> Tensor:
        """(groups, size, W) as (its replicas, size)."""
        return memory.transpose(1, 2).reshape(self.groups * self.width, -1)[: len(self.rows)]

    # ---- the networks' numbers ---------------------------------------------------------------------------------
    def _places(self, memory: Tensor, start: int, size: int) -> Tensor:
        return memory[:, start * self.width : (start + size) * self.width].view(self.groups, size, self.width)

    def load(self, parameters: Tensor, states: Sequence[Tensor]) -> None:
        """Take over parameters (all replicas, P), and the optimizer's states, each like them."""
        size = parameters.shape[1]
        self._places(self.p, 0, size).copy_(self._in_lanes(parameters))
        for k, state in enumerate(states):
            self._places(self.s, k * self.kernel.numbers, size).copy_(self._in_lanes(state))

    def load_hyperparameters(self, numbers: Sequence[Tensor]) -> None:
        """Take over the loss's, each (all replicas,)."""
        if numbers:
            self._places(self.h, 0, len(numbers)).copy_(self._in_lanes(torch.stack(list(numbers), 1)))

    def parameters(self, size: int, of: Tensor | None = None) -> Tensor:
        """(its replicas, P); `of` an earlier moment."""
        return self._of_lanes(self._places(self.p if of is None else of, 0, size))

    def state(self, k: int, size: int) -> Tensor:
        """State k of all parameters, (its replicas, P)."""
        return self._of_lanes(self._places(self.s, k * self.kernel.numbers, size))

    # ---- an epoch ----------------------------------------------------------------------------------------------
    def prepare(
        self, inputs: Tensor, targets: Tensor, order: Tensor, columns: Columns, steps: int, batch: int
    ) -> Epoch:
        """Lay out what the steps of an epoch read. order: (m,), or (all replicas, m), int32."""
        job, width, lanes = self.kernel.job, self.width, self.kernel.lanes
        samples = order.shape[-1]
        if job.one_network:
            laid = torch.zeros(self.groups, samples + lanes, dtype=torch.int32)
            laid[:, :samples] = order if order.dim() == 1 else order[self.rows]
        else:
            laid = self._in_lanes(order) if order.dim() == 2 else order
        dropouts = job.plan.dropouts
        keys = torch.zeros(1, dtype=torch.int32)
        if dropouts:
            keys = self._in_lanes(keys_of(dropouts, range(dropouts[0].replicas or 1), steps).flatten(0, 2).t())
        full, rest = divmod(samples, batch)
        vectors = full * self.kernel.vectors_of(batch) + (self.kernel.vectors_of(rest) if rest else 0)
        outputs = vectors * job.plan.outputs * lanes if job.keeps_outputs else 1
        return Epoch(
            inputs,
            targets,
            laid.contiguous(),
            self._shared(columns, steps),
            self._own(columns, steps),
            keys.contiguous(),
            aligned(self.groups * steps * width, self.dtype).view(self.groups, -1),
            aligned(self.groups * outputs, self.dtype).view(self.groups, -1),
            batch,
        )

    def _shared(self, columns: Columns, steps: int) -> Tensor:
        """The coefficients that all replicas share (steps, C); in sample lanes each network's (groups, steps, C)."""
        wanted = [columns[group][name] for group, name in self.kernel.shared]
        if not wanted:
            return self._nothing
        if not self.kernel.job.one_network:
            return torch.cat(wanted, 1).to(self.dtype)
        each = [column[:, self.rows] if column.shape[1] > 1 else column.expand(-1, self.groups) for column in wanted]
        return torch.stack(each, 2).transpose(0, 1).to(self.dtype).contiguous()

    def _own(self, columns: Columns, steps: int) -> Tensor:
        wanted = [columns[group][name] for group, name in self.kernel.own]
        if not wanted:
            return self._nothing
        laid = self._in_lanes(torch.stack(wanted, 1).flatten(0, 1).t())  # (groups, steps C, W)
        memory = aligned(laid.numel(), self.dtype).view(self.groups, -1)
        memory.view_as(laid).copy_(laid)
        return memory

    def calls(self, epoch: Epoch, first: int, steps: int, batch: int) -> list[tuple[int, ...]]:
        """The arguments of the kernel for each group: `steps` steps from `first` on, of `batch` samples."""
        job, size, width, lanes = self.kernel.job, self.dtype.itemsize, self.width, self.kernel.lanes
        own_order = job.one_network or job.own_order
        order = epoch.order.data_ptr() + 4 * first * epoch.batch * (1 if job.one_network or not own_order else width)
        per_group = 4 * (epoch.order[0].numel() if own_order else 0)
        names, own = len(self.kernel.shared), len(self.kernel.own)
        shared_per_group = epoch.shared.shape[1] * names * size if job.one_network and names else 0
        outputs = first * self.kernel.vectors_of(epoch.batch) * job.plan.outputs * lanes if job.keeps_outputs else 0
        keys = first * len(job.plan.dropouts) * 2 * width
        keys_per_group = epoch.keys[0].numel() if job.plan.dropouts else 0
        data = epoch.inputs.data_ptr(), epoch.targets.data_ptr()
        return [
            (
                self.p[g].data_ptr(),
                self.s[g].data_ptr() if self.states else self._nothing.data_ptr(),
                *data,
                epoch.shared.data_ptr() + g * shared_per_group + first * names * size,
                (epoch.own[g].data_ptr() if own else self._nothing.data_ptr()) + first * own * width * size,
                self.h[g].data_ptr(),
                self.k.data_ptr(),
                epoch.losses[g].data_ptr() + first * width * size,
                epoch.outputs[g].data_ptr() + outputs * size,
                order + g * per_group,
                epoch.keys.data_ptr() + 4 * (g * keys_per_group + keys),
                steps,
                batch,
            )
            for g in range(self.groups)
        ]

    def run(self, call: tuple[int, ...]) -> None:
        """One call of the kernel, in whichever thread; each has scratch memory of its own."""
        scratch = getattr(self._scratch, "memory", None)
        if scratch is None:
            kernel = self.kernel
            sizes = (kernel.numbers, kernel.activations, kernel.gradients)
            scratch = self._scratch.memory = [aligned(size * kernel.lanes, self.dtype) for size in sizes]
        p, s, *others = call
        g, a, d = (memory.data_ptr() for memory in scratch)
        self.kernel.run(p, g, s, a, d, *others)

    # ---- what it left ------------------------------------------------------------------------------------------
    def losses(self, epoch: Epoch, steps: int) -> Tensor:
        """(steps, its replicas)."""
        return self._of_lanes(epoch.losses.view(self.groups, steps, self.width)).t()

    def outputs(self, epoch: Epoch, samples: int) -> Tensor:
        """(its replicas, samples, outputs)."""
        job, lanes = self.kernel.job, self.kernel.lanes
        count = job.plan.outputs
        laid = epoch.outputs.view(self.groups, -1, count, lanes)
        if not job.one_network:
            return laid.permute(0, 3, 1, 2).flatten(0, 1)[: len(self.rows)]
        by_sample = laid.transpose(2, 3).flatten(1, 2)  # (groups, columns W, outputs)
        full, rest = divmod(samples, epoch.batch)
        per_batch = self.kernel.vectors_of(epoch.batch) * lanes
        whole = by_sample[:, : full * per_batch].view(self.groups, full, per_batch, count)[:, :, : epoch.batch]
        return torch.cat([whole.flatten(1, 2), by_sample[:, full * per_batch :][:, :rest]], 1)
