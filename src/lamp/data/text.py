"""Texts as sequences of characters, and tiny Shakespeare, read from its file; nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamp.data.dataset import Dataset
from lamp.data.mnist import VARIABLE
from lamp.errors import ArgumentError, DataError
from lamp.signatures import called
from lamp.values import as_path, natural

SHAKESPEARE = ("tinyshakespeare/input.txt", "tinyshakespeare.txt", "input.txt")  # where it may be in a folder
TRAINING_SHARE = 0.9


@called()
def characters(text: str, context: int = 64, *, train: bool | None = None) -> Dataset:
    """All windows of `context` characters of a text, and for each character of a window the one that follows it.

    Inputs and targets (n, context) int64, indices into `classes`, the characters that the text has, in order.

    train  True for windows of the first 90 % of the text, False for those of the last 10 %, None for all; `classes` are
           always those of the whole text

    One window begins at each character, so neighbours overlap: `dataset[::64]` takes windows that do not. They are
    views of one tensor, and take no more memory than the text.

    Raises ArgumentError for anything but a text and a context of at least 1, and DataError for a text that is too
    short.
    """
    if not isinstance(text, str):
        raise ArgumentError(
            "characters takes a text",
            expected="a str",
            got=type(text).__name__,
            fix='pathlib.Path("book.txt").read_text(encoding="utf-8")',
        )
    context = natural(context, "context", least=1)
    if train is not None and not isinstance(train, bool):
        raise ArgumentError(
            "train does not name a part of the text",
            expected="train=True, False, or None for everything",
            got=repr(train),
            fix="train=True for the part to train on, train=False for the other",
        )
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    present, indices = np.unique(codes, return_inverse=True)
    parted = round(TRAINING_SHARE * len(indices))
    part = indices if train is None else indices[:parted] if train else indices[parted:]
    if len(part) <= context:
        raise DataError(
            "the text is too short for one window",
            expected=f"at least context + 1 = {context + 1} characters" + ("" if train is None else " in this part"),
            got=len(part),
            fix="a longer text, or a smaller context",
        )
    windows = torch.from_numpy(part.astype(np.int64)).unfold(0, context + 1, 1)  # (n, context + 1)
    return Dataset(windows[:, :-1], windows[:, 1:], "characters", classes=tuple(map(chr, present)))


@called()
def tiny_shakespeare(
    root: str | os.PathLike[str] | None = None, train: bool | None = None, *, context: int = 64
) -> Dataset:
    """Tiny Shakespeare: 1,115,394 characters of his plays, 65 different ones, in windows as `characters` makes them.

    root     the file itself; or the folder with it as `tinyshakespeare/input.txt`, `tinyshakespeare.txt` or
             `input.txt`. None uses the folder in the environment variable LAMP_DATA
    train    True for the first 90 %, False for the last 10 %, None for everything
    context  the number of characters in a window

    Source   Karpathy 2015, https://github.com/karpathy/char-rnn (data/tinyshakespeare)

    Raises DataError, which names the file, if it is missing or no text in UTF-8, and what `characters` raises.
    """
    path = _find(None if root is None else as_path(root, "root"))
    return characters(_text(path), context, train=train)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read", expected="a readable file", got=str(error), fix="check its permissions"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8",
            expected="a plain text file",
            got=str(error),
            fix="download the file again: it is damaged, or not what its name says",
        ) from None


def _find(root: Any) -> Path:
    """The path of the text. Raises DataError where there is none."""
    wanted = " or ".join(SHAKESPEARE)
    place = root if root is not None else os.environ.get(VARIABLE)
    if not place:
        raise DataError(
            "it is not known where tiny Shakespeare is",
            expected=f"a folder with {wanted}",
            got=f"no root, and the variable {VARIABLE} is not set",
            fix=f'tiny_shakespeare(root="folder"), or set the variable: export {VARIABLE}=folder',
        )
    for path in (Path(place), *(Path(place, name) for name in SHAKESPEARE)):
        if path.is_file():
            return path
    raise DataError(
        f"tiny Shakespeare is not in {place}",
        expected=wanted,
        got="none of these" if Path(place).is_dir() else "no such file or folder",
        fix=f"put the file there, or name it: tiny_shakespeare(root=...) or the variable {VARIABLE}",
    )
