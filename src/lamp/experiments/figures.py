"""Figures that several experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamp import plots
from lamp.experiments.protocol import Results, Run, Runs


def file_name(*words: str) -> str:
    """A file name made of words: "lamp-2021", "N(0,1), in order" -> "lamp-2021_n-0-1-in-order.png"."""
    slugs = ["-".join("".join(c if c.isalnum() else " " for c in word.lower()).split()) for word in words]
    return "_".join(slugs) + ".png"


def three_panels(results: Results, path: Path) -> Path:
    """Draw the loss curves, the training points and the test points of all runs over one another. Returns the path."""
    left, middle, right = plots.panels(3)
    plots.curves([run.history for run in results.runs], key="loss", ax=left, label="training loss")
    left.set_title(f"{results.setting.name}: {len(results.runs)} trainings")
    for ax, kind in ((middle, "train"), (right, "test")):
        plots.runs_overlaid(
            [getattr(run, kind).inputs for run in results.runs],
            [getattr(run, kind).targets for run in results.runs],
            [getattr(run, f"{kind}_predictions") for run in results.runs],
            ax=ax,
        )
        ax.set_title(f"{kind}: {ax.get_title()}")
    return plots.save(left, path)


def loss_and_accuracy(results: Sequence[Results], path: Path) -> Path:
    """Draw curves of loss and accuracy over the epochs, with one colour per setting. Returns the path."""
    left, right = plots.panels(2)
    for each in results:
        histories = [run.history for run in each.runs]
        name, window = each.setting.name, _window(each)
        plots.curves(histories, key="loss", ax=left, label=name, log=True, window=window)
        plots.curves(histories, key="accuracy", ax=right, label=name, window=window)
    left.set_title("training loss")
    right.set_title("training accuracy")
    return plots.save(left, path)


def beside_torch(results: Sequence[Results], peers: Sequence[Runs], path: Path) -> Path:
    """Draw the loss curves of lamp and of torch.nn over one another, with one panel per setting. Returns the path."""
    axes = plots.panels(len(results))
    for ours, theirs, ax in zip(results, peers, axes, strict=True):
        window = _window(ours)
        plots.curves([run.history for run in ours.runs], ax=ax, label="lamp", log=True, window=window)
        plots.curves([run.losses for run in theirs.runs], ax=ax, label="torch.nn", log=True, window=window)
        legend = ax.get_legend()
        for line in (*ax.lines, *(legend.get_lines() if legend is not None else ())):
            if str(line.get_label()).startswith("torch.nn"):
                line.set_linestyle((0, (1.5, 1.5)))  # so that lamp's line is visible where both are equal
        ax.set_title(f"{ours.setting.name}: training loss")
    return plots.save(axes[0], path)


def _window(results: Results) -> int:
    """The number of epochs to average the bold line over, so that it has about two hundred points."""
    return max(1, results.setting.epochs // 200)


def output_maps(results: Sequence[Results], path: Path) -> Path:
    """Draw the output of each setting's first network over the square. Returns the path."""
    axes = plots.panels(len(results))
    for each, ax in zip(results, axes, strict=True):
        plots.output_map(each.runs[0].model.body, ax=ax, disk=True)
        ax.set_title(f"{each.setting.name}: output over the square")
    return plots.save(axes[0], path)


def data_and_predictions(run: Run, path: Path) -> Path:
    """Draw the training set, the test set, and which test points are predicted correctly. Returns the path."""
    left, middle, right = plots.panels(3)
    plots.data_set(run.train.inputs, run.train.targets, ax=left)
    left.set_title("training set")
    plots.data_set(run.test.inputs, run.test.targets, ax=middle)
    middle.set_title("test set")
    plots.points(run.test.inputs, run.test.targets, run.test_predictions, ax=right)
    return plots.save(left, path)
