"""The summary of a network: layers, shapes, parameters, multiplications, and whether it compiles."""

import pytest
import torch

import lamp
from lamp.tabular import Table
from tests.cases.graphs import Residual


def network():
    return lamp.Sequential(
        lamp.Flatten(),
        lamp.Linear(12, 8),
        lamp.ReLU(),
        lamp.Dropout(0.2),
        lamp.Linear(8, 8, bias=False),
        lamp.Tanh(),
        lamp.Linear(8, 3),
    )


def test_layers_shapes_and_counts():
    found = lamp.summary(network(), torch.zeros(5, 3, 4))
    assert found.table().rows == [
        ["0", "Flatten(1, -1)", "(B, 12)", "", ""],
        ["1", "Linear(12, 8)", "(B, 8)", "104", "96"],
        ["2", "ReLU", "(B, 8)", "", ""],
        ["3", "Dropout(0.2)", "(B, 8)", "", ""],
        ["4", "Linear(8, 8, False)", "(B, 8)", "64", "64"],
        ["5", "Tanh", "(B, 8)", "", ""],
        ["6", "Linear(8, 3)", "(B, 3)", "27", "24"],
    ]
    assert (found.parameters, found.multiplications, found.compiled, found.reason) == (195, 184, True, None)
    assert str(lamp.summary(network(), (5, 3, 4))) == str(found)


def test_shared_and_frozen_parameters():
    layer = lamp.Linear(4, 4)
    model = lamp.Sequential(layer, lamp.ReLU(), layer, lamp.Linear(4, 2))
    layer.requires_grad_(False)
    found = lamp.summary(model)
    assert [row[3] for row in found.table().rows] == ["20", "", "shared", "10"]
    assert (found.parameters, found.trained) == (30, 10)
    assert "30 parameters (20 frozen)" in str(found)


def test_a_population_is_summed_up_as_one_of_its_networks():
    found = lamp.summary(lamp.population(lamp.Linear(4, 2), range(3)), (9, 4))
    assert found.parameters == 10
    assert "each of 3 replicas" in str(found)


def test_what_does_not_compile_is_told():
    found = lamp.summary(lamp.Sequential(Residual(lamp.Linear(4, 4))), (2, 4))
    if not found.compiled:  # until branches compile
        assert "Residual" in found.reason
    assert [row[1] for row in found.table().rows] == ["Linear(4, 4)", "+"]


def test_what_cannot_be_traced_is_listed_without_shapes():
    class Square(lamp.Module):
        def forward(self, x):
            self.remember(x)
            return x * x

        def backward(self, dy):
            return 2 * self.recall() * dy

    found = lamp.summary(lamp.Sequential(lamp.Linear(4, 3), Square()))
    assert found.graph is None
    assert found.multiplications is None
    assert "Sequential.1: Square(): Square does not say what it does as a graph" in found.reason
    assert [row[:4] for row in found.table().rows] == [["0", "Linear(4, 3)", "?", "15"], ["1", "Square()", "?", ""]]
    assert "compiled engine: no, not traced: Sequential.1" in str(found)


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_a_terminal(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    deep = lamp.Sequential(*[Residual(network()[4:6]) for _ in range(3)], network()[6])
    text = str(lamp.summary(deep, (2, 8)))
    assert max(map(len, text.splitlines())) <= width
    assert "2.body.4" in text


def test_a_notebook_shows_it():
    html = lamp.summary(lamp.Linear(4, 2))._repr_html_()
    assert html.count("<tr>") == 2
    assert "Linear(4, 2)" in html


def test_mistakes_are_told():
    with pytest.raises(lamp.ArgumentError, match="lamp module"):
        lamp.summary([1])
    with pytest.raises(lamp.ArgumentError, match="nothing tells the shape"):
        lamp.summary(lamp.ReLU())
    with pytest.raises(lamp.ShapeError, match=r"\(B\.\.\., 4\)"):
        lamp.summary(lamp.Linear(4, 2), (2, 5))


class TestTable:
    def test_columns_that_do_not_fit_go_on_below(self):
        names = ["epoch", *(f"measure {k}" for k in range(9))]
        table = Table("head", names, [[str(k) * 6 for k in range(10)]] * 2, footer="foot")
        text = table.text(60)
        assert max(map(len, text.splitlines())) <= 60
        assert text.count("epoch") == 3
        assert all(name in text for name in names)
        assert text.startswith("head\n")
        assert text.endswith("\nfoot")

    def test_markup_is_text(self):
        table = Table("", ["[red]a"], [["[bold]x[/bold] <b>"]])
        assert "[bold]x[/bold] <b>" in str(table)
        assert "[bold]x[/bold] &lt;b&gt;" in table._repr_html_()
