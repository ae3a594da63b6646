"""Read numbers as people write them: 1,203.50 and 1.203,50, $3,036.00, 12 kg, 52.9 %, (100.00), 1 000, 1'000, 3k.

How a column writes its numbers is decided once, from all of its rows, and saved, so that the same text means the same
number in every table. Text of another form is not a number; it is never read as a different one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import polars as pl

from lamp.tables.cells import Array, Cells
from lamp.tables.evidence import Found
from lamp.tables.missing import MISSING_WORDS

MOST_SHOWN = 50  # words kept as examples
A_FEW, ENOUGH = 20, 1_000  # so many words decide the decimal mark if they agree
SLIPS, SLIPS_SHARE = 2, 0.05  # least words, and share of words, with another decimal mark that are no slips
MOST = 0.5  # least share of numbers among the words that contain a mark
OTHER = {".": ",", ",": "."}  # {decimal mark: thousands separator}

# ---- the grammar -----------------------------------------------------------------------------------------------------
OTHER_DIGITS = r"[\p{Nd}--0-9]"  # of other scripts, and full-width ones
MINUS, BLANKS, QUOTES = (
    "[\u2212\u2010-\u2013\ufe63\uff0d]",
    "[\u00a0\u2000-\u200a\u202f\u205f\t]",
    "[\u2019\u02bc\u00b4`]",
)
CODES = (
    "AED ARS AUD BDT BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KES KRW KZT LKR MAD "
    "MXN MYR NGN NOK NZD PEN PHP PKR PLN QAR RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD UYU VND ZAR"
).replace(" ", "|")
BEFORE = rf"(?:[A-Z]{{0,3}}\p{{Sc}}|{CODES}|[Kk]r\.?|R[Ss]\.?|[Ff]r\.?)"
LETTER = r"\p{L}\p{M}\p{Sc}%‰°/"
AFTER = rf"(?:[{LETTER}][{LETTER}²³·.\s]{{0,18}}|(?:[kcdm]?m|ft|in|mi|yd)[23])"
UNUSUAL = "[^ -_a-~]"  # other letters than those of ASCII, tabs and `
CODE = r"^[+-]?0\d+$"  # 007 is a word
IN_PARENTHESES = r"^([^\d()]*)\(([^()+-]*)\)([^\d()]*)$"  # accountants write -100 as (100.00)

SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9, "Bn": 1e9, "mn": 1e6, "Mn": 1e6, "mio": 1e6, "Mio": 1e6}
SCALES |= {"Mio.": 1e6, "Mrd": 1e9, "Mrd.": 1e9, "million": 1e6, "millions": 1e6, "billion": 1e9, "billions": 1e9}
SCALES |= {"thousand": 1e3, "tn": 1e12, "trillion": 1e12}
ATTACHED = ("k", "K", "M", "B")  # after a blank they are units, as in 300 K


@cache
def grammar(decimal: str) -> str:
    """The regular expression of a number with this decimal mark, its sign and its unit."""
    mark, thousands = ("\\.", ",") if decimal == "." else (",", "\\.")
    groups = [rf"[1-9]\d{{0,2}}(?:{each}\d{{3}})+" for each in (thousands, " ", "'", "_")]
    groups.append(rf"[1-9]\d?(?:{thousands}\d{{2}})+{thousands}\d{{3}}")  # India: 12,34,567
    core = rf"(?:(?:{'|'.join(groups)}|\d+)(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity)"
    return rf"^([+-]?) *({BEFORE})? *([+-]?) *({core})( *)({AFTER})?(-?)$"


@dataclass(frozen=True)
class NumberForm:
    """How a column writes its numbers.

    decimal  the decimal mark, "." or ","; the other one, blanks, ' and _ may separate thousands
    unit     the text before or after the number, such as "$", "%" or "kg"; None allows any
    zeros    whether 007 is the number 7; otherwise it is a word
    scales   whether 3k is 3,000 and 2.5M is 2,500,000
    """

    decimal: str = "."
    unit: str | None = ""
    zeros: bool = False
    scales: bool = False

    @property
    def described(self) -> str:
        """The form in words, for a message."""
        unit = "" if not self.unit else f" in {self.unit}"
        return f"a number{unit}" + (" with a decimal comma" if self.decimal == "," else "")

    def read(self, cells: Cells) -> pl.Series:
        """(m,) the numbers in the different texts of a column, float64; null for what is not a number of this form."""
        parts = cells.read(parsed, self.decimal)
        fits = self.fits(parts)
        return parts["value"] if fits.all() else parts["value"].set(~fits, None)

    def fits(self, parts: pl.DataFrame) -> pl.Series:
        """(m,) booleans: which rows of `parsed` are numbers of this form."""
        fits = pl.col("value").is_not_null()
        if self.unit is not None:
            bare = ~pl.col("scaled") if self.unit else pl.lit(True)  # beside 12A, 12B is not 12 billion
            if self.unit == "%":
                bare = pl.col("value") == 0  # beside 50 %, 0.5 is ambiguous
            fits &= (pl.col("unit") == self.unit) | ((pl.col("unit") == "") & bare)
        if not self.zeros:
            fits &= ~pl.col("zero")
        if not self.scales:
            fits &= ~pl.col("scaled")
        return parts.select(fits.fill_null(False)).to_series()


def parsed(text: pl.Series, decimal: str) -> pl.DataFrame:
    """A table with one row per word, parsed as a number.

    value   float64, or null if the word is not a number
    unit    the text before and after it
    zero    whether it begins with 0 as a code does
    scaled  whether a k, M or the like scales it
    """
    clean = text
    if text.str.contains(UNUSUAL).any():
        clean = _in_latin_digits(text)
        clean = clean.str.replace_all(MINUS, "-").str.replace_all(BLANKS, " ").str.replace_all(QUOTES, "'")
    inside = clean.str.contains(IN_PARENTHESES).fill_null(False)
    if inside.any():
        clean = clean.str.replace(IN_PARENTHESES, "$1$2$3").zip_with(inside, clean)
    clean = clean.str.strip_chars()
    plain = clean.cast(pl.Float64, strict=False)  # as programs write numbers
    others = ~plain.is_finite().fill_null(False) | inside
    if decimal == ",":
        others |= clean.str.contains(".", literal=True).fill_null(False)
    at = (others & clean.str.contains(grammar(decimal)).fill_null(False)).arg_true()
    read = _read(clean.gather(at), inside.gather(at), decimal)
    none = pl.repeat(None, len(text), dtype=pl.Boolean, eager=True)
    return pl.DataFrame(
        {
            "value": plain.set(others, None).scatter(at, read["value"]),
            "unit": none.cast(pl.String).scatter(at, read["unit"]).fill_null(""),
            "zero": clean.str.contains(CODE).fill_null(False).scatter(at, read["zero"]),
            "scaled": none.scatter(at, read["scaled"]).fill_null(False),
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


def _in_latin_digits(text: pl.Series) -> pl.Series:
    """The words with the digits 0 to 9 in place of other scripts' digits."""
    others = text.str.extract_all(OTHER_DIGITS).explode(empty_as_null=False).drop_nulls().unique().to_list()
    if not others:
        return text
    return text.str.replace_many(others, [str(unicodedata.digit(each)) for each in others])


