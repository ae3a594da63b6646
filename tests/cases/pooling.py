"""Pooling modules with several settings of their options, each beside its twin in torch.nn."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.module_case import Case, both, of

SIZES = {1: (9,), 2: (8, 7), 3: (6, 5, 7)}


def _of(kind: str, axes: int, *args: object, **kwargs: object) -> Case:
    return of(f"{kind}{axes}d", (2, 3, *SIZES[axes]), *args, **kwargs)


POOLING = [
    *(_of("MaxPool", n, 2) for n in (1, 2, 3)),
    *(_of("MaxPool", n, 3, 2, 1) for n in (1, 2, 3)),
    *(_of("MaxPool", n, 2, stride=1, dilation=2, ceil_mode=True) for n in (1, 2, 3)),
    _of("MaxPool", 1, 4, ceil_mode=True),
    _of("MaxPool", 2, (2, 3), stride=(3, 2), padding=(1, 0)),
    _of("MaxPool", 2, (2, 1), ceil_mode=True),
    replace(of("MaxPool2d", (3, 8, 7), 2), batched=False),
    *(_of("AvgPool", n, 2) for n in (1, 2, 3)),
    *(_of("AvgPool", n, 3, 2, 1) for n in (1, 2, 3)),
    *(_of("AvgPool", n, 3, 2, 1, True, False) for n in (1, 2, 3)),
    _of("AvgPool", 2, (2, 3), stride=(3, 1), padding=(1, 1), ceil_mode=True, divisor_override=5),
    replace(of("AvgPool2d", (3, 8, 7), 2, ceil_mode=True), batched=False),
    *(_of("LPPool", n, 2, 2) for n in (1, 2, 3)),
    _of("LPPool", 2, 4, (2, 3), stride=(1, 2), ceil_mode=True),
    *(_of("AdaptiveMaxPool", n, 3) for n in (1, 2, 3)),
    _of("AdaptiveMaxPool", 2, (None, 4)),
    *(_of("AdaptiveAvgPool", n, 3) for n in (1, 2, 3)),
    _of("AdaptiveAvgPool", 2, (5, None)),
    _of("AdaptiveAvgPool", 2, 1),
    both(
        "a network that pools",
        (2, 3, 8, 7),
        lambda p: p.Sequential(
            p.MaxPool2d(2), p.Tanh(), p.AvgPool2d(2, 1), p.AdaptiveAvgPool2d(2), p.Flatten(), p.Linear(12, 2)
        ),
    ),
]
