"""What all figures share: axes in and out, no pyplot, panels that do not overlap, files."""

import os
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamp import plots
from lamp.errors import ArgumentError, LampError
from tests.artists import X, Y

FIGURES = {
    "curves": lambda **at: plots.curves(torch.rand(5, 3), **at),
    "data_set": lambda **at: plots.data_set(X, Y, **at),
    "points": lambda **at: plots.points(X, Y, 1 - Y, **at),
    "points without predictions": lambda **at: plots.points(X, Y, **at),
    "runs_overlaid": lambda **at: plots.runs_overlaid(X, Y, [Y, 1 - Y], **at),
    "disk": lambda **at: plots.disk(**at),
    "output_map": lambda **at: plots.output_map(lambda x: x, resolution=5, boundary=0.5, disk=True, **at),
    "heat_map": lambda **at: plots.heat_map(torch.rand(2, 3), [1, 2, 3], ["a", "b"], **at),
}


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_returns_the_axes_it_was_given(self, name):
        left, right = plots.panels(2)
        assert FIGURES[name](ax=right) is right
        assert not left.lines
        assert not left.images

    def test_makes_a_figure_of_its_own(self, name):
        ax = FIGURES[name]()
        assert isinstance(ax, Axes)
        assert isinstance(ax.figure, Figure)
        assert FIGURES[name]() is not ax

    def test_can_be_drawn_without_a_warning(self, name, tmp_path):
        assert plots.save(FIGURES[name](), tmp_path / "figure", dpi=30).exists()

    def test_refuses_what_are_no_axes(self, name):
        with pytest.raises(ArgumentError, match="axes to draw on"):
            FIGURES[name](ax=Figure())

    def test_each_figure_is_public(self, name):
        assert name.split()[0] in plots.__all__


def test_nothing_is_imported_before_it_is_needed_and_pyplot_never():
    program = """if True:
        import sys
        import lamp.plots
        assert not any(name.startswith("matplotlib") for name in sys.modules), "import lamp.plots brought matplotlib"
        ax = lamp.plots.curves([0.3, 0.2])
        ax = lamp.plots.output_map(lambda x: x, resolution=3, boundary=0.5)
        ax.figure.savefig(__import__("io").BytesIO())
        assert "matplotlib.pyplot" not in sys.modules, "a figure brought pyplot"
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(plots.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


class TestPanels:
    def test_row_by_row_on_one_figure(self):
        axes = plots.panels(3, 2)
        assert len({id(ax.figure) for ax in axes}) == 1
        assert axes == list(axes[0].figure.axes)
        assert axes[0].figure.get_size_inches().tolist() == [15, 10]

    @pytest.mark.parametrize(("columns", "rows"), [(0, 1), (1, -1), (2.0, 1)])
    def test_bad_input(self, columns, rows):
        with pytest.raises(ArgumentError, match="positive integer"):
            plots.panels(columns, rows)

    def test_three_different_figures_side_by_side_do_not_overlap(self):
        axes = plots.panels(3)
        plots.curves(torch.rand(9, 4), ax=axes[0], label="train")
        plots.output_map(lambda x: x, axes[1], resolution=5, boundary=0.5, disk=True)
        plots.points(X, Y, 1 - Y, axes[2], title="test")
        figure = axes[0].figure
        figure.draw_without_rendering()
        boxes = [ax.get_tightbbox() for ax in axes]
        for left, right in pairwise(boxes):
            assert left.x1 < right.x0
        assert boxes[0].x0 >= 0
        assert boxes[2].x1 <= figure.bbox.x1
        for ax in axes:
            legend = ax.get_legend().get_window_extent()
            assert legend.y0 >= 0


class TestSave:
    @pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
    def test_writes_what_the_ending_says(self, tmp_path, ending):
        ax = plots.curves([2.0, 1.0])
        path = plots.save(ax, tmp_path / f"loss{ending}", dpi=40)
        assert path.stat().st_size > 1000

    def test_png_without_an_ending_and_figures_as_well_as_axes(self, tmp_path):
        ax = plots.curves([2.0, 1.0])
        path = plots.save(ax.figure, str(tmp_path / "loss"))
        assert path == tmp_path / "loss.png"
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "there.png").write_bytes(b"old")
        (tmp_path / "link.png").symlink_to("there.png")
        plots.save(plots.curves([2.0, 1.0]), tmp_path / "link.png", dpi=40)
        assert (tmp_path / "link.png").is_symlink()
        assert (tmp_path / "there.png").read_bytes().startswith(b"\x89PNG")

    def test_axes_of_a_part_of_a_figure(self, tmp_path):
        figure = Figure()
        ax = plots.curves([2.0, 1.0], ax=figure.subfigures(1, 2)[1].add_subplot())
        assert plots.save(ax, tmp_path / "part", dpi=40).exists()

    def test_where_it_cannot_be_written(self, tmp_path):
        ax = plots.curves([2.0, 1.0])
        with pytest.raises(ArgumentError, match="create the folder"):
            plots.save(ax, tmp_path / "missing" / "loss.png")
        (tmp_path / "taken.png").mkdir()
        with pytest.raises(ArgumentError, match="another path"):
            plots.save(ax, tmp_path / "taken.png")

    def test_an_unknown_ending_and_no_figure(self, tmp_path):
        with pytest.raises(ArgumentError, match=r"name it loss\.png"):
            plots.save(plots.curves([2.0, 1.0]), tmp_path / "loss.docx")
        with pytest.raises(ArgumentError, match="takes a figure"):
            plots.save(torch.rand(3), tmp_path / "loss.png")


def test_every_error_says_the_way_out():
    for draw in (
        lambda: plots.curves([]),
        lambda: plots.points(torch.rand(3, 4), torch.zeros(3)),
        lambda: plots.data_set(["here"], torch.zeros(1)),
        lambda: plots.output_map(lambda x: x, resolution=0),
        lambda: plots.runs_overlaid(X, Y, []),
    ):
        with pytest.raises(LampError) as caught:
            draw()
        assert caught.value.fix


def test_a_notebook_shows_figures():
    """Notebooks call `_repr_png_` on the result of a cell."""
    axes = plots.panels(2)
    alone = plots.curves(torch.rand(5))
    for shown in (alone, alone.figure, *axes, axes[0].figure, pickle.loads(pickle.dumps(alone))):
        picture = shown._repr_png_()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 1000
