"""`check_gradients` checks whether a backward is the derivative of its forward, for lamp's modules and for yours."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lamp.call_errors import in_order
from lamp.checks.diagnosis import diagnose
from lamp.checks.differences import Comparison, Point, copied, random_like, size
from lamp.checks.report import GradientReport, TensorCheck
from lamp.errors import ArgumentError, LampError
from lamp.module import Module
from lamp.parameter import trained
from lamp.paths import describe, path_of
from lamp.signatures import called
from lamp.trees import ABSENT, floating, leaves, mapped
from lamp.values import a_number, a_seed, a_switch, kind_of, natural

STEPS = (1.0, 1 / 8, 8.0, 1 / 64, 1 / 512)  # times eps, one an attempt: smaller against kinks, larger against rounding
ROUNDS = 3  # of attempts: the first where the user put the point, the others nearby
SAME = 1e-9  # relative difference of two computations of the same numbers in float64
NOT_TAKEN = (LampError, RuntimeError, TypeError, ValueError)  # what a module raises for inputs that it does not take
LEFT_OVER = 1e-13  # of the largest gradient, where a gradient is 0 but for rounding


@dataclass(frozen=True)
class _Settings:
    directions: int
    eps: float
    tolerance: float
    seed: int


@called()
def check_gradients(
    module: Module,
    *inputs: Any,
    directions: int = 3,
    eps: float = 1e-5,
    tolerance: float = 1e-6,
    seed: int = 0,
    raise_exception: bool = True,
) -> GradientReport:
    """Compare a module's backward with finite differences of its forward, and check the contract of modules.

        lamp.check_gradients(MyModule(), torch.randn(7, 3))
        lamp.check_gradients(lamp.MSELoss(), output, target)

    For a random r let f = <r, module(inputs)>. For each input and parameter p and a random direction v

        (f(p + h v) - f(p - h v)) / 2h     must be     <df/dp, v>

    so a single direction involves every element of df/dp. Two step sizes show how exact the difference itself is. If
    they disagree, there is a kink between, such as that of ReLU at 0, and another direction or a nearby point is used.

    inputs      the arguments of forward; for a loss, the output and the target. Each may be a tuple of tensors. In a
                population those that are not marked as per replica are shared, and have the sum of the gradients
    directions  the number of random directions per tensor
    eps         the step h, relative to the root mean square of a tensor's elements if that is above 1
    tolerance   the largest relative error that counts as right

    It also checks that gradients are *added*, that two forwards give the same result (random modules repeat their
    numbers), that forward and backward change neither inputs, parameters nor the gradient passed to backward, and that
    tensors need not be contiguous. All this is done on a copy in float64 and training mode, so the module itself does
    not change. An input for which backward returns None is not compared.

    Returns a GradientReport. Raises GradientError if something is wrong, unless raise_exception is False; ArgumentError
    for arguments that cannot be used; and any error that the module raises.
    """
    if not isinstance(module, Module):
        raise ArgumentError(
            "check_gradients checks modules",
            expected="a lamp.Module",
            got=kind_of(module),
            fix="pass an instance",
        )
    directions, seed = natural(directions, "directions"), a_seed(seed)
    eps, tolerance = a_number(eps, "eps"), a_number(tolerance, "tolerance")
    raise_exception = a_switch(raise_exception, "raise_exception")
    if directions < 1 or not eps > 0.0 or not tolerance > 0.0:
        raise ArgumentError(
            "directions, eps and tolerance must be positive",
            expected="directions >= 1, eps > 0 and tolerance > 0",
            got=f"directions={directions}, eps={eps}, tolerance={tolerance}",
            fix="leave them at their defaults",
        )
    gpus = {leaf.device.index or 0 for _, leaf in leaves(inputs) if leaf.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus)):
        report = _check(module, inputs, _Settings(directions, eps, tolerance, seed))
        if not report.ok and any(module.children()) and module.replicas is None:
            report = replace(report, suspects=_suspects(module, inputs, _Settings(directions, eps, tolerance, seed)))
    if raise_exception:
        report.raise_if_wrong()
    return report


def _check(module: Module, inputs: tuple[Any, ...], settings: _Settings) -> GradientReport:
    point = Point(module, inputs, settings.seed)
    if not point.names:
        raise ArgumentError(
            f"{describe(module)} has no gradient to check",
            expected="a floating-point input or a parameter",
            got=", ".join(str(leaf.dtype) for _, leaf in leaves(inputs)) or "no tensors",
            fix="pass the tensors that the module is called with",
        )
    unstable = _unstable(point)
    if unstable:
        return GradientReport(describe(module), [], [unstable])
    generator = torch.Generator().manual_seed(settings.seed + 1)
    added = _added(point)
    tensors = [_tensor(point, k, settings, generator) for k in range(len(point.names))]
    tensors = [replace(row, ok=False, note=added[row.name]) if row.name in added else row for row in tensors]
    return GradientReport(describe(module), tensors, [*_changed(point), *_strided(point)])


# ---- one tensor ----------------------------------------------------------------------------------------------------
def _tensor(point: Point, k: int, settings: _Settings, generator: torch.Generator) -> TensorCheck:
    """Compare one gradient along several directions; returns the worst."""
    tensor, gradient = point.tensors(point.module, point.inputs)[k], point.gradients[k]
    row = TensorCheck(point.names[k], tuple(tensor.shape), 0.0, 0.0, 0.0, ok=True)
    if gradient is None:
        return replace(row, note="not compared, backward returns None")
    malformed = _malformed(tensor, gradient)
    if malformed:
        return replace(row, error=math.inf, ok=False, note=malformed)
    found = [_somewhere(point, k, settings, generator) for _ in range(settings.directions)]
    worst = max(found, key=lambda comparison: (not comparison.is_trusted(settings.tolerance), comparison.error))
    row = replace(row, analytic=worst.analytic, numeric=worst.numeric, error=worst.error)
    if not worst.is_trusted(settings.tolerance):
        return replace(row, ok=False, note="differences do not settle: does forward jump, or leave float64?")
    if not all(comparison.is_right(settings.tolerance) for comparison in found):
        return replace(row, ok=False, note=diagnose(point, k, settings.eps, settings.tolerance))
    if all(comparison.scale <= comparison.noise for comparison in found):
        return replace(row, note="too small to tell from rounding" if gradient.any() else "zero")
    return row


def _malformed(tensor: Tensor, gradient: Any) -> str | None:
    """What is wrong with a gradient before its numbers are looked at."""
    if gradient is ABSENT:
        return "backward returns no gradient for it"
    if not isinstance(gradient, Tensor):
        return f"backward returns {type(gradient).__name__} for it, no tensor"
    if gradient.shape != tensor.shape:
        return f"its gradient has shape {tuple(gradient.shape)}"
    if gradient.dtype != tensor.dtype:
        return f"its gradient comes in {gradient.dtype}, it is in {tensor.dtype}"
    return None if gradient.isfinite().all() else "its gradient is not finite"


def _somewhere(point: Point, k: int, settings: _Settings, generator: torch.Generator) -> Comparison:
    """The comparison along a random direction: another, or one nearby, until its differences can be trusted."""
    for attempt in range(ROUNDS * len(STEPS)):
        here = point if attempt < len(STEPS) else point.nearby(generator)
        v = random_like(here.gradients[k], generator)
        comparison = here.compare(k, v, settings.eps * STEPS[attempt % len(STEPS)])
        if comparison.is_trusted(settings.tolerance):
            break
    return comparison


# ---- the contract beside the numbers --------------------------------------------------------------------------------
def _differ(a: Tensor, b: Tensor, scale: float = 0.0) -> bool:
    """Whether two computations of the same numbers differ; scale is that of the sums they may be left over from."""
    return a.shape != b.shape or not (a - b).norm() <= SAME * b.norm() + LEFT_OVER * scale


def _scale(point: Point) -> float:
    return max((gradient.norm().item() for gradient in point.gradients if isinstance(gradient, Tensor)), default=0.0)


def _unstable(point: Point) -> str | None:
    """Why the outputs cannot be compared at all."""
    outputs = floating(point.centre)
    if not all(output.isfinite().all() for output in outputs):
        return "forward gives NaN or infinity on these inputs"
    run, inputs = point.fresh()
    if any(_differ(again, output) for again, output in zip(floating(run(*inputs)), outputs, strict=True)):
        return (
            "forward gives different outputs on the same inputs: randomness must come from torch's generators, "
            "or from one in the module's attributes"
        )
    return None


def _added(point: Point) -> dict[str, str]:
    """The parameters whose gradient backward does not simply add to what it finds."""
    run, inputs = point.fresh()
    parameters = trained(run.parameters())
    first = len(point.names) - len(parameters)
    names, gradients = point.names[first:], point.gradients[first:]
    # twice the size, so that it cannot cancel a gradient of one number
    before = [torch.full_like(gradient, 2.0 * max(1.0, size(gradient))) for gradient in gradients]
    for parameter, found in zip(parameters, before, strict=True):
        parameter.grad = found
    wrong = {}
    for name, gradient, found, left in zip(names, gradients, before, point.backward(run, inputs)[first:], strict=True):
        if not _differ(left, gradient):
            wrong[name] = "overwritten: backward must add to grad"
        elif _differ(left, found + gradient):
            wrong[name] = "not added: what grad held before changes what backward makes of it"
    return wrong


def _changed(point: Point) -> Iterator[str]:
    """What forward or backward changes in place and must not."""
    run, inputs = point.fresh()
    upstream = [r.clone() for r in point.upstream]
    watched = [(f"input {k}{place}", leaf) for k, tree in enumerate(inputs) for place, leaf in leaves(tree)]
    watched += [(name, parameter.data) for name, parameter in run.named_parameters()]

    def changed_by(call: Callable[[], Any]) -> tuple[list[str], Any]:
        before = [tensor.clone() for _, tensor in watched]
        result = call()
        return [
            name for (name, tensor), old in zip(watched, before, strict=True) if not torch.equal(tensor, old)
        ], result

    names, outputs = changed_by(lambda: run(*inputs))
    yield from (f"forward changes {name} in place" for name in names)
    watched += [("the gradient it is given", r) for r in upstream]
    names, _ = changed_by(lambda: run.backward(*point.start(run, outputs, upstream)))
    yield from (f"backward changes {name} in place" for name in names)


def _strided(point: Point) -> Iterator[str]:
    """What goes wrong where tensors are not contiguous."""

    def spread(tensor: Tensor) -> Tensor:
        turned = tensor.transpose(0, -1) if tensor.dim() else tensor
        turned = torch.stack((turned, turned), dim=-1)[..., 0]
        return turned.transpose(0, -1) if tensor.dim() else turned

    run, inputs = point.fresh()
    try:
        gradients = point.backward(run, copied(inputs, spread), [spread(r) for r in point.upstream])
    except NOT_TAKEN as error:
        yield f"tensors that are not contiguous are refused, with {type(error).__name__}: {error}".splitlines()[0]
        return
    for name, gradient, right in zip(point.names, gradients, point.gradients, strict=True):
        if isinstance(right, Tensor) and _differ(gradient, right, _scale(point)):
            yield f"the gradient of {name} is another where tensors are not contiguous"


# ---- where the mistake is -------------------------------------------------------------------------------------------
def _suspects(module: Module, inputs: tuple[Any, ...], settings: _Settings) -> list[str]:
    """The modules inside that are wrong on their own, checked on the inputs that they get; only the innermost ones."""
    run, untouched = (copy.deepcopy(module).double().train() for _ in range(2))
    calls: dict[Module, tuple[Module, tuple[Any, ...]]] = {}

    def recording(part: Module, alone: Module) -> Callable[..., Any]:
        forward = part.forward

        def record(*given: Any, **named: Any) -> Any:
            inputs, by_name_alone = in_order(part, type(part).forward, given, named)
            if not by_name_alone:
                calls.setdefault(part, (alone, mapped(inputs, Tensor.clone)))
            return forward(*given, **named)

        return record

    for part, alone in zip(list(run.modules())[1:], list(untouched.modules())[1:], strict=True):
        part.forward = recording(part, alone)  # type: ignore[method-assign]
    torch.manual_seed(settings.seed)
    run(*mapped(inputs, lambda leaf: leaf.detach().to(torch.float64, copy=True) if leaf.is_floating_point() else leaf))
    wrong: list[Module] = []
    for part, (alone, given) in reversed(list(calls.items())):  # inner calls come after the outer ones
        if not any(inner in wrong for inner in part.modules()) and _is_wrong(alone, given, settings):
            wrong.append(part)
    return [path_of(calls[part][0], untouched) for part in reversed(wrong)]


def _is_wrong(module: Module, inputs: tuple[Any, ...], settings: _Settings) -> bool:
    try:
        return not _check(module, inputs, settings).ok
    except NOT_TAKEN:  # it cannot be called alone, or has no gradient: it is no suspect
        return False
