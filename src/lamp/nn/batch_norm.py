"""Normalisation of each channel over the batch, `BatchNorm1d` to `BatchNorm3d`; and the base of other such modules."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import ShapeError
from lamp.formulas import Number, constant, wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_number, a_size, positive
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.nn.normalization import shaped
from lamp.parameter import Buffer, Parameter
from lamp.signatures import called

PART = 2**18  # numbers that are multiplied at a time
NAMES: dict[int, tuple[str, ...]] = {0: (), 1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}  # of axes after the channels


def normalised(x: Number, mean: Number, var: Number, eps: float, weight: Number | None, bias: Number | None) -> Number:
    """weight (x - mean) / sqrt(var + eps) + bias, over numbers (see lamp.formulas)."""
    xhat = (x - mean) * (var + eps).rsqrt()
    y = xhat if weight is None else xhat * weight
    return y if bias is None else y + bias


class ChannelNorm(Module):
    """Base of the normalisations with one mean and one variance per channel, over a batch or within each sample.

    xhat = (x - mean) / sqrt(var + eps)
    y = weight xhat + bias

    In training mode, and where no statistics are tracked, mean and var are those of n numbers: a channel of the whole
    batch (`over_batch`), or of one sample. Otherwise they are the running statistics.
    """

    over_batch: ClassVar[bool]
    spatial: ClassVar[tuple[int, ...]]  # how many axes an input may have after that of the channels

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        bias: bool,
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

    @called()
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
    _hands_over = _overwrites = True

    def forward(self, input: Tensor) -> Tensor:
        return self._normalised(input, may_overwrite=False)

    def _forward_over(self, input: Tensor) -> Tensor:
        return self._normalised(input, may_overwrite=True)

    def _normalised(self, input: Tensor, may_overwrite: bool) -> Tensor:
        self._check(input)
        x, n = self._batched(wide(input)), None
        place = x if may_overwrite or x.dtype is not input.dtype else None
        if self.training or self.running_mean is None or self.running_var is None:
            n = self._count(x)
            mean = self._total(x).mul_(constant(1.0 / max(n, 1), x))
            centred = torch.sub(x, mean, out=place)
            var = self._total_of_squares(centred).mul_(constant(1.0 / max(n, 1), x))
            if x.numel():
                self._update_running_stats(mean, var * constant(n / (n - 1), var))
        else:
            centred = torch.sub(x, self._per_channel(self.running_mean, x), out=place)
            var = self._per_channel(self.running_var, x)
        s = (var + constant(self.eps, var)).rsqrt_()
        self.remember((centred, s, n, input.shape))
        scale = s if self.weight is None else s * self._per_channel(self.weight, x)
        if self.bias is None:
            return shaped(centred * scale, input)
        return shaped(self._affine(centred, scale, self._per_channel(self.bias, x)), input)

    def backward(self, grad_output: Tensor) -> Tensor:
        centred, s, n, shape = self.recall()
        if not isinstance(grad_output, Tensor) or grad_output.shape != shape:
            raise explain_gradient(grad_output, shape)
        dy = wide(grad_output).reshape(centred.shape)
        sum_dy, sum_share = self._total(dy), self._total_of_products(dy, centred).mul_(s)
        scale = s
        if self.weight is not None:
            self.weight.grad.add_(self._of_all_samples(sum_share, self.weight))
            scale = s * self._per_channel(self.weight, dy)
        if self.bias is not None:
            self.bias.grad.add_(self._of_all_samples(sum_dy, self.bias))
        if n is None:  # mean and var do not depend on x
            return shaped(torch.mul(dy, scale, out=centred), grad_output)
        less = scale * constant(-1.0 / max(n, 1), dy)
        dx = self._affine(centred, sum_share.mul_(s).mul_(less), sum_dy.mul_(less), out=centred)
        return shaped(dx.addcmul_(dy, scale), grad_output)

    def _affine(self, x: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None = None) -> Tensor:
        """scale x + shift, with one scale and one shift per channel (and sample, or replica)."""
        if not (x.is_cpu and self.replicas is None and scale.numel() == shift.numel() == self.num_features):
            return torch.mul(x, scale, out=out).add_(shift)
        # Normalised by a mean of 0 and a variance of 1, which takes half the time of two operations.
        zeros, ones = x.new_zeros(self.num_features), x.new_ones(self.num_features)
        options = (scale.flatten(), shift.flatten(), zeros, ones, False, 0.0, 0.0)
        if out is None:
            return torch.ops.aten.native_batch_norm(x, *options)[0]  # type: ignore[no-any-return]
        unused = {"save_mean": x.new_empty(0), "save_invstd": x.new_empty(0)}
        torch.ops.aten.native_batch_norm.out(x, *options, out=out, **unused)
        return out

    def _count(self, x: Tensor) -> int:
        """n, the number of values that mean and var are taken of. Raises ShapeError if it is 1."""
        lead = standing(0, self.replicas)
        n = math.prod(x.shape[lead + 2 :]) * (x.shape[lead] if self.over_batch else 1)
        if n == 1:
            raise self._no_variance(tuple(x.shape))
        return n

    def _no_variance(self, shape: tuple[Any, ...]) -> ShapeError:
        """The error for an input of this shape, whose mean and var would be taken of one number."""
        return ShapeError(
            "one number per channel has no variance",
            expected=f"more than 1 value per channel{'' if self.over_batch else ' of a sample'} when training",
            got=f"1, in an input {shape}".replace("'", ""),
            fix="pass more than one sample: without running statistics, eval() normalises each batch by itself, too"
            if self.over_batch and not self.training
            else "choose a batch size that does not leave a single sample for the last batch, or call eval() first"
            if self.over_batch
            else "pass samples with more than one position, or track running statistics and call eval() first",
        )

    def _update_running_stats(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics, if there are any, towards those of a batch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        momentum: Any = self.momentum
        if self.over_batch:
            self.num_batches_tracked.data.add_(1)
            if momentum is None:  # () or (K, 1), since replicas may have seen different numbers of batches
                momentum = self.num_batches_tracked.data.to(self.running_mean.dtype).reciprocal()
                momentum = momentum if self.replicas is None else momentum.unsqueeze(-1)
        for running, of_batch in ((self.running_mean, mean), (self.running_var, var)):
            samples = 1 if self.over_batch else of_batch.shape[standing(0, self.replicas)]
            value = self._of_all_samples(of_batch, running) / samples
            running.data.lerp_(value.to(running.dtype), 0.0 if momentum is None else momentum)

    def _of_all_samples(self, values: Tensor, like: Parameter | Buffer) -> Tensor:
        """Values per channel, or per sample and channel, summed over the samples, in the shape of a parameter."""
        lead = standing(0, self.replicas)
        return (values if values.shape[lead] == 1 else values.sum(lead)).view(like.shape)

    # ---- axes ------------------------------------------------------------------------------------------------------
    def _batched(self, x: Tensor) -> Tensor:
        """x (B, C, ...), which is (1, C, ...) for a sample without the axis of the batch."""
        lead = standing(0, self.replicas)
        return x if x.dim() - lead - 2 in self.spatial else x.unsqueeze(lead)

    def _total(self, x: Tensor) -> Tensor:
        """The sum over the axes that mean and var are taken over: (K..., B or 1, C, 1...)."""
        lead = standing(0, self.replicas)
        within = tuple(range(lead + 2, x.dim()))
        total = x.sum(within, keepdim=True) if within else x  # of each sample first: they lie together in memory
        if self.over_batch:
            return total.sum(lead, keepdim=True)
        return total

    def _total_of_squares(self, x: Tensor) -> Tensor:
        """`_total` of the squares, which are not written to memory."""
        lead = standing(0, self.replicas)
        within = tuple(range(lead + 2, x.dim()))
        norms = torch.linalg.vector_norm(x, dim=within, keepdim=True) if within else x
        return self._total(norms.square())

    def _total_of_products(self, x: Tensor, y: Tensor) -> Tensor:
        """`_total` of x y, which is not written to memory as a whole."""
        lead = standing(0, self.replicas)
        within = tuple(range(lead + 2, x.dim()))
        if not within or x.numel() <= PART:
            return self._total(x * y)
        totals = x.new_empty(*x.shape[: lead + 2], *(1 for _ in within))
        rows = max(PART * len(x) // x.numel(), 1)
        for a, b, total in zip(x.split(rows), y.split(rows), totals.split(rows), strict=True):
            torch.sum(a * b, within, keepdim=True, out=total)
        return totals.sum(lead, keepdim=True) if self.over_batch else totals

    def _per_channel(self, values: Parameter | Buffer, x: Tensor) -> Tensor:
        """Values (C) to broadcast against x: (C, 1...), or (K, 1, C, 1...) in a population."""
        lead = standing(0, self.replicas)
        first = (self.replicas, 1) if self.replicas is not None else ()
        return wide(values.data).view(*first, self.num_features, *(1,) * (x.dim() - lead - 2))

    # ---- checks and the graph --------------------------------------------------------------------------------------
    def _check(self, x: Any) -> None:
        """Raise for an input that has other axes, or another dtype or device than the parameters."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        lead = standing(0, self.replicas)
        after = x.dim() - lead - 2  # axes after that of the channels
        if after not in self.spatial and (self.over_batch or after + 1 not in self.spatial):
            raise self._wrong_shape(tuple(x.shape))
        if x.shape[x.dim() - 1 - (after if after in self.spatial else after + 1)] != self.num_features:
            raise self._wrong_shape(tuple(x.shape))
        like = self.weight if self.weight is not None else self.running_mean
        if like is not None and (error := explain_unlike(x, like)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...]) -> ShapeError:
        return ShapeError(
            "the input does not have the axes or the number of channels of this module",
            expected=self._forms(self.num_features),
            got=str(shape).replace("'", ""),
            fix=f"pass {self.num_features} channels on axis 1; x.unsqueeze(0) makes a batch of one sample",
        )

    def _forms(self, channels: int | str) -> str:
        """The shapes that an input may have, as text."""
        lead = [] if self.replicas is None else ["K"]
        batches = [["B"]] if self.over_batch else [["B"], []]
        forms = [[*lead, *batch, channels, *NAMES[n]] for batch in batches for n in self.spatial]
        return " or ".join(f"({', '.join(map(str, form))})" for form in forms)

    def trace(self, tracer: Any, input: Any) -> Any:
        if len(input.shape) - 1 not in self.spatial or input.shape[0] != self.num_features:
            raise self._wrong_shape(("B", *input.shape))
        own, size = dict(self._members(Parameter)), math.prod(input.shape)
        if self.over_batch or (self.running_mean is not None and not tracer.training):
            held = {"parameters": own, "buffers": dict(self._members(Buffer)), "multiplications": 2 * size}
            by_batch = tracer.training or self.running_mean is None
            return tracer.op("BatchNorm", self, [input], input.shape, **held, eps=self.eps, by_batch=by_batch)
        if size == self.num_features:
            raise self._no_variance(("B", *input.shape))
        groups, axes = self.num_features, tuple(range(len(input.shape)))
        held = {"parameters": own, "buffers": dict(self._members(Buffer)), "multiplications": 3 * size}
        return tracer.op(
            "Norm", self, [input], input.shape, **held, axes=axes, groups=groups, centred=True, eps=self.eps
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


# ---- over the batch --------------------------------------------------------------------------------------------------
class BatchNorm(ChannelNorm):
    """Base of BatchNorm1d, BatchNorm2d and BatchNorm3d, which differ in the axes of their inputs."""

    over_batch = True

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
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)


