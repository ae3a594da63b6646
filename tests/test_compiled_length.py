"""Kernels are short, because a line of their code takes as long to compile as a thousand steps of a tiny network."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import lamp
from lamp.compiler import tiling
from tests.cases.compiled import lanes
from tests.test_compiled_branches import same

pytestmark = pytest.mark.compiled


def lines(widths, activation, batch, population=None):
    layers = [module for pair in pairwise(widths) for module in (lamp.Linear(*pair), activation())]
    model = lamp.Sequential(*layers[:-1])
    if population is not None:
        model = lamp.population(model, range(population))
    optimizer = lamp.Adam(model.parameters())
    return len(lamp.compile(model, lamp.MSELoss(), optimizer, batch).llvm_ir.splitlines())


@pytest.mark.parametrize("population", [None, 17])
def test_columns_that_do_not_divide_into_blocks_make_no_second_copy_of_the_code(population):
    width = lanes(torch.float32) if population is None else 1
    even, odd = (lines((5, 19, 11, 3), lamp.Tanh, columns * width, population) for columns in (12, 13))
    assert odd < 1.2 * even


def test_layers_with_little_of_the_work_have_short_code(monkeypatch):
    widths = (27, 19, 19, 57, 2, 200, 30, 1)
    batch = 2 * lanes(torch.float32)  # two columns, so that 16 registers, too, hold tiles of several rows
    short = lines(widths, lamp.Tanh, batch)
    monkeypatch.setattr(tiling, "LIGHT", 0.0)
    assert short < 0.95 * lines(widths, lamp.Tanh, batch)


@pytest.mark.parametrize("light", [0.0, 1.0])
@pytest.mark.parametrize("count", [None, 17])
def test_short_code_computes_the_same(monkeypatch, light, count):
    monkeypatch.setenv("LAMP_CACHE_DIR", "off")
    monkeypatch.setattr(tiling, "LIGHT", light)
    lamp.compiler.kernel.forget()

    def network():
        torch.manual_seed(0)
        layers = [lamp.Linear(7, 13), lamp.GELU(), lamp.Linear(13, 11), lamp.Tanh(), lamp.Linear(11, 5)]
        return lamp.Sequential(*layers).double()

    same(network, count, batch=29, samples=100)
    lamp.compiler.kernel.forget()


def test_which_layers_are_light():
    model = lamp.Sequential(lamp.Linear(2, 25), lamp.Linear(25, 25), lamp.Linear(25, 25), lamp.Linear(25, 2))
    passes = lamp.compile(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), 32).passes
    assert "layers 0, 3 in short code" in passes
