"""`TensorLike`, the base of Parameter and Buffer: an object that torch accepts in place of its tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamp.errors import MissingNameError


def tensors_of(tree: Any) -> Any:
    """The tree with each Parameter and Buffer replaced by its tensor, also within lists, tuples and dicts."""
    if isinstance(tree, TensorLike):
        return tree.data
    if isinstance(tree, tuple | list) and type(tree) in (tuple, list):
        return type(tree)(tensors_of(each) for each in tree)
    return {key: tensors_of(each) for key, each in tree.items()} if type(tree) is dict else tree


def lasting(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of one that torch.inference_mode made, since that could not be changed outside of it."""
    if not tensor.is_inference():
        return tensor
    with torch.inference_mode(False):
        return tensor.clone()


def _of_data(name: str) -> Callable[..., Any]:
    """A method that calls the tensor's method of this name."""

    def method(self: TensorLike, *others: Any) -> Any:
        return getattr(self.data, name)(*tensors_of(others))

    method.__name__ = name
    return method


def _in_place(name: str) -> Callable[..., Any]:
    """A method that calls the tensor's in-place method of this name, and returns the object itself."""

    def method(self: TensorLike, other: Any) -> TensorLike:
        getattr(self.data, name)(tensors_of(other))
        return self

    method.__name__ = name
    return method


class TensorLike:
    """An object with a tensor `data`, whose place it takes in operators, torch's functions and the tensor's methods.

    So `x * self.weight`, `torch.add(x, self.bias)` and `self.weight.norm()` compute with the current values, and return
    plain tensors. == compares identity, so that parameters can be keys of dicts.
    """

    __slots__ = ()
    if TYPE_CHECKING:
        data: Tensor

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = tensors_of(kwargs or {})
        if "out" in options:
            options.pop("requires_grad", None)  # torch.nn.init.eye_ hands on the parameter's, which is none of `data`'s
        return function(*tensors_of(args), **options)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.data.cpu().numpy()
        return array.copy() if copy else array if dtype is None else array.astype(dtype)

    __len__ = _of_data("__len__")
    __getitem__ = _of_data("__getitem__")
    __setitem__ = _of_data("__setitem__")
    __float__ = _of_data("__float__")
    __int__ = _of_data("__int__")
    __bool__ = _of_data("__bool__")
    __neg__ = _of_data("__neg__")
    __abs__ = _of_data("__abs__")
    __add__ = _of_data("__add__")
    __radd__ = _of_data("__radd__")
    __sub__ = _of_data("__sub__")
    __rsub__ = _of_data("__rsub__")
    __mul__ = _of_data("__mul__")
    __rmul__ = _of_data("__rmul__")
    __truediv__ = _of_data("__truediv__")
    __rtruediv__ = _of_data("__rtruediv__")
    __floordiv__ = _of_data("__floordiv__")
    __mod__ = _of_data("__mod__")
    __pow__ = _of_data("__pow__")
    __rpow__ = _of_data("__rpow__")
    __matmul__ = _of_data("__matmul__")
    __rmatmul__ = _of_data("__rmatmul__")
    __lt__ = _of_data("__lt__")
    __le__ = _of_data("__le__")
    __gt__ = _of_data("__gt__")
    __ge__ = _of_data("__ge__")
    __iadd__ = _in_place("add_")
    __isub__ = _in_place("sub_")
    __imul__ = _in_place("mul_")
    __itruediv__ = _in_place("div_")

    if TYPE_CHECKING:
        # The tensor's methods and attributes, which are set below. With a `__getattr__`, Python 3.11 would read every
        # attribute of a parameter, `data` too, more slowly.
        def __getattr__(self, name: str) -> Any: ...


def _explained(name: str, fix: str) -> property:
    """An attribute that tensors have and these objects do not."""

    def explain(self: TensorLike) -> Any:
        raise MissingNameError(
            f"{type(self).__name__} has no attribute {name!r}",
            expected="what a tensor has without autograd, and without a change of its shape in place",
            got=name,
            fix=fix,
        )

    return property(explain)


ELSEWHERE = {  # attributes of tensors that would do nothing, or harm: what to write in lamp
    **dict.fromkeys(
        ("register_hook", "register_post_accumulate_grad_hook"),
        "change weight.grad between model.backward(...) and optimizer.step()",
    ),
    **dict.fromkeys(("retain_grad", "retains_grad"), "nothing: weight.grad is always there after model.backward(...)"),
    "backward": "model.backward(criterion.backward()), which adds to weight.grad",
    **dict.fromkeys(
        ("resize_", "resize_as_", "set_", "t_", "transpose_", "swapaxes_", "swapdims_", "squeeze_", "unsqueeze_"),
        "weight.data = tensor sets values of the same shape; another shape needs another module",
    ),
    "assign": "weight.data = tensor",
}
for _name in dir(torch.Tensor):
    if not _name.startswith("_") and _name != "data":
        setattr(TensorLike, _name, property(operator.attrgetter(f"data.{_name}")))
for _name, _fix in ELSEWHERE.items():
    setattr(TensorLike, _name, _explained(_name, _fix))


class TensorHolder(TensorLike):
    """An object whose `data` is a tensor that lasts: one that torch.inference_mode made is copied (see `lasting`)."""

    __slots__ = ("data",)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, lasting(value) if isinstance(value, Tensor) else value)
