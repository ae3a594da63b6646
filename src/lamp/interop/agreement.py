"""The check that an exported file computes what the network computes, made before the file replaces an older one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.errors import ArgumentError, ExportError, LampError
from lamp.interop.lengths import FIX, Sizes, varies
from lamp.interop.predictor import Predictor
from lamp.interop.scaling import Scaling

Comparison = tuple[Tensor, ...]  # for a batch: outputs of the network and of the file, rounding errors

BATCHES = (1, 5, 64)  # the batch sizes that are compared
OF_LENGTHS, LEAST = 4, 2  # of the lengths that the network takes: how many are compared, and how many there must be
NONE: Mapping[str, int] = {}  # where no axis may have any length
MASKED = 0.3  # the share of a mask that is true
SPREAD = 2.0  # standard deviation of the (standardised) inputs, which reaches all parts of an activation
SEED = 0
# The tolerance for an output is the sum of three parts: a number of units in the last place of the output's largest
# value over all batches;
OF_ITS_LARGEST = 256.0
# a number of units in the last place of the largest value of any output, or of 1 if that is larger (relative to its
# scaling, if any), because some functions of onnxruntime, such as its sigmoid, have a fixed absolute error;
OF_ALL = 8.0
# and a multiple of the network's own rounding error, which is its difference from the network in the other precision.
OF_ROUNDING = 64.0


def inputs_for(
    plan: Predictor, batch: int, generator: torch.Generator, lengths: Mapping[str, int] = NONE
) -> list[Tensor]:
    """Random inputs as the network takes them, in the units that the exported file takes; random indices and masks."""
    found, limits = [], plan.graphs[0][1].index_limits
    for value, standard, sizes in zip(plan.inputs, plan.standard, plan.input_sizes, strict=True):
        shape = batch, *(_size(plan, each, lengths) for each in sizes)
        if value in limits:
            drawn = torch.randint(limits[value], shape, generator=generator)
        elif not value.dtype.is_floating_point:
            drawn = (torch.rand(shape, generator=generator) < MASKED).to(value.dtype)
            drawn[..., :1] = 0  # a mask that hides all places has no answer
        else:
            drawn = torch.randn(shape, dtype=torch.float64, generator=generator) * SPREAD
            drawn = (drawn if standard is None else standard.own(drawn)).to(plan.dtype)
        found.append(drawn.movedim(0, value.batch))
    return found


def check_agreement(
    plan: Predictor, compute: Callable[..., Any], path: object, errors: tuple[type[Exception], ...] = ()
) -> None:
    """Raise ExportError unless the exported file gives the network's outputs, up to rounding, for three batch sizes.

    compute  a function of arrays that runs the file
    path     the file's path, for errors
    errors   the exceptions of a file that cannot run

    The tolerance is that of the constants above. NaN and infinite outputs must be so in both.
    """
    other = plan.in_dtype(torch.float64 if plan.dtype is torch.float32 else torch.float32)
    generator = torch.Generator().manual_seed(SEED)
    found: list[list[Comparison]] = [[] for _ in plan.outputs]
    batches = []
    for batch, inputs, expected in _answers(plan, generator):
        batches.append(batch)
        got = _computed(compute, inputs, path, errors)
        if [(y.shape, y.dtype) for y in got] != [(y.shape, y.dtype) for y in expected]:
            raise _disagreement(plan, path, batch, _forms(expected), _forms(got))
        exact = _several(other(*(x.to(other.dtype) if x.is_floating_point() else x for x in inputs)))
        for k, y in enumerate(expected):
            compared = (y.double(), got[k].double(), y.double() - exact[k].double())
            found[k].append(tuple(each.movedim(plan.outputs[k].batch, 0) for each in compared))
    for k, of_output in enumerate(found):
        name = "output" if len(found) == 1 else f"output {k + 1}"
        axes = [1 + axis for axis, sizes in enumerate(plan.output_sizes[k]) if varies(sizes)]
        _check_output(plan, of_output, plan.own[k], path, name, batches, axes)


def _answers(plan: Predictor, generator: torch.Generator) -> Iterator[tuple[int, list[Tensor], tuple[Any, ...]]]:
    """Batch sizes, inputs, and the network's outputs; at several lengths, if axes may have any."""
    if plan.lengths is None:
        for batch in BATCHES:
            inputs = inputs_for(plan, batch, generator)
            yield batch, inputs, _several(plan(*inputs))
        return
    count, error = 0, ""
    for lengths in plan.lengths.tried():
        batch = BATCHES[count % len(BATCHES)]
        inputs = inputs_for(plan, batch, generator, lengths)
        try:
            expected = _several(plan(*inputs))
        except (LampError, IndexError, RuntimeError) as at_these:  # such as a sequence shorter than a kernel
            error = str(at_these).partition("\n")[0]
            continue
        yield batch, inputs, expected
        count += 1
        if count == OF_LENGTHS:
            return
    if count < LEAST:
        raise ArgumentError(
            "the network does not take sequences of any length",
            expected="a network that runs at several of the lengths that are tried",
            got=f"{count} of {len(plan.lengths.tried())}; at the others: {error}",
            fix=FIX,
        )


