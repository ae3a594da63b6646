"""The axes of tensors: replicas, batch and features. All functions that depend on the axis of replicas are here.

The axes of a batch are (B..., features): any number of batch axes, features last. In a population every tensor has one
more axis, first: (K, B..., features), with replica k in row k. A batch that all replicas share is expanded along it,
not copied. So each module is written once, for single networks and for populations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lamp.errors import DTypeError, ShapeError
from lamp.matrix_products import accumulate, product
from lamp.signatures import called

FEW = 256  # rows that are summed one after the other, which costs two digits of the last place


def affine(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """y = x M + b for x (K..., B..., m), M (K..., m, n), b (K..., n): y (K..., B..., n)."""
    if x.dim() == matrix.dim() == 2:  # the usual case
        return product(x, matrix, bias)
    lead = matrix.dim() - 2  # 1 in a population, else 0
    if x.dim() != lead + 2:  # several batch axes, or none
        flat = x.reshape(*x.shape[:lead], -1, x.shape[-1])
        return affine(flat, matrix, bias).view(*x.shape[:-1], matrix.shape[-1])
    return x.bmm(matrix) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, matrix)


def add_affine(dweight: Tensor, dbias: Tensor | None, dy: Tensor, x: Tensor) -> None:
    """dweight (K..., out, in) += dy^T x and dbias (K..., out) += sum of dy, over the batch axes of dy and x."""
    lead = dweight.dim() - 2
    if dy.dim() != lead + 2:
        dy, x = dy.reshape(*dy.shape[:lead], -1, dy.shape[-1]), x.reshape(*x.shape[:lead], -1, x.shape[-1])
    if lead:
        dweight.add_(dy.mT.bmm(x))  # baddbmm_ into rows of a flat buffer is several times slower
        if dbias is not None:
            dbias.add_(dy.sum(1))
        return
    dy_t = dy.t()  # (out, B)
    accumulate(dweight, dy_t, x)
    if dbias is not None:
        if dy.shape[0] <= FEW:
            dbias.addmv_(dy_t, _ones(dy.shape[0], dy.dtype, dy.device))  # a product with ones is the fastest small sum
        else:  # it adds one after the other, and would lose digits; this sum is one of sums
            dbias.add_(dy.sum(0))


def standing(dim: int, replicas: int | None) -> int:
    """The axis that is `dim` in a single network: in a population `dim + 1`, unless it is counted from the end."""
    return dim if replicas is None or dim < 0 else dim + 1


def replicas_of(tensor: Tensor) -> int | None:
    """K, if the tensor is marked as (K, ...), one row per replica; None otherwise."""
    return getattr(tensor, "replicas", None)


@called()
def per_replica(tensor: Tensor) -> Tensor:
    """A view of a tensor (K, ...), marked as having one row per replica.

    A population gives row k of a marked batch to replica k. It gives an unmarked batch, of any shape, to all replicas.
    The outputs of a population are marked. Operations on a tensor drop the mark, and this function restores it:

        criterion(lamp.per_replica(networks(x).squeeze(-1)), y)

    Raises ShapeError for a tensor without axes, and DTypeError for anything but a tensor.
    """
    if not isinstance(tensor, Tensor):
        raise DTypeError(
            "per_replica marks a tensor",
            expected="a tensor (K, ...), row k for replica k",
            got=type(tensor).__name__,
            fix="torch.stack the replicas' tensors first",
        )
    if tensor.dim() < 1:
        raise ShapeError(
            "per_replica marks the first axis as that of the replicas",
            expected="a tensor (K, ...)",
            got="a tensor ()",
            fix="torch.stack a tensor for each replica",
        )
    return marked(tensor, tensor.shape[0])


def marked(tensor: Tensor, replicas: int) -> Tensor:
    """A view of the tensor (K, ...) with the mark that `replicas_of` reads."""
    view = tensor.view_as(tensor)
    view.replicas = replicas  # type: ignore[attr-defined]
    return view


def column(number: Any, like: Tensor) -> Any:
    """A hyperparameter (K,) reshaped to (K, 1, ...), to broadcast against a tensor (K, ...). A float is unchanged."""
    if not isinstance(number, Tensor):
        return number
    return number.to(like).view(-1, *[1] * (like.dim() - 1))


def of_each_sample(number: Any, like: Tensor) -> Any:
    """Numbers (K,) repeated for the N samples of each replica, to broadcast against (K N, ...).

    Anything but a tensor (K,) is unchanged.
    """
    if not isinstance(number, Tensor) or number.dim() != 1:
        return number
    samples = like.shape[0] // len(number)
    return column(number.unsqueeze(1).expand(-1, samples).reshape(-1), like)


def merged(x: Tensor, replicas: int | None) -> Tensor:
    """The samples of all replicas, (K, B, ...), as one batch (K B, ...), for what is the same for all replicas."""
    return x if replicas is None else x.flatten(0, 1)


def parted(x: Tensor, replicas: int | None) -> Tensor:
    """The opposite of `merged`: (K B, ...) as (K, B, ...)."""
    return x if replicas is None else x.unflatten(0, (replicas, -1))


def side_by_side(x: Tensor, replicas: int | None) -> Tensor:
    """The channels of all replicas, (K, B, C, ...), as those of one network, (B, K C, ...)."""
    return x if replicas is None else x.transpose(0, 1).flatten(1, 2)


def apart(y: Tensor, replicas: int | None) -> Tensor:
    """The opposite of `side_by_side`: (B, K C, ...) as (K, B, C, ...)."""
    return y if replicas is None else y.unflatten(1, (replicas, -1)).transpose(0, 1)


def sums(values: Tensor, replicas: int | None) -> Tensor:
    """The sum of all values, (). In a population the sum per replica, (K,); the replicas' values follow each other."""
    return values.sum() if replicas is None else values.reshape(replicas, -1).sum(1)


def present(units: Tensor, like: Tensor) -> Tensor:
    """A mask (K, 1, features), True where replica k has the feature: the first units[k] of them. `units` is (K,)."""
    return torch.arange(like.shape[-1], device=like.device) < units.to(like.device).view(-1, 1, 1)


@lru_cache(maxsize=64)
def _ones(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(n, dtype=dtype, device=device)
