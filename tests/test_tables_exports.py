"""Exported files take raw columns and predict what the model predicts."""

import contextlib
import datetime
import json
import runpy
import warnings

import numpy as np
import polars as pl
import pytest
import torch

from lamp.errors import DataError, ExportError
from lamp.tables import parsing
from lamp.tables.cells import Cells
from lamp.tables.export import KINDS, export, onnx_file, probe, reader
from lamp.tables.export.python_file import learned
from lamp.tables.prediction_intervals import PredictionIntervals
from tests.cases.table_models import model_of, of_groups, people, prices

DAY = 86_400_000_000  # microseconds


def training(seed, rows=200):
    """Columns of every kind, drawn anew for each seed: with or without gaps, long tails, rare words, times of day."""
    random = np.random.default_rng(seed)

    def with_gaps(values, share=None):
        gaps = random.random(rows) < (random.choice([0.0, 0.2]) if share is None else share)
        return [None if gap else value for gap, value in zip(gaps, values, strict=True)]

    def times(low, high, unit=DAY):
        days = random.integers(low, high, rows) * unit
        return (days + random.integers(0, DAY, rows) * random.integers(0, 2)).astype("datetime64[us]").tolist()

    codes = random.choice([1, 2, 3, -999], rows).astype(float)
    return pl.DataFrame(
        {
            "plain": with_gaps(random.normal(size=rows)),
            "far": with_gaps([*random.normal(size=rows - 1), 1e6], 0.0),
            "large": (1e7 + random.normal(size=rows)),
            "answer": with_gaps(random.choice(["yes", "no"], rows).tolist()),
            "flag": with_gaps((random.random(rows) < 0.5).tolist()),
            "truth": with_gaps(random.choice(["True", "False"], rows).tolist()),
            "word": with_gaps(random.choice(["ä", "b", "c d", 'e"f'], rows).tolist()),
            "rare": random.choice(["x", "y", *(f"r{k}" for k in range(40))], rows, p=[0.3, 0.3, *[0.01] * 40]).tolist(),
            "zip": random.choice(["007", "12", "3.0"], rows).tolist(),
            "day": with_gaps([each.date() for each in times(-25_000, 60_000)]),
            "moment": with_gaps(times(15_000, 20_000)),
            "clock": with_gaps([each.time() for each in times(0, 1)]),
            "text date": with_gaps([each.strftime("%d.%m.%y") for each in times(0, 20_000)]),
            "code": codes,
            "y": random.choice(["up", "down"], rows).tolist(),
        }
    )


def asked(model, seed, rows=200):
    """Rows with gaps, words that mean missing, and words that are new."""
    frame = probe.rows_for(model, rows, seed)
    random = np.random.default_rng(seed)
    frame = frame.with_columns(code=pl.Series(random.choice([1.0, 2.0, -999.0], rows)))
    for name in ("word", "rare", "zip", "answer"):
        words = random.choice(np.array(["", "NA", "?", "new", "r1", "12", "3", "3.0"], object), rows)
        words = words if name != "answer" else random.choice(np.array(["", "n/a", "1", "Y", "false"], object), rows)
        frame = frame.with_columns(
            pl.when(pl.Series(random.random(rows) < 0.2)).then(pl.Series(words)).otherwise(name).alias(name)
        )
    return frame


@pytest.fixture(scope="module", params=range(3))
def case(request, tmp_path_factory):
    frame = training(request.param)
    model = of_groups(frame, "y", ("down", "up"))
    model.temperature = 0.8
    by_name = {column.name: column for column in model.preprocessing.columns}
    assert by_name["far"].curve is not None
    by_name["code"].missing_words.append("-999")
    return model, asked(model, request.param), tmp_path_factory.mktemp("exports")


def test_an_onnx_file_takes_raw_columns(case):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model, frame, place = case
    path, recipe = export(model, "onnx", place / "m.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {each.name: each.type for each in session.get_inputs()} == {
        column.name: "tensor(string)" if column.kind in ("category", "boolean") else "tensor(double)"
        for column in model.preprocessing.used
    }
    given = {}
    for column in model.preprocessing.used:
        series = frame[column.name]
        if column.kind == "number":
            values = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        elif column.kind == "date":
            at = series.cast(pl.Int64) / 1000 if series.dtype == pl.Time else series.cast(pl.Int64)
            values = (at.cast(pl.Float64) / DAY).fill_null(float("nan")).to_numpy()
        else:
            values = series.fill_null("").str.strip_chars().to_numpy().astype(object)
        given[column.name] = values[:, None]
    label, p = session.run(["prediction", "probabilities"], given)
    expected = model.predict(frame, unknown=None).mean.numpy()
    np.testing.assert_allclose(p, expected, atol=2e-5)
    assert (label == np.array(["down", "up"])[expected.argmax(1)]).mean() > 0.99
    assert {each["column"] for each in json.loads(recipe.read_text())["columns"]} == set(given)


