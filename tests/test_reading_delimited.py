"""Delimited text in any dialect: each record is read as written, or refused with its line number."""

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lamp.errors import DataError, LampError
from lamp.tables import read_table


def rows(data, **options):
    """The header and the rows, all text, as a file is read."""
    data = data.encode() if isinstance(data, str) else data
    frame = read_table(data, as_text=True, **options)
    return [frame.columns, *([value or "" for value in row] for row in frame.rows())]


def refused(data, **options):
    with pytest.raises(LampError) as caught:
        rows(data, **options)
    error = caught.value
    assert error.expected is not None
    assert error.got is not None
    assert error.fix
    return str(error)


def notes_of(data, **options):
    notes = []
    read_table(data.encode() if isinstance(data, str) else data, notes=notes, **options)
    return "\n".join(notes)


# ---- quotes ----------------------------------------------------------------------------------------------------------
BACKSLASHES = "note,b\n" + '"plain",1\n' * 3 + '"size 3\\" wide",2\n' + '"plain",3\n' * 3


def test_quotes_after_a_backslash():
    read = rows(BACKSLASHES)
    assert len(read) == 8
    assert read[4] == ['size 3" wide', "2"]
    assert "backslash" in notes_of(BACKSLASHES)
    assert rows(BACKSLASHES, quote="backslash") == read
    assert "line 5" in refused(BACKSLASHES, quote="double")
    assert rows('a,b\n"C:\\new \\"x\\"",1\n"y\\\\",2\n')[1:] == [['C:\\new "x"', "1"], ["y\\", "2"]]


def test_backslashes_in_names_and_in_one_column():
    assert rows('"say \\"hi\\"",b\n1,2\n') == [['say "hi"', "b"], ["1", "2"]]
    assert "--quote" in refused('n\n"x \\" y"\n')
    assert rows('n\n"x \\" y"\n', quote="backslash") == [["n"], ['x " y']]


def test_a_backslash_at_the_end_is_a_letter():
    assert rows('a,b\n"C:\\dir\\","x"\n"y","z"\n')[1] == ["C:\\dir\\", "x"]


def test_separators_after_a_backslash():
    text = "a,b\nx\\,y,1\nz,2\n"
    assert rows(text)[1:] == [["x,y", "1"], ["z", "2"]]
    assert "backslash" in notes_of(text)


def test_quotes_within_values():
    assert rows('pipe,b\n2" steel,1\n3",2\nx "y" z,3\n')[1:] == [['2" steel', "1"], ['3"', "2"], ['x "y" z', "3"]]
    assert rows('pipe,b\n2" steel,1\n"a, b",2\n')[1:] == [['2" steel', "1"], ["a, b", "2"]]
    assert rows('"say ""hi""",b\n1,2\n')[0] == ['say "hi"', "b"]
    assert rows('a,b\n"say ""hi""",1\n"""",2\n')[1:] == [['say "hi"', "1"], ['"', "2"]]


def test_a_lone_quote_in_a_tsv():
    text = "a\tb\n" + "x\t1\n" * 3 + '"y\t2\n' + "z\t3\n" * 3
    read = rows(text)
    assert len(read) == 8
    assert read[4] == ['"y', "2"]
    assert "line 5" in notes_of(text)
    assert rows(text, quote="none") == read
    assert "line 5" in refused(text, quote="double")


def test_lone_quotes_that_would_swallow_lines():
    text = "a\tb\n" + "x\t1\n" * 3 + '"y\t2\n' + "z\t3\n" * 3 + 'w"\t5\n' + "z\t3\n" * 3
    told = refused(text)
    assert "line 5" in told
    assert "--quote none" in told
    assert len(rows(text, quote="none")) == 12
    assert len(rows(text, quote="double")) == 8
    words = "a\tb\n" + "x\tu\n" * 3 + '"y\tu\n' + "z\tu\n" * 3 + 'w"\tu\n'
    assert "--quote none" in refused(words)


def test_a_lone_quote_among_quoted_values():
    text = 'a,b\n"x, y",1\n"z,2\n"w",3\n'
    told = refused(text)
    assert "--quote" in told
    assert "line 3" in told


def test_quotes_within_quoted_values_are_told_whether_or_not_these_hold_the_separator():
    for value in ('"2" pipe"', '"2" pipe, steel"', '"2" pipe, thin, steel"'):
        notes = []
        with pytest.raises(DataError, match="line 2: a single quote character inside a quoted value") as caught:
            read_table(f"a,b,c\n{value},1,x\n{value},2,y\n".encode(), notes=notes)
        assert "--quote" in caught.value.fix
        assert not notes


