"""Convert text in any encoding to UTF-8, with a remark where the encoding had to be guessed."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from lamp.errors import DataError
from lamp.printable import counted

LINE_ENDS = (b"\n", b"\r")
BYTE_ORDER_MARKS = (  # the longer ones first
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
OTHERS = ("cp1252", "cp1250", "cp1251", "mac_roman", "shift_jis", "gb18030", "euc_kr", "big5")  # suggested in an error
LETTERS_PER_BYTE = 2  # least number of UTF-8's letters for each other byte in text that is damaged UTF-8
SHOWN = 3  # damaged bytes, and words, quoted in an error
DAMAGED = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of a byte that is not UTF-8
LOOKED_AT = 4096  # first bytes, by which UTF-16 without a byte order mark is detected

# Runs of non-ASCII characters in West European text: signs before letters, one or two letters, signs after them; or a
# single sign. Any other run, such as three of these letters, means another encoding.
LETTERS = "À-ÖØ-öø-ÿŒœŠšŽžŸ"
WESTERN = re.compile(
    f"(?!.*[ÃÂ][^\\x00-\\x7f])[“„‘«¡¿—–]*[{LETTERS}’´·]{{0,2}}[”’»™®…—–°²³ªº]*|[€£¥§°µ½¼¾©•¡×±\u00a0]"  # noqa: RUF001
)
BETWEEN = re.compile(f"[A-Za-z{LETTERS}][€£¥§°²³¹½¼¾©®¿¡×±µ][a-z{LETTERS}]")  # noqa: RUF001
GARBLED = (b"\xc3\x83\xc2", b"\xc3\xa2\xe2\x82\xac")  # UTF-8 that was decoded as cp1252 and encoded as UTF-8 again
LOST = b"\xef\xbf\xbd"  # U+FFFD, which replaces letters that could not be decoded


def as_utf8(data: bytes, encoding: str | None, name: str, notes: list[str]) -> bytes:
    """The text as UTF-8 without a byte order mark.

    encoding  None to detect it: a byte order mark, UTF-16 by its zero bytes, UTF-8, or else West European text of
              Windows (cp1252), which adds a remark to `notes`

    Raises DataError, with the line, if the encoding is not clear, and for zero bytes in the text.
    """
    data = _decoded(data, encoding, name) if encoding is not None else _found(data, name, notes)
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataError(
            f"{name}, line {line_of(data, zero):,}: a zero byte in the text",
            expected="a text file",
            got=f"a zero after {_shown(data[max(0, zero - 20) : zero])!r}",
            fix="if it is UTF-16, --encoding utf-16; else the file is damaged or not text: write it again",
        )
    _note_garbled(data, name, notes)
    for end in LINE_ENDS:
        data = data.replace(end + codecs.BOM_UTF8, end)  # of files that were joined
    return data


def line_of(data: bytes, offset: int) -> int:
    """The number of the line, counted from 1, that holds the byte at an offset."""
    before = data[:offset]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _decoded(data: bytes, encoding: str, name: str) -> bytes:
    try:
        return data.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeError as error:
        at = getattr(error, "start", 0)
        raise DataError(
            f"{name}, line {line_of(data, at):,}: this is not {encoding}",
            expected=f"text in {encoding}, as --encoding says",
            got=f"{data[at : at + 4].hex(' ')} (hexadecimal) after {_shown(data[max(0, at - 20) : at])!r}",
            fix="leave --encoding out, or name another: utf-8, utf-16, cp1252, shift_jis, ...",
        ) from None


def _found(data: bytes, name: str, notes: list[str]) -> bytes:
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            rest = data[len(mark) :]
            return _decoded(rest, encoding, name) if encoding != "utf-8" else _found(rest, name, notes)
    begin = data[:LOOKED_AT]
    if len(begin) >= 4:
        for encoding, zeros, others in (("utf-16-le", begin[1::2], begin[::2]), ("utf-16-be", begin[::2], begin[1::2])):
            if zeros.count(0) > 0.3 * len(zeros) and others.count(0) < 0.05 * len(others):
                notes.append(f"{name}: read as {encoding}, because every other byte is zero")
                return _decoded(data, encoding, name)
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return _western(data, error, name, notes)
    return data


def _western(data: bytes, error: UnicodeDecodeError, name: str, notes: list[str]) -> bytes:
    """Text that is not UTF-8 decoded as cp1252, if the result looks right. Raises DataError otherwise."""
    at = error.start
    line = line_of(data, at)
    cut = at + 4 >= len(data) and error.reason == "unexpected end of data"
    if not cut:
        _refuse_damaged(data, name)
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if text and _is_western(text):
        shown = ", ".join(repr(word) for word in _words(text, 3))
        notes.append(f"{name}: the text is not UTF-8 and was read as cp1252 (Windows), with {shown}; the "
                     f"first is in line {line:,}; if that is wrong, name its encoding: --encoding NAME")  # fmt: skip
        return text.encode()
    word = _word_at(data, at)
    read = []
    for encoding in OTHERS:
        try:
            read.append((encoding, word.decode(encoding)))
        except UnicodeDecodeError:
            continue
    read.sort(key=lambda each: sum(not letter.isalnum() for letter in each[1]))
    looks = [f"--encoding {encoding} reads {text!r}" for encoding, text in read]
    raise DataError(
        f"{name}, line {line:,}: the text is not UTF-8, and its encoding is not clear",
        expected="UTF-8, or an encoding named by --encoding",
        got=f"{word[:20].hex(' ')} (hexadecimal)",
        fix="the file ends within a letter: it seems to be cut off" if cut
        else f"choose the encoding that looks right: {'; '.join(looks[:6])}" if looks else "save it in UTF-8",
    ) from None  # fmt: skip


def _refuse_damaged(data: bytes, name: str) -> None:
    """Raise DataError if the text is UTF-8 but for a few bytes.

    Another encoding would garble its other letters: text in another one is hardly ever valid UTF-8 by chance.
    """
    text = data.decode("utf-8", "surrogateescape")
    damaged = [match.start() for match in DAMAGED.finditer(text)]
    whole = DAMAGED.sub(",", text)
    if sum(not letter.isascii() for letter in whole) < LETTERS_PER_BYTE * len(damaged):
        return
    places = [len(text[:at].encode("utf-8", "surrogateescape")) for at in damaged[:SHOWN]]
    lines = list(dict.fromkeys(f"{line_of(data, at):,}" for at in places))
    where = ("lines " if len(lines) > 1 else "line ") + ", ".join(lines) + ", ..." * (len(damaged) > SHOWN)
    word = _word_at(data, places[0])
    raise DataError(
        f"{name}, {where}: {counted(len(damaged), 'byte')} not in UTF-8, and all else is UTF-8",
        expected=f"UTF-8, as in {', '.join(map(repr, _words(whole, SHOWN)))}",
        got=f"{word[:20].hex(' ')} (hexadecimal), which may be {word.decode('cp1252', 'replace')!r}",
        fix=f"correct {'it' if len(damaged) == 1 else 'them'}; another --encoding would garble all other letters",
    )


def _word_at(data: bytes, at: int) -> bytes:
    """The word that holds the byte at an offset."""
    begin = max(data.rfind(mark, 0, at) for mark in (b"\n", b"\r", b",", b";", b"\t", b'"', b" ")) + 1
    return re.split(rb'[\n\r,;\t" ]', data[begin : begin + 40])[0]


def _is_western(text: str) -> bool:
    """Whether all runs of non-ASCII characters look like West European text."""
    found = {match.group() for match in re.finditer(r"[^\x00-\x7f]+", text)}
    return all(WESTERN.fullmatch(each) for each in found) and not BETWEEN.search(text)


def _words(text: str, most: int) -> Iterator[str]:
    seen: set[str] = set()
    for match in re.finditer(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text):
        if match.group() not in seen:
            seen.add(match.group())
            yield match.group()[:20]
        if len(seen) >= most:
            return


def _note_garbled(data: bytes, name: str, notes: list[str]) -> None:
    for marks, what in (
        (GARBLED, "letters garbled by an earlier program that read UTF-8 as another encoding"),
        ((LOST,), "the sign U+FFFD, which replaces letters that an earlier program could not read"),
    ):
        for mark in marks:
            at = data.find(mark)
            if at >= 0:
                shown = _shown(data[max(0, at - 12) : at + 12])
                notes.append(f"{name}, line {line_of(data, at):,}: {what}: {shown!r}")
                break


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "ignore")
    return re.split(r"[\r\n]", text)[-1] if text else ""
