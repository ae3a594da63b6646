"""Every loss with several settings of its options, each beside its twin in torch.nn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import lamp.losses
from lamp.losses import Loss

Shape = tuple[int, ...]
Maker = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """One loss with one setting: how lamp and torch.nn build it, in float64, and how to make a pair for it."""

    name: str
    make: Callable[[], Loss]
    make_torch: Callable[[], nn.Module]
    output: Maker
    target: Maker

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        """The name of the class."""
        return self.name.split("(")[0]

    @property
    def reduction(self) -> str:
        """How the values are reduced."""
        return self.make().reduction

    def pair(self) -> tuple[Tensor, Tensor]:
        """A random output and target."""
        return self.output(), self.target()


def normal(*shape: int) -> Maker:
    """Numbers on both sides of every corner."""
    return lambda: torch.randn(shape, dtype=torch.float64) * 2.0


def uniform(*shape: int) -> Maker:
    """Probabilities, element by element."""
    return lambda: torch.rand(shape, dtype=torch.float64)


def log_probabilities(*shape: int) -> Maker:
    """The logarithms of probabilities of classes."""
    return lambda: normal(*shape)().log_softmax(min(len(shape) - 1, 1) if shape else 0)


def probabilities(*shape: int) -> Maker:
    """Probabilities of classes."""
    return lambda: log_probabilities(*shape)().exp()


def sparse(*shape: int) -> Maker:
    """Probabilities of classes, some of them exactly 0."""
    return lambda: probabilities(*shape)() * (torch.rand(shape) > 0.3)


def labels(shape: Shape, classes: int, ignored: int | None = None) -> Maker:
    """Class indices, every third of them the one to ignore."""

    def make() -> Tensor:
        drawn = torch.randint(0, classes, shape)
        if ignored is not None:
            drawn.view(-1)[::3] = ignored
        return drawn

    return make


def weights(*shape: int) -> Tensor:
    """Positive weights, the same at each call."""
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) + 0.2


def _cases(kind: str, output: Maker, target: Maker, **options: Any) -> list[Case]:
    """A case for each reduction."""
    reductions = getattr(lamp.losses, kind).reductions
    shown = [f"{k}={tuple(v.shape) if isinstance(v, Tensor) else v}" for k, v in options.items()]
    shapes = f"{tuple(output().shape)} and {tuple(target().shape)}"
    return [
        Case(
            f"{kind}({', '.join([*shown, reduction])}) on {shapes}",
            lambda reduction=reduction: getattr(lamp.losses, kind)(**options, reduction=reduction).double(),
            lambda reduction=reduction: getattr(nn, kind)(**options, reduction=reduction).double(),
            output,
            target,
        )
        for reduction in reductions
    ]


REGRESSION = [
    *_cases("MSELoss", normal(7, 3), normal(7, 3)),
    *_cases("MSELoss", normal(), normal()),
    *_cases("MSELoss", normal(2, 5, 3, 4), normal(2, 5, 3, 4)),
    *_cases("L1Loss", normal(7, 3), normal(7, 3)),
    *_cases("L1Loss", normal(5), normal(5)),
    *_cases("HuberLoss", normal(7, 3), normal(7, 3)),
    *_cases("HuberLoss", normal(7, 3), normal(7, 3), delta=0.4),
    *_cases("HuberLoss", normal(7, 3), normal(7, 3), delta=2.5),
    *_cases("SmoothL1Loss", normal(7, 3), normal(7, 3)),
    *_cases("SmoothL1Loss", normal(7, 3), normal(7, 3), beta=0.4),
    *_cases("SmoothL1Loss", normal(7, 3), normal(7, 3), beta=2.5),
    *_cases("SmoothL1Loss", normal(7, 3), normal(7, 3), beta=0.0),
    *_cases("MSELoss", normal(120, 90), normal(120, 90)),  # more numbers than a small sum takes
]

SIGNS = lambda: normal(7, 3)().sign()  # noqa: E731
COUNTS = lambda: torch.randint(0, 6, (7, 3)).double()  # noqa: E731

MARGINS = [
    *_cases("SoftMarginLoss", normal(7, 3), SIGNS),
    *_cases("HingeEmbeddingLoss", normal(7, 3), SIGNS),
    *_cases("HingeEmbeddingLoss", normal(7, 3), SIGNS, margin=0.3),
    *_cases("PoissonNLLLoss", normal(7, 3), COUNTS),
    *_cases("PoissonNLLLoss", normal(7, 3), COUNTS, full=True),
    *_cases("PoissonNLLLoss", uniform(7, 3), COUNTS, log_input=False, eps=1e-3),
]

BINARY = [
    *_cases("BCELoss", uniform(7, 3), uniform(7, 3)),
    *_cases("BCELoss", uniform(), uniform()),
    *_cases("BCELoss", uniform(7, 3), uniform(7, 3), weight=weights(3)),
    *_cases("BCELoss", uniform(7, 3), uniform(7, 3), weight=weights(7, 1)),
    *_cases("BCELoss", uniform(7, 3), uniform(7, 3), weight=weights(7, 3)),
    *_cases("BCEWithLogitsLoss", normal(7, 3), uniform(7, 3)),
    *_cases("BCEWithLogitsLoss", normal(7, 3), uniform(7, 3), weight=weights(3)),
    *_cases("BCEWithLogitsLoss", normal(7, 3), uniform(7, 3), pos_weight=weights(3)),
    *_cases("BCEWithLogitsLoss", normal(2, 7, 3), uniform(2, 7, 3), weight=weights(7, 1), pos_weight=weights(3)),
]

DIVERGENCE = [
    *_cases("KLDivLoss", log_probabilities(7, 3), probabilities(7, 3)),
    *_cases("KLDivLoss", log_probabilities(7, 3), sparse(7, 3)),
    *_cases("KLDivLoss", log_probabilities(5), probabilities(5)),
    *_cases("KLDivLoss", log_probabilities(7, 3), log_probabilities(7, 3), log_target=True),
]

NLL = [
    *_cases("NLLLoss", log_probabilities(7, 4), labels((7,), 4)),
    *_cases("NLLLoss", log_probabilities(4), labels((), 4)),
    *_cases("NLLLoss", log_probabilities(2, 4, 5, 3), labels((2, 5, 3), 4), weight=weights(4)),
    *_cases("NLLLoss", log_probabilities(7, 4), labels((7,), 4, -100)),
    *_cases("NLLLoss", log_probabilities(7, 4), labels((7,), 4, 2), weight=weights(4), ignore_index=2),
]

LABELS = [
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4)),
    *_cases("CrossEntropyLoss", normal(4), labels((), 4)),
    *_cases("CrossEntropyLoss", normal(7, 4, 5), labels((7, 5), 4)),
    *_cases("CrossEntropyLoss", normal(2, 4, 5, 3), labels((2, 5, 3), 4)),
    *_cases("CrossEntropyLoss", normal(7, 1), labels((7,), 1)),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4), weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(4), labels((), 4), weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(2, 4, 5, 3), labels((2, 5, 3), 4, -100), weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4, -100)),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4, 1), ignore_index=1),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4, 9), ignore_index=9),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4), ignore_index=0),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4), label_smoothing=0.1),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4), label_smoothing=1.0),
    *_cases("CrossEntropyLoss", normal(4), labels((), 4), label_smoothing=0.3, weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4, -100), label_smoothing=0.3),
    *_cases("CrossEntropyLoss", normal(2, 4, 5), labels((2, 5), 4), label_smoothing=0.3, weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(7, 4), labels((7,), 4, -100), label_smoothing=0.3, weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(140, 3), labels((140,), 3)),  # many short rows
    *_cases("CrossEntropyLoss", normal(260, 130), labels((260,), 130)),  # many numbers in long rows
    *_cases("CrossEntropyLoss", normal(9000, 2), labels((9000,), 2)),  # more samples than a small sum takes
]

PROBABILITIES = [
    *_cases("CrossEntropyLoss", normal(7, 4), probabilities(7, 4)),
    *_cases("CrossEntropyLoss", normal(4), probabilities(4)),
    *_cases("CrossEntropyLoss", normal(2, 4, 5, 3), probabilities(2, 4, 5, 3)),
    *_cases("CrossEntropyLoss", normal(7, 4), sparse(7, 4)),
    *_cases("CrossEntropyLoss", normal(7, 4), probabilities(7, 4), weight=weights(4)),
    *_cases("CrossEntropyLoss", normal(2, 4, 5), probabilities(2, 4, 5), weight=weights(4), label_smoothing=0.2),
    *_cases("CrossEntropyLoss", normal(260, 130), probabilities(260, 130)),
]

ELEMENTWISE = [*REGRESSION, *MARGINS, *BINARY, *DIVERGENCE]
CLASSES = [*NLL, *LABELS, *PROBABILITIES]
LOSSES = [*ELEMENTWISE, *CLASSES]
