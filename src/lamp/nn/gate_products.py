"""Products of recurrent cells: of inputs and states with the weights of each gate, and back.

Gates stand first, (G, ..., H), and have an order of their own, which says for each gate the place of its rows in the
weights. In a population K stands after G.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from lamp.matrix_products import accumulate, onednn, product


def adding(a: Tensor, b: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The operation x += a b on matrices like these, or on one per replica."""
    if b.dim() != 2:
        return Tensor.baddbmm_
    return Tensor.addmm_ if onednn(a, b) is None else accumulate


def rows_of(weight: Tensor, order: Sequence[int], axis: int = -2) -> list[Tensor]:
    """The rows of each gate, in this order: views of a weight (G H, ...), or with axis=-1 of a bias (G H)."""
    blocks = weight.chunk(len(order), axis)
    return [blocks[k] for k in order]


def write_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out = a b for matrices."""
    if onednn(a, b) is None:
        torch.mm(a, b, out=out)
    else:
        out.copy_(product(a, b))


def dbias_of(dgates: Tensor, order: Sequence[int]) -> Tensor:
    """The gradient of a bias (G H), from those of the gates (G, N, H) in this order."""
    sums = dgates.sum(-2)  # (G, H)
    return torch.cat([sums[order.index(k)] for k in range(len(order))], -1)


def add_products(dweight: Tensor, order: Sequence[int], dgates: Tensor, x: Tensor) -> None:
    """Add dgate^T x to the rows of each gate. The gates (G, N, H) are in this order, and x is (N, in).

    One product of G matrices shares the processor's cores better than G products, one after another.
    """
    if x.dim() == 3:
        products: Iterable[Tensor] = (gate.mT.bmm(x) for gate in dgates)
    elif onednn(dgates[0].mT, x) is None:
        products = dgates.mT.bmm(x.expand(len(order), *x.shape))
    else:
        products = (product(gate.mT, x) for gate in dgates)
    for block, each in zip(rows_of(dweight, order), products, strict=True):
        block.add_(each)


def add_state_by(h: Tensor, weight: Tensor, order: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """How a step adds the state's part of its gates: add_state(h, gates, out) writes gates + h W^T into out (G, B, H).

    The matrices are (G, H, H); in a population K stands after G.
    """
    blocks = rows_of(weight, order)
    if h.dim() == 2 and onednn(h, weight.mT) is not None:
        matrix = torch.cat(blocks).mT

        def in_one(h: Tensor, gates: Tensor, out: Tensor) -> Tensor:
            part = product(h, matrix).view(len(h), len(order), -1)  # (B, G, H)
            return torch.add(part.transpose(0, 1), gates, out=out)

        return in_one
    matrices, multiply = torch.stack([block.mT for block in blocks]), torch.bmm if h.dim() == 2 else torch.matmul
    shape = [len(order), *h.shape]

    def of_each(h: Tensor, gates: Tensor, out: Tensor) -> Tensor:
        return multiply(h.expand(shape), matrices, out=out).add_(gates)

    return of_each
