"""What a training shows on a terminal fits its width and appears once; making a text prints nothing."""

import io
import os
import pty
import re
import select
import struct
import termios
from fcntl import ioctl

import pytest
import torch

import lamp
from lamp.training import progress

WIDE = ["accuracy", "balanced_accuracy", "a_metric_of_mine", "validation_loss", "validation_accuracy", "another_one"]


def history(names=("accuracy",), replicas=None, epochs=30, stopped="all epochs done"):
    made = lamp.History("eager", "asked for", replicas)
    for k in range(epochs):
        values = dict.fromkeys(("loss", *names), (k + 1) / 7)
        if replicas is not None:
            values = {name: torch.linspace(value, value + 1, replicas) for name, value in values.items()}
        made.record(values, 0.1)
    made.stopped = stopped
    return made


class TestHistory:
    @pytest.mark.parametrize("replicas", [None, 16])
    @pytest.mark.parametrize("names", [(), WIDE[:1], WIDE[:4], WIDE, [*WIDE, "x" * 60]], ids=len)
    def test_no_line_is_longer_than_80(self, names, replicas):
        text = str(history(names, replicas, stopped="no better validation_loss for 10 epochs: 0.0123 in epoch 20 " * 2))
        assert max(map(len, text.splitlines())) <= 80
        for name in ("loss", *names):
            assert all(word in text for word in name.split("_"))
        assert text.count("30 │") == text.count("┏"), "every table has its last epoch"


class TestNotebooks:
    @pytest.fixture
    def results(self):
        x, y = torch.randn(30, 2), torch.arange(30) % 2
        model, criterion = lamp.Sequential(lamp.Linear(2, 2)), lamp.CrossEntropyLoss()
        study = {"criterion": criterion, "epochs": 1, "progress": False}
        scores = lamp.cross_validate(model, (x, y), folds=3, metrics=[lamp.accuracy], **study)
        found = lamp.sweep(model, {"lr": [0.1, 0.2]}, (x, y), validation=0.2, metrics=[lamp.accuracy], **study)
        return {"history": history(), "sweep": found, "folds": scores, "summary": lamp.summary(model)}

    @pytest.mark.parametrize(
        ("result", "word"), [("history", "accuracy"), ("sweep", "lr"), ("folds", "accuracy"), ("summary", "layer")]
    )
    def test_a_table_is_shown_and_a_text_prints_nothing(self, results, result, word, capsys, monkeypatch):
        """Not even in a notebook, where rich would show what it is asked to write elsewhere."""
        monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
        text, html = str(results[result]), results[result]._repr_html_()
        assert f" {word} " in text
        assert f">{word}</th>" in html
        assert "<tbody><tr>" in html
        assert capsys.readouterr() == ("", "")


def test_those_numbers_that_fit():
    values = {"loss": 0.25, "accuracy": 0.5, "validation_loss": 0.125}
    whole = "loss 0.25  accuracy 0.5  val loss 0.125"
    assert progress.numbers(values) == progress.numbers(values, len(whole)) == whole
    assert progress.numbers(values, len(whole) - 1) == "loss 0.25  accuracy 0.5"
    assert progress.numbers(values, 3) == ""


def all_that_came(terminal):
    """Everything that a terminal has received; one read may return only the first of several writes."""
    pieces = []
    while select.select([terminal], [], [], 1.0)[0]:
        pieces.append(os.read(terminal, 10**5))
    return b"".join(pieces).decode()


def last_line(columns, *reports):
    """The line that a terminal shows once a training of at most 100 epochs has made these reports and ended."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(slave, "w") as stream:
        with progress.LiveLine(100, "epoch", stream) as line:
            for done, values in reports:
                line.at(done, values)
        stream.flush()
        shown = all_that_came(master)
    os.close(master)
    text = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in re.split(r"[\r\n]+", shown)]
    return [part for part in text if part.strip()][-1]


def test_the_live_line_ends_with_the_last_epoch():
    """Also where a training ends early, right after an earlier report."""
    last = last_line(80, (1.0, {"loss": 0.5}), (2.0, {"loss": 0.25}), (25.0, {"loss": 0.125}))
    assert last.startswith("epoch 25/100")
    assert "loss 0.125" in last


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_live_line_keeps_its_epoch(columns):
    values = {"loss": 0.25, "accuracy": 0.5, "validation_loss": 0.125, "validation_accuracy": 0.5}
    last = last_line(columns, (100.0, values))
    assert last.startswith("epoch 100/100")
    assert "loss 0.25" in last or columns == 40
    assert re.search(r"0:00:0\d", last)
    assert len(last) <= columns - 4, "Ctrl-C must not begin another line"


def test_a_slow_epoch_is_told_once_in_a_log(monkeypatch):
    monkeypatch.setattr(progress, "PLAIN", 0.0)
    stream = io.StringIO()
    with progress.PlainLines(2, "epoch", stream) as lines:
        for done, loss in [(0.2, None), (0.7, None), (1.0, 0.5), (1.5, 0.5), (2.0, 0.25)]:
            lines.at(done, {} if loss is None else {"loss": loss})
    assert stream.getvalue().splitlines() == ["epoch 0/2", "epoch 1/2  loss 0.5", "epoch 2/2  loss 0.25"]


def test_the_best_score_of_a_sweep_never_gets_worse(monkeypatch):
    told = []

    class Told(io.StringIO):
        def isatty(self):
            return False

    class Lines(progress.PlainLines):
        def at(self, done, values):
            told.append({name: float(value) for name, value in values.items()})

    monkeypatch.setattr("lamp.training.progress.PlainLines", Lines)
    monkeypatch.setattr("sys.stderr", Told())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 3, generator=generator)
    lamp.sweep(
        lambda hidden: lamp.Sequential(lamp.Linear(3, hidden), lamp.Tanh(), lamp.Linear(hidden, 1)),
        {"hidden": [2, 5], "lr": [1.2, 0.1]},
        (x, x[:, :1]),
        criterion=lamp.MSELoss(),
        optimizer=lamp.SGD,
        epochs=12,
        seeds=2,
        at_once=2,
        validation=(x, x[:, :1]),
        halving=2,
    )
    best = [each["best validation_loss"] for each in told if each]
    assert len(best) > 20
    assert best == sorted(best, reverse=True)
