"""The data sets: the Dataset itself, the drawn ones, and those from scikit-learn."""

import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamp import data
from lamp.data import DataLoader, Dataset, disk, order, spirals
from lamp.errors import ArgumentError, DataError, NonFiniteError, ShapeError

N, FEATURES = 37, 3


def random_set(n=N, *shape):
    return Dataset(torch.rand(n, *(shape or (FEATURES,))) * 5 + 2, torch.arange(n), classes=("a", "b"))


# ---- the Dataset ----------------------------------------------------------------------------------------------------
def test_indexing():
    whole = random_set()
    assert len(whole) == N
    x, y = whole[4]
    assert torch.equal(x, whole.inputs[4])
    assert y == 4
    assert whole[np.int64(-1)][1] == N - 1
    for index in (slice(2, 9), [5, 1, 1], torch.tensor([5, 1]), np.array([0, 3]), whole.targets % 3 == 1):
        part = whole[index]
        assert isinstance(part, Dataset)
        assert torch.equal(part.inputs, whole.inputs[part.targets])
        assert part.classes == whole.classes
    assert len(list(whole)) == N  # ends, as a sequence does
    with pytest.raises(IndexError):
        whole[N]


def test_a_data_set_is_frozen_and_takes_arrays():
    taken = Dataset(np.ones((4, 2)), np.arange(4, dtype=np.uint8), "ones")
    assert (taken.inputs.dtype, taken.targets.dtype) == (torch.float32, torch.int64)
    with pytest.raises(ArgumentError, match="does not change"):
        taken.inputs = torch.zeros(4, 2)
    assert repr(taken) == "Dataset('ones', inputs (4, 2) float32, targets (4,) int64)"
    assert repr(random_set()).endswith("2 classes)")


@pytest.mark.parametrize(
    ("inputs", "targets", "words"),
    [
        (torch.rand(3, 2), torch.arange(4), "inputs and targets differ in length"),
        (torch.rand(0, 2), torch.arange(0), "the inputs are empty"),
        (torch.rand(2, 2), ["cat", "dog"], "the targets are not numbers"),
    ],
)
def test_columns_that_make_no_data_set(inputs, targets, words):
    with pytest.raises(DataError, match=words):
        Dataset(inputs, targets)


def test_an_empty_selection_is_refused():
    with pytest.raises(DataError, match="empty"):
        random_set()[N:]


@given(st.integers(2, 90), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_split_parts_the_samples(n, fraction, seed):
    whole = random_set(n)
    if not 0 < round(fraction * n) < n:
        with pytest.raises(ArgumentError, match="split"):
            whole.split(fraction, seed)
        return
    first, second = whole.split(fraction, seed)
    assert len(first) == round(fraction * n)
    assert sorted([*first.targets.tolist(), *second.targets.tolist()]) == list(range(n))
    assert torch.equal(first.inputs, whole.inputs[first.targets])
    again, _ = whole.split(fraction, seed)
    assert torch.equal(first.inputs, again.inputs)


def test_a_split_depends_on_its_seed_and_is_random():
    whole = random_set(200)
    firsts = {tuple(whole.split(0.5, seed)[0].targets.tolist()) for seed in range(4)}
    assert len(firsts) == 4
    assert torch.equal(whole.split(0.5, 3)[0].targets, order(200, 3, 0)[:100])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 1.5, 80, math.nan, "half"])
def test_fractions_that_split_nothing(fraction):
    with pytest.raises(ArgumentError, match="split"):
        random_set().split(fraction)


