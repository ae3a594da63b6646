"""JSON files that notice when a byte of them has changed, and folders that notice when a file of theirs has."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lamp.errors import CheckpointError
from lamp.saving.disk import recover, whole_folder, write_file
from lamp.saving.seal import BLANK, damaged, digest_of, is_sealed, seal

MARK = b'"sha256_of_this_file": "'
MANIFEST = "manifest.json"


def save_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write a JSON object as a whole, with its digest as a first entry.

    Raises CheckpointError for what JSON has no form for (NaN among it), and where the file cannot be written.
    """
    text = json_bytes(document, path)
    write_file(path, lambda file: file.write(text))


def load_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object that `save_json` wrote. Raises CheckpointError where the file is missing, damaged or another's."""
    return parse_json(read_file(Path(path)), path)


def json_bytes(document: Mapping[str, Any], path: str | os.PathLike[str]) -> bytes:
    """The text that `save_json` writes; errors name `path`."""
    try:
        text = json.dumps({"sha256_of_this_file": BLANK.decode(), **document}, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: this cannot be written as JSON",
            expected="numbers, texts, lists and dicts",
            got=error,
            fix="convert it first",
        ) from error
    return seal(text.encode() + b"\n", MARK)


def parse_json(text: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a text of `json_bytes`; errors name `path`."""
    if MARK not in text:
        raise damaged(path, "no JSON file of lamp's", f"an entry {MARK.decode()}...", f"{len(text)} bytes without it")
    if not is_sealed(text, MARK):
        raise damaged(path, "not as it was written", "the digest that it holds", "another one")
    document: dict[str, Any] = json.loads(text)
    del document["sha256_of_this_file"]
    return document


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises CheckpointError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}",
            expected="a file that lamp has written",
            got=", ".join(sorted(each.name for each in path.parent.iterdir())[:10]) or "an empty folder"
            if path.parent.is_dir()
            else "no such folder",
            fix="check the path",
        ) from error


# ---- folders ---------------------------------------------------------------------------------------------------------
@contextmanager
def sealed_folder(path: str | os.PathLike[str], about: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A `whole_folder` with a manifest: size and SHA-256 of every file in it, and what it is `about`."""
    with whole_folder(path, lambda folder: _write_manifest(folder, about or {})) as folder:
        yield folder


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    (folder / MANIFEST).write_bytes(json_bytes({**about, "files": files}, folder / MANIFEST))


def check_folder(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A folder's manifest, once every file in it is found to be as it was written.

    Raises CheckpointError for a folder, a manifest or a file that is missing, damaged, exchanged or another's. Files
    that the manifest does not name are passed over.
    """
    manifest = _manifest_of(Path(path))
    for name, written in manifest["files"].items():
        _checked(Path(path) / name, written)
    return manifest


def read_folder(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A folder's manifest, and the bytes of every file that it names; errors as for `check_folder`."""
    manifest = _manifest_of(Path(path))
    return manifest, {name: _checked(Path(path) / name, written) for name, written in manifest["files"].items()}


def _manifest_of(path: Path) -> dict[str, Any]:
    if path.parent.is_dir() and not path.exists():
        with suppress(OSError):
            recover(path)
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is no folder",
            expected="a folder that lamp has saved",
            got="a file" if path.exists() else "nothing there",
            fix="check the path",
        )
    return load_json(path / MANIFEST)


def _checked(path: Path, written: Mapping[str, Any]) -> bytes:
    """The bytes of a file, found to be those that the manifest speaks of."""
    data = read_file(path)
    if len(data) != written["bytes"]:
        raise damaged(path, "a file of another size", f"{written['bytes']} bytes", f"{len(data)} bytes")
    if digest_of(data) != written["sha256"]:
        raise damaged(
            path, "not as it was written", f"sha256 {written['sha256'][:16]}...", digest_of(data)[:16] + "..."
        )
    return data
