"""The normalisations, with several settings of their options, each beside its twin in torch.nn."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.module_case import both, of

# For a gradient that is the same for the whole batch, dweight and dx are 0 but for rounding.
NORMALIZATIONS = [
    replace(case, tolerance=1e-10)
    for case in (
        of("BatchNorm1d", (5, 3), 3),
        of("BatchNorm1d", (5, 3, 4), 3),
        of("BatchNorm1d", (1, 3, 4), 3, eps=0.1),
        of("BatchNorm1d", (5, 3), 3, 1e-3, 0.3),
        of("BatchNorm1d", (6, 2), 2, momentum=None),
        of("BatchNorm1d", (5, 3), 3, affine=False),
        of("BatchNorm1d", (5, 3), 3, bias=False),
        of("BatchNorm1d", (5, 3), 3, track_running_stats=False),
        of("BatchNorm1d", (2, 3, 4), 3, momentum=0, affine=False, track_running_stats=False),
        of("BatchNorm2d", (5, 3, 4, 2), 3),
        of("BatchNorm2d", (2, 3, 4, 5), 3, 1e-3, None, bias=False),
        of("BatchNorm2d", (4, 2, 3, 5), 2, affine=False, track_running_stats=False),
        of("BatchNorm3d", (5, 3, 4, 2, 1), 3, momentum=0.7),
        of("BatchNorm3d", (2, 3, 1, 2, 4), 3, affine=False),
        of("InstanceNorm1d", (5, 3, 4), 3, affine=True),
        of("InstanceNorm1d", (2, 3, 7), 3, 1e-3, 0.3, track_running_stats=True),
        of("InstanceNorm1d", (4, 2, 3), 2, eps=0.1),
        of("InstanceNorm2d", (5, 3, 4, 2), 3, affine=True, bias=False),
        of("InstanceNorm2d", (2, 3, 4, 5), 3, momentum=0.4, affine=True, track_running_stats=True),
        of("InstanceNorm3d", (5, 3, 4, 2, 1), 3),
        of("InstanceNorm3d", (2, 3, 1, 2, 4), 3, momentum=None, affine=True, track_running_stats=True),
        both(
            "a normalised network",
            (6, 3),
            lambda p: p.Sequential(p.Linear(3, 4), p.BatchNorm1d(4), p.Tanh(), p.Linear(4, 2), p.BatchNorm1d(2)),
        ),
    )
]

NORMALIZATIONS_OF_SAMPLES = [
    replace(case, tolerance=1e-10)
    for case in (
        of("LayerNorm", (5, 3), 3),
        of("LayerNorm", (3,), 3),
        of("LayerNorm", (4, 5, 3), 3, 1e-3),
        of("LayerNorm", (5, 4, 3), [4, 3], eps=0.1),
        of("LayerNorm", (6, 3), (3,), elementwise_affine=False),
        of("LayerNorm", (2, 7, 3), 3, bias=False),
        of("RMSNorm", (5, 3), 3),
        of("RMSNorm", (3,), 3),
        of("RMSNorm", (4, 5, 3), 3, 1e-3),
        of("RMSNorm", (5, 4, 3), [4, 3], eps=0.1),
        of("RMSNorm", (6, 3), (3,), elementwise_affine=False),
        of("GroupNorm", (5, 6, 4), 3, 6),
        of("GroupNorm", (5, 6), 2, 6, 1e-3),
        of("GroupNorm", (2, 4, 3, 5), 4, 4, bias=False),
        of("GroupNorm", (3, 6, 2, 1, 4), 1, 6, eps=0.1),
        of("GroupNorm", (5, 4, 3), num_groups=2, num_channels=4, affine=False),
        of("LocalResponseNorm", (5, 4, 3), 3),
        of("LocalResponseNorm", (2, 5, 3, 4), 2, 0.5, beta=1.3, k=0.7),
        of("LocalResponseNorm", (2, 3, 4), 7, alpha=3.0),
        both(
            "a network of normalised rows",
            (2, 5, 3),
            lambda p: p.Sequential(p.LayerNorm(3), p.Linear(3, 4), p.RMSNorm(4), p.GELU(), p.LayerNorm(4)),
        ),
    )
]
