"""`ModuleRow`, the base class of containers with an ordered list of modules, such as Sequential."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Self, overload

from lamp.errors import ArgumentError, MissingIndexError
from lamp.losses.base import Loss
from lamp.module import Module
from lamp.nn.checks import explain_member
from lamp.nn.container import Container
from lamp.paths import describe
from lamp.signatures import called
from lamp.torch_habits import missing_attribute
from lamp.values import several


class ModuleRow(Container):
    """Base of containers with an ordered list of modules, which can be indexed and changed like a list.

    The modules' names are "0", "1", ..., or the keys of a dict. `self._body` is the list of modules, without a loss at
    the end.

    Raises ArgumentError for anything that is not a module, for the container itself, and for a loss where none may be.
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module] | Iterable[Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            self._arrange(modules[0])
        else:
            if len(modules) == 1 and isinstance(modules[0], list | tuple):
                (modules,) = modules
            self._arrange({str(k): module for k, module in enumerate(modules)})

    def _arrange(self, by_name: Mapping[str, Any]) -> None:
        """Check these modules, and make them the container's, in this order."""
        for name, module in by_name.items():
            _check_name(name)
            if not isinstance(module, Module) or any(each is self for each in module.modules()):
                raise explain_member(self, module)
        self._set_body(list(by_name.values()))
        self._has_pools = any(commute(*pair) for pair in pairwise(self._body))
        self._by_name: dict[str, Module] = dict(by_name)

    def _set_body(self, modules: list[Module]) -> None:
        """Store the modules in `_body`. Raises ArgumentError if there are none, or one of them is a loss."""
        kind = type(self).__name__
        for module in modules:
            if isinstance(module, Loss):
                raise ArgumentError(
                    f"a {kind} cannot contain a loss",
                    expected="modules with an output",
                    got=describe(module),
                    fix=f"put the loss at the end of a Sequential: "
                    f"lamp.Sequential({kind}(...), ..., {type(module).__name__}())",
                )
        if not modules:
            raise ArgumentError(
                f"a {kind} is made of modules", expected="at least one", got="none", fix=f"{kind}(lamp.Linear(25, 25))"
            )
        self._body = modules

    _has_pools = False  # whether `_steps` may differ from `_body`

    @property
    def _steps(self) -> list[Module]:
        """The body in the order in which it is computed: a ReLU comes after the max pool that it stands before.

        max(relu(x)) = relu(max(x)), and both orders have the same gradients, but the pool's output is a smaller tensor.
        """
        if not self._has_pools:
            return self._body
        steps = list(self._body)
        for k, pair in enumerate(pairwise(self._body)):
            if commute(*pair):
                steps[k : k + 2] = pair[::-1]
        return steps

    # ---- methods of a list ---------------------------------------------------------------------------------------
    @called()
    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._by_name.items()

    @called()
    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module at the end under this name, or replace the one that has it."""
        _check_name(name)
        self._arrange({**self._by_name, name: module})

    @called()
    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the container."""
        return self.extend((module,))

    @called()
    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the container."""
        if isinstance(modules, Module) and not isinstance(modules, ModuleRow):
            raise explain_member(self, [modules])
        grown: dict[str, Any] = dict(self._by_name)
        for module in several(modules, "modules", "modules"):  # it may be this one
            number = len(grown)
            while str(number) in grown:  # a slice keeps the names of its modules
                number += 1
            grown[str(number)] = module
        self._arrange(grown)
        return self

    @called()
    def insert(self, index: int, module: Module) -> Self:
        """Insert a module before the one at this index, and number all modules again; returns the container."""
        modules = list(self._by_name.values())
        modules.insert(self._number(index), module)
        self._arrange({str(k): each for k, each in enumerate(modules)})
        return self

    @called()
    def pop(self, key: int | str = -1) -> Module:
        """Remove and return the module at this index or of this name."""
        module: Module = self._by_name[self._name(key)]
        del self[key]
        return module

    def _number(self, index: Any) -> int:
        """The index counted from 0, at most the length. Raises MissingIndexError for anything else."""
        try:
            number = operator.index(index)
        except TypeError:
            raise self._missing(index) from None
        if not -len(self) <= number <= len(self):
            raise self._missing(index)
        return number if number >= 0 else number + len(self)

    def _name(self, index: int | str) -> str:
        if isinstance(index, str) and index in self._by_name:
            return index
        number = len(self) if isinstance(index, str) else self._number(index)
        if number == len(self):
            raise self._missing(index)
        return list(self._by_name)[number]

    def _missing(self, index: object) -> MissingIndexError:
        return MissingIndexError(
            f"{index!r} is not in this {type(self).__name__}",
            expected=f"an index from {-len(self)} to {len(self) - 1}, or a name: it has {', '.join(self._by_name)}"
            if self._by_name
            else "nothing: it has no modules",
            got=repr(index),
            fix="len(model) is the number of modules",
        )

    def __getitem__(self, index: Any) -> Any:  # Any, so that type checkers accept model[0].weight
        return self._by_name[self._name(index)]

    def __getattr__(self, name: str) -> Any:
        by_name: dict[str, Module] = vars(self).get("_by_name", {})
        if name in by_name:
            return by_name[name]
        if name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise missing_attribute(self, name)

    def __setitem__(self, index: int | str, module: Module) -> None:
        self._arrange({**self._by_name, self._name(index): module})

    def __delitem__(self, index: int | str | slice) -> None:
        chosen = list(self._by_name)[index] if isinstance(index, slice) else [self._name(index)]
        kept = {name: module for name, module in self._by_name.items() if name not in chosen}
        numbered = all(name.isdigit() for name in kept)
        self._arrange({str(k) if numbered else name: module for k, (name, module) in enumerate(kept.items())})

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._by_name.values())

    def __reversed__(self) -> Iterator[Module]:
        return reversed(self._by_name.values())


def commute(first: Module, second: Module) -> bool:
    """Whether these are an activation and a max pool that may as well be computed in the other order."""
    if not (first._commutes_with_max and second._takes_largest) or getattr(second, "return_indices", False):
        return False
    changed = ("forward", "backward", "sigma", "dsigma")
    return not any(name in vars(module) for module in (first, second) for name in changed)


def _check_name(name: object) -> None:
    """Raise ArgumentError for what cannot be a module's name."""
    if not isinstance(name, str) or not name or "." in name:
        raise ArgumentError(
            "this cannot be the name of a module, which is part of its parameters' paths",
            expected="a string without dots",
            got=repr(name),
            fix="choose another name",
        )
