"""Modules and losses with inputs large enough to measure how they round, for tests/test_precision.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.cases.losses import labels, log_probabilities, normal, probabilities, uniform

Input = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A module that both packages have, and its inputs."""

    kind: str
    inputs: tuple[Input, ...]
    args: tuple[Any, ...]
    options: dict[str, Any]
    targets: tuple[int, ...] = ()  # which inputs have no gradient

    def __str__(self) -> str:
        shown = [*map(str, self.args), *(f"{name}={value}" for name, value in self.options.items())]
        return f"{self.kind}({', '.join(shown)})"

    def make(self, package: Any) -> Any:
        return getattr(package, self.kind)(*self.args, **self.options)


def row(kind: str, *inputs: Input, args: tuple[Any, ...] = (), **options: Any) -> Row:
    return Row(kind, inputs, args, options)


def loss(kind: str, *inputs: Input, targets: tuple[int, ...] = (-1,), **options: Any) -> list[Row]:
    """A loss with and without a reduction; by default the last input is its target."""
    places = tuple(k % len(inputs) for k in targets)
    return [Row(kind, inputs, (), {**options, "reduction": reduction}, places) for reduction in ("mean", "none")]


def positive(*shape: int) -> Input:
    return lambda: uniform(*shape)() * 3.0 + 0.1


def signs(*shape: int) -> Input:
    return lambda: normal(*shape)().sign()


def right_classes() -> Tensor:
    """Rows of classes that end at the fifth."""
    return torch.stack([torch.randperm(C) for _ in range(B)]).index_fill_(1, torch.tensor([5]), -1)


def off(draw: Callable[[int], list[tuple[str, float, float]]], most: float, free: float, lost: float) -> dict[str, str]:
    """What lamp computes less exactly than torch.

    draw  for a seed, what was computed, lamp's error and torch's, in units of the last digit
    most  times torch's error that lamp's may be        free  an error that is always allowed
    lost  an error of torch's from which on its result is noise, which says nothing of lamp's

    A single error is a matter of luck. What is off is computed again with other numbers until the geometric mean of
    lamp's errors is near enough to that of torch's, or there are DRAWS of them.
    """
    logs: dict[str, float] = {}  # of lamp's errors over torch's, added up
    for seed in range(DRAWS):
        for what, own, other in draw(seed):
            if (seed == 0 or what in logs) and other < lost:
                logs[what] = logs.get(what, 0.0) + math.log(max(own, free / most) / max(other, free / most))
        logs = {what: log for what, log in logs.items() if log > math.log(most) * (seed + 1)}
        if not logs:
            break
    return {what: f"{math.exp(log / DRAWS):.2f} times torch's error" for what, log in logs.items()}


DRAWS = 40
B, C = 64, 24
BATCH_MEAN = {"reduction": "batchmean"}
ROWS, IMAGES, LINES, VOLUMES, STEPS = (B, C), (8, C, 9, 8), (8, C, 30), (4, 12, 6, 5, 7), (8, 16, C)
QUERY, KEY = (10, 8, 32), (12, 8, 32)

PRODUCTS = [
    row("Linear", normal(*ROWS), args=(C, 32)),
    row("Bilinear", normal(B, 12), normal(B, 14), args=(12, 14, C)),
    row("PReLU", normal(*ROWS), args=(C,)),
    row("GLU", normal(*ROWS)),
    row("CosineSimilarity", normal(*ROWS), normal(*ROWS)),
    *(row("PairwiseDistance", normal(*ROWS), normal(*ROWS), p=p) for p in (1.0, 2.0, 3.0)),
    *(row(kind, normal(B, 33), args=(1,)) for kind in ("Softmax", "LogSoftmax", "Softmin")),
    row("Softmax", normal(B, 8, 20), args=(-1,)),
    row("Softmax2d", normal(*IMAGES)),
]

NORMS = [
    row("LayerNorm", lambda: normal(*ROWS)() + 1.0, args=(C,)),
    row("LayerNorm", normal(*ROWS), args=(C,), elementwise_affine=False),
    row("RMSNorm", normal(*ROWS), args=(C,)),
    row("GroupNorm", normal(*IMAGES), args=(4, C)),
    row("BatchNorm1d", normal(*ROWS), args=(C,)),
    row("BatchNorm2d", normal(*IMAGES), args=(C,)),
    row("BatchNorm3d", normal(*VOLUMES), args=(12,), affine=False),
    row("InstanceNorm1d", normal(*LINES), args=(C,)),
    row("InstanceNorm2d", normal(*IMAGES), args=(C,), affine=True),
    row("InstanceNorm3d", normal(*VOLUMES), args=(12,), affine=True),
    row("LocalResponseNorm", normal(*IMAGES), args=(5,), alpha=1.0),
]

