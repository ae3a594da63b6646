"""The protocol of an experiment: a setting is trained from several seeds, and compared with a published accuracy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from lamp.data import DataLoader, Dataset, disk
from lamp.intervals import margin_of_mean
from lamp.losses import Loss
from lamp.metrics import Accuracy, accuracy
from lamp.module import Module
from lamp.nn import Activation, Linear, Sequential
from lamp.optim import Optimizer
from lamp.replicas import stack
from lamp.training import Callback, History, Training, evaluate, fit, predict
from lamp.training.metrics import MetricLike
from lamp.training.progress import Reporter, Silence, reporter

# In float32 rounding would be visible in the figures, and results would depend on how many networks train together.
PRECISION = torch.float64
POINTS = 1000  # the size of each training set and each test set
WIDTHS = (2, 25, 25, 25)  # inputs and hidden layers of the network that all five systems use


def mlp(
    activation: Callable[[], Activation],
    outputs: int,
    *last: Module,
    widths: Sequence[int] = WIDTHS,
    init: Callable[..., Any] | None = None,
) -> Sequential:
    """A network of Linear layers of these widths, each with an activation, a Linear to the outputs, and `last`."""
    modules: list[Module] = []
    for inputs, units in pairwise(widths):
        modules += [Linear(inputs, units, init=init), activation()]
    return Sequential(*modules, Linear(widths[-1], outputs, init=init), *last)


# ---- targets from labels, and predicted classes from outputs ---------------------------------------------------------
def indices(labels: Tensor) -> Tensor:
    """The labels themselves, class indices (n,)."""
    return labels


def one_hot(labels: Tensor) -> Tensor:
    """One-hot rows (n, 2)."""
    return torch.eye(2, dtype=PRECISION)[labels]


def column(labels: Tensor) -> Tensor:
    """The labels as a column of 0 and 1, (n, 1)."""
    return labels.to(PRECISION).unsqueeze(1)


def signs(labels: Tensor) -> Tensor:
    """The labels as a column of -1 and 1, (n, 1)."""
    return column(labels) * 2 - 1


def largest(output: Tensor) -> Tensor:
    """The class with the largest output."""
    return output.argmax(1)


def above(threshold: float) -> Callable[[Tensor], Tensor]:
    """A function that predicts class 1 for outputs (n, 1) above the threshold, else 0."""
    return lambda output: (output.squeeze(1) > threshold).long()


@dataclass(frozen=True)
class Setting:
    """One row of an experiment's table: what is trained, how, and the published test accuracy in percent.

    criterion   makes the loss; None for a network that ends in its loss
    data_seeds  the first seed of its data; each experiment has its own data
    encode      makes targets of labels
    threshold   for a network with one output, above which it predicts class 1
    """

    name: str
    network: Callable[[], Sequential]
    optimizer: Callable[[Module], Optimizer]
    epochs: int
    batch_size: int
    data_seeds: int
    criterion: Callable[[], Loss] | None = None
    shuffle: bool = True
    normalized: bool = False
    encode: Callable[[Tensor], Tensor] = indices
    threshold: float | None = None
    published: float | None = None
    published_std: float | None = None
    published_torch: float | None = None

    @property
    def metric(self) -> MetricLike:
        return accuracy if self.threshold is None else Accuracy(self.threshold)

    @property
    def decide(self) -> Callable[[Tensor], Tensor]:
        """The function from outputs to predicted class indices."""
        return largest if self.threshold is None else above(self.threshold)

    def data(self, seed: int) -> tuple[Dataset, Dataset]:
        """The training set and the test set of this seed."""
        drawn = (disk(POINTS, seed=self.data_seeds + 2 * seed + k) for k in (0, 1))
        train, test = (replace(each, inputs=each.inputs.to(PRECISION)) for each in drawn)
        return (train.normalized(), test.normalized(using=train)) if self.normalized else (train, test)

    def build(self, seed: int) -> Sequential:
        """The network, initialised with this seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network().to(PRECISION)


@dataclass
class Run:
    """One network, trained from one seed, with its results.

    seconds    its share of the time that the population's training took
    compiling  its share of the seconds of it that were spent on compiling
    """

    seed: int
    train: Dataset
    test: Dataset
    model: Sequential
    history: History
    train_loss: float
    test_loss: float
    train_predictions: Tensor
    test_predictions: Tensor
    seconds: float
    compiling: float

    @property
    def train_accuracy(self) -> float:
        """The accuracy on the training set, in percent."""
        return 100 * (self.train_predictions == self.train.targets).double().mean().item()

    @property
    def test_accuracy(self) -> float:
        """The accuracy on the test set, in percent."""
        return 100 * (self.test_predictions == self.test.targets).double().mean().item()


class Runs:
    """Several runs of one setting, with statistics of their results."""

    runs: Sequence[Any]

    def of(self, name: str) -> Tensor:
        """One result of all runs, such as "test_accuracy" or "seconds": (runs,)."""
        return torch.tensor([getattr(run, name) for run in self.runs], dtype=torch.float64)

    def mean(self, name: str) -> float:
        return self.of(name).mean().item()

    def std(self, name: str) -> float:
        """The standard deviation over the runs; 0 for a single run."""
        return self.of(name).std().item() if len(self.runs) > 1 else 0.0

    def spread(self, *names: str) -> dict[str, dict[str, Any]]:
        """The mean, the standard deviation and the values of these results, for JSON."""
        return {
            name: {"mean": self.mean(name), "std": self.std(name), "runs": self.of(name).tolist()} for name in names
        }


