"""`compare`, which checks that a state dict fits the module that is to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.errors import StateDictError

SHOWN = 8  # keys that an error names


class IncompatibleKeys(NamedTuple):
    """The keys that `load_state_dict(strict=False)` did not load."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def compare(name: str, own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """The keys that only one of the two state dicts has.

    name   the module's name in errors
    own    the module's tensors
    given  the state dict to load

    Raises StateDictError for a value that is not a real tensor or has another shape, and, if strict, for such keys.
    """
    missing = [key for key in own if key not in given]
    unexpected = [key for key in given if key not in own]
    if strict and (missing or unexpected):
        raise StateDictError(
            f"the keys of the state dict do not fit {name}",
            expected=f"{len(own)} keys, missing {_some(missing)}",
            got=f"{len(given)} keys, unexpected {_some(unexpected)}",
            fix="build the same network, or pass strict=False to load what fits",
        )
    for key, tensor in own.items():
        value = given.get(key, tensor)
        if not isinstance(value, Tensor) or value.is_complex():
            raise StateDictError(
                f"'{key}' is not a tensor of real numbers",
                expected=f"a torch.Tensor {tuple(tensor.shape)}",
                got=value.dtype if isinstance(value, Tensor) else type(value).__name__,
                fix="convert it first, for example with torch.as_tensor",
            )
        if value.shape != tensor.shape:
            raise StateDictError(
                f"'{key}' has the wrong shape",
                expected=tuple(tensor.shape),
                got=tuple(value.shape),
                fix=_fix_for(tuple(tensor.shape), tuple(value.shape)),
            )
    _check_shared(own, given)
    return IncompatibleKeys(missing, unexpected)


def _check_shared(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Raise StateDictError if a parameter that stands in several places would get different values for them."""
    first: dict[tuple[int, torch.Size], str] = {}
    for key, tensor in own.items():
        if key not in given or not tensor.numel() or tensor.is_meta:
            continue
        other = first.setdefault((tensor.data_ptr(), tensor.shape), key)
        if other != key and not torch.equal(given[other], given[key]):
            raise StateDictError(
                f"'{other}' and '{key}' are one parameter here, and two with different values in the state dict",
                expected="equal values for both",
                got="different ones",
                fix="build a network in which they are apart, as in the one that was saved",
            )


def check_state_of(owner: object, state_dict: Any, *keys: str) -> None:
    """Raise StateDictError unless this is a mapping with the keys that `state_dict` of the owner returns."""
    missing = [key for key in keys if key not in state_dict] if isinstance(state_dict, Mapping) else list(keys)
    if missing or not isinstance(state_dict, Mapping):
        raise StateDictError(
            f"this is no state of {type(owner).__name__}",
            expected="a dict" + (f" with {', '.join(map(repr, keys))}" if keys else ""),
            got=f"no {', '.join(map(repr, missing))}" if isinstance(state_dict, Mapping) else type(state_dict).__name__,
            fix=f"pass what {type(owner).__name__}.state_dict() returned",
        )


def _some(keys: list[str]) -> str:
    """A text with the keys; of many, the first ones and how many are left."""
    rest = len(keys) - SHOWN
    return "none" if not keys else str(keys) if rest <= 0 else f"{str(keys[:SHOWN])[:-1]}, and {rest} more]"


def _fix_for(own: tuple[int, ...], given: tuple[int, ...]) -> str:
    if own[1:] == given:
        return f"these are one network's; build that, or give each of the {own[0]} networks its own"
    if given[1:] == own:
        return f"these are {given[0]} networks'; build lamp.population(network, seeds=range({given[0]}))"
    return "build the network with the sizes it was saved with"
