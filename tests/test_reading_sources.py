"""Sources of tables: encodings, compressed files, JSON, other kinds of files, limits, and errors."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from datetime import time, timedelta

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamp.errors import DataError, LampError
from lamp.tables import Preprocessing, ReadOptions, kinds, read_table, read_with, write_table
from lamp.tables.reading import names
from lamp.tables.reading.options import bytes_of

CSV = b"a,b\n1,x\n2,y\n3,z\n"
TABLE = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"]})


def refused(source, *words, **options):
    with pytest.raises(LampError) as caught:
        read_table(source, **options)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert None not in (error.expected, error.got)
    assert error.fix
    for word in words:
        assert word in str(error)
    return str(error)


def noted(source, **options):
    notes = []
    frame = read_table(source, notes=notes, **options)
    return frame, "\n".join(notes)


# ---- encodings -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode(encoding):
    text = "größe,y\n1,Łódź\n2,東京\n3,plain\n"
    assert read_table(text.encode(encoding), encoding=encoding).columns == ["größe", "y"]
    if encoding in ("utf-16-le", "utf-16-be"):  # known by its zeros
        text = "name,size,y\n" + "abc,1,Łódź\n" * 9
        frame, notes = noted(text.encode(encoding))
        assert frame["y"][0] == "Łódź"
        assert encoding in notes
    else:
        assert read_table(text.encode(encoding))["y"].to_list() == ["Łódź", "東京", "plain"]


def test_west_european_text_is_read_and_told():
    for text in ("ort,n\nKöln,1\nMünchen,2\n", "x,n\n“été”,1\n5 €,2\n20 °C,3\nl\u2019eau,4\n"):
        frame, notes = noted(text.encode("cp1252"))
        assert frame.to_series(0).to_list() == read_table(text.encode()).to_series(0).to_list()
        assert "cp1252" in notes
        assert "--encoding" in notes


@pytest.mark.parametrize(
    ("encoding", "word"),
    [("cp1251", "Привет"), ("shift_jis", "東京都"), ("gb18030", "北京市"), ("cp1250", "Łódź")],
)
def test_other_text_is_refused_with_the_encodings_it_may_be_in(encoding, word):
    data = f"a,b\nx,1\n{word},2\n".encode(encoding)
    told = refused(data, "line 3", f"--encoding {encoding} reads {word!r}")
    assert "UTF-8" in told
    assert read_table(data, encoding=encoding)["a"][1] == word


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("äöüßéèñœšžÅ東京Łд\u2019€", min_size=1, max_size=5), min_size=2, max_size=8))
def test_utf8_with_a_bad_byte_is_never_read_as_something_else(words):
    data = b"a,b\n" + b"".join(word.encode() + b",1\n" for word in words) + b"\xe4x,2\n"
    if all(len(letter.encode()) == 1 for word in words for letter in word):
        return
    refused(data, "UTF-8")


def test_damaged_bytes_in_utf8_are_to_be_corrected_and_no_other_encoding_is_advised():
    good = "x,b\nmüller,1\nstraße,2\nłódź,3\nąę,4\n".encode()
    told = refused(
        good + b"stra\xdfe,2\n", "line 6", "1 byte not in UTF-8", "all else is UTF-8", "'straße'", "'müller'"
    )
    assert "--encoding cp1252" not in told
    refused("a,b\ną,1\ną,1\n".encode() + b"x\xe4,1\n", "line 4", "all else is UTF-8")  # would be cp1252's Ä…
    refused(b"\xdf\n" + good + good + b"\xe4,1\n\xf6,2\n\xf7,3\n", "lines 1, 12, 13, ...", "4 bytes")


def test_garbled_letters_are_told():
    assert "garbled" in noted("a,b\nKÃ¶ln,1\n".encode())[1]
    assert "could not read" in noted("a,b\nK\ufffdln,1\n".encode())[1]


def test_encodings_that_are_named():
    refused(CSV, "encoding", "cp1252", encoding="utf-99")
    refused(CSV, "encoding", encoding="base64")
    refused("a,b\nä,1\n".encode("latin-1"), "line 2", "this is not utf-8", encoding="utf-8")


# ---- packed files ----------------------------------------------------------------------------------------------------
def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zip": lambda data: zipped(t__csv=data)}


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("named", [True, False])
def test_packed(tmp_path, ending, named):
    path = tmp_path / (f"t.csv.{ending}" if named else "t.csv")
    path.write_bytes(PACKED[ending](CSV))
    assert read_table(path).equals(TABLE)
    refused(PACKED[ending](CSV * 50)[:-9], "damaged")


def test_several_parts_and_packed_twice():
    assert len(read_table(gzip.compress(CSV) + gzip.compress(b"4,w\n"))) == 4
    assert len(read_table(lzma.compress(CSV) + lzma.compress(b"4,w\n"))) == 4
    assert read_table(zipped(t__csv__gz=gzip.compress(CSV))).equals(TABLE)
    assert read_table(gzip.compress("größe,b\n1,2\n".encode("utf-16"))).columns == ["größe", "b"]


def test_zstandard(tmp_path):
    tool = shutil.which("zstd")
    if tool is None:
        pytest.skip("needs zstd")
    (tmp_path / "t.csv").write_bytes(CSV)
    subprocess.run([tool, "-q", tmp_path / "t.csv"], check=True)
    assert read_table(tmp_path / "t.csv.zst").equals(TABLE)


# The head of a Zstandard frame of one raw block, as RFC 8878 has it
def zstandard(data, told=None):
    size = len(data) if told is None else told
    block = (len(data) << 3 | 1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + size.to_bytes(4, "little") + block + data


def test_zstandard_by_hand():
    assert read_table(zstandard(CSV)).equals(TABLE)
    refused(zstandard(CSV, told=2**31), "larger than allowed", max_bytes=2**20)


def test_archives():
    refused(zipped(a__csv=CSV, b__csv=CSV), "several tables", "a.csv, b.csv", '--sheet "a.csv"')
    assert read_table(zipped(a__csv=CSV, b__csv=b"c\n1\n"), sheet="a.csv").equals(TABLE)
    assert read_table(zipped(a__csv=CSV, readme__md=b"x")).equals(TABLE)
    refused(zipped(readme__md=b"x", license__md=b"y"), "no table")


@pytest.mark.parametrize("ending", PACKED)
def test_bombs(ending):
    data = b"a,b\n" + b"1,2\n" * 40_000_000 if ending == "gz" else b"0" * 100_000_000
    packed = PACKED[ending](data) if ending != "gz" else gzip.compress(data, 1)
    assert len(packed) < len(data) / 200
    refused(packed, "larger than allowed", "--max-bytes")


def test_a_bomb_that_lies_about_its_size():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", b"0" * 90_000_000)
    data = bytearray(buffer.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    refused(bytes(data))


def test_limits(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(CSV)
    refused(path, "too large", "--max-bytes", max_bytes=10)
    refused(gzip.compress(CSV), "larger than allowed", max_bytes=10)
    refused(io.BytesIO(CSV), "too large", max_bytes=10)
    assert read_table(gzip.compress(CSV), max_bytes=100).equals(TABLE)
    refused(b"x," * 200_000 + b"x\n" + b"1," * 200_000 + b"1\n", "too many columns", "200,001", "--max-columns 200001")
    refused(b'{"a": 1, "b": 2}\n', "too many columns", max_columns=1)
    refused(b'{"a": 1}\n{"b": 2}\n', "too many columns", max_columns=1)
    buffer = io.BytesIO()
    TABLE.write_parquet(buffer)
    refused(buffer.getvalue(), "too many columns", max_columns=1)
    assert [bytes_of(text) for text in ("1000", "2K", "1.5M", "4G", "1GiB", "3 mb")] == [
        1000, 2048, 3 * 2**19, 2**32, 2**30, 3 * 2**20,
    ]  # fmt: skip
    for text in ("x", "-1", "0", "nan", "1e400"):
        with pytest.raises(LampError, match="number of bytes"):
            bytes_of(text)


def test_a_parquet_file_of_a_billion_rows(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": pl.zeros(30_000_000, pl.Int8, eager=True)}).write_parquet(path)
    assert path.stat().st_size < 1e6
    refused(path, "too large", max_bytes=2**26)


# ---- JSON ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n{"a": 3, "b": "z"}\n',
        '\ufeff{"a": 1, "b": "x"}\r\n{"a": 2, "b": "y"}\r\n\r\n{"a": 3, "b": "z"}',
        '{"a": 1, "b": "x"}\r{"a": 2, "b": "y"}\r{"a": 3, "b": "z"}\r',
        '[{"a": 1, "b": "x"},\n {"a": 2, "b": "y"}, {"b": "z", "a": 3}]',
        '{"a": [1, 2, 3], "b": ["x", "y", "z"]}',
        '{"source": "me", "data": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": "z"}]}',
    ],
)
@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.csv"])
def test_json(tmp_path, text, name):
    path = tmp_path / name
    path.write_text(text, newline="", encoding="utf-8")
    assert read_table(path).equals(TABLE)


def test_numbers_that_json_has_not():
    frame = read_table(b'{"a": NaN, "b": 1}\n{"a": 2, "b": Infinity}\n{"a": -Infinity, "b": null}\n')
    assert frame["a"].to_list() == [None, 2.0, float("-inf")]
    assert frame["b"].to_list() == [1.0, float("inf"), None]


def test_values_of_several_types():
    assert read_table(b'{"a": 1}\n{"a": "x"}\n{"a": true}\n{"a": null}\n')["a"].to_list() == ["1", "x", "true", None]
    assert read_table(b'{"a": 1}\n{"a": 1.5}\n')["a"].to_list() == [1.0, 1.5]
    assert read_table(b'{"a": 123456789012345678901}\n{"a": NaN}\n{"a": 1}\n').height == 3


def test_nested_objects_become_columns():
    frame, notes = noted(b'{"a": {"x": 1, "y": {"z": 2}}, "b": 3}\n{"a": {"x": 4}, "b": 5}\n')
    assert frame.columns == ["a.x", "a.y.z", "b"]
    assert frame.rows() == [(1, 2, 3), (4, None, 5)]
    assert "a" in notes
    frame, _ = noted(b'{"a": {"x": 1}, "b": NaN}\n{"a": {"x": 4}, "b": 5}\n')
    assert frame.columns == ["a.x", "b"]
    assert "lists" in noted(b'{"a": [1, 2], "b": 1}\n{"a": [], "b": 2}\n')[1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"a": 1}\n{"a": 2\n', ["line 2", "an object per line"]),
        (b'{"a": 1}\n[1, 2]\n', ["line 2"]),
        (b'{"a": 1, "a": 2}\n', ["'a' twice"]),
        (b"[[1, 2], [3, 4]]", ["a list of lists"]),
        (b"[1, 2]", ["a list of values"]),
        (b'[{"a": 1}, {"a": 2', ["line 1"]),
        (b"a,b\n1,2\n", ["CSV"]),
        (b"[" * 100_000, ["this is not a table in JSON"]),
        (b'{"a":' * 100_000, ["this is not a table in JSON"]),
        (b'{"a": 1' + b"0" * 5000 + b"}\n{", ["line"]),
        (b"[]", ["empty"]),
        (b'"x"', ["a str"]),
    ],
)
def test_json_that_is_no_table(tmp_path, data, words):
    (tmp_path / "t.json").write_bytes(data)
    refused(tmp_path / "t.json", *words)


# ---- other kinds of files --------------------------------------------------------------------------------------------
def test_binary_tables(tmp_path):
    TABLE.write_ipc(tmp_path / "t.feather")
    TABLE.write_ipc_stream(tmp_path / "s.arrow")
    TABLE.write_parquet(tmp_path / "t.parquet")
    for name in ("t.feather", "s.arrow", "t.parquet"):
        assert read_table(tmp_path / name).equals(TABLE)
        shutil.copy(tmp_path / name, tmp_path / "x.csv")
        frame, notes = noted(tmp_path / "x.csv")
        assert frame.equals(TABLE)
        assert "although its name says otherwise" in notes
    (tmp_path / "d.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-20])
    refused(tmp_path / "d.parquet", "damaged")
    (tmp_path / "e.parquet").write_bytes(CSV)
    refused(tmp_path / "e.parquet", "not a Parquet file")
    (tmp_path / "e.arrow").write_bytes(b"ARROW1 and nothing")
    refused(tmp_path / "e.arrow", "damaged")


SHEET = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    'Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="one" sheetId="1" r:id="r1"/><sheet name="two" sheetId="2" r:id="r2"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/one.xml"/><Relationship Id="r2" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/worksheet" Target="worksheets/two.xml"/>'
    '<Relationship Id="r3" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" '
    'Target="styles.xml"/></Relationships>',
    "xl/styles.xml": '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><fonts><font/></fonts>'
    "<fills><fill/></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="20" applyNumberFormat="1"/>'
    '<xf numFmtId="46" applyNumberFormat="1"/></cellXfs></styleSheet>',
}  # fmt: skip


def sheet(*rows):
    def cell(value):
        if isinstance(value, str) and value.startswith("<c"):
            return value
        if isinstance(value, timedelta):
            return f'<c s="2"><v>{value / timedelta(days=1)}</v></c>'  # as [h]:mm:ss
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        if isinstance(value, time):
            return f'<c s="1"><v>{(value.hour * 60 + value.minute) / 1440}</v></c>'  # as h:mm
        return "<c/>" if value is None else f"<c><v>{value}</v></c>"

    body = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    return (
        '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
        f"{body}</sheetData></worksheet>"
    )


def workbook(*second):
    one, two = sheet(["a", "b"], [1, "x"], [2, "y"], [3, "z"]), sheet(*second or (["c", "d"], [4.5, "w"]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {**SHEET, "xl/worksheets/one.xml": one, "xl/worksheets/two.xml": two}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_names_and_empty_rows_of_a_sheet_are_told():
    pytest.importorskip("fastexcel")
    frame, notes = noted(workbook(["a", None, "a"], [1, 2, "x"], [None, None, None], [4, 5, "y"]), sheet="two")
    assert frame.columns == ["a", "column_2", "a_2"]
    assert frame["a"].to_list() == [1, 4]
    for said in ("an empty row skipped", "now called column_2", "'a' becomes 'a_2'"):
        assert said in notes
    numbers = workbook([0.5, 0.25], [1.5, 2], [2.5, 3])
    assert "the first line looks like data" in noted(numbers, sheet="two")[1]
    frame, notes = noted(numbers, sheet="two", header=False)
    assert frame.columns == ["column_1", "column_2"]
    assert frame["column_1"].to_list() == [0.5, 1.5, 2.5]
    assert "data" not in notes


def test_times_of_day_of_a_sheet():
    pytest.importorskip("fastexcel")
    times = [time(10, 35), time(0, 0), time(23, 59)]
    frame = read_table(workbook(["t", "b"], *[[each, "x"] for each in times], [None, "y"]), sheet="two")
    assert frame["t"].to_list() == [*times, None]


def test_durations_of_a_sheet():
    pytest.importorskip("fastexcel")
    spans = [timedelta(hours=36), timedelta(hours=6), timedelta(hours=7)]
    frame = read_table(workbook(["t", "b"], *[[each, str(k)] for k, each in enumerate(spans)]), sheet="two")
    assert frame["t"].to_list() == spans
    (found,) = kinds.decide(frame.drop("b"), "")
    assert (found.kind, found.why, found.reported) == ("number", "durations are read as seconds", True)
    made = Preprocessing().fit(frame.drop("b"), [found])
    text = pl.DataFrame({"t": ["36:00:00", "6 h", "420 min"]})
    assert torch.equal(made.transform(text), made.transform(frame.drop("b")))
    with pytest.raises(DataError, match="column 't' mixes kinds of values") as caught:
        read_table(workbook(["t", "b"], [spans[0], "x"], [time(6, 0), "y"]), sheet="two")
    assert "one format" in caught.value.fix


def test_cells_of_a_sheet_without_a_value_are_told():
    pytest.importorskip("fastexcel")
    rows = [7.5, '<c r="A3" t="e"><v>#N/A</v></c>', '<c r="A4" t="e"><f>1/0</f><v>#DIV/0!</v></c>']
    rows += ['<c r="A5"><f>1+1</f><v></v></c>', '<c r="A6"><f>1+1</f></c>', '<c r="A7"><f>1+1</f><v>2</v></c>']
    frame, notes = noted(workbook(["a", "b"], *[[each, "x"] for each in rows]), sheet="two")
    assert frame["a"].to_list() == [7.5, None, None, None, None, 2]
    assert "2 cells with #N/A or #DIV/0! count as missing: A3, A4" in notes
    assert "2 formulas without a kept value count as missing: A5, A6; to keep the values, open the file" in notes
    words = ['<c t="str"><f>IF(1,"")</f><v></v></c>', "u"]  # an empty text is a value
    assert "missing" not in noted(workbook(["a", "b"], *[[each, 1] for each in words]), sheet="two")[1]


@pytest.mark.parametrize("fault", ["#NAME?", "#SPILL!", "#CALC!"])
def test_errors_that_cannot_be_read_name_the_cell(fault):
    pytest.importorskip("fastexcel")
    wrong = workbook(["a", "b"], [7.5, "x"], [f'<c r="A3" t="e"><v>{fault}</v></c>', "y"])
    with pytest.raises(DataError, match=re.escape(f"has the error {fault} in A3")) as caught:
        read_table(wrong, sheet="two")
    assert "correct the formula" in caught.value.fix


def test_very_large_whole_numbers_of_a_sheet():
    pytest.importorskip("fastexcel")
    large = workbook(["a", "b"], [1e19, "x"], [5, "y"])
    assert read_table(large, sheet="two").rows() == [(1e19, "x"), (5, "y")]
    assert read_table(large, sheet="two", header=False).shape == (3, 2)


def test_names_that_come_again_in_a_sheet_are_left_out_and_told():
    pytest.importorskip("fastexcel")
    frame, notes = noted(workbook(["a", "b"], [1, "x"], ["a", "b"], [2, "y"]), sheet="two")
    assert [float(cell) for cell in frame["a"]] == [1, 2]
    assert "left out 1 row that repeats the names of the columns" in notes


def test_spreadsheets_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    refused(workbook(), "fastexcel", "pip install", "save the sheet as CSV")


def test_spreadsheets():
    pytest.importorskip("fastexcel")
    frame, notes = noted(workbook())
    assert frame.equals(TABLE)
    assert "'one'" in notes
    assert "two" in notes
    assert read_table(workbook(), sheet="two").rows() == [(4.5, "w")]
    assert read_table(workbook(["a", ""], [1, 2]), sheet="two").columns == ["a", "column_2"]
    assert read_table(workbook(), sheet="two", header=False).columns == ["column_1", "column_2"]
    refused(workbook(), "no such sheet", "one, two", sheet="three")
    refused(workbook()[:-30])


@pytest.mark.parametrize("header", [True, False])
def test_lines_before_the_names_of_a_spreadsheet(header):
    pytest.importorskip("fastexcel")
    frame = read_table(workbook(["Report"], ["c", "d"], [4.5, "w"]), sheet="two", skip_lines=1, header=header)
    assert (frame.columns, len(frame)) == ((["c", "d"], 1) if header else (["column_1", "column_2"], 2))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"<!DOCTYPE html><html><body>x</body></html>", "web page"),
        (b"%PDF-1.7 x", "PDF"),
        (b"SQLite format 3\0 x", "sqlite3"),
        (b"\x93NUMPY\x01\0", "numpy"),
        (b"\x80\x04\x95 x", "pickle"),
        (b"@RELATION iris\n@ATTRIBUTE a NUMERIC\n@DATA\n1\n", "ARFF"),
        (b"<?xml version='1.0'?><a/>", "XML"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_files_of_other_programs(tmp_path, data, word):
    (tmp_path / "t.csv").write_bytes(data)
    refused(tmp_path / "t.csv", word)


# ---- places ----------------------------------------------------------------------------------------------------------
def test_standard_input(python):
    program = "from lamp.tables import read_table; print(read_table('-').rows())"
    for data in (CSV, gzip.compress(CSV)):
        done = subprocess.run([*python, "-c", program], input=data, capture_output=True, check=True)
        assert done.stdout.decode().strip() == str(TABLE.rows())
    done = subprocess.run([*python, "-c", program], input=b"", capture_output=True)
    assert b"the table is empty" in done.stderr


def test_a_keyboard_is_no_table(monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    refused("-", "nothing is piped")


def test_folders_and_patterns(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"b;a\nw;4\n")
    (tmp_path / "a.csv").write_bytes(CSV)
    refused(tmp_path, "is a folder", "a.csv, b.csv", "*.csv")
    assert read_table(tmp_path / "*.csv").rows() == [*TABLE.rows(), (4, "w")]
    assert read_table(str(tmp_path / "[a].csv")).equals(TABLE)
    (tmp_path / "c.csv").write_bytes(b"a,c\n1,2\n")
    refused(tmp_path / "*.csv", "c.csv", "no 'b'", "also 'c'")
    refused(tmp_path / "*.tsv", "no file matches")
    (tmp_path / "[x].csv").write_bytes(CSV)
    assert read_table(tmp_path / "[x].csv").equals(TABLE)


def test_places_that_are_none(tmp_path, monkeypatch):
    refused("https://example.org/t.csv", "curl")
    refused(tmp_path / ("x" * 300), "cannot be read")
    refused("a\0b.csv", "cannot be read")
    refused(tmp_path / "none.csv", "no such file")
    refused(TABLE, "reads a file", "DataFrame")
    refused(None, "reads a file")
    refused(3, "reads a file")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "t.csv").write_bytes(CSV)
    assert read_table("~/t.csv").equals(TABLE)
    assert read_table(io.BytesIO(CSV)).equals(TABLE)
    assert read_table(io.StringIO(CSV.decode())).equals(TABLE)
    with open(tmp_path / "t.csv") as file:
        assert read_table(file).equals(TABLE)


def test_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["sh", "-c", f"cat > {tmp_path / 'pipe'}"], stdin=subprocess.PIPE) as writer:
        writer.stdin.write(CSV)
        writer.stdin.close()
        assert read_table(tmp_path / "pipe").equals(TABLE)


def test_a_device_without_end():
    refused("/dev/zero", "too large", max_bytes=2**20)
    refused("/dev/null", "empty")


# ---- options ---------------------------------------------------------------------------------------------------------
def test_options_that_mean_nothing(tmp_path):
    path = write_table(TABLE, tmp_path / "t.parquet")
    refused(path, "--separator", "leave it out", separator=";")
    refused(CSV, "--sheet", sheet="x")
    assert read_with(path, ReadOptions(), ReadOptions(separator=";", header=False)).equals(TABLE)
    assert read_with(CSV, ReadOptions(), ReadOptions(header=False)).columns == ["column_1", "column_2"]
    assert read_with(CSV, ReadOptions(header=True), ReadOptions(header=False)).equals(TABLE)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"sep": ";"}, "separator="),
        ({"delimiter": ";"}, "separator="),
        ({"enc": "utf-8"}, "no option 'enc'"),
        ({"separator": ""}, "one character"),
        ({"separator": '"'}, "one character"),
        ({"separator": 1}, "one character"),
        ({"quote": "single"}, "double, backslash, none"),
        ({"quote": '"'}, "double, backslash, none"),
        ({"ragged": "skip"}, "error, fill, drop"),
        ({"skip_lines": -1}, "at least 0"),
        ({"skip_lines": "1"}, "at least 0"),
        ({"max_columns": 0}, "at least 1"),
        ({"max_bytes": "lots"}, "number of bytes"),
        ({"header": "yes"}, "True or False"),
        ({"header": 2}, "True or False"),
        ({"comment": 1}, "text"),
        ({"sheet": 1}, "text"),
        ({"encoding": 1}, "utf-8"),
    ],
)
def test_options_that_are_none(options, word):
    refused(CSV, word, **options)


def test_options_as_json():
    options = ReadOptions(separator=";", skip_lines=2, header=False)
    assert ReadOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    for told in ({"separator": 5}, {"x": 1}, {"max_bytes": "1e999"}, {"separator": []}, {"encoding": {}}):
        with pytest.raises(LampError, match="not options"):
            ReadOptions.from_dict(told)


# ---- names -----------------------------------------------------------------------------------------------------------
def test_names_that_are_the_same():
    assert names.matching("e\u0301", ["x", "\u00e9"]) == "\u00e9"
    assert names.matching(" x\u200b", ["x"]) == "x"
    assert names.matching("X", ["x"]) is None
    assert names.near("Sale Price", ["id", "sale_price"]) == "sale_price"
    assert names.near("amuont", ["amount", "b"]) == "amount"
    assert names.near("zzz", ["amount", "b"]) is None


def test_crc_is_checked():
    packed = bytearray(gzip.compress(CSV))
    packed[-6] ^= 1
    refused(bytes(packed), "damaged")
    assert zlib.crc32(CSV) == int.from_bytes(gzip.compress(CSV)[-8:-4], "little")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_with_byte_order_marks_may_be_joined(end, encoding):
    lines = ["name,b", *(f"{'uv'[k % 2]},w{k % 3}" for k in range(24))]
    one = (end.join(lines) + end).encode(encoding)
    frame, notes = noted(one + one, as_text=True)
    assert frame.columns == ["name", "b"]
    assert (len(frame), frame[0].rows(), frame[24].rows()) == (48, [("u", "w0")], [("u", "w0")])
    assert "left out line 26, which repeats the names of the columns" in notes
    assert "header" not in notes


def test_a_closed_file_is_told(tmp_path):
    path = write_table(pl.DataFrame({"a": [1, 2], "b": [3, 4]}), str(tmp_path / "t.csv"))
    with path.open() as file:
        assert read_table(file).rows() == [(1, 3), (2, 4)]
    refused(file, "a file that is closed", "pass its path")
