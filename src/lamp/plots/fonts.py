"""Fonts for names in any script, and escapes for letters that no installed font has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

BOXES = "Last Resort"  # the beginning of the name of a matplotlib font that has only boxes
REGULAR = (400, "regular", "normal", "book")  # font weights of plain text


@contextmanager
def fonts_for(names: Iterable[str]) -> Iterator[str]:
    """A context in which figures use installed fonts with the letters of these names. It yields letters without one."""
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
    """The name, with escapes for letters that no font in use has."""
    has = _drawn()
    return "".join(
        each if each in has or not each.isprintable() else each.encode("ascii", "backslashreplace").decode()
        for each in name
    )


def _drawn() -> frozenset[str]:
    """The letters of the fonts that figures use now."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    paths = [findfont(FontProperties(family=[family])) for family in rcParams["font.family"]]
    return frozenset().union(*map(_letters, paths))


@cache
def _letters(path: str) -> frozenset[str]:
    """The letters of a font; none for a font that is not scalable."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(path)
    except RuntimeError:  # not a font
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def _installed() -> list[tuple[str, str]]:
    """The family and the file of each installed font for plain text, with sans-serif fonts first."""
    from matplotlib.font_manager import fontManager

    plain = {
        (font.name, font.fname)
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in REGULAR and not font.name.startswith(BOXES)
    }
    return sorted(plain, key=lambda font: ("Sans" not in font[0] and "Gothic" not in font[0], font))
