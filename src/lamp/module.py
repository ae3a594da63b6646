"""What every module is: a forward, a backward, and what the one remembers for the other.

A module of your own is those two methods and nothing more:

    class Square(lamp.Module):
        def forward(self, x):
            self.remember(x)
            return x * x

        def backward(self, dy):
            x = self.recall()
            return 2 * x * dy

Parameters, buffers and submodules are whatever stands in the module's attributes (lists, tuples and dicts of them
included), in the order they were assigned; there is nothing to register and no `super().__init__()` to forget.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from lamp.calls import backward_within_its_pass, forward_within_a_pass
from lamp.devices import target_of, without_numbers
from lamp.errors import ArgumentError, NotTraceable, StateDictError
from lamp.overrides import Kind
from lamp.parameter import Buffer, Parameter, flatten, move, spans
from lamp.passes import Participant
from lamp.state_dict import IncompatibleKeys, compare
from lamp.torch_habits import TorchHabits, of_path, unwritten
from lamp.values import a_function, a_switch

Held = TypeVar("Held")


class Module(TorchHabits, Participant, metaclass=Kind):
    """Base of all modules, losses included.

    Subclasses define `forward(input) -> output` and `backward(grad_output) -> grad_input`. `backward` adds the
    parameters' gradients to their `grad`. Several outputs are a tuple, and so is their gradient, with None for an
    output that was not used; a backward that names an argument for each gets them one by one. Of several inputs
    `backward` returns a tuple, None for one without a gradient.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ()  # attributes that are a number, or (K,) of them in a population
    takes_replicas: ClassVar[bool] = False  # in a class of the user's: whether it is known to work in a population
    replicas: int | None = None  # K in a population, where every tensor has an axis of replicas first
    units: Tensor | None = None  # in a population of several sizes: how many features each replica has here, (K,)

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, *inputs: Any) -> Any:
        """The output for these inputs. In training mode it remembers what `backward` will need."""
        raise unwritten(self, "forward(self, input)", "the output")

    def backward(self, *grad_outputs: Any) -> Any:
        """The gradient with respect to the input, given the output's; adds the parameters' gradients to their grad."""
        raise unwritten(self, "backward(self, grad_output)", "the gradient with respect to the input")

    def trace(self, tracer: Any, *values: Any) -> Any:
        """The values that this module puts out for these, in a graph that the tracer writes: see lamp.graph.

        Raises NotTraceable where a module does not say.
        """
        raise NotTraceable(
            f"{type(self).__name__} does not say what it does as a graph",
            expected="trace(self, tracer, x) beside forward, in the tracer's operations",
            got="a module without it",
            fix="write it; without a graph the eager engine alone trains it",
        )

    def backward_parameters(self, *grad_outputs: Any) -> None:
        """`backward` for a module whose input is data: parameter gradients only, where that is less work."""
        self.backward(*grad_outputs)

    # The three methods as they were written: for a container, which is in a pass already and says whom to blame.
    _bare_forward: Callable[..., Any] = forward
    _bare_backward: Callable[..., Any] = backward
    _bare_backward_parameters: Callable[..., Any] = backward_parameters

    # Calling a module is calling its forward: a property in C, so that the call costs no frame of Python.
    __call__: Callable[..., Any] = property(operator.attrgetter("forward"))  # type: ignore[assignment]

    # ---- what it is made of ------------------------------------------------------------------------------------
    def _members(self, kind: type[Held]) -> Iterator[tuple[str, Held]]:
        """Attributes of this kind, and those inside lists, tuples and dicts, with their names."""
        if "_registered" in vars(self):
            self._wrap_registered(vars(self)["_registered"])
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, list | tuple):
                yield from ((f"{name}.{k}", item) for k, item in enumerate(value) if isinstance(item, kind))
            elif isinstance(value, dict):
                yield from ((f"{name}.{key}", item) for key, item in value.items() if isinstance(item, kind))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules with their names."""
        yield from self._members(Module)

    def children(self) -> Iterator[Module]:
        """Direct submodules."""
        yield from (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (under the name "") and all below it, each once, with their paths."""
        yield from self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int] | None, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths: each once, or (`seen` is None) wherever it stands."""
        if any(module is self for module in above):
            raise ArgumentError(
                f"{type(self).__name__} stands inside itself, as {prefix!r} of {type(above[0]).__name__}",
                expected="modules in a tree",
                got="an attribute that leads back to a module it stands in",
                fix="let the module above hand down what is needed, as an input of forward",
            )
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name, seen, (*above, self))

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        yield from (module for _, module in self.named_modules())

    def add_module(self, name: str, module: Module | None) -> None:
        """Make the module a child of this name: `self.name = module` does the same."""
        fix = "pass an instance of a lamp module; lamp.from_torch(...) makes one of a torch.nn.Module"
        self._set_member("add_module", name, module, Module, ArgumentError, fix)

    register_module = add_module

    def get_submodule(self, target: str) -> Module:
        """The module of this path; "" is this one."""
        return of_path(self, dict(self.named_modules()), target, "module")

    def _named(self, kind: type[Held], everywhere: bool) -> Iterator[tuple[str, Held]]:
        """Members of this kind in the whole tree; one that stands in several places is named once, or everywhere."""
        seen: set[int] = set()
        places = self._walk("", None) if everywhere else self.named_modules()
        for path, module in places:
            for name, member in module._members(kind):
                if everywhere or id(member) not in seen:
                    seen.add(id(member))
                    yield (f"{path}.{name}" if path else name), member

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters of the tree, each once, with their paths."""
        self._flatten()
        yield from self._named(Parameter, everywhere=False)

    def parameters(self) -> list[Parameter]:
        """All parameters of the tree, each once. They live in one flat buffer from here on."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers of the tree, each once, with their paths."""
        yield from self._named(Buffer, everywhere=False)

    def _flatten(self) -> None:
        flatten(parameter for _, parameter in self._named(Parameter, everywhere=False))

    # ---- what is done to the whole tree --------------------------------------------------------------------------
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to zero; there is no None to set them to, so either answer does the same."""
        for span in spans(self.parameters()):
            span.grad.zero_()

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below: dropout drops, forward remembers."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below."""
        return self.train(False)

    def to(self, *args: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Move parameters and buffers: `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`, or by keyword."""
        device, dtype = target_of(args, device, dtype)
        if device is not None and device.type != "meta" and any(each.data.is_meta for each in self.parameters()):
            raise without_numbers(type(self).__name__)
        move((parameter for _, parameter in self._named(Parameter, everywhere=False)), dtype, device)
        for _, buffer in self.named_buffers():
            to_dtype = dtype if buffer.data.is_floating_point() else None
            buffer.data = buffer.data.to(device=device, dtype=to_dtype)
        return self

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw all parameters anew, children in order, from the generator or torch's default one."""
        for child in self.children():
            child.reset_parameters(generator=generator)

    def apply(self, function: Callable[[Module], None]) -> Self:
        """Call the function on every module of the tree, children first."""
        a_function(function, "function", "module")
        list(self.modules())  # an error where one stands inside itself
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ---- state ---------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Tensor]:
        """Path to tensor for all parameters and buffers, torch.nn's keys. The tensors are live: clone to keep them."""
        self._flatten()
        state: dict[str, Tensor] = {}
        for path, module in self._walk("", None):
            members: list[tuple[str, Parameter | Buffer]] = [*module._members(Parameter), *module._members(Buffer)]
            for name, member in members:
                state[f"{path}.{name}" if path else name] = member.data
        return state

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> IncompatibleKeys:
        """Copy values in. Everything is checked first: on a StateDictError nothing has changed.

        strict=False passes over missing and unexpected keys and returns them; shapes must fit in any case.
        """
        if not isinstance(state_dict, Mapping):
            raise StateDictError(
                "a state dict is a mapping",
                expected="what model.state_dict() returned: names to tensors",
                got=type(state_dict).__name__,
                fix="model.load_state_dict(other.state_dict()); lamp.load(model, path) reads a file",
            )
        own, strict = self.state_dict(), a_switch(strict, "strict")
        keys = compare(type(self).__name__, own, state_dict, strict)
        for key, tensor in own.items():
            if key in state_dict:
                tensor.copy_(state_dict[key])
        return keys

    def get_extra_state(self) -> Any:
        """What a copy must have of this module beside parameters and buffers; a list of K in a population."""
        return None

    def set_extra_state(self, state: Any) -> None:
        """Take over what `get_extra_state` of such a module returned."""

    def numbers(self) -> list[tuple[str, Tensor]]:
        """The hyperparameters of which each replica of a population has its own, with their names: tensors (K,)."""
        found = [(name, getattr(self, name)) for name in self.hyperparameters]
        return [(name, number) for name, number in found if isinstance(number, Tensor)]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_through"}  # a copy remembers nothing

    # ---- how it prints -------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """The constructor arguments as they stand in the repr."""
        return ""

    def __repr__(self) -> str:
        return _drawn(self)


@recursive_repr("...")
def _drawn(module: Module) -> str:
    """The tree of a module as text; a module inside itself is "..." there."""
    children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in module.named_children()]
    extra = module.extra_repr()
    if not children:
        return f"{type(module).__name__}({extra})"
    lines = ([extra] if extra else []) + children
    return f"{type(module).__name__}(\n  " + "\n  ".join(lines) + "\n)"


Kind.wrappers.update(
    forward=forward_within_a_pass, backward=backward_within_its_pass, backward_parameters=backward_within_its_pass
)
Module._settle()
