"""report.html: what a training has come to, on one page that needs nothing else, neither files nor a network.

Names come from the user's table. Every text becomes HTML in `_tag`, which escapes it, so that none of them is markup.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from lamp.printable import counted, printable, readable, shortened
from lamp.tables.descriptions import by_fifths, of_estimates
from lamp.tables.folder import CALIBRATION, CONFUSION, CURVES, IMPORTANCE, OURS, RESIDUALS
from lamp.tables.metrics import FIFTHS, Estimate

MOST_ROWS = 500  # columns, and remarks, that are listed
MOST_IMPORTANT = 20
LONGEST_NAME = 60  # characters of a name

# In the order of the page: {file: (heading, what the figure shows)}
FIGURES = {
    RESIDUALS: (
        "Predictions and errors",
        "Left: the true number of each row against the predicted one, around the line where both are equal, with "
        "the band of the 90 % interval. Right: the share of the rows that lie within it, by size of the prediction.",
    ),
    CALIBRATION: (
        "Calibration",
        "The share of correct rows by the probability of the predicted class. On the dashed line, rows of which "
        "the model is 80 % sure are right in 80 % of the cases. Below: how many rows have that probability.",
    ),
    CONFUSION: (
        "Confusion",
        "The rows of each true class (a row of the matrix) by predicted class (a column of it). Those on the "
        "diagonal are correct.",
    ),
    IMPORTANCE: (
        "Importance of the columns",
        "How much the loss rises when a column's values are shuffled. Columns that say the same share "
        "their importance, because one makes up for the other.",
    ),
    CURVES: (
        "Learning curves",
        "The loss of each network of the ensemble per epoch, on training rows and on rows that were held out.",
    ),
}

STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#5a5a5a;--page:#fff;--card:#f5f6f8;--line:#d9dce1;--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8e8;--soft:#a9adb3;--page:#16181b;--card:#212429;--line:#3a3f46;
--accent:#6cb8ea}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:58rem;padding:1.2rem 1rem 3rem;background:var(--page);color:var(--ink);
font:1rem/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:.4rem 0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
p{margin:.5rem 0}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
.card{background:var(--card);border-left:4px solid var(--accent);border-radius:6px;padding:.7rem 1rem;margin:1rem 0}
.card ul{margin:.2rem 0}
ul{padding-left:1.2rem}
li{margin:.3rem 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;padding:.2rem 0 .5rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .7rem .4rem 0;border-bottom:1px solid var(--line)}
th{overflow-wrap:normal}
tbody th{min-width:6.5rem}
.numbers th+th,.numbers td{text-align:right;font-variant-numeric:tabular-nums;padding-left:.9rem}
.numbers td{white-space:nowrap}
.numbers tbody th{position:sticky;left:0;background:var(--page)}
.numbers td small{display:block;color:var(--soft)}
.numbers .ours{font-weight:600}
.columns td:first-child{min-width:7rem}
.columns td:nth-child(2){white-space:nowrap}
.columns td:last-child{min-width:14rem}
.out{color:var(--soft)}
figure{margin:1rem 0}
img{display:block;max-width:min(100%,44rem);height:auto;background:#fff;border-radius:6px;
padding:.4rem;margin:0 auto .4rem}
pre{background:var(--card);border-radius:6px;padding:.7rem .9rem;overflow-x:auto;font-size:.9rem;overflow-wrap:normal}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.25rem 1rem;margin:.5rem 0}
dt{color:var(--soft)}
dd{margin:0}
@media (max-width:36rem){dl{grid-template-columns:1fr}dd{margin-bottom:.5rem}}
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # of what a browser may load: nothing else


class _Html(str):
    """A text that is HTML already."""


def _tag(name: str, *children: str, **attributes: str) -> _Html:
    """An HTML element; children that are not HTML are made printable and escaped, attributes too."""
    inner = "".join(each if isinstance(each, _Html) else escape(printable(each)) for each in children)
    given = "".join(f' {key.rstrip("_")}="{escape(printable(value))}"' for key, value in attributes.items() if value)
    return _Html(f"<{name}{given}>{inner}</{name}>")


def _image(png: bytes, alt: str) -> _Html:
    data = base64.b64encode(png).decode()
    return _Html(f'<img alt="{escape(printable(alt))}" src="data:image/png;base64,{data}">')


def _joined(parts: Iterable[str]) -> _Html:
    return _Html("\n".join(parts))


def page(
    what: str,
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    columns: Sequence[tuple[str, str, int, str]],
    figures: Mapping[str, bytes],
    commands: Mapping[str, str],
) -> str:
    """The report as HTML; the same arguments give the same text.

    what             the task and the target, in words
    metrics, config  the contents of metrics.json and config.json
    columns          name, kind, number of inputs and a remark, for each column
    figures          {file name: PNG}
    commands         {purpose: command}
    """
    verdict = metrics.get("verdict", {"sentences": [], "advice": []})
    rows = f"{config['table']}: {config['training']:,} rows for training, {config['validation']:,} for validation"
    tested = f", {config['test']:,} for the test" if config["test"] else "; no test"
    body = [
        _tag("h1", what[:1].upper() + what[1:]),
        _tag("p", rows + tested, class_="soft"),
        _card("Verdict", verdict["sentences"]),
        _card("To try next", verdict["advice"]),
        *_of_metrics(metrics),
        *(_figure(name, figures[name], metrics) for name in FIGURES if name in figures),
        *_of_columns(columns),
        *_of_remarks(config["notes"]),
        *_of_training(config),
        *_of_use(commands),
    ]
    head = _joined(
        [
            _Html('<meta charset="utf-8">'),
            _Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            _Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            _tag("title", what),
            _Html(f"<style>{STYLE}</style>"),
        ]
    )
    page = _tag("html", _tag("head", head), _tag("body", _joined(filter(None, body))), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


# ---- parts of the page -----------------------------------------------------------------------------------------------
def _card(heading: str, lines: Sequence[str]) -> _Html:
    if not lines:
        return _Html()
    return _tag("div", _tag("strong", heading), _tag("ul", *(_tag("li", line) for line in lines)), class_="card")


def _of_metrics(metrics: Mapping[str, Any]) -> list[_Html]:
    models = {
        name: {metric: Estimate.from_dict(each) for metric, each in of.items()}
        for name, of in metrics["models"].items()
        if of
    }
    if OURS not in models:
        return []
    head = _tag("tr", _tag("th", ""), *(_tag("th", _peer(name), class_="ours" * (name == OURS)) for name in models))
    lines = []
    for metric in (each for each in models[OURS] if each not in FIFTHS):
        there = [name for name, of in models.items() if metric in of]
        texts = dict(zip(there, of_estimates(metric, [models[name][metric] for name in there]), strict=True))
        cells = [
            _tag("td", value, _tag("small", interval) if interval else _Html(), class_="ours" * (name == OURS))
            for name in models
            for value, interval in [texts.get(name, ("", ""))]
        ]
        lines.append(_tag("tr", _tag("th", metric, scope="row"), *cells))
    seconds = [_tag("td", f"{metrics['seconds'][name]:.1f}", class_="ours" * (name == OURS)) for name in models]
    lines.append(_tag("tr", _tag("th", "seconds", scope="row"), *seconds))
    caption = _tag(
        "caption", f"On {metrics['rows']:,} {metrics['measured_on']} rows; below each value, its 95 % interval."
    )
    table = _tag("table", caption, _tag("thead", head), _tag("tbody", *lines), class_="numbers")
    notes = [_tag("p", f"{_peer(name)}: {note}", class_="soft") for name, note in metrics["notes"].items()]
    if models[OURS].keys() >= set(FIFTHS):
        shares = by_fifths(models[OURS])
        said = f"By fifths of the prediction, from low to high, the 90 % intervals hold {shares} of the rows."
        notes.append(_tag("p", said, class_="soft"))
    said = "The 95 % intervals are over these rows. Another split or another seed changes the numbers too."
    notes.append(_tag("p", said, class_="soft"))
    return [_tag("h2", "Metrics"), _tag("div", table, class_="wide"), *notes]


def _peer(name: str) -> str:
    return name if name == OURS else f"scikit-learn's {name}"


def _figure(name: str, png: bytes, metrics: Mapping[str, Any]) -> _Html:
    heading, caption = FIGURES[name]
    numbers = _importance(metrics["importance"]) if name == IMPORTANCE else _Html()
    return _joined([_tag("h2", heading), _tag("figure", _image(png, caption), _tag("figcaption", caption)), numbers])


def _importance(found: Sequence[Mapping[str, Any]]) -> _Html:
    shown = found[:MOST_IMPORTANT]
    names = shortened([each["column"] for each in shown], LONGEST_NAME)
    lines = [
        _tag("tr", _tag("th", name, scope="row"), _tag("td", readable(each["mean"])), _tag("td", readable(each["std"])))
        for name, each in zip(names, shown, strict=True)
    ]
    head = _tag("tr", *(_tag("th", name) for name in ("column", "rise of the loss", "std")))
    few = f"the {len(shown)} most important of {len(found):,} columns"
    title = f"In numbers: {few}" if len(found) > len(shown) else "In numbers"
    table = _tag("table", _tag("thead", head), _tag("tbody", *lines), class_="numbers")
    return _tag("details", _tag("summary", title), _tag("div", table, class_="wide"))


def _of_columns(columns: Sequence[tuple[str, str, int, str]]) -> list[_Html]:
    shown = columns[:MOST_ROWS]
    names = shortened([name for name, *_ in shown], LONGEST_NAME)
    lines = [
        _tag(
            "tr",
            *(_tag("td", text) for text in (name, kind, f"{inputs:,}" if inputs else "", remark)),
            class_="" if inputs else "out",
        )
        for name, (_, kind, inputs, remark) in zip(names, shown, strict=True)
    ]
    used = sum(inputs > 0 for _, _, inputs, _ in columns)
    said = f"{counted(used, 'column')} used, {len(columns) - used:,} left out."
    if len(columns) > len(shown):
        said += f" The first {len(shown):,} are listed; all are in config.json."
    head = _tag("tr", *(_tag("th", name) for name in ("column", "kind", "inputs", "what was learned, or why left out")))
    table = _tag("table", _tag("caption", said), _tag("thead", head), _tag("tbody", *lines), class_="columns")
    return [_tag("h2", "Columns"), _tag("div", table, class_="wide")]


def _of_remarks(notes: Sequence[str]) -> list[_Html]:
    if not notes:
        return []
    more = [f"and {len(notes) - MOST_ROWS:,} more, in config.json"] if len(notes) > MOST_ROWS else []
    lines = [_tag("li", line) for line in [*notes[:MOST_ROWS], *more]]
    return [_tag("h2", "Remarks"), _tag("ul", *lines)]


def _of_training(config: Mapping[str, Any]) -> list[_Html]:
    sweep, versions = config["sweep"], config["versions"]
    stopped = f" ({sweep['stopped']})" if sweep["stopped"] else ""
    facts = {
        "networks": "; ".join(config["networks"]),
        "trained for": f"{counted(config['epochs'], 'epoch')} ({config['stopped']})",
        "settings tried": f"{sweep['settings']:,}{stopped}",
        "learning rates": _listed(config["member_settings"], "lr"),
        "weight decays": _listed(config["member_settings"], "weight_decay"),
        "budget and time": f"{config['time_budget']:g} s, took {config['seconds']:.1f} s",
        "seed": str(config["seed"]),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [
        _tag("h2", "How it was trained"),
        _tag("dl", *(part for name, text in facts.items() for part in (_tag("dt", name), _tag("dd", text)))),
    ]


def _listed(settings: Sequence[Mapping[str, float]], name: str) -> str:
    return ", ".join(dict.fromkeys(f"{each[name]:.3g}" for each in settings if name in each))


def _of_use(commands: Mapping[str, str]) -> list[_Html]:
    lines = [part for purpose, command in commands.items() for part in (_tag("p", purpose), _tag("pre", command))]
    return [_tag("h2", "How to use it"), *lines]
