"""Tables with very many columns: the work of each step grows with the columns, and no faster."""

import sys
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch

from lamp.replicas import population
from lamp.tables import Preprocessing, cells, dates, importance, kinds, numbers, plain, preprocessing, train
from lamp.tables.effort import WIDE_EPOCHS, Shape, allotment, effort_for
from lamp.tables.few_lines import by_reason
from lamp.tables.groups import Group
from lamp.tables.importance import importances
from lamp.tables.model import TableModel
from lamp.tables.planning import Request, plan_training

ROWS, FEW, MANY = 60, 100, 200
MOST = 2.3  # times the work for twice the columns


def mixed(columns):
    """A table with so many columns of all kinds, and a target."""
    draw = np.random.default_rng(0)
    days = np.datetime64("2015-01-01") + draw.integers(0, 3000, ROWS)
    written = [
        lambda: [f"{x:.4g}" for x in draw.normal(size=ROWS)],
        lambda: draw.integers(0, 99, ROWS).astype(str).tolist(),
        lambda: ["" if x < -1 else f"{x:.3f}" for x in draw.normal(size=ROWS)],
        lambda: [f"w{x}" for x in draw.integers(0, 5, ROWS)],
        lambda: [" ".join(draw.choice(["red", "old", "car"], 4)) for _ in range(ROWS)],
        lambda: days.astype(str).tolist(),
        lambda: [f"{day.astype(object):%d/%m/%Y}" for day in days],
        lambda: [f"${x:,.2f}" for x in draw.uniform(1, 99_999, ROWS)],
        lambda: [f"{x:.2f}".replace(".", ",") for x in draw.uniform(0, 999, ROWS)],
        lambda: ["same"] * ROWS,
        lambda: [str(x) for x in draw.permutation(ROWS)],
        lambda: draw.choice(["yes", "no"], ROWS).tolist(),
        lambda: ["soon", *days[1:].astype(str).tolist()],
        lambda: ["broken", *[f"{x:.3g}" for x in draw.normal(size=ROWS - 1)]],
        lambda: [f"{day.astype(object):%Y%m%d}" for day in days],
        lambda: [f"{x:.2e}" for x in draw.normal(size=ROWS)],
        lambda: [f"({x:,.2f})" if x > 5_000 else f"{x:,.2f}" for x in draw.uniform(1, 9_999, ROWS)],
        lambda: [f"{x} h {y} min" for x, y in draw.integers(0, 60, (ROWS, 2))],
        lambda: [f"{x}.0" if x % 2 else f"w{x % 8}" for x in draw.integers(0, 20, ROWS)],
        lambda: ["#REF!"] * ROWS,
    ]
    table = {f"x{k}": written[k % len(written)]() for k in range(columns)}
    return pl.DataFrame({**table, "y": draw.choice(["in", "out"], ROWS)})


def counted(monkeypatch, call):
    """What a call returns, its calls of functions, and the columns of all tables that polars was asked about."""
    work, lazy, names = Counter(), pl.DataFrame.lazy, vars(pl.DataFrame)["columns"]

    def wide(frame):
        work["columns"] += frame.width
        return lazy(frame)

    def listed(frame):
        work["columns"] += frame.width
        return names.fget(frame)

    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "lazy", wide)
        patched.setattr(pl.DataFrame, "columns", property(listed, names.fset))
        sys.setprofile(lambda _, event, __: work.update([event.removeprefix("c_")]) if "call" in event else None)
        try:
            return call(), work
        finally:
            sys.setprofile(None)


@pytest.fixture
def in_groups(monkeypatch):
    """Few columns are read together, so that there are many groups of them."""
    monkeypatch.setattr(cells, "AT_A_TIME", 10 * ROWS)
    monkeypatch.setattr(plain, "AT_A_TIME", 10 * ROWS)
    monkeypatch.setattr(preprocessing, "AT_A_TIME", 10 * ROWS)


def steps(tmp_path, monkeypatch, columns):
    """{step: its work} for a table with so many columns."""
    frame = mixed(columns)
    frame.write_csv(tmp_path / "t.csv")
    found = {}

    def run(step, call):
        made, found[step] = counted(monkeypatch, call)
        return made

    plan = run("plan", lambda: plan_training(Request(tmp_path / "t.csv", "y", seconds=20.0)))
    x = run("transform", lambda: plan.preprocessing.transform(frame.drop("y")))
    run("save", lambda: Preprocessing.from_json(plan.preprocessing.to_json()))
    shape = Shape(3, 1)
    networks = population(shape.build(x.shape[1], 2), range(2))
    model = TableModel(plan.preprocessing, plan.target, [Group(networks, shape)])
    run("importance", lambda: importances(model, x, plan.truth))
    return found


def test_the_work_grows_with_the_columns(tmp_path, monkeypatch, in_groups):
    torch.manual_seed(0)
    steps(tmp_path, monkeypatch, FEW)  # what is kept from the first call on
    few, many = (steps(tmp_path, monkeypatch, columns) for columns in (FEW, MANY))
    ratios = {(step, what): many[step][what] / few[step][what] for step in few for what in few[step]}
    assert {key: ratio for key, ratio in ratios.items() if ratio > MOST} == {}
    assert few["plan"]["call"] > 100 * FEW  # it counts
    assert few["plan"]["columns"] > FEW


