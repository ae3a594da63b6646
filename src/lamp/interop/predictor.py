"""`Predictor`: a traced network, population or ensemble in eval mode, as the exporters write it.

`predictor(model, kinds)` makes one, or raises an error that names the module that cannot be exported.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, ExportError
from lamp.graph import BATCH, Graph, Op, Shape, Value
from lamp.interop.input_shapes import checked_dtypes, checked_shapes, guessed_shapes
from lamp.interop.lengths import Lengths, Sizes, axes_of, varies
from lamp.interop.scaling import Scaling, scaling_of
from lamp.interop.traced import traced
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.overrides import is_lamps
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe, path_of
from lamp.replicas import Population
from lamp.studies import Ensemble
from lamp.trees import flat

Written = TypeVar("Written")
Held = Parameter | Buffer | Tensor  # what a module holds numbers in


@dataclass(frozen=True)
class Predictor:
    """A network, or the mean of a population's networks, with scaling of its inputs and outputs.

    y = own( 1/K sum over k of network_k( standard(x) ) )

    members   K, or None for a single network, which has no axis of replicas
    graphs    the graph of the network and, for an ensemble, that of its probabilities, each after the prefix of its
              modules' paths. They take inputs (n, ...), or (K, n, ...) in a population, and end before the mean
    standard  the scaling of each input; `own`, that of each output
    left_out  the places of the network's arguments that are None
    lengths   the graphs at several lengths, if axes of the inputs may have any; `graphs` are those at the first ones

    `predictor(*inputs)` computes the outputs for inputs (n, ...) with lamp's modules.
    """

    model: Module | Ensemble
    members: int | None
    graphs: tuple[tuple[str, Graph], ...]
    dtype: torch.dtype
    standard: tuple[Scaling | None, ...] = ()
    own: tuple[Scaling | None, ...] = ()
    left_out: tuple[int, ...] = ()
    lengths: Lengths | None = None

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The input values."""
        return self.graphs[0][1].inputs

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The output values, before the mean. `rows` is the number of their rows per input sample."""
        before = math.prod(graph.outputs[0].rows for _, graph in self.graphs[:-1])
        return tuple(replace(value, rows=before * value.rows) for value in self.graphs[-1][1].outputs)

    @property
    def input_sizes(self) -> list[list[Sizes]]:
        """For each axis of each input its sizes at the lengths that were traced: one if no length is variable."""
        several = [[value] for value in self.inputs] if self.lengths is None else self.lengths.inputs()
        return [axes_of([value.shape for value in values]) for values in several]

    @property
    def output_sizes(self) -> list[list[Sizes]]:
        """For each axis of each output likewise."""
        several = [[value] for value in self.outputs] if self.lengths is None else self.lengths.outputs()
        return [axes_of([value.shape for value in values]) for values in several]

    def variants(self, op: Op) -> tuple[Op, ...]:
        """The operation at each of the lengths that were traced."""
        return (op,) if self.lengths is None else self.lengths.of(op)

    @property
    def parameters(self) -> list[Parameter]:
        """Each parameter once."""
        return list(dict.fromkeys(each for _, graph in self.graphs for each in graph.parameters))

    def held(self) -> Iterator[Held]:
        """What the modules hold that all replicas share: parameters, buffers, and tensors that are attributes."""
        for part in _parts(self.model):
            for module in part.modules():
                kinds = Held if module.replicas is None else Tensor
                yield from (each for each in vars(module).values() if isinstance(each, kinds))

    def __call__(self, *inputs: Tensor) -> Any:
        """The output for inputs (n, ...), float32, float64 or indices; a tuple of several."""
        given: list[Any] = [
            x if each is None else each.standard(x.movedim(value.batch, 0)).movedim(0, value.batch)
            for x, each, value in zip(inputs, self.standard, self.inputs, strict=True)
        ]
        for place in self.left_out:
            given.insert(place, None)
        found = self.model(*given)
        several = tuple(y for y in flat(found) if y is not None)  # as attention's weights that nobody asked for
        if len(several) != len(self.own) or not all(isinstance(y, Tensor) for y in several):
            raise ExportError(
                "the network returns something other than its trace says",
                expected=f"{len(self.own)} tensors" if len(self.own) != 1 else "a tensor",
                got=", ".join(type(y).__name__ for y in several),
                fix="let trace return what forward does",
            )
        if isinstance(self.model, Population):
            several = tuple(y.mean(0) for y in several)
        outputs = tuple(
            y if each is None else each.own(y.movedim(value.batch, 0)).movedim(0, value.batch)
            for y, each, value in zip(several, self.own, self.outputs, strict=True)
        )
        return outputs[0] if isinstance(found, Tensor) else outputs

    def own_traces(self) -> list[str]:
        """The paths of modules whose trace a user has written."""
        roots = [part.network if isinstance(part, Population) else part for part in _parts(self.model)]
        pairs = [(root, module) for root in roots for module in root.modules() if not is_lamps(type(module).trace)]
        return [path_of(module, root) for root, module in pairs]

    def in_dtype(self, dtype: torch.dtype) -> Predictor:
        """A copy with parameters of this dtype."""
        model = copy.deepcopy(self.model)
        for each in _parts(model):
            each.to(dtype)
        return replace(self, model=model, dtype=dtype)

    def written(
        self, values: Iterable[Written], write: Callable[[Graph, Op, str, list[Written]], Any]
    ) -> list[Written]:
        """The outputs for these inputs.

        write(graph, op, path, inputs) returns the output of an operation, or a tuple of several
        """
        found = list(values)
        for prefix, graph in self.graphs:
            known = dict(zip(graph.inputs, found, strict=True))
            for op in _used(graph):
                outputs = write(graph, op, f"{prefix}{op.path}", [known[value] for value in op.inputs])
                known.update(zip(op.outputs, flat(outputs), strict=True))
            found = [known[value] for value in graph.outputs]
        return found

    def axis(self, axis: int | str) -> int:
        """The index, among all axes, of an axis of a sample or of the batch's."""
        lead = 0 if self.members is None else 1
        return lead if axis == BATCH else lead + 1 + int(axis)

    def alike(self, graph: Graph) -> set[Value]:
        """The values that all replicas of a population share, whose axis of replicas has length 1."""
        if self.members is None:
            return set()
        found = set(graph.inputs) if graph is self.graphs[0][1] else set()
        for op in graph.ops:
            own = any(each.replicas is not None for each in op.parameters.values())
            own = own or (bool(op.buffers) and op.module.replicas is not None)
            if found.issuperset(op.inputs) and not own:
                found.update(op.outputs)
        return found


