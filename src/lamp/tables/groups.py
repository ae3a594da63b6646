"""Group: networks of one shape that share an encoding of their inputs. An ensemble is made of one or several groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from lamp.nn import PiecewiseLinearEncoding
from lamp.printable import counted
from lamp.replicas import Population, population
from lamp.saving.schema import Range
from lamp.tables.effort import Shape, shown
from lamp.training import predict


class GroupDocument(TypedDict):
    """A group in architecture.json: see `Group.to_dict`."""

    width: Annotated[int, Range(0, 10**6)]
    depth: Annotated[int, Range(0, 1000)]
    dropout: Annotated[float, Range(0, 1)]
    activation: str
    members: Annotated[int, Range(1, 100_000)]
    weight: Annotated[float, Range(0, 1)]
    edges: list[list[float]] | None


@dataclass(eq=False)
class Group:
    """Members of an ensemble that have one shape and one encoding of their inputs.

    networks  the members, for encoded inputs
    weight    the group's share in the ensemble's mean; the shares of all groups add up to 1
    encoding  what preprocessed inputs go through first, or None
    """

    networks: Population
    shape: Shape
    weight: float = 1.0
    encoding: PiecewiseLinearEncoding | None = None

    def encoded(self, x: Tensor) -> Tensor:
        """The networks' inputs (n, encoded features) for preprocessed inputs x (n, features)."""
        if self.encoding is None:
            return x
        encoded: Tensor = predict(self.encoding, x)
        return encoded

    def scores(self, x: Tensor) -> Tensor:
        """The members' outputs (K, n, outputs) for preprocessed inputs x (n, features)."""
        outputs: Tensor = predict(self.networks, self.encoded(x))
        return outputs

    @property
    def weights(self) -> Tensor:
        """(K,) float64: each member's share in the ensemble's mean."""
        return torch.full((len(self.networks),), self.weight / len(self.networks), dtype=torch.float64)

    @property
    def work(self) -> int:
        """The number of multiplications per row and member, which is the number of parameters."""
        return sum(parameter.numel() for parameter in self.networks.network.parameters()) // len(self.networks)

    def sources(self, inputs: int) -> Tensor:
        """(encoded features,): the one of the preprocessed inputs that each encoded feature is computed from."""
        places = torch.arange(inputs)
        if self.encoding is None:
            return places
        return torch.cat([places, places.repeat_interleave(torch.tensor(self.encoding.bins))])

    def to_dict(self) -> dict[str, Any]:
        """The group without its weights, as a dict for JSON."""
        return {
            **asdict(self.shape),
            "activation": "ReLU",
            "members": len(self.networks),
            "weight": self.weight,
            "edges": None if self.encoding is None else [each.tolist() for each in self.encoding.edges],
            "layers": [repr(module) for module in self.networks.network.children()],
        }

    @classmethod
    def from_dict(cls, saved: GroupDocument, inputs: int, outputs: int) -> Group:
        """The group that `to_dict` described, with new weights. Raises ValueError if it does not fit the inputs."""
        if saved["activation"] != "ReLU":
            raise ValueError(f"activation {saved['activation']!r}")
        encoding = None if saved["edges"] is None else PiecewiseLinearEncoding(saved["edges"])
        if encoding is not None and len(encoding.bins) != inputs:
            raise ValueError(f"edges of {len(encoding.bins)} inputs, but there are {inputs}")
        single = shape_of(saved).build(encoded_inputs(saved, inputs), outputs)
        return cls(population(single, range(saved["members"])), shape_of(saved), saved["weight"], encoding)

    def __str__(self) -> str:
        encoded = "" if self.encoding is None else ", numbers in piecewise-linear encoding"
        networks = counted(len(self.networks), "network")
        return f"{networks} {'of' if self.shape.depth else 'with'} {shown(self.shape)}{encoded}"


def shape_of(saved: GroupDocument) -> Shape:
    """The shape of a group's networks."""
    return Shape(saved["width"], saved["depth"], saved["dropout"])


def encoded_inputs(saved: GroupDocument, inputs: int) -> int:
    """The number of features of a group's encoding."""
    return inputs + sum(max(len(edges) - 1, 0) for edges in saved["edges"] or [])


def weights_of(groups: Sequence[Group]) -> Tensor:
    """(K,) float64: the share of each member of all groups in the ensemble's mean."""
    return torch.cat([group.weights for group in groups])
