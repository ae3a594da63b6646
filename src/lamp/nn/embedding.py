"""`Embedding`: rows of a table of weights, looked up by index."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from lamp import init
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, DeviceError, DTypeError, LampError, MissingIndexError
from lamp.formulas import constant, wide
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_place, a_size, positive
from lamp.nn.checks import explain_gradient, not_a_tensor
from lamp.parameter import Parameter
from lamp.signatures import called


class Lookup(Module):
    """Base of the modules that look up rows of a table: the table, its checks, and the gradient of its rows."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        freeze: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        self.num_embeddings = rows = a_size(self, "num_embeddings", num_embeddings)
        self.embedding_dim = columns = a_size(self, "embedding_dim", embedding_dim)
        self.padding_idx = None if padding_idx is None else a_place(self, "padding_idx", padding_idx, rows)
        self.max_norm = None if max_norm is None else positive(self, "max_norm", max_norm)
        self.norm_type = positive(self, "norm_type", norm_type, finite=False)
        self.scale_grad_by_freq = a_flag(self, "scale_grad_by_freq", scale_grad_by_freq)
        self.sparse = a_flag(self, "sparse", sparse)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        self._given = weight is not None  # weights that were given, which `reset_parameters` leaves as they are
        given = torch.empty(rows, columns, **place) if weight is None else _as_table(self, weight, rows, columns)
        self.weight = Parameter(given, not a_flag(self, "freeze", freeze))
        self.reset_parameters()

    @called()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise the table again, from this generator or torch's default one. Pretrained weights stay."""
        if self._given:
            return
        init.normal_(self.weight.data, generator=generator)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0.0

    # ---- rows --------------------------------------------------------------------------------------------------------
    def _indices(self, input: Tensor) -> Tensor:
        """The indices of a batch as (n,), or (K, n) in a population, whose rows are shortened to `max_norm` first."""
        if not isinstance(input, Tensor) or input.dtype not in (torch.int64, torch.int32):
            raise self._not_indices(input)
        indices = input.reshape(-1) if self.replicas is None else input.reshape(self.replicas, -1)
        if indices.is_meta and not self.weight.is_meta:
            raise self._wrong_indices(indices)  # torch would return memory that nobody has written to
        if self.max_norm is not None:
            self._shorten(indices)
        return indices

    def _rows(self, indices: Tensor) -> Tensor:
        """The rows of the table with these indices: (n, D), or (K, n, D)."""
        table = self.weight.data
        try:
            if self.replicas is None:
                return table.index_select(0, indices)
            if _is_shared(indices):
                return table.index_select(1, indices[0])
            # The copy of all tables costs less than any of the passes over them that an optimizer makes.
            return table.flatten(0, 1).index_select(0, self._flat(indices)).view(*indices.shape, self.embedding_dim)
        except (RuntimeError, IndexError):
            raise self._wrong_indices(indices) from None

    def _flat(self, indices: Tensor) -> Tensor:
        """Indices (K, n) as those of the rows in all tables, one table after the other: (K n,)."""
        torch._assert_async(((indices >= 0) & (indices < self.num_embeddings)).all())  # else they reach another table
        first = torch.arange(len(indices), device=indices.device) * self.num_embeddings
        return (indices + first.unsqueeze(1)).flatten()

    def _add_to_rows(self, indices: Tensor, drows: Tensor) -> None:
        """Add the gradients of looked-up rows, (n, D) or (K, n, D), to the gradients of the table's rows."""
        if self.weight.frozen:
            return
        grad, padding = self.weight.grad, self.padding_idx
        if self.scale_grad_by_freq:
            drows = wide(drows) / self._counts(indices).unsqueeze(-1)
        kept = None if padding is None else grad.select(-2, padding).clone()
        # A row may be read thousands of times, and half precision loses the small terms of such a sum.
        total = grad if grad.dtype.itemsize >= 4 else grad.new_zeros(grad.shape, dtype=torch.float32)
        drows = drows.to(total.dtype)
        if self.replicas is None:
            total.index_add_(0, indices, drows)
        elif _is_shared(indices):
            total.index_add_(1, indices[0], drows)
        else:
            added = total.new_zeros(total.shape).flatten(0, 1)
            total.add_(added.index_add_(0, self._flat(indices), drows.flatten(0, 1)).view(total.shape))
        if total is not grad:
            grad.add_(total)
        if kept is not None and padding is not None:
            grad.select(-2, padding).copy_(kept)  # the padding row has no gradient

    def _counts(self, indices: Tensor) -> Tensor:
        """How often each index is among the indices (of its replica)."""
        indices = indices.long()
        counts = indices.new_zeros(self.weight.shape[:-1])
        return counts.scatter_add_(-1, indices, torch.ones_like(indices)).gather(-1, indices)

    def _shorten(self, indices: Tensor) -> None:
        """Scale the rows with these indices that are longer than `max_norm` to that length, in place."""
        table, found = self.weight.data, self._rows(indices)
        rows = self.shortened(found)
        if rows is found:
            return
        if self.replicas is None:
            table.index_copy_(0, indices, rows)
        elif _is_shared(indices):
            table.index_copy_(1, indices[0], rows)
        else:
            changed = table.flatten(0, 1).index_copy_(0, self._flat(indices), rows.flatten(0, 1))
            table.copy_(changed.view(table.shape))

    def shortened(self, rows: Tensor) -> Tensor:
        """These rows of the table, (..., D), after `max_norm`."""
        if self.max_norm is None:
            return rows
        norms = torch.linalg.vector_norm(rows, self.norm_type, -1, keepdim=True)
        long = norms > constant(self.max_norm, norms)
        if long.is_cpu and not long.any():
            return rows
        return torch.where(long, rows * (constant(self.max_norm, norms) / (norms + constant(1e-7, norms))), rows)

    # ---- checks ------------------------------------------------------------------------------------------------------
    def _not_indices(self, input: Any) -> LampError:
        if not isinstance(input, Tensor):
            return not_a_tensor(type(self).__name__, input, "needs a tensor of indices")
        return DTypeError(
            f"{type(self).__name__} looks up rows by index",
            expected=f"torch.int64 or torch.int32, from 0 to {self.num_embeddings - 1}",
            got=input.dtype,
            fix="input.long(), if these are indices",
        )

    def _wrong_indices(self, indices: Tensor) -> LampError:
        """The error for indices that the table does not have, or that are elsewhere."""
        if indices.device != self.weight.device:
            return DeviceError(
                "the indices are on another device than the table",
                expected=self.weight.device,
                got=indices.device,
                fix=f"input.to('{self.weight.device}')",
            )
        outside = indices[(indices < 0) | (indices >= self.num_embeddings)]
        return MissingIndexError(
            "the table has no row with this index",
            expected=f"indices from 0 to {self.num_embeddings - 1}",
            got=f"{int(outside[0]) if len(outside) else '?'}; {len(outside)} of {indices.numel()} indices are outside",
            fix="count the tokens from 0; padding_idx names the row of a token to ignore"
            if int(indices.min()) < 0
            else f"num_embeddings={int(indices.max()) + 1}, or check how the tokens were numbered",
        )

    def _options(self) -> str:
        """Those options that are not the default, for the repr."""
        shown = "" if self.max_norm is None else f", max_norm={self.max_norm}"
        shown += "" if self.norm_type == 2 else f", norm_type={self.norm_type}"
        shown += ", scale_grad_by_freq=True" if self.scale_grad_by_freq else ""
        return shown + (", sparse=True" if self.sparse else "")


