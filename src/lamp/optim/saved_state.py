"""The state of an optimizer as a dict in torch.optim's layout: written, and read again with its checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from lamp.errors import ArgumentError, StateDictError
from lamp.optim.checks import plain
from lamp.optim.groups import HasGroups
from lamp.optim.step_counts import StepCounts
from lamp.parameter import Parameter
from lamp.values import a_number

States = Mapping[Parameter, Mapping[str, Tensor]]  # the rule's state for each parameter, by name


class HasState(HasGroups, Protocol):
    """What an optimizer says of the state of its rule."""

    @property
    def step_count(self) -> tuple[int, ...]: ...
    @property
    def counts_steps(self) -> bool: ...
    @property
    def state_from_start(self) -> bool: ...
    @property
    def elementwise(self) -> bool: ...
    @property
    def numbers_in_state(self) -> tuple[str, ...]: ...

    def state_names(self, group: dict[str, Any]) -> tuple[str, ...]: ...
    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None: ...


def matching_groups(optimizer: HasGroups, state_dict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The optimizer's groups with the hyperparameters of a state dict. Raises StateDictError if they do not fit."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
        got = list(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise misfit(optimizer, 'a dict with "state" and "param_groups"', got)
    saved, states = state_dict["param_groups"], state_dict["state"]
    if not _is_list_of_groups(saved):
        raise misfit(optimizer, 'groups as a list of dicts with "params"', repr(saved)[:60])
    if not isinstance(states, Mapping) or not all(isinstance(each, Mapping) for each in states.values()):
        raise misfit(optimizer, "state as a dict of one dict per parameter", repr(states)[:60])
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


def _is_list_of_groups(saved: Any) -> bool:
    """Whether these are parameter groups as a state dict has them, with the numbers of their parameters."""
    if not isinstance(saved, list | tuple) or not all(isinstance(group, Mapping) for group in saved):
        return False
    return all(isinstance(group.get("params"), list | tuple) for group in saved)


def saved_state(optimizer: HasState, states: States, counts: StepCounts) -> dict[str, Any]:
    """The state dict of an optimizer, where `states` is the rule's state per parameter, and `counts` its steps."""
    state: dict[int, dict[str, Tensor]] = {}
    groups = []
    number = 0
    for group, steps in zip(optimizer.param_groups, optimizer.step_count, strict=True):
        numbers = list(range(number, number + len(group["params"])))
        number += len(numbers)
        groups.append({**group, "params": numbers})
        if not steps and not optimizer.state_from_start:
            continue
        for k, parameter in zip(numbers, group["params"], strict=True):
            if parameter.frozen and parameter not in states:
                continue
            count = {"step": torch.tensor(float(counts.of(parameter, steps)))} if optimizer.counts_steps else {}
            kept = dict(states.get(parameter, {}))
            for name in optimizer.numbers_in_state:
                if name in kept:  # () or, in a population, (K,)
                    kept[name] = kept[name].reshape(*parameter.rows, -1)[..., 0].clone()
            if count or kept:
                state[k] = count | kept
    return {"state": state, "param_groups": groups}


def loaded_state(
    optimizer: HasState, state_dict: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[int], StepCounts, dict[Parameter, dict[str, Tensor]]]:
    """The groups, the steps per group and per parameter, and the rule's state in a state dict. Raises StateDictError if
    it is wrong."""
    groups = matching_groups(optimizer, state_dict)
    steps, counts = [], StepCounts()
    states: dict[Parameter, dict[str, Tensor]] = {}
    for group, saved in zip(groups, state_dict["param_groups"], strict=True):
        own: dict[Parameter, int] = {}
        for number, parameter in zip(saved["params"], group["params"], strict=True):
            state = {k: v for k, v in state_dict["state"].get(number, {}).items() if v is not None}
            own[parameter] = int(a_number(state.pop("step", 1 if state else 0), "step"))
            states[parameter] = _fitting(optimizer, number, parameter, state, optimizer.state_names(group))
        steps.append(max(own.values(), default=0))
        for parameter, made in own.items():
            counts.put(parameter, made, steps[-1])
    return groups, steps, counts, states


def _fitting(
    optimizer: HasState, number: int, parameter: Parameter, state: Mapping[str, Any], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """The state of a parameter, as the optimizer keeps it. Raises StateDictError if it does not fit."""
    rows, single = tuple(parameter.rows), tuple(parameter.shape[len(parameter.rows) :])
    shapes = {name: single if optimizer.elementwise else optimizer.state_shape(name, single) for name in names}
    needed = {name: (*rows, *shape) for name, shape in shapes.items() if shape is not None}
    if state and set(state) != set(needed):
        raise misfit(
            optimizer, f"state {', '.join(needed) or 'of no kind'}", f"{', '.join(state)} of parameter {number}"
        )
    fitting = {}
    for name, tensor in state.items():
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if name in optimizer.numbers_in_state and shape == rows:
            tensor, shape = tensor.reshape((*rows, *(1 for _ in single))).expand(needed[name]).clone(), needed[name]
        if shape != needed[name]:
            raise misfit(optimizer, f"{name} of parameter {number} of shape {needed[name]}", shape)
        fitting[name] = tensor
    return fitting


def misfit(optimizer: HasGroups, expected: object, got: object) -> StateDictError:
    return StateDictError(
        f"the state dict does not fit this {type(optimizer).__name__}",
        expected=expected,
        got=got,
        fix="build the same optimizer, over the same network and groups",
    )
