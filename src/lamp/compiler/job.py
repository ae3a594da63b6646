"""What a kernel is made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from lamp.compiler.loss_rules import LossRule
from lamp.compiler.plan import Plan
from lamp.optim import Optimizer


@dataclass(frozen=True)
class Job:
    """What is compiled: one kernel serves all data of these shapes.

    batches      the numbers of samples that steps have
    own_order    whether each replica takes samples of its own
    optimizer    None: nothing is learned, the losses (and outputs) are measured
    ranges       for each parameter group: where its numbers lie, [(first, stop), ...], among a network's P
    own          for each group, and then for the limits of clipping: which coefficients each replica has its own of
    clip_norm, clip_value  whether gradients are clipped
    hyperparameters        of the loss, that each replica has its own of
    keeps_outputs          whether what the networks put out is kept
    """

    plan: Plan
    loss: LossRule
    optimizer: Optimizer | None
    ranges: Sequence[Sequence[tuple[int, int]]]
    own: Sequence[Mapping[str, bool]]
    batches: tuple[int, ...]
    one_network: bool
    own_order: bool
    clip_norm: bool
    clip_value: bool
    hyperparameters: tuple[str, ...]
    keeps_outputs: bool
    dtype: torch.dtype

    @property
    def states(self) -> list[tuple[str, ...]]:
        """What the optimizer keeps of each parameter, by group."""
        return [] if self.optimizer is None else [self.optimizer.state_names(g) for g in self.optimizer.param_groups]
