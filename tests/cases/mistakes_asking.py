"""Mistakes with models of tables: predict, evaluate, export, and steps before and after training."""

from pathlib import Path
from tempfile import mkdtemp

import polars as pl

from lamp.errors import ArgumentError, CheckpointError, DataError, DTypeError
from lamp.tables import Preprocessing, write_table
from lamp.tables.evaluate import evaluate
from lamp.tables.export import export
from lamp.tables.folder import load_model
from lamp.tables.planning import Request, plan_training
from lamp.tables.predict import for_csv, predict
from lamp.tables.train import check_room
from tests.cases.mistakes import Mistake
from tests.cases.table_models import model_of, people, prices

PRICES, PEOPLE = prices(), people()


def numbers():
    return model_of(PRICES, "close")


def classes():
    return model_of(PEOPLE, "y", ("down", "up"))


def _with(frame, name, *first):
    """The table with the first values of a column replaced."""
    return frame.with_columns(pl.Series(name, [*first, *map(str, frame[name].to_list()[len(first) :])]))


def _place():
    return Path(mkdtemp())


def _look(text="a,y\n" + "1,2\n3,4.5\n" * 9, **options):
    def call():
        path = _place() / "t.csv"
        path.write_text(text)
        plan_training(Request(path, **({"target": "y"} | options)))

    return call


def _command(name, *arguments):
    """A command's own function, as the command line calls it, without the command line's printing of errors."""

    def call():
        from importlib import import_module

        command = getattr(import_module(f"lamp.cli.{name}"), name)
        command.main(args=list(map(str, arguments)), standalone_mode=False)

    return call


def _there(name, text="x"):
    path = _place() / name
    path.write_text(text)
    return path


