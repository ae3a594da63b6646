"""Curves over epochs."""

import math

import numpy as np
import pytest
import torch

from lamp import SGD, CrossEntropyLoss, Linear, Sequential, fit, plots
from lamp.errors import ArgumentError, DTypeError, ShapeError
from lamp.plots import STYLE
from tests.artists import legend_of

NAN = math.nan


def bold(ax):
    return [line for line in ax.lines if line.get_linewidth() == STYLE["mean_width"]]


def thin(ax):
    return [line for line in ax.lines if line.get_linewidth() == STYLE["run_width"]]


class TestCurves:
    def test_a_thin_line_a_run_and_the_mean_in_bold_in_the_same_colour(self):
        losses = [torch.rand(7) for _ in range(4)]
        ax = plots.curves([{"loss": loss} for loss in losses])
        (mean,) = bold(ax)
        assert len(ax.lines) == 5
        assert np.allclose(mean.get_ydata(), torch.stack(losses).mean(0).numpy())
        assert mean.get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 7]
        for line, loss in zip(thin(ax), losses, strict=True):
            assert np.allclose(line.get_ydata(), loss.numpy())
            assert line.get_color() == mean.get_color()
            assert 0 < line.get_alpha() < 0.5
            assert line.get_zorder() < mean.get_zorder()

    def test_a_key_that_a_history_lacks(self):
        x, y = torch.randn(8, 2), torch.arange(8) % 2
        model = Sequential(Linear(2, 2))
        history = fit(model, CrossEntropyLoss(), SGD(model.parameters(), lr=0.1), (x, y), epochs=1, progress=False)
        with pytest.raises(ArgumentError, match="the history holds no 'acc'") as caught:
            plots.curves(history, "acc")
        assert "metrics=" in caught.value.fix

    def test_one_run_is_one_bold_line(self):
        ax = plots.curves({"loss": torch.tensor([3.0, 2.0])})
        assert len(ax.lines) == len(bold(ax)) == 1

    @pytest.mark.parametrize(
        "runs",
        [
            torch.tensor([[4.0, 2.0], [3.0, 1.0]]),
            [torch.tensor([4.0, 3.0]), torch.tensor([2.0, 1.0])],
            ({"loss": [4.0, 3.0]}, {"loss": np.array([2.0, 1.0])}),
            {"loss": torch.tensor([[4.0, 2.0], [3.0, 1.0]], dtype=torch.float16)},
            [[4.0, 3.0], [2.0, 1.0]],
            {1: [4.0, 3.0], 2: [2.0, 1.0]}.values(),
            np.array([[4.0, 2.0], [3.0, 1.0]]),
        ],
        ids=["(epochs, K)", "tensors", "histories", "population's history", "lists", "an iterable", "array"],
    )
    def test_takes_runs_in_every_form(self, runs):
        ax = plots.curves(runs)
        assert [line.get_ydata().tolist() for line in ax.lines] == [[3.0, 2.0], [4.0, 3.0], [2.0, 1.0]]

    @pytest.mark.parametrize(
        "numbers", [[3.0, 2], [torch.tensor(3.0), torch.tensor(2.0)], [np.float32(3), np.float32(2)]]
    )
    def test_a_list_of_numbers_is_one_run(self, numbers):
        (line,) = plots.curves(numbers).lines
        assert line.get_ydata().tolist() == [3.0, 2.0]

    def test_a_run_that_ended_counts_with_its_last_value(self):
        """Otherwise the mean would jump to that of the remaining runs."""
        ax = plots.curves([torch.tensor([4.0, 2.0, 1.0]), torch.tensor([2.0])], label="loss")
        assert bold(ax)[0].get_ydata().tolist() == [3.0, 2.0, 1.5]
        assert legend_of(ax) == ["loss (mean of 2 runs)\n1 that ended early: by its last value"]
        assert thin(ax)[1].get_ydata().tolist() == [2.0]
        assert thin(ax)[1].get_marker() == "."  # a line of one point would be invisible

    def test_a_run_that_failed_counts_up_to_there(self):
        class Failed(dict):
            failed = (1,)

        values = torch.tensor([[3.0, 1.0], [2.0, 8.0], [1.0, NAN], [NAN, NAN]])
        ax = plots.curves(Failed(loss=values), label="loss")
        assert bold(ax)[0].get_ydata().tolist() == [2.0, 5.0, 1.0, 1.0]
        assert legend_of(ax) == ["loss (mean of 2 runs)\n1 that ended early: by its last value"]

    def test_a_band_down_to_0_goes_on_to_the_edge_of_a_log_axis(self):
        values = torch.tensor([[1.0, 1.1, 1.2], [0.01, 0.02, 3.0], [1.0, 1.1, 1.2]], dtype=torch.float64)
        ax = plots.curves(values, log=True)
        (band,) = ax.collections
        low = {x: y for x, y in band.get_paths()[0].vertices.tolist() if y < 0.5}
        assert low == {2.0: 0.0}  # drawn as far down as a log axis goes, and not left out
        bottom, top = ax.get_ylim()
        assert 1e-3 < bottom < 0.01
        assert 3.0 < top < 10.0

    def test_values_that_are_missing_or_not_finite_are_passed_over(self):
        ax = plots.curves(torch.tensor([[NAN, 1.0, NAN, 3.0], [2.0, math.inf, NAN, 5.0]]).T)
        (mean,) = bold(ax)
        assert mean.get_xdata().tolist() == [1, 2, 4]
        assert mean.get_ydata().tolist() == [2.0, 1.0, 4.0]

    def test_the_mean_lies_on_its_confidence_interval(self):
        values = torch.tensor([[1.0, 2.0, 4.0], [2.0, 2.0, 5.0]], dtype=torch.float64)
        (band,) = plots.curves(values).collections
        corners = torch.tensor(band.get_paths()[0].vertices)
        margin = 4.3026527297 * values.std(1) / math.sqrt(3)
        for epoch, (mean, half) in enumerate(zip(values.mean(1), margin, strict=True), 1):
            heights = corners[corners[:, 0] == epoch, 1]
            assert heights.min().item() == pytest.approx((mean - half).item())
            assert heights.max().item() == pytest.approx((mean + half).item())
        assert not plots.curves(values, band=False).collections
        assert not plots.curves(values[:, :2]).collections  # two runs say too little

    def test_calls_overlay_with_a_legend_and_another_colour(self):
        ax = plots.curves(torch.rand(5, 3), label="train")
        plots.curves(torch.rand(5), ax=ax, label="validation")
        first, second = bold(ax)
        assert len(ax.lines) == 5
        assert first.get_color() != second.get_color()
        assert {first.get_color(), second.get_color()} <= set(STYLE["colors"])
        assert legend_of(ax) == ["train (mean of 3 runs, 95 % band)", "validation"]

    def test_no_label_no_legend(self):
        assert plots.curves(torch.rand(5, 3)).get_legend() is None

    def test_many_entries_go_below_the_axes(self):
        ax = None
        for name in "abcd":
            ax = plots.curves(torch.rand(4), ax=ax, label=name)
        assert legend_of(ax) == list("abcd")
        ax.figure.draw_without_rendering()
        assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0

    def test_the_colour_asked_for(self):
        ax = plots.curves(torch.rand(5, 2), color="#123456")
        assert {line.get_color() for line in ax.lines} == {"#123456"}

    def test_labels_of_the_axes(self):
        ax = plots.curves({"loss": [1.0, 2.0], "validation_loss": [1.0, 2.0]}, "validation_loss", xlabel="step")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "validation loss")
        plots.curves([1.0, 2.0], ax=ax)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "validation loss")  # the first one stays
        assert plots.curves([1.0], ylabel="error").get_ylabel() == "error"

    def test_log_scale_leaves_out_what_has_no_logarithm(self):
        ax = plots.curves(torch.tensor([[100.0, 10.0, 0.0], [1.0, 0.0, 0.0]]).T, log=True)
        assert ax.get_yscale() == "log"
        assert bold(ax)[0].get_ydata().tolist() == [50.5, 5.0]
        assert [line.get_ydata().tolist() for line in thin(ax)] == [[100.0, 10.0], [1.0]]

    @pytest.mark.parametrize("high", [1.1, 3.0, 30.0, 1e5])
    def test_a_log_scale_has_a_handful_of_plain_numbers(self, high):
        ax = plots.curves([high, 1.0], log=True)
        ax.figure.draw_without_rendering()
        low_edge, high_edge = ax.get_ylim()
        shown = [label.get_text() for label in ax.get_yticklabels() if low_edge <= label.get_position()[1] <= high_edge]
        assert 2 <= len(shown) <= 12
        assert all(float(text) > 0 for text in shown)
        assert not any(label.get_text() for label in ax.get_yticklabels(minor=True))

    @pytest.mark.parametrize(
        ("runs", "error", "says"),
        [
            ([], ArgumentError, "no runs"),
            ({"loss": torch.empty(0)}, ShapeError, "train for an epoch"),
            (torch.rand(2, 3, 4), ShapeError, r"\(2, 3, 4\)"),
            (torch.tensor(1.0), ShapeError, "epochs"),
            ({"accuracy": [1.0], "seconds": [2.0]}, ArgumentError, "accuracy, seconds"),
            (torch.tensor([NAN, math.inf]), ArgumentError, "finite"),
            (3, ArgumentError, "int"),
            ([None], ArgumentError, "NoneType"),
            ({"loss": "falling"}, DTypeError, "str"),
        ],
    )
    def test_bad_input(self, runs, error, says):
        with pytest.raises(error, match=says):
            plots.curves(runs)

    def test_nothing_positive_on_a_log_scale(self):
        with pytest.raises(ArgumentError, match="log=False"):
            plots.curves([0.0, -1.0], log=True)


def test_a_window_smooths_the_bold_line_alone():
    torch.manual_seed(0)
    runs = torch.rand(50, 3)
    ax = plots.curves(runs, label="loss", window=5)
    bold = ax.lines[0].get_ydata()
    expected = runs.mean(1).unfold(0, 5, 1).mean(1)
    assert len(bold) == 46
    assert ax.lines[0].get_xdata()[0] == 3  # the first window's centre
    torch.testing.assert_close(torch.tensor(bold).float(), expected)
    assert len(ax.lines[1].get_ydata()) == 50
    assert "and 5 epochs" in ax.get_legend().get_texts()[0].get_text()
    with pytest.raises(ArgumentError, match="window"):
        plots.curves(runs, window=51)
