"""What the exporters write: modules in a row, in use and not in training, and what they compute.

`predictor(model)` reads a network, a population or an ensemble into a `Predictor`, or raises an error that names the
module that cannot be exported.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, LampError
from lamp.interop.scaling import Scaling, scaling_of
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import (
    Activation,
    Dropout,
    Flatten,
    Identity,
    Linear,
    LogSoftmax,
    PReLU,
    Sequential,
    Softmax,
    Unflatten,
)
from lamp.overrides import is_lamps, overridden
from lamp.paths import describe
from lamp.replicas import Population
from lamp.studies import Ensemble

KNOWN = (Linear, Activation, PReLU, Softmax, LogSoftmax, Flatten, Unflatten, Dropout, Identity)
SHAPE_STAYS = (Activation, PReLU, Softmax, LogSoftmax, Dropout, Identity)
ROWS = 3  # of the batch that shows which shapes come out


@dataclass(frozen=True)
class Step:
    """A module, and the shapes of one sample before and after it, without batch and replicas.

    path  its name in the network, "2" or "0.1", with a dot after it; "" where it is the network
    """

    module: Module
    path: str
    before: tuple[int, ...]
    after: tuple[int, ...]


def matrix(step: Step) -> Tensor:
    """A Linear's weight as inputs (n, ..., in) meet it: (in, out); (K, 1..., in, out) in a population."""
    assert isinstance(step.module, Linear)
    weight = step.module.weight.data
    if step.module.replicas is None:
        return weight.mT.contiguous()
    return weight.mT.reshape(len(weight), *_ones(step.before[:-1]), *weight.mT.shape[1:])


def offsets(step: Step) -> Tensor | None:
    """A Linear's bias as it is added to outputs (n, ..., out): (out,); (K, 1, 1..., out) in a population."""
    assert isinstance(step.module, Linear)
    if step.module.bias is None:
        return None
    bias = step.module.bias.data
    return bias if step.module.replicas is None else bias.view(len(bias), 1, *_ones(step.before[:-1]), bias.shape[-1])


def slopes(step: Step) -> Tensor:
    """A PReLU's slopes as they meet inputs (n, C, ...): (C, 1...) or, for all alike, (1,); in a population (K, 1, ...).

    All alike in a population they are (K, 1, 1...).
    """
    assert isinstance(step.module, PReLU)
    slope = step.module.weight.data
    lead = () if step.module.replicas is None else (len(slope), 1)
    alike = step.module.num_parameters == 1
    if alike and not lead:
        return slope
    of_sample = _ones(step.before) if alike else (step.module.num_parameters, *_ones(step.before[1:]))
    return slope.view(*lead, *of_sample)


def _ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * len(shape)


@dataclass(frozen=True)
class Predictor:
    """A network, or the mean of a population's, between the scalings of its inputs and outputs.

    y = own( 1/K sum over k of last_k( ... first_k( standard(x) ) ) )

    members        K, or None for a single network: then there is no axis of replicas
    steps          what is done to inputs (n, ...), or (K, n, ...) of a population, up to the mean
    input_shape    of one sample, output_shape too
    across         whether the outputs' first axis is not the inputs' batch, n long
    standard, own  how inputs are scaled, and outputs scaled back

    `predictor(x)` is what lamp's own modules compute of inputs (n, ...).
    """

    model: Module | Ensemble
    members: int | None
    steps: tuple[Step, ...]
    dtype: torch.dtype
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    across: bool
    standard: Scaling | None
    own: Scaling | None

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs for inputs (n, ...), in the dtype of the inputs' (float32 or float64)."""
        x = x if self.standard is None else self.standard.standard(x)
        y: Tensor = self.model(x)
        return y if self.own is None else self.own.own(y)

    def in_dtype(self, dtype: torch.dtype) -> Predictor:
        """The same with parameters of another dtype."""
        model = copy.deepcopy(self.model)
        for each in (model.members, model.probabilities) if isinstance(model, Ensemble) else (model,):
            if each is not None:
                each.to(dtype)
        return Predictor(**{**vars(self), "model": model, "dtype": dtype})

    def axis(self, dim: int) -> int:
        """Where the axis stands that a single network numbers `dim`."""
        return dim if dim < 0 or self.members is None else dim + 1


