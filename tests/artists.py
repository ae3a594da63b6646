"""What the tests of figures look up on axes, and the points that they draw."""

import math

import torch


def by_label(ax, label):
    """The one line whose label begins with this text."""
    (line,) = [line for line in ax.lines if line.get_label().startswith(label)]
    return line


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def disk_data(n, seed=0):
    x = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed))
    return x, ((x - 0.5).square().sum(1) < 1 / (2 * math.pi)).long()


X, Y = disk_data(30)
