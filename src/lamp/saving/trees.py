"""Convert nested state (dicts, lists, numbers, tensors) into JSON and named tensors, and back without loss.

Values that JSON cannot express become a dict with one key that begins with "$":

    {"$tensor": name}     the tensor of that name, which goes into a safetensors file
    {"$array": name}      a numpy array, which goes there as a tensor
    {"$generator": k}     a torch.Generator, whose state is the tensor "generators.k"; a generator that occurs in
                          several places becomes a single one again
    {"$float": "nan"}     NaN and the infinities
    {"$tuple": [...]}, {"$counter": [[key, count], ...]}, {"$dict": [[key, value], ...]} (for keys that are not texts)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.errors import CheckpointError
from lamp.saving.seal import DamagedError


def pack(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """The tree in a form for JSON, and its tensors by name. Raises CheckpointError for other types of values."""
    packing = _Packing()
    return packing.pack(tree, ""), packing.tensors


class _Packing:
    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.generators: dict[int, int] = {}  # id to number

    def pack(self, value: Any, path: str) -> Any:
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, int | str):
            return int(value) if isinstance(value, int) else str(value)
        if isinstance(value, Tensor):
            return {"$tensor": self._put(value, path)}
        if isinstance(value, np.ndarray):
            return {"$array": self._put(torch.from_numpy(np.ascontiguousarray(value)), path)}
        if isinstance(value, torch.Generator):
            return self._pack_generator(value)
        if isinstance(value, list | tuple):
            items = [self.pack(item, f"{path}.{k}") for k, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, Counter):
            return {"$counter": [[self.pack(key, path), count] for key, count in value.items()]}
        if isinstance(value, Mapping):
            packed = [(key, self.pack(item, f"{path}.{key}")) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key, _ in packed):
                return dict(packed)
            return {"$dict": [[self.pack(key, path), item] for key, item in packed]}
        raise CheckpointError(
            f"{path.removeprefix('.')} cannot be saved",
            expected="numbers, texts, tensors, generators, and lists, tuples and dicts of them",
            got=f"a {type(value).__module__}.{type(value).__qualname__}".replace("builtins.", ""),
            fix="let state_dict() return the values from which it can be built again",
        )

    def _put(self, tensor: Tensor, path: str) -> str:
        name = path.removeprefix(".") or "value"
        while name in self.tensors:  # keys 1 and "1"
            name += "'"
        self.tensors[name] = tensor
        return name

    def _pack_generator(self, generator: torch.Generator) -> dict[str, Any]:
        if id(generator) not in self.generators:
            self.generators[id(generator)] = len(self.generators)
            self.tensors[f"generators.{self.generators[id(generator)]}"] = generator.get_state()
        return {"$generator": self.generators[id(generator)], "device": str(generator.device)}


def unpack(packed: Any, tensors: Mapping[str, Tensor], path: object = "this checkpoint") -> Any:
    """The tree that `pack` was given. Raises DamagedError, which names `path`, if JSON and tensors do not fit."""
    generators: dict[int, torch.Generator] = {}

    def generator(number: int, device: str) -> torch.Generator:
        if number not in generators:
            generators[number] = torch.Generator(device)
            generators[number].set_state(tensors[f"generators.{number}"])
        return generators[number]

    def build(value: Any) -> Any:
        if isinstance(value, list):
            return [build(item) for item in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"$tensor": name}:
                return tensors[name]
            case {"$array": name}:
                return tensors[name].numpy()
            case {"$generator": number, "device": device}:
                return generator(number, device)
            case {"$float": text}:
                return float(text)
            case {"$tuple": items}:
                return tuple(build(item) for item in items)
            case {"$counter": pairs}:
                return Counter({build(key): count for key, count in pairs})
            case {"$dict": pairs}:
                return {build(key): build(item) for key, item in pairs}
        return {key: build(item) for key, item in value.items()}

    try:
        return build(packed)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(
            f"{path}: the tensors do not fit the JSON document",
            "every tensor that the document names",
            f"{type(error).__name__}: {str(error)[:200]}",
        ) from None
