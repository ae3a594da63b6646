"""Parse texts as numbers: their signs, separators, units and scales, by one grammar for each decimal mark.

`lamp.tables.numbers` decides which of these numbers a column means.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from lamp.tables import durations
from lamp.tables.missing import changed, in_ascii_digits
from lamp.tables.scales import CODES, scale_and_unit

OTHER = {".": ",", ",": "."}  # {decimal mark: thousands separator}

# ---- the grammar -----------------------------------------------------------------------------------------------------
OPEN_RANGE = "\\d *[\u2010-\u2013]$"  # 2019\u2013 is not negative
MINUS, BLANKS, QUOTES = (
    "[\u2212\u2010-\u2013\ufe63\uff0d]",
    "[\u00a0\u2000-\u200a\u202f\u205f\t]",
    "[\u2019\u02bc\u00b4`]",
)
BEFORE = rf"(?:[A-Z]{{0,3}}\p{{Sc}}|{CODES.pattern})"
LETTER = r"\p{L}\p{M}\p{Sc}%‰°/"
AFTER = rf"(?:[{LETTER}][{LETTER}²³·.\s]{{0,18}}|(?:[kcdm]?m|ft|in|mi|yd)[23])"
UNUSUAL = "[^ -_a-~]"  # other letters than those of ASCII, tabs and `
CODE = r"^[+-]?0\d+$"  # 007 is a word
IN_PARENTHESES = r"^([^\d()]*)\(([^()+-]*)\)([^\d()]*)$"  # accountants write -100 as (100.00)
# What stands before and after the digits of most numbers. On texts that the grammar describes it finds the same parts,
# as these affixes hold nothing that may be a part of the digits; it takes a sixth of the time
AROUND_DIGITS = r"^([^0-9.,]*)([0-9][0-9.,]*)([^0-9.,]*)$"


@cache
def grammar(decimal: str) -> str:
    """The regular expression of a number with this decimal mark, its sign and its unit."""
    mark, thousands = ("\\.", ",") if decimal == "." else (",", "\\.")
    groups = [rf"[1-9]\d{{0,2}}(?:{each}\d{{3}})+" for each in (thousands, " ", "'", "_")]
    groups.append(rf"[1-9]\d?(?:{thousands}\d{{2}})+{thousands}\d{{3}}")  # India: 12,34,567
    core = rf"(?:(?:{'|'.join(groups)}|\d+)(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity)"
    return rf"^([+-]?) *({BEFORE})? *([+-]?) *({core})( *)({AFTER})?(-?)$"


def parsed(text: pl.Series, decimal: str) -> pl.DataFrame:
    """A table with one row per word, parsed as a number.

    value   float64, or null if the word is not a number
    unit    the text before and after it
    zero    whether it begins with 0 as a code does
    scaled  whether a k, M or the like scales it
    """
    clean = changed(text, text.str.contains(UNUSUAL), _in_ascii)
    inside = clean.str.contains(IN_PARENTHESES).fill_null(False)
    clean = changed(clean, inside, lambda some: some.str.replace(IN_PARENTHESES, "$1$2$3")).str.strip_chars()
    no_cents = rf"(\d)\{decimal}-{{1,2}}( |$)"  # of a price: 300.- is not negative
    clean = changed(clean, clean.str.contains(no_cents), lambda some: some.str.replace(no_cents, "$1$2"))
    plain = clean.cast(pl.Float64, strict=False)  # as programs write numbers
    others = ~plain.is_finite().fill_null(False) | inside
    if decimal == ",":
        others |= clean.str.contains(".", literal=True).fill_null(False)
    fits = clean.str.contains(grammar(decimal)).fill_null(False)
    at, rest = (others & fits).arg_true(), (others & ~fits).arg_true()
    read, long = (
        _by_affixes(clean.gather(at), inside.gather(at), decimal),
        durations.parsed(clean.gather(rest), decimal),
    )
    none = pl.repeat(None, len(text), dtype=pl.Boolean, eager=True)
    return pl.DataFrame(
        {
            "value": plain.set(others, None).scatter(at, read["value"]).scatter(rest, long["value"]),
            "unit": none.cast(pl.String).scatter(at, read["unit"]).scatter(rest, long["unit"]).fill_null(""),
            "zero": clean.str.contains(CODE).fill_null(False).scatter(at, read["zero"]),
            "scaled": none.scatter(at, read["scaled"]).fill_null(False),
        }
    )


def _by_affixes(text: pl.Series, inside: pl.Series, decimal: str) -> pl.DataFrame:
    """The rows of `_read`, which reads one number for each pair of affixes, such as "$" and "", where that suffices."""
    parts = text.str.extract_groups(AROUND_DIGITS).struct.unnest()
    parts.columns = ["before", "digits", "after"]
    usual = parts["digits"].is_not_null() & (parts["digits"] != "0") & ~inside  # 0x1F, (5)
    usual = usual.fill_null(False)
    at = usual.arg_true()
    if not len(at):
        return _read(text, inside, decimal)
    if len(at) < len(text):
        others = (~usual).arg_true()
        rest = _read(text.gather(others), inside.gather(others), decimal)
        order = pl.concat([at, others]).arg_sort()
        return pl.concat([_with_affixes(parts[at], decimal), rest])[order]
    return _with_affixes(parts, decimal)


def _with_affixes(parts: pl.DataFrame, decimal: str) -> pl.DataFrame:
    """The rows of `parsed` for `before`, `digits` and `after` of texts."""
    ones = parts.select(pl.concat_str("before", pl.lit("1"), "after")).to_series()
    different = ones.unique(maintain_order=True)
    known = _read(different, pl.repeat(False, len(different), dtype=pl.Boolean, eager=True), decimal)
    at = ones.replace_strict(different, np.arange(len(different)), return_dtype=pl.Int64)
    digits = parts["digits"].str.replace_all(OTHER[decimal], "", literal=True).str.replace(decimal, ".", literal=True)
    return pl.DataFrame(
        {
            "value": digits.cast(pl.Float64, strict=False) * known["value"].gather(at),
            "unit": known["unit"].gather(at),
            "zero": parts["digits"].str.contains(r"^0\d+$"),
            "scaled": known["scaled"].gather(at),
        }
    )


def _read(text: pl.Series, inside: pl.Series, decimal: str) -> pl.DataFrame:
    """The rows of `parsed` for words that the grammar describes.

    inside  which of them stood in parentheses
    """
    fields = text.str.extract_groups(grammar(decimal)).struct.unnest()
    fields.columns = ["sign", "before", "sign2", "core", "blank", "after", "minus"]
    fields = fields.with_columns(pl.exclude("core").fill_null(""))
    scale, unit = _units(fields)
    core, signs = pl.col("core"), pl.concat_str("sign", "sign2", "minus")
    digits = core.str.replace_all(rf"[ '_{OTHER[decimal]}]", "").str.replace(decimal, ".", literal=True)
    is_hex = (core == "0") & pl.col("after").str.contains("^[xX]")  # 0xff is no number of the unit xff
    several = signs.str.len_bytes() + pl.col("inside").cast(pl.UInt32) > 1  # -(5) and -5- are no numbers
    value = digits.cast(pl.Float64, strict=False) * pl.col("scale")
    signed = pl.when(signs.str.contains("-", literal=True) | pl.col("inside")).then(-value).otherwise(value)
    return fields.with_columns(inside=inside, scale=scale, unit=unit).select(
        value=pl.when(~(is_hex | several)).then(signed),
        unit="unit",
        zero=core.str.contains(r"^0\d+$"),
        scaled=pl.col("scale") != 1.0,
    )


def _in_ascii(text: pl.Series) -> pl.Series:
    """The words with ASCII's digits, minus signs, blanks and quotes in place of others."""
    text = in_ascii_digits(text)
    signed = changed(text, ~text.str.contains(OPEN_RANGE), lambda some: some.str.replace_all(MINUS, "-"))
    return signed.str.replace_all(BLANKS, " ").str.replace_all(QUOTES, "'")


def _units(fields: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The scale and the unit of each number, from the text before and after it."""
    affixes = fields.select(
        pl.concat_str("before", "blank", pl.col("after").str.strip_chars(), separator="\t")
    ).to_series()
    different = affixes.unique()
    if not len(different):
        return pl.Series([], dtype=pl.Float64), affixes
    read = [scale_and_unit(*each.split("\t")) for each in different.to_list()]
    if len(different) == 1:
        return pl.repeat(read[0][0], len(affixes), eager=True), pl.repeat(read[0][1], len(affixes), eager=True)
    scales = pl.Series([scale for scale, _ in read], dtype=pl.Float64)
    units = pl.Series([unit for _, unit in read], dtype=pl.String)
    return (
        affixes.replace_strict(different, scales, return_dtype=pl.Float64),
        affixes.replace_strict(different, units, return_dtype=pl.String),
    )
