"""`Optimizer`, the base class: it applies an update rule, written for numbers, to flat buffers of parameters."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from lamp.cpu_settings import keep_freed_memory
from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.no_autograd import quick
from lamp.optim.blocks import Block, ParameterBlocks, WholeParameters
from lamp.optim.checks import Range, as_list, as_parameters, check_ranges, check_replicas, column, plain, rows_of
from lamp.optim.groups import (
    HyperparametersAsAttributes,
    ParameterGroups,
    check_in_one_group,
    groups_replaced,
    unknown,
)
from lamp.optim.in_backward import StepsInBackward, explain_all
from lamp.optim.own_rules import check_update, has_own_update
from lamp.optim.rules import as_coefficients, as_state_names, check_state, explain_update, warn_of_copy
from lamp.optim.saved_state import loaded_state, saved_state
from lamp.optim.step_counts import StepCounts
from lamp.parameter import Parameter, Span, trained
from lamp.signatures import Constructed, Formulas, called, check_formulas
from lamp.values import a_function

Group = dict[str, Any]  # "params" and the hyperparameters by name
Numbers = Mapping[str, Number]
State = dict[str, Number]


class _Made(Constructed):
    """Metaclass of optimizers: after construction, setting an attribute with an unknown name raises an error."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        optimizer = super().__call__(*args, **kwargs)
        vars(optimizer)["_is_made"] = True
        return optimizer


