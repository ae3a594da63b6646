"""exp, expm1, log, log1p, tanh, sigmoid and erf of lanes.

They take and return lanes, and are written over lane arithmetic alone, so that every backend has them. float32 and
float64 use the same approximations, float64 with more terms. Each is within 2.5 units in the last place of the exact
value over its whole domain (a test checks that). NaN gives NaN, and infinities are those of the exact function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lamp.compiler.lanes import Lane, Whole

LN2 = math.log(2.0)
LONG = 5  # a polynomial with more coefficients is evaluated in two halves
ERF_SPLIT = 0.75  # where erf changes from one approximation to the other


@dataclass(frozen=True)
class Format:
    """The bit layout of a floating-point format, and the coefficients for its precision, highest power first.

    mantissa, bias      the bits after the point, and the number added to the exponent
    ln2_high, ln2_low   their sum is log 2 to twice the digits
    exp                 (e^r - 1 - r) / r^2, a polynomial in r;   |r| <= log 2 / 2
    log                 (log((1 + s) / (1 - s)) / s - 2) / s^2, in s^2;   (1 + s) / (1 - s) from sqrt(1/2) to sqrt 2
    erf                 erf(x) / x - 1, in x^2;   |x| <= 3/4
    log_erfc            log(1 - erf(x)) / x, in x;   3/4 <= x <= erf_limit, beyond which erf is 1
    """

    mantissa: int
    bias: int
    ln2_high: float
    ln2_low: float
    exp: Sequence[float]
    log: Sequence[float]
    erf: Sequence[float]
    log_erfc: Sequence[float]
    erf_limit: float


# The coefficients minimise the largest relative error (those of log_erfc: that of erf). They were computed with 50
# digits, by Remez's algorithm; those of log_erfc by reweighted least squares (Lawson 1961).
FORMATS = {
    torch.float32: Format(
        mantissa=23,
        bias=127,
        ln2_high=0.693147182464599609375,
        ln2_low=-1.904654299957768e-9,
        exp=(1.3946506046e-3, 8.3666106485e-3, 4.1666281244e-2, 1.6666542794e-1, 5.0000000621e-1),
        log=(2.9873072223e-1, 3.9977495623e-1, 6.6666776717e-1),
        erf=(-6.7495124309e-4, 5.1143453511e-3, -2.6834624412e-2, 1.1283376570e-1, -3.7612618757e-1, 1.2837916550e-1),
        log_erfc=(
            2.1625519359e-4, -3.2335387583e-3, 2.2949054513e-2, -1.0535309465e-1, -6.3564985385e-1, -1.1285343362,
        ),
        erf_limit=4.0,
    ),
    torch.float64: Format(
        mantissa=52,
        bias=1023,
        ln2_high=0.69314718055994530942,
        ln2_low=2.319046813846299558e-17,
        exp=(
            2.5114512157183948664e-8, 2.7626382599033595531e-7, 2.7557227840854715665e-6, 2.4801504310916457812e-5,
            1.9841269903143069625e-4, 1.3888888932485650814e-3, 8.3333333333145474715e-3, 4.1666666666573317174e-2,
            1.6666666666666686056e-1, 5.0000000000000055735e-1,
        ),
        log=(
            1.4797507658605686626e-1, 1.5313903297828369127e-1, 1.8183569735442330328e-1, 2.2222198476132016772e-1,
            2.8571428743260421839e-1, 3.9999999999411107670e-1, 6.6666666666667348923e-1,
        ),
        erf=(
            -1.2701275135358684978e-7, 1.6041915095788443870e-6, -1.4898346660615447469e-5, 1.2054250252694616295e-4,
            -8.5483003065514468952e-4, 5.2239772226611938356e-3, -2.6866170610154671453e-2, 1.1283791670800480199e-1,
            -3.7612638903181092945e-1, 1.2837916709551249820e-1,
        ),
        log_erfc=(
            1.979114793995992226e-12, -8.5317802295120873073e-11, 1.7239260171848450632e-9, -2.1690126707005758882e-8,
            1.9018076074708557087e-7, -1.2296527652997374196e-6, 6.0254582578355802291e-6, -2.2443630485147681808e-5,
            6.139304964331229744e-5, -1.0627942100372011275e-4, 1.8110627619062974429e-5, 5.5334794765423852133e-4,
            -1.6720993632607392085e-3, 1.9708155218993277607e-4, 1.9132946128975162109e-2, -1.0277376560918209769e-1,
            -6.3661958613894535587e-1, -1.1283791810131667648,
        ),
        erf_limit=6.0,
    ),
}  # fmt: skip


def polynomial(x: Lane, coefficients: Sequence[float]) -> Lane:
    """The polynomial at x, by Horner's rule. Long ones are split into even and odd powers, which run in parallel."""
    if len(coefficients) > LONG:
        even, odd = (polynomial(x * x, coefficients[-1 - k :: -2][::-1]) for k in range(2))
        return odd.times_plus(x, even)
    code = x.code
    value = code.lane(coefficients[0])
    for each in coefficients[1:]:
        value = value.times_plus(x, code.lane(each))
    return value


