"""Reading tables: from bytes to a table that has every record, or to an error that says which line and what to do.

sources      the bytes: files, standard input; `compression` unpacks them, within a limit
encodings    text as UTF-8
dialects     the separator, found; `records` reads and counts, `attempts` reads in one dialect, `delimited` chooses one
json_rows, binary   the other kinds of files
names, inference    the columns' names and types
"""

from lamp.tables.reading.options import ReadOptions
from lamp.tables.reading.table import read_table, read_with

__all__ = ["ReadOptions", "read_table", "read_with"]
