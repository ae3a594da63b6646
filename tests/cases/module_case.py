"""`Case`: a module with one setting of its options beside its twin in torch.nn, and how the two are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import lamp.nn
from lamp.module import Module
from lamp.trees import leaves, mapped

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One module with one setting: how lamp and torch.nn build it, and the shape of an input for it."""

    name: str
    make: Callable[[], Module]
    make_torch: Callable[[], nn.Module]
    shape: Shape
    tolerance: float = 1e-11  # allowed relative difference to the twin, in float64
    batched: bool = True  # whether the input has an axis of the batch, which the module needs to be traced
    indices: int | None = None  # the input is indices below this number

    def __str__(self) -> str:
        return self.name

    def input(self, dtype: torch.dtype = torch.float64, shape: Shape | None = None) -> Tensor:
        """A random input, wide enough to reach all parts of an activation; or indices, whatever the dtype."""
        shape = self.shape if shape is None else shape
        if self.indices is not None:
            return torch.randint(self.indices, shape)
        return (torch.randn(shape, dtype=torch.float64) * 2.0).to(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of an input."""
        return torch.float64 if self.indices is None else torch.int64

    def pair(self) -> tuple[Module, nn.Module]:
        """The module and its twin, in float64, with the same random parameters."""
        module, twin = self.make().double(), self.make_torch().double()
        for parameter in twin.parameters():
            nn.init.normal_(parameter)
        module.load_state_dict(twin.state_dict())
        return module, twin


def of(kind: str, shape: Shape, *args: object, **kwargs: object) -> Case:
    options = [*map(str, args), *(f"{name}={value}" for name, value in kwargs.items())]
    return Case(
        f"{kind}({', '.join(options)}) on {shape}",
        lambda: getattr(lamp.nn, kind)(*args, **kwargs),
        lambda: getattr(nn, kind)(*args, **kwargs),
        shape,
    )


def both(name: str, shape: Shape, make: Callable[[Any], Any]) -> Case:
    """A network that `make` builds from the classes of lamp.nn or of torch.nn."""
    return Case(name, lambda: make(lamp.nn), lambda: make(nn), shape)


def error(actual: Any, expected: Any) -> float:
    """The largest difference, relative to the largest number expected (taken as 1e-4 where all are smaller).

    Shapes and dtypes must be equal. Of tuples it is the largest of all tensors.
    """
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple)
        return max(error(one, other) for one, other in zip(actual, expected, strict=True))
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} instead of {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype
    if actual.numel() == 0 or torch.equal(actual, expected):
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-4))


def detached(outputs: Any) -> Any:
    """What a twin returned, without autograd's graph."""
    return mapped(outputs, lambda each: each.detach())


def like(outputs: Any) -> Any:
    """A random gradient in the form of what a module returned."""
    return mapped(outputs, lambda y: torch.randn_like(y, memory_format=torch.contiguous_format))


def equal(one: Any, other: Any) -> bool:
    """Whether two outputs or two gradients are the same, bit by bit; None is equal to None."""
    if one is None or other is None:
        return one is other
    pairs = list(zip(leaves(one), leaves(other), strict=True))
    return all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def stacked(outputs: list[Any]) -> Any:
    """Several outputs of a module, or gradients in their form, stacked along a new first axis."""
    if isinstance(outputs[0], tuple):
        return tuple(stacked(list(each)) for each in zip(*outputs, strict=True))
    return None if outputs[0] is None else torch.stack(outputs)


def gradients(twin: nn.Module, *inputs: Tensor, dy: Any) -> tuple[Tensor | None, ...]:
    """What autograd finds for the twin: the gradients of its inputs, None for indices, then of its parameters.

    dy  the gradients of the outputs for all inputs, as `stacked` gives them
    """
    given = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]
    outputs = [y for _, y in leaves(stacked([twin(x) for x in given]))]
    upstream = [each for _, each in leaves(dy)]
    variables = [*(x for x in given if x.requires_grad), *twin.parameters()]
    if not any(y.requires_grad for y in outputs):
        return (None,) * (len(given) + len(list(twin.parameters())))
    found = iter(torch.autograd.grad(outputs, variables, upstream, allow_unused=True))
    return (*(next(found) if x.requires_grad else None for x in given), *found)
