"""Methods that modules share with torch.nn.Module, and hints for methods of torch and Keras that lamp lacks."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, LampError, MissingNameError, UnwrittenError
from lamp.parameter import Buffer, Parameter, is_trained
from lamp.signatures import called
from lamp.values import a_switch

Member = TypeVar("Member")
Kind = TypeVar("Kind")

INSTEAD = {  # name of a method of torch.nn.Module or a Keras model: what to write in lamp
    "fit": "lamp.fit(model, criterion, optimizer, (inputs, targets), epochs=10)",
    "compile": "lamp.fit takes the criterion, the optimizer and metrics=; lamp.compile(...) makes machine code",
    "predict": "lamp.predict(model, inputs)",
    "predict_proba": "lamp.predict(model, inputs).softmax(1), or lamp.MLPClassifier",
    "score": "lamp.evaluate(model, criterion, (inputs, targets), metrics=[lamp.accuracy])",
    "evaluate": "lamp.evaluate(model, criterion, (inputs, targets))",
    "summary": "lamp.summary(model, x), where x is a batch of inputs or its shape; or print(model)",
    "save": "lamp.save(model, path)",
    "save_weights": "lamp.save(model, path)",
    "load": "lamp.load(model, path), or model.load_state_dict(...)",
    "load_weights": "lamp.load(model, path), or model.load_state_dict(...)",
    "add": "model.append(module)",
    "step": "step is a method of optimizers: lamp.Adam(model.parameters()).step()",
    "trainable_parameters": "[p for p in model.parameters() if p.requires_grad]",
    "trainable": "model.requires_grad_(False) freezes it",
    "layers": "list(model), or model.children()",
    "get_weights": "[p.data for p in model.parameters()], or model.state_dict()",
    "set_weights": "model.load_state_dict(...), or parameter.data = tensor for each of model.parameters()",
    "get_config": "print(module), whose text makes it again; lamp.save keeps the weights",
    **dict.fromkeys(("count_params", "num_parameters", "n_params"), "lamp.summary(model, x).parameters"),
    **dict.fromkeys(("input_shape", "output_shape"), "lamp.summary(model, x), which shows all shapes"),
    **dict.fromkeys(
        ("optimizer", "criterion", "metrics", "history"),
        "kept beside the network: lamp.fit(model, criterion, optimizer, ...)",
    ),
    **dict.fromkeys(("share_memory", "fuse_model"), "nothing: threads may share a network as it is"),
    **dict.fromkeys(("init", "init_weights"), "model.reset_parameters(); lamp.Linear(2, 3, init=...) chooses how"),
    **dict.fromkeys(
        (
            "register_forward_hook",
            "register_forward_pre_hook",
            "register_full_backward_hook",
            "register_full_backward_pre_hook",
            "register_backward_hook",
        ),
        "lamp has no hooks: write a lamp.Module that does this in its forward or backward, and put it into the network",
    ),
}


class Parameters(list[Parameter]):
    """A list of parameters. `next` returns the first one, as in `next(model.parameters()).device`."""

    def __next__(self) -> Parameter:
        return next(iter(self))


class TorchHabits:
    """The less used methods of torch.nn.Module: conversions, freezing, and access to members by name."""

    if TYPE_CHECKING:
        # fmt: off
        def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self: ...
        def parameters(self) -> Parameters: ...
        def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
        def named_buffers(self) -> Iterator[tuple[str, Buffer]]: ...
        # fmt: on

    # ---- conversions -----------------------------------------------------------------------------------------------
    @called()
    def cuda(self, device: torch.device | int | str | None = None) -> Self:
        """Move to a GPU: the current one, or the one of this number."""
        if isinstance(device, int) and not isinstance(device, bool):
            device = f"cuda:{device}"
        return self.to("cuda" if device is None else device)

    @called()
    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    @called()
    def float(self) -> Self:
        """Convert to float32."""
        return self.to(torch.float32)

    @called()
    def double(self) -> Self:
        """Convert to float64."""
        return self.to(torch.float64)

    @called()
    def half(self) -> Self:
        """Convert to float16."""
        return self.to(torch.float16)

    @called()
    def bfloat16(self) -> Self:
        """Convert to bfloat16."""
        return self.to(torch.bfloat16)

    @called()
    def type(self, dst_type: torch.dtype) -> Self:
        """Convert to this dtype."""
        return self.to(dst_type)

    # ---- freezing --------------------------------------------------------------------------------------------------
    @called()
    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters of this module, or (False) freeze them, so that optimizers and clipping skip them."""
        frozen = not is_trained(requires_grad)
        for parameter in self.parameters():
            parameter.freeze(frozen)
        return self

    # ---- members by name -------------------------------------------------------------------------------------------
    @called()
    def buffers(self) -> Iterator[Buffer]:
        """All buffers of the tree, each once."""
        yield from (buffer for _, buffer in self.named_buffers())

    @called()
    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add the tensor to the module's state: `self.name` becomes a Buffer, usable in arithmetic like the tensor.

        If a tensor is assigned to that name later, it becomes the buffer. Raises DTypeError for anything but a tensor,
        and ArgumentError for a name that cannot be used or `persistent=False`.
        """
        if tensor is not None and not isinstance(tensor, Tensor | Buffer):
            raise DTypeError(
                f"register_buffer({name!r}) takes a tensor",
                expected="a torch.Tensor",
                got=type(tensor).__name__,
                fix="convert it with torch.as_tensor(...); a plain number can be an ordinary attribute",
            )
        if not a_switch(persistent, "persistent"):
            raise ArgumentError(
                f"the buffer {name!r} cannot be left out of the state dict: lamp saves every buffer",
                expected="persistent=True",
                got="persistent=False",
                fix="omit persistent=False, or keep the tensor in an ordinary attribute, which `to` does not move",
            )
        self._check_new(name)
        setattr(self, name, tensor if tensor is None or isinstance(tensor, Buffer) else Buffer(tensor))
        vars(self)["_registered"] = (*vars(self).get("_registered", ()), name)

    def _wrap_registered(self, names: tuple[str, ...]) -> None:
        """Turn tensors that have been assigned to these registered names into buffers."""
        for name in names:
            if isinstance(value := vars(self).get(name), Tensor):
                vars(self)[name] = Buffer(value)

    @called()
    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make the parameter an attribute of this name; the same as `self.name = lamp.Parameter(tensor)`."""
        fix = "convert a tensor with lamp.Parameter(tensor)"
        self._set_member("register_parameter", name, param, Parameter, DTypeError, fix)

    def _set_member(
        self, method: str, name: str, member: object, kind: builtins.type, error: Callable[..., LampError], fix: str
    ) -> None:
        """Set an attribute to a member of this type or None. Raises the given error for anything else."""
        if member is not None and not isinstance(member, kind):
            raise error(
                f"{method}({name!r}) takes a {kind.__name__}",
                expected=f"a lamp.{kind.__name__}",
                got=f"{type(member).__module__}.{type(member).__qualname__}",
                fix=fix,
            )
        self._check_new(name)
        setattr(self, name, member)

    @called()
    def get_parameter(self, target: str) -> Parameter:
        """The parameter at this path, such as "0.weight". Raises MissingNameError if there is none."""
        return of_path(self, dict(self.named_parameters()), target, "parameter")

    @called()
    def get_buffer(self, target: str) -> Buffer:
        """The buffer at this path, such as "1.running_mean". Raises MissingNameError if there is none."""
        return of_path(self, dict(self.named_buffers()), target, "buffer")

    def _check_new(self, name: object) -> None:
        """Raise ArgumentError unless this can be the name of a new member."""
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ArgumentError(
                f"a member of {type(self).__name__} cannot have this name",
                expected="a string without dots that is not an attribute of the class",
                got=repr(name),
                fix="choose another name",
            )

    if not TYPE_CHECKING:  # type checkers must go on to report missing attributes

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise missing_attribute(self, name)


