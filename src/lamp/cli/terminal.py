"""The program's output: lines for people on stdout and stderr, and data on stdout.

Lines for people are made printable: control sequences (such as those in a column's name) and letters that the console's
encoding lacks are written as escapes. Data are UTF-8 and keep every byte in files and pipes; only on a terminal, where
people read them, are they made printable too.
"""

from __future__ import annotations

import codecs
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill
from types import FrameType
from typing import TextIO

from lamp.printable import all_as_utf8, printable

USUAL_WIDTH = 80  # columns of a terminal that does not say how many it has
BROKEN_PIPE = 128 + 13  # exit status when the reader of stdout has gone, as in `| head`
ENDED_BY = ("SIGTERM", "SIGHUP")  # signals that end the program after it has removed its temporary files

LOOKALIKES = {"±": "+-", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "→": "->"}  # noqa: RUF001
WRITTEN_OUT = "lamp.written_out"  # name of the streams' codec error handler


def _write_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replacements for letters that an encoding lacks: letters that look similar, or escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    shown = "".join(LOOKALIKES.get(each) or each.encode("ascii", "backslashreplace").decode() for each in missing)
    return shown, error.end


def open_streams() -> None:
    """Make stdout and stderr accept every letter, whatever the console's encoding is."""
    codecs.register_error(WRITTEN_OUT, _write_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=WRITTEN_OUT)


def tell(text: str) -> None:
    """Print a line for people on stdout."""
    _line(text, sys.stdout)


def say(text: str) -> None:
    """Print a line for people on stderr, such as a remark or an error."""
    _line(text, sys.stderr)


def say_lines(text: str) -> None:
    """Print several lines for people on stderr."""
    for line in text.splitlines():
        say(line)


def _line(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed by the program's caller
        return
    try:
        stream.write(_wrapped(printable(text), stream) + "\n")
        stream.flush()
    except BrokenPipeError:
        leave()


def _wrapped(line: str, stream: TextIO) -> str:
    """The line, on a terminal broken between words instead of within them."""
    if not stream.isatty():
        return line
    columns = os.get_terminal_size(stream.fileno()).columns
    return fill(line, columns or USUAL_WIDTH, break_long_words=False, break_on_hyphens=False)


def write_data(text: str) -> None:
    """Write data to stdout: as UTF-8 with every byte kept; on a terminal made printable, in its encoding.

    Raises OSError when stdout is closed or its disk is full.
    """
    stream = sys.stdout
    if stream is None:
        raise OSError("stdout is closed")
    try:
        binary = None if stream.isatty() else getattr(stream, "buffer", None)
        if binary is None:
            stream.write(printable(text, keep="\n\t") if stream.isatty() else text)
        else:
            stream.flush()
            binary.write(text.encode("utf-8", "surrogatepass"))
        stream.flush()
    except BrokenPipeError:
        leave()


def write_json(document: object) -> None:
    """Write JSON to stdout."""
    write_data(json.dumps(all_as_utf8(document), indent=1) + "\n")


def flush() -> None:
    """Flush stdout and stderr now, while a failure can still be reported."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except BrokenPipeError:
                leave()


def abandon_stdout() -> None:
    """Discard what is still to be written to stdout, so that Python's flush at exit does not fail."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or not a file
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def leave() -> None:
    """End the program without a message, because the reader of stdout has gone."""
    abandon_stdout()
    raise SystemExit(BROKEN_PIPE)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP raise SystemExit, so that temporary files are removed."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ENDED_BY:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
