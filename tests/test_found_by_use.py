"""Mistakes that were found by using lamp on real files and by first-time users, each as a small test.

The tables made here are of kinds that were once read wrongly. The tests look at what a user sees.
"""

import contextlib
import csv
import io
import json
import os
import random
import subprocess
import sys

import pytest
import torch

import lamp
from tests.forked import Server

pl = pytest.importorskip("polars")

ROWS = 40


def numbers(seed):
    drawn = random.Random(seed)
    return [round(drawn.gauss(0, 1), 2) for _ in range(ROWS)]


A, B = numbers(1), numbers(2)
Y = ["up" if b > 0 else "down" for b in B]
QUICKLY = ("--time-budget", "1", "--members", "2", "--no-peers")


def run(*arguments):
    """The stdout, the stderr and the exit code of a command."""
    from lamp.cli import main

    printed, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        try:
            main(args=[str(each) for each in arguments])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return printed.getvalue() + told.getvalue(), code


def dry_run(path, target="y", *options):
    output, code = run("train", path, "--target", target, "--dry-run", *options)
    assert code == 0, output
    return " ".join(output.split())


def written(path, header, *columns, quote=True):
    """A CSV file of these columns; `quote` as RFC 4180 has it, or cells as they are."""
    rows = [header, *zip(*columns, strict=True)]
    if quote:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        path.write_text(text.getvalue(), encoding="utf-8")
    else:
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- every record ----------------------------------------------------------------------------------------------------
def test_quotes_after_a_backslash(tmp_path):
    notes = [f'"said \\"no\\" {k}"' if k % 3 == 0 else f'"plain {k % 4}"' for k in range(ROWS)]
    assert "40 rows" in dry_run(written(tmp_path / "t.csv", ["note", "b", "y"], notes, B, Y, quote=False))


def test_quotes_in_a_header(tmp_path):
    told = dry_run(written(tmp_path / "t.csv", ['say "hi"', "b", "y"], A, B, Y))
    assert 'say "hi" number' in told


def test_quote_signs_that_mean_inches(tmp_path):
    pipes = [f'{1 + k % 3}" steel' for k in range(ROWS)]
    told = dry_run(written(tmp_path / "t.csv", ["pipe", "b", "y"], pipes, B, Y, quote=False))
    assert "40 rows" in told
    assert "pipe category" in told


# ---- numbers as people write them --------------------------------------------------------------------------------
def test_thousands_in_the_target(tmp_path):
    visits = [f"{900 + 20 * k:,}" for k in range(ROWS)]  # some with a comma, some without
    assert "1,020" in visits
    assert "900" in visits
    told = dry_run(written(tmp_path / "t.csv", ["a", "b", "visits"], A, B, visits), "visits")
    assert "regression of visits" in told
    assert "'1,000' is read as 1000" in told or "'1,020' is read as 1020" in told


def test_money(tmp_path):
    path = written(tmp_path / "t.csv", ["price", "b", "y"], [f"${1000 + 37 * k:,}.00" for k in range(ROWS)], B, Y)
    assert "price number" in dry_run(path)
    assert "price number" in dry_run(path, "y", "--kind", "price=number")


