"""Files and folders that are either there as a whole or not at all, whatever happens while they are written.

What is new is written beside what it will replace, under a name of its own; made to reach the disk; and only then given
its place, which is one operation of the file system. So whoever reads finds the old one or the new one, complete, also
after a crash or a cut of power in between. What a killed process leaves beside is swept away by the next writer.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from lamp.errors import CheckpointError
from lamp.saving.lock import Lock
from lamp.saving.paths import saving
from lamp.values import as_path

PATIENCE = 5.0  # seconds to wait for somebody who is between two renamings
RENAMING = ".lamp-renaming"  # ending of a lock's name
PARTIAL, FORMER = ".lamp-partial", ".lamp-former"  # endings of names: not complete yet; to be replaced


def write_file(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file as a whole: `write(file)` puts its bytes into it.

    Raises CheckpointError where the disk is full or the place cannot be written; what was there before stays.
    """
    path = as_path(path)
    with saving(path):
        if path.is_symlink():
            path = path.resolve()
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} is no regular file",
                expected="a file, or nothing there",
                got="a folder" if path.is_dir() else "a device, a pipe or a socket",
                fix=f"save to {path / 'NAME'}" if path.is_dir() else "choose another name",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path, PARTIAL)
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
def whole_folder(
    path: str | os.PathLike[str], finish: Callable[[Path], None] | None = None, *, replace: bool = True
) -> Iterator[Path]:
    """A new folder to write into, which takes its place at `path` when the block ends, and is removed if it fails.

    finish   is called with the folder when the block has ended: for what must say something about the files in it
    replace  whether a folder that is there by then is replaced: it stays until the new one is complete

    Raises CheckpointError where the disk is full or the place cannot be written, where a file stands there, or a folder
    that is not to be replaced.
    """
    path = as_path(path)
    with saving(path):
        if (no_name := path.name in ("", "..")) or not _is_free_for_a_folder(path):
            raise CheckpointError(
                f"{path} is {'no name for a new folder' if no_name else 'a file'}",
                expected="the name of a folder, or of nothing yet",
                got=f"{str(path)!r}",
                fix="choose another name",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = _beside(path, PARTIAL)
        folder.mkdir()
        try:
            yield folder
            if finish is not None:
                finish(folder)
            _sync_tree(folder)
            _take_place(folder, path, replace)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _is_free_for_a_folder(path: Path) -> bool:
    """Whether a folder stands there, or nothing. Asked at once: another writer may be exchanging folders meanwhile."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _take_place(folder: Path, path: Path, replace: bool) -> None:
    """Rename the folder to `path`. One that is there is renamed first, and removed once the new one is in its place."""
    former = _former(path)
    if not path.exists() and not former.exists():
        try:
            os.rename(folder, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            sync_folder(path.parent)
            return
    with _renaming(path):
        _put_back(path)
        if path.exists():
            if not replace and any(path.iterdir()):
                raise CheckpointError(
                    f"{path} is there already",
                    expected="a name that is free",
                    got="a folder that was written meanwhile",
                    fix="choose another name",
                )
            os.rename(path, former)
        try:
            os.rename(folder, path)
        except BaseException:
            _put_back(path)
            raise
        try:
            sync_folder(path.parent)
        finally:
            shutil.rmtree(former, ignore_errors=True)


def _former(path: Path) -> Path:
    return path.with_name(f".{path.name}{FORMER}")


def _renaming(path: Path) -> Lock:
    return Lock(path.with_name(f".{path.name}{RENAMING}"), str(path), wait=PATIENCE)


def recover(path: Path) -> None:
    """Put a folder back that was to be replaced when the process was killed, between the two renamings."""
    if _former(path).exists():
        with _renaming(path):  # unless somebody is between them right now
            _put_back(path)


def _put_back(path: Path) -> None:
    if (former := _former(path)).exists():
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


def sweep(parent: Path, names: str = "*") -> None:
    """Remove from a folder what killed writers of such names left; nobody else may be writing these."""
    for left in parent.glob(f".{names}{PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()
    for former in parent.glob(f".{names}{FORMER}"):
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
    for path in files_below(folder):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    for root, _, _ in os.walk(folder, topdown=False, onerror=_raise):
        sync_folder(Path(root))


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and in those below it, in order; what cannot be looked into raises OSError."""
    return sorted(Path(root, name) for root, _, names in os.walk(folder, onerror=_raise) for name in names)


def _raise(error: OSError) -> None:
    raise error


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")
