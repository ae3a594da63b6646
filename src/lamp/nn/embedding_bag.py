"""`EmbeddingBag`: sums, means or maxima over bags of rows of a table."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, NotTraceable, ShapeError
from lamp.formulas import wide
from lamp.nn.arguments import a_flag, one_of
from lamp.nn.checks import explain_gradient
from lamp.nn.embedding import Lookup, sizes_of
from lamp.signatures import called

MODES = ("sum", "mean", "max")  # torch's numbers of the modes


class EmbeddingBag(Lookup):
    """The sum, mean or maximum of the rows that each bag of indices names.

    y_b = sum over i in bag b of w_i weight[x_i], or the mean, or the maximum of each column; 0 for an empty bag

    Shapes    x (B, N), bags of N indices each; or x (N), all bags one after the other, with offsets (B), where each bag
              begins   per_sample_weights w: the shape of x, for sums only   y (B, embedding_dim)
    Backward  dweight[v] = sum of w_i dy_b over the i in b with x_i = v,   dw_i = dy_b . weight[x_i]
              for a mean w_i is 1 / n_b; for a maximum, the row that has it gets dy_b of that column
    Init      weight standard normal, and zero in the row padding_idx
    Source    torch.nn.EmbeddingBag; derived in docs/derivations/embedding.md

    padding_idx          indices that count as absent
    include_last_offset  whether offsets are (B + 1), with the end of the last bag
    max_norm, norm_type, scale_grad_by_freq, sparse  as in Embedding

    Raises what Embedding raises, and ShapeError or ArgumentError for offsets or weights that do not fit.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.mode = one_of(self, "mode", mode, *MODES)
        self.include_last_offset = a_flag(self, "include_last_offset", include_last_offset)
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            False,
            device,
            dtype,
        )
        refused = [name for name in ("scale_grad_by_freq", "sparse") if getattr(self, name)]
        if refused and self.mode == "max":
            raise ArgumentError(
                "EmbeddingBag: a maximum has neither a mean over the places of an index, nor sparse gradients in torch",
                expected=f"{refused[0]}=False for mode='max'",
                got=f"{refused[0]}=True",
                fix="leave it out, or use mode='sum' or 'mean'",
            )

    @classmethod
    @called()
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """An EmbeddingBag with a copy of this table; see Embedding.from_pretrained."""
        rows, columns = sizes_of(cls, embeddings)
        made = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        made.weight.freeze(a_flag(made, "freeze", freeze))
        return made

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        indices = self._indices(input)
        starts, count = self._starts(input, offsets)  # of all replicas' bags, one after the other
        self._check_weights(per_sample_weights, input)
        places = indices.reshape(-1) if self.replicas is None else self._flat_or_error(indices)
        bags = torch.searchsorted(starts, torch.arange(len(places), device=places.device), right=True) - 1
        there = None if self.padding_idx is None else indices.reshape(-1) != self.padding_idx
        table = self.weight.data if self.replicas is None else self.weight.data.flatten(0, 1)
        factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)
        largest = None
        try:
            if self.mode == "max":
                y, largest = _maxima(table.index_select(0, places), places, bags, there, len(starts))
            else:
                if self.mode == "mean" or there is not None:
                    counted = torch.promote_types(table.dtype, torch.float32)  # half precision counts to 256 or 2,048
                    present = torch.ones_like(places, dtype=counted) if there is None else there.to(counted)
                    if self.mode == "mean":
                        sizes = present.new_zeros(len(starts)).index_add_(0, bags, present).clamp_min_(1.0)
                        factors = present / sizes[bags]
                    else:
                        factors = present if factors is None else factors * present
                if (
                    self.mode == "mean" and table.dtype.itemsize < 4
                ):  # a rounded 1 / n would be one error for a whole bag
                    y = _sums(table, places, starts, None if there is None else present)
                    y = (y.float() / sizes.unsqueeze(1)).to(table.dtype)
                else:
                    y = _sums(table, places, starts, factors)
        except (RuntimeError, IndexError, ValueError):
            raise self._wrong_indices(indices) from None
        y = y.view(*indices.shape[:-1], count, self.embedding_dim)
        self.remember((indices, bags, factors, largest, y.shape, None if per_sample_weights is None else input.shape))
        return y

    def backward(self, dy: Tensor) -> Any:
        indices, bags, factors, largest, shape, weighted = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        dy = dy.reshape(-1, self.embedding_dim)
        if largest is not None:
            if not self.weight.frozen:
                grad, found = self.weight.grad, largest >= 0
                added = wide(grad.new_zeros(grad.shape)).view(-1, self.embedding_dim)
                added.scatter_add_(0, largest.clamp_min(0), wide(dy * found))
                grad.add_(added.view(grad.shape))
            return None
        dbags = dy.index_select(0, bags)  # for each index
        drows = dbags if factors is None else dbags * factors.unsqueeze(1)
        self._add_to_rows(indices, drows.view(*indices.shape, self.embedding_dim))
        if weighted is None:
            return None
        dweights = (dbags.view(*indices.shape, -1) * self._rows(indices)).sum(-1)
        if self.padding_idx is not None:
            dweights = dweights * (indices != self.padding_idx)
        return None, None, dweights.view(weighted)

    def trace(self, tracer: Any, input: Any, *others: Any) -> Any:
        if others or self.padding_idx is not None or len(input.shape) != 1:
            raise NotTraceable(
                "in a graph all bags have the same size",
                expected="an input (B, N), no padding_idx, no offsets and no weights",
                got=f"{1 + len(others)} inputs, padding_idx={self.padding_idx}",
                fix="lamp.Embedding, then a module of your own that adds up what is there",
            )
        rows = tracer.gather(self, input, self.weight)
        return tracer.op("Reduce", self, [rows], (self.embedding_dim,), mode=self.mode, axis=0)

    # ---- checks ------------------------------------------------------------------------------------------------------
    def _flat_or_error(self, indices: Tensor) -> Tensor:
        try:
            return self._flat(indices)
        except RuntimeError:
            raise self._wrong_indices(indices) from None

    def _starts(self, input: Tensor, offsets: Tensor | None) -> tuple[Tensor, int]:
        """Where the bags of all replicas begin, one after the other, and how many bags each replica has."""
        lead = 0 if self.replicas is None else 1
        replicas, axes = self.replicas or 1, input.dim() - lead
        if axes not in (1, 2) or (offsets is None) != (axes == 2):
            raise ShapeError(
                "the bags are not told",
                expected="an input (B, N) without offsets, or (N) with offsets (B)",
                got=f"{tuple(input.shape)}, {'no offsets' if offsets is None else 'offsets'}",
                fix="pass offsets=torch.tensor([0, ...]), where each bag begins",
            )
        if offsets is None:
            count = input.shape[lead]
            size = input.shape[-1]
            return torch.arange(replicas * count, device=input.device) * size, count
        length = input.shape[-1]
        if not isinstance(offsets, Tensor) or offsets.dim() != 1 + lead or offsets.is_floating_point():
            raise ShapeError(
                "offsets say where each bag begins",
                expected="a tensor of integers (B)",
                got=tuple(offsets.shape) if isinstance(offsets, Tensor) else type(offsets).__name__,
                fix="offsets=torch.tensor([0, 3, 7])",
            )
        begins = offsets[..., :-1] if self.include_last_offset else offsets
        flat = offsets.reshape(replicas, -1)
        rising = flat.shape[1] > 0 and not (flat[:, 0] != 0).any() and not (flat.diff() < 0).any()
        if not rising or (flat[:, -1] > length).any() or begins.shape[-1] == 0:
            raise ArgumentError(
                "the offsets do not fit the input",
                expected=f"0 first, then numbers that do not fall, up to {length}",
                got=flat[0].tolist()[:10],
                fix="the lengths of the bags, summed up: lengths.cumsum(0) - lengths",
            )
        begins = begins.reshape(replicas, -1)
        first = torch.arange(replicas, device=begins.device).unsqueeze(1) * length
        return (begins + first).flatten().to(torch.int64), begins.shape[1]

    def _check_weights(self, weights: Any, input: Tensor) -> None:
        if weights is None:
            return
        if self.mode != "sum":
            raise ArgumentError(
                "EmbeddingBag: weights are for sums",
                expected="mode='sum', or no per_sample_weights",
                got=f"mode={self.mode!r}",
                fix="mode='sum'; weights that add up to 1 give a weighted mean",
            )
        if not isinstance(weights, Tensor) or weights.dtype != self.weight.dtype:
            raise DTypeError(
                "the weights have another dtype than the table",
                expected=self.weight.dtype,
                got=weights.dtype if isinstance(weights, Tensor) else type(weights).__name__,
                fix=f"per_sample_weights.to({self.weight.dtype})",
            )
        if weights.shape != input.shape:
            raise ShapeError(
                "there is not one weight per index",
                expected=tuple(input.shape),
                got=tuple(weights.shape),
                fix="pass one weight for each index",
            )

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{self._options()}, mode={self.mode!r}{padding}"