def test_a_quoted_value_over_several_lines():
    text = 'a,b\n"x\ny, z",1\n"u\r\n\r\nv",2\nw,3\n'
    assert rows(text)[1:] == [["x\ny, z", "1"], ["u\r\n\r\nv", "2"], ["w", "3"]]
    assert rows('id,text\n1,"Hello\nBye, now"\n2,"x\ny, z"\n')[1:] == [["1", "Hello\nBye, now"], ["2", "x\ny, z"]]


def test_blanks_between_separators_and_quotes():
    assert rows('a, b\n1, "x, y"\n2, "z"\n')[1:] == [["1", "x, y"], ["2", "z"]]
    assert rows('a, b\n1, "x"\n2, "z" \n') == [["a", "b"], ["1", "x"], ["2", "z"]]
    assert rows('a, "b"\n1, 2.5\n2, 3.5\n')[0] == ["a", "b"]
    assert read_table(b'a, b\n1, "2.5"\n2, "3.5"\n').dtypes == [pl.Int64, pl.Float64]
    assert rows('a,b\n1, x "y" z\n2, w\n')[1:] == [["1", ' x "y" z'], ["2", " w"]]  # no value is in quotes


@pytest.mark.parametrize("text", ["a,b\n'red',1\n'blue',2\n", "a;b;c\n1;'x';'5'\n2; 'y' ;'6'\n", "a\n'x'\n'y'\n"])
def test_single_quotes_stay_and_are_told(text):
    assert "keep their single quotes" in notes_of(text)
    assert "'" in rows(text)[1][0] + rows(text)[1][-1]
    for other in ("a,b\nit's,1\nred,2\n", "a,b\nrock 'n' roll,1\n'tis,2\n", "a,b\n'x',1\nred,2\nblue,3\n"):
        assert "single quotes" not in notes_of(other)


def test_a_backslash_that_could_be_either():
    told = refused('a,b\n3\\" pipe,1\nx,2\n')
    assert "--quote double or --quote backslash" in told
    assert "line 2" in told


# ---- separators ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("header", [True, False])
def test_separators(mark, decimal, header):
    if mark == "," == decimal:
        pytest.skip("a number with the separator in it stands in quotes")
    lines = [f"1{decimal}5", "red", f"-0{decimal}25"], [f"2{decimal}5", "a b", f"3{decimal}0"]
    text = "\n".join(mark.join(line) for line in ([["x", "word", "y"]] if header else []) + list(lines)) + "\n"
    assert rows(text, header=header)[1:] == list(lines)


def test_semicolons_with_decimal_commas_and_nothing_else():
    assert rows("a;b\n1,5;2,5\n3,5;4,5\n")[1:] == [["1,5", "2,5"], ["3,5", "4,5"]]
    assert rows("1,5;2,5\n3,5;4,5\n", header=False)[1:] == [["1,5", "2,5"], ["3,5", "4,5"]]


def test_commas_in_quotes_do_not_confuse():
    text = "name;n\n" + "".join(f'"a,b";{k}\n' for k in range(9))
    assert rows(text)[1] == ["a,b", "0"]
    assert rows("tags,n\n" + "a;b;c,1\n" * 9)[1] == ["a;b;c", "1"]


def test_blanks_as_separators():
    text = "  x   y  z\n 1.0  2   a\n11.0 22   b\n"
    assert rows(text) == [["x", "y", "z"], ["1.0", "2", "a"], ["11.0", "22", "b"]]
    assert "blanks" in notes_of(text)
    assert rows("first name\nJohn Smith\nJane Roe\n")[0] == ["first name"]
    assert rows("a b\nx y\n", separator=" ")[1] == ["x", "y"]


def test_a_line_that_names_the_separator():
    assert rows("sep=;\na;b\n1;2\n") == [["a", "b"], ["1", "2"]]
    told = refused("sep=;\na,b\n1,2\n")
    assert "columns separated by a semicolon, as the line sep=; says" in told
    assert '--separator ","' in told
    assert rows("sep=;\na,b\n1,2\n", separator=",") == [["a", "b"], ["1", "2"]]
    assert rows('"sep=|"\r\na|b\r\n1|2\r\n') == [["a", "b"], ["1", "2"]]


def test_names_of_separators():
    for given_name in ("tab", "\\t", "\t"):
        assert rows("a\tb\n1\t2\n", separator=given_name)[1] == ["1", "2"]
    assert "one character" in refused("a,b\n1,2\n", separator="::")
    assert "--separator tab" in refused("a\tb\n1\t2\n", separator=",")
    assert rows("a§b\n1§2\n", separator="§")[1] == ["1", "2"]