class Optimizer(StepsInBackward, HyperparametersAsAttributes, metaclass=_Made):
    """Base of all optimizers.

    params    `model.parameters()`, or a list of groups: dicts with "params" and their own hyperparameters
    defaults  the hyperparameters of groups that do not set them

    A subclass defines its rule by two formulas: `coefficients`, the numbers of one step (such as bias corrections), and
    `update`, the rule itself over numbers (see lamp.formulas), which is applied to a whole flat buffer at once.

    Every parameter has a gradient, which is zero until a backward adds to it. So, unlike in torch.optim, no parameter
    is skipped for lack of a gradient; frozen ones (`requires_grad = False`) are, and such steps do not count for them.

    Hyperparameters are attributes too: `optimizer.lr = 0.1` sets one in every group, and
    `optimizer.param_groups[0]["lr"] = 0.1` in one. To copy or pickle an optimizer, do so with its model, as one object
    (model, optimizer): then the two copies belong together.

    Raises ArgumentError for an empty parameter list, a duplicate parameter, anything that is not a parameter, and an
    unknown or out-of-range hyperparameter, whenever it is set.
    """

    ranges: ClassVar[Mapping[str, Range]] = {}  # allowed ranges of the numeric hyperparameters
    counts_steps: ClassVar[bool] = True  # whether the rule depends on the number of the step, so that it must be saved
    formulas: ClassVar[Formulas] = {
        "coefficients": ("group", "step"),
        "update": ("parameter", "gradient", "state", "c", "group"),
        "state_names": ("group",),
        "initial_state": ("name", "group"),
    }
    _is_checked: bool = False  # whether its update, if a user wrote it, has been compared (see lamp.optim.own_rules)
    _is_copy: bool = False  # whether it was made by a copy or a pickle and has made no step yet
    state_from_start: ClassVar[bool] = False  # whether state_dict contains state before the first step
    numbers_in_state: ClassVar[tuple[str, ...]] = ()  # state of which torch.optim keeps one number per parameter
    needs_closure: ClassVar[bool] = False  # whether `step` must be given a closure, which it calls several times
    elementwise: ClassVar[bool] = True  # whether `update` treats each number by itself; else it gets whole parameters

    def __init__(self, params: Iterable[Parameter] | Iterable[Group], defaults: Group) -> None:
        self.defaults = defaults
        self.param_groups: ParameterGroups = ParameterGroups()
        self._steps: list[int] = []  # number of steps made, per group
        self._counts = StepCounts()  # of parameters that were not part of all steps of their group
        self._blocks: list[ParameterBlocks] = []  # per group
        check_formulas(self, self.formulas)
        listed = as_list(params, type(self).__name__)
        for group in listed if isinstance(listed[0], Mapping) else [{"params": listed}]:
            self.add_param_group(group)
        keep_freed_memory()  # a training follows, by `fit` or a loop of the user's

    # ---- the rule --------------------------------------------------------------------------------------------------
    @abstractmethod
    def coefficients(self, group: Group, step: int) -> Numbers:
        """The numbers, by name, that `update` needs in this step (1, 2, ...) of this group."""

    @abstractmethod
    def update(self, parameter: Number, gradient: Number, state: State, c: Numbers, group: Group) -> Number:
        """The parameter after the step. `c` contains the coefficients; new state is written into `state`.

        The tensors of the parameter and the state may be changed in place (see lamp.optim.arithmetic).

        Read from `group` only which terms the formula has (switches, `is_zero`), and take all numbers from `c`.
        Compiled code gets a new `c` for each step, but would keep the numbers of `group` as they were when it was
        compiled; so a rule that uses them is left to the eager engine.
        """

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The names of the state that the rule keeps for each element from step to step, given these options."""
        return ()

    def initial_state(self, name: str, group: Group) -> Number:
        """The value of this state before the first step."""
        return 0.0

    def state_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """The shape of this state for a parameter of this shape, unless `elementwise`; None if it has no such state."""
        return shape

    # ---- using it --------------------------------------------------------------------------------------------------
    @called()
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients of all its parameters to zero. `set_to_none` changes nothing: gradients are never None."""
        for k in range(len(self._blocks)):
            self._current(k).zero_gradients()

    @called()
    def gradients(self) -> list[Tensor]:
        """The gradients of all its parameters, as slices of flat buffers: each (P,) or (K, P)."""
        if self._stepping:
            raise explain_all("all gradients")
        found: list[Tensor] = []
        for k in range(len(self._blocks)):
            found += self._current(k).gradients
        return found

    @called()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter from its gradient. A closure, if given, is called first, and its result returned."""
        loss = None if closure is None else a_function(closure, "closure", "")()
        if self._stepping:
            raise explain_all("a step")
        if self._is_copy:
            self._check_copy(any(bool(gradient.any()) for gradient in self.gradients()))
        if len(self._blocks) != len(self.param_groups):
            raise groups_replaced(type(self).__name__)
        with quick():
            for k, group in enumerate(self.param_groups):
                parameters, numbers = self._begin(k, group)
                for block in parameters.with_gradients():
                    self._move(block.data, block.grad, block, numbers, group)
        return loss

    def _begin(self, k: int, group: Group) -> tuple[ParameterBlocks, dict[int, Numbers]]:
        """The blocks of group k, and the coefficients of its next step by how many steps a block has missed."""
        parameters = self._blocks_of(k, group)
        step = self._steps[k] = self._steps[k] + 1
        numbers = {missed: self._numbers(k, group, step - missed) for missed in parameters.missed}
        if not self._is_checked and has_own_update(self):
            check_update(self, parameters, numbers[parameters.missed[0]], group)
        self._is_checked = True
        return parameters, numbers

    def _numbers(self, k: int, group: Group, step: int) -> Numbers:
        if self._blocks[k].in_rows:
            return self._columns(k, group, step)
        c = self.coefficients(group, step)
        if type(c) is not dict or step == 1:
            as_coefficients(self, c)
        return c

    def _move(self, data: Tensor, gradient: Tensor, block: Block, numbers: dict[int, Numbers], group: Group) -> None:
        if (moved := self.update(data, gradient, block.state, numbers[block.missed], group)) is not data:
            self._copy(moved, data)

    @property
    def _has_usual_step(self) -> bool:
        return type(self).step is Optimizer.step and "step" not in vars(self)

    def _check_copy(self, has_gradients: bool) -> None:
        self._is_copy = False
        if not has_gradients:
            warn_of_copy(self)

    def _copy(self, moved: Any, data: Tensor) -> None:
        if not isinstance(moved, Tensor) or moved.shape != data.shape:
            raise explain_update(self, moved, data)
        data.copy_(moved)

    @property
    def state(self) -> dict[Parameter, dict[str, Tensor]]:
        """Copies of the rule's state for each parameter, by name. Use `load_state_dict` to set it."""
        for k, group in enumerate(self.param_groups):
            self._blocks_of(k, group)
        return {each: {name: x.clone() for name, x in state.items()} for each, state in self._states().items()}

    @property
    def step_count(self) -> tuple[int, ...]:
        """The number of steps made, per group."""
        return tuple(self._steps)

    @step_count.setter
    def step_count(self, steps: Sequence[int]) -> None:
        self._steps = list(steps)

    @called()
    def resume_at(self, steps: Sequence[int]) -> None:
        """Say how many steps each group had made when the state dict was saved that was loaded last."""
        for group, before, now in zip(self.param_groups, self._steps, steps, strict=True):
            self._counts.resume(group["params"], before, now, self.counts_steps, bool(self.state_names(group)))
        self._steps = list(steps)
        self._make_blocks(self._states())

    @called()
    def missed_steps(self, k: int) -> tuple[int, ...]:
        """The different numbers of steps of group k that its parameters were not part of."""
        return self._blocks_of(k, self.param_groups[k]).missed

    def pieces(self, k: int) -> list[tuple[Span, list[Block]]]:
        """The spans of group k's parameters in their flat buffers, each with its blocks."""
        return self._blocks_of(k, self.param_groups[k]).pieces

    def _columns(self, k: int, group: Group, step: int) -> Numbers:
        """The coefficients of a population: those that differ per replica are (K, 1), in the parameters' dtype."""
        like = self._blocks[k].blocks[0].data
        c = self.coefficients({key: column(group[key]) for key in self.defaults}, step)
        if type(c) is not dict or step == 1:
            as_coefficients(self, c, (len(like), 1))
        return {name: x.to(like) if isinstance(x, Tensor) else x for name, x in c.items()}

    @called()
    def add_param_group(self, group: Group) -> None:
        """Add a group of parameters: a dict with "params" and, as far as they differ, its hyperparameters."""
        states, group = self._states(), self._checked(group)
        self.param_groups.add(self._as_group(group))
        self._steps.append(0)
        self._make_blocks(states)

    # ---- some replicas of a population ---------------------------------------------------------------------------
    def of_replicas(self, rows: Tensor, parameters: Mapping[Parameter, Parameter]) -> Self:
        """An optimizer like this one for some replicas, with their values of each hyperparameter and their state.

        rows        the numbers of the replicas
        parameters  for each parameter of this optimizer, the one that has these replicas alone
        """
        chosen = object.__new__(type(self))
        vars(chosen).update(vars(self))
        vars(chosen)["param_groups"] = ParameterGroups(
            chosen._as_group({**rows_of(group, rows), "params": [parameters[each] for each in group["params"]]})
            for group in self.param_groups
        )
        chosen._blocks = []
        chosen.take(self, rows, parameters)
        return chosen

    @property
    def state_key(self) -> Hashable:
        """A key that differs from an earlier one if the state was loaded or written to, or the steps set, since."""
        key: list[Hashable] = [*self._steps, *self._blocks]
        for each in self._blocks:
            for block in each.blocks:
                key += [state._version for state in block.state.values()]
        return tuple(key)

    def take(self, whole: Optimizer, rows: Tensor, parameters: Mapping[Parameter, Parameter]) -> None:
        """Copy the state of these replicas from the optimizer that `of_replicas` made this one from."""
        self._steps, self._counts = list(whole._steps), whole._counts.of_others(parameters)
        self._make_blocks({parameters[p]: rows_of(state, rows) for p, state in whole._states().items()})

    def take_back(self, other: Optimizer, rows: Tensor, parameters: Mapping[Parameter, Parameter]) -> None:
        """Copy the state of these replicas back from an optimizer that `of_replicas` made."""
        theirs, states = other._states(), self._states()
        for parameter, twin in parameters.items():
            for name, tensor in theirs.get(twin, {}).items():
                nothing = tensor.new_zeros((*parameter.rows, *tensor.shape[1:]))
                kept = states.setdefault(parameter, {}).setdefault(name, nothing)
                kept[rows] = tensor
        self._steps = list(other._steps)
        self._counts = other._counts.of_others({twin: parameter for parameter, twin in parameters.items()})
        self._make_blocks(states)

    # ---- checks ----------------------------------------------------------------------------------------------------
    def _checked(self, group: Any) -> Group:
        """The group as param_groups stores it: with all hyperparameters, as floats. Raises ArgumentError."""
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise ArgumentError(
                f'{name}: a parameter group is a dict with a key "params"',
                expected='{"params": [...], "lr": ...}',
                got=f"keys {', '.join(map(repr, group))}" if isinstance(group, Mapping) else type(group).__name__,
                fix="pass either a list of parameters or a list of groups",
            )
        params = as_parameters(group["params"], name)
        check_in_one_group(name, params, self.param_groups)
        for key in group:
            if key not in self.defaults and key not in ("params", "initial_lr"):
                raise unknown(name, key, self.defaults)
        complete = {**self.defaults, **group, "params": params}
        complete |= {key: plain(complete[key], pair=key in self._pairs()) for key in self.ranges}
        self._check_hyperparameters(complete)
        return complete

    @classmethod
    def _pairs(cls) -> set[str]:
        """The names of the hyperparameters that are tuples, such as betas: those whose default is a tuple."""
        parameters = inspect.signature(cls.__init__).parameters
        return {name for name in cls.ranges if isinstance(getattr(parameters.get(name), "default", ()), tuple)}

    def _check_hyperparameters(self, group: Group) -> None:
        """Raise ArgumentError for a hyperparameter out of range, or with a wrong number of values for the replicas."""
        check_ranges(self, group, self.ranges)
        check_replicas(self, group, self.ranges)

    # ---- blocks of parameters and state ----------------------------------------------------------------------------
    def _current(self, k: int) -> ParameterBlocks:
        """The blocks of group k, made again if its flat buffers have changed."""
        blocks = self._blocks[k]
        return blocks if blocks.is_current else self._blocks_of(k, self.param_groups[k])

    def _blocks_of(self, k: int, group: Group) -> ParameterBlocks:
        """The blocks of group k, made again if its flat buffers have changed or its options need other state.

        Before the first step this includes the numbers that state begins with, such as the lr in Rprop and ASGD.
        """
        blocks = self._blocks[k]
        begun = self._steps[k] > 0 or blocks.begins_with(self._begins(group))
        if begun and blocks.is_current and blocks.names == self.state_names(group):
            return blocks
        states = self._states()
        if not begun:
            moved = [other for other, steps in zip(self.param_groups, self._steps, strict=False) if steps > 0]
            kept = {parameter for other in moved for parameter in other["params"]}
            states = {parameter: state for parameter, state in states.items() if parameter in kept}
        elif not (blocks.names or self.counts_steps):  # momentum is switched on: its first step is the first one
            for parameter in trained(group["params"]):
                self._counts.put(parameter, 0, self._steps[k])
        self._make_blocks(states)
        return self._blocks[k]

    def _begins(self, group: Group) -> dict[str, Number]:
        """The numbers that the state of new parameters begins with, by name."""
        names = as_state_names(self, self.state_names(group))
        return {name: column(self.initial_state(name, group)) for name in names}

    def _make_blocks(self, states: Mapping[Parameter, Mapping[str, Tensor]]) -> None:
        """Cut all groups into blocks anew, with this state for the parameters that have any."""
        self._blocks = []
        for group, steps in zip(self.param_groups, self._steps, strict=False):
            begins = self._begins(group)
            self._counts.look(group["params"], steps)
            if self.elementwise:
                self._blocks.append(ParameterBlocks(group["params"], begins, states, self._counts))
            else:
                self._blocks.append(WholeParameters(group["params"], begins, states, self._counts, self.state_shape))

    def _states(self) -> dict[Parameter, dict[str, Tensor]]:
        """The rule's state for each parameter, by name."""
        for blocks in self._blocks:
            for block in blocks.blocks:
                check_state(self, block.state, blocks.names)
        return {parameter: state for blocks in self._blocks for parameter, state in blocks.states().items()}

    # ---- state -----------------------------------------------------------------------------------------------------
    @called()
    def state_dict(self) -> dict[str, Any]:
        """The state needed to resume, in torch.optim's layout: "state" by parameter number, and "param_groups"."""
        for k, group in enumerate(self.param_groups):
            self._blocks_of(k, group)
        return saved_state(self, self._states(), self._counts)

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state dict of lamp or torch.optim. Raises StateDictError, and changes nothing, if it is wrong."""
        groups, self._steps, self._counts, states = loaded_state(self, state_dict)
        for own, group in zip(self.param_groups, groups, strict=True):
            for name, value in group.items():
                own.put(name, value)
        self._make_blocks(states)

    def __getstate__(self) -> dict[str, Any]:
        """For a copy or a pickle: the state per parameter, since copied blocks are no longer views of flat buffers."""
        kept = {name: value for name, value in vars(self).items() if name != "_blocks"}
        return {**kept, "states": [(each, state) for each, state in self._states().items() if state]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = dict(state.pop("states"))
        vars(self).update(state)
        vars(self)["param_groups"] = ParameterGroups(map(self._as_group, self.param_groups))
        self._make_blocks(states)
        self._is_copy = True

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {key}: {value}" for key, value in sorted(group.items()) if key != "params"]
        return "\n".join([*lines, ")"])