def _size(plan: Predictor, sizes: Sizes, lengths: Mapping[str, int]) -> int:
    """The size of an axis of an input at these lengths."""
    name = None if plan.lengths is None else plan.lengths.name(sizes)
    return sizes[0] if name is None else lengths[name]


def _check_output(
    plan: Predictor,
    found: list[Comparison],
    own: Scaling | None,
    path: object,
    name: str,
    batches: Sequence[int],
    axes: Sequence[int],
) -> None:
    """Compare one output on all batches. Along these axes it has any length."""
    epsilon = torch.finfo(plan.dtype).eps
    largest = _worst([expected for expected, _, _ in found], axes)
    rounding = _worst([rounding for _, _, rounding in found], axes) * (epsilon / torch.finfo(torch.float32).eps)
    unit = torch.ones_like(largest) if own is None else own.scale.abs()
    of_all = unit * (largest / unit).max().clamp(min=1.0)
    allowed = epsilon * (OF_ITS_LARGEST * largest + OF_ALL * of_all) + OF_ROUNDING * rounding
    for batch, (expected, got, _) in zip(batches, found, strict=True):
        off = (got - expected).abs()
        alike = (off <= allowed) | (got == expected) | ~(got.isfinite() | expected.isfinite())
        if not alike.all():
            at = (~alike).nonzero()[0].tolist()
            place = f"{name}[{', '.join(map(str, at))}]"
            raise _disagreement(
                plan,
                path,
                batch,
                f"{place} = {expected[tuple(at)].item():.9g}, and no output off by more than rounding",
                f"{place} = {got[tuple(at)].item():.9g}; {int((~alike).sum())} of {alike.numel()} outputs differ, "
                f"by {off[~alike].max().item():.3g} at most",
            )


def _several(outputs: Any) -> tuple[Any, ...]:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def _computed(
    compute: Callable[..., Any], inputs: list[Tensor], path: object, errors: tuple[type[Exception], ...]
) -> list[Tensor]:
    try:
        computed = compute(*(x.numpy() for x in inputs))
    except errors as error:
        raise ExportError(
            f"the exported file for {path} does not run",
            expected=f"outputs for a batch of {len(inputs[0])}",
            got=f"{type(error).__name__}: {error}",
            fix="nothing was written; please report it, with the network's repr",
        ) from None
    return [torch.from_numpy(np.array(each)) for each in _several(computed)]


def _worst(of_batches: list[Tensor], axes: Sequence[int]) -> Tensor:
    """The largest finite absolute value over all samples, and along these axes, per output."""
    finite = [each.abs().nan_to_num(0.0, 0.0) for each in of_batches]
    return torch.cat([each.amax(list(axes), keepdim=True) if axes else each for each in finite]).amax(0)


def _forms(tensors: Sequence[Tensor]) -> str:
    return "; ".join(f"{tuple(tensor.shape)}, {tensor.dtype}" for tensor in tensors)


def _disagreement(plan: Predictor, path: object, batch: int, expected: str, got: str) -> ExportError:
    own = ", ".join(plan.own_traces())
    fix = f"compare trace and forward of {own}" if own else "please report it, with the network's repr"
    return ExportError(
        f"the exported file for {path} does not compute what the network computes (batch of {batch})",
        expected=expected,
        got=got,
        fix=f"nothing was written; {fix}",
    )
