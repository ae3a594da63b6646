"""Which pass a backward goes through: the one that its gradient belongs to, or a refusal where that is not known."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lamp.errors import BackwardError
from lamp.passes import Participant, Pass, latest, pass_of, running
from lamp.paths import describe
from lamp.trees import leaves


def pass_for(module: Participant, gradients: tuple[Any, ...]) -> Pass:
    """The pass that a backward with these gradients goes through."""
    found = None
    if gradients and (len(gradients) > 1 or not isinstance(gradients[0], Tensor)):
        gradients = tuple(leaf for _, leaf in leaves(gradients))
    for gradient in gradients:
        through = pass_of(gradient)
        if through is not None and through is not found:
            if found is not None:
                raise _of_several(module, 2, "gradients of different forwards")
            found = through
    if found is None:
        return _of_unmarked(module, gradients)
    return found if found.root is module else _of_another_root(module, found)


def _of_unmarked(module: Participant, gradients: tuple[Any, ...]) -> Pass:
    """The pass to go through where the gradients do not say: the latest, unless they may belong to an earlier one."""
    asked = running.asked
    if asked is not None and asked.root is module:
        return asked
    through = latest(module)
    if through is None:
        return Pass(module)  # an empty one, where there was no forward
    loss, running.unmarked = running.unmarked, None
    if loss is None and not gradients and through.others is None:
        return through  # a loss of which nothing else is open: the usual case
    others = [each for each in through.others or () if each.awaits and each.fits(gradients)]
    earlier = [each for each in others if not through.repeats(each)]
    module.check_unmarked(gradients, loss)
    if loss is not None and through.dropped and through.dropped < loss.number < through.number:
        raise _of_several(module, 2, "a gradient that says nothing of its forward, by a loss of an earlier one")
    if not earlier or through.consumed or (not through.memory and not module.training):
        return through
    if len(earlier) + through.awaits > 1:
        raise _of_several(module, len(earlier) + through.awaits, "a gradient that does not say to which it belongs")
    return earlier[0]


def _of_another_root(module: Participant, through: Pass) -> Pass:
    """The pass to go through where the gradient belongs to one of another root: of a network around, or of parts."""
    if any(each is module for each in through.root.modules()):
        return through
    found = _of_parts(module, through)
    if not found or through.root.gives_loss:
        raise _of_another_network(module, through)
    if len(found) == 1:
        return found[0]
    joined = Pass(module)  # the parts were called one after the other
    for each in sorted(found, key=lambda each: each.number):
        for part, stack in each.memory.items():
            joined.memory.setdefault(part, []).extend(stack)
            stack.clear()
        joined.inputs = joined.inputs or each.inputs
        each.consumed, each.inputs = True, ()
    return joined


def _of_parts(module: Participant, through: Pass) -> list[Pass]:
    """Of a pass, of those that its inputs came out of, and of theirs: those that went through parts of the module."""
    parts = set(module.modules())
    found: list[Pass] = []
    asked = [through]
    while asked:
        each = asked.pop()
        if each not in found and not parts.isdisjoint(each.memory):
            found.append(each)
            asked += [source for source in map(pass_of, each.inputs) if source is not None]
    return found


def _of_several(module: Participant, count: int, got: str) -> BackwardError:
    return BackwardError(
        f"{count} forwards of {describe(module)} await their backward",
        expected="one forward for each backward, or a gradient that comes straight from a loss of the output",
        got=got,
        fix="go back before you go forward again; measure with lamp.evaluate, lamp.predict or in `with "
        "lamp.evaluating():`, and keep numbers (loss.item()) or output.clone()",
        where=describe(module),
    )


def _of_another_network(module: Participant, through: Pass) -> BackwardError:
    if through.root.gives_loss:
        return BackwardError(
            "the loss is a value, not the gradient to go back from",
            expected="model.backward(criterion.backward())",
            got=f"what {describe(through.root)} put out",
            fix="model.backward(criterion.backward())",
            where=describe(module),
        )
    return BackwardError(
        "this gradient belongs to the output of another network",
        expected=f"the gradient of what {describe(module)} put out",
        got=f"one of what {describe(through.root)} put out",
        fix="go back through that network first and hand on what its backward returns; a clone belongs to none",
        where=describe(module),
    )
