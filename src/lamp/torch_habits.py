"""Methods that a module has because torch.nn's have them, and what it says of others of torch and Keras."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DTypeError, LampError, MissingNameError, UnwrittenError
from lamp.parameter import Buffer, Parameter, is_trained

Member = TypeVar("Member")

INSTEAD = {  # a method of torch.nn.Module or of a Keras model: what does it here
    "fit": "lamp.fit(model, criterion, optimizer, (inputs, targets), epochs=10)",
    "compile": "lamp.fit takes the criterion, the optimizer and metrics=; lamp.compile(...) makes machine code",
    "predict": "lamp.predict(model, inputs)",
    "predict_proba": "lamp.predict(model, inputs), then softmax(1) of what it returns; or lamp.MLPClassifier",
    "score": "lamp.evaluate(model, criterion, (inputs, targets), metrics=[lamp.accuracy])",
    "evaluate": "lamp.evaluate(model, criterion, (inputs, targets))",
    "summary": "print(model), and sum(p.numel() for p in model.parameters())",
    "save": "lamp.save(model, path)",
    "save_weights": "lamp.save(model, path)",
    "load": "lamp.load(path), or model.load_state_dict(...)",
    "load_weights": "lamp.load(path), or model.load_state_dict(...)",
    "add": "model.append(module)",
    "step": "an optimizer's: lamp.Adam(model.parameters()).step()",
    "trainable_parameters": "[p for p in model.parameters() if p.requires_grad]",
    "trainable": "model.requires_grad_(False) freezes it",
    "layers": "list(model), or model.children()",
    **dict.fromkeys(
        (
            "register_forward_hook",
            "register_forward_pre_hook",
            "register_full_backward_hook",
            "register_full_backward_pre_hook",
            "register_backward_hook",
        ),
        "lamp has no hooks: write a lamp.Module whose forward or backward does it, and put it into the network",
    ),
}


class TorchHabits:
    """What torch.nn.Module has besides: moves, freezing, and members by name."""

    if TYPE_CHECKING:
        # fmt: off
        def to(self, *args: Any, device: Any = None, dtype: Any = None) -> Self: ...
        def parameters(self) -> list[Parameter]: ...
        def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
        def named_buffers(self) -> Iterator[tuple[str, Buffer]]: ...
        # fmt: on

    # ---- moves -----------------------------------------------------------------------------------------------------
    def cuda(self, device: torch.device | int | str | None = None) -> Self:
        """To a GPU: the first, or the one of this number."""
        return self.to(torch.device("cuda", device) if isinstance(device, int) else device or "cuda")

    def cpu(self) -> Self:
        """To the CPU."""
        return self.to("cpu")

    def float(self) -> Self:
        """To float32."""
        return self.to(torch.float32)

    def double(self) -> Self:
        """To float64."""
        return self.to(torch.float64)

    def half(self) -> Self:
        """To float16."""
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        """To bfloat16."""
        return self.to(torch.bfloat16)

    def type(self, dst_type: torch.dtype) -> Self:
        """To this dtype."""
        return self.to(dst_type)

    # ---- freezing --------------------------------------------------------------------------------------------------
    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train the parameters here and below, or (False) freeze them: optimizers and clipping pass those over."""
        frozen = not is_trained(requires_grad)
        for parameter in self.parameters():
            parameter.freeze(frozen)
        return self

    # ---- members by name -------------------------------------------------------------------------------------------
    def buffers(self) -> Iterator[Buffer]:
        """All buffers of the tree, each once."""
        yield from (buffer for _, buffer in self.named_buffers())

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Make the tensor part of the module's state, as `self.name`, which stands for it in arithmetic.

        A tensor that is assigned to the name later takes its place.
        """
        if tensor is not None and not isinstance(tensor, Tensor | Buffer):
            raise DTypeError(
                f"register_buffer({name!r}) takes a tensor",
                expected="a torch.Tensor",
                got=type(tensor).__name__,
                fix="torch.as_tensor(...) makes one; a number can be an attribute like any other",
            )
        if not persistent:
            raise ArgumentError(
                f"the buffer {name!r} is not to be saved, and lamp saves every buffer",
                expected="persistent=True",
                got="persistent=False",
                fix="leave it out, or keep the tensor in a plain attribute, which `to` does not move",
            )
        self._check_new(name)
        setattr(self, name, tensor if tensor is None or isinstance(tensor, Buffer) else Buffer(tensor))
        vars(self)["_registered"] = (*vars(self).get("_registered", ()), name)

    def _wrap_registered(self, names: tuple[str, ...]) -> None:
        """Make buffers of the tensors that were assigned to these names since."""
        for name in names:
            if isinstance(value := vars(self).get(name), Tensor):
                vars(self)[name] = Buffer(value)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Make the parameter an attribute of this name: `self.name = lamp.Parameter(tensor)` does the same."""
        fix = "lamp.Parameter(tensor) makes one of a tensor"
        self._set_member("register_parameter", name, param, Parameter, DTypeError, fix)

    def _set_member(
        self, method: str, name: str, member: object, kind: builtins.type, error: Callable[..., LampError], fix: str
    ) -> None:
        """Make a member of this kind, or None, an attribute. Raises this error for anything else."""
        if member is not None and not isinstance(member, kind):
            raise error(
                f"{method}({name!r}) takes a {kind.__name__}",
                expected=f"a lamp.{kind.__name__}",
                got=f"{type(member).__module__}.{type(member).__qualname__}",
                fix=fix,
            )
        self._check_new(name)
        setattr(self, name, member)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of this path, such as "0.weight"."""
        return of_path(self, dict(self.named_parameters()), target, "parameter")

    def get_buffer(self, target: str) -> Buffer:
        """The buffer of this path."""
        return of_path(self, dict(self.named_buffers()), target, "buffer")

    def _check_new(self, name: object) -> None:
        """Raise ArgumentError for what cannot name a member, or names a method."""
        if not isinstance(name, str) or not name or "." in name or hasattr(type(self), name):
            raise ArgumentError(
                f"this cannot name a member of {type(self).__name__}",
                expected="a string without dots that is no attribute of the class",
                got=repr(name),
                fix="choose another name",
            )

    if not TYPE_CHECKING:  # a type checker shall still say that it is not there

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise missing_attribute(self, name)


def of_path(module: object, members: dict[str, Member], target: str, kind: str) -> Member:
    if target in members:
        return members[target]
    raise MissingNameError(
        f"{type(module).__name__} has no {kind} {target!r}",
        expected=", ".join(map(repr, members)) or f"none: it has no {kind}s",
        got=repr(target),
        fix="name one of these",
    )


def missing_attribute(module: object, name: str) -> MissingNameError:
    """The error for an attribute that a module has not: what does in lamp what torch or Keras would, or close names."""
    kind = type(module).__name__
    known = [each for each in {*dir(type(module)), *vars(module)} if not each.startswith("_")]
    close = difflib.get_close_matches(name, known, n=3)
    return MissingNameError(
        f"{kind} has no attribute {name!r}",
        expected="an attribute that it has" + (f", such as {', '.join(close)}" if close else ""),
        got=name,
        fix=INSTEAD.get(name) or (f"did you mean {close[0]}?" if close else f"dir({kind}) lists what it has"),
    )


def unwritten(module: object, method: str, returns: str) -> UnwrittenError:
    """The error for a class that does not define a method which its base leaves to it."""
    kind = type(module).__name__
    return UnwrittenError(
        f"{kind} defines no {method.split('(')[0]}",
        expected=f"def {method}, which returns {returns}",
        got=f"a class {kind} without it",
        fix="write it: lamp takes no derivatives by itself, and a module of your own says both ways what it computes",
    )
