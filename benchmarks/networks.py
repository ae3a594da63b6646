"""Networks as people build them, in lamp and as the same modules in torch.nn, and the training of both.

The torch.nn network is what `lamp.to_torch` makes of lamp's, or a class with the same modules under the same names
where the network is a class of its own. So both have the same parameters under the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

import lamp
from benchmarks.start import Array

Batches = list[tuple[Tensor, Tensor]]
Constants = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Net:
    """A network and its training.

    make       builds lamp's network, untrained
    peer       makes the torch.nn network of the same modules; its parameters are overwritten
    loss       the name of the loss, in both libraries
    batches    draws the batches, (inputs, target) each
    optimizer  its name, in both libraries, and its constants
    """

    make: Callable[[], lamp.Module]
    peer: Callable[[lamp.Module], torch.nn.Module]
    loss: str
    batches: Callable[[], Batches]
    optimizer: str
    constants: Constants

    def lamps(self) -> lamp.Module:
        """lamp's network, with the weights that all begin with."""
        torch.manual_seed(0)
        return self.make()


@lru_cache(maxsize=1)
def batches_of(net: Net) -> Batches:
    """The batches of a network, drawn once."""
    torch.manual_seed(1)
    return net.batches()


class _Training:
    """One network in training: `step` is called with each batch in turn."""

    batches: Batches
    made = 0  # steps

    def step(self, inputs: Tensor, target: Tensor) -> None:
        raise NotImplementedError

    def run(self, steps: int) -> None:
        for made in range(self.made, self.made + steps):
            self.step(*self.batches[made % len(self.batches)])
        self.made += steps


def _first(output: Any) -> Tensor:
    """The output, or the first of several, which the loss is of; others are states of recurrent networks."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


class WithLamp(_Training):
    """lamp's eager engine: the step that lamp.fit makes, or (`in_backward`) that with step_in_backward=True."""

    def __init__(self, net: Net, in_backward: bool = False) -> None:
        self.batches, self.in_backward = batches_of(net), in_backward
        self.model, self.criterion = net.lamps(), getattr(lamp, net.loss)()
        self.optimizer = getattr(lamp, net.optimizer)(self.model.parameters(), **net.constants)

    def step(self, inputs: Tensor, target: Tensor) -> None:
        self.criterion(_first(self.model(inputs)), target)
        if self.in_backward:
            with self.optimizer.step_in_backward():
                self.model.backward_parameters(self.criterion.backward())
            return
        self.optimizer.zero_grad()
        self.model.backward_parameters(self.criterion.backward())
        self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return {name: each.data.numpy().copy() for name, each in self.model.named_parameters()}


class WithTorchNN(_Training):
    """torch.nn and torch.optim in the loop of their documentation. Options go to the optimizer."""

    def __init__(self, net: Net, compiled: bool = False, **options: Any) -> None:
        self.batches, ours = batches_of(net), net.lamps()
        self.model = net.peer(ours)
        self.model.load_state_dict({name: each.clone() for name, each in ours.state_dict().items()})
        self.call = torch.compile(self.model) if compiled else self.model
        self.criterion = getattr(torch.nn, net.loss)()
        kind = getattr(torch.optim, net.optimizer)
        self.optimizer = kind(self.model.parameters(), **net.constants, **options)

    def step(self, inputs: Tensor, target: Tensor) -> None:
        loss = self.criterion(_first(self.call(inputs)), target)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def parameters(self) -> dict[str, Array]:
        return {name: each.detach().numpy().copy() for name, each in self.model.named_parameters()}


class WithHooks(WithTorchNN):
    """torch.nn with an optimizer per parameter, which a hook calls as soon as the gradient is there."""

    def __init__(self, net: Net, **options: Any) -> None:
        super().__init__(net, **options)
        kind = getattr(torch.optim, net.optimizer)
        own = {each: kind([each], **net.constants, **options) for each in self.model.parameters()}

        def step(parameter: torch.nn.Parameter) -> None:
            own[parameter].step()
            own[parameter].zero_grad()

        for parameter in own:
            parameter.register_post_accumulate_grad_hook(step)

    def step(self, inputs: Tensor, target: Tensor) -> None:
        self.criterion(_first(self.call(inputs)), target).backward()
