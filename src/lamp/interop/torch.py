"""Conversion of networks from and to torch.nn, with the same modules, options, modes, weights and names.

A lamp module corresponds to the module of torch.nn with the same class name, and their common arguments are found by
inspecting the classes. So a module that is added to lamp can be converted at once. Besides this file, only the
experiment with torch.nn as a peer uses torch.nn.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.lazy import LazyModuleMixin

from lamp import losses, nn
from lamp.errors import ArgumentError, LampError
from lamp.interop import torch_composed, torch_containers
from lamp.interop.predictor import described_type
from lamp.module import Module
from lamp.nn import Container, ModuleDict, ModuleList, Parallel, Residual, Sequential
from lamp.nn.module_row import ModuleRow
from lamp.overrides import overridden
from lamp.parameter import Buffer, Parameter
from lamp.paths import describe
from lamp.signatures import called
from lamp.uninitialized import UninitializedParameter

PAIRS: dict[type[torch.nn.Module], type[Module]] = {
    getattr(torch.nn, name): getattr(package, name)
    for package in (nn, losses)
    for name in package.__all__
    if hasattr(torch.nn, name)
    and getattr(package, name) is not Container
    and not issubclass(getattr(package, name), ModuleRow | ModuleDict)
}
PAIRS[torch_containers.PiecewiseLinearEncoding] = nn.PiecewiseLinearEncoding
TWINS = {ours: theirs for theirs, ours in PAIRS.items()}
PLACEMENT = ("device", "dtype")  # determined by the weights
IGNORED_OPTIONS = (  # options of torch.nn that do not change results, and old names that its constructors translate
    *("inplace", "min_value", "max_value", "size_average", "reduce"),
    *PLACEMENT,
)
RENAMED = {("PairwiseDistance", "p"): "norm"}  # where torch.nn keeps an argument under another name
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


ROWS: dict[type[torch.nn.Module], type[ModuleRow]] = {
    torch.nn.Sequential: Sequential,
    torch_containers.SequentialWithLoss: Sequential,
    torch_containers.Residual: Residual,
    torch_containers.Parallel: Parallel,
}
LISTS: dict[type[torch.nn.Module], type[Module]] = {torch.nn.ModuleList: ModuleList, torch.nn.ModuleDict: ModuleDict}


# ---- from torch ------------------------------------------------------------------------------------------------------
@called()
def from_torch(module: torch.nn.Module) -> Module:
    """A lamp network made from a network of torch.nn, with its modules, options, modes, dtypes, devices and weights.

    The weights are copied, and frozen ones stay frozen. Shared parameters and modules stay shared. The keys of the two
    state_dicts are the same. Gradients and an optimizer's state are not copied. `inplace=True` is ignored: it only
    saves memory, and lamp's modules never change their inputs. A ModuleList or ModuleDict that a network of your own
    calls becomes lamp's.

    Raises ArgumentError, with the module's path, for modules and options that lamp does not have, and for hooks.
    """
    if not isinstance(module, torch.nn.Module):
        fix = "a lamp module is one already" if isinstance(module, Module) else "pass the network itself"
        raise ArgumentError(
            "from_torch takes a network of torch.nn",
            expected="a torch.nn.Module",
            got=described_type(module),
            fix=fix,
        )
    return _FromTorch(module).made(module, "")


class _FromTorch:
    """The conversion of one network to lamp, with the modules and parameters made so far, by the original's id."""

    def __init__(self, root: torch.nn.Module) -> None:
        self.root = root
        self.modules: dict[int, Module] = {}
        self.parameters: dict[int, Parameter] = {}

    def made(self, module: torch.nn.Module, path: str, in_row: bool = False) -> Module:
        """The converted module. `in_row`: a Sequential calls it, so that it may be no list."""
        if id(module) not in self.modules:
            is_list = type(module) in LISTS and not in_row
            self._check(module, path, is_list)
            make = self._list if is_list else self._row if isinstance(module, torch.nn.Sequential) else self._single
            make = self._composed if torch_composed.is_composed(module) else make
            try:
                made = make(module, path)
            except LampError as error:
                error.where = error.where or self._where(module, path)
                raise
            made.training = module.training
            self.modules[id(module)] = made
        return self.modules[id(module)]

    def _row(self, module: torch.nn.Module, path: str) -> Module:
        children = {name: child for name, child in module._modules.items() if child is not None}
        made = {name: self.made(child, f"{path}.{name}", in_row=True) for name, child in children.items()}
        if isinstance(module, torch_containers.Parallel):
            return Parallel(made, combine=module.combine, dim=module.dim)
        return Residual(made) if isinstance(module, torch_containers.Residual) else Sequential(made)

    def _list(self, module: torch.nn.Module, path: str) -> Module:
        children = ((name, child) for name, child in module._modules.items() if child is not None)
        made = {name: self.made(child, f"{path}.{name}") for name, child in children}
        return ModuleDict(made) if isinstance(module, torch.nn.ModuleDict) else ModuleList(list(made.values()))

    def _composed(self, module: torch.nn.Module, path: str) -> Module:
        """A module with modules inside. Its parameters are copied, also those that others share."""
        name = type(module).__name__
        given = torch_composed.ARGUMENTS[name](module, lambda child, part: self.made(child, f"{path}.{part}"))
        made: Module = PAIRS[type(module)](**given)
        torch_composed.copy_state(made, module)
        return made

    def _single(self, module: torch.nn.Module, path: str) -> Module:
        kind = PAIRS[type(module)]
        given = _arguments(kind, module)
        for name, option in inspect.signature(type(module)).parameters.items():
            if name in given or name in IGNORED_OPTIONS or option.kind is not option.POSITIONAL_OR_KEYWORD:
                continue
            if (value := getattr(module, name, option.default)) != option.default:
                raise ArgumentError(
                    f"lamp's {kind.__name__} has no option {name}",
                    expected=f"{name}={option.default}",
                    got=f"{name}={value}",
                    fix=f"build the module without it, or write a lamp.Module of your own that does what {name} does",
                )
        made = kind(**given, **_undrawn(kind))
        if hasattr(made, "init") and "init" not in given:
            made.init = None
        if isinstance(module, LazyModuleMixin):  # it stays lazy
            place = next(iter(module.state_dict().values()), torch.empty(0))
            return made.to(device=place.device, dtype=place.dtype)
        _same_keys(_held(made), set(module.state_dict()))
        for name, parameter in module._parameters.items():
            if parameter is not None:
                setattr(made, name, self._parameter(parameter))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                setattr(made, name, Buffer(buffer.detach().clone()))
        return made

    def _parameter(self, parameter: torch.nn.Parameter) -> Parameter:
        if id(parameter) not in self.parameters:
            made = self.parameters[id(parameter)] = Parameter(parameter.detach().clone())
            made.frozen = not parameter.requires_grad
        return self.parameters[id(parameter)]

    def _check(self, module: torch.nn.Module, path: str, is_list: bool) -> None:
        """Raise ArgumentError for a module that lamp does not have, or one with hooks or modules inside."""
        is_sequential = isinstance(module, torch.nn.Sequential)
        own_forward = "forward" in vars(module) or (
            is_sequential and type(module).forward not in [kind.forward for kind in ROWS]
        )
        if own_forward or not (is_sequential or is_list or type(module) in PAIRS):
            raise ArgumentError(
                "lamp has no such module",
                expected=f"{', '.join(sorted(kind.__name__ for kind in (*PAIRS, torch.nn.Sequential)))}",
                got=described_type(module) + (" with a forward of its own" if own_forward or not is_sequential else ""),
                fix="build the network of these; or write a lamp.Module with a forward and a backward, and copy the "
                "weights with load_state_dict",
                where=self._where(module, path),
            )
        hooks = [name for name in HOOKS if getattr(module, name, None)]
        if isinstance(module, LazyModuleMixin) and len(module._forward_pre_hooks) == 1:
            hooks.remove("_forward_pre_hooks")  # the one that makes its parameters
        may_hold = is_sequential or is_list or torch_composed.is_composed(module)
        if hooks or (module._modules and not may_hold):
            raise ArgumentError(
                "this module does more than its class does",
                expected=f"an unchanged {type(module).__name__} of torch.nn",
                got=f"one with {', '.join(name.strip('_').replace('_', ' ') for name in hooks) or 'modules inside'}",
                fix="remove them first; torch.nn.utils.remove_weight_norm(module) removes a weight norm",
                where=self._where(module, path),
            )

    def _where(self, module: torch.nn.Module, path: str) -> str:
        return _place(type(self.root).__name__ + path, repr(module), path)


