"""A pretended GPU: tensors of torch's fake mode, which know their device and compute no numbers.

These are errors here: an operation that mixes tensors of both devices, even tensors without axes, which torch lets some
operations take; a generator of another device than the tensor that it fills; and reading a number from the GPU, for
which a step would have to wait.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lamp.devices
import lamp.no_autograd

COPIES = ("_to_copy", "to", "copy_", "empty_like", "new_empty")  # from one device to another
INDEXING = ("index", "index_put_", "index_put")  # take indices of the CPU


class WrongDevice(AssertionError):
    """Tensors of two devices were mixed, or a number was read from the GPU."""


class Watch(TorchDispatchMode):
    """What raises these errors. `copied` lists the shapes of what was copied from the CPU to the GPU."""

    def __init__(self, waits: bool) -> None:
        super().__init__()
        self.waits = waits
        self.copied: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        leaves = tree_leaves((args, kwargs))
        tensors = leaves if name not in INDEXING else [args[0], *tree_leaves(args[2:])]
        devices = {each.device.type for each in tensors if isinstance(each, torch.Tensor)}
        if name in ("_to_copy", "copy_"):
            to = kwargs["device"] if kwargs.get("device") is not None else args[0].device
            if torch.device(to).type == "cuda" and args[-1].device.type == "cpu":
                self.copied.append(tuple(args[-1].shape))
        if "device" in kwargs and kwargs["device"] is not None and name not in COPIES:
            devices.add(torch.device(kwargs["device"]).type)
        devices |= {each.device.type for each in leaves if isinstance(each, torch.Generator)}
        if len(devices) > 1 and name not in COPIES:
            shown = [f"{tuple(t.shape)} {t.dtype} {t.device}" if isinstance(t, torch.Tensor) else t for t in leaves]
            raise WrongDevice(f"{name}({', '.join(map(str, shown))})")
        if name in ("_local_scalar_dense", "nonzero") and "cuda" in devices and not (self.waits and name != "nonzero"):
            raise WrongDevice(f"{name}: a step waits for the GPU")
        if name == "_local_scalar_dense":
            return 0
        return func(*args, **kwargs)


class _Indexing(TorchFunctionMode):
    """x[index] by operations that do not ask for CUDA's own code, which a torch without it lacks."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__ == "__getitem__" and args[0].device.type == "cuda":
            return _item(*args)
        if func.__name__ == "__setitem__" and args[0].device.type == "cuda":
            x, index, value = args
            if any(isinstance(each, torch.Tensor | list) for each in (index if isinstance(index, tuple) else (index,))):
                return x.index_put_((torch.as_tensor(index),), torch.as_tensor(value, dtype=x.dtype, device=x.device))
            view = _item(x, index)
            return torch.ops.aten.copy_(view, value) if isinstance(value, torch.Tensor) else view.fill_(value)
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            device = kwargs.pop("device")
            return torch.ops.aten._to_copy(func(*args, **kwargs), device=device)
        if func.__name__ == "copy_":
            return torch.ops.aten.copy_(*args)
        if func.__name__ == "contiguous":
            return (
                args[0]
                if args[0].is_contiguous()
                else torch.ops.aten.clone(args[0], memory_format=torch.contiguous_format)
            )
        if func.__name__ == "__deepcopy__":
            memo = args[1]
            if id(args[0]) not in memo:
                memo[id(args[0])] = torch.ops.aten.clone(args[0])
            return memo[id(args[0])]
        if func.__name__ == "cpu":
            return torch.ops.aten._to_copy(args[0], device="cpu")
        if func.__name__ == "to":
            device, dtype = kwargs.get("device"), kwargs.get("dtype")
            for each in args[1:]:
                if isinstance(each, torch.Tensor):
                    device, dtype = each.device, each.dtype
                elif isinstance(each, torch.dtype):
                    dtype = each
                elif isinstance(each, str | torch.device):
                    device = each
            device = None if device is None else torch.device(device)
            if "cuda" in (args[0].device.type, getattr(device, "type", None)):
                return torch.ops.aten._to_copy(args[0], device=device, dtype=dtype)
        return func(*args, **kwargs)


def _item(x: Any, index: Any) -> Any:
    """x[index]."""
    indices = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [each for each in indices if not isinstance(each, torch.Tensor)]:
        k = next(k for k, each in enumerate(indices) if each is Ellipsis)
        missing = x.dim() - sum(each is not None for each in indices) + 1
        indices[k : k + 1] = [slice(None)] * missing
    axis = 0
    for each in indices:
        if each is None:
            x = x.unsqueeze(axis)
        elif isinstance(each, slice):
            x = torch.ops.aten.slice.Tensor(x, axis, each.start, each.stop, each.step or 1)
        elif isinstance(each, int):
            x = torch.ops.aten.select.int(x, axis, each)
            axis -= 1
        else:
            x = torch.ops.aten.index.Tensor(x, [None] * axis + [torch.as_tensor(each)])
        axis += 1
    return x


@contextmanager
def gpu(waits: bool = False) -> Iterator[Watch]:
    """Pretend that torch has one GPU, on which all numbers are 0. `waits`: numbers may be read from it."""
    quick, slow = (
        lamp.no_autograd.quick,
        torch.no_grad,
    )  # below autograd torch hands composite operations on as they are
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lamp.devices, "gpus", lambda: 1)
        for module in _modules():
            if vars(module).get("quick") is quick:
                patch.setattr(module, "quick", slow)
        _forget()
        try:
            with FakeTensorMode(allow_non_fake_inputs=True), Watch(waits) as watch, _Indexing():
                yield watch
        finally:
            _forget()


def _modules() -> list[Any]:
    """The loaded modules of lamp."""
    return _modules_among(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _modules_among(loaded: int) -> list[Any]:
    """The modules of lamp among so many, which are looked for again when more are loaded."""
    return [module for name, module in list(sys.modules.items()) if name.startswith("lamp.")]


def _forget() -> None:
    """Drop the constants that lamp caches: those made in this mode hold no numbers, and others do not fit this mode."""
    for module in _modules():
        for cached in _constants(module.__name__):
            cached.cache_clear()


@functools.cache
def _constants(module: str) -> list[Any]:
    """The functions of a module that cache tensors, by what they say they return."""
    if module.startswith("lamp.compiler"):
        return []
    cached = [each for each in vars(sys.modules[module]).values() if isinstance(each, functools._lru_cache_wrapper)]
    return [each for each in cached if "Tensor" in str(each.__wrapped__.__annotations__["return"])]
