"""Read tables from JSON: an object per line, a list of objects, or an object of lists; nested ones become `a.b`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import polars as pl

from lamp.errors import DataError
from lamp.tables.reading.options import MOST_COLUMNS, ReadOptions, check_width

DEEPEST = 20  # levels of nested objects that become columns


def read_json(data: bytes, name: str, options: ReadOptions, notes: list[str]) -> pl.DataFrame:
    """The table in UTF-8 JSON. Raises DataError, with the line, for anything else."""
    frame = _quickly(data, options)
    if frame is None:
        frame = _exactly(data, name, options)
    frame = _flat(frame, name, notes)
    check_width(name, frame.width, options)
    return frame


def _quickly(data: bytes, options: ReadOptions) -> pl.DataFrame | None:
    """The table read by polars from an object per line; None if it finds fewer rows than there are lines."""
    if (
        not data.lstrip().startswith(b"{") or b"\\ud" in data or b"\\uD" in data
    ):  # polars turns a lone surrogate into a zero byte
        return None
    lines = sum(1 for line in data.splitlines() if line.strip()) if b"\r" in data else _lines(data)
    if lines < 2:  # a single document
        return None
    first = data.lstrip().split(b"\n", 1)[0]
    try:
        names = json.loads(first, object_pairs_hook=lambda pairs: [key for key, _ in pairs])
        if len(set(names)) < len(names) or len(names) > (options.max_columns or MOST_COLUMNS):
            return None
        frame = pl.read_ndjson(data, infer_schema_length=None)
    except (pl.exceptions.PolarsError, ValueError, TypeError, RecursionError):
        return None
    return frame if len(frame) == lines and not _mixed(frame) else None


def _lines(data: bytes) -> int:
    """The number of lines that are not blank."""
    return sum(1 for line in data.split(b"\n") if line and not line.isspace())


def _mixed(frame: pl.DataFrame) -> bool:
    return any(dtype == pl.Object for dtype in frame.dtypes)


# ---- value by value --------------------------------------------------------------------------------------------------
def _exactly(data: bytes, name: str, options: ReadOptions) -> pl.DataFrame:
    """The table read by Python's json, which reports where something is wrong."""
    text = data.decode()
    begins = text.lstrip()[:1]
    try:
        whole = _loads(text)
    except ValueError as error:
        if begins not in "{[":
            _refuse(name, 1, f"text that begins with {text.strip()[:40]!r}", "if it is a CSV file, name it .csv")
        if begins == "[" or ("\n" not in text.strip() and "\r" not in text.strip()):
            line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
            _refuse(
                name, line, f"{getattr(error, 'msg', error)} at character {column}", "correct it, or write it again"
            )
        rows = list(_objects(text, name))
    except RecursionError:
        _refuse(name, 1, "lists or objects nested too deeply", "write one object per line")
    else:
        rows = _rows_of(whole, name)
    return _columns(rows, name, options)


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the name {twice!r} twice")
    return found