class Embedding(Lookup):
    """Rows of a table of weights, looked up by index.

    y = weight[x]

    Shapes    x (B...), int64 or int32, from 0 to num_embeddings - 1   weight (num_embeddings, embedding_dim)
              y (B..., embedding_dim)
    Backward  dweight[v] = sum of dy over the places where x is v. Indices have no gradient: dx is None
    Init      weight standard normal, and zero in the row padding_idx
    Source    torch.nn.Embedding; derived in docs/derivations/embedding.md

    padding_idx         a row that gets no gradient, and so stays as it is (zero)
    max_norm            forward first scales each row that it looks up to this norm_type-norm, in place, if it is longer
    scale_grad_by_freq  whether dweight[v] is divided by the number of places where x is v
    sparse              changes nothing: the gradient is dense, and has the values of torch's sparse one. So SGD,
                        Adagrad and SparseAdam (which says where not) move the table as in torch. Other optimizers,
                        and a weight_decay, which torch refuses for a sparse gradient, do as without it

    Raises ArgumentError for wrong constructor arguments; DTypeError for an input that is not a tensor of indices,
    MissingIndexError for indices that the table does not have, and ShapeError for a gradient that does not fit.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            _freeze,
            device,
            dtype,
        )

    @classmethod
    @called()
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """An Embedding with a copy of this table (num_embeddings, embedding_dim).

        freeze  whether the table stays as it is in training

        `reset_parameters` keeps the table, so all replicas of a population begin with it.
        """
        rows, columns = sizes_of(cls, embeddings)
        return cls(
            rows,
            columns,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight=embeddings,
            _freeze=freeze,
        )

    def forward(self, input: Tensor) -> Tensor:
        indices = self._indices(input)
        y = self._rows(indices).view(*input.shape, self.embedding_dim)
        self.remember((indices, y.shape))
        return y

    def backward(self, dy: Tensor) -> None:
        indices, shape = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        self._add_to_rows(indices, dy.reshape(*indices.shape, self.embedding_dim))

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.gather(self, x, self.weight)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}" + self._options()


def _is_shared(indices: Tensor) -> bool:
    """Whether all replicas have the same indices: a batch that was expanded, not copied."""
    return indices.stride(0) == 0 or len(indices) == 1


def sizes_of(kind: type[Module], table: Any) -> tuple[int, int]:
    """The sizes of a table of weights. Raises ArgumentError for anything else."""
    if isinstance(table, Tensor) and table.dim() == 2:
        return table.shape[0], table.shape[1]
    raise ArgumentError(
        f"{kind.__name__}.from_pretrained takes a table of weights",
        expected="a tensor (num_embeddings, embedding_dim)",
        got=f"a tensor {tuple(table.shape)}" if isinstance(table, Tensor) else type(table).__name__,
        fix="torch.as_tensor(rows, dtype=torch.float32)",
    )


def _as_table(module: Module, weight: Any, rows: int, columns: int) -> Tensor:
    """A copy of weights that were given."""
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.shape != (rows, columns):
        raise ArgumentError(
            f"{type(module).__name__}: these are no weights for this table",
            expected=f"a floating-point tensor ({rows}, {columns})",
            got=f"{weight.dtype} {tuple(weight.shape)}" if isinstance(weight, Tensor) else type(weight).__name__,
            fix="Embedding.from_pretrained(weight), which takes the sizes from the weights",
        )
    return weight.detach().clone()
