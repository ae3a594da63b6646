"""Files, links, names, rooms and glossary terms that the documents mention exist."""

import pydoc
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.test_structure import RANKS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "lamp"
DESIGN = ROOT / "docs" / "design.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MOST_TERMS = 20


# ---- the rules ------------------------------------------------------------------------------------------------------
def quoted(text: str) -> list[str]:
    """The texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def missing_paths(text: str) -> list[str]:
    """Paths of Python files, and quoted folders, that are neither below the package nor below the repository."""
    files = re.findall(r"(?<![\w/.-])[\w/]+\.py\b", text)
    folders = [each for each in quoted(text) if re.fullmatch(r"[\w/]+/", each)]
    return [each for each in [*files, *folders] if not any((root / each).exists() for root in (PACKAGE, ROOT))]


def missing_links(text: str, folder: Path) -> list[str]:
    """Links to files that are not there."""
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    return [link for link in links if not (folder / link).exists()]


def missing_names(text: str) -> list[str]:
    """Names such as lamp.fit that do not exist."""
    return [name for name in re.findall(r"\blamp(?:\.[A-Za-z_]\w*)+", text) if pydoc.locate(name) is None]


def unknown_words(text: str) -> list[str]:
    """Quoted names with capitals or underscores that the code does not contain."""
    names = [re.sub(r"[\w/]+\.py\b", "", each) for each in quoted(text)]  # paths are looked for elsewhere
    words = [word for each in names for word in re.findall(r"[A-Za-z_]\w*", each)]
    return [word for word in words if re.search(r"[a-z][A-Z]|[A-Z][a-z]|_", word) and word not in words_of_the_code()]


@cache
def words_of_the_code() -> frozenset[str]:
    """All words in the package, tests and benchmarks, without this file."""
    files = [path for folder in ("src", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    texts = (path.read_text(encoding="utf-8") for path in files if path != Path(__file__))
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def rows_of_table(text: str, head: str) -> list[list[str]]:
    """The cells of the table with this first heading, without the heading."""
    lines = re.split(rf"\n\| {head} \|.*\n\|-.*\n", text)[1].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def rooms_in_order(text: str) -> list[str]:
    """The rooms that the table of rooms names."""
    return [each.strip("/") for row in rows_of_table(text, "room") for each in quoted(row[0])]


def unused_terms(text: str) -> list[str]:
    """Glossary terms that the rest of the text does not use."""
    glossary = text.split("## Glossary", 1)[1].split("\n## ", 1)[0]
    others = text.replace(glossary, "").lower()
    terms = [term for row in rows_of_table(text, "term") for term in row[0].split(", ")]
    return [term for term in terms if term.lower() not in others]


# ---- the rules hold -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    assert not missing_links(text, path.parent)
    assert not missing_names(text)
    if path.name != "README.md":  # whose examples write files
        assert not missing_paths(text)


def test_the_rooms_of_mutation_testing_name_what_is_there():
    rooms = tomllib.loads((ROOT / "tests" / "mutation.toml").read_text(encoding="utf-8"))["rooms"].values()
    files = [PACKAGE / f"{name}.py" for room in rooms for name in room["modules"]]
    files += [ROOT / "tests" / f"test_{name}.py" for room in rooms for name in room["tests"]]
    assert files
    assert [path for path in files if not path.exists()] == []


def test_the_design_names_what_the_code_has():
    assert not unknown_words(DESIGN.read_text(encoding="utf-8"))


def test_the_design_has_all_rooms_in_order():
    rooms = rooms_in_order(DESIGN.read_text(encoding="utf-8"))
    assert sorted(rooms) == sorted(RANKS.keys() - {""})  # "" is the package itself
    ranks = [RANKS[room] for room in rooms]
    assert ranks == sorted(ranks)


def test_the_glossary_is_short_and_used():
    text = DESIGN.read_text(encoding="utf-8")
    assert len(rows_of_table(text, "term")) <= MOST_TERMS
    assert not unused_terms(text)


# ---- each rule is seen failing --------------------------------------------------------------------------------------
def test_what_is_missing_is_found(tmp_path):
    (tmp_path / "there.md").touch()
    assert missing_paths("`training/loop.py` and `nn/`, tests/conftest.py") == []
    assert missing_paths("`training/loops.py` and `nns/`, pytest tests/test_nothing.py") == [
        "training/loops.py", "tests/test_nothing.py", "nns/",
    ]  # fmt: skip
    assert missing_links("[a](there.md) [b](gone.md) [c](https://example.org)", tmp_path) == ["gone.md"]
    assert missing_names("lamp.fit, lamp.nn.Linear, lamp's, lamp.fitt(x), lamp.nn.Linaer.") == [
        "lamp.fitt", "lamp.nn.Linaer",
    ]  # fmt: skip
    assert unknown_words("`FlatBuffer.grad`, `FlatBufer`, `Span.is_curent`, `dmean`") == ["FlatBufer", "is_curent"]


def test_an_unused_term_is_found():
    glossary = "x\n## Glossary\n| term | meaning |\n|---|---|\n| pass, mark | . |\n\n"
    text = glossary + "## A pass\n| room | |\n|-|-|\n| `a` `b/` | |\n"
    assert unused_terms(text) == ["mark"]
    assert rooms_in_order(text) == ["a", "b"]
