"""What every optimizer is: an update rule over numbers, applied to flat buffers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lamp.errors import ArgumentError, StateDictError
from lamp.formulas import Number
from lamp.parameter import Parameter, Run, runs
from lamp.quick import quick

Group = dict[str, Any]  # "params" and the hyperparameters by name
Numbers = Mapping[str, Number]
State = dict[str, Number]

BLOCK = 65536  # elements updated at a time, so that parameter, gradient, state and what the rule computes stay in cache


class Range(NamedTuple):
    """What a hyperparameter may be: low <= value, and value < high or <= high."""

    low: float = 0.0
    high: float = math.inf
    closed: bool = True

    def holds(self, value: Any) -> bool:
        values = value.tolist() if isinstance(value, Tensor) else value
        flat = values if isinstance(values, list | tuple) else [values]
        return all(self.low <= each and (each <= self.high if self.closed else each < self.high) for each in flat)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"from {self.low:g} to {'' if self.closed else 'below '}{self.high:g}"


class Piece:
    """A block of neighbouring parameters: views of values and gradients, and the rule's state, all 1-D."""

    __slots__ = ("data", "grad", "state")

    def __init__(self, data: Tensor, grad: Tensor) -> None:
        self.data, self.grad = data, grad
        self.state: State = {}


class Optimizer(ABC):
    """Base of all optimizers.

    params    `model.parameters()`, or a list of groups: dicts with "params" and hyperparameters of their own
    defaults  the hyperparameters of groups that do not set them

    A subclass writes its rule as two formulas: `coefficients`, the numbers of one step (bias corrections, say), and
    `update`, the rule itself over numbers (see lamp.formulas), which serves a whole flat buffer at once.

    Unlike torch.optim, every parameter has a gradient (zero until a backward adds to it), so none is ever skipped.

    Raises ArgumentError for an empty parameter list, a parameter in two groups, an unknown hyperparameter or one out of
    range.
    """

    ranges: ClassVar[Mapping[str, Range]] = {}  # of the numeric hyperparameters

    def __init__(self, params: Iterable[Parameter] | Iterable[Group], defaults: Group) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self._steps: list[int] = []  # taken, a group
        self._runs: list[Run] = []
        self._pieces: list[list[Piece]] = []  # a group
        listed = self._as_list(params)
        if not listed:
            raise self._no_parameters("an empty list")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    # ---- the rule --------------------------------------------------------------------------------------------------
    @abstractmethod
    def coefficients(self, group: Group, step: int) -> Numbers:
        """The numbers that step 1, 2, ... of this group needs, by name."""

    @abstractmethod
    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        """The parameter after the step. `c` holds the coefficients; new state is put into `state`."""

    def state_names(self, group: Group) -> tuple[str, ...]:
        """What the rule keeps of each element from step to step, with these options."""
        return ()

    def initial_state(self, name: str, group: Group) -> float:
        """What that state begins with."""
        return 0.0

    # ---- using it --------------------------------------------------------------------------------------------------
    def zero_grad(self) -> None:
        """Set the gradients of all its parameters to zero."""
        self._settle_if_moved()
        with quick():
            for run in self._runs:
                run.grad.zero_()

    def step(self) -> None:
        """Update every parameter from its gradient."""
        self._settle_if_moved()
        with quick():
            for k, group in enumerate(self.param_groups):
                self._steps[k] += 1
                c = self.coefficients(group, self._steps[k])
                names = self.state_names(group)
                for piece in self._pieces[k]:
                    if len(piece.state) != len(names):
                        self._complete(piece, names, group)
                    piece.data.copy_(self.update(piece.data, piece.grad, piece.state, c, group))

    def add_param_group(self, group: Group) -> None:
        """Take more parameters in, with hyperparameters of their own."""
        params = self._as_list(group.get("params", ()))
        if not params:
            raise self._no_parameters("a group without any")
        group = {**self.defaults, **group, "params": params}
        self._check_group(group)
        before = self._per_parameter()
        self.param_groups.append(group)
        self._steps.append(0)
        self._settle(before)

    # ---- checks ----------------------------------------------------------------------------------------------------
    def _as_list(self, params: Any) -> list[Any]:
        if isinstance(params, Parameter):
            return [params]
        if not isinstance(params, Iterable) or isinstance(params, Tensor | str | Mapping):
            raise ArgumentError(
                f"{type(self).__name__} takes parameters",
                expected="model.parameters(), or a list of groups",
                got=type(params).__name__,
                fix="pass model.parameters()",
            )
        return list(params)

    def _no_parameters(self, got: str) -> ArgumentError:
        return ArgumentError(
            f"{type(self).__name__} has no parameters to optimize",
            expected="at least one lamp.Parameter",
            got=got,
            fix="pass model.parameters() of a network that has parameters (a list of them, if you iterate it twice)",
        )

    def _check_group(self, group: Group) -> None:
        name = type(self).__name__
        for parameter in group["params"]:
            if not isinstance(parameter, Parameter):
                raise ArgumentError(
                    f"{name} optimizes parameters",
                    expected="lamp.Parameter",
                    got=type(parameter).__name__,
                    fix="pass model.parameters()",
                )
        taken = {id(parameter) for other in self.param_groups for parameter in other["params"]}
        if any(id(parameter) in taken for parameter in group["params"]):
            raise ArgumentError(f"{name}: a parameter stands in two groups", fix="give each parameter to one group")
        for key, value in group.items():
            if key != "params" and key not in self.defaults:
                raise ArgumentError(
                    f"{name} has no hyperparameter {key!r}", expected=", ".join(self.defaults), got=key, fix="check its name"
                )
            if key in self.ranges and not self.ranges[key].holds(value):
                raise ArgumentError(
                    f"{name}: {key} is out of range", expected=str(self.ranges[key]), got=value, fix=f"choose another {key}"
                )

    # ---- where parameters and state lie ----------------------------------------------------------------------------
    def _settle_if_moved(self) -> None:
        for run in self._runs:
            if not run.is_current:
                self._settle(self._per_parameter())
                return

    def _settle(self, states: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Cut the parameters, where they lie now, into blocks, and lay each parameter's state beside it."""
        self._runs, self._pieces = [], []
        for group in self.param_groups:
            pieces = []
            for run in runs(group["params"]):
                self._runs.append(run)
                size = BLOCK if run.data.device.type == "cpu" else max(run.data.numel(), 1)
                blocks = [Piece(*views) for views in zip(run.data.split(size), run.grad.split(size), strict=True)]
                names = {name for parameter in run.parameters for name in states.get(id(parameter), ())}
                for name in names:
                    begin = self.initial_state(name, group)
                    whole = torch.cat(
                        [
                            states.get(id(parameter), {}).get(name, torch.full_like(parameter.data, begin)).reshape(-1)
                            for parameter in run.parameters
                        ]
                    ).to(run.data)
                    for block, state in zip(blocks, whole.split(size), strict=True):
                        block.state[name] = state.clone()
                pieces += blocks
            self._pieces.append(pieces)

    def _complete(self, piece: Piece, names: tuple[str, ...], group: Group) -> None:
        """Begin the state that these options need, and drop what they do not."""
        piece.state = {
            name: piece.state.get(name, torch.full_like(piece.data, self.initial_state(name, group))) for name in names
        }

    def _per_parameter(self) -> dict[int, dict[str, Tensor]]:
        """The state of each parameter in its own shape, by the parameter's id."""
        found: dict[int, dict[str, Tensor]] = {}
        runs_left = iter(self._runs)
        for pieces in self._pieces:
            pieces_left = iter(pieces)
            taken = 0
            while taken < len(pieces):
                run = next(runs_left)
                blocks = []
                while sum(block.data.numel() for block in blocks) < run.data.numel():
                    blocks.append(next(pieces_left))
                taken += len(blocks)
                for name in blocks[0].state if blocks else ():
                    whole = torch.cat([block.state[name] for block in blocks])
                    sizes = [parameter.numel() for parameter in run.parameters]
                    for parameter, part in zip(run.parameters, whole.split(sizes), strict=True):
                        found.setdefault(id(parameter), {})[name] = part.view(parameter.shape)
        return found

    # ---- state -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, in torch.optim's layout: "state" by parameter number, and "param_groups"."""
        states = self._per_parameter()
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        number = 0
        for group, steps in zip(self.param_groups, self._steps, strict=True):
            numbers = list(range(number, number + len(group["params"])))
            number += len(numbers)
            groups.append({**group, "params": numbers})
            for k, parameter in zip(numbers, group["params"], strict=True):
                if steps:
                    own = {name: tensor.clone() for name, tensor in states.get(id(parameter), {}).items()}
                    state[k] = {"step": torch.tensor(float(steps)), **own}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict of lamp's or torch.optim's; on a StateDictError nothing has changed."""
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in self.param_groups]
        if [len(group["params"]) for group in saved] != sizes:
            raise StateDictError(
                f"the state dict does not fit this {type(self).__name__}",
                expected=f"groups of {sizes} parameters",
                got=f"groups of {[len(group['params']) for group in saved]}",
                fix="build the optimizer over the same network and groups",
            )
        groups, steps, states = [], [], {}
        for own, group in zip(self.param_groups, saved, strict=True):
            new = {key: group.get(key, own[key]) for key in own if key != "params"}
            groups.append({"params": own["params"], **new})
            taken = set()
            for number, parameter in zip(group["params"], own["params"], strict=True):
                state = dict(state_dict["state"].get(number, {}))
                taken.add(int(state.pop("step", 0)))
                tensors = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
                for name, tensor in tensors.items():
                    if tensor.shape != parameter.shape:
                        raise StateDictError(
                            f"'{name}' of parameter {number} has the wrong shape",
                            expected=tuple(parameter.shape),
                            got=tuple(tensor.shape),
                            fix="build the optimizer over the same network",
                        )
                states[id(parameter)] = tensors
            steps.append(max(taken))
        self.param_groups, self._steps = groups, steps
        self._settle(states)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {key}: {value}" for key, value in sorted(group.items()) if key != "params"]
        return "\n".join([*lines, ")"])
