"""Checks that a user's module computes in a population what it computes alone, for each replica.

A population makes this check once, on its first batch. A few replicas and a few samples run forward and backward,
together and one by one. The check works on copies and uses its own random generator, so it changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.errors import ArgumentError, LampError
from lamp.generators import RAISED, generators_kept
from lamp.hidden import SHARED, warn_of_unfound
from lamp.losses import Loss
from lamp.losses.by_replica import MIXES
from lamp.module import Module
from lamp.nn.dropout import RandomMask
from lamp.overrides import PASS_METHODS, is_lamps
from lamp.parameter import Buffer, Parameter
from lamp.passes import apart, evaluating
from lamp.paths import describe
from lamp.rounding import near
from lamp.state import state_buffers
from lamp.trees import leaves, mapped

ADVICE = (
    "in a population parameters are (K, ...), and inputs and outputs are (K, B, ...). Give a parameter a batch axis, "
    "self.w.data.unsqueeze(-2), count other axes from the end, and sum its gradient over the batch axis alone, "
    ".sum(-2); see lamp.population. `takes_replicas = True` in the class skips this check"
)


def modules_to_check(network: Module, set_on_instance: bool = False) -> list[str]:
    """The paths of modules with a forward, a backward or a buffer of the user's, without `takes_replicas = True`.

    set_on_instance  only modules with a method that was set on the instance
    """
    candidates = [(path, module) for path, module in network.named_modules() if not module.takes_replicas]
    has_own = _has_own_method if set_on_instance else _is_users
    return [path for path, module in candidates if not isinstance(module, Loss) and has_own(module)]


def _has_own_method(module: Module) -> bool:
    """Whether a method of a pass was set on the instance."""
    return not vars(module).keys().isdisjoint(PASS_METHODS)


def _is_users(module: Module) -> bool:
    """Whether a method of a pass, or a buffer, is the user's."""
    if not is_lamps(type(module)) and any(True for _ in module._members(Buffer)):
        return True
    return _has_own_method(module) or any(not is_lamps(getattr(type(module), name)) for name in PASS_METHODS)


def check_starts(network: Module, replicas: int) -> None:
    """Raise ArgumentError for a module with parameters that look random, and without a `reset_parameters`: they would
    be equal in all replicas, whatever the seeds. Warn of modules that the network does not find.
    """
    warn_of_unfound(network, SHARED)
    for path, module in network.named_modules() if replicas > 1 else ():
        if type(module).reset_parameters is not Module.reset_parameters or "reset_parameters" in vars(module):
            continue
        for name, parameter in module._members(Parameter):
            if parameter.data.numel() > 1 and (parameter.data != parameter.data.reshape(-1)[0]).any():
                raise ArgumentError(
                    "its parameters would begin alike in all replicas, whatever their seeds",
                    expected="def reset_parameters(self, *, generator=None) that draws them from the generator",
                    got=f"{type(module).__name__}.{name}, {tuple(parameter.shape)}, and no reset_parameters",
                    fix="write it; if all replicas are meant to begin with these numbers, let it do nothing",
                    where=_place(network, path),
                )


def check_in_population(
    single: Module,
    paths: Sequence[str],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    stack: Callable[[Sequence[Module]], Any],
) -> None:
    """Run a few networks like this one in a population and one by one, and compare some of their modules.

    single  the network; it is changed
    paths   the modules to compare
    inputs  a batch of the population's, whose samples serve as examples; marked if it has an axis of replicas
    named   the keyword-only inputs of the same batch
    stack   a function that makes a population of networks

    Raises ArgumentError for the first module that computes something else in the population.
    """
    parameter = next(iter(single.parameters()), None)
    names = tuple(named)
    inputs = (*inputs, *named.values())
    sizes = {n for _, x in leaves(inputs) for n in x.shape}
    sizes |= {n for each in single.parameters() for n in each.shape}
    replicas, samples = [n for n in range(2, 10 + len(sizes)) if n not in sizes][:2]
    generator = torch.Generator().manual_seed(0)
    with generators_kept(None if parameter is None else parameter.data.device), apart():
        single.train()
        for module in single.modules():
            if isinstance(module, RandomMask):
                for rate in {"p", "dropout"} & vars(module).keys():
                    setattr(module, rate, 0.0)
        networks = [_perturbed(copy.deepcopy(single), generator) for _ in range(replicas)]
        given = [mapped(inputs, lambda x: _samples(x, samples, generator)) for _ in networks]
        try:
            _Trial(copy.deepcopy(networks[0]), paths, names).run(given[0])
        except RAISED:  # an input has no axis of samples, such as a matrix that all samples share: take inputs as given
            given = [mapped(inputs, _single_input) for _ in networks]
        together = stack(networks)
        together._unchecked.clear()
        stacked = [_stacked(rows, replicas) for rows in zip(*given, strict=True)]
        one, again = (_Trial(copy.deepcopy(networks[0]), paths, names).run(given[0]) for _ in range(2))
        random_outputs = not all(_near(a.value, b.value) for a, b in zip(one.seen, again.seen, strict=False))
        alone = [
            _Trial(network, paths, names).run(rows, random_outputs)
            for network, rows in zip(networks, given, strict=True)
        ]
        trial = _Trial(together.network, paths, names)
        trial.compare(single, stacked, alone, random_outputs)
        if not random_outputs:
            _compare_gradients(single, together, networks, paths)
            _compare_buffers(single, together, networks, paths)
            _compare_in_eval_mode(single, trial, networks, given, stacked)


