"""A pass: one outermost forward, what its modules remember for their backwards, and who goes back through it.

What an outermost forward puts out is marked with its pass, and so is the gradient that a backward returns: with the
pass that its input came out of. A backward goes through the pass that its gradient is marked with, whatever has been
called in the meantime. The mark stands where torch keeps its own `tensor.backward`, and answers for it.
"""

from __future__ import annotations

import itertools
import operator
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from lamp.errors import BackwardError
from lamp.paths import describe

numbers = itertools.count(1)


class Pass:
    """One outermost forward through `root`: what its modules remember, a stack each, until backward consumes it.

    memory      the stacks, by module; the modules hold the pass weakly: it lives as long as what it put out, or until
                the next forward of its root
    inputs      what it was called with, until backward consumes it
    version     how often the first of them had been changed in place after the forward
    evaluating  whether it is an `evaluating` one: then nothing is remembered
    number      of passes begun before it, from 1; 0 where there was no forward, or one that failed
    consumed    whether its root has gone back through it
    """

    inputs: tuple[Any, ...] = ()
    version = 0
    evaluating = False
    consumed = False
    number = 0
    weak: weakref.ref[Pass] | None = None
    output: weakref.ref[Tensor] | None = None  # what it put out, where that is one tensor
    others: weakref.WeakSet[Pass] | None = None  # earlier ones of the same root that nobody has gone back through
    dropped = 0  # the number of the first of those, since the root was last gone back through

    def __init__(self, root: Participant) -> None:
        self.root = root
        self.memory: dict[Participant, list[Any]] = {}

    def weakly(self) -> weakref.ref[Pass]:
        """A weak reference to it, the same each time."""
        self.weak = weakref.ref(self)
        return self.weak

    @property
    def awaits(self) -> bool:
        """Whether there is something left to go back through."""
        return not self.consumed and bool(self.memory)

    @property
    def forgot(self) -> bool:
        """Whether it came to its end and nothing was remembered, as in eval mode."""
        return bool(self.number) and not self.memory and not self.consumed

    def repeats(self, other: Pass) -> bool:
        """Whether it was called with the same tensors as another: then it matters little which one is meant."""
        return len(self.inputs) == len(other.inputs) and all(map(operator.is_, self.inputs, other.inputs))

    def fits(self, gradients: tuple[Any, ...]) -> bool:
        """Whether these may be gradients of what it put out."""
        output = None if self.output is None else self.output()
        if output is None or len(gradients) != 1 or not isinstance(gradients[0], Tensor):
            return True
        return output.shape == gradients[0].shape and output.dtype is gradients[0].dtype

    def follow(self, last: Pass) -> None:
        """Take note of the root's last pass, which may still be gone back through."""
        if not last.consumed:
            self.dropped = last.dropped or (last.number if last.memory else 0)
        if last.awaits:
            self.others = last.others if last.others is not None else weakref.WeakSet()
            self.others.add(last)
        elif last.others:
            self.others = last.others

    def __call__(self, *_: Any, **__: Any) -> None:
        """What `tensor.backward()` gets, of a tensor that this pass put out."""
        loss = self.root.gives_loss
        raise BackwardError(
            f"{describe(self.root)} put out this tensor, and a tensor of lamp's has no graph to go back through",
            expected="the backwards of the modules, called by name",
            got="backward() called on a tensor",
            fix="model.backward(criterion.backward())"
            if loss
            else "model.backward(gradient of the output); after a network that ends in its loss, model.backward()",
        )

    def __deepcopy__(self, memo: Any) -> Pass:
        return self  # a copy of an output came out of the same pass

    def __reduce__(self) -> tuple[Any, ...]:
        return set, ()  # a saved tensor came out of none


@dataclass(frozen=True)
class Unmarked:
    """A loss that was gone back through and did not know what its input came out of.

    number    of its pass
    averages  whether it took a mean without knowing of replicas
    size      of its input
    """

    number: int
    name: str
    averages: bool
    size: int


