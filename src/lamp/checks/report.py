"""`GradientReport`, the result of `check_gradients`, as numbers and as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from lamp.errors import GradientError
from lamp.signatures import called


@dataclass(frozen=True)
class TensorCheck:
    """The comparison for one input or parameter, along the direction with the largest error."""

    name: str  # "input 0", or the parameter's path, such as "2.weight"
    shape: tuple[int, ...]
    analytic: float  # <gradient of backward, direction>
    numeric: float  # the same, from differences of forward
    error: float  # their difference, relative to the gradient; 0 if it is all rounding
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class GradientReport:
    """The result of `check_gradients`. It is true if all gradients are right, and prints as a table."""

    module: str
    tensors: list[TensorCheck]
    problems: list[str] = field(default_factory=list)  # faults that are not in the values of one gradient
    suspects: list[str] = field(default_factory=list)  # the modules inside that are wrong when checked alone

    @property
    def ok(self) -> bool:
        """Whether every gradient is right and nothing else is wrong."""
        return not self.problems and all(tensor.ok for tensor in self.tensors)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def worst(self) -> TensorCheck | None:
        """The tensor with the largest error, wrong ones first; None if no tensor was compared."""
        return max(self.tensors, key=lambda tensor: (not tensor.ok, tensor.error), default=None)

    @called()
    def raise_if_wrong(self) -> None:
        """Raise GradientError, with the table, unless all is right."""
        if self.ok:
            return
        wrong = sum(not tensor.ok for tensor in self.tensors)
        raise GradientError(
            f"the backward of {self.module} does not fit its forward",
            expected="the derivative of forward, added to grad",
            got="\n    ".join([f"{wrong} of {len(self.tensors)} gradients wrong", *str(self).splitlines()[1:]]),
            fix=f"begin with {', '.join(self.suspects) or self.module}",
        )

    def __str__(self) -> str:
        lines = [f"gradients of {self.module}: {'ok' if self.ok else 'WRONG'}"]
        if self.tensors:
            name = max(len(tensor.name) for tensor in self.tensors)
            shape = max(len("shape"), *(len(str(tensor.shape)) for tensor in self.tensors))
            lines.append(f"{'':{name}}  {'shape':{shape}}  {'analytic':>13}  {'numeric':>13}    error")
        for tensor in self.tensors:
            verdict = ("ok" if tensor.ok else "WRONG") + (f": {tensor.note}" if tensor.note else "")
            numbers = f"{tensor.analytic:13.6e}  {tensor.numeric:13.6e}  {tensor.error:7.1e}"
            lines.append(f"{tensor.name:{name}}  {tensor.shape!s:{shape}}  {numbers}  {verdict}")
        lines += [f"WRONG: {problem}" for problem in self.problems]
        lines += [f"wrong on its own: {suspect}" for suspect in self.suspects]
        return "\n".join(lines)
