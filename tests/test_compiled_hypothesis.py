"""Both engines give the same results for networks, data and populations of any size."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lamp
from tests.cases.compiled import WIDTHS, both, vectors

ACTIVATIONS = [lamp.Tanh, lamp.ReLU, lamp.SELU, lamp.GELU, lamp.Hardswish, lamp.PReLU, lamp.Softplus, lamp.Identity]
WIDTH = st.integers(1, 9)
SETTINGS = settings(max_examples=25, derandomize=True, deadline=None)


def build(widths, activations, bias, rate, dtype):
    layers: list[lamp.Module] = []
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        if k:
            layers.append(activations[k - 1]())
        if k == 1 and rate:
            layers.append(lamp.Dropout(rate))
        layers.append(lamp.Linear(inputs, outputs, bias=bias))
    return lamp.Sequential(*layers).to(dtype)


@SETTINGS
@given(
    widths=st.lists(WIDTH, min_size=2, max_size=5),
    activations=st.lists(st.sampled_from(ACTIVATIONS), min_size=3, max_size=3),
    bias=st.booleans(),
    rate=st.sampled_from([0.0, 0.4]),
    samples=st.integers(1, 45),
    batch=st.integers(1, 20),
    count=st.one_of(st.none(), st.integers(1, 20)),
    per_replica_order=st.booleans(),
    labels=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    adam=st.booleans(),
    drop_last=st.booleans(),
    bits=st.sampled_from(WIDTHS),
)
def test_any_sizes(
    widths, activations, bias, rate, samples, batch, count, per_replica_order, labels, dtype, adam, drop_last, bits
):
    generator = torch.Generator().manual_seed(len(widths) + 7 * samples)
    x = torch.randn(samples, widths[0], generator=generator, dtype=torch.float64).to(dtype)
    numbers = torch.rand(samples, widths[-1], generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randint(0, widths[-1], (samples,), generator=generator) if labels else numbers
    seed = list(range(count)) if count and per_replica_order else 1
    momentum = 0.5 if dtype is torch.float64 else 0.0
    make = (
        (lambda parameters: lamp.Adam(parameters, lr=0.01, eps=1e-3))
        if adam
        else (lambda parameters: lamp.SGD(parameters, lr=0.02, momentum=momentum))
    )
    with vectors(bits):
        both(
            lambda: build(widths, activations, bias, rate, dtype),
            lamp.CrossEntropyLoss if labels else lamp.MSELoss,
            make,
            lambda: lamp.DataLoader((x, y), batch, True, seed=seed, drop_last=drop_last and samples >= batch),
            count=count,
            epochs=3,
            tolerance=1e-10 if dtype is torch.float64 else 2e-4 if adam else 2e-5,
            metrics={"mean": lambda output, target: output.mean()},
        )
