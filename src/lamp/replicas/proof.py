"""Whether modules that are not lamp's do in a population what they do alone: a few replicas tried on a few samples.

The trial is made with copies, once per population, on its first batch. It draws from generators of its own and leaves
the others, and all modules, as they were.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamp.axes import marked, replicas_of
from lamp.errors import ArgumentError, LampError
from lamp.losses import Loss
from lamp.module import Module
from lamp.nn import Dropout
from lamp.overrides import PASS_METHODS, is_lamps
from lamp.parameter import Buffer, Parameter
from lamp.passes import apart, evaluating
from lamp.paths import describe
from lamp.state import state_buffers
from lamp.trees import leaves, mapped

RAISED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
FAR = {torch.float64: 1e-7, torch.float32: 1e-3}  # relative difference that rounding does not explain; else:
FAR_IN_HALF_PRECISION = 5e-2
ADVICE = (
    "in a population parameters are (K, ...) and what comes in and goes out is (K, B, ...). Give a parameter its batch "
    "axis, self.w.data.unsqueeze(-2), count other axes from the end, and sum its gradient over the batch alone, "
    ".sum(-2); see lamp.population. `takes_replicas = True` in the class skips this trial"
)


def foreign(network: Module, set_on: bool = False) -> list[str]:
    """The paths of modules whose forward or backward is not lamp's, and whose class does not vouch for it.

    set_on  only of those where it was set on the module itself
    """
    tried = [(path, module) for path, module in network.named_modules() if not module.takes_replicas]
    return [path for path, module in tried if _is_foreign(module) and (not set_on or _has_set(module))]


def _has_set(module: Module) -> bool:
    return not vars(module).keys().isdisjoint(PASS_METHODS)


def _is_foreign(module: Module) -> bool:
    if isinstance(module, Loss):  # what it gives is not (K, B, ...)
        return False
    if not is_lamps(type(module)) and any(True for _ in module._members(Buffer)):
        return True
    return _has_set(module) or any(not is_lamps(getattr(type(module), name)) for name in PASS_METHODS)


def refuse_equal_starts(network: Module) -> None:
    """Raise ArgumentError for a module whose parameters were drawn, and which no seed would draw again."""
    for path, module in network.named_modules():
        if type(module).reset_parameters is not Module.reset_parameters or "reset_parameters" in vars(module):
            continue
        for name, parameter in module._members(Parameter):
            if parameter.data.numel() > 1 and (parameter.data != parameter.data.reshape(-1)[0]).any():
                raise ArgumentError(
                    "its parameters would begin alike in all replicas, whatever their seeds",
                    expected="def reset_parameters(self, *, generator=None) that draws them from the generator",
                    got=f"{type(module).__name__}.{name}, {tuple(parameter.shape)}, and no reset_parameters",
                    fix="write it; one that does nothing says that all replicas are to begin with these numbers",
                    where=_place(network, path),
                )


def prove(
    single: Module,
    paths: Sequence[str],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    stack: Callable[[Sequence[Module]], Any],
) -> None:
    """Try a population of a few such networks on samples like these, against the networks one by one.

    single  the network, to be changed at will; paths: of the modules to watch
    inputs  a batch, marked where it has an axis of replicas; `named`, inputs that the network takes by name alone
    stack   makes a population of networks

    Raises ArgumentError for the first of the modules that does something else in a population.
    """
    parameter = next(iter(single.parameters()), None)
    names = tuple(named)
    inputs = (*inputs, *named.values())
    sizes = {n for _, x in leaves(inputs) for n in x.shape}
    sizes |= {n for each in single.parameters() for n in each.shape}
    replicas, samples = [n for n in range(2, 10 + len(sizes)) if n not in sizes][:2]
    generator = torch.Generator().manual_seed(0)
    with _undisturbed(None if parameter is None else parameter.data.device), apart():
        single.train()
        for module in single.modules():
            if isinstance(module, Dropout):
                module.p = 0.0
        networks = [_shaken(copy.deepcopy(single), generator) for _ in range(replicas)]
        given = [mapped(inputs, lambda x: _samples(x, samples, generator)) for _ in networks]
        try:
            _Trial(copy.deepcopy(networks[0]), paths, names).run(given[0])
        except RAISED:  # of some inputs the first axis is not that of the samples: a matrix that all of them share, say
            given = [mapped(inputs, _as_it_is) for _ in networks]
        together = stack(networks)
        together._unproved.clear()
        stacked = [_stacked(rows, replicas) for rows in zip(*given, strict=True)]
        one, again = (_Trial(copy.deepcopy(networks[0]), paths, names).run(given[0]) for _ in range(2))
        by_chance = not all(_near(a.value, b.value) for a, b in zip(one.seen, again.seen, strict=False))
        alone = [
            _Trial(network, paths, names).run(rows, by_chance) for network, rows in zip(networks, given, strict=True)
        ]
        trial = _Trial(together.network, paths, names)
        try:
            trial.run(stacked, by_chance, [each.dy for each in alone])
        except RAISED as error:
            said = error.what if isinstance(error, LampError) else str(error).strip().split("\n")[0]
            path = trial.within[-1] if trial.within else paths[0]
            raise _refusal(single, path, f"{type(error).__name__}: {said[:160]}") from None
        _compare(single, trial, alone)
        if not by_chance:
            _compare_gradients(single, together, networks, paths)
            _compare_buffers(single, together, networks, paths)


@dataclass
class _Seen:
    """What one of the watched modules gave: its output, or the gradient of its input."""

    path: str
    what: str
    value: Any


class _Trial:
    """A network on its way forward and back, with what the watched modules gave, in order."""

    def __init__(self, network: Module, paths: Sequence[str], names: Sequence[str]) -> None:
        self.network, self.names = network, names
        self.seen: list[_Seen] = []
        self.within: list[str] = []  # the watched modules that are at work
        self.dy: Any = None
        for path, module in network.named_modules():
            if path in paths:
                for name, what in (("forward", "output"), ("backward", "gradient of its input")):
                    vars(module)[name] = self._watched(path, what, getattr(module, name))

    def _watched(self, path: str, what: str, method: Any) -> Any:
        def watched(*given: Any, **named: Any) -> Any:
            self.within.append(path)
            value = method(*given, **named)
            self.within.pop()
            self.seen.append(_Seen(path, what, value))
            return value

        return watched

    def _call(self, inputs: Sequence[Any]) -> Any:
        """The network's output for inputs by place and, the last ones, by name."""
        first = len(inputs) - len(self.names)
        return self.network(*inputs[:first], **dict(zip(self.names, inputs[first:], strict=True)))

    def run(self, inputs: Sequence[Any], by_chance: bool = False, dys: Sequence[Any] = ()) -> _Trial:
        """Forward, in eval mode where chance takes part, else back as well, if the modules can go back alone."""
        if by_chance:
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
            except RAISED:  # it cannot go back alone either
                self.within.clear()
        return self