def _units(fields: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The scale and the unit of each number, from the text before and after it."""
    affixes = fields.select(
        pl.concat_str("before", "blank", pl.col("after").str.strip_chars(), separator="\t")
    ).to_series()
    different = affixes.unique()
    if not len(different):
        return pl.Series([], dtype=pl.Float64), affixes
    read = [_unit(*each.split("\t")) for each in different.to_list()]
    if len(different) == 1:
        return pl.repeat(read[0][0], len(affixes), eager=True), pl.repeat(read[0][1], len(affixes), eager=True)
    scales = pl.Series([scale for scale, _ in read], dtype=pl.Float64)
    units = pl.Series([unit for _, unit in read], dtype=pl.String)
    return (
        affixes.replace_strict(different, scales, return_dtype=pl.Float64),
        affixes.replace_strict(different, units, return_dtype=pl.String),
    )


def _unit(before: str, blank: str, after: str) -> tuple[float, str]:
    first, _, rest = after.partition(" ")
    scale = 1.0
    if first in SCALES and (first not in ATTACHED or not blank or before):
        scale, after = SCALES[first], rest
    elif after[:1] in ATTACHED and after[1:] and not after[1:].isascii():  # 3k€
        scale, after = SCALES[after[0]], after[1:]
    return scale, f"{before} {after}".strip()


# ---- how a column writes its numbers ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Seen:
    """What the words of a column look like as numbers.

    cells      the column
    form       how the numbers are written
    rows       number of rows that hold a number
    odd        the words that are not numbers, the most frequent first
    odd_rows   number of rows that hold such a word
    units      {unit: number of rows}, with "" for no unit
    codes      words that begin with 0 as codes do
    fractions  whether some numbers are not whole
    special    {word: number} for some words in an unusual notation
    scaled     a word with a k or M, or ""
    mixed      a word with the other decimal mark, if that occurs beside words that could have either; else ""
    """

    cells: Cells
    form: NumberForm
    rows: int
    odd: list[str]
    odd_rows: int
    units: Counter[str]
    codes: list[str]
    fractions: bool
    special: dict[str, float]
    scaled: str
    mixed: str

    def value(self, word: str, decimal: str) -> float | None:
        """The number that a text of the column is with this decimal mark."""
        values = self.cells.read(parsed, decimal)["value"]
        return cast("float | None", values[int((self.cells.text == word).arg_max() or 0)])

    @property
    def are_plain(self) -> bool:
        """Whether the words are numbers without units, and nothing else."""
        return self.rows > 0 and not self.odd and self.form == NumberForm(self.form.decimal)

    @property
    def are_codes(self) -> bool:
        """Whether the words are codes in digits, such as 007, rather than numbers."""
        return bool(self.codes) and not (self.fractions or self.form.zeros)


def nothing(cells: Cells) -> Seen:
    """What a column of words looks like."""
    return Seen(cells, NumberForm(), 0, [], 0, Counter(), [], False, {}, "", "")


def rows(cells: Cells, decimal: str, missing: Sequence[str] = MISSING_WORDS) -> int:
    """The number of rows that hold a number."""
    there = ~np.isnan(cells.read(parsed, decimal)["value"].to_numpy()) & ~cells.missing(missing).to_numpy()
    return int(cells.count[there].sum())


def seen(cells: Cells, decimal: str, missing: Sequence[str] = MISSING_WORDS, asked: bool = False) -> Seen:
    """What the words of a column look like as numbers.

    asked  whether the user said that they are numbers; then every unit and leading zeros are accepted
    """
    columns = {"text": cells.text, "word": cells.different_words(missing), "count": cells.count}
    words = pl.DataFrame(columns).hstack(cells.read(parsed, decimal))
    words = words.filter(words["word"].is_not_null()) if words["word"].null_count() else words
    there = words.filter(words["value"].is_not_null()) if words["value"].null_count() else words
    units = _counted(there["unit"], there["count"])
    named = [unit for unit, _ in units.most_common() if unit]
    unit: str | None = named[0] if named else ""
    if "%" in named:
        plain = int(there.filter((pl.col("unit") == "") & (pl.col("value") != 0))["count"].sum())
        if unit == "%" and units["%"] < plain:
            unit = ""
    if asked and (len(named) > 1 or ("%" in named and plain)):
        unit = None
    form = NumberForm(decimal, unit, asked and bool(there["zero"].any()), bool(there["scaled"].any()))
    fits = form.fits(words)
    read, odd = (words, words.clear()) if fits.all() else (words.filter(fits), words.filter(~fits))
    odd = odd.sort(["count", "word"], descending=[True, False]) if len(odd) > 1 else odd
    values = read["value"].to_numpy()
    return Seen(
        cells,
        form,
        int(read["count"].sum()),
        list(dict.fromkeys(odd["word"].to_list())),
        int(odd["count"].sum()),
        units,
        there.filter("zero")["text"].sort().head(MOST_SHOWN).to_list() if there["zero"].any() else [],
        bool((values != np.round(values)).any()),
        special(read),
        read.filter("scaled")["text"][0] if read["scaled"].any() else "",
        _mixed(cells, odd["text"].to_list(), read["text"], decimal) if len(odd) else "",
    )


def _counted(units: pl.Series, count: pl.Series) -> Counter[str]:
    """{unit: number of rows}."""
    if units.n_unique() == 1:
        return Counter({units[0]: int(count.sum())})
    found: Counter[str] = Counter()
    for unit, rows in zip(units.to_list(), count.to_list(), strict=True):
        found[unit] += rows
    return found


def _mixed(cells: Cells, odd: Sequence[str], read: pl.Series, decimal: str) -> str:
    """A word that is a number with the other decimal mark alone, if there are too many of them to be slips and the
    mark occurs in other words too, where it was taken for a thousands separator; else ""."""
    marked = int(read.str.contains(OTHER[decimal], literal=True).sum())
    if not marked:
        return ""
    others = set(cells.text.filter(cells.read(parsed, OTHER[decimal])["value"].is_not_null()).to_list())
    proofs = [word for word in odd if word in others]
    return proofs[0] if len(proofs) >= max(SLIPS, SLIPS_SHARE * (marked + len(proofs))) else ""


def special(read: pl.DataFrame) -> dict[str, float]:
    """{word: number} for a few words in a notation that programs do not use, from a table of `text` and `value`."""
    few = read.filter(read["text"].str.contains(r"[^0-9.+\-eE]|\d-$|\..*\.")).head(MOST_SHOWN)
    return dict(few.select("text", "value").iter_rows())


# ---- the decimal mark ------------------------------------------------------------------------------------------------
# Numbers without a unit in which "." can only be the decimal point: 0.5, 1.25, 1000.125
PLAIN = re.compile(r"[+-]?(?:0?\.\d+|\d{4,}\.\d*|\d*\.(?:\d{1,2}|\d{4,}))(?:[eE][+-]?\d+)?$")


def decimal_mark(column: pl.Series | Cells) -> Found:
    """The decimal mark of a column of text, as its own rows show it."""
    cells = Cells.of(column)
    first = cells.first[:A_FEW]
    if "," not in "".join(first) and any(map(PLAIN.match, first)):
        return Found(".", "proven", next(word for word in first if PLAIN.match(word)))
    marked = cells.text.str.contains_any([".", ","]).to_numpy()
    rows = cells.count[marked].sum()
    if not rows:
        return Found(".")
    found = None
    if rows > ENOUGH:  # a long column is decided by its first rows, if they prove it
        places = cells.places[cells.places >= 0]
        first_marked = np.zeros_like(marked)
        first_marked[places[marked[places]][:ENOUGH]] = True
        found = _shown_by(cells, first_marked)
    if not (found is not None and found.known == "proven"):
        found = _shown_by(cells, marked)
    if found is None or found.known != "assumed":
        return found or Found(".")
    return _by_the_others(cells, found)


def _shown_by(cells: Cells, marked: Array) -> Found | None:
    """The decimal mark that these words with marks show; None if most of them are not numbers.

    marked  (m,) booleans: which texts to look at
    """
    looked_at = marked & ~cells.missing().to_numpy()
    point, comma = (cells.read(parsed, mark)["value"].to_numpy() for mark in (".", ","))
    by_point, by_comma = looked_at & ~np.isnan(point), looked_at & ~np.isnan(comma)
    if max(by_point.sum(), by_comma.sum()) <= MOST * looked_at.sum():
        return None
    proofs = {".": np.flatnonzero(by_point & ~by_comma), ",": np.flatnonzero(by_comma & ~by_point)}
    if len(proofs["."]) or len(proofs[","]):
        mark = max(proofs, key=lambda each: len(proofs[each]))
        all_the_same = not len(proofs[OTHER[mark]])
        return Found(mark, "proven" if all_the_same else "likely", cells.text[int(proofs[mark][0])])
    open_ones = np.flatnonzero(by_point & by_comma & (point != comma))
    return Found(".", "assumed", cells.text[int(open_ones[0])]) if len(open_ones) else Found(".")


def _by_the_others(cells: Cells, found: Found) -> Found:
    """The meaning of an ambiguous 1.020 or 1,020, judged by the numbers without a mark.

    If these are all below 1000 (such as 770, and no 2000), the mark separates thousands: a program that writes 1.02 as
    1.020 would also write 770 as 770.000.
    """
    mark = "." if "." in found.example else ","
    with_mark = cells.text.str.contains(mark, literal=True)
    others = cells.read(parsed, ".")["value"].filter(~with_mark).drop_nulls().to_numpy()
    others = others[np.isfinite(others) & (others != 0)]
    ends_in_zero = cells.text.filter(with_mark).str.contains(r"[.,]\d\d0(?:\D|$)").any()
    if len(others) and ends_in_zero and bool((np.abs(others) < 1000).all()):
        return Found(OTHER[mark], "likely", found.example)
    return found
