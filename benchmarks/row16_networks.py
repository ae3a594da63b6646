"""Row 16: networks as people build them, eager: time and peak memory of a training step.

They are the networks of examples/, with the batches of their trainings. The data are random numbers of the same shape:
a step takes as long as on the real ones.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path

import torch

import lamp
from benchmarks.harness import Contender, Row, Work
from benchmarks.networks import Batches, Constants, Net, WithLamp, WithTorchNN
from benchmarks.networks_torch import CharacterGPT, CharacterLSTM
from benchmarks.outcome import Goal

LAMP, NN, FUSED, COMPILE = "lamp", "torch.nn", "torch.nn fused", "torch.compile"
BATCHES = 4
COMPILED_WITHIN = 240.0  # seconds
JOB = 5_000  # steps of a whole training

# Steps that must give equal parameters: few, since gradients jump where a ReLU changes sides by rounding. The LSTM has
# none, and moves slowly.
CHECKED, CHECKED_LSTM = 2, 8


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


def images(batch: int) -> Batches:
    """Batches of random images in MNIST's shape, with labels."""
    return [(torch.rand(batch, 1, 28, 28), torch.randint(10, (batch,))) for _ in range(BATCHES)]


def flat(batch: int) -> Batches:
    """Batches of random images as rows of pixels, each its own target."""
    return [(pixels, pixels) for pixels in (torch.rand(batch, 784) for _ in range(BATCHES))]


def texts(batch: int, context: int, characters: int) -> Batches:
    """Batches of random characters, each with the next one as its label."""
    drawn = [torch.randint(characters, (batch, context + 1)) for _ in range(BATCHES)]
    return [(each[:, :-1].contiguous(), each[:, 1:].contiguous()) for each in drawn]


def example(name: str, *sizes: int) -> lamp.Module:
    """The untrained network of an example."""
    network: lamp.Module = import_module(f"examples.{name}").network(*sizes)
    return network


ADAM: Constants = {"lr": 1e-3}
# Norms and softmax make gradients that are 0 but for rounding, and Adam divides by their size: a large eps limits that.
LARGE_EPS: Constants = {"lr": 1e-3, "eps": 1e-2}
# The convolutions before batch norms have many such gradients. With an eps of 1e-2, two steps of torch.compile end
# 1.7e-5 from the same training in float64 (torch.nn and lamp: 4.5e-6), and compiled in float64 they end 2e-16 from it:
# it is rounding. With 0.1 they all end within 1.3e-6.
LARGER_EPS: Constants = {"lr": 1e-3, "eps": 0.1}

CHARACTERS = 65  # of tiny Shakespeare
ENTROPY = "CrossEntropyLoss"
NETS = {
    "lenet": Net(partial(example, "lenet"), lamp.to_torch, ENTROPY, partial(images, 64), "Adam", ADAM),
    "residual_cnn": Net(
        partial(example, "residual_cnn"), lamp.to_torch, ENTROPY, partial(images, 128), "AdamW", LARGER_EPS
    ),
    "character_gpt": Net(
        partial(example, "character_gpt", CHARACTERS),
        CharacterGPT,
        ENTROPY,
        partial(texts, 12, 64, CHARACTERS),
        "AdamW",
        LARGE_EPS,
    ),
    "character_lstm": Net(
        partial(example, "character_lstm", CHARACTERS),
        CharacterLSTM,
        ENTROPY,
        partial(texts, 32, 64, CHARACTERS),
        "Adam",
        LARGE_EPS,
    ),
    "autoencoder": Net(partial(example, "autoencoder"), lamp.to_torch, "MSELoss", partial(flat, 128), "Adam", ADAM),
}
TITLES = {
    "lenet": "LeNet-5, batch 64",
    "residual_cnn": "residual CNN with batch norm, batch 128",
    "character_gpt": "character GPT: 4 layers, 4 heads, 128 wide, context 64, batch 12",
    "character_lstm": "character LSTM: 2 layers, 128 wide, 64 steps, batch 32",
    "autoencoder": "autoencoder of images, batch 128",
}
STEPS = {"lenet": 20, "residual_cnn": 2, "character_gpt": 6, "character_lstm": 6, "autoencoder": 40}  # timed together


def work(name: str) -> Work:
    """The training of an example's network."""
    return Work(
        TITLES[name],
        contenders(NETS[name]),
        (Goal(LAMP, FUSED, 1.25), Goal(LAMP, NN, 0.7, memory=True)),
        steps=STEPS[name],
        check_steps=CHECKED_LSTM if name == "character_lstm" else CHECKED,
        job_steps=JOB,
        module=__name__,
    )


EXAMPLES = Path(__file__).parent.parent / "examples"
THERE = [name for name in NETS if (EXAMPLES / f"{name}.py").exists()]
ROW = Row(16, "networks of convolutions, attention and recurrence, eager", tuple(map(work, THERE)))