def _used(graph: Graph) -> list[Op]:
    """The operations that the outputs depend on, in order."""
    needed, used = set(graph.outputs), []
    for op in reversed(graph.ops):
        if not needed.isdisjoint(op.outputs):
            needed.update(op.inputs)
            used.append(op)
    return used[::-1]


def predictor(
    model: Any,
    kinds: Collection[str],
    input_shape: Any = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
    input_dtype: Any = None,
) -> Predictor:
    """The Predictor of a network, a population (the mean of its outputs) or an ensemble (its predictions).

    kinds  the kinds of operations that the exporter can write

    It holds a copy on the CPU, in eval mode, without the final loss, in this dtype or the model's own.

    Raises ArgumentError for a model that cannot be exported, naming the module, and for shapes and scalings that do not
    fit; DTypeError for a precision that is neither float32 nor float64.
    """
    _check(model)
    frozen: Module | Ensemble
    if isinstance(model, Ensemble):
        after = None if model.probabilities is None else _in_use(model.probabilities)
        frozen = Ensemble(_in_use(model.members.body), probabilities=after)
        members: int | None = len(frozen)
    else:
        frozen = _in_use(model.body if isinstance(model, Sequential | Population) else model)
        members = len(frozen) if isinstance(frozen, Population) else None
    network, *others = _parts(frozen)
    dtype = _precision([network, *others], dtype)
    for part in (network, *others):
        part.to(dtype)
    shapes = guessed_shapes(network) if input_shape is None else checked_shapes(input_shape)
    graphs, lengths = traced([network, *others], kinds, shapes, checked_dtypes(input_dtype, shapes, dtype))
    left_out = tuple(k for k, shape in enumerate(shapes) if shape is None)
    named = list(zip(("", "probabilities."), graphs, strict=False))
    made = Predictor(frozen, members, tuple(named), dtype, left_out=left_out, lengths=lengths)
    _check_means(made)
    standard = _scalings(input_scaling, made.inputs, made.input_sizes, "input_scaling")
    own = _scalings(output_scaling, made.outputs, made.output_sizes, "output_scaling")
    return replace(made, standard=standard, own=own)


