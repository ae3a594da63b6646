"""How parameters begin: the field's initialisations, each filling a tensor in place.

An initialisation is a function `(tensor, generator=None) -> tensor`. `Linear(..., init=lamp.init.xavier_normal_)`
takes one as it is; `functools.partial` or a lambda fixes gains. After the same `torch.manual_seed` each draws the same
numbers, to the bit, as its namesake in torch.nn.init. They are drawn on the CPU and copied to where the tensor is,
unless the generator is there: so one seed gives one network on every device.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, ShapeError

SELU_GAIN = 3.0 / 4.0  # as torch has it
TANH_GAIN = 5.0 / 3.0


Fill = TypeVar("Fill", bound=Callable[..., Tensor])


def on_cpu(fill: Fill) -> Fill:
    """The initialisation, drawing on the CPU for a tensor of another device, unless it is given a generator of that."""

    @functools.wraps(fill)
    def filled(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        generator = kwargs.get("generator")
        elsewhere = isinstance(generator, torch.Generator) and generator.device.type != "cpu"
        if tensor.is_cpu or elsewhere or tensor.device.type == "meta":  # where nothing is drawn at all
            return fill(tensor, *args, **kwargs)
        return tensor.copy_(fill(torch.empty_like(tensor, device="cpu"), *args, **kwargs))

    return filled  # type: ignore[return-value]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations from layer to layer; param is leaky_relu's negative slope.

    Raises ArgumentError for an unknown nonlinearity.
    """
    gains = {
        "linear": 1.0,
        "identity": 1.0,
        "sigmoid": 1.0,
        "tanh": TANH_GAIN,
        "relu": math.sqrt(2.0),
        "selu": SELU_GAIN,
        "leaky_relu": math.sqrt(2.0 / (1.0 + (0.01 if param is None else param) ** 2)),
    }
    if nonlinearity not in gains:
        raise ArgumentError(
            "no gain is known for this nonlinearity",
            expected=", ".join(gains),
            got=nonlinearity,
            fix="name one of these",
        )
    return gains[nonlinearity]


def fan_in_and_out(tensor: Tensor) -> tuple[int, int]:
    """Inputs and outputs of one unit of a weight (out, in, ...): in and out times the size of its field.

    Raises ShapeError for a tensor of fewer than two axes.
    """
    if tensor.dim() < 2:
        raise ShapeError(
            "fan in and fan out need a weight",
            expected="a tensor (out, in, ...)",
            got=tuple(tensor.shape),
            fix="initialise a bias with zeros_ or uniform_",
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


@on_cpu
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """U(a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@on_cpu
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """N(mean, std^2)."""
    return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: Tensor, val: float, generator: torch.Generator | None = None) -> Tensor:
    """Every element val."""
    return tensor.fill_(val)


def zeros_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Every element 0."""
    return tensor.zero_()


def ones_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Every element 1."""
    return tensor.fill_(1.0)


@on_cpu
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)). Source: Glorot & Bengio 2010, equation 16."""
    fan_in, fan_out = fan_in_and_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    a = math.sqrt(3.0) * std
    return tensor.uniform_(-a, a, generator=generator)


@on_cpu
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)). Source: Glorot & Bengio 2010."""
    fan_in, fan_out = fan_in_and_out(tensor)
    return tensor.normal_(0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator=generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError("unknown mode", expected="'fan_in' or 'fan_out'", got=repr(mode), fix="name one of these")
    fan = fan_in_and_out(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


@on_cpu
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan). Source: He et al. 2015, equation 10; a is leaky_relu's negative slope."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor.uniform_(-bound, bound, generator=generator)


@on_cpu
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan). Source: He et al. 2015, equation 10; a as for kaiming_uniform_."""
    return tensor.normal_(0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


@on_cpu
def lecun_uniform_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """U(-b, b) with b = sqrt(3 / fan_in): the variance is 1 / fan_in. Source: LeCun et al. 1998, equation 16."""
    return kaiming_uniform_(tensor, nonlinearity="linear", generator=generator)


@on_cpu
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """gain times a (semi-)orthogonal matrix (out, rest). Source: Saxe et al. 2013, arXiv:1312.6120."""
    fan_in_and_out(tensor)
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    flat = tensor.new_empty((rows, tensor.numel() // rows)).normal_(0.0, 1.0, generator=generator)
    wide = rows < flat.shape[1]
    q, r = torch.linalg.qr(flat.t() if wide else flat)
    q = q * r.diagonal().sign()  # makes the distribution uniform over orthogonal matrices
    tensor.view_as(flat).copy_(q.t() if wide else q)
    return tensor.mul_(gain)
