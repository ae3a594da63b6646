"""Mistakes with the files that tables are read from."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lamp.errors import ArgumentError, DataError
from lamp.tables import ReadOptions, read_table, write_table
from tests.cases.mistakes import Mistake

CSV = b"a,b\n1,x\n2,y\n"


def read(content: bytes | str, name: str = "t.csv", **options: Any) -> Callable[[], Any]:
    """Reads a file with this content."""

    def call() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            return read_table(path, **options)

    return call


def in_folder(name: str, *files: str) -> Callable[[], Any]:
    """Reads the file of this name in a folder that has these files."""

    def call() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                (Path(folder) / file).write_bytes(CSV if not file.startswith("other") else b"a,c\n1,2\n")
            return read_table(Path(folder) / name)

    return call


def archive(*names: str) -> bytes:
    """A zip with a table under each of these names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, CSV)
    return buffer.getvalue()


def train_look(target: str) -> None:
    """Examines a table as `lamp train` does before training."""
    from lamp.tables.planning import Request, plan_training

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_bytes(b"Sale Price,b\n" + b"1,2\n2,3\n" * 20)
        plan_training(Request(path, target))


RAGGED = "a,b,c\n1,2,3\n4,5\n6,7,8\n"
WIDE = ",".join("x" * 30) + "\n" + ",".join("1" * 30) + "\n"

MISTAKES = [
    Mistake(
        "read a file that is misspelt", in_folder("house.csv", "houses.csv"), DataError, "house.csv", ("did you mean",)
    ),
    Mistake("read a folder", in_folder("", "a.csv", "b.csv"), DataError, "is a folder", ("a.csv, b.csv", "*.csv")),
    Mistake("read a pattern that nothing has", in_folder("*.tsv", "a.csv"), DataError, "*.tsv"),
    Mistake(
        "read files with other columns", in_folder("*.csv", "a.csv", "other.csv"), DataError, "other.csv", ("'b'",)
    ),
    Mistake("read an address of the web", lambda: read_table("https://a.org/t.csv"), DataError, "a.org", ("curl",)),
    Mistake("read a table that is one already", lambda: read_table({"a": [1]}), ArgumentError, "read_table", ("path",)),
    Mistake("read an empty file", read(b""), DataError, "t.csv", ("empty",)),
    Mistake("read names without rows", read("a,b\n"), DataError, "t.csv", ("no row",)),
    Mistake(
        "read a line with too few values", read(RAGGED), DataError, "line 3", ("fewer values (2)", "--ragged fill")
    ),
    Mistake("read a line with too many values", read("a,b\n1,2\n3,4,5\n"), DataError, "line 3", ("more values (3)",)),
    Mistake("read a table below a title", read("Report\n\na,b\n1,2\n3,4\n"), DataError, "line 1", ("--skip-lines 2",)),
    Mistake("read a comment in the middle", read("a,b\n1,2\n# x\n3,4\n"), DataError, "line 3", ('--comment "#"',)),
    Mistake("read a sum below a table", read("a,b,c\n1,2,3\nTotal\n"), DataError, "line 3", ("--ragged drop",)),
    Mistake(
        "read with the wrong separator", read("a;b\n1;2\n", separator=","), DataError, "t.csv", ('--separator ";"',)
    ),
    Mistake(
        "read a separator of two letters", read(CSV, separator="::"), ArgumentError, "separator", ("one character",)
    ),
    Mistake("read a quote that does not end", read('a,b\n"x",1\n"y,2\n'), DataError, "line 3", ("--quote none",)),
    Mistake(
        "read quotes after backslashes as doubled ones",
        read('a,b\n"x \\" y",1\n"z",2\n', quote="double"),
        DataError,
        "line 2",
        ("--quote backslash",),
    ),
    Mistake(
        "read quotes that swallow lines",
        read('a\tb\n"x\t1\ny\t2\nz"\t3\nw\t4\n'),
        DataError,
        "line 2",
        ("--quote none",),
    ),
    Mistake("read with a quote that is none", read(CSV, quote="'"), ArgumentError, "quote", ("backslash",)),
    Mistake(
        "read text in an old Russian encoding",
        read(b"a,b\n\xcf\xf0\xe8\xe2\xe5\xf2,1\n"),
        DataError,
        "line 2",
        ("cp1251",),
    ),
    Mistake("read with the wrong encoding", read(b"a\n\xe4\n", encoding="utf-8"), DataError, "line 2", ("cp1252",)),
    Mistake("read with an encoding that is none", read(CSV, encoding="utf99"), ArgumentError, "encoding", ("cp1252",)),
    Mistake("read a zero byte", read(b"a,b\n1,2\n\0,3\n"), DataError, "line 3", ("damaged",)),
    Mistake("read a page of the web", read("<!DOCTYPE html><p>"), DataError, "t.csv", ("download the table",)),
    Mistake("read a pickle", read(b"\x80\x04\x95", "t.pkl"), DataError, "t.pkl", ("to_parquet",)),
    Mistake("read a PDF", read(b"%PDF-1.4", "t.pdf"), DataError, "t.pdf", ("CSV",)),
    Mistake("read half a gzip file", read(gzip.compress(CSV)[:-8], "t.csv.gz"), DataError, "t.csv.gz", ("again",)),
    Mistake("read a bomb", read(gzip.compress(b"0" * 10**8), "t.csv.gz"), DataError, "t.csv.gz", ("--max-bytes",)),
    Mistake("read more than allowed", read(CSV, max_bytes=5), DataError, "t.csv", ("--max-bytes",)),
    Mistake("read too many columns", read(WIDE, max_columns=9), DataError, "line 1", ("--max-columns 30",)),
    Mistake(
        "read an archive of several tables", read(archive("a.csv", "b.csv"), "t.zip"), DataError, "t.zip", ("--sheet",)
    ),
    Mistake("read half a Parquet file", read(b"PAR1xx", "t.parquet"), DataError, "t.parquet", ("write it again",)),
    Mistake("read CSV that is called Parquet", read(CSV, "t.parquet"), DataError, "t.parquet", ("not a Parquet file",)),
    Mistake(
        "read broken JSON lines", read('{"a": 1}\n{"a": \n', "t.jsonl"), DataError, "line 2", ("an object per line",)
    ),
    Mistake("read lists in JSON", read("[[1, 2], [3, 4]]", "t.json"), DataError, "t.json", ("a list of objects",)),
    Mistake("read CSV that is called JSON", read(CSV, "t.json"), DataError, "t.json", ("CSV",)),
    Mistake("say what separates a JSON file", read('{"a": 1}', "t.json", separator=";"), ArgumentError, "--separator"),
    Mistake("name a sheet of a CSV file", read(CSV, sheet="x"), ArgumentError, "--sheet", ("leave it out",)),
    Mistake("read with pandas' name of an option", read(CSV, sep=";"), ArgumentError, "'sep'", ("separator",)),
    Mistake("read with a number of lines that is none", read(CSV, skip_lines="two"), ArgumentError, "skip-lines"),
    Mistake("keep options that are none", lambda: ReadOptions.from_dict({"separator": 5}), DataError, "options"),
    Mistake("write a table as something else", lambda: write_table(read_table(CSV), Path("t.xls")), DataError, ".xls"),
    Mistake(
        "predict a column in other letters",
        lambda: train_look("sale_price"),
        ArgumentError,
        "sale_price",
        ("Sale Price",),
    ),
]
