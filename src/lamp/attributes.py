"""Descriptions of objects by their public attributes: as JSON values, with a digest in place of a tensor.

They are used to compare objects and to save what a training is made of. Nothing here depends on lamp's classes, so a
new module, loss or data set needs no code for it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.module import Module
from lamp.overrides import fields_of, is_users, names_of_lamp
from lamp.parameter import Buffer, Parameter

SKIPPED = ("training", "replicas", "units", "defaults", "param_groups")  # described elsewhere, or not options
SHORT = 16  # digits of a digest that are kept
LONGEST = 200  # characters; a longer text is replaced by its beginning and a digest
CHUNK_BYTES = 2**24  # how much of a tensor is copied at a time, if it must be copied


def attributes_of(thing: object, prefix: str, wanted: Callable[[Any], bool] = lambda value: True) -> dict[str, Any]:
    """The public attributes of an object, and a user's class's private ones, as `as_json` writes them.

    prefix  put before each name
    wanted  which values to include

    Members of modules are left out, and all but the constructor's arguments for a module with an extra state (see
    `get_extra_state`).
    """
    names = vars(thing) if hasattr(thing, "__dict__") else {}
    if isinstance(thing, Module) and thing.get_extra_state() is not None:
        arguments = inspect.signature(type(thing)).parameters
        names = {name: value for name, value in names.items() if name in arguments}
    return {
        prefix + name: as_json(value)
        for name, value in names.items()
        if (not name.startswith("_") or is_own(name, type(thing)))
        and name not in SKIPPED
        and not isinstance(value, Module | Parameter | Buffer)
        and wanted(value)
    }


def is_own(name: str, kind: type) -> bool:
    """Whether an attribute of this name is the user's: the class is, and no method of lamp's looks it up."""
    return is_users(kind) and name not in names_of_lamp(kind)


def name_of(thing: Any) -> str:
    """A text for a function or an unknown object: its name, or the name of its class."""
    return f"a {getattr(thing, '__qualname__', type(thing).__qualname__)}"


def as_json(value: Any, around: tuple[Any, ...] = (), of_function: Callable[[Any], str] = name_of) -> Any:
    """The value as a JSON scalar. Tensors, containers and other objects become texts; different values differ in them.

    around       the containers and objects that the value is inside
    of_function  makes the text for functions
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
        return as_json(value.data, around, of_function)
    if isinstance(value, Tensor):
        return digest_of_tensor(value)
    if isinstance(value, np.ndarray):
        digest = _digits(np.ascontiguousarray(value).tobytes()) if value.dtype != object else "?"
        return f"array {value.shape} {value.dtype} with the digest {digest}"
    if isinstance(value, partial):
        return as_json([value.func, list(value.args), value.keywords], around, of_function)
    if isinstance(value, torch.dtype | torch.device):
        return str(value)
    if any(value is each for each in around):
        return f"number {[value is each for each in around].index(True)} of those around it"
    within = (*around, value)
    if isinstance(value, Mapping):
        pairs = value.items()
        items: Any = [[str(as_json(key, within)), as_json(item, within, of_function)] for key, item in pairs]
        return _shortened(f"{type(value).__name__} {json.dumps(items)}")
    if isinstance(value, list | tuple | set | frozenset | deque):
        items = [as_json(item, within, of_function) for item in value]
        items = sorted(items, key=str) if isinstance(value, set | frozenset) else items
        return _shortened(f"{type(value).__name__} {json.dumps(items)}")
    if _is_record(value) and (fields := fields_of(value)):
        held = {name: each for name, each in fields.items() if not isinstance(each, Module)}
        return _shortened(f"{name_of(value)} {as_json(held, within, of_function)}")
    return of_function(value)


def _is_record(value: Any) -> bool:
    """Whether a value is an object whose attributes say what it is: a user's, but no generator."""
    kind: Any = type(value)
    return isinstance(value, SimpleNamespace | Namespace) or (is_users(kind) and not isinstance(value, Random))


def _shortened(text: str) -> str:
    """The text, or the beginning and a digest of a long one."""
    return (
        text if len(text) <= LONGEST else f"{text[:40]}... with the digest {_digits(text.encode('utf-8', 'replace'))}"
    )


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:SHORT]


def digest_of_tensor(tensor: Tensor) -> str:
    """A phrase with the shape, the dtype and a digest of all elements of a tensor."""
    kind = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_meta or tensor.layout is not torch.strided:
        return f"{kind}, {tensor.layout}"
    digest = hashlib.sha256()
    for piece in _pieces(tensor.detach().resolve_conj().resolve_neg()):
        digest.update(piece)
    return f"{kind} with the digest {digest.hexdigest()[:SHORT]}"


def _pieces(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of all elements in row-major order: without a copy if the tensor is dense, else some rows at a time."""
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
