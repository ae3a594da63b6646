"""How far off a mean of few runs may be."""

from __future__ import annotations

import math


def student_t(level: float, degrees: int) -> float:
    """The t with P(|T| < t) = level for Student's distribution; NaN below one degree of freedom."""
    if degrees < 1:
        return math.nan
    low, high = 0.0, 1e9
    for _ in range(200):  # bisection: P grows with t
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """P(|T| < t), by the finite sums for whole degrees of freedom.  Source: Abramowitz & Stegun 1964, 26.7.3-4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for k in range(degrees // 2):
        total += term
        term *= cosine**2 * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
