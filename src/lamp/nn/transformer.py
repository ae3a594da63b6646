"""The layers of transformers: attention and a small network, with sums and norms around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.nn.activation import Activation
from lamp.nn.activations import GELU
from lamp.nn.activations_piecewise import ReLU
from lamp.nn.arguments import a_flag
from lamp.nn.attention import MultiheadAttention
from lamp.nn.container import Container
from lamp.nn.dropout import Dropout
from lamp.nn.linear import Linear
from lamp.nn.normalization import LayerNorm

BY_NAME: dict[str, type[Activation]] = {"relu": ReLU, "gelu": GELU}


def activation_of(module: Module, given: Any) -> Activation:
    """A lamp activation for "relu", "gelu", torch's function of that name, or an activation itself."""
    if isinstance(given, Activation):
        return given
    name = given if isinstance(given, str) else getattr(given, "__name__", None)
    if name not in BY_NAME:
        raise ArgumentError(
            f"{type(module).__name__}: unknown activation",
            expected="'relu', 'gelu', or a lamp activation such as lamp.SiLU()",
            got=f"{given!r}"[:60],
            fix="activation=lamp.GELU()",
        )
    return BY_NAME[name]()


class _Layer(Container):
    """What encoder and decoder layers share: the feed-forward part, and sums with norms before or after."""

    linear1: Linear
    linear2: Linear
    dropout: Dropout
    norm_first: bool
    activation: Activation
    self_attn: MultiheadAttention
    dropout1: Dropout

    def _feed(self, norm: LayerNorm, drop: Dropout) -> list[Module]:
        """The modules of the feed-forward part, in sequence; with norm_first the norm stands before them."""
        feed = [self.linear1, self.activation, self.dropout, self.linear2, drop]
        return [norm, *feed] if self.norm_first else feed

    def _attention_back(self, dy: Tensor) -> Tensor:
        """The gradient of dropout1(self_attn(x, x, x)) in x."""
        dx: Tensor = self.self_attn.backward(self.dropout1.backward(dy), None, True)
        return dx


