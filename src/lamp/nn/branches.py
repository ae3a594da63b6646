"""Containers with branches: `Residual` and `Parallel`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from lamp.axes import standing
from lamp.errors import ArgumentError
from lamp.in_place import check_shared, versions_of
from lamp.nn.arguments import an_axis
from lamp.nn.checks import explain_branches, explain_gradient
from lamp.nn.module_row import ModuleRow
from lamp.values import is_one_of


class Residual(ModuleRow):
    """A residual block: modules in sequence, plus the input.

    y = x + f(x)        f(x) = f_n(... f_2(f_1(x)))

    Shapes    x, f(x) and y: any, the same
    Backward  dx = dy + f'(dy), where f' is the backward of the modules
    Source    He et al. 2016, "Deep residual learning for image recognition", equation 1

    The modules are passed, named and changed as in Sequential.

    Raises ShapeError or DTypeError if f(x) has not the shape and dtype of x (nothing is broadcast), and ArgumentError
    for a loss among the modules, or no modules.
    """

    _hands_over = True

    def forward(self, input: Tensor) -> Tensor:
        before = versions_of(input)
        y = self.forward_through(self._steps, input)
        check_shared(self, "input", input, before)
        if not isinstance(y, Tensor) or y.shape != input.shape or y.dtype is not input.dtype:
            raise explain_branches(self, (input, y), "f(x) in the shape of x")
        last = self._steps[-1]
        return y.add_(input) if last._hands_over and "forward" not in last.__dict__ else input + y

    def backward(self, dy: Tensor) -> Tensor:
        before = versions_of(dy)
        of_modules = self.backward_through(self._steps, dy)
        check_shared(self, "gradient", dy, before)
        return dy + of_modules  # type: ignore[no-any-return]

    def backward_parameters(self, dy: Tensor) -> None:
        self.backward_parameters_through(self._steps, dy)

    def trace(self, tracer: Any, value: Any) -> Any:
        return tracer.add(self, value, self.trace_through(tracer, self._body, value))


class Parallel(ModuleRow):
    """Modules in parallel, applied to the same input; their outputs are summed, or concatenated along an axis.

    y = f_1(x) + ... + f_n(x), or y = concat(f_1(x), ..., f_n(x))

    combine   "sum", for outputs of one shape; or "concat", along the axis `dim`
    dim       the axis, as counted in a single network (also in a population); -1 is the last one
    Backward  dx = f_1'(dy_1) + ... + f_n'(dy_n), where f_k' is the backward of module k, and dy_k is dy for "sum" or
              the k-th part of dy for "concat"
    Source    torch.add and torch.cat

    The modules are passed, named and changed as in Sequential.

    Raises ShapeError or DTypeError for outputs that do not fit together (nothing is broadcast), and ArgumentError for
    an unknown `combine`, a loss among the modules, or no modules.
    """

    def __init__(self, *modules: Any, combine: Literal["sum", "concat"] = "sum", dim: int = -1) -> None:
        self._check(combine)
        self.combine, self.dim = combine, an_axis(self, "dim", dim)
        super().__init__(*modules)

    def _check(self, combine: object) -> None:
        if not is_one_of(combine, "sum", "concat"):
            raise ArgumentError(
                f"{type(self).__name__}: unknown value of combine",
                expected="'sum' or 'concat'",
                got=repr(combine),
                fix="name one of these",
            )

    def forward(self, input: Tensor) -> Tensor:
        outputs, before = [], versions_of(input)
        for module in self._body:
            check_shared(self, "input", input, before)
            outputs.append(module(input))
        return self._sum(outputs) if self.combine == "sum" else self._concat(outputs)

    def _sum(self, outputs: list[Tensor]) -> Tensor:
        y, *others = outputs
        for output in others:
            if not isinstance(output, Tensor) or output.shape != y.shape or output.dtype is not y.dtype:
                raise explain_branches(self, outputs, "outputs of one shape")
            y = y + output
        return y

    def _concat(self, outputs: list[Tensor]) -> Tensor:
        self._check(self.combine)  # the attribute may have been set after construction
        dim = standing(self.dim, self.replicas)
        try:
            y = torch.cat(outputs, dim)
            fits = all(output.dtype is y.dtype and output.dim() == y.dim() for output in outputs)
        except (RuntimeError, IndexError, TypeError):
            fits = False
        if not fits:
            expected = f"outputs with an axis {self.dim}, and the same sizes on all other axes"
            raise explain_branches(self, outputs, expected) from None
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
        # Last to first: a module that appears twice has its two forwards on a stack.
        before = versions_of(dy)
        dx: Tensor = self._body[-1].backward(parts[-1])
        for module, part in zip(self._body[-2::-1], parts[-2::-1], strict=True):
            self._check_gradient(dy, before)
            dx = dx + module.backward(part)
        return dx

    def _check_gradient(self, dy: Tensor, before: int) -> None:
        if self.combine == "sum":  # else each branch has a part of its own
            check_shared(self, "gradient", dy, before)

    def backward_parameters(self, dy: Tensor) -> None:
        parts, before = self._parts(dy), versions_of(dy)
        for module, part in zip(self._body[::-1], parts[::-1], strict=True):
            self._check_gradient(dy, before)
            module.backward_parameters(part)

    def trace(self, tracer: Any, value: Any) -> Any:
        self._check(self.combine)
        outputs = [tracer(module, value) for module in self._body]
        if len(outputs) == 1:
            return outputs[0]
        return tracer.add(self, *outputs) if self.combine == "sum" else tracer.concat(self, *outputs, dim=self.dim)

    def extra_repr(self) -> str:
        return "combine='sum'" if self.combine == "sum" else f"combine='concat', dim={self.dim}"
