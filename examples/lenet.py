"""LeNet-5, the first convolutional network, reads handwritten digits.

    LAMP_DATA=folder python examples/lenet.py                 # MNIST's four files in the folder, or in folder/mnist
    python examples/lenet.py --networks 10                    # ten networks at once: mean and standard deviation

It trains on 60,000 images of MNIST, prints the accuracy on the 10,000 test images, and draws it epoch by epoch into
lenet.png. The network is that of LeCun et al. 1998, "Gradient-based learning applied to document recognition", with
ReLU and max pooling in place of what was usual then.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

EPOCHS, BATCH, LR = 10, 64, 2e-3


def network():
    """The untrained network: images (B, 1, 28, 28) -> scores (B, 10)."""
    return lamp.Sequential(
        lamp.Conv2d(1, 6, 5, padding=2),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 6, 14, 14)
        lamp.Conv2d(6, 16, 5),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 16, 5, 5)
        lamp.Flatten(),
        lamp.Linear(400, 120),
        lamp.ReLU(),
        lamp.Linear(120, 84),
        lamp.ReLU(),
        lamp.Linear(84, 10),
    )


def data(quick=False):
    """Training and test set; with `quick` a few random images in their place, for a trial without the files."""
    if quick:
        images, digits = torch.randn(256, 1, 28, 28), torch.randint(10, (256,))
        return lamp.data.Dataset(images, digits), lamp.data.Dataset(images, digits)
    return lamp.data.mnist(train=True, normalize=True), lamp.data.mnist(train=False, normalize=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--networks", type=int, default=1, help="how many to train at once, each from its own seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps on random images, to see that it runs")
    parser.add_argument("--out", default=".", help="the folder for the figure")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    epochs = 2 if options.quick else options.epochs

    torch.manual_seed(options.seed)
    train, test = data(options.quick)
    seeds = list(range(options.seed, options.seed + options.networks))
    model = network() if options.networks == 1 else lamp.population(network(), seeds)
    optimizer = lamp.Adam(model.parameters(), lr=LR)

    begun = time.perf_counter()
    history = lamp.fit(
        model,
        lamp.CrossEntropyLoss(),
        optimizer,
        train,
        epochs=epochs,
        batch_size=BATCH,
        validation=test,
        metrics="accuracy",
        scheduler=lamp.CosineAnnealingLR(optimizer, epochs),
        seed=options.seed if options.networks == 1 else seeds,
    )
    seconds = time.perf_counter() - begun
    print(history)
    accuracy = 100 * torch.as_tensor(history["validation_accuracy"][-1])
    spread = f" +- {accuracy.std():.2f}" if options.networks > 1 else ""
    print(f"\ntest accuracy {accuracy.mean():.2f}{spread} %, after {seconds:.0f} s")
    axes = lamp.plots.curves(history, "validation_accuracy", ylabel="test accuracy")
    lamp.plots.save(axes, Path(options.out, "lenet.png"))


if __name__ == "__main__":
    main()
