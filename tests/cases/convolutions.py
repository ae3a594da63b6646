"""Convolutions, transposed convolutions and padding, with several settings of their options."""

from __future__ import annotations

from dataclasses import replace

import lamp
from tests.cases.module_case import Case, Shape, both, of


def sample(kind: str, shape: Shape, *args: object, **kwargs: object) -> Case:
    """A case whose input has no axis of the batch."""
    return replace(of(kind, shape, *args, **kwargs), batched=False)


CONVOLUTIONS = [
    of("Conv1d", (2, 3, 9), 3, 4, 3),
    sample("Conv1d", (3, 9), 3, 4, 4, padding="same", bias=False),
    of("Conv1d", (2, 4, 9), 4, 6, 3, stride=2, padding=3, dilation=2, groups=2),
    of("Conv1d", (2, 3, 9), 3, 4, 3, 2, 2, padding_mode="reflect"),
    of("Conv1d", (2, 3, 9), 3, 4, 1, padding="valid"),
    of("Conv2d", (2, 3, 7, 8), 3, 4, 3),
    sample("Conv2d", (3, 7, 8), 3, 4, (3, 2), (2, 1), (1, 0)),
    of("Conv2d", (2, 3, 7, 8), 3, 4, (2, 3), padding="same", dilation=(1, 2)),
    of("Conv2d", (2, 4, 7, 8), 4, 8, 3, padding=1, groups=4, bias=False),
    of("Conv2d", (2, 3, 7, 8), 3, 4, 3, 3, (1, 2), padding_mode="circular"),
    of("Conv2d", (2, 3, 7, 8), 3, 4, 2, padding="same", padding_mode="replicate"),
    of("Conv2d", (2, 2, 5, 6), 2, 3, 3, padding=4),
    of("Conv3d", (2, 2, 5, 6, 4), 2, 3, (2, 3, 2), (1, 2, 1), (0, 1, 2)),
    sample("Conv3d", (2, 5, 6, 4), 2, 3, 3, padding="same", padding_mode="reflect"),
    of("ConvTranspose1d", (2, 3, 5), 3, 4, 3),
    sample("ConvTranspose1d", (4, 5), 4, 6, 3, 2, 1, 1, 2, False, 2),
    of("ConvTranspose1d", (2, 3, 5), 3, 4, 3, stride=1, output_padding=1, dilation=3),
    of("ConvTranspose2d", (2, 3, 4, 5), 3, 4, 3),
    sample("ConvTranspose2d", (3, 4, 5), 3, 4, (3, 2), (2, 3), (1, 0), (1, 2)),
    of("ConvTranspose2d", (2, 4, 4, 5), 4, 6, 3, padding=1, groups=2, bias=False),
    of("ConvTranspose3d", (2, 2, 3, 4, 2), 2, 3, (2, 3, 2), (1, 2, 1), (0, 1, 1), dilation=(1, 1, 2)),
]

PADS = [
    of("ReflectionPad1d", (2, 3, 5), 2),
    of("ReflectionPad1d", (3, 5), (-1, 3)),
    of("ReflectionPad2d", (2, 3, 4, 5), (1, 0, 2, 3)),
    of("ReflectionPad3d", (2, 3, 4, 5), (1, 2, 3, 0, -1, 1)),
    of("ReplicationPad1d", (2, 3, 5), (0, 7)),
    of("ReplicationPad2d", (3, 4, 5), (2, -1, -2, 3)),
    of("ReplicationPad3d", (2, 1, 3, 4, 2), 1),
    of("CircularPad1d", (3, 5), (5, 2)),
    of("CircularPad2d", (2, 3, 4, 5), (1, -2, 3, 0)),
    of("CircularPad3d", (2, 1, 3, 4, 2), (1, 2, 0, 3, 1, 1)),
    of("ConstantPad1d", (2, 3, 5), 2, -0.5),
    of("ConstantPad2d", (3, 4, 5), (2, -1, 0, 3), 7),
    of("ConstantPad3d", (2, 1, 3, 4, 2), 1, value=0.1),
    of("ZeroPad1d", (2, 5), 2),
    of("ZeroPad2d", (2, 3, 4, 5), (1, 2, 3, 0)),
    of("ZeroPad3d", (2, 1, 3, 4, 3), (-1, 0, 0, 2, 1, -1)),
]

# They become other classes in their first forward, so no row can hold for them: tests/test_lazy.py.
LAZY_KINDS = ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm")
LAZY = {lamp.LazyLinear, *(getattr(lamp, f"Lazy{kind}{n}d") for kind in LAZY_KINDS for n in (1, 2, 3))}

FOLDS = [
    of("Unfold", (2, 3, 5, 6), 2),
    sample("Unfold", (3, 5, 6), (2, 3), 2, (1, 2), (1, 3)),
    of("Fold", (2, 12, 20), (5, 6), 2),
    sample("Fold", (12, 4), output_size=(5, 6), kernel_size=(2, 3), dilation=2, padding=(0, 1), stride=2),
]

CONVOLUTIONAL = [
    both(
        "a network of convolutions",
        (3, 2, 6, 5),
        lambda p: p.Sequential(
            p.Conv2d(2, 4, 3, padding=1), p.Tanh(), p.ZeroPad2d(1), p.Conv2d(4, 3, 3, stride=2), p.SiLU(),
            p.ConvTranspose2d(3, 2, 2, 2), p.Flatten(), p.Linear(72, 2),
        ),
    ),
]  # fmt: skip
