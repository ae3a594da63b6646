"""`ParameterGroup`, a dict of parameters and their hyperparameters that checks what is set in it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from lamp.errors import ArgumentError, LampError, MissingIndexError, MissingNameError
from lamp.optim.checks import Range, alike, plain
from lamp.signatures import SYNONYMS
from lamp.torch_habits import without_items

INSTEAD = {  # what users of torch, Keras and optax look for
    **dict.fromkeys(("minimize", "apply_gradients", "apply"), "model.backward(criterion.backward()); optimizer.step()"),
    **dict.fromkeys(("register_step_pre_hook", "register_step_post_hook"), "a callback's on_batch, called by lamp.fit"),
    **dict.fromkeys(("init", "build"), "nothing: an optimizer keeps its state itself, from its first step on"),
    **dict.fromkeys(("params", "parameters", "variables"), "optimizer.param_groups[0]['params']"),
    **dict.fromkeys(("fused", "foreach", "capturable", "differentiable"), "leave it out: lamp has one implementation"),
    **dict.fromkeys(("iterations", "steps"), "optimizer.step_count, the number of steps per group"),
    "get_config": "optimizer.defaults, and optimizer.state_dict()",
}
FIXED = {  # what may not be set: what to write in its place
    "state": "optimizer.load_state_dict(...); a new optimizer begins without a state",
    "defaults": "optimizer.lr = 0.1 sets a hyperparameter in every group",
}


class HasGroups(Protocol):
    """The attributes of an optimizer that parameter groups and saved states need."""

    @property
    def defaults(self) -> Mapping[str, Any]: ...
    @property
    def ranges(self) -> Mapping[str, Any]: ...
    @property
    def param_groups(self) -> Sequence[ParameterGroup]: ...

    def _pairs(self) -> set[str]: ...
    def _check_hyperparameters(self, group: dict[str, Any]) -> None: ...
    def _checked_value(self, group: dict[str, Any], name: str, value: Any) -> Any: ...


class GroupParameters(tuple[Any, ...]):
    """The parameters of a group. They stay the same: the optimizer has state and views for these alone."""

    __slots__ = ()

    def append(self, *others: Any) -> Any:
        raise ArgumentError(
            "the parameters of a group do not change",
            expected=f"the {len(self)} parameters that the group was made with",
            got="append, extend, insert, remove or pop",
            fix='optimizer.add_param_group({"params": [...]}) adds some; requires_grad = False leaves some out',
        )

    extend = insert = remove = pop = append


class ParameterGroup(dict[str, Any]):
    """A dict with "params" and the hyperparameters by name. `group["lr"] = 0.1` is checked as in the constructor."""

    __slots__ = ("_optimizer",)
    _optimizer: weakref.ReferenceType[HasGroups]

    def __init__(self, items: Mapping[str, Any], optimizer: HasGroups) -> None:
        super().__init__(items)
        self.put("params", GroupParameters(items["params"]))
        object.__setattr__(self, "_optimizer", weakref.ref(optimizer))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _no_attribute(name)

    if not TYPE_CHECKING:  # type checkers must go on to report missing attributes

        def __getattr__(self, name: str) -> Any:
            raise _no_attribute(name)

    def put(self, name: str, value: Any) -> None:
        """Set an item without a check."""
        super().__setitem__(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        optimizer = self._optimizer()
        self.put(name, value if optimizer is None else optimizer._checked_value(self, name, value))

    def __missing__(self, name: object) -> Any:
        optimizer = self._optimizer()
        raise unknown(type(optimizer or self).__name__, name, self, MissingIndexError)

    def update(self, *others: Any, **values: Any) -> None:
        for name, value in dict(*others, **values).items():
            self[name] = value

    def __ior__(self, others: Any) -> Self:  # type: ignore[misc,override]
        self.update(others)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # a plain dict; the copied optimizer turns it into a group again


def _no_attribute(name: str) -> LampError:
    """The error for an attribute of a parameter group, which has keys."""
    return MissingNameError(
        "a parameter group is a dict, whose hyperparameters are no attributes",
        expected=f"group[{name!r}]",
        got=f"group.{name}",
        fix=f"optimizer.param_groups[0][{name!r}], or optimizer.{name} for all groups",
    )


class ParameterGroups(list[ParameterGroup]):
    """The parameter groups of an optimizer. An index that is wrong is explained, and so is every change of the list."""

    def add(self, group: ParameterGroup) -> None:
        """Append a group, as the optimizer alone does."""
        super().append(group)

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise groups_replaced("the optimizer")

    append = insert = extend = pop = remove = clear = sort = reverse = _refused
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # a plain list; the copied optimizer turns it into groups again

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except (IndexError, TypeError):
            raise MissingIndexError(
                f"there is no parameter group {index!r}"[:80],
                expected=f"an integer from 0 to {len(self) - 1}",
                got=repr(index)[:60],
                fix=f'param_groups[0]["{index}"]'
                if isinstance(index, str)
                else "len(optimizer.param_groups) is their number",
            ) from None


def check_in_one_group(owner: str, params: Sequence[Any], groups: Iterable[Mapping[str, Any]]) -> None:
    """Raise ArgumentError if one of these parameters is in one of the groups already."""
    present = {parameter for group in groups for parameter in group["params"]}
    if twice := sum(parameter in present for parameter in params):
        raise ArgumentError(
            f"{owner}: a parameter is in two groups",
            expected="parameters that are in no other group",
            got=f"{twice} of {len(params)} parameters in another group",
            fix="put each parameter into one group",
        )


def groups_replaced(owner: str) -> LampError:
    """The error for parameter groups that were set, appended or removed past the optimizer."""
    return ArgumentError(
        f"{owner}: param_groups cannot be replaced, appended to or removed from",
        expected="the groups that the optimizer was made with, or got by add_param_group",
        got="other groups",
        fix="optimizer.add_param_group({...}) adds one; to leave some out, freeze them or make a new optimizer",
    )


def check_attribute(optimizer: HasGroups, name: str, value: Any) -> None:
    """Raise an error for setting an attribute of a finished optimizer, unless it is one that may change."""
    kind = type(optimizer)
    if name == "param_groups":
        raise groups_replaced(kind.__name__)
    method = callable(getattr(kind, name, None))
    if name in FIXED or (method and not callable(value)):
        raise ArgumentError(
            f"{kind.__name__}: {name} is {'a method' if method else 'not for setting'}",
            expected="the name of a hyperparameter: " + ", ".join(optimizer.defaults),
            got=f"optimizer.{name} = {value!r}"[:60],
            fix=FIXED.get(name) or f"call optimizer.{name}(...)",
        )
    if name not in vars(optimizer) and not hasattr(kind, name):
        raise unknown(kind.__name__, name, optimizer.defaults)


def unknown(
    owner: str, name: object, known: Iterable[str], kind: type[LampError] = ArgumentError, what: str = "hyperparameter"
) -> LampError:
    """The error for an unknown name; suggests the name that was probably meant."""
    names = list(known)
    meant = [each for each in SYNONYMS.get(str(name), ()) if each in names] or get_close_matches(str(name), names, 1)
    return kind(
        f"{owner} has no {what} {name!r}",
        expected=", ".join(names),
        got=name,
        fix=INSTEAD.get(str(name)) or (f"did you mean {meant[0]}?" if meant else "check the name"),
    )


class HyperparametersAsAttributes:
    """The part of an optimizer that gives, sets and checks hyperparameters: `optimizer.lr = 0.1`."""

    if TYPE_CHECKING:
        defaults: dict[str, Any]
        ranges: ClassVar[Mapping[str, Range]]
        param_groups: list[Any]

        def _pairs(self) -> set[str]: ...
        def _check_hyperparameters(self, group: dict[str, Any]) -> None: ...

    def __getattr__(self, name: str) -> Any:
        """A hyperparameter: its value, or a list of one value per group if they differ."""
        own = vars(self)
        if name not in own.get("defaults", ()):
            raise unknown(type(self).__name__, name, own.get("defaults", ()), MissingNameError)
        values = [group[name] for group in own["param_groups"]]
        return values[0] if all(alike(value, values[0]) for value in values) else values

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if name in own.get("defaults", ()) and own["param_groups"]:
            values = [self._checked_value(group, name, value) for group in self.param_groups]
            for group, checked in zip(self.param_groups, values, strict=True):
                group.put(name, checked)
            return
        if own.get("_is_made") and name[:1] != "_":
            check_attribute(self, name, value)
        super().__setattr__(name, value)

    def __getitem__(self, name: Any, value: Any = None) -> Any:
        raise without_items(self, name, "optimizer.lr, or optimizer.param_groups[0]['lr'] for one group")

    __setitem__ = __getitem__

    def _as_group(self, items: dict[str, Any]) -> ParameterGroup:
        return ParameterGroup(items, self)

    def _checked_value(self, group: dict[str, Any], name: str, value: Any) -> Any:
        """A hyperparameter as a group stores it. Raises ArgumentError for an unknown name or a wrong value."""
        if name == "params":
            raise ArgumentError(
                f"{type(self).__name__}: the parameters of a group cannot be replaced",
                expected="the name of a hyperparameter",
                got="params",
                fix="optimizer.add_param_group({...}) adds parameters; requires_grad = False leaves some out",
            )
        if name == "initial_lr":
            return plain(value)
        if name not in self.defaults:
            raise unknown(type(self).__name__, name, self.defaults)
        if name in self.ranges:
            value = plain(value, pair=name in self._pairs())
        self._check_hyperparameters({**group, name: value})
        return value
