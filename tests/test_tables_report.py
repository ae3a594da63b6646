"""report.html: everything is on the page, nothing is loaded, and no name of a column becomes markup."""

import base64
import re
from html.parser import HTMLParser

import pytest

from lamp.tables.html_report import MOST_ROWS, page
from lamp.tables.metrics import FIFTHS

HOSTILE = '<script>alert("x")</script>&amp; \x1b[31m\u202e <b>"\' 名\ud800'
SHOWN = '<script>alert("x")</script>&amp; \\x1b[31m\\u202e <b>"\' 名\\ud800'
TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "strong", "ul", "li", "table", "caption",
    "thead", "tbody", "tr", "th", "td", "small", "figure", "img", "figcaption", "details", "summary", "dl", "dt", "dd",
    "pre",
}  # fmt: skip


class Read(HTMLParser):
    """What a browser would make of the page: tags with attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def documents(name="a", rows=84):
    ours = {"RMSE": estimate(94_477.0, 91_000.0, 97_500.0), "coverage": estimate(0.9, 0.83, 0.95)}
    ours |= {name: estimate(0.98 - 0.02 * k) for k, name in enumerate(FIFTHS)}
    metrics = {
        "rows": rows,
        "measured_on": "test",
        "models": {"lamp ensemble": ours, "linear model": {"RMSE": estimate(98_000.0, 94_000.0, 102_000.0)}},
        "seconds": {"lamp ensemble": 12.3, "linear model": 0.1},
        "notes": {"linear model": "cut short after 20 steps"},
        "importance": [{"column": name, "mean": 0.5, "std": 0.1}, {"column": "b", "mean": 0.25, "std": None}],
        "verdict": {"sentences": [f"Better than {name}."], "advice": [f"Look at {name}."]},
    }
    config = {
        "table": f"{name}.csv",
        "training": 269,
        "validation": 67,
        "test": rows,
        "notes": [f"column {name} is odd"],
        "networks": ["2 networks of 64 units"],
        "member_settings": [{"lr": 0.01, "weight_decay": 0.1}, {"lr": 0.01, "weight_decay": 0.2}],
        "sweep": {"settings": 36, "stopped": "all epochs done"},
        "epochs": 60,
        "stopped": "all epochs done",
        "time_budget": 120.0,
        "seconds": 33.1,
        "seed": 3,
        "versions": {"python": "3.12.0"},
    }
    columns = [(name, "number", 1, "0 to 1"), ("b", "category", 3, f"'{name}'"), ("id", "left out", 0, "an identifier")]
    return {
        "what": f"regression of {name}",
        "metrics": metrics,
        "config": config,
        "columns": columns,
        "figures": {"residuals.png": b"\x89PNG one", "importance.png": b"\x89PNG two"},
        "commands": {"predict new rows": f"lamp predict '{name}' NEW.csv"},
    }


def test_all_is_on_the_page():
    text = page(**documents())
    read = Read(text)
    assert text == page(**documents())
    assert not read.open
    for said in (
        "Regression of a", "a.csv: 269 rows for training, 67 for validation, 84 for the test", "Better than a.",
        "Look at a.", "94,500", "91,000 - 97,500", "98,000", "90.0 %", "scikit-learn's linear model", "12.3",
        "On 84 test rows", "the 90 % intervals hold 98, 96, 94, 92, 90 % of the rows",
        "cut short after 20 steps", "2 columns used, 1 left out.", "an identifier", "column a is odd",
        "2 networks of 64 units",
        "60 epochs (all epochs done)", "0.01", "0.1, 0.2", "120 s, took 33.1 s", "python 3.12.0",
        "lamp predict 'a' NEW.csv",
    ):  # fmt: skip
        assert said in read.text, said
    assert not any(name in read.text for name in FIFTHS)
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert [base64.b64decode(each["src"].split(",")[1]) for each in images] == [b"\x89PNG one", b"\x89PNG two"]
    assert all(len(each["alt"]) > 40 for each in images)


def test_nothing_is_loaded():
    text = page(**documents("http://example.com/x.png"))
    for tag, attributes in Read(text).tags:
        assert not attributes.keys() - {
            "class",
            "lang",
            "charset",
            "name",
            "content",
            "http-equiv",
            "alt",
            "src",
            "scope",
        }
        assert attributes.get("src", "data:").startswith("data:"), tag
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)


def test_no_name_becomes_markup():
    text = page(**documents(HOSTILE))
    read = Read(text)
    assert {tag for tag, _ in read.tags} <= TAGS
    plain = Read(page(**documents()))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert read.text.count(SHOWN[:30]) >= 9
    assert SHOWN in read.text
    assert text.encode("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)


@pytest.mark.parametrize("models", [{}, {"lamp ensemble": {}}])
def test_without_a_test(models):
    given = documents(rows=0)
    given["metrics"] |= {"models": models, "importance": [], "notes": {}}
    given["figures"] = {"curves.png": b"\x89PNG"}
    read = Read(page(**given))
    assert "67 for validation; no test" in read.text
    assert "Metrics" not in read.text
    assert "Learning curves" in read.text


def test_of_ten_thousand_columns_some_are_listed():
    given = documents()
    given["columns"] = [(f"c{k}", "number", 1, "0 to 1") for k in range(10_000)]
    given["config"]["notes"] = [f"note {k}" for k in range(10_000)]
    text = page(**given)
    assert f"The first {MOST_ROWS} are listed" in text
    assert f"and {10_000 - MOST_ROWS:,} more, in config.json" in text
    assert f"c{MOST_ROWS}" not in text
    assert len(text) < 200_000