def test_leading_zeros_are_words(tmp_path):
    told = dry_run(written(tmp_path / "t.csv", ["code", "b", "y"], ["7", "007"] * (ROWS // 2), B, Y))
    assert "code category 2" in told


def test_large_numbers_with_separators_are_no_gaps(tmp_path):
    prices = [f"{300 + 43 * k:,.2f}" for k in range(ROWS)]
    told = dry_run(written(tmp_path / "t.csv", ["price", "b", "y"], prices, B, Y))
    assert "price number 1" in told
    assert "missing" not in told


# ---- dates -------------------------------------------------------------------------------------------------------
def test_years_of_two_digits(tmp_path):
    days = [f"{1 + k % 12:02d}/{1 + k % 28:02d}/{98 + k % 5 - 100 * (k % 5 > 1):02d}" for k in range(ROWS)]
    told = dry_run(written(tmp_path / "t.csv", ["when", "b", "y"], days, B, Y))
    assert "when date" in told
    assert "1970 to 1999" in told


def test_am_and_pm(tmp_path):
    days = [f"{1 + k % 12:02d}/{13 + k % 15}/2019 {1 + k % 12}:05 {'AP'[k % 2]}M" for k in range(ROWS)]
    assert "when date" in dry_run(written(tmp_path / "t.csv", ["when", "b", "y"], days, B, Y))


def test_one_bad_date_is_a_gap(tmp_path):
    days = [f"2019-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in range(ROWS)]
    days[7] = "not yet known"
    told = dry_run(written(tmp_path / "t.csv", ["when", "b", "y"], days, B, Y))
    assert "when date" in told
    assert "1 of 40" in told
    assert "'not yet known'" in told


# ---- words for what is missing -----------------------------------------------------------------------------------
def test_none_is_a_class(tmp_path):
    damage = [["None", "Minor", "Major"][k % 3] for k in range(ROWS)]
    told = dry_run(written(tmp_path / "t.csv", ["a", "b", "damage"], A, B, damage), "damage")
    assert "3 classes" in told
    assert "--missing" in told


# ---- files of every kind -----------------------------------------------------------------------------------------
def test_columns_without_a_name(tmp_path):
    told = dry_run(written(tmp_path / "t.csv", ["a", "", "", "y"], A, B, B, Y))
    assert "column_2" in told
    assert "column_3" in told


def test_a_comment_above(tmp_path):
    path = written(tmp_path / "t.csv", ["a", "b", "y"], A, B, Y)
    path.write_text("# made last night\n" + path.read_text())
    assert "40 rows" in dry_run(path)


def test_no_header(tmp_path):
    path = written(tmp_path / "t.csv", [0.5, 0.25, 1], A, B, [int(b > 0) for b in B])
    told = dry_run(path, "1")
    assert "looks like data" in told
    assert "--no-header" in told
    assert "40 rows" in told or "39 rows" in told or "41 rows" in told
    assert "41 rows" in dry_run(path, "column_3", "--no-header")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_encodings(tmp_path, encoding):
    path = written(tmp_path / "t.csv", ["größe", "b", "y"], A, B, Y)
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert "größe number" in dry_run(path)


def test_json_lines_with_a_byte_order_mark(tmp_path):
    lines = [json.dumps({"a": a, "b": b, "y": y}) for a, b, y in zip(A, B, Y, strict=True)]
    (tmp_path / "t.jsonl").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    assert "40 rows" in dry_run(tmp_path / "t.jsonl")


# ---- asking ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Trained on prices: low and high are columns of the table."""
    place = tmp_path_factory.mktemp("prices")
    close = [50 + a for a in A]
    low, high = [c - 2.5 for c in close], [c + 3.25 for c in close]
    table = written(place / "t.csv", ["open", "low", "high", "close"], [c + b for c, b in zip(close, B, strict=True)],
                    low, high, close)  # fmt: skip
    output, code = run("train", table, "--target", "close", "--out", place / "model", "--seed", "0", *QUICKLY)
    assert code == 0, output
    return place, low, high


def test_columns_that_are_kept_are_the_tables(folder):
    place, low, high = folder
    output, code = run("predict", place / "model", place / "t.csv", "--keep", "low", "--keep", "high")
    if code:
        assert "low" in output
        return
    rows = list(csv.reader(line for line in output.splitlines() if "," in line))
    at = {name: k for k, name in enumerate(rows[0])}
    assert len(rows) == ROWS + 1
    assert [float(row[at["low"]]) for row in rows[1:]] == pytest.approx(low)
    assert [float(row[at["high"]]) for row in rows[1:]] == pytest.approx(high)


def test_odd_cells_of_new_rows_may_be_gaps(folder, tmp_path):
    place, *_ = folder
    new = tmp_path / "new.csv"
    new.write_text("open,low,high,close\n50,48,53,51\nunknown,48,53,51\n")
    output, code = run("predict", place / "model", new, "--unknown", "error")
    assert code != 0
    assert "open" in output
    output, code = run("predict", place / "model", new, "--unknown", "gap")
    assert code == 0
    assert len([line for line in output.splitlines() if line[:1].isdigit()]) == 2


def test_work_grows_with_the_columns_and_no_faster():
    """The work is counted in calls, not in seconds."""
    from lamp.tables.preprocessing import Preprocessing

    def calls(columns):
        frame = pl.DataFrame({f"g{k}": [0.5 * k, 1.0, -k, 3.5] for k in range(columns)})
        known = Preprocessing().fit(frame)
        count = 0

        def seen(_frame, event, _argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(seen)
        try:
            known.transform(frame)
        finally:
            sys.setprofile(None)
        return count

    few, many = calls(100), calls(800)
    assert many < 8 * few * 1.5  # eight times the columns; what is quadratic makes 64 times the calls


def test_names_that_a_console_cannot_print(tmp_path):
    classes = ["猫" if b > 0 else "犬" for b in B]
    table = written(tmp_path / "t.csv", ["a", "b", "動物"], A, B, classes)
    environment = os.environ | {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "cp1252", "MPLBACKEND": "Agg"}
    output, code = run("train", table, "--target", "動物", "--out", tmp_path / "model", *QUICKLY)
    assert code == 0, output
    commands = [
        ["predict", str(tmp_path / "model"), str(table)],
        ["evaluate", str(tmp_path / "model"), str(table)],
        ["inspect", str(tmp_path / "model")],
    ]
    server = Server(str(tmp_path / "socket"), environment)
    for command in commands:
        done = subprocess.run(
            [*server.python, "-m", "lamp", *command], env=environment, capture_output=True, check=False
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode("latin-1")
        assert done.returncode == 0, done.stderr.decode("latin-1")
    server.close()


# ---- what is written first ---------------------------------------------------------------------------------------
def test_a_second_forward_before_the_backward():
    torch.manual_seed(0)
    model, loss = lamp.Sequential(lamp.Linear(3, 8), lamp.Tanh(), lamp.Linear(8, 2)), lamp.CrossEntropyLoss()
    peer = lamp.to_torch(model)
    x, other, y = torch.randn(7, 3), torch.randn(7, 3), torch.randint(2, (7,))
    loss(model(x), y)
    model(other)
    model.backward(loss.backward())
    torch.nn.functional.cross_entropy(peer(x), y).backward()
    torch.testing.assert_close(model[0].weight.grad, peer[0].weight.grad)


def test_the_first_lines_of_torchs_users(tmp_path):
    model, loss = lamp.Linear(2, 2), lamp.CrossEntropyLoss()
    x, y = torch.randn(4, 2), torch.tensor([0, 1, 0, 1])
    with pytest.raises(lamp.BackwardError, match=r"model\.backward\(criterion\.backward\(\)\)"):
        loss(model(x), y).backward()
    torch.save(model.state_dict(), tmp_path / "net.pt")
    with pytest.raises(lamp.CheckpointError, match=r"torch\.load"):
        lamp.load(model, tmp_path / "net.pt")
    with pytest.raises((lamp.LampError, TypeError), match="num_workers"):
        lamp.DataLoader((x, y), num_workers=2)  # type: ignore[call-arg]

    class Scale(lamp.Module):
        def __init__(self):
            self.g = lamp.Parameter(torch.full((2,), 3.0))

        def forward(self, x):
            return x * self.g

    assert torch.equal(Scale()(x), 3 * x)
    before = model.weight.data.clone()
    model.weight.requires_grad = False
    lamp.fit(model, loss, lamp.SGD(model.parameters(), lr=1.0), (x, y), epochs=2, progress=False)
    assert torch.equal(model.weight.data, before)
