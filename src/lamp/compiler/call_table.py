"""CallTable: epochs of training, each followed by copies and measurements, that run without Python in between.

The calls of several kernels are written into one table per group, which a compiled function works through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from lamp.compiler.arguments import KernelArguments
from lamp.compiler.backends.cpu.calls import copy, in_turn
from lamp.compiler.kernel_state import KernelState
from lamp.compiler.steps import Steps
from lamp.compiler.threads import on_threads


class CallTable:
    """The calls of some epochs. After each epoch of `train` comes the same epoch of `measure`, with the weights as they
    are then.

    weights  the parameters after each epoch, one tensor (epochs, groups, numbers) per kernel state, if `keep_weights`
    """

    def __init__(self, train: Steps, measure: Steps | None, keep_weights: bool) -> None:
        self.train, self.epochs = train, train.epochs
        self.weights: list[Tensor] = []
        self._work: list[
            tuple[Tensor, Sequence[tuple[KernelState | None, int]]]
        ] = []  # per group, its table, and which kernel state each run of rows belongs to (None: a copy)
        for k, kernel_state in enumerate(train.kernel_states):
            tables: list[tuple[KernelState | None, Tensor]] = [(kernel_state, train.table(k))]
            if keep_weights:
                self.weights.append(torch.empty(self.epochs, *kernel_state.weights.shape, dtype=kernel_state.dtype))
                tables.append((None, _copies(kernel_state.weights, self.weights[-1])))
            if measure is not None:
                tables.append((measure.kernel_states[k], measure.table(k)))
            whose = [(owner, table.shape[2]) for owner, table in tables]
            self._work += [(of_group, whose) for of_group in torch.cat([table for _, table in tables], 2)]

    def run(self, begun: Callable[[], None]) -> None:
        """Run all epochs on the threads of `train`. `begun` is called once all threads have started."""
        bounds = self.train.cuts(0, self.epochs)
        work = [[partial(_run, table[a:b], whose) for a, b in bounds] for table, whose in self._work]
        on_threads(work, self.train.threads, begun)


def _run(table: Tensor, whose: Sequence[tuple[KernelState | None, int]]) -> None:
    """Run the calls of some epochs of one group, with the scratch memory of the calling thread."""
    start = 0
    with ExitStack() as contexts:
        for kernel_state, rows in whose:
            if kernel_state is not None:
                kernel_state.use_scratch(table[:, start : start + rows])
                contexts.enter_context(kernel_state.kernel.calling)
            start += rows
        in_turn()(table.data_ptr(), table.shape[0] * table.shape[1])


def _copies(source: Tensor, kept: Tensor) -> Tensor:
    """Call table (groups, epochs, 1, 1 + arguments) of copies: each group's numbers after each epoch, into `kept`."""
    epochs, groups, size = kept.shape
    table = torch.zeros(groups, epochs, 1, 1 + len(KernelArguments._fields), dtype=torch.int64)
    length = size * kept.element_size()
    group, epoch = torch.arange(groups).unsqueeze(1), torch.arange(epochs)
    table[:, :, 0, 0] = copy().address("copy")
    table[:, :, 0, 1] = kept.data_ptr() + (epoch * groups + group) * length
    table[:, :, 0, 2] = source.data_ptr() + group * length
    table[:, :, 0, 3] = length
    return table
