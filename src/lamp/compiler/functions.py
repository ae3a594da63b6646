"""The transcendental functions of lanes: in float32 by polynomials, in float64 by the C library.

Each float32 function is within a few units in the last place of the exact one, over all of its arguments (a test holds
them to that). NaN goes through; infinities come where they belong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from llvmlite import ir

from lamp.compiler.lanes import TRANSCENDENTAL, Lane

# Source: Moshier's Cephes library (expf, logf, erff), for the coefficients of the three approximations.
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
ERF_NEAR = (
    7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2, 1.128358514861418e-1,
    -3.761262582423300e-1, 1.128379165726710,
)  # fmt: skip
ERFC_MIDDLE = (
    2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1, -5.824733027278666e-1, 6.210004621745983e-1,
    -4.944515323274145e-1, 3.404879937665872e-1, -2.741127028184656e-1, 5.638259427386472e-1,
)  # fmt: skip
ERFC_FAR = (
    -1.047766399936249e1, 1.297719955372516e1, -7.495518717768503, 2.921019019210786, -1.015265279202700,
    4.218463358204948e-1, -2.820767439740514e-1, 5.641895067754075e-1,
)  # fmt: skip

LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # their sum is log 2; n times the first is exact
ROUNDER = 1.5 * 2**23  # added to a float32 and taken away again it rounds it to a whole number
LARGEST, SMALLEST = 88.72283935546875, -103.97208404541016  # exp of less is 0, of more infinite
SMALLEST_NORMAL = 2.0**-126
MANTISSA, HALF_EXPONENT = 23, 126


def polynomial(x: Lane, coefficients: Sequence[float]) -> Lane:
    """By Horner's rule, from the highest power."""
    code = x.code
    value = code.lane(coefficients[0])
    for each in coefficients[1:]:
        value = value.times_plus(x, code.lane(each))
    return value


def _reduced(x: Lane) -> tuple[Lane, Lane, ir.Value]:
    """r, e^r - 1 and n, where x = r + n log 2 and |r| is at most log 2 / 2."""
    code = x.code
    shifted = x * (1.0 / math.log(2.0)) + ROUNDER
    n = shifted - ROUNDER
    r = n.times_plus(code.lane(-LN2_HIGH), x)
    r = n.times_plus(code.lane(-LN2_LOW), r)
    minus_one = polynomial(r, EXP).times_plus(r * r, r)
    whole = code.b.sub(
        code.b.bitcast(shifted.value, code.integers),
        code.b.bitcast(code.lane(ROUNDER).value, code.integers),
    )
    return r, minus_one, whole


def _power(x: Lane, n: ir.Value) -> Lane:
    """2^n as a lane, for n of -126 ... 127."""
    code = x.code
    bias = ir.Constant(code.integers, [127] * code.lanes)
    places = ir.Constant(code.integers, [MANTISSA] * code.lanes)
    return Lane(code, code.b.bitcast(code.b.shl(code.b.add(n, bias), places), code.vector))


def _scaled(y: Lane, n: ir.Value) -> Lane:
    """y 2^n, in two steps: 2^n itself may be out of range where y 2^n is not."""
    code = y.code
    half = code.b.ashr(n, ir.Constant(code.integers, [1] * code.lanes))
    return y * _power(y, half) * _power(y, code.b.sub(n, half))


def exp(x: Lane) -> Lane:
    """e^x."""
    if x.code.dtype is torch.float64:
        return x.code.library("exp", x)
    within = x.clamp(min=SMALLEST, max=LARGEST)
    _, minus_one, n = _reduced(within)
    y = _scaled(minus_one + 1.0, n)
    return x.code.lane(math.inf).where(x > LARGEST, y).where(x >= SMALLEST, 0.0).where(x == x, x)


def expm1(x: Lane) -> Lane:
    """e^x - 1, exact near 0."""
    if x.code.dtype is torch.float64:
        return x.code.library("expm1", x)
    within = x.clamp(min=-20.0, max=LARGEST)
    _, minus_one, n = _reduced(within)
    half = x.code.b.sub(n, ir.Constant(x.code.integers, [1] * x.code.lanes))
    power = _power(x, half)  # 2^n / 2, for 2^128 is out of range
    y = (minus_one.times_plus(power, power - 0.5)) * 2.0
    return x.code.lane(math.inf).where(x > LARGEST, y)


def log(x: Lane) -> Lane:
    """The natural logarithm: -infinity at 0, NaN below."""
    if x.code.dtype is torch.float64:
        return x.code.library("log", x)
    code, b = x.code, x.code.b
    tiny = x < SMALLEST_NORMAL
    normal = (x * 2.0**MANTISSA).where(tiny, x)
    bits = b.bitcast(normal.value, code.integers)
    places = ir.Constant(code.integers, [MANTISSA] * code.lanes)
    exponent = b.sub(b.lshr(bits, places), ir.Constant(code.integers, [HALF_EXPONENT] * code.lanes))
    mantissa = b.or_(
        b.and_(bits, ir.Constant(code.integers, [2**MANTISSA - 1] * code.lanes)),
        ir.Constant(code.integers, [HALF_EXPONENT << MANTISSA] * code.lanes),
    )
    m = Lane(code, b.bitcast(mantissa, code.vector))  # from 1/2 to 1
    e = Lane(code, b.sitofp(exponent, code.vector)) - code.lane(float(MANTISSA)).where(tiny, 0.0)
    low = m < math.sqrt(0.5)
    e = e - code.lane(1.0).where(low, 0.0)
    f = (m + m).where(low, m) - 1.0
    square = f * f
    y = polynomial(f, LOG) * f * square
    y = e.times_plus(code.lane(LN2_LOW), y)
    y = square.times_plus(code.lane(-0.5), y)
    y = e.times_plus(code.lane(LN2_HIGH), f + y)
    y = y.where(x > 0.0, code.lane(-math.inf).where(x == 0.0, math.nan))
    return code.lane(math.inf).where(x == math.inf, y)


def log1p(x: Lane) -> Lane:
    """log(1 + x), exact near 0.  Source: Goldberg 1991, theorem 4."""
    if x.code.dtype is torch.float64:
        return x.code.library("log1p", x)
    u = x + 1.0
    exact = log(u) * (x / (u - 1.0))
    return x.where(u == 1.0, exact.where(u < math.inf, u))


def tanh(x: Lane) -> Lane:
    """The hyperbolic tangent: -t / (2 + t) of t = e^(-2 |x|) - 1, with the sign of x."""
    if x.code.dtype is torch.float64:
        return x.code.library("tanh", x)
    t = expm1(x.abs() * -2.0)
    return x.code.intrinsic("copysign", -t / (t + 2.0), x)


def sigmoid(x: Lane) -> Lane:
    """1 / (1 + e^-x)."""
    return 1.0 / (exp(-x) + 1.0)


def erf(x: Lane) -> Lane:
    """The error function."""
    if x.code.dtype is torch.float64:
        return x.code.library("erf", x)
    size = x.abs()
    near = x * polynomial(x * x, ERF_NEAR)
    outer = size.clamp(min=1.0, max=10.0)
    q = 1.0 / outer
    y = q * q
    middle, far = polynomial(y, ERFC_MIDDLE), polynomial(y, ERFC_FAR)
    rest = exp(-(outer * outer)) * q * middle.where(outer < 2.0, far)
    return near.where(size <= 1.0, x.code.intrinsic("copysign", 1.0 - rest, x)).where(x == x, x)


TRANSCENDENTAL.update(exp=exp, expm1=expm1, log=log, log1p=log1p, tanh=tanh, sigmoid=sigmoid, erf=erf)
