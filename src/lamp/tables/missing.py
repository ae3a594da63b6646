"""The cells of a column as words, and the words that mean a missing value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

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
PLACEHOLDERS += ("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!")

FREQUENT, LEAST_ROWS = 0.02, 3  # least share of the rows, and least rows, at which such a word may be a value
NOT_SEEN = r"[\u200b\u200e\u200f\u2060\ufeff]"  # invisible characters of zero width
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
    if (text.str.len_bytes() != text.str.len_chars()).any():
        text = text.str.replace_all(NOT_SEEN, "").str.normalize("NFC").str.strip_chars()
    return text.set((text.str.len_bytes() == 0).fill_null(False), None)


def is_missing(text: pl.Series, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """(n,) booleans: where a word of `as_text` means missing."""
    if not missing:
        return pl.repeat(False, len(text), dtype=pl.Boolean, eager=True)
    short = (text.str.len_bytes() <= max(len(word.encode()) for word in missing)).fill_null(False)
    if not short.any():
        return short
    return short & text.str.to_lowercase().is_in([word.lower() for word in missing]).fill_null(False)


def words(series: pl.Series, missing: Sequence[str] = MISSING_WORDS) -> pl.Series:
    """The cells as words: text without surrounding blanks, whole numbers without decimals; missing ones are null."""
    text = as_text(series)
    if text.str.contains(WHOLE).any():
        text = text.str.replace(WHOLE, "$1")
    return text.set(is_missing(text, missing), None)


def canonical(word: str) -> str:
    """A single word in the form in which `words` returns it."""
    return re.sub(WHOLE, r"\1", unicodedata.normalize("NFC", word))


def places(
    series: pl.Series, known: Sequence[str], missing: Sequence[str], default: int
) -> tuple[pl.Series, pl.Series]:
    """The words of a column, and each one's index in `known`, or `default` for other words; missing ones are null.

    If the known words are true and false, then True, TRUE and a boolean are the same word.
    """
    text = looked_up = words(series, missing)
    at = {canonical(word): k for k, word in enumerate(known)}
    if {word.lower() for word in at} == {"true", "false"} and len(at) == 2:
        at, looked_up = {word.lower(): k for word, k in at.items()}, text.str.to_lowercase()
    return text, looked_up.replace_strict(at, default=default, return_dtype=pl.Int64).set(text.is_null(), None)


def frequent_missing(series: pl.Series, missing: Sequence[str]) -> list[tuple[str, int]]:
    """The words that mean missing but are frequent enough to be values: (word, number of rows)."""
    if not is_text(series.dtype):
        return []
    text = as_text(series)
    found = text.filter(is_missing(text, missing))
    if len(found) < max(LEAST_ROWS, FREQUENT * len(text)):
        return []
    counted = found.value_counts(sort=True)
    return [(word, count) for word, count in counted.iter_rows() if count >= max(LEAST_ROWS, FREQUENT * len(text))]
