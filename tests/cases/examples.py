"""One small example of every class of lamp.nn and lamp.losses, with a batch that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import lamp

B, L, E = 5, 4, 6  # batch, places, features


@dataclass(frozen=True)
class Example:
    """How a module is built, and the shapes of the samples that it takes; an int is a number of rows to look up."""

    make: Callable[[], Any]
    inputs: tuple[Any, ...]

    def draw(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(seed)

        def drawn(given: Any) -> Any:
            if isinstance(given, Callable):
                return given(generator, dtype)
            return torch.randn(B, *given, dtype=torch.float64, generator=generator).to(dtype)

        return tuple(map(drawn, self.inputs))


def rows(below: int, *shape: int) -> Callable[..., Any]:
    return lambda generator, dtype: torch.randint(below, (B, *shape), generator=generator)


def signs(*shape: int) -> Callable[..., Any]:
    return lambda generator, dtype: torch.randint(2, (B, *shape), generator=generator).to(dtype) * 2 - 1


def shares(*shape: int) -> Callable[..., Any]:
    """Numbers between 0 and 1 that add up to 1 along the last axis."""
    return lambda generator, dtype: torch.rand(B, *shape, generator=generator).softmax(-1).to(dtype)


def unlike(*shape: int) -> Callable[..., Any]:
    """Places of a tensor, each once per row, as max pooling returns them."""
    return lambda generator, dtype: torch.arange(shape[-1]).expand(B, *shape).contiguous()


def one(make: Callable[[], Any], *shape: int) -> Example:
    return Example(make, (shape,))


N, C = {1: (8,), 2: (8, 9), 3: (4, 5, 6)}, 4  # sizes of images, channels
ELEMENTWISE = [
    "CELU", "ELU", "GELU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity",
    "LeakyReLU", "LogSigmoid", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softplus",
    "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Dropout", "AlphaDropout",
]  # fmt: skip
AXES = (1, 2, 3)


def of_axes(*kinds: str, axes: tuple[int, ...] = AXES, **options: Any) -> dict[str, Example]:
    """A class per number of axes of an image (C, ...)."""
    made = {}
    for kind in kinds:
        for n in axes:
            name = f"{kind}{n}d"
            made[name] = one(lambda name=name: getattr(lamp.nn, name)(**options), C, *N[n])
    return made


MODULES: dict[str, Example] = {
    **{name: one(lambda name=name: getattr(lamp.nn, name)(), E) for name in ELEMENTWISE},
    "Threshold": one(lambda: lamp.Threshold(0.1, 0.5), E),
    "GLU": one(lamp.GLU, E),
    "Softmax": one(lambda: lamp.Softmax(-1), E),
    "LogSoftmax": one(lambda: lamp.LogSoftmax(-1), E),
    "Softmin": one(lambda: lamp.Softmin(-1), E),
    "Softmax2d": one(lamp.Softmax2d, C, 2, 3),
    "Linear": one(lambda: lamp.Linear(E, 3), E),
    "LazyLinear": one(lambda: lamp.LazyLinear(3), E),
    "Bilinear": Example(lambda: lamp.Bilinear(E, 3, 2), ((E,), (3,))),
    "PiecewiseLinearEncoding": one(
        lambda: lamp.PiecewiseLinearEncoding([[-1.0, 0.0, 0.5, 1.0], [], [-2, 2], [], [], [0.25, 0.5, 3]]), E
    ),
    "CosineSimilarity": Example(lamp.CosineSimilarity, ((E,), (E,))),
    "PairwiseDistance": Example(lamp.PairwiseDistance, ((E,), (E,))),
    "Flatten": one(lamp.Flatten, 2, 3),
    "Unflatten": one(lambda: lamp.Unflatten(1, (2, 3)), E),
    "Fold": one(lambda: lamp.Fold(4, 2), C, 9),
    "Unfold": one(lambda: lamp.Unfold(2), C, 3, 3),
    **of_axes("Conv", "ConvTranspose", in_channels=C, out_channels=3, kernel_size=2),
    **of_axes("LazyConv", "LazyConvTranspose", out_channels=3, kernel_size=2),
    **of_axes("CircularPad", "ReflectionPad", "ReplicationPad", "ZeroPad", padding=1),
    **of_axes("ConstantPad", padding=1, value=0.5),
    **of_axes("MaxPool", "AvgPool", kernel_size=2),
    **of_axes("LPPool", norm_type=2, kernel_size=2),
    **of_axes("AdaptiveAvgPool", "AdaptiveMaxPool", output_size=2),
    **of_axes("FractionalMaxPool", axes=(2, 3), kernel_size=2, output_size=2),
    **{
        f"MaxUnpool{n}d": Example(
            lambda n=n: getattr(lamp.nn, f"MaxUnpool{n}d")(2), ((C, *(2,) * n), unlike(C, *(2,) * n))
        )
        for n in AXES
    },
    **of_axes("BatchNorm", num_features=C),
    **of_axes("InstanceNorm", num_features=C, affine=True),
    **of_axes("LazyBatchNorm", "LazyInstanceNorm"),
    **of_axes("Dropout"),
    "FeatureAlphaDropout": one(lamp.FeatureAlphaDropout, C, 3),
    "GroupNorm": one(lambda: lamp.GroupNorm(2, C), C, 3),
    "LayerNorm": one(lambda: lamp.LayerNorm(E), L, E),
    "RMSNorm": one(lambda: lamp.RMSNorm(E), L, E),
    "LocalResponseNorm": one(lambda: lamp.LocalResponseNorm(2), C, 3),
    "PixelShuffle": one(lambda: lamp.PixelShuffle(2), C, 2, 3),
    "PixelUnshuffle": one(lambda: lamp.PixelUnshuffle(2), C, 2, 4),
    "ChannelShuffle": one(lambda: lamp.ChannelShuffle(2), C, 3),
    "Upsample": one(lambda: lamp.Upsample(scale_factor=2), C, 2, 3),
    "UpsamplingBilinear2d": one(lambda: lamp.UpsamplingBilinear2d(scale_factor=2), C, 2, 3),
    "UpsamplingNearest2d": one(lambda: lamp.UpsamplingNearest2d(scale_factor=2), C, 2, 3),
    "Embedding": Example(lambda: lamp.Embedding(7, E), (rows(7, L),)),
    "EmbeddingBag": Example(lambda: lamp.EmbeddingBag(7, E), (rows(7, L),)),
    **{
        kind: one(lambda kind=kind: getattr(lamp, kind)(E, 3, batch_first=True), L, E)
        for kind in ("RNN", "LSTM", "GRU")
    },
    **{f"{kind}Cell": one(lambda kind=kind: getattr(lamp, f"{kind}Cell")(E, 3), E) for kind in ("RNN", "LSTM", "GRU")},
    "MultiheadAttention": Example(lambda: lamp.MultiheadAttention(E, 2, batch_first=True), ((L, E), (3, E), (3, E))),
    "TransformerEncoderLayer": one(lambda: lamp.TransformerEncoderLayer(E, 2, 8, batch_first=True), L, E),
    "TransformerDecoderLayer": Example(
        lambda: lamp.TransformerDecoderLayer(E, 2, 8, batch_first=True), ((L, E), (3, E))
    ),
    "TransformerEncoder": one(
        lambda: lamp.TransformerEncoder(lamp.TransformerEncoderLayer(E, 2, 8, batch_first=True), 1), L, E
    ),
    "TransformerDecoder": Example(
        lambda: lamp.TransformerDecoder(lamp.TransformerDecoderLayer(E, 2, 8, batch_first=True), 1), ((L, E), (3, E))
    ),
    "Transformer": Example(lambda: lamp.Transformer(E, 2, 1, 1, 8, batch_first=True), ((L, E), (3, E))),
    "Sequential": one(lambda: lamp.Sequential(lamp.Linear(E, 3), lamp.Tanh()), E),
    "Residual": one(lambda: lamp.Residual(lamp.Linear(E, E), lamp.Tanh()), E),
    "Parallel": one(lambda: lamp.Parallel(lamp.Linear(E, 3), lamp.Linear(E, 3)), E),
    "LinearCrossEntropyLoss": Example(lambda: lamp.nn.LinearCrossEntropyLoss(E, 3), ((E,), rows(3))),
    "AdaptiveLogSoftmaxWithLoss": Example(lambda: lamp.AdaptiveLogSoftmaxWithLoss(E, 9, [2, 5], 2.0), ((E,), rows(9))),
}
BASES = {"Activation", "Container", "ModuleDict", "ModuleList"}  # classes to derive from, and lists without a forward

LOSSES: dict[str, Example] = {
    **{name: Example(lambda name=name: getattr(lamp, name)(), ((E,), (E,))) for name in ("L1Loss", "MSELoss")},
    **{name: Example(lambda name=name: getattr(lamp, name)(), ((E,), (E,))) for name in ("HuberLoss", "SmoothL1Loss")},
    "BCELoss": Example(lamp.BCELoss, (shares(E), shares(E))),
    "BCEWithLogitsLoss": Example(lamp.BCEWithLogitsLoss, ((E,), shares(E))),
    "KLDivLoss": Example(lambda: lamp.KLDivLoss(reduction="batchmean"), ((E,), shares(E))),
    "PoissonNLLLoss": Example(lamp.PoissonNLLLoss, ((E,), shares(E))),
    "SoftMarginLoss": Example(lamp.SoftMarginLoss, ((E,), signs(E))),
    "HingeEmbeddingLoss": Example(lamp.HingeEmbeddingLoss, ((E,), signs(E))),
    "MultiLabelSoftMarginLoss": Example(lamp.MultiLabelSoftMarginLoss, ((E,), shares(E))),
    "CrossEntropyLoss": Example(lamp.CrossEntropyLoss, ((E,), rows(E))),
    "NLLLoss": Example(lamp.NLLLoss, ((E,), rows(E))),
    "MultiMarginLoss": Example(lamp.MultiMarginLoss, ((E,), rows(E))),
    "MultiLabelMarginLoss": Example(lamp.MultiLabelMarginLoss, ((E,), unlike(E))),
    "GaussianNLLLoss": Example(lamp.GaussianNLLLoss, ((E,), (E,), shares(E))),
    "MarginRankingLoss": Example(lamp.MarginRankingLoss, ((), (), signs())),
    "CosineEmbeddingLoss": Example(lamp.CosineEmbeddingLoss, ((E,), (E,), signs())),
    "TripletMarginLoss": Example(lamp.TripletMarginLoss, ((E,), (E,), (E,))),
    "TripletMarginWithDistanceLoss": Example(lamp.TripletMarginWithDistanceLoss, ((E,), (E,), (E,))),
    "CTCLoss": Example(
        lamp.CTCLoss,
        (
            lambda generator, dtype: torch.randn(7, B, 4, generator=generator).log_softmax(-1).to(dtype),
            lambda generator, dtype: torch.randint(1, 4, (B, 3), generator=generator),
            lambda generator, dtype: torch.full((B,), 7),
            lambda generator, dtype: torch.full((B,), 3),
        ),
    ),
}
LOSS_BASES = {"Loss", "BinaryLoss", "ClassLoss", "DifferenceLoss", "SampleLoss"}