CONVOLUTIONS = [
    row("Conv1d", normal(*LINES), args=(C, 32, 3)),
    row("Conv2d", normal(*IMAGES), args=(C, 32, 3), padding=1),
    row("Conv2d", normal(*IMAGES), args=(C, 32, 3), stride=2, groups=4),
    row("Conv3d", normal(*VOLUMES), args=(12, C, 2)),
    row("ConvTranspose1d", normal(*LINES), args=(C, 32, 3, 2)),
    row("ConvTranspose2d", normal(*IMAGES), args=(C, 32, 3)),
    row("ConvTranspose3d", normal(*VOLUMES), args=(12, C, 2)),
    row("Fold", normal(8, 54, 49), args=((9, 9), 3)),
    row("Unfold", normal(8, 6, 9, 9), args=(3,)),
    *(row(f"{kind}Pad2d", normal(*IMAGES), args=(3,)) for kind in ("Reflection", "Replication", "Circular")),
    *(row("Upsample", normal(*IMAGES), scale_factor=2.5, mode=mode) for mode in ("nearest", "bilinear", "bicubic")),
    row("Upsample", normal(*LINES), scale_factor=2.5, mode="linear"),
    row("Upsample", normal(*VOLUMES), scale_factor=1.5, mode="trilinear"),
]

POOLS = [
    row("MaxPool1d", normal(*LINES), args=(4, 1)),
    row("MaxPool2d", normal(*IMAGES), args=(3, 1)),
    row("MaxPool3d", normal(*VOLUMES), args=(2, 1)),
    row("AvgPool1d", normal(*LINES), args=(4, 1)),
    row("AvgPool2d", normal(*IMAGES), args=(3, 1, 1)),
    row("AvgPool2d", normal(*IMAGES), args=(3,)),
    row("AvgPool3d", normal(*VOLUMES), args=(3, 2, 1)),
    row("LPPool1d", positive(*LINES), args=(2, 3)),
    row("LPPool2d", positive(*IMAGES), args=(3, 2, 1)),
    row("LPPool3d", positive(*VOLUMES), args=(2, 2)),
    *(
        row(f"Adaptive{kind}Pool{axes}d", normal(*shape), args=(4,))
        for kind in ("Avg", "Max")
        for axes, shape in ((1, LINES), (2, IMAGES), (3, VOLUMES))
    ),
]

SEQUENCES = [
    row("Embedding", labels((B, 9), 20), args=(20, C)),
    row("Embedding", labels((B, 9), 20), args=(20, C), scale_grad_by_freq=True),
    row("Embedding", labels((B, 9), 20), args=(20, C), max_norm=2.0),
    *(row("EmbeddingBag", labels((B, 9), 20), args=(20, C), mode=mode) for mode in ("sum", "mean", "max")),
    *(row(kind, normal(*STEPS), args=(C, 32)) for kind in ("RNN", "LSTM", "GRU")),
    *(row(kind, normal(*STEPS), args=(C, 32, 2), bidirectional=True) for kind in ("RNN", "LSTM", "GRU")),
    row("LSTM", normal(*STEPS), args=(C, 32), proj_size=12),
    *(row(kind, normal(*ROWS), normal(B, 32), args=(C, 32)) for kind in ("RNNCell", "GRUCell")),
    row("LSTMCell", normal(*ROWS), lambda: (normal(B, 32)(), normal(B, 32)()), args=(C, 32)),
    row("MultiheadAttention", normal(*QUERY), normal(*KEY), normal(*KEY), args=(32, 4)),
    row(
        "MultiheadAttention",
        *(normal(*QUERY), normal(12, 8, 20), normal(12, 8, 24)),
        args=(32, 4),
        **{"kdim": 20, "vdim": 24, "add_bias_kv": True},
    ),
    # with GELU: half precision puts some numbers on the other side of ReLU's corner
    row("TransformerEncoderLayer", normal(*QUERY), args=(32, 4, 64, 0.0, "gelu")),
    row("TransformerEncoderLayer", normal(*QUERY), args=(32, 4, 64, 0.0, "gelu"), norm_first=True),
    row("TransformerDecoderLayer", normal(*QUERY), normal(*KEY), args=(32, 4, 64, 0.0, "gelu")),
]