# ---- exponentials ----------------------------------------------------------------------------------------------------
def _reduced(x: Lane, bias: int) -> tuple[Lane, Whole]:
    """e^r - 1, and an integer whose low bits are n + bias, where x = r + n log 2 and |r| <= log 2 / 2."""
    code, form = x.code, FORMATS[x.code.dtype]
    rounder = code.lane(1.5 * 2.0**form.mantissa + bias)  # adding it rounds to an integer
    shifted = x.times_plus(code.lane(1.0 / LN2), rounder)
    n = shifted - rounder
    r = n.times_plus(code.lane(-form.ln2_high), x)
    r = n.times_plus(code.lane(-form.ln2_low), r)
    return polynomial(r, form.exp).times_plus(r * r, r), shifted.bits()


def _power(n: Whole) -> Lane:
    """2^n, from an integer whose low bits are n + bias; 0 for n = -bias, infinity for n = bias + 1."""
    return (n << FORMATS[n.code.dtype].mantissa).as_bits()


def _limits(x: Lane) -> tuple[float, float]:
    """Two bounds: below the first e^x rounds to 0 (among normal numbers), above the second to infinity."""
    bias = FORMATS[x.code.dtype].bias
    return -bias * LN2, (bias + 1.25) * LN2


def _negligible(x: Lane) -> float:
    """The bound below which 1 + e^x rounds to 1."""
    return -(FORMATS[x.code.dtype].mantissa + 4.0) * LN2


def _exp_normal(x: Lane) -> Lane:
    """e^x, but 0 or infinity where 2^n, its nearest power of two, is out of range."""
    low, high = _limits(x)
    return _exp_within(x.clamp(min=low, max=high))


def _exp_within(x: Lane) -> Lane:
    """e^x, where 2^n, its nearest power of two, is in range."""
    minus_one, n = _reduced(x, FORMATS[x.code.dtype].bias)
    return (minus_one + 1.0) * _power(n)


def exp(x: Lane) -> Lane:
    """e^x."""
    form = FORMATS[x.code.dtype]
    low, high = _limits(x)
    minus_one, n = _reduced(x.clamp(min=low - (form.mantissa + 2.0) * LN2, max=high), 2 * form.bias)
    half = n.shifted_unsigned(1)  # multiplied in two steps, because 2^n may be out of range where e^x is not
    return (minus_one + 1.0) * _power(half) * _power(n - half)


def expm1(x: Lane) -> Lane:
    """e^x - 1, accurate near 0."""
    minus_one, n = _reduced(x.clamp(min=_negligible(x), max=_limits(x)[1]), FORMATS[x.code.dtype].bias - 1)
    half = _power(n)  # 2^n / 2, because 2^n may be out of range where e^x is not
    return minus_one.times_plus(half, half - 0.5) * 2.0


def tanh(x: Lane) -> Lane:
    """The hyperbolic tangent: -t / (2 + t) with t = e^(-2 |x|) - 1, with the sign of x."""
    minus_one, n = _reduced((x.abs() * -2.0).maximum(_negligible(x)), FORMATS[x.code.dtype].bias)
    power = _power(n)
    t = minus_one.times_plus(power, power - 1.0)
    return (t / (t + 2.0)).with_sign_of(x)


def sigmoid(x: Lane) -> Lane:
    """1 / (1 + e^-x); 0 where that is less than the smallest normal number."""
    return 1.0 / (_exp_normal(-x) + 1.0)


# ---- logarithms ------------------------------------------------------------------------------------------------------
def log(x: Lane) -> Lane:
    """The natural logarithm, by the series of log((1 + s) / (1 - s)); -infinity at 0, NaN below.

    Source: Sun's fdlibm (e_log.c), for the order of the last sums.
    """
    code, form = x.code, FORMATS[x.code.dtype]
    tiny = x < 2.0 ** (1 - form.bias)
    bits, root = (x * 2.0**form.mantissa).where(tiny, x).bits(), code.lane(math.sqrt(0.5)).bits()
    exponent = (bits - root) >> form.mantissa  # x = 2^n (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2)
    n = exponent.as_numbers() - code.lane(float(form.mantissa)).where(tiny, 0.0)
    f = (bits - (exponent << form.mantissa)).as_bits() - 1.0
    s = f / (f + 2.0)
    square, half = s * s, f * f * 0.5
    rest = s * polynomial(square, form.log).times_plus(square, half)
    rest = n.times_plus(code.lane(form.ln2_low), rest)
    y = n.times_plus(code.lane(form.ln2_high), f - (half - rest))
    y = y.where(x > 0.0, code.lane(-math.inf).where(x == 0.0, math.nan))
    return x.where(x == math.inf, y)


def log1p(x: Lane) -> Lane:
    """log(1 + x), accurate near 0.  Source: Goldberg 1991, theorem 4."""
    u = x + 1.0
    exact = log(u) * (x / (u - 1.0))
    return x.where(u == 1.0, exact.where(u < math.inf, u))


# ---- the error function ----------------------------------------------------------------------------------------------
def erf(x: Lane) -> Lane:
    """The error function."""
    form = FORMATS[x.code.dtype]
    size = x.abs()
    near = polynomial(x * x, form.erf).times_plus(x, x)
    outer = size.clamp(min=ERF_SPLIT, max=form.erf_limit)
    far = 1.0 - _exp_within(polynomial(outer, form.log_erfc) * outer)
    return near.where(size <= ERF_SPLIT, far.with_sign_of(x))


FORMULAS = {each.__name__: each for each in (exp, expm1, log, log1p, tanh, sigmoid, erf)}
