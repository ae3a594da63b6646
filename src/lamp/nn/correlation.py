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
BLOCK = 16  # they arrange channels in blocks of so many
MUCH_MEMORY, PARTS = 3 * 2**20, 4  # numbers of an output that is computed in so many parts
AT_ONCE = 3 * 2**18  # numbers that a weight gradient copies and adds up at a time


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
    given = (weight, bias, stride, padding, dilation, False, (0,) * len(stride), groups)
    if not _takes_much_memory(x, weight, windows):
        return torch.convolution(x, *given)
    sizes = windows.outputs(tuple(x.shape[2:]), tuple(weight.shape[2:]))
    y = x.new_empty(x.shape[0], weight.shape[0], *sizes)
    for x_part, y_part in zip(x.chunk(PARTS), y.chunk(PARTS), strict=True):
        y_part.copy_(torch.convolution(x_part, *given))
    return y


def _takes_much_memory(x: Tensor, weight: Tensor, windows: Windows) -> bool:
    """Whether a convolution is better computed in parts of the batch.

    On CPUs torch computes an output in an arrangement of its own first, with a multiple of 16 channels. That is a
    second copy, or a larger one. The system takes long to give memory for it, if it is very large.
    """
    out = weight.shape[0]
    if not x.is_cpu or x.shape[0] < PARTS or x.shape[0] * x[0, 0].numel() * out < MUCH_MEMORY // 32:
        return False
    positions = math.prod(windows.outputs(tuple(x.shape[2:]), tuple(weight.shape[2:])))
    numbers = x.shape[0] * positions * -(-out // BLOCK) * BLOCK
    return numbers >= (MUCH_MEMORY if out % BLOCK == 0 else MUCH_MEMORY // 4)


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
    groups, (step, hop) = windows.groups, (windows.stride[0], windows.dilation[0])
    outputs, rest = tuple(dy.shape[2:]), kernel[1:]
    rows = (kernel[0] - 1) * hop // step + outputs[0]  # of every phase: rows 0, s, 2 s, ..., rows 1, s + 1, ...
    row, inputs, out = math.prod(outputs[1:]), x.shape[1] // groups * math.prod(rest), dy.shape[1] // groups
    # Some samples at a time, so that copies and products stay in the processor's cache.
    numbers = groups * inputs * (step * rows * row + kernel[0] * out)  # of a sample
    batch = max(-(-len(x) // -(-len(x) * numbers // AT_ONCE)), 1) if numbers and len(x) else 1
    dw = dy.new_zeros(kernel[0], batch * groups, inputs, out)
    for x_part, dy_part in zip(x.split(batch), dy.split(batch), strict=True):
        taken = _taken(x_part, outputs, rest, rows, windows).reshape(-1, inputs, step, rows * row)
        dy_part = dy_part.reshape(len(taken), out, outputs[0] * row).mT  # (B groups, positions, out / groups)
        for t in range(kernel[0]):
            first, phase = divmod(t * hop, step)
            at_t = taken[:, :, phase, first * row : first * row + outputs[0] * row]
            dw[t, : len(taken)].baddbmm_(at_t, dy_part)
    dw = dw.view(kernel[0], batch, groups, x.shape[1] // groups, *rest, out).sum(1)
    return dw.movedim((1, -1, 2, 0), (0, 1, 2, 3)).flatten(0, 1)


def _taken(x: Tensor, outputs: tuple[int, ...], rest: tuple[int, ...], rows: int, windows: Windows) -> Tensor:
    """A view (B, in, *rest, step, rows, *outputs[1:]) of x with its padding: what stands at each offset in the kernel.

    Of the first axis, with steps of `step`, there are all rows of each phase.
    """
    stride, padding, dilation, _ = windows
    pads = [*(n for p in padding[:0:-1] for n in (p, p)), padding[0], rows * stride[0] - padding[0] - x.shape[2]]
    x = torch.constant_pad_nd(x, pads) if any(pads) else x
    of_batch, of_channel, of_row, *of_rest = x.stride()
    return x.as_strided(
        (*x.shape[:2], *rest, stride[0], rows, *outputs[1:]),
        (
            *(of_batch, of_channel),
            *(d * each for d, each in zip(dilation[1:], of_rest, strict=True)),
            *(of_row, of_row * stride[0]),
            *(s * each for s, each in zip(stride[1:], of_rest, strict=True)),
        ),
    )
