"""Fonts that have the letters of given names, and names written in letters that the fonts have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

BOXES = "Last Resort"  # how a font of matplotlib's begins its name that has a box for every letter
REGULAR = (400, "regular", "normal", "book")  # weights of a font for plain text


@contextmanager
def fonts_for(names: Iterable[str]) -> Iterator[str]:
    """Within it figures are made with installed fonts that have the letters of these names; gives those none has."""
    from matplotlib import rc_context, rcParams

    missing = {letter for letter in "".join(names) if letter.isprintable()} - _drawn()
    families: list[str] = []
    if missing:
        for family, path in _installed():
            if found := missing & _letters(path):
                families.append(family)
                missing -= found
    with rc_context({"font.family": [*rcParams["font.family"], *families]}):
        yield "".join(sorted(missing))


def drawable(name: str) -> str:
    """The name with letters that no font in use has written as escapes."""
    has = _drawn()
    return "".join(
        each if each in has or not each.isprintable() else each.encode("ascii", "backslashreplace").decode()
        for each in name
    )


def _drawn() -> frozenset[str]:
    """The letters of the fonts that figures are made with now."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    paths = [findfont(FontProperties(family=[family])) for family in rcParams["font.family"]]
    return frozenset().union(*map(_letters, paths))


@cache
def _letters(path: str) -> frozenset[str]:
    """The letters of a font; none of one that cannot be drawn in any size."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except RuntimeError:  # no font after all
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def _installed() -> list[tuple[str, str]]:
    """Family and file of each installed font for plain text, those without serifs first."""
    from matplotlib.font_manager import fontManager

    plain = {
        (font.name, font.fname)
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in REGULAR and not font.name.startswith(BOXES)
    }
    return sorted(plain, key=lambda font: ("Sans" not in font[0] and "Gothic" not in font[0], font))
