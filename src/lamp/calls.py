"""The wrappers of forward and backward: an outermost forward begins a pass, an outermost backward goes through one."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from itertools import zip_longest
from sys import getrefcount
from typing import Any

from torch import Tensor

from lamp.call_errors import in_order, is_of_the_call, misfit, shorten
from lamp.in_place import changed_output, check_numbers, check_unchanged, note
from lamp.loss_value import LossValue, tell_of_further
from lamp.no_autograd import quick
from lamp.parameter import FlatBuffer
from lamp.passes import Participant, Pass, mark, numbers, pass_of, running
from lamp.paths import blame, say_where
from lamp.trees import is_packed, leaves, with_data
from lamp.unmarked import Unmarked
from lamp.which_pass import pass_for

ABSENT: Any = object()  # the default of an argument that was not passed


# ---- forward --------------------------------------------------------------------------------------------------------
def forward_within_a_pass(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a forward: as the outermost call it begins a pass; within a pass it joins that one."""

    @functools.wraps(forward)
    def outermost_or_inner(self: Participant, first: Any = ABSENT, /, *more: Any, **named: Any) -> Any:
        outer = running.through
        if outer is not None and not more and not named and first is not ABSENT:  # most calls: packing costs time
            if not outer.evaluating:
                self._through = outer.weak or outer.weakly()
                if self._has_users_forward:
                    outer.guard()
            try:
                return forward(self, first)
            except Exception as error:
                _explain(error, self, forward, (first,))
                raise
        inputs = () if first is ABSENT else (first, *more)
        if named:
            inputs, rest = in_order(self, forward, inputs, named)
            return forward_within_a_pass(functools.wraps(forward)(functools.partial(forward, **rest)))(self, *inputs)
        if outer is not None:
            if not outer.evaluating:
                self._through = outer.weak or outer.weakly()
                if self._has_users_forward:
                    outer.guard()
            try:
                return forward(self, *inputs)
            except Exception as error:
                _explain(error, self, forward, inputs)
                raise
        through = running.through = _begin(self, inputs)
        try:
            with quick():
                output = forward(self, *inputs)
        except Exception as error:
            through.memory.clear()
            through.number = 0
            _explain(error, self, forward, inputs, root=self)
            raise
        finally:
            running.through = None
        if not through.evaluating:
            if self._through is not through:
                self._through = through  # `super().forward(...)` has replaced it by a weak reference
            try:  # what it takes in most cases; else `note` does it
                through.version = inputs[0]._version
                through.made = output._version
                if len(inputs) > 1:
                    through.rest = inputs[1]._version
                if not self.gives_loss and through.memory:
                    watched = through.watched = self._watched
                    if watched.changes != FlatBuffer.changes:  # type: ignore[union-attr]
                        raise AttributeError
                    through.counts = watched.first._buffer.data._version  # type: ignore[union-attr]
            except (AttributeError, IndexError, RuntimeError):
                note(self, through, inputs, output)
        if type(output) is Tensor:
            if getrefcount(output) > ALONE:
                if inputs and output is inputs[0] and pass_of(output) is None:
                    return output  # the pass returned its unmarked input unchanged
                if through.memory:
                    through.kept = output
                output = _view(output)
            output.__dict__["backward"] = through
            through.output = weakref.ref(output)
            if self.gives_loss:
                output.__class__ = LossValue
        elif isinstance(output, tuple | list):
            output = _alone(output)
            mark(output, through)
        return output

    outermost_or_inner._wrapper = outermost_or_inner  # type: ignore[attr-defined]
    outermost_or_inner._wrapped = forward  # type: ignore[attr-defined]
    return outermost_or_inner


def _explain(
    error: Exception,
    module: Participant,
    method: Callable[..., Any],
    given: tuple[Any, ...],
    root: Participant | None = None,
) -> None:
    """Note in an error which module raised it, or raise one for arguments that do not fit the method.

    root  of the pass, where it ends with this error: then the error also says where the module is
    """
    if is_of_the_call(error):
        wrong = misfit(module, method, given, {})
        raise (wrong if root is None else say_where(wrong, root)) from None
    blame(error, module)
    if root is not None:
        say_where(error, root)
        shorten(error)