def _sums(table: Tensor, places: Tensor, starts: Tensor, factors: Tensor | None) -> Tensor:
    """The sum of the rows at the places of each bag, each times its factor: (bags, D)."""
    weights = None if factors is None else factors.to(table.dtype)
    sums: Tensor = torch.embedding_bag(table, places, starts, False, 0, False, weights)[0]
    return sums


def _maxima(rows: Tensor, places: Tensor, bags: Tensor, there: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """The largest number of each column in each bag of rows, (count, D), and the place of the first row that has it.

    Empty bags have zeros, and the place -1.
    """
    if there is not None:
        rows = rows.masked_fill(~there.unsqueeze(1), -torch.inf)
    at, n = bags.unsqueeze(1).expand_as(rows), len(rows)
    y = rows.new_full((count, rows.shape[1]), -torch.inf).scatter_reduce_(0, at, rows, "amax")
    has_it = (rows == y.index_select(0, bags)) | rows.isnan()
    if there is not None:
        has_it &= there.unsqueeze(1)
    order = torch.arange(n, device=rows.device).unsqueeze(1).expand_as(rows)
    first = at.new_full(y.shape, n).scatter_reduce_(0, at, torch.where(has_it, order, n), "amin")
    ends = torch.cat([places.long(), places.new_full((1,), -1).long()])
    return torch.where(first == n, 0.0, y), ends.index_select(0, first.flatten()).view(first.shape)
