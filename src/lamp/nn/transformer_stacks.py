"""Transformers: stacks of encoder and decoder layers, and both together."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from lamp import init
from lamp.errors import ArgumentError
from lamp.module import Module
from lamp.nn.arguments import a_flag, a_size
from lamp.nn.normalization import LayerNorm
from lamp.nn.transformer import TransformerDecoderLayer, TransformerEncoderLayer, summed
from lamp.values import kind_of


class TransformerEncoder(Module):
    """num_layers copies of an encoder layer, one after the other, then a norm if there is one.

    Shapes    src and y as in TransformerEncoderLayer
    Backward  through the layers in reverse order
    Source    torch.nn.TransformerEncoder; its shortcuts enable_nested_tensor and mask_check do nothing here

    Raises ArgumentError for anything but a module and a number of layers, and the errors of the layers.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        self.layers = copies(self, encoder_layer, num_layers)
        self.num_layers, self.norm = len(self.layers), a_part(self, "norm", norm)
        self.enable_nested_tensor = a_flag(self, "enable_nested_tensor", enable_nested_tensor)
        self.mask_check = a_flag(self, "mask_check", mask_check)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)

    def backward(self, dy: Tensor) -> Tensor:
        dy = dy if self.norm is None else self.norm.backward(dy)
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def trace(
        self, tracer: Any, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        for layer in self.layers:
            src = tracer(layer, src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else tracer(self.norm, src)


class TransformerDecoder(Module):
    """num_layers copies of a decoder layer, one after the other, then a norm if there is one.

    Shapes    tgt, memory and y as in TransformerDecoderLayer
    Backward  through the layers in reverse order; the gradients of memory are summed over the layers
    Source    torch.nn.TransformerDecoder

    Raises ArgumentError for anything but a module and a number of layers, and the errors of the layers.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = copies(self, decoder_layer, num_layers)
        self.num_layers, self.norm = len(self.layers), a_part(self, "norm", norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        dy = dy if self.norm is None else self.norm.backward(dy)
        of_memory = []
        for layer in reversed(self.layers):
            dy, dmemory = layer.backward(dy)
            of_memory.append(dmemory)
        return dy, summed(tuple(of_memory))

    def trace(
        self,
        tracer: Any,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        for layer in self.layers:
            tgt = tracer(layer, tgt, memory, *masks, bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else tracer(self.norm, tgt)


class Transformer(Module):
    """An encoder and a decoder: the decoder attends to what the encoder makes of another sequence.

    y = decoder(tgt, encoder(src))

    custom_encoder, custom_decoder  modules in place of TransformerEncoder and TransformerDecoder
    Shapes    src (S, B, d_model), tgt and y (T, B, d_model); batch_first and single sequences as in the layers
    Backward  returns the gradients of src and tgt
    Init      all matrices uniform in +-sqrt(6 / (rows + columns))
    Source    torch.nn.Transformer; Vaswani et al. 2017

    Raises the errors of its parts.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Any = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        custom_encoder = a_part(self, "custom_encoder", custom_encoder)
        custom_decoder = a_part(self, "custom_decoder", custom_decoder)
        if custom_encoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            self.encoder: Module = TransformerEncoder(
                TransformerEncoderLayer(*layer, **place), num_encoder_layers, norm
            )
        else:
            self.encoder = custom_encoder
        if custom_decoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            self.decoder: Module = TransformerDecoder(
                TransformerDecoderLayer(*layer, **place), num_decoder_layers, norm
            )
        else:
            self.decoder = custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, a_flag(self, "batch_first", batch_first)
        self._fill(None)

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise all parameters again, from this generator or torch's default one."""
        super().reset_parameters(generator=generator)
        self._fill(generator)

    def _fill(self, generator: torch.Generator | None) -> None:
        for parameter in self.parameters():
            if len(parameter.shape) - len(parameter.rows) > 1:
                init.xavier_uniform_(parameter.data, generator=generator)

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """The causal mask (sz, sz): -inf where a place would look at a later one, else 0."""
        full = torch.full((sz, sz), float("-inf"), dtype=dtype, device=device)
        return full.triu(1)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        y: Tensor = self.decoder(tgt, memory, *masks, tgt_is_causal, memory_is_causal)
        return y

    def backward(self, dy: Tensor) -> tuple[Tensor, Tensor]:
        dtgt, dmemory = self.decoder.backward(dy)
        return self.encoder.backward(dmemory), dtgt

    def trace(
        self,
        tracer: Any,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:
        memory = tracer(self.encoder, src, src_mask, src_key_padding_mask, src_is_causal)
        masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
        return tracer(self.decoder, tgt, memory, *masks, tgt_is_causal, memory_is_causal)


def copies(owner: Module, layer: Any, count: Any) -> list[Module]:
    """A list of so many copies of a layer. Raises ArgumentError for anything but a module."""
    if not isinstance(layer, Module):
        raise ArgumentError(
            f"{type(owner).__name__} is made of copies of a layer",
            expected="a lamp module, such as lamp.TransformerEncoderLayer(...)",
            got=kind_of(layer),
            fix="pass an instance",
        )
    return [copy.deepcopy(layer) for _ in range(a_size(owner, "num_layers", count))]


def a_part(owner: Module, name: str, part: Any) -> Module | None:
    """A part that may be left out. Raises ArgumentError for anything but a module or None."""
    if part is not None and not isinstance(part, Module):
        raise ArgumentError(
            f"{type(owner).__name__}: {name} is a module",
            expected="a lamp module, or None",
            got=kind_of(part),
            fix="norm=lamp.LayerNorm(d_model)" if name == "norm" else "leave it out",
        )
    return part