@dataclass
class _Seen:
    """What a watched method returned."""

    path: str  # of its module
    what: str  # "output" or "gradient of its input"
    value: Any


class _Trial:
    """One run of a network, forward and backward, that records in order what the watched modules return."""

    def __init__(self, network: Module, paths: Sequence[str], names: Sequence[str]) -> None:
        self.network, self.paths, self.names = network, paths, names
        self.seen: list[_Seen] = []
        self.running: list[str] = []  # the watched modules whose methods are running, outermost first
        self.dy: Any = None
        for path, module in network.named_modules():
            if path in paths:
                for name, what in (("forward", "output"), ("backward", "gradient of its input")):
                    vars(module)[name] = self._watched(path, what, getattr(module, name))

    def _watched(self, path: str, what: str, method: Any) -> Any:
        def watched(*given: Any, **named: Any) -> Any:
            self.running.append(path)
            value = method(*given, **named)
            self.running.pop()
            self.seen.append(_Seen(path, what, value))
            return value

        return watched

    def _call(self, inputs: Sequence[Any]) -> Any:
        """The network's output; the last inputs are the keyword-only ones."""
        first = len(inputs) - len(self.names)
        return self.network(*inputs[:first], **dict(zip(self.names, inputs[first:], strict=True)))

    def run(self, inputs: Sequence[Any], random_outputs: bool = False, dys: Sequence[Any] = ()) -> _Trial:
        """Run forward, then backward with a random gradient, or with `dys`, one per replica.

        Where outputs are random, only the forward runs, in eval mode. If a single network's backward fails, there is no
        gradient, and the population's backward does not run either.
        """
        if random_outputs:
            with evaluating():
                self._call(inputs)
            return self
        output = self._call(inputs)
        if dys:
            if dys[0] is not None:
                self.network.backward(_stacked(dys, len(dys)))
            return self
        generator = torch.Generator().manual_seed(1)
        outputs = _tensors(output)
        if outputs and all(each.is_floating_point() for each in outputs):
            dy = mapped(output, lambda each: _drawn(each, generator))
            try:
                self.network.backward(dy)
                self.dy = dy
            except RAISED:
                self.running.clear()
        return self

    def compare(
        self, single: Module, inputs: Sequence[Any], alone: Sequence[_Trial], forward_alone: bool = False
    ) -> None:
        """Run a population of the networks that ran alone. Raises ArgumentError where it computes something else."""
        try:
            self.run(inputs, forward_alone, [each.dy for each in alone])
        except RAISED as error:
            message = error.what if isinstance(error, LampError) else str(error).strip().split("\n")[0]
            path = self.running[-1] if self.running else self.paths[0]
            raise _difference(single, path, f"{type(error).__name__}: {message[:160]}") from None
        _compare(single, self, alone)


def _compare(single: Module, together: _Trial, alone: Sequence[_Trial]) -> None:
    """Raise ArgumentError if a module returned something else for replica k than in network k."""
    for number, seen in enumerate(together.seen):
        for k, each in enumerate(alone):
            if number >= len(each.seen) or each.seen[number].path != seen.path:
                raise _difference(single, seen.path, "modules called in another order than in the network alone")
            right = each.seen[number].value
            for own, of_all in zip(_tensors(right), _tensors(seen.value), strict=False):
                if of_all.dim() != own.dim() + 1 or of_all.shape[1:] != own.shape or len(of_all) != len(alone):
                    raise _difference(
                        single,
                        seen.path,
                        f"its {seen.what} is {tuple(of_all.shape)}, for {len(alone)} replicas of {tuple(own.shape)}",
                    )
                if not _near(own, of_all[k]):
                    off = (own.double() - of_all[k].double()).abs().max().item()
                    raise _difference(single, seen.path, f"its {seen.what} is off by {off:.3g} in replica {k}")


