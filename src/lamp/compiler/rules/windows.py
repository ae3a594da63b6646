"""Windows that move over the axes of samples, as loops need them: which inputs an output reads, and the other way.

Along one axis, output o reads inputs stride o + dilation k, for each tap k of the kernel. The inputs are padded
already, so every tap lies within them.

Seen from the inputs: of the inputs i = stride a + r with one remainder r, each is read through the same taps, those
with dilation k = r modulo stride. They are evenly spaced, and along a they are a window again. `Readers` describes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lamp.compiler.code import Code
from lamp.compiler.indices import Index


@dataclass(frozen=True)
class Readers:
    """The outputs that read the inputs stride a + remainder: a + offset - spacing t, through tap first + step t, for
    each t < taps for which there is such an output.

    count    the number of these inputs
    outputs  the number of outputs
    """

    remainder: int
    count: int
    first: int
    step: int
    taps: int
    offset: int
    spacing: int
    outputs: int

    @property
    def inner(self) -> tuple[int, int]:
        """The range of a in which there is an output for every tap."""
        first = max(0, (self.taps - 1) * self.spacing - self.offset)
        stop = min(self.count, self.outputs - self.offset)
        return (first, stop) if self.taps and first < stop else (0, 0)

    def output(self, code: Code, a: Index, t: Index) -> Index:
        """The output that reads this input for this t."""
        return code.plus(code.plus(a, self.offset), code.times(t, -self.spacing))

    def tap(self, code: Code, t: Index) -> Index:
        """The tap through which it does."""
        return code.plus(self.first, code.times(t, self.step))

    def taps_at(self, code: Code, a: Index) -> tuple[Index, Index]:
        """The range of t for which there is an output, at any a."""
        if not self.taps:
            return 0, 0
        far = self.outputs + abs(self.offset) + 1  # keeps what is divided positive
        at = code.plus(a, self.offset + far * self.spacing)
        stop = code.minus(code.quotient(at, self.spacing), far - 1)
        first = code.minus(code.quotient(code.plus(at, self.spacing - self.outputs), self.spacing), far)
        return code.greatest(first, 0), code.least(stop, self.taps)


@dataclass(frozen=True)
class Axis:
    """Windows along one axis.

    size     the number of inputs
    outputs  the number of windows
    """

    size: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1

    def taps(self, code: Code, output: Index) -> Index:
        """The number of taps of this output."""
        return self.kernel

    def read(self, code: Code, output: Index, tap: Index) -> Index:
        """The input that this output reads through this tap."""
        return code.plus(code.times(output, self.stride), code.times(tap, self.dilation))

    @property
    def overlaps(self) -> bool:
        """Whether an input may be read by two outputs."""
        return self.outputs > 1 and self.stride <= self.dilation * (self.kernel - 1)

    @property
    def covers(self) -> bool:
        """Whether each input is read, where none is read twice."""
        return self.kernel * self.outputs == self.size

    @property
    def readers(self) -> list[Readers]:
        """The outputs that read each input, by the input's remainder."""
        common = math.gcd(self.stride, self.dilation)
        step, spacing = self.stride // common, self.dilation // common
        found = []
        for remainder in range(min(self.stride, self.size)):
            taps = [k for k in range(self.kernel) if (k * self.dilation - remainder) % self.stride == 0]
            first = taps[0] if taps else 0
            offset = (remainder - first * self.dilation) // self.stride
            count = -(-(self.size - remainder) // self.stride)
            found.append(Readers(remainder, count, first, step, len(taps), offset, spacing, self.outputs))
        return found


@dataclass(frozen=True)
class EqualShares:
    """Windows of sizes as equal as possible: output o reads the inputs from o size / outputs, rounded down, to
    (o + 1) size / outputs, rounded up."""

    size: int
    outputs: int

    def taps(self, code: Code, output: Index) -> Index:
        stop = code.quotient(code.plus(code.times(code.plus(output, 1), self.size), self.outputs - 1), self.outputs)
        return code.minus(stop, self.read(code, output, 0))

    def read(self, code: Code, output: Index, tap: Index) -> Index:
        return code.plus(code.quotient(code.times(output, self.size), self.outputs), tap)

    overlaps, covers = True, False  # equal windows are an Axis


def shares(size: int, outputs: int) -> Axis | EqualShares:
    """The windows of a pool that is given its number of outputs."""
    if size % outputs:
        return EqualShares(size, outputs)
    return Axis(size, outputs, size // outputs, size // outputs)


def flat(code: Code, channel: Index, places: list[Index], sizes: tuple[int, ...]) -> Index:
    """The number of a place (channel, ...) in values (channels, *sizes) that lie one after another."""
    at = channel
    for place, size in zip(places, sizes, strict=True):
        at = code.plus(code.times(at, size), place)
    return at
