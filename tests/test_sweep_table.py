"""The results of a sweep: table, files, heat map, and networks."""

import csv
import json
import math

import numpy as np
import pytest
import torch

import lamp
from lamp.studies import grid, sweep

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.randn(4, 3, generator=torch.Generator().manual_seed(1))).argmax(1)
SETTINGS = grid(lr=[0.01, 0.1, 0.3], activation=[lamp.ReLU, lamp.Tanh], momentum=[0.0, 0.5])


def network(activation=lamp.Tanh):
    return lamp.Sequential(lamp.Linear(4, 5), activation(), lamp.Linear(5, 3))


@pytest.fixture(scope="module")
def result():
    return sweep(
        network,
        [*SETTINGS, {"lr": 1e38, "activation": lamp.ReLU, "momentum": 0.0}],
        (X, Y),
        criterion=lamp.CrossEntropyLoss(),
        optimizer=lamp.SGD,
        epochs=4,
        validation=(X, Y),
        seeds=[5, 2],
        progress=False,
    )


def test_rows_hold_mean_std_epochs_and_failures(result):
    assert len(result.rows) == 13
    assert result.best == result.rows[0].setting
    for row in result.rows[:-1]:
        assert row.mean == pytest.approx(row.scores.mean().item())
        assert row.std == pytest.approx(row.scores.std().item())
        assert (row.epochs, row.failed) == (4, 0)
    assert (result.rows[-1].epochs, result.rows[-1].failed) == (0, 2)


def test_fits_a_terminal_and_a_notebook(result, monkeypatch):
    for width in (80, 110):
        monkeypatch.setenv("COLUMNS", str(width))
        assert max(map(len, str(result).splitlines())) <= width
    html = result._repr_html_()
    assert html.startswith("<p>13 settings x 2 seeds, lowest first; all epochs done</p><table>")
    assert html.count("<tr>") == 14
    assert f">{result.rows[0].mean:.4g} ± " in html


def test_prints_as_a_table(result, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    lines = str(result).splitlines()
    assert lines[0] == "13 settings x 2 seeds, lowest first; all epochs done"
    for word in ("lr", "activation", "momentum", "validation loss (mean ± std)", "n", "failed", "epochs"):
        assert word in lines[2]
    best = result.rows[0]
    cells = [cell.strip() for cell in lines[4].strip("│").split("│")]
    spread = f"{best.mean:.4g} ± {best.std:.2g}"
    activation = best.setting["activation"].__name__
    assert cells == [
        "0",
        f"{best.setting['lr']:.4g}",
        activation,
        f"{best.setting['momentum']:.4g}",
        spread,
        "2",
        "",
        "4",
    ]
    assert [cell.strip() for cell in lines[-2].strip("│").split("│")] == [
        "12",
        "1e+38",
        "ReLU",
        "0",
        "nan",
        "0",
        "2",
        "0",
    ]
    assert "13 settings x 2 seeds; best: lr = " in repr(result)


def test_prints_no_more_than_twenty_rows():
    settings = {"lr": [0.01 * (k + 1) for k in range(23)]}
    result = sweep(network(), settings, (X, Y), criterion=lamp.CrossEntropyLoss(), epochs=1, seeds=1, progress=False)
    lines = str(result).splitlines()
    assert len(lines) == 1 + 3 + 20 + 1 + 1
    assert lines[-1] == "and 3 others"
    assert "±" not in lines[5]  # of one seed there is no spread
    assert "failed" not in str(result)


def test_files(result, tmp_path):
    saved = json.loads((tmp_path / "sweep.json").read_text() if result.to_json(tmp_path / "sweep.json") else "")
    assert saved == json.loads(result.to_json()) == result.to_dict()
    assert saved["seeds"] == [5, 2]
    assert (saved["score"], saved["mode"], saved["stopped"]) == ("validation_loss", "min", "all epochs done")
    rows = list(csv.DictReader(result.to_csv(tmp_path / "sweep.csv").splitlines()))
    assert (tmp_path / "sweep.csv").read_text() == result.to_csv()
    for row, of_json, of_csv in zip(result.rows, saved["rows"], rows, strict=True):
        assert of_json["setting"] == row.setting | {"activation": row.setting["activation"].__name__}
        assert of_csv["activation"] == row.setting["activation"].__name__
        assert float(of_csv["lr"]) == row.setting["lr"]
        assert (of_json["epochs"], of_json["failed"]) == (row.epochs, row.failed)
        for j, seed in enumerate((5, 2)):
            score = row.scores[j].item()
            assert of_json["scores"][j] == (None if math.isnan(score) else score)
            assert of_csv[f"validation_loss of seed {seed}"] == ("" if math.isnan(score) else str(score))


def test_heat_map(result):
    ax = result.heat_map("lr", "activation")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.01", "0.1", "0.3", "1e+38"]
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert sorted(names) == ["ReLU", "Tanh"]
    (image,) = ax.images
    found = image.get_array().filled(math.nan)
    expected = np.full((2, 4), math.nan)
    for row in result.rows[:-1]:  # of the two values of momentum the better one
        place = names.index(row.setting["activation"].__name__), [0.01, 0.1, 0.3].index(row.setting["lr"])
        expected[place] = np.fmin(expected[place], row.mean)
    np.testing.assert_allclose(found, expected)
    assert f"best {result.rows[0].mean:.4g}" in ax.get_title()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lr", "activation")
    with pytest.raises(lamp.ArgumentError, match="lr, activation, momentum"):
        result.heat_map("lr", "eps")


def test_networks_are_ordinary_ones(result):
    networks = result.networks(1)
    assert [type(each) for each in networks] == [lamp.Sequential] * 2
    for j, each in enumerate(networks):
        measured = lamp.evaluate(each, lamp.CrossEntropyLoss(), (X, Y))
        assert measured["loss"] == pytest.approx(result.rows[1].scores[j].item(), rel=1e-5)
    assert result.population(1).seeds == (5, 2)
    with pytest.raises(lamp.ArgumentError, match="all failed"):
        result.networks(12)
    with pytest.raises(IndexError):
        result.networks(13)
