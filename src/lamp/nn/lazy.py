"""Lazy modules, which learn the number of their inputs' features or channels from their first input.

A lazy module has no weights until its first forward. That builds the plain module for the input that it got, and the
lazy module becomes this one, its class included: a LazyConv2d is a Conv2d from then on. So nothing but this file knows
of lazy modules, except that an optimizer, a population or a file that needs their parameters before gets an error.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.devices import device_of, floating
from lamp.errors import NotTraceable
from lamp.module import Module
from lamp.nn.checks import explain_axes, explain_numbers
from lamp.nn.convolution import Conv1d, Conv2d, Conv3d
from lamp.nn.convolution_module import AXES
from lamp.nn.linear import Linear
from lamp.nn.transposed_convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from lamp.parameter import Buffer, Parameter
from lamp.uninitialized import UninitializedParameter


class LazyModule(Module):
    """Base of lazy modules. A subclass inherits from the class that it becomes, too, and names it as `becomes`."""

    becomes: ClassVar[Any]  # the class of modules
    counted: ClassVar[str]  # the argument that the first input gives, such as "in_features"

    def _postpone(self, options: dict[str, Any], device: Any, dtype: Any, least: int = 1) -> None:
        """Check and keep the options. `least` is a number of inputs with which the plain module can be built."""
        built = self.becomes(least, **options, device="meta", dtype=dtype)
        vars(self).update(vars(built))
        setattr(self, self.counted, 0)
        place = torch.empty(0, device=device_of(device), dtype=floating(dtype))
        for name, _ in list(built._members(Buffer)):
            setattr(self, name, None)
        for name in dict(built._members(Parameter)) or ("weight",):  # one stands for the buffers where there is none
            setattr(self, name, UninitializedParameter(place, owner=repr(self)))
        self._options = options

    def initialize_parameters(self, input: Tensor) -> None:
        """Become the plain module for inputs like this one, with new weights; the dtype and device are the module's.

        Raises DTypeError or ShapeError for an input of which the plain module could not take any.
        """
        waiting = dict(self._members(Parameter))
        first = next(iter(waiting.values()))
        built = self.becomes(self._count(input), **self._options, device=first.device, dtype=first.dtype)
        for name, parameter in built._members(Parameter):
            parameter.freeze(waiting[name].frozen)
        del self._options
        self.__class__ = self.becomes
        vars(self).update(vars(built))

    def forward(self, input: Tensor) -> Tensor:
        self.initialize_parameters(input)
        output: Tensor = self.forward(input)  # the plain module's by now
        return output

    def trace(self, tracer: Any, x: Any) -> Any:
        raise NotTraceable(
            f"{type(self).__name__} has no parameters before its first forward",
            expected="a network that was called once",
            got="a lazy module that has seen no input",
            fix="call the network on a batch first: model(x)",
        )

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Do nothing: there is nothing to initialise before the first forward, which does it."""

    def _count(self, x: Tensor) -> int:
        """The number of features or channels of an input."""
        raise NotImplementedError


class LazyLinear(LazyModule, Linear):
    """A Linear that takes `in_features` from its first input, and is a plain Linear from then on.

    Shapes    as in Linear
    Backward  as in Linear
    Init      as in Linear, at the first forward
    Source    torch.nn.LazyLinear

    Before its first forward it has no parameters: an optimizer, a population, a trace or a file that needs them gets
    an error. Call the network on a batch first.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input that is no batch of features.
    """

    becomes, counted = Linear, "in_features"

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._postpone({"out_features": out_features, "bias": bias}, device, dtype)

    def _count(self, x: Tensor) -> int:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        if x.dim() == 0 or x.shape[-1] == 0:
            raise explain_axes(self, x, "(B..., in)", "pass inputs with features on the last axis")
        return x.shape[-1]


