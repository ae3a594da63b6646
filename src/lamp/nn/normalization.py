"""Normalisation of each sample alone: `LayerNorm` and `RMSNorm`, over the last axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.devices import device_of, floating
from lamp.errors import NotTraceable, ShapeError
from lamp.formulas import wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_shape, not_negative
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.parameter import Parameter

SHARED = 2**15  # from so many elements on, torch divides an operation among threads


class LastAxesNorm(Module):
    """Base of the normalisations over the last axes, whose sizes are `normalized_shape`.

    Their D numbers are a row: forward and backward work on rows (N, D), or (K, N, D) in a population.
    """

    centred = True  # whether the mean is subtracted
    normalized_shape: tuple[int, ...]
    eps: float | None
    weight: Parameter | None
    bias: Parameter | None = None

    def _parameter(self, device: Any, dtype: Any) -> Parameter:
        return Parameter(torch.empty(self.normalized_shape, device=device_of(device), dtype=floating(dtype)))

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Set the weight to 1 and the bias to 0; the generator is not used."""
        if self.weight is not None:
            self.weight.data.fill_(1.0)
        if self.bias is not None:
            self.bias.data.zero_()

    def _rows(self, x: Tensor) -> Tensor:
        """x (K..., B..., *normalized_shape) as rows (K..., N, D), in float32 at least."""
        if x.dim() == standing(2, self.replicas) and len(self.normalized_shape) == 1:
            return wide(x)
        return wide(x).reshape(*x.shape[: standing(0, self.replicas)], -1, math.prod(self.normalized_shape))

    def _per_row(self, parameter: Parameter) -> Tensor:
        """A parameter to broadcast against rows: (D), or (K, 1, D) in a population."""
        if self.replicas is None:
            return wide(parameter.data).view(-1)
        return wide(parameter.data).view(self.replicas, 1, -1)

    def _eps(self, dtype: torch.dtype) -> float:
        """eps, or for None the machine epsilon of the dtype that is computed in."""
        return torch.finfo(dtype if dtype.itemsize >= 4 else torch.float32).eps if self.eps is None else self.eps

    def _check(self, x: Any) -> None:
        """Raise for an input whose last axes are others, or that has another dtype or device."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise explain_numbers(self, x)
        if x.shape[standing(0, self.replicas) :][-len(self.normalized_shape) :] != self.normalized_shape:
            raise self._wrong_shape(tuple(x.shape))
        if self.weight is not None and (error := explain_unlike(x, self.weight)) is not None:
            raise error

    def _wrong_shape(self, shape: tuple[Any, ...]) -> ShapeError:
        last = ", ".join(map(str, self.normalized_shape))
        return ShapeError(
            "the last axes of the input are not those that this module normalises over",
            expected=f"(B..., {last})",
            got=str(shape).replace("'", ""),
            fix=f"build {type(self).__name__} with the sizes of the input's last axes as normalized_shape",
        )

    def trace(self, tracer: Any, input: Any) -> Any:
        count = len(self.normalized_shape)
        if len(input.shape) - input.batch < count:
            raise NotTraceable(
                "it normalises over the axis of the batch",
                expected="an operation on each sample alone, which takes batches of any size",
                got=f"normalized_shape={self.normalized_shape} for {('B', *input.shape)}".replace("'", ""),
                fix="leave the batch out of normalized_shape",
            )
        if input.shape[-count:] != self.normalized_shape:
            raise self._wrong_shape(("B", *input.shape))
        y = tracer.op(
            "Norm",
            self,
            [tracer.batch_at(input, 0)],
            input.shape,
            parameters=dict(self._members(Parameter)),
            multiplications=3 * math.prod(input.shape),
            axes=tuple(range(len(input.shape) - count, len(input.shape))),
            centred=self.centred,
            eps=self._eps(input.dtype),
        )
        return tracer.batch_at(y, input.batch)


class LayerNorm(LastAxesNorm):
    """Normalises the last axes of each sample to mean 0 and variance 1, then scales and shifts each element.

    xhat = (x - mean) / sqrt(var + eps)
    y = weight xhat + bias

    mean and var are those of the D numbers in the last axes; var is the sum of squared deviations divided by D.

    Shapes    x and y (B..., *normalized_shape)   weight and bias normalized_shape
    Backward  dbias = sum of dy          dweight = sum of dy xhat          (over B)
              dxhat = weight dy
              dx = s (dxhat - mean(dxhat) - xhat mean(dxhat xhat)),   s = 1 / sqrt(var + eps),
              with means over the last axes: see docs/derivations/normalization.md
    Init      weight 1, bias 0
    Source    torch.nn.LayerNorm; Ba et al. 2016, arXiv:1607.06450

    elementwise_affine  whether there are a weight and a bias; bias=False leaves out only the bias

    Raises ArgumentError for wrong constructor arguments; ShapeError for an input with other last axes, DTypeError or
    DeviceError for one that does not fit the parameters.
    """

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.normalized_shape = a_shape(self, "normalized_shape", normalized_shape)
        self.eps: float = not_negative(self, "eps", eps)
        self.elementwise_affine = affine = a_flag(self, "elementwise_affine", elementwise_affine)
        self.weight = self._parameter(device, dtype) if affine else None
        self.bias = self._parameter(device, dtype) if a_flag(self, "bias", bias) and affine else None
        self.reset_parameters()

    _recomputes = True

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        x, eps = self._rows(input), self.eps
        weight, bias = (None if each is None else self._per_row(each) for each in (self.weight, self.bias))
        alone = self.replicas is None  # the operation computes the formula above, but has no weights per replica
        y, mean, s = torch.native_layer_norm(x, x.shape[-1:], weight if alone else None, bias if alone else None, eps)
        if not alone and weight is not None:
            y = y.mul_(weight) if bias is None else y.mul_(weight).add_(bias)
        self.remember((input, mean, s))
        return shaped(y, input)

    def backward(self, grad_output: Tensor) -> Tensor:
        input, mean, s = self.recall()
        if not isinstance(grad_output, Tensor) or grad_output.shape != input.shape:
            raise explain_gradient(grad_output, input.shape)
        dy, xhat = self._rows(grad_output), (self._rows(input) - mean).mul_(s)
        if self.bias is not None:
            add_to(self.bias.grad, sum_of_rows(dy))
        share = dy * xhat
        if self.weight is None:
            dxhat, mean_dxhat, mean_share = dy.clone(), dy.mean(-1, keepdim=True), share.mean(-1, keepdim=True)
        else:
            add_to(self.weight.grad, sum_of_rows(share))
            weight = self._per_row(self.weight)
            means = (weight / dy.shape[-1]).mT if weight.dim() > 1 else (weight / dy.shape[-1]).unsqueeze(1)
            mean_dxhat, mean_share = dy @ means, share @ means  # means of dxhat and dxhat xhat: (N, 1)
            dxhat = torch.mul(dy, weight, out=share)
        dx = dxhat.sub_(mean_dxhat).addcmul_(xhat, mean_share, value=-1.0).mul_(s)
        return shaped(dx, input)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(LastAxesNorm):
    """Divides the last axes of each sample by their root mean square, then scales each element.

    xhat = x s,   s = 1 / sqrt(mean(x^2) + eps)
    y = weight xhat

    The mean is that of the D numbers in the last axes.

    Shapes    x and y (B..., *normalized_shape)   weight normalized_shape
    Backward  dweight = sum of dy xhat over B
              dxhat = weight dy
              dx = s (dxhat - xhat mean(dxhat xhat)): as LayerNorm, without the term of the mean
    Init      weight 1
    Source    torch.nn.RMSNorm; Zhang & Sennrich 2019, arXiv:1910.07467

    eps                 None for the machine epsilon of the dtype that is computed in (float32 for half precision)
    elementwise_affine  whether there is a weight

    Raises the same errors as LayerNorm.
    """

    centred = False

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.normalized_shape = a_shape(self, "normalized_shape", normalized_shape)
        self.eps = None if eps is None else not_negative(self, "eps", eps)
        self.elementwise_affine = a_flag(self, "elementwise_affine", elementwise_affine)
        self.weight = self._parameter(device, dtype) if self.elementwise_affine else None
        self.reset_parameters()

    _recomputes = True

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        rows = self._rows(x)
        squares = rows.square()
        s = squares.mean(-1, keepdim=True).add_(self._eps(rows.dtype)).rsqrt_()  # (N, 1)
        y = torch.mul(rows, s, out=squares)
        if self.weight is not None:
            y.mul_(self._per_row(self.weight))
        self.remember((x, s))
        return y.view(x.shape).to(x.dtype)

    def backward(self, grad_output: Tensor) -> Tensor:
        input, s = self.recall()
        if not isinstance(grad_output, Tensor) or grad_output.shape != input.shape:
            raise explain_gradient(grad_output, input.shape)
        dy, xhat = self._rows(grad_output), self._rows(input) * s
        share = dy * xhat
        if self.weight is not None:
            add_to(self.weight.grad, sum_of_rows(share))
            weight = self._per_row(self.weight)
            dy, share = dy * weight, share.mul_(weight)  # dxhat, dxhat xhat
        dx = torch.addcmul(dy, xhat, share.mean(-1, keepdim=True), value=-1.0).mul_(s)
        return shaped(dx, input)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


def sum_of_rows(x: Tensor) -> Tensor:
    """The sum over the rows of x (K..., N, D): (K..., D).

    In large tensors the first and the second half are summed apart, as torch's threads divide x: what a thread has
    written, it reads.
    """
    if x.numel() < SHARED or x.shape[-2] % 2:
        return x.sum(-2)
    halves: Tensor = x.unflatten(-2, (2, -1)).sum(-2)
    return halves.sum(-2)


def add_to(gradient: Tensor, values: Tensor) -> None:
    """Add values to a parameter's gradient, which has as many elements, perhaps in another shape."""
    gradient.add_(values if values.shape == gradient.shape else values.view(gradient.shape))


def shaped(y: Tensor, like: Tensor) -> Tensor:
    """y in the shape and dtype of another tensor."""
    y = y if y.shape == like.shape else y.view(like.shape)
    return y if y.dtype == like.dtype else y.to(like.dtype)
