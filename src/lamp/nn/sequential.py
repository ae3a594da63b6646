"""Modules one after another."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import chain
from typing import Any, Self, overload

from lamp.errors import ArgumentError, BackwardError
from lamp.losses.base import Loss
from lamp.module import Module
from lamp.nn.module_row import ModuleRow
from lamp.paths import describe


class Sequential(ModuleRow):
    """Modules one after another, each fed the output of the one before.

    y = f_n(... f_2(f_1(x)))

    Backward  dx = f_1'(... f_n'(dy)), last to first, each module adding its parameters' gradients on the way
    Loss      where the last module is a loss, `output, loss = model(input, target)` and `model.backward()`;
              `model(input)` is the output alone
    Source    torch.nn.Sequential (names: "0", "1", ..., or the keys of a dict); a list of modules will do too

    Raises ArgumentError for anything that is no module, a loss that is not last, a target where there is no loss, and
    BackwardError where backward's argument does not fit: none after a loss, one otherwise.
    """

    def _take(self, modules: list[Module]) -> None:
        last = modules[-1] if modules else None
        loss = last if isinstance(last, Loss) else None
        body = modules if loss is None else modules[:-1]
        for module in body:
            if isinstance(module, Loss):
                raise ArgumentError(
                    "a loss ends a network",
                    expected=f"{describe(module)} last",
                    got="modules after it",
                    fix="move the loss to the end",
                )
        self._body, self._loss = body, loss

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, input: Any, *target: Any) -> Any:
        output = self.forward_through(self._body, input)
        if not target:
            return output
        if self._loss is None:
            raise ArgumentError(
                "a target came, but the last module is no loss",
                expected="a network that ends in a loss, such as Sequential(..., lamp.MSELoss())",
                got=f"{describe(self._body[-1])} last" if self._body else "no modules",
                fix="append a loss, or call the network on the input alone",
            )
        return output, self._loss(output, *target)

    def trace(self, tracer: Any, x: Any) -> Any:
        return self.trace_through(tracer, self._body, x)

    def backward(self, *dy: Any) -> Any:
        return self.backward_through(self._body, self._from_loss(dy))

    def backward_parameters(self, *dy: Any) -> None:
        self.backward_parameters_through(self._body, self._from_loss(dy))

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
    def body(self) -> Self:
        """The network without the loss it ends in, of the same class; the modules are the same ones."""
        if self._loss is None:
            return self
        body = copy.copy(self)
        body._arrange(dict(list(self._by_name.items())[:-1]))
        return body

    # ---- as a list of modules ------------------------------------------------------------------------------------
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

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    @overload
    def __getitem__(self, index: int | str) -> Any: ...
    def __getitem__(self, index: int | str | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._by_name.items())[index]))
        return super().__getitem__(index)


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
