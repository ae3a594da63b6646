"""Cells of an .xlsx file without a value: errors such as #N/A, and formulas whose value the file does not keep.

The package that reads spreadsheets returns empty cells for both, so they are looked for in the sheet's XML.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from xml.etree import ElementTree

from lamp.printable import counted

WORKBOOK, RELATIONS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
CELL = re.compile(rb"<(?:\w+:)?c\b((?:[^>/]|/(?!>))*)>(.*?)</(?:\w+:)?c>", re.DOTALL)
VALUE = re.compile(rb"<(?:\w+:)?v\b[^>/]*>([^<]+)<")
FORMULA = re.compile(rb"<(?:\w+:)?f\b")
PLACE = re.compile(rb'\br="([A-Z]+\d+)"')
NO_FORMULA = "formula without a kept value"
SHOWN = 3  # places in a remark


def faults(data: bytes, sheet: str, most_bytes: int) -> dict[str, list[str]]:
    """{error, or NO_FORMULA: the cells that hold it}, in the sheet of this name; empty for other kinds of files."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            path = _path_of(packed, sheet)
            if path is None or packed.getinfo(path).file_size > most_bytes:
                return {}
            xml = packed.read(path)
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, OSError, ValueError, NotImplementedError):
        return {}  # whether the file is damaged, its reader says
    found: dict[str, list[str]] = {}
    if b't="e"' not in xml and not FORMULA.search(xml):
        return found
    for cell in CELL.finditer(xml):
        attributes, inside = cell.groups()
        value, place = VALUE.search(inside), PLACE.search(attributes)
        fault = ""
        if b't="e"' in attributes and value:
            fault = value[1].decode("utf-8", "replace").strip()
        elif not value and b't="str"' not in attributes and FORMULA.search(inside):
            fault = NO_FORMULA
        if fault:
            found.setdefault(fault, []).append(place[1].decode() if place else "?")
    return found


def _path_of(packed: zipfile.ZipFile, sheet: str) -> str | None:
    """The path of a sheet's XML in the file."""
    names = {
        each.get("name"): each.get(f"{{{OFFICE}}}id")
        for each in ElementTree.fromstring(packed.read(WORKBOOK)).iter()
        if each.tag.endswith("}sheet")
    }
    targets = {each.get("Id"): each.get("Target") for each in ElementTree.fromstring(packed.read(RELATIONS))}
    target = targets.get(names.get(sheet))
    return posixpath.normpath(posixpath.join("/xl", target)).lstrip("/") if target else None


def remarks_on(found: dict[str, list[str]]) -> list[str]:
    """A remark on errors, and one on formulas, that count as missing."""
    said = []
    if errors := {fault: places for fault, places in found.items() if fault != NO_FORMULA}:
        places = [place for each in errors.values() for place in each]
        said.append(_missing(f"{counted(len(places), 'cell')} with {_or(list(errors))}", places))
    if places := found.get(NO_FORMULA, []):
        what = f"{counted(len(places), 'formula')} without a kept value"
        said.append(f"{_missing(what, places)}; to keep the values, open the file in a spreadsheet program and save it")
    return said


def some(places: list[str]) -> str:
    """The first of some cells."""
    return ", ".join(places[:SHOWN]) + (", ..." if len(places) > SHOWN else "")


def _missing(what: str, places: list[str]) -> str:
    return f"{what} {'counts' if len(places) == 1 else 'count'} as missing: {some(places)}"


def _or(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
