"""Checkpointer: saves a training to disk while it runs. It decides when to save, and which checkpoints to remove."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lamp.errors import ArgumentError, CheckpointError
from lamp.saving import Lock, saving, sweep, write_file
from lamp.saving.disk import remove_folder
from lamp.saving.paths import linked
from lamp.training.callback import Training
from lamp.training.checkpoints import CHECKPOINTS, Checkpoint, Saved, moment_of, read_checkpoint, write_checkpoint
from lamp.training.fingerprint import (
    CODE,
    KEPT,
    Fingerprint,
    changing_fingerprint,
    compare,
    fingerprint_of,
    restore_attributes,
)
from lamp.training.history import History
from lamp.training.own_code import tell_of_changes
from lamp.training.state_checks import check_state
from lamp.values import as_path

HISTORY = "history.jsonl"
UNLIMITED = sys.maxsize


class Checkpointer:
    """Saves a training as `settings` say, and writes its history line by line.

    It holds the lock of the folder until `close`. Another process or thread that wants to train there gets a
    CheckpointError that names the holder.

    Raises CheckpointError if the folder is locked or cannot be written.
    """

    def __init__(self, settings: Checkpoint) -> None:
        self.settings, self.folder = settings, Path(settings.folder)
        self._lines: Any = None
        self._saved_at = (-1, -1)  # epoch and step of the last checkpoint
        with saving(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = Lock.inside(self.folder)

    def start(
        self, fingerprint: Fingerprint, batches: Iterable[Any], validation: Iterable[Any] | None, saved: Saved | None
    ) -> None:
        """Prepare the folder.

        fingerprint          the fingerprint of the training when it began
        batches, validation  its data
        saved                the checkpoint that it continues from, or None. The folder may hold checkpoints only if
                             this is one of them

        Raises CheckpointError if the folder holds another training.
        """
        self.fingerprint, self.batches, self.validation = fingerprint, batches, validation
        checkpoints = self.folder / CHECKPOINTS
        there = self.settings.saved()
        with saving(self.folder):
            goes_on = saved is not None and saved.path.parent.resolve() == checkpoints.resolve()
            if there and not goes_on:
                raise CheckpointError(
                    f"{self.folder} already holds a training",
                    expected="an empty folder, or one that does not exist yet",
                    got=f"{len(there)} checkpoints, the last {there[-1].name}",
                    fix="resume=True continues it; for a new training choose another folder, or delete this one",
                )
            if checkpoints.is_symlink():
                raise linked(checkpoints)
            checkpoints.mkdir(exist_ok=True)
            sweep(self.folder, f"{HISTORY}*")
            sweep(checkpoints, "epoch-*")
        self._next = time.monotonic() + (self.settings.every_seconds or 0.0)
        if saved is not None and goes_on:
            self._saved_at = (saved.state["epoch"], saved.state["step"])

    # ---- when ------------------------------------------------------------------------------------------------------
    def steps_left(self, step: int) -> int:
        """The number of steps until the next checkpoint may be due."""
        every = self.settings.every_steps
        return UNLIMITED if every is None else every - step % every

    def epochs_left(self, epoch: int, step: int, steps: int) -> int:
        """The number of epochs, of so many steps each, until the next checkpoint may be due."""
        every = self.settings.every_epochs
        whole = UNLIMITED if every is None else every - epoch % every
        return min(whole, max(self.steps_left(step) // steps, 1))

    def is_due(self, epoch: int, step: int, between: bool) -> bool:
        """Whether to save now, after `epoch` whole epochs and `step` steps; `between` says if no epoch is under way."""
        every = self.settings
        if self._saved_at == (epoch, step):
            return False
        if between and every.every_epochs is not None and epoch % every.every_epochs == 0:
            return True
        if every.every_steps is not None and step % every.every_steps == 0 and self._saved_at[1] != step:
            return True
        return every.every_seconds is not None and time.monotonic() >= self._next

    # ---- what ------------------------------------------------------------------------------------------------------
    def has(self, training: Training) -> bool:
        """Whether the last checkpoint was saved at this step."""
        return (training.epoch, training.step) == self._saved_at

    def save(self, training: Training, state: Mapping[str, Any]) -> None:
        """Write a checkpoint; then remove the oldest ones beyond `keep`, and those of steps after this one.

        state  everything needed to continue, except the model's parameters and buffers

        Raises CheckpointError if it cannot be written.
        """
        here = (training.epoch, training.step)
        self._sync()
        path = self.settings.path_of(*here)
        moved = changing_fingerprint(training, self.batches, self.validation)
        document = {"made_of": self.fingerprint, "moved": moved, **state}
        write_checkpoint(path, training.model.state_dict(), document)
        self._saved_at = here
        saved = self.settings.saved()
        ours = [each for each in saved if moment_of(each) <= here]
        for stale in saved[len(ours) :] + ours[: -self.settings.keep]:
            remove_folder(stale)
        self._next = time.monotonic() + (self.settings.every_seconds or 0.0)

    # ---- the history, line by line ---------------------------------------------------------------------------------
    def begin(self, history: History) -> None:
        """Write the epochs that are done to `history.jsonl`, and open it for more."""
        path = self.folder / HISTORY
        text = "".join(history.line(k) + "\n" for k in range(history.epochs)).encode()
        write_file(path, lambda file: file.write(text), follow=False)
        with saving(path):
            self._lines = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`

    def record(self, history: History) -> None:
        """Append the last epoch's line."""
        assert self._lines is not None
        line = (history.line(history.epochs - 1) + "\n").encode()
        with saving(self.folder / HISTORY):
            before = self._lines.tell()
            try:
                if self._lines.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                self._lines.truncate(before)
                raise

    def _sync(self) -> None:
        """Flush the lines so far to the disk."""
        if self._lines is not None:
            with saving(self.folder / HISTORY):
                os.fsync(self._lines.fileno())

    def close(self) -> None:
        """Close `history.jsonl` and release the folder's lock. May be called twice."""
        try:
            if self._lines is not None:
                with saving(self.folder / HISTORY):
                    self._lines.close()
        finally:
            self._lock.release()


