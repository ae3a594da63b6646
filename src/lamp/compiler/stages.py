"""A network as the compiler lowers it: stages, each a source and what follows it element by element.

A stage computes its source (an affine map, a sum, ...) for one unit after another, and passes each number through its
chain at once, while it is in a register. `print(plan)` shows the stages and, once they have places, where their values
are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Graph
from lamp.module import Module
from lamp.nn import Dropout
from lamp.parameter import Parameter
from lamp.paths import describe

INPUT = "Input"  # the kind of the stage that is the network's input; other kinds are those of lamp.graph


@dataclass(eq=False)
class Element:
    """What is done to each number for itself.

    kind        of the operation, as lamp.graph has it
    module      that it comes from
    parameters  where its parameters begin among the network's P numbers, by name
    """

    kind: str
    module: Module
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Stage:
    """A source and what follows it, element by element.

    kind        of the source: that of an operation, as lamp.graph has it; Elementwise for its input as it is
    inputs      the stages whose outputs it takes
    units       how many numbers it puts out for a sample
    parameters  where the source's parameters begin among the network's P numbers, by name
    attributes  options of the operation
    multiplications  of one sample's forward
    layer       its number among the stages with weights
    chain       what follows the source
    users       how many stages take its outputs, the loss among them
    learns      whether a parameter stands here or before, so that gradients are wanted
    values      where each value of a unit is kept among the activations, or None: the source's, then what each element
                of the chain makes of it; empty before places are given
    gradients   where the gradients of its outputs are kept, which become those of its source
    """

    kind: str
    inputs: list[Stage]
    units: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    multiplications: int = 0
    layer: int | None = None
    chain: list[Element] = field(default_factory=list)
    users: int = 0
    learns: bool = False
    values: list[Any | None] = field(default_factory=list)
    gradients: Any = 0

    @property
    def weight(self) -> Any:
        """Where its weight begins."""
        return self.parameters["weight"]

    @property
    def bias(self) -> Any | None:
        """Where its bias begins; None without one."""
        return self.parameters.get("bias")

    @property
    def width(self) -> tuple[Any, Any]:
        """Numbers of a sample that come in, and that go out."""
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


@dataclass(eq=False)
class Plan:
    """A network as stages.

    graph        that it was made from
    stages       in the order in which they run, the network's input first
    parameters   P, the numbers of one network; places: where each parameter begins among them
    activations  how many values of a sample are kept; gradients, how many gradients
    sizes        None, or of networks of several sizes the outputs of each hidden layer, (K, hidden layers): all else
                 is then said of the widest
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
        """The stages with weights."""
        return [stage for stage in self.stages if stage.layer is not None]

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
        """Whether it is a row of affine maps with what follows them, each once, in the order of their parameters."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        used = [id(parameter) for op in self.graph.ops for parameter in op.parameters.values()]
        in_order = used == list(map(id, self.places))
        return in_order and all(stage.kind == "Affine" and stage.inputs == [before] for before, stage in pairs)

    @property
    def modules(self) -> list[Module]:
        """The modules of all chains, in order."""
        return [element.module for stage in self.stages for element in stage.chain]

    @property
    def dropouts(self) -> list[Dropout]:
        """The Dropout modules, in order."""
        return [module for module in self.modules if isinstance(module, Dropout)]

    @property
    def multiplications(self) -> int:
        """Of one sample's forward."""
        return sum(stage.multiplications for stage in self.stages)

    def with_stages(self, stages: Sequence[Stage], **changes: Any) -> Plan:
        """The same network with these stages in place of its own, which may still take each other's outputs."""
        copies = [replace(stage) for stage in stages]
        copy_of = dict(zip(stages, copies, strict=True))
        for stage in copies:
            stage.inputs = [copy_of[each] for each in stage.inputs]
        return replace(self, stages=copies, **changes)

    def without_places(self) -> Plan:
        """The plan as it was before values were given places."""
        plan = self.with_stages(self.stages)
        for stage in plan.stages:
            stage.values = []
        return plan

    def __str__(self) -> str:
        number = {id(stage): k for k, stage in enumerate(self.stages)}
        lines = []
        for k, stage in enumerate(self.stages):
            inputs = [f"s{number[id(each)]}" for each in stage.inputs]
            inputs += [f"{name} at {place}" for name, place in stage.parameters.items()]
            chain = "".join(f" | {describe(element.module)}" for element in stage.chain)
            line = f"s{k} = {stage.kind}({', '.join(inputs)}){chain}  ({stage.units})"
            if stage.multiplications:
                line += f", {stage.multiplications} multiplications"
            if stage.values:
                line += f"; values at {', '.join('-' if place is None else str(place) for place in stage.values)}"
                line += f"; gradients at {stage.gradients}" if stage.learns else ""
            lines.append(line)
        return "\n".join(lines)
