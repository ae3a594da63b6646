"""Names, texts and numbers in a form that can be shown on a terminal, in a table or in a figure.

Names of files, columns and classes come from outside. They may be long, or contain control sequences.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

JOINERS = "\u200c\u200d\u3000"  # used in Persian, Indic and Japanese; Python's repr escapes them, lamp does not
TOO_LONG = 1e15  # from this number on, powers of ten are easier to read
MOST_DIGITS = 6  # more of them say nothing to a reader


def as_utf8(text: str) -> str:
    """An argument or path; bytes in it that Python could not decode in the locale's encoding are decoded as UTF-8.

    Python keeps such bytes as the characters U+DC80 to U+DCFF, for example all of "ä" in the locale C.
    """
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other halves of a pair
        return text


def all_as_utf8(document: Any) -> Any:
    """A JSON document with `as_utf8` of every text in it."""
    if isinstance(document, str):
        return as_utf8(document)
    if isinstance(document, Mapping):
        return {all_as_utf8(key): all_as_utf8(value) for key, value in document.items()}
    return [all_as_utf8(each) for each in document] if isinstance(document, list | tuple) else document


def printable(text: str, keep: str = "") -> str:
    r"""The text with control and invisible characters escaped as in a repr: "\x1b", "\n", "\u202e".

    keep  characters that stay, such as "\n" in a text of several lines
    """
    if text.isprintable():
        return text
    text = as_utf8(text)
    return "".join(each if each.isprintable() or each in JOINERS or each in keep else repr(each)[1:-1] for each in text)


def counted(count: int, what: str, participle: str = "") -> str:
    """A count with its noun, and a participle if one is given: "1 row", "1,200 rows are left out"."""
    noun = what if count == 1 else f"{what}s"
    return f"{count:,} {noun}" + (f" {'is' if count == 1 else 'are'} {participle}" if participle else "")


def shortened(names: Sequence[str], longest: int) -> list[str]:
    """The names, printable and cut in the middle to at most `longest` characters; different names stay different."""
    short = [_cut(printable(name), longest) for name in names]
    of_each: dict[str, set[str]] = {}
    for name, cut in zip(names, short, strict=True):
        of_each.setdefault(cut, set()).add(name)
    alike = {cut for cut, of in of_each.items() if len(of) > 1}
    numbers: Counter[str] = Counter()
    labels: dict[str, str] = {}
    taken = set(of_each) - alike
    for name, cut in zip(names, short, strict=True):
        if cut in alike and name not in labels:
            while True:
                numbers[cut] += 1
                mark = f" ({numbers[cut]})"
                label = _cut(printable(name), longest - len(mark)) + mark
                if label not in taken:
                    break
            taken.add(label)
            labels[name] = label
    return [labels.get(name, cut) for name, cut in zip(names, short, strict=True)]


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return text[: longest // 2] + "…" + text[len(text) - (longest - 1) // 2 :]


def readable(number: float | None) -> str:
    """A number in up to four digits, such as 94,480; 123.4; 0.512 or 0.00012; "-" for None, NaN and infinity."""
    if number is None or not math.isfinite(number):
        return "-"
    size = abs(number)
    if size >= TOO_LONG:
        return f"{number:.4g}"
    if size >= 999.95:
        return f"{float(f'{number:.4g}'):,.0f}"
    if size >= 9.9995:
        return f"{number:#.4g}"
    return f"{number:.3f}" if size >= 0.01 or number == 0 else f"{number:.2g}"


def rounded(number: float, margin: float, usual: int = 3) -> str:
    """A number in the one or two significant digits that its margin of error leaves, such as 94,500 for 94,477 ± 3,210.

    usual  decimals that are shown where both would do, so that numbers of one kind look alike
    """
    if not (math.isfinite(number) and math.isfinite(margin) and margin > 0) or abs(number) >= TOO_LONG:
        return readable(number)
    leading = math.floor(math.log10(abs(number))) if number else 0
    of_one = -math.floor(math.log10(margin))  # decimals with one significant digit of the margin
    decimals = min(of_one + 1, max(of_one, usual), MOST_DIGITS - 1 - leading)
    if decimals > MOST_DIGITS:
        return f"{number:.{max(0, leading + decimals)}e}"
    return f"{round(number, decimals) + 0.0:,.{max(0, decimals)}f}"  # + 0.0: no "-0"
