"""Compiled kernels on disk, so that a second process loads what the first one compiled.

An entry is machine code. Its file name is a digest of everything that the code depends on: what was compiled, for which
processor, by which versions of lamp and LLVM. A damaged entry is compiled anew, and a folder that cannot be used is
ignored, so the cache never changes a result and never stops a run. Several processes may use it at once, because
entries are written beside it and then renamed.

    LAMP_CACHE_DIR    the folder, instead of lamp/kernels in the user's cache; "off" for no cache at all
    LAMP_CACHE_BYTES  its largest size in bytes (default 2**28); beyond it the entries used longest ago are removed
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lamp.compiler.switches import is_off
from lamp.installation import VERSION

FOLDER, BYTES = "LAMP_CACHE_DIR", "LAMP_CACHE_BYTES"
MOST_BYTES = 2**28
ENDING = ".kernel"
MAGIC, DIGEST = b"lamp kernel 1\n", 32  # an entry is MAGIC, a digest of 32 bytes, and the code with that digest
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # the address in an object's repr, which means nothing in another process


@dataclass(frozen=True)
class Entry:
    """A kernel in the cache: its path, its size in bytes, and when it was last used (seconds since 1970)."""

    path: Path
    size: int
    used: float


def folder() -> Path | None:
    """The folder of the cache; None if there is no cache."""
    if is_off(FOLDER):
        return None
    try:
        if chosen := os.environ.get(FOLDER):
            return Path(chosen).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamp" / "kernels"
    except RuntimeError:  # the user has no home directory, or there is no user of the name after ~
        return None


def most_bytes() -> int:
    """The largest size of the cache, in bytes."""
    given = os.environ.get(BYTES, "")
    return int(given) if given.isdecimal() else MOST_BYTES


def unusable() -> str | None:
    """Why the folder cannot be used, in a few words; None if it can be, or if the cache is switched off."""
    place = folder()
    if place is None:
        return None
    above = next(each for each in (place, *place.absolute().parents) if os.path.exists(each))
    if not above.is_dir():
        return f"{above}, which is not a folder"
    if not os.access(above, os.W_OK):
        return f"{above}, which cannot be written to"
    return None if above != place or _is_ours(place) else f"{place}, which other users can write to"


def name_of(key: Hashable, machine: Hashable) -> str | None:
    """The name of the entry for this kernel on this machine; None if the key is valid in this process only."""
    text = repr((key, machine, VERSION, _source()))
    return None if ADDRESS.search(text) else hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@cache
def _source() -> str:
    """A digest of the sizes and times of lamp's own source files, so that editing one of them changes every name."""
    package = Path(__file__).parent.parent
    rooms = ("*.py", "compiler/**/*.py", "nn/*.py", "losses/*.py", "optim/*.py")
    files = sorted(path for room in rooms for path in package.glob(room))
    stats = [(path.name, status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]
    return hashlib.blake2b(repr(stats).encode(), digest_size=16).hexdigest()


def load(name: str) -> bytes | None:
    """The machine code of this name; None if there is no intact entry in a folder that only this user can write to."""
    place = folder()
    if place is None or not _is_ours(place):
        return None
    path = place / (name + ENDING)
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > most_bytes():  # a pipe, say, whose reader would wait
            return None
        found = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    start = len(MAGIC) + DIGEST
    if found[: len(MAGIC)] == MAGIC and found[len(MAGIC) : start] == _digest(found[start:]):
        return found[start:]
    _remove(path)
    return None


def store(name: str, code: bytes) -> None:
    """Write machine code under this name, if the folder can be used."""
    place = folder()
    if place is None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_ours(place):
            return
        handle, temporary = tempfile.mkstemp(dir=place, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + _digest(code) + code)
        os.replace(temporary, place / (name + ENDING))
    except OSError:
        _remove(Path(temporary))
    _trim()


def entries() -> list[Entry]:
    """The entries of the cache, most recently used first."""
    return sorted(_entries(), key=lambda entry: entry.used, reverse=True)


def clear() -> int:
    """Empty the cache, and return how many entries there were."""
    found = entries()
    for entry in found:
        _remove(entry.path)
    return len(found)


def _entries() -> Iterator[Entry]:
    place = folder()
    try:
        files = [] if place is None else list(os.scandir(place))
    except OSError:
        return
    for file in files:
        try:
            status = file.stat(follow_symlinks=False)
        except OSError:  # another process removed it
            continue
        if stat.S_ISREG(status.st_mode) and file.name.endswith((ENDING, ".part")):
            yield Entry(Path(file.path), status.st_size, status.st_mtime)


def _trim() -> None:
    """Remove the entries used longest ago until the rest fits."""
    left = most_bytes()
    for entry in entries():
        left -= entry.size
        if left < 0:
            _remove(entry.path)


def _is_ours(place: Path) -> bool:
    """Whether only this user can write to the folder: whatever is in it is run as machine code."""
    try:
        status = place.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _digest(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=DIGEST).digest()


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return
