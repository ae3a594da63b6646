"""Sealed folders: a manifest with the size and the digest of each file, by which changed files are detected."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypedDict

from lamp.errors import CheckpointError
from lamp.saving.disk import files_below, recover, whole_folder
from lamp.saving.documents import json_bytes, load_json, parse_json
from lamp.saving.paths import read_file, reading
from lamp.saving.schema import Range
from lamp.saving.seal import DamagedError, digest_of
from lamp.values import as_path

MANIFEST = "manifest.json"


class FileEntry(TypedDict):
    """A manifest's entry for one file."""

    bytes: Annotated[int, Range(0, 2**62)]
    sha256: str


class Manifest(TypedDict):
    """The part of a manifest that is required; the entries `about` are beside it."""

    files: dict[str, FileEntry]


@contextmanager
def sealed_folder(
    path: str | os.PathLike[str], about: Mapping[str, Any] | None = None, *, replace: bool = True
) -> Iterator[Path]:
    """A `whole_folder` with a manifest: the size and SHA-256 of every file in it, and the entries `about`."""
    with whole_folder(path, lambda folder: _write_manifest(folder, about or {}), replace=replace) as folder:
        yield folder


def _write_manifest(folder: Path, about: Mapping[str, Any]) -> None:
    files = {}
    for path in files_below(folder):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder).as_posix()] = {"bytes": file.tell(), "sha256": digest}
    (folder / MANIFEST).write_bytes(json_bytes({**about, "files": files}, folder / MANIFEST))


class SealedFolder:
    """A reader of a folder that lamp has saved; each file is checked against the manifest when it is read.

    path      the folder
    manifest  its manifest, with an entry "files". Files that it does not name are ignored

    Only regular files inside the folder are ever opened, and their sizes are compared before they are read.

    Raises CheckpointError if there is no such folder, and DamagedError for a manifest that is missing or damaged, or
    that names a file outside the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = as_path(path)
        with reading(path):
            if path.name and path.parent.is_dir() and not path.exists():
                with suppress(OSError, CheckpointError):
                    recover(path)
            if not path.is_dir():
                raise CheckpointError(
                    f"{path} is not a folder",
                    expected="a folder that lamp has saved",
                    got="a file" if path.exists() else "no file or folder",
                    fix="check the path",
                )
        self.manifest = load_json(path / MANIFEST, Manifest, follow=False)
        for name in self.files:
            self._check_name(name)

    @property
    def files(self) -> dict[str, FileEntry]:
        """{name in the folder: size and digest of the file}."""
        return self.manifest["files"]  # type: ignore[no-any-return]

    def require(self, *names: str) -> None:
        """Raise DamagedError unless the manifest names these files."""
        if missing := sorted(set(names) - set(self.files)):
            raise DamagedError(
                f"{self.path / MANIFEST}: the folder lacks files", ", ".join(names), f"none of {', '.join(missing)}"
            )

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises DamagedError if their size or digest is not the one in the manifest."""
        path, written = self._place_of(name), self.files[name]
        data = read_file(path, written["bytes"], follow=False)
        if (digest := digest_of(data)) != written["sha256"]:
            expected = f"sha256 {written['sha256'][:16]}..."
            raise DamagedError(f"{path}: changed since it was written", expected, f"{digest[:16]}...")
        return data

    def read_json(self, name: str, hint: Any = Any) -> dict[str, Any]:
        """The object in a JSON file that lamp wrote, validated against a type hint."""
        return parse_json(self.read(name), self.path / name, hint)

    def check(self) -> None:
        """Check every file against the manifest. Raises what `read` raises."""
        for name in self.files:
            self.read(name)

    def _check_name(self, name: str) -> None:
        """Raise DamagedError if a name is outside the folder, whether or not it is ever read, or is no file's name."""
        forms = (PurePosixPath(name), PureWindowsPath(name))
        apart = any(form.is_absolute() or form.drive or form.root or ".." in form.parts for form in forms)
        has_controls = any(unicodedata.category(letter) == "Cc" for letter in name)
        if not name or has_controls or apart or self.path / name == self.path:
            raise DamagedError(
                f"{self.path / MANIFEST} names a file outside the folder"
                if not has_controls
                else f"{self.path / MANIFEST} names a file with control characters",
                expected="names of files in the folder",
                got=repr(name)[:80],
                fix="lamp did not write this manifest: do not use the folder",
            )

    def _place_of(self, name: str) -> Path:
        """The path of a file in the manifest. Raises DamagedError if a symbolic link leads to it."""
        path = self.path / name
        with reading(path):
            if path.parent.resolve() != self.path.resolve() / PurePosixPath(name).parent:
                raise DamagedError(
                    f"{path} is reached by a symbolic link",
                    expected="the folder's own files",
                    got=str(path.parent.resolve()),
                    fix="copy the files themselves (cp -L), and check where they come from",
                )
        return path


def check_folder(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A folder's manifest, after a check that no file named in it has changed.

    Raises CheckpointError for a folder, a manifest or a file that is missing, damaged, replaced, or not lamp's. Files
    that the manifest does not name are ignored.
    """
    folder = SealedFolder(path)
    folder.check()
    return folder.manifest


def read_folder(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A folder's manifest, and {name: bytes} of every file that it names. Raises what `check_folder` raises."""
    folder = SealedFolder(path)
    return folder.manifest, {name: folder.read(name) for name in folder.files}
