"""An ensemble of several groups: networks of different shapes and encodings, with weights."""

import numpy as np
import pytest
import torch

import lamp
from lamp.cli import show_tables
from lamp.errors import CheckpointError, DataError
from lamp.saving import load_json, save_json, save_tensors, sealed_folder
from lamp.saving.weights import WEIGHTS
from lamp.studies.calibration import of_all_members, probabilities, temperature
from lamp.tables import folder
from lamp.tables.importance import importances
from tests.cases.table_models import model_of, of_groups, people, prices, written


@pytest.fixture(scope="module", params=["classes", "numbers"])
def case(request):
    """A model, its rows as numbers, and their classes or numbers."""
    frame, target = (people(), "y") if request.param == "classes" else (prices(), "close")
    model = of_groups(frame, target, ("down", "up") if request.param == "classes" else ())
    x = model.preprocessing.transform(frame.drop(target))
    truth = torch.arange(40) % 2 if request.param == "classes" else torch.randn(40).double() + 10
    return model, x, truth


def test_the_mean_and_the_spread_are_weighted(case):
    model, x, _ = case
    model.temperature = 1.7
    found = model.of_inputs(x)
    shares = np.repeat([0.1 / 4, 0.6 / 3, 0.3 / 2], [4, 3, 2])
    each = []
    for group in model.groups:
        inputs = x if group.encoding is None else group.encoding(x)
        each += [
            network(inputs).double().detach().numpy()
            for network in (group.networks[k] for k in range(len(group.networks)))
        ]
    scores = np.stack(each)  # (9, n, outputs)
    if model.target.is_classes:
        p = np.exp(scores / 1.7) / np.exp(scores / 1.7).sum(-1, keepdims=True)
        mean = np.average(p, 0, shares)
        of_likely = np.stack([row[np.arange(40), mean.argmax(1)] for row in p])
    else:
        of_likely = scores[:, :, 0] * model.target.std + model.target.mean
        mean = np.average(of_likely, 0, shares)
    spread = np.sqrt(np.average((of_likely - np.average(of_likely, 0, shares)) ** 2, 0, shares))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.spread, spread, rtol=1e-4)


def test_importance_is_that_of_shuffled_rows(case):
    """Also where an encoding makes several features of an input."""
    model, x, truth = case
    found = {each.column: each.mean for each in importances(model, x, truth, seed=5)}

    def loss(x):
        mean = model.of_inputs(x).mean
        if model.target.is_classes:
            return -mean.gather(1, truth.unsqueeze(1)).log().mean().item()
        return ((mean - truth) ** 2).mean().item() / model.target.std**2

    generator = torch.Generator().manual_seed(5)
    for name, at in model.preprocessing.places().items():
        rises = []
        for _ in range(5):
            shuffled, order = x.clone(), torch.randperm(40, generator=generator)
            shuffled[:, at.start : at.stop] = x[order, at.start : at.stop]
            rises.append(loss(shuffled) - loss(x))
        assert found[name] == pytest.approx(np.mean(rises), abs=1e-5)
        assert abs(found[name]) > 1e-4


def test_a_temperature_of_weighted_members():
    """A member of weight 0 does not count, and one of twice the weight counts like two."""
    scores, labels = 3 * torch.randn(3, 50, 4), torch.arange(50) % 4
    two = temperature(scores[:2], labels)
    assert temperature(scores, labels, torch.tensor([0.5, 0.5, 0.0])) == pytest.approx(two, rel=1e-3)
    doubled = temperature(scores[[0, 0, 1]], labels)
    assert temperature(scores[:2], labels, torch.tensor([2.0, 1.0]) / 3) == pytest.approx(doubled, rel=1e-3) != two
    assert of_all_members(scores[:2], labels, 2, torch.tensor([2.0, 1.0]) / 3) == pytest.approx(doubled, rel=1e-3)
    torch.testing.assert_close(
        probabilities(scores, 2.0, torch.tensor([1.0, 0.0, 0.0])), (scores[0].double() / 2).softmax(1)
    )


