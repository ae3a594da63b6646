"""Initialisations of parameters. Each is a function `(tensor, generator=None) -> tensor` that fills a tensor in place.

`Linear(..., init=lamp.init.xavier_normal_)` takes one; `functools.partial` or a lambda can set its gain. After the same
`torch.manual_seed` each function draws exactly the same numbers as the function of that name in torch.nn.init.

Random numbers are drawn on the CPU and copied to the tensor's device, unless the generator is on that device. So a seed
gives the same network on every device.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.missing_names import module_getattr
from lamp.signatures import explain_call
from lamp.tensor_like import TensorLike
from lamp.values import is_one_of

__getattr__ = module_getattr(__name__, lambda: globals())
SELU_GAIN = 3.0 / 4.0  # torch's value
TANH_GAIN = 5.0 / 3.0


Fill = TypeVar("Fill", bound=Callable[..., Tensor])


def on_cpu(fill: Fill) -> Fill:
    """The initialisation, drawing on the CPU for a tensor on another device, unless the generator is not on the CPU."""

    @functools.wraps(fill)
    def filled(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        generator = kwargs.get("generator")
        elsewhere = isinstance(generator, torch.Generator) and generator.device.type != "cpu"
        if tensor.is_cpu or elsewhere or tensor.device.type == "meta":  # nothing is drawn on meta
            return fill(tensor, *args, **kwargs)
        return tensor.copy_(fill(torch.empty_like(tensor, device="cpu"), *args, **kwargs))

    return filled  # type: ignore[return-value]


def initialisation(fill: Fill) -> Fill:
    """The initialisation with checks of its arguments, drawing on the CPU.

    It raises DTypeError for anything but a floating-point tensor or a parameter, and ArgumentError for numbers out of
    range.
    """
    name, signature, drawing = fill.__name__, inspect.signature(fill), on_cpu(fill)

    @functools.wraps(fill)
    def checked(*args: Any, **kwargs: Any) -> Tensor:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise explain_call(name, fill, args, kwargs) or error from None
        tensor = given.pop("tensor")
        if not isinstance(tensor, Tensor | TensorLike) or not tensor.is_floating_point():
            raise DTypeError(
                f"{name} fills a tensor",
                expected="a tensor of floating-point numbers, or a parameter",
                got=str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__,
                fix=f"lamp.init.{name}(layer.weight)",
            )
        for key, value in given.items():
            given[key] = _checked(name, key, value)
        low, high = (given.get(each, getattr(signature.parameters.get(each), "default", 0.0)) for each in ("a", "b"))
        if "b" in signature.parameters and low > high:
            raise _wrong(name, "b", "at least a", f"a={low}, b={high}")
        return drawing(tensor, **given)

    return checked  # type: ignore[return-value]


def _checked(name: str, key: str, value: Any) -> Any:
    """An argument of an initialisation; numpy scalars and tensors of one element become Python numbers."""
    if key in ("mode", "nonlinearity"):  # checked where they are used
        return value
    if key == "generator":
        if value is not None and not isinstance(value, torch.Generator):
            raise _wrong(name, key, "a torch.Generator, or None", type(value).__name__)
        return value
    number = _number(value)
    if number is None or (key != "val" and not math.isfinite(number)):
        raise _wrong(name, key, "a finite number" if key != "val" else "a number", repr(value))
    if number < 0 and (key == "std" or (key == "gain" and name != "orthogonal_")):
        raise _wrong(name, key, "at least 0", repr(value))
    return number


def _number(value: Any) -> float | None:
    """The value as a Python number; None for anything but a real number."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _wrong(name: str, key: str, expected: str, got: str) -> ArgumentError:
    fix = "lamp.init.calculate_gain(nonlinearity) gives one" if key == "gain" else f"choose another {key}"
    return ArgumentError(f"{name}: {key} is out of range", expected=expected, got=got, fix=fix)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that preserves the variance of activations from layer to layer.

    nonlinearity  the name of an activation function, such as "relu"
    param         the negative slope of "leaky_relu"; 0.01 by default

    Raises ArgumentError for an unknown nonlinearity.
    """
    slope = 0.01 if param is None else _number(param)
    if slope is None or not math.isfinite(slope):
        raise _wrong("calculate_gain", "param", "a finite number, leaky_relu's negative slope", repr(param))
    gains = {
        "linear": 1.0,
        "identity": 1.0,
        "sigmoid": 1.0,
        "tanh": TANH_GAIN,
        "relu": math.sqrt(2.0),
        "selu": SELU_GAIN,
        "leaky_relu": math.sqrt(2.0 / (1.0 + slope**2)),
    }
    if not isinstance(nonlinearity, str) or nonlinearity not in gains:
        raise ArgumentError(
            "no gain is known for this nonlinearity",
            expected=", ".join(gains),
            got=nonlinearity,
            fix="name one of these",
        )
    return gains[nonlinearity]


def fan_in_and_out(tensor: Tensor) -> tuple[int, int]:
    """The fan-in and the fan-out of a weight (out, in, ...): in and out, times the product of the other axes.

    Raises ShapeError for a tensor with fewer than two axes.
    """
    if not isinstance(tensor, Tensor | TensorLike) or tensor.dim() < 2:
        raise ShapeError(
            "fan in and fan out need a weight",
            expected="a tensor (out, in, ...)",
            got=tuple(tensor.shape) if isinstance(tensor, Tensor | TensorLike) else type(tensor).__name__,
            fix="initialise a bias with zeros_ or uniform_",
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


@initialisation
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill with numbers from U(a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@initialisation
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill with numbers from N(mean, std^2)."""
    return tensor.normal_(mean, std, generator=generator)


