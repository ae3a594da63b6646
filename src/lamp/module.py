"""`Module`, the base class of layers, losses and networks.

A module has a forward, a backward, and values that forward remembers for backward. To write one of your own, define
those two methods; nothing more is needed:

    class Square(lamp.Module):
        def forward(self, x):
            self.remember(x)
            return x * x

        def backward(self, dy):
            x = self.recall()
            return 2 * x * dy

Parameters, buffers and submodules are found in the module's attributes, also within lists, tuples and dicts, in the
order of assignment. Nothing has to be registered, and `super().__init__()` need not be called.
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
from lamp.module_meta import ModuleMeta
from lamp.parameter import Buffer, Parameter, flatten, move, spans
from lamp.passes import Participant
from lamp.signatures import called, check_takes
from lamp.state_dict import IncompatibleKeys, compare
from lamp.torch_habits import Parameters, TorchHabits, of_path, unwritten
from lamp.uninitialized import initialized
from lamp.values import a_function, a_generator, a_switch

Held = TypeVar("Held")
PLAIN = frozenset((bool, int, float, str, type(None)))  # no members: the usual options, passed by without isinstance
NESTED = (list, tuple, dict)  # what may hold members; a union, written where it is asked for, would be made each time


class Module(TorchHabits, Participant, metaclass=ModuleMeta):
    """Base of all modules, losses included.

    Subclasses define `forward(input) -> output` and `backward(grad_output) -> grad_input`. `backward` adds each
    parameter's gradient to its `grad`.

    Several outputs are returned as a tuple. Their gradient is a tuple too, with None for an output that was not used;
    a `backward` with one argument per output gets the gradients as separate arguments. With several inputs, `backward`
    returns a tuple of gradients, with None for an input that has none.
    """

    hyperparameters: ClassVar[tuple[str, ...]] = ()  # names of attributes that are a number, or (K,) in a population
    takes_replicas: ClassVar[bool] = False  # True in a user's class says that it works in a population, unchecked
    replicas: int | None = None  # K in a population, where every tensor has a first axis of replicas
    units: Tensor | None = None  # the number of features per replica, (K,), in a population of several sizes

    # ---- forward and backward ----------------------------------------------------------------------------------
    def forward(self, *inputs: Any) -> Any:
        """The output for these inputs. In training mode, remembers what `backward` will need."""
        raise unwritten(self, "forward(self, input)", "the output")

    def backward(self, *grad_outputs: Any) -> Any:
        """The gradient with respect to the input, given that of the output. Adds to the gradients of the parameters."""
        raise unwritten(self, "backward(self, grad_output)", "the gradient with respect to the input")

    def trace(self, tracer: Any, *values: Any) -> Any:
        """The output values for these input values, as nodes that the tracer adds to a graph (see lamp.graph).

        Raises NotTraceable if the module does not define this method.
        """
        raise NotTraceable(
            f"{type(self).__name__} does not say what it does as a graph",
            expected="a method trace(self, tracer, x) beside forward, written in the tracer's operations",
            got="a class without that method",
            fix="define trace; without it only the eager engine can train this module",
        )

    def backward_parameters(self, *grad_outputs: Any) -> None:
        """`backward` without the gradient with respect to the input, for a module whose input is data."""
        self.backward(*grad_outputs)

    # The three methods without the wrapper that begins a pass. Containers call them: they are within a pass already,
    # and add the child's path to errors themselves.
    _bare_forward: Callable[..., Any] = forward
    _bare_backward: Callable[..., Any] = backward
    _bare_backward_parameters: Callable[..., Any] = backward_parameters
    _has_users_forward: ClassVar[bool] = False  # whether the class's forward is not one of lamp's

    # What a row of modules may do to save memory and time (see lamp.nn.container and lamp.nn.module_row).
    _hands_over: ClassVar[bool] = False  # whether the output is a new tensor, which the module does not remember
    _overwrites: ClassVar[bool] = False  # whether `_forward_over` differs from forward
    _recomputes: ClassVar[bool] = False  # whether the output costs little to compute again, from what it remembers
    _commutes_with_max: ClassVar[bool] = False  # whether it may as well follow a max pool, with the same gradients
    _takes_largest: ClassVar[bool] = False  # whether it is a max pool

    def _forward_over(self, input: Any) -> Any:
        """forward for an input that nobody else needs, and that may be overwritten."""
        return self._bare_forward(input)

    # Calling a module calls its forward. This property is implemented in C, so that the call adds no Python frame.
    __call__: Callable[..., Any] = property(operator.attrgetter("forward"))  # type: ignore[assignment]

    # ---- members -----------------------------------------------------------------------------------------------
    def _members(self, kind: type[Held]) -> Iterator[tuple[str, Held]]:
        """Names and values of the attributes of this type, and of what is inside lists, tuples and dicts."""
        attributes = vars(self)
        if "_registered" in attributes:
            self._wrap_registered(attributes["_registered"])
        for name, value in tuple(attributes.items()):  # other threads may add attributes, as a first forward does
            if type(value) in PLAIN:
                continue
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, NESTED):
                yield from members_within(value, kind, name)

    @called()
    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct submodules with their names."""
        yield from self._members(Module)

    @called()
    def children(self) -> Iterator[Module]:
        """Direct submodules."""
        yield from (child for _, child in self.named_children())

    @called()
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (under the name "") and all below it, each once, with their paths."""
        yield from self._walk(prefix, set())

    def _walk(self, prefix: str, seen: set[int] | None, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths. If `seen` is None, shared modules appear at every path."""
        for module in above:
            if module is self:
                raise ArgumentError(
                    f"{type(self).__name__} contains itself, as {prefix!r} of {type(above[0]).__name__}",
                    expected="modules that form a tree",
                    got="an attribute that leads back to a module that contains it",
                    fix="remove that attribute, and let the outer module pass what is needed as an input of forward",
                )
        if seen is not None:
            if id(self) in seen:
                return
            seen.add(id(self))
        yield prefix, self
        above = (*above, self)
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name, seen, above)

    @called()
    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        yield from (module for _, module in self.named_modules())

    @called()
    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under this name; the same as `self.name = module`."""
        fix = "pass an instance of a lamp module; lamp.from_torch(...) converts a torch.nn.Module"
        self._set_member("add_module", name, module, Module, ArgumentError, fix)

    register_module = add_module

    @called()
    def get_submodule(self, target: str) -> Module:
        """The module at this path, such as "body.0"; "" is this module. Raises MissingNameError if there is none."""
        return of_path(self, dict(self.named_modules()), target, "module")

    def _named(self, kind: type[Held], everywhere: bool) -> Iterator[tuple[str, Held]]:
        """Members of this type in the whole tree, with their paths: each once, or at every path (`everywhere`)."""
        seen: set[int] = set()
        places = self._walk("", None) if everywhere else self.named_modules()
        for path, module in places:
            for name, member in module._members(kind):
                if everywhere or id(member) not in seen:
                    seen.add(id(member))
                    yield (f"{path}.{name}" if path else name), member

    @called()
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters of the tree, each once, with their paths."""
        found = list(self._named(Parameter, everywhere=False))
        flatten(initialized(parameter for _, parameter in found))
        yield from found

    @called()
    def parameters(self) -> Parameters:
        """All parameters of the tree, each once. This moves them into one flat buffer."""
        return Parameters(parameter for _, parameter in self.named_parameters())

    @called()
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers of the tree, each once, with their paths."""
        yield from self._named(Buffer, everywhere=False)

    def _flatten(self) -> None:
        flatten(initialized(parameter for _, parameter in self._named(Parameter, everywhere=False)))

    # ---- changes to the whole tree -------------------------------------------------------------------------------
    @called()
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to zero. `set_to_none` changes nothing: gradients are never None in lamp."""
        for span in spans(self.parameters()):
            if span.buffer.has_gradients:
                span.grad.zero_()

    @called(fix="lamp.fit(model, criterion, optimizer, (inputs, targets), epochs=10) trains")
    def train(self, mode: bool = True) -> Self:
        """Set training mode for this module and all below it: dropout is active, and forward remembers values.

        Raises ArgumentError unless `mode` is True or False.
        """
        a_switch(mode, "mode", "; lamp.fit(model, criterion, optimizer, data, epochs=10) trains")
        for module in self.modules():
            module.training = mode
        return self

    @called(fix="lamp.evaluate(model, criterion, (inputs, targets)) measures; lamp.predict(model, inputs) predicts")
    def eval(self) -> Self:
        """Set evaluation mode for this module and all below it."""
        return self.train(False)

    @called()
    def to(
        self,
        *args: Any,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        non_blocking: bool = False,
    ) -> Self:
        """Move parameters and buffers; returns the module.

        Call it as `to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`, or with keywords. Integer buffers keep
        their dtype. `non_blocking` is torch's, and changes nothing here.
        """
        device, dtype = target_of(args, device, dtype)
        parameters = [parameter for _, parameter in self._named(Parameter, everywhere=False)]
        if device is not None and device.type != "meta" and any(each.data.is_meta for each in parameters):
            raise without_numbers(type(self).__name__)
        move(parameters, dtype, device)
        for _, buffer in self.named_buffers():
            to_dtype = dtype if buffer.data.is_floating_point() else None
            buffer.data = buffer.data.to(device=device, dtype=to_dtype)
        return self

    @called()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Initialise all parameters again, child by child, from this generator or torch's default one."""
        a_generator(generator)
        for child in self.children():
            child.reset_parameters(generator=generator)

    @called()
    def apply(self, function: Callable[[Module], None]) -> Self:
        """Call the function on every module of the tree, children first; returns this module."""
        check_takes("function", a_function(function, "function", "module"), "module")
        list(self.modules())  # raises if a module contains itself
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ---- state ---------------------------------------------------------------------------------------------------
    @called()
    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by path, with torch.nn's keys. These are the live tensors: clone to keep them.

        Raises ArgumentError for two of one path.
        """
        self._flatten()
        state: dict[str, Tensor] = {}
        for path, module in self._walk("", None):
            members: list[tuple[str, Parameter | Buffer]] = [*module._members(Parameter), *module._members(Buffer)]
            for name, member in members:
                key = f"{path}.{name}" if path else name
                if key in state:
                    raise ArgumentError(
                        f"two members of {type(self).__name__} have the path {key!r}",
                        expected="a path of its own for each",
                        got='names such as 1 and "1", or "a.b" beside an "a" that has a "b"',
                        fix="rename a key of a dict, so that the paths differ",
                    )
                state[key] = member.data
        return state

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> IncompatibleKeys:
        """Copy the values of a state dict into the parameters and buffers; returns the missing and unexpected keys.

        Raises StateDictError for missing or unexpected keys, unless `strict` is False, and for shapes that do not fit.
        Everything is checked first, so nothing has changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise StateDictError(
                "a state dict is a mapping from names to tensors",
                expected="what model.state_dict() returned",
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
        """State that a copy needs besides parameters and buffers; in a population, a list of one per replica."""
        return None

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned."""

    def numbers(self) -> list[tuple[str, Tensor]]:
        """Names and values, (K,), of the hyperparameters that have one value per replica."""
        found = [(name, getattr(self, name)) for name in self.hyperparameters]
        return [(name, number) for name, number in found if isinstance(number, Tensor)]

    def __getstate__(self) -> dict[str, Any]:
        of_calls = ("_through", "_watched")  # a copy has had no forward
        return {name: value for name, value in tuple(vars(self).items()) if name not in of_calls}

    # ---- printing ------------------------------------------------------------------------------------------------
    def extra_repr(self) -> str:
        """The constructor arguments, as the repr shows them."""
        return ""

    def __repr__(self) -> str:
        return _tree_of(self)


def members_within(
    value: Any, kind: type[Held] | tuple[type[Held], ...], name: str = "", above: tuple[int, ...] = ()
) -> Iterator[tuple[str, Held]]:
    """The members of this type in a list, tuple or dict and in those inside it, with their paths."""
    pairs, above = value.items() if isinstance(value, dict) else enumerate(value), (*above, id(value))
    for key, item in pairs:
        if type(item) in PLAIN:
            continue
        if isinstance(item, kind):
            yield f"{name}.{key}", item
        elif isinstance(item, NESTED) and id(item) not in above:  # a list may contain itself
            yield from members_within(item, kind, f"{name}.{key}", above)


@recursive_repr("...")
def _tree_of(module: Module) -> str:
    """The module and its children as indented text; a module that contains itself prints as "..."."""
    children = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in module.named_children()]
    extra = module.extra_repr()
    if not children:
        return f"{type(module).__name__}({extra})"
    lines = ([extra] if extra else []) + children
    return f"{type(module).__name__}(\n  " + "\n  ".join(lines) + "\n)"


ModuleMeta.wrappers.update(
    forward=forward_within_a_pass, backward=backward_within_its_pass, backward_parameters=backward_within_its_pass
)
Module._update_methods()
