"""The samples of torch's own table, `torch_tables`, for populations: replica k beside the network k alone."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_modules import ModuleInput
from torch.utils._pytree import tree_map

import lamp
from lamp.module import Module
from lamp.replicas import stack
from tests.cases.torch_tables import Within, both, compare

REPLICAS = 3


class Whole(Within):
    """A network around one module that is written for populations, as that module is."""

    takes_replicas = True


def networks(name: str, sample: ModuleInput, training: bool) -> list[Module]:
    """The networks of all replicas for a sample."""
    return [around(_seeded(name, sample, seed), training) for seed in range(REPLICAS)]


def check(singles: list[Module], sample: ModuleInput, own: bool) -> None:
    """Compare each replica with its network alone: outputs, gradients and buffers; AssertionError if off.

    Where the loss of a network alone is not finite, that of its replica must not be either: in a population it is no
    error, since one replica's NaN is no concern of the others.

    singles  the networks alone, which change
    own      whether each replica gets inputs of its own; else all share them
    """
    given = tree_map(_plain, (sample.forward_input.args, sample.forward_input.kwargs))
    rows = [tree_map(lambda each, k=k: _moved(each, k) if own else each, given) for k in range(REPLICAS)]
    population = stack(singles)
    args, kwargs = tree_map(lambda *each: _joined(each), *rows) if own else given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = [_output(single, *row) for single, row in zip(singles, rows, strict=True)]
        together = population(*args, **kwargs)
    if any(output is None for output in alone):
        assert together.isfinite().tolist() == [output is not None for output in alone]
        return
    for k, output in enumerate(alone):
        compare(f"output of replica {k}", _of(together, k), output)

    upstream = [tree_map(_upstream, output) for output in alone]
    of_all = tree_map(lambda *each: None if each[0] is None else torch.stack(each), *upstream)
    found = _back(population, of_all)
    for k, (single, dy) in enumerate(zip(singles, upstream, strict=True)):
        compare(f"gradients of the inputs of replica {k}", _of(found, k), _back(single, dy))
        for (path, one), other in zip(single.named_parameters(), population.network.parameters(), strict=True):
            compare(f"gradient of {path}, replica {k}", other.grad[k], one.grad)
        for (path, one), (_, other) in zip(single.named_buffers(), population.network.named_buffers(), strict=True):
            shared = other.data.shape == one.data.shape  # a constant that all replicas have in common
            compare(f"buffer {path}, replica {k}", other.data if shared else other.data[k], one.data)


def _seeded(name: str, sample: ModuleInput, seed: int) -> Module:
    """lamp's module for a sample, with the parameters and the masks of this seed."""
    torch.manual_seed(seed)
    return both(name, sample)[1]


def around(module: Module, training: bool) -> Module:
    if isinstance(module, lamp.Loss):
        return module
    whole = Whole(module)
    module.train(training)
    return whole


def _output(network: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The output of a network alone; None for a loss that is not finite, which is an error there."""
    try:
        return network(*args, **kwargs)
    except lamp.NonFiniteError:
        return None


def _back(network: Module, dy: Any) -> Any:
    return network.backward(*dy) if isinstance(dy, tuple) else network.backward(dy)


def _plain(each: Any) -> Any:
    return each.detach().clone() if isinstance(each, Tensor) else each


def _moved(each: Any, k: int) -> Any:
    """Other numbers from the same range, for replica k: those of the tensor, each some places further."""
    if not isinstance(each, Tensor) or not each.is_floating_point() or not each.isfinite().all():
        return each
    return each.flatten().roll(k).view(each.shape)


def _joined(each: tuple[Any, ...]) -> Any:
    return lamp.per_replica(torch.stack(each)) if isinstance(each[0], Tensor) else each[0]


def _upstream(each: Any) -> Any:
    return torch.randn_like(each) if each.dtype.is_floating_point else None


def _of(tree: Any, k: int) -> Any:
    return tree_map(lambda each: each[k] if isinstance(each, Tensor) else each, tree)
