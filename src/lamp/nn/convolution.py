"""`Conv1d`, `Conv2d` and `Conv3d`: one number of the output for each position of a window on the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, LampError, ShapeError
from lamp.nn.arguments import one_of, per_axis
from lamp.nn.borders import misfit, padded, padded_gradient
from lamp.nn.convolution_module import ConvolutionModule
from lamp.nn.correlation import convolution, input_gradient, weight_gradient
from lamp.nn.padding import pad_in_graph

MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class Convolution(ConvolutionModule):
    """Base of Conv1d, Conv2d and Conv3d; the first of these explains its arguments."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Callable[..., Any] | None = None,
    ) -> None:
        self._configure(out_channels, kernel_size, stride, dilation, groups)
        if isinstance(padding, str):
            self.padding = one_of(self, "padding", padding, "same", "valid")
            if padding == "same" and max(self.stride) > 1:
                raise ArgumentError(
                    f"{type(self).__name__}: with a stride the output cannot have the input's size",
                    expected='stride=1 with padding="same"',
                    got=f"stride={self.stride}",
                    fix="give padding as a number",
                )
        else:
            self.padding = per_axis(self, "padding", padding, self.axes, least=0)
        self.output_padding = (0,) * self.axes
        self.padding_mode = one_of(self, "padding_mode", padding_mode, *MODES)
        self._build(in_channels, bias, device, dtype, init)

    # ---- forward and backward --------------------------------------------------------------------------------------
    _hands_over = True

    def forward(self, input: Tensor) -> Tensor:
        try:
            # A batch that all replicas of a population share has the stride 0. Then one convolution with K times as
            # many output channels does it.
            shared = self.replicas is not None and self.groups == 1 and input.stride(0) == 0
            x, is_sample = self._batch(input[:1] if shared else input), self._is_sample(input)
            zeros, pads = self._paddings()
            windows = self._windows(zeros)._replace(groups=1) if shared else self._windows(zeros)
            bias = None if self.bias is None else self._side_by_side(self.bias)
            y = convolution(self._bordered(x, pads), self._side_by_side(self.weight), bias, windows)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise self._explain(input, error) from None
        output = self._as_given(y, is_sample)
        self.remember((x, is_sample, output.shape))
        return output

    def trace(self, tracer: Any, x: Any) -> Any:
        self._check_value(x)
        zeros, pads = self._paddings()
        if pads is not None:
            x = pad_in_graph(tracer, self, x, pads, MODES[self.padding_mode])
        outputs = self._windows(zeros).outputs(x.shape[1:], self.kernel_size)
        return self._traced(tracer, x, "Conv", outputs, padding=zeros)

    def backward(self, dy: Tensor) -> Tensor:
        x, dy, is_sample = self._back(dy)
        zeros, pads = self._paddings()
        borders = pads or (0,) * (2 * self.axes)
        sizes = tuple(n + sum(borders[2 * k : 2 * k + 2]) for k, n in enumerate(x.shape[:1:-1]))[::-1]
        dx = input_gradient(dy, self._side_by_side(self.weight), sizes, self._windows(zeros))
        return self._as_given(dx if pads is None else padded_gradient(dx, pads, MODES[self.padding_mode]), is_sample)

    def backward_parameters(self, dy: Tensor) -> None:
        self._back(dy)

    def _back(self, dy: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Add the gradients of the parameters. Returns x and dy as batches, and whether x was a single sample."""
        x, is_sample, shape = self.recall()
        dy = self._checked(dy, shape)
        zeros, pads = self._paddings()
        windows = self._windows(zeros)
        if x.shape[1] == self.in_channels:  # one network, or one batch for all
            windows = windows._replace(groups=self.groups)
        self._add_gradients(weight_gradient(self._bordered(x, pads), dy, self.kernel_size, windows), dy)
        return x, dy, is_sample

    # ---- padding ---------------------------------------------------------------------------------------------------
    def _paddings(self) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """The zeros per axis that the convolution adds itself; and the borders to add before, as in lamp.nn.borders.

        They are None where it adds all, and that is where both sides of each axis get the same number of zeros.
        """
        if self.padding == "valid":
            return (0,) * self.axes, None
        if self.padding == "same":
            total = tuple(d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True))
        else:
            total = tuple(2 * n for n in self.padding)
        if self.padding_mode == "zeros" and not any(n % 2 for n in total):
            return tuple(n // 2 for n in total), None
        return (0,) * self.axes, tuple(each for n in total[::-1] for each in (n // 2, n - n // 2))

    def _bordered(self, x: Tensor, pads: tuple[int, ...] | None) -> Tensor:
        """A batch with these borders."""
        if pads is None:
            return x
        mode = MODES[self.padding_mode]
        if misfit(x.shape, pads, mode) is not None:
            raise IndexError("the borders are wider than the input")  # `_misfit` says it in detail
        return padded(x, pads, mode)

    def _misfit(self, shape: tuple[Any, ...]) -> LampError | None:
        wrong, (_, pads) = super()._misfit(shape), self._paddings()
        if wrong is not None or pads is None:
            return wrong
        needed = misfit(shape, pads, MODES[self.padding_mode])
        if needed is None:
            return None
        return ShapeError(
            f"the input is too small for borders of padding_mode={self.padding_mode!r}",
            expected=needed,
            got=str(shape).replace("'", ""),
            fix="pad less, or with zeros",
        )

    def _least(self) -> tuple[int, ...]:
        zeros, pads = self._paddings()
        added = [2 * n for n in zeros] if pads is None else [sum(pads[k : k + 2]) for k in range(len(pads) - 2, -1, -2)]
        axes = zip(self.kernel_size, self.dilation, added, strict=True)
        return tuple(max(d * (k - 1) + 1 - n, 0) for k, d, n in axes)


class Conv1d(Convolution):
    """Convolution of the last axis: each number of the output is a window of the input times a weight.

    y[b, o, i] = bias[o] + sum over c and t of weight[o, c, t] x[b, c, i stride + t dilation - padding]

    stride        the step from one window to the next
    padding       the zeros on both sides of the input. "same" adds as many as the output needs to have the input's
                  size, "valid" none
    padding_mode  what the input is padded with: "zeros", or as "reflect", "replicate" and "circular" in lamp.nn.borders
    dilation      the step between the numbers of a window
    groups        the number of blocks of channels; the outputs of a block see the inputs of that block only
    init          a function of lamp.init for the weight; the bias is 0 then

    Shapes    x (B, in, L) or (in, L)   weight (out, in / groups, kernel_size)   bias (out)   y (B, out, L')
              L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1
    Backward  dx[b, c, j] = sum of weight[o, c, t] dy[b, o, i] over o, and over i and t that meet at j: a transposed
              convolution
              dweight[o, c, t] = sum over b and i of dy[b, o, i] x[b, c, i stride + t dilation - padding]
              dbias = sum over b and i of dy            (docs/derivations/convolution.md)
    Init      weight and bias uniform in +-1/sqrt(in kernel_size / groups)
    Source    torch.nn.Conv1d; LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition"

    Raises ArgumentError for options that do not fit together; ShapeError, DTypeError or DeviceError for an input or a
    gradient that does not fit.
    """

    axes = 1


class Conv2d(Convolution):
    """Convolution of the last two axes, such as images: Conv1d with windows (kernel height, kernel width).

    Options are an integer for both axes, or a tuple with one for each; Conv1d explains them.

    Shapes    x (B, in, H, W) or (in, H, W)   weight (out, in / groups, kernel height, kernel width)   bias (out)
              y (B, out, H', W'), with H' and W' as L' in Conv1d
    Backward  as in Conv1d, summed over both axes
    Init      weight and bias uniform in +-1/sqrt(in kernel height kernel width / groups)
    Source    torch.nn.Conv2d; LeCun et al. 1998, "Gradient-based learning applied to document recognition"

    Raises the same errors as Conv1d.
    """

    axes = 2


class Conv3d(Convolution):
    """Convolution of the last three axes, such as volumes or films: Conv1d with windows of three axes.

    Options are an integer for all axes, or a tuple with one for each; Conv1d explains them.

    Shapes    x (B, in, D, H, W) or (in, D, H, W)   weight (out, in / groups, *kernel_size)   bias (out)
              y (B, out, D', H', W'), with D', H' and W' as L' in Conv1d
    Backward  as in Conv1d, summed over all three axes
    Init      weight and bias uniform in +-1/sqrt(in (product of kernel_size) / groups)
    Source    torch.nn.Conv3d

    Raises the same errors as Conv1d.
    """

    axes = 3
