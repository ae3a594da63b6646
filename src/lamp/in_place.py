"""Tensors that are changed in place between a forward and its backward: torch counts such changes.

A backward reads the parameters, and what the forward remembered of inputs and outputs. If one of them was written to in
between, the gradient would be of no loss at all, and nothing would show it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lamp.devices import without_numbers
from lamp.errors import BackwardError
from lamp.parameter import FlatBuffer, Parameter, Part
from lamp.paths import describe

Counts = int | list[int]


class Watched:
    """The flat buffers that the parameters of a module lie in, and the counters of their changes.

    changes   FlatBuffer.changes when they were found: another number may mean other buffers
    first     a parameter, if all lie in one buffer, which is the usual case: then one counter tells all
    on_meta   whether one of them has no numbers
    counters  weak references to the buffers, and to the parts of them that are counted apart
    """

    __slots__ = ("changes", "counters", "first", "on_meta")

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.changes = FlatBuffer.changes
        places: dict[FlatBuffer, list[Parameter]] = {}
        for parameter in parameters:
            places.setdefault(parameter._buffer, []).append(parameter)
        found: list[FlatBuffer | Part] = list(places)
        for buffer, own in places.items():
            found += [part for part in buffer.parts if any(part.overlaps(each) for each in own)]
        self.on_meta = any(buffer.data.is_meta for buffer in places)
        self.counters = [weakref.ref(each) for each in found]
        self.first = next(iter(places.values()))[0] if len(found) == 1 else None

    def counts(self) -> Counts:
        """How often each of them has been changed."""
        if self.first is not None:
            return version_of(self.first._buffer.data)
        alive = (counter() for counter in self.counters)
        return [0 if each is None else version_of(each.data) for each in alive]


def version_of(tensor: Tensor) -> int:
    """How often a tensor was changed in place, as torch counts it; 0 for tensors of torch's inference mode."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def versions_of(values: Any) -> int:
    """This count of a tensor; of several, the sum."""
    if type(values) is Tensor:
        values = (values,)
    count = 0
    if isinstance(values, tuple | list):
        for each in values:
            if type(each) is Tensor:
                try:  # as `version_of`, which would be one more call for each tensor
                    count += each._version
                except RuntimeError:
                    continue
            elif isinstance(each, tuple | list):
                count += versions_of(each)
    return count


def check_shared(owner: Any, name: str, shared: Any, before: int) -> None:
    """Raise BackwardError if a branch has written to what the other branches read as well.

    before  how often that had been changed before the branch ran
    """
    if versions_of(shared) != before:
        raise BackwardError(
            f"a branch of {type(owner).__name__} wrote to its {name}, which the other branches read too",
            expected="branches that leave it as it is",
            got="a tensor that was changed in place",
            fix="let the module compute a new tensor: x = x * 2 in place of x *= 2",
        )


def watched_of(root: Any) -> Watched:
    """The buffers of this module's parameters, as they are now."""
    watched: Watched | None = root._watched
    if watched is None or watched.changes != FlatBuffer.changes:
        watched = Watched(parameter for module in root.modules() for _, parameter in module._members(Parameter))
        root.__dict__["_watched"] = watched  # bypasses the `__setattr__` of losses
    return watched


def check_numbers(root: Any, inputs: tuple[Any, ...]) -> None:
    """Raise DeviceError if the module's parameters have no numbers, and the first input has."""
    if watched_of(root).on_meta and inputs and isinstance(inputs[0], Tensor) and not inputs[0].is_meta:
        held = ((module, parameter) for module in root.modules() for _, parameter in module._members(Parameter))
        raise without_numbers(describe(next(module for module, parameter in held if parameter.data.is_meta)))


def note(root: Any, through: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Note in a pass how often what its backward will read has been changed so far."""
    through.version, through.rest = versions_of(inputs[:1]), versions_of(inputs[1:])
    through.made = versions_of(output)
    through.watched = None if root.gives_loss else watched_of(root)
    if through.watched is not None:
        through.counts = through.watched.counts()


def check_unchanged(root: Any, through: Any) -> None:
    """Raise BackwardError if something that this pass of this root will read has been written to since its forward."""
    inputs = through.inputs
    if versions_of(inputs[:1]) != through.version or versions_of(inputs[1:]) != through.rest:
        raise BackwardError(
            "the input was changed in place after the forward that remembered it for this backward",
            expected="an input that still has the values of the forward",
            got="a tensor that was written to in between",
            fix="call backward before writing to the input, or write to a copy: x = x.clone()",
            where=describe(root),
        )
    if through.kept is not None and version_of(through.kept) != through.made:
        raise changed_output(root)
    if through.watched is not None and _parameters_changed(through.watched, through.counts, watched_of(root)):
        raise BackwardError(
            "parameters were changed in place after the forward that this backward belongs to",
            expected="parameters that still have the values of the forward",
            got="an optimizer's step, or values written to them, in between",
            fix="call backward before optimizer.step() and before writing to parameters, and forward again after it",
            where=describe(root),
        )


def _parameters_changed(then: Watched, counts: Counts, now: Watched) -> bool:
    """Whether parameters have changed that may have moved since then, which changes no values."""
    if then is now:
        return now.counts() != counts
    before = counts if isinstance(counts, list) else [counts]
    known = dict(zip([counter() for counter in then.counters], before, strict=True))
    present = [counter() for counter in now.counters]
    return any(each is not None and version_of(each.data) != known.get(each, each.made) for each in present)


def changed_output(root: Any) -> BackwardError:
    """The error for an output that was written to after the forward."""
    return BackwardError(
        f"the output of {describe(root)} was changed in place after its forward",
        expected="the output as the forward returned it",
        got="a tensor that was written to in between",
        fix="do it with a module, which has a backward, or on a copy: output = output.clone()",
        where=describe(root),
    )


def changed_memory(module: Any) -> BackwardError:
    """The error for a tensor that was written to after a module had remembered it."""
    return BackwardError(
        f"what {type(module).__name__} remembered of its forward was changed in place",
        expected="its input and its output as they were in the forward, for the gradient to be that of the forward",
        got="a tensor that was written to in between",
        fix="write to a copy: y = y * 2 in place of y *= 2",
    )


def is_same(tensor: Tensor, output: Tensor | None) -> bool:
    """Whether a tensor has the values of this output."""
    return (
        output is not None
        and output.shape == tensor.shape
        and (output.dtype, output.device) == (tensor.dtype, tensor.device)
        and torch.equal(output, tensor)
    )
