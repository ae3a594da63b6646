"""KernelSpec: everything that a kernel's code depends on, and the cache key made of it.

The tiling pass and the kernel builder read nothing else about the job.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lamp.compiler.cache_key import written_of
from lamp.compiler.coefficients import options_of
from lamp.compiler.correct_counts import Answer
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.rules.elementwise import slopes_of
from lamp.compiler.stages import Plan
from lamp.nn import PReLU
from lamp.optim import Optimizer
from lamp.overrides import is_lamps

# What a kernel does: whole steps, or only one half of a step, so that gradients can be changed in between.
Entry = Literal["step", "gradients", "update"]


@dataclass(frozen=True)
class KernelSpec:
    """The description of a kernel. One kernel serves all data of these shapes.

    plan                   the network
    loss                   its loss
    optimizer              None for "gradients", and for kernels that only measure losses and outputs
    ranges                 per parameter group, [(first, stop), ...]: where its numbers lie among a network's P numbers;
                           networks of several sizes have a single group
    per_replica            per parameter group, then for the clipping limits: whether a coefficient, by name, differs
                           between replicas
    batches                the batch sizes that occur
    one_network            sample lanes; else replica lanes
    per_replica_order      whether each replica takes its own samples
    clip_norm, clip_value  whether gradients are clipped
    hyperparameters        the names of the loss's hyperparameters that differ between replicas
    keeps_outputs          whether the networks' outputs are stored
    answers                the kinds of predictions whose correct ones are counted
    dtype                  of all numbers, torch.float32 or torch.float64
    entry                  "step" (gradients, then the update by them), or one half alone
    """

    plan: Plan
    loss: LossRule
    optimizer: Optimizer | None
    ranges: Sequence[Sequence[tuple[int, int]]]
    per_replica: Sequence[Mapping[str, bool]]
    batches: tuple[int, ...]
    one_network: bool
    per_replica_order: bool
    clip_norm: bool
    clip_value: bool
    hyperparameters: tuple[str, ...]
    keeps_outputs: bool
    answers: tuple[Answer, ...]
    dtype: torch.dtype
    entry: Entry = "step"

    @property
    def wants_gradients(self) -> bool:
        """Whether gradients of parameters are computed."""
        return self.entry == "gradients" or (self.entry == "step" and self.optimizer is not None)

    @property
    def shared_coefficients(self) -> list[tuple[int, str]]:
        """The coefficients that all replicas share, as (group, name), in the order of the table's columns."""
        return self._coefficients(False)

    @property
    def replica_coefficients(self) -> list[tuple[int, str]]:
        """The coefficients that differ between replicas, as (group, name), in the order of the table's columns."""
        return self._coefficients(True)

    def _coefficients(self, own: bool) -> list[tuple[int, str]]:
        return [(k, name) for k, names in enumerate(self.per_replica) for name, its in names.items() if its == own]

    @property
    def states(self) -> list[tuple[str, ...]]:
        """The names of the optimizer's states, per parameter group."""
        return [] if self.optimizer is None else [self.optimizer.state_names(g) for g in self.optimizer.param_groups]

    @property
    def key(self) -> Hashable | None:
        """The cache key: everything that the code depends on. None if a user's own class is involved, since its code is
        unknown."""
        plan, optimizer = self.plan, self.optimizer
        written = [*self.loss.criterion.modules(), *plan.modules]
        if not all(is_lamps(type(each)) for each in [*written, optimizer or self.loss]):
            return None
        if plan.sizes is not None:
            written = [module for module in written if not isinstance(module, PReLU)]
        held = [tuple(stage.statistics.values()) for stage in plan.stages]
        network: Hashable = (plan.graph.digest, tuple(map(plan.offsets.get, plan.graph.parameters)), tuple(held))
        if plan.sizes is not None:  # the kernel reads the widths of hidden layers when it runs
            layers = tuple((layer.bias_offset is None, tuple(map(slopes_of, layer.chain))) for layer in plan.layers)
            network = (plan.features, plan.outputs, layers)
        return (
            tuple(map(written_of, written)),
            network,
            plan.parameters if plan.sizes is None else None,
            (self.loss.labels, self.loss.ignores, tuple(self.loss.weights.items())),
            None if optimizer is None else (type(optimizer), options_of(optimizer)),
            tuple(map(tuple, self.ranges)) if plan.sizes is None else None,
            tuple(tuple(names.items()) for names in self.per_replica),
            (self.batches, self.one_network, self.per_replica_order, self.clip_norm, self.clip_value),
            (self.hyperparameters, self.keeps_outputs, self.answers, self.dtype, self.entry),
        )
