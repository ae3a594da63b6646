"""A table's ensemble as weights for torch, and a Python file that builds the networks of torch.nn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lamp.errors import DataError
from lamp.saving import save_tensors, write_file
from lamp.tables.export.recipe import inputs_of
from lamp.tables.model import TableModel

TORCH_FILE = '''"""{title}

    from {name} import load
    network = load()
    {outputs} = network(inputs)

inputs (n, {features}) float32, in the order and the units that {recipe} gives.
Written by lamp; needs torch and safetensors, and {weights} beside this file.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

MEAN = {mean}
SCALE = {scale}
GROUPS = [  # edges: of each input's bins, or None
{groups}
]


{networks}


class Ensemble(torch.nn.Module):
    """{doing}"""

    def __init__(self):
        super().__init__()
        networks = [{builders}]
        members = [networks[k]() for k, group in enumerate(GROUPS) for _ in range(group["members"])]
        self.members = torch.nn.ModuleList(members)
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float64).float())
        self.register_buffer("scale", torch.tensor(SCALE, dtype=torch.float64).float())

    def forward(self, inputs):
        z = (inputs - self.mean) / self.scale
        members, mean = iter(self.members), 0.0
        for group in GROUPS:
            x = z if group["edges"] is None else encoded(z, group["edges"])
            scores = torch.stack([next(members)(x) for _ in range(group["members"])])
            mean = mean + group["weight"] * {of_group}
        return {result}


def encoded(z, edges):
    """The inputs, followed by the share of each bin that lies below the input."""
    of = [k for k, own in enumerate(edges) for _ in own[1:]]
    lower = z.new_tensor([each for own in edges for each in own[:-1]])
    upper = z.new_tensor([each for own in edges for each in own[1:]])
    return torch.cat([z, ((z[:, of] - lower) / (upper - lower)).clamp(0.0, 1.0)], 1)


def load(path=Path(__file__).with_name("{weights}")):
    """The ensemble with its weights, in eval mode."""
    ensemble = Ensemble()
    ensemble.members.load_state_dict(load_file(path))
    return ensemble.eval()
'''
NETWORK = '''def network_{k}():
    """A network of group {k}, for standardised inputs."""
    return torch.nn.Sequential(
{layers}
    )'''


def write_weights(model: TableModel, path: Path) -> None:
    """Write the weights of all members, under torch.nn's keys with "k." before them."""
    weights: dict[str, Tensor] = {}
    first = 0
    for group in model.groups:
        for name, tensor in group.networks.state_dict().items():
            weights |= {f"{first + k}.{name}": tensor[k].contiguous() for k in range(len(tensor))}
        first += len(group.networks)
    save_tensors(path, weights, {"format": "pt", "members": str(model.members)})


def write(model: TableModel, path: Path, weights: str) -> None:
    """Write the Python file; `weights` is the name of the file with the weights beside it."""
    write_file(path, lambda file: file.write(_text(model, path.name, weights).encode()))


def _text(model: TableModel, name: str, weights: str) -> str:
    stem = Path(name).stem
    if not stem.isidentifier():
        raise DataError(
            f"{stem}.py could not be imported", expected="letters, digits and _", got=stem, fix="--out another_name.py"
        )
    target, inputs = model.target, inputs_of(model)
    mean, scale = ([getattr(each, name) for each in inputs] for name in ("mean", "scale"))
    if target.is_classes:
        of_group, result, outputs = f"(scores / {model.temperature!r}).softmax(-1).mean(0)", "mean", "probabilities"
        doing = "The members' mean probabilities of the classes, (n, C)."
    else:
        of_group, result, outputs = "scores.mean(0)", f"mean * {target.std!r} + {target.mean!r}", "numbers"
        if model.limits != (None, None):
            result = f"({result}).clamp({', '.join(map(repr, model.limits))})"
        doing = "The members' mean, in the target's unit, (n, 1)."
    groups, networks = list[str](), list[str]()
    for k, group in enumerate(model.groups):
        described: dict[str, Any] = group.to_dict()
        groups.append(
            f"    {{{', '.join(f'{name!r}: {described[name]!r}' for name in ('members', 'weight', 'edges'))}}},"
        )
        layers = "\n".join(f"        torch.nn.{layer}," for layer in described["layers"])
        networks.append(NETWORK.format(k=k, layers=layers))
    return TORCH_FILE.format(
        title="".join(letter for letter in f"An ensemble that predicts {target.name}." if letter not in '"\\'),
        name=stem,
        outputs=outputs,
        features=len(inputs),
        recipe=f"{name}.inputs.json",
        weights=weights,
        mean=mean,
        scale=scale,
        groups="\n".join(groups),
        networks="\n\n\n".join(networks),
        builders=", ".join(f"network_{k}" for k in range(len(model.groups))),
        doing=doing,
        of_group=of_group,
        result=result,
    )
