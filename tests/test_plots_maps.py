"""The output of a network over the square."""

import numpy as np
import pytest
import torch

from lamp import plots
from lamp.errors import ArgumentError, DTypeError, NonFiniteError, ShapeError
from lamp.module import Module
from lamp.nn.linear import Linear
from tests.artists import by_label, legend_of


class Plane(Module):
    """x W^T, and a record of the modes in which it was asked."""

    def __init__(self, weight, dtype=torch.float32):
        self.weight, self.asked = torch.tensor(weight, dtype=dtype), []

    def forward(self, x):
        self.asked.append(self.training)
        return x @ self.weight.T


class TestOutputMap:
    def test_probability_of_class_1_from_two_outputs(self):
        model = Plane([[1.0, 0.0], [3.0, 4.0]])
        ax = plots.output_map(model, resolution=4)
        (image,) = ax.images
        at = torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64)
        x, y = at.expand(4, 4), at[:, None].expand(4, 4)  # rows of equal y, the lowest first
        expected = torch.stack([x, 3 * x + 4 * y]).softmax(0)[1]
        assert np.allclose(image.get_array(), expected.numpy(), atol=1e-6)
        assert image.origin == "lower"
        assert image.get_extent() == [0, 1, 0, 1]  # type: ignore[comparison-overlap]
        assert image.get_clim() == (0, 1)
        (bar,) = ax.child_axes
        assert bar.get_ylabel() == "probability of class 1"
        assert ax.get_legend() is None

    def test_a_single_output_as_it_is(self):
        image = plots.output_map(Plane([[3.0, 4.0]]), resolution=2).images[0]
        assert np.allclose(image.get_array(), [[1.75, 3.25], [3.75, 5.25]])
        assert image.get_clim() == (1.75, 5.25)

    @pytest.mark.parametrize(
        ("output", "expected"),
        [
            ("raw", [[1.75, 3.25], [3.75, 5.25]]),
            ("probability", torch.tensor([[1.75, 3.25], [3.75, 5.25]]).sigmoid()),
            (lambda y: -2 * y, [[-3.5, -6.5], [-7.5, -10.5]]),
        ],
    )
    def test_other_outputs(self, output, expected):
        image = plots.output_map(Plane([[3.0, 4.0]]), resolution=2, output=output).images[0]
        assert np.allclose(image.get_array(), expected, atol=1e-6)

    def test_more_outputs_need_a_function(self):
        model = Plane([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        with pytest.raises(ShapeError, match="3 outputs"):
            plots.output_map(model, resolution=3)
        image = plots.output_map(model, resolution=3, output=lambda y: y.argmax(-1)).images[0]
        assert np.array_equal(image.get_array(), np.full((3, 3), 2))

    def test_limits(self):
        ax = plots.output_map(lambda x: x[:, 0] + 10 * x[:, 1], resolution=2, limits=(-1, 3, 4, 6))
        assert np.allclose(ax.images[0].get_array(), [[45, 47], [55, 57]])
        assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 3), (4, 6))

    def test_boundary_where_the_output_crosses_it_and_colours_centred_on_it(self):
        ax = plots.output_map(lambda x: 3 * x[:, :1] - 0.6, resolution=50, boundary=0.0)
        (contour,) = [c for c in ax.collections if hasattr(c, "levels")]
        assert contour.levels.tolist() == [0.0]
        assert np.allclose(contour.get_paths()[0].vertices[:, 0], 0.2)
        low, high = ax.images[0].get_clim()
        assert low == -high < 0
        assert legend_of(ax) == ["boundary (0)"]

    def test_no_boundary_where_the_output_stays_on_one_side(self):
        ax = plots.output_map(lambda x: x[:, :1] + 5, resolution=5, boundary=0.5)
        assert not ax.collections
        assert ax.get_legend() is None

    def test_an_output_that_is_the_same_everywhere(self):
        image = plots.output_map(lambda x: torch.full((len(x), 1), 2.0), resolution=3).images[0]
        assert image.get_clim() == (1.5, 2.5)
        image = plots.output_map(lambda x: torch.full((len(x), 1), 2.0), resolution=3, boundary=2.0).images[0]
        assert image.get_clim() == (1.0, 3.0)

    def test_scale_and_disk(self):
        ax = plots.output_map(lambda x: x[:, 0], resolution=3, scale=(-1, 4), disk=True)
        assert ax.images[0].get_clim() == (-1, 4)
        assert by_label(ax, "disk").get_linestyle() == "--"
        assert ax.get_xlim() == (0, 1)

    def test_many_points_go_through_in_parts(self):
        model = Plane([[3.0, 4.0]])
        image = plots.output_map(model, resolution=150).images[0]
        assert len(model.asked) == 2
        assert np.allclose(image.get_array()[149, 0], 3 * 0.5 / 150 + 4 * 149.5 / 150)

    def test_the_model_is_asked_in_eval_mode_and_left_as_it_was(self):
        class Pair(Module):
            def __init__(self):
                self.first, self.second = Plane([[1.0, 0.0], [0.0, 1.0]]), Plane([[3.0, 4.0]])

            def forward(self, x):
                return self.second(self.first(x))

        model = Pair()
        model.second.training = False
        plots.output_map(model, resolution=3)
        assert model.first.asked == model.second.asked == [False]
        assert (model.training, model.first.training, model.second.training) == (True, True, False)

    def test_the_mode_comes_back_after_an_error(self):
        model = Plane([[1.0, 1.0, 1.0]])
        with pytest.raises(RuntimeError):
            plots.output_map(model, resolution=3)
        assert model.training

    def test_a_network_in_double_precision(self):
        model = Linear(2, 1).double()
        image = plots.output_map(model, resolution=3).images[0]
        centre = torch.full((1, 2), 0.5, dtype=torch.float64)
        assert image.get_array()[1, 1] == pytest.approx(model(centre).item(), abs=1e-14)

    @pytest.mark.parametrize(
        ("model", "options", "error", "says"),
        [
            (3, {}, ArgumentError, "int"),
            (lambda x: x, {"limits": (0, 0, 0, 1)}, ArgumentError, "are empty"),
            (lambda x: x, {"limits": (0, 1, 2, 1)}, ArgumentError, "are empty"),
            (lambda x: x, {"limits": (0, 1)}, ArgumentError, "x from"),
            (lambda x: x, {"resolution": 1}, ArgumentError, "resolution"),
            (lambda x: x, {"resolution": 2.5}, ArgumentError, "resolution"),
            (lambda x: x, {"output": "logit"}, ArgumentError, "logit"),
            (lambda x: x, {"output": "raw"}, ShapeError, "2 outputs"),
            (lambda x: x[:1], {}, ShapeError, "one row per point"),
            (lambda x: x.expand(3, -1, 2), {}, ShapeError, "population"),
            (lambda x: x, {"output": lambda y: y[:1]}, ShapeError, "2 values for 25 points"),
            (lambda x: x[:, :1] / 0, {}, NonFiniteError, "25 of 25"),
            (lambda x: None, {}, DTypeError, "NoneType"),
        ],
    )
    def test_bad_input(self, model, options, error, says):
        with pytest.raises(error, match=says):
            plots.output_map(model, **{"resolution": 5, **options})


