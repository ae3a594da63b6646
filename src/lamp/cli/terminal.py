"""Where the program's words go: lines for people on stdout and stderr, and data on stdout.

Lines for people are printable: what a terminal would obey (escape sequences in the name of a column, say) is written
out, and so are letters that the console's encoding lacks. Data keep every byte and are UTF-8 wherever they are sent;
only on a terminal, where people read them, are they printable as well.
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
from types import FrameType
from typing import TextIO

from lamp.printable import printable

BROKEN_PIPE = 128 + 13  # exit status where the reader of stdout has gone: `| head`
ENDED_BY = ("SIGTERM", "SIGHUP")  # signals that end the program, its temporary files removed

LOOKALIKES = {"±": "+-", "−": "-", "–": "-", "—": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "→": "->"}  # noqa: RUF001
WRITTEN_OUT = "lamp.written_out"  # the error handler of streams


def _write_out(error: UnicodeError) -> tuple[str | bytes, int]:
    """Letters that an encoding lacks, as ones that look alike or as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    shown = "".join(LOOKALIKES.get(each) or each.encode("ascii", "backslashreplace").decode() for each in missing)
    return shown, error.end


def open_streams() -> None:
    """Let stdout and stderr take every letter, whatever the console's encoding is."""
    codecs.register_error(WRITTEN_OUT, _write_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=WRITTEN_OUT)


def tell(text: str) -> None:
    """A line for people on stdout."""
    _line(text, sys.stdout)


def say(text: str) -> None:
    """A line for people on stderr: a remark, an error."""
    _line(text, sys.stderr)


def say_lines(text: str) -> None:
    """Several lines for people on stderr."""
    for line in text.splitlines():
        say(line)


def _line(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed by whoever has called the program
        return
    try:
        stream.write(printable(text) + "\n")
        stream.flush()
    except BrokenPipeError:
        leave()


def write_data(text: str) -> None:
    """Data on stdout: UTF-8, byte by byte; on a terminal printable, in its encoding.

    Raises OSError where stdout is closed or full.
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


def write_json(told: object) -> None:
    """JSON on stdout."""
    write_data(json.dumps(told, indent=1) + "\n")


def flush() -> None:
    """What was written reaches its reader now, where a failure can still be told."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except BrokenPipeError:
                leave()


def abandon_stdout() -> None:
    """What is still to be written to stdout goes nowhere: Python flushes at its end, and would complain."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or no file at all
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def leave() -> None:
    """End the program without a word: nobody reads any more."""
    abandon_stdout()
    raise SystemExit(BROKEN_PIPE)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP end the program as an exception does, so that temporary files are removed."""
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
