"""A lock that only one thread of one process holds at a time, and that the system releases when the process ends.

It is an advisory lock (flock) on a small hidden file, which names its holder.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lamp.errors import CheckpointError, CheckpointWarning
from lamp.saving.paths import linked

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # file system has no locks
LOCK = ".lamp-lock"
PAUSE = 0.01  # seconds between two attempts

_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """A lock that is held from its construction to `release`, or to the end of a `with` block.

    path  the hidden file, which exists while the lock is held
    what  the name of what is locked, for errors
    wait  seconds to keep trying

    Raises CheckpointError, which names the holder, while another process or thread holds the lock, and for a symbolic
    link, since writing the holder's name would overwrite the file that it points to. Warns with
    CheckpointWarning if the file system has no locks; then nobody is kept out.
    """

    def __init__(self, path: Path, what: str, *, wait: float = 0.0) -> None:
        self.path, self.what = path, what
        self._file: int | None = None
        give_up = time.monotonic() + wait
        while not self._try():
            if time.monotonic() >= give_up:
                raise CheckpointError(
                    f"{what} is in use",
                    expected="no other process or thread that writes there",
                    got=_read(path) or "another process or thread",
                    fix="wait until that has ended, or choose another folder",
                )
            time.sleep(PAUSE)
        _held.add(self)

    @classmethod
    def inside(cls, folder: Path) -> Lock:
        """The lock of an existing folder, by a hidden file in it."""
        return cls(folder / LOCK, str(folder))

    @classmethod
    def of(cls, path: Path) -> Lock:
        """The lock of a file or folder that need not exist yet, by a hidden file beside it."""
        return cls(path.with_name(f".{path.name}{LOCK}"), str(path))

    def _try(self) -> bool:
        """Take the lock if nobody holds it, and return whether that worked."""
        if self.path.is_symlink():  # O_NOFOLLOW refuses it too, but does not exist on Windows
            raise linked(self.path)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if not _locks(file, self.what):
                os.close(file)
                return False
            if not self._is_mine(file):  # the former holder has removed this file in the meantime
                os.close(file)
                return False
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}".encode())
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def _is_mine(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Release the lock, unless it is released already."""
        file, self._file = self._file, None
        if file is None:
            return
        _held.discard(self)
        with suppress(OSError):  # if the file stays, the lock is free all the same
            if self._is_mine(file):
                os.unlink(self.path)
        with suppress(OSError):
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _locks(file: int, what: str) -> bool:
    """Take the system's lock of an open file; False if somebody else holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
    warnings.warn(f"this system cannot lock {what}: let only one process write there at a time", CheckpointWarning)
    return True


def _read(path: Path) -> str:
    """The holder of a lock, as its file names it; "" if the file cannot be read."""
    try:
        return path.read_text(errors="replace")[:200]
    except OSError:
        return ""


def _let_go() -> None:
    """Close the parent's locks in the child of a fork; the parent still holds them."""
    for lock in list(_held):
        if lock._file is not None:
            os.close(lock._file)
            lock._file = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