# ---- lines -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(end, last):
    text = end.join(["a,b", "1,x", "2,y", '3,"z"']) + end * last
    assert rows(text) == [["a", "b"], ["1", "x"], ["2", "y"], ["3", "z"]]


def test_line_ends_written_twice():
    assert rows("a,b\r\r\n1,x\r\r\n2,y\r\r\n")[1:] == [["1", "x"], ["2", "y"]]
    assert rows("a\r\r\n1\r\r\n2\r\r\n")[1:] == [["1"], ["2"]]
    assert "carriage return too many" in notes_of("a,b\r\r\n1,x\r\r\n")


def test_mixed_line_ends():
    text = "a,b\r\n1,x\n2,y\r\n3,z\r4,w\n"
    assert rows(text)[1:] == [["1", "x"], ["2", "y"], ["3", "z"], ["4", "w"]]
    assert "1 carriage return ends a line or is in quotes, without a line feed" in notes_of(text)


@pytest.mark.parametrize(("end", "name"), [("\x85", "0085"), ("\u2028", "2028"), ("\u2029", "2029"), ("\x1e", "001E")])
@pytest.mark.parametrize("last", ["", "\n"])
def test_lines_that_end_as_in_unicode(end, name, last):
    text = end.join(["a,b", "1,x", "2,y"]) + end + last
    assert rows(text) == [["a", "b"], ["1", "x"], ["2", "y"]]
    assert f"lines end in the character U+{name}" in notes_of(text)
    assert rows(f"a,b\n1,x{end}y\n2,z\n")[1] == ["1", f"x{end}y"]


def test_empty_lines():
    text = "\n\na,b\n1,2\n\n3,4\n \n5,6\n\n\n"
    assert rows(text)[1:] == [["1", "2"], ["3", "4"], ["5", "6"]]
    assert "2 empty lines" in notes_of(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", ["line 3", "fewer values (2)", "--ragged fill", "4,5"]),
        ("a,b\n1,2\n3,4,5\n6,7\n", ["line 3", "more values (3)", "--ragged drop"]),
        ("a,b\n1,2\n3,4,5\n6\n", ["names (2); 1 other line does not fit either"]),
        ("a,b\n1,2\n3\n4\n5\n6,7\n8,9\n", ["names (2); 2 other lines do not fit either"]),
        ("a,b,c\n1,2,3\nTotal\n", ["line 3", "--ragged drop", "last line"]),
        ("Report\n\na,b,c\n1,2,3\n4,5,6\n", ["line 1", "--skip-lines 2"]),
        ("a,b\n1,2\n# 3\n4,5\n", ["line 3", '--comment "#"']),
        ('a,b\n1,"x\ny"\n2,3,4\n', ["line 4", "more values"]),
        ("a,b\n1,2\n3,'x, y'\n", ["line 3", "single quotes"]),
        ("a,b\n1,2,x\n1,4,x\n", ["more values", "--no-header"]),
    ],
)
def test_ragged_lines_are_refused(text, said):
    told = refused(text)
    for word in said:
        assert word in told


def test_what_is_done_with_ragged_lines():
    text = "a,b,c\n1,2,3\n4,5\n6,7,8,9\n"
    assert rows(text, ragged="fill")[1:] == [["1", "2", "3"], ["4", "5", ""], ["6", "7", "8"]]
    assert rows(text, ragged="drop")[1:] == [["1", "2", "3"]]
    assert "left out 2 lines" in notes_of(text, ragged="drop")
    assert "filled or cut 2 lines with too few or too many values: 3, 4" in notes_of(text, ragged="fill")
    assert rows("Report\na,b\n1,2\n", skip_lines=1) == [["a", "b"], ["1", "2"]]


def test_separators_at_the_end_of_lines():
    assert rows("a,b\n1,2,\n3,4,\n") == [["a", "b"], ["1", "2"], ["3", "4"]]
    assert rows("a,b,\n1,2,\n3,4,\n") == [["a", "b"], ["1", "2"], ["3", "4"]]
    assert rows("a,b,,\n1,2,,\n3,4,,\n") == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_names_of_rows_as_r_writes_them():
    text = '"x" "y"\n"1" 0.5 "a"\n"2" 1.5 "b c"\n'
    assert rows(text, separator=" ") == [["column_1", "x", "y"], ["1", "0.5", "a"], ["2", "1.5", "b c"]]
    assert "row name" in notes_of("x,y\nr1,1,2\nr2,3,4\n")


