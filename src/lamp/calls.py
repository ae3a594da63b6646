"""Calls of a module from outside and from inside a network: the outermost begins a pass, or goes back through one."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from sys import getrefcount
from typing import Any

from torch import Tensor

from lamp.axes import replicas_of
from lamp.call_errors import in_order, is_of_the_call, misfit, shorten
from lamp.no_autograd import quick
from lamp.passes import Participant, Pass, Unmarked, mark, numbers, pass_of, running
from lamp.paths import blame, say_where
from lamp.which_pass import pass_for

ABSENT: Any = object()  # an argument that did not come


# ---- forward --------------------------------------------------------------------------------------------------------
def forward_within_a_pass(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that, when it is the outermost call, begins a pass, and else takes part in the one that runs."""

    @functools.wraps(forward)
    def outermost_or_inner(self: Participant, first: Any = ABSENT, /, *more: Any, **named: Any) -> Any:
        outer = running.through
        if outer is not None and not more and not named and first is not ABSENT:  # most calls: packing costs time
            if not outer.evaluating:
                self._through = outer.weak or outer.weakly()
            try:
                return forward(self, first)
            except Exception as error:
                blame(error, self)
                raise
        inputs = () if first is ABSENT else (first, *more)
        if named:
            inputs, rest = in_order(self, forward, inputs, named)
            return forward_within_a_pass(functools.wraps(forward)(functools.partial(forward, **rest)))(self, *inputs)
        if outer is not None:
            if not outer.evaluating:
                self._through = outer.weak or outer.weakly()
            try:
                return forward(self, *inputs)
            except Exception as error:
                blame(error, self)
                raise
        through = running.through = _begin(self, inputs)
        try:
            with quick():
                output = forward(self, *inputs)
        except Exception as error:
            through.memory.clear()
            through.number = 0
            if is_of_the_call(error):
                raise misfit(self, forward, inputs, {}) from None
            blame(error, self)
            say_where(error, self)
            shorten(error)
            raise
        finally:
            running.through = None
        if type(output) is Tensor:
            if getrefcount(output) > ALONE:
                if inputs and output is inputs[0] and pass_of(output) is None:
                    return output  # a pass that did nothing to what came from none
                output = _view(output)
            output.__dict__["backward"] = through
            through.output = weakref.ref(output)
        elif isinstance(output, tuple | list):
            output = type(output)([_alone(each) for each in output]) if type(output) in (tuple, list) else output
            mark(output, through)
        return output

    outermost_or_inner._minds_the_pass = outermost_or_inner  # type: ignore[attr-defined]
    return outermost_or_inner


def _references() -> int:
    tensor = object()
    return getrefcount(tensor)


# How many references there are to what only a local variable holds. An output that has more was remembered, or came in:
# marked itself, it would keep its pass and the pass it (until a garbage collection), or lose the mark that it has.
ALONE = _references()


def _view(tensor: Tensor) -> Tensor:
    """The tensor as another object, with the marks that it has."""
    view = tensor.view_as(tensor)
    view.__dict__.update(tensor.__dict__)
    return view


def _alone(output: Any) -> Any:
    """The output, or a view of it where something else holds it too: beside the tuple that it stands in."""
    return _view(output) if type(output) is Tensor and getrefcount(output) > ALONE + 2 else output


def _begin(root: Participant, inputs: tuple[Any, ...]) -> Pass:
    """A new pass through a root. Its last one goes, with all that was remembered, unless an output still holds it."""
    through = Pass(root)
    through.number = next(numbers)
    if running.evaluating:
        through.evaluating = True
        return through
    through.inputs = inputs
    last = root._through
    if type(last) is Pass and (not last.consumed or last.others):
        through.follow(last)
    root.__dict__["_through"] = through  # a loss looks at what is set on it, which this is not
    return through


# ---- backward -------------------------------------------------------------------------------------------------------
def backward_within_its_pass(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that, when it is the outermost call, goes back through the pass that its gradient belongs to."""

    light = backward.__name__ == "backward_parameters"

    @functools.wraps(backward)
    def outermost_or_inner(self: Participant, first: Any = ABSENT, /, *more: Any) -> Any:
        if light and "backward" in self.__dict__:  # a backward that somebody set on the module holds here too
            return self.backward(*(() if first is ABSENT else (first, *more)))
        if running.through is not None:
            try:
                if not more and first is not ABSENT:  # most calls: packing costs time
                    return backward(self, first)
                return backward(self, *(() if first is ABSENT else (first, *more)))
            except Exception as error:
                blame(error, self)
                raise
        grad_outputs = () if first is ABSENT else (first, *more)
        through = running.through = pass_for(self, grad_outputs)
        inputs = through.inputs
        if through.root is self and through.memory:
            through.consumed, through.inputs = True, ()
        try:
            with quick():
                gradient = backward(self, *grad_outputs)
        except Exception as error:
            if is_of_the_call(error):
                raise misfit(self, backward, grad_outputs, {}) from None
            blame(error, self)
            say_where(error, through.root)
            shorten(error)
            raise
        finally:
            running.through = None
        return None if gradient is None else _marked(gradient, self, grad_outputs, through, inputs)

    outermost_or_inner._minds_the_pass = outermost_or_inner  # type: ignore[attr-defined]
    return outermost_or_inner


def _marked(gradient: Any, module: Participant, given: tuple[Any, ...], through: Pass, inputs: tuple[Any, ...]) -> Any:
    """The gradient of each input, marked with the pass which that came out of."""
    if through.root is not module:  # a part of the network, gone back through by hand: the part before it comes next
        mark(gradient, through)
        return gradient
    if not isinstance(gradient, tuple):
        source = pass_of(inputs[0]) if inputs else None
        if source is None or source is through:
            if module.gives_loss and inputs and isinstance(inputs[0], Tensor):
                averages = replicas_of(inputs[0]) is None and getattr(module, "reduction", "") not in ("sum", "none")
                running.unmarked = Unmarked(through.number, type(module).__name__, averages, inputs[0].numel())
        elif isinstance(gradient, Tensor):
            if given and gradient is given[0]:
                gradient = _view(gradient)
            mark(gradient, source)
        return gradient
    for each, x in zip(gradient, inputs, strict=False):
        source = pass_of(x)
        if source is not None and source is not through:
            mark(each, source)
    return gradient


def backward_from(module: Participant, output: Any) -> Any:
    """`module.backward()` through the pass that put out this output, whatever was called since."""
    running.asked = pass_of(output)
    try:
        return module.backward()
    finally:
        running.asked = None