# ---- to torch --------------------------------------------------------------------------------------------------------
@called()
def to_torch(model: Module) -> torch.nn.Module:
    """A network of torch.nn made from a lamp network, with its modules, options, modes, dtypes, devices and weights.

    The weights are copied. Shared parameters and modules stay shared. The keys of the two state_dicts are the same.
    Gradients, an optimizer's state and Dropout's seed are not copied, and the `reset_parameters` of the new network is
    torch's, whatever the `init=` of lamp's.

    Containers that torch.nn does not have become those of `lamp.interop.torch_containers`, subclasses of
    torch.nn.Sequential: Residual, Parallel, and a Sequential that ends in a loss
    (`output, loss = network(x, target)`).

    Raises ArgumentError, with the module's path, for modules of your own, and for a population, whose networks are
    converted one by one.
    """
    if isinstance(model, Module) and model.replicas is not None:
        raise ArgumentError(
            "torch.nn has no populations",
            expected="a single network",
            got=f"{type(model).__name__}, {model.replicas} replicas",
            fix="lamp.to_torch(population[k]), or torch.nn.ModuleList(lamp.to_torch(each) for each in population)",
        )
    if not isinstance(model, Module):
        raise ArgumentError(
            "to_torch takes a lamp network",
            expected="a lamp.Module",
            got=described_type(model),
            fix="a torch.nn.Module is one already" if isinstance(model, torch.nn.Module) else "pass the network itself",
        )
    return _ToTorch(model).made(model, "")


