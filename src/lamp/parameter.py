"""Parameters, and the flat buffers they live in.

All parameters of a model lie side by side in one tensor and all their gradients in another; each parameter is a view.
So zeroing gradients, an optimizer's step, clipping and copying a network are single tensor operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.signatures import called
from lamp.tensor_like import TensorLike, tensors_of


class FlatBuffer:
    """The values of several parameters in one tensor, `data`, and their gradients in another, `grad`.

    Both are (P,), or (K, P) for K replicas of a network, a row a replica.

    A parameter lies in exactly one buffer at a time. `departures` counts how often parameters have left for a new
    buffer: whoever holds views of this one must then fetch them again. `moves` counts those of all buffers together:
    while it stands still, nothing has moved anywhere.
    """

    moves: ClassVar[int] = 0

    def __init__(self, parameters: Sequence[Parameter], dtype: torch.dtype, device: torch.device) -> None:
        sizes = [parameter.size for parameter in parameters]
        data = torch.empty(*parameters[0].rows, sum(sizes), dtype=dtype, device=device)
        before = {id(parameter._home): parameter._home for parameter in parameters}.values()
        with_gradients = any(home._grad is not None for home in before)
        grad = torch.zeros_like(data) if with_gradients else None
        start = 0
        for parameter, size in zip(parameters, sizes, strict=True):
            view = data[..., start : start + size].view(parameter.shape)
            view.copy_(parameter.data)
            if grad is not None and parameter._home._grad is not None:
                grad[..., start : start + size].view(parameter.shape).copy_(parameter.grad)
            parameter._lie(view, self, start)
            start += size
        FlatBuffer.moves += 1
        for home in before:
            home.departures += 1
        self._hold(data, grad)

    @classmethod
    def of_one(cls, tensor: Tensor, rows: tuple[int, ...]) -> FlatBuffer:
        """The buffer of a parameter that stands alone: the tensor itself, flat."""
        home = cls.__new__(cls)
        home._hold(tensor.view(*rows, -1), None)
        return home

    def _hold(self, data: Tensor, grad: Tensor | None) -> None:
        self.data = data
        self._grad = grad
        self.departures = 0

    @property
    def grad(self) -> Tensor:
        """The gradients, zero until a backward adds to them; allocated when first asked for."""
        if self._grad is None:
            self._grad = torch.zeros_like(self.data)
        return self._grad


class Parameter(TensorLike):
    """A tensor that is trained: its value in `data`, the gradient of the loss with respect to it in `grad`.

    Both are views into the flat buffers of the model; backward *adds* to `grad`. Assigning to `data` or `grad` copies
    the values in (shapes must be equal), so that the views stay views; `grad = None` makes it zero.

    requires_grad  False freezes it: optimizers and clipping pass it over, and its gradient stays zero
    replicas       K where the first axis of `data` counts the networks of a population, else None
    """

    __slots__ = ("_data", "_grad", "_home", "_start", "_transposed", "frozen", "replicas")

    @called()
    def __init__(self, data: Tensor, requires_grad: bool = True, *, replicas: int | None = None) -> None:
        data = tensors_of(data)
        if not isinstance(data, Tensor) or not data.is_floating_point() or data.layout is not torch.strided:
            raise DTypeError(
                "a parameter holds floating-point numbers",
                expected="a floating-point tensor",
                got=_kind_of(data),
                fix="convert it first, with tensor.float() or torch.as_tensor(array, dtype=torch.float32)",
            )
        self.replicas, self.frozen = replicas, not is_trained(requires_grad)
        data = data.detach().contiguous()
        self._lie(data, FlatBuffer.of_one(data, () if replicas is None else (replicas,)), 0)

    def _lie(self, data: Tensor, home: FlatBuffer, start: int) -> None:
        """Be this view of this buffer from here on; the other views are made when first asked for."""
        self._data, self._home, self._start = data, home, start
        self._grad: Tensor | None = None
        self._transposed: Tensor | None = None

    def __getstate__(self) -> tuple[Any, ...]:
        return self.shape, self._home, self._start, self.replicas, self.frozen

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """A copy, of whatever kind, is a view of the copied buffer: pickle alone would make tensors of their own."""
        shape, home, start, self.replicas, *frozen = state
        self.frozen = frozen[0] if frozen else False  # what was pickled before parameters could be frozen
        size = shape.numel() // (self.replicas or 1)
        self._lie(home.data[..., start : start + size].view(shape), home, start)

    @property
    def data(self) -> Tensor:
        return self._data

    @data.setter
    def data(self, value: Tensor) -> None:
        self._same_shape(value)
        self._data.copy_(tensors_of(value))

    @property
    def transposed(self) -> Tensor:
        """`data` with its last two axes swapped: a view, kept, since making one costs a sixth of a small product."""
        if self._transposed is None:
            self._transposed = self._data.mT
        return self._transposed

    @property
    def grad(self) -> Tensor:
        grad = self._grad
        if grad is None:
            if self.frozen:
                return torch.zeros_like(self._data)  # nobody's: what a backward adds to it is lost
            grad = self._home.grad[..., self._start : self._start + self.size].view(self.shape)
            self._grad = grad
        return grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            self.grad.zero_()
            return
        self._same_shape(value)
        self.grad.copy_(tensors_of(value))

    @property
    def requires_grad(self) -> bool:
        return not self.frozen

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.freeze(not is_trained(wanted))

    def freeze(self, frozen: bool = True) -> None:
        """Train it no more, or again."""
        if frozen != self.frozen:
            self.grad.zero_()
            self.frozen, self._grad = frozen, None
            self._home.departures += 1  # whoever holds runs of this buffer's parameters must fetch them again
            FlatBuffer.moves += 1

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train the parameter, or (False) freeze it; returns it."""
        self.freeze(not is_trained(requires_grad))
        return self

    def _same_shape(self, value: Tensor) -> None:
        value = tensors_of(value)
        if not isinstance(value, Tensor):
            raise DTypeError(
                "a parameter takes a tensor",
                expected=f"a torch.Tensor {tuple(self.shape)}",
                got=type(value).__name__,
                fix="torch.as_tensor(...) makes one; parameter.data.fill_(...) sets all elements to a number",
            )
        if value.shape != self.shape:
            raise ShapeError(
                "values of the wrong shape for this parameter",
                expected=tuple(self.shape),
                got=tuple(value.shape),
                fix="reshape the values: nothing is broadcast into a parameter",
            )

    @property
    def shape(self) -> torch.Size:
        return self._data.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._data.dtype

    @property
    def device(self) -> torch.device:
        return self._data.device

    def numel(self) -> int:
        """The number of elements, over all replicas."""
        return math.prod(self._data.shape)

    @property
    def rows(self) -> tuple[int, ...]:
        """The axes of a flat buffer before its last: (K,) in a population, else ()."""
        return () if self.replicas is None else (self.replicas,)

    @property
    def size(self) -> int:
        """The number of elements in one network."""
        return math.prod(self._data.shape[len(self.rows) :])

    def __repr__(self) -> str:
        return f"Parameter containing:\n{self._data}" + (", requires_grad=False" if self.frozen else "")


