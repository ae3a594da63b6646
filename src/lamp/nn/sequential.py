"""`Sequential`, modules in sequence."""

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
    """Modules in sequence, each applied to the output of the one before.

    y = f_n(... f_2(f_1(x)))

    Backward  dx = f_1'(... f_n'(dy)), from last to first; each backward f_k' adds to its parameters' gradients
    Loss      if the last module is a loss, call `output, loss = model(input, target)`, then `model.backward()`;
              `model(input)` returns the output alone
    Source    torch.nn.Sequential (names: "0", "1", ..., or the keys of a dict)

    The modules are passed one by one, or as one list or dict.

    Raises ArgumentError for anything that is not a module, a loss that is not last, and a target if there is no loss;
    BackwardError if `backward` gets a gradient although the network ends in a loss, or none although it does not.
    """

    def _set_body(self, modules: list[Module]) -> None:
        last = modules[-1] if modules else None
        loss = last if isinstance(last, Loss) else None
        body = modules if loss is None else modules[:-1]
        for module in body:
            if isinstance(module, Loss):
                raise ArgumentError(
                    "a loss can only be the last module of a network",
                    expected=f"{describe(module)} last",
                    got="modules after it",
                    fix="move the loss to the end",
                )
        self._body, self._loss = body, loss

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, input: Any, *target: Any) -> Any:
        output = self.forward_through(self._steps, input)
        if not target:
            return output
        if self._loss is None:
            raise ArgumentError(
                "a Sequential takes one input, and a target only if its last module is a loss",
                expected="one input, or a network that ends in a loss, such as Sequential(..., lamp.MSELoss())",
                got=f"{1 + len(target)} arguments" + (f", and {describe(self._body[-1])} last" if self._body else ""),
                fix="call the network on the input alone, or append a loss; in data, all but the last of a tuple "
                "(inputs..., target) are inputs",
            )
        return output, self._loss(output, *target)

    def trace(self, tracer: Any, x: Any) -> Any:
        return self.trace_through(tracer, self._body, x)

    def backward(self, *dy: Any) -> Any:
        return self.backward_through(self._steps, self._from_loss(dy))

    def backward_parameters(self, *dy: Any) -> None:
        self.backward_parameters_through(self._steps, self._from_loss(dy))

    def _from_loss(self, dy: tuple[Any, ...]) -> Any:
        """The gradient for the last module of the body: the argument of backward, or that of the loss."""
        if self._loss is None and len(dy) == 1:
            return dy[0]
        if self._loss is not None and not dy:
            return self._loss.backward()
        raise BackwardError(
            "backward needs the gradient of the loss with respect to the output, unless the network ends in its loss",
            expected="backward(grad_output)" if self._loss is None else "backward()",
            got=f"{len(dy)} arguments" if dy else "no argument",
            fix="model.backward(criterion.backward())"
            if self._loss is None
            else "model(x, target), then model.backward()",
        )

    # ---- body and loss ---------------------------------------------------------------------------------------------
    @property
    def loss(self) -> Loss | None:
        """The loss that ends this network, or None."""
        return self._loss

    @property
    def body(self) -> Self:
        """The network without its final loss: of the same class, with the same modules (not copies)."""
        if self._loss is None:
            return self
        body = copy.copy(self)
        body._arrange(dict(list(self._by_name.items())[:-1]))
        return body

    # ---- methods of a list ---------------------------------------------------------------------------------------
    def __add__(self, other: Iterable[Module]) -> Sequential:
        """A new Sequential with the modules of both."""
        return Sequential(*self).extend(other)

    def __iadd__(self, other: Iterable[Module]) -> Sequential:
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        """A new Sequential that repeats these modules (the same ones, not copies)."""
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
    """The number of repetitions. Raises ArgumentError for anything but a positive integer."""
    if not isinstance(times, int) or isinstance(times, bool) or times < 1:
        raise ArgumentError(
            "a Sequential can only be multiplied by a number of repetitions",
            expected="a positive integer",
            got=repr(times),
            fix="model * 2",
        )
    return times
