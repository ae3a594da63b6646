"""The compiler's intermediate form: a Plan is a list of stages, each a source operation and a chain of elementwise
ones.

The fusion pass makes a Plan from a Graph, the allocation pass adds offsets into scratch memory, and the rules lower
each stage to code. A stage computes its source (an affine map, a sum, ...) unit by unit, and applies the chain to each
number while it is in a register. `print(plan)` shows the stages and, after allocation, the offsets.

An offset counts rows of scratch memory: a row holds one value of every column of a block.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamp.graph import Graph, Numbers
from lamp.module import Module
from lamp.nn.dropout import RandomMask
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe

RANDOM = ("Mask", "ChannelMask", "AlphaMask", "RandomSlope")  # the kinds of elements that draw random numbers
INPUT = "Input"  # the kind of the first stage, the network's input; the other kinds are those of lamp.graph


@dataclass(eq=False)
class Element:
    """An elementwise operation in the chain of a stage.

    kind        the kind of operation, as in lamp.graph
    module      the module that it comes from
    parameters  the offset of each of its parameters among the network's P numbers, by name
    neighbours  how many units, beside each other, share a number: of a parameter that has several, or a random one
    numbers     the fixed numbers that it adds, if it does
    lead        the number of a sample's units before the axis of the batch, where the module's forward has that axis
                behind others
    number      of a random one: which of the masks that its module draws in a step
    """

    kind: str
    module: Module
    parameters: Mapping[str, Any] = field(default_factory=dict)
    neighbours: int = 1
    numbers: Numbers | None = None
    lead: int = 1
    number: int = 0


@dataclass(eq=False)
class Stage:
    """A source operation, and the chain of elementwise operations that is applied to its result.

    kind             the kind of the source, as in lamp.graph; "Elementwise" if the source is the input itself
    inputs           the stages whose outputs it reads
    units            the number of outputs per sample
    parameters       the offset of each of the source's parameters among the network's P numbers, by name
    attributes       options of the operation
    multiplications  in the forward of one sample
    layer            its number among the stages with weights; None without weights
    chain            the elementwise operations after the source
    users            how many stages read its outputs, counting the loss
    learns           whether it, or a stage before it, has parameters, so that it needs gradients
    value_offsets    for the source and after each element of the chain, the offset of the value among the activations,
                     or None if the value is not stored; empty before allocation
    gradient_offset  the offset of the gradients of its outputs, which backward turns into those of its source
    kept_offset      the offset of what its rule keeps for backward beside its outputs
    statistics       the offset of each of the operation's running statistics among those of one network, by name
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
    value_offsets: list[Any | None] = field(default_factory=list)
    gradient_offset: Any = 0
    kept_offset: Any = 0
    statistics: Mapping[str, int] = field(default_factory=dict)

    @property
    def weight_offset(self) -> Any:
        """The offset of its weight among the parameters."""
        return self.parameters["weight"]

    @property
    def bias_offset(self) -> Any | None:
        """The offset of its bias among the parameters; None without one."""
        return self.parameters.get("bias")

    @property
    def places(self) -> int:
        """For an affine map: how often it is applied to a sample, once for each place of its axes."""
        return self.attributes.get("places", 1)  # type: ignore[no-any-return]

    @property
    def width(self) -> tuple[Any, Any]:
        """The numbers of inputs and of outputs per sample; those of each place, where there are several."""
        inputs, outputs, places = self.inputs[0].units, self.units, self.places
        return (inputs, outputs) if places == 1 else (inputs // places, outputs // places)

    @property
    def output_offset(self) -> Any:
        """The offset of its outputs."""
        place = self.value_offsets[-1]
        assert place is not None
        return place

    @property
    def source_offset(self) -> Any:
        """The offset where the source's values are stored first: their own, or that of the first stored value after
        them, which then replaces them."""
        return next(place for place in self.value_offsets if place is not None)


@dataclass(eq=False)
class Plan:
    """A network as stages.

    graph             the graph that it was made from
    stages            in the order in which they run, the network's input first
    parameters        P, the number of parameters of one network
    offsets           the offset of each parameter among them
    statistics        the offset of each running statistic among those of one network, which lie behind the parameters
    statistic_count   S, the number of running statistics of one network
    shapes            those that it was made for: the shape of one sample of each input, nested as the inputs are
    activation_count  how many values are stored per sample
    gradient_count    how many gradients are stored per sample
    numbers           the fixed numbers that kernels read, such as masks of attention
    sizes             the widths of the hidden layers, (K, hidden layers), if replicas differ in them; everything else
                      then describes the widest network. Else None
    """

    graph: Graph
    stages: list[Stage]
    parameters: Any
    offsets: dict[Parameter, int]
    activation_count: Any = 0
    gradient_count: Any = 0
    numbers: Sequence[Numbers] = ()
    statistics: dict[Buffer, int] = field(default_factory=dict)
    statistic_count: int = 0
    shapes: tuple[Any, ...] = ()
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
        """The number of values of a sample's inputs."""
        return self.stages[0].units  # type: ignore[no-any-return]

    @property
    def outputs(self) -> int:
        """The number of outputs per sample."""
        return self.last.units  # type: ignore[no-any-return]

    @property
    def output_offset(self) -> Any:
        """The offset of the network's outputs."""
        return self.last.output_offset

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of one sample's output."""
        return self.graph.outputs[0].shape

    @property
    def dtype(self) -> torch.dtype:
        return self.graph.parameters[0].dtype

    @property
    def is_row(self) -> bool:
        """Whether it is a chain of affine maps and elementwise operations, each used once, in the parameters' order."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        used = [id(parameter) for op in self.graph.ops for parameter in op.parameters.values()]
        in_order = used == list(map(id, self.offsets))
        return in_order and all(
            stage.kind == "Affine" and stage.places == 1 and stage.inputs == [before] for before, stage in pairs
        )

    @property
    def has_windows(self) -> bool:
        """Whether some stages have windows that move over the axes of a sample, or affine maps at several places of it,
        so that a weight is used many times."""
        return any("windows" in stage.attributes or stage.places > 1 for stage in self.stages)

    @property
    def modules(self) -> list[Module]:
        """The modules of all chains whose formulas or options are part of the code, in order."""
        chains = (element for stage in self.stages for element in stage.chain)
        return [element.module for element in chains if element.kind in ("Elementwise", *RANDOM)]

    @property
    def constants(self) -> Tensor:
        """The fixed numbers, one after another, float64."""
        return torch.cat([each.data.flatten().double() for each in self.numbers] or [torch.zeros(1)])

    def place_of(self, numbers: Numbers) -> int:
        """The position of the first of these among all fixed numbers."""
        before = itertools.takewhile(lambda each: each is not numbers, self.numbers)
        return sum(each.data.numel() for each in before)

    @property
    def masks(self) -> list[tuple[RandomMask, int]]:
        """The masks of Dropout and its like, in order: each one's module, and its number among those that it draws in
        a step."""
        elements = (element for stage in self.stages for element in stage.chain if element.kind in RANDOM)
        found = [(element.module, element.number) for element in elements]
        return [(module, number) for module, number in found if isinstance(module, RandomMask)]

    @property
    def multiplications(self) -> int:
        """The number of multiplications in the forward of one sample."""
        return sum(stage.multiplications for stage in self.stages)

    def with_stages(self, stages: Sequence[Stage], **changes: Any) -> Plan:
        """A plan with copies of these stages, which read each other and no longer the originals."""
        copies = [replace(stage) for stage in stages]
        copy_of = dict(zip(stages, copies, strict=True))
        for stage in copies:
            stage.inputs = [copy_of[each] for each in stage.inputs]
        return replace(self, stages=copies, **changes)

    def without_offsets(self) -> Plan:
        """The plan as it was before allocation."""
        plan = self.with_stages(self.stages)
        for stage in plan.stages:
            stage.value_offsets = []
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
            if stage.value_offsets:
                line += (
                    f"; values at {', '.join('-' if place is None else str(place) for place in stage.value_offsets)}"
                )
                line += f"; gradients at {stage.gradient_offset}" if stage.learns else ""
            lines.append(line)
        return "\n".join(lines)
