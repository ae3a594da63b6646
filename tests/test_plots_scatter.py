"""Points of the plane."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lamp import plots
from lamp.errors import ArgumentError, DTypeError, LabelError, NonFiniteError, ShapeError
from lamp.plots import STYLE
from tests.artists import X, Y, by_label, disk_data, legend_of


class TestDataSet:
    def test_each_class_in_its_colour(self):
        x, y = disk_data(50)
        ax = plots.data_set(x, y, title="training set")
        for label in (0, 1):
            line = by_label(ax, f"class {label}")
            assert np.allclose(line.get_xydata(), x[y == label].numpy())
            assert line.get_color() == STYLE["colors"][label]
            assert line.get_linestyle() == "None"
        assert legend_of(ax) == ["class 0", "class 1"]
        assert ax.get_title() == "training set"
        assert ax.get_aspect() == 1.0

    def test_a_class_keeps_its_colour_where_others_are_missing(self):
        ax = plots.data_set(torch.rand(3, 2), torch.ones(3))
        assert by_label(ax, "class 1").get_color() == STYLE["colors"][1]

    def test_labels_of_a_tanh_network(self):
        ax = plots.data_set(torch.rand(4, 2), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]))
        assert [line.get_color() for line in ax.lines] == list(STYLE["colors"][:2])
        assert legend_of(ax) == ["class -1", "class 1"]

    def test_more_classes_than_colours_differ_in_their_marker(self):
        ax = plots.data_set(torch.rand(20, 2), torch.arange(20))
        assert len({(line.get_color(), line.get_marker()) for line in ax.lines}) == 20

    def test_too_many_classes(self):
        with pytest.raises(LabelError, match="too many"):
            plots.data_set(torch.rand(90, 2), torch.arange(90))

    @pytest.mark.parametrize(
        ("inputs", "targets", "error", "says"),
        [
            (torch.rand(4, 3), torch.zeros(4), ShapeError, r"\(4, 3\)"),
            (torch.rand(2, 4, 2), torch.zeros(4), ShapeError, r"\(2, 4, 2\)"),
            (torch.rand(4), torch.zeros(4), ShapeError, "coordinates"),
            (torch.rand(0, 2), torch.zeros(0), ShapeError, "at least 1"),
            (torch.rand(4, 2), torch.zeros(5), ShapeError, r"\(5,\)"),
            (torch.rand(4, 2), torch.zeros(4, 2), ShapeError, r"argmax\(-1\)"),
            (torch.rand(4, 2), torch.tensor([0.0, 1.0, 0.3, 1.0]), LabelError, "0.3"),
            (torch.rand(4, 2), torch.tensor([0.0, 1.0, math.inf, 1.0]), LabelError, "inf"),
            (torch.tensor([[0.0, math.nan]]), torch.zeros(1), NonFiniteError, "finite"),
            ([], [], ShapeError, "coordinates"),
            ("points", torch.zeros(1), DTypeError, "str"),
        ],
    )
    def test_bad_input(self, inputs, targets, error, says):
        with pytest.raises(error, match=says):
            plots.data_set(inputs, targets)


class TestPoints:
    def test_right_ones_green_plus_wrong_ones_red_dot(self):
        x, y = disk_data(40)
        predictions = y.clone()
        predictions[:3] = 1 - predictions[:3]
        ax = plots.points(x, y, predictions)
        right, wrong = by_label(ax, "right"), by_label(ax, "wrong")
        assert np.allclose(right.get_xydata(), x[3:].numpy())
        assert np.allclose(wrong.get_xydata(), x[:3].numpy())
        assert (right.get_marker(), wrong.get_marker()) == ("+", "o")
        green, red = (
            np.array([int(to_hex(line.get_color())[k : k + 2], 16) for k in (1, 3, 5)]) for line in (right, wrong)
        )
        assert green.argmax() == 1
        assert red.argmax() == 0
        assert wrong.get_zorder() > right.get_zorder()
        assert legend_of(ax) == ["right (37)", "wrong (3)"]
        assert ax.get_title() == "accuracy 92.5 %"
        assert ax.get_aspect() == 1.0

    def test_the_title_goes_before_the_accuracy(self):
        ax = plots.points(X, Y, Y, title="Test set")
        assert ax.get_title() == "Test set: accuracy 100.0 %"
        assert legend_of(ax) == ["right (30)", "wrong (0)"]

    def test_columns_of_labels_are_labels(self):
        ax = plots.points(X, Y[:, None], Y[:, None].float())
        assert ax.get_title() == "accuracy 100.0 %"

    def test_without_predictions_it_is_the_data_set(self):
        ax = plots.points(X, Y, title="here")
        assert legend_of(ax) == ["class 0", "class 1"]
        assert ax.get_title() == "here"

    def test_scores_are_no_predictions(self):
        with pytest.raises(ShapeError, match=r"predictions.argmax\(-1\)"):
            plots.points(X, Y, torch.rand(30, 2))
        with pytest.raises(LabelError, match="predictions are not class numbers"):
            plots.points(X, Y, torch.rand(30))
        with pytest.raises(ShapeError, match="predictions do not match"):
            plots.points(X, Y, Y[:29])


class TestRunsOverlaid:
    def test_every_run_is_there_and_the_title_has_mean_and_std(self):
        (x1, y1), (x2, y2), (x3, y3) = (disk_data(n, seed=n) for n in (50, 40, 20))
        p1, p2, p3 = y1.clone(), y2.clone(), y3.clone()
        p1[:1], p2[:2], p3[:1] = 1 - p1[:1], 1 - p2[:2], 1 - p3[:1]  # 98 %, 95 %, 95 %
        ax = plots.runs_overlaid([x1, x2, x3], [y1, y2, y3], [p1, p2, p3], title="test")
        assert ax.get_title() == "test: accuracy 96.0 ± 1.7 %, 3 runs"
        wrong = by_label(ax, "wrong")
        assert np.allclose(wrong.get_xydata(), torch.cat([x1[:1], x2[:2], x3[:1]]).numpy())
        assert wrong.get_color() == STYLE["wrong"]
        assert wrong.get_label() == "wrong (4)"
        assert sum(len(line.get_xdata()) for line in ax.lines) == 110
        for label in (0, 1):
            line = by_label(ax, f"class {label}")
            assert line.get_color() == STYLE["colors"][label]
            assert line.get_alpha() < 0.5
        assert all(handle.get_alpha() == 1 for handle in ax.get_legend().legend_handles)

    def test_axes_over_runs_or_one_set_for_all(self):
        predictions = torch.stack([Y, 1 - Y])
        lists = plots.runs_overlaid([X, X], [Y, Y], list(predictions))
        for inputs, targets in ((X, Y), (X.expand(2, 30, 2), Y.expand(2, 30)), (X, [Y, Y])):
            ax = plots.runs_overlaid(inputs, targets, predictions)
            assert ax.get_title() == "accuracy 50.0 ± 70.7 %, 2 runs"
            for line, other in zip(ax.lines, lists.lines, strict=True):
                assert np.array_equal(line.get_xydata(), other.get_xydata())

    def test_one_run_has_no_std(self):
        assert plots.runs_overlaid(X, Y, [Y]).get_title() == "accuracy 100.0 %, 1 run"

    def test_a_class_that_is_never_right_leaves_the_other_its_colour(self):
        ax = plots.runs_overlaid(X, 2 * Y - 1, [torch.ones(30)])
        assert by_label(ax, "class 1").get_color() == STYLE["colors"][1]
        assert len(by_label(ax, "class -1").get_xdata()) == 0

    @pytest.mark.parametrize(
        ("inputs", "targets", "predictions", "error", "says"),
        [
            (X, Y, [], ArgumentError, "no runs"),
            (X, Y, Y, ShapeError, r"\[predictions_of_runs\]"),
            ([X], Y, [Y, Y], ArgumentError, "different numbers of runs"),
            (X, [Y, Y, Y], [Y, Y], ArgumentError, "2 targets"),
            (X, Y, [Y, Y[:5]], ShapeError, "predictions"),
            (X[:, :1], Y, [Y], ShapeError, "coordinates"),
            (X.expand(1, 2, 30, 2), Y, [Y], ShapeError, "inputs of several runs"),
        ],
    )
    def test_bad_input(self, inputs, targets, predictions, error, says):
        with pytest.raises(error, match=says):
            plots.runs_overlaid(inputs, targets, predictions)


def test_disk_is_the_circle_that_halves_the_square():
    ax = plots.data_set(X, Y)
    assert plots.disk(ax) is ax
    circle = by_label(ax, "disk")
    radii = np.hypot(*(circle.get_xydata() - 0.5).T)
    assert np.allclose(math.pi * radii**2, 0.5)
    assert circle.get_linestyle() == "--"
    assert legend_of(ax) == ["class 0", "class 1", "disk"]
