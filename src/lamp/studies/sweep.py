"""`sweep`: many settings of hyperparameters, each with several seeds, trained at once as replicas of populations."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lamp.data import DataLoader
from lamp.errors import ArgumentError, NonFiniteError
from lamp.losses import Loss
from lamp.metrics.metric import mode_of
from lamp.module import Module
from lamp.optim import Adam, Optimizer, Schedule
from lamp.signatures import called
from lamp.studies.group import Group, SweepArguments
from lamp.studies.grouping import together
from lamp.studies.recipe import Recipe
from lamp.studies.settings import as_settings, shown
from lamp.studies.sweep_table import Sweep
from lamp.studies.trial import Trial
from lamp.training import Callback, Training
from lamp.training.arguments import as_callbacks, held_out, is_share
from lamp.training.interrupt import Interruptible
from lamp.training.metrics import MetricLike, Metrics, by_name
from lamp.training.progress import Reporter, reporter
from lamp.values import a_seed, is_one_of, natural, several


@called()
def sweep(
    model: Module | Callable[..., Module],
    settings: Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]],
    data: Any,
    *,
    criterion: Loss | None,
    optimizer: Callable[..., Optimizer] = Adam,
    epochs: int,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    validation: Any = None,
    metrics: Metrics = (),
    seeds: int | Iterable[int] = 5,
    score: str | None = None,
    mode: str | None = None,
    halving: int | None = None,
    scheduler: Callable[[Optimizer], Schedule] | None = None,
    schedule_per: str = "epoch",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    callbacks: Sequence[Callback] = (),
    at_once: int | None = None,
    progress: bool = True,
    engine: str = "auto",
) -> Sweep:
    """Train a network for every setting and every seed, and rank the settings by their mean score.

    model      a network, or a function that builds one, such as lambda hidden: lamp.Sequential(...). Networks that
               differ only in the widths of hidden layers train together, others one after another
    settings   a dict of lists for every combination, {"lr": [0.1, 0.01], "weight_decay": [0, 1e-3]}; or a list of
               settings, such as lamp.samples(200, lr=lamp.log_uniform(1e-4, 1e-1)). A name belongs to the optimizer
               (lr, momentum, betas, ...), to the loss (label_smoothing, delta, beta), to clip_norm or clip_value, or to
               the arguments of the model function. A setting's value replaces one that is given elsewhere
    optimizer  a class, or a function of the parameters and the hyperparameters, such as
               functools.partial(lamp.SGD, momentum=0.9)
    seeds      the number of seeds (0, 1, ...), or a list. The seed initialises the network and orders its samples, so
               the result is what `fit` gives for that network, setting and seed. Data given as batches come to all
               networks in the same order
    score      the name in the history to rank by; by default the validation's metric if there is exactly one, else the
               validation loss, or without validation the loss
    mode       "min" or "max", for scores of which the lowest or highest is best; by default as for lamp.EarlyStopping
    halving    None, or the factor of successive halving. With 3, the best third of the settings continues after 1/3 of
               the epochs; with many settings, a third also after 1/9, and so on. The networks of the others are
               dropped. With equal data and schedule, those that remain end as they would have without halving
    scheduler  a function, such as lambda optimizer: lamp.StepLR(optimizer, 30)
    at_once    the largest number of networks to train as one population (a setting is never divided); None for all

    The other arguments, engine among them, are those of `fit`. validation=0.2 holds out the same fifth of the samples
    for all networks; the first seed decides which. A network whose loss is not finite has failed: it is counted, and
    its setting ranks below those without failures. Ctrl-C ends the sweep and returns the results so far.

    Source    Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization"
              (successive halving)

    Raises ArgumentError for settings, names, values or arguments that do not fit, before anything is trained;
    NonFiniteError if all networks have failed; and the errors of `fit`.
    """
    tried = as_settings(settings)
    counted = isinstance(seeds, torch.Tensor) or not isinstance(seeds, Iterable)
    each = range(natural(seeds, "seeds", least=1)) if counted else several(seeds, "seeds", "integers")
    listed = [a_seed(seed, "a seed") for seed in each]
    natural(len(listed), "the number of seeds", least=1)
    epochs, callbacks = natural(epochs, "epochs", least=1), as_callbacks(callbacks)
    named = by_name(metrics)
    score, mode = _score(score, mode, named, validation is not None)
    rungs = _rungs(halving, len(tried), epochs)
    if rungs and (anew := [callback for callback in callbacks if not callback.across_stages]):
        raise ArgumentError(
            "halving trains in stages, and a callback would start again in each",
            expected="callbacks or halving",
            got=", ".join(type(callback).__name__ for callback in anew),
            fix="halving=None",
        )
    recipe = Recipe(tried, model, optimizer, criterion, {"clip_norm": clip_norm, "clip_value": clip_value})
    rows = None
    if is_share(validation):
        data, rows, validation = held_out(data, validation, listed)
    of_data = (data, rows, epochs, batch_size, shuffle, validation)
    arguments = SweepArguments(recipe, listed, score, *of_data, named, scheduler, schedule_per, engine)
    if isinstance(data, DataLoader):
        data.order_of(data.epoch)  # if it shuffles without a seed, it draws one here, which all groups share
    trials = [Trial(setting, len(listed)) for setting in tried]
    groups = [Group(arguments, each) for each in _groups(trials, recipe, len(listed), at_once)]
    with Interruptible() as interrupt, reporter(progress, epochs) as report:
        stopped, best = "all epochs done", dict[str, torch.Tensor]()
        for share in _stages(groups, trials, [*rungs, epochs], halving or 1, mode):
            history = share.group.train(share.epochs, [*callbacks, _PartialProgress(report, share, score, mode, best)])
            if interrupt.asked or history.stopped.startswith("interrupted"):
                stopped = f"interrupted after {share.before + history.epochs} of {epochs} epochs"
                break
    trials.sort(key=lambda trial: trial.place(mode))
    if all(trial.failed == len(listed) for trial in trials):
        raise NonFiniteError(
            "every network of the sweep has failed",
            expected="a finite loss for at least one of them",
            got=f"{shown(trials[0].setting)}: {next(iter(trials[0].history().endings.values()))}",
            fix="look for NaN in the inputs and targets, or try lower learning rates",
        )
    return Sweep(trials, listed, score, mode, stopped)


@dataclass(frozen=True)
class _Share:
    """One call of a group's training, and its share of the whole sweep's progress."""

    group: Group
    before: int  # epochs trained before
    epochs: int  # epochs to train
    begin: float  # the sweep's progress when it begins, in epochs
    worth: float  # how much it adds to the sweep's progress, in epochs


def _stages(
    groups: Sequence[Group], trials: Sequence[Trial], stops: Sequence[int], halving: int, mode: str
) -> Iterator[_Share]:
    """The calls of training: all groups up to the first stop (an epoch), the best trials up to the next, and so on."""
    before = 0
    for stop in stops:
        worth = (stop - before) / max(len(groups), 1)
        for k, group in enumerate(groups):
            yield _Share(group, before, stop - before, before + k * worth, worth)
            if stop == stops[-1]:
                group.close()
        before = stop
        if stop < stops[-1]:
            trials = sorted(trials, key=lambda trial: trial.place(mode))[: max(1, len(trials) // halving)]
            for trial in trials:
                trial.rounds += 1
            for group in groups:
                group.keep(set(trials))
            groups = [group for group in groups if group.population is not None]
            gc.collect()  # a module and its last pass refer to each other, so reference counting does not free them


class _PartialProgress(Callback):
    """Reports a group's progress, and the best score so far, as a part of the whole sweep's."""

    needs_model = False

    def __init__(self, report: Reporter, share: _Share, score: str, mode: str, best: dict[str, torch.Tensor]) -> None:
        self.report, self.share, self.score, self.mode, self.best = report, share, score, mode, best

    def on_epoch(self, training: Training) -> None:
        scores = torch.as_tensor(training.history.last[self.score])
        finite = scores[scores.isfinite()]
        if len(finite):
            now = finite.min() if self.mode == "min" else finite.max()
            best = self.best.setdefault(f"best {self.score}", now)
            self.best[f"best {self.score}"] = best.minimum(now) if self.mode == "min" else best.maximum(now)
        done = (training.epoch + 1) / self.share.epochs
        self.report.at(self.share.begin + done * self.share.worth, self.best)


def _groups(trials: Sequence[Trial], recipe: Recipe, seeds: int, at_once: int | None) -> list[list[Trial]]:
    """Groups of trials whose networks may train together, each with at most `at_once` networks."""
    if at_once is not None and natural(at_once, "at_once", least=1) < seeds:
        raise ArgumentError(
            "at_once is too small: the networks of one setting are trained together",
            expected=f"at_once of at least {seeds}, the number of seeds",
            got=at_once,
            fix="use fewer seeds",
        )
    size = len(trials) if at_once is None else at_once // seeds
    alike = together([recipe.network(trial.setting) for trial in trials])
    return [[trials[k] for k in rows[first : first + size]] for rows in alike for first in range(0, len(rows), size)]


def _score(score: str | None, mode: str | None, metrics: Mapping[str, MetricLike], validated: bool) -> tuple[str, str]:
    """The name of the score to rank by, and "min" or "max". Raises ArgumentError for a name that is not measured."""
    measured = ["loss", *metrics]
    measured += [f"validation_{name}" for name in measured] if validated else []
    if score is None:
        score = f"validation_{next(iter(metrics))}" if len(metrics) == 1 else "validation_loss"
        score = score if validated else "loss"
    if not isinstance(score, str) or score not in measured:
        raise ArgumentError(
            f"the score {score!r} is not measured",
            expected=", ".join(measured),
            got=score,
            fix="name one of these" if validated else "pass validation=, or name one of these",
        )
    if mode is not None and not is_one_of(mode, "min", "max"):
        raise ArgumentError("unknown mode", expected="'min' or 'max'", got=repr(mode), fix="name one of these")
    return score, mode or mode_of(score, metrics)


def _rungs(halving: int | None, settings: int, epochs: int) -> list[int]:
    """The epochs after which only the best 1/halving of the settings continue."""
    if halving is None:
        return []
    natural(halving, "halving", least=2)
    count = 0
    while halving ** (count + 1) <= settings:
        count += 1
    if count >= epochs:
        raise ArgumentError(
            f"{settings} settings are halved {count} times, which needs more epochs",
            expected=f"at least {count + 1} epochs",
            got=epochs,
            fix="train for more epochs, or use a larger halving",
        )
    return sorted({max(1, round(epochs / halving**r)) for r in range(1, count + 1)})
