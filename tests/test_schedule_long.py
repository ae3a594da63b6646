"""Ten thousand steps of schedules, alone and within each other: torch's learning rates, though resumed on the way."""

import pytest
from torch.optim import lr_scheduler

import lamp.optim
from tests.cases.schedules import step
from tests.test_schedule_nesting import chained, in_a_row, optimizer_of
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
    "in a row": in_a_row([1_000, 4_000], "LinearLR", "CosineAnnealingLR", "ExponentialLR"),
    "chained": chained("LinearLR", "ExponentialLR", "StepLR"),
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
