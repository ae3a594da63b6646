"""Whether a backward is the derivative of its forward: the tool that checks lamp's own modules, for yours.

A backward is compared with differences of the forward, tensor by tensor, in float64. For a random r let
f = <r, module(inputs)>; then for each input and parameter p and a random direction v

    (f(p + h v) - f(p - h v)) / 2h     must be     <df/dp, v>

and one direction sees every element of df/dp. Two step sizes say how far the difference itself can be trusted: where
they disagree, a kink such as ReLU's at 0 lies between, and another direction or a nearby point is taken.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, GradientError
from lamp.losses.base import Loss
from lamp.module import Module, describe
from lamp.nn.containers import ends_in_loss

STEPS = (1.0, 1 / 8, 8.0, 1 / 64) * 3  # times eps, one an attempt: smaller for kinks, larger for rounding
ATTEMPTS_IN_PLACE = 4  # the attempts after these are made at nearby points
NEARBY = 1e-3  # how far, relative to a tensor's own size
ROUNDING = 16 * torch.finfo(torch.float64).eps  # of an output, relative; a few operations deep
SAME = 1e-9  # relative difference of two computations of the same gradient in float64
LOOKED_AT = 64  # elements of a wrong gradient that are compared one by one
ABSENT = object()  # in place of a gradient that backward did not return


@dataclass(frozen=True)
class TensorCheck:
    """How the gradient of one input or parameter compares, along the direction where it compares worst."""

    name: str  # "input 0", or the parameter's path, such as "2.weight"
    shape: tuple[int, ...]
    analytic: float  # <gradient of backward, direction>
    numeric: float  # the same, from differences of forward
    error: float  # their difference, relative to the gradient
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found: true where all is right; `print(report)` shows it as a table."""

    module: str
    tensors: list[TensorCheck]
    problems: list[str] = field(default_factory=list)  # what is wrong beyond one tensor's numbers
    suspects: list[str] = field(default_factory=list)  # the modules inside that are wrong on their own

    @property
    def ok(self) -> bool:
        """Whether every gradient is right and nothing else is wrong."""
        return not self.problems and all(tensor.ok for tensor in self.tensors)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def worst(self) -> TensorCheck | None:
        """The tensor whose gradient is furthest off, wrong ones first; None where no tensor could be compared."""
        return max(self.tensors, key=lambda tensor: (not tensor.ok, tensor.error), default=None)

    def raise_if_wrong(self) -> None:
        """Raise GradientError, with the table, unless all is right."""
        if self.ok:
            return
        wrong = sum(not tensor.ok for tensor in self.tensors)
        found = f"{wrong} of {len(self.tensors)} tensors wrong" if wrong else self.problems[0]
        raise GradientError(
            f"the backward of {self.module} is not what its forward asks for",
            expected="the derivative of forward, added to grad",
            got="\n    ".join([found, *str(self).splitlines()[1:]]),
            fix=f"begin with {self.suspects[0] if self.suspects else self.module}",
        )

    def __str__(self) -> str:
        rows = [("tensor", "shape", "analytic", "numeric", "error", "")]
        for t in self.tensors:
            verdict = " ".join(["ok" if t.ok else "WRONG", t.note]).strip()
            numbers = (f"{t.analytic:.6e}", f"{t.numeric:.6e}", f"{t.error:.1e}")
            rows.append((t.name, str(t.shape), *numbers, verdict))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
        lines = [f"gradients of {self.module}: {'ok' if self.ok else 'WRONG'}"]
        for name, shape, *numbers, verdict in rows:
            cells = [name.ljust(widths[0]), shape.ljust(widths[1])]
            cells += [number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True)]
            lines.append("  ".join([*cells, verdict]).rstrip())
        lines += [f"WRONG: {problem}" for problem in self.problems]
        lines += [f"the mistake is in {suspect}" for suspect in self.suspects]
        return "\n".join(lines)