def _objects(text: str, name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _loads(line)
        except ValueError as error:
            _refuse(
                name,
                number,
                f"{getattr(error, 'msg', error)}: {line[:50]}",
                'write one object per line: {"name": value, ...}',
            )
        except RecursionError:
            _refuse(name, number, "lists or objects nested too deeply", "write one object per line")
        if not isinstance(row, dict):
            _refuse(name, number, f"not an object: {line[:50]}", 'write one object per line: {"name": value, ...}')
        yield row


def _rows_of(whole: Any, name: str) -> list[dict[str, Any]]:
    """The rows in a document: a list of objects, one object, an object of lists, or a list under a name."""
    if isinstance(whole, dict):
        if (rows := _of_pandas(whole)) is not None:
            return rows
        lists = {key: value for key, value in whole.items() if isinstance(value, list)}
        of_objects = [all(isinstance(each, dict) for each in value) for value in lists.values()]
        if len(lists) == len(whole) and len({len(value) for value in lists.values()}) == 1 and not all(of_objects):
            return [dict(zip(whole, values, strict=True)) for values in zip(*whole.values(), strict=True)]
        tables = {key: value for key, value in lists.items() if value and all(isinstance(each, dict) for each in value)}
        if len(tables) == 1:
            return next(iter(tables.values()))
        if len(tables) > 1:
            _refuse(name, 1, f"several lists of objects: {', '.join(tables)}", "save the one you want by itself")
        return [whole]
    if isinstance(whole, list):
        odd = next((row for row in whole if not isinstance(row, dict)), None)
        if odd is not None:
            kind = "lists" if isinstance(odd, list) else f"values such as {str(odd)[:30]!r}"
            _refuse(name, 1, f"a list of {kind}", 'write a list of objects: [{"name": value, ...}, ...]')
        return whole
    _refuse(name, 1, f"a {type(whole).__name__}", 'write one object per line: {"name": value, ...}')


def _of_pandas(whole: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of what pandas writes: {name: {row: value}}, or the names in "columns" and the rows in "data"."""
    columns, data = whole.get("columns"), whole.get("data")
    if isinstance(columns, list) and isinstance(data, list) and whole.keys() <= {"columns", "data", "index"}:
        if all(isinstance(row, list) and len(row) == len(columns) for row in data):
            return [dict(zip(map(str, columns), row, strict=True)) for row in data]
        return None
    first = next(iter(whole.values()), None)
    if not isinstance(first, dict) or len(first) < 2 or not all(map(str.isdecimal, first)):
        return None
    if not all(isinstance(value, dict) and value.keys() == first.keys() for value in whole.values()):
        return None
    return [{name: column[row] for name, column in whole.items()} for row in first]


def _columns(rows: list[dict[str, Any]], name: str, options: ReadOptions) -> pl.DataFrame:
    rows = [_flattened(row) for row in rows]
    names = dict.fromkeys(key for row in rows for key in row)
    check_width(name, len(names), options)
    return pl.DataFrame([_series(key, [row.get(key) for row in rows]) for key in names])


def _flattened(row: dict[str, Any], above: str = "", depth: int = 0) -> dict[str, Any]:
    if not any(isinstance(value, dict) for value in row.values()):
        return {above + key: value for key, value in row.items()} if above else row
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and depth < DEEPEST:
            found |= _flattened(value, f"{above}{key}.", depth + 1)
        else:
            found[above + key] = value
    return found


def _series(name: str, values: list[Any]) -> pl.Series:
    """A column of the type that all values have, or of text if they have several types."""
    types = {type(value) for value in values if value is not None}
    if types <= {int, float} and not types <= {int}:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64).fill_nan(None)
    if types <= {int}:
        large = any(value is not None and not -(2**63) <= value < 2**63 for value in values)
        return pl.Series(name, values, pl.Int128 if large else pl.Int64) if types else pl.Series(name, values, pl.Null)
    if types in ({bool}, {str}):
        return pl.Series(name, values)
    if types & {list, dict}:
        return pl.Series(name, [[] if value is None else [json.dumps(value)] for value in values], pl.List(pl.String))
    return pl.Series(
        name, [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    )


# ---- nested ----------------------------------------------------------------------------------------------------------
def _flat(frame: pl.DataFrame, name: str, notes: list[str]) -> pl.DataFrame:
    """The table with nested objects as columns of their own, named `a.b`."""
    nested = [column.name for column in frame if isinstance(column.dtype, pl.Struct)]
    for _ in range(DEEPEST):
        structs = [column.name for column in frame if isinstance(column.dtype, pl.Struct)]
        if not structs:
            break
        parts: list[pl.Series] = []
        for column in frame:
            if isinstance(column.dtype, pl.Struct):
                inner = column.struct.unnest()
                parts += [each.rename(f"{column.name}.{each.name}") for each in inner]
            else:
                parts.append(column)
        frame = pl.DataFrame(parts) if len({each.name for each in parts}) == len(parts) else frame
        if len({each.name for each in parts}) < len(parts):
            break
    if nested:
        notes.append(f"{name}: objects in {', '.join(nested[:5])} became columns such as {nested[0]}.…")
    lists = [column.name for column in frame if isinstance(column.dtype, pl.List)]
    if lists:
        notes.append(f"{name}: columns of lists are not used; write their values as columns: {', '.join(lists[:5])}")
    return frame


def _refuse(name: str, line: int, got: str, fix: str) -> NoReturn:
    raise DataError(
        f"{name}, line {line:,}: this is not a table in JSON",
        expected="an object per line, or a list of objects", got=got, fix=fix,
    ) from None  # fmt: skip
