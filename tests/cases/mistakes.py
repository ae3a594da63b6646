"""The table of mistakes that users make, each with what lamp's error must say. tests/test_mistakes.py runs it.

The entries stand in one file per area, `mistakes_AREA.py`, as a list MISTAKES; this file gathers them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """A wrong call, and the error that it must raise.

    name   what the user did, in a few words; unique
    call   makes the mistake
    error  the class of lamp's error, which is also the builtin class that a caller would expect
    where  a word of the message that says where: the module's path, the function or argument, the column, the line
    words  further words of the message, such as the important part of the fix
    """

    name: str
    call: Callable[[], Any]
    error: type[Exception]
    where: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def all_mistakes() -> list[Mistake]:
    """All entries of all areas."""
    files = sorted(Path(__file__).parent.glob("mistakes_*.py"))
    return [entry for file in files for entry in importlib.import_module(f"{__package__}.{file.stem}").MISTAKES]
