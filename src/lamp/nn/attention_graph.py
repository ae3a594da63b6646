"""Attention as operations of a graph, which `MultiheadAttention.trace` writes."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from lamp.errors import NotTraceable, ShapeError
from lamp.graph import Value, sizes
from lamp.nn.padding import pad_in_graph
from lamp.parameter import Parameter


def attention(
    tracer: Any, module: Any, inputs: tuple[Any, ...], padding: Any, mask: Any, shown: str | None
) -> tuple[Any, Any]:
    """The output (L, E) of a MultiheadAttention, and its weights: "mean" (L, S) or "each" head's (H, L, S), or None."""
    inputs = tuple(tracer.sequences(x, module.batch_first) for x in inputs)
    _check(module, inputs)
    (length, features), keys = inputs[0].shape, inputs[1].shape[0]
    q, k, v = _heads(tracer, module, inputs)  # (H, L, D), (H, S, D), (H, S, D)
    k, v = (_longer(tracer, module, x, extra) for x, extra in ((k, module.bias_k), (v, module.bias_v)))
    scores = tracer.matmul(module, q, k, transposed=True, scale=1.0 / math.sqrt(module.head_dim))  # (H, L, S)
    for each in (_mask(tracer, module, mask, (length, keys), q), _padding(tracer, module, padding, keys, q)):
        if each is not None:
            extras = k.shape[1] - keys
            each = each if not extras else pad_in_graph(tracer, module, each, (0, extras), "constant")
            scores = tracer.add(module, scores, tracer.expand(module, each, scores.shape))
    masked = padding is not None
    if mask is not None and not masked:  # may some place look nowhere?
        masked = bool(module._blind(module._numbers("attn_mask", mask, scores)).any())
    weights = tracer.softmax(module, scores, -1, log=False, masked=masked)
    weights = tracer.mask(module, weights) if module.dropout else weights
    visible = weights if shown == "each" else None
    if shown == "mean":
        visible = tracer.op("Reduce", module, [weights], weights.shape[1:], mode="mean", axis=0)
    context = tracer.permute(module, tracer.matmul(module, weights, v), (1, 0, 2))  # (L, H, D)
    y = tracer(module.out_proj, tracer.reshape(module, context, (length, features)))
    return tracer.batch_at(y, 0 if module.batch_first else 1), visible


def _check(module: Any, inputs: tuple[Any, ...]) -> None:
    """Raise ShapeError unless query, key and value are batches of sequences, with as many keys as values."""
    features = module.embed_dim, module.kdim, module.vdim
    fit = all(len(x.shape) == 2 and x.shape[1] == n for x, n in zip(inputs, features, strict=True))
    if not fit or inputs[1].shape[0] != inputs[2].shape[0]:
        raise ShapeError(
            "the inputs do not have the axes or the features of this module",
            expected=", ".join(f"(B, {axis}, {n})" for axis, n in zip("LSS", features, strict=True)),
            got=", ".join(sizes(("B", *x.shape)) for x in inputs),
            fix="pass batches of query, key and value, with as many keys as values",
        )


def _heads(tracer: Any, module: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Query, key and value, projected and divided into heads. Those of one sequence are one affine map, if they can."""
    features, heads, depth = module.embed_dim, module.num_heads, module.head_dim
    own = module.q_proj_weight, module.k_proj_weight, module.v_proj_weight
    found = []
    for _, group in groupby(range(3), lambda k: inputs[k] if module.in_proj_weight is not None else k):
        places = list(group)
        first, count = places[0], len(places)
        part = None if count == 3 else (first * features, (first + count) * features)
        weight = own[first] if module.in_proj_weight is None else module.in_proj_weight
        y = tracer.affine(module, inputs[first], weight, module.in_proj_bias, part)  # (L, count E)
        if count == 1:
            y = tracer.reshape(module, y, (y.shape[0], heads, depth))
            found.append(tracer.permute(module, y, (1, 0, 2)))  # (H, L, D)
            continue
        y = tracer.reshape(module, y, (y.shape[0], count, heads, depth))
        y = tracer.permute(module, y, (1, 2, 0, 3))  # (count, H, L, D)
        found += [tracer.select(module, y, 1, k) for k in range(count)]
    return found


def _longer(tracer: Any, module: Any, x: Any, extra: Parameter | None) -> Any:
    """Keys or values (H, S, D) with the learned one and the zeros appended."""
    zeros = int(module.add_zero_attn)
    rows = (extra is not None) + zeros
    if not rows:
        return x
    longer = pad_in_graph(tracer, module, x, (0, 0, 0, rows), "constant")
    if extra is None:
        return longer
    row = tracer.reshape(module, tracer.constant(module, extra), (x.shape[0], 1, x.shape[2]))
    return tracer.add(module, longer, pad_in_graph(tracer, module, row, (0, 0, x.shape[1], zeros), "constant"))


def _mask(tracer: Any, module: Any, mask: Any, shape: tuple[int, int], like: Any) -> Any:
    """attn_mask as a value (L, S) of numbers to add."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or tuple(mask.shape) != shape:
        raise _not_constant("attn_mask", f"a tensor {shape}, the same for every sample", mask)
    return tracer.constant(module, module._numbers("attn_mask", mask, like))


def _padding(tracer: Any, module: Any, padding: Any, keys: int, like: Any) -> Any:
    """key_padding_mask as a value (1, 1, S) of numbers to add."""
    if padding is None:
        return None
    if not isinstance(padding, Value):
        raise _not_constant("key_padding_mask", f"a batch (B, {keys}), an input of the network", padding)
    if padding.shape != (keys,):
        raise ShapeError(
            "the key_padding_mask does not fit the inputs",
            expected=f"(B, {keys})",
            got=sizes(("B", *padding.shape)),
            fix="one entry for each place of the key",
        )
    if padding.dtype is torch.bool:
        padding = tracer.op("Exclude", module, [padding], padding.shape, dtype=like.dtype)
    return tracer.reshape(module, padding, (1, 1, keys))


def _not_constant(name: str, expected: str, got: Any) -> NotTraceable:
    shape = got.shape if isinstance(got, Tensor | Value) else None
    what = type(got).__name__ if shape is None else f"a {'batch' if isinstance(got, Value) else 'tensor'} "
    return NotTraceable(
        f"in a graph {name} is {'the same for every sample' if name == 'attn_mask' else 'a value of its own'}",
        expected=expected,
        got=what if shape is None else what + sizes(("B", *shape) if isinstance(got, Value) else shape),
        fix=f"lamp.trace(model, x, {name}=mask)" if name == "attn_mask" else f"pass {name} as another batch",
    )
