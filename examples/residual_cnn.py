"""A small residual network with batch normalisation reads handwritten digits: 99.4 % and more of MNIST's test set.

    LAMP_DATA=folder python examples/residual_cnn.py          # MNIST's four files in the folder, or in folder/mnist

Each batch shows the training images shifted by up to two pixels, so that the network never sees the same image twice.
The learning rate goes up and down once. It prints the accuracy on the 10,000 test images, and draws it epoch by epoch
into residual_cnn.png.
"""

import argparse
import time
from pathlib import Path

import torch

import lamp

EPOCHS, BATCH, LR, WEIGHT_DECAY, SHIFT = 6, 128, 1e-2, 1e-2, 2


def normed(inputs, outputs):
    """A convolution with windows of 3 x 3, normalised. The normalisation has a bias, so the convolution needs none."""
    return [lamp.Conv2d(inputs, outputs, 3, padding=1, bias=False), lamp.BatchNorm2d(outputs)]


def block(channels):
    """A residual block: x + f(x), where f is two convolutions."""
    return lamp.Residual(*normed(channels, channels), lamp.ReLU(), *normed(channels, channels))


def network():
    """The untrained network: images (B, 1, 28, 28) -> scores (B, 10)."""
    return lamp.Sequential(
        *normed(1, 32),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 32, 14, 14)
        block(32),
        lamp.ReLU(),
        *normed(32, 64),
        lamp.ReLU(),
        lamp.MaxPool2d(2),  # (B, 64, 7, 7)
        block(64),
        lamp.ReLU(),
        lamp.AdaptiveAvgPool2d(1),
        lamp.Flatten(),
        lamp.Linear(64, 10),
    )


class Shifted:
    """Batches of a data set of images, each image shifted by up to SHIFT pixels in both directions."""

    def __init__(self, images, seed):
        self.batches = lamp.DataLoader(images, BATCH, shuffle=True, drop_last=True, seed=seed)
        self.pad = lamp.ConstantPad2d(SHIFT, images.inputs.min().item())  # with background

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for images, digits in self.batches:
            height, width = images.shape[2:]
            windows = self.pad(images).unfold(2, height, 1).unfold(3, width, 1)  # (B, 1, 5, 5, 28, 28)
            down, right = torch.randint(2 * SHIFT + 1, (2, len(images)))
            yield windows[torch.arange(len(images)), :, down, right], digits


def data(quick=False):
    """Training and test set; with `quick` a few random images in their place, for a trial without the files."""
    if quick:
        images, digits = torch.randn(2 * BATCH, 1, 28, 28), torch.randint(10, (2 * BATCH,))
        return lamp.data.Dataset(images, digits), lamp.data.Dataset(images, digits)
    return lamp.data.mnist(train=True, normalize=True), lamp.data.mnist(train=False, normalize=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps on random images, to see that it runs")
    parser.add_argument("--out", default=".", help="the folder for the figure")
    options = parser.parse_args(arguments)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    epochs = 2 if options.quick else options.epochs

    torch.manual_seed(options.seed)
    train, test = data(options.quick)
    batches = Shifted(train, options.seed)
    model = network()
    optimizer = lamp.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    begun = time.perf_counter()
    history = lamp.fit(
        model,
        lamp.CrossEntropyLoss(),
        optimizer,
        batches,
        epochs=epochs,
        validation=test,
        metrics="accuracy",
        scheduler=lamp.OneCycleLR(optimizer, max_lr=LR, epochs=epochs, steps_per_epoch=len(batches)),
        schedule_per="batch",
    )
    seconds = time.perf_counter() - begun
    print(history)
    print(f"\ntest accuracy {100 * history['validation_accuracy'][-1]:.2f} %, after {seconds:.0f} s")
    axes = lamp.plots.curves(history, "validation_accuracy", ylabel="test accuracy")
    lamp.plots.save(axes, Path(options.out, "residual_cnn.png"))


if __name__ == "__main__":
    main()
