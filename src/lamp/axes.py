"""Which axis is which: products and sums over batch and feature axes, in one place.

Axes of a batch are (B..., features): any number of batch axes, features last. The functions named `add_...` add into
their first argument, as gradients are.
"""

from functools import lru_cache

import torch
from torch import Tensor


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """y = x W^T + b for x (B..., in), W (out, in), b (out): y (B..., out)."""
    if x.dim() != 2:
        return affine(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], weight.shape[0])
    return x.mm(weight.t()) if bias is None else bias.addmm(x, weight.t())


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """y = x W for x (B..., out), W (out, in): y (B..., in)."""
    return x.mm(weight) if x.dim() == 2 else x.matmul(weight)


def add_affine(dweight: Tensor, dbias: Tensor | None, dy: Tensor, x: Tensor) -> None:
    """dweight (out, in) += dy^T x and dbias (out) += sum of dy, over the batch axes of dy (B..., out), x (B..., in)."""
    if dy.dim() != 2:
        dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    dy_t = dy.t()  # (out, B)
    dweight.addmm_(dy_t, x)
    if dbias is not None:
        dbias.addmv_(dy_t, _ones(dy.shape[0], dy.dtype, dy.device))  # a product with ones is the fastest small sum


@lru_cache(maxsize=64)
def _ones(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(n, dtype=dtype, device=device)
