"""What convolutions and transposed convolutions share: options, initial weights, axes of replicas and batch, errors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp import init
from lamp.axes import apart, side_by_side, standing
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, LampError, NotTraceable, ShapeError
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_size, an_init, filled, per_axis
from lamp.nn.checks import explain_gradient, explain_unlike, not_a_tensor
from lamp.nn.correlation import Windows
from lamp.parameter import Parameter

AXES = {1: "L", 2: "H, W", 3: "D, H, W"}  # the last axes of an input, in texts


class ConvolutionModule(Module):
    """Base of modules that convolve the last `axes` axes.

    In a population the channels of all replicas stand side by side, (B, K C, ...), and each replica is a group of them,
    or several. So one call computes all replicas.
    """

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False
    padding: Any
    output_padding: tuple[int, ...]
    padding_mode: str

    def _configure(self, out_channels: int, kernel_size: Any, stride: Any, dilation: Any, groups: int) -> None:
        """Check and store options."""
        self.out_channels = a_size(self, "out_channels", out_channels)
        self.kernel_size = per_axis(self, "kernel_size", kernel_size, self.axes)
        self.stride = per_axis(self, "stride", stride, self.axes)
        self.dilation = per_axis(self, "dilation", dilation, self.axes)
        self.groups = a_size(self, "groups", groups)

    def _build(self, in_channels: int, bias: bool, device: Any, dtype: Any, init: Callable[..., Any] | None) -> None:
        """Make the parameters, and initialise them."""
        self.in_channels = a_size(self, "in_channels", in_channels)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ArgumentError(
                    f"{type(self).__name__}: {name} cannot be divided into groups of one size",
                    expected=f"a multiple of groups={self.groups}",
                    got=f"{name}={getattr(self, name)}",
                    fix=f"choose another {name}, or groups=1",
                )
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        self.weight = Parameter(torch.empty(first, second // self.groups, *self.kernel_size, **place))
        self.bias = Parameter(torch.empty(self.out_channels, **place)) if a_flag(self, "bias", bias) else None
        self.init = an_init(self, init)
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise weight and bias again, from this generator or torch's default one."""
        if self.init is not None:
            filled(self.init, self.weight.data, generator)
            if self.bias is not None:
                init.zeros_(self.bias.data)
            return
        init.kaiming_uniform_(self.weight.data, a=math.sqrt(5), generator=generator)  # +-1/sqrt(fan-in), as in torch.nn
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fan_in_and_out(self.weight.data)[0])
            init.uniform_(self.bias.data, -bound, bound, generator=generator)

    # ---- axes of replicas and of the batch -------------------------------------------------------------------------
    def _batch(self, x: Tensor) -> Tensor:
        """x, with or without an axis of the batch, as (B, C, ...); in a population as (B, K C, ...)."""
        return side_by_side(x.unsqueeze(standing(0, self.replicas)) if self._is_sample(x) else x, self.replicas)

    def _as_given(self, y: Tensor, is_sample: bool) -> Tensor:
        """A batch (B, C, ...), or (B, K C, ...), as (K..., B, C, ...); a sample without the axis of the batch."""
        y = apart(y, self.replicas)
        return y.squeeze(standing(0, self.replicas)) if is_sample else y

    def _is_sample(self, x: Tensor) -> bool:
        """Whether x has no axis of the batch."""
        return x.dim() - standing(0, self.replicas) == self.axes + 1

    def _side_by_side(self, parameter: Parameter) -> Tensor:
        """A parameter (K, C, ...) as (K C, ...)."""
        return parameter.data if self.replicas is None else parameter.data.flatten(0, 1)

    def _windows(self, padding: tuple[int, ...]) -> Windows:
        """How the windows move, for the channels of all replicas."""
        return Windows(self.stride, padding, self.dilation, self.groups * (self.replicas or 1))

    # ---- gradients -------------------------------------------------------------------------------------------------
    def _checked(self, dy: Any, shape: torch.Size) -> Tensor:
        """dy (K..., B..., out, ...) of this shape, as a batch. Raises ShapeError or DTypeError for any other."""
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return self._batch(dy)

    def _add_gradients(self, dweight: Tensor, dy: Tensor) -> None:
        """Add these gradients of the weight, and those of the bias: sums of dy (B, K out, ...)."""
        self.weight.grad.add_(dweight.view(self.weight.shape))
        if self.bias is not None:
            self.bias.grad.add_(dy.sum([0, *range(2, dy.dim())]).view(self.bias.shape))

    # ---- errors ----------------------------------------------------------------------------------------------------
    def _explain(self, x: Any, error: Exception) -> Exception:
        """The error for an input for which a tensor operation has failed."""
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            return error
        if not isinstance(x, Tensor):
            return not_a_tensor(type(self).__name__, x)
        return self._misfit(tuple(x.shape[standing(0, self.replicas) :])) or explain_unlike(x, self.weight) or error

    def _misfit(self, shape: tuple[Any, ...]) -> LampError | None:
        """The error for an input of this shape, without the axis of replicas; None if it fits."""
        got = str(shape).replace("'", "")
        wanted = f"(B, {self.in_channels}, {AXES[self.axes]})"
        if len(shape) - self.axes not in (1, 2):
            return ShapeError(
                "the input does not have the axes needed",
                expected=f"{wanted} or {wanted.replace('B, ', '')}",
                got=got,
                fix="x.unsqueeze(1) adds an axis of channels to (B, ...)"
                if len(shape) < self.axes + 2
                else "x.flatten(0, 1) makes one batch of two axes",
            )
        if shape[-1 - self.axes] != self.in_channels:
            return ShapeError(
                "the input has the wrong number of channels",
                expected=wanted,
                got=got,
                fix=f"pass {self.in_channels} channels, or build the module with the input's number of channels",
            )
        needed = self._least()
        if any(n < least for n, least in zip(shape[-self.axes :], needed, strict=True)):
            return ShapeError(
                f"the input is too small for this {type(self).__name__}",
                expected=f"{wanted}, with sizes of at least {needed}",
                got=got,
                fix="a smaller kernel, less dilation or more padding",
            )
        return None

    @abstractmethod
    def _least(self) -> tuple[int, ...]:
        """The smallest sizes of the last axes that have an output."""

    # ---- texts and graphs ------------------------------------------------------------------------------------------
    def _check_value(self, x: Any) -> None:
        """Raise NotTraceable for samples without an axis of channels, and ShapeError for others that do not fit."""
        if len(x.shape) == self.axes:
            raise NotTraceable(
                "it works along the axis of the batch",
                expected=f"samples ({self.in_channels}, {AXES[self.axes]})",
                got=f"({', '.join(map(str, x.shape))})",
                fix="give the input an axis of the batch: x.unsqueeze(0)",
            )
        wrong = self._misfit(("B", *x.shape))
        if wrong is not None:
            raise wrong

    def _traced(self, tracer: Any, x: Any, kind: str, outputs: tuple[int, ...], **options: Any) -> Any:
        """The output value of an operation with the module's options."""
        work = math.prod(x.shape[1:] if self.transposed else outputs) * math.prod(self.kernel_size)
        return tracer.op(
            kind,
            self,
            [x],
            (self.out_channels, *outputs),
            parameters=dict(self._members(Parameter)),
            multiplications=work * self.in_channels * self.out_channels // self.groups,
            kernel_size=self.kernel_size,
            stride=self.stride,
            **options,
            dilation=self.dilation,
            groups=self.groups,
        )

    def extra_repr(self) -> str:
        options = [f"{self.in_channels}, {self.out_channels}"]
        options.append(f"kernel_size={self.kernel_size}, stride={self.stride}")
        for name, usual in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            if getattr(self, name) != (usual,) * self.axes:
                options.append(f"{name}={getattr(self, name)}")
        if self.groups != 1:
            options.append(f"groups={self.groups}")
        if self.bias is None:
            options.append("bias=False")
        if self.padding_mode != "zeros":
            options.append(f"padding_mode={self.padding_mode}")
        return ", ".join(options)
