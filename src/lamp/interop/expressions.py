"""`Expression`: a symbolic number, with which an activation's formula is recorded for export.

An Expression has every operation that lamp.formulas lists, so an activation's `sigma` can be called with it in place of
a tensor. The exporters therefore write the formulas that lamp computes with, also those of a user's activations, and
contain none themselves. They go through an expression with `in_order`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lamp.compiler.functions import ERF_SPLIT, FORMATS
from lamp.errors import ArgumentError
from lamp.formulas import Number
from lamp.graph import Op
from lamp.module import Module
from lamp.nn import PReLU
from lamp.nn.activations_piecewise import leaky
from lamp.nn.batch_norm import ChannelNorm, normalised
from lamp.overrides import is_lamps
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

Operand = Any  # an Expression or a float

WRITABLE = "a sigma made of the operations that lamp.formulas lists, and of floats"
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


class Expression:
    """The result of an operation on operands, which are expressions or floats.

    operation  "add", "sub", "mul", "div", "neg"; the conditions "lt", "le", "gt", "ge", "eq", "ne", "and", "or";
               "where" (condition, value, other value); "clip" (x, low, high), "maximum", "minimum"; "abs", "sign",
               "sqrt", "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf"; "name" for an input of the formula

    The same operation on the same operands is one object.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, operation: str, operands: tuple[Operand, ...], known: dict[object, Expression]) -> None:
        self.operation, self.operands, self._known = operation, operands, known

    @classmethod
    def named(cls, *names: str) -> list[Expression]:
        """The inputs of one formula, as expressions with these names."""
        known: dict[object, Expression] = {}
        return [cls("name", (name,), known) for name in names]

    @staticmethod
    def of(y: Operand, x: Expression) -> Expression:
        """The result y of a formula of x as an expression; a constant becomes x * 0 + y, which has x's shape."""
        return y if isinstance(y, Expression) else x * 0.0 + y

    def _make(self, operation: str, *operands: Operand) -> Expression:
        given = tuple(each if isinstance(each, Expression) else _float(each) for each in operands)
        key = (operation, *(("made", id(each)) if isinstance(each, Expression) else repr(each) for each in given))
        return self._known.setdefault(key, Expression(operation, given, self._known))

    def __bool__(self) -> bool:
        raise TypeError("an expression has no value yet: choose with x.where(condition, other)")

    # ---- arithmetic --------------------------------------------------------------------------------------------------
    def __add__(self, other: Operand) -> Expression:
        return self._make("add", self, other)

    def __radd__(self, other: Operand) -> Expression:
        return self._make("add", other, self)

    def __sub__(self, other: Operand) -> Expression:
        return self._make("sub", self, other)

    def __rsub__(self, other: Operand) -> Expression:
        return self._make("sub", other, self)

    def __mul__(self, other: Operand) -> Expression:
        return self._make("mul", self, other)

    def __rmul__(self, other: Operand) -> Expression:
        return self._make("mul", other, self)

    def __truediv__(self, other: Operand) -> Expression:
        return self._make("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expression:
        return self._make("div", other, self)

    def __neg__(self) -> Expression:
        return self._make("neg", self)

    def square(self) -> Expression:
        return self * self

    def reciprocal(self) -> Expression:
        return 1.0 / self

    def lerp(self, other: Operand, weight: Operand) -> Expression:
        return self + self._make("mul", self._make("sub", other, self), weight)

    # ---- conditions --------------------------------------------------------------------------------------------------
    def __lt__(self, other: Operand) -> Expression:
        return self._make("lt", self, other)

    def __le__(self, other: Operand) -> Expression:
        return self._make("le", self, other)

    def __gt__(self, other: Operand) -> Expression:
        return self._make("gt", self, other)

    def __ge__(self, other: Operand) -> Expression:
        return self._make("ge", self, other)

    def __eq__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._make("eq", self, other)

    def __ne__(self, other: Operand) -> Expression:  # type: ignore[override]
        return self._make("ne", self, other)

    def __and__(self, other: Operand) -> Expression:
        return self._make("and", self, other)

    def __or__(self, other: Operand) -> Expression:
        return self._make("or", self, other)

    def where(self, condition: Expression, other: Operand) -> Expression:
        """This number if the condition is true, else the other."""
        return self._make("where", condition, self, other)

    # ---- limits ------------------------------------------------------------------------------------------------------
    def maximum(self, other: Operand) -> Expression:
        return self._make("maximum", self, other)

    def minimum(self, other: Operand) -> Expression:
        return self._make("minimum", self, other)

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Expression:
        if isinstance(min, float | int) and isinstance(max, float | int):
            return self._make("clip", self, min, max)
        low = self if min is None else self.maximum(min)
        return low if max is None else low.minimum(max)

    def abs(self) -> Expression:
        return self._make("abs", self)

    def sign(self) -> Expression:
        return self._make("sign", self)

    def step(self) -> Expression:
        return self.sign().maximum(0.0)

    # ---- functions ---------------------------------------------------------------------------------------------------
    def sqrt(self) -> Expression:
        return self._make("sqrt", self)

    def rsqrt(self) -> Expression:
        return 1.0 / self.sqrt()

    def exp(self) -> Expression:
        return self._make("exp", self)

    def expm1(self) -> Expression:
        return self._make("expm1", self)

    def log(self) -> Expression:
        return self._make("log", self)

    def log1p(self) -> Expression:
        return self._make("log1p", self)

    def tanh(self) -> Expression:
        return self._make("tanh", self)

    def sigmoid(self) -> Expression:
        return self._make("sigmoid", self)

    def erf(self) -> Expression:
        return self._make("erf", self)


def _float(number: object) -> float:
    if isinstance(number, float | int):
        return float(number)
    raise TypeError(f"a formula is made of numbers, not of a {type(number).__name__}")


def in_order(*results: Expression) -> list[Expression]:
    """The results and all expressions that they are made of, each once and after its operands."""
    done: dict[int, Expression] = {}

    def visit(expression: Expression) -> None:
        if id(expression) in done:
            return
        for operand in expression.operands:
            if isinstance(operand, Expression):
                visit(operand)
        done[id(expression)] = expression

    for result in results:
        visit(result)
    return list(done.values())


def members_of(op: Op) -> dict[str, Parameter | Buffer]:
    """The parameters and buffers that an operation computes with, by name."""
    if op.kind == "BatchNorm":
        statistics = {name: each for name, each in op.buffers.items() if name in ("running_mean", "running_var")}
        return {**statistics, **op.parameters}
    return {**op.parameters, **op.buffers}


def formula_of(op: Op, x: str = "x") -> Expression:
    """The formula of an elementwise operation, with the names of its input, x, and of its parameters and buffers.

    Raises ArgumentError if the module's sigma uses other operations than those of lamp.formulas.
    """
    module, names = op.module, list(members_of(op))
    given, *members = Expression.named(x, *names)
    if isinstance(module, PReLU):
        return Expression.of(leaky(given, *members), given)
    if op.kind == "BatchNorm":
        if not isinstance(module, ChannelNorm) or "running_mean" not in names:
            why = "a BatchNorm of its own" if not isinstance(module, ChannelNorm) else "no running statistics to use"
            raise _unwritable(module, why, "a BatchNorm of lamp's that tracks running statistics")
        known = dict(zip(names, members, strict=True))
        mean, var = known["running_mean"], known["running_var"]
        y = normalised(given, mean, var, module.eps, known.get("weight"), known.get("bias"))
        return Expression.of(y, given)
    sigma = getattr(module, "sigma", None)
    if members or sigma is None:
        raise _unwritable(module, "parameters of its own" if members else "no sigma")
    try:
        y = sigma(given)
    except (TypeError, AttributeError) as error:
        if is_lamps(type(module)):
            raise
        raise _unwritable(module, str(error)) from None
    return Expression.of(y, given)


def _unwritable(module: Module, why: str, expected: str = WRITABLE) -> ArgumentError:
    return ArgumentError(
        f"the formula of {describe(module)} cannot be exported",
        expected=expected,
        got=why,
        fix="write sigma with these operations, as in lamp's activations" if expected is WRITABLE else None,
    )


# ---- functions that numpy or ONNX lack, made of others ---------------------------------------------------------------
def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)), without overflow, because it uses exp(-|x|)."""
    e = (-x.abs()).exp()
    return e.where(x < 0.0, 1.0) / (1.0 + e)


def expm1(x: Number) -> Number:
    """exp(x) - 1, exact near 0: tanh(x / 2) (exp(x) + 1)."""
    return (x * 0.5).tanh() * (x.exp() + 1.0)


def log1p(x: Number) -> Number:
    """log(1 + x), exact near 0.  Source: Goldberg 1991, theorem 4."""
    u = 1.0 + x
    exact = u.log() * (x / (u - 1.0))
    return x.where(u == 1.0, exact.where(u < float("inf"), u))


def erf(x: Number) -> Number:
    """The error function: a polynomial near 0, and 1 - exp(x times a polynomial) further out.

    The coefficients minimise the largest relative error (Remez; Lawson 1961), as in lamp.compiler.functions.
    """
    form = FORMATS[torch.float64]
    inner = x.clamp(min=-ERF_SPLIT, max=ERF_SPLIT)
    near = inner + inner * _polynomial(inner * inner, form.erf)
    outer = x.abs().clamp(min=ERF_SPLIT, max=form.erf_limit)
    far = 1.0 - (outer * _polynomial(outer, form.log_erfc)).exp()
    return near.where(x.abs() <= ERF_SPLIT, x.sign() * far)


def _polynomial(x: Number, coefficients: Any) -> Number:
    """The polynomial's value by Horner's rule; coefficients from the highest power down."""
    value, *rest = coefficients
    for each in rest:
        value = value * x + each
    return value


COMPOSED: dict[str, Callable[[Number], Number]] = {"sigmoid": sigmoid, "expm1": expm1, "log1p": log1p, "erf": erf}
