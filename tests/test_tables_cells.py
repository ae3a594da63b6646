"""The cells of a column: each different one is read once, and together with other columns they are read as alone."""

import datetime
import random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from lamp.errors import DataError
from lamp.tables import Preprocessing, cells, kinds, numbers
from lamp.tables.cells import Cells, cells_of
from lamp.tables.conventions import Conventions
from lamp.tables.missing import as_text

WORDS = [
    "", " ", None, "NA", "None", "-", "a", " a ", "A", "Ko\u0308ln", "Köln", "yes", "no", "3", "3.0", "03", "1,020",
    "1.020", "0,5", "770", "$3,036.00", "$5", "5%", "(5)", "12 kg", "3k", "-999", "1e5", "2021-03-03", "03/04/2021",
    "13/04/21", "3 Mar 2021", "2:30 PM", "20210303", "9007199254740993",
]  # fmt: skip


def column(draw, rows):
    few = draw.sample(WORDS, draw.randint(1, 4))
    return [draw.choice(few) for _ in range(rows)]


def tables():
    """Tables of mixed columns, some of one form and some of several."""
    for seed in range(25):
        draw = random.Random(seed)
        rows = draw.choice([12, 30, 61])
        yield pl.DataFrame(
            {f"x{k}": column(draw, rows) for k in range(12)},
            schema=dict.fromkeys([f"x{k}" for k in range(12)], pl.String),
        )


def plan(frame):
    try:
        decisions = kinds.decide(frame, "", None, conventions := Conventions().settled(frame))
    except DataError as error:
        return str(error)
    made = Preprocessing().fit(kinds.typed(frame, decisions, conventions), decisions)
    return decisions, made.to_dict(), made.transform(frame, [], "gap").tolist()


def test_columns_read_together_are_read_as_alone(monkeypatch):
    together = [plan(frame) for frame in tables()]
    monkeypatch.setattr(cells, "AT_A_TIME", 1)
    assert [plan(frame) for frame in tables()] == together


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), min_size=1, max_size=9), min_size=1, max_size=4))
def test_cells(columns):
    found = cells_of(pl.Series(f"x{k}", column, dtype=pl.String) for k, column in enumerate(columns))
    for k, column in enumerate(columns):
        alone, each = Cells(pl.Series(f"x{k}", column, dtype=pl.String)), found[f"x{k}"]
        assert each.text.equals(alone.text)
        assert each.count.tolist() == alone.count.tolist()
        assert each.text.n_unique() == len(each.text)
        assert each.count.sum() == len(column) - each.at.null_count()
        assert each.rows(each.text).equals(alone.rows(alone.text), null_equal=True)
        assert each.words().equals(alone.words(), null_equal=True)
        assert each.rows(each.text).equals(as_text(each.series), null_equal=True)
        for mark in ".,":
            assert each.read(numbers.parsed, mark).equals(numbers.parsed(alone.text, mark), null_equal=True)


def test_each_text_is_parsed_once_with_each_mark(monkeypatch):
    draw, day, rows = random.Random(0), datetime.date(2021, 1, 1), 60
    written = [
        lambda: f"${draw.randint(1000, 99999):,}.00",
        lambda: f"{draw.randint(1, 900)} kg",
        lambda: (day + datetime.timedelta(draw.randint(0, 900))).strftime("%d/%m/%Y"),
        lambda: draw.choice(["red", "blue", "green"]),
        lambda: " ".join(draw.choice(["red", "blue", "green"]) for _ in range(9)),
    ]
    frame = pl.DataFrame({f"x{k}": [written[k % 5]() for _ in range(rows)] for k in range(50)})
    parsed, calls, parse = [0], [0], numbers.parsed

    def counting(text, decimal):
        parsed[0], calls[0] = parsed[0] + len(text), calls[0] + 1
        return parse(text, decimal)

    monkeypatch.setattr(numbers, "parsed", counting)
    conventions = Conventions().settled(frame)
    decisions = kinds.decide(frame, "", None, conventions)
    typed = kinds.typed(frame, decisions, conventions)
    assert [each.kind for each in decisions[:5]] == ["number", "number", "date", "category", "left out"]
    assert [typed[f"x{k}"].dtype for k in range(3)] == [pl.Float64, pl.Float64, pl.Datetime("us")]
    assert parsed[0] <= 2 * rows * frame.width
    assert calls[0] <= 4  # all columns together
