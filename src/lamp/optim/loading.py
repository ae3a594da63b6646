"""Checks whether a state dict fits an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, StateDictError
from lamp.optim.checks import plain
from lamp.optim.groups import HasGroups
from lamp.parameter import Parameter


def matching_groups(optimizer: HasGroups, state_dict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The optimizer's groups with the hyperparameters of a state dict. Raises StateDictError if they do not fit."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        got = list(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise misfit(optimizer, 'a dict with "state" and "param_groups"', got)
    saved = state_dict["param_groups"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    if [len(group["params"]) for group in saved] != sizes:
        raise misfit(
            optimizer, f"groups of {sizes} parameters", f"groups of {[len(group['params']) for group in saved]}"
        )
    strangers = set(state_dict["state"]) - {number for group in saved for number in group["params"]}
    if strangers:
        raise misfit(optimizer, "state of the parameters in its groups", f"state of parameters {sorted(strangers)}")
    groups = []
    for own, group in zip(optimizer.param_groups, saved, strict=True):
        missing = [key for key in optimizer.defaults if key not in group]
        if missing:
            raise misfit(
                optimizer, f"the hyperparameters {', '.join(optimizer.defaults)}", f"none named {', '.join(missing)}"
            )
        kept = {key: group[key] for key in (*optimizer.defaults, "initial_lr") if key in group}
        new = {
            "params": own["params"],
            **kept,
            **{key: plain(kept[key], pair=key in optimizer._pairs()) for key in optimizer.ranges},
        }
        try:
            optimizer._check_hyperparameters(new)
        except ArgumentError as error:
            raise misfit(optimizer, error.expected, f"{error.what}: {error.got}") from None
        groups.append(new)
    return groups


def check_state(
    optimizer: HasGroups, number: int, parameter: Parameter, state: Mapping[str, Any], names: tuple[str, ...]
) -> None:
    if state and set(state) != set(names):
        raise misfit(
            optimizer, f"state {', '.join(names) or 'of no kind'}", f"{', '.join(state)} of parameter {number}"
        )
    for name, tensor in state.items():
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if shape != tuple(parameter.shape):
            raise misfit(optimizer, f"{name} of parameter {number} of shape {tuple(parameter.shape)}", shape)


def misfit(optimizer: HasGroups, expected: object, got: object) -> StateDictError:
    return StateDictError(
        f"the state dict does not fit this {type(optimizer).__name__}",
        expected=expected,
        got=got,
        fix="build the same optimizer, over the same network and groups",
    )