def of_path(module: object, members: dict[str, Member], target: str, kind: str) -> Member:
    """The member at this path. Raises MissingNameError, with the paths that there are."""
    if isinstance(target, str) and target in members:
        return members[target]
    raise MissingNameError(
        f"{type(module).__name__} has no {kind} {target!r}",
        expected=", ".join(map(repr, members)) or f"none: it has no {kind}s",
        got=repr(target),
        fix="name one of these",
    )


def missing_attribute(thing: object, name: str, instead: Mapping[str, str] = INSTEAD) -> AttributeError:
    """The error for a missing attribute: names lamp's equivalent of the torch or Keras method, or close matches.

    instead  {name elsewhere: what to write in lamp}
    """
    of: Any = type(thing)
    if name.startswith("_"):
        return AttributeError(f"{of.__name__!r} object has no attribute {name!r}")
    kind, close = of.__name__, _close_names(name, of, tuple(vars(thing)))
    return MissingNameError(
        f"{kind} has no attribute {name!r}",
        expected="an existing attribute" + (f", such as {', '.join(close)}" if close else ""),
        got=name,
        fix=instead.get(name) or (f"did you mean {close[0]}?" if close else f"dir({kind}) lists the attributes"),
    )


def explains_attributes(
    instead: Mapping[str, str] | Callable[[Any], Mapping[str, str]],
) -> Callable[[type[Kind]], type[Kind]]:
    """A decorator of classes, which explains an attribute that they lack. Type checkers go on to report it.

    instead  {name elsewhere: what to write in lamp}, or a function from the object to that
    """

    def decorate(kind: type[Kind]) -> type[Kind]:
        def explain(self: Any, name: str) -> Any:
            raise missing_attribute(self, name, instead if isinstance(instead, Mapping) else instead(self))

        kind.__getattr__ = explain  # type: ignore[attr-defined]
        return kind

    return decorate


