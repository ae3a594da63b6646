"""What a target, a column and a metric are, in words for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lamp.printable import readable, rounded
from lamp.tables.column import Column
from lamp.tables.columns import BooleanColumn, CategoryColumn, DateColumn, LeftOut, NumberColumn
from lamp.tables.dates import described
from lamp.tables.kinds import listed
from lamp.tables.metrics import FIFTHS, Estimate
from lamp.tables.targets import Target

PERCENT = ("accuracy", "balanced accuracy", "coverage", *FIFTHS)  # fractions, shown in percent

SHOWN = 5  # classes and words that are named


def of_target(target: Target) -> str:
    """The task and the target: "regression of price, in EUR"."""
    if target.is_classes:
        first = listed(target.classes[:SHOWN]) + ", ..." * (len(target.classes) > SHOWN)
        return f"classification of {target.name}: {len(target.classes)} classes ({first})"
    return f"regression of {target.name}" + (f", in {target.unit}" if target.unit else "")


def of_column(column: Column) -> str:
    """What preprocessing learned from a column, in a few words."""
    if isinstance(column, NumberColumn):
        gaps = f"; missing values become {_bound(column.median)}" if column.indicator else ""
        curve = "; asinh" if column.curve else ""
        unit = f" {column.unit}" if column.unit else ""
        comma = "; decimal comma" if column.decimal == "," else ""
        return f"{_bound(column.low)} to {_bound(column.high)}{unit}{comma}{curve}{gaps}"
    if isinstance(column, CategoryColumn):
        rare = f"; {column.rare:,} rare words share an input" if column.rare else ""
        return listed([repr(level) for level in column.levels], SHOWN) + rare + "; some missing" * column.missing
    if isinstance(column, DateColumn):
        return (
            f"written as {described(column.format)}" if column.format else "dates"
        ) + "; some missing" * column.indicator
    if isinstance(column, LeftOut):
        return column.why
    return "yes or no" + "; some missing" * column.indicator if isinstance(column, BooleanColumn) else ""


def _bound(number: float) -> str:
    """A number as text, without trailing zeros."""
    text = readable(number)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def by_fifths(estimates: Mapping[str, Estimate]) -> str:
    """The coverage in each fifth of the rows by prediction: "98, 93, 96, 92, 85 %"."""
    return ", ".join(f"{100 * estimates[name].value:.0f}" for name in FIFTHS) + " %"


def of_estimates(metric: str, estimates: Sequence[Estimate]) -> list[tuple[str, str]]:
    """The value and the interval of a metric, for each of several models, in as many digits as the narrowest interval
    leaves."""
    scale, usual, unit = (100.0, 1, " %") if metric in PERCENT else (1.0, 3, "")
    margin = min((scale * each.margin for each in estimates if each.margin), default=0.0)

    def text(number: float) -> str:
        return rounded(scale * number, margin, usual)

    def value(number: float) -> str:
        return text(number) + unit if math.isfinite(number) else "-"

    def interval(low: float | None, high: float | None) -> str:
        return "" if low is None or high is None else f"{text(low)} {'-' if low >= 0 else 'to'} {text(high)}{unit}"

    return [(value(each.value), interval(each.low, each.high)) for each in estimates]
