"""What the program prints, for any names in a file, any encoding of the console, and readers that stop."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
from fcntl import ioctl
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from lamp.cli import show_tables
from lamp.cli.terminal import say
from lamp.tables import figures
from lamp.tables.importance import Importance
from lamp.tables.metrics import FIFTHS, Estimate
from lamp.tables.peers import Peer
from lamp.tables.prediction_intervals import PredictionIntervals
from lamp.tables.verdict import Verdict
from tests.forked import Server
from tests.test_cli import in_process

ESCAPE, LONG = "\x1b]0;owned\x07\x9b31m", "a name that goes on and on " * 9
COLUMNS = (
    f"a{ESCAPE}",
    "[red]z[/] :fire:",
    f"{LONG}one {LONG}.",
    f"{LONG}two {LONG}.",
    "col\nline \u202eabc",
    "面積$x_1$",
)
CLASSES = ("東京\x1b[2J", "=cmd|'/c calc'!A0\x9b[bold]")
TARGET = "y\x1b[8m 名"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
CONSOLES = {
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "cp1252": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"},
    "ascii": {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"},
}


def evil(rows=60, seed=0):
    random = np.random.default_rng(seed)
    numbers = {name: random.normal(size=rows).round(3) for name in COLUMNS[:4]}
    words = {name: random.choice(["[bold]x[/]", "=1+1", "東\x1b"], rows) for name in COLUMNS[4:]}
    y = [CLASSES[int(x > 0)] for x in numbers[COLUMNS[0]]]
    return pl.DataFrame({**numbers, **words, TARGET: y})


@pytest.fixture(scope="module")
def trained(lamp, tmp_path_factory):
    """A folder with a table whose names contain control sequences, and the finished process of training on it."""
    place = tmp_path_factory.mktemp("evil")
    evil().write_csv(place / "evil.csv")
    done = lamp("train", place / "evil.csv", "--target", TARGET, *TRAIN, "--no-peers", "--out", place / "m")
    assert done.returncode == 0, done.stderr
    return place, done


@pytest.fixture
def place(trained):
    """The folder with the table and the model m."""
    return trained[0]


@pytest.fixture
def call(capsys):
    """Exit code, stdout and stderr of a command."""
    return lambda *arguments: in_process(arguments, capsys)


TRAIN = ("--time-budget", "1", "--members", "2")


@pytest.fixture(scope="module")
def lamp(tmp_path_factory):
    """Runs a command in a process of its own, on a console of this encoding. Kernels are compiled once for all."""
    servers, kernels = {}, str(tmp_path_factory.mktemp("kernels"))

    def run(*arguments, console=None, **options):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
        env |= CONSOLES.get(console, {"LC_ALL": "C.UTF-8"}) | {"PYTHONWARNINGS": "error::UserWarning"}
        env["LAMP_CACHE_DIR"] = kernels
        locale = env["LC_ALL"]  # it is settled when a Python starts, unlike PYTHONIOENCODING
        if locale not in servers:
            started = {name: value for name, value in env.items() if name != "PYTHONIOENCODING"}
            servers[locale] = Server(str(tmp_path_factory.mktemp("console") / "socket"), started)
        text = {} if console or "stdout" in options else {"text": True, "encoding": "utf-8"}
        options = {"capture_output": "stdout" not in options, "timeout": 300, "check": False, **text, **options}
        module = () if arguments[0] == "-c" else ("-m", "lamp")
        return subprocess.run([*servers[locale].python, *module, *map(str, arguments)], env=env, **options)

    yield run
    for server in servers.values():
        server.close()


# ---- paths in a locale that lacks their letters ----------------------------------------------------------------------
def test_paths_in_the_locale_c(lamp, tmp_path):
    path, out = tmp_path / "täble-表.csv", tmp_path / "modèl"
    path.write_text("größe,y\n" + "".join(f"{k % 7},{'ab'[k % 7 > 3]}\n" for k in range(60)), encoding="utf-8")
    train = ("train", path, "--target", "y", *TRAIN, "--no-peers", "--json")
    done = lamp(*train, "--out", out, console="C")
    assert json.loads(done.stdout)["folder"] == str(out)
    config = json.loads((out / "config.json").read_bytes())
    assert config["table"] == str(path)
    assert config["command"][1] == str(path)
    assert json.loads(lamp(*train, "--dry-run", console="C").stdout)["table"] == str(path)
    exported = lamp("export", out, "--to", "python", "--out", tmp_path / "é.py", "--json", console="C")
    assert json.loads(exported.stdout)["files"][0] == str(tmp_path / "é.py")
    assert rb"\udc" not in lamp("inspect", out, "--json", console="C").stdout
    missing = lamp("predict", out, tmp_path / "fehlt-ü.csv", console="C").stderr.decode("ascii")
    assert r"fehlt-\xfc.csv" in missing


# ---- names that a terminal would obey --------------------------------------------------------------------------------
def test_train_shows_what_a_terminal_would_obey(trained):
    done = trained[1]
    for text in (done.stdout, done.stderr):
        assert not CONTROL.search(text.replace("\n", ""))
        assert r"\x1b" in text
    assert "[red]z[/] :fire:" in done.stdout
    assert "figures: no installed font" in done.stderr or "東" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["train", "evil.csv", "--target", TARGET, "--dry-run"],
        ["train", "evil.csv", "--target", "\x1b[2J"],
        ["train", "evil.csv", "--target", COLUMNS[4], "--kind", f"{COLUMNS[0]}=\x1bsoup"],
        ["train", "evil.csv", "--target", TARGET, "--kind", "\x1b\x07"],
        ["train", "\x1bno.csv", "--target", TARGET],
        ["train", "evil.csv", "--target", TARGET, "--\x1bno-option"],
        ["inspect", "m"],
        ["inspect", "\x1bm"],
        ["evaluate", "m", "evil.csv"],
        ["evaluate", "m", "new.csv"],
        ["evaluate", "m", "without.csv"],
        ["predict", "m", "words.csv"],
        ["predict", "m", "evil.csv", "--keep", "\x1b"],
        ["predict", "m", "words.csv", "--unknown", "gap", "--out", "p.csv"],
        ["predict", "m", "without.csv"],
        ["export", "m", "--to", "python", "--out", "exported.py"],
        ["export", "m", "--to", "\x1b"],
        ["\x1b"],
    ],
    ids=lambda command: " ".join(
        each.encode("ascii", "replace").decode()[:12] for each in command if "\x1b" not in each
    ),
)
def test_every_command_shows_them(place, call, monkeypatch, command):
    monkeypatch.chdir(place)
    frame = evil(30, 1)
    if not (place / "new.csv").exists():
        frame.with_columns(pl.Series(TARGET, [*CLASSES, "new\x1b[2J"] * 10)).write_csv("new.csv")
        frame.with_columns(pl.Series(COLUMNS[0], ["\x1b[2J"] * 30)).write_csv("words.csv")
        frame.drop(COLUMNS[0], TARGET).write_csv("without.csv")
    code, out, err = call(*command)
    for text in (out, err):
        assert not CONTROL.search(text.replace("\n", "")), text
    assert code in (0, 2)
    assert (out + err).strip()


@pytest.mark.parametrize("width", [80, 120])
def test_inspect_fits_the_terminal(place, call, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = call("inspect", place / "m")
    assert code == 0
    table = out[: out.index("most important")].splitlines()[2:]
    assert max(map(len, table)) <= width
    assert sum("a name that goes" in line for line in table) == 2
    assert len({line.split("number")[0] for line in table if "a name that goes" in line}) == 2


def test_data_keep_every_byte(lamp, place):
    """Data have the same bytes in pipes and files, whatever the console's encoding."""
    for console in (None, *CONSOLES):
        done = lamp("predict", place / "m", place / "evil.csv", "--keep", TARGET, "--keep", COLUMNS[0], console=console)
        assert done.returncode == 0, done.stderr
        out = done.stdout if isinstance(done.stdout, bytes) else done.stdout.encode()
        frame = pl.read_csv(out)
        assert frame.columns[:2] == [TARGET, COLUMNS[0]]
        assert frame[TARGET].to_list() == evil()[TARGET].to_list()
        assert f"p({CLASSES[0]})" in frame.columns
    done = lamp("predict", place / "m", place / "evil.csv", "--json", console="cp1252")
    assert {json.loads(line)["prediction"] for line in done.stdout.decode().splitlines()} <= set(CLASSES)


