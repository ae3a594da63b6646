"""What a check of gradients found, as a table to read and as numbers to use."""

from __future__ import annotations

from dataclasses import dataclass, field

from lamp.errors import GradientError


@dataclass(frozen=True)
class TensorCheck:
    """How the gradient of one input or parameter compares, along the direction where it compares worst."""

    name: str  # "input 0", or the parameter's path, such as "2.weight"
    shape: tuple[int, ...]
    analytic: float  # <gradient of backward, direction>
    numeric: float  # the same, from differences of forward
    error: float  # how far they are apart, relative to the gradient; 0 where all of it is rounding
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found: true where all is right; `print(report)` shows it as a table."""

    module: str
    tensors: list[TensorCheck]
    problems: list[str] = field(default_factory=list)  # what is wrong beyond the numbers of one tensor
    suspects: list[str] = field(default_factory=list)  # the modules inside that are wrong on their own

    @property
    def ok(self) -> bool:
        """Whether every gradient is right and nothing else is wrong."""
        return not self.problems and all(tensor.ok for tensor in self.tensors)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def worst(self) -> TensorCheck | None:
        """The tensor whose gradient is furthest off, wrong ones first; None where no tensor was compared."""
        return max(self.tensors, key=lambda tensor: (not tensor.ok, tensor.error), default=None)

    def raise_if_wrong(self) -> None:
        """Raise GradientError, with the table, unless all is right."""
        if self.ok:
            return
        wrong = sum(not tensor.ok for tensor in self.tensors)
        raise GradientError(
            f"the backward of {self.module} does not go with its forward",
            expected="the derivative of forward, added to grad",
            got="\n    ".join([f"{wrong} of {len(self.tensors)} gradients wrong", *str(self).splitlines()[1:]]),
            fix=f"begin with {', '.join(self.suspects) or self.module}",
        )

    def __str__(self) -> str:
        rows = [("", "shape", "analytic", "numeric", "error", "")] if self.tensors else []
        for tensor in self.tensors:
            numbers = (f"{tensor.analytic:.6e}", f"{tensor.numeric:.6e}", f"{tensor.error:.1e}")
            verdict = "ok" if tensor.ok else "WRONG"
            rows.append(
                (tensor.name, str(tensor.shape), *numbers, f"{verdict}: {tensor.note}" if tensor.note else verdict)
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"gradients of {self.module}: {'ok' if self.ok else 'WRONG'}"]
        for row in rows:
            cells = [
                cell.ljust(width) if k < 2 else cell.rjust(width) for k, (cell, width) in enumerate(zip(row, widths))
            ]
            lines.append("  ".join([*cells[:-1], row[-1]]).rstrip())
        lines += [f"WRONG: {problem}" for problem in self.problems]
        lines += [f"wrong on its own: {suspect}" for suspect in self.suspects]
        return "\n".join(lines)
