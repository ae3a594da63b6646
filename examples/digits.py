"""Ten small convolutional networks read handwritten digits: seconds of training, and a result with its spread.

    pip install -e ".[data]" && python examples/digits.py

The 1,797 images of 8 x 8 pixels come with scikit-learn, so nothing is downloaded. The ten networks differ in their
initial weights and in the order of the images. They train as one population. It prints the accuracy on the fifth of
the images that is not trained on, mean and standard deviation, and draws it epoch by epoch into digits.png.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

EPOCHS, BATCH, LR = 20, 64, 5e-3
NETWORKS = 10


def network():
    """The untrained network: images (B, 1, 8, 8) -> scores (B, 10)."""
    return lamp.Sequential(
        lamp.Conv2d(1, 8, 3, padding=1),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 8, 4, 4)
        lamp.Conv2d(8, 16, 3, padding=1),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 16, 2, 2)
        lamp.Flatten(),
        lamp.Linear(64, 10),
    )


def data():
    """Training and test set: four fifths of the images, and the rest."""
    return lamp.data.digits(train=True, normalize=True), lamp.data.digits(train=False, normalize=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--networks", type=int, default=NETWORKS, help="how many to train at once")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first network; the next has seed + 1")
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    parser.add_argument("--out", default=".", help="the folder for the figure")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    epochs = 2 if options.quick else options.epochs

    train, test = data()
    seeds = range(options.seed, options.seed + options.networks)
    networks = lamp.population(network(), seeds)
    optimizer = lamp.Adam(networks.parameters(), lr=LR)

    begun = time.perf_counter()
    history = lamp.fit(
        networks,
        lamp.CrossEntropyLoss(),
        optimizer,
        train,
        epochs=epochs,
        batch_size=BATCH,
        validation=test,
        metrics="accuracy",
        scheduler=lamp.CosineAnnealingLR(optimizer, epochs),
        seed=list(seeds),
    )
    seconds = time.perf_counter() - begun
    print(history)
    accuracy = 100 * torch.as_tensor(history["validation_accuracy"][-1])
    print(
        f"\ntest accuracy {accuracy.mean():.2f} +- {accuracy.std():.2f} %, {len(accuracy)} networks in {seconds:.1f} s"
    )
    axes = lamp.plots.curves(history, "validation_accuracy", ylabel="test accuracy")
    lamp.plots.save(axes, Path(options.out, "digits.png"))


if __name__ == "__main__":
    main()
