"""Options for reading a table: they are kept in the folder and reported, and no row is lost."""

import io
import json
import sys

import numpy as np
import polars as pl
import pytest

from tests.test_cli import in_process


@pytest.fixture
def call(capsys):
    """Exit code, stdout and stderr of a command."""
    return lambda *arguments: in_process(arguments, capsys)


def rows(count, seed=0):
    """Rows of a number, a pipe with its inches, and a class."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(count)
    return [(f"{value:.3f}", f'{k % 3 + 1}" steel', "up" if value > 0 else "down") for k, value in enumerate(x)]


def text_of(table, separator=";"):
    return "".join(separator.join(row) + "\n" for row in table)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder trained on a file without names, with a title, in an old encoding."""
    from lamp.cli import main

    place = tmp_path_factory.mktemp("reading")
    path = place / "pipes.txt"
    path.write_bytes(("Röhren 2024\n" + text_of(rows(200))).encode("cp1252"))
    options = ["--no-header", "--skip-lines", 1, "--separator", ";", "--encoding", "cp1252", "--no-peers", "-q"]
    more = ["--time-budget", 1, "--members", 2, "--out", place / "model"]
    with pytest.raises(SystemExit) as caught:
        main(args=[str(each) for each in ["train", path, "--target", "column_3", *options, *more]])
    assert caught.value.code in (None, 0)
    return place


def test_options_are_kept(trained, call, monkeypatch):
    config = json.loads((trained / "model" / "config.json").read_text())
    assert config["reading"] == {"separator": ";", "encoding": "cp1252", "header": False, "skip_lines": 1}
    (trained / "new.txt").write_bytes(("Röhren 2025\n" + text_of(rows(50, 1))).encode("cp1252"))
    code, out, _ = call("predict", trained / "model", trained / "new.txt")
    assert code == 0
    assert len(out.splitlines()) == 51
    code, out, _ = call("evaluate", trained / "model", trained / "new.txt", "--json")
    assert json.loads(out)["rows"] == 50
    named = "column_1,column_2\n" + text_of([row[:2] for row in rows(50, 1)], ",")
    (trained / "named.csv").write_text(named)
    options = ["--header", "--separator", ",", "--skip-lines", 0, "--encoding", "utf-8"]
    code, again, _ = call("predict", trained / "model", trained / "named.csv", *options)
    assert code == 0
    assert again == call("predict", trained / "model", trained / "new.txt")[1]
    frame = pl.DataFrame([row[:2] for row in rows(50, 1)], schema=["column_1", "column_2"], orient="row")
    frame.write_parquet(trained / "new.parquet")  # options for text do not apply to parquet
    assert call("predict", trained / "model", trained / "new.parquet")[1] == again
    stdin = io.TextIOWrapper(io.BytesIO((trained / "new.txt").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert call("predict", trained / "model", "-")[1] == again


def test_inspect_says_what_is_kept(trained, call):
    assert "separator ';', encoding 'cp1252', header False, skip lines 1" in call("inspect", trained / "model")[1]


def test_kept_columns_however_they_are_typed(trained, call):
    header = "column_1,column_2,e\u0301\n"
    (trained / "accent.csv").write_text(header + text_of(rows(9), ","), encoding="utf-8")
    options = ["--header", "--separator", ",", "--skip-lines", 0, "--encoding", "utf-8", "--keep"]
    for name in ("e\u0301", "\u00e9"):
        code, out, _ = call("predict", trained / "model", trained / "accent.csv", *options, name)
        assert code == 0
        assert out.startswith("\u00e9,prediction")
    code, _, err = call("predict", trained / "model", trained / "accent.csv", *options, "Column 1")
    assert code == 2
    assert "did you mean 'column_1'" in err


def test_several_files_are_a_pattern(call):
    code, _, err = call("train", "a.csv", "b.csv", "--target", "y")
    assert code == 2
    assert '"sales-*.csv"' in err


@pytest.mark.parametrize("broken", ['1.5;2" steel;up\n"0.5;1" steel;up\n', "1.5;2\n"])
def test_every_line_is_read_or_the_bad_one_named(trained, call, broken):
    path = trained / "broken.txt"
    path.write_bytes(("Röhren\n" + text_of(rows(100, 2)) + broken + text_of(rows(100, 3))).encode("cp1252"))
    code, out, err = call("predict", trained / "model", path)
    lines = 200 + broken.count("\n")
    told = "line 102" in err or "row 102" in err
    assert (code == 0 and len(out.splitlines()) == lines + 1) or (code == 2 and told)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("a;b;y\n1,5;2;u\n", [], "separated by a semicolon"),
        ("0.5,1.5,0\n0.25,2.5,1\n", ["--target", "0"], "WARNING"),
        ("a,,y\n1,2,u\n", [], "called column_2"),
        ("a,a,y\n1,2,u\n", [], "'a' becomes 'a_2'"),
        ("# made\na,b,y\n1,2,u\n", [], "begins with '#'"),
        ("a,b,y\n1,2,u\nx\n", ["--ragged", "drop"], "left out 1 line with too few or too many"),
        ("e\u0301,b,y\n1,2,u\n", ["--kind", "\u00e9=drop"], "asked for"),
        ("a,b,\u00e9\n1,2,u\n", ["--target", "e\u0301"], "2 classes"),
    ],
)
def test_what_a_look_tells(tmp_path, call, content, options, said):
    lines = content.splitlines(keepends=True)
    last = lines[-1] if "--ragged" not in options else lines[-2]
    other = last.replace("1", "3").replace("u", "d").replace("2", "7")
    path = tmp_path / "t.csv"
    path.write_text(content + (other + last) * 10, newline="")
    options = options if "--target" in options else ["--target", "y", *options]
    code, out, err = call("train", path, "--dry-run", *options)
    assert code == 0, err
    assert said in out + err


def test_folders_are_named_after_tables():
    from pathlib import Path

    from lamp.cli.table_options import default_folder

    names = {"houses.csv": "houses-model", "-": "stdin-model", "sales-*.csv.gz": "sales-model", "*.csv": "table-model"}
    assert {name: str(default_folder(Path(name))) for name in names} == names
