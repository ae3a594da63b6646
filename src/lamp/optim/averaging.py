"""Averages of a network's weights over a training, and the learning rate that goes with them.

`AveragedModel` keeps the averages, `SWALR` brings the rate to a constant value, `update_bn` computes the running
statistics of a network whose weights were averaged.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.module import Module
from lamp.optim.checks import Range, plain
from lamp.optim.optimizer import Optimizer
from lamp.optim.schedule import Schedule, per_group
from lamp.parameter import Buffer
from lamp.signatures import called
from lamp.state import ModelState
from lamp.values import a_function, a_switch, kind_of, natural

DECAYS = Range(0.0, 1.0, closed=True)


class AveragedModel(Module):
    """A copy of a network whose weights are averages of the network's, one for each `update_parameters`.

    averaged <- averaged + (weights - averaged) / (n + 1)              the mean of n + 1 weights
    averaged <- decay averaged + (1 - decay) weights                   with decay, an exponential moving average

    The first update copies the weights.

        averaged = lamp.AveragedModel(model)
        ...
        averaged.update_parameters(model)       # after each of the last epochs, or after each step with a decay
        lamp.update_bn(batches, averaged)       # once at the end, if the network has BatchNorm
        averaged(x)

    decay        None for the mean, else a number from 0 to 1, such as 0.999
    avg_fn       a function (averaged, weights, n) that returns the new averages, in place of these two
    use_buffers  whether running statistics are averaged too; else they are copied

    n_averaged  the number of updates   module  the averaged network

    Source    torch.optim.swa_utils.AveragedModel; Izmailov et al. 2018, arXiv:1803.05407; Polyak & Juditsky 1992

    Raises ArgumentError for a decay out of range, decay and avg_fn together, and a network of other modules.
    """

    def __init__(
        self,
        model: Module,
        decay: float | None = None,
        avg_fn: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
        use_buffers: bool = False,
    ) -> None:
        _check_network(model, "AveragedModel")
        if decay is not None and (avg_fn is not None or not DECAYS.holds(decay) or isinstance(decay, Tensor | list)):
            raise ArgumentError(
                "AveragedModel takes a decay or a function of its own",
                expected=f"decay {DECAYS}, or avg_fn",
                got=f"decay={decay!r}, avg_fn={avg_fn!r}"[:80],
                fix="decay=0.999, for example",
            )
        self.decay = None if decay is None else float(decay)
        self.avg_fn = None if avg_fn is None else a_function(avg_fn, "avg_fn", "averaged, weights, n")
        self.use_buffers = a_switch(use_buffers, "use_buffers")
        self.n_averaged = Buffer(torch.tensor(0))
        self.module = copy.deepcopy(model)

    def forward(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def backward(self, *grad_outputs: Any) -> Any:
        return self.module.backward(*grad_outputs)

    def trace(self, tracer: Any, *values: Any) -> Any:
        return tracer(self.module, *values)

    @called()
    def update_parameters(self, model: Module) -> None:
        """Take the network's present weights into the averages."""
        _check_network(model, "update_parameters")
        averaged, present = ModelState.of(self.module), ModelState.of(model)
        if not averaged.fits(present):
            raise ArgumentError(
                "this network is not the one whose weights are averaged",
                expected=f"parameters and buffers {[tuple(each.shape) for each in averaged.tensors]}",
                got=f"{[tuple(each.shape) for each in present.tensors]}",
                fix="pass the network that AveragedModel was made from",
            )
        buffers = {id(buffer.data) for _, buffer in self.module.named_buffers()}
        n = self.n_averaged.data
        count = int(n)  # once: on a GPU, whoever reads a number waits for it
        for own, new in zip(averaged.tensors, present.tensors, strict=True):
            copied = id(own) in buffers and not (self.use_buffers and own.is_floating_point())
            if copied or not count:
                own.copy_(new)
            elif self.avg_fn is not None:
                own.copy_(self.avg_fn(own, new, n))
            else:
                own.lerp_(new.to(own), 1.0 / (count + 1) if self.decay is None else 1.0 - self.decay)
        n.add_(1)


