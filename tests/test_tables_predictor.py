"""`lamp.tables.load`: a trained folder in Python, from many threads, and behind a web service."""

import datetime
import importlib.util
import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import polars as pl
import pytest

import lamp
from lamp.errors import ArgumentError, DataError, DTypeError
from lamp.tables.predict import predict
from tests.cases.table_models import model_of, of_groups, people, prices, written


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return written(of_groups(people(), "y", ("down", "up")), tmp_path_factory.mktemp("m") / "people")


@pytest.fixture(scope="module")
def model(place):
    return lamp.tables.load(place)


def test_a_loaded_folder_predicts_what_the_command_does(model):
    found = model.predict(people())
    assert found.columns == ["prediction", "p(down)", "p(up)", "spread"]
    assert found.equals(predict(of_groups(people(), "y", ("down", "up")), people()))
    assert (model.target, model.classes) == ("y", ["down", "up"])
    assert model.columns == ["age", "city", "member", "since"]


def same(found, expected):
    """Whether predictions are the same, but for rounding: a product of fewer rows may be added up in another order."""
    numbers = pl.selectors.numeric()
    assert found.select(~numbers).equals(expected.select(~numbers))
    return np.allclose(found.select(numbers), expected.select(numbers), rtol=1e-5, atol=1e-6)


def test_rows_of_every_type(model):
    frame = people().drop("y")
    expected = model.predict(frame)
    mixed = [{**row, "age": str(row["age"]) if k % 2 else row["age"]} for k, row in enumerate(frame.to_dicts())]
    for rows in (frame.lazy(), frame.to_dict(as_series=False), frame.to_dicts(), mixed):
        assert model.predict(rows).equals(expected)
    assert same(model.predict(frame.to_dicts()[0] | {"age": [20.0]}), expected[:1])
    assert model.predict([]).columns == expected.columns
    gap = [{"age": None, "city": "Bern", "member": "", "since": None}]
    assert len(model.predict(gap, notes=[])) == 1


HOURS = datetime.timedelta(hours=10)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", [41], "List"),
        ("age", 1 + 2j, "Object"),
        ("city", object(), "Object"),
        ("city", b"Bern", "Binary"),
        ("city", HOURS, "durations"),
        ("since", HOURS, "durations"),
        ("member", {"a": 1}, "Struct"),
    ],
)
def test_values_that_no_cell_has_are_refused(model, column, value, said):
    with pytest.raises(DataError, match=f"column {column!r} holds values of another type") as caught:
        model.predict([{**people().to_dicts()[0], column: value}])
    assert said in caught.value.got
    grid = people().to_dict(as_series=False) | {"age": np.ones((40, 2))}
    with pytest.raises(DataError, match="column 'age' holds values of another type"):
        model.predict(grid)


def test_habits_of_other_libraries(model):
    rows = people().drop("y")
    assert model(rows).equals(model.predict(rows))
    with pytest.raises(AttributeError, match="the probability of each class"):
        model.predict_proba(rows)
    with pytest.raises(AttributeError, match="classes"):
        model.classes_  # noqa: B018
    with pytest.raises(ArgumentError, match="all rows are predicted in one call"):
        model.predict(rows, batch_size=5)
    with pytest.raises(ArgumentError, match="notes must be a list"):
        model.predict(rows, notes="x")
    assert not hasattr(model, "fit")


def test_rows_of_a_file_are_read_as_the_command_reads_them(tmp_path):
    """1.020 is 1020 in a file with decimal commas, also where no other cell of the new file shows that."""
    frame = pl.DataFrame({"column_1": ["770", "1.020", "2.500,75", "0,5"] * 10, "y": ["up", "down"] * 20})
    model = lamp.tables.TablePredictor(model_of(frame, "y", ("down", "up")), lamp.tables.ReadOptions(header=False))
    path = tmp_path / "new.csv"
    path.write_text("770;a\n1.020;b\n")
    expected = model.predict([{"column_1": "770"}, {"column_1": "1020"}])
    assert model.predict(model.read(path), notes=[]).equals(expected)
    typed = lamp.tables.read_table(path, header=False)
    assert model.predict(typed, notes=[]).equals(expected), "read_table must not decide what 1.020 is"


def test_a_file_is_no_rows(model):
    """A service that passes on what it was sent must not read files of its machine."""
    with pytest.raises(DTypeError) as caught:
        model.predict(__file__)
    assert "model.read(path)" in caught.value.fix


