"""Modules that are random in training mode: `Dropout` of elements or channels, `AlphaDropout`, and `RReLU`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError, ShapeError
from lamp.module import Module
from lamp.nn.activations import SELU_ALPHA, SELU_SCALE
from lamp.nn.arguments import a_number, a_probability
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.randomness import bernoulli, draw_seed, keys, uniform
from lamp.signatures import called

STEPS_AHEAD, ELEMENTS_AHEAD = 64, 2**16  # at most this many steps' masks, and elements, are drawn at once


class RandomMask(Module):
    """Base of modules that compute with a mask, a tensor of random numbers, in training mode.

    seed      None until the first forward in training mode. Then it is drawn from torch's default generator, or from
              the one that `reset_parameters` was given. So building or resetting a network draws the same numbers as
              in torch.nn. In a population it is a tuple with one seed per replica
    step      the number of forwards in training mode
    lags      per replica of a population, in how many of these forwards it took no part

    The mask is a function of seed, step and position (see lamp.randomness), so setting the first two resumes a run.

    A subclass says with `_draw` how a mask is drawn, with `_mask_shape` what shape it has, and with `options` which of
    its attributes that depends on.
    """

    options: ClassVar[tuple[str, ...]]

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        """Masks (number of pairs, *shape) for x, one for each pair of keys."""
        raise NotImplementedError

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of the mask for x, which broadcasts to x."""
        return x.shape

    @called()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Return to step 0. A new seed is drawn when first needed, from this generator or torch's default one."""
        self.seed: int | tuple[int, ...] | None = None
        self.step, self.lags = 0, (0,) * (self.replicas or 1)
        self._generators = [generator]
        self._drawn: _Masks | None = None

    def seeds(self) -> tuple[int, ...]:
        """One seed per replica (a single one without a population), drawn now if they have not been."""
        if self.seed is None:
            seeds = tuple(draw_seed(generator) for generator in self._generators)
            self.seed, self._generators = (seeds[0] if self.replicas is None else seeds), [None] * len(seeds)
        return self.seed if isinstance(self.seed, tuple) else (self.seed,)

    def _mask(self, x: Tensor) -> Tensor:
        """The mask of this step for x; the step is counted."""
        self.seeds()
        drawn = self._drawn
        if drawn is None or not drawn.include(self, x):
            drawn = self._drawn = _Masks(self, x)
        mask = drawn.masks[self.step - drawn.first]
        self.step += 1
        return mask

    def _count(self) -> None:
        """Count a step that needs no mask; the seed is drawn as if it did."""
        self.seeds()
        self.step += 1

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
                    f"the extra state of {type(self).__name__} is a seed, a step and a generator",
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


class _Masks:
    """The masks of several steps from `first` on, for inputs of one shape, dtype and device.

    For small inputs nearly all the time is spent on calling operations, so one call draws the masks of several steps.
    """

    __slots__ = ("first", "kind", "masks")

    def __init__(self, module: RandomMask, x: Tensor) -> None:
        seed, self.first, shape = module.seed, module.step, module._mask_shape(x)
        assert seed is not None
        seeds, of_one = (seed, shape[1:]) if isinstance(seed, tuple) else ((seed,), shape)
        self.kind = _kind(module, x)
        steps = max(1, min(STEPS_AHEAD, ELEMENTS_AHEAD // max(1, math.prod(shape))))
        pairs = [
            keys(each, step - lag)
            for step in range(self.first, self.first + steps)
            for each, lag in zip(seeds, module.lags, strict=True)
        ]
        self.masks = module._draw(pairs, of_one, x).view(steps, *shape).unbind()

    def include(self, module: RandomMask, x: Tensor) -> bool:
        """Whether the mask of the module's present step for x is among them."""
        return 0 <= module.step - self.first < len(self.masks) and self.kind == _kind(module, x)


def _kind(module: RandomMask, x: Tensor) -> tuple[Any, ...]:
    """What masks depend on besides the step."""
    return (module.seed, module.lags, *(getattr(module, each) for each in module.options), x.shape, x.dtype, x.device)


class Dropout(RandomMask):
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

    options = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        self.p = p
        self.reset_parameters()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, a_probability(self, name, value) if name == "p" else value)

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        mask = None  # where it would change nothing
        if self.training and self.p:
            mask = self._mask(input)
        elif self.training:
            self._count()
        self.remember((mask, input.shape))
        return input if mask is None else self._masked(input, mask)

    def backward(self, dy: Tensor) -> Tensor:
        mask, shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return dy if mask is None else dy * mask

    def _masked(self, x: Any, mask: Any) -> Any:
        """y, from x and its mask; of tensors, or of the compiler's registers."""
        return x * mask

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        return bernoulli(pairs, shape, 1.0 - self.p, self.scale, x.dtype, x.device, self.units)

    @property
    def scale(self) -> float:
        """What the elements that stay are multiplied by."""
        return 1.0 / (1.0 - self.p) if self.p < 1 else 1.0

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.mask(self, x)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class ChannelDropout(Dropout):
    """Base of the dropouts that set whole channels of a sample to zero."""

    axes: ClassVar[tuple[int, ...]] = ()  # numbers of axes that an input may have; () for at least 2
    unbatched: ClassVar[int] = 0  # the number of axes of a single sample, (C, ...)

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        lead, axes = standing(0, self.replicas), x.dim() - standing(0, self.replicas)
        if axes not in self.axes if self.axes else axes < 2:
            expected = " or ".join(map(str, self.axes)) or "at least 2"
            raise ShapeError(
                "the input does not have the axes needed",
                expected=f"(B, C, ...), {expected} axes",
                got=tuple(x.shape),
                fix="x.unsqueeze(0) makes a batch of one sample; lamp.Dropout drops single elements of any shape",
            )
        channel = lead + (axes != self.unbatched)
        return (*x.shape[: channel + 1], *(1,) * (x.dim() - channel - 1))

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor):
            self._mask_shape(input)  # in eval mode, too
        return super().forward(input)

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.op("ChannelMask", self, [x], x.shape) if tracer.training else x