def test_a_python_file_takes_raw_columns(case):
    model, frame, place = case
    path, _ = export(model, "python", place / "m.py")
    predict = runpy.run_path(str(path))["predict"]
    expected = model.predict(frame).mean.numpy()
    np.testing.assert_allclose(predict(frame.to_dict(as_series=False)), expected, atol=2e-5)
    np.testing.assert_allclose(predict(frame), expected, atol=2e-5)
    np.testing.assert_allclose(predict(frame.to_dicts()), expected, atol=2e-5)


def test_the_features_of_a_python_file_are_those_of_the_model(case):
    model, frame, _ = case
    columns = {column.name: (column.kind, learned(column)) for column in model.preprocessing.used}
    found = reader.features(frame.to_dict(as_series=False), columns)
    np.testing.assert_allclose(found, model.preprocessing.transform(frame), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["python", "onnx"])
def test_numbers_keep_their_digits(kind, tmp_path):
    model = of_groups(prices(), "close")
    model.target.mean = 1e6
    (path, _), frame = export(model, kind, tmp_path / f"m.{'py' if kind == 'python' else kind}"), prices()
    if kind == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, onnx_file.feeds(model, frame))
    else:
        found = runpy.run_path(str(path))["predict"](frame)
    np.testing.assert_allclose(found, model.predict(frame).mean, rtol=1e-11)


@pytest.mark.parametrize("target", ["y", "close"])
def test_torch_networks_of_all_groups(target, tmp_path):
    model = of_groups(people(), "y", ("down", "up")) if target == "y" else of_groups(prices(), "close")
    frame = people() if target == "y" else prices()
    path, _, recipe = export(model, "torch", tmp_path / "m.py")
    inputs = json.loads(recipe.read_text())["inputs"]
    x = model.preprocessing.transform(frame.drop(target)).double()
    own = x * torch.tensor([each["scale"] for each in inputs]) + torch.tensor([each["mean"] for each in inputs])
    with torch.no_grad():
        found = runpy.run_path(str(path))["load"]()(own.float())
    expected = model.of_inputs(x.float()).mean
    torch.testing.assert_close(found.double().reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


# ---- values that do not fit ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", "soup", "column 'age': pass a number, not 'soup'"),
        ("age", float("inf"), "column 'age': inf is not finite"),
        ("member", "perhaps", "column 'member': pass yes or no, not 'perhaps'"),
        ("since", "3rd of May", "column 'since': pass a datetime, not '3rd of May'"),
        ("since", 7, "column 'since': pass a datetime, not 7"),
    ],
)
def test_a_python_file_names_the_column(column, value, said, tmp_path):
    path, _ = export(of_groups(people(), "y", ("down", "up")), "python", tmp_path / "m.py")
    predict = runpy.run_path(str(path))["predict"]
    row = people().to_dicts()[0]
    predict([row])
    with pytest.raises(ValueError, match="column") as caught:
        predict([{**row, column: value}])
    assert str(caught.value) == said
    with pytest.raises(KeyError, match=f"lacks these columns: {column}"):
        predict([{name: each for name, each in row.items() if name != column}])


