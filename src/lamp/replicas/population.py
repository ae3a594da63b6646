"""`Population`: K networks of one architecture (or with hidden layers of different widths), trained as one.

`population(model, seeds)` is the model with K sets of parameters. Its modules are those of a single network, but their
parameters and values have a first axis of replicas, (K, B, ...). Replica k is the model initialised with seed k.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import chain
from typing import Any, NoReturn

import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.call_errors import in_order
from lamp.errors import ArgumentError, ShapeError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Sequential
from lamp.passes import latest
from lamp.replicas.placing import listed_networks, place_as
from lamp.replicas.selecting import network_of, of_fixed_size, replicate, rows_among
from lamp.replicas.shared_attributes import check_copyable, check_same_modules, copy_attributes, is_copyable
from lamp.replicas.sizes import Sizes, architecture, check_forms, widest
from lamp.replicas.unmarked_gradients import check_unmarked_gradients
from lamp.replicas.user_modules import check_in_population, check_starts, modules_to_check
from lamp.signatures import called
from lamp.state import ModelState, copied_extras, state_members
from lamp.state_dict import IncompatibleKeys
from lamp.trees import leaves, mapped
from lamp.unmarked import Unmarked
from lamp.values import integer, kind_of, natural, several


class Population(Module):
    """K networks of one architecture: `population(model, seeds)` or `stack(networks)` make one.

    y_k = network_k(x_k) for each replica k

    Shapes    x (B, ...), shared by all replicas and not copied; or (K, B, ...), one batch per replica, if it is marked
              by `population.per_replica(x)`, `lamp.per_replica(x)` or the DataLoader. y (K, B, ...), marked
    Backward  dx (K, B, ...), per replica

    `len(population)` is K; `population[k]` is replica k as an ordinary, independent network; iteration yields all K.
    The training loop is that of a single network: the loss is (K,), and every hyperparameter may be (K,).

    seeds  the seeds that the replicas were initialised with; None for a population made by `stack`
    sizes  the architecture of each replica, if hidden layers differ in width, else None. The parameters are then those
           of the widest network, and a replica has zeros for the units that it lacks

    Raises ShapeError for a batch or a gradient that is marked with another number of replicas, BackwardError for the
    gradient of a loss that averaged over the replicas, and ArgumentError for a module that mixes replicas.
    """

    def __init__(
        self, single: Module, replicas: int, seeds: Sequence[int] | None = None, sizes: Sizes | None = None
    ) -> None:
        check_copyable(single)
        self.network = copy.deepcopy(single)
        listed = None if seeds is None else [integer(each, "a seed") for each in several(seeds, "seeds", "integers")]
        self.seeds, self.sizes = None if listed is None else tuple(listed), sizes
        self._single = partial(copy.deepcopy, single)  # makes a single network; as a function, it is no submodule
        parameters, buffers = state_members(self.network)
        replicate(parameters, natural(replicas, "replicas", least=1), buffers)
        self._unchecked = modules_to_check(self.network)  # paths of a user's modules, until the first batch
        for module in self.modules():
            module.replicas = replicas
        if sizes is not None:
            sizes.mark(self.network)

    # ---- forward and backward --------------------------------------------------------------------------------------
    def forward(self, *inputs: Any, **named: Any) -> Any:
        if named:  # keyword-only arguments of the network's forward stay in `named`
            inputs, named = in_order(self.network, type(self.network).forward, inputs, named)
        if self._unchecked:
            self._check_user_modules(inputs, named)
        shared = inputs if self.loss is None else inputs[:1]  # the loss itself decides whether the target is shared
        given = [mapped(x, self._with_replicas) for x in shared]
        by_name = {name: mapped(x, self._with_replicas) for name, x in named.items()}
        output = self.network(*given, *inputs[len(shared) :], **by_name)
        for _, each in leaves(output):
            each.replicas = self.replicas  # type: ignore[attr-defined]  # the mark that losses and metrics look for
        return output

    def backward(self, *dy: Any) -> Any:
        return self.network.backward(*dy)

    def backward_parameters(self, *dy: Any) -> None:
        self.network.backward_parameters(*dy)

    def shared(self, x: Tensor) -> Tensor:
        """A batch (B, ...) expanded to (K, B, ...), without a copy, and marked."""
        return self.per_replica(x.expand(len(self), *x.shape))

    @called()
    def per_replica(self, x: Tensor) -> Tensor:
        """The batch (K, B, ...), marked as having one row per replica. Raises ShapeError for another first axis.

        `lamp.per_replica(x)` does the same before there is a population, for example in a list of batches for `fit`.
        """
        if not isinstance(x, Tensor) or x.dim() < 1 or x.shape[0] != len(self):
            raise ShapeError(
                f"a batch per replica needs a first axis of {len(self)} replicas",
                expected=f"({len(self)}, B, ...)",
                got=tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__,
                fix="stack one batch per replica along the first axis",
            )
        return marked(x, len(self))

    own = per_replica  # the name up to version 0.1

    def _with_replicas(self, x: Tensor) -> Tensor:
        """The batch with an axis of replicas: a marked batch has it already, any other is shared and expanded."""
        replicas = replicas_of(x)
        if replicas is None:
            return self.shared(x)
        if replicas != self.replicas:
            raise ShapeError(
                f"a batch for {replicas} replicas in a population of {len(self)}",
                expected=f"a shared batch (B, ...), or ({len(self)}, B, ...) marked by population.per_replica(x)",
                got=f"{tuple(x.shape)}, marked with {replicas} replicas",
                fix="pass one row per replica",
            )
        return x

    def check_unmarked(self, gradients: tuple[Any, ...], loss: Unmarked | None) -> None:
        after = loss if loss is not None and loss.through.number > getattr(latest(self), "number", 0) else None
        check_unmarked_gradients(len(self), gradients, after)

    def check_again(self) -> None:
        """Have methods that were set on modules checked on the next batch, unless they refer to modules."""
        if not self._unchecked and is_copyable(self.network):
            self._unchecked.extend(modules_to_check(self.network, set_on_instance=True))

    def _skip_check(self) -> None:
        """Leave out the check of a user's modules, because a copy of this population has passed it."""
        self._unchecked.clear()

    def _check_user_modules(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Check on the first batch that a user's modules compute the same in a population as alone."""
        first = inputs if self.loss is None else inputs[:1]
        check_in_population(self.body[0], self._unchecked, first, named, of_networks)
        self._unchecked.clear()

    # ---- body and loss ---------------------------------------------------------------------------------------------
    @property
    def loss(self) -> Loss | None:
        """The loss that ends the network, or None."""
        return self.network.loss if isinstance(self.network, Sequential) else None

    @property
    def body(self) -> Population:
        """The population without the network's final loss, with the same modules (not copies)."""
        single = self._single()
        if not isinstance(self.network, Sequential) or not isinstance(single, Sequential) or self.loss is None:
            return self
        body = copy.copy(self)
        body.network, body._single = self.network.body, partial(copy.deepcopy, single.body)
        body.sizes = None if self.sizes is None else self.sizes.bodies
        return body

    # ---- replicas --------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        assert self.replicas is not None
        return self.replicas

    def __getitem__(self, k: int) -> Any:
        """A copy of replica k as an ordinary network, independent of the population."""
        (k,) = self._rows([k])
        return self.give(k, self._network(k))

    def __setitem__(self, k: Any, network: Any) -> NoReturn:
        raise of_fixed_size("a replica is not replaced")

    def __delitem__(self, k: Any) -> NoReturn:
        raise of_fixed_size("a replica is not deleted")

    def __add__(self, other: Any) -> NoReturn:
        raise of_fixed_size("populations are not added")

    def give(self, k: int, network: Module) -> Module:
        """Copy replica k (weights, hyperparameters, generators) into a network of its architecture; returns that."""
        copy_attributes(network, self.network)
        place_as(self.network, network)
        for own, slice_ in self._slices(network, k):
            own.copy_(slice_)
        extras = copied_extras(self.network, [k])
        for module, twin, extra in zip(network.modules(), self.network.modules(), extras, strict=True):
            module.training = twin._training
            for name, numbers in twin.numbers():
                setattr(module, name, numbers[k].item())
            if extra is not None:
                module.set_extra_state(extra[0])
        return network

    def _network(self, k: int) -> Module:
        """A new network of replica k's architecture; its weights are not those of the replica."""
        return self._single() if self.sizes is None else self.sizes.network(k)

    def _slices(self, network: Module, k: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each state tensor of a network of replica k's architecture: it, and replica k's slice of this one's."""
        members = zip(chain(*state_members(network)), chain(*state_members(self.network)), strict=True)
        for own, of_all in members:
            yield own.data, of_all.data[k][tuple(slice(n) for n in own.data.shape)]

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    @called()
    def select(self, indices: Iterable[int] | Tensor) -> Population:
        """A new population with copies of these replicas, in this order; the indices may be a boolean tensor (K,)."""
        check_same_modules(self._single(), self.network)
        return self.of_replicas(indices)

    def of_replicas(self, indices: Iterable[int] | Tensor) -> Population:
        """What `select` returns, also after modules were replaced; then no single network can be taken out of it."""
        rows = self._rows(indices)
        chosen = copy.copy(self)
        chosen.network, chosen.replicas = network_of(self.network, rows), len(rows)
        chosen.seeds = None if self.seeds is None else tuple(self.seeds[k] for k in rows)
        chosen.sizes = None if self.sizes is None else self.sizes.of(rows)
        chosen._unchecked = list(self._unchecked)
        return chosen

    def copy_(self, into: int | Iterable[int], from_: int | Iterable[int] | Population) -> Population:
        """Overwrite the replicas `into` by the replicas `from_`, one by one, or by all of another population."""
        to = self._rows([into] if isinstance(into, int) else into)
        source = from_ if isinstance(from_, Population) else self
        rows = range(len(source)) if isinstance(from_, Population) else [from_] if isinstance(from_, int) else from_
        chosen = source._rows(rows)
        if len(to) != len(chosen):
            raise ArgumentError(
                "replicas are copied one by one, and the numbers differ",
                expected=f"{len(to)} replicas to copy from",
                got=len(chosen),
                fix="pass as many replicas to copy from as are overwritten",
            )
        if self._kinds(to) != source._kinds(chosen):
            raise ArgumentError(
                "a replica can only be overwritten by one of the same widths",
                expected="networks of the same widths, pair by pair",
                got=f"replicas {chosen} of other widths than {to}",
                fix="copy replicas of the same architecture",
            )
        self.take(to, source, chosen)
        return self

    def take(self, to: Sequence[int], source: Population, rows: Sequence[int]) -> None:
        """Overwrite the replicas `to` by these rows of a population of the same modules, without a check."""
        ModelState.of(self).restore(ModelState.of(source).select(rows), to)
        for module, extra in zip(self.network.modules(), copied_extras(source.network, rows), strict=True):
            if extra is not None:
                mine = module.get_extra_state()
                for k, state in zip(to, extra, strict=True):
                    mine[k] = state
                module.set_extra_state(mine)

    def _kinds(self, rows: Sequence[int]) -> list[str]:
        """The architecture of each of these replicas as text; empty if all are the same."""
        return [] if self.sizes is None else [repr(self.sizes.architectures[self.sizes.which[k]]) for k in rows]

    def _rows(self, indices: Iterable[int] | Tensor) -> list[int]:
        return rows_among(len(self), indices)

    # ---- state -----------------------------------------------------------------------------------------------------
    @called()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise each replica again with its seed, or with new seeds drawn from the generator if one is given."""
        seeds = self.seeds
        if generator is not None or seeds is None:
            seeds = tuple(torch.randint(2**31, (len(self),), generator=generator).tolist())
        self._initialise(seeds, anew=True)

    def _initialise(self, seeds: Sequence[int], *, anew: bool = False) -> None:
        """Initialise each replica with its seed. `anew` keeps present values that `reset_parameters` does not draw."""
        single = self._network(0).cpu()  # drawn on the CPU, so that a seed gives the same network on every device
        states: list[list[Any]] = [[] for _ in single.modules()]
        for k, seed in enumerate(seeds):
            if self.sizes is not None:
                single = self._network(k).cpu()
            if anew:
                for own, slice_ in self._slices(single, k):
                    own.copy_(slice_)
            single.reset_parameters(generator=torch.Generator().manual_seed(seed))
            self._copy_from(k, single)
            for kept, module in zip(states, single.modules(), strict=True):
                kept.append(module.get_extra_state())
        for kept, module in zip(states, self.network.modules(), strict=True):
            if kept[0] is not None:
                module.set_extra_state(kept)

    def _copy_from(self, k: int, network: Module) -> None:
        """Copy the state of a network of replica k's architecture into replica k."""
        for own, slice_ in self._slices(network, k):
            slice_.copy_(own)

    @called()
    def state_dict(self) -> dict[str, Tensor]:
        """The live tensors (K, ...), with the network's keys; `population[k].state_dict()` is that of one replica."""
        return self.network.state_dict()

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> IncompatibleKeys:
        """Load a state dict with tensors (K, ...), as Module.load_state_dict does."""
        return self.network.load_state_dict(state_dict, strict)

    def extra_repr(self) -> str:
        return f"{len(self)} replicas"


@called()
def population(model: Module, seeds: Iterable[int] = range(10)) -> Population:
    """K networks of the model's architecture, replica k initialised with the k-th seed.

    Replica k has bit for bit the weights of the model if that is built after `torch.manual_seed(seed)`, or initialised
    by `model.reset_parameters(generator=...)` with a generator of that seed. The model itself is not changed.

    Modules of your own: in a population each parameter has a first axis of replicas, w (K, ...), and so have inputs and
    outputs, x (K, B, ...). To work in both cases, an operation counts axes from the end and gives parameters a batch
    axis: `x * self.w.data.unsqueeze(-2)`, and `(dy * x).sum(-2)` for its gradient. Buffers are (K, ...) too; a plain
    tensor as an attribute is a constant that all replicas share. Such modules are checked once, on the first batch: a
    few replicas run forward and backward and are compared with single networks, and a difference is an error. To skip
    this, write `takes_replicas = True` in the class. A module with parameters also needs a
    `reset_parameters(self, *, generator=None)` that draws them, so that each seed gives another replica; if it does
    nothing, all replicas begin with equal parameters.

    Raises ArgumentError for no seeds, seeds that repeat or are not integers, a model that is not a lamp module, and a
    model with a module whose parameters do not depend on the seed.
    """
    several = isinstance(seeds, Iterable) and not isinstance(seeds, Tensor | Module | Set)
    listed: list[int] = list(seeds) if several else []
    if not isinstance(model, Module) or isinstance(model, Population):
        raise ArgumentError(
            "a population is made from one network",
            expected="a lamp module",
            got=kind_of(model),
            fix="for existing networks use stack(...), for replicas of a population population.select(...)",
        )
    if not listed or any(
        not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63 for seed in listed
    ):
        raise ArgumentError(
            "a population needs one seed per replica (K >= 1)",
            expected="non-negative integers, such as range(64)",
            got=f"{listed[:5]}{'...' if len(listed) > 5 else ''} (K = {len(listed)})" if several else repr(seeds)[:60],
            fix=f"seeds=range({seeds})" if isinstance(seeds, int) and seeds > 0 else "seeds=range(K)",
        )
    repeated = sorted({seed for seed in listed if listed.count(seed) > 1}) if len(set(listed)) < len(listed) else []
    if repeated:
        raise ArgumentError(
            f"seeds repeat: {repeated[:5]} (K = {len(listed)})",
            expected="different seeds: replicas with the same seed are the same network",
            got=f"{len(set(listed))} different seeds for {len(listed)} replicas",
            fix="seeds=range(K), or population.select([0, 0, 1, 1]) if you want copies",
        )
    check_starts(model, len(listed))
    made = Population(model, len(listed), listed)
    made._initialise(listed)
    return made


@called()
def stack(networks: Sequence[Module]) -> Population:
    """A population of copies of these networks.

    The networks must have the same architecture, or graphs (`lamp.trace`) that differ only in the widths of hidden
    layers between Linear, activations, PReLU, Dropout, sums and products, in sequence or in branches. Then each replica
    computes what its network does, and uses the memory of the widest. Modes are those of the first.

    Raises ArgumentError for no networks, and for networks of different architecture, dtype or device.
    """
    return of_networks(listed_networks(networks, "stack"))


def of_networks(networks: Sequence[Module]) -> Population:
    """The same of networks that are checked already, without a warning of what they do not find."""
    first, kinds = networks[0], list(map(architecture, networks))
    sizes = None
    if any(kind != kinds[0] for kind in kinds):
        check_forms(networks, kinds)
        firsts = dict(zip(reversed(kinds), reversed(networks), strict=True))
        each = {kind: firsts[kind] for kind in kinds}
        number = {kind: k for k, kind in enumerate(each)}
        sizes = Sizes(tuple(map(copy.deepcopy, each.values())), tuple(number[kind] for kind in kinds))
        first = widest(sizes.architectures)
    made = Population(first, len(networks), sizes=sizes)
    for module, twin in zip(made.modules(), [networks[0], *networks[0].modules()], strict=True):
        module.training = twin._training
    for k, network in enumerate(networks):
        made._copy_from(k, network)
    copied: list[dict[int, Any]] = [{} for _ in networks]  # one memo per network: its modules may share a generator
    for module, *twins in zip(made.network.modules(), *[network.modules() for network in networks], strict=True):
        states = [copy.deepcopy(twin.get_extra_state(), memo) for twin, memo in zip(twins, copied, strict=True)]
        if states[0] is not None:
            module.set_extra_state(states)
    return made
