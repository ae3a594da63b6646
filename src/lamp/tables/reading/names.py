"""Names of columns: normalised spelling, names for unnamed columns, and similar names for errors."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import polars as pl

INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")  # characters of zero width
MANY = 1000  # names that are compared for similarity, at most


def cleaned(name: str) -> str:
    """A name in Unicode's composed form (NFC), without surrounding blanks and invisible characters."""
    return name if name.isascii() and name == name.strip() else unicodedata.normalize(
        "NFC", INVISIBLE.sub("", name)
    ).strip()  # fmt: skip


def distinct(given: Sequence[str | None], notes: list[str], where: str) -> list[str]:
    """Distinct names for all columns: `column_3` for one without a name, `name_2` for the second of the same name.

    where  the file's name, with which remarks on new names in `notes` begin
    """
    names = [cleaned(name or "") for name in given]
    taken, found = set(names), []
    unnamed, repeated = [], []
    seen: set[str] = set()
    counts: dict[str, int] = {}
    for k, name in enumerate(names):
        if not name:
            new = _free(f"column_{k + 1}", taken)
            unnamed.append(new)
        elif name in seen:
            number = counts.get(name, 1) + 1
            while (new := f"{name}_{number}") in taken:
                number += 1
            counts[name] = number
            repeated.append(f"{name!r} becomes {new!r}")
        else:
            new = name
        seen.add(new)
        taken.add(new)
        found.append(new)
    if unnamed:
        notes.append(f"{where}: {_columns(len(unnamed))} without a name, now called {_listed(unnamed)}")
    if repeated:
        notes.append(f"{where}: {_columns(len(repeated))} with the name of another column: {_listed(repeated)}")
    return found


def matching(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that equals this name up to Unicode form and surrounding blanks; None if there is none."""
    names = list(names)
    if name in names:
        return name
    same = [each for each in names if cleaned(each) == cleaned(name)]
    return same[0] if len(same) == 1 else None


def renamed(frame: pl.DataFrame, wanted: Iterable[str]) -> pl.DataFrame:
    """The table with the wanted names for columns whose names differ only in Unicode form or surrounding blanks."""
    there = set(frame.columns)
    lacking = {cleaned(name): name for name in wanted if name not in there}
    found = {name: lacking[cleaned(name)] for name in frame.columns if cleaned(name) in lacking} if lacking else {}
    return frame.rename(found) if len(set(found.values())) == len(found) else frame


def near(name: str, names: Sequence[str]) -> str | None:
    """The name that was probably meant: the same up to case, blanks and underscores, or a similar one."""
    alike = {_plain(each): each for each in reversed(names)}
    if (found := alike.get(_plain(name))) is not None:
        return found
    close = get_close_matches(_plain(name), list(alike)[:MANY], 1)
    return alike[close[0]] if close else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", INVISIBLE.sub("", name)).casefold())


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _columns(count: int) -> str:
    return "a column" if count == 1 else f"{count} columns"


def _listed(words: Sequence[str], most: int = 5) -> str:
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")
