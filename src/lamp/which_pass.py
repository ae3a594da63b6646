"""`pass_for` finds the pass that a backward goes through: the one that its gradient belongs to.

Where that is ambiguous, it raises BackwardError and does not guess.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lamp.errors import BackwardError
from lamp.in_place import is_same
from lamp.marks import Mark
from lamp.passes import Participant, Pass, latest, pass_of, running
from lamp.paths import describe
from lamp.trees import leaves
from lamp.unmarked import Unmarked

FACTOR = "; a factor may be an argument, criterion.backward(torch.tensor(0.5)): its result keeps the mark of its output"


def pass_for(module: Participant, gradients: tuple[Any, ...]) -> Pass:
    """The pass that a backward of this module with these gradients goes through. Raises BackwardError if unclear."""
    found = None
    if gradients and (len(gradients) > 1 or not isinstance(gradients[0], Tensor)):
        gradients = tuple(leaf for _, leaf in leaves(gradients))
    for gradient in gradients:
        through = pass_of(gradient)
        if through is not None and through is not found:
            if found is not None:
                raise _ambiguous(module, 2, "gradients of different forwards")
            found = through
    if found is None:
        return _for_unmarked(module, gradients)
    if found.root is not module:
        return _for_another_root(module, found)
    if module.gives_loss and len(gradients) == 1 and found.output is not None and gradients[0] is found.output():
        raise _of_itself(module)
    return found


def _for_unmarked(module: Participant, gradients: tuple[Any, ...]) -> Pass:
    """The pass for gradients without a mark: the latest one, unless they may belong to an earlier one."""
    asked = running.asked
    if asked is not None and asked.root is module:
        return asked
    last = module._through
    through = last if type(last) is Pass else latest(module)
    if through is None:
        return Pass(module)  # there was no forward: an empty pass
    if (loss := running.unmarked) is not None:
        running.unmarked = None
    if loss is None and not gradients and through.others is None:
        return through  # the usual case: a loss that has no other pass waiting
    others = [each for each in through.others or () if each.awaits and each.fits(gradients)]
    earlier = [each for each in others if not (through.awaits and through.repeats(each))]
    module.check_unmarked(gradients, loss)
    of_input = next((each for each in map(_mark_of, gradients) if type(each) is Unmarked and _is_known(each)), None)
    if of_input is not None and any(each.awaits for each in (through, *others)):
        for each in (through, *others):
            if each.awaits and _put_out(each, of_input.input):
                return each
        raise _of_another_tensor(module, of_input)
    if loss is not None and through.dropped and through.dropped < loss.through.number < through.number:
        raise _ambiguous(module, 2, "a gradient from a loss of an earlier output, whose forward it does not name")
    if loss is None and any(number < through.alike for number, _ in through.handed) and _have_no_mark(gradients):
        raise _ambiguous(module, 2, "what was computed from the gradient of an earlier output, or from several", FACTOR)
    if not earlier or (through.consumed and through.fits(gradients)) or (not through.memory and not module.training):
        return through
    if len(earlier) + through.awaits > 1:
        raise _ambiguous(module, len(earlier) + through.awaits, "a gradient that does not say to which it belongs")
    return earlier[0]


def _mark_of(value: Any) -> Any:
    return getattr(value, "backward", None)


def _have_no_mark(gradients: tuple[Any, ...]) -> bool:
    return bool(gradients) and not any(isinstance(_mark_of(each), Mark) for each in gradients)


def _is_known(unmarked: Unmarked) -> bool:
    """Whether its input would be marked if a module had put it out. Tensors of a subclass never are."""
    return type(unmarked.input) is Tensor or not isinstance(unmarked.input, Tensor)


def _put_out(through: Pass, tensor: Any) -> bool:
    """Whether a tensor that is not marked still is what the pass put out, such as a clone or a view of all of it."""
    if not isinstance(tensor, Tensor):
        return False
    output = None if through.output is None else through.output()
    if output is None and pass_of(tensor._base) is through:
        output = tensor._base
    return is_same(tensor, output)


def _for_another_root(module: Participant, through: Pass) -> Pass:
    """The pass for a gradient whose pass began at another root: a network around this module, or parts of it."""
    if any(each is module for each in through.root.modules()):
        return through
    found = _passes_of_parts(module, through)
    if not found or through.root.gives_loss:
        raise _of_another_network(module, through)
    if len(found) == 1:
        return found[0]
    joined = Pass(module)  # the parts were called one after the other: join what they remember
    for each in sorted(found, key=lambda each: each.number):
        for part, stack in each.memory.items():
            joined.memory.setdefault(part, []).extend(stack)
            stack.clear()
        joined.inputs = joined.inputs or each.inputs
        each.consumed, each.inputs = True, ()
    return joined


def _passes_of_parts(module: Participant, through: Pass) -> list[Pass]:
    """The passes through parts of the module, followed backwards from this one through the inputs of each."""
    parts = set(module.modules())
    found: list[Pass] = []
    to_visit = [through]
    while to_visit:
        each = to_visit.pop()
        if each not in found and not parts.isdisjoint(each.memory):
            found.append(each)
            to_visit += [source for source in map(pass_of, each.inputs) if source is not None]
    return found


def _ambiguous(module: Participant, count: int, got: str, else_fix: str = "") -> BackwardError:
    return BackwardError(
        f"{count} forwards of {describe(module)} are waiting for a backward, and it is not clear which one this is",
        expected="one forward before each backward, or a gradient that comes straight from a loss of the output",
        got=got,
        fix="call backward before the next forward; for measurements use lamp.evaluate, lamp.predict or `with "
        "lamp.evaluating():`, and keep loss.item() or output.clone() instead of the tensors themselves" + else_fix,
        where=describe(module),
    )


def _of_another_tensor(module: Participant, of_input: Unmarked) -> BackwardError:
    name = of_input.name
    return BackwardError(
        f"{name} was called on something else than the output of {describe(module)}, so its gradient is not the "
        "output's",
        expected=f"the gradient of what {describe(module)} put out",
        got=f"what {name}.backward() returned, for an input that came from no module",
        fix=f"call {name} on the output itself, or do what stands between in a module; or multiply the gradient by "
        "the derivative of what stands between: gradient * 2 after output * 2, gradient.clone() after output + x",
        where=describe(module),
    )


def _of_itself(loss: Participant) -> BackwardError:
    return BackwardError(
        "the value of the loss is not the argument of its backward",
        expected="no argument, or a factor, which the gradient is multiplied by",
        got="the value itself",
        fix="model.backward(criterion.backward()); where the value is meant as a factor, loss.clone()",
        where=describe(loss),
    )


def _of_another_network(module: Participant, through: Pass) -> BackwardError:
    if through.root.gives_loss:
        return BackwardError(
            "the argument of backward is the value of the loss, not a gradient",
            expected="the gradient that criterion.backward() returns",
            got=f"the output of {describe(through.root)}",
            fix="model.backward(criterion.backward())",
            where=describe(module),
        )
    return BackwardError(
        "this gradient belongs to the output of another network",
        expected=f"the gradient of an output of {describe(module)}",
        got=f"the gradient of an output of {describe(through.root)}",
        fix="call that network's backward first and pass on what it returns; a clone of the gradient has no network",
        where=describe(module),
    )