def test_on_a_terminal_data_are_printable(lamp, place):
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0, closefd=True) as reader:
        done = lamp("predict", place / "m", place / "evil.csv", stdout=theirs, stderr=subprocess.DEVNULL)
        os.close(theirs)
        shown = reader.read(2000).decode("utf-8", "ignore")
    assert done.returncode == 0
    assert r"\x1b" in shown
    assert not CONTROL.search(shown.replace("\r\n", ""))


COMMANDS = [  # and the exit code of each
    (["train", "evil.csv", "--target", TARGET, *TRAIN, "--no-peers", "--force", "--out", "again"], (0, 1)),
    (["train", "evil.csv", "--target", TARGET, "--dry-run", "--kind", f"{COLUMNS[5]}=drop"], (0,)),
    (["train", "evil.csv", "--target", "名"], (2,)),
    (["inspect", "m"], (0,)),
    (["inspect", "模型"], (2,)),
    (["predict", "m", "no-東京.csv"], (2,)),
    (["predict", "m", "東京.csv", "--keep", COLUMNS[5], "--out", "名.csv"], (0,)),
    (["evaluate", "m", "evil.csv"], (0,)),
    (["predict", "m", "evil.csv", "--keep", COLUMNS[5], "--out", "kept.csv"], (0,)),
    (["export", "m", "--to", "safetensors", "--force", "--out", "東京.safetensors"], (0,)),
]
ONE_AFTER_ANOTHER = """
import os, sys
from lamp.cli import main
for line in open("commands.txt", "rb").read().split(b"\\0\\0"):
    try:
        main(args=[os.fsdecode(each) for each in line.split(b"\\0")], prog_name="lamp")
    except SystemExit as ended:
        sys.stdout.flush()
        os.write(1, b"\\n=%d\\n" % (ended.code or 0))
"""


