"""Remarks on many columns in few lines: those of one kind share a line, which names the first columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from lamp.tables.kinds import Decision, listed

SHOWN = 3  # columns named in a line
MANY = 5  # lines that differ in nothing but numbers, from which they are one
EXAMPLE = re.compile(r"(?<=^constant: ).*|(?<= )\S+=|[+-]?\d[\d.,e+-]*")  # a word, a column in an option, a number


def by_reason(decisions: Iterable[Decision]) -> list[str]:
    """One line per reason; columns with the same reason share a line."""
    return in_few_lines((each.name, each.why) for each in decisions)


def in_few_lines(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """One line per remark, given pairs of a column and a remark; columns with the same remark share a line.

    Remarks that differ in nothing but numbers share a line too, with the numbers of the first, if there are many.
    """
    names: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}  # of remarks: what is left of them without numbers
    alike: dict[str, list[str]] = {}
    for name, remark in remarks:
        if remark not in kinds:
            kinds[remark] = EXAMPLE.sub("", remark)
        names.setdefault(remark, []).append(name)
        alike.setdefault(kinds[remark], []).append(name)
    lines, told, different = [], set(), Counter(kinds.values())
    for remark, those in names.items():
        kind = kinds[remark]
        if different[kind] < MANY:
            lines.append(f"{listed(those, SHOWN)}: {remark}")
        elif kind not in told:
            told.add(kind)
            lines.append(f"{listed(alike[kind], SHOWN).removesuffix(')')}; values of the first): {remark}")
    return lines
