"""The program `lamp`: what it prints and writes, and its exit codes."""

import json
import subprocess
import sys

import pytest

import lamp


@pytest.fixture
def run(python):
    """Runs a command in a process of its own."""
    options = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    return lambda *arguments: subprocess.run([*python, "-m", "lamp", *arguments], **options)


def in_process(arguments, capsys):
    """Run a command in this process; returns exit code, stdout and stderr."""
    from lamp.cli import main

    with pytest.raises(SystemExit) as ended:
        main(args=list(map(str, arguments)), prog_name="lamp")
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_help_and_version_do_not_import_torch():
    code = "import sys; sys.argv = ['lamp', '{}']\nimport lamp.cli\n"
    code += "try:\n    lamp.cli.main()\nexcept SystemExit:\n    pass\n"
    for option, said in (("--help", "reproduce"), ("--version", lamp.__version__)):
        asked = code.format(option) + "assert not {'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)\n"
        done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_each_command_has_examples(capsys):
    for command in ("bench", "disk", "reproduce"):
        code, out, _ = in_process([command, "--help"], capsys)
        assert code == 0
        assert "Examples:" in out
        assert "--json" in out or command == "bench"


def test_disk_prints_a_table_and_writes_files(tmp_path, capsys):
    code, out, err = in_process(["disk", "--runs", 2, "--epochs", 2, "--out", tmp_path / "new"], capsys)
    assert code == 0
    assert "mean ± std" in out
    assert "disk.png" in out
    assert "epoch 2/2" in err
    assert (tmp_path / "new" / "disk.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((tmp_path / "new" / "disk.json").read_text())
    assert len(saved["histories"]) == 2
    assert len(saved["histories"][0]["measured"]["loss"]) == 2


def test_disk_one_by_one_and_compared(tmp_path, capsys):
    options = ["disk", "--runs", 2, "--epochs", 3, "--out", tmp_path]
    code, out, err = in_process([*options, "--one-by-one"], capsys)
    assert code == 0
    assert "epoch 6/6" in err
    alone = json.loads((tmp_path / "disk.json").read_text())
    code, out, err = in_process([*options, "--compare", 1], capsys)
    assert code == 0
    together = json.loads((tmp_path / "disk.json").read_text())
    assert together["test_accuracy"] == alone["test_accuracy"]
    assert together["test_loss"]["runs"] == pytest.approx(alone["test_loss"]["runs"], rel=1e-12)
    assert "torch.nn, one by one" in out
    assert together["one by one"]["test_loss"]["runs"] == alone["test_loss"]["runs"][:1]
    assert together["torch.nn"]["test_loss"]["runs"] == pytest.approx(alone["test_loss"]["runs"][:1], rel=1e-11)


def test_disk_json_and_quiet(tmp_path, capsys):
    code, out, err = in_process(["disk", "--runs", 1, "--epochs", 1, "--json", "--quiet", "--out", tmp_path], capsys)
    assert code == 0
    assert err == ""
    summary = json.loads(out)
    assert summary["seeds"] == [0]
    assert 0 <= summary["test_accuracy"]["mean"] <= 100
    code, out, err = in_process(["disk", "--runs", 1, "--epochs", 1, "-q", "--out", tmp_path], capsys)
    assert (code, out, err) == (0, "", "")


def test_disk_is_reproducible(tmp_path, capsys):
    results = [
        json.loads(
            in_process(["disk", "--runs", 1, "--epochs", 3, "--json", "-q", "--seed", 4, "--out", tmp_path], capsys)[1]
        )
        for _ in range(2)
    ]
    assert results[0]["train_loss"] == results[1]["train_loss"]
    assert results[0]["seeds"] == [4]


def test_unknown_label_names_the_known(run):
    done = run("reproduce", "lamp-2020")
    assert done.returncode == 2
    assert "'lamp-2020' is not one of" in done.stderr
    assert "torchlike-2019" in done.stderr


def test_folder_that_cannot_be(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run("disk", "--out", str(tmp_path / "file" / "folder"))
    assert done.returncode == 2
    assert "Choose another folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_numbers(run):
    for arguments in (("disk", "--runs", "0"), ("disk", "--epochs", "x"), ("reproduce", "--runs", "-1")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Invalid value" in done.stderr


def test_bench_lists_the_rows_of_a_clone(run):
    done = run("bench")
    assert done.returncode == 0, done.stderr
    assert "row10" in done.stdout
