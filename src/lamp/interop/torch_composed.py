"""Modules with modules inside, such as attention and transformers: how those of one package are built from the
other's.

Both packages use the same names inside, so one function per kind serves both directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lamp import losses, nn

Convert = Callable[[Any, str], Any]  # (module, its name) to the other package's module


def _attention(module: Any, convert: Convert) -> dict[str, Any]:
    names = ("embed_dim", "num_heads", "dropout", "add_zero_attn", "kdim", "vdim", "batch_first")
    options = {name: getattr(module, name) for name in names}
    return {**options, "bias": module.in_proj_bias is not None, "add_bias_kv": module.bias_k is not None}


def _layer(module: Any, convert: Convert) -> dict[str, Any]:
    attention = module.self_attn
    known = module.activation
    name = {nn.ReLU: "relu", nn.GELU: "gelu", torch.nn.ReLU: "relu", torch.nn.GELU: "gelu"}.get(type(known))
    return {
        "d_model": attention.embed_dim,
        "nhead": attention.num_heads,
        "dim_feedforward": module.linear1.out_features,
        "dropout": attention.dropout,
        "activation": known if name is None else name,
        "layer_norm_eps": module.norm1.eps,
        "batch_first": attention.batch_first,
        "norm_first": module.norm_first,
        "bias": module.linear1.bias is not None,
    }


def _stack(module: Any, convert: Convert) -> dict[str, Any]:
    is_encoder = type(module).__name__ == "TransformerEncoder"
    return {
        "encoder_layer" if is_encoder else "decoder_layer": convert(module.layers[0], "layers.0"),
        "num_layers": len(module.layers),
        "norm": None if module.norm is None else convert(module.norm, "norm"),
        **({"enable_nested_tensor": False} if is_encoder else {}),  # a shortcut that torch warns about
    }


def _transformer(module: Any, convert: Convert) -> dict[str, Any]:
    return {
        "d_model": module.d_model,
        "nhead": module.nhead,
        "batch_first": module.batch_first,
        "custom_encoder": convert(module.encoder, "encoder"),
        "custom_decoder": convert(module.decoder, "decoder"),
    }


def _linear_cross_entropy(module: Any, convert: Convert) -> dict[str, Any]:
    names = ("num_classes", "out_features", "reduction", "label_smoothing", "options")
    options = {name: getattr(module, name) for name in names}
    weight = getattr(module.weight, "data", module.weight)
    return {
        **options,
        "in_features": module.linear.in_features,
        "bias": module.linear.bias is not None,
        "weight": None if weight is None else weight.detach().clone(),
        "ignore_index": None if module.ignore_index == -100 else module.ignore_index,
    }


def _adaptive_softmax(module: Any, convert: Convert) -> dict[str, Any]:
    names = ("in_features", "n_classes", "div_value", "head_bias")
    return {**{name: getattr(module, name) for name in names}, "cutoffs": module.cutoffs[:-1]}


def _triplet(module: Any, convert: Convert) -> dict[str, Any]:
    options = {name: getattr(module, name) for name in ("margin", "swap", "reduction")}
    distance = module.distance_function
    converts = hasattr(distance, "named_modules")
    return {**options, "distance_function": convert(distance, "distance_function") if converts else distance}


ARGUMENTS: dict[str, Callable[[Any, Convert], dict[str, Any]]] = {  # by the name of a class: its constructor arguments
    "MultiheadAttention": _attention,
    "TransformerEncoderLayer": _layer,
    "TransformerDecoderLayer": _layer,
    "TransformerEncoder": _stack,
    "TransformerDecoder": _stack,
    "Transformer": _transformer,
    "LinearCrossEntropyLoss": _linear_cross_entropy,
    "AdaptiveLogSoftmaxWithLoss": _adaptive_softmax,
    "TripletMarginWithDistanceLoss": _triplet,
}


def is_composed(module: Any) -> bool:
    """Whether it is one of these modules, of either package."""
    kinds = [getattr(package, type(module).__name__, None) for package in (nn, losses, torch.nn)]
    return type(module).__name__ in ARGUMENTS and type(module) in kinds


def copy_state(made: Any, module: Any) -> None:
    """Copy weights, modes and which parameters are frozen from one package's module to the other's."""
    tensors = module.state_dict()
    if not tensors:
        return
    first = next(iter(tensors.values()))
    made.to(device=first.device, dtype=first.dtype)
    made.load_state_dict({name: each.detach().clone() for name, each in tensors.items()})
    modes = {name: each.training for name, each in module.named_modules()}
    for name, each in made.named_modules():
        if name in modes:
            each.training = modes[name]
    frozen = {name for name, each in module.named_parameters() if not each.requires_grad}
    for name, each in made.named_parameters():
        if name in frozen:
            each.requires_grad = False
