"""Padding of the last axes of a tensor, and its gradient.

`pads` are written as in torch, from the last axis on: (before, after) of the last axis, then of the one before it. A
negative number crops. The modes say what a border holds; here 2 numbers are added on both sides of a b c d:

    constant   0 0 a b c d 0 0    a value, 0 by default
    reflect    c b a b c d c b    the numbers next to the edge, mirrored at it
    replicate  a a a b c d d d    the number at the edge
    circular   c d a b c d a b    the numbers at the other end

Each number of a border is a copy, so its gradient is added to that of the number it was copied from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

MODES = ("constant", "reflect", "replicate", "circular")


def padded(x: Tensor, pads: Sequence[int], mode: str, value: float = 0.0) -> Tensor:
    """A copy of x with borders."""
    if mode == "constant":
        return torch.constant_pad_nd(x, list(pads), value)
    widths, crops = _split(pads)
    if mode == "circular":  # the end that a border continues with is that of the cropped tensor
        x = torch.constant_pad_nd(x, crops)
    y = x.new_empty([n + before + after for n, before, after in _axes(x, widths)])
    _interior(y, widths).copy_(x)
    for border, source, dim in _borders(y, widths, mode):
        border.copy_(source.flip(dim) if mode == "reflect" else source)
    return y if mode == "circular" else _cropped(y, crops)


def padded_gradient(dy: Tensor, pads: Sequence[int], mode: str) -> Tensor:
    """dx of y = padded(x), given dy: the borders' gradients, added to those of the numbers they are copies of."""
    if mode == "constant":
        return torch.constant_pad_nd(dy, [-n for n in pads])
    widths, crops = _split(pads)
    grown = [-n for n in crops]
    dy = dy.clone(memory_format=torch.contiguous_format) if mode == "circular" else torch.constant_pad_nd(dy, grown)
    for border, source, dim in reversed(list(_borders(dy, widths, mode))):
        if mode == "replicate":
            source.add_(border.sum(dim, keepdim=True))
        else:
            source.add_(border.flip(dim) if mode == "reflect" else border)
    dx = _interior(dy, widths)
    return _cropped(dx, grown) if mode == "circular" else dx


def misfit(shape: Sequence[int], pads: Sequence[int], mode: str) -> str | None:
    """What sizes of the last axes these pads need, if the shape has others; None if it fits."""
    for k in range(len(pads) // 2):
        n, before, after = shape[-1 - k], pads[2 * k], pads[2 * k + 1]
        widest, cropped = max(before, after), -min(before, 0) - min(after, 0)
        least = {  # reflect and replicate crop last, and have an output
            "constant": max(cropped, -before - after),
            "reflect": max(widest, 0, -before - after) + 1,
            "replicate": max(0, -before - after) + 1,
            "circular": max(widest, 0) + cropped,
        }[mode]
        if n < least:
            return f"at least {least} on axis {-1 - k}, for pads ({before}, {after})"
    return None


def _borders(y: Tensor, widths: Sequence[int], mode: str) -> Iterator[tuple[Tensor, Tensor, int]]:
    """For each border: it, the part of y that it copies, and the axis; the borders of later axes include the corners.

    A replicated border copies a part of width 1.
    """
    for k in range(len(widths) // 2):
        dim, before, after = -1 - k, widths[2 * k], widths[2 * k + 1]
        end = y.shape[dim] - after
        first, last = {
            "reflect": (before + 1, end - 1 - after),
            "replicate": (before, end - 1),
            "circular": (end - before, before),
        }[mode]
        if before:
            yield y.narrow(dim, 0, before), y.narrow(dim, first, 1 if mode == "replicate" else before), dim
        if after:
            yield y.narrow(dim, end, after), y.narrow(dim, last, 1 if mode == "replicate" else after), dim


def _split(pads: Sequence[int]) -> tuple[list[int], list[int]]:
    """The widths of the borders, and what is cropped (numbers up to 0)."""
    return [max(n, 0) for n in pads], [min(n, 0) for n in pads]


def _axes(x: Tensor, widths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The size of each axis, with the widths of its borders."""
    for axis, n in enumerate(x.shape):
        k = x.dim() - 1 - axis
        yield (n, widths[2 * k], widths[2 * k + 1]) if 2 * k < len(widths) else (n, 0, 0)


def _interior(y: Tensor, widths: Sequence[int]) -> Tensor:
    """y without its borders."""
    for k in range(len(widths) // 2):
        y = y.narrow(-1 - k, widths[2 * k], y.shape[-1 - k] - widths[2 * k] - widths[2 * k + 1])
    return y


def _cropped(x: Tensor, crops: Sequence[int]) -> Tensor:
    return torch.constant_pad_nd(x, list(crops)) if any(crops) else x
