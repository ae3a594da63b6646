"""Many settings at once: every combination of hyperparameters, each with every seed, as replicas of populations."""

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
from lamp.studies.group import Group, Plan
from lamp.studies.grouping import together
from lamp.studies.recipe import Recipe
from lamp.studies.settings import Setting, as_settings, shown
from lamp.studies.sweep_table import Sweep
from lamp.studies.trial import Trial
from lamp.training import Callback, Training
from lamp.training.arguments import as_callbacks
from lamp.training.interrupt import Interruptible
from lamp.training.metrics import MetricLike, Metrics, by_name
from lamp.training.progress import Reporter, reporter
from lamp.values import natural


@called()
def sweep(
    model: Module | Callable[..., Module],
    settings: Mapping[str, Iterable[Any]] | Iterable[Setting],
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
) -> Sweep:
    """Train a network for every setting and every seed, and rank the settings by their mean score.

    settings   {"lr": [0.1, 0.01], "weight_decay": [0, 1e-3]}, for every combination; or a list of settings, such as
               lamp.samples(200, lr=lamp.log_uniform(1e-4, 1e-1)). Each name goes where it belongs: to the optimizer
               (its numbers: lr, momentum, betas, ...), the loss (label_smoothing, delta, beta), clip_norm, clip_value,
               or the arguments of the model function. A setting's value takes the place of one given elsewhere
    model      a network, or a function that builds one: lambda hidden: lamp.Sequential(...). Networks that differ
               in the widths of hidden layers alone train together, others one after another
    optimizer  a class, or a function of the parameters and the numbers: functools.partial(lamp.SGD, momentum=0.9)
    seeds      how many (0, 1, ...), or a list. The network of a setting and a seed is initialised with it, and takes
               samples in its order: it is what `fit` makes of that network, those numbers and that seed alone. Data
               that come in batches come to all in the same order
    score      what ranks: a name in the history; by default the validation's one metric, its loss, or else the loss
    mode       "min" or "max": which is better; by default as for lamp.EarlyStopping
    halving    None, or successive halving: with 3, the best third of the settings goes on after 1/3 of the epochs, of
               more settings a third after 1/9 and so on; the networks of the others are let go. Where data and
               schedule are the same, those that remain end as they would have without it
    scheduler  a function: lambda optimizer: lamp.StepLR(optimizer, 30)
    at_once    the most networks trained as one population, whole settings together; None for all

    The others are `fit`'s. A network whose loss is not finite has failed: it is counted, and its setting ranks below
    those without failures. Ctrl-C ends the sweep, and what was found so far is returned.

    Source    Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization"
              (successive halving)

    Raises ArgumentError for settings, names, values or arguments that do not fit, before anything is trained;
    NonFiniteError where all networks have failed; and what `fit` raises.
    """
    tried = as_settings(settings)
    several = isinstance(seeds, Iterable) and not isinstance(seeds, torch.Tensor)
    listed: list[int] = list(seeds) if several else list(range(natural(seeds, "seeds", least=1)))  # type: ignore[arg-type]
    natural(len(listed), "the number of seeds", least=1)
    epochs, callbacks = natural(epochs, "epochs", least=1), as_callbacks(callbacks)
    named = by_name(metrics)
    score, mode = _score(score, mode, named, validation is not None)
    rungs = _rungs(halving, len(tried), epochs)
    if rungs and (anew := [callback for callback in callbacks if not callback.across_stages]):
        raise ArgumentError(
            "halving trains in stages, and a callback would begin anew in each",
            expected="callbacks or halving",
            got=", ".join(type(callback).__name__ for callback in anew),
            fix="halving=None",
        )
    recipe = Recipe(tried, model, optimizer, criterion, {"clip_norm": clip_norm, "clip_value": clip_value})
    plan = Plan(recipe, listed, score, data, epochs, batch_size, shuffle, validation, named, scheduler, schedule_per)
    if isinstance(data, DataLoader):
        data.order_of(data.epoch)  # if it shuffles without a seed it draws one here, which all groups then share
    trials = [Trial(setting, len(listed)) for setting in tried]
    groups = [Group(plan, each) for each in _groups(trials, recipe, len(listed), at_once)]
    with Interruptible() as interrupt, reporter(progress, epochs) as report:
        stopped, best = "all epochs done", dict[str, torch.Tensor]()
        for share in _stages(groups, trials, [*rungs, epochs], halving or 1, mode):
            history = share.group.train(share.epochs, [*callbacks, _Tell(report, share, score, mode, best)])
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
    """One training of one group: so many epochs, after those before it; of the sweep from `begin`, `worth` epochs."""

    group: Group
    before: int
    epochs: int
    begin: float
    worth: float


def _stages(
    groups: Sequence[Group], trials: Sequence[Trial], stops: Sequence[int], halving: int, mode: str
) -> Iterator[_Share]:
    """All groups up to the first stop, then those of the best trials up to the next, and so on."""
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
            gc.collect()  # a module and its last pass know each other: counting references would not free them


class _Tell(Callback):
    """Passes a group's progress on to the reporter of the whole sweep, and the best score of all so far."""

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
    """Trials whose networks may train together, at most `at_once` networks of them."""
    if at_once is not None and natural(at_once, "at_once", least=1) < seeds:
        raise ArgumentError(
            "a setting's networks are trained together",
            expected=f"at_once of at least {seeds}, the number of seeds",
            got=at_once,
            fix="take fewer seeds",
        )
    size = len(trials) if at_once is None else at_once // seeds
    alike = together([recipe.network(trial.setting) for trial in trials])
    return [[trials[k] for k in rows[first : first + size]] for rows in alike for first in range(0, len(rows), size)]


def _score(score: str | None, mode: str | None, metrics: Mapping[str, MetricLike], validated: bool) -> tuple[str, str]:
    """What ranks, and which way."""
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
    if mode not in (None, "min", "max"):
        raise ArgumentError("unknown mode", expected="'min' or 'max'", got=repr(mode), fix="name one of these")
    return score, mode or mode_of(score, metrics)


def _rungs(halving: int | None, settings: int, epochs: int) -> list[int]:
    """The epochs after which only the best 1/halving of the settings go on, until fewer than that are left."""
    if halving is None:
        return []
    natural(halving, "halving", least=2)
    count = 0
    while halving ** (count + 1) <= settings:
        count += 1
    if count >= epochs:
        raise ArgumentError(
            f"{settings} settings are halved {count} times, and there are not as many epochs",
            expected=f"at least {count + 1} epochs",
            got=epochs,
            fix="train for more epochs, or let fewer go on with a larger halving",
        )
    return sorted({max(1, round(epochs / halving**r)) for r in range(1, count + 1)})
