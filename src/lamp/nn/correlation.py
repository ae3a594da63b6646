"""A convolution of n axes and its two gradients, as functions of tensors.

Deep learning's convolution is a correlation: a window of the input, times the weight, is one number of the output. In
one dimension, with stride s, padding p (zeros on both sides) and dilation d:

    y[b, o, i] = bias[o] + sum over c and t of w[o, c, t] x[b, c, i s + t d - p]

Both gradients are read off this sum (docs/derivations/convolution.md):

    dx[b, c, j] = sum over o, i and t with i s + t d - p = j of w[o, c, t] dy[b, o, i]     a transposed convolution
    dw[o, c, t] = sum over b and i of x[b, c, i s + t d - p] dy[b, o, i]                   a correlation of x with dy

With groups, the channels fall into blocks, and the output channels of a block see its input channels only.
"""

from __future__ import annotations

import math
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

LANES = 8  # torch's kernels for groups compute so many channels at once
MUCH_WORK = 2**21  # multiplications that take far longer than a call


class Windows(NamedTuple):
    """How a window moves over the input: one number per axis, and the number of groups of channels."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def outputs(self, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """The sizes of the output's axes, for an input of these sizes."""
        axes = zip(sizes, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)

    def least_inputs(self, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """The smallest sizes of an input for which the output has these sizes."""
        axes = zip(sizes, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in axes)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, windows: Windows) -> Tensor:
    """y (B, out, ...) of x (B, in, ...) and weight (out, in / groups, ...)."""
    stride, padding, dilation, groups = windows
    if groups > 1 and _is_faster_apart(x, weight, windows):
        biases = repeat(None) if bias is None else bias.chunk(groups)
        parts = zip(x.chunk(groups, 1), weight.chunk(groups), biases, strict=False)
        return torch.cat([convolution(*part, windows._replace(groups=1)) for part in parts], 1)
    return torch.convolution(x, weight, bias, stride, padding, dilation, False, (0,) * len(stride), groups)


def _is_faster_apart(x: Tensor, weight: Tensor, windows: Windows) -> bool:
    """Whether groups are convolved faster one by one.

    On CPUs torch has fast kernels for groups of single channels, and for groups of 8, 16, ... channels. It takes up to
    four times as long for others, which matters where a group is much work.
    """
    inputs, outputs = weight.shape[1], weight.shape[0] // windows.groups
    if not x.is_cpu or inputs == outputs == 1 or inputs % LANES == outputs % LANES == 0:
        return False
    positions = math.prod(windows.outputs(tuple(x.shape[2:]), tuple(weight.shape[2:])))
    return x.shape[0] * positions * weight.numel() > MUCH_WORK * windows.groups


def input_gradient(
    dy: Tensor, weight: Tensor, sizes: tuple[int, ...], windows: Windows, bias: Tensor | None = None
) -> Tensor:
    """dx (B, in, *sizes) of dy (B, out, ...), the transposed convolution; plus a bias (in) if there is one.

    It spreads each number of dy over the window that it came from.
    """
    stride, padding, dilation, groups = windows
    kernel = tuple(weight.shape[2:])
    beyond = tuple(n - m for n, m in zip(sizes, windows.least_inputs(tuple(dy.shape[2:]), kernel), strict=True))
    around = tuple(d * (k - 1) - p for k, p, d in zip(kernel, padding, dilation, strict=True))
    if not any(beyond) and max(stride) == 1 and min(around) >= 0:  # the same as a convolution with the weight reversed
        by_group = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)  # (in, out / groups, ...)
        reversed_weight = by_group.flip(list(range(2, weight.dim())))
        return convolution(dy, reversed_weight, bias, Windows(stride, around, dilation, groups))  # up to 3 times faster
    return torch.convolution(dy, weight, bias, stride, padding, dilation, True, beyond, groups)


def weight_gradient(x: Tensor, dy: Tensor, kernel: tuple[int, ...], windows: Windows) -> Tensor:
    """dw (out, in / groups, *kernel) of x (B, in, ...) and dy (B, out, ...).

    dw is a sum of products of matrices, one for each sample and each offset t in the kernel: dy (out, positions) and
    the numbers of x that stand at t in their windows (positions, in). They are copied out of x for all offsets but
    those along the first axis. There a step of t is a step by one row of positions, so one copy serves all of them.
    """
    if x.dtype.itemsize < 4:  # sums over a whole batch in half precision would lose digits
        x, dy = x.float(), dy.float()
    stride, padding, dilation, groups = windows
    batch, channels = x.shape[:2]
    outputs, rest, (step, hop) = dy.shape[2:], kernel[1:], (stride[0], dilation[0])
    rows = (kernel[0] - 1) * hop // step + outputs[0]  # of every phase: rows 0, s, 2 s, ..., rows 1, s + 1, ...
    pads = [n for p in padding[:0:-1] for n in (p, p)]
    x = torch.constant_pad_nd(x, [*pads, padding[0], rows * step - padding[0] - x.shape[2]])
    of_batch, of_channel, of_row, *of_rest = x.stride()
    taken = x.as_strided(
        (batch, channels, *rest, step, rows, *outputs[1:]),
        (
            *(of_batch, of_channel),
            *(d * each for d, each in zip(dilation[1:], of_rest, strict=True)),
            *(of_row, of_row * step),
            *(s * each for s, each in zip(stride[1:], of_rest, strict=True)),
        ),
    )
    row, inputs = math.prod(outputs[1:]), channels // groups * math.prod(rest)
    taken = taken.reshape(batch * groups, inputs, step, rows * row)
    dy = dy.reshape(batch * groups, dy.shape[1] // groups, outputs[0] * row).mT  # (B groups, positions, out / groups)
    dw = dy.new_empty(kernel[0], groups, inputs, dy.shape[-1])
    for t in range(kernel[0]):
        first, phase = divmod(t * hop, step)
        at_t = taken[:, :, phase, first * row : first * row + outputs[0] * row]
        torch.sum(at_t.bmm(dy).unflatten(0, (batch, groups)), 0, out=dw[t])
    dw = dw.view(kernel[0], groups, channels // groups, *rest, -1)
    return dw.movedim((1, -1, 2, 0), (0, 1, 2, 3)).flatten(0, 1)
