"""Tables from files: each form gives the same table, and what cannot be read is refused with the way out."""

import gzip
import os

import polars as pl
import pytest

from lamp.errors import DataError, LampError
from lamp.tables import parsing, read_table, write_table
from lamp.tables.decimal_marks import decimal_mark

TABLE = pl.DataFrame({"n": [1, 2, None], "x": [0.5, None, -2.25], "word": ["a", "b c", None]})


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    assert caught.value.fix
    return str(caught.value)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl", ".ndjson"])
def test_what_was_written_is_read(tmp_path, ending):
    path = write_table(TABLE, tmp_path / f"table{ending}")
    assert read_table(path).equals(TABLE)
    assert os.listdir(tmp_path) == [path.name]


def test_other_ways_to_write_the_same(tmp_path):
    text = "n; x ;word\n1;0.5;a\n2;NA;b c\n;-2.25;\n"
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_table(tmp_path / "a.csv", ";").equals(TABLE)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(text.replace(";", ","))
    assert read_table(tmp_path / "b.csv.gz").equals(TABLE)
    (tmp_path / "c.json").write_text('[{"n": 1, "x": 0.5, "word": "a"}, {"n": 2, "word": "b c"}, {"x": -2.25}]')
    assert read_table(tmp_path / "c.json").equals(TABLE)


def test_a_column_is_text_if_its_last_row_is(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 5000 + "1,x\n")
    assert read_table(path)["b"].dtype == pl.String


def test_numbers_whose_points_are_open_stay_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;b;c;d\n1.020;1.020;1000.250;-1.020.000\n770;0.5;1.020;7\n;;;\n")
    read = read_table(path)
    assert [each.dtype for each in read] == [pl.String, pl.Float64, pl.Float64, pl.String]
    assert read["a"].to_list() == ["1.020", "770", None]
    assert read["b"].to_list() == [1.02, 0.5, None]


def test_a_file_that_is_not_there(tmp_path):
    (tmp_path / "houses.csv").write_text("a,b\n1,2\n")
    assert "did you mean" in refused(tmp_path / "house.csv")
    assert "houses.csv" in refused(tmp_path / "house.csv")
    assert "is a folder" in refused(tmp_path)
    assert "no such file" in refused(tmp_path / "table.xls")


@pytest.mark.parametrize(("mark", "said"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a bar")])
def test_the_separator_is_found_and_told(tmp_path, mark, said):
    path = tmp_path / "t.csv"
    path.write_text(f"a{mark}b{mark}c\n1,5{mark}2{mark}3\n")
    notes = []
    assert read_table(path, notes=notes).columns == ["a", "b", "c"]
    assert said in notes[0]
    assert read_table(path, mark).columns == ["a", "b", "c"]
    told = refused(path, separator=":")
    assert "only one column" in told
    assert said in told
    with pytest.raises(LampError, match="one character"):
        read_table(path, separator="ab")


def test_one_column_is_a_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n\n3\n")
    assert read_table(path)["a"].to_list() == [1, None, 3]


def test_names_that_repeat_or_lack(tmp_path):
    path = tmp_path / "t.csv"
    notes = []
    path.write_text("a,b, a\n1,2,3\n")
    assert read_table(path, notes=notes).columns == ["a", "b", "a_2"]
    assert "'a' becomes 'a_2'" in notes[0]
    path.write_text("a,,b,\n1,2,3,4\n")
    assert read_table(path, notes=notes).columns == ["a", "column_2", "b", "column_4"]
    assert "column_2, column_4" in notes[1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the table is empty"),
        ("a.csv", b"a,b\n", "the table is empty"),
        ("a.jsonl", b"", "the table is empty"),
        ("a.csv", b"a,b\n1,2\n3,4,5\n", "more values"),
        ("a.csv", b"a,b\n\xcf\xf0\xe8\xe2\xe5\xf2,2\n", "UTF-8"),
        ("a.parquet", b"PAR1 and nothing more", "damaged"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "an object per line"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    told = refused(tmp_path / name)
    assert said in told
    assert str(tmp_path / name) in told


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="unknown ending"):
        write_table(TABLE, tmp_path / "t.xls")
    (tmp_path / "file").write_text("")
    with pytest.raises(LampError):
        write_table(TABLE, tmp_path / "file" / "t.csv")


# ---- what text means -------------------------------------------------------------------------------------------------
def test_words_are_the_same_however_a_number_was_read():
    assert parsing.words(pl.Series([1, 2, None])).to_list() == ["1", "2", None]
    assert parsing.words(pl.Series([1.0, 2.0, float("nan")])).to_list() == ["1", "2", None]
    assert parsing.words(pl.Series([1.5, 2.0])).to_list() == ["1.5", "2"]
    assert parsing.words(pl.Series([" a", "NA", "", "none", "b "])).to_list() == ["a", None, None, None, "b"]
    assert parsing.words(pl.Series([True, None])).to_list() == ["true", None]


def test_numbers_and_decimal_commas():
    text = pl.Series(["1,5", " -2,25 ", "3", "x", "1.5", None])
    assert decimal_mark(text).value == ","
    assert parsing.numbers(text, ",").to_list() == [1.5, -2.25, 3.0, None, None, None]
    assert parsing.numbers(pl.Series([1.0, float("nan")])).to_list() == [1.0, None]
    assert decimal_mark(pl.Series(["1.5", "2"])).value == "."


def test_answers():
    assert parsing.answers(pl.Series(["Yes", "no", "TRUE", "f", "1", "?", "maybe"])).to_list() == [
        True, False, True, False, True, None, None,
    ]  # fmt: skip
    assert parsing.answers(pl.Series([1, 0, 2])).to_list() == [True, False, None]


@pytest.mark.parametrize(
    ("text", "written", "hour"),
    [
        ("2024-02-29", "%Y-%m-%d", 0),
        ("2024-02-29 13:30", "%Y-%m-%d", 13),
        ("2024-02-29T13:30:01.5", "%Y-%m-%d", 13),
        ("2024-02-29T13:30:01+02:00", "%Y-%m-%d", 11),
        ("2024-02-29T13:30:01Z", "%Y-%m-%d", 13),
        ("29.02.2024", "%d.%m.%Y", 0),
        ("02/29/2024", "%m/%d/%Y", 0),
        ("29/02/2024", "%d/%m/%Y", 0),
    ],
)
def test_dates(text, written, hour):
    series = pl.Series([text, None])
    assert parsing.time_format(series) == written
    read = parsing.times(series, None)
    assert (read[0].year, read[0].month, read[0].day, read[0].hour) == (2024, 2, 29, hour)
    assert read[1] is None
    assert read.dtype == pl.Datetime("us")


def test_what_is_no_date():
    assert parsing.time_format(pl.Series(["2024-02-29", "soon"])) is None
    assert parsing.time_format(pl.Series(["2024-02-30"])) is None
    assert parsing.time_format(pl.Series([None], dtype=pl.String)) is None