def _compare_in_eval_mode(
    single: Module, together: _Trial, networks: Sequence[Module], given: Sequence[Any], stacked: Sequence[Any]
) -> None:
    """The same for the forward alone in eval mode, where a module may compute something else."""
    paths, names = together.paths, together.names
    try:
        alone = [_Trial(network, paths, names).run(rows, True) for network, rows in zip(networks, given, strict=True)]
    except RAISED:  # it does not work alone either
        return
    trial = _Trial(together.network, paths, names)
    trial.compare(single, stacked, alone, forward_alone=True)


def _compare_gradients(single: Module, together: Module, networks: Sequence[Module], paths: Sequence[str]) -> None:
    """Raise ArgumentError if a parameter's gradient in replica k is not the one in network k."""
    for number, (name, parameter) in enumerate(together.network.named_parameters()):  # type: ignore[attr-defined]
        owner, _, own_name = name.rpartition(".")
        for k, network in enumerate(networks):
            if owner in paths and not _near(network.parameters()[number].grad, parameter.grad[k]):
                raise _difference(single, owner, f"the gradient of its {own_name} is another one in replica {k}")


def _compare_buffers(single: Module, together: Module, networks: Sequence[Module], paths: Sequence[str]) -> None:
    """Raise ArgumentError if a buffer has other values in replica k than in network k."""
    each = [dict(network.named_buffers()) for network in networks]
    for name, buffer in together.network.named_buffers():  # type: ignore[attr-defined]
        owner, _, own_name = name.rpartition(".")
        fits = buffer.data.shape[:1] == (len(each),)
        for k, buffers in enumerate(each):
            if owner in paths and not (fits and _near(buffers[name].data, buffer.data[k])):
                raise _difference(single, owner, f"its buffer {own_name} has other values in replica {k}")


def _difference(single: Module, path: str, got: str) -> ArgumentError:
    return ArgumentError(
        MIXES,
        expected="row k is what the network of replica k computes alone, forward and backward",
        got=got,
        fix=ADVICE,
        where=_place(single, path),
    )


def _place(network: Module, path: str) -> str:
    module = dict(network.named_modules())[path]
    return f"{type(network).__name__}.{path}: {describe(module)}" if path else describe(module)


def _near(one: Any, other: Any) -> bool:
    """Whether two tensors, or all tensors in two tuples, are equal up to rounding."""
    return all(near(a, b) for a, b in zip(_tensors(one), _tensors(other), strict=False))


def _tensors(value: Any) -> list[Tensor]:
    return [each for _, each in leaves(value)]


def _stacked(rows: Sequence[Any], replicas: int) -> Any:
    """An input of the population, marked as per replica, from the same input of each network."""
    if isinstance(rows[0], Tensor):
        return marked(torch.stack(tuple(rows)), replicas)
    if isinstance(rows[0], tuple | list):
        return type(rows[0])([_stacked(each, replicas) for each in zip(*rows, strict=True)])
    return rows[0]


def _perturbed(network: Module, generator: torch.Generator) -> Module:
    """The network, after random changes of its parameters and buffers, so that no two replicas are equal."""
    for parameter in network.parameters():
        scale = parameter.data.abs().mean().clamp_min(0.1)
        parameter.data.add_(_drawn(parameter.data, generator) * scale * 0.5)
    for buffer in state_buffers(network):
        if buffer.data.is_floating_point():  # the sign stays, because a buffer may be a variance
            buffer.data.mul_(1 + 0.5 * _drawn(buffer.data, generator).tanh())
    return network


def _samples(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """This many samples, drawn at random from a batch and slightly changed."""
    rows = x.flatten(0, 1) if replicas_of(x) is not None and x.dim() > 1 else x
    if rows.dim() == 0 or not len(rows):
        return x.clone()
    chosen = rows[torch.randint(len(rows), (count,), generator=generator).to(x.device)]
    if not x.is_floating_point():
        return chosen
    drawn = _drawn(chosen, generator)
    return chosen * (1 + 0.5 * drawn.tanh()) if bool((chosen != 0).any()) else drawn


def _single_input(x: Tensor) -> Tensor:
    """A copy of an input as one network takes it: the first replica's, if it has an axis of replicas."""
    return (x if replicas_of(x) is None else x[0]).clone()


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
