"""Losses that are not finite: which module first produced NaN or infinity, and the errors and warnings about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from lamp.errors import ArgumentError, NonFiniteError, NonFiniteWarning, warn_of
from lamp.module import Module
from lamp.passes import evaluating
from lamp.paths import path_of
from lamp.signatures import called
from lamp.values import kind_of

FIX = "check inputs and targets for NaN, lower the learning rate, or clip the gradients"


def is_finite(value: Any) -> bool:
    """Whether a tensor, or every tensor in a tuple or list, holds only finite numbers."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return all(is_finite(each) for each in value) if isinstance(value, tuple | list) else True


@called()
def first_non_finite(model: Module, *inputs: Any) -> str | None:
    """Run the network and say in one line where NaN or infinity first appears; None if all numbers are finite.

    The line names the input, the parameter or the module by its path. The network runs in eval mode and does not
    change.

    Raises ArgumentError for a model that is not a lamp module.
    """
    if not isinstance(model, Module):
        raise ArgumentError(
            "first_non_finite takes a network",
            expected="a lamp module",
            got=kind_of(model),
            fix="lamp.first_non_finite(model, x)",
        )
    for k, each in enumerate(inputs):
        if not is_finite(each):
            return f"input {k} of the network holds a number that is not finite"
    for path, parameter in model.named_parameters():
        if not is_finite(parameter.data):
            return f"the parameter {path} is not finite"
    found: list[str] = []

    def watched(module: Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            output = forward(*given, **named)
            if not found and not is_finite(output):
                found.append(f"{path_of(module, model)} produced it from finite numbers")
            return output

        return run

    modules = list(model.modules())
    own = [vars(module).get("forward") for module in modules]  # a forward that the user set on the instance
    try:
        for module in modules:
            vars(module)["forward"] = watched(module, module.forward)
        with evaluating():
            model(*inputs)
    finally:
        for module, forward in zip(modules, own, strict=True):
            del vars(module)["forward"]
            if forward is not None:
                vars(module)["forward"] = forward
    return found[0] if found else None


def tell_of_failures(failed: Iterable[int], everyone: str, where: str) -> None:
    """Warn of the replicas whose loss was not finite, if there are any.

    everyone  all of them in words, such as "64 replicas"
    where     what says when each one failed, such as "history.endings says"
    """
    if numbers := sorted(failed):
        named = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
        warn_of(
            f"{len(numbers)} of {everyone} ended with a loss that is not finite: {named}. "
            f"Their last finite weights are kept; {where} when.",
            NonFiniteWarning,
        )


def tell_of_validation(losses: Tensor, held_out: Tensor) -> None:
    """Warn of validation losses that were not finite in an epoch whose training loss was.

    losses, held_out  the losses of all epochs on the training and on the validation data, (epochs,) or (epochs, K)
    """
    bad = (losses.isfinite() & ~held_out.isfinite()).nonzero()  # (places, 1 or 2): epochs, replicas
    if len(bad):
        first, epochs = tuple(bad[0].tolist()), len(bad[:, 0].unique())
        replica = f" of replica {first[1]}" if len(first) > 1 else ""
        warn_of(
            f"the validation loss{replica} was {held_out[first].item()} in epoch {first[0] + 1}, and the validation "
            f"loss was not finite in {epochs} of {len(losses)} epochs. This ends no training whose own loss is finite. "
            "Look for numbers in the validation data that are far from those in training"
            + (", and for labels that are all ignored (ignore_index)." if held_out[first].isnan() else "."),
            NonFiniteWarning,
        )


def not_finite(losses: Tensor, epoch: int | None, step: int) -> NonFiniteError:
    """The error for a loss of a single network that is not finite.

    losses  the losses of the last steps, up to number `step`
    epoch   their epoch, counted from 0; None if unknown
    """
    bad = (~losses.isfinite()).nonzero()
    first = int(bad[0, 0]) if len(bad) else 0
    where = "" if epoch is None else f"epoch {epoch + 1}, "
    return NonFiniteError(
        "the loss is not finite",
        expected="a finite number",
        got=f"{losses[first].item()} in {where}step {step - len(losses) + first + 1}",
        fix=FIX,
    )


def none_finite(replicas: int, got: str) -> NonFiniteError:
    """The error if the loss of every replica of a population is not finite."""
    expected = "a finite loss for at least one of them"
    return NonFiniteError(
        f"the loss of every replica is not finite (K = {replicas})", expected=expected, got=got, fix=FIX
    )
