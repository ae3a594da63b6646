"""200 learning rates x weight decays, 5 seeds each: 1,000 networks for handwritten digits, trained as one population.

    pip install -e ".[data]" && python examples/sweep_digits.py

It prints the ranking with mean and standard deviation over the seeds, draws a heat map of the mean test accuracy into
sweep_digits.png, and estimates how long it would take to train one network after another.
"""

import time

import torch

import lamp

EPOCHS, BATCH, SEEDS = 10, 64, 5
LRS = torch.logspace(-4, -0.5, 20).tolist()
DECAYS = [0.0, *torch.logspace(-5, -1, 9).tolist()]


def main() -> None:
    train, test = lamp.data.digits().flattened().split(0.8)
    train, test = train.normalized(), test.normalized(using=train)
    model = lamp.Sequential(lamp.Linear(64, 16), lamp.ReLU(), lamp.Linear(16, 10))
    criterion = lamp.CrossEntropyLoss()

    begun = time.perf_counter()
    found = lamp.sweep(
        model,
        {"lr": LRS, "weight_decay": DECAYS},
        train,
        criterion=criterion,
        optimizer=lamp.AdamW,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=test,
        metrics=[lamp.accuracy],
        seeds=SEEDS,
    )
    together = time.perf_counter() - begun
    print(found)
    lamp.plots.save(found.heat_map("lr", "weight_decay"), "sweep_digits.png")

    begun = time.perf_counter()
    lamp.fit(
        model,
        criterion,
        lamp.AdamW(model.parameters()),
        train,
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=test,
        metrics=[lamp.accuracy],
        progress=False,
    )
    alone = time.perf_counter() - begun
    networks = len(LRS) * len(DECAYS) * SEEDS
    print(
        f"{networks} networks in {together:.1f} s; one alone takes {alone:.2f} s: in that time {together / alone:.0f}"
    )


if __name__ == "__main__":
    main()
