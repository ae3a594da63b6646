"""The mark of gradients whose input came out of no module."""

from __future__ import annotations

from typing import Any

from lamp.axes import replicas_of
from lamp.errors import BackwardError
from lamp.marks import Mark
from lamp.passes import Pass
from lamp.trees import leaves


class Unmarked(Mark):
    """What the gradient of an input that is no output is marked with: until the user does something to it, it is the
    gradient of that input and of nothing else.

    through  the pass that its backward went through
    input    the input
    """

    __slots__ = ("input", "through")

    def __init__(self, through: Pass, input: Any) -> None:
        self.through, self.input = through, input

    @property
    def name(self) -> str:
        """The class of the module whose input it was."""
        return type(self.through.root).__name__

    @property
    def averages(self) -> bool:
        """Whether that is a loss which took a mean over its whole input, with no axis of replicas."""
        marked = any(replicas_of(each) is not None for _, each in leaves(self.input))
        return not marked and getattr(self.through.root, "reduction", "") not in ("sum", "none")

    @property
    def size(self) -> int:
        """The number of elements of its input; of several inputs, of the first."""
        return next((each.numel() for _, each in leaves(self.input)), 0)

    def __call__(self, *_: Any, **__: Any) -> None:
        """Answer a call of `tensor.backward()` on the gradient."""
        raise BackwardError(
            f"this tensor is the gradient that {self.name}.backward() returned",
            expected="a call of a module's backward",
            got="backward() called on a tensor",
            fix="model.backward(criterion.backward())",
        )
