"""A lock that one process, and one thread of it, holds at a time; the system lets go of it when the process ends.

It is an advisory lock of the system (flock) on a small hidden file, which says who holds it.
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

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of file systems
LOCK = ".lamp-lock"
LOOKS = 0.01  # seconds between two tries

_held: weakref.WeakSet[Lock] = weakref.WeakSet()


class Lock:
    """Held from here to `release`, or to the end of a `with` block.

    path  of the hidden file; it is there while the lock is held
    what  is locked, as the error says it
    wait  how many seconds to try for

    Raises CheckpointError where another process or thread holds it, with who that is; and a CheckpointWarning where
    the system has no such locks: then nobody is kept away.
    """

    def __init__(self, path: Path, what: str, *, wait: float = 0.0) -> None:
        self.path, self.what = path, what
        self._file: int | None = None
        give_up = time.monotonic() + wait
        while not self._try():
            if time.monotonic() >= give_up:
                raise CheckpointError(
                    f"{what} is in use",
                    expected="nobody else who writes there",
                    got=_read(path) or "another process or thread",
                    fix="wait until it has ended, or choose another folder",
                )
            time.sleep(LOOKS)
        _held.add(self)

    @classmethod
    def inside(cls, folder: Path) -> Lock:
        """Of a folder that is there, by a file in it."""
        return cls(folder / LOCK, str(folder))

    @classmethod
    def of(cls, path: Path) -> Lock:
        """Of a folder or file that may not be there yet, by a file beside it."""
        return cls(path.with_name(f".{path.name}{LOCK}"), str(path))

    def _try(self) -> bool:
        """Take the lock, if nobody holds it."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _locks(file, self.what):
                os.close(file)
                return False
            if not self._is_mine(file):  # who held it has removed this one meanwhile
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
        """Let go of it; twice is as good as once."""
        file, self._file = self._file, None
        if file is None:
            return
        _held.discard(self)
        with suppress(OSError):  # a file that is left is a lock that is free
            if self._is_mine(file):
                os.unlink(self.path)
        with suppress(OSError):
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _locks(file: int, what: str) -> bool:
    """Take the system's lock of an open file; False where somebody else has it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
    warnings.warn(f"there are no locks for {what} on this system: write there once at a time", CheckpointWarning)
    return True


def _read(path: Path) -> str:
    """Who holds a lock, as its file says."""
    try:
        return path.read_text(errors="replace")[:200]
    except OSError:
        return ""


def _let_go() -> None:
    """In the child of a fork: what the parent holds is the parent's."""
    for lock in list(_held):
        if lock._file is not None:
            os.close(lock._file)
            lock._file = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
