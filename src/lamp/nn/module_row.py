"""Containers whose modules stand in a row, by index and by name, as in torch.nn.Sequential."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from lamp.errors import ArgumentError, MissingIndexError
from lamp.losses.base import Loss
from lamp.module import Module
from lamp.nn.checks import explain_member
from lamp.nn.container import Container
from lamp.paths import describe
from lamp.torch_habits import missing_attribute
from lamp.values import several


class ModuleRow(Container):
    """Base of containers that are built from modules in order and changed as a list is.

    Their names are "0", "1", ..., or the keys of a dict; `self._body` is a list of them, without a loss at the end.

    Raises ArgumentError for anything that is no module, for the container itself, and for a loss that has no place.
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
        """Take these modules, in this order, once they are found to be right."""
        for name, module in by_name.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ArgumentError(
                    "a module's name is part of its parameters' paths",
                    expected="a string without dots",
                    got=repr(name),
                    fix="choose another name",
                )
            if not isinstance(module, Module) or any(each is self for each in module.modules()):
                raise explain_member(self, module)
        self._take(list(by_name.values()))
        self._by_name: dict[str, Module] = dict(by_name)

    def _take(self, modules: list[Module]) -> None:
        """Keep the modules in `_body`. Raises ArgumentError where there are none, or one of them is a loss."""
        kind = type(self).__name__
        for module in modules:
            if isinstance(module, Loss):
                raise ArgumentError(
                    f"a {kind} has an output, and no loss",
                    expected="modules that put out what the next network takes",
                    got=describe(module),
                    fix=f"lamp.Sequential({kind}(...), ..., {type(module).__name__}()) ends in its loss",
                )
        if not modules:
            raise ArgumentError(
                f"a {kind} is made of modules", expected="at least one", got="none", fix=f"{kind}(lamp.Linear(25, 25))"
            )
        self._body = modules

    # ---- as a list of modules ------------------------------------------------------------------------------------
    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._by_name.items()

    def add_module(self, name: str, module: Module | None) -> None:
        """Put a module at the end under this name, or in the place of the one that has it."""
        self._arrange({**self._by_name, name: module})

    def append(self, module: Module) -> Self:
        """Put a module at the end; returns the container."""
        return self.extend((module,))

    def extend(self, modules: Iterable[Module]) -> Self:
        """Put modules at the end; returns the container."""
        if isinstance(modules, Module) and not isinstance(modules, ModuleRow):
            raise explain_member(self, [modules])
        grown: dict[str, Any] = dict(self._by_name)
        for module in several(modules, "modules", "modules"):  # it may be this one
            number = len(grown)
            while str(number) in grown:  # a slice keeps its names
                number += 1
            grown[str(number)] = module
        self._arrange(grown)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Put a module before the one at this index; all are numbered anew. Returns the container."""
        modules = list(self._by_name.values())
        modules.insert(self._number(index), module)
        self._arrange({str(k): each for k, each in enumerate(modules)})
        return self

    def pop(self, key: int | str = -1) -> Module:
        """Take the module at this index, or of this name, out; returns it."""
        module: Module = self._by_name[self._name(key)]
        del self[key]
        return module

    def _number(self, index: Any) -> int:
        """An index from 0 up to the length. Raises MissingIndexError for anything else."""
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
            fix="len(model) is the number of its modules",
        )

    def __getitem__(self, index: Any) -> Any:  # of which class it is, its user knows: model[0].weight
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
