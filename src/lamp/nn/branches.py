"""Containers in which the input goes several ways."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError
from lamp.nn.arguments import an_axis
from lamp.nn.checks import explain_branches, explain_gradient
from lamp.nn.module_row import ModuleRow


class Residual(ModuleRow):
    """Modules one after another, and the input added to what they make of it.

    y = x + f(x)        f(x) = f_n(... f_2(f_1(x)))

    Shapes    x, f(x) and y: any, the same
    Backward  dx = dy + f'(dy), where f' goes back through the modules
    Source    He et al. 2016, "Deep residual learning for image recognition", equation 1

    The modules are given, named and changed as those of a Sequential.

    Raises ShapeError or DTypeError where f(x) is not as x is: nothing is broadcast; ArgumentError for a loss among the
    modules, or none.
    """

    def forward(self, input: Tensor) -> Tensor:
        y = self.forward_through(self._body, input)
        if not isinstance(y, Tensor) or y.shape != input.shape or y.dtype is not input.dtype:
            raise explain_branches(self, (input, y), "f(x) in the shape of x")
        return input + y

    def backward(self, dy: Tensor) -> Tensor:
        return dy + self.backward_through(self._body, dy)  # type: ignore[no-any-return]

    def backward_parameters(self, dy: Tensor) -> None:
        self.backward_parameters_through(self._body, dy)

    def trace(self, tracer: Any, value: Any) -> Any:
        return tracer.add(self, value, self.trace_through(tracer, self._body, value))


class Parallel(ModuleRow):
    """Modules side by side, all fed the same input; their outputs are added up, or joined along an axis.

    y = f_1(x) + ... + f_n(x), or y = concat(f_1(x), ..., f_n(x))

    combine   "sum", of outputs of one shape; or "concat", along the axis `dim`
    dim       the axis, as a single network numbers it; -1 is the last one
    Backward  dx = f_1'(dy_1) + ... + f_n'(dy_n), where dy_k is dy for "sum", and its k-th part for "concat"
    Source    torch.add and torch.cat

    The modules are given, named and changed as those of a Sequential.

    Raises ShapeError or DTypeError for outputs that do not fit together: nothing is broadcast; ArgumentError for
    another `combine`, a loss among the modules, or none.
    """

    def __init__(self, *modules: Any, combine: Literal["sum", "concat"] = "sum", dim: int = -1) -> None:
        self._check(combine)
        self.combine, self.dim = combine, an_axis(self, "dim", dim)
        super().__init__(*modules)

    def _check(self, combine: object) -> None:
        if combine not in ("sum", "concat"):
            raise ArgumentError(
                f"{type(self).__name__} does not know this combine",
                expected="'sum' or 'concat'",
                got=repr(combine),
                fix="name one of these",
            )

    def forward(self, input: Tensor) -> Tensor:
        outputs = [module(input) for module in self._body]
        return self._sum(outputs) if self.combine == "sum" else self._joined(outputs)

    def _sum(self, outputs: list[Tensor]) -> Tensor:
        y, *others = outputs
        for output in others:
            if not isinstance(output, Tensor) or output.shape != y.shape or output.dtype is not y.dtype:
                raise explain_branches(self, outputs, "all of one shape")
            y = y + output
        return y

    def _joined(self, outputs: list[Tensor]) -> Tensor:
        self._check(self.combine)  # it may have been set since
        dim = standing(self.dim, self.replicas)
        try:
            y = torch.cat(outputs, dim)
            fits = all(output.dtype is y.dtype and output.dim() == y.dim() for output in outputs)
        except (RuntimeError, IndexError, TypeError):
            fits = False
        if not fits:
            raise explain_branches(self, outputs, f"an axis {self.dim}, and the same sizes on all others") from None
        self.remember((y.shape, dim, [output.shape[dim] for output in outputs]))
        return y

    def _parts(self, dy: Tensor) -> list[Tensor]:
        """The gradient of each module's output."""
        if self.combine == "sum":
            return [dy] * len(self._body)
        shape, dim, sizes = self.recall()
        if not isinstance(dy, Tensor) or dy.shape != shape:
            raise explain_gradient(dy, shape)
        return list(dy.split(sizes, dim))

    def backward(self, dy: Tensor) -> Tensor:
        parts = self._parts(dy)
        dx: Tensor = self._body[-1].backward(parts[-1])  # last to first: one that stands twice has its calls in a stack
        for module, part in zip(self._body[-2::-1], parts[-2::-1], strict=True):
            dx = dx + module.backward(part)
        return dx

    def backward_parameters(self, dy: Tensor) -> None:
        parts = self._parts(dy)
        for module, part in zip(self._body[::-1], parts[::-1], strict=True):
            module.backward_parameters(part)

    def trace(self, tracer: Any, value: Any) -> Any:
        self._check(self.combine)
        outputs = [tracer(module, value) for module in self._body]
        if len(outputs) == 1:
            return outputs[0]
        return tracer.add(self, *outputs) if self.combine == "sum" else tracer.concat(self, *outputs, dim=self.dim)

    def extra_repr(self) -> str:
        return "combine='sum'" if self.combine == "sum" else f"combine='concat', dim={self.dim}"
