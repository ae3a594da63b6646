"""Sweeps as coloured cells."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

from lamp import plots
from lamp.errors import ArgumentError, ShapeError
from lamp.plots import STYLE

NAN = math.nan


class TestHeatMap:
    table = torch.tensor([[1.0, 5.0, 2.0], [NAN, 4.0, 0.5]])

    def frame(self, ax):
        (frame,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        return frame.get_xy()

    def test_cells_labels_and_the_best_one(self):
        ax = plots.heat_map(
            self.table,
            [0.1, 0.01, 0.001],
            ["SGD", "Adam"],
            xlabel="lr",
            ylabel="optimizer",
            label="accuracy",
            title="A sweep",
        )
        (image,) = ax.images
        assert np.array_equal(image.get_array().filled(NAN), self.table.double().numpy(), equal_nan=True)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["0.1", "0.01", "0.001"]
        assert [text.get_text() for text in ax.get_yticklabels()] == ["SGD", "Adam"]
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "optimizer")
        assert ax.child_axes[0].get_ylabel() == "accuracy"
        assert self.frame(ax) == (0.5, -0.5)
        assert ax.get_title() == "A sweep\nbest 5: lr 0.01, optimizer SGD"
        assert image.cmap(image.norm(5.0)) == image.cmap(1.0)

    def test_the_lowest_may_be_best_and_is_then_the_brightest(self):
        ax = plots.heat_map(self.table, [1, 2, 3], [1, 2], best="min")
        assert self.frame(ax) == (1.5, 0.5)
        assert ax.get_title() == "best 0.5: 3, 2"
        highest = plots.heat_map(self.table, [1, 2, 3], [1, 2]).images[0]
        assert ax.images[0].to_rgba(0.5) == highest.to_rgba(5.0)

    def test_a_heat_map_without_a_marked_best(self):
        ax = plots.heat_map(self.table, [1, 2, 3], [1, 2], best=None)
        assert not ax.patches
        assert ax.get_title() == ""

    def test_numbers_stand_in_the_cells_and_can_be_read(self):
        ax = plots.heat_map(self.table, [1, 2, 3], [1, 2])
        at = {text.get_position(): text for text in ax.texts}
        assert at[1, 0].get_text() == "5"
        assert at[0, 1].get_text() == "n/a"
        assert at[2, 1].get_color() == "#FFFFFF"  # on the darkest cell
        assert at[1, 0].get_color() == STYLE["ink"]  # on the brightest

    def test_large_tables_have_fewer_words(self):
        ax = plots.heat_map(torch.rand(40, 30), torch.rand(30), torch.rand(40))
        assert not ax.texts
        assert len(ax.get_xticks()) <= 12
        assert len(ax.get_yticks()) <= 20

    def test_long_names_are_slanted(self):
        flat = plots.heat_map(self.table, ["a", "b", "c"], [1, 2])
        slanted = plots.heat_map(self.table, ["a" * 20, "b", "c"], [1, 2])
        assert [label.get_rotation() for label in flat.get_xticklabels()] == [0, 0, 0]
        assert all(label.get_rotation() > 0 for label in slanted.get_xticklabels())

    @pytest.mark.parametrize(
        ("values", "options", "error", "says"),
        [
            (torch.rand(3, 2), {}, ShapeError, "values.T"),
            (torch.rand(2, 4), {}, ShapeError, r"\(2, 4\)"),
            (torch.rand(6), {}, ShapeError, r"\(6,\)"),
            (torch.full((2, 3), NAN), {}, ArgumentError, "no value is finite"),
            (torch.rand(2, 3), {"best": "highest"}, ArgumentError, "highest"),
        ],
    )
    def test_bad_input(self, values, options, error, says):
        with pytest.raises(error, match=says):
            plots.heat_map(values, [1, 2, 3], [1, 2], **options)

    def test_empty(self):
        with pytest.raises(ShapeError, match="empty"):
            plots.heat_map(torch.rand(0, 0), [], [])


@pytest.mark.parametrize("columns", [2, 6, 8, 10])
@pytest.mark.parametrize("width", [3.0, 5.0])
def test_numbers_do_not_run_together(columns, width):
    from matplotlib.figure import Figure

    ax = Figure(figsize=(width, 4), layout="constrained").subplots()
    plots.heat_map(-0.0012345 * (1 + torch.rand(3, columns)), range(columns), range(3), ax, ylabel="rows", label="loss")
    ax.figure.draw_without_rendering()
    first = [text.get_window_extent() for text in ax.texts[:columns]]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(first))
    assert ax.texts or columns > 2
