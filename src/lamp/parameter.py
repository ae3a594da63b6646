"""Parameters, buffers, and the flat buffers that store parameters.

All parameters of a model are stored side by side in one tensor, and their gradients in another; each parameter is a
view. So zeroing gradients, an optimizer's step, clipping and copying a network are single tensor operations.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError, BackwardError, DTypeError, ShapeError
from lamp.signatures import called
from lamp.tensor_like import TensorHolder, TensorLike, lasting, tensors_of
from lamp.values import natural


class OneByOne(Protocol):
    """Gradients that are stored one by one, while an optimizer steps in backward (see lamp.optim.in_backward)."""

    def gradient_of(self, parameter: Parameter) -> Tensor | None:
        """The gradient of a parameter, or None for one that lies in the flat buffer as usual."""

    def explain_all(self) -> BackwardError:
        """The error for asking for all gradients at once."""


class FlatBuffer:
    """The values of several parameters in one tensor, `data`, and their gradients in another, `grad`.

    Both are (P,), or (K, P) for K replicas of a network, with one row per replica.
    A parameter belongs to exactly one buffer at a time. `version` goes up when parameters leave the buffer or are
    frozen or unfrozen: views of it that were taken before are then out of date. `changes` goes up with the version of
    any buffer. `any_on_meta` says whether one was ever on the device "meta", without numbers.

    made        torch's count of in-place changes of `data` when it was new (see lamp.in_place)
    padded      whether it holds zeros for units that some replicas lack, as in a population of several sizes
    parts       slices whose changes are counted apart, since an optimizer has them without the rest
    one_by_one  what gives out gradients in place of `grad`, while an optimizer steps in backward
    """

    changes: ClassVar[int] = 0
    any_on_meta: ClassVar[bool] = False
    version: int = 0
    made: int = 0
    padded: bool = False
    parts: tuple[Part, ...] = ()
    one_by_one: OneByOne | None = None

    def __init__(self, parameters: Sequence[Parameter], dtype: torch.dtype, device: torch.device) -> None:
        sizes = [parameter.elements for parameter in parameters]
        data = lasting(torch.empty(*parameters[0].rows, sum(sizes), dtype=dtype, device=device))
        before = {id(parameter._buffer): parameter._buffer for parameter in parameters}.values()
        self.padded = any(buffer.padded for buffer in before)
        with_gradients = any(buffer._grad is not None for buffer in before)
        grad = lasting(torch.zeros_like(data)) if with_gradients else None
        start = 0
        for parameter, size in zip(parameters, sizes, strict=True):
            view = data[..., start : start + size].view(parameter.shape)
            view.copy_(parameter.data)
            if grad is not None and parameter._buffer._grad is not None:
                grad[..., start : start + size].view(parameter.shape).copy_(parameter.grad)
            parameter._become_view(view, self, start)
            start += size
        FlatBuffer.changes += 1
        for buffer in before:
            buffer.version += 1
        self._store(data, grad)

    @classmethod
    def of_one(cls, tensor: Tensor, rows: tuple[int, ...]) -> FlatBuffer:
        """The buffer of a single parameter: the tensor itself, flattened."""
        buffer = cls.__new__(cls)
        buffer._store(tensor.view(*rows, -1), None)
        return buffer

    def _store(self, data: Tensor, grad: Tensor | None) -> None:
        self.data, self._grad = data, grad
        FlatBuffer.any_on_meta |= data.is_meta
        self.made = 0 if data.is_inference() else data._version

    def part(self, start: int, stop: int) -> Tensor:
        """The slice from `start` to `stop`; writing to it is counted apart from changes of the whole."""
        if stop - start == self.data.shape[-1]:
            return self.data
        part = next((each for each in self.parts if (each.start, each.stop) == (start, stop)), None)
        if part is None:
            part = Part(self.data[..., start:stop].data, start, stop)
            self.parts = (*self.parts, part)
            FlatBuffer.changes += 1
        return part.data

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("made", "parts", "one_by_one")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._store(lasting(self.data), None if self._grad is None else lasting(self._grad))

    @property
    def grad(self) -> Tensor:
        """The gradients, zero until a backward adds to them; allocated on first use."""
        if self.one_by_one is not None:
            raise self.one_by_one.explain_all()
        return self._allocated()

    def _allocated(self) -> Tensor:
        if self._grad is None:
            self._grad = lasting(torch.zeros_like(self.data))
        return self._grad

    @property
    def has_gradients(self) -> bool:
        """Whether `grad` has been allocated, so that there may be gradients other than 0."""
        return self._grad is not None

    def gradient_of(self, parameter: Parameter) -> Tensor:
        """The gradient of one of its parameters, in the parameter's shape."""
        found = None if self.one_by_one is None else self.one_by_one.gradient_of(parameter)
        if found is None:
            found = self._allocated()[..., parameter._start : parameter._start + parameter.elements].view(
                parameter.shape
            )
        return found


