"""The networks of examples/ that are classes of their own, in torch.nn: the same modules under the same names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CharacterGPT(nn.Module):
    """The network of examples/character_gpt.py, like that one in sizes."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        (characters, width), (context, _) = like.what.weight.shape, like.where.weight.shape
        attention = like.layers.layers[0].self_attn
        self.what, self.where = nn.Embedding(characters, width), nn.Embedding(context, width)
        layer = nn.TransformerEncoderLayer(width, attention.num_heads, 4 * width, 0.0, "gelu", norm_first=True)
        norm, count = nn.LayerNorm(width), len(like.layers.layers)
        self.layers = nn.TransformerEncoder(layer, count, norm, enable_nested_tensor=False)
        self.score = nn.Linear(width, characters)

    def forward(self, text: Tensor) -> Tensor:
        text = text.T
        x = self.what(text) + self.where(torch.arange(len(text))).unsqueeze(1)
        mask = nn.Transformer.generate_square_subsequent_mask(len(text))
        scores: Tensor = self.score(self.layers(x, mask, is_causal=True))
        return scores.permute(1, 2, 0)


class CharacterLSTM(nn.Module):
    """The network of examples/character_lstm.py, like that one in sizes."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        characters, width = like.embedding.weight.shape
        self.embedding = nn.Embedding(characters, width)
        self.lstm = nn.LSTM(width, width, like.lstm.num_layers, batch_first=True)
        self.score = nn.Linear(width, characters)

    def forward(self, text: Tensor) -> tuple[Tensor, Any]:
        y, state = self.lstm(self.embedding(text))
        return self.score(y).transpose(1, 2), state
