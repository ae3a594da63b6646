"""JSON files that hold their own digest, so that changed bytes are detected, and that are read strictly."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lamp.errors import CheckpointError
from lamp.saving.disk import write_file
from lamp.saving.paths import read_file
from lamp.saving.schema import check
from lamp.saving.seal import BLANK, DamagedError, is_sealed, seal
from lamp.values import as_path

DIGEST = "sha256_of_this_file"
MARK = f'"{DIGEST}": "'.encode()
MOST_BYTES = 2**28  # largest size of a JSON file
MOST_NESTED = 200  # levels of nested lists and objects
MOST_DIGITS = 1000  # of a whole number; parsing takes time quadratic in them


def save_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with its digest as the first entry.

    Raises CheckpointError for values that JSON cannot express (such as NaN), and if the file cannot be written.
    """
    text = json_bytes(document, path)
    write_file(path, lambda file: file.write(text))


def load_json(path: str | os.PathLike[str], hint: Any = Any, *, follow: bool = True) -> dict[str, Any]:
    """The object that `save_json` wrote, validated against a type hint (see `lamp.saving.schema`).

    follow  whether the path may be a symbolic link

    Raises CheckpointError if the file is missing, damaged, not lamp's, or not of that type.
    """
    path = as_path(path)
    return parse_json(read_file(path, most=MOST_BYTES, follow=follow), path, hint)


def json_bytes(document: Mapping[str, Any], path: str | os.PathLike[str]) -> bytes:
    """The text that `save_json` writes; errors name `path`."""
    try:
        text = json.dumps({DIGEST: BLANK.decode(), **document}, indent=1, allow_nan=False).encode() + b"\n"
        parse_object(text, path)  # refuse to write what could not be read again
    except (TypeError, ValueError, RecursionError) as error:
        what = error.got if isinstance(error, DamagedError) else error
        raise CheckpointError(
            f"{path}: this cannot be written as JSON",
            expected=f"numbers, texts, lists and dicts, nested at most {MOST_NESTED} deep",
            got=what,
            fix="convert it first, and put large data into tensors",
        ) from None
    return seal(text, MARK)


def parse_json(text: bytes, path: str | os.PathLike[str], hint: Any = Any) -> dict[str, Any]:
    """The object in a text that `json_bytes` made, validated against a type hint. Raises DamagedError naming `path`."""
    if MARK not in text:
        got = f"{len(text)} bytes without it" if text else "an empty file"
        raise DamagedError(f"{path}: not a JSON file that lamp wrote", f"an entry {MARK.decode()}...", got)
    if not is_sealed(text, MARK):
        raise DamagedError(f"{path}: changed since it was written", "the digest in the file", "another digest")
    document = parse_object(text, path)
    document.pop(DIGEST, None)
    check(document, hint, path)
    return document


def parse_object(text: bytes, path: object) -> dict[str, Any]:
    """A JSON object, read strictly: UTF-8, every name once, finite numbers, and limits on depth and length.

    Raises DamagedError, which names `path`, for anything else.
    """
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"{len(text):,} bytes")
        document = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_refused,
            parse_float=_finite,
            parse_int=_of_some_digits,
        )
        if not isinstance(document, dict):
            raise ValueError(f"a {type(document).__name__}")
        _check_depth(document)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: this cannot be read as JSON", "a JSON object in UTF-8", str(error)[:200]) from None
    return document


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("an object with the same name twice")
    return found


def _refused(text: str) -> float:
    raise ValueError(f"{text}, which is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]}, which is too large for a float")
    return number


def _of_some_digits(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _check_depth(document: dict[str, Any]) -> None:
    layer: list[Any] = [document]
    for _ in range(MOST_NESTED):
        inside = (each.values() if isinstance(each, dict) else each for each in layer)
        layer = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not layer:
            return
    raise ValueError(f"lists and objects nested more than {MOST_NESTED} deep")
