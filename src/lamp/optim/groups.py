"""`ParameterGroup`, a dict of parameters and their hyperparameters that checks what is set in it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol, Self

from lamp.errors import ArgumentError, LampError, MissingIndexError, MissingNameError

SYNONYMS = {
    "learning_rate": "lr",
    "eta": "lr",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "l2": "weight_decay",
    "beta1": "betas",
    "beta2": "betas",
    "beta_1": "betas",
    "beta_2": "betas",
    "epsilon": "eps",
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


class ParameterGroup(dict[str, Any]):
    """A dict with "params" and the hyperparameters by name. `group["lr"] = 0.1` is checked as in the constructor."""

    __slots__ = ("_optimizer",)
    _optimizer: weakref.ReferenceType[HasGroups]

    def __init__(self, items: Mapping[str, Any], optimizer: HasGroups) -> None:
        super().__init__(items)
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
    """The parameter groups of an optimizer. An index that is wrong is explained."""

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


def unknown(
    owner: str, name: object, known: Iterable[str], kind: type[LampError] = ArgumentError, what: str = "hyperparameter"
) -> LampError:
    """The error for an unknown name; suggests the name that was probably meant."""
    names = list(known)
    synonym = SYNONYMS.get(str(name))
    meant = [synonym] if synonym in names else get_close_matches(str(name), names, 1)
    return kind(
        f"{owner} has no {what} {name!r}",
        expected=", ".join(names),
        got=name,
        fix=f"did you mean {meant[0]}?" if meant else "check the name",
    )
