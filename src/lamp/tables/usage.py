"""The commands with which a trained folder is used, quoted for the shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from lamp.printable import as_utf8

NEW = "NEW"  # the name, without an ending, of the table that a user has yet to name
TEXT, COMPRESSED = ".csv", (".gz", ".zst", ".bz2", ".xz", ".zip")


def commands(folder: Path, table: Path) -> dict[str, str]:
    """{what it does: the command} for a folder and the table that it was trained on."""
    ending = table.suffix if table.suffix and table.suffix.lower() not in COMPRESSED else TEXT
    new = f"{NEW}{ending}"
    return {
        "predict new rows": quoted("lamp", "predict", _argument(folder), new),
        "measure it on other rows": quoted("lamp", "evaluate", _argument(folder), new),
        "look at it again": quoted("lamp", "inspect", _argument(folder)),
    }


def quoted(*words: str) -> str:
    """The words as one line for the shell of this machine."""
    words = tuple(map(as_utf8, words))
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _argument(path: Path) -> str:
    """The path as an argument that no program takes for an option."""
    text = str(path)
    return os.path.join(os.curdir, text) if text.startswith("-") else text
