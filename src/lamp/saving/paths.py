"""Paths as users give them, files that may be read, and what the operating system refuses, as lamp's errors."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamp.errors import CheckpointError
from lamp.saving.seal import DamagedError

SHOWN = 10  # names of a folder's files that an error lists

FIXES = {  # of what stops a file from being read
    errno.EACCES: "ask for permission to read it (chmod, chown), or copy it to where you have it",
    errno.EIO: "the disk failed: use another copy",
    errno.ENAMETOOLONG: "choose a shorter name",
}


# ---- what the operating system refuses -------------------------------------------------------------------------------
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
        ) from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What the operating system refuses while `path` is read becomes a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        raise (DamagedError if missing else CheckpointError)(
            f"{path} cannot be read: {error.strerror or error}",
            expected="a file that lamp has written",
            got=_what_is_beside(path) if missing else f"{type(error).__name__} {error.errno}",
            fix=FIXES.get(error.errno or 0, "check the path"),
        ) from None
    except MemoryError:
        raise CheckpointError(
            f"{path} does not fit into memory",
            expected="a file smaller than the memory that is free",
            got="no memory for it",
            fix="read it on a machine with more memory, or check where the file is from",
        ) from None


def _what_is_beside(path: Path) -> str:
    """The names in the folder of a file that was not found."""
    try:
        return ", ".join(sorted(each.name for each in path.parent.iterdir())[:SHOWN]) or "an empty folder"
    except OSError as error:
        return error.strerror or str(error)


# ---- reading ---------------------------------------------------------------------------------------------------------
def read_file(path: Path, size: int | None = None, most: int | None = None, *, follow: bool = True) -> bytes:
    """A regular file's bytes; its size is looked at before anything is read.

    size    how many bytes it must have; `most`: how many it may have
    follow  whether it may be a symbolic link

    Raises CheckpointError where it cannot be read, and for a folder, a device or a pipe, which may have no end;
    DamagedError where it is missing or of another size.
    """
    with reading(path):
        found = path.stat(follow_symlinks=follow)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(
                f"{path} is no regular file",
                expected="a file that lamp has written",
                got=_kind(found.st_mode),
                fix="copy the files themselves (cp -L), and check where they are from",
            )
        if size is not None and found.st_size != size:
            raise DamagedError(f"{path}: a file of another size", f"{size} bytes", f"{found.st_size} bytes")
        if most is not None and found.st_size > most:
            raise DamagedError(f"{path} is too large", f"at most {most:,} bytes", f"{found.st_size:,} bytes")
        with open(path, "rb") as file:
            return file.read(found.st_size)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
