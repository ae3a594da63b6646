"""Read tables: every record of a file, or an error that names the line and says what to do.

sources      reads bytes from files and standard input
compression  unpacks them, within a limit
encodings    turns text into UTF-8
dialects     detects the separator
records      reads and counts records
attempts     reads text in one dialect
delimited    chooses the dialect
json_rows, binary   read the other kinds of files
names, inference    give the columns their names and types
"""

from lamp.tables.reading.options import ReadOptions
from lamp.tables.reading.table import read_table, read_with

__all__ = ["ReadOptions", "read_table", "read_with"]
