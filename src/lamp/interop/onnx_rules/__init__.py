"""The rules of the ONNX export, one per kind of operation, a file per family. A kind without one is refused by name."""

from collections.abc import Callable

from lamp.interop.onnx_rules import (
    basic,
    convolution,
    folding,
    moving,
    normalization,
    pooling,
    products,
    recurrent,
    sequences,
)

RULES: dict[str, Callable[..., str | tuple[str, ...]]] = {
    **basic.RULES,
    **convolution.RULES,
    **moving.RULES,
    **normalization.RULES,
    **products.RULES,
    **pooling.RULES,
    **recurrent.RULES,
    **sequences.RULES,
    **folding.RULES,
}
