"""Nested tuples of tensors, as modules with several inputs or outputs take and return them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import DTypeError

ABSENT = object()  # in place of a gradient that backward did not return


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors with their places: "[1][0]"."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, tuple | list):
        for k, branch in enumerate(tree):
            yield from leaves(branch, f"{name}[{k}]")


def first_leaf(tree: Any) -> Tensor:
    """The tensor itself, or the first one in a tuple."""
    return tree if isinstance(tree, Tensor) else next(leaf for _, leaf in leaves(tree))


def joined(trees: Sequence[Any], axis: int) -> Any:
    """Batches one after another along an axis: of tensors a tensor, of tuples a tuple."""
    if isinstance(trees[0], tuple | list):
        return tuple(joined(branches, axis) for branches in zip(*trees, strict=True))
    if isinstance(trees[0], Tensor):
        return torch.cat(list(trees), axis)
    if all(tree is None for tree in trees):
        return None
    raise DTypeError(
        "a network puts out what is no tensor",
        expected="a tensor, or a tuple of tensors",
        got=type(trees[0]).__name__,
        fix="let its forward return a tensor, or a tuple of them",
    )


def floating(tree: Any) -> list[Tensor]:
    """All floating-point tensors: those that can have a gradient."""
    return [leaf for _, leaf in leaves(tree) if leaf.is_floating_point()]


def mapped(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same tree with the function's value in place of each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        branches = [mapped(branch, function) for branch in tree]
        return tuple(branches) if isinstance(tree, tuple) else branches
    return tree


def gradients_like(tree: Any, gradient: Any) -> Iterator[Any]:
    """For each floating-point tensor what stands in its place in the gradient: a tensor, None, or ABSENT."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield gradient
    elif isinstance(tree, tuple | list):
        if isinstance(gradient, tuple | list):
            parts = [*gradient, *[ABSENT] * (len(tree) - len(gradient))]
        else:
            parts = [gradient, *[None if gradient is None else ABSENT] * (len(tree) - 1)]
        for branch, part in zip(tree, parts, strict=False):
            yield from gradients_like(branch, part)
