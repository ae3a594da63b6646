"""The examples run from their files: a few steps each, without any file of data."""

import os
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "options", "figure"),
    [
        ("autoencoder", [], "autoencoder.png"),
        ("character_gpt", [], "character_gpt.png"),
        ("character_lstm", [], "character_lstm.png"),
        ("digits", [], "digits.png"),
        ("lenet", [], "lenet.png"),
        ("lenet", ["--networks", "3"], "lenet.png"),
        ("residual_cnn", [], "residual_cnn.png"),
    ],
)
def test_an_example_runs_for_a_few_steps(python, name, options, figure, tmp_path):
    (figures := tmp_path / "figures").mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "LAMP_DATA"}
    ended = subprocess.run(
        [*python, str(EXAMPLES / f"{name}.py"), "--quick", *options, "--out", str(figures)],
        cwd=tmp_path,
        env={**environment, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert (figures / figure).is_file()
    assert list(tmp_path.iterdir()) == [figures]
