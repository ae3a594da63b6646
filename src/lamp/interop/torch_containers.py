"""lamp's containers as torch.nn modules, for `to_torch`, because torch.nn does not have them."""

from __future__ import annotations

from typing import Any, Literal

import torch


class SequentialWithLoss(torch.nn.Sequential):
    """A torch.nn.Sequential that ends in its loss. It returns (output, loss) for (x, target), and the output for x.

    Its gradients are torch.autograd's: `output, loss = network(x, target)`, then `loss.backward()`.
    """

    def forward(self, input: Any, *target: Any) -> Any:
        *body, loss = self
        output = input
        for module in body:
            output = module(output)
        return (output, loss(output, *target)) if target else output


class Residual(torch.nn.Sequential):
    """Modules in sequence, plus the input: y = x + f(x)."""

    def forward(self, input: Any) -> Any:
        return input + super().forward(input)  # type: ignore[no-untyped-call]


class Parallel(torch.nn.Sequential):
    """Modules in parallel, with the same input; their outputs are summed, or concatenated along an axis."""

    def __init__(self, *modules: Any, combine: Literal["sum", "concat"] = "sum", dim: int = -1) -> None:
        super().__init__(*modules)
        self.combine: Literal["sum", "concat"] = combine
        self.dim = dim

    def forward(self, input: Any) -> Any:
        outputs = [module(input) for module in self]
        return sum(outputs[1:], outputs[0]) if self.combine == "sum" else torch.cat(outputs, self.dim)

    def extra_repr(self) -> str:
        return "combine='sum'" if self.combine == "sum" else f"combine='concat', dim={self.dim}"
