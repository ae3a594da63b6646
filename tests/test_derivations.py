"""The worked examples of docs/derivations run as they stand, each page on its own."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "derivations"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    code = "\n".join(blocks)
    assert "assert " in code, "the example checks its numbers"
    exec(compile(code, str(page), "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_overview_lists_a_page(page):
    assert f"({page.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
