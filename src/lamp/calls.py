"""Calls of a module from outside and from inside a network: the outermost begins a pass, or goes back through one."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from itertools import zip_longest
from sys import getrefcount
from typing import Any

from torch import Tensor

from lamp.axes import replicas_of
from lamp.call_errors import in_order, is_of_the_call, misfit, shorten
from lamp.errors import BackwardError
from lamp.no_autograd import quick
from lamp.passes import Participant, Pass, Unmarked, mark, numbers, pass_of, running
from lamp.paths import blame, describe, say_where
from lamp.trees import leaves
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
                if is_of_the_call(error):
                    raise misfit(self, forward, (first,), {}) from None
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
                if is_of_the_call(error):
                    raise misfit(self, forward, inputs, {}) from None
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
                raise say_where(misfit(self, forward, inputs, {}), self) from None
            blame(error, self)
            say_where(error, self)
            shorten(error)
            raise
        finally:
            running.through = None
        if not through.evaluating:
            if self._through is not through:
                self._through = through  # which a `super().forward(...)` within has made weak
            if inputs and type(inputs[0]) is Tensor:
                through.version = _version(inputs[0])
        if type(output) is Tensor:
            if getrefcount(output) > ALONE:
                if inputs and output is inputs[0] and pass_of(output) is None:
                    return output  # a pass that did nothing to what came from none
                output = _view(output)
            output.__dict__["backward"] = through
            through.output = weakref.ref(output)
        elif isinstance(output, tuple | list):
            output = _alone(output)
            mark(output, through)
        return output

    outermost_or_inner._minds_the_pass = outermost_or_inner  # type: ignore[attr-defined]
    outermost_or_inner._within = forward  # type: ignore[attr-defined]
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


def _alone(outputs: Any) -> Any:
    """The tuple or list, nested or not, with views of the tensors in it that something else holds too."""
    if type(outputs) not in (tuple, list):
        return outputs
    alone = []
    for output in outputs:
        held = type(output) is Tensor and getrefcount(output) > ALONE + 1  # the tuple that it stands in holds it
        alone.append(_view(output) if held else _alone(output))
    return type(outputs)(alone)


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


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place; of one made in torch's inference mode that is not known."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def _changed(root: Participant) -> BackwardError:
    return BackwardError(
        "the input was changed in place after the forward, which remembered it for this backward",
        expected="the numbers that went forward",
        got="a tensor that was written to since",
        fix="go back before it is written to, or write to a copy: x = x.clone()",
        where=describe(root),
    )


# ---- backward -------------------------------------------------------------------------------------------------------
def backward_within_its_pass(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that, when it is the outermost call, goes back through the pass that its gradient belongs to."""

    light = backward.__name__ == "backward_parameters"
    written, backward = backward, one_by_one(backward)

    @functools.wraps(written)
    def outermost_or_inner(self: Participant, first: Any = ABSENT, /, *more: Any) -> Any:
        if light and "backward" in self.__dict__:  # a backward that somebody set on the module holds here too
            return self.backward(*(() if first is ABSENT else (first, *more)))
        if running.through is not None:
            try:
                if not more and first is not ABSENT:  # most calls: packing costs time
                    return backward(self, first)
                return backward(self, *(() if first is ABSENT else (first, *more)))
            except Exception as error:
                if is_of_the_call(error):
                    raise misfit(self, written, () if first is ABSENT else (first, *more), {}) from None
                blame(error, self)
                raise
        grad_outputs = () if first is ABSENT else (first, *more)
        through = running.through = pass_for(self, grad_outputs)
        inputs = through.inputs
        if through.root is self and through.memory:
            if inputs and type(inputs[0]) is Tensor and _version(inputs[0]) != through.version and not self.gives_loss:
                running.through = None
                raise _changed(self)
            through.consumed, through.inputs = True, ()
        try:
            with quick():
                gradient = backward(self, *grad_outputs)
        except Exception as error:
            if is_of_the_call(error):
                raise say_where(misfit(self, written, grad_outputs, {}), through.root) from None
            blame(error, self)
            say_where(error, through.root)
            shorten(error)
            raise
        finally:
            running.through = None
        return None if gradient is None else _marked(gradient, self, grad_outputs, through, inputs)

    outermost_or_inner._minds_the_pass = outermost_or_inner  # type: ignore[attr-defined]
    outermost_or_inner._within = backward  # type: ignore[attr-defined]
    return outermost_or_inner


def one_by_one(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The backward, which gets a tuple of gradients one by one where it names an argument for each."""
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (TypeError, ValueError):  # no function of Python
        return backward
    if len([each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]) < 3:  # self, and one gradient
        return backward

    @functools.wraps(backward)
    def unpacking(self: Participant, *gradients: Any) -> Any:
        if len(gradients) == 1 and isinstance(gradients[0], tuple | list):
            (gradients,) = gradients
        try:
            return backward(self, *gradients)
        except TypeError as error:
            if is_of_the_call(error):
                raise misfit(self, backward, tuple(gradients), {}) from None
            raise

    return unpacking


def _marked(gradient: Any, module: Participant, given: tuple[Any, ...], through: Pass, inputs: tuple[Any, ...]) -> Any:
    """The gradient of each input, marked with the pass which that came out of."""
    if through.root is not module:  # a part of the network, gone back through by hand: the part before it comes next
        mark(gradient, through)
        return gradient
    if not inputs:
        return gradient
    x = inputs[0]
    source = pass_of(x)
    if source is not None and source is not through and type(gradient) is Tensor and not given:
        gradient.__dict__["backward"] = source  # that of a loss whose input is known: the usual case
        return gradient
    of_first = isinstance(x, tuple | list) and (module.gives_loss or len(inputs) == 1)
    if isinstance(gradient, tuple | list) and not of_first:
        return _with_sources(gradient, inputs, through, given)
    if module.gives_loss:
        outputs = [x] if isinstance(x, Tensor) else [each for _, each in leaves(x)]
        if outputs and all(pass_of(each) in (None, through) for each in outputs):
            averages = replicas_of(outputs[0]) is None and getattr(module, "reduction", "") not in ("sum", "none")
            running.unmarked = Unmarked(through.number, type(module).__name__, averages, outputs[0].numel())
            return gradient
    return _with_sources(gradient, x, through, given)


def _with_sources(gradient: Any, x: Any, through: Pass, given: tuple[Any, ...]) -> Any:
    """The gradient of an input, a tuple for a tuple, each marked with the pass that its input came out of."""
    if isinstance(gradient, tuple | list) and isinstance(x, tuple | list):
        pairs = zip_longest(gradient, x[: len(gradient)])
        parts = [_with_sources(part, each, through, given) for part, each in pairs]
        return parts if isinstance(gradient, list) else tuple(parts)
    source = pass_of(x)
    if source is not None and source is not through and isinstance(gradient, Tensor):
        handed_on = gradient is given[0] if len(given) == 1 else any(gradient is each for each in given)
        gradient = _view(gradient) if handed_on else gradient
        mark(gradient, source)
    return gradient


def backward_from(module: Participant, output: Any) -> Any:
    """`module.backward()` through the pass that put out this output, whatever was called since."""
    running.asked = pass_of(output)
    try:
        return module.backward()
    finally:
        running.asked = None