class BatchNorm1d(BatchNorm):
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
              y depends on x in three ways: directly, through the mean, and through the variance. Each is a term; see
              docs/derivations/normalization.md. With running statistics only the first is there. (In eval mode, within
              a network in training mode.)
    Init      weight 1, bias 0, running_mean 0, running_var 1
    Source    torch.nn.BatchNorm1d; Ioffe & Szegedy 2015, arXiv:1502.03167

    momentum             None averages over all batches: 1 / num_batches_tracked is used in its place
    affine               whether there are a weight and a bias; bias=False leaves out only the bias
    track_running_stats  whether there are running statistics

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other axes or channels, and for a
    batch with one number per channel where its own statistics are used; DTypeError or DeviceError for an
    input that does not fit the parameters.
    """

    spatial = (0, 1)


class BatchNorm2d(BatchNorm):
    """BatchNorm1d for images: mean and variance over batch, height and width.

    Shapes    x and y (B, C, H, W), the others as in BatchNorm1d
    Backward  as BatchNorm1d, with sums over B, H and W
    Source    torch.nn.BatchNorm2d
    """

    spatial = (2,)


class BatchNorm3d(BatchNorm):
    """BatchNorm1d for volumes: mean and variance over batch, depth, height and width.

    Shapes    x and y (B, C, D, H, W), the others as in BatchNorm1d
    Backward  as BatchNorm1d, with sums over B, D, H and W
    Source    torch.nn.BatchNorm3d
    """

    spatial = (3,)
