"""Row 16: networks as people build them, eager: time and peak memory of a training step.

They are the networks of examples/, with the batches of their trainings. The data are random numbers of the same shape:
a step takes as long as on the real ones.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch

import lamp
from benchmarks.harness import Contender, Row, Work
from benchmarks.networks import Batches, Constants, Net, WithLamp, WithTorchNN
from benchmarks.outcome import Goal

LAMP, NN, FUSED, COMPILE = "lamp", "torch.nn", "torch.nn fused", "torch.compile"
BATCHES = 4
COMPILED_WITHIN = 240.0  # seconds
JOB = 5_000  # steps of a whole training

CHECKED = 2  # steps that must give equal parameters: where a ReLU changes sides by rounding, gradients jump


def contenders(net: Net) -> tuple[Contender, ...]:
    """lamp's eager engine, torch.nn with two implementations of its optimizer, and torch.compile."""
    return (
        Contender(LAMP, lambda threads: WithLamp(net), ours=True, note="the step of lamp.fit, eager"),
        Contender(NN, lambda threads: WithTorchNN(net)),
        Contender(FUSED, lambda threads: WithTorchNN(net, fused=True)),
        Contender(
            COMPILE,
            lambda threads: WithTorchNN(net, compiled=True, fused=True),
            compiles=True,
            time_limit=COMPILED_WITHIN,
            note="the network compiled, the fused optimizer",
        ),
    )


def images(batch: int, labels: bool = True) -> Batches:
    """Batches of random images in MNIST's shape, with labels or with themselves as target."""
    pixels = [torch.rand(batch, 1, 28, 28) for _ in range(BATCHES)]
    return [(each, torch.randint(10, (batch,)) if labels else each.flatten(1)) for each in pixels]


def texts(batch: int, context: int, characters: int) -> Batches:
    """Batches of random characters, each with the next one as its label."""
    drawn = [torch.randint(characters, (batch, context + 1)) for _ in range(BATCHES)]
    return [(each[:, :-1].contiguous(), each[:, 1:].contiguous()) for each in drawn]


def lenet() -> lamp.Module:
    """LeNet-5."""
    return lamp.Sequential(
        *(lamp.Conv2d(1, 6, 5, padding=2), lamp.ReLU(), lamp.MaxPool2d(2)),
        *(lamp.Conv2d(6, 16, 5), lamp.ReLU(), lamp.MaxPool2d(2)),
        lamp.Flatten(),
        *(lamp.Linear(400, 120), lamp.ReLU(), lamp.Linear(120, 84), lamp.ReLU(), lamp.Linear(84, 10)),
    )


def residual_cnn(width: int = 32) -> lamp.Module:
    """A residual network with batch norm."""

    def convolution(before: int, after: int) -> tuple[lamp.Module, ...]:
        return lamp.Conv2d(before, after, 3, padding=1, bias=False), lamp.BatchNorm2d(after)

    def block(channels: int) -> lamp.Module:
        return lamp.Residual(*convolution(channels, channels), lamp.ReLU(), *convolution(channels, channels))

    return lamp.Sequential(
        *(*convolution(1, width), lamp.ReLU(), lamp.MaxPool2d(2), block(width), lamp.ReLU()),
        *(*convolution(width, 2 * width), lamp.ReLU(), lamp.MaxPool2d(2), block(2 * width), lamp.ReLU()),
        *(lamp.AdaptiveAvgPool2d(1), lamp.Flatten(), lamp.Linear(2 * width, 10)),
    )


def autoencoder() -> lamp.Module:
    """An autoencoder of images."""
    widths = (784, 256, 64, 16, 64, 256, 784)
    layers: list[lamp.Module] = [lamp.Flatten()]
    for before, after in pairwise(widths):
        layers += [lamp.Linear(before, after), lamp.ReLU()]
    return lamp.Sequential(*layers[:-1], lamp.Sigmoid())


ADAM: Constants = {"lr": 1e-3}
# Batch norm makes gradients that are 0 but for rounding, by whose size Adam divides: a large eps keeps that small.
ADAM_AFTER_NORM: Constants = {"lr": 1e-3, "eps": 1e-2}

NETS = {
    "LeNet-5, batch 64": Net(lenet, lamp.to_torch, "CrossEntropyLoss", partial(images, 64), "Adam", ADAM),
    "residual CNN with batch norm, batch 64": Net(
        residual_cnn, lamp.to_torch, "CrossEntropyLoss", partial(images, 64), "Adam", ADAM_AFTER_NORM
    ),
    "autoencoder of images, batch 128": Net(
        autoencoder, lamp.to_torch, "MSELoss", partial(images, 128, labels=False), "Adam", ADAM
    ),
}
STEPS = {"residual CNN with batch norm, batch 64": 4}  # that are timed together; of the others, 20


def work(title: str) -> Work:
    """The training of a network."""
    return Work(
        title,
        contenders(NETS[title]),
        (Goal(LAMP, FUSED, 1.25), Goal(LAMP, NN, 0.7, memory=True)),
        steps=STEPS.get(title, 20),
        check_steps=CHECKED,
        job_steps=JOB,
        module=__name__,
    )


ROW = Row(16, "networks of convolutions, attention and recurrence, eager", tuple(map(work, NETS)))