def test_no_expression_of_polars_is_evaluated_per_column(tmp_path, monkeypatch):
    calls, collect = Counter(), pl.LazyFrame._collect_eager

    def evaluations(columns):
        calls.clear()
        frame = mixed(columns)
        frame.write_csv(tmp_path / "t.csv")
        plan_training(Request(tmp_path / "t.csv", "y", seconds=20.0)).preprocessing.transform(frame.drop("y"))
        return calls.total()

    monkeypatch.setattr(pl.LazyFrame, "_collect_eager", lambda *a, **b: (calls.update([1]), collect(*a, **b))[1])
    evaluations(FEW)  # what is kept from the first call on
    few, many = evaluations(FEW), evaluations(FEW + 20 * 50)  # 50 more of each kind
    assert few > FEW, "it counts"
    assert many - few < 50, "fewer than the columns of a kind"


def test_columns_are_transformed_together_as_alone(monkeypatch):
    frame = mixed(MANY)
    known, reads = Preprocessing().fit(frame, target="y"), Counter()
    for module, name in ((numbers, "parsed"), (dates, "read")):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, f=whole, n=name: (reads.update([n]), f(*given))[1])
    x = known.transform(frame)
    assert max(reads.values()) <= 6, "one call per form, however many columns"
    alone = [Preprocessing([column]).transform(frame.select(column.name)) for column in known.used]
    assert torch.equal(x, torch.cat(alone, 1))


def test_a_call_per_column_on_the_whole_table_is_found(monkeypatch):
    frames = [mixed(columns) for columns in (FEW, MANY)]
    few, many = (counted(monkeypatch, lambda f=f: [f.select(name) for name in f.columns])[1] for f in frames)
    assert many["columns"] > 3.5 * few["columns"]


def test_columns_left_out_for_one_reason_share_a_line():
    table = {f"x{k}": ["same"] * 30 for k in range(50)} | {"u": [""] * 30, "v": ["a", "b", "c"] * 10}
    decisions = [each for each in kinds.decide(pl.DataFrame(table), "") if each.kind == "left out"]
    assert by_reason(decisions) == ["x0, x1, x2, ... (50 in all): constant: same", "u: all values are missing"]


def test_many_remarks_that_differ_in_numbers_share_a_line():
    table = {f"x{k}": [f"${k},{n * n:03}" for n in range(30)] for k in range(1, 41)}
    table |= {f"r{k}": ["#REF!"] * (29 - k) + [""] * (k + 1) for k in range(20)} | {"u": ["1 kg", "2 kg", "3"] * 10}
    decisions = kinds.decide(pl.DataFrame(table), "")
    assert by_reason(decisions) == [
        "x1, x2, x3, ... (40 in all; values of the first): '$1,000' is read as 1000 but may mean 1 (--decimal x1=, "
        "reads 1); in $",
        "r0, r1, r2, ... (20 in all; values of the first): 29 cells with a spreadsheet's error, '#REF!', count as "
        "missing (--missing r0=none takes them for words); all values are missing",
        "u: in kg, 10 values without it",
    ]
    assert len(by_reason(decisions[:4])) == 4, "few are told one by one"


def test_remarks_on_many_columns_of_another_table_share_a_line():
    frame = pl.DataFrame({f"x{k}": [str(k + n * n) for n in range(30)] for k in range(300)})
    notes, known = [], Preprocessing().fit(frame)
    known.transform(frame.select(pl.when(pl.arange(0, 30) > 3).then(pl.all()).name.keep()), notes)
    assert notes == [
        "x0, x1, x2, ... (300 in all; values of the first): 4 missing values, although training had none: replaced by "
        "the median, 210.5"
    ]


def test_the_work_of_a_group_is_that_of_one_member():
    shape = Shape(3, 1)
    group = Group(population(shape.build(7, 2), range(5)), shape)
    assert group.work == shape.weights(7, 2) + 3 + 2  # and the biases
    assert importance._CutGroup(group, 7).other_work == 5 * (3 * 2 + 3 + 2)


def test_few_epochs_are_the_least_where_inputs_outnumber_rows():
    effort = effort_for(300, 50_000, 2, 24, 2.0)
    assert allotment(effort, [1.0], 0.5, 300).epochs == 60
    assert allotment(effort, [1.0], 0.5, 300, wide=True).epochs == WIDE_EPOCHS
    assert allotment(effort, [1e-4], 0.5, 300, wide=True) == allotment(effort, [1e-4], 0.5, 300)


def test_that_few_columns_of_many_were_measured_stands_in_the_report(tmp_path):
    draw = np.random.default_rng(0)
    table = {f"x{k}": draw.normal(size=90).round(3) for k in range(200)} | {"y": draw.choice(["in", "out"], 90)}
    pl.DataFrame(table).write_csv(tmp_path / "t.csv")
    plan = plan_training(Request(tmp_path / "t.csv", "y", seconds=1.0, with_peers=False))
    outcome = train.train(plan, progress=False)
    train.write(outcome, tmp_path / "model", {})
    said = f"importance is measured for the {len(outcome.importances)} columns with the largest weights, of 200"
    assert said in (tmp_path / "model" / "config.json").read_text()
    assert said in (tmp_path / "model" / "report.html").read_text()
