"""`Container`, the base class of modules that are made of other modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamp.call_errors import is_of_the_call, misfit
from lamp.module import Module
from lamp.nn.checks import explain_chain
from lamp.passes import running
from lamp.paths import blame


class Container(Module):
    """Base of modules that are made of other modules.

    A subclass keeps its modules in attributes (lists and dicts included) and calls them in its forward and backward:

        class Highway(lamp.Container):
            def __init__(self, *modules):
                self.body = list(modules)

            def forward(self, input):
                return input + self.forward_through(self.body, input)

            def backward(self, grad_output):
                return grad_output + self.backward_through(self.body, grad_output)

            def trace(self, tracer, value):
                return tracer.add(self, value, self.trace_through(tracer, self.body, value))

    Call a single module as usual, `self.encoder(source)`, and its backward by `self.encoder.backward(dy)`. The calls
    join the container's pass: errors name the module that raised them ("Highway.body.1: Linear(...)"), a module that is
    called several times remembers each call, and `lamp.evaluating` applies to it.

    The `..._through` methods are for modules in sequence, each applied to the output of the one before. They are faster
    than single calls, and take less memory: between two modules nobody else has the tensor. So where one of lamp's
    modules says that its output is new and not remembered (`_hands_over`), the next one may overwrite it
    (`_forward_over`), and where a large output costs little to compute again (`_recomputes`), the next one remembers
    how (`Pass.offer`). If a module returns None and the next one fails on it, the error names the first.
    """

    def forward_through(self, modules: Sequence[Module], input: Any) -> Any:
        """The output of these modules in sequence, for this input."""
        module: Module = self
        handed_over = False  # whether nobody but this method has the input of the next module
        through = running.through
        weak = None if through is None or through.evaluating else through.weak or through.weakly()
        try:
            for module in modules:
                own = "forward" in module.__dict__
                if weak is not None:
                    module._through = weak
                    if own or module._has_users_forward:
                        through.guard()  # type: ignore[union-attr]
                given = input
                if own:
                    input, handed_over = module.forward(input), False
                elif handed_over and module._overwrites:
                    input, handed_over = module._forward_over(input), module._hands_over
                else:
                    input, handed_over = module._bare_forward(input), module._hands_over
                if module._recomputes and through is not None and not own:
                    through.offer(module, given, input)
        except Exception as error:
            _explain(error, module, input, "forward", modules)
            raise
        if through is not None:
            through.again = None
        return input

    def _offering(self, module: Module, input: Any) -> Any:
        """module(input), for the next module alone: it may remember how to compute that again (see `Pass.offer`)."""
        output, through = module(input), running.through
        if module._recomputes and through is not None and "forward" not in module.__dict__:
            through.offer(module, input, output)
        return output

    def backward_through(self, modules: Sequence[Module], grad_output: Any) -> Any:
        """The gradient with respect to the input of `forward_through`, given that of its output."""
        return _back_through(self, modules[::-1], grad_output)

    def backward_parameters_through(self, modules: Sequence[Module], grad_output: Any) -> None:
        """`backward_through` without the gradient with respect to the input, for an input that is data."""
        grad_output = _back_through(self, modules[:0:-1], grad_output)
        if modules:
            modules[0].backward_parameters(grad_output)

    def trace_through(self, tracer: Any, modules: Sequence[Module], value: Any) -> Any:
        """The output value of these modules in sequence, in the tracer's graph."""
        for module in modules:
            value = tracer(module, value)
        return value


def _back_through(container: Module, modules: Sequence[Module], grad: Any) -> Any:
    module, through = container, running.through
    stepping = through if through is not None and through.stepping else None
    try:
        for module in modules:
            grad = module._bare_backward(grad) if "backward" not in module.__dict__ else module.backward(grad)
            if stepping is not None:
                stepping.tell(module)
    except Exception as error:
        _explain(error, module, grad, "backward", modules)
        raise
    return grad


def _explain(error: Exception, module: Module, given: Any, method: str, order: Sequence[Module]) -> None:
    """Note in an error which module raised it, or raise one that blames the module before, if that returned nonsense.

    given  the argument of the module that failed
    order  the modules in the order of the calls
    """
    if is_of_the_call(error):
        raise misfit(module, getattr(type(module), method), (given,), {}) from None
    before = order[k - 1] if module in order and (k := order.index(module)) > 0 else None
    wrong = None if before is None or hasattr(error, "_lamp_module") else explain_chain(error, before, given, method)
    blame(wrong or error, module if wrong is None or before is None else before)
    if wrong is not None:
        raise wrong from None
