"""Passes: a `Pass` is one outermost forward, with the values that modules remember for their backwards.

Tensors are marked with passes. The output of an outermost forward is marked with its pass; the gradient that a backward
returns is marked with the pass that produced the input. A backward goes through the pass that its gradient is marked
with, whatever has been called in the meantime. The mark is the tensor's attribute `backward`, so it also answers a call
of torch's `tensor.backward()`.
"""

from __future__ import annotations

import itertools
import operator
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from lamp.errors import BackwardError
from lamp.in_place import Counts, Watched, changed_memory, versions_of
from lamp.marks import Mark
from lamp.paths import describe
from lamp.trees import is_packed
from lamp.values import a_switch

numbers = itertools.count(1)
LARGE = 2**16  # numbers in an output that is computed again rather than remembered
Stepping = tuple[Callable[["Participant", "Pass"], None], ...]


class Further:
    """What was computed from the value of a loss: weak references to both."""

    __slots__ = ("loss", "result")

    def __init__(self, loss: weakref.ref[Tensor], result: weakref.ref[Tensor]) -> None:
        self.loss, self.result = loss, result

    @property
    def replaced(self) -> bool:
        """Whether the result is there in place of the loss."""
        loss, result = self.loss(), self.result()
        return result is not None and (loss is None or loss is result)


class Again:
    """How to compute a module's output again, from the input. It is remembered in place of the output.

    The module remembers its input anyway, until its own backward, which comes later than that of whoever recalls this.
    """

    __slots__ = ("input", "module")

    def __init__(self, module: Participant, input: Any) -> None:
        self.module, self.input = module, input

    def __call__(self) -> Any:
        with evaluating():  # nothing is remembered
            return self.module._bare_forward(self.input)