def _compare(single: Module, together: _Trial, alone: Sequence[_Trial]) -> None:
    """Raise where a module gave replica k something else than network k."""
    for number, seen in enumerate(together.seen):
        for k, each in enumerate(alone):
            if number >= len(each.seen) or each.seen[number].path != seen.path:
                raise _refusal(single, seen.path, "modules called in another order than in the network alone")
            right = each.seen[number].value
            for own, of_all in zip(_tensors(right), _tensors(seen.value), strict=False):
                if of_all.dim() != own.dim() + 1 or of_all.shape[1:] != own.shape or len(of_all) != len(alone):
                    raise _refusal(
                        single,
                        seen.path,
                        f"its {seen.what} is {tuple(of_all.shape)}, for {len(alone)} replicas of {tuple(own.shape)}",
                    )
                if not _near(own, of_all[k]):
                    off = (own.double() - of_all[k].double()).abs().max().item()
                    raise _refusal(single, seen.path, f"its {seen.what} is off by {off:.3g} in replica {k}")


def _compare_gradients(single: Module, together: Module, networks: Sequence[Module], paths: Sequence[str]) -> None:
    for number, (name, parameter) in enumerate(together.network.named_parameters()):  # type: ignore[attr-defined]
        owner, _, own_name = name.rpartition(".")
        for k, network in enumerate(networks):
            if owner in paths and not _near(network.parameters()[number].grad, parameter.grad[k]):
                raise _refusal(single, owner, f"the gradient of its {own_name} is another one in replica {k}")


