"""Untrained models of tables: preprocessing that is fitted on a few rows, and networks with initial weights."""

import polars as pl
import torch

from lamp.nn import PiecewiseLinearEncoding
from lamp.replicas import population
from lamp.saving import save_json, save_tensors, sealed_folder
from lamp.saving.weights import WEIGHTS
from lamp.tables import Preprocessing, folder
from lamp.tables.effort import Shape
from lamp.tables.groups import Group
from lamp.tables.model import TableModel
from lamp.tables.prediction_intervals import PredictionIntervals
from lamp.tables.targets import Target


def model_of(frame, target, classes=(), *, members=3):
    """A model that predicts a column of the frame from all others."""
    torch.manual_seed(0)
    preprocessing = Preprocessing().fit(frame.drop(target, strict=False))
    if classes:
        goal = Target(target, "classification", tuple(classes))
    else:
        goal = Target(target, "regression", mean=10.0, std=2.0)
    shape = Shape(8, 1)
    networks = population(shape.build(len(preprocessing.features), goal.outputs), range(members))
    networks.eval()
    intervals = None if classes else PredictionIntervals.of_one_width(0.5)
    return TableModel(preprocessing, goal, [Group(networks, shape)], 1.0, intervals)


def of_groups(frame, target, classes=()):
    """A model with a linear group of weight 0.1, and two groups with hidden layers, one of them with an encoding."""
    model = model_of(frame, target, classes)
    x = model.preprocessing.transform(frame.drop(target, strict=False))
    encoding = PiecewiseLinearEncoding.fit(x, 3)
    shapes = ((Shape(0, 0), 0.1, 4, None), (Shape(8, 1), 0.6, 3, None), (Shape(5, 2, 0.2), 0.3, 2, encoding))
    model.groups = []
    for shape, weight, members, each in shapes:
        inputs = x.shape[1] if each is None else each.out_features
        networks = population(shape.build(inputs, model.target.outputs), range(members))
        networks.eval()
        model.groups.append(Group(networks, shape, weight, each))
    return model


def written(model, path):
    """The path of a folder with the model, as lamp train writes it, but without reports."""
    with sealed_folder(path, {"kind": folder.KIND}) as into:
        save_json(into / folder.PREPROCESSING, model.preprocessing.to_dict())
        save_json(into / folder.ARCHITECTURE, model.architecture)
        save_tensors(into / WEIGHTS, model.state)
        save_json(into / folder.METRICS, {})
        save_json(into / folder.CONFIG, {"table": "t.csv", "rows": 1, "seed": 0, "seconds": 0.0, "epochs": 1})
    return path


def prices(rows=40):
    """open, low, high and close, all numbers."""
    start = pl.Series(range(rows)).cast(pl.Float64) % 7 + 50
    return pl.DataFrame({"open": start, "low": start - 2, "high": start + 3, "close": start + 1})


def people(rows=40):
    """A number, a category, a boolean, a date, and the class y."""
    every = range(rows)
    return pl.DataFrame(
        {
            "age": [20.0 + k % 31 for k in every],
            "city": [("Bern", "Oslo")[k % 2] for k in every],
            "member": [("yes", "no")[k % 3 == 0] for k in every],
            "since": [f"2020-{k % 12 + 1:02d}-{k % 28 + 1:02d}" for k in every],
            "y": [("up", "down")[k % 5 < 2] for k in every],
        }
    )