class Part:
    """A slice of a flat buffer, with a counter of its own for changes in place."""

    __slots__ = ("__weakref__", "data", "start", "stop")
    made = 0

    def __init__(self, data: Tensor, start: int, stop: int) -> None:
        self.data, self.start, self.stop = data, start, stop

    def overlaps(self, parameter: Parameter) -> bool:
        """Whether a parameter of the same buffer lies in this slice."""
        return parameter._start < self.stop and self.start < parameter._start + parameter.elements


class Parameter(TensorLike):
    """A tensor that is trained: its value in `data`, the gradient of the loss with respect to it in `grad`.

    Both are views into the flat buffers of the model; backward *adds* to `grad`. Assigning to `data` or `grad` copies
    the values into the buffers, so the shapes must be equal; `grad = None` sets the gradient to zero.

    requires_grad  False freezes it: optimizers and clipping leave it out, and its gradient stays zero
    replicas       K if the first axis of `data` is the replicas of a population, else None

    Raises DTypeError for anything but a dense floating-point tensor, ArgumentError for a wrong `requires_grad`, and
    ShapeError when a tensor of another shape is assigned.
    """

    __slots__ = ("_buffer", "_data", "_grad", "_start", "frozen", "replicas", "transposed")

    transposed: Tensor  # `data` with its last two axes swapped; kept, as making the view costs a sixth of a product

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
        if replicas is not None and (natural(replicas, "replicas", least=1),) != data.shape[:1]:
            raise ShapeError(
                "a parameter of a population has a first axis of replicas",
                expected=f"({replicas}, ...)",
                got=tuple(data.shape),
                fix="data.expand(replicas, *data.shape)",
            )
        self.replicas, self.frozen = replicas, not is_trained(requires_grad)
        data = lasting(data.detach().contiguous())
        self._become_view(data, FlatBuffer.of_one(data, () if replicas is None else (replicas,)), 0)

    def _become_view(self, data: Tensor, buffer: FlatBuffer, start: int) -> None:
        """Become this view of this buffer; the view of the gradient is made on first use."""
        self._data, self._buffer, self._start = data, buffer, start
        self._grad: Tensor | None = None
        self.transposed = data.mT if data.dim() > 1 else data

    def __getstate__(self) -> tuple[Any, ...]:
        return self.shape, self._buffer, self._start, self.replicas, self.frozen

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Make a copied or unpickled parameter a view of the copied buffer, not a tensor of its own."""
        shape, buffer, start, self.replicas, *frozen = state
        self.frozen = frozen[0] if frozen else False  # absent in pickles made before parameters could be frozen
        size = shape.numel() // (self.replicas or 1)
        self._become_view(buffer.data[..., start : start + size].view(shape), buffer, start)

    def _set_data(self, value: Tensor) -> None:
        self._check_value(value)
        self._data.copy_(tensors_of(value))

    data: Tensor = property(operator.attrgetter("_data"), _set_data)  # type: ignore[assignment]  # read in C, for speed

    @property
    def grad(self) -> Tensor:
        grad = self._grad
        if grad is None:
            if self.frozen:
                return torch.zeros_like(self._data)  # stored nowhere: what a backward adds to it is lost
            grad = self._grad = self._buffer.gradient_of(self)
        return grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            self.grad.zero_()
            return
        self._check_value(value)
        self.grad.copy_(tensors_of(value))

    @property
    def requires_grad(self) -> bool:
        return not self.frozen

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.freeze(not is_trained(wanted))

    def freeze(self, frozen: bool = True) -> None:
        """Freeze the parameter, or (False) train it again; its gradient becomes zero."""
        if frozen != self.frozen:
            self.grad.zero_()
            self.frozen, self._grad = frozen, None
            self._buffer.version += 1  # spans contain only parameters that are not frozen
            FlatBuffer.changes += 1

    @called()
    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train the parameter, or (False) freeze it; returns it."""
        self.freeze(not is_trained(requires_grad))
        return self

    def _check_value(self, value: Tensor) -> None:
        value = tensors_of(value)
        if not isinstance(value, Tensor):
            raise DTypeError(
                "only a tensor can be assigned to a parameter's data or grad",
                expected=f"a torch.Tensor {tuple(self.shape)}",
                got=type(value).__name__,
                fix="convert it with torch.as_tensor(...); parameter.data.fill_(...) sets all elements to one number",
            )
        if value.shape != self.shape:
            raise ShapeError(
                "the values have the wrong shape for this parameter",
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
        """The leading axes of its flat buffer: (K,) in a population, else ()."""
        return () if self.replicas is None else (self.replicas,)

    @property
    def elements(self) -> int:
        """The number of elements in one network."""
        return math.prod(self._data.shape[len(self.rows) :])

    def __repr__(self) -> str:
        return f"Parameter containing:\n{self._data}" + (", requires_grad=False" if self.frozen else "")


class Buffer(TensorHolder):
    """A tensor that belongs to a module's state but is not trained, such as a running mean.

    `Module.to` moves it, `state_dict` contains it, and it is copied, selected and restored with the parameters (see
    lamp.state). In a population it is (K, ...), with one row per replica.
    """

    __slots__ = ()

    @called()
    def __init__(self, data: Tensor) -> None:
        data = tensors_of(data)
        if not isinstance(data, Tensor):
            raise DTypeError(
                "a buffer holds a tensor",
                expected="a torch.Tensor",
                got=_kind_of(data),
                fix="convert it first, with torch.as_tensor(...); a plain number can be an ordinary attribute",
            )
        self.data = data

    def __repr__(self) -> str:
        return f"Buffer containing:\n{self.data}"


class Span:
    """A slice of a flat buffer with neighbouring parameters: `data` and `grad`, (P,) or (K, P), are views of it."""

    __slots__ = ("_start", "_version", "buffer", "data", "parameters")

    def __init__(self, buffer: FlatBuffer, start: int, parameters: list[Parameter]) -> None:
        stop = start + sum(parameter.elements for parameter in parameters)
        self.buffer, self.parameters, self._version = buffer, parameters, buffer.version
        self._start, self.data = start, buffer.part(start, stop)

    @property
    def grad(self) -> Tensor:
        """The gradients of its parameters; the buffer's are allocated on first use."""
        return self.buffer.grad[..., self._start : self._start + self.data.shape[-1]]

    @property
    def is_current(self) -> bool:
        """Whether `data` and `grad` still hold exactly these parameters."""
        return self.buffer.version == self._version


def is_trained(requires_grad: Any) -> bool:
    """The argument `requires_grad`, unchanged. Raises ArgumentError unless it is True or False."""
    if isinstance(requires_grad, bool):
        return requires_grad
    raise ArgumentError(
        "requires_grad must say whether a parameter is trained",
        expected="True or False",
        got=repr(requires_grad),
        fix="requires_grad = False freezes it",
    )


def trained(parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in parameters if not parameter.frozen]


def spans(parameters: Iterable[Parameter]) -> list[Span]:
    """The fewest slices of flat buffers that hold exactly these parameters, in the order of their buffers' first use.

    After `flatten`, all parameters of a network are one span.
    """
    by_buffer: dict[int, list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_buffer.setdefault(id(parameter._buffer), []).append(parameter)
    found = []
    for neighbours in by_buffer.values():
        neighbours.sort(key=lambda parameter: parameter._start)
        piece: list[Parameter] = []
        for parameter in neighbours:
            if piece and piece[-1]._start + piece[-1].elements != parameter._start:
                found.append(Span(piece[0]._buffer, piece[0]._start, piece))
                piece = []
            piece.append(parameter)
        found.append(Span(piece[0]._buffer, piece[0]._start, piece))
    return found


def flatten(parameters: Iterable[Parameter]) -> None:
    """Move these parameters into one flat buffer per dtype and device, unless they already share it."""
    by_kind: dict[tuple[torch.dtype, torch.device, int | None], list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_kind.setdefault((parameter.dtype, parameter.device, parameter.replicas), []).append(parameter)
    for (dtype, device, _), alike in by_kind.items():
        if len({id(parameter._buffer) for parameter in alike}) > 1:
            FlatBuffer(alike, dtype, device)


def move(parameters: Iterable[Parameter], dtype: torch.dtype | None, device: torch.device | None) -> None:
    """Move parameters and gradients to another dtype or device, into new flat buffers."""
    by_buffer: dict[int, list[Parameter]] = {}
    for parameter in dict.fromkeys(parameters):
        by_buffer.setdefault(id(parameter._buffer), []).append(parameter)
    for together in by_buffer.values():
        to_dtype, to_device = dtype or together[0].dtype, device or together[0].device
        if (to_dtype, to_device) != (together[0].dtype, together[0].device):
            FlatBuffer(together, to_dtype, to_device)


def _kind_of(data: Any) -> object:
    if not isinstance(data, Tensor):
        return type(data).__name__
    return data.dtype if data.layout is torch.strided else f"{data.dtype}, {data.layout}"
