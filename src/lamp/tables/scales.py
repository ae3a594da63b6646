"""Currencies, and the letters behind numbers that scale them: 3k, $1.5bn, 2 Mio. €."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NoReturn

from lamp.errors import DataError

CODES = re.compile(
    "AED|ARS|AUD|BDT|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EGP|EUR|GBP|HKD|HUF|IDR|ILS|INR|ISK|JPY|KES|KRW|KZT|LKR|MAD|"
    "MXN|MYR|NGN|NOK|NZD|PEN|PHP|PKR|PLN|QAR|RON|RSD|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|UYU|VND|ZAR|"
    r"[Kk]r\.?|R[Ss]\.?|[Ff]r\.?"
)

SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9, "Bn": 1e9, "mn": 1e6, "Mn": 1e6, "mio": 1e6, "Mio": 1e6}
SCALES |= {"Mio.": 1e6, "Mrd": 1e9, "Mrd.": 1e9, "million": 1e6, "millions": 1e6, "billion": 1e9, "billions": 1e9}
SCALES |= {"thousand": 1e3, "tn": 1e12, "trillion": 1e12}
ATTACHED = ("k", "K", "M", "B")  # after a blank they are units, as in 300 K
OF_MONEY = SCALES | {"m": 1e6, "b": 1e9}  # beside a currency; elsewhere m may be metres
AMBIGUOUS = {*ATTACHED, "m", "b"}  # units that may be scales


def scale_and_unit(before: str, blank: str, after: str) -> tuple[float, str]:
    """The factor and the unit of a number, from the texts before and after it.

    before  a currency, or ""
    blank   what stands between the number and `after`
    """
    first, _, rest = after.partition(" ")
    scales = OF_MONEY if before or _is_money(rest) else SCALES
    letters, sign = after[:-1], after[-1:]
    scale = 1.0
    if first in scales and (first not in ATTACHED or not blank or scales is OF_MONEY):
        scale, after = scales[first], rest
    elif letters in OF_MONEY and _is_money(sign):  # 3m€
        scale, after = OF_MONEY[letters], sign
    elif after[:1] in ATTACHED and after[1:] and not after[1:].isascii():  # 3kΩ
        scale, after = SCALES[after[0]], after[1:]
    return scale, f"{before} {after}".strip()


@cache
def parted(unit: str) -> tuple[float, str]:
    """The factor within a unit, and the unit without it: 1e6 and "$" for "$ m", 1 and "kg" for "kg".

    Folders of older versions hold such units, for they took the letters beside a currency for a part of it.
    """
    before, _, after = unit.partition(" ")
    return scale_and_unit(before, " ", after) if after and _is_money(before) else scale_and_unit("", " ", unit)


def _is_money(text: str) -> bool:
    """Whether a text is a currency, such as "€", "US$", "EUR" or "kr"."""
    return bool(CODES.fullmatch(text)) or unicodedata.category(text[-1:] or " ") == "Sc"


def open_scales(units: Iterable[str], scaled: bool) -> list[str]:
    """The units that may be scales, if there are several of them, or one beside numbers that are scaled.

    5 m beside 1.5bn may be 5 or 5 million.
    """
    found = [unit for unit in units if unit in AMBIGUOUS]
    return found if len(found) > 1 or scaled else []


def refuse_open_scales(name: str, found: list[str], scaled: str) -> NoReturn:
    """Raise the DataError for numbers some of which may be scaled.

    scaled  a text that is scaled for certain, or ""
    """
    raise DataError(
        f"column {name!r}: {' and '.join(map(repr, found[:3]))} may be units or thousands, millions, billions",
        expected="one scale, or numbers without units",
        got=f"numbers with {', '.join(map(repr, found[:3]))}" + (f" beside {scaled!r}" if scaled else ""),
        fix="write the numbers out, or with a currency: $5m, $5bn",
    )
