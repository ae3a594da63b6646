"""`MultiheadAttention`: each place of a sequence takes a weighted mean of another sequence's values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamp import axes, init
from lamp.devices import device_of, floating
from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.formulas import wide
from lamp.nn.arguments import a_flag, a_probability, a_size
from lamp.nn.attention_graph import attention
from lamp.nn.checks import explain_gradient, explain_numbers, explain_unlike
from lamp.nn.dropout import RandomMask
from lamp.nn.linear import Linear
from lamp.parameter import Parameter
from lamp.randomness import bernoulli

Products = Sequence[tuple[Tensor, Tensor, float]]  # (left, right, scale): scale left right, for each head


class MultiheadAttention(RandomMask):
    """Attention in several heads, each on its own part of the features.

    q = query Wq^T + bq,  k = key Wk^T + bk,  v = value Wv^T + bv,      each cut into H heads of D = E / H features
    A = softmax(q k^T / sqrt(D) + mask) over the places of the key
    y = (the heads' A v, side by side) Wo^T + bo

    forward(query, key, value, ...) returns (y, weights), where weights are A, the mean over the heads unless
    average_attn_weights=False; None with need_weights=False.

    dropout        the probability with which a weight is set to zero in training mode (masks as in Dropout)
    add_bias_kv    whether a learned key and value are appended to each sequence      add_zero_attn  zeros likewise
    kdim, vdim     the features of key and value; embed_dim by default
    batch_first    whether inputs are (B, L, E); else (L, B, E)
    key_padding_mask  (B, S) or (S): True, or -inf, for places of the key that nobody may look at
    attn_mask      (L, S), or (B H, L, S): True, or -inf, where place l may not look at place s; numbers are added
    is_causal      says that attn_mask is the causal one, as in torch

    A place that may look nowhere, since all is masked, has weights of 0. torch does so with need_weights=False, and
    else returns NaN.

    A population takes masks for all replicas or, marked with `lamp.per_replica`, one per replica, (K, ...).

    Shapes    query (L, B, E) or (L, E)   key (S, B, kdim)   value (S, B, vdim)   y as query   weights (B, L, S)
              in_proj_weight (3 E, E): Wq, Wk and Wv, one after the other, unless kdim or vdim differ
    Backward  dv = A^T dctx,  dA = dctx v^T,  where dctx = dy Wo in heads
              dS = A (dA - sum of dA A over s),   dq = dS k / sqrt(D),   dk = dS^T q / sqrt(D)
              and through the three affine maps
    Init      projections uniform in +-sqrt(6 / (rows + columns)), their biases 0
    Source    torch.nn.MultiheadAttention; Vaswani et al. 2017, arXiv:1706.03762

    Raises ArgumentError for wrong constructor arguments; ShapeError, DTypeError or DeviceError for inputs, masks and
    gradients that do not fit.
    """

    options = ("dropout",)

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.embed_dim, self.num_heads = a_size(self, "embed_dim", embed_dim), a_size(self, "num_heads", num_heads)
        if self.embed_dim % self.num_heads:
            raise ArgumentError(
                "MultiheadAttention: each head has the same number of features",
                expected="embed_dim that num_heads divides",
                got=f"embed_dim={embed_dim}, num_heads={num_heads}",
                fix=f"embed_dim={self.num_heads * max(1, self.embed_dim // self.num_heads)}",
            )
        self.head_dim = self.embed_dim // self.num_heads
        self.dropout = a_probability(self, "dropout", dropout)
        self.kdim = self.embed_dim if kdim is None else a_size(self, "kdim", kdim)
        self.vdim = self.embed_dim if vdim is None else a_size(self, "vdim", vdim)
        self.batch_first = a_flag(self, "batch_first", batch_first)
        self.add_zero_attn = a_flag(self, "add_zero_attn", add_zero_attn)
        bias, add_bias_kv = a_flag(self, "bias", bias), a_flag(self, "add_bias_kv", add_bias_kv)
        place: dict[str, Any] = {"device": device_of(device), "dtype": floating(dtype)}
        features = self.embed_dim
        alike = self.kdim == self.vdim == features
        parts = {} if alike else {"q": features, "k": self.kdim, "v": self.vdim}
        self.q_proj_weight = self._matrix(parts.get("q"), place)
        self.k_proj_weight = self._matrix(parts.get("k"), place)
        self.v_proj_weight = self._matrix(parts.get("v"), place)
        self.in_proj_weight = Parameter(torch.empty(3 * features, features, **place)) if alike else None
        self.in_proj_bias = Parameter(torch.empty(3 * features, **place)) if bias else None
        self.bias_k = Parameter(torch.empty(1, 1, features, **place)) if add_bias_kv else None
        self.bias_v = Parameter(torch.empty(1, 1, features, **place)) if add_bias_kv else None
        self.out_proj = Linear(features, features, bias, **place)
        self._fill(None)

    def _matrix(self, inputs: int | None, place: dict[str, Any]) -> Parameter | None:
        return None if inputs is None else Parameter(torch.empty(self.embed_dim, inputs, **place))

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise all parameters again, from this generator or torch's default one, and return to step 0."""
        self.out_proj.reset_parameters(generator=generator)
        self._fill(generator)

    def _fill(self, generator: torch.Generator | None) -> None:
        super().reset_parameters(generator=generator)
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight.data, generator=generator)
        if self.in_proj_bias is not None:
            self.in_proj_bias.data.zero_()
            assert self.out_proj.bias is not None
            self.out_proj.bias.data.zero_()
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra.data, generator=generator)

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        single = self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise ArgumentError(
                "is_causal only says what kind of mask is given",
                expected="attn_mask, the causal mask",
                got="no attn_mask",
                fix="attn_mask=lamp.Transformer.generate_square_subsequent_mask(length)",
            )
        q, k, v = (
            self._heads(axes.affine(x, weight.mT, bias), single)  # (N, L, D), (N, S, D), (N, S, D) where N = B H
            for x, (weight, bias) in zip((query, key, value), self._projections(data=True), strict=True)
        )
        length, of_batch = k.shape[1], self._batch_first(query, single).shape[:-2]
        k, v = self._longer(k, self.bias_k, of_batch), self._longer(v, self.bias_v, of_batch)
        shape = (*of_batch, self.num_heads, q.shape[1], k.shape[1])  # of the scores: (B, H, L, S)
        mask = self._mask_of(shape, q, length, key_padding_mask, attn_mask, single)
        # A mask that is the same for all heads is not copied for each.
        of_heads = mask.expand(shape).flatten(0, -3) if mask.shape[:-2].numel() > 1 else mask.view(mask.shape[-2:])
        scores = torch.baddbmm(of_heads, q, k.mT, alpha=1.0 / math.sqrt(self.head_dim))
        weights = torch.softmax(scores, -1, out=scores)  # (N, L, S)
        if mask.dim():
            blind = self._blind(mask)
            if blind.device.type != "cpu" or bool(blind.any()):
                weights.view(shape).masked_fill_(blind, 0.0)  # the softmax of -inf alone is NaN
        keep = self._mask(weights.view(shape)).view_as(weights) if self.training and self.dropout else None
        dropped = weights if keep is None else weights * keep
        y: Tensor = self.out_proj(self._side_by_side(dropped, v, query, single))
        alike = query is key is value
        for x in (query,) if alike else (value, key, query):
            self.remember(x)
        self.remember((alike, q, k, v, weights, keep, shape, single, average_attn_weights))
        if not need_weights:
            return y, None
        shown = dropped.view(shape).mean(-3) if average_attn_weights else dropped.view(shape)
        return y, shown.squeeze(-3 if average_attn_weights else -4) if single else shown

    def backward(self, dy: Tensor, dweights: Tensor | None = None, one: bool = False) -> Any:
        """The gradients of query, key and value; with `one`, of a sequence that was all three, their sum."""
        alike, q, k, v, weights, keep, shape, single, average = self.recall()
        inputs = [self.recall()] * 3 if alike else [self.recall() for _ in range(3)]
        if not isinstance(dy, Tensor) or dy.shape != inputs[0].shape:
            raise explain_gradient(dy, inputs[0].shape)
        dcontext = self._heads(self.out_proj.backward(dy), single)  # (N, L, D)
        dropped = weights if keep is None else weights * keep
        dweight = dcontext.bmm(v.mT)  # (N, L, S)
        if dweights is not None:
            shown = dweights.unsqueeze(-3 if average else -4) if single else dweights
            shown = shown.unsqueeze(-3) / self.num_heads if average else shown
            dweight = dweight + shown.expand(shape).flatten(0, -3)
        if keep is not None:
            dweight = dweight.mul_(keep)
        weights, scale = wide(weights), 1.0 / math.sqrt(self.head_dim)
        share = wide(dweight).mul_(weights)
        dscores = share.addcmul_(weights, share.sum(-1, keepdim=True), value=-1.0).to(dweight.dtype)
        products = ((dscores, k, scale), (dscores.mT, q, scale), (dropped.mT, dcontext, 1.0))  # dq, dk and dv
        if one and self.in_proj_weight is not None and self.bias_k is None:
            return self._back_to_one(inputs[0], products, single)
        gradients = []
        for x, (left, right, factor), extra, (weight, _), (dprojection, dbias) in zip(
            inputs,
            products,
            (None, self.bias_k, self.bias_v),
            self._projections(data=True),
            self._projections(data=False),
            strict=True,
        ):
            d = self._side_by_side(left, right, x, single, factor)
            axes.add_affine(dprojection, dbias, d, x)
            gradients.append(axes.affine(d, weight))
            if extra is not None:
                place = self._batch_first(x, single).shape[-2]
                row = (left[:, place : place + 1].bmm(right) * factor).view(*shape[:-2], 1, -1)  # (B, H, 1, D)
                extra.grad.add_(row.transpose(-3, -2).flatten(-2).sum(-3, keepdim=True))  # (1, 1, E)
        dquery, dkey, dvalue = gradients
        return dquery + dkey + dvalue if one else (dquery, dkey, dvalue)

    def _back_to_one(self, x: Tensor, products: Products, single: bool) -> Tensor:
        """The gradient of one sequence that was query, key and value. Its three projections are one affine map."""
        assert self.in_proj_weight is not None
        d = x.new_empty((*x.shape[:-1], 3 * self.embed_dim))
        for part, (left, right, scale) in zip(d.split(self.embed_dim, -1), products, strict=True):
            self._put_side_by_side(part, left, right, single, scale)
        bias = self.in_proj_bias
        axes.add_affine(self.in_proj_weight.grad, None if bias is None else bias.grad, d, x)
        return axes.affine(d, self.in_proj_weight.data)

    def trace(
        self,
        tracer: Any,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        shown = ("mean" if average_attn_weights else "each") if need_weights else None
        return attention(tracer, self, (query, key, value), key_padding_mask, attn_mask, shown)

    # ---- parts -----------------------------------------------------------------------------------------------------
    def _projections(self, data: bool) -> list[tuple[Tensor, Tensor | None]]:
        """Weight (E, inputs) and bias of query, key and value; their gradients if not `data`."""

        def of(parameter: Parameter) -> Tensor:
            return parameter.data if data else parameter.grad

        n = self.embed_dim
        if self.in_proj_weight is not None:
            weights = list(of(self.in_proj_weight).split(n, -2))
        else:
            assert self.q_proj_weight is not None
            assert self.k_proj_weight is not None
            assert self.v_proj_weight is not None
            weights = [of(self.q_proj_weight), of(self.k_proj_weight), of(self.v_proj_weight)]
        biases: Sequence[Tensor | None] = (
            [None] * 3 if self.in_proj_bias is None else of(self.in_proj_bias).split(n, -1)
        )
        return list(zip(weights, biases, strict=True))

    def _batch_first(self, x: Tensor, single: bool) -> Tensor:
        """(B, L, features) of an input or a gradient."""
        return x.unsqueeze(-3) if single else x if self.batch_first else x.transpose(-3, -2)

    def _parted(self, x: Tensor, single: bool) -> Tensor:
        """An input or a gradient with E features as a view (B, H, L, D)."""
        parted: Tensor = self._batch_first(x, single).unflatten(-1, (self.num_heads, self.head_dim))
        return parted.transpose(-3, -2)

    def _heads(self, x: Tensor, single: bool) -> Tensor:
        """The heads of an input or a gradient as one batch, (N, L, D): a view, if L is its first axis."""
        return self._parted(x, single).flatten(0, -3)

    def _side_by_side(self, left: Tensor, right: Tensor, like: Tensor, single: bool, scale: float = 1.0) -> Tensor:
        """scale left right for each head, (N, L, D), as E features with the other axes of an input: (L, B, E).

        Rows of `left` beyond L are left out.
        """
        y = left.new_empty((*like.shape[:-1], self.embed_dim))
        self._put_side_by_side(y, left, right, single, scale)
        return y

    def _put_side_by_side(self, y: Tensor, left: Tensor, right: Tensor, single: bool, scale: float) -> None:
        """Write `_side_by_side` to y."""
        heads = self._parted(y, single)  # (B, H, L, D)
        product = left.new_empty((left.shape[0], *heads.shape[-2:]))
        torch.baddbmm(product, left[:, : heads.shape[-2]], right, beta=0, alpha=scale, out=product)
        heads.copy_(product.view(heads.shape))

    def _longer(self, x: Tensor, extra: Parameter | None, of_batch: Sequence[int]) -> Tensor:
        """Keys or values (N, S, D) with the learned one and the zeros appended."""
        parts = [x]
        if extra is not None:
            row = extra.data.unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)  # (1, H, 1, D)
            parts.append(row.expand(*of_batch, *row.shape[-3:]).flatten(0, -3))
        if self.add_zero_attn:
            parts.append(x.new_zeros(*x.shape[:-2], 1, self.head_dim))
        return torch.cat(parts, -2) if len(parts) > 1 else x

    def _mask_of(
        self,
        shape: Sequence[int],
        like: Tensor,
        length: int,
        padding: Tensor | None,
        attention: Tensor | None,
        single: bool,
    ) -> Tensor:
        """Both masks as numbers to add to scores of this shape (B, H, L, S + extras); without masks 0."""
        *lead, heads, queries, places = shape
        batch = lead[-1]
        found: Tensor | None = None
        if attention is not None:
            mask = self._numbers("attn_mask", attention, like)
            own = lead[:-1] if axes.replicas_of(attention) is not None else []  # K, if each replica has a mask
            forms = [(*own, queries, length), (*own, batch * heads, queries, length)]
            if tuple(mask.shape) not in forms:
                raise self._misfit("attn_mask", " or ".join(map(str, forms)), mask)
            for_all = mask.shape == forms[0]  # all heads of all samples
            found = mask.view(*own, *((1, 1) if for_all else (batch, heads)), queries, length)
        if padding is not None:
            mask = self._numbers("key_padding_mask", padding, like)
            forms = [(length,)] if single else [(batch, length)]
            if len(lead) > 1:
                forms.append((*lead[:-1], *forms[0]))
            if tuple(mask.shape) not in forms:
                raise self._misfit("key_padding_mask", " or ".join(map(str, forms)), mask)
            mask = mask.view(*mask.shape[:-1], *((1,) if single else ()), 1, 1, length)
            found = mask if found is None else found + mask
        if found is None:
            return like.new_zeros(())
        return found if places == length else torch.constant_pad_nd(found, (0, places - length), 0.0)

    @staticmethod
    def _blind(mask: Tensor) -> Tensor:
        """Which places may look nowhere, by the numbers of a mask: (..., L, S) gives (..., L, 1)."""
        return (mask == float("-inf")).all(-1, keepdim=True)

    def _numbers(self, name: str, mask: Any, like: Tensor) -> Tensor:
        """A mask as numbers to add: 0, and -inf where it is True."""
        if not isinstance(mask, Tensor) or not (mask.dtype is torch.bool or mask.is_floating_point()):
            raise DTypeError(
                f"{name} says where attention may not look",
                expected="a tensor of bool, True where not, or of numbers to add",
                got=mask.dtype if isinstance(mask, Tensor) else type(mask).__name__,
                fix=f"{name}.bool()",
            )
        if mask.dtype is torch.bool:
            return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
        return mask.to(like.dtype)

    @staticmethod
    def _misfit(name: str, expected: str, mask: Tensor) -> ShapeError:
        return ShapeError(
            f"the {name} does not fit the inputs",
            expected=expected,
            got=tuple(mask.shape),
            fix="one entry for each pair of places" if name == "attn_mask" else "one entry for each place of the key",
        )

    def _mask_shape(self, x: Tensor) -> tuple[int, ...]:
        return x.shape

    def _draw(self, pairs: Sequence[tuple[int, int]], shape: Sequence[int], x: Tensor) -> Tensor:
        scale = 1.0 / (1.0 - self.dropout) if self.dropout < 1 else 1.0
        return bernoulli(pairs, shape, 1.0 - self.dropout, scale, x.dtype, x.device)

    def _check(self, query: Any, key: Any, value: Any) -> bool:
        """Whether the inputs are single sequences. Raises an error for inputs that do not fit."""
        lead = axes.standing(0, self.replicas)
        for x, features in ((query, self.embed_dim), (key, self.kdim), (value, self.vdim)):
            if not isinstance(x, Tensor) or not x.is_floating_point():
                raise explain_numbers(self, x)
            wrong = explain_unlike(x, self.out_proj.weight)
            if wrong is not None:
                raise wrong
            if x.dim() - lead not in (2, 3) or x.dim() != query.dim() or x.shape[-1] != features:
                order = "B, L" if self.batch_first else "L, B"
                raise ShapeError(
                    "the inputs do not have the axes or the features of this module",
                    expected=f"({order}, {features}) or (L, {features})",
                    got=", ".join(str(tuple(each.shape)) for each in (query, key, value) if isinstance(each, Tensor)),
                    fix="the last axis holds the features; batch_first says where the batch is",
                )
        single: bool = query.dim() - lead == 2
        places = lead if single else lead + (1 if self.batch_first else 0)
        batches = None if single else lead + (0 if self.batch_first else 1)
        if key.shape[places] != value.shape[places] or (
            batches is not None and not query.shape[batches] == key.shape[batches] == value.shape[batches]
        ):
            raise ShapeError(
                "query, key and value do not belong together",
                expected="one batch for all three, and as many keys as values",
                got=", ".join(str(tuple(each.shape)) for each in (query, key, value)),
                fix="batch_first says whether the first axis is the batch",
            )
        return single

    def extra_repr(self) -> str:
        return ""