def _check_network(model: Any, owner: str) -> None:
    if not isinstance(model, Module):
        raise ArgumentError(
            f"{owner} takes a network", expected="a lamp module", got=kind_of(model), fix="pass the model itself"
        )


@called()
def update_bn(loader: Iterable[Any], model: Module) -> None:
    """Compute the running statistics of a network's normalisations anew, as means over these batches.

    loader  batches, or tuples whose first part is the network's input, such as a DataLoader yields

    Only modules with `reset_running_stats` are changed. The network stays in its mode.

    Source    torch.optim.swa_utils.update_bn

    Raises ArgumentError for anything but a network and batches, and the errors of its modules.
    """
    _check_network(model, "update_bn")
    if not isinstance(loader, Iterable):
        raise ArgumentError(
            "update_bn takes batches",
            expected="a DataLoader, or a list of batches",
            got=type(loader).__name__,
            fix="[x] is one batch of all samples",
        )
    tracking: list[Any] = [each for each in model.modules() if hasattr(type(each), "reset_running_stats")]
    if not tracking:
        return
    modes = [(each, each._training) for each in model.modules()]
    momenta = [(each, each.momentum) for each in tracking]
    try:
        model.train()
        for each in tracking:
            each.reset_running_stats()
            each.momentum = None
        for batch in loader:
            model(batch[0] if isinstance(batch, tuple | list) else batch)
    finally:
        for each, momentum in momenta:
            each.momentum = momentum
        for each, mode in modes:
            each.training = mode


class SWALR(Schedule):
    """Brings the learning rate from where it is to swa_lr within anneal_epochs, and keeps it there.

    lr_t = swa_lr a(t) + lr_0 (1 - a(t)),   a(t) = (1 - cos(pi t / anneal_epochs)) / 2, or t / anneal_epochs if "linear"

    lr_0 is the rate when the first step is made, so another schedule may run before.

    Source    torch.optim.swa_utils.SWALR

    Raises ArgumentError for arguments out of range.
    """

    ranges: ClassVar = {"anneal_epochs": Range(whole=True)}

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Number | list[Number],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
    ) -> None:
        if not isinstance(anneal_strategy, str) or anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                "SWALR: no such anneal_strategy",
                expected="'cos' or 'linear'",
                got=repr(anneal_strategy),
                fix="name one of these",
            )
        self.anneal_epochs = natural(anneal_epochs, "anneal_epochs", least=0)
        self._anneal_strategy = anneal_strategy
        self._swa_lrs = [plain(each) for each in per_group(swa_lr, optimizer, "SWALR", "swa_lr")]
        super().__init__(optimizer)
        for lr in self._swa_lrs:
            if not Range().holds(lr):
                raise ArgumentError(
                    "SWALR: swa_lr is out of range", expected=str(Range()), got=lr, fix="choose another"
                )
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = -1
        self.step()

    @called()
    def step(self) -> None:
        """Set the learning rates of the next epoch."""
        if "_last_lr" in vars(self):
            self._add_new_groups()
        self.last_epoch += 1
        at = max(1, self.last_epoch) if self.anneal_epochs == 0 else self.last_epoch
        before, now = (self._share(t / max(1, self.anneal_epochs)) for t in (at - 1, at))
        for group, goal in zip(self.optimizer.param_groups, self._swa_lrs, strict=True):
            began = goal if before == 1.0 else (group["lr"] - before * goal) / (1.0 - before)
            group.put("lr", goal * now + began * (1.0 - now))
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _share(self, done: float) -> float:
        """a(t), where `done` is t / anneal_epochs."""
        done = max(0.0, min(1.0, done))
        return done if self._anneal_strategy == "linear" else (1.0 - math.cos(math.pi * done)) / 2.0

    def _add_group(self, k: int, group: Any, epoch: float) -> None:
        super()._add_group(k, group, epoch)
        self._swa_lrs.append(self._swa_lrs[0])
        self.base_lrs.append(group.setdefault("initial_lr", group["lr"]))