@pytest.mark.parametrize("console", CONSOLES)
def test_consoles_without_the_letters(lamp, place, console):
    """All commands run in one process, with their arguments as bytes, as a shell passes them."""
    lines = [b"\0".join(each.encode() for each in command) for command, _ in COMMANDS]
    shutil.copy(place / "evil.csv", place / "東京.csv")
    (place / "commands.txt").write_bytes(b"\0\0".join(lines))
    done = lamp("-c", ONE_AFTER_ANOTHER, console=console, cwd=place)
    assert b"Traceback" not in done.stderr, done.stderr.decode("ascii", "replace")
    codes = [int(code) for code in re.findall(rb"\n=(\d+)\n", done.stdout)]
    assert len(codes) == len(COMMANDS)
    assert all(code in right for code, (_, right) in zip(codes, COMMANDS, strict=True)), codes
    if console != "cp1252":
        assert (done.stdout + done.stderr).isascii()
    assert pl.read_csv(place / "kept.csv")[COLUMNS[5]].to_list() == evil()[COLUMNS[5]].to_list()


# ---- markup and formulas in figures ----------------------------------------------------------------------------------
def test_figures_take_names_as_they_are():
    from matplotlib.text import Text

    from lamp.plots.fonts import fonts_for

    names = ["$x^{$", "a_b", "$\\frac{1}{2}$", "東京", "\x1b[2J", LONG + "one" + LONG, LONG + "two" + LONG]
    with warnings.catch_warnings(), fonts_for(names) as missing:
        warnings.simplefilter("error")
        ax = figures.importance_bars([Importance(name, 0.5, 0.1) for name in names], True)
        ax.figure.canvas.draw()
        labels = [label.get_text().replace(r"\$", "$") for label in ax.get_yticklabels()][::-1]
        assert labels[:3] == names[:3]
        assert labels[3] == ("東京" if not missing else r"\u6771\u4eac")
        assert labels[4] == r"\x1b[2J"
        assert len(set(labels)) == len(names)
        assert max(map(len, labels)) <= figures.LONGEST_NAME
        p, truth = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double(), torch.tensor([0, 1])
        figures.confusion(p, truth, ("$x$ 東", "$y$\x07")).figure.canvas.draw()
        intervals = PredictionIntervals.of_one_width(1.0)
        drawn = figures.residuals(torch.randn(20).double(), torch.randn(20).double(), intervals, "$x^{$ 京")
        drawn.figure.canvas.draw()
        assert any("x^{" in text.get_text() for text in drawn.figure.findobj(Text))


