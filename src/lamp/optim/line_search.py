"""A line search: how far to go along a direction, so that the loss falls enough and the slope flattens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

FALL, FLATTEN = 1e-4, 0.9  # the constants of the Wolfe conditions
NEAR = 0.1  # how near to an end of the bracket, as a part of its length, a trial may lie


@dataclass(frozen=True)
class Point:
    """A place on the line: how far along the direction it is, with the loss, the gradient and the slope there."""

    at: float
    loss: float
    gradient: Tensor
    slope: float = 0.0


def strong_wolfe(
    look: Callable[[float], Point],
    start: Point,
    slope: float,
    length: float,
    direction: Tensor,
    tolerance: float,
    most: int,
) -> tuple[Point, int]:
    """A point on the line that fulfils the strong Wolfe conditions, and how often the loss was computed.

    look       the point at a length along the direction
    start      the point at 0, where the line has this slope
    length     the first length to try
    tolerance  the search ends where the bracket moves no parameter by more
    most       the largest number of further looks

    The point has loss <= loss(0) + 1e-4 length slope(0), and |slope| <= 0.9 |slope(0)|, unless the search ended early;
    then it is the best one found. Source: Nocedal & Wright 2006, algorithms 3.5 (bracket) and 3.6 (zoom).
    """
    start = replace(start, at=0.0, slope=slope)
    search = _Search(look, start, most)
    bracket = search.bracket(length)
    if len(bracket) == 2:
        bracket = search.zoom(bracket, float(direction.abs().max()), tolerance)
    return min(bracket, key=lambda point: point.loss), search.looks


class _Search:
    """One line search. `looks` counts the evaluations of the loss, `rounds` those after the first."""

    def __init__(self, look: Callable[[float], Point], start: Point, most: int) -> None:
        self._look, self.start, self.most = look, start, most
        self.looks = self.rounds = 0

    def look(self, at: float) -> Point:
        self.looks += 1
        return self._look(at)

    def too_high(self, point: Point) -> bool:
        """Whether the loss has not fallen enough."""
        return point.loss > self.start.loss + FALL * point.at * self.start.slope

    def is_flat(self, point: Point) -> bool:
        """Whether the slope has become small enough."""
        return abs(point.slope) <= -FLATTEN * self.start.slope

    def bracket(self, length: float) -> list[Point]:
        """One point that is right, or two with a right one between them."""
        before, now = self.start, self.look(length)
        while self.rounds < self.most:
            if self.too_high(now) or (self.rounds > 1 and now.loss >= before.loss):
                return [before, now]
            if self.is_flat(now):
                return [now]
            if now.slope >= 0.0:
                return [before, now]
            farther = cubic_minimum(before, now, now.at + 0.01 * (now.at - before.at), now.at * 10.0)
            before, now = now, self.look(farther)
            self.rounds += 1
        return [self.start, now]

    def zoom(self, ends: list[Point], largest: float, tolerance: float) -> list[Point]:
        """The bracket narrowed until one of its ends is right; `largest` is that of the direction's numbers."""
        low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
        was_near = False
        while self.rounds < self.most:
            left, right = sorted(end.at for end in ends)
            if (right - left) * largest < tolerance:
                break
            at = cubic_minimum(ends[0], ends[1], left, right)
            margin = NEAR * (right - left)
            is_near = min(right - at, at - left) < margin
            if is_near and (was_near or at >= right or at <= left):  # twice in a row: away from the end
                at = right - margin if abs(at - right) < abs(at - left) else left + margin
                is_near = False
            was_near = is_near
            now = self.look(at)
            self.rounds += 1
            if self.too_high(now) or now.loss >= ends[low].loss:
                ends[high] = now
                low, high = (0, 1) if ends[0].loss <= ends[1].loss else (1, 0)
                continue
            if self.is_flat(now):
                return [now]
            if now.slope * (ends[high].at - ends[low].at) >= 0.0:
                ends[high] = ends[low]
            ends[low] = now
        return [ends[low]]


def cubic_minimum(one: Point, other: Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, within [low, high]; the middle if nowhere."""
    if one.at == other.at:
        return (low + high) / 2.0
    first, second = (one, other) if one.at <= other.at else (other, one)
    d1 = one.slope + other.slope - 3.0 * (one.loss - other.loss) / (one.at - other.at)
    square = d1 * d1 - one.slope * other.slope
    if not square >= 0.0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    bent = second.slope - first.slope + 2.0 * d2
    if bent == 0.0:
        return (low + high) / 2.0
    share = (second.slope + d2 - d1) / bent
    return min(max(second.at - (second.at - first.at) * share, low), high)
