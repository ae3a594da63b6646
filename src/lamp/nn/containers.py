"""Modules in a row."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, overload

from lamp.errors import ArgumentError, BackwardError, MissingIndexError
from lamp.losses.base import Loss
from lamp.module import Module
from lamp.nn.checks import explain_chain, explain_member
from lamp.passes import running
from lamp.paths import blame, describe
from lamp.torch_habits import missing_attribute


class Sequential(Module):
    """Modules one after another, each fed the output of the one before.

    y = f_n(... f_2(f_1(x)))

    Backward  dx = f_1'(... f_n'(dy)), last to first, each module adding its parameters' gradients on the way
    Loss      where the last module is a loss, `output, loss = model(input, target)` and `model.backward()`;
              `model(input)` is the output alone
    Source    torch.nn.Sequential (names: "0", "1", ..., or the keys of a dict); a list of modules will do too

    Raises ArgumentError for anything that is no module, a loss that is not last, a target where there is no loss, and
    BackwardError where backward's argument does not fit: none after a loss, one otherwise.
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
        """Take these modules, in this order, once they are found to be a network."""
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
        self._by_name: dict[str, Module] = dict(by_name)
        self._body, self._loss = body, loss

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, x: Any, *target: Any) -> Any:
        module: Module = self
        through = running.through
        weak = None if through is None or through.evaluating else through.weak or through.weakly()
        try:
            for module in self._body:
                if weak is not None:
                    module._through = weak
                x = module._bare_forward(x) if "forward" not in module.__dict__ else module.forward(x)
        except Exception as error:
            self._explain(error, module, x, "forward", self._body)
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

    def trace(self, tracer: Any, x: Any) -> Any:
        for module in self._body:
            x = tracer(module, x)
        return x

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
            self._explain(error, module, grad, "backward", self._body[::-1])
            raise
        return grad

    @staticmethod
    def _explain(error: Exception, module: Module, given: Any, method: str, order: list[Module]) -> None:
        """Blame the module that an error came out of, or the one before it, if that gave it something impossible."""
        before = order[k - 1] if module in order and (k := order.index(module)) > 0 else None
        wrong = (
            None if before is None or hasattr(error, "_lamp_module") else explain_chain(error, before, given, method)
        )
        blame(wrong or error, module if wrong is None or before is None else before)
        if wrong is not None:
            raise wrong from None

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

    def add_module(self, name: str, module: Module | None) -> None:
        """Put a module at the end under this name, or in the place of the one that has it."""
        self._arrange({**self._by_name, name: module})

    def append(self, module: Module) -> Sequential:
        """Put a module at the end; returns the Sequential."""
        return self.extend((module,))

    def extend(self, modules: Iterable[Module]) -> Sequential:
        """Put modules at the end; returns the Sequential."""
        if isinstance(modules, Module) and not isinstance(modules, Sequential):
            raise explain_member(self, [modules])
        grown: dict[str, Any] = dict(self._by_name)
        for module in list(modules):  # it may be this one
            number = len(grown)
            while str(number) in grown:  # a slice keeps its names
                number += 1
            grown[str(number)] = module
        self._arrange(grown)
        return self

    def insert(self, index: int, module: Module) -> Sequential:
        """Put a module before the one at this index; all are numbered anew. Returns the Sequential."""
        modules = list(self._by_name.values())
        modules.insert(self._number(index), module)
        self._arrange({str(k): each for k, each in enumerate(modules)})
        return self

    def pop(self, key: int | str = -1) -> Module:
        """Take the module at this index, or of this name, out; returns it."""
        module: Module = self._by_name[self._name(key)]
        del self[key]
        return module

    def __add__(self, other: Iterable[Module]) -> Sequential:
        """A new Sequential of the modules of both."""
        return Sequential(*self).extend(other)

    def __iadd__(self, other: Iterable[Module]) -> Sequential:
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        """A new Sequential in which these modules, the same ones, come several times."""
        return Sequential(*chain.from_iterable([self] * _times(times)))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Sequential:
        modules = list(self)
        for _ in range(_times(times) - 1):
            self.extend(modules)
        return self

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
            f"{index!r} is not in this Sequential",
            expected=f"an index from {-len(self)} to {len(self) - 1}, or a name: it has {', '.join(self._by_name)}"
            if self._by_name
            else "nothing: it has no modules",
            got=repr(index),
            fix="len(model) is the number of its modules",
        )

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

    def __iter__(self) -> Iterator[Module]:
        return iter(self._by_name.values())

    def __reversed__(self) -> Iterator[Module]:
        return reversed(self._by_name.values())


def _times(times: Any) -> int:
    """How often. Raises ArgumentError for anything but a positive integer."""
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ArgumentError(
            "a Sequential is repeated so many times",
            expected="a positive integer",
            got=repr(times),
            fix="model * 2",
        )
    return times