def check_gradients(
    module: Module,
    *inputs: Any,
    directions: int = 3,
    eps: float = 1e-5,
    tolerance: float = 1e-6,
    seed: int = 0,
    raise_exception: bool = True,
) -> GradientReport:
    """Compare a module's backward with differences of its forward, and see that it keeps the contract of modules.

        lamp.check_gradients(MyModule(), torch.randn(7, 3))
        lamp.check_gradients(lamp.MSELoss(), output, target)

    inputs      what the module is called with; for a loss the output and the target
    directions  how many random directions are taken through each tensor
    eps         the step h, relative to the size of a tensor's elements where that is above 1
    tolerance   the relative error that is still right

    Beside the numbers it sees that gradients are *added*, that forward gives the same twice (random modules repeat
    their draw), that forward and backward change neither inputs, parameters nor the gradient handed in, and that
    tensors need not be contiguous. All of it happens on a copy, in float64 and training mode; the module given keeps
    its values, gradients, mode and what it remembers. An input for which backward returns None is not compared.

    Returns a GradientReport. Raises GradientError where something is wrong, unless raise_exception is False;
    ArgumentError for arguments it cannot work with; and whatever the module itself raises.
    """
    if not isinstance(module, Module):
        raise ArgumentError("check_gradients checks modules", expected="a lamp.Module", got=type(module).__name__)
    if directions < 1 or not eps > 0 or not tolerance > 0:
        raise ArgumentError(
            "directions, eps and tolerance are positive", got=f"{directions}, {eps}, {tolerance}", fix="use the defaults"
        )
    cuda = {leaf.device.index or 0 for leaf in _leaves(inputs) if leaf.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(cuda)):
        report = _Check(module, inputs, directions, eps, tolerance, seed).report()
    if raise_exception:
        report.raise_if_wrong()
    return report


@dataclass(frozen=True)
class _Settings:
    """How a check is made: the arguments of check_gradients."""

    directions: int
    eps: float
    tolerance: float
    seed: int