def unchangeable(fix: str) -> Callable[[type[Kind]], type[Kind]]:
    """A decorator of frozen dataclasses, which explains that an attribute is set or deleted; `fix` says what to do."""

    def decorate(kind: type[Kind]) -> type[Kind]:
        def explained(method: str) -> Callable[..., None]:
            frozen = getattr(kind, method)

            def change(self: Any, name: str, *value: Any) -> None:
                try:
                    frozen(self, name, *value)
                except FrozenInstanceError:
                    raise ArgumentError(
                        f"a {type(self).__name__} does not change",
                        expected="the attributes that it was made with",
                        got=f"{name} = {' '.join(repr(value[0]).split())}"[:60] if value else f"del {name}",
                        fix=fix,
                    ) from None

            return change

        for method in ("__setattr__", "__delattr__"):
            setattr(kind, method, explained(method))
        return kind

    return decorate


def without_items(thing: object, index: object, instead: str) -> ArgumentError:
    """The error for `thing[index]` of an object that has no items; `instead` says what to write."""
    kind = type(thing).__name__
    return ArgumentError(f"{kind} has no items", expected=f"an attribute or a method of {kind}",
                         got=f"[{index!r}]"[:60], fix=instead)  # fmt: skip


@lru_cache(maxsize=64)  # a search takes half a millisecond, too long where only `hasattr` asks, in a loop
def _close_names(name: str, kind: type, own: tuple[str, ...]) -> list[str]:
    """The attributes of a class, and of one object of it (`own`), whose names are like this one; three at most."""
    known = [each for each in {*dir(kind), *own} if not each.startswith("_")]
    return difflib.get_close_matches(name, known, n=3)


def unwritten(module: object, method: str, returns: str) -> UnwrittenError:
    """The error for a class that lacks a method which every subclass must define."""
    kind = type(module).__name__
    return UnwrittenError(
        f"{kind} defines no {method.split('(')[0]}",
        expected=f"def {method}, which returns {returns}",
        got=f"a class {kind} without it",
        fix="define it: lamp has no automatic differentiation, so a module needs both a forward and a backward",
    )
