"""The text of cells, and the words that mean a missing value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

import polars as pl

# The words that mean missing by default, in upper or lower case; an empty cell always does
MISSING_WORDS = ("na", "n/a", "#n/a", "nan", "null", "none", "?")

# Words that also mean missing, but only in columns of numbers or dates
PLACEHOLDERS: tuple[str, ...] = (
    "-",
    "--",
    "\u2013",
    "\u2014",
    ".",
    "..",
    "...",
    "n.a.",
    "k.a.",
    "unknown",
    "missing",
    "tbd",
    "not available",
)
PLACEHOLDERS += ("\\n", "<na>", "(null)", "nil", "n.d.", "n/d", "n.v.", "s/d")
PLACEHOLDERS += ("0000-00-00", "0000-00-00 00:00:00", "00.00.0000", "00/00/0000")

# What a spreadsheet writes where a formula has no value; beside #N/A, which always means missing
SHEET_ERRORS = ("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!")
PLACEHOLDERS += SHEET_ERRORS

FREQUENT, LEAST_ROWS = 0.02, 3  # least share of the rows, and least rows, at which such a word may be a value
NOT_SEEN = r"[\u200b\u200e\u200f\u2060\ufeff]"  # invisible characters of zero width
OTHER_DIGITS = r"[\p{Nd}--0-9]"  # of other scripts, and full-width ones
WHOLE = r"^([+-]?\d+)\.0+$"  # 3.0 is the same word as 3


def is_text(dtype: pl.DataType) -> bool:
    """Whether values of this type are text."""
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def as_text(series: pl.Series) -> pl.Series:
    """The cells as text in Unicode's composed form, without surrounding blanks; empty cells are null."""
    if series.dtype.is_numeric():
        if not series.dtype.is_integer():
            series = series.cast(pl.Float64).fill_nan(None)
        return series.cast(pl.String).str.replace(WHOLE, "$1")
    text = (series if series.dtype == pl.String else series.cast(pl.String)).str.strip_chars()
    text = changed(text, text.str.len_bytes() != text.str.len_chars(), composed)
    return text.set((text.str.len_bytes() == 0).fill_null(False), None)


def composed(text: pl.Series) -> pl.Series:
    """The texts in Unicode's composed form, without invisible characters and surrounding blanks."""
    return text.str.replace_all(NOT_SEEN, "").str.normalize("NFC").str.strip_chars()


def changed(text: pl.Series, which: pl.Series, change: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """The texts, with what `change` returns in place of some of them; most tables have few that need a change.

    which  booleans: the texts to change; null for none
    """
    at = which.arg_true()
    return text.clone().scatter(at, change(text.gather(at))) if len(at) else text


def in_ascii_digits(text: pl.Series) -> pl.Series:
    """The texts with the digits 0 to 9 in place of those of other scripts."""

    def replaced(some: pl.Series) -> pl.Series:
        others = some.str.extract_all(OTHER_DIGITS).explode(empty_as_null=False).unique().to_list()
        return some.str.replace_many(others, [str(unicodedata.digit(each)) for each in others])

    return changed(text, text.str.contains(OTHER_DIGITS), replaced)


def without_decimals(text: pl.Series) -> pl.Series:
    """The texts, with whole numbers without decimals: 3.0 is the same word as 3."""
    return changed(text, has_decimals(text), lambda some: some.str.replace(WHOLE, "$1"))


def has_decimals(text: pl.Series) -> pl.Series:
    """Which texts are whole numbers with decimals, such as 3.0."""
    return text.str.contains(WHOLE)


def is_missing(text: pl.Series, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """(n,) booleans: where a word of `as_text` means missing."""
    if not missing:
        return pl.repeat(False, len(text), dtype=pl.Boolean, eager=True)
    short = (text.str.len_bytes() <= max(len(word.encode()) for word in missing)).fill_null(False)
    if not short.any():
        return short
    return short & text.str.to_lowercase().is_in([word.lower() for word in missing]).fill_null(False)


@lru_cache(maxsize=10_000)
def canonical(word: str) -> str:
    """A single word in the form in which `Cells.words` returns it."""
    return re.sub(WHOLE, r"\1", unicodedata.normalize("NFC", word))