class _ToTorch:
    """The conversion of one network to torch, with the modules and parameters made so far, by the original's id."""

    def __init__(self, root: Module) -> None:
        self.root = root
        self.modules: dict[int, torch.nn.Module] = {}
        self.parameters: dict[int, torch.nn.Parameter] = {}

    def made(self, module: Module, path: str, in_row: bool = False) -> torch.nn.Module:
        """The converted module. `in_row`: a Sequential calls it, so that it may be no list."""
        if id(module) not in self.modules:
            if type(module) in LISTS.values() and not in_row:
                made = self._list(module, path)
            elif isinstance(module, ModuleRow):
                made = self._row(module, path)
            else:
                composed = torch_composed.is_composed(module)
                made = self._composed(module, path) if composed else self._single(module, path)
            made.training = module._training
            self.modules[id(module)] = made
        return self.modules[id(module)]

    def _row(self, module: ModuleRow, path: str) -> torch.nn.Module:
        is_list = isinstance(module, ModuleList)  # which computes nothing
        if is_list or overridden(module, only=("__call__", "forward", "backward")) is not None:
            raise self._unknown(module, path)
        children = module.named_children()
        made = OrderedDict((name, self.made(child, f"{path}.{name}", in_row=True)) for name, child in children)
        if isinstance(module, Parallel):
            return torch_containers.Parallel(made, combine=module.combine, dim=module.dim)
        if isinstance(module, Residual):
            return torch_containers.Residual(made)
        ends_in_loss = isinstance(module, Sequential) and module.loss is not None
        return torch_containers.SequentialWithLoss(made) if ends_in_loss else torch.nn.Sequential(made)

    def _list(self, module: Module, path: str) -> torch.nn.Module:
        made = {name: self.made(child, f"{path}.{name}") for name, child in module.named_children()}
        return torch.nn.ModuleDict(made) if isinstance(module, ModuleDict) else torch.nn.ModuleList(made.values())

    def _composed(self, module: Module, path: str) -> torch.nn.Module:
        """A module with modules inside. Its parameters are copied, also those that others share."""
        name = type(module).__name__
        if overridden(module) is not None:
            raise self._unknown(module, path)
        given = torch_composed.ARGUMENTS[name](module, lambda child, part: self.made(child, f"{path}.{part}"))
        made: torch.nn.Module = getattr(torch.nn, name)(**given)
        torch_composed.copy_state(made, module)
        return made

    def _single(self, module: Module, path: str) -> torch.nn.Module:
        if type(module) not in TWINS or overridden(module) is not None:
            raise self._unknown(module, path)
        kind = TWINS[type(module)]
        waiting = next((each for each in vars(module).values() if isinstance(each, UninitializedParameter)), None)
        if waiting is not None:  # it stays lazy
            return kind(**_arguments(type(module), module), device=waiting.device, dtype=waiting.dtype)
        made = kind(**_arguments(type(module), module), **_on_meta(kind))
        _same_keys(set(made.state_dict()), _held(module))
        for name, member in vars(module).items():
            if isinstance(member, Parameter):
                setattr(made, name, self._parameter(member))
            elif isinstance(member, Buffer):
                setattr(made, name, member.data.clone())
        return made

    def _parameter(self, parameter: Parameter) -> torch.nn.Parameter:
        if id(parameter) not in self.parameters:
            self.parameters[id(parameter)] = torch.nn.Parameter(parameter.data.clone(), not parameter.frozen)
        return self.parameters[id(parameter)]

    def _unknown(self, module: Module, path: str) -> ArgumentError:
        return ArgumentError(
            "torch.nn has no such module",
            expected="modules of lamp's own, unchanged, and Sequential, Residual and Parallel of them",
            got=f"{described_type(module)} with a forward of its own",
            fix="convert the networks around it, and write a torch.nn.Module that computes the same",
            where=_place(type(self.root).__name__ + path, describe(module), path),
        )


