"""Modules of lamp as torch.nn modules, for `to_torch`, because torch.nn does not have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor


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


class PiecewiseLinearEncoding(torch.nn.Module):
    """The input, followed by the share of each bin that lies below it; `bins` is the number of bins of each feature."""

    lower: Tensor
    upper: Tensor

    def __init__(self, edges: Sequence[Tensor]) -> None:
        super().__init__()
        self.bins = [max(len(each) - 1, 0) for each in edges]
        nothing = torch.zeros(0)
        self.register_buffer("lower", torch.cat([nothing, *(each[:-1] for each in edges)]))
        self.register_buffer("upper", torch.cat([nothing, *(each[1:] for each in edges)]))

    @property
    def edges(self) -> list[Tensor]:
        """The edges of each feature, (bins + 1)."""
        parts = zip(self.lower.split(self.bins), self.upper.split(self.bins), strict=True)
        return [torch.cat([lower, upper[-1:]]) for lower, upper in parts]

    def forward(self, input: Any) -> Any:
        features = torch.arange(len(self.bins)).repeat_interleave(torch.tensor(self.bins))
        shares = (input[..., features.to(input.device)] - self.lower) / (self.upper - self.lower)
        return torch.cat([input, torch.nn.functional.hardtanh(shares, 0.0, 1.0)], -1)

    def extra_repr(self) -> str:
        return f"in_features={len(self.bins)}, bins={sum(self.bins)}"
