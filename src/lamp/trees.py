"""Nested tuples and lists of tensors, the form of several inputs or outputs of a module.

A packed sequence, lamp's or torch's, counts as its data: the rest of it is no input, but says how the data are meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.errors import DTypeError

ABSENT = object()  # in place of a gradient that backward did not return


def is_packed(tree: Any) -> bool:
    """Whether this is a packed sequence."""
    return type(tree) is not Tensor and hasattr(tree, "batch_sizes")


def with_data(packed: Any, data: Any) -> Any:
    """A packed sequence with other data, of the same lengths."""
    return type(packed)(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of the tree, each after its path, such as "[1][0]"."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif is_packed(tree):
        yield f"{name}.data", tree.data
    elif isinstance(tree, tuple | list):
        for k, branch in enumerate(tree):
            yield from leaves(branch, f"{name}[{k}]")


def flat(tree: Any) -> tuple[Any, ...]:
    """The items of nested tuples or lists, in order."""
    if isinstance(tree, tuple | list):
        return tuple(each for branch in tree for each in flat(branch))
    return (tree,)


def first_leaf(tree: Any) -> Tensor:
    """The tensor itself, or the first one in a tuple."""
    return tree if isinstance(tree, Tensor) else next(leaf for _, leaf in leaves(tree))


def joined(trees: Sequence[Any], axis: int) -> Any:
    """Batches concatenated along an axis: a tensor from tensors, a tuple from tuples.

    Raises DTypeError for anything else.
    """
    if isinstance(trees[0], tuple | list):
        return tuple(joined(branches, axis) for branches in zip(*trees, strict=True))
    if isinstance(trees[0], Tensor):
        return torch.cat(list(trees), axis)
    if all(tree is None for tree in trees):
        return None
    raise DTypeError(
        "a network returned something other than tensors",
        expected="a tensor, or a tuple of tensors",
        got=type(trees[0]).__name__,
        fix="let its forward return a tensor, or a tuple of them",
    )


def floating(tree: Any) -> list[Tensor]:
    """The floating-point tensors of the tree, which are those that can have a gradient."""
    return [leaf for _, leaf in leaves(tree) if leaf.is_floating_point()]


def mapped(tree: Any, function: Callable[[Tensor], Any]) -> Any:
    """The tree with the function's result in place of each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    if is_packed(tree):
        return with_data(tree, function(tree.data))
    if isinstance(tree, tuple | list):
        branches = [mapped(branch, function) for branch in tree]
        return tuple(branches) if isinstance(tree, tuple) else branches
    return tree


def gradients_like(tree: Any, gradient: Any) -> Iterator[Any]:
    """For each floating-point tensor of the tree its gradient: a tensor, None, or ABSENT if `gradient` has no place
    for it."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield gradient
    elif is_packed(tree):
        yield from gradients_like(tree.data, gradient.data if is_packed(gradient) else gradient)
    elif isinstance(tree, tuple | list):
        if isinstance(gradient, tuple | list):
            parts = [*gradient, *[ABSENT] * (len(tree) - len(gradient))]
        else:
            parts = [gradient, *[None if gradient is None else ABSENT] * (len(tree) - 1)]
        for branch, part in zip(tree, parts, strict=False):
            yield from gradients_like(branch, part)
