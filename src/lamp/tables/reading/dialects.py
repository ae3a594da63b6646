"""Detect the separator of delimited text from its first lines, and remove what precedes its first record."""

from __future__ import annotations

import csv
import re
from collections import Counter
from io import StringIO
from itertools import islice
from typing import Literal

from lamp.tables.reading.encodings import line_of
from lamp.tables.reading.options import ReadOptions

SAMPLE = 1 << 20  # first bytes, and
SAMPLE_RECORDS = 200  # first records, in which the separator is looked for
CANDIDATES = ("\t", ";", "|", ",")  # those that are rare in values come first
MOSTLY = 0.5  # least share of records with the most frequent number of fields
NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "blanks"}
OPTION = {"\t": "tab", " ": '" "'}
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def named(separator: str) -> str:
    """The separator in words, such as "a comma"."""
    return NAMES.get(separator, repr(separator))


def option(separator: str) -> str:
    """The option --separator for this separator."""
    return f"--separator {OPTION.get(separator, chr(34) + separator + chr(34))}"


def sample_of(body: bytes) -> str:
    """The first lines as text."""
    part = body[:SAMPLE]
    if len(body) > SAMPLE and (end := max(part.rfind(b"\n"), part.rfind(b"\r"))) > 0:
        part = part[: end + 1]
    return part.decode("utf-8", "ignore")


def separator_of(sample: str, likely: str) -> str:
    """The separator for which the most records have the same number of fields (two or more), or else `likely`."""
    counted = {mark: _score(sample, mark) for mark in CANDIDATES}
    perfect = [mark for mark, score in counted.items() if score == 1.0]
    if perfect:
        return likely if likely in perfect and likely != "," else perfect[0]
    best = max(counted, key=lambda mark: (counted[mark], mark == likely))
    if counted[best] > MOSTLY:
        return best
    return " " if _is_aligned(sample) else likely


def _score(sample: str, mark: str) -> float:
    """The share of records with the most frequent number of fields (at least two); below 1 if the first differs."""
    shares = []
    quotings: tuple[Literal[0, 3], ...] = (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)
    for quoting in quotings:
        lengths = _lengths(sample, mark, quoting)
        usual, often = Counter(lengths).most_common(1)[0] if lengths else (0, 0)
        if usual >= 2:
            shares.append(min(often / len(lengths), 1.0 if lengths[0] == usual else 0.99))
    return max(shares, default=0.0)


def _lengths(sample: str, mark: str, quoting: Literal[0, 3]) -> list[int]:
    """The number of fields of each record, without empty lines."""
    reader = csv.reader(StringIO(sample, newline=""), delimiter=mark, quoting=quoting, skipinitialspace=True)
    return [len(fields) for fields in islice(reader, SAMPLE_RECORDS) if any(fields) or len(fields) > 1]


def _is_aligned(sample: str) -> bool:
    """Whether blanks separate the same number of values in each line.

    The values must all be numbers, or, with three or more per line, at least one of them: text alone is not a table.
    """
    reader = csv.reader(StringIO(re.sub(r"[ \t]+", " ", sample), newline=""), delimiter=" ", skipinitialspace=True)
    lines = [[field for field in fields if field] for fields in islice(reader, SAMPLE_RECORDS) if any(fields)]
    if len(lines) < 2 or len(lines[0]) < 2:
        return False
    names, rows = lines[0], lines[1:]
    numbers = [[NUMBER.fullmatch(field) is not None for field in row] for row in rows]
    return {len(row) for row in rows} in ({len(names)}, {len(names) + 1}) and (
        all(map(all, numbers)) or (len(names) > 2 and all(map(any, numbers)))
    )


# ---- lines before the first record -----------------------------------------------------------------------------------
def preamble(body: bytes, options: ReadOptions) -> tuple[bytes, int, str | None]:
    """The text without skipped lines and without a line such as `sep=;`, the number of its first line, and the
    separator that such a line names, or None."""
    at, named_separator = 0, None
    for _ in range(options.skip_lines or 0):
        at = next_line(body, at)
    end = next_line(body, at)
    found = re.fullmatch(r'"?sep=(.)"?\s*', body[at : min(end, at + 20)].decode("utf-8", "ignore"), re.IGNORECASE)
    if found and found[1] not in '"\\':
        named_separator, at = found[1], end
    return body[at:], line_of(body, at), named_separator


def next_line(body: bytes, at: int) -> int:
    """The offset at which the next line begins."""
    found = re.compile(rb"\r\n|\n|\r").search(body, at)
    return found.end() if found else len(body)
