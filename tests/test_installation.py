"""Instructions for pip: one version, one list of optional packages, and never another project's name."""

import re
import tomllib
from pathlib import Path

import lamp
from lamp.installation import EXTRAS, NAME, VERSION, install

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
STRANGER = re.compile(r"pip install[^\n]*[\s\"']lamp(\[|\"|'|\s|$)")  # `lamp` on PyPI is another project


def test_messages_and_pyproject_name_the_same_packages():
    listed = PROJECT["optional-dependencies"]
    assert {extra: list(packages) for extra, packages in EXTRAS.items()} == {extra: listed[extra] for extra in EXTRAS}
    assert f"{NAME}[{','.join(EXTRAS)}]" in listed["test"]
    assert install("tables") == 'pip install "polars>=1.20" "scikit-learn>=1.6"'
    assert install("onnx", upgrade=True).startswith("pip install --upgrade ")


def test_one_name_and_one_version():
    assert PROJECT["name"] == NAME == "lamp-dl"
    assert "version" in PROJECT["dynamic"]
    assert lamp.__version__ == VERSION


def test_nobody_is_sent_to_a_strangers_package():
    assert STRANGER.search('pip install "lamp[tables]"')
    assert STRANGER.search("pip install lamp")
    assert not STRANGER.search('pip install --editable ".[test]" && .venv/bin/lamp disk')
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "pyproject.toml"]
    assert not [path for path in files if STRANGER.search(path.read_text(encoding="utf-8"))]
