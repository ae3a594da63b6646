"""`Dropout`, noise that is applied in training mode only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.nn.arguments import a_probability
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.randomness import bernoulli, draw_seed, keys

STEPS_AHEAD, ELEMENTS_AHEAD = 64, 2**16  # at most this many steps' masks, and elements, are drawn at once


class Dropout(Module):
    """Sets each element to zero with probability p, in training mode.

    y = x mask / (1 - p), where elements of mask are 1 with probability 1 - p, else 0;   y = x in eval mode

    Shapes    x and y: any, the same
    Backward  dx = dy mask / (1 - p), with the same mask
    Source    torch.nn.Dropout; Srivastava et al. 2014

    seed      None until the first forward in training mode. Then it is drawn from torch's default generator, or from
              the one that `reset_parameters` was given. So building or resetting a network draws the same numbers as
              in torch.nn. In a population it is a tuple with one seed per replica
    step      the number of forwards in training mode
    lags      per replica of a population, in how many of these forwards it took no part

    The mask is a function of seed, step and position (see lamp.randomness), so setting the first two resumes a run.

    Raises ArgumentError unless 0 <= p <= 1, DTypeError for an input that is not a floating-point tensor, and
    ShapeError for a gradient that has not the shape of the output.
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = a_probability(self, "p", p)
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Return to step 0. A new seed is drawn when first needed, from this generator or torch's default one."""
        self.seed: int | tuple[int, ...] | None = None
        self.step, self.lags = 0, (0,) * (self.replicas or 1)
        self._generators = [generator]
        self._drawn: _Masks | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        if not self.training:
            self.remember(None)
            return input
        mask = self._mask(input)
        self.step += 1
        self.remember(mask)
        return input * mask

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.mask(self, x)

    def backward(self, dy: Tensor) -> Tensor:
        mask: Tensor | None = self.recall()
        if mask is None:  # it was in eval mode, within a network in training mode
            return dy
        if dy.shape != mask.shape:
            raise explain_gradient(dy, mask.shape)
        return dy * mask  # dx

    def seeds(self) -> tuple[int, ...]:
        """One seed per replica (a single one without a population), drawn now if they have not been."""
        if self.seed is None:
            seeds = tuple(draw_seed(generator) for generator in self._generators)
            self.seed, self._generators = (seeds[0] if self.replicas is None else seeds), [None] * len(seeds)
        return self.seed if isinstance(self.seed, tuple) else (self.seed,)

    def _mask(self, x: Tensor) -> Tensor:
        """The mask of this step for x, times 1 / (1 - p)."""
        self.seeds()
        drawn = self._drawn
        if drawn is None or not drawn.include(self, x):
            drawn = self._drawn = _Masks(self, x)
        return drawn.masks[self.step - drawn.first]

    def get_extra_state(self) -> Any:
        if self.replicas is None:
            return self.seed, self.step, self._generators[0]
        seeds = self.seed if isinstance(self.seed, tuple) else [None] * self.replicas
        return [(seed, self.step - lag, g) for seed, lag, g in zip(seeds, self.lags, self._generators, strict=True)]

    def set_extra_state(self, state: Any) -> None:
        each = [state] if self.replicas is None else state
        for seed, step, generator in each:
            whole = [step] if seed is None else [seed, step]
            fits = all(type(number) is int and 0 <= number < 2**63 for number in whole)
            if not fits or not isinstance(generator, torch.Generator | None):
                raise ArgumentError(
                    "the extra state of Dropout is a seed, a step and a generator",
                    expected="two integers, and a torch.Generator or None",
                    got=f"{seed!r}, {step!r}, {type(generator).__name__}"[:80],
                    fix="pass what get_extra_state() returned",
                )
        seeds, steps, self._generators = (list(column) for column in zip(*each, strict=True))
        self.step, self._drawn = max(steps), None
        self.lags = tuple(self.step - step for step in steps)
        if any(seed is not None for seed in seeds):  # either all replicas have a seed or none
            drawing = zip(seeds, self._generators, strict=True)
            seeds = [draw_seed(generator) if seed is None else seed for seed, generator in drawing]
        self.seed = seeds[0] if self.replicas is None or seeds[0] is None else tuple(seeds)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_drawn": None}  # masks can be drawn again

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Masks:
    """The masks of several steps from `first` on, for inputs of one shape, dtype and device.

    For small inputs nearly all the time is spent on calling operations, so one call draws the masks of several steps.
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

    def include(self, dropout: Dropout, x: Tensor) -> bool:
        """Whether the mask of the dropout's present step for x is among them."""
        within = 0 <= dropout.step - self.first < len(self.masks)
        return within and self.kind == (dropout.seed, dropout.lags, dropout.p, x.shape, x.dtype, x.device)
