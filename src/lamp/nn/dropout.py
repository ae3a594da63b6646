"""Noise that is there in training and not in use."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.nn.arguments import a_probability
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.randomness import bernoulli, draw_seed, keys

STEPS_AHEAD, ELEMENTS_AHEAD = 64, 2**16  # masks of so many steps are drawn at once, where so many elements suffice


class Dropout(Module):
    """Sets each element to zero with probability p, in training mode.

    y = x mask / (1 - p), the mask's elements 1 with probability 1 - p, else 0;   y = x in eval mode

    Shapes    x and y: any, the same
    Backward  dx = dy mask / (1 - p), the same mask
    Source    torch.nn.Dropout; Srivastava et al. 2014

    seed      None until the first training forward needs it, which draws it from torch's default generator, or from the
              one that `reset_parameters` was given: so building or resetting a network draws what torch.nn does; in a
              population a tuple, one a replica
    step      the number of training forwards; `lags`, in a population, says how many of them a replica took no part in

    The mask is a function of (seed, step, position), see lamp.randomness: to resume an interrupted run, set both.

    Raises ArgumentError unless p lies between 0 and 1, DTypeError for an input that is no floating-point tensor,
    ShapeError for a gradient not shaped as the output.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = a_probability(self, "p", p)
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Start anew at step 0; the seed is drawn when first needed, from this generator or torch's default one."""
        self.seed: int | tuple[int, ...] | None = None
        self.step, self.lags = 0, (0,) * (self.replicas or 1)
        self._generators = [generator]
        self._ahead: _Masks | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        if not self.training:
            return input
        mask = self._mask(input)
        self.step += 1
        self.remember(mask)
        return input * mask

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.mask(self, x)

    def backward(self, dy: Tensor) -> Tensor:
        mask: Tensor = self.recall()
        if dy.shape != mask.shape:
            raise explain_gradient(dy, mask.shape)
        return dy * mask  # dx

    def seeds(self) -> tuple[int, ...]:
        """The seed of each replica (of one network, its one), drawn now where it is not yet."""
        if self.seed is None:
            seeds = tuple(draw_seed(generator) for generator in self._generators)
            self.seed, self._generators = (seeds[0] if self.replicas is None else seeds), [None] * len(seeds)
        return self.seed if isinstance(self.seed, tuple) else (self.seed,)

    def _mask(self, x: Tensor) -> Tensor:
        """This step's mask for x, scaled."""
        self.seeds()
        ahead = self._ahead
        if ahead is None or not ahead.hold(self, x):
            ahead = self._ahead = _Masks(self, x)
        return ahead.masks[self.step - ahead.first]

    def get_extra_state(self) -> Any:
        if self.replicas is None:
            return self.seed, self.step, self._generators[0]
        seeds = self.seed if isinstance(self.seed, tuple) else [None] * self.replicas
        return [(seed, self.step - lag, g) for seed, lag, g in zip(seeds, self.lags, self._generators, strict=True)]

    def set_extra_state(self, state: Any) -> None:
        each = [state] if self.replicas is None else state
        for seed, step, generator in each:
            whole = [number for number in (seed, step) if number is not None]
            if not all(type(number) is int and 0 <= number < 2**63 for number in whole) or step is None:
                raise ArgumentError(
                    "Dropout's state is a seed, a step and a generator",
                    expected="whole numbers, and a torch.Generator or None",
                    got=f"{seed!r}, {step!r}, {type(generator).__name__}"[:80],
                    fix="pass what get_extra_state() returned",
                )
        seeds, steps, self._generators = (list(column) for column in zip(*each, strict=True))
        self.step, self._ahead = max(steps), None
        self.lags = tuple(self.step - step for step in steps)
        if any(seed is not None for seed in seeds):  # then those without one need it too
            drawing = zip(seeds, self._generators, strict=True)
            seeds = [draw_seed(generator) if seed is None else seed for seed, generator in drawing]
        self.seed = seeds[0] if self.replicas is None or seeds[0] is None else tuple(seeds)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_ahead": None}  # they can be drawn again

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Masks:
    """The masks of some steps from `first` on, for inputs of one shape, dtype and device.

    For a small input nearly all the time goes into calling operations, so it is shared among steps.
    """

    __slots__ = ("first", "kind", "masks")

    def __init__(self, dropout: Dropout, x: Tensor) -> None:
        seed, p, self.first = dropout.seed, dropout.p, dropout.step
        assert seed is not None
        seeds, shape = (seed, x.shape[1:]) if isinstance(seed, tuple) else ((seed,), x.shape)
        self.kind = (seed, dropout.lags, p, x.shape, x.dtype, x.device)
        steps = max(1, min(STEPS_AHEAD, ELEMENTS_AHEAD // max(1, x.numel())))
        pairs = [
            keys(each, step - lag)
            for step in range(self.first, self.first + steps)
            for each, lag in zip(seeds, dropout.lags, strict=True)
        ]
        scale = 1.0 / (1.0 - p) if p < 1 else 1.0
        drawn = bernoulli(pairs, shape, 1.0 - p, scale, x.dtype, x.device, dropout.units)
        self.masks = drawn.view(steps, *x.shape).unbind()

    def hold(self, dropout: Dropout, x: Tensor) -> bool:
        """Whether this step's mask for x is here."""
        within = 0 <= dropout.step - self.first < len(self.masks)
        return within and self.kind == (dropout.seed, dropout.lags, dropout.p, x.shape, x.dtype, x.device)