def _references() -> int:
    tensor = object()
    return getrefcount(tensor)


# The reference count of an object that only a local variable refers to. An output with more references is remembered
# by a module, or is an input. Then a view is marked in its place: a mark on the tensor itself would make a reference
# cycle with the pass, or overwrite the mark of the input.
ALONE = _references()


def _view(tensor: Tensor) -> Tensor:
    """A view of the whole tensor, with the same marks."""
    view = tensor.view_as(tensor)
    view.__dict__.update(tensor.__dict__)
    return view


def _alone(outputs: Any) -> Any:
    """The same (nested) tuple or list, with a view in place of each tensor that something else refers to as well."""
    if type(outputs) not in (tuple, list):
        return outputs
    alone = []
    for output in outputs:
        shared = type(output) is Tensor and getrefcount(output) > ALONE + 1  # one more: the tuple that contains it
        alone.append(_view(output) if shared else _alone(output))
    return type(outputs)(alone)


def _begin(root: Participant, inputs: tuple[Any, ...]) -> Pass:
    """A new pass of this root. It replaces the last one, which is freed unless an output still refers to it."""
    if FlatBuffer.any_on_meta and not root.gives_loss:
        watched = root._watched
        if watched is None or watched.on_meta or watched.changes != FlatBuffer.changes:
            check_numbers(root, inputs)
    if running.evaluating:
        through = Pass(root, next(numbers))
        through.evaluating = True
        return through
    through = Pass(root, next(numbers), inputs)
    through.guarded = root._has_users_forward
    last = root._through
    if type(last) is Pass and (not last.consumed or last.others):
        through.follow(last)
    root.__dict__["_through"] = through  # bypasses the `__setattr__` of losses, which checks hyperparameters
    return through