class Dropout1d(ChannelDropout):
    """Sets each channel of a sample to zero with probability p, in training mode.

    y = x mask / (1 - p), where mask has one number per sample and channel: 1 with probability 1 - p, else 0

    Shapes    x and y (B, C, L) or (C, L)
    Backward  dx = dy mask / (1 - p)
    Source    torch.nn.Dropout1d; Tompson et al. 2015, arXiv:1411.4280

    Raises the same errors as Dropout, and ShapeError for an input with other axes.
    """

    axes, unbatched = (2, 3), 2


class Dropout2d(ChannelDropout):
    """Dropout1d for images.

    Shapes    x and y (B, C, H, W), or (B, C, L) as in torch
    Source    torch.nn.Dropout2d
    """

    axes = (3, 4)


class Dropout3d(ChannelDropout):
    """Dropout1d for volumes.

    Shapes    x and y (B, C, D, H, W) or (C, D, H, W)
    Source    torch.nn.Dropout3d
    """

    axes, unbatched = (4, 5), 4


# ---- dropout that keeps mean and variance ----------------------------------------------------------------------------
SATURATION = -SELU_SCALE * SELU_ALPHA  # the value of SELU far below zero


class AlphaDropout(Dropout):
    """Sets each element to SELU's lowest value with probability p, and keeps mean 0 and variance 1, in training mode.

    y = a (x mask + low (1 - mask) - low p),   a = 1 / sqrt((1 - p) (1 + p low^2)),   low = -1.758...

    Shapes    x and y: any, the same
    Backward  dx = a dy mask
    Source    torch.nn.AlphaDropout; Klambauer et al. 2017, arXiv:1706.02515. For p = 1, y is 0

    Raises the same errors as Dropout.
    """

    @property
    def scale(self) -> float:
        return 1.0 / math.sqrt((1.0 - self.p) * (1.0 + self.p * SATURATION**2)) if self.p < 1 else 0.0

    def _masked(self, x: Any, mask: Any) -> Any:
        return (x - SATURATION) * mask + self.scale * SATURATION * (1.0 - self.p)  # mask is a or 0

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.op("AlphaMask", self, [x], x.shape) if tracer.training else x


class FeatureAlphaDropout(ChannelDropout, AlphaDropout):
    """AlphaDropout of whole channels: mask has one number per sample and channel.

    Shapes    x and y (B, C, ...)
    Source    torch.nn.FeatureAlphaDropout

    Raises the same errors as Dropout, and ShapeError for an input with fewer axes.
    """


class RReLU(RandomMask):
    """Leaky ReLU with a random slope per element in training mode.

    y = x where x > 0, else a x, where a is uniform in [lower, upper];   a = (lower + upper) / 2 in eval mode

    Shapes    x and y: any, the same
    Backward  dx = dy where x > 0, else a dy, with the same a
    Source    torch.nn.RReLU; Xu et al. 2015, arXiv:1505.00853

    Seed and step are those of Dropout.

    Raises ArgumentError unless lower <= upper, DTypeError for an input that is not a floating-point tensor, and
    ShapeError for a gradient that has not the shape of the output.
    """

    options = ("lower", "upper")

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> None:
        self.lower, self.upper = a_number(self, "lower", lower), a_number(self, "upper", upper)
        if self.lower > self.upper:
            raise ArgumentError(
                "RReLU: the bounds are the wrong way round",
                expected="lower <= upper",
                got=f"lower={lower}, upper={upper}",
                fix=f"RReLU({upper}, {lower})",
            )
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        drawn = self._mask(input) if self.training else torch.full_like(input, (self.lower + self.upper) / 2)
        slopes = drawn.masked_fill(input > 0, 1.0)
        self.remember(slopes)
        return input * slopes

    def backward(self, dy: Tensor) -> Tensor:
        slopes = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != slopes.shape:
            raise explain_gradient(dy, slopes.shape)
        dx: Tensor = dy * slopes
        return dx

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        return uniform(pairs, shape, self.lower, self.upper, x.dtype, x.device)

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.op("RandomSlope", self, [x], x.shape) if tracer.training else tracer.elementwise(self, x)

    def sigma(self, x: Any) -> Any:
        """The value in eval mode, over numbers (see lamp.formulas)."""
        return x.clamp(min=0.0) + x.clamp(max=0.0) * ((self.lower + self.upper) / 2)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"