def test_rows_of_pandas(model):
    pandas = pytest.importorskip("pandas")
    frame = people().drop("y")
    data = frame.to_dict(as_series=False)
    data["since"] = pandas.to_datetime(data["since"])
    data["city"] = pandas.Categorical(data["city"])
    table = pandas.DataFrame(data, index=range(100, 140))
    found = model.predict(table)
    assert list(found.index) == list(range(100, 140))
    np.testing.assert_allclose(found["p(up)"], model.predict(frame)["p(up)"])
    table.loc[103, ["age", "city", "since"]] = None
    gaps = frame.with_columns(pl.when(pl.int_range(40) != 3).then(pl.col("age", "city", "since")))
    np.testing.assert_allclose(model.predict(table, notes=[])["p(up)"], model.predict(gaps, notes=[])["p(up)"])


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ("people.csv", DTypeError),
        (7, DTypeError),
        ([1], DTypeError),
        ({"age": [1, 2], "city": ["a"]}, DataError),
        ({"age": [1]}, DataError),
    ],
)
def test_what_are_no_rows(model, rows, error):
    with pytest.raises(error):
        model.predict(rows)


def test_new_words_are_told_or_taken_for_gaps(model):
    row = {**people().to_dicts()[0], "city": "Rome"}
    with pytest.warns(UserWarning, match="'Rome'"):
        model.predict([row])
    with warnings.catch_warnings(action="error"):
        model.predict([row], notes=(notes := []), unknown="gap")
    assert "'Rome'" in notes[0]
    with pytest.raises(DataError, match="Rome"):
        model.predict([row], unknown="error")
    with pytest.raises(ArgumentError):
        model.predict([row], unknown="guess")


def test_numbers_and_dates_written_in_another_way(model):
    """Options for one column, or several; what `read` has read as text is read by them."""
    frame = people().drop("y").with_columns(pl.format("{},5", pl.col("age").cast(pl.Int64)).alias("age"))
    us = frame.with_columns(pl.col("since").str.to_date().dt.strftime("%m/%d/%Y"))
    expected = model.predict(people().drop("y").with_columns(pl.col("age") + 0.5))
    assert model.predict(us.to_dicts(), decimal="comma", dates=["since=mdy"], notes=(notes := [])).equals(expected)
    assert notes == []
    with pytest.raises(DataError, match="'age' seems to have a decimal comma"):
        model.predict(us, dates="mdy")
    with pytest.raises(ArgumentError, match="no column 'ago'"):
        model.predict(us, decimal="ago=comma")


def test_habits_of_lists_are_explained(model):
    for call in (lambda: len(model), lambda: model[0], lambda: list(model)):
        with pytest.raises(ArgumentError, match=r"TablePredictor has no (length|items)"):
            call()
    assert model, "its length is not asked for"


def test_sixteen_threads_predict_what_one_does(model):
    """Different rows at the same time, with and without gaps, of two models."""
    other = lamp.tables.predictor.TablePredictor(of_groups(prices(), "close"))
    work = [(model, people()[k : k + 3]) for k in range(0, 36, 3)] + [
        (other, prices()[k : k + 5]) for k in range(0, 35, 5)
    ]
    expected = [each.predict(rows) for each, rows in work]
    start = threading.Barrier(16)

    def many(first):
        start.wait()
        order = [(first + 3 * k) % len(work) for k in range(2 * len(work))]
        return all(same(work[k][0].predict(work[k][1]), expected[k]) for k in order)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(many, range(16)))


# ---- the service of examples/serve.py --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def service(place):
    spec = importlib.util.spec_from_file_location("serve", Path(__file__).parents[1] / "examples" / "serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    serve.Handler.log_message = lambda *arguments: None
    with serve.server(place, port=0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def asked(url, document=None):
    """Status and JSON of the answer to a request."""
    data = document if document is None or isinstance(document, bytes) else json.dumps(document).encode()
    try:
        with urlopen(Request(url, data), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_a_service_answers_rows(service, model):
    frame = people().drop("y")
    status, told = asked(service)
    assert (status, told["columns"]) == (200, model.columns)
    status, found = asked(f"{service}/predict", frame.to_dicts())
    assert status == 200
    assert found == {"predictions": model.predict(frame).to_dicts(), "notes": []}
    status, found = asked(f"{service}/predict", {**frame.to_dicts()[0], "city": "Rome"})
    assert (status, len(found["predictions"])) == (200, 1)
    assert "'Rome'" in found["notes"][0]


@pytest.mark.parametrize(
    ("path", "document", "status", "said"),
    [
        ("/predict", b"[{", 400, "Expecting"),
        ("/predict", b"\xff", 400, "decode"),
        ("/predict", [{"age": 1}], 400, "lacks 3 columns"),
        ("/predict", [{"age": "soup", "city": "Bern", "member": "yes", "since": "2020-01-01"}], 400, "'soup'"),
        ("/predict", 7, 400, "rows of a table"),
        ("/other", [], 404, "/predict"),
        ("/other", None, 404, "/predict"),
    ],
)
def test_a_service_says_what_is_wrong(service, path, document, status, said):
    found, told = asked(f"{service}{path}", document)
    assert found == status
    assert said in told["error"]
