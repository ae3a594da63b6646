"""`StepInBackward`, a step that is made while a backward runs: each block as soon as its gradients are complete.

A gradient is complete when the backward has gone through every use of the parameter: when no module that has it
remembers anything that is still to be used. Until then it is a tensor of its own, which is freed once it has been used.
So the flat buffer of gradients is never allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError, BackwardError
from lamp.no_autograd import quick
from lamp.optim.blocks import Block, ParameterBlocks, Part
from lamp.parameter import FlatBuffer, OneByOne, Parameter
from lamp.passes import Participant, Pass, running
from lamp.signatures import called

Move = Callable[[Tensor, Tensor, Block], None]


class StepsInBackward:
    """The part of an optimizer that makes its step within backward."""

    _stepping: bool = False  # whether it is within `step_in_backward`

    if TYPE_CHECKING:  # what an optimizer adds
        # fmt: off
        _is_copy: bool
        param_groups: list[Any]
        @property
        def _has_usual_step(self) -> bool: ...
        def _begin(self, k: int, group: Any) -> tuple[ParameterBlocks, Any]: ...
        def _move(self, data: Tensor, gradient: Tensor, block: Block, numbers: Any, group: Any) -> None: ...
        def _check_copy(self, has_gradients: bool) -> None: ...
        # fmt: on

    @called()
    def step_in_backward(self) -> AbstractContextManager[None]:
        """A context in which backward makes the step: each parameter is updated once its gradient is complete.

            criterion(model(x), y)
            with optimizer.step_in_backward():
                model.backward(criterion.backward())

        A gradient is freed as soon as it has been used, so no buffer holds all of them: a quarter less memory with
        Adam, a third with momentum, half with plain SGD. The numbers are those of `zero_grad`, `backward` and `step`,
        to the bit. Gradients that earlier backwards left behind count, as in `step`; the context leaves none, so
        `zero_grad` is not needed from step to step. A weight with several uses is updated after the last of them, and
        whatever no gradient came for, at the end.

        Raises ArgumentError for what needs all gradients together (gradient clipping, another `step`, an optimizer with
        a `step` of its own, such as LBFGS); BackwardError for a second gradient of a parameter that has been updated.
        """
        self.check_step_in_backward()
        return _stepping_in_backward(self)

    def check_step_in_backward(self) -> None:
        """Raise ArgumentError where `step_in_backward` would."""
        if self._stepping or not self._has_usual_step:
            raise explain_own_step(self, self._stepping)


@contextmanager
def _stepping_in_backward(optimizer: StepsInBackward) -> Iterator[None]:
    optimizer._stepping = True
    try:
        with quick():
            begun = [(*optimizer._begin(k, group), group) for k, group in enumerate(optimizer.param_groups)]
        moves = [(blocks, partial(optimizer._move, numbers=numbers, group=group)) for blocks, numbers, group in begun]
        with StepInBackward(moves) as stepping:
            yield
        if optimizer._is_copy:
            optimizer._check_copy(stepping.got_some)
    finally:
        optimizer._stepping = False


class _Waiting:
    """A block that has not been updated, with what has come of its gradient.

    parts      the parts of parameters that it consists of
    gradients  the gradient of each part; None until it is complete
    """

    __slots__ = ("block", "gradients", "move", "parts")

    def __init__(self, block: Block, parts: list[Part], move: Move) -> None:
        self.block, self.parts, self.move = block, parts, move
        self.gradients: list[Tensor | None] = [None] * len(parts)

    def add(self, parameter: Parameter, gradient: Tensor | None) -> None:
        """Take the gradient of a parameter, None for 0; update the block if it was the last one."""
        rows = parameter.rows
        for k, (each, start, stop) in enumerate(self.parts):
            if each is parameter:
                if gradient is None:
                    part = parameter.data.new_zeros((*rows, stop - start))
                else:
                    part = gradient.reshape(*rows, -1)[..., start:stop]
                    if len(self.parts) > 1:
                        part = part.clone()  # it waits for the others, while the gradient itself is freed
                self.gradients[k] = part
        known = [each for each in self.gradients if each is not None]
        if len(known) == len(self.parts):
            whole = known[0] if len(known) == 1 else torch.cat(known, -1)
            # Through an alias, whose changes are counted apart: else the backward of another part of the network, in
            # the same flat buffer, would take its own parameters for changed. `__exit__` counts one change of all.
            self.move(self.block.data.data, whole.view(self.block.data.shape), self.block)
            self.gradients = []


class StepInBackward:
    """One step of an optimizer, made within the backwards that run in this context.

    moves  the blocks of each group of parameters, and a function that updates a block's values by a gradient
    """

    def __init__(self, moves: Sequence[tuple[ParameterBlocks, Move]]) -> None:
        self.got_some = False  # whether any parameter got a gradient
        self._waiting: dict[Parameter, list[_Waiting]] = {}
        for blocks, move in moves:
            for block, parts in blocks.parts():
                waiting = _Waiting(block, parts, move)
                for part in parts:
                    self._waiting.setdefault(part.parameter, []).append(waiting)
        self._updated: set[Parameter] = set()
        self._before: dict[FlatBuffer, OneByOne | None] = {}
        self._owners: dict[Participant, dict[Parameter, list[Any]]] = {}

    def __enter__(self) -> Self:
        for parameter in self._waiting:
            buffer = parameter._buffer
            self._before.setdefault(buffer, buffer.one_by_one)
            buffer.one_by_one = self
            parameter._grad = None
        self._outer = running.stepping
        running.stepping = (*self._outer, self._after)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        running.stepping = self._outer
        try:
            if kind is None:
                with quick():
                    for parameter in self._waiting:
                        if parameter not in self._updated:
                            self._update(parameter)
        finally:
            for parameter in self._waiting:
                parameter._grad = None
            for buffer, before in self._before.items():
                buffer.one_by_one = before
                for tensor in (buffer.data, *(part.data for part in buffer.parts)):
                    tensor[..., :0].zero_()  # changes nothing, but is counted as a change

    # ---- gradients, one by one -------------------------------------------------------------------------------------
    def gradient_of(self, parameter: Parameter) -> Tensor | None:
        if parameter not in self._waiting:
            before = self._before[parameter._buffer]
            return None if before is None else before.gradient_of(parameter)
        if parameter in self._updated:
            raise BackwardError(
                "this parameter has been updated within step_in_backward, and now gets another gradient",
                expected="one backward through each parameter, in which the modules that have it remember something",
                got="a second backward, or a use of the parameter that no module's memory tells of",
                fix="add gradients up as usual: optimizer.zero_grad(), the backwards, optimizer.step()",
            )
        self.got_some = True
        if parameter._buffer.has_gradients:
            return None
        return torch.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device)

    def explain_all(self) -> BackwardError:
        return explain_all("all gradients")

    # ---- updates ---------------------------------------------------------------------------------------------------
    def _after(self, module: Participant, through: Pass) -> None:
        """Update what is complete after the backward of a module in this pass."""
        root = through.root
        if root not in self._owners:
            self._owners[root] = _owners(root)
        owners, memory = self._owners[root], through.memory
        for parameter in _parameters(module):
            if parameter in self._waiting and parameter not in self._updated:
                known = owners.get(parameter)
                if known and all(memory.get(owner, True) == [] for owner in known):
                    self._update(parameter)

    def _update(self, parameter: Parameter) -> None:
        """Hand the gradient of a parameter to its blocks, and free it."""
        kept = parameter._buffer.has_gradients
        gradient = parameter.grad if kept else parameter._grad
        self._updated.add(parameter)
        for waiting in self._waiting[parameter]:
            waiting.add(parameter, gradient)
        if kept and gradient is not None:
            gradient.zero_()
        parameter._grad = None


def _parameters(module: Any) -> Iterator[Parameter]:
    """The parameters of a module and of those below it, once for each module that has them."""
    for each in module.modules():
        yield from (parameter for _, parameter in each._members(Parameter))


def _owners(root: Any) -> dict[Parameter, list[Any]]:
    """For each parameter below a root, the modules that have it; none where one of them is inside another, whose
    backward may then still add to the gradient when that of the inner one has returned."""
    found: dict[Parameter, list[Any]] = {}
    for module in root.modules():
        for _, parameter in module._members(Parameter):
            found.setdefault(parameter, []).append(module)
    for parameter, owners in found.items():
        if len(owners) > 1 and any(inner in owners for each in owners for inner in list(each.modules())[1:]):
            found[parameter] = []
    return found


def explain_all(what: str) -> BackwardError:
    """The error for what needs all gradients at once, within step_in_backward."""
    return BackwardError(
        f"{what} within step_in_backward, where gradients are never all there",
        expected="calls of backward alone",
        got="a call of optimizer.step(), of gradient clipping or the like",
        fix="use the usual order: optimizer.zero_grad(), backward, clipping, optimizer.step()",
    )


def explain_own_step(optimizer: object, nested: bool) -> ArgumentError:
    """The error for an optimizer that cannot step in backward."""
    name = type(optimizer).__name__
    return ArgumentError(
        f"{name} cannot step in backward",
        expected="an optimizer whose step is made by its update rule, in one such context at a time",
        got="the context within itself" if nested else f"a step of its own, {name}.step, which needs all gradients",
        fix="leave out the inner one" if nested else "use the usual order: zero_grad, backward, step",
    )
