"""`fit_each`: many networks of any architectures trained as one job; those that can train together do so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lamp.data.batches import as_batches
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
from lamp.training.arguments import as_callbacks, held_out, is_share
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
    """Train each of these networks in place, and return a list with the history of each.

    models     networks of any widths, depths and activations; each is trained as by `fit` alone
    optimizer  a class, or a function of the parameters, such as functools.partial(lamp.SGD, lr=0.1)
    validation as in `fit`; a share, such as 0.2, holds out the same samples for all networks, which follow from the
               first seed alone (from 0 without one)
    scheduler  a function of the optimizer, such as lambda optimizer: lamp.StepLR(optimizer, 30)
    callbacks  start again with each group of networks that train together
    seed       of the order of samples: an integer for one order that all share, which is fastest; a sequence with one
               seed per network; None to draw one per network

    Networks of one architecture train as a population. So do networks of layers in sequence that differ only in the
    widths of hidden layers, because one kernel can train them all; and other networks that `lamp.stack` accepts, if
    none of them compiles. The remaining ones train one after another. The optimizers are not kept.

    The other arguments are those of `fit`. A network whose loss is not finite keeps its last finite weights, and the
    others continue; in the end a NonFiniteWarning names those that failed. Ctrl-C ends the training; networks that had
    not begun have empty histories.

    Raises ArgumentError for no models, a model that is given twice, or a wrong number of seeds; NonFiniteError if the
    loss of every network is not finite; and the errors of `fit`.
    """
    networks = listed_networks(models, "fit_each")
    seeds = _seeds(seed, networks)
    natural(epochs, "epochs", least=1)
    callbacks = as_callbacks(callbacks)
    histories = [_not_begun(engine) for _ in networks]
    failures: dict[int, NonFiniteError | None] = {}
    done, rows_used = 0, None
    if is_share(validation):
        data, rows_used, validation = held_out(data, validation, seed)

    def train(rows: list[int], report: Reporter) -> History:
        """Train the networks with these indices together."""
        group = stack([networks[k] for k in rows]) if len(rows) > 1 else networks[rows[0]]
        own_optimizer = optimizer_of(optimizer, group.parameters())
        own = seeds if isinstance(seeds, int) else [seeds[k] for k in rows] if len(rows) > 1 else seeds[rows[0]]
        ways: dict[str, Any] = {"data": data, "batch_size": batch_size, "shuffle": shuffle, "seed": own}
        if rows_used is not None:
            ways = {"data": as_batches(**ways, epochs=epochs, indices=rows_used)}
        try:
            history = fit(
                group,
                criterion,
                own_optimizer,
                **ways,
                epochs=epochs,
                validation=validation,
                metrics=metrics,
                scheduler=None if scheduler is None else schedule_of(scheduler, own_optimizer),
                schedule_per=schedule_per,
                clip_norm=clip_norm,
                clip_value=clip_value,
                callbacks=[*callbacks, _PartialProgress(report, done / len(networks), len(rows) / len(networks))],
                progress=False,
                engine=engine,
            )
        except NonFiniteError as error:  # every network of the group has failed
            if error.history is None:
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
        warnings.simplefilter("ignore", NonFiniteWarning)  # one warning at the end names the failures of all groups
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
    """The seed of all networks, or a list with one seed per network. Raises ArgumentError for wrong seeds or networks
    that are given twice."""
    if len({id(network) for network in networks}) < len(networks):
        raise ArgumentError(
            "a network is given twice", expected="each network once", got="one twice", fix="copy.deepcopy(network)"
        )
    if isinstance(seed, int):
        return seed
    if seed is None:
        return [draw_seed() for _ in networks]
    seeds = list(seed) if isinstance(seed, Sequence | range) and not isinstance(seed, str | bytes) else None
    if seeds is None or len(seeds) != len(networks):
        raise ArgumentError(
            "seed must be an integer for all networks, or a list with a seed for each",
            expected=f"an integer, or {len(networks)} of them",
            got=repr(seed) if seeds is None else f"{len(seeds)} seeds",
            fix=f"seed=range({len(networks)})",
        )
    return seeds


def _not_begun(engine: str) -> History:
    """The history of a network whose training did not begin."""
    history = History(engine, "")
    history.stopped = "interrupted before it began"
    return history


class _PartialProgress(Callback):
    """Reports a group's progress as a part of the whole job's.

    begin, worth  fractions of the whole job: what is done when the group begins, and the group's own share
    """

    needs_model = False

    def __init__(self, report: Reporter, begin: float, worth: float) -> None:
        self.report, self.begin, self.worth = report, begin, worth

    def on_epoch(self, training: Training) -> None:
        done = training.epochs * self.begin + (training.epoch + 1) * self.worth
        self.report.at(done, training.history.last)