class TransformerEncoderLayer(_Layer):
    """A layer of a transformer's encoder: self-attention, then two linear layers, each part with a residual sum.

    x <- norm1(x + drop(attention(x)))          (norm_first: x + drop(attention(norm1(x))))
    y = norm2(x + drop(feed(x)))                (norm_first: x + drop(feed(norm2(x))))
    feed(x) = linear2(drop(activation(linear1(x))))

    activation  "relu", "gelu" or a lamp activation      norm_first  whether norms stand before the two parts
    Shapes    src and y (L, B, d_model), or (B, L, d_model) if batch_first, or (L, d_model); masks as in
              MultiheadAttention
    Backward  each sum passes dy on to both of its terms; the rest are the backwards of the parts
    Source    torch.nn.TransformerEncoderLayer; Vaswani et al. 2017

    Raises the errors of its parts.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first = a_flag(self, "norm_first", norm_first)
        self.activation = activation_of(self, activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        masks = (src_key_padding_mask, False, src_mask, True, is_causal and src_mask is not None)
        if self.norm_first:
            x = self._offering(self.norm1, src)
            x = src + self.dropout1(self.self_attn(x, x, x, *masks)[0])
            y: Tensor = x + self.forward_through(self._feed(self.norm2, self.dropout2), x)
            return y
        x = self._offering(self.norm1, src + self.dropout1(self.self_attn(src, src, src, *masks)[0]))
        y = self.norm2(x + self.forward_through(self._feed(self.norm2, self.dropout2), x))
        return y

    def backward(self, dy: Tensor) -> Tensor:
        feed = self._feed(self.norm2, self.dropout2)
        if self.norm_first:
            dx: Tensor = dy + self.backward_through(feed, dy)
            return dx + self.norm1.backward(self._attention_back(dx))
        dx = self.norm2.backward(dy)
        dx = self.norm1.backward(dx + self.backward_through(feed, dx))
        return dx + self._attention_back(dx)

    def trace(
        self, tracer: Any, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Any:
        def attended(x: Any) -> Any:
            return tracer(self.dropout1, tracer(self.self_attn, x, x, x, src_key_padding_mask, False, src_mask)[0])

        feed = self._feed(self.norm2, self.dropout2)
        if self.norm_first:
            x = tracer.add(self, src, attended(tracer(self.norm1, src)))
            return tracer.add(self, x, self.trace_through(tracer, feed, x))
        x = tracer(self.norm1, tracer.add(self, src, attended(src)))
        return tracer(self.norm2, tracer.add(self, x, self.trace_through(tracer, feed, x)))


class TransformerDecoderLayer(_Layer):
    """A layer of a transformer's decoder: as the encoder's, with attention to the encoder's output in between.

    x <- norm1(x + drop(attention(x)))
    x <- norm2(x + drop(attention(x, memory)))
    y = norm3(x + drop(feed(x)))                (norm_first: norms before the parts, as in TransformerEncoderLayer)

    Shapes    tgt and y (L, B, d_model), memory (S, B, d_model); batch_first and single sequences as in the encoder
    Backward  returns the gradients of tgt and memory
    Source    torch.nn.TransformerDecoderLayer; Vaswani et al. 2017

    Raises the errors of its parts.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = a_flag(self, "norm_first", norm_first)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d_model, layer_norm_eps, bias=bias, **place) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(3))
        self.activation = activation_of(self, activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        own = (tgt_key_padding_mask, False, tgt_mask, True, tgt_is_causal and tgt_mask is not None)
        across = (memory_key_padding_mask, False, memory_mask, True, memory_is_causal and memory_mask is not None)
        x = tgt
        if self.norm_first:
            z = self._offering(self.norm1, x)
            x = x + self.dropout1(self.self_attn(z, z, z, *own)[0])
            x = x + self.dropout2(self.multihead_attn(self._offering(self.norm2, x), memory, memory, *across)[0])
            y: Tensor = x + self.forward_through(self._feed(self.norm3, self.dropout3), x)
            return y
        x = self._offering(self.norm1, x + self.dropout1(self.self_attn(x, x, x, *own)[0]))
        x = self._offering(self.norm2, x + self.dropout2(self.multihead_attn(x, memory, memory, *across)[0]))
        y = self.norm3(x + self.forward_through(self._feed(self.norm3, self.dropout3), x))
        return y

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        feed = self._feed(self.norm3, self.dropout3)
        if self.norm_first:
            dx = dy + self.backward_through(feed, dy)
            dquery, dkey, dvalue = self.multihead_attn.backward(self.dropout2.backward(dx))
            dx = dx + self.norm2.backward(dquery)
            return dx + self.norm1.backward(self._attention_back(dx)), dkey + dvalue
        dx = self.norm3.backward(dy)
        dx = self.norm2.backward(dx + self.backward_through(feed, dx))
        dquery, dkey, dvalue = self.multihead_attn.backward(self.dropout2.backward(dx))
        dx = self.norm1.backward(dx + dquery)
        return dx + self._attention_back(dx), dkey + dvalue

    def trace(
        self,
        tracer: Any,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        own, across = (tgt_key_padding_mask, False, tgt_mask), (memory_key_padding_mask, False, memory_mask)

        def attended(x: Any) -> Any:
            return tracer(self.dropout1, tracer(self.self_attn, x, x, x, *own)[0])

        def looked_up(x: Any) -> Any:
            return tracer(self.dropout2, tracer(self.multihead_attn, x, memory, memory, *across)[0])

        x, feed = tgt, self._feed(self.norm3, self.dropout3)
        if self.norm_first:
            x = tracer.add(self, x, attended(tracer(self.norm1, x)))
            x = tracer.add(self, x, looked_up(tracer(self.norm2, x)))
            return tracer.add(self, x, self.trace_through(tracer, feed, x))
        x = tracer(self.norm1, tracer.add(self, x, attended(x)))
        x = tracer(self.norm2, tracer.add(self, x, looked_up(x)))
        return tracer(self.norm3, tracer.add(self, x, self.trace_through(tracer, feed, x)))


def summed(gradients: tuple[Tensor, ...]) -> Tensor:
    """The gradient of a sequence that was query, key and value at once."""
    first, *others = gradients
    for other in others:
        first = first + other
    return first