# ---- both directions -------------------------------------------------------------------------------------------------
def _arguments(kind: type[Module], module: Module | torch.nn.Module) -> dict[str, Any]:
    """The constructor arguments of a lamp class, taken from a module of either package, as both use the same names."""
    given: dict[str, Any] = {}
    theirs = inspect.signature(TWINS[kind]).parameters
    for name, parameter in inspect.signature(kind).parameters.items():
        by_name = parameter.kind is parameter.KEYWORD_ONLY and name in theirs  # only lamp's Linear has init
        if (
            name in PLACEMENT
            or name.startswith("_")
            or not (by_name or parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
        ):
            continue
        value = getattr(module, name if hasattr(module, name) else RENAMED.get((kind.__name__, name), name))
        if name == "bias" and not isinstance(value, bool):
            value = value is not None
        elif isinstance(value, Tensor | Buffer):
            value = (value.data if isinstance(value, Buffer) else value.detach()).clone()
        given[name] = value
    return given


def _undrawn(kind: type[Module]) -> dict[str, Any]:
    """The arguments with which a lamp module is built without drawing its parameters, which are copied later."""
    option = inspect.signature(kind).parameters.get("init")
    draws = option is not None and option.kind is option.KEYWORD_ONLY
    return {"init": lambda tensor, generator=None: tensor} if draws else {}


def _on_meta(kind: type[torch.nn.Module]) -> dict[str, str]:
    """The arguments with which a module of torch.nn is built without drawing its parameters."""
    return {"device": "meta"} if "device" in inspect.signature(kind).parameters else {}


def _held(module: Module) -> set[str]:
    """The names of a single module's parameters and buffers."""
    return {name for name, member in vars(module).items() if isinstance(member, Parameter | Buffer)}


def _same_keys(one: set[str], other: set[str]) -> None:
    if one != other:
        raise ArgumentError(
            "the module has other parameters and buffers in the two packages",
            expected=f"state {sorted(one) or 'none'}",
            got=f"state {sorted(other) or 'none'}",
            fix="remove the parameters and buffers that its class does not have",
        )


def _place(name: str, described: str, path: str) -> str:
    """A module's place, as errors name it, such as "Sequential.2: Conv2d(...)"."""
    short = described if "\n" not in described else described.split("(")[0]
    return f"{name}: {short}" if path else short