# ---- backward -------------------------------------------------------------------------------------------------------
def backward_within_its_pass(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a backward: as the outermost call it goes through the pass that its gradient belongs to."""

    light = backward.__name__ == "backward_parameters"
    written, backward = backward, one_by_one(backward)

    @functools.wraps(written)
    def outermost_or_inner(self: Participant, first: Any = ABSENT, /, *more: Any, **named: Any) -> Any:
        if named:
            raise misfit(self, written, () if first is ABSENT else (first, *more), named)
        if light and "backward" in self.__dict__:  # a backward that was set on the instance takes precedence
            return self.backward(*(() if first is ABSENT else (first, *more)))
        if (outer := running.through) is not None:
            try:
                if not more and first is not ABSENT:  # most calls: packing costs time
                    gradient = backward(self, first)
                else:
                    gradient = backward(self, *(() if first is ABSENT else (first, *more)))
                if outer.stepping:
                    outer.tell(self)
                return gradient
            except Exception as error:
                _explain(error, self, written, () if first is ABSENT else (first, *more))
                raise
        grad_outputs = () if first is ABSENT else (first, *more)
        through = running.through = pass_for(self, grad_outputs)
        inputs = through.inputs
        if through.root is self and through.memory:
            watched = through.watched
            try:  # what it takes in most cases; else `check_unchanged` does it
                unchanged = through.consumed or (
                    inputs[0]._version == through.version
                    and (len(inputs) < 2 or inputs[1]._version == through.rest)
                    and (
                        watched is None
                        or (
                            watched is self._watched
                            and watched.changes == FlatBuffer.changes
                            and watched.first._buffer.data._version == through.counts  # type: ignore[union-attr]
                        )
                    )
                    and through.kept is None
                    and through.further is None
                )
            except (AttributeError, IndexError, RuntimeError):
                unchanged = False
            if not unchanged:
                running.through = None
                check_unchanged(self, through)
                if through.further is not None:
                    tell_of_further(through, grad_outputs)
                running.through = through
            through.consumed, through.inputs, through.kept = True, (), None
            through.take_back()
        through.stepping = running.stepping
        try:
            with quick():
                gradient = backward(self, *grad_outputs)
                if through.stepping:
                    through.tell(self)
        except Exception as error:
            _explain(error, self, written, grad_outputs, root=through.root)
            raise
        finally:
            running.through = None
        return None if gradient is None else _marked(gradient, self, grad_outputs, through, inputs)

    outermost_or_inner._wrapper = outermost_or_inner  # type: ignore[attr-defined]
    outermost_or_inner._wrapped = backward  # type: ignore[attr-defined]
    return outermost_or_inner


def one_by_one(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The backward; if it has several arguments, a tuple of gradients is unpacked for it."""
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (TypeError, ValueError):  # not a Python function
        return backward
    if len([each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]) < 3:  # self and one gradient
        return backward

    @functools.wraps(backward)
    def unpacking(self: Participant, *gradients: Any) -> Any:
        if len(gradients) == 1 and isinstance(gradients[0], tuple | list) and not is_packed(gradients[0]):
            (gradients,) = gradients
        try:
            return backward(self, *gradients)
        except TypeError as error:
            if is_of_the_call(error):
                raise misfit(self, backward, tuple(gradients), {}) from None
            raise

    return unpacking


def _marked(gradient: Any, module: Participant, given: tuple[Any, ...], through: Pass, inputs: tuple[Any, ...]) -> Any:
    """The gradient of each input, marked with the pass that produced that input."""
    if through.root is not module:  # the user calls the backwards of the parts: the part before this one comes next
        mark(gradient, through)
        return gradient
    if not inputs:
        return gradient
    x = inputs[0]
    source = pass_of(x)
    if source is not None and source is not through and type(gradient) is Tensor:
        if through.version != source.made and source.output is not None and not source.evaluating:
            raise changed_output(source.root)
        if not given:
            gradient.__dict__["backward"] = source  # the usual case: the gradient of a loss of a marked output
            source.hand_out()
            return gradient
        source.further = None  # the loss's backward was given a factor
    of_first = isinstance(x, tuple | list) and (module.gives_loss or len(inputs) == 1)
    if isinstance(gradient, tuple | list) and not of_first:
        return _with_sources(gradient, inputs, through, given)
    if source is None and (type(x) is Tensor or all(pass_of(each) in (None, through) for _, each in leaves(x))):
        unmarked = Unmarked(through, x)
        if module.gives_loss:
            running.unmarked = unmarked
        return _with_mark(gradient, unmarked, given)
    return _with_sources(gradient, x, through, given)


def _with_sources(gradient: Any, x: Any, through: Pass, given: tuple[Any, ...]) -> Any:
    """The gradient of an input, or of a tuple of inputs, each tensor marked with the pass that produced its input."""
    if is_packed(gradient) and is_packed(x):
        return with_data(gradient, _with_sources(gradient.data, x.data, through, given))
    if isinstance(gradient, tuple | list) and isinstance(x, tuple | list):
        pairs = zip_longest(gradient, x[: len(gradient)])
        parts = [_with_sources(part, each, through, given) for part, each in pairs]
        return parts if isinstance(gradient, list) else tuple(parts)
    source = pass_of(x)
    if source is None or source is through:
        return gradient
    source.hand_out()
    return _with_mark(gradient, source, given)


def _with_mark(gradient: Any, source: Pass | Unmarked, given: tuple[Any, ...]) -> Any:
    """The gradient with this mark; a view of it, if the backward returned a tensor that it was given."""
    if isinstance(gradient, Tensor):
        unchanged = gradient is given[0] if len(given) == 1 else any(gradient is each for each in given)
        gradient = _view(gradient) if unchanged else gradient
        mark(gradient, source)
    return gradient


def backward_from(module: Participant, output: Any) -> Any:
    """`module.backward()` through the pass that produced this output, whatever was called since."""
    running.asked = pass_of(output)
    try:
        return module.backward()
    finally:
        running.asked = None