def _check_means(plan: Predictor) -> None:
    """Raise ArgumentError for a population whose outputs are places, of which there is no mean."""
    if plan.members is not None and not all(value.dtype.is_floating_point for value in plan.outputs):
        raise ArgumentError(
            "the outputs of a population's networks are integers, which have no mean",
            expected="networks that put out numbers",
            got=", ".join(str(value.dtype) for value in plan.outputs),
            fix="export population[k], or leave the indices out of the outputs",
        )


def _parts(model: Module | Ensemble) -> list[Module]:
    """The network or population, and an ensemble's module for probabilities if there is one."""
    parts = [model.members, model.probabilities] if isinstance(model, Ensemble) else [model]
    return [part for part in parts if part is not None]


def _check(model: object) -> None:
    if isinstance(model, Ensemble) or (isinstance(model, Module) and not isinstance(model, Loss)):
        if isinstance(model, Module) and model.replicas is not None and not isinstance(model, Population):
            raise ArgumentError(
                f"this {type(model).__name__} is a part of a population",
                expected="a network, a population or an ensemble",
                got=f"a module with {model.replicas} replicas",
                fix="export the population, for the mean of its networks, or population[k]",
            )
        return
    raise ArgumentError(
        "only networks can be exported",
        expected="a lamp network, a population or an ensemble",
        got=f"a loss, {describe(model)}" if isinstance(model, Loss) else described_type(model),
        fix="export the network" if isinstance(model, Loss) else "lamp.from_torch(model), for a network of torch.nn",
    )


def described_type(thing: object) -> str:
    """The type of an object with its package, for errors."""
    return f"a {type(thing).__module__}.{type(thing).__qualname__}"


def _in_use(module: Module) -> Any:
    """A copy on the CPU, in eval mode."""
    return copy.deepcopy(module).to("cpu").eval()


def _precision(modules: list[Module], asked: torch.dtype | None) -> torch.dtype:
    """The dtype that was asked for, else that of the parameters, else float32."""
    own = {parameter.dtype for module in modules for parameter in module.parameters()} or {torch.float32}
    found = own if asked is None else {asked if isinstance(asked, torch.dtype) else repr(asked)}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        raise DTypeError(
            "a network is exported in one precision",
            expected="float32 or float64 throughout",
            got=", ".join(sorted(map(str, found))),
            fix="dtype=torch.float32",
        )
    return found.pop()


def _scalings(given: Any, values: tuple[Value, ...], sizes: list[list[Sizes]], name: str) -> tuple[Scaling | None, ...]:
    """The scaling of each value. It is the same along an axis of any length."""
    shapes = [tuple(1 if varies(each) else each[0] for each in of_value) for of_value in sizes]
    if len(values) == 1:
        return (_scaling(given, values[0], shapes[0], name),)
    each = [None] * len(values) if given is None else given
    if not isinstance(each, list) or len(each) != len(values) or any(not isinstance(x, tuple | None) for x in each):
        raise ArgumentError(
            f"{name} does not fit",
            expected=f"a list of {len(values)}: a tuple (mean, scale), or None, for each",
            got=repr(given),
            fix=f"{name}=[(mean, scale), None], for example",
        )
    return tuple(_scaling(x, value, shape, name) for x, value, shape in zip(each, values, shapes, strict=True))


def _scaling(given: Any, value: Value, shape: Shape, name: str) -> Scaling | None:
    if given is not None and not value.dtype.is_floating_point:
        raise ArgumentError(
            f"{name} is given for {'a mask' if value.dtype is torch.bool else 'indices'}",
            expected="None: only numbers are scaled",
            got=repr(given),
            fix=f"leave {name} out, or set None for this one",
        )
    return scaling_of(given, shape, name)
