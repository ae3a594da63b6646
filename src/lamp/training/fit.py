"""`fit` and `evaluate`: training and measuring in one call. They check their arguments and run the training loop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from lamp.cpu_settings import denormals_flushed
from lamp.data import DataLoader, as_batches, check_finite, is_batched
from lamp.errors import ArgumentError
from lamp.losses import Loss
from lamp.module import Module
from lamp.optim import Optimizer
from lamp.randomness import draw_seed
from lamp.replicas import Population
from lamp.signatures import called
from lamp.training import eager
from lamp.training.arguments import (
    ALSO,
    EVALUATION_BATCH,
    INSTEAD,
    as_callbacks,
    as_epochs,
    as_limit,
    as_step_in_backward,
    check_optimizer,
    check_scheduler,
    held_out,
    is_share,
    network_and_loss,
    with_targets,
)
from lamp.training.callback import Callback, Stepping, Training
from lamp.training.checkpointer import open_checkpoints
from lamp.training.checkpoints import Checkpoint
from lamp.training.choosing import ENGINES
from lamp.training.history import History
from lamp.training.loop import Loop
from lamp.training.measured import Measured, MeasuredValues
from lamp.training.metrics import Metrics, by_name
from lamp.training.mismatches import (
    warn_of_classes,
    warn_of_labels,
    warn_of_pair,
    warn_of_torchs_parameters,
    warn_of_unread,
)
from lamp.training.own_loss import check_loss
from lamp.values import natural
from lamp.workers import not_cut_off


@called(ALSO, INSTEAD)
def fit(
    model: Module,
    criterion: Loss | None,
    optimizer: Optimizer,
    data: Any,
    targets: Any = None,
    *,
    epochs: int,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    validation: Any = None,
    metrics: Metrics = (),
    scheduler: Stepping | None = None,
    schedule_per: str = "epoch",
    clip_norm: float | Tensor | None = None,
    clip_value: float | Tensor | None = None,
    step_in_backward: bool = False,
    callbacks: Sequence[Callback] | Callback = (),
    seed: int | Sequence[int] | None = None,
    progress: bool = True,
    engine: str = "auto",
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    resume: bool | str | os.PathLike[str] = False,
) -> History:
    """Train a network, or a population of networks, and return the history of losses and metrics.

    model         any module, or a population; with criterion=None a Sequential that ends in its loss
    criterion     the loss; None for a network that ends in its loss
    optimizer     an optimizer of model.parameters()
    data          (inputs, targets) as tensors or arrays, a data set, a DataLoader of lamp's or torch's, or any list of
                  batches (inputs, targets). Several inputs or targets are a tuple, as in ((a, b), targets)
    targets       the targets, if `data` are the inputs alone: fit(model, criterion, optimizer, X, y, epochs=10)
    epochs        the number of passes over the data
    batch_size    samples per batch, if the data are not in batches yet; None for 32
    shuffle       whether each epoch takes the samples in a new order, if they are not in batches yet; None for True
    validation    data as above, measured in eval mode after each epoch as "validation_loss" and so on; or the share of
                  samples to hold out, such as 0.2. The seed determines which ones; without a seed they are always the
                  same
    metrics       one metric, a list or a dict: of lamp.metrics, such as lamp.metrics.F1(); "accuracy"; an object with
                  update(output, target), value() and reset(); or a function (output, target), which is called once per
                  epoch with all outputs. The metric must be one number, in a population one per replica. On training
                  data it is computed from the outputs with which each batch was trained. The objects are copied
    scheduler     an object whose step() is called after each epoch; that of ReduceLROnPlateau gets the validation loss,
                  or without validation the loss
    schedule_per  "epoch", or "batch" to call the scheduler after each batch
    clip_norm     the largest norm of all gradients together; larger gradients are scaled down
    clip_value    the largest absolute value of an element of a gradient
    step_in_backward  True to update each parameter within backward, which saves the memory of the gradients (see
                  Optimizer.step_in_backward); not with clipping. The results are the same. The compiled engine has no
                  use for it
    callbacks     one or several, see lamp.Callback and lamp.EarlyStopping
    seed          of the order of samples, if they are not in batches yet; None to draw one
    progress      True for one live line on a terminal, or plain lines elsewhere, on stderr; False for nothing
    engine        "eager", "compiled" (network, gradient, optimizer and loop as machine code, see lamp.compile), or
                  "auto" for the faster of them. The history says which one ran, why, and how long compiling took
    checkpoint    a folder to save to, or a lamp.Checkpoint that also says how often. It gets `history.jsonl`, with one
                  line per epoch, and the newest checkpoints
    resume        True to continue from the newest checkpoint in that folder, if there is one; or the folder or the
                  checkpoint to continue from. All other arguments must be the same as before, with all their
                  attributes and the same parameters frozen; only `epochs` may grow. A CheckpointWarning
                  names your own functions and methods whose code has changed. If the newest checkpoint is damaged, the
                  one before it is used, with a CheckpointWarning

    In a population every replica trains as it would alone, and measured values are (K,). All replicas share the data
    (inputs, targets), but each takes the samples in its own order, given by its seed. With seed=s all use the order of
    s, which is faster; seed=[...] gives K seeds. Data, folds or bootstrap samples per replica are passed as a
    lamp.DataLoader with replicas= or indices=; in a list of batches they are marked by lamp.per_replica(x), since
    unmarked tensors are shared whatever their shape. A hyperparameter of optimizer or loss, clip_norm and clip_value
    may be a tensor (K,). A replica whose loss is not finite ends with its last finite weights, and a NonFiniteWarning
    names it at the end; the others continue. A replica that has ended costs nothing more. A validation loss that is not
    finite ends nothing, and is told once at the end, also for a single network.

    A network too small to gain from several threads trains on one of torch's threads. During training, denormal numbers
    (below 1e-38; a saturated network has many) count as 0, because they are slow.

    Ctrl-C ends the training after the current batch, and the history of the finished epochs is returned. With a
    checkpoint folder, the training is saved first; SIGTERM does the same and then ends the program. A second signal
    ends it at once. A resumed training ends with the same bits as one that never stopped (with the same engine, number
    of threads and kind of processor). Generators and numbers in your own data sets, modules and callbacks with a
    `state_dict` go on as well; a CheckpointWarning names what else had changed in them, and begins again.

    An epoch's loss is the criterion's over all rows, whatever its mean divides by. A TrainingWarning tells of a last
    layer that does not fit the loss, such as Softmax before CrossEntropyLoss, and of parameters that the optimizer
    lacks, unless they are frozen.

    Raises ArgumentError, DataError or ShapeError for what does not fit, before the first step where that can be seen;
    NonFiniteError for a loss that is NaN or infinite (in a population, of every replica): the error names the module
    that made it and has the history so far as its attribute `history`, and the model holds the last finite weights
    that were kept. CheckpointError for a checkpoint that is damaged or of another training, where another process
    or thread is training into the folder, and where it cannot be written: the checkpoints before stay.
    """
    if not isinstance(engine, str) or engine not in ENGINES:
        raise ArgumentError(
            f"unknown engine {engine!r}",
            expected=" or ".join(map(repr, ENGINES)),
            got=repr(engine),
            fix='engine="auto" chooses the faster one',
        )
    epochs = as_epochs(epochs)
    whole = model
    model, criterion = network_and_loss(model, criterion)
    check_optimizer(model, criterion, optimizer)
    check_scheduler(optimizer, scheduler, schedule_per)
    warn_of_pair(model, criterion)
    warn_of_torchs_parameters(model)
    warn_of_unread(model)
    if isinstance(model, Population):
        model.check_again()
    history = History(engine, "", model.replicas)
    training = Training(
        model=model,
        criterion=criterion,
        optimizer=optimizer,
        epochs=epochs,
        history=history,
        metrics=by_name(metrics, criterion),
        callbacks=as_callbacks(callbacks),
        scheduler=scheduler,
        schedule_per=schedule_per,
        clip_norm=as_limit("clip_norm", clip_norm, model.replicas),
        clip_value=as_limit("clip_value", clip_value, model.replicas),
        step_in_backward=as_step_in_backward(step_in_backward, optimizer, clip_norm, clip_value),
    )
    with not_cut_off():  # what is prepared uses torch, too
        data = with_targets(data, targets)
        drawn = seed is None and not is_batched(data)
        rows = None
        if is_share(validation):
            data, rows, validation = held_out(data, validation, seed)
        if isinstance(model, Population) and seed is None and shuffle is not False and not is_batched(data):
            seed = model.seeds or [draw_seed() for _ in range(len(model))]
        batches = as_batches(data, batch_size, shuffle, seed=seed, epochs=epochs, indices=rows)
        measured_on = None if validation is None else _in_order(validation, EVALUATION_BATCH, epochs)
        for kind, each in (("", batches), ("validation_", measured_on)):
            if isinstance(each, DataLoader) and each.replicas not in (None, model.replicas):
                raise _other_replicas(f"{kind}data", each, model)
            if isinstance(each, DataLoader) and each.tensors is not None:
                for column in each.tensors[:-1]:
                    check_finite(column, f"{kind}inputs")
                check_finite(each.tensors[-1], f"{kind}targets")
        warn_of_labels(criterion, batches)
        warn_of_classes(training.metrics, criterion, batches)
        check_loss(whole, model, criterion, batches)
        checkpointer, saved = open_checkpoints(training, batches, measured_on, checkpoint, resume, engine, drawn=drawn)
        try:
            with denormals_flushed():
                Loop(training, batches, measured_on, checkpointer).run(engine, progress, saved)
        finally:
            if checkpointer is not None:
                checkpointer.close()
    return history


def _other_replicas(what: str, loader: DataLoader, model: Module) -> ArgumentError:
    return ArgumentError(
        f"the {what} are for another number of replicas than the model has",
        expected="data that all share" if model.replicas is None else f"K = {model.replicas}",
        got=f"batches for {loader.replicas} replicas",
        fix="train a population"
        if model.replicas is None
        else "give each replica one seed, row of data and of indices",
    )


@called({"loss": "criterion", "loss_fn": "criterion"}, {"X": INSTEAD["X"], "x": INSTEAD["x"], "y": INSTEAD["y"]})
def evaluate(
    model: Module,
    criterion: Loss | None,
    data: Any,
    targets: Any = None,
    *,
    metrics: Metrics = (),
    batch_size: int = EVALUATION_BATCH,
) -> dict[str, Measured]:
    """The loss and the metrics of a network on data, in eval mode: a dict from names to numbers.

    model       any module, or a population; with criterion=None a Sequential that ends in its loss
    criterion   the loss; None for a network that ends in its loss
    data        (inputs, targets), a data set, a DataLoader or a list of batches, as for `fit`
    targets     the targets, if `data` are the inputs alone
    metrics     as for `fit`; a metric need not be one number here
    batch_size  samples per batch, if the data are not in batches yet

    In a population each value is a tensor (K,). A metric of several numbers, such as lamp.metrics.ConfusionMatrix(),
    is a tensor, in a population (K, ...). The loss is the criterion's over all rows, whatever the batches.

    The errors are those of `fit`.
    """
    whole = model
    model, criterion = network_and_loss(model, criterion, "evaluate")
    warn_of_pair(model, criterion)
    batches = _in_order(with_targets(data, targets), natural(batch_size, "batch_size", least=1), 1)
    if isinstance(batches, DataLoader) and batches.replicas not in (None, model.replicas):
        raise _other_replicas("data", batches, model)
    measured = by_name(metrics, criterion, numbers=False)
    warn_of_classes(measured, criterion, batches)
    check_loss(whole, model, criterion, batches)
    return MeasuredValues(eager.evaluate(model, criterion, batches, measured))


def _in_order(data: Any, batch_size: int, epochs: int) -> Iterable[Any]:
    """The data in batches without shuffling; data that are in batches already are unchanged."""
    return as_batches(data, None if is_batched(data) else batch_size, False, epochs=epochs)
