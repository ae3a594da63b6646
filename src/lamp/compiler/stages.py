"""A network as the compiler lowers it: stages, each a source and what follows it element by element.

A stage computes its source (an affine map, a sum, ...) for one unit after another, and passes each number through its
chain at once, while it is in a register. `print(plan)` shows the stages and where their values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Graph
from lamp.module import Module
from lamp.nn import Activation, Dropout, PReLU
from lamp.parameter import Parameter
from lamp.paths import describe

INPUT, AFFINE, ELEMENTWISE, ADD, MULTIPLY, CONCAT, SOFTMAX = (
    "input",
    "affine",
    "elementwise",
    "add",
    "multiply",
    "concat",
    "softmax",
)


@dataclass(eq=False)
class Stage:
    """A source and what follows it, element by element.

    kind      of the source: affine (y = W x + b of its one input), add, multiply, concat, softmax, elementwise (its
              input as it is), or input (the network's)
    inputs    the stages whose outputs it takes
    units     how many numbers it puts out for a sample
    layer     its number among the affine ones
    weight, bias, slopes  where its parameters begin among the network's P numbers; slopes by chain position, of PReLU
    log       of a softmax, whether it is its logarithm
    chain     the modules that follow the source
    users     how many stages take its outputs, the loss among them
    learns    whether a parameter stands here or before, so that gradients are wanted
    values    where each value of a unit is kept among the activations, or None: the source's, then what each module of
              the chain makes of it
    gradients  where the gradients of its outputs are kept, which become those of its source
    """

    kind: str
    inputs: list[Stage]
    units: Any
    layer: int | None = None
    weight: Any = None
    bias: Any | None = None
    log: bool = False
    chain: list[Module] = field(default_factory=list)
    slopes: dict[int, Any] = field(default_factory=dict)
    users: int = 0
    learns: bool = False
    values: list[Any | None] = field(default_factory=list)
    gradients: Any = 0

    @property
    def width(self) -> tuple[Any, Any]:
        """Inputs and outputs of an affine map."""
        return self.inputs[0].units, self.units

    @property
    def outputs(self) -> Any:
        """Where its outputs are kept."""
        place = self.values[-1]
        assert place is not None
        return place

    @property
    def first_kept(self) -> Any:
        """Where the source is kept: in the place of what comes of it, where it is not needed again."""
        return next(place for place in self.values if place is not None)

    @property
    def keeps_zero(self) -> bool:
        """Whether what follows the source makes 0 of 0."""
        x = torch.zeros(1, dtype=torch.float64)
        for module in self.chain:
            x = module.sigma(x) if isinstance(module, Activation) else x
        return bool(x == 0)


@dataclass(eq=False)
class Plan:
    """A network ready to be lowered.

    graph        that it was made from
    stages       in the order in which they run, the network's input first; layers: the affine ones
    parameters   P, the numbers of one network; places: where each parameter begins among them
    activations  how many values of a sample are kept; gradients, how many gradients
    sizes        None, or of networks of several sizes the outputs of each hidden layer, (K, hidden layers): all else
                 is then said of the widest, and `of_widths` says it of others
    """

    graph: Graph
    stages: list[Stage]
    parameters: Any
    places: dict[Parameter, int]
    activations: Any = 0
    gradients: Any = 0
    sizes: Tensor | None = None

    @property
    def layers(self) -> list[Stage]:
        """The affine stages."""
        return [stage for stage in self.stages if stage.kind == AFFINE]

    @property
    def last(self) -> Stage:
        """The stage whose outputs are the network's."""
        return self.stages[-1]

    @property
    def features(self) -> int:
        """Numbers of one sample's input."""
        return self.stages[0].units  # type: ignore[no-any-return]

    @property
    def outputs(self) -> int:
        """Numbers of one sample's output."""
        return self.last.units  # type: ignore[no-any-return]

    @property
    def put_out(self) -> Any:
        """Where the network's outputs are kept."""
        return self.last.outputs

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample's input."""
        return self.graph.inputs[0].shape

    @property
    def dtype(self) -> torch.dtype:
        return self.graph.parameters[0].dtype

    @property
    def is_row(self) -> bool:
        """Whether it is a row of affine maps with what follows them, and nothing else."""
        return all(stage.inputs == [before] for before, stage in zip(self.stages, self.stages[1:], strict=False)) and (
            all(stage.kind == AFFINE for stage in self.stages[1:])
        )

    @property
    def modules(self) -> list[Module]:
        """The modules of all chains, in order."""
        return [module for stage in self.stages for module in stage.chain]

    @property
    def dropouts(self) -> list[Dropout]:
        """The Dropout modules, in order."""
        return [module for module in self.modules if isinstance(module, Dropout)]

    @property
    def multiplications(self) -> int:
        """Of one sample's forward."""
        return self.graph.multiplications

    def of_widths(self, hidden: Sequence[Any]) -> Plan:
        """A row with other hidden layers, its parameters one after another: of numbers that are known, or are not until
        the program runs."""
        stages = [replace(self.stages[0])]
        place: Any = 0
        for stage, outputs in zip(self.layers, [*hidden, self.outputs], strict=True):
            inputs = stages[-1].units
            weight, place = place, place + outputs * inputs
            bias, place = (place, place + outputs) if stage.bias is not None else (None, place)
            slopes = {}
            for k in stage.slopes:
                module = stage.chain[k]
                assert isinstance(module, PReLU)
                slopes[k], place = place, place + (outputs if module.num_parameters > 1 else 1)
            before = stages[-1]
            stages.append(
                replace(stage, inputs=[before], units=outputs, weight=weight, bias=bias, slopes=slopes, values=[])
            )
        return arranged(replace(self, stages=stages, parameters=place))

    def __str__(self) -> str:
        number = {id(stage): k for k, stage in enumerate(self.stages)}
        lines = []
        for k, stage in enumerate(self.stages):
            inputs = ", ".join(f"s{number[id(each)]}" for each in stage.inputs)
            chain = "".join(f" | {describe(module)}" for module in stage.chain)
            kept = ", ".join("-" if place is None else str(place) for place in stage.values)
            gradients = f"; gradients at {stage.gradients}" if stage.learns else ""
            named = (("weight", stage.weight), ("bias", stage.bias))
            held = "".join(f", {name} at {place}" for name, place in named if place is not None)
            lines.append(f"s{k} = {stage.kind}({inputs}{held}){chain}  ({stage.units}); values at {kept}{gradients}")
        return "\n".join(lines)


def arranged(plan: Plan) -> Plan:
    """Give every value that is needed again its place, and every gradient."""
    plan.activations = plan.gradients = 0
    for stage in plan.stages:
        needed = [False] * (len(stage.chain) + 1)
        needed[-1] = True
        needed[0] |= stage.kind == SOFTMAX
        for k, module in enumerate(stage.chain if stage.kind != INPUT else []):
            remembers = module.remembers if isinstance(module, Activation) else "x" if isinstance(module, PReLU) else ""
            needed[k] |= "x" in remembers
            needed[k + 1] |= "y" in remembers
        stage.values = []
        for each in needed:
            stage.values.append(plan.activations if each else None)
            plan.activations = plan.activations + stage.units if each else plan.activations
    for stage in reversed(plan.stages[1:]):
        user = next((each for each in plan.stages if stage in each.inputs), None)
        if user is not None and user.kind == ADD and stage.users == 1 and not stage.chain and user.learns:
            stage.gradients = user.gradients  # the sum's own: they are the same numbers
        else:
            stage.gradients, plan.gradients = plan.gradients, plan.gradients + stage.units
    return plan
