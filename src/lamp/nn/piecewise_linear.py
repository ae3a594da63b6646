"""`PiecewiseLinearEncoding`: numbers beside how far they have come through each of several bins."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError, NotTraceable, ShapeError
from lamp.formulas import between
from lamp.module import Module
from lamp.nn.activations_piecewise import Hardtanh
from lamp.nn.arguments import a_place, a_size
from lamp.nn.checks import explain_gradient, explain_numbers
from lamp.parameter import Buffer
from lamp.signatures import called
from lamp.values import several

CLAMP = Hardtanh(0.0, 1.0)


class PiecewiseLinearEncoding(Module):
    """The input, followed by one number per bin of each feature that has bins: the share of the bin that lies below x.

    y = (x, t)        t_i = clamp((x_f - lower_i) / (upper_i - lower_i), 0, 1) for bin i of feature f

    A linear layer behind it computes a piecewise linear function of each feature. There are no parameters; the edges
    are buffers. `PiecewiseLinearEncoding.fit` chooses them from rows.

    edges     for each feature, its edges in increasing order, one more than it has bins; an empty list for no bins
    Shapes    x (B..., in)   y (B..., in + bins), where bins is the number of all features' bins together
    Backward  dx_f = dy_f + sum over its bins of dt_i / (upper_i - lower_i) where 0 < t_i < 1
    Source    Gorishniy, Rubachev, Babenko 2022, arXiv:2203.05556, equation 1

    Raises ArgumentError for edges that are not finite numbers and increasing; ShapeError for an input with another
    number of features, DTypeError for one that is not floating-point.
    """

    def __init__(self, edges: Sequence[Sequence[float] | Tensor]) -> None:
        several_rows = isinstance(edges, Tensor) and edges.dim() > 1
        rows = list(edges) if several_rows else several(edges, "edges", "lists of numbers")
        found = [_given(feature, each) for feature, each in enumerate(rows)]
        self.bins = [max(len(each) - 1, 0) for each in found]
        nothing = torch.zeros(0)
        self.lower = Buffer(torch.cat([nothing, *(each[:-1] for each in found)]))
        self.upper = Buffer(torch.cat([nothing, *(each[1:] for each in found)]))

    @classmethod
    @called()
    def fit(cls, inputs: Tensor, bins: int = 16, features: Iterable[int] | None = None) -> Self:
        """The encoding with edges at the quantiles of these rows (n, in): at most so many bins per feature.

        Where many rows share a value, several quantiles coincide. As many quantiles of the feature's distinct values
        take their places. A feature with at most two values gets no bins: it is linear anyway.

        features  the features that get bins; None for all

        Raises ArgumentError for inputs that are not finite or not (n, in), and for other wrong arguments.
        """
        if not isinstance(inputs, Tensor) or inputs.dim() != 2 or not inputs.isfinite().all():
            raise ArgumentError(
                "PiecewiseLinearEncoding.fit takes the rows of a table",
                expected="a tensor (n, in) of finite numbers",
                got=f"{tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__,
                fix="fill gaps first",
            )
        unfitted = cls([])
        count, wide = a_size(unfitted, "bins", bins), inputs.shape[1]
        chosen = range(wide) if features is None else {a_place(unfitted, "features", each, wide) for each in features}
        return cls([_edges(inputs[:, k], count) if k in chosen else [] for k in range(wide)])

    @property
    def edges(self) -> list[Tensor]:
        """The edges of each feature, (bins + 1), or (K, bins + 1) in a population."""
        parts = zip(self.lower.data.split(self.bins, -1), self.upper.data.split(self.bins, -1), strict=True)
        return [torch.cat([lower, upper[..., -1:]], -1) for lower, upper in parts]

    @property
    def out_features(self) -> int:
        """The number of features of the output."""
        return len(self.bins) + sum(self.bins)

    def forward(self, input: Tensor) -> Tensor:
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise explain_numbers(self, input)
        axes = 1 if self.replicas is None else 2
        if input.dim() < axes or input.shape[-1] != len(self.bins):
            raise self._wrong_features(tuple(input.shape))
        lower, width = self._standing(self.lower.data, input), self._standing(self.upper.data - self.lower.data, input)
        t = (input.index_select(-1, self._features(input)) - lower).div_(width).clamp_(0.0, 1.0)  # (B..., bins)
        self.remember((t, width, input.shape))
        return torch.cat([input, t], -1)

    def backward(self, dy: Tensor) -> Tensor:
        t, width, shape = self.recall()
        whole = (*shape[:-1], self.out_features)
        if not isinstance(dy, Tensor) or dy.shape != whole:
            raise explain_gradient(dy, whole)
        of_input, dt = dy.split([len(self.bins), sum(self.bins)], -1)
        dx: Tensor = of_input.index_add(-1, self._features(dy), dt * between(t, 0.0, 1.0) / width)
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        if not x.shape or x.shape[-1] != len(self.bins):
            raise self._wrong_features(("B", *x.shape))
        if not sum(self.bins):
            return x
        *outer, _ = x.shape
        columns = []
        for feature, bins in enumerate(self.bins):
            if bins:
                column = tracer.reshape(self, tracer.select(self, x, -1, feature), (*outer, 1))
                columns.append(tracer.expand(self, column, (*outer, bins)))
        t = tracer.concat(self, *columns) if len(columns) > 1 else columns[0]
        lower, upper = self._shared(self.lower.data), self._shared(self.upper.data)
        for change, numbers in ((tracer.add, -lower), (tracer.multiply, (upper - lower).reciprocal())):
            t = change(self, t, tracer.expand(self, tracer.constant(self, numbers), t.shape))
        return tracer.concat(self, x, tracer(CLAMP, t))

    def _features(self, like: Tensor) -> Tensor:
        """The feature that each bin is of, (bins,)."""
        places = torch.arange(len(self.bins), device=like.device)
        return places.repeat_interleave(torch.tensor(self.bins, device=like.device), output_size=sum(self.bins))

    def _standing(self, numbers: Tensor, like: Tensor) -> Tensor:
        """Numbers of the bins in a shape that broadcasts to (B..., bins), or (K, B..., bins) in a population."""
        if self.replicas is None:
            return numbers
        return numbers.view(len(numbers), *(1,) * (like.dim() - 2), numbers.shape[-1])

    def _shared(self, numbers: Tensor) -> Tensor:
        """Numbers of the bins, which must be the same in all replicas."""
        if self.replicas is None:
            return numbers
        if not (numbers == numbers[:1]).all():
            raise NotTraceable(
                "the replicas have different edges",
                expected="one graph for all replicas",
                got=f"edges of {len(numbers)} encodings",
                fix="fit one encoding to the rows of all replicas",
            )
        return numbers[0]

    def _wrong_features(self, got: tuple[Any, ...]) -> ShapeError:
        return ShapeError(
            "the input has another number of features than the edges are for",
            expected=f"(B..., {len(self.bins)})",
            got=f"({', '.join(map(str, got))})",
            fix="fit the encoding to rows with these features",
        )

    def extra_repr(self) -> str:
        return f"in_features={len(self.bins)}, bins={sum(self.bins)}"


def _given(feature: int, edges: Any) -> Tensor:
    """The edges of a feature in the default dtype, (n,). Raises ArgumentError for what makes no bins."""
    dtype = torch.get_default_dtype()
    if isinstance(edges, Tensor) and edges.dim() == 1 and not edges.is_complex():
        numbers = edges.to(dtype)
    else:
        edges = several(edges, "edges", "lists of numbers")
        largest: Any = sys.float_info.max
        finite = all(isinstance(each, Real) and bool(-largest <= each <= largest) for each in edges)
        numbers = torch.tensor([float(each) if finite else math.nan for each in edges], dtype=dtype)
    widths = numbers.diff()
    increasing = numbers.isfinite().all() and (widths > 0).all() and widths.reciprocal().isfinite().all()
    if len(numbers) != 1 and increasing:
        return numbers
    raise ArgumentError(
        f"PiecewiseLinearEncoding: the edges of feature {feature} are no bins",
        expected="at least two finite numbers, each larger than the one before, or none",
        got=str(numbers[:5].tolist() if isinstance(edges, Tensor) else edges[:5])[:60],
        fix="PiecewiseLinearEncoding.fit(inputs) chooses edges",
    )


def _edges(column: Tensor, bins: int) -> Tensor:
    """The edges of at most so many bins, for a feature with these values (n,)."""
    values: Tensor = column.unique()
    if len(values) <= 2:
        return values[:0]
    if len(values) <= bins + 1:
        return values
    edges: Tensor = _quantiles(column, bins + 1).unique()
    if missing := bins + 1 - len(edges):
        edges = torch.cat([edges, _quantiles(values, missing + 2)[1:-1]]).unique()
    return edges


def _quantiles(numbers: Tensor, count: int) -> Tensor:
    """So many of these numbers, from the smallest to the largest, with as many rows between each two."""
    places = torch.linspace(0, len(numbers) - 1, count, dtype=torch.float64, device=numbers.device).round().long()
    return numbers.sort().values[places]