def test_comments():
    text = "# exported 2024\n# by me, you\na,b\n1,2\n3,4\n"
    assert rows(text) == [["a", "b"], ["1", "2"], ["3", "4"]]
    assert "2 lines that begin with '#'" in notes_of(text)
    assert rows("#id,n\n1,2\n3,4\n") == [["id", "n"], ["1", "2"], ["3", "4"]]
    assert rows("#,id,n\nx,1,2\ny,3,4\n") == [["#", "id", "n"], ["x", "1", "2"], ["y", "3", "4"]]
    assert rows("## v4\n#chrom\tref\talt\nx\tA\tC\n")[0] == ["chrom", "ref", "alt"]
    assert rows("# made by x, for y, today\na,b,c\nx,y,z\n")[0] == ["a", "b", "c"]
    assert rows("% x\na,b\n% y\n1,2\n", comment="%") == [["a", "b"], ["1", "2"]]
    assert rows('a,b\n#1,x\n2,"\n#y"\n')[1:] == [["#1", "x"], ["2", "\n#y"]]
    assert rows('# z\na,b\n1,x\n# 3\n2,"\n#y"\n')[1:] == [["1", "x"], ["2", "\n#y"]]
    assert rows("#1,x\n#2,y\n3,z\n", comment="", header=False)[1:] == [["#1", "x"], ["#2", "y"], ["3", "z"]]


@pytest.mark.parametrize("rule", ["|---|:---:|", "| --- | ------: |"])
def test_a_table_of_markdown(rule):
    text = f"| a | b |\n{rule}\n| 1 | x y |\n| --- | z |\n"
    names, *records = rows(text)
    assert names == ["column_1", "a", "b"]
    assert [[cell.strip() for cell in record] for record in records] == [["", "1", "x y"], ["", "---", "z"]]
    assert "skipped a line of dashes" in notes_of(text)
    assert rows("a,b\n---,---\n1,2\n") == [["a", "b"], ["---", "---"], ["1", "2"]]  # no Markdown


def test_lines_that_could_be_comments_or_data():
    told = refused("# made by x\ntag,n\nred,1\n#2,3\nblue,2\n")
    assert "line 4" in told
    assert "--comment" in told


def test_long_lines_and_many_columns():
    long = "x" * 300_000
    assert rows(f'a,b\n"{long}",1\n2" {long},2\n')[1][0] == long
    names = [f"c{k}" for k in range(3000)]
    assert rows(",".join(names) + "\n" + ",".join("1" * 3000) + "\n")[0] == names


def test_a_zero_byte_and_the_end_of_a_file_of_dos():
    assert "line 3" in refused(b"a,b\n1,2\nx\0y,3\n")
    assert rows(b"a,b\n1,2\n\x1a") == [["a", "b"], ["1", "2"]]


def test_values_in_quotes_are_numbers():
    assert read_table(b'a,b\n"1","2.5"\n"3","4"\n').dtypes == [pl.Int64, pl.Float64]


# ---- the first line --------------------------------------------------------------------------------------------------
def test_no_names():
    text = "0.5,1,x\n0.25,0,y\n"
    assert "WARNING" in notes_of(text)
    assert "--no-header" in notes_of(text)
    assert rows(text, header=False) == [["column_1", "column_2", "column_3"], ["0.5", "1", "x"], ["0.25", "0", "y"]]
    assert "WARNING" not in notes_of(text, header=True)
    assert "WARNING" not in notes_of(text, header=False)
    assert "WARNING" not in notes_of("country,2018,2019\nx,1,2\ny,3,4\n")
    assert "WARNING" not in notes_of("a,b\n1,2\n3,4\n")
    assert "WARNING" in notes_of("red,up\nblue,down\nred,down\n")


def test_names():
    notes = notes_of("\ufeffa\u200b, b ,e\u0301,a,\n1,2,3,4,5\n")
    assert "'a' becomes 'a_2'" in notes
    frame = read_table("\ufeffa\u200b, b ,e\u0301,a,\n1,2,3,4,5\n".encode())
    assert frame.columns == ["a", "b", "\u00e9", "a_2", "column_5"]
    assert read_table(b"a,a,a_2,a\n1,2,3,4\n").columns == ["a", "a_3", "a_2", "a_4"]


