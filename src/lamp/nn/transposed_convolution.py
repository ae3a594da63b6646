"""`ConvTranspose1d`, `ConvTranspose2d` and `ConvTranspose3d`: the gradient of a convolution as a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError, LampError, ShapeError
from lamp.nn.arguments import one_of, per_axis, sizes
from lamp.nn.convolution_module import ConvolutionModule
from lamp.nn.correlation import convolution, input_gradient, weight_gradient


class TransposedConvolution(ConvolutionModule):
    """Base of ConvTranspose1d, ConvTranspose2d and ConvTranspose3d; the first of these explains its arguments.

    A convolution with the same weight takes inputs like this module's outputs to outputs like its inputs. So the
    forward here is the input gradient there, and dx here the forward there; in dweight, x and dy change places.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        init: Callable[..., Any] | None = None,
    ) -> None:
        self._configure(out_channels, kernel_size, stride, dilation, groups)
        self.padding = per_axis(self, "padding", padding, self.axes, least=0)
        self.output_padding = per_axis(self, "output_padding", output_padding, self.axes, least=0)
        self.padding_mode = one_of(self, "padding_mode", padding_mode, "zeros")
        for added, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True):
            if added >= max(s, d):
                raise ArgumentError(
                    f"{type(self).__name__}: output_padding is too large",
                    expected=f"less than the stride or the dilation: stride={self.stride}, dilation={self.dilation}",
                    got=f"output_padding={self.output_padding}",
                    fix="choose less; it only says which of the sizes is meant that a convolution takes to one",
                )
        self._build(in_channels, bias, device, dtype, init)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        bias = None if self.bias is None else self._side_by_side(self.bias)
        try:
            x, is_sample, windows = self._batch(input), self._is_sample(input), self._windows(self.padding)
            outputs = self._outputs(tuple(x.shape[2:]), output_size, input.dim() - standing(0, self.replicas))
            y = input_gradient(x, self._side_by_side(self.weight), outputs, windows, bias)
        except (RuntimeError, IndexError, AttributeError, TypeError) as error:
            raise self._explain(input, error) from None
        output = self._as_given(y, is_sample)
        self.remember((x, is_sample, output.shape))
        return output

    def trace(self, tracer: Any, x: Any) -> Any:
        self._check_value(x)
        outputs = self._outputs(tuple(x.shape[1:]))
        options = {"padding": self.padding, "output_padding": self.output_padding}
        return self._traced(tracer, x, "ConvTranspose", outputs, **options)

    def backward(self, dy: Tensor) -> Tensor:
        x, dy, is_sample = self._back(dy)
        dx = convolution(dy, self._side_by_side(self.weight), None, self._windows(self.padding))
        for axis, n in enumerate(x.shape[2:], 2):
            dx = dx.narrow(axis, 0, n)  # an output_padding of more than the stride makes dx longer than x
        return self._as_given(dx, is_sample)

    def backward_parameters(self, dy: Tensor) -> None:
        self._back(dy)

    def _back(self, dy: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Add the gradients of the parameters. Returns x and dy as batches, and whether x was a single sample."""
        x, is_sample, shape = self.recall()
        dy = self._checked(dy, shape)
        self._add_gradients(weight_gradient(dy, x, self.kernel_size, self._windows(self.padding)), dy)
        return x, dy, is_sample

    # ---- sizes -----------------------------------------------------------------------------------------------------
    def _outputs(self, inputs: tuple[int, ...], output_size: Any = None, axes: int = 0) -> tuple[int, ...]:
        """The sizes of the output's last axes. `axes` is the number of axes that output_size may have in all."""
        least = self._windows(self.padding).least_inputs(inputs, self.kernel_size)
        if output_size is None:
            return tuple(n + added for n, added in zip(least, self.output_padding, strict=True))
        given = sizes(list(output_size)) if isinstance(output_size, tuple | list) else None
        wanted = given[-self.axes :] if given is not None and len(given) in (self.axes, axes) else ()
        largest = tuple(n + s - 1 for n, s in zip(least, self.stride, strict=True))
        fits = zip(least, wanted, largest, strict=False)
        if len(wanted) != self.axes or not all(low <= n <= high for low, n, high in fits):
            raise ArgumentError(
                f"{type(self).__name__}: output_size does not fit",
                expected=f"sizes of {self.axes} axes from {least} to {largest}, for an input {inputs}",
                got=f"output_size={output_size!r}",
                fix="choose one of these sizes, or leave output_size out",
            )
        return wanted

    def _misfit(self, shape: tuple[Any, ...]) -> LampError | None:
        wrong = super()._misfit(shape)
        if wrong is None and any(n < 1 for n in self._outputs(shape[-self.axes :])):
            return ShapeError(
                f"this {type(self).__name__} has no output for so small an input",
                expected="an output of at least 1 on each axis",
                got=f"{self._outputs(shape[-self.axes :])} for {shape}".replace("'", ""),
                fix="less padding, or more output_padding",
            )
        return wrong

    def _least(self) -> tuple[int, ...]:
        return (1,) * self.axes


class ConvTranspose1d(TransposedConvolution):
    """Transposed convolution of the last axis: each number of the input adds a weight, times itself, to a window.

    y[b, o, j] = bias[o] + sum of weight[c, o, t] x[b, c, i] over c, and over i and t with
                 i stride + t dilation - padding = j

    It is to Conv1d, with the same options, what that one's backward is: it takes outputs' sizes to inputs'. With a
    stride it makes signals longer, as decoders and generators need it.

    stride          the step from one window of the output to the next
    padding         how many numbers are left out on both sides of the output
    output_padding  how many more there are at its end: with a stride s, Conv1d takes s sizes to one, and this says
                    which is meant. `forward(input, output_size=...)` says it by the size
    init            a function of lamp.init for the weight; the bias is 0 then

    Shapes    x (B, in, L) or (in, L)   weight (in, out / groups, kernel_size)   bias (out)   y (B, out, L')
              L' = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1
    Backward  dx = convolution of dy with the weight
              dweight[c, o, t] = sum over b and i of x[b, c, i] dy[b, o, i stride + t dilation - padding]
              dbias = sum over b and j of dy            (docs/derivations/convolution.md)
    Init      weight and bias uniform in +-1/sqrt(out kernel_size / groups)
    Source    torch.nn.ConvTranspose1d; Zeiler et al. 2010, "Deconvolutional networks"

    Raises ArgumentError for options that do not fit together, and an output_size that cannot be; ShapeError, DTypeError
    or DeviceError for an input or a gradient that does not fit.
    """

    axes = 1


class ConvTranspose2d(TransposedConvolution):
    """Transposed convolution of the last two axes, such as images: ConvTranspose1d with windows of two axes.

    Options are an integer for both axes, or a tuple with one for each; ConvTranspose1d explains them.

    Shapes    x (B, in, H, W) or (in, H, W)   weight (in, out / groups, kernel height, kernel width)   bias (out)
              y (B, out, H', W'), with H' and W' as L' in ConvTranspose1d
    Backward  as in ConvTranspose1d, summed over both axes
    Init      weight and bias uniform in +-1/sqrt(out kernel height kernel width / groups)
    Source    torch.nn.ConvTranspose2d; Zeiler et al. 2010

    Raises the same errors as ConvTranspose1d.
    """

    axes = 2


class ConvTranspose3d(TransposedConvolution):
    """Transposed convolution of the last three axes: ConvTranspose1d with windows of three axes.

    Options are an integer for all axes, or a tuple with one for each; ConvTranspose1d explains them.

    Shapes    x (B, in, D, H, W) or (in, D, H, W)   weight (in, out / groups, *kernel_size)   bias (out)
              y (B, out, D', H', W'), with D', H' and W' as L' in ConvTranspose1d
    Backward  as in ConvTranspose1d, summed over all three axes
    Init      weight and bias uniform in +-1/sqrt(out (product of kernel_size) / groups)
    Source    torch.nn.ConvTranspose3d

    Raises the same errors as ConvTranspose1d.
    """

    axes = 3