class _Running(threading.local):
    through: Pass | None = None  # the pass that runs in this thread, if any
    evaluating = False  # whether outermost forwards of this thread are in eval mode, whatever the modules' own
    asked: Pass | None = None  # the pass that a backward is to go through whose gradient says none
    unmarked: Unmarked | None = None  # the last loss whose gradient does not say to which pass it belongs


running = _Running()


class Participant:
    """What a module has to do with passes: whether it is trained, and what it remembers for its backward."""

    gives_loss: ClassVar[bool] = False  # whether it is a loss
    _training = True  # what train() and eval() set
    _through: Pass | weakref.ref[Pass] | None = None  # the last pass it took part in, of another root weakly

    if TYPE_CHECKING:  # a module has these too
        # fmt: off
        backward: Callable[..., Any]
        def modules(self) -> Iterator[Participant]: ...
        def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Participant]]: ...
        # fmt: on

    @property
    def training(self) -> bool:
        """Whether it is in training mode: what train() and eval() set, and False in this thread's `lamp.evaluating`."""
        return self._training and not running.evaluating

    @training.setter
    def training(self, mode: bool) -> None:
        self._training = mode

    def remember(self, value: Any) -> None:
        """Keep a value (a tuple, for several) for `backward`. In eval mode nothing is kept."""
        if not self._training:
            return
        through = running.through
        if through is None:  # outside any forward
            if running.evaluating:
                return
            through = self._through = Pass(self)
        elif through.evaluating:
            return
        stack = through.memory.get(self)
        if stack is None:
            through.memory[self] = [value]
        else:
            stack.append(value)

    def recall(self) -> Any:
        """What the latest forward not yet gone back through remembered; it is forgotten here.

        Raises BackwardError where there is none.
        """
        through = running.through or latest(self)
        stack = through.memory.get(self) if through is not None else None
        if stack is None and through is not None:  # it had no part in that pass: was it called on its own, later?
            alone = latest(self)
            if alone is not None and alone.number > through.number and (alone.root is self or not through.number):
                stack = alone.memory.get(self)
        if stack:
            return stack.pop()
        if stack is not None:
            what, fix = "backward twice", "call forward again before each backward: backward consumes what it left"
        elif through is not None and through.evaluating:
            what, fix = "backward in eval mode", "go forward outside lamp.evaluating(): in it nothing is remembered"
        elif not self.training or (through is not None and through.forgot):
            what, fix = "backward in eval mode", "call train() before the forward: in eval mode nothing is remembered"
        else:
            what, fix = "backward before forward", "call the network on an input first, in training mode"
        raise BackwardError(
            what, expected="one forward for each backward", got="nothing remembered that is not consumed", fix=fix
        )

    def check_unmarked(self, gradients: tuple[Any, ...], loss: Unmarked | None) -> None:
        """Raise where these gradients, of which it is not known what they belong to, cannot be meant.

        loss  one that was gone back through before, and did not know either
        """


@contextmanager
def evaluating() -> Iterator[None]:
    """Within it, what this thread computes is in eval mode; no module is changed, and other threads do not see it.

        with lamp.evaluating():
            outputs = model(inputs)

    Modules find `self.training` False, remember nothing, and are gone back through afterwards as if nothing had been.
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
    """Within it, this thread computes as if nothing ran in it: outermost calls are outermost, in the modules' modes."""
    before = running.__dict__.copy()
    running.__dict__.clear()
    try:
        yield
    finally:
        running.__dict__.clear()
        running.__dict__.update(before)


def pass_of(value: Any) -> Pass | None:
    """The pass that put out this tensor, or that this gradient belongs to; None where neither is known."""
    mark = getattr(value, "backward", None)
    return mark if type(mark) is Pass else None


def mark(value: Any, through: Pass) -> None:
    """Say of a tensor, or of each in a tuple or list, that it belongs to this pass."""
    if isinstance(value, Tensor):
        value.__dict__["backward"] = through  # half the price of setting an attribute
    elif isinstance(value, tuple | list):
        for each in value:
            mark(each, through)


def latest(module: Participant) -> Pass | None:
    """The last pass that the module took part in, if it is still there."""
    through = module._through
    return through() if isinstance(through, weakref.ref) else through