class Pass(Mark):
    """One outermost forward of `root`, with a stack of remembered values per module, until a backward consumes it.

    It is freed with its output, or at the next forward of its root: modules inside refer to it weakly.

    memory      the stack of each module: each value with torch's count of in-place changes of its tensors, if guarded
    guarded     whether a forward that a user wrote is among them, which may write to what others have remembered
    inputs      the arguments of the forward, until a backward consumes the pass
    version     torch's count of in-place changes of the first input, after the forward
    rest        that count of the other inputs
    made        that count of the output
    kept        the output, if a module remembers it too
    further     what was computed from the value of a loss of its output (see lamp.loss_value)
    watched     where the root's parameters lie, and their `counts` (see lamp.in_place)
    evaluating  whether it ran within `evaluating()`, so that nothing is remembered
    number      1, 2, ... in the order of the forwards; 0 if there was no forward, or it failed
    consumed    whether the root's backward has gone through it
    weak        a weak reference to the pass itself, made on first use
    output      its output, if that is one tensor
    others      earlier passes of the same root that still wait for a backward
    stepping    called with each module after its backward, and the pass (see lamp.optim.in_backward)
    again       a tensor that only the next module gets, and how to compute it again (see `Pass.offer`)
    dropped     the number of the first pass of this root that had no backward, since the root's last backward
    alike       the number of the first of the passes in a row, up to this one, that have the same inputs
    handed      gradients of outputs of this root that were handed out and not used yet: for each the number of its
                pass, and when that was. What is computed from such a gradient has no mark
    """

    __slots__ = (
        "__weakref__",
        "again",
        "alike",
        "consumed",
        "counts",
        "dropped",
        "evaluating",
        "further",
        "guarded",
        "handed",
        "inputs",
        "kept",
        "made",
        "memory",
        "number",
        "others",
        "output",
        "rest",
        "root",
        "stepping",
        "version",
        "watched",
        "weak",
    )  # a slot is read faster than an attribute in a dict

    def __init__(self, root: Participant, number: int = 0, inputs: tuple[Any, ...] = ()) -> None:
        self.root, self.number, self.inputs = root, number, inputs
        self.alike = number
        self.handed: tuple[tuple[int, int], ...] = ()
        self.memory: dict[Participant, list[tuple[Any, int | None]]] = {}
        self.evaluating = self.consumed = self.guarded = False
        self.version = self.rest = self.made = self.dropped = 0
        self.kept: Tensor | None = None
        self.further: Further | None = None
        self.counts: Counts = 0
        self.watched: Watched | None = None
        self.weak: weakref.ref[Pass] | None = None
        self.output: weakref.ref[Tensor] | None = None
        self.others: weakref.WeakSet[Pass] | None = None
        self.stepping: Stepping = ()
        self.again: tuple[Any, Again] | None = None

    def weakly(self) -> weakref.ref[Pass]:
        """A weak reference to the pass, kept in `weak`."""
        self.weak = weakref.ref(self)
        return self.weak

    def guard(self) -> None:
        """Count changes of what has been remembered, and will be: a forward that a user wrote comes next."""
        self.again = None
        if not self.guarded:
            self.guarded = True
            for stack in self.memory.values():
                stack[:] = [(value, versions_of(value) if count is None else count) for value, count in stack]

    def offer(self, module: Participant, input: Any, output: Any) -> None:
        """Let the module that is called next with this output remember how to compute it again, if it is large."""
        large = isinstance(output, Tensor) and output.numel() >= LARGE
        self.again = (output, Again(module, input)) if large and not self.evaluating else None

    def tell(self, module: Participant) -> None:
        """Tell those in `stepping` that a backward of this module has returned."""
        for each in self.stepping:
            each(module, self)

    @property
    def awaits(self) -> bool:
        """Whether it still waits for a backward."""
        return not self.consumed and bool(self.memory)

    @property
    def forgot(self) -> bool:
        """Whether the forward finished and remembered nothing, as in eval mode."""
        return bool(self.number) and not self.memory and not self.consumed

    def repeats(self, other: Pass) -> bool:
        """Whether it has the same input tensors as another pass: then it matters little which of the two is meant."""
        return len(self.inputs) == len(other.inputs) and all(map(operator.is_, self.inputs, other.inputs))

    def fits(self, gradients: tuple[Any, ...]) -> bool:
        """Whether these may be gradients of its output: shape and dtype agree, as far as they are known."""
        output = None if self.output is None else self.output()
        if output is None or len(gradients) != 1 or not isinstance(gradients[0], Tensor):
            return True
        return output.shape == gradients[0].shape and output.dtype is gradients[0].dtype

    def follow(self, last: Pass) -> None:
        """Keep note of the root's last pass, which may still get a backward."""
        self.handed = last.handed
        if not last.consumed:
            self.dropped = last.dropped or (last.number if last.memory else 0)
            if self.repeats(last):
                self.alike = last.alike
        if last.awaits:
            self.others = last.others if last.others is not None else weakref.WeakSet()
            self.others.add(last)
        elif last.others:
            self.others = last.others

    def hand_out(self) -> None:
        """Note that a gradient of its output is handed out. Gradients of earlier outputs that were handed out before
        its forward are forgotten: a loop that leaves out a step goes on like this."""
        last = self.root._through
        if type(last) is Pass:
            now = self.number, next(numbers)
            last.handed = (*(each for each in last.handed if each[0] != self.number < each[1]), now)

    def take_back(self) -> None:
        """Note that a gradient of its output has been used."""
        last = self.root._through
        if type(last) is Pass and last.handed:
            last.handed = tuple(each for each in last.handed if each[0] != self.number)

    def __call__(self, *_: Any, **__: Any) -> None:
        """Answer a call of `tensor.backward()` on an output of this pass: raises BackwardError, with what to call."""
        loss = self.root.gives_loss
        raise BackwardError(
            f"this tensor is an output of {describe(self.root)}, and lamp records no graph for tensor.backward()",
            expected="a call of a module's backward",
            got="backward() called on a tensor",
            fix="model.backward(criterion.backward())"
            if loss
            else "model.backward(gradient of the output); after a network that ends in its loss, model.backward()",
        )


class _Running(threading.local):
    through: Pass | None = None  # the pass that is running in this thread, if any
    evaluating = False  # whether this thread is within `evaluating()`, whatever the modules' own modes
    asked: Pass | None = None  # the pass for a backward without a marked gradient (see `backward_from`)
    unmarked: Any = None  # the `Unmarked` of the last loss whose input was not marked
    stepping: Stepping = ()  # what the passes of backwards in this thread get as `stepping`


running = _Running()