MISTAKES = [
    # ---- columns that are kept ----
    Mistake("keep low beside a number's low", lambda: predict(numbers(), PRICES, keep=["low"]), ArgumentError, "low",
            ("--prefix", "--keep low")),
    Mistake("keep low and high", lambda: predict(numbers(), PRICES, keep=["low", "high"]), ArgumentError, "low, high"),
    Mistake("keep a column called like a class's probability",
            lambda: predict(classes(), PEOPLE.with_columns(pl.lit(1).alias("p(up)")), keep=["p(up)"]),
            ArgumentError, "p(up)", ("--prefix",)),
    Mistake("keep a column called prediction",
            lambda: predict(classes(), PEOPLE.with_columns(pl.lit(1).alias("prediction")), keep="prediction"),
            ArgumentError, "prediction"),
    Mistake("a prefix that makes a kept name",
            lambda: predict(numbers(), PRICES.with_columns(pl.lit(1).alias("my low")), keep="my low", prefix="my "),
            ArgumentError, "my low"),
    Mistake("keep a name with a slip", lambda: predict(numbers(), PRICES, keep=["opne"]), ArgumentError, "'opne'",
            ("did you mean 'open'",)),
    Mistake("keep a name that is nowhere", lambda: predict(numbers(), PRICES, keep=["id"]), ArgumentError, "'id'",
            ("open, low, high, close",)),
    # ---- other tables ----
    Mistake("a column spelt otherwise", lambda: predict(classes(), PEOPLE.rename({"age": "Age"})), DataError, "age",
            ("rename 'Age' to 'age'",)),
    Mistake("columns that are missing", lambda: predict(classes(), PEOPLE.drop("age", "since")), DataError,
            "age, since", ("2 columns",)),
    Mistake("a word among numbers", lambda: predict(classes(), _with(PEOPLE, "age", "Unknown")), DataError, "'age'",
            ("'Unknown'", "row 1", "--unknown gap")),
    Mistake("dates among numbers", lambda: predict(classes(), PEOPLE.with_columns(pl.col("since").alias("age"))),
            DataError, "'age'", ("'2020-01-01'",)),
    Mistake("an infinite number in a new table",
            lambda: predict(classes(), PEOPLE.with_columns(pl.lit(float("inf")).alias("age"))),
            DataError, "'age'", ("row 1",)),
    Mistake("a number beyond float32", lambda: predict(numbers(), PRICES.with_columns(pl.lit(1e300).alias("open"))),
            DataError, "'open'", ("1e+300", "--unknown gap")),
    Mistake("neither yes nor no", lambda: predict(classes(), _with(PEOPLE, "member", "perhaps")), DataError,
            "'member'", ("'perhaps'",)),
    Mistake("no date", lambda: predict(classes(), _with(PEOPLE, "since", "soon")), DataError, "'since'", ("'soon'",)),
    Mistake("a new word where new words are errors",
            lambda: predict(classes(), _with(PEOPLE, "city", "Atlantis"), unknown="error"), DataError, "'city'",
            ("'Atlantis'",)),
    Mistake("another word for unknown", lambda: predict(classes(), PEOPLE, unknown="gaps"), ArgumentError, "unknown",
            ("'gap' or 'error'",)),
    Mistake("a dict for a table", lambda: Preprocessing().fit(PEOPLE).transform({"age": [1]}), DTypeError,
            "Preprocessing.transform", ("polars",)),
    Mistake("a path for a table", lambda: Preprocessing().fit("people.csv"), DTypeError, "Preprocessing.fit",
            ("read_table",)),
    # ---- evaluate ----
    Mistake("evaluate without the target", lambda: evaluate(classes(), PEOPLE.drop("y")), ArgumentError, "'y'"),
    Mistake("evaluate with an empty target",
            lambda: evaluate(classes(), PEOPLE.with_columns(pl.lit(None, pl.String).alias("y"))), DataError, "'y'",
            ("lamp predict",)),
    Mistake("evaluate on new classes alone",
            lambda: evaluate(classes(), PEOPLE.with_columns(pl.lit("left").alias("y"))), DataError, "'y'",
            ("left", "down, up")),
    Mistake("evaluate on a new class where new words are errors",
            lambda: evaluate(classes(), _with(PEOPLE, "y", "left"), unknown="error"), DataError, "'y'", ("left",)),
    Mistake("evaluate with a word for a number", lambda: evaluate(numbers(), _with(PRICES, "close", "closed")),
            DataError, "'close'", ("'closed'", "--unknown gap")),
    # ---- what is written ----
    Mistake("lists into CSV", lambda: for_csv(pl.DataFrame({"tags": [[1], [2]]})), DataError, "'tags'", (".jsonl",)),
    Mistake("an ending that no table has", lambda: write_table(PRICES, _place() / "p.docx"), DataError, ".docx",
            (".csv",)),
    Mistake("export as something else", lambda: export(numbers(), "tensorflow", _place() / "m.tf"), ArgumentError,
            "export", ("onnx", "tensorflow")),
    Mistake("export to a file that Python could not import",
            lambda: export(numbers(), "torch", _place() / "my-model.py"), DataError, "my-model", ("--out",)),
    # ---- before training ----
    Mistake("a target with a slip", _look(target="Y "), ArgumentError, "'Y '", ("--target 'y'",)),
    Mistake("an asked kind that is none", _look(kinds={"a": "soup"}), ArgumentError, "a=soup", ("number, category",)),
    Mistake("a kind for a column that is not there", _look(kinds={"b": "number"}), ArgumentError, "'b'"),
    Mistake("four rows", _look("a,y\n" + "1,2\n3,4.5\n" * 2), DataError, "too few rows", ("4",)),
    Mistake("a target that never varies", _look("a,y\n" + "1,2\n3,2\n" * 9), DataError, "'y'", ("one value",)),
    Mistake("a folder that is there", lambda: check_room(_there("m"), False), DataError, "m exists already",
            ("--force",)),
    Mistake("--force on what is no model", lambda: check_room(_there("m"), True), DataError, "is not replaced"),
    Mistake("a folder below a file", lambda: check_room(_there("m") / "n", False), CheckpointError,
            "could not be saved"),
    # ---- folders ----
    Mistake("a model that is nowhere", lambda: load_model(_place() / "m"), DataError, "no such folder"),
    Mistake("a table for a model", lambda: load_model(_there("t.csv")), DataError, "t.csv", ("a file",)),
    Mistake("an empty folder for a model", lambda: load_model(_place()), DataError, "an empty folder"),
    Mistake("inspect of an empty folder", _command("inspect", _place()), DataError, "an empty folder"),
    Mistake("predict with folder and table in the wrong order",
            _command("predict", _there("t.csv", "a,b\n1,2\n"), _place()), DataError, "t.csv", ("a file",)),
]  # fmt: skip
