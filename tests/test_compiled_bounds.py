"""Kernels touch nothing beyond their arrays."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pages are protected by mprotect")


def guarded(*arguments):
    command = [sys.executable, "-m", "tests.cases.guarded", *arguments]
    return subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("lanes", ["samples", "networks"])
def test_nothing_beyond_an_array_is_touched(lanes):
    done = guarded(lanes)
    last = done.stdout.splitlines()[-1:]
    assert (done.returncode, last) == (0, ["all within their arrays"]), f"{last}\n{done.stderr[-3000:]}"


def test_a_read_beyond_an_array_ends_the_program():
    """Where the data have one number less than a kernel reads."""
    done = guarded("samples", "inputs")
    assert done.returncode < 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 1
