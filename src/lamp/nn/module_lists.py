"""`ModuleList` and `ModuleDict`: modules by index or by name, which a module of one's own calls."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from lamp.errors import ArgumentError, MissingIndexError, UnwrittenError
from lamp.module import Module
from lamp.nn.checks import explain_member
from lamp.nn.container import Container
from lamp.nn.module_row import ModuleRow
from lamp.signatures import called
from lamp.values import several


class ModuleList(ModuleRow):
    """Modules in a list, for a module of your own that calls them.

        class Network(lamp.Module):
            def __init__(self):
                self.layers = lamp.ModuleList(lamp.Linear(8, 8) for _ in range(4))

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x)
                return x

            def backward(self, dy):
                for layer in reversed(self.layers):
                    dy = layer.backward(dy)
                return dy

    A plain list as an attribute does the same. This one has the methods of modules, too, such as `parameters`. It has
    no forward: Sequential is the list that calls its modules.

    Source    torch.nn.ModuleList

    Raises ArgumentError for anything but modules.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__([] if modules is None else several(modules, "modules", "modules"))

    def _set_body(self, modules: list[Module]) -> None:
        self._body = modules

    def forward(self, *inputs: Any) -> Any:
        raise _not_called(self)

    def backward(self, *grad_outputs: Any) -> Any:
        raise _not_called(self)

    def __getitem__(self, index: Any) -> Any:
        return ModuleList(list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        """A new list with the modules of both."""
        return ModuleList(self).extend(other)

    def __iadd__(self, other: Iterable[Module]) -> ModuleList:
        return self.extend(other)


class ModuleDict(Container):
    """Modules by name, for a module of your own that calls them (see ModuleList). It is used like a dict.

    A plain dict as an attribute does the same.

    Source    torch.nn.ModuleDict

    Raises ArgumentError for anything but modules under names that are strings without dots.
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        self._by_name: dict[str, Module] = {}
        self.update({} if modules is None else modules)

    def forward(self, *inputs: Any) -> Any:
        raise _not_called(self)

    def backward(self, *grad_outputs: Any) -> Any:
        raise _not_called(self)

    @called()
    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._by_name.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules under their names, or replace those that have them."""
        given = list(modules.items()) if isinstance(modules, Mapping | ModuleDict) else modules
        pairs = several(given, "modules", "pairs of a name and a module")
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise explain_member(self, modules)
        for name, module in pairs:
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ArgumentError(
                "this cannot be the name of a module, which is part of its parameters' paths",
                expected="a string without dots that is no attribute of the class",
                got=repr(name),
                fix="choose another name",
            )
        if not isinstance(module, Module) or any(each is self for each in module.modules()):
            raise explain_member(self, module)
        self._by_name[name] = module

    @called()
    def add_module(self, name: str, module: Module | None) -> None:
        """Add a module under this name, or replace the one that has it."""
        self[name] = module  # type: ignore[assignment]  # checked there

    def __getitem__(self, name: str) -> Any:
        if not isinstance(name, str) or name not in self._by_name:
            raise MissingIndexError(
                f"{name!r} is not in this {type(self).__name__}",
                expected=", ".join(self._by_name) or "nothing: it has no modules",
                got=repr(name),
                fix="name one of these",
            )
        return self._by_name[name]

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    @called()
    def pop(self, name: str) -> Module:
        """Remove and return the module of this name."""
        module: Module = self[name]
        del self._by_name[name]
        return module

    @called()
    def clear(self) -> None:
        """Remove all modules."""
        self._by_name.clear()

    @called()
    def keys(self) -> KeysView[str]:
        """The names."""
        return self._by_name.keys()

    @called()
    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._by_name.values()

    @called()
    def items(self) -> ItemsView[str, Module]:
        """Names and modules."""
        return self._by_name.items()

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)


def _not_called(module: Module) -> UnwrittenError:
    name = type(module).__name__
    return UnwrittenError(
        f"{name} has no forward and no backward",
        expected="a module around it, which calls the modules inside",
        got=f"a call of the {name}",
        fix="lamp.Sequential(*modules) calls its modules one after the other",
    )