def test_a_font_that_has_the_letters_is_found(monkeypatch):
    """The usual fonts lack these letters, so the one installed font that has them is taken."""
    from matplotlib import rcParams

    from lamp.plots import fonts

    monkeypatch.setattr(fonts, "_drawn", lambda: frozenset("abc"))
    monkeypatch.setattr(fonts, "_installed", lambda: [("Other", "o"), ("Wanted", "w")])
    monkeypatch.setattr(fonts, "_letters", lambda path: frozenset({"o": "xyz", "w": "東京"}[path]))
    with fonts.fonts_for(["a東", "京都"]) as missing:
        assert missing == "都"
        assert rcParams["font.family"][-1] == "Wanted"
    assert "Wanted" not in rcParams["font.family"]


# ---- reports at 80 columns -------------------------------------------------------------------------------------------
def estimates(scale, names):
    return {name: Estimate(scale * 1.2345, scale * 1.1, scale * 1.3) for name in names}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("scale", [0.5, 94_480.0, 2.5e9, 3e17, 1e-7])
def test_reports_of_any_size_fit(capsys, monkeypatch, tmp_path, width, scale):
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("R2", "RMSE", "MAE")
    peers = [
        Peer(name, estimates(scale, names), torch.ones(1), 1.0) for name in ("linear model", "MLP", "gradient boosting")
    ]
    shares = dict.fromkeys(("coverage", *FIFTHS), Estimate(0.9, 0.8, 1.0))
    ours = estimates(scale, names) | shares | {"interval width": Estimate(scale)}
    target = SimpleNamespace(is_classes=False)
    outcome = SimpleNamespace(
        estimates=ours, truth=range(1234), seconds=12.3, peers=peers, importances=[Importance("a", 0.5, 0.1)],
        plan=SimpleNamespace(split=SimpleNamespace(test=range(1234)), request=SimpleNamespace(table=Path("t.csv"))),
        verdict=Verdict([], ["Better than guessing, " * 9], ["Try more rows."]),
        model=SimpleNamespace(target=target, intervals=PredictionIntervals.of_one_width(scale, 0.0, scale)),
    )  # fmt: skip
    show_tables.outcome(outcome, tmp_path)
    out = capsys.readouterr().out
    assert "  " + "Better than guessing, " * 9 in out  # a pipe gets it in one line
    table = out[: out.index("most important")]
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in table
    for said in ("1,234 test rows", *names, "seconds", "lamp ensemble", "linear model", "MLP", "gradient"):
        assert said in table
    if scale == 94_480.0:
        assert "116,600" in table
        assert "103,900 - 122,800" in table
    assert not re.search(r"e\+0\d", table)


def test_metrics_that_could_not_be_had(capsys):
    show_tables.estimates(
        SimpleNamespace(rows=1, estimates={"ROC AUC": Estimate(float("nan")), "R2": Estimate(float("nan"), 0.1)}), "y"
    )
    assert capsys.readouterr().out.count(" -") >= 2


