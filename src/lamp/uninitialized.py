"""`UninitializedParameter`, the place of a parameter in a lazy module that has seen no input yet (see lamp.nn.lazy)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError
from lamp.parameter import Parameter


class UninitializedParameter(Parameter):
    """The place of a parameter in a lazy module before its first forward: a dtype and a device, but no values.

    owner  the module, as text
    """

    __slots__ = ("owner",)

    def __init__(self, like: Tensor, owner: str) -> None:
        super().__init__(like.new_empty(0))
        self.owner = owner

    def __getstate__(self) -> tuple[Any, ...]:
        return self.owner, super().__getstate__()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.owner, of_parameter = state
        super().__setstate__(of_parameter)


def initialized(parameters: Iterable[Parameter]) -> list[Parameter]:
    """These parameters. Raises ArgumentError if one is that of a lazy module which has seen no input."""
    found = list(parameters)
    for parameter in found:
        if type(parameter) is UninitializedParameter:
            raise ArgumentError(
                "a lazy module has no parameters before its first forward",
                expected="a network that was called once",
                got="one that has seen no input",
                fix="call the network on a batch before its parameters are needed: model(x)",
                where=parameter.owner,
            )
    return found
