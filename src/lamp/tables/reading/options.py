"""ReadOptions: the user's options for reading a file; what they leave open is detected in the file."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

from lamp.errors import ArgumentError, DataError

QUOTES = ("double", "backslash", "none")
RAGGED = ("error", "fill", "drop")
SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "bar": "|", "space": " "}

MOST_BYTES = 4 * 2**30  # largest decompressed size of a file, by default
MOST_COLUMNS = 100_000


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a file. None means that the value is detected, or the default in brackets.

    separator    the character between values; " " stands for any number of blanks
    quote        how a quote is written in a quoted field: "double" (doubled), "backslash" (after a backslash), or
                 "none" (quotes have no special meaning)
    encoding     the text's encoding, such as "utf-8", "cp1252", "utf-16"
    header       whether the first line has the columns' names  [True]
    comment      lines that begin with this are skipped; "" skips none  ["#" if the file begins with such lines]
    skip_lines   number of lines to skip at the beginning  [0]
    sheet        name of the sheet of a spreadsheet, or of the file in a .zip  [the first sheet]
    ragged       what to do with lines of too few or too many values: "error" refuses the file, "fill" adds missing
                 values or cuts the line, "drop" leaves the line out  ["error"]
    max_bytes    largest decompressed size of the file  [4 GiB, and at most 200 times the compressed size]
    max_columns  largest number of columns  [100,000]

    Raises ArgumentError for an invalid value.
    """

    separator: str | None = None
    quote: str | None = None
    encoding: str | None = None
    header: bool | None = None
    comment: str | None = None
    skip_lines: int | None = None
    sheet: str | None = None
    ragged: str | None = None
    max_bytes: int | None = None
    max_columns: int | None = None

    def __post_init__(self) -> None:
        if self.separator is not None:
            object.__setattr__(self, "separator", SEPARATORS.get(self.separator, self.separator))
        separator = self.separator
        if separator is not None and (not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n\\'):
            raise _refused(
                "separator", "one character", separator, '--separator ";", --separator tab, --separator " " for blanks'
            )
        for name, words in (("quote", QUOTES), ("ragged", RAGGED)):
            if getattr(self, name) not in (None, *words):
                raise _refused(name, ", ".join(words), getattr(self, name), f"--{name} {words[0]}")
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.header not in (None, True, False):
            raise _refused("header", "True or False", self.header, "header=False for a file without names")
        for name in ("comment", "sheet"):
            if not isinstance(getattr(self, name), str | None):
                raise _refused(name, "text", getattr(self, name), f'{name}="..."')
        if isinstance(self.max_bytes, str):
            object.__setattr__(self, "max_bytes", bytes_of(self.max_bytes))
        for name, least in (("skip_lines", 0), ("max_bytes", 1), ("max_columns", 1)):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < least):
                raise _refused(name, f"a whole number, at least {least}", number, f"--{name.replace('_', '-')} 10")

    def over(self, other: ReadOptions) -> ReadOptions:
        """These options, completed with the other's where these are None."""
        return ReadOptions(**{**other.to_dict(), **self.to_dict()})

    @property
    def of_text(self) -> list[str]:
        """The command-line names of the given options that apply only to text files."""
        names = ("separator", "quote", "encoding", "header", "comment", "skip_lines", "ragged")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]

    def to_dict(self) -> dict[str, Any]:
        """The given options as a dict for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """The options that `to_dict` described. Raises DataError for anything else."""
        try:
            return cls(**saved)
        except (TypeError, ArgumentError) as error:
            raise DataError(
                "these are not options for reading a table",
                expected=", ".join(each.name for each in fields(cls)),
                got=str(error).splitlines()[0],
                fix="train again with this version of lamp",
            ) from None

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The options by name. Raises ArgumentError for an unknown name or an invalid value."""
        names = [each.name for each in fields(cls)]
        also = {"sep": "separator", "delimiter": "separator", "skiprows": "skip_lines", "sheet_name": "sheet"}
        for name in given:
            if name not in names:
                meant = also.get(name) or next(iter(get_close_matches(name, names, 1)), None)
                raise ArgumentError(
                    f"read_table has no option {name!r}",
                    expected=", ".join(names),
                    got=name,
                    fix=f"did you mean {meant}=?" if meant else "name one of these",
                )
        return cls(**given)


def check_width(where: str, columns: int, options: ReadOptions) -> None:
    """Raise DataError if a table has more columns than allowed."""
    most = options.max_columns or MOST_COLUMNS
    if columns > most:
        raise DataError(
            f"{where}: too many columns",
            expected=f"at most {most:,}",
            got=f"{columns:,}",
            fix=f"is this the right file? --max-columns {columns} allows them",
        )


def bytes_of(text: str) -> int:
    """The number of bytes in a text such as "500M", "4G" or "1000". Raises ArgumentError for anything else."""
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number, unit = text.strip().upper().removesuffix("IB").removesuffix("B"), ""
    if number and number[-1] in "KMGT":
        number, unit = number[:-1].strip(), number[-1]
    try:
        count = int(float(number) * units[unit])
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise _refused("max_bytes", "a number of bytes, such as 500M or 4G", text, "--max-bytes 8G")
    return count


def _check_encoding(encoding: object) -> None:
    try:
        is_text = isinstance(encoding, str) and codecs.lookup(encoding)._is_text_encoding
    except (LookupError, ValueError):
        is_text = False
    if not is_text:
        raise _refused("encoding", "utf-8, utf-16, cp1252, latin-1, shift_jis, ...", encoding, "--encoding cp1252")


def _refused(name: str, expected: str, got: object, fix: str) -> ArgumentError:
    return ArgumentError(
        f"invalid value of the option {name.replace('_', '-')}", expected=expected, got=repr(got), fix=fix
    )
