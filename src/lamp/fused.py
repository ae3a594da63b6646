"""Formulas of large tensors as machine code, which makes one pass over memory.

torch computes a formula of several operations in as many passes, and each of them reads and writes whole tensors. The
compiler can write the same formula as one loop, on all of torch's threads (`lamp.compiler.elementwise`). It stands
further down than the modules that want it, so `lamp/__init__.py` hands it over, as `compile_formula`.

Which of the two computes depends on the tensors and the options alone, so a training that is run again has the same
bits. The two may differ in their last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from lamp.overrides import is_lamps

if TYPE_CHECKING:
    from torch import Tensor

    Kernel = Callable[..., Tensor]

# From so many numbers on a kernel is faster than several calls of torch, and than two of its quickest.
SMALLEST, SMALLEST_OF_TWO = 4096, 32768
MOST = 16  # kernels per formula, each for other options, so that an option that changes at each step compiles few
PLAIN = (bool, int, float, str, type(None))
NO_OPTIONS = {"training", "replicas", "units"}  # attributes of any module, which no formula reads


def _not_handed_over(key: Hashable, formula: Callable[..., Any], operands: tuple[Tensor | None, ...]) -> Kernel | None:
    return None


compile_formula: Callable[[Hashable, Callable[..., Any], tuple[Tensor | None, ...]], Kernel | None] = _not_handed_over
_kernels: dict[Hashable, Kernel | None] = {}
_counts: dict[tuple[type, str], int] = {}


def fused(formula: Callable[..., Any], *operands: Tensor | None) -> Tensor | None:
    """formula(*operands) in one pass over memory; None where torch should compute it.

    formula   a method of a module, in the operations of lamp.formulas
    operands  tensors of one shape, the first of them at least; the formula gets None where there is None

    Compiled are formulas of lamp's own classes, whose objects have plain numbers and texts as options; for tensors of
    float32 or float64, all of one dtype and contiguous in the CPU's memory, with at least `SMALLEST` numbers.
    """
    like: Any = operands[0]
    if not like.is_cpu:
        return None
    module: Any = formula.__self__  # type: ignore[attr-defined]
    dtype, kind = like.dtype, type(like)
    described: list[Any] = [type(module), formula.__name__, dtype, kind]
    for each in operands:
        if each is not None and not (each.is_contiguous() and each.dtype is dtype and type(each) is kind):
            return None
        if each is not None and each.is_neg():  # negated by a bit that stands beside it
            return None
        described.append(each is None)
    options = [item for item in tuple(vars(module).items()) if item[0] not in NO_OPTIONS and item[0][0] != "_"]
    key = (*described, *options)
    try:
        kernel = _kernels[key]
    except TypeError:  # an option that cannot be hashed
        return None
    except KeyError:
        if not is_lamps(type(module)) or not all(type(value) in PLAIN and value == value for _, value in options):
            return None
        name = type(module), formula.__name__
        _counts[name] = _counts.get(name, 0) + 1
        kernel = _kernels[key] = compile_formula(key, formula, operands) if _counts[name] <= MOST else None
    return None if kernel is None else kernel(*operands)
