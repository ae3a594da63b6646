"""Many networks of any architectures as one job: those that can train together do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lamp.errors import ArgumentError, NonFiniteError, NonFiniteWarning
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer, Schedule
from lamp.parameter import Parameter
from lamp.randomness import draw_seed
from lamp.replicas import Population, listed_networks, stack
from lamp.signatures import called
from lamp.studies.grouping import together
from lamp.studies.makers import optimizer_of, schedule_of
from lamp.training import Callback, History, Training, fit
from lamp.training.diagnosis import tell_of_failures
from lamp.training.interrupt import Interruptible
from lamp.training.metrics import Metrics
from lamp.training.progress import Reporter, reporter
from lamp.values import natural


@called()
def fit_each(
    models: Iterable[Module],
    criterion: Loss | None,
    optimizer: Callable[[list[Parameter]], Optimizer],
    data: Any,
    *,
    epochs: int,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    validation: Any = None,
    metrics: Metrics = (),
    scheduler: Callable[[Optimizer], Schedule] | None = None,
    schedule_per: str = "epoch",
    clip_norm: float | None = None,
    clip_value: float | None = None,
    callbacks: Sequence[Callback] = (),
    seed: int | Sequence[int] | None = None,
    progress: bool = True,
    engine: str = "auto",
) -> list[History]:
    """Train each of these networks, in place, and return the history of each.

    models     networks of any widths, depths and activations; each ends as `fit` would leave it alone
    optimizer  a class, or a function of the parameters: functools.partial(lamp.SGD, lr=0.1)
    scheduler  a function: lambda optimizer: lamp.StepLR(optimizer, 30)
    callbacks  begin anew with each group of networks that train together
    seed       of the samples' order: an integer for one order that all share, which costs least; a sequence, one for
               each network; by default each has one drawn

    Networks of one architecture train as a population, and so do rows of layers that differ in the widths of hidden
    layers alone: one kernel serves them all. So do other networks that `lamp.stack` takes, where none of them compiles.
    Others follow one after another. The optimizer of each begins anew, and is not kept.

    The other arguments are `fit`'s. A network whose loss is not finite ends with its last finite weights; a
    NonFiniteWarning names those in the end, and the others go on. Ctrl-C ends the training; the histories of what was
    not begun are empty.

    Raises ArgumentError where there are no models, one is given twice, or seeds are not as many; NonFiniteError where
    the loss of every network is not finite; and what `fit` raises.
    """
    networks = listed_networks(models, "fit_each")
    seeds = _seeds(seed, networks)
    natural(epochs, "epochs", least=1)
    histories = [_untouched(engine) for _ in networks]
    failures: dict[int, NonFiniteError | None] = {}
    done = 0

    def train(rows: list[int], report: Reporter) -> History:
        """Train the networks with these numbers together."""
        group = stack([networks[k] for k in rows]) if len(rows) > 1 else networks[rows[0]]
        own_optimizer = optimizer_of(optimizer, group.parameters())
        per_replica_seeds = seeds if isinstance(seeds, int) else [seeds[k] for k in rows]
        try:
            history = fit(
                group,
                criterion,
                own_optimizer,
                data,
                epochs=epochs,
                batch_size=batch_size,
                shuffle=shuffle,
                validation=validation,
                metrics=metrics,
                scheduler=None if scheduler is None else schedule_of(scheduler, own_optimizer),
                schedule_per=schedule_per,
                clip_norm=clip_norm,
                clip_value=clip_value,
                callbacks=[*callbacks, _Tell(report, done / len(networks), len(rows) / len(networks))],
                seed=per_replica_seeds if isinstance(per_replica_seeds, int) or len(rows) > 1 else per_replica_seeds[0],
                progress=False,
                engine=engine,
            )
        except NonFiniteError as error:  # every network of the group has failed
            if not hasattr(error, "history"):
                raise
            history = error.history
            failures.update(dict.fromkeys(rows, error))
        if isinstance(group, Population):
            failures.update({rows[k]: failures.get(rows[k]) for k in history.failed})
        for k, row in enumerate(rows):
            histories[row] = history.of(k) if isinstance(group, Population) else history
            if isinstance(group, Population):
                group.give(k, networks[row])
        return history

    with Interruptible() as interrupt, reporter(progress, epochs) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)  # those of all groups are named together
        for rows in together(networks):
            history = train(rows, report)
            done += len(rows)
            if interrupt.asked or history.stopped.startswith("interrupted"):
                break
    if len(failures) == len(networks):
        raise next(error for error in failures.values() if error is not None)
    tell_of_failures(failures, f"{len(networks)} networks", "their histories say")
    return histories


def _seeds(seed: int | Sequence[int] | None, networks: Sequence[Module]) -> int | list[int]:
    """The seed of all, or one for each network, once they are found to be networks."""
    if len({id(network) for network in networks}) < len(networks):
        raise ArgumentError(
            "a network is trained once", expected="each network once", got="one twice", fix="copy.deepcopy(network)"
        )
    if isinstance(seed, int):
        return seed
    if seed is None:
        return [draw_seed() for _ in networks]
    seeds = list(seed) if isinstance(seed, Sequence | range) and not isinstance(seed, str | bytes) else None
    if seeds is None or len(seeds) != len(networks):
        raise ArgumentError(
            "an integer for all networks, or a seed for each",
            expected=f"an integer, or {len(networks)} of them",
            got=repr(seed) if seeds is None else f"{len(seeds)} seeds",
            fix=f"seed=range({len(networks)})",
        )
    return seeds


def _untouched(engine: str) -> History:
    history = History(engine, "")
    history.stopped = "interrupted before it began"
    return history


class _Tell(Callback):
    """Passes a group's progress on: which begins when so much of the job is done, and is worth so much of it."""

    needs_model = False

    def __init__(self, report: Reporter, begin: float, worth: float) -> None:
        self.report, self.begin, self.worth = report, begin, worth

    def on_epoch(self, training: Training) -> None:
        done = training.epochs * self.begin + (training.epoch + 1) * self.worth
        self.report.at(done, training.history.last)