MEASURED = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "seconds")  # results of lamp and of torch.nn


@dataclass
class Results(Runs):
    """The runs of a setting by lamp."""

    setting: Setting
    runs: list[Run] = field(default_factory=list)

    @property
    def margin(self) -> float:
        """Half the 95 % confidence interval of the mean test accuracy; 0 for a single run."""
        return margin_of_mean(self.of("test_accuracy").unsqueeze(0)).item() if len(self.runs) > 1 else 0.0

    @property
    def verdict(self) -> str:
        """The comparison of the mean test accuracy with the published one.

        "met" if the mean reaches it, "within" if only the mean's confidence interval does, and "below" if not even
        that. The interval allows for another processor, where rounding differs and a few runs may end elsewhere.
        """
        published = -math.inf if self.setting.published is None else self.setting.published
        mean = self.mean("test_accuracy")
        return "met" if mean >= published else "within" if mean + self.margin >= published else "below"

    @property
    def meets(self) -> bool:
        """Whether the interval of the mean is not below the published accuracy (or none was published)."""
        return self.verdict != "below"

    def to_dict(self) -> dict[str, Any]:
        """All results, as numbers and strings."""
        return {
            "setting": self.setting.name,
            "published": self.setting.published,
            "meets": self.meets,
            "margin": self.margin,
            "seeds": [run.seed for run in self.runs],
            **self.spread(*MEASURED, "compiling"),
        }


class _PartialProgress(Callback):
    """Reports the progress of one training as a part of several."""

    needs_model = False

    def __init__(self, report: Reporter, before: int) -> None:
        self.report, self.before = report, before

    def on_epoch(self, training: Training) -> None:
        self.report.at(self.before + training.epoch + 1, training.history.last)


def train_one(setting: Setting, seed: int, report: Reporter | None = None, before: int = 0) -> Run:
    """Train the setting's network from this seed, and test it."""
    train, _ = data = setting.data(seed)
    model = setting.build(seed)
    loader = DataLoader((train.inputs, setting.encode(train.targets)), setting.batch_size, setting.shuffle, seed=seed)
    history, seconds = _trained(setting, model, loader, _PartialProgress(report or Silence(), before))
    return _tested(setting, seed, data, model, history, seconds, history.compile_seconds)


def train_together(setting: Setting, seeds: Sequence[int], report: Reporter | None = None) -> list[Run]:
    """Train the networks of all these seeds as one population, each on its own data, and test them."""
    data = [setting.data(seed) for seed in seeds]
    networks = stack([setting.build(seed) for seed in seeds])
    columns = (
        torch.stack([train.inputs for train, _ in data]),
        torch.stack([setting.encode(train.targets) for train, _ in data]),
    )
    loader = DataLoader(columns, setting.batch_size, setting.shuffle, seed=list(seeds), replicas=len(seeds))
    history, seconds = _trained(setting, networks, loader, _PartialProgress(report or Silence(), 0))
    each = zip(seeds, data, networks, strict=True)
    return [
        _tested(setting, seed, own, model, history.of(k), seconds / len(seeds), history.compile_seconds / len(seeds))
        for k, (seed, own, model) in enumerate(each)
    ]


def _trained(setting: Setting, model: Module, loader: DataLoader, progress: Callback) -> tuple[History, float]:
    """Train the model, and return its history and the seconds that it took."""
    criterion = None if setting.criterion is None else setting.criterion()
    # With full batches, the losses of some settings have spikes that amplify rounding errors. With one engine for all,
    # the results of a run do not depend on how many networks train together.
    full_batch = len(loader) == 1
    begun = time.perf_counter()
    history = fit(
        model,
        criterion,
        setting.optimizer(model),
        loader,
        epochs=setting.epochs,
        metrics=[setting.metric],
        callbacks=[progress],
        progress=False,
        engine="eager" if full_batch else "auto",
    )
    if history.stopped.startswith("interrupted"):
        raise KeyboardInterrupt
    return history, time.perf_counter() - begun


def _tested(
    setting: Setting,
    seed: int,
    data: tuple[Dataset, Dataset],
    model: Module,
    history: History,
    seconds: float,
    compiling: float,
) -> Run:
    assert isinstance(model, Sequential)
    criterion = None if setting.criterion is None else setting.criterion()
    train_loss, test_loss = (
        evaluate(model, criterion, (each.inputs, setting.encode(each.targets)))["loss"] for each in data
    )
    train_predictions, test_predictions = (setting.decide(predict(model.body, each.inputs)) for each in data)
    return Run(
        seed=seed,
        train=data[0],
        test=data[1],
        model=model,
        history=history,
        train_loss=float(train_loss),
        test_loss=float(test_loss),
        train_predictions=train_predictions,
        test_predictions=test_predictions,
        seconds=seconds,
        compiling=compiling,
    )


def train_runs(
    setting: Setting,
    seeds: Sequence[int],
    *,
    title: str = "epoch",
    progress: bool = True,
    one_by_one: bool = False,
) -> Results:
    """Train the setting from each of these seeds, as one population or one after another."""
    if not one_by_one:
        with reporter(progress, setting.epochs, title) as report:
            return Results(setting, train_together(setting, seeds, report))
    results = Results(setting)
    with reporter(progress, setting.epochs * len(seeds), title) as report:
        for k, seed in enumerate(seeds):
            results.runs.append(train_one(setting, seed, report, k * setting.epochs))
    return results