def test_normalized_columns():
    train, test = random_set(50, 4), random_set(20, 4)
    for using in (None, train):
        source = (test if using is None else using).inputs.numpy().astype(np.float64)
        expected = (test.inputs.numpy() - source.mean(0)) / source.std(0)
        np.testing.assert_allclose(test.normalized(using).inputs.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(test.normalized().targets, test.targets)
    assert test.normalized().classes == test.classes


def test_normalized_channels_sequences_and_plain_numbers():
    images = random_set(11, 3, 5, 4)
    images.inputs[:, 1] *= 7.0
    for channel in range(3):
        pixels = images.inputs[:, channel].double()
        expected = (pixels - pixels.mean()) / pixels.std(correction=0)
        torch.testing.assert_close(images.normalized().inputs[:, channel].double(), expected, atol=1e-5, rtol=1e-5)
    plain = Dataset(torch.rand(30) + 4.0, torch.arange(30)).normalized().inputs
    assert abs(plain.mean()) < 1e-5
    assert abs(plain.std(correction=0) - 1.0) < 1e-5
    counts = Dataset(torch.arange(12).view(6, 2), torch.arange(6)).normalized().inputs
    assert counts.dtype == torch.float32


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567, 1e-20, 3e7])
@pytest.mark.parametrize("n", [1, 7, 1000])
def test_a_column_that_never_varies_is_only_centred(value, n):
    constant = Dataset(torch.cat([torch.full((n, 1), value), torch.rand(n, 1)], 1), torch.zeros(n))
    inputs = constant.normalized().inputs[:, 0]
    assert inputs.isfinite().all()
    assert inputs.abs().max() <= abs(value) * 1e-5


def test_normalized_by_another_kind_of_data_set():
    with pytest.raises(ShapeError, match="other inputs"):
        random_set(9, 4).normalized(random_set(9, 5))


def test_nothing_is_normalized_by_nan():
    broken = random_set()
    broken.inputs[5, 2] = torch.nan
    with pytest.raises(NonFiniteError, match="row 5, column 2"):
        random_set().normalized(using=broken)


def test_flattened_and_moved():
    images = random_set(9, 2, 5, 4)
    assert images.flattened().inputs.shape == (9, 40)
    assert Dataset(torch.rand(9), torch.arange(9)).flattened().inputs.shape == (9, 1)
    assert images.to("meta").inputs.device.type == images.to("meta").targets.device.type == "meta"


# ---- drawn ----------------------------------------------------------------------------------------------------------
def test_the_disk_is_half_of_the_square():
    n = 40_000
    points = disk(n, seed=1)
    x, y = points.inputs.double().unbind(1)
    assert (points.inputs.shape, points.inputs.dtype, points.targets.dtype) == ((n, 2), torch.float32, torch.int64)
    inside = (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 1 / (2 * math.pi)
    assert (inside.long() != points.targets).sum() <= 2  # rounding may decide on the very edge
    share = points.targets.double().mean()
    assert abs(share - 0.5) < 4 * 0.5 / n**0.5  # 4 sigma
    assert points.inputs.min() >= 0.0
    assert points.inputs.max() < 1.0
    for k in (x, y):  # uniform: mean 1/2, variance 1/12, independent
        assert abs(k.mean() - 0.5) < 4 * (1 / 12 / n) ** 0.5
        assert abs(k.var() - 1 / 12) < 4 * (1 / 180 / n) ** 0.5
    assert abs(((x - 0.5) * (y - 0.5)).mean()) < 4 / 12 / n**0.5


def test_the_corners_are_outside_and_the_centre_is_inside():
    points = disk(5000, seed=3)
    near_centre = (points.inputs - 0.5).norm(dim=1) < 0.39
    near_corner = (points.inputs - 0.5).norm(dim=1) > 0.41
    assert points.targets[near_centre].unique().tolist() == [1]
    assert points.targets[near_corner].unique().tolist() == [0]
    assert 1 / math.sqrt(2 * math.pi) == pytest.approx(0.399, abs=1e-3)


@pytest.mark.parametrize("draw", [disk, spirals])
def test_drawn_data_follow_their_seed_or_generator(draw):
    first = draw(60, seed=5)
    state = torch.get_rng_state()
    assert torch.equal(draw(60, seed=5).inputs, first.inputs)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(draw(60, seed=6).inputs, first.inputs)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(draw(60, generator=generator).inputs, first.inputs)
    assert not torch.equal(draw(60, generator=generator).inputs, first.inputs)  # it went on
    torch.manual_seed(5)
    assert torch.equal(draw(60).inputs, first.inputs)
    with pytest.raises(ArgumentError, match="a seed and a generator"):
        draw(60, seed=5, generator=generator)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(draw(60, seed=5).inputs, first.inputs)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("n", [0, -3, 2.5, "10", None])
@pytest.mark.parametrize("draw", [disk, spirals])
def test_numbers_of_samples_that_are_none(draw, n):
    with pytest.raises(ArgumentError, match="n is"):
        draw(n)


def test_spirals_lie_on_their_spirals():
    points = spirals(2001, turns=1.25, noise=0.0, seed=2)
    radius = points.inputs.double().norm(dim=1)
    angle = 2 * math.pi * 1.25 * radius + math.pi * points.targets
    on_the_line = radius.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], 1)
    torch.testing.assert_close(points.inputs.double(), on_the_line, atol=1e-5, rtol=0)
    assert points.targets.bincount().tolist() == [1001, 1000]
    assert radius.max() <= 1.0