class Buffer(TensorLike):
    """A tensor that belongs to a module's state but is not trained, such as a running statistic.

    It is moved by `to`, saved by `state_dict`, and copied, selected and restored with the parameters (`lamp.state`). In
    a population it is (K, ...), a row per replica.
    """

    __slots__ = ("data",)

    @called()
    def __init__(self, data: Tensor) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"Buffer containing:\n{self.data}"


class Span:
    """Neighbouring parameters of one flat buffer as one piece: `data` and `grad`, (P,) or (K, P), are views of it."""

    __slots__ = ("_departures", "data", "grad", "home", "parameters")

    def __init__(self, home: FlatBuffer, start: int, parameters: list[Parameter]) -> None:
        stop = start + sum(parameter.size for parameter in parameters)
        self.home, self.parameters, self._departures = home, parameters, home.departures
        self.data = home.data[..., start:stop]
        self.grad = home.grad[..., start:stop]

    @property
    def is_current(self) -> bool:
        """Whether `data` and `grad` are still where the parameters live."""
        return self.home.departures == self._departures


def is_trained(requires_grad: Any) -> bool:
    """The answer to whether parameters are trained. Raises ArgumentError unless it is True or False."""
    if isinstance(requires_grad, bool):
        return requires_grad
    raise ArgumentError(
        "requires_grad says whether a parameter is trained",
        expected="True or False",
        got=repr(requires_grad),
        fix="requires_grad = False freezes it",
    )


def trained(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Those of the parameters that are not frozen."""
    return [parameter for parameter in parameters if not parameter.frozen]


def spans(parameters: Iterable[Parameter]) -> list[Span]:
    """The fewest pieces of flat buffers that hold exactly these parameters, in order of first appearance.

    A network's parameters, after `flatten`, are one run.
    """
    by_home: dict[int, list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_home.setdefault(id(parameter._home), []).append(parameter)
    found = []
    for neighbours in by_home.values():
        neighbours.sort(key=lambda parameter: parameter._start)
        piece: list[Parameter] = []
        for parameter in neighbours:
            if piece and piece[-1]._start + piece[-1].size != parameter._start:
                found.append(Span(piece[0]._home, piece[0]._start, piece))
                piece = []
            piece.append(parameter)
        found.append(Span(piece[0]._home, piece[0]._start, piece))
    return found


def flatten(parameters: Iterable[Parameter]) -> None:
    """Move these parameters into one flat buffer (one a dtype and device), unless they already share one."""
    by_kind: dict[tuple[torch.dtype, torch.device, int | None], list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_kind.setdefault((parameter.dtype, parameter.device, parameter.replicas), []).append(parameter)
    for (dtype, device, _), alike in by_kind.items():
        if len({id(parameter._home) for parameter in alike}) > 1:
            FlatBuffer(alike, dtype, device)


def move(parameters: Iterable[Parameter], dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Move parameters and gradients to another dtype or device, into fresh flat buffers."""
    by_home: dict[int, list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_home.setdefault(id(parameter._home), []).append(parameter)
    for together in by_home.values():
        to_dtype, to_device = dtype or together[0].dtype, device or together[0].device
        if (to_dtype, to_device) != (together[0].dtype, together[0].device):
            FlatBuffer(together, to_dtype, to_device)


def replicate(parameters: Iterable[Parameter], replicas: int, buffers: Iterable[Buffer] = ()) -> None:
    """Give each parameter and buffer a first axis of K replicas, all as it is now; parameters share a buffer (K, P)."""
    once = list(dict.fromkeys(parameters))
    for parameter in once:
        one = parameter.data
        parameter._home.departures += 1
        FlatBuffer.moves += 1
        whole = one.expand(replicas, *one.shape).contiguous()
        Parameter.__init__(parameter, whole, not parameter.frozen, replicas=replicas)
    flatten(once)
    for buffer in dict.fromkeys(buffers):
        buffer.data = buffer.data.repeat(replicas, *[1] * buffer.data.dim())


def _kind_of(data: Any) -> object:
    if not isinstance(data, Tensor):
        return type(data).__name__
    return data.dtype if data.layout is torch.strided else f"{data.dtype}, {data.layout}"
