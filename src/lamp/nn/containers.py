"""Modules in a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from lamp.errors import ArgumentError, BackwardError
from lamp.losses.base import Loss
from lamp.module import Module, blame, describe


class Sequential(Module):
    """Modules one after another, each fed the output of the one before.

    y = f_n(... f_2(f_1(x)))

    Backward  dx = f_1'(... f_n'(dy)), last to first, each module adding its parameters' gradients on the way
    Loss      where the last module is a loss, `output, loss = model(input, target)` and `model.backward()`;
              `model(input)` is the output alone
    Source    torch.nn.Sequential (names: "0", "1", ..., or the keys of a dict)

    Raises ArgumentError for anything that is no module, a loss that is not last, a target where there is no loss, and
    BackwardError where backward's argument does not fit: none after a loss, one otherwise.
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            self._arrange(modules[0])
        else:
            self._arrange({str(k): module for k, module in enumerate(modules)})

    def _arrange(self, by_name: Mapping[str, Module]) -> None:
        """Take these modules, in this order, once they are found to be a network."""
        for name, module in by_name.items():
            if not isinstance(name, str) or not name or "." in name:
                raise ArgumentError(
                    "a module's name is part of its parameters' paths",
                    expected="a string without dots",
                    got=repr(name),
                    fix="choose another name",
                )
            if not isinstance(module, Module):
                raise ArgumentError(
                    "a Sequential is made of modules",
                    expected="lamp modules, or one dict of them",
                    got=f"{type(module).__module__}.{type(module).__qualname__}",
                    fix="pass instances: Sequential(lamp.Linear(2, 25), lamp.ReLU())",
                )
        body = list(by_name.values())
        last = body[-1] if body else None
        loss = last if isinstance(last, Loss) else None
        if loss is not None:
            body.pop()
        for module in body:
            if isinstance(module, Loss):
                raise ArgumentError(
                    "a loss ends a network",
                    expected=f"{describe(module)} last",
                    got="modules after it",
                    fix="move the loss to the end",
                )
        self._by_name, self._body, self._loss = dict(by_name), body, loss

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, x: Any, *target: Any) -> Any:
        module: Module = self
        try:
            for module in self._body:
                module._through = self._through
                x = module._bare_forward(x) if "forward" not in module.__dict__ else module.forward(x)
        except Exception as error:
            blame(error, module)
            raise
        if not target:
            return x
        if self._loss is None:
            raise ArgumentError(
                "a target came, but the last module is no loss",
                expected="a network that ends in a loss, such as Sequential(..., lamp.MSELoss())",
                got=f"{describe(self._body[-1])} last" if self._body else "no modules",
                fix="append a loss, or call the network on the input alone",
            )
        return x, self._loss(x, *target)

    def backward(self, *dy: Any) -> Any:
        return self._back_through(self._body[::-1], self._from_loss(dy))

    def backward_parameters(self, *dy: Any) -> None:
        grad = self._back_through(self._body[:0:-1], self._from_loss(dy))
        if self._body:
            self._body[0].backward_parameters(grad)

    def _back_through(self, modules: Iterable[Module], grad: Any) -> Any:
        module: Module = self
        try:
            for module in modules:
                grad = module._bare_backward(grad) if "backward" not in module.__dict__ else module.backward(grad)
        except Exception as error:
            blame(error, module)
            raise
        return grad

    def _from_loss(self, dy: tuple[Any, ...]) -> Any:
        """The gradient that goes into the last module: the one given, or the loss's own."""
        if self._loss is None and len(dy) == 1:
            return dy[0]
        if self._loss is not None and not dy:
            return self._loss.backward()
        raise BackwardError(
            "backward takes the gradient of the loss with respect to the output, unless the network ends in its loss",
            expected="backward(grad_output)" if self._loss is None else "backward()",
            got=f"{len(dy)} arguments" if dy else "no argument",
            fix="model.backward(criterion.backward())"
            if self._loss is None
            else "model(x, target), then model.backward()",
        )

    # ---- the network and its loss ----------------------------------------------------------------------------------
    @property
    def loss(self) -> Loss | None:
        """The loss this network ends in, if it does."""
        return self._loss

    @property
    def body(self) -> Sequential:
        """The network without the loss it ends in; the modules are the same ones."""
        return self if self._loss is None else self[:-1]

    # ---- as a list of modules ------------------------------------------------------------------------------------
    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from self._by_name.items()

    def add_module(self, name: str, module: Module) -> None:
        """Put a module at the end under this name, or in the place of the one that has it."""
        self._arrange({**self._by_name, name: module})

    def append(self, module: Module) -> Sequential:
        """Put a module at the end; returns the Sequential."""
        return self.extend((module,))

    def extend(self, modules: Iterable[Module]) -> Sequential:
        """Put modules at the end; returns the Sequential."""
        grown = dict(self._by_name)
        for module in modules:
            number = len(grown)
            while str(number) in grown:  # a slice keeps its names
                number += 1
            grown[str(number)] = module
        self._arrange(grown)
        return self

    def insert(self, index: int, module: Module) -> Sequential:
        """Put a module before the one at this index; all are numbered anew. Returns the Sequential."""
        modules = list(self._by_name.values())
        modules.insert(index, module)
        self._arrange({str(k): each for k, each in enumerate(modules)})
        return self

    def _name(self, index: int | str) -> str:
        if isinstance(index, str) and index in self._by_name:
            return index
        if isinstance(index, int) and -len(self) <= index < len(self):
            return list(self._by_name)[index]
        raise IndexError(f"{index!r} is not in this Sequential: it has {', '.join(self._by_name) or 'no modules'}")

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    @overload
    def __getitem__(self, index: int | str) -> Module: ...
    def __getitem__(self, index: int | str | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self._by_name.items())[index]))
        return self._by_name[self._name(index)]

    def __getattr__(self, name: str) -> Module:
        by_name: dict[str, Module] = vars(self).get("_by_name", {})
        if name in by_name:
            return by_name[name]
        raise AttributeError(f"{type(self).__name__} has no attribute or module {name!r}")

    def __setitem__(self, index: int | str, module: Module) -> None:
        self._arrange({**self._by_name, self._name(index): module})

    def __delitem__(self, index: int | str) -> None:
        kept = {name: module for name, module in self._by_name.items() if name != self._name(index)}
        numbered = all(name.isdigit() for name in kept)
        self._arrange({str(k) if numbered else name: module for k, (name, module) in enumerate(kept.items())})

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._by_name.values())