def test_the_noise_of_spirals():
    clean, noisy = (spirals(50_000, noise=noise, seed=2).inputs for noise in (0.0, 0.1))
    assert abs((noisy - clean).std() - 0.1) < 4 * 0.1 / 200_000**0.5


@pytest.mark.parametrize("arguments", [{"noise": -0.1}, {"noise": math.nan}, {"turns": -1}, {"turns": math.inf}])
def test_spirals_that_cannot_be(arguments):
    with pytest.raises(ArgumentError, match="out of range"):
        spirals(10, **arguments)


# ---- from scikit-learn ----------------------------------------------------------------------------------------------
BUNDLED = {  # name: shape of the inputs, of the targets, dtype of the targets, classes
    "digits": ((1797, 1, 8, 8), (1797,), torch.int64, 10),
    "iris": ((150, 4), (150,), torch.int64, 3),
    "wine": ((178, 13), (178,), torch.int64, 3),
    "breast_cancer": ((569, 30), (569,), torch.int64, 2),
    "diabetes": ((442, 10), (442, 1), torch.float32, 0),
}


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_are_as_scikit_learn_has_them(name):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    load, shape = getattr(data, name), BUNDLED[name]
    whole = load()
    assert (whole.inputs.shape, whole.targets.shape, whole.targets.dtype, len(whole.classes)) == shape
    assert whole.inputs.dtype == torch.float32
    raw = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    scale = 16.0 if name == "digits" else 1.0
    np.testing.assert_allclose(whole.inputs.flatten(1).numpy(), raw.data / scale, rtol=1e-6)
    np.testing.assert_array_equal(whole.targets.flatten().numpy(), raw.target)
    assert whole.name == name
    if name != "digits":
        assert list(whole.features) == list(raw.feature_names)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_data_split_and_normalized_by_the_training_part(name):
    pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    load = getattr(data, name)
    train, test, whole = load(True), load(False), load(normalize=True)
    n = len(whole)
    assert (len(train), len(test)) == (round(0.8 * n), n - round(0.8 * n))
    assert torch.equal(torch.cat([train.inputs, test.inputs]), load().inputs[order(n, 0, 0)])
    assert torch.equal(load(True).targets, train.targets)
    for train_part, plain in ((True, train), (False, test), (None, load())):
        expected = plain.normalized(using=train)
        assert torch.equal(load(train_part, normalize=True).inputs, expected.inputs)
        assert torch.equal(load(train_part, normalize=True).targets, plain.targets)
    assert whole.inputs.isfinite().all()
    next(iter(DataLoader(train, 7, True)))


def test_which_part_must_be_said_plainly():
    pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    with pytest.raises(ArgumentError, match="train does not name a part"):
        data.iris("train")


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    def missing(name, *rest):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError) as error:
        data.wine()
    assert 'pip install "scikit-learn>=1.4"' in str(error.value)
    assert "wine" in str(error.value)
    assert isinstance(error.value.__context__, ImportError)  # there to be looked at, and not printed first


def test_every_public_name_is_there():
    assert all(hasattr(data, name) for name in data.__all__)
    assert data.__all__ == sorted(data.__all__)
