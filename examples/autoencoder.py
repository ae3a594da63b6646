"""An autoencoder squeezes handwritten digits of 784 pixels into 16 numbers, and draws them again.

    LAMP_DATA=folder python examples/autoencoder.py           # MNIST's four files in the folder, or in folder/mnist

The target of each image is the image itself. It trains on 60,000 images of MNIST, prints the mean squared error of a
pixel on the 10,000 test images, and draws two figures: autoencoder.png, the error epoch by epoch, and
reconstructions.png, test images above and what the network makes of them below.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

EPOCHS, BATCH, LR = 20, 128, 1e-3
CODE = 16  # the numbers that an image goes through
SHOWN = 12  # the images in the figure


def network(code=CODE):
    """The untrained network: images (B, 784) -> images (B, 784), through a code (B, code)."""
    return lamp.Sequential(
        lamp.Linear(784, 256),
        lamp.ReLU(),
        lamp.Linear(256, code),
        lamp.Linear(code, 256),
        lamp.ReLU(),
        lamp.Linear(256, 784),
        lamp.Sigmoid(),
    )


def data(quick=False):
    """Images (n, 784) from 0 to 1 to train on and to test with; with `quick` a few random ones, without any file."""
    if quick:
        return torch.rand(512, 784), torch.rand(128, 784)
    return tuple(lamp.data.mnist(train=part).inputs.flatten(1) for part in (True, False))


def drawn(images, reconstructions):
    """The axes of a figure: a row of images (n, 784), and their reconstructions below."""
    rows = [torch.cat(list(each.view(-1, 28, 28)), 1) for each in (images, reconstructions)]
    axes = lamp.plots.panels(1)[0]
    axes.imshow(torch.cat(rows).numpy(), cmap="gray_r")
    axes.set_axis_off()
    return axes


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--code", type=int, default=CODE, help="how many numbers an image goes through")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps on random images, to see that it runs")
    parser.add_argument("--out", default=".", help="the folder for the figures")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    epochs = 2 if options.quick else options.epochs

    torch.manual_seed(options.seed)
    train, test = data(options.quick)
    model, criterion = network(options.code), lamp.MSELoss()
    optimizer = lamp.Adam(model.parameters(), lr=LR)

    begun = time.perf_counter()
    history = lamp.fit(
        model,
        criterion,
        optimizer,
        (train, train),
        epochs=epochs,
        batch_size=BATCH,
        validation=(test, test),
        scheduler=lamp.CosineAnnealingLR(optimizer, epochs),
        seed=options.seed,
    )
    seconds = time.perf_counter() - begun
    print(history)
    blank = criterion(train.mean(0).expand_as(test).contiguous(), test)
    error = history["validation_loss"][-1]
    print(f"\ntest error {error:.5f} per pixel, after {seconds:.0f} s; the mean image has {blank:.5f}")

    out = Path(options.out)
    lamp.plots.save(history.plot(), out / "autoencoder.png")
    lamp.plots.save(drawn(test[:SHOWN], lamp.predict(model, test[:SHOWN])), out / "reconstructions.png")


if __name__ == "__main__":
    main()