class Participant:
    """The part of a module that takes part in passes: its mode, `remember` and `recall`."""

    gives_loss: ClassVar[bool] = False  # whether it is a loss
    _guards: ClassVar[bool] = True  # whether its values are guarded in every pass (see `Pass.guarded`)
    _training = True  # what train() and eval() set
    _through: Pass | weakref.ref[Pass] | None = None  # the last pass it took part in; a weak reference if not the root
    _watched: Watched | None = None  # where its parameters lie, if it was the root of a pass

    if TYPE_CHECKING:  # attributes that Module adds
        # fmt: off
        _has_users_forward: ClassVar[bool]
        backward: Callable[..., Any]
        _bare_forward: Callable[..., Any]
        def modules(self) -> Iterator[Participant]: ...
        def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Participant]]: ...
        # fmt: on

    @property
    def training(self) -> bool:
        """Whether the module is in training mode, as train() and eval() set it; False within `lamp.evaluating()`."""
        return self._training and not running.evaluating

    @training.setter
    def training(self, mode: bool) -> None:
        self._training = a_switch(mode, "training")

    def remember(self, value: Any) -> None:
        """Keep a value for `backward`; several values are a tuple. If the root of the pass is in eval mode, nothing is.

        So a backward also goes through a module in eval mode, such as a frozen BatchNorm, within one in training mode.
        """
        through = running.through
        if through is None:  # outside any forward
            if not self.training:
                return
            through = self._through = Pass(self)
        elif through.evaluating or not through.root._training:
            return
        memory, again = through.memory, through.again
        if again is not None and again[0] is value:
            value = again[1]
        entry = value, versions_of(value) if through.guarded or self._guards else None
        if self in memory:
            memory[self].append(entry)
        else:
            memory[self] = [entry]

    def recall(self) -> Any:
        """The value that the latest forward of this module remembered; removes it.

        Raises BackwardError if nothing is left: backward before forward, twice, or after a forward in eval mode; and if
        a remembered tensor has been written to since.
        """
        through = running.through or latest(self)
        stack = None if through is None else through.memory.get(self)
        if stack is None and through is not None:  # it took no part in that pass: was it called on its own later?
            alone = latest(self)
            if alone is not None and alone.number > through.number and (alone.root is self or not through.number):
                stack = alone.memory.get(self)
        if stack:
            value, version = stack.pop()
            if version is not None and versions_of(value) != version:
                raise changed_memory(self)
            return value() if type(value) is Again else value
        if stack is not None:
            what, fix = "backward twice", "call forward before each backward: backward consumes what forward remembered"
        elif through is not None and through.evaluating:
            what, fix = "backward in eval mode", "call forward outside lamp.evaluating(), which remembers nothing"
        elif not self.training or (through is not None and through.forgot and not self._has_users_forward):
            what, fix = "backward in eval mode", "call train() before the forward: in eval mode nothing is remembered"
        elif through is not None and self._has_users_forward:
            what = "backward, but the forward remembered nothing"
            fix = "self.remember(...) in forward keeps what self.recall() returns in backward, except in eval mode"
        else:
            what, fix = "backward before forward", "call the network on an input first, in training mode"
        raise BackwardError(
            what, expected="one forward before each backward", got="no remembered value that is still unused", fix=fix
        )

    def check_unmarked(self, gradients: tuple[Any, ...], loss: Any) -> None:
        """Raise if these unmarked gradients cannot belong to this module; populations override it.

        loss  the `Unmarked` of the last loss whose gradient could not be marked, if its backward came right before
        """


@contextmanager
def evaluating() -> Iterator[None]:
    """A context in which this thread computes in eval mode. No module is changed, and other threads are not affected.

        with lamp.evaluating():
            outputs = model(inputs)

    Within it `self.training` is False and modules remember nothing, so a backward afterwards goes through the forward
    from before.
    """
    before, through = running.evaluating, running.through
    within = through is not None and through.evaluating
    try:
        running.evaluating = True
        if through is not None:
            through.evaluating = True
        yield
    finally:
        running.evaluating = before
        if through is not None:
            through.evaluating = within


@contextmanager
def apart() -> Iterator[None]:
    """A context in which no pass is running in this thread: calls begin passes of their own, in the modules' modes."""
    before = running.__dict__.copy()
    running.__dict__.clear()
    try:
        yield
    finally:
        running.__dict__.clear()
        running.__dict__.update(before)


def pass_of(value: Any) -> Pass | None:
    """The pass that this output or gradient is marked with, or None."""
    mark = getattr(value, "backward", None)
    return mark if type(mark) is Pass else None


def mark(value: Any, through: Mark) -> None:
    """Mark a tensor, or each tensor in a tuple or list, with this pass."""
    if isinstance(value, Tensor):
        value.__dict__["backward"] = through  # takes half the time of setting an attribute
    elif is_packed(value):
        mark(value.data, through)
    elif isinstance(value, tuple | list):
        for each in value:
            mark(each, through)


def latest(module: Participant) -> Pass | None:
    """The last pass that the module took part in, or None if it has been freed."""
    through = module._through
    return through() if isinstance(through, weakref.ref) else through
