"""`GroupNorm`, which normalises groups of channels of each sample, and `LocalResponseNorm`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, ShapeError
from lamp.formulas import constant, wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_number, a_size, not_negative
from lamp.nn.checks import explain_axes, explain_gradient, explain_numbers, explain_unlike
from lamp.nn.normalization import shaped
from lamp.parameter import Parameter


class GroupNorm(Module):
    """Normalises groups of channels of each sample to mean 0 and variance 1, then scales and shifts each channel.

    xhat = (x - mean) / sqrt(var + eps)
    y = weight xhat + bias

    mean and var are those of the n numbers in C / num_groups neighbouring channels of one sample.

    Shapes    x and y (B, C, ...)   weight and bias (C)
    Backward  dbias = sum of dy          dweight = sum of dy xhat          (over B and all axes after C)
              dxhat = weight dy
              dx = s (dxhat - mean(dxhat) - xhat mean(dxhat xhat)),   s = 1 / sqrt(var + eps),
              with means over a group: see docs/derivations/normalization.md
    Init      weight 1, bias 0
    Source    torch.nn.GroupNorm; Wu & He 2018, arXiv:1803.08494

    affine  whether there are a weight and a bias; bias=False leaves out only the bias

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes or channels;
    DTypeError or DeviceError for one that does not fit the parameters.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups, self.num_channels = (
            a_size(self, "num_groups", num_groups),
            a_size(self, "num_channels", num_channels),
        )
        if self.num_channels % self.num_groups:
            raise ArgumentError(
                "GroupNorm: the channels do not divide into groups",
                expected="num_channels divisible by num_groups",
                got=f"{num_channels} channels, {num_groups} groups",
                fix=f"num_groups={math.gcd(self.num_channels, self.num_groups)}",
            )
        self.eps = not_negative(self, "eps", eps)
        self.affine = a_flag(self, "affine", affine)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self.weight = Parameter(torch.empty(self.num_channels, **place)) if self.affine else None
        self.bias = (
            Parameter(torch.empty(self.num_channels, **place)) if a_flag(self, "bias", bias) and self.affine else None
        )
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Set the weight to 1 and the bias to 0; the generator is not used."""
        if self.weight is not None:
            self.weight.data.fill_(1.0)
        if self.bias is not None:
            self.bias.data.zero_()

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        x = self._groups(input)  # (K..., B, groups, n)
        xhat = x - x.mean(-1, keepdim=True)
        squares = xhat.square()
        s = squares.mean(-1, keepdim=True).add_(self.eps).rsqrt_()
        y = xhat.mul_(s)
        self.remember((xhat, s, input.shape))
        if self.weight is not None:
            channels = self._channels(input.shape)
            y = torch.mul(xhat.view(channels), self._per_channel(self.weight), out=squares.view(channels))
            if self.bias is not None:
                y.add_(self._per_channel(self.bias))
        return shaped(y, input)

    def backward(self, grad_output: Tensor) -> Tensor:
        xhat, s, shape = self.recall()
        if not isinstance(grad_output, Tensor) or grad_output.shape != shape:
            raise explain_gradient(grad_output, shape)
        dy = wide(grad_output).reshape(self._channels(shape)).contiguous()  # (K..., B, C, positions)
        share = dy * xhat.view(dy.shape)
        sum_dy, sum_share = dy.sum(-1, keepdim=True), share.sum(-1, keepdim=True)  # (K..., B, C, 1)
        if self.bias is not None:
            self.bias.grad.add_(sum_dy.sum(-3).view(self.bias.shape))
        if self.weight is None:
            dxhat = share.copy_(dy)
        else:
            self.weight.grad.add_(sum_share.sum(-3).view(self.weight.shape))
            weight = self._per_channel(self.weight)
            dxhat = torch.mul(dy, weight, out=share)
            sum_dy, sum_share = sum_dy * weight, sum_share * weight
        n = xhat.shape[-1]
        mean_dxhat, mean_share = (
            each.view(*s.shape[:-1], -1).sum(-1, keepdim=True) / n for each in (sum_dy, sum_share)
        )
        dx: Tensor = dxhat.view(xhat.shape).sub_(mean_dxhat).addcmul_(xhat, mean_share, value=-1.0).mul_(s)
        return shaped(dx, grad_output)

    def _groups(self, x: Tensor) -> Tensor:
        """x (K..., B, C, ...) as (K..., B, groups, n), in float32 at least."""
        lead = standing(0, self.replicas)
        n = math.prod(x.shape[lead + 1 :]) // self.num_groups
        return wide(x).reshape(*x.shape[: lead + 1], self.num_groups, n)

    def _channels(self, shape: torch.Size) -> tuple[int, ...]:
        """The shape (K..., B, C, positions) for an input's shape."""
        lead = standing(0, self.replicas)
        return (*shape[: lead + 2], math.prod(shape[lead + 2 :]))

    def _per_channel(self, parameter: Parameter) -> Tensor:
        """A parameter (C) to broadcast against (K..., B, C, positions): (C, 1), or (K, 1, C, 1) in a population."""
        lead = () if self.replicas is None else (self.replicas, 1)
        return wide(parameter.data).view(*lead, self.num_channels, 1)

    def _check(self, x: Any) -> None:
        """Raise for an input that is not (B, C, ...), or has another dtype or device than the parameters."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        channel = standing(1, self.replicas)
        if x.dim() <= channel or x.shape[channel] != self.num_channels:
            raise self._wrong_shape(tuple(x.shape))
        if self.weight is not None and (error := explain_unlike(x, self.weight)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...]) -> ShapeError:
        return ShapeError(
            "the input does not have the number of channels of this module",
            expected=f"(B, {self.num_channels}, ...)",
            got=str(shape).replace("'", ""),
            fix=f"pass {self.num_channels} channels on axis 1; x.unsqueeze(0) makes a batch of one sample",
        )

    def trace(self, tracer: Any, input: Any) -> Any:
        if not input.shape or input.shape[0] != self.num_channels:
            raise self._wrong_shape(("B", *input.shape))
        return tracer.op(
            "Norm",
            self,
            [input],
            input.shape,
            parameters=dict(self._members(Parameter)),
            multiplications=3 * math.prod(input.shape),
            axes=tuple(range(len(input.shape))),
            groups=self.num_groups,
            centred=True,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Divides each number by a power of the mean square of its neighbours, which are in the channels beside its own.

    d = k + alpha / size (sum of x^2 over the window),   y = x d^-beta

    The window of channel c is c - size // 2 to c + (size - 1) // 2; beyond the first and last channel x counts as 0.

    Shapes    x and y (B, C, ...), with at least one more axis after C
    Backward  dx = dy d^-beta - 2 alpha beta / size x (sum of dy x d^(-beta - 1) over the channels whose window has x)
              x is in its own numerator, and in the d of the channels c with c - size // 2 <= j <= c + (size - 1) // 2:
              the window with its two sides exchanged
    Source    torch.nn.LocalResponseNorm; Krizhevsky et al. 2012, "ImageNet Classification with Deep CNNs"

    Raises ArgumentError for wrong constructor arguments, DTypeError for an input that is not a floating-point tensor,
    ShapeError for one with fewer axes and for a gradient that has not the shape of the output.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = a_size(self, "size", size)
        self.alpha, self.beta, self.k = (
            a_number(self, name, value) for name, value in (("alpha", alpha), ("beta", beta), ("k", k))
        )

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        if input.dim() < standing(3, self.replicas):
            raise explain_axes(self, input, "(B, C, ...), at least 3 axes", "x.unsqueeze(-1) adds an axis")
        x = wide(input)
        d = self._over_windows(x.square(), self.size // 2).mul_(self.alpha / self.size).add_(self.k)
        self.remember((input, d))
        return (x * d.pow(-self.beta)).to(input.dtype)

    def backward(self, grad_output: Tensor) -> Tensor:
        input, d = self.recall()
        if not isinstance(grad_output, Tensor) or grad_output.shape != input.shape:
            raise explain_gradient(grad_output, input.shape)
        x, direct = wide(input), wide(grad_output) * d.pow(-self.beta)
        through_d = self._over_windows(x * direct / d, (self.size - 1) // 2)
        factor = constant(-2.0 * self.alpha * self.beta / self.size, x)
        dx: Tensor = direct.addcmul_(x, through_d.mul_(factor))
        return dx.to(grad_output.dtype)

    def _over_windows(self, x: Tensor, before: int) -> Tensor:
        """The sums over `size` neighbouring channels each, of which so many come before the channel itself."""
        channel = standing(1, self.replicas)
        channels = x.shape[channel]
        sides = list(x.shape)
        sides[channel] = channels + self.size - 1
        padded = x.new_zeros(sides)
        padded.narrow(channel, before, channels).copy_(x)
        return padded.unfold(channel, self.size, 1).sum(-1)

    def trace(self, tracer: Any, input: Any) -> Any:
        if len(input.shape) < 2:
            raise ShapeError(
                "the input does not have the axes needed",
                expected="(B, C, ...), at least 3 axes",
                got=f"{len(input.shape) + 1} axes",
                fix="x.unsqueeze(-1) adds an axis",
            )
        options = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return tracer.op(
            "ResponseNorm", self, [input], input.shape, multiplications=4 * math.prod(input.shape), **options
        )

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
