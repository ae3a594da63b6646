"""Errors of the operating system as lamp's errors, and reading regular files within a size limit."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamp.errors import CheckpointError
from lamp.saving.seal import DamagedError

SHOWN = 10  # names of files that an error lists

FIXES = {  # {error number: what to do}
    errno.EACCES: "get permission to read it (chmod, chown), or a copy that you may read",
    errno.EIO: "the disk failed: use another copy",
    errno.ENAMETOOLONG: "choose a shorter name",
}


# ---- errors of the operating system ----------------------------------------------------------------------------------
@contextmanager
def saving(path: Path) -> Iterator[None]:
    """A context that turns an OSError while `path` is saved into a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        raise CheckpointError(
            f"{path} could not be saved: {reason}",
            expected="a folder there, or nothing yet" if in_the_way else "space and permission to write there",
            got=f"{type(error).__name__} {error.errno}: {error.filename or path.parent}",
            fix="choose another folder: a file is in its place"
            if in_the_way
            else "free some space or choose another folder; what was saved before is unchanged",
        ) from None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A context that turns an OSError or MemoryError while `path` is read into a CheckpointError with advice."""
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
            expected="a file smaller than the free memory",
            got="not enough memory",
            fix="read it on a machine with more memory, or check where the file comes from",
        ) from None


def _what_is_beside(path: Path) -> str:
    """The names of the files beside a file that was not found."""
    try:
        return ", ".join(sorted(each.name for each in path.parent.iterdir())[:SHOWN]) or "an empty folder"
    except OSError as error:
        return error.strerror or str(error)


def linked(path: Path) -> CheckpointError:
    """The error about a symbolic link in a folder of lamp's, through which lamp would write elsewhere."""
    return CheckpointError(
        f"{path} is a symbolic link",
        expected="the folder's own file or folder, or nothing yet",
        got=f"a link to {os.readlink(path)}",
        fix="remove the link, and check where the folder comes from",
    )


# ---- reading ---------------------------------------------------------------------------------------------------------
def read_file(path: Path, size: int | None = None, most: int | None = None, *, follow: bool = True) -> bytes:
    """A regular file's bytes; its size is checked before anything is read.

    size    the number of bytes that it must have
    most    the number of bytes that it may have at most
    follow  whether it may be a symbolic link

    Raises CheckpointError if it cannot be read, and DamagedError if it is missing, has another size, or is not a
    regular file (a device or a pipe may have no end).
    """
    with reading(path):
        found = path.stat(follow_symlinks=follow)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError(
                f"{path} is not a regular file",
                expected="a file that lamp has written",
                got=_kind(found.st_mode),
                fix="copy the files themselves (cp -L), and check where they come from",
            )
        if size is not None and found.st_size != size:
            raise DamagedError(f"{path} has another size", f"{size} bytes", f"{found.st_size} bytes")
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
