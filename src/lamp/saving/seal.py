"""Texts that hold their own digest, so that any changed byte is detected.

The digest is that of the whole text, with zeros in the place of the digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from lamp.errors import CheckpointError, LampError

BLANK = b"0" * 64
ANOTHER_COPY = "the file was damaged or changed since it was saved: use another copy, or an earlier checkpoint"


class DamagedError(CheckpointError):
    """A saved file is missing or has changed since it was written; an earlier checkpoint may still be intact."""

    def __init__(self, what: str, expected: object = None, got: object = None, fix: str = ANOTHER_COPY) -> None:
        super().__init__(what, expected=expected, got=got, fix=fix)


def digest_of(data: bytes | memoryview) -> str:
    """SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def seal(text: bytes, mark: bytes) -> bytes:
    """The text with its digest in place of the zeros after `mark`, which must occur once."""
    at = text.index(mark + BLANK) + len(mark)
    return text[:at] + digest_of(text).encode() + text[at + len(BLANK) :]


def is_sealed(text: bytes, mark: bytes) -> bool:
    """Whether the digest after `mark` is that of the text."""
    at = text.find(mark) + len(mark)
    found = text[at : at + len(BLANK)]
    return at >= len(mark) and digest_of(text[:at] + BLANK + text[at + len(BLANK) :]).encode() == found


# The errors that an object may raise when it loads a state that is not the saved one
MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, AssertionError)


@contextmanager
def restoring(path: object, part: str, *, ours: bool = True) -> Iterator[None]:
    """A context that turns errors while a part loads its state from a file into a DamagedError that names both.

    ours  whether lamp's own code loads the state; for other code, the original error is shown as well
    """
    try:
        yield
    except CheckpointError:
        raise
    except MISFITS as error:
        got = error.what if isinstance(error, LampError) else f"{type(error).__name__}: {error}"
        expected = f"the state of {part} as it was saved"
        damage = DamagedError(f"{path}: the state of {part} cannot be loaded", expected, got[:300])
        raise damage from (None if ours else error)
