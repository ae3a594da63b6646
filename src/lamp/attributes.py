"""What an object is made with: its plain attributes, tensors by a digest of all their bytes.

It knows no class of lamp's: whatever a module, a loss or a data set keeps under a public name is seen, so that a new
one needs nothing.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.module import Module
from lamp.parameter import Buffer, Parameter

SKIPPED = ("training", "replicas", "units", "defaults", "param_groups")  # told elsewhere, or not of the training
SHORT = 16  # digits of a digest that are kept
LONGEST = 200  # characters of a text that is kept as it is
DEEPEST = 5  # containers within each other that are looked into
CHUNK_BYTES = 2**24  # of a tensor that are copied at a time, where it must be copied


def attributes_of(thing: object, prefix: str, wanted: Callable[[Any], bool] = lambda value: True) -> dict[str, Any]:
    """An object's public attributes that are wanted, by their names after the prefix, as `told` has them.

    Of a module with a state of its own (see `get_extra_state`) those that its constructor takes.
    """
    names = vars(thing) if hasattr(thing, "__dict__") else {}
    if isinstance(thing, Module) and thing.get_extra_state() is not None:
        taken = inspect.signature(type(thing)).parameters
        names = {name: value for name, value in names.items() if name in taken}
    return {
        prefix + name: told(value)
        for name, value in names.items()
        if not name.startswith("_")
        and name not in SKIPPED
        and not isinstance(value, Module | Parameter | Buffer)
        and wanted(value)
    }


def name_of(thing: Any) -> str:
    """What stands for a function, or for an object that nothing else is known of."""
    return f"a {getattr(thing, '__qualname__', type(thing).__qualname__)}"


def told(value: Any, depth: int = 0, of_function: Callable[[Any], str] = name_of) -> Any:
    """A value as JSON has it; of what JSON has no form for a text that is another one for another value.

    of_function  what stands for a function
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int):
        return value if value is None or isinstance(value, bool) else int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str | bytes):
        return _shortened(value if isinstance(value, str) else repr(value))
    if isinstance(value, Buffer | Parameter):
        return told(value.data, depth, of_function)
    if isinstance(value, Tensor):
        return digest_of_tensor(value)
    if isinstance(value, np.ndarray):
        digest = _digits(np.ascontiguousarray(value).tobytes()) if value.dtype != object else "?"
        return f"array {value.shape} {value.dtype} with the digest {digest}"
    if isinstance(value, partial):
        return told([value.func, list(value.args), value.keywords], depth, of_function)
    if isinstance(value, list | tuple | set | frozenset | dict) and depth < DEEPEST:
        if isinstance(value, dict):
            pairs = value.items()
            items: Any = [[str(told(key, depth + 1)), told(item, depth + 1, of_function)] for key, item in pairs]
        else:
            items = [told(item, depth + 1, of_function) for item in value]
            items = sorted(items, key=str) if isinstance(value, set | frozenset) else items
        return _shortened(f"{type(value).__name__} {json.dumps(items)}")
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    return of_function(value)


def _shortened(text: str) -> str:
    return (
        text if len(text) <= LONGEST else f"{text[:40]}... with the digest {_digits(text.encode('utf-8', 'replace'))}"
    )


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:SHORT]


def digest_of_tensor(tensor: Tensor) -> str:
    """Shape, dtype and a digest of all numbers, in a sentence."""
    kind = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_meta or tensor.layout is not torch.strided:
        return f"{kind}, {tensor.layout}"
    digest = hashlib.sha256()
    for piece in _pieces(tensor.detach().resolve_conj().resolve_neg()):
        digest.update(piece)
    return f"{kind} with the digest {digest.hexdigest()[:SHORT]}"


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """All numbers in row-major order: as they lie where that is dense, else a copy of some rows at a time."""
    if tensor.numel() == 0:
        return
    if tensor.is_contiguous() and tensor.device.type == "cpu":
        yield memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        return
    rows = tensor if tensor.dim() > 1 else tensor.reshape(-1, 1)
    row_bytes = rows[0].numel() * rows.element_size()
    for piece in rows.split(max(1, CHUNK_BYTES // row_bytes)):
        dense = piece.cpu().contiguous().reshape(-1)
        yield memoryview(dense.view(torch.uint8).numpy())