def predictor(
    model: Any,
    input_shape: tuple[int, ...] | None = None,
    input_scaling: Any = None,
    output_scaling: Any = None,
    dtype: torch.dtype | None = None,
) -> Predictor:
    """What there is to export of a network, a population (the mean of its outputs) or an ensemble (its predictions).

    It is a copy, in eval mode, in main memory, in this dtype or its own; a loss at the end is left out.

    Raises ArgumentError for a model that cannot be exported, naming the module, and for shapes and scalings that do not
    fit; DTypeError for a precision that is neither float32 nor float64.
    """
    _check(model)
    frozen: Module | Ensemble
    if isinstance(model, Ensemble | Population):
        ensemble = model if isinstance(model, Ensemble) else Ensemble(model)
        after = None if ensemble.probabilities is None else _in_use(ensemble.probabilities)
        frozen = Ensemble(_in_use(ensemble.members.body), probabilities=after)
        members, network = len(frozen), frozen.members.network
    else:
        network = frozen = _in_use(model.body if isinstance(model, Sequential) else model)
        members, after = None, None
    leaves = [*_in_a_row(network, type(network).__name__, "")]
    if after is not None:
        leaves += _in_a_row(after, type(after).__name__, "probabilities.")
    dtype = _precision([module for module, _, _ in leaves], dtype)
    for module, _, _ in leaves:
        module.to(dtype)
    shape = _sample(leaves) if input_shape is None else _checked_shape(input_shape)
    standard = scaling_of(input_scaling, shape, "input_scaling")
    steps, across = _shapes(leaves, shape, members, dtype)
    put_out = steps[-1].after if steps else shape
    own = scaling_of(output_scaling, put_out, "output_scaling")
    kept = tuple(step for step in steps if not isinstance(step.module, Dropout | Identity))
    return Predictor(frozen, members, kept, dtype, shape, put_out, across, standard, own)


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
        "only what predicts can be exported",
        expected="a lamp network, a population or an ensemble",
        got=f"a loss, {describe(model)}" if isinstance(model, Loss) else described_type(model),
        fix="export the network" if isinstance(model, Loss) else "lamp.from_torch(model), for a network of torch.nn",
    )


def described_type(thing: object) -> str:
    """What kind of thing came, with its package."""
    return f"a {type(thing).__module__}.{type(thing).__qualname__}"


def _in_use(module: Module) -> Any:
    """A copy in main memory, in eval mode."""
    return copy.deepcopy(module).to("cpu").eval()


def _in_a_row(module: Module, root: str, path: str) -> Iterator[tuple[Module, str, str]]:
    """Every module that is no Sequential, in order, with its path and how errors name its place."""
    where = f"{root}.{path[:-1]}: {describe(module)}" if path else describe(module)
    changed = overridden(module, only=("__call__", "forward"))
    if changed is not None or not isinstance(module, (Sequential, *KNOWN)):
        raise ArgumentError(
            "this module cannot be exported",
            expected=f"Sequential, {', '.join(kind.__name__ for kind in KNOWN)}",
            got=f"a {type(module).__name__}" + ("" if is_lamps(type(module)) else " with a forward of its own"),
            fix="build the network of these; an elementwise function of your own is a lamp.Activation with a sigma",
            where=where,
        )
    if not isinstance(module, Sequential):
        yield module, path, where
        return
    for name, child in module.body.named_children():
        yield from _in_a_row(child, root, f"{path}{name}.")


def _precision(modules: list[Module], asked: torch.dtype | None) -> torch.dtype:
    """What is asked for, else that of the parameters, else float32."""
    own = {parameter.dtype for module in modules for parameter in module.parameters()} or {torch.float32}
    found = own if asked is None else {asked}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        raise DTypeError(
            "a network is exported in one precision",
            expected="float32 or float64 throughout",
            got=", ".join(sorted(map(str, found))),
            fix="dtype=torch.float32",
        )
    return found.pop()


def _sample(leaves: list[tuple[Module, str, str]]) -> tuple[int, ...]:
    """The shape of one sample's input, as the first Linear tells it."""
    for module, _, _ in leaves:
        if isinstance(module, Linear):
            return (module.in_features,)
        if not isinstance(module, SHAPE_STAYS):
            break
    raise ArgumentError(
        "nothing in this network tells the shape of its inputs",
        expected="input_shape, the axes of one sample, without the batch",
        got="no Linear that the inputs reach in their own shape",
        fix="input_shape=(28, 28), for instance",
    )


def _checked_shape(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, tuple | list) and all(isinstance(n, int) and n > 0 for n in shape):
        return tuple(shape)
    raise ArgumentError(
        "input_shape is no shape",
        expected="the sizes of one sample's axes, without the batch, such as (28, 28)",
        got=repr(shape),
        fix="(784,) for 784 features: a tuple",
    )


def _shapes(
    leaves: list[tuple[Module, str, str]], shape: tuple[int, ...], members: int | None, dtype: torch.dtype
) -> tuple[list[Step], bool]:
    """The steps, found by a batch that goes through them; and whether the batch's axis becomes another on the way."""
    lead = () if members is None else (members,)
    x, steps, across = torch.zeros(*lead, ROWS, *shape, dtype=dtype), list[Step](), False
    for module, path, where in leaves:
        rank = x.dim() - len(lead)
        if isinstance(module, Flatten):
            across |= module.start_dim % rank == 0 and module.end_dim % rank != 0
        if (isinstance(module, Unflatten) and module.dim % rank == 0) or (isinstance(module, Linear) and rank == 1):
            raise ArgumentError(
                "an exported network takes batches of any size",
                expected="modules that work on the axes of a sample",
                got=f"an input of {rank} axes, of which it takes the batch's",
                fix="work on the axes after the first; input_shape has those of one sample",
                where=where,
            )
        before = tuple(x.shape[len(lead) + 1 :])
        try:
            x = module(x) if module.replicas == members else module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        except LampError as error:
            error.where = where
            raise
        except Exception as error:
            error.add_note(f"in {where}")
            raise
        steps.append(Step(module, path, before, tuple(x.shape[len(lead) + 1 :])))
    return steps, across