def test_remarks_break_between_words_on_a_terminal(monkeypatch):
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(slave, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        say("classification of target: 2 classes, 768 rows; " + "x" * 50)
        shown = os.read(master, 10_000).decode().replace("\r", "").splitlines()
    os.close(master)
    assert shown == ["classification of target: 2 classes, 768", "rows;", "x" * 50]


def test_the_first_line_comes_before_torch(tmp_path):
    """So it comes at once, however long the imports take."""
    command = [sys.executable, "-X", "importtime", "-m", "lamp", "train", "none.csv", "--target", "y"]
    err = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stderr
    before, _, after = err.partition("reading none.csv\n")
    assert not re.search(r"\| +torch\n", before)
    assert re.search(r"\| +torch\n", after)


def test_of_ten_thousand_remarks_some_are_shown(capsys):
    show_tables.notes(f"column {k} is odd" for k in range(10_000))
    err = capsys.readouterr().err.splitlines()
    assert len(err) == show_tables.MOST_ROWS + 1
    assert err[-1] == "and 9,940 more remarks"


# ---- who stops reading, or stops the program -------------------------------------------------------------------------
@pytest.mark.parametrize("rows", [5, 20_000])
def test_a_reader_that_stops_is_no_error(python, place, tmp_path, rows):
    pl.concat([evil()] * (rows // 60 + 1)).head(rows).write_csv(tmp_path / "t.csv")
    command = f"-m lamp predict {place}/m {tmp_path}/t.csv -q"
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(python)} {command} | head -1 | wc -l; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() in (["1", "141"], ["1", "0"])  # few lines are written before the reader stops
    assert done.stderr == ""


def test_a_stdout_that_is_closed(place):
    command = f"{sys.executable} -m lamp predict {place}/m {place}/evil.csv -q >&-"
    closed = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert closed.returncode == 2
    assert "stdout is closed" in closed.stderr


@pytest.mark.parametrize("command", ["predict m evil.csv", "inspect m"])
def test_a_stdout_that_is_full(python, place, command):
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(python)} -m lamp {command} > /dev/full"], capture_output=True, text=True, cwd=place
    )
    assert done.returncode == 2
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_sigterm_leaves_nothing(python, place, tmp_path):
    command = [*python, "-m", "lamp", "train", place / "evil.csv", "--target", TARGET, "--out", tmp_path / "m"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("sweep:"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == ""
    assert "Traceback" not in err
    assert not os.listdir(tmp_path)


# ---- misuse ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", "t.csv"], "Did you mean 'train'"),
        (["nonsense"], "The commands are"),
        (["train", "t.csv", "--tagret", "y"], "--target"),
        (["predict"], "Missing argument"),
        (["train", "t.csv", "--target"], "requires an argument"),
        (["train", "t.csv", "--target", "y", "--time-budget", "soon"], "'soon' is not a valid float"),
        (["train", "t.csv", "--target", "y", "--time-budget", "nan"], "--time-budget"),
        (["train", "t.csv", "--target", "y", "--time-budget", "inf"], "--time-budget"),
        (["train", "t.csv", "--target", "y", "--members", "0"], "--members"),
        (["train", "t.csv", "--target", "y", "--seed", "-1"], "--seed"),
        (["train", "t.csv", "--target", "y", "--seed", str(2**70)], "--seed"),
        (["evaluate", "m", "t.csv", "--seed", str(2**70)], "--seed"),
        (["predict", "m", "t.csv", "--json", "--out", "none.csv"], "--json prints on stdout"),
        (["predict", "m", "t.csv", "--json", "--escape-formulas"], "--escape-formulas is for CSV"),
        (["predict", "m", "t.csv", "--unknown", "nothing"], "'nothing' is not one of"),
        (["predict", "m", "evil.csv", "--out", "p.docx"], "p.docx"),
        (["predict", "m", "evil.csv", "--out", "m"], "m"),
        (["predict", "m", "evil.csv", "--out", "evil.csv"], "is the table itself"),
        (["predict", "m", "evil.csv", "--out", "/proc/p.csv"], "/proc/p.csv"),
        (["export", "m", "--to", "onxx"], "'onxx' is not one of"),
        (["disk", "--runs", "0"], "--runs"),
        (["disk", "--seed", str(2**70)], "--seed"),
        (["disk", "--out", "/proc/no/folder"], "--out"),
        (["disk", "--runs", "2", "--compare", "3"], "--compare"),
        (["reproduce", "lamp-2020"], "'lamp-2020' is not one of"),
        (["reproduce", "--runs", "0"], "--runs"),
        (["reproduce", "--out", "/dev/null/x"], "--out"),
        (["bench", "row99"], "row99"),
        (["bench", "--repetitions", "0"], "repetitions"),
    ],
)
def test_wrong_options_get_an_error(place, monkeypatch, capfd, arguments, said):
    monkeypatch.chdir(place)
    (place / "t.csv").write_text("a,y\n" + "1,2\n3,4\n" * 20)
    code, out, err = in_process(arguments, capfd)
    assert code == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not os.path.lexists(place / "none.csv")