class TestPointsAndMaps:
    MODEL = Plane([[1.0, 0.0], [3.0, 4.0]])
    AT = torch.tensor([[-5.0, 2.0], [3.0, 8.0], [0.5, 0.5]])
    CLASSES = torch.tensor([0, 1, 1])

    @pytest.mark.parametrize("points_first", [True, False])
    def test_points_of_the_colour_of_the_map_have_an_edge(self, points_first):
        ax = plots.panels(1)[0]
        if points_first:
            plots.data_set(self.AT, self.CLASSES, ax)
        plots.output_map(self.MODEL, ax, resolution=4)
        if not points_first:
            plots.data_set(self.AT, self.CLASSES, ax)
        for line in ax.lines:
            assert line.get_markeredgecolor() == "#FFFFFF"
            assert line.get_markeredgewidth() > 0
            assert line.get_markeredgecolor() != line.get_markerfacecolor()
        without = plots.data_set(self.AT, self.CLASSES)
        assert all(line.get_markeredgewidth() == 0 for line in without.lines)

    def test_the_map_is_of_what_the_axes_show(self):
        ax = plots.data_set(self.AT, self.CLASSES)
        plots.output_map(self.MODEL, ax, resolution=4)
        low_x, high_x, low_y, high_y = ax.images[0].get_extent()
        assert low_x < -5 and high_x > 3 and low_y < 0.5 and high_y > 8  # noqa: PT018

    def test_points_outside_the_map_are_shown(self):
        ax = plots.output_map(self.MODEL, resolution=4)
        plots.data_set(self.AT, self.CLASSES, ax)
        (low_x, high_x), (low_y, high_y) = ax.get_xlim(), ax.get_ylim()
        assert low_x < -5 and high_x > 3 and low_y <= 0 and high_y > 8  # noqa: PT018
        ax = plots.output_map(self.MODEL, limits=(0, 1, 0, 1), resolution=4)
        plots.data_set(self.AT, self.CLASSES, ax)
        assert ax.get_xlim() == (0, 1)  # as the caller wants it

    def test_a_map_on_a_map_takes_its_place(self):
        ax = plots.output_map(self.MODEL, resolution=4)
        plots.output_map(self.MODEL, ax, resolution=8, output=lambda y: y[:, 0])
        assert [image.get_array().shape for image in ax.images] == [(8, 8)]
        (bar,) = ax.child_axes
        assert bar.get_ylabel() == "output"

    def test_bars_of_axes_side_by_side_overlap_no_map(self):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4))  # without a layout that makes room
        axes = figure.subplots(1, 2)
        for ax in axes:
            plots.output_map(self.MODEL, ax, resolution=4)
        figure.draw_without_rendering()
        boxes = [each.get_tightbbox() for each in figure.axes]
        for k, one in enumerate(boxes):
            for other in boxes[k + 1 :]:
                overlap = min(one.x1, other.x1) - max(one.x0, other.x0)
                assert overlap < 1.0  # of a pixel
