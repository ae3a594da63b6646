"""Networks of a user's with attention, and modules that move, repeat and add values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import lamp


class CausalTransformer(lamp.Container):
    """Predicts the next character at each place of a text: (B, T) -> scores (B, characters, T)."""

    def __init__(
        self, characters: int, layers: int, heads: int, width: int, context: int, dropout: float = 0.0, **options: Any
    ) -> None:
        self.what, self.where = lamp.Embedding(characters, width), lamp.Embedding(context, width)
        layer = lamp.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, **options)
        self.layers = lamp.TransformerEncoder(layer, layers, lamp.LayerNorm(width))
        self.score = lamp.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        places = torch.arange(text.shape[-1])
        places = places if self.replicas is None else places.expand(self.replicas, -1)
        mask = lamp.Transformer.generate_square_subsequent_mask(text.shape[-1])
        x = self.what(text) + self.where(places).unsqueeze(-3)
        scores: Tensor = self.score(self.layers(x, mask, None, True))
        return scores.mT

    def backward(self, dy: Tensor) -> None:
        dx = self.layers.backward(self.score.backward(dy.mT))
        self.what.backward(dx)
        self.where.backward(dx.sum(-3))

    def trace(self, tracer: Any, text: Any) -> Any:
        (length,) = text.shape
        where = tracer(self.where, tracer.constant(self, torch.arange(length)))
        mask = lamp.Transformer.generate_square_subsequent_mask(length)
        x = tracer(self.layers, tracer.add(self, tracer(self.what, text), where), mask, None, True)
        return tracer.permute(self, tracer(self.score, x), (1, 0))


class Attended(lamp.Container):
    """Attention of a sequence to itself, with a mask: (B, T, E) -> (B, T, E)."""

    def __init__(self, features: int, heads: int, mask: Tensor | None = None, **options: Any) -> None:
        self.attention, self.given = lamp.MultiheadAttention(features, heads, batch_first=True, **options), mask

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, attn_mask=self.given, need_weights=False)[0]
        return y

    def backward(self, dy: Tensor) -> Tensor:
        dq, dk, dv = self.attention.backward(dy)
        dx: Tensor = dq + dk + dv
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer(self.attention, x, x, x, None, False, self.given)[0]


class Crossed(lamp.Container):
    """Attention of a sequence x to 2 x, or with `turned` to x with its axes exchanged: (B, T, E) -> (B, T, E)."""

    def __init__(self, features: int, heads: int, turned: int | None = None, **options: Any) -> None:
        self.turned = turned
        self.attention = lamp.MultiheadAttention(features, heads, batch_first=True, kdim=turned, vdim=turned, **options)

    def forward(self, x: Tensor) -> Tensor:
        z = 2 * x if self.turned is None else x.mT
        y: Tensor = self.attention(x, z, z, need_weights=False)[0]
        return y

    def backward(self, dy: Tensor) -> Tensor:
        dq, dk, dv = self.attention.backward(dy)
        dx: Tensor = dq + (2 * (dk + dv) if self.turned is None else (dk + dv).mT)
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        z = tracer.add(self, x, x) if self.turned is None else tracer.permute(self, x, (1, 0))
        return tracer(self.attention, x, z, z, None, False, None)[0]


class Products(lamp.Container):
    """x x^T, or x^T x, scaled: (B, T, F) -> (B, T, T) or (B, F, F)."""

    def __init__(self, transposed: bool, scale: float = 1.0) -> None:
        self.transposed, self.scale = transposed, scale

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x)
        return self.scale * (x @ x.mT if self.transposed else x.mT @ x)

    def backward(self, dy: Tensor) -> Tensor:
        x = self.recall()
        return self.scale * ((dy + dy.mT) @ x if self.transposed else x @ (dy + dy.mT))

    def trace(self, tracer: Any, x: Any) -> Any:
        if self.transposed:
            return tracer.matmul(self, x, x, transposed=True, scale=self.scale)
        return tracer.matmul(self, tracer.permute(self, x, (1, 0)), x, scale=self.scale)


class Turned(lamp.Module):
    """The last two axes exchanged."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mT

    def backward(self, dy: Tensor) -> Tensor:
        return dy.mT

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.permute(self, x, (1, 0))


class Picked(lamp.Module):
    """One place of a sequence: (B, T, F) -> (B, F)."""

    def __init__(self, place: int) -> None:
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        self.remember(x.shape)
        return x.select(-2, self.place)

    def backward(self, dy: Tensor) -> Tensor:
        dx = dy.new_zeros(self.recall())
        dx.select(-2, self.place).copy_(dy)
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        return tracer.select(self, x, 1, self.place)


class Repeated(lamp.Module):
    """Each feature n times, and all of them at m places: (B, F) -> (B, m, F, n)."""

    def __init__(self, m: int, n: int) -> None:
        self.m, self.n = m, n

    def forward(self, x: Tensor) -> Tensor:
        return x[..., None, :, None].expand(*x.shape[:-1], self.m, x.shape[-1], self.n)

    def backward(self, dy: Tensor) -> Tensor:
        return dy.sum((-3, -1))

    def trace(self, tracer: Any, x: Any) -> Any:
        (features,) = x.shape
        column = tracer.reshape(self, x, (1, features, 1))
        return tracer.expand(self, column, (self.m, features, self.n))


class Placed(lamp.Module):
    """A learned number for each place and feature, added or multiplied by fixed ones: (B, T, F) -> (B, T, F)."""

    def __init__(self, places: int, features: int) -> None:
        self.weight = lamp.Parameter(torch.linspace(-1, 1, places * features).view(places, features))
        self.fixed = torch.arange(1.0, features + 1)

    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        self.weight.data.uniform_(-1, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.weight.data.unsqueeze(-3)) * self.fixed - self.fixed

    def backward(self, dy: Tensor) -> Tensor:
        dx = dy * self.fixed
        self.weight.grad += dx.sum(-3)
        return dx

    def trace(self, tracer: Any, x: Any) -> Any:
        x = tracer.add(self, x, tracer.constant(self, self.weight))
        fixed = tracer.expand(self, tracer.constant(self, self.fixed), x.shape)
        x = tracer.multiply(self, x, fixed)
        return tracer.add(self, x, tracer.op("Negative", self, [fixed], fixed.shape))