class _LazyWindows(LazyModule):
    """What lazy convolutions share."""

    counted = "in_channels"
    axes: ClassVar[int]

    def _count(self, x: Tensor) -> int:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        if x.dim() - self.axes not in (1, 2) or x.shape[-1 - self.axes] == 0:
            sizes = AXES[self.axes]
            raise explain_axes(self, x, f"(B, in, {sizes}) or (in, {sizes})", "reshape the input")
        return x.shape[-1 - self.axes]


class LazyConvolution(_LazyWindows):
    """Base of LazyConv1d, LazyConv2d and LazyConv3d."""

    def __init__(
        self,
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
    ) -> None:
        options = {"out_channels": out_channels, "kernel_size": kernel_size, "stride": stride, "padding": padding}
        options |= {"dilation": dilation, "groups": groups, "bias": bias, "padding_mode": padding_mode}
        self._postpone(options, device, dtype, groups)


class LazyTransposedConvolution(_LazyWindows):
    """Base of LazyConvTranspose1d, LazyConvTranspose2d and LazyConvTranspose3d."""

    def __init__(
        self,
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
    ) -> None:
        options = {"out_channels": out_channels, "kernel_size": kernel_size, "stride": stride, "padding": padding}
        options |= {"output_padding": output_padding, "groups": groups, "bias": bias, "dilation": dilation}
        self._postpone({**options, "padding_mode": padding_mode}, device, dtype, groups)

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        self.initialize_parameters(input)
        output: Tensor = self.forward(input, output_size)  # the plain module's by now
        return output


class LazyConv1d(LazyConvolution, Conv1d):
    """A Conv1d that takes `in_channels` from its first input, and is a plain Conv1d from then on.

    Shapes    as in Conv1d
    Backward  as in Conv1d
    Init      as in Conv1d, at the first forward
    Source    torch.nn.LazyConv1d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = Conv1d


class LazyConv2d(LazyConvolution, Conv2d):
    """A Conv2d that takes `in_channels` from its first input, and is a plain Conv2d from then on.

    Shapes    as in Conv2d
    Backward  as in Conv2d
    Init      as in Conv2d, at the first forward
    Source    torch.nn.LazyConv2d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = Conv2d


class LazyConv3d(LazyConvolution, Conv3d):
    """A Conv3d that takes `in_channels` from its first input, and is a plain Conv3d from then on.

    Shapes    as in Conv3d
    Backward  as in Conv3d
    Init      as in Conv3d, at the first forward
    Source    torch.nn.LazyConv3d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = Conv3d


class LazyConvTranspose1d(LazyTransposedConvolution, ConvTranspose1d):
    """A ConvTranspose1d that takes `in_channels` from its first input, and is a plain ConvTranspose1d from then on.

    Shapes    as in ConvTranspose1d
    Backward  as in ConvTranspose1d
    Init      as in ConvTranspose1d, at the first forward
    Source    torch.nn.LazyConvTranspose1d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = ConvTranspose1d


class LazyConvTranspose2d(LazyTransposedConvolution, ConvTranspose2d):
    """A ConvTranspose2d that takes `in_channels` from its first input, and is a plain ConvTranspose2d from then on.

    Shapes    as in ConvTranspose2d
    Backward  as in ConvTranspose2d
    Init      as in ConvTranspose2d, at the first forward
    Source    torch.nn.LazyConvTranspose2d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = ConvTranspose2d


class LazyConvTranspose3d(LazyTransposedConvolution, ConvTranspose3d):
    """A ConvTranspose3d that takes `in_channels` from its first input, and is a plain ConvTranspose3d from then on.

    Shapes    as in ConvTranspose3d
    Backward  as in ConvTranspose3d
    Init      as in ConvTranspose3d, at the first forward
    Source    torch.nn.LazyConvTranspose3d

    Before its first forward it has no parameters, as LazyLinear says.

    Raises ArgumentError for wrong options; ShapeError or DTypeError for a first input without channels.
    """

    becomes = ConvTranspose3d
