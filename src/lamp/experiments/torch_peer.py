"""The same training by torch.nn and torch.optim, with equal initial weights and data in the same order, and its time.

Besides the conversion to torch.nn, this is the only file of the package that uses torch.nn.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lamp.data import as_batches
from lamp.experiments.protocol import PRECISION, Setting
from lamp.nn import Linear, Sequential


@dataclass
class PeerRun:
    """One torch.nn network, trained like lamp's network of the same seed, with its results."""

    seed: int
    train_loss: float
    test_loss: float
    train_accuracy: float
    test_accuracy: float
    losses: Tensor
    seconds: float


def twin(model: Sequential) -> torch.nn.Sequential:
    """The torch.nn network with the same layers and the same weights."""
    layers = [
        torch.nn.Linear(module.in_features, module.out_features)
        if isinstance(module, Linear)
        else getattr(torch.nn, type(module).__name__)()
        for module in model
    ]
    network = torch.nn.Sequential(*layers).to(PRECISION)
    network.load_state_dict(model.state_dict())
    return network


def train_peer(setting: Setting, seed: int) -> PeerRun:
    """Train the torch.nn network that is equal to the setting's network of this seed, and test it."""
    train, test = setting.data(seed)
    model = setting.build(seed)
    network = twin(model.body)
    criterion = getattr(torch.nn, type(model.loss if setting.criterion is None else setting.criterion()).__name__)()
    ours = setting.optimizer(model)
    optimizer = getattr(torch.optim, type(ours).__name__)(
        network.parameters(), **{name: ours.param_groups[0][name] for name in ours.defaults}
    )
    batches = as_batches(
        (train.inputs, setting.encode(train.targets)), setting.batch_size, shuffle=setting.shuffle, seed=seed
    )
    losses = []
    begun = time.perf_counter()
    for _ in range(setting.epochs):
        of_epoch = []
        for x, y in batches:
            loss = criterion(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            of_epoch.append(loss.detach())
        losses.append(torch.stack(of_epoch).mean())
    seconds = time.perf_counter() - begun
    measured = {}
    with torch.no_grad():
        for name, data in (("train", train), ("test", test)):
            output = network(data.inputs)
            measured[f"{name}_loss"] = criterion(output, setting.encode(data.targets)).item()
            right = (setting.decide(output) == data.targets).double()
            measured[f"{name}_accuracy"] = 100 * right.mean().item()
    return PeerRun(seed=seed, losses=torch.stack(losses), seconds=seconds, **measured)
