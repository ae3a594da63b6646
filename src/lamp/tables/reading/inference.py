"""Infer the type of each column of text: whole numbers, numbers, booleans, or text."""

from __future__ import annotations

import math

import polars as pl

from lamp.tables.dates import months_like_numbers

# Words for missing numbers; words for missing text are handled later, in upper or lower case
NO_NUMBERS = ["", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "?"]

TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
CODE = r"^[+-]?0\d+$"  # 007 is a word
EXACT = 2.0**53  # float64 holds every whole number below
OPEN = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$"  # 1.020, in which the point may be a decimal point or separate thousands


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with numbers and booleans in the columns that hold nothing else, and nulls for missing numbers.

    A column in which no number shows that its point is a decimal point, such as one of 770 and 1.020, stays text:
    whether 1.020 is about one or about a thousand, `decimal_marks` decides, which looks at the other columns as well.
    """
    return pl.DataFrame([_typed(column) for column in frame])


def _typed(text: pl.Series) -> pl.Series:
    numbers = text.cast(pl.Float64, strict=False)
    if math.isnan(numbers.sum()):  # faster than looking for NaN in every row
        numbers = numbers.fill_nan(None)
    if numbers.null_count() > text.null_count():
        text = text.set(text.is_in(NO_NUMBERS).fill_null(False), None)
    if text.null_count() == len(text):
        return text
    if numbers.null_count() > text.null_count():
        return _truth(text)
    if text.str.contains(CODE).any() or _has_open_points(text) or months_like_numbers(text.drop_nulls()):
        return text
    largest = max(-float(numbers.min()), float(numbers.max()))  # type: ignore[arg-type]
    for whole in (pl.Int64, pl.Int128) if largest >= EXACT else (pl.Int64,):
        integers = text.cast(whole, strict=False)
        if integers.null_count() == text.null_count():
            return integers
    return numbers


def _has_open_points(text: pl.Series) -> bool:
    """Whether the numbers in a column have points, each of which may separate thousands."""
    points = text.str.contains(".", literal=True)
    return bool(points.any()) and bool((~points | text.str.contains(OPEN)).all())


def _truth(text: pl.Series) -> pl.Series:
    """The column as booleans if it holds only true and false, else unchanged."""
    first = text.drop_nulls()[0]
    if first not in TRUTH:
        return text
    read = text.replace_strict(TRUTH, default=None, return_dtype=pl.Boolean)
    return read if read.null_count() == text.null_count() else text