def test_all_groups_are_shown_with_their_weights(case, capsys):
    """One line per group, and what is not on a terminal is not cut at the terminal's width."""
    model, _, _ = case
    advice = "word " * 60 + "end"
    metrics = {"rows": 3, "models": {folder.OURS: {}}, "seconds": {folder.OURS: 1.0}, "notes": {}, "importance": []}
    metrics["verdict"] = {"sentences": [], "advice": [advice]}
    config = {"table": "t.csv", "rows": 9, "seed": 0, "seconds": 1.0, "epochs": 2}
    show_tables.summary(model, {"metrics": metrics, "config": config}, "m")
    told = capsys.readouterr().out
    assert "an ensemble of 9 networks:\n" in told
    assert "\n  3 networks of 8 units: 60 % of the mean\n" in told
    assert f"\n  {advice}\n" in told


# ---- in a folder -----------------------------------------------------------------------------------------------------
def test_a_folder_holds_all_groups(case, tmp_path):
    model, x, _ = case
    again = folder.load_model(written(model, tmp_path / "m"))
    assert [(group.shape, group.weight) for group in again.groups] == [(g.shape, g.weight) for g in model.groups]
    assert (again.of_inputs(x).mean == model.of_inputs(x).mean).all()
    assert [str(group) for group in again.groups][1:] == [
        "3 networks of 8 units", "2 networks of 5 x 5 units, dropout 0.2, numbers in piecewise-linear encoding"
    ]  # fmt: skip


def changed(path, into, change, state=None):
    """A copy of a folder with another architecture.json and other weights."""
    architecture = {k: v for k, v in load_json(path / folder.ARCHITECTURE).items() if k != "sha256_of_this_file"}
    with sealed_folder(into, {"kind": folder.KIND}) as inside:
        for each in (folder.PREPROCESSING, folder.METRICS, folder.CONFIG):
            save_json(inside / each, {k: v for k, v in load_json(path / each).items() if k != "sha256_of_this_file"})
        save_json(inside / folder.ARCHITECTURE, change(architecture))
        save_tensors(inside / WEIGHTS, lamp.saving.load_tensors(path / WEIGHTS) if state is None else state)
    return into


@pytest.mark.parametrize(("frame", "target", "classes"), [(people(), "y", ("down", "up")), (prices(), "close", ())])
def test_a_folder_of_the_first_version(tmp_path, frame, target, classes):
    """It had no version and no groups; the weights had the networks' own names, and all intervals one width."""
    model = model_of(frame, target, classes)

    def older(architecture):
        (group,) = architecture.pop("groups")
        del architecture["version"], architecture["intervals"], group["weight"], group["edges"]
        return {**architecture, **group, "margin": 0.5}

    first = changed(written(model, tmp_path / "m"), tmp_path / "old", older, model.groups[0].networks.state_dict())
    again = folder.load_model(first)
    predicted, expected = (each.table_of(each.predict(frame)) for each in (again, model))
    assert predicted.equals(expected)


def test_a_folder_of_a_version_to_come(tmp_path):
    path = written(model_of(people(), "y", ("down", "up")), tmp_path / "m")
    later = changed(path, tmp_path / "new", lambda architecture: {**architecture, "version": 99, "groups": "elsewhere"})
    with pytest.raises(DataError, match=r"(?s)newer version of lamp.*version 99"):
        folder.load_model(later)


def of_first_group(**new):
    return lambda architecture: {
        **architecture,
        "groups": [{**architecture["groups"][0], **new}, *architecture["groups"][1:]],
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda architecture: {**architecture, "groups": []},
        lambda architecture: {**architecture, "groups": architecture["groups"][:2]},
        lambda architecture: {**architecture, "groups": [*architecture["groups"], architecture["groups"][0]]},
        of_first_group(weight=0.5),
        of_first_group(weight=-0.1),
        of_first_group(edges=[[0.0, 1.0]]),
        of_first_group(edges=[[1.0, 0.0]] * 7),
        of_first_group(members=3),
    ],
)
def test_groups_that_do_not_fit_are_refused(change, tmp_path):
    path = written(of_groups(people(), "y", ("down", "up")), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"architecture|cannot be loaded"):
        folder.load_model(changed(path, tmp_path / "changed", change))
