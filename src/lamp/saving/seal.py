"""A text that holds its own digest, so that a changed byte anywhere in it shows.

The digest is that of the whole text with zeros where the digest stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from lamp.errors import CheckpointError, LampError

BLANK = b"0" * 64
ANOTHER_COPY = "the file was damaged or changed since it was saved: use another copy, or an earlier checkpoint"


class DamagedError(CheckpointError):
    """A saved file that is missing, or not as it was written: an earlier checkpoint may still be whole."""

    def __init__(self, what: str, expected: object = None, got: object = None, fix: str = ANOTHER_COPY) -> None:
        super().__init__(what, expected=expected, got=got, fix=fix)


def digest_of(data: bytes | memoryview) -> str:
    """SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def seal(text: bytes, mark: bytes) -> bytes:
    """The text with its digest in the place of the zeros that follow `mark`, which stands in it once."""
    at = text.index(mark + BLANK) + len(mark)
    return text[:at] + digest_of(text).encode() + text[at + len(BLANK) :]


def is_sealed(text: bytes, mark: bytes) -> bool:
    """Whether the digest after `mark` is the text's."""
    at = text.find(mark) + len(mark)
    found = text[at : at + len(BLANK)]
    return at >= len(mark) and digest_of(text[:at] + BLANK + text[at + len(BLANK) :]).encode() == found


# What comes out of a state that is not what was saved, where an object takes it over.
MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, AssertionError)


@contextmanager
def restoring(path: object, part: str, *, ours: bool = True) -> Iterator[None]:
    """What goes wrong while a part takes over its state from a file becomes a DamagedError that names both.

    ours  whether it is lamp's code that takes it over; else the error before it is shown as well
    """
    try:
        yield
    except CheckpointError:
        raise
    except MISFITS as error:
        got = error.what if isinstance(error, LampError) else f"{type(error).__name__}: {error}"
        expected = f"the state of {part}, as it was saved"
        damage = DamagedError(f"{path}: the state of {part} cannot be taken over", expected, got[:300])
        raise damage from (None if ours else error)
