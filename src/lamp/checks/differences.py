"""Derivatives along one direction through one tensor, by backward and by differences of forward."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.losses.base import Loss
from lamp.module import Module
from lamp.nn.sequential import Sequential
from lamp.parameter import trained
from lamp.replicas import Population
from lamp.trees import ABSENT, floating, gradients_like, leaves, mapped

ROUNDING = 16 * torch.finfo(torch.float64).eps  # the relative rounding error of a network's output
NEARBY = 1e-3  # the distance of a nearby point, relative to the size of a tensor's elements if that is above 1


def random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape and on the device of a tensor, float64."""
    return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)


def dot(a: Tensor, b: Tensor) -> float:
    """The sum of the products, over all axes."""
    return float((a * b).sum().item())


def size(tensor: Tensor) -> float:
    """The root mean square of the elements."""
    return float(tensor.norm().item()) / math.sqrt(max(tensor.numel(), 1))


def copied(inputs: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The inputs with the function's result in place of each tensor; what was marked as per replica still is."""

    def result(leaf: Tensor) -> Tensor:
        found, replicas = function(leaf), replicas_of(leaf)
        return found if replicas is None else marked(found, replicas)

    return mapped(inputs, result)


@dataclass(frozen=True)
class Comparison:
    """A derivative along one direction, by backward and by differences, and how far the differences can be trusted."""

    analytic: float  # the derivative by backward
    numeric: float  # the derivative by differences of forward
    scale: float  # the size of the gradient
    noise: float  # the rounding error of `numeric`
    doubt: float  # the difference between two step sizes, or the change of slope at a kink in this point

    @property
    def error(self) -> float:
        """The difference of the two derivatives, relative to the gradient; 0 for a gradient that is all rounding."""
        return abs(self.analytic - self.numeric) / self.scale if self.scale > self.noise else 0.0

    def is_right(self, tolerance: float) -> bool:
        """Whether the two derivatives agree up to this relative tolerance and rounding."""
        return abs(self.analytic - self.numeric) <= tolerance * self.scale + self.noise

    def is_trusted(self, tolerance: float) -> bool:
        """Whether the differences are exact enough for this tolerance."""
        return self.doubt <= 0.1 * tolerance * self.scale + self.noise


class Point:
    """A module and its inputs, in float64, at which the derivatives of f = <upstream, module(inputs)> are taken.

    Each evaluation runs a new copy with torch's generators seeded again, so that random numbers repeat.
    """

    def __init__(self, module: Module, inputs: tuple[Any, ...], seed: int) -> None:
        self.module, self.seed = copy.deepcopy(module).double().train(), seed
        self.module.zero_grad()
        self.inputs = copied(inputs, lambda leaf: leaf.detach().double() if leaf.is_floating_point() else leaf)
        inputs_by_name = [
            f"input {k}{place}"
            for k, tree in enumerate(inputs)
            for place, leaf in leaves(tree)
            if leaf.is_floating_point()
        ]
        self.names = [*inputs_by_name, *(name for name, each in self.module.named_parameters() if not each.frozen)]
        run, inputs = self.fresh()
        self.centre = run(*inputs)
        if isinstance(self.module, Population):
            self.module._skip_check()  # `run` has passed it, and one for each evaluation would take most of the time
        network = module if module.replicas is None else getattr(module, "network", module)
        ends = len(inputs) > 1 and isinstance(network, Sequential) and isinstance([*network][-1], Loss)
        self.has_target = ends or isinstance(module, Loss)
        self.is_loss = ends or (isinstance(module, Loss) and module.reduction != "none")  # backward takes no gradient
        generator = torch.Generator().manual_seed(seed)
        self.upstream = [random_like(output, generator) for output in floating(self.centre)]
        if self.is_loss:
            self.upstream = [*(0.0 * r for r in self.upstream[:-1]), torch.ones_like(self.upstream[-1])]
        self.gradients = self.backward(*self.fresh())

    def fresh(self) -> tuple[Module, tuple[Any, ...]]:
        """Copies of the module and the inputs, with torch's generators seeded again."""
        torch.manual_seed(self.seed)
        return copy.deepcopy(self.module), copied(self.inputs, Tensor.clone)

    @staticmethod
    def tensors(run: Module, inputs: tuple[Any, ...]) -> list[Tensor]:
        """The tensors that `names` names."""
        return [*floating(inputs), *(parameter.data for parameter in trained(run.parameters()))]

    def backward(self, run: Module, inputs: tuple[Any, ...], upstream: list[Tensor] | None = None) -> list[Any]:
        """The gradient for each name: for inputs what backward returns, for parameters what it adds to `grad`."""
        upstream = [r.clone() for r in self.upstream] if upstream is None else upstream
        outputs = run(*inputs)
        dinputs = run.backward(*self.start(run, outputs, upstream))
        if self.has_target and isinstance(inputs[0], tuple | list):  # a loss returns the gradient of the output alone
            gradients = [*gradients_like(inputs[0], dinputs), *[None for _ in floating(inputs[1:])]]
        else:
            gradients = list(gradients_like(inputs if len(inputs) > 1 else inputs[0], dinputs)) if inputs else []
        if self.has_target:
            gradients = [None if gradient is ABSENT else gradient for gradient in gradients]
        if run.replicas is not None:  # a population returns the gradient of a shared input for each replica
            pairs = zip(gradients, floating(inputs), strict=True)
            gradients = [_of_shared(gradient, leaf, run.replicas) for gradient, leaf in pairs]
        return [*gradients, *(parameter.grad for parameter in trained(run.parameters()))]

    def start(self, run: Module, outputs: Any, upstream: list[Tensor]) -> tuple[Any, ...]:
        """The arguments of backward: for a loss none, else one with the gradients in the form of the outputs."""
        if self.is_loss:
            return ()
        left = iter(upstream)
        return (mapped(outputs, lambda leaf: next(left) if leaf.is_floating_point() else None),)

    def compare(self, k: int, v: Tensor, step: float, upstream: list[Tensor] | None = None) -> Comparison:
        """The derivative of f through tensor k along v, by backward and by differences with two step sizes.

        step  relative to the size of the tensor's elements if that is above 1
        """
        upstream = self.upstream if upstream is None else upstream
        h = step * max(1.0, size(self.tensors(self.module, self.inputs)[k]))
        slope, bend = self._difference(k, v, h, upstream)
        slope_of_half, bend_of_half = self._difference(k, v, h / 2, upstream)
        analytic, numeric = dot(self.gradients[k], v), (4.0 * slope_of_half - slope) / 3.0  # Richardson extrapolation
        seen = [(r * output).norm().item() for r, output in zip(upstream, floating(self.centre), strict=True)]
        return Comparison(
            analytic,
            numeric,
            scale=max(abs(analytic), abs(numeric), 0.1 * self.gradients[k].norm().item()),
            noise=ROUNDING * math.hypot(*seen) / h,
            doubt=max(abs(slope - slope_of_half), abs(2.0 * bend_of_half - bend)),
        )

    def _difference(self, k: int, v: Tensor, h: float, upstream: list[Tensor]) -> tuple[float, float]:
        """The slope of f along v, (f(h) - f(-h)) / 2h, and its bend, (f(h) + f(-h) - 2 f(0)) / h.

        The bend of a smooth f goes to 0 with h. A bend that does not shows a kink at this point, which the slope alone
        does not show.
        """
        slope = bend = 0.0
        ends = (self._outputs(k, h * v), self._outputs(k, -h * v))
        for r, ahead, behind, centre in zip(upstream, *ends, floating(self.centre), strict=True):
            slope += dot(r, ahead - behind) / (2.0 * h)
            bend += dot(r, (ahead - centre) + (behind - centre)) / h
        return slope, bend

    def _outputs(self, k: int, step: Tensor) -> list[Tensor]:
        """The floating-point outputs after tensor k has moved by a step."""
        run, inputs = self.fresh()
        self.tensors(run, inputs)[k].add_(step)
        return floating(run(*inputs))

    def nearby(self, generator: torch.Generator) -> Point:
        """A point near this one: all tensors with a gradient are changed slightly, at random."""
        run, inputs = self.fresh()
        for tensor, gradient in zip(self.tensors(run, inputs), self.gradients, strict=True):
            if isinstance(gradient, Tensor):
                tensor.add_(random_like(tensor, generator) * (NEARBY * max(1.0, size(tensor))))
        return Point(run, inputs, self.seed)


def _of_shared(gradient: Any, leaf: Tensor, replicas: int) -> Any:
    """The gradient of an input; if all replicas share the input, the sum of theirs."""
    shared = isinstance(gradient, Tensor) and replicas_of(leaf) is None and gradient.shape == (replicas, *leaf.shape)
    return gradient.sum(0) if shared else gradient
