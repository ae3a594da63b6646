"""The same training by torch.nn and torch.optim: same initial weights, same data in the same order, its time taken.

The one file of the package, besides the bridge to torch, in which torch.nn stands: it is the other party here.
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
    """One torch.nn network, trained as lamp's of the same seed."""

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
    """Train torch.nn's twin of the setting's network from this seed, and test it."""
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
