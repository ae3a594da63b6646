"""Normalisation layers, which scale features to mean 0 and variance 1: `BatchNorm1d`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import ShapeError
from lamp.formulas import Number, constant
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_number, a_size, positive
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.parameter import Buffer, Parameter


def normalised(x: Number, mean: Number, var: Number, eps: float, weight: Number | None, bias: Number | None) -> Number:
    """weight (x - mean) / sqrt(var + eps) + bias, over numbers (see lamp.formulas)."""
    xhat = (x - mean) * (var + eps).rsqrt()
    y = xhat if weight is None else xhat * weight
    return y if bias is None else y + bias


class BatchNorm1d(Module):
    """Normalises each channel over the batch, then scales and shifts it.

    xhat = (x - mean) / sqrt(var + eps)
    y = weight xhat + bias

    In training mode mean and var are those of the n numbers that the batch has per channel (var is the sum of squared
    deviations divided by n), and the running statistics move towards them:

        running_mean += momentum (mean - running_mean)
        running_var += momentum (n / (n - 1) var - running_var)

    In eval mode mean and var are the running statistics, or those of the batch if none are tracked.

    Shapes    x and y (B, C) or (B, C, L)   weight, bias, running_mean, running_var (C)   num_batches_tracked ()
    Backward  dbias = sum of dy          dweight = sum of dy xhat          (over B and L)
              dx = weight s (dy - dbias / n - xhat dweight / n),   s = 1 / sqrt(var + eps)
              y depends on x in three ways, so with dxhat = weight dy the gradient has three terms:
              directly                                                s dxhat
              through the mean,      d mean / dx = 1 / n:             - s mean(dxhat)
              through the variance,  d s / dx = - s^2 xhat / n:       - s xhat mean(dxhat xhat)
              With running statistics only the first is there. (In eval mode, within a network in training mode.)
    Init      weight 1, bias 0, running_mean 0, running_var 1
    Source    torch.nn.BatchNorm1d; Ioffe & Szegedy 2015, arXiv:1502.03167

    momentum             None averages over all batches: 1 / num_batches_tracked is used in its place
    affine               whether there are a weight and a bias; bias=False leaves out only the bias
    track_running_stats  whether there are running statistics

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes or channels, and for a
    batch with one number per channel where its own statistics are used; DTypeError or DeviceError for an
    input that does not fit the parameters.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features = channels = a_size(self, "num_features", num_features)
        self.eps = positive(self, "eps", eps)
        self.momentum = None if momentum is None else a_number(self, "momentum", momentum)
        self.affine = a_flag(self, "affine", affine)
        self.track_running_stats = tracked = a_flag(self, "track_running_stats", track_running_stats)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self.weight = Parameter(torch.empty(channels, **place)) if self.affine else None
        self.bias = Parameter(torch.empty(channels, **place)) if a_flag(self, "bias", bias) and self.affine else None
        self.running_mean = Buffer(torch.empty(channels, **place)) if tracked else None
        self.running_var = Buffer(torch.empty(channels, **place)) if tracked else None
        count = torch.empty((), dtype=torch.int64, device=place["device"])
        self.num_batches_tracked = Buffer(count) if tracked else None
        self.reset_parameters()

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Set parameters and running statistics to their initial values; the generator is not used."""
        self.reset_running_stats()
        if self.weight is not None:
            self.weight.data.fill_(1.0)
        if self.bias is not None:
            self.bias.data.zero_()

    def reset_running_stats(self) -> None:
        """Set the running statistics to their initial values."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.running_mean.data.zero_()
            self.running_var.data.fill_(1.0)
            self.num_batches_tracked.data.zero_()

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        running = None if self.training else self.running_mean, self.running_var
        if running[0] is None or running[1] is None:
            over, n = self._batch_axes(input), self._numbers_per_channel(input)
            mean = input.mean(over, keepdim=True)
            centred = input - mean
            var = _squares(centred).mean(over, keepdim=True).to(centred.dtype)
            if n:
                self._update_running_stats(mean, var * constant(n / (n - 1), var))
            fixed = False
        else:
            centred = input - self._per_channel(running[0], input)
            var = self._per_channel(running[1], input)
            fixed = True
        s = (var + constant(self.eps, var)).rsqrt()
        xhat = centred.mul_(s)
        self.remember((xhat, s, fixed))
        if self.weight is None:
            return xhat
        weight = self._per_channel(self.weight, input)
        return xhat * weight if self.bias is None else torch.addcmul(self._per_channel(self.bias, input), xhat, weight)

    def trace(self, tracer: Any, input: Any) -> Any:
        if len(input.shape) not in (1, 2) or input.shape[0] != self.num_features:
            raise self._wrong_shape(("B", *input.shape))
        return tracer.op(
            "BatchNorm",
            self,
            [input],
            input.shape,
            parameters=dict(self._members(Parameter)),
            buffers=dict(self._members(Buffer)),
            multiplications=2 * math.prod(input.shape),
            eps=self.eps,
        )

    def backward(self, grad_output: Tensor) -> Tensor:
        dy, (xhat, s, fixed) = grad_output, self.recall()
        if not isinstance(dy, Tensor) or dy.shape != xhat.shape:
            raise explain_gradient(dy, xhat.shape)
        over = self._batch_axes(dy)
        n = constant(dy.numel() / s.numel(), dy)  # numbers per channel
        dbias, dweight = dy.sum(over, keepdim=True), (dy * xhat).sum(over, keepdim=True)
        if self.weight is not None:
            self.weight.grad.add_(dweight.view(self.weight.shape))
            s = s * self._per_channel(self.weight, dy)
        if self.bias is not None:
            self.bias.grad.add_(dbias.view(self.bias.shape))
        dx: Tensor = dy if fixed else (dy - dbias / n).addcmul_(xhat, dweight / n, value=-1.0)
        return dx * s if fixed else dx.mul_(s)

    def _numbers_per_channel(self, x: Tensor) -> int:
        """n, the number of values per channel in a batch. Raises ShapeError if it is 1."""
        n = x.numel() // (self.num_features * (self.replicas or 1))
        if n == 1:
            raise ShapeError(
                "one number per channel has no variance",
                expected="more than 1 value per channel when training",
                got=f"{n}, in an input {tuple(x.shape)}",
                fix="choose a batch size that does not leave a single sample for the last batch, or call eval() first",
            )
        return n

    def _update_running_stats(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics, if there are any, towards those of a batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.data.add_(1)
        momentum: Any = self.momentum
        if (
            momentum is None
        ):  # () or, in a population, (K, 1), since replicas may have seen different numbers of batches
            momentum = self.num_batches_tracked.data.to(mean.dtype).reciprocal()
            momentum = momentum if self.replicas is None else momentum.unsqueeze(-1)
        for running, of_batch in ((self.running_mean.data, mean), (self.running_var.data, var)):
            running.lerp_(of_batch.view(running.shape), momentum)

    def _batch_axes(self, x: Tensor) -> list[int]:
        """The axes to sum over: all but those of the channels and replicas."""
        lead = standing(0, self.replicas)
        return [axis for axis in range(lead, x.dim()) if axis != lead + 1]

    def _per_channel(self, values: Parameter | Buffer, x: Tensor) -> Tensor:
        """Values (C) in a shape that broadcasts to x: (C) or (C, 1); in a population (K, 1, C) or (K, 1, C, 1)."""
        lead = standing(0, self.replicas)
        row = values.data.unsqueeze(1) if lead else values.data
        return row if x.dim() == lead + 2 else row.unsqueeze(-1)

    # ---- checks ----------------------------------------------------------------------------------------------------
    def _check(self, x: Any) -> None:
        """Raise for an input that is not (B, C) or (B, C, L), or has another dtype. (torch would broadcast it.)"""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        lead = standing(0, self.replicas)
        if x.dim() - lead not in (2, 3) or x.shape[lead + 1] != self.num_features:
            raise self._wrong_shape(tuple(x.shape))
        like = self.weight if self.weight is not None else self.running_mean
        if like is not None and (error := explain_unlike(x, like)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...]) -> ShapeError:
        lead = "" if self.replicas is None else "K, "
        channels = self.num_features
        return ShapeError(
            "the input does not have the axes or the number of channels of this module",
            expected=f"({lead}B, {channels}) or ({lead}B, {channels}, L)",
            got=str(shape).replace("'", ""),
            fix=f"pass {channels} channels on axis 1; x.unsqueeze(0) makes a batch of one sample",
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


def _squares(x: Tensor) -> Tensor:
    """x^2, computed in float32 for half-precision numbers, whose squares may overflow."""
    return (x if x.dtype.itemsize >= 4 else x.float()).square()