def test_dates_in_a_python_file(tmp_path):
    frame = people()
    path, _ = export(of_groups(frame, "y", ("down", "up")), "python", tmp_path / "m.py")
    predict, row = runpy.run_path(str(path))["predict"], frame.to_dicts()[0]
    day = datetime.date.fromisoformat(row["since"])
    midnight = datetime.datetime(day.year, day.month, day.day, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    found = predict([{**row, "since": each} for each in (row["since"], day, np.datetime64(day), midnight)])
    assert (found == found[0]).all()


@pytest.mark.parametrize("zoned", [False, True])
def test_a_python_file_tells_of_times_in_another_zone(zoned, tmp_path):
    """It reads what the model reads, and says what the model says."""
    zone = "+02:00" if zoned else ""
    since = pl.Series("since", [f"{day}T14:{k:02}{zone}" for k, day in enumerate(people()["since"])])
    model = of_groups(people().with_columns(since), "y", ("down", "up"))
    predict = runpy.run_path(str(export(model, "python", tmp_path / "m.py")[0]))["predict"]
    row, days = people().to_dicts()[0], ["2021-02-03T14:30", "2021-02-03T14:30-05:00", "2021-02-03"]
    rows, notes = [{**row, "since": each} for each in days], []
    expected = model.predict(pl.DataFrame(rows), notes).mean
    with pytest.warns(UserWarning, match="time zone") as said:
        found = predict(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert [str(each.message) for each in said] == [note for note in notes if "time zone" in note]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict([rows[1] if zoned else rows[0], rows[2]])


# {column: (training's texts, other texts)}; "" is a gap
TEXTS = {
    "iso": (["2021-02-03", "2020-12-31T23:30:05Z", "2021-07-01 14:30+09:00", "2021-03-03T24:00"],
            ["20210203", "2021-W05-3", "2021-2-3", "Wed, 2021-02-03", "2021-02-30", "2021-02-03 25:00", "14:30", "x"]),
    "clock": (["14:30", "2:05 pm", "09:15:20.5", "24:00"], ["7h30", "12 am", "13 pm", "2021-02-03", "14"]),
    "compact": (["20210203", "20201231"], ["20210203T1430", "202102031430Z", "20211301", "2021-02-03"]),
    "week": (["2021-W05", "2020-W53"], ["2021-W53", "2021-W05-3", "2021-W1"]),
    "weekday": (["2021-W05-3", "2020-W01-7"], ["2021-W05-8", "2021-W05"]),
    "quarter": (["2021-Q1", "2020-Q4"], ["2021-Q5", "2021Q1"]),
    "Q": (["Q1 2021", "Q4 2020"], ["q2 2020", "Q2/2020"]),
    "month": (["2021-03", "2020-12"], ["2021-13", "2021-03-01"]),
    "spanish": (["3 de marzo de 2021", "14 enero 2020"], ["3 mars 2021", "31 febrero 2021", "3. marzo 2021"]),
    "german": (["3. März 2021", "14. Jan 2020 14:30 Uhr", "Mi, 3. Februar 2021"], ["3. Marz 2021", "3.3.2021"]),
    "english": (["March 3, 2021 at 2:30 PM EST", "Sept 14, 2020"], ["Mar 3 2021", "March 32, 2021", "3 Mar 2021"]),
    "unix": (["Wed Mar 03 14:30:00 UTC 2021", "Thu Dec 31 23:59:59 CET 2020"], ["Mar 03 2021"]),
    "short": (["13.02.21", "24.12.69", "01.01.70"], ["13/02/21", "13.02.2021", "1.2.21 7:15"]),
    "us": (["3/13/2021 2:30 PM", "12/1/2020"], ["13/3/2021", "3/13/2021 14:30:15.123456789"]),
    "scripts": (["\u0662\u0660\u0662\u0661-\u0660\u0663-\u0660\u0664", "2021-12-31"], ["2021\u221212-31"]),
    "number": (["1.5", "-2e3", ".5", "7."], ["007", "1_0", " 3 ", "0x10", "1,5", "12 kg", "inf", "soup"]),
    "dollars": (["$1,020", "$770"], ["770", "$5k"]),
    "word": (["\u00e4", "3.0", "zw\u200bei"], ["a\u0308", "3", "zwei", "A", "new"]),
    "truth": (["True", "FALSE"], ["true", "tRUE", "yes"]),
    "answer": (["ja", "nein"], ["JA", "nein ", "yes", "oui", "maybe"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A model of all these columns, and the names in its exported Python file."""
    rows = 60
    frame = pl.DataFrame({name: [own[k % len(own)] for k in range(rows)] for name, (own, _) in TEXTS.items()})
    model = of_groups(frame.with_columns(y=pl.Series(["p", "q"] * (rows // 2))), "y", ("p", "q"))
    path, _ = export(model, "python", tmp_path_factory.mktemp("texts") / "m.py")
    return model.preprocessing, runpy.run_path(str(path))


@pytest.mark.parametrize("name", TEXTS)
def test_a_python_file_reads_each_text_as_the_model_does(texts, name):
    """What the model refuses, the file refuses too. Numbers in other notations are left to the model."""
    preprocessing, file = texts
    column = next(each for each in preprocessing.columns if each.name == name)
    kind, learned = file["COLUMNS"][name]
    own, others = TEXTS[name]
    for text in [*own, *others, "", " NA "]:
        expected = None
        with contextlib.suppress(DataError):
            (expected,) = column.transform([column], [Cells(pl.Series(name, [text]))], [[]]).T
        assert expected is not None or text not in own
        if kind == "number" and not learned["text"] and text not in ("", " NA "):
            expected = None
        if expected is None:
            with pytest.raises(ValueError, match=f"column {name!r}"):
                file[kind](name, [text], **learned)
        else:
            np.testing.assert_allclose(file[kind](name, [text], **learned)[0], expected, rtol=1e-9, err_msg=text)


@pytest.mark.filterwarnings("ignore:.*time zone")  # which training named
def test_a_time_of_day_is_no_day(texts):
    _, file = texts
    moment = datetime.datetime(2021, 2, 3, 14, 30)
    clock, iso = (file["COLUMNS"][name][1] for name in ("clock", "iso"))
    np.testing.assert_array_equal(*(file["date"]("clock", [each], **clock) for each in (moment.time(), "14:30")))
    np.testing.assert_array_equal(*(file["date"]("iso", [each], **iso) for each in (moment, "2021-02-03 14:30")))
    with pytest.raises(ValueError, match="pass a time of day"):
        file["date"]("clock", [moment], **clock)
    with pytest.raises(ValueError, match="pass a datetime"):
        file["date"]("iso", [moment.time()], **iso)


def test_text_with_a_decimal_comma_is_not_misread(tmp_path):
    """A Python file does not read it; the model does."""
    frame = pl.DataFrame(
        {"a": [f"1.{k:03},5" for k in range(40)], "b": [float(k) for k in range(40)], "y": ["p", "q"] * 20}
    )
    model = of_groups(frame, "y", ("p", "q"))
    path, recipe = export(model, "python", tmp_path / "m.py")
    with pytest.raises(ValueError, match=r"column 'a': pass a number, not '1\.000'"):
        runpy.run_path(str(path))["predict"]({"a": ["1.000"], "b": [1.0]})
    assert "numbers" in json.loads(recipe.read_text())["columns"][0]["value"]


def test_dates_of_all_centuries_are_tried(tmp_path):
    """Random dates are kept to the years that dates can have."""
    frame = pl.DataFrame({"a": [datetime.date(1 + 240 * k, 2, 28) for k in range(40)], "y": ["p", "q"] * 20})
    assert export(of_groups(frame, "y", ("p", "q")), "python", tmp_path / "m.py")[0].exists()


def test_no_word_means_yes_and_no():
    yes, no = parsing.all_answers()
    assert not set(yes) & set(no)


def test_a_file_that_predicts_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "encoded", lambda x, of, lower, width: x)
    monkeypatch.setattr("lamp.tables.export.python_file.bins_of", lambda group, inputs: None)
    with pytest.raises((ExportError, ValueError)):
        export(of_groups(people(), "y", ("down", "up")), "python", tmp_path / "m.py")
    assert not (tmp_path / "m.py").exists()


def test_a_column_that_has_an_outputs_name(tmp_path):
    pytest.importorskip("onnx")
    model = of_groups(people().rename({"age": "prediction"}), "y", ("down", "up"))
    with pytest.raises(DataError, match="rename the column"):
        export(model, "onnx", tmp_path / "m.onnx")


@pytest.mark.parametrize("kind", ["onnx", "python", "torch"])
def test_exported_numbers_stay_within_the_targets_limits(tmp_path, kind):
    frame = prices()
    model = of_groups(frame, "close")
    free = model.predict(frame).mean
    low, high = free.quantile(0.3).item(), free.quantile(0.7).item()
    model.intervals = PredictionIntervals.of_one_width(0.5, low, high)
    predicted = model.table_of(model.predict(frame))
    assert torch.equal(torch.from_numpy(predicted["prediction"].to_numpy().copy()), free.clamp(low, high))
    assert (predicted["low"] <= predicted["prediction"]).all()
    assert (predicted["prediction"] <= predicted["high"]).all()
    path = export(model, kind, tmp_path / ("m.onnx" if kind == "onnx" else "m.py"))[0]
    columns = {name: frame[name].to_numpy() for name in ("open", "low", "high")}
    if kind == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {name: values[:, None] for name, values in columns.items()})
    elif kind == "python":
        got = runpy.run_path(str(path))["predict"](columns)
    else:
        with torch.no_grad():
            got = runpy.run_path(str(path))["load"]()(torch.tensor(np.stack(list(columns.values()), 1)).float())
    np.testing.assert_allclose(np.asarray(got).ravel(), predicted["prediction"], rtol=1e-5)


def test_no_two_files_share_a_recipe(tmp_path):
    model = model_of(prices(), "close")
    written = [export(model, kind, tmp_path / f"m{KINDS[kind]}")[-1] for kind in ("onnx", "torch", "safetensors")]
    assert len(set(written)) == 3
    assert all(path.exists() for path in written)
