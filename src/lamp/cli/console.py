"""The console on which commands print their tables."""

from __future__ import annotations

from typing import Any

from rich import console as rich_console
from rich.text import Text

from lamp.cli import terminal
from lamp.printable import printable


class Console(rich_console.Console):
    """A rich console on stdout that reads no markup in texts and escapes characters that cannot be printed."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text printable. rich calls this for every text, those in table cells included."""
        shown = printable(text, keep="\n").encode(self.encoding, terminal.WRITTEN_OUT).decode(self.encoding)
        return super().render_str(shown, **options)

    def tell(self, text: str, style: str | None = None) -> None:
        """Print a line of text; only on a terminal is it wrapped."""
        self.print(text, style=style, soft_wrap=not self.is_terminal)

    def on_broken_pipe(self) -> None:
        """End the program: the reader of stdout has gone."""
        terminal.leave()


def console() -> Console:
    """A console on the current stdout."""
    return Console()