def check_schedule(scheduler: Any) -> None:
    """Raise ArgumentError unless a schedule can be saved."""
    if scheduler is not None and not (hasattr(scheduler, "state_dict") and hasattr(scheduler, "load_state_dict")):
        raise ArgumentError(
            f"{type(scheduler).__name__} cannot be saved in a checkpoint",
            expected="a schedule with state_dict() and load_state_dict(state)",
            got="neither of them, or only one",
            fix="write these two methods, or derive it from lamp.LRScheduler",
        )


def open_checkpoints(
    training: Training,
    batches: Iterable[Any],
    validation: Iterable[Any] | None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None,
    resume: bool | str | os.PathLike[str],
    engine: str,
    *,
    drawn: bool,
) -> tuple[Checkpointer | None, Saved | None]:
    """The Checkpointer of the training (None if it is not saved), and the checkpoint to continue from (None if new).

    drawn  whether the seed of the data's order was drawn, not given

    Raises ArgumentError and CheckpointError, as `fit` does.
    """
    if resume is True and checkpoint is None:
        raise ArgumentError(
            "resume=True needs checkpoint=, the folder to continue in",
            expected='checkpoint="folder"',
            got="checkpoint=None",
            fix='pass checkpoint="folder" as well, or resume="folder"',
        )
    source = None if isinstance(resume, bool | None) else as_path(resume, "resume", "True, or ")
    if checkpoint is None and not resume:
        return None, None
    check_schedule(training.scheduler)
    settings = checkpoint if isinstance(checkpoint, Checkpoint) or checkpoint is None else Checkpoint(checkpoint)
    with ExitStack() as if_it_fails:
        checkpointer = None if settings is None else Checkpointer(settings)
        if checkpointer is not None:
            if_it_fails.callback(checkpointer.close)
        saved = None
        if resume is True and settings is not None and settings.saved():
            source = Path(settings.folder)
        if source is not None:
            saved = read_checkpoint(source)
        fingerprint = fingerprint_of(training, batches, validation, drawn=drawn)
        if saved is not None:
            made_of, moved = saved.state["made_of"], saved.state["moved"]
            compare(made_of, moved, fingerprint, saved.path)
            check_state(saved, training, batches, validation)
            _check_reach(training, saved, engine)
            tell_of_changes(made_of.get(CODE), fingerprint[CODE], saved.path)
            restore_attributes(training, made_of, moved)
            fingerprint = {**made_of, KEPT: fingerprint[KEPT]}
        if checkpointer is not None:
            checkpointer.start(fingerprint, batches, validation, saved)
        if_it_fails.pop_all()
    return checkpointer, saved


def _check_reach(training: Training, saved: Saved, engine: str) -> None:
    """Raise ArgumentError if the checkpoint is beyond the number of epochs, or was trained by another engine."""
    epoch, own = saved.state["epoch"], saved.state["history"]["engine"]
    begun = saved.state["by_engine"]["under_way"] is not None
    if epoch + begun > training.epochs:
        raise ArgumentError(
            f"{saved.path} has more epochs than epochs={training.epochs}",
            expected=f"epochs of at least {epoch + begun}",
            got=training.epochs,
            fix="pass a larger number of epochs, or resume from an earlier checkpoint",
        )
    if engine not in ("auto", own):
        raise ArgumentError(
            f"{saved.path} was trained by the {own} engine",
            expected=f'engine="auto" or "{own}"',
            got=repr(engine),
            fix="continue with the same engine, since engines agree to rounding but not to the bit",
        )