OF_PAIRS = [
    *(loss(kind, normal(*ROWS), normal(*ROWS)) for kind in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")),
    loss("BCELoss", lambda: uniform(*ROWS)() * 0.98 + 0.01, uniform(*ROWS)),
    loss("BCEWithLogitsLoss", normal(*ROWS), uniform(*ROWS)),
    [
        Row("KLDivLoss", (log_probabilities(*ROWS), probabilities(*ROWS)), (), {"reduction": reduction}, (1,))
        for reduction in ("batchmean", "none")
    ],
    loss("SoftMarginLoss", normal(*ROWS), signs(*ROWS)),
    loss("HingeEmbeddingLoss", normal(*ROWS), signs(*ROWS)),
    loss("PoissonNLLLoss", lambda: uniform(*ROWS)() * 2.0, positive(*ROWS)),
    loss("PoissonNLLLoss", positive(*ROWS), positive(*ROWS), log_input=False, full=True),
]

OF_SAMPLES = [
    loss("NLLLoss", log_probabilities(*ROWS), labels((B,), C)),
    loss("CrossEntropyLoss", normal(*ROWS), labels((B,), C)),
    loss("CrossEntropyLoss", normal(*ROWS), probabilities(*ROWS), label_smoothing=0.1),
    loss("CrossEntropyLoss", normal(8, C, 9), labels((8, 9), C), label_smoothing=0.1),
    loss("MultiMarginLoss", normal(*ROWS), labels((B,), C)),
    loss("MultiMarginLoss", normal(*ROWS), labels((B,), C), p=2),
    loss("MultiLabelMarginLoss", normal(*ROWS), right_classes),
    loss("MultiLabelSoftMarginLoss", normal(*ROWS), lambda: uniform(*ROWS)().round()),
    loss("MarginRankingLoss", normal(256), normal(256), signs(256), margin=0.5),
    loss("CosineEmbeddingLoss", normal(*ROWS), normal(*ROWS), signs(B)),
    loss("TripletMarginLoss", *[normal(*ROWS)] * 3, targets=(), swap=True),
    loss("TripletMarginLoss", *[normal(*ROWS)] * 3, targets=(), p=3.0),
    loss("TripletMarginWithDistanceLoss", *[normal(*ROWS)] * 3, targets=()),
    loss("GaussianNLLLoss", normal(*ROWS), normal(*ROWS), positive(*ROWS), targets=(1,)),
    loss(
        "CTCLoss",
        *(lambda: normal(20, 16, 9)().log_softmax(2), lambda: torch.randint(1, 9, (16, 6))),
        *(lambda: torch.full((16,), 20), lambda: torch.full((16,), 6)),
        targets=(1, 2, 3),
    ),
    [Row("LinearCrossEntropyLoss", (normal(*ROWS), labels((B,), 10)), (C, 10), {}, (1,))],
    [Row("AdaptiveLogSoftmaxWithLoss", (normal(*ROWS), labels((B,), 40)), (C, 40, [5, 20]), {}, (1,))],
]


def scaled(factor: float, *shape: int, around: float = 0.0) -> Input:
    return lambda: normal(*shape)() * factor + around


def spread(factor: float, *shape: int) -> Input:
    """Probabilities of which some are tiny."""
    return lambda: (normal(*shape)() * factor).softmax(-1)


# Long sums, numbers far from 0, squares beyond float16's largest number, 65,504: what adds in half precision is lost.
LONG = [
    row("Linear", normal(8, 4096), args=(4096, 8)),
    row("Linear", normal(20_000, 6), args=(6, 5)),
    row("Linear", normal(1000, 6), args=(6, 5)),
    row("Bilinear", normal(3000, 12), normal(3000, 14), args=(12, 14, 5)),
    row("PReLU", normal(200, 500)),
    row("GLU", scaled(8.0, *ROWS)),
    row("Softmax", scaled(10.0, 4, 20_000), args=(-1,)),
    row("LogSoftmax", scaled(10.0, 4, 20_000), args=(-1,)),
    row("CosineSimilarity", scaled(60.0, B, 1000), scaled(60.0, B, 1000)),
    row("PairwiseDistance", scaled(60.0, B, 1000), scaled(60.0, B, 1000)),
    row("LayerNorm", scaled(1.0, B, 512, around=30.0), args=(512,)),
    row("RMSNorm", scaled(300.0, B, 512), args=(512,)),
    row("GroupNorm", scaled(1.0, *IMAGES, around=30.0), args=(4, C)),
    row("BatchNorm1d", scaled(1.0, 10_000, 6, around=10.0), args=(6,)),
    row("BatchNorm2d", scaled(3.0, 8, 6, 40, 40, around=-5.0), args=(6,)),
    row("InstanceNorm2d", scaled(1.0, 2, 6, 100, 100, around=10.0), args=(6,), affine=True),
    row("LocalResponseNorm", scaled(60.0, *IMAGES), args=(15,)),
    row("Conv1d", normal(4, 6, 4000), args=(6, 5, 9)),
    row("Conv2d", normal(4, 6, 64, 64), args=(6, 5, 5), padding=2),
    row("ConvTranspose2d", normal(4, 6, 40, 40), args=(6, 5, 4), stride=2),
    row("AvgPool2d", scaled(1.0, 2, 3, 64, 64, around=40.0), args=(64,)),
    row("AdaptiveAvgPool2d", scaled(1.0, 2, 3, 60, 60, around=40.0), args=(1,)),
    row("AdaptiveAvgPool2d", scaled(1.0, 2, 3, 61, 59, around=40.0), args=(7,)),
    row("AvgPool3d", scaled(1.0, 2, 3, 12, 30, 30, around=40.0), args=((12, 30, 30),)),
    row("LPPool2d", positive(2, 3, 64, 64), args=(2, 32)),
    row("Upsample", normal(2, 3, 9, 8), scale_factor=8, mode="bilinear"),
    row("Embedding", labels((B, 200), 3), args=(3, C)),
    *(row("EmbeddingBag", labels((B, 400), 30), args=(30, C), mode=mode) for mode in ("sum", "mean")),
    row("MultiheadAttention", *[scaled(2.0, 300, 2, 16)] * 3, args=(16, 2)),
    *(
        Row(kind, (scaled(12.0, 300, 400), scaled(12.0, 300, 400)), (), {}, (1,))
        for kind in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")
    ),
    Row("BCEWithLogitsLoss", (scaled(20.0, 300, 400), uniform(300, 400)), (), {}, (1,)),
    Row("KLDivLoss", (lambda: normal(30, 4000)().log_softmax(-1), spread(3.0, 30, 4000)), (), BATCH_MEAN, (1,)),
    Row("PoissonNLLLoss", (normal(300, 400), positive(300, 400)), (), {}, (1,)),
    Row("GaussianNLLLoss", (normal(300, 400), normal(300, 400), positive(300, 400)), (), {}, (1,)),
    Row("CrossEntropyLoss", (scaled(10.0, 64, 5000), labels((64,), 5000)), (), {}, (1,)),
    Row("CrossEntropyLoss", (normal(20_000, 6), labels((20_000,), 6)), (), {}, (1,)),
    Row("CrossEntropyLoss", (scaled(3.0, 64, 900), spread(3.0, 64, 900)), (), {}, (1,)),
    Row("NLLLoss", (lambda: scaled(10.0, 2000, 30)().log_softmax(-1), labels((2000,), 30)), (), {}, (1,)),
    Row("LinearCrossEntropyLoss", (normal(500, 40), labels((500,), 300)), (40, 300), {}, (1,)),
    Row("TripletMarginLoss", tuple([scaled(2.0, B, 1000)] * 3), (), {}),
    Row("CosineEmbeddingLoss", (scaled(4.0, B, 1000), scaled(4.0, B, 1000), signs(B)), (), {"reduction": "sum"}, (2,)),
    Row("MultiLabelSoftMarginLoss", (scaled(10.0, 300, 400), lambda: uniform(300, 400)().round()), (), {}, (1,)),
    Row("MultiMarginLoss", (scaled(5.0, 2000, 30), labels((2000,), 30)), (), {}, (1,)),
]

PRECISION = [
    *PRODUCTS,
    *NORMS,
    *CONVOLUTIONS,
    *POOLS,
    *SEQUENCES,
    *LONG,
    *(each for rows in (*OF_PAIRS, *OF_SAMPLES) for each in rows),
]