@initialisation
def constant_(tensor: Tensor, val: float, generator: torch.Generator | None = None) -> Tensor:
    """Fill with the number `val`."""
    return tensor.fill_(val)


@initialisation
def zeros_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill with 0."""
    return tensor.zero_()


@initialisation
def ones_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill with 1."""
    return tensor.fill_(1.0)


@initialisation
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill with U(-a, a), where a = gain sqrt(6 / (fan_in + fan_out)).  Source: Glorot & Bengio 2010, equation 16."""
    fan_in, fan_out = fan_in_and_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    a = math.sqrt(3.0) * std
    return tensor.uniform_(-a, a, generator=generator)


@initialisation
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill with N(0, std^2), where std = gain sqrt(2 / (fan_in + fan_out)).  Source: Glorot & Bengio 2010."""
    fan_in, fan_out = fan_in_and_out(tensor)
    return tensor.normal_(0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator=generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if not is_one_of(mode, "fan_in", "fan_out"):
        raise ArgumentError("unknown mode", expected="'fan_in' or 'fan_out'", got=repr(mode), fix="name one of these")
    fan = fan_in_and_out(tensor)[0 if mode == "fan_in" else 1]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


@initialisation
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill with U(-b, b), where b = gain sqrt(3 / fan).  Source: He et al. 2015, equation 10.

    a             the negative slope of leaky_relu, which the gain depends on
    mode          which fan: "fan_in" or "fan_out"
    nonlinearity  what the gain is for, see `calculate_gain`
    """
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor.uniform_(-bound, bound, generator=generator)


@initialisation
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill with N(0, std^2), where std = gain / sqrt(fan).  Source: He et al. 2015, equation 10.

    The arguments are those of `kaiming_uniform_`.
    """
    return tensor.normal_(0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


@initialisation
def lecun_uniform_(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Fill with U(-b, b), where b = sqrt(3 / fan_in), so that the variance is 1 / fan_in.

    Source: LeCun et al. 1998, equation 16
    """
    return kaiming_uniform_(tensor, nonlinearity="linear", generator=generator)


@initialisation
def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Fill with gain times a random (semi-)orthogonal matrix.  Source: Saxe et al. 2013, arXiv:1312.6120."""
    fan_in_and_out(tensor)
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    flat = tensor.new_empty((rows, tensor.numel() // rows)).normal_(0.0, 1.0, generator=generator)
    wide = rows < flat.shape[1]
    exact = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()  # LAPACK has only these precisions
    q, r = torch.linalg.qr(exact.t() if wide else exact)
    q = q * r.diagonal().sign()  # makes the distribution uniform over orthogonal matrices
    tensor.view_as(flat).copy_(q.t() if wide else q)
    return tensor.mul_(gain)