def _compare_buffers(single: Module, together: Module, networks: Sequence[Module], paths: Sequence[str]) -> None:
    """Raise where a forward has left other numbers in a buffer of replica k than in network k's."""
    each = [dict(network.named_buffers()) for network in networks]
    for name, buffer in together.network.named_buffers():  # type: ignore[attr-defined]
        owner, _, own_name = name.rpartition(".")
        fits = buffer.data.shape[:1] == (len(each),)
        for k, buffers in enumerate(each):
            if owner in paths and not (fits and _near(buffers[name].data, buffer.data[k])):
                raise _refusal(single, owner, f"its buffer {own_name} holds other numbers in replica {k}")


def _refusal(single: Module, path: str, got: str) -> ArgumentError:
    return ArgumentError(
        "it does something else in a population than alone: it mixes replicas, or replicas with samples",
        expected="in row k what the network of replica k alone gives, forward and backward",
        got=got,
        fix=ADVICE,
        where=_place(single, path),
    )


def _place(network: Module, path: str) -> str:
    module = dict(network.named_modules())[path]
    return f"{type(network).__name__}.{path}: {describe(module)}" if path else describe(module)


def _near(one: Any, other: Any) -> bool:
    """Whether two tensors, or all in two tuples, are alike but for rounding."""
    for a, b in zip(_tensors(one), _tensors(other), strict=False):
        if a.shape != b.shape:
            return False
        if not a.is_floating_point():
            if not torch.equal(a, b):
                return False
            continue
        finite = a[a.isfinite()].abs().double()
        largest = finite.max().item() if finite.numel() else 0.0
        far = FAR.get(a.dtype, FAR_IN_HALF_PRECISION)
        if not torch.allclose(a.double(), b.double(), rtol=far, atol=far * largest, equal_nan=True):
            return False
    return True


def _tensors(value: Any) -> list[Tensor]:
    return [each for _, each in leaves(value)]


def _stacked(rows: Sequence[Any], replicas: int) -> Any:
    """What goes into each of the networks as it goes into the population, marked as each replica's own."""
    if isinstance(rows[0], Tensor):
        return marked(torch.stack(tuple(rows)), replicas)
    if isinstance(rows[0], tuple | list):
        return type(rows[0])([_stacked(each, replicas) for each in zip(*rows, strict=True)])
    return rows[0]


def _shaken(network: Module, generator: torch.Generator) -> Module:
    """The network with other parameters and buffers, so that no two replicas are alike."""
    for parameter in network.parameters():
        scale = parameter.data.abs().mean().clamp_min(0.1)
        parameter.data.add_(_drawn(parameter.data, generator) * scale * 0.5)
    for buffer in state_buffers(network):
        if buffer.data.is_floating_point():  # the sign stays: a variance may be among them
            buffer.data.mul_(1 + 0.5 * _drawn(buffer.data, generator).tanh())
    return network


def _samples(x: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """So many samples, drawn from a batch and a little changed."""
    rows = x.flatten(0, 1) if replicas_of(x) is not None and x.dim() > 1 else x
    if rows.dim() == 0 or not len(rows):
        return x.clone()
    chosen = rows[torch.randint(len(rows), (count,), generator=generator).to(x.device)]
    if not x.is_floating_point():
        return chosen
    drawn = _drawn(chosen, generator)
    return chosen * (1 + 0.5 * drawn.tanh()) if bool((chosen != 0).any()) else drawn


def _as_it_is(x: Tensor) -> Tensor:
    """An input of one network as it came."""
    return (x if replicas_of(x) is None else x[0]).clone()


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


@contextmanager
def _undisturbed(device: torch.device | None) -> Iterator[None]:
    """Torch's, numpy's and Python's generators are afterwards as they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [] if device is None or device.type != "cuda" else [device]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
