"""Ten thousand steps of schedules, alone and within each other: torch's learning rates, though resumed on the way."""

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

import lamp.optim
from tests.cases.schedules import step
from tests.test_schedule_nesting import FACTORS, chained, in_a_row, optimizer_of
from tests.test_schedule_values import check, hyperparameters

STEPS, RESUMED_EVERY = 10_000, 1_237

LONG = {
    "StepLR": lambda p, o: p.StepLR(o, 700, gamma=0.8),
    "MultiStepLR": lambda p, o: p.MultiStepLR(o, [30, 900, 3_000], gamma=0.6),
    "LinearLR": lambda p, o: p.LinearLR(o, 0.1, 0.9, total_iters=7_001),
    "ExponentialLR": lambda p, o: p.ExponentialLR(o, 0.9998),
    "PolynomialLR": lambda p, o: p.PolynomialLR(o, 9_000, power=1.5),
    "LambdaLR": lambda p, o: p.LambdaLR(o, lambda t: 0.9997**t * (1 + 0.1 * (t % 3))),
    "MultiplicativeLR": lambda p, o: p.MultiplicativeLR(o, lambda t: 1.0 - 1e-4 * (t % 5)),
    "CosineAnnealingLR": lambda p, o: p.CosineAnnealingLR(o, 1_300, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda p, o: p.CosineAnnealingWarmRestarts(o, 50, 2, eta_min=0.002),
    "OneCycleLR": lambda p, o: p.OneCycleLR(o, 0.5, STEPS + 1),
    "CyclicLR": lambda p, o: p.CyclicLR(o, 0.01, 0.3, 40),
    "ConstantLR": lambda p, o: p.ConstantLR(o, 0.3, total_iters=5_000),
    "SWALR": lambda p, o: (swa_utils if p is lr_scheduler else p).SWALR(o, 0.05, 6_000),
    "in a row": in_a_row([1_000, 4_000], "LinearLR", "CosineAnnealingLR", "ExponentialLR"),
    "cycles in a row": in_a_row([700, 5_001], "WarmRestarts", "CyclicLR", "LambdaLR"),
    "chained": chained("LinearLR", "ExponentialLR", "StepLR"),
    "all factors chained": chained(*FACTORS),
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("make", LONG.values(), ids=LONG)
def test_ten_thousand_steps(make):
    scheduler, twin = make(lamp.optim, optimizer_of(lamp.optim)), make(lr_scheduler, optimizer_of(lr_scheduler))
    ours, theirs = [], []
    for k in range(STEPS):
        ours.append(hyperparameters(scheduler))
        theirs.append(hyperparameters(twin))
        step(twin)
        if k % RESUMED_EVERY == 0:
            saved, of_optimizer = scheduler.state_dict(), scheduler.optimizer.state_dict()
            optimizer = optimizer_of(lamp.optim)
            scheduler = make(lamp.optim, optimizer)
            optimizer.load_state_dict(of_optimizer)
            scheduler.load_state_dict(saved)
        scheduler.step()
    check(ours, theirs)


def test_ten_thousand_measures_of_a_plateau():
    """A loss that falls in noise; resumed on the way."""
    options = {"factor": 0.9, "patience": 20, "cooldown": 7, "min_lr": 1e-4}
    scheduler, twin = (p.ReduceLROnPlateau(optimizer_of(p), **options) for p in (lamp.optim, lr_scheduler))
    noise = torch.rand(STEPS, generator=torch.Generator().manual_seed(0)).tolist()
    ours, theirs = [], []
    for k in range(STEPS):
        measure = 1.0 / (1 + k) + 0.1 * noise[k]
        if k % RESUMED_EVERY == 0:
            saved, of_optimizer = scheduler.state_dict(), scheduler.optimizer.state_dict()
            scheduler = lamp.optim.ReduceLROnPlateau(optimizer_of(lamp.optim), **options)
            scheduler.optimizer.load_state_dict(of_optimizer)
            scheduler.load_state_dict(saved)
        scheduler.step(measure)
        step(twin, measure)
        ours.append(hyperparameters(scheduler))
        theirs.append(hyperparameters(twin))
    check(ours, theirs)
    assert len({each[0][0] for each in ours}) > 10
