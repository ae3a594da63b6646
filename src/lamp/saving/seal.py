"""A text that holds its own digest, so that a changed byte anywhere in it shows.

The digest is that of the whole text with zeros where the digest stands.
"""

from __future__ import annotations

import hashlib

from lamp.errors import CheckpointError

BLANK = b"0" * 64


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


def damaged(path: object, what: str, expected: object = None, got: object = None) -> CheckpointError:
    """The error for a file that is not as it was written."""
    return CheckpointError(
        f"{path}: {what}",
        expected=expected,
        got=got,
        fix="the file was damaged or changed since it was saved: use another copy, or an earlier checkpoint",
    )