class _Point:
    """A module and inputs, in float64, at which gradients are compared. Every evaluation starts afresh from it."""

    def __init__(self, module: Module, inputs: tuple[Any, ...], seed: int) -> None:
        self.module, self.seed = copy.deepcopy(module).double().train(), seed
        self.module.zero_grad()
        self.inputs = _map(inputs, lambda leaf: leaf.detach().to(torch.float64 if leaf.is_floating_point() else None))
        self.input_names = [f"input {name}" for name, leaf in _leaves(self.inputs) if leaf.is_floating_point()]
        self.names = [*self.input_names, *(name for name, _ in self.module.named_parameters())]
        run, inputs = self.fresh()
        self.centre = run(*inputs)
        ends = len(inputs) > 1 and ends_in_loss(module)
        self.takes_target = ends or isinstance(module, Loss)
        self.starts_itself = ends or (isinstance(module, Loss) and self.centre.dim() == 0)  # backward() without a gradient
        generator = torch.Generator().manual_seed(seed)
        self.upstream = [_random_like(output, generator) for output in _floating(self.centre)]
        if self.starts_itself:
            self.upstream = [*(0.0 * r for r in self.upstream[:-1]), torch.ones_like(self.upstream[-1])]
        self.gradients = self.backward(*self.fresh(), self.upstream)

    def fresh(self) -> tuple[Module, tuple[Any, ...]]:
        """A module and inputs to run, their randomness where it was."""
        torch.manual_seed(self.seed)
        return copy.deepcopy(self.module), _map(self.inputs, Tensor.clone)

    @staticmethod
    def tensors(run: Module, inputs: tuple[Any, ...]) -> list[Tensor]:
        """The tensors behind `names`."""
        return [*_floating(inputs), *(parameter.data for parameter in run.parameters())]

    def backward(self, run: Module, inputs: tuple[Any, ...], upstream: list[Tensor]) -> list[Any]:
        """The gradient for each name: of the inputs what backward returns, of the parameters what it adds up to."""
        outputs = run(*inputs)
        dinputs = run.backward(*self.start(run, outputs, upstream))
        gradients = list(_gradients_like(inputs if len(inputs) > 1 else inputs[0], dinputs)) if inputs else []
        if self.takes_target:
            gradients = [None if gradient is ABSENT else gradient for gradient in gradients]
        return [*gradients, *(parameter.grad for parameter in run.parameters())]

    def start(self, run: Module, outputs: Any, upstream: list[Tensor]) -> tuple[Any, ...]:
        """The arguments of backward: a tuple goes in as one, unless backward names an argument for each of its parts."""
        if self.starts_itself:
            return ()
        gradients = iter(upstream)
        doutputs = _map(outputs, lambda leaf: next(gradients) if leaf.is_floating_point() else None)
        names = [p for p in inspect.signature(run.backward).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
        return doutputs if isinstance(doutputs, tuple) and len(names) == len(doutputs) > 1 else (doutputs,)

    def outputs(self, k: int, step: Tensor) -> list[Tensor]:
        """The floating-point outputs after tensor k has moved by a step."""
        run, inputs = self.fresh()
        self.tensors(run, inputs)[k].add_(step)
        return _floating(run(*inputs))

    def difference(self, k: int, v: Tensor, h: float, upstream: list[Tensor]) -> tuple[float, float]:
        """The slope of f through tensor k along v, (f(h) - f(-h)) / 2h, and its bend, (f(h) + f(-h) - 2 f(0)) / h."""
        slope = bend = 0.0
        ends = (self.outputs(k, h * v), self.outputs(k, -h * v), _floating(self.centre))
        for r, ahead, behind, centre in zip(upstream, *ends, strict=True):
            slope += _dot(r, ahead - behind) / (2.0 * h)
            bend += _dot(r, (ahead - centre) + (behind - centre)) / h
        return slope, bend

    def compare(self, k: int, v: Tensor, step: float, upstream: list[Tensor] | None = None) -> _Comparison:
        """The derivative of f through tensor k along v, by backward and by differences of step and half a step."""
        upstream = self.upstream if upstream is None else upstream
        tensor = self.tensors(self.module, self.inputs)[k]
        h = step * max(1.0, _size(tensor))
        (slope, bend), (slope_of_half, bend_of_half) = (self.difference(k, v, each, upstream) for each in (h, h / 2))
        analytic, numeric = _dot(self.gradients[k], v), (4.0 * slope_of_half - slope) / 3.0  # Richardson
        return _Comparison(
            analytic,
            numeric,
            scale=max(abs(analytic), abs(numeric), 0.1 * self.gradients[k].norm().item()),
            noise=ROUNDING / h * math.hypot(*((r * y).norm().item() for r, y in zip(upstream, _floating(self.centre)))),
            doubt=max(abs(slope - slope_of_half), abs(2.0 * bend_of_half - bend)),
        )

    def nearby(self, generator: torch.Generator) -> _Point:
        """A point beside this one: all that has a gradient moves a little."""
        run, inputs = self.fresh()
        for tensor, gradient in zip(self.tensors(run, inputs), self.gradients, strict=True):
            if isinstance(gradient, Tensor):
                tensor.add_(_random_like(tensor, generator) * (NEARBY * _size(tensor)))
        return _Point(run, inputs, self.seed)


@dataclass(frozen=True)
class _Comparison:
    """The derivative along one direction, by backward and by differences, and how far the latter can be trusted."""

    analytic: float
    numeric: float
    scale: float  # of the gradient
    noise: float  # of numeric, from rounding
    doubt: float  # how much two step sizes disagree, or a kink at the very point would turn the slope

    @property
    def error(self) -> float:
        """The relative error, beyond what rounding explains."""
        return max(abs(self.analytic - self.numeric) - self.noise, 0.0) / max(self.scale, 1e-300)

    def is_trusted(self, tolerance: float) -> bool:
        """Whether the difference says what the derivative is, well below the tolerance."""
        return self.doubt <= 0.1 * tolerance * self.scale + self.noise


# ---- one tensor --------------------------------------------------------------------------------------------------------
def _check_tensor(point: _Point, k: int, settings: _Settings, generator: torch.Generator) -> TensorCheck:
    """Compare one gradient along several directions; the worst is told."""
    tensor, gradient = point.tensors(point.module, point.inputs)[k], point.gradients[k]
    row = TensorCheck(point.names[k], tuple(tensor.shape), 0.0, 0.0, 0.0, ok=True)
    if gradient is None or tensor.numel() == 0:
        return replace(row, note="not compared: backward returns None" if gradient is None else "empty")
    for complaint in _form(tensor, gradient):
        return replace(row, error=math.inf, ok=False, note=complaint)
    found = [_compare_somewhere(point, k, settings, generator) for _ in range(settings.directions)]
    worst = max(found, key=lambda comparison: (not comparison.is_trusted(settings.tolerance), comparison.error))
    row = replace(row, analytic=worst.analytic, numeric=worst.numeric, error=worst.error)
    if not worst.is_trusted(settings.tolerance):
        return replace(row, ok=False, note="differences never settle: does forward jump, or leave float64?")
    if worst.error > settings.tolerance:
        return replace(row, ok=False, note=_diagnose(point, k, settings))
    if max(comparison.scale - comparison.noise for comparison in found) <= 0.0:
        row = replace(row, note="zero" if not gradient.any() else "too small to compare")
    return row


def _form(tensor: Tensor, gradient: Any) -> Iterator[str]:
    """What is wrong with a returned gradient before its numbers are looked at."""
    if not isinstance(gradient, Tensor):
        yield "backward returns no gradient for it" if gradient is ABSENT else f"a {type(gradient).__name__}, no tensor"
    elif gradient.shape != tensor.shape:
        yield f"its gradient has shape {tuple(gradient.shape)}"
    elif gradient.dtype != tensor.dtype:
        yield f"its gradient comes in {gradient.dtype} for {tensor.dtype}"
    elif not gradient.isfinite().all():
        yield "its gradient is not finite"


def _compare_somewhere(point: _Point, k: int, settings: _Settings, generator: torch.Generator) -> _Comparison:
    """The comparison along a random direction; along another, or nearby, as long as differences cannot be trusted."""
    for attempt, factor in enumerate(STEPS):
        here = point if attempt < ATTEMPTS_IN_PLACE else point.nearby(generator)
        v = _random_like(here.gradients[k], generator)
        comparison = here.compare(k, v, settings.eps * factor)
        if comparison.is_trusted(settings.tolerance):
            break
    return comparison


def _diagnose(point: _Point, k: int, settings: _Settings) -> str:
    """How a wrong gradient differs from the right one, element by element."""
    gradient = point.gradients[k]
    places = torch.randperm(gradient.numel(), generator=torch.Generator().manual_seed(settings.seed))[:LOOKED_AT].tolist()

    def numeric(upstream: list[Tensor]) -> Tensor:
        one_hot = [torch.zeros(gradient.numel(), dtype=gradient.dtype, device=gradient.device) for _ in places]
        slopes = [
            point.compare(k, v.index_fill_(0, torch.tensor(i), 1.0).view(gradient.shape), settings.eps, upstream).numeric
            for v, i in zip(one_hot, places, strict=True)
        ]
        return torch.tensor(slopes, dtype=gradient.dtype)

    def alike(given: Tensor, right: Tensor) -> bool:
        return bool((given - right).norm() <= 10 * settings.tolerance * right.norm())

    given, right = gradient.reshape(-1)[places].cpu(), numeric(point.upstream)
    if not given.any():
        return "zero: backward forgets it"
    if not right.norm() > 1e-6 * given.norm():
        return "should be zero: the output does not depend on it"
    factor = (_dot(given, right) / _dot(right, right)) if right.any() else 0.0
    batch = max((output.shape[0] for output in _floating(point.centre) if output.dim()), default=1)
    if alike(given, factor * right):
        if abs(factor + 1.0) < 1e-4:
            return "the sign is wrong"
        if batch > 1 and abs(factor * batch - 1.0) < 1e-4:
            return f"off by factor 1/{batch}: a mean over the batch in place of a sum"
        return f"off by factor {factor:.6g}"
    if gradient.dim() == 2 and gradient.shape[0] == gradient.shape[1]:
        if alike(gradient.t().reshape(-1)[places].cpu(), right):
            return "transposed"
    for sample in (0, batch - 1) if batch > 1 else ():
        alone = [r.clone() for r in point.upstream]
        for r in alone:
            if r.dim() and r.shape[0] == batch:
                r[:sample], r[sample + 1 :] = 0.0, 0.0
        if alike(given, numeric(alone)):
            return f"of sample {sample} alone: the sum over the batch is missing"
    off = (given - right).abs()
    wrong = off > 10 * settings.tolerance * right.abs().max()
    at = int(off.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(places[at]), gradient.shape))
    return f"{int(wrong.sum())} of {len(places)} elements off, most at {index}: {given[at]:.6g}, not {right[at]:.6g}"
