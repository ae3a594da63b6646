"""Files and folders that are either there as a whole or not at all, whatever happens while they are written.

What is new is written beside what it will replace, under a name of its own; made to reach the disk; and only then given
its place, which is one operation of the file system. So whoever reads finds the old one or the new one, complete, also
after a crash or a cut of power in between. What a killed process leaves beside is swept away by the next writer.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lamp.errors import CheckpointError

PARTIAL, FORMER = ".lamp-partial", ".lamp-former"  # endings of names: not complete yet; to be replaced


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """What the operating system refuses while `path` is saved becomes a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"{path} could not be saved: {reason}",
            expected="room and permission to write there",
            got=f"{type(error).__name__} {error.errno}: {error.filename or path.parent}",
            fix="make room or choose another folder; what was saved before is as it was",
        ) from error


def write_file(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file as a whole: `write(file)` puts its bytes into it.

    Raises CheckpointError where the disk is full or the place cannot be written; what was there before stays.
    """
    path = Path(path)
    beside = _beside(path, PARTIAL)
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        sync_folder(path.parent)


@contextmanager
def whole_folder(path: str | os.PathLike[str], finish: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """A new folder to write into, which takes its place at `path` when the block ends, and is removed if it fails.

    finish  is called with the folder when the block has ended: for what must say something about the files in it

    What was at `path` is there until the new folder is complete, and gone after. Raises CheckpointError where the disk
    is full or the place cannot be written, or where a file stands there.
    """
    path = Path(path)
    with saving(path):
        if path.is_file():
            raise CheckpointError(
                f"{path} is a file", expected="a folder, or nothing there", got="a file", fix="choose another name"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = _beside(path, PARTIAL)
        folder.mkdir()
        try:
            yield folder
            if finish is not None:
                finish(folder)
            _sync_tree(folder)
            _take_place(folder, path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _take_place(folder: Path, path: Path) -> None:
    """Rename the folder to `path`. One that is there is renamed first, and removed once the new one is in its place."""
    former = path.with_name(f".{path.name}{FORMER}")
    recover(path)
    if path.exists():
        os.rename(path, former)
    try:
        os.rename(folder, path)
    except BaseException:
        recover(path)
        raise
    try:
        sync_folder(path.parent)
    finally:
        shutil.rmtree(former, ignore_errors=True)


def recover(path: Path) -> None:
    """Put a folder back that was to be replaced when the process was killed, between the two renamings."""
    former = path.with_name(f".{path.name}{FORMER}")
    if former.exists():
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            os.rename(former, path)


def remove_folder(path: Path) -> None:
    """Remove a folder so that nobody ever sees a part of it under its name."""
    gone = _beside(path, PARTIAL)
    with saving(path):
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove from a folder what killed writers left; nobody else may be writing into it."""
    for left in parent.glob(f".*{PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()
    for former in parent.glob(f".*{FORMER}"):
        recover(parent / former.name.removeprefix(".").removesuffix(FORMER))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder reach the disk, where the system can (Windows cannot, and does it by itself)."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sync_tree(folder: Path) -> None:
    """Make all files below a folder reach the disk, and their names."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(Path(root, name), "rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(root))


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")
