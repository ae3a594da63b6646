"""`Table`, a small table that prints on a terminal and displays as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from shutil import get_terminal_size
from textwrap import fill

NARROWEST, WIDEST = 80, 160  # characters of a printed line
BORDER = 3  # characters beside the text of a cell


@dataclass(frozen=True)
class Table:
    """Rows of texts with a headline and a footer.

    columns   the names of the columns
    left      the names of the columns that are aligned left; the others are aligned right
    together  if the columns do not fit into a line, the table is printed in parts; each part begins with so many
              columns from the left
    wraps     whether the names of columns may break between words, where columns would not fit else
    """

    headline: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[str] = ()
    footer: str = ""
    together: int = 1
    wraps: bool = False

    def __str__(self) -> str:
        return self.text(min(max(get_terminal_size((NARROWEST, 24)).columns, NARROWEST), WIDEST))

    def text(self, width: int) -> str:
        """The table as text, in lines of at most this many characters unless a single cell is wider."""
        widths = [self._least_width(k) + BORDER for k in range(len(self.columns))]
        first = list(range(self.together))
        parts, part = [], list(first)
        for k in range(self.together, len(self.columns)):
            if len(part) > self.together and sum(widths[j] for j in [*part, k]) + 1 > width:
                parts.append(part)
                part = list(first)
            part.append(k)
        parts.append(part)
        printed = [self._printed(part, width) for part in parts]
        return "\n".join([*filter(None, [self.headline]), *printed, *filter(None, [self.footer])])

    def _printed(self, columns: Sequence[int], width: int) -> str:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()
        narrow = sum(max(len(self.columns[k]), self._least_width(k)) + BORDER for k in columns) + 1 > width
        for k in columns:
            name = self.columns[k]
            shown = fill(name, self._least_width(k), break_long_words=False) if narrow and self.wraps else name
            table.add_column(Text(shown), justify="left" if name in self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(row[k]) for k in columns))
        text = StringIO()
        Console(file=text, width=width, color_system=None, force_jupyter=False, force_terminal=False).print(table)
        return text.getvalue().rstrip()

    def _least_width(self, k: int) -> int:
        """The least width of column k in which no cell breaks."""
        lines = (line for row in self.rows for line in row[k].splitlines())
        name = self.columns[k].split() if self.wraps else [self.columns[k]]
        return max(map(len, [*name, *lines]), default=1)

    def _repr_html_(self) -> str:
        """The table as HTML, for a notebook."""

        def line(cells: Sequence[str], tag: str) -> str:
            sides = ["left" if name in self.left else "right" for name in self.columns]
            pairs = zip(cells, sides, strict=True)
            return "<tr>" + "".join(f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for c, s in pairs) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        head = f"<p>{escape(self.headline)}</p>" if self.headline else ""
        foot = f"<p>{escape(self.footer)}</p>" if self.footer else ""
        return f"{head}<table><thead>{line(self.columns, 'th')}</thead><tbody>{body}</tbody></table>{foot}"
