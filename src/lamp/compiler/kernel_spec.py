"""What a kernel is made for."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from lamp.compiler.coefficients import options_of
from lamp.compiler.correct_counts import Answer
from lamp.compiler.loss_rules import LossRule
from lamp.compiler.rules.elementwise import slopes_of
from lamp.compiler.sources import written_of
from lamp.compiler.stages import Plan
from lamp.nn import PReLU
from lamp.optim import Optimizer
from lamp.overrides import is_lamps

# What a kernel does: whole steps, or one half of them, so that something may stand between.
Entry = Literal["step", "gradients", "update"]


@dataclass(frozen=True)
class KernelSpec:
    """What is compiled: one kernel serves all data of these shapes.

    batches      the numbers of samples that steps have
    per_replica_order    whether each replica takes samples of its own
    optimizer    None for "gradients", and where nothing is learned: losses (and outputs) are measured
    ranges       for each parameter group: where its numbers lie, [(first, stop), ...], among a network's P; of networks
                 of several sizes there is one group, of all
    own          for each group, and then for the limits of clipping: which coefficients each replica has its own of
    clip_norm, clip_value  whether gradients are clipped
    hyperparameters        of the loss, that each replica has its own of
    keeps_outputs          whether what the networks put out is kept
    answers                how outputs are read where right answers are counted
    entry                  "step": gradients, then the update by them; or one of these alone
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
        """The coefficients that all replicas share: (group, name), in the order of their table."""
        return self._coefficients(False)

    @property
    def replica_coefficients(self) -> list[tuple[int, str]]:
        """The coefficients that each replica has of its own."""
        return self._coefficients(True)

    def _coefficients(self, own: bool) -> list[tuple[int, str]]:
        return [(k, name) for k, names in enumerate(self.per_replica) for name, its in names.items() if its == own]

    @property
    def states(self) -> list[tuple[str, ...]]:
        """What the optimizer keeps of each parameter, by group."""
        return [] if self.optimizer is None else [self.optimizer.state_names(g) for g in self.optimizer.param_groups]

    @property
    def key(self) -> Hashable | None:
        """Everything that is written into a kernel's code; None where that cannot be told, for modules of a user's."""
        plan, optimizer = self.plan, self.optimizer
        written = [*self.loss.criterion.modules(), *plan.modules]
        if not all(is_lamps(type(each)) for each in [*written, optimizer or self.loss]):
            return None
        if plan.sizes is not None:
            written = [module for module in written if not isinstance(module, PReLU)]
        network: Hashable = (plan.graph.digest, tuple(plan.places[each] for each in plan.graph.parameters))
        if plan.sizes is not None:  # the code finds the widths of hidden layers when it runs
            layers = tuple((layer.bias is None, tuple(map(slopes_of, layer.chain))) for layer in plan.layers)
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