def test_a_header_that_comes_again():
    text = "a,b\n1,x\na,b\n2,y\n"
    assert rows(text) == [["a", "b"], ["1", "x"], ["2", "y"]]
    assert "left out line 3, which repeats the names" in notes_of(text)
    assert "WARNING" not in notes_of("x,y\nred,up\nblue,down\nx,y\nred,down\n")
    twice = notes_of('a,b\n"1\n2",x\na,b\n2,y\na,b\n')
    assert "left out lines 4, 6, which repeat the names" in twice
    assert "left out line 3, which" in notes_of("a,b,\n1,2,\na,b,\n3,4,\n")
    assert "left out line 3, which" in notes_of("a,b\n1,2\na,b,\n3,4\n")
    assert "left out line 3, which" in notes_of('#,"x",y\nr1,1,2\n#,x,y\nr2,3,4\n', comment="")
    many = notes_of("a,b\n" + "1,x\na,b\n" * 7)
    assert "left out lines 3, 5, 7, 9, 11, ..., which repeat the names of the columns" in many


def test_records_without_a_header_are_not_names_that_come_again():
    text = "red,up\nblue,down\nred,up\nred,down\nblue,up\n" * 9
    assert len(rows(text)) == 45
    assert "WARNING" in notes_of(text)
    assert "repeat" not in notes_of(text)
    assert "repeat" not in notes_of("a,b\na,b\na,b\n")


def test_too_many_columns():
    told = refused(",".join("x" * 20) + "\n", max_columns=10)
    assert "--max-columns 20" in told


# ---- any table, any writer -------------------------------------------------------------------------------------------
CELL = st.text(st.sampled_from("ab1 ,;\t|\"\\\n\r#'é.-"), max_size=6)


@st.composite
def tables(draw, cell=CELL):
    width = draw(st.integers(1, 4))
    names = [f"n{k}" for k in range(width)]
    return [names, *draw(st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=8))]


def written(table, **dialect):
    buffer = io.StringIO()
    csv.writer(buffer, **dialect).writerows(table)
    return buffer.getvalue()


def check(text, table, **options):
    try:
        read = rows(text, **options)
    except DataError:
        return False
    assert read == table, text
    return True


QUOTINGS = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]


@settings(max_examples=600, deadline=None)
@given(
    table=tables(),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from(QUOTINGS),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_doubled_quotes_as_written(table, delimiter, quoting, end):
    text = written(table, delimiter=delimiter, quoting=quoting, lineterminator=end)
    assume(quoting == csv.QUOTE_ALL or end == "\r\n" or "\r" not in text)  # the writer forgets to quote it
    assert check(text, table, separator=delimiter, quote="double", comment="")
    check(text, table, separator=delimiter)


@settings(max_examples=300, deadline=None)
@given(table=tables(), delimiter=st.sampled_from(",;\t|"), quoting=st.sampled_from(QUOTINGS))
def test_backslashes_as_written(table, delimiter, quoting):
    text = written(table, delimiter=delimiter, quoting=quoting, doublequote=False, escapechar="\\", lineterminator="\n")
    assume(quoting == csv.QUOTE_ALL or "\r" not in text)
    assert check(text, table, separator=delimiter, quote="backslash", comment="")


@settings(max_examples=600, deadline=None)
@given(table=tables(), delimiter=st.sampled_from(",;\t|"), quoting=st.sampled_from(QUOTINGS))
def test_nothing_is_said_of_the_dialect(table, delimiter, quoting):
    text = written(table, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")
    check(text, table)


PLAIN = st.text(st.sampled_from("ab1 ;\"\\#'é.-"), max_size=6)


@settings(max_examples=200, deadline=None)
@given(table=tables(PLAIN.filter(lambda cell: cell.strip())))
def test_quotes_as_letters(table):
    text = "\n".join(",".join(row) for row in table) + "\n"
    assert check(text, table, separator=",", quote="none", comment="")


WORD = st.text(st.sampled_from("ab1é.-"), max_size=6)


@settings(max_examples=200, deadline=None)
@given(table=tables(WORD), delimiter=st.sampled_from(",;\t|"), quoting=st.sampled_from(QUOTINGS))
def test_the_dialect_is_found(table, delimiter, quoting):
    if len(table[0]) == 1:
        delimiter = ","
    text = written(table, delimiter=delimiter, quoting=quoting, lineterminator="\n")
    assert check(text, table)


@settings(max_examples=200, deadline=None)
@given(table=tables())
def test_polars_writes(table):
    frame = pl.DataFrame({name: [row[k] for row in table[1:]] for k, name in enumerate(table[0])})
    text = frame.write_csv()
    assert check(text, table, separator=",", quote="double", comment="")
    check(text, table)


@settings(max_examples=200, deadline=None)
@given(table=tables())
def test_json_lines(table):
    lines = "\n".join(json.dumps(dict(zip(table[0], row, strict=True))) for row in table[1:])
    frame = read_table(b"\xef\xbb\xbf" + lines.encode())
    assert [list(row) for row in frame.rows()] == table[1:]
