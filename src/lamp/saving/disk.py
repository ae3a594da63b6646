"""Write files and folders atomically: a reader finds the old one or the new one, never a part of it.

The new file or folder is written beside the old one under a temporary name, synced to the disk, and only then renamed,
which is one operation of the file system. So a crash or a power cut never leaves an incomplete one. Temporary files of
a killed process are removed by the next writer.
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
from lamp.saving.paths import linked, saving
from lamp.values import as_path

PATIENCE = 5.0  # seconds to wait for another process that is between its two renamings
RENAMING = ".lamp-renaming"  # ending of the lock's name
PARTIAL, FORMER = ".lamp-partial", ".lamp-former"  # endings of temporary names: still being written; being replaced


def write_file(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object], *, follow: bool = True) -> None:
    """Write a file atomically; `write(file)` writes its bytes.

    follow  whether the path may be a symbolic link. The file that it points to is then replaced

    Raises CheckpointError if the disk is full or the path cannot be written; an earlier file then stays unchanged.
    """
    path = as_path(path)
    with saving(path):
        if path.is_symlink():
            if not follow:
                raise linked(path)
            path = path.resolve()
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} is not a regular file",
                expected="a file, or a path that does not exist",
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
    """A context with a new folder to write into. It is renamed to `path` when the block ends, and removed if it fails.

    finish   called with the folder at the end of the block, for example to write a manifest of its files
    replace  whether to replace a folder that exists by then; it stays until the new one is complete

    Raises CheckpointError if the disk is full, if the path cannot be written or is a file, and if a folder is there
    that must not be replaced.
    """
    path = as_path(path)
    with saving(path):
        if (no_name := path.name in ("", "..")) or not _is_free_for_a_folder(path):
            raise CheckpointError(
                f"{path} is {'not a name for a new folder' if no_name else 'a file'}",
                expected="the path of a folder, or a path that does not exist",
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
    """Whether the path is a folder or does not exist. It is a single stat, since another writer may be renaming."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return True


def _take_place(folder: Path, path: Path, replace: bool) -> None:
    """Rename the folder to `path`. An existing folder is renamed first, and removed once the new one is in place."""
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
                    f"{path} exists already",
                    expected="a path that does not exist",
                    got="a folder that was written in the meantime",
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
    """Restore a folder that was being replaced by a process that was killed between its two renamings."""
    if _former(path).exists():
        with _renaming(path):  # waits for another process that is between them right now
            _put_back(path)


def _put_back(path: Path) -> None:
    if (former := _former(path)).exists():
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            os.rename(former, path)


def remove_folder(path: Path) -> None:
    """Remove a folder, after renaming it, so that a part of it is never visible under its name."""
    gone = _beside(path, PARTIAL)
    with saving(path):
        os.rename(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def sweep(parent: Path, names: str = "*") -> None:
    """Remove the temporary files that killed writers left in a folder; nobody else may be writing these names."""
    for left in parent.glob(f".{names}{PARTIAL}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()
    for former in parent.glob(f".{names}{FORMER}"):
        recover(parent / former.name.removeprefix(".").removesuffix(FORMER))


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, on POSIX systems; Windows does this by itself."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sync_tree(folder: Path) -> None:
    """Sync all files below a folder, and their names, to the disk."""
    for path in files_below(folder):
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    for root, _, _ in os.walk(folder, topdown=False, onerror=_raise):
        sync_folder(Path(root))


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted. Raises OSError for a folder that cannot be listed."""
    return sorted(Path(root, name) for root, _, names in os.walk(folder, onerror=_raise) for name in names)


def _raise(error: OSError) -> None:
    raise error


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{ending}")
