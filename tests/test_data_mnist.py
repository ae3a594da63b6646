"""MNIST: the real files if they are there, and files made here for everything that can be wrong with one."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from lamp.data import mnist, read_idx
from lamp.errors import ArgumentError, DataError

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
N = 12


def idx(array, magic=None):
    """The bytes of an IDX file."""
    magic = 0x0800 | array.ndim if magic is None else magic
    return struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def images(n=N, size=(28, 28), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size), dtype=np.uint8)


def labels(n=N):
    return np.arange(n, dtype=np.uint8) % 10


def put(folder, image_bytes=None, label_bytes=None, suffix=""):
    """A folder with the two training files."""
    folder.mkdir(parents=True, exist_ok=True)
    pack = gzip.compress if suffix else bytes
    (folder / (TRAIN_IMAGES + suffix)).write_bytes(pack(idx(images()) if image_bytes is None else image_bytes))
    (folder / (TRAIN_LABELS + suffix)).write_bytes(pack(idx(labels()) if label_bytes is None else label_bytes))
    return folder


# ---- files made here ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_files_as_they_are_or_gzipped_in_the_folder_or_below(tmp_path, monkeypatch, suffix, below):
    put(tmp_path / below, suffix=suffix)
    monkeypatch.setenv("LAMP_DATA", str(tmp_path))
    for taken in (mnist(), mnist(tmp_path), mnist(str(tmp_path), train=True)):
        assert taken.inputs.shape == (N, 1, 28, 28)
        assert (taken.inputs.dtype, taken.targets.dtype) == (torch.float32, torch.int64)
        assert torch.equal(taken.inputs[:, 0], torch.from_numpy(images()).float() / 255)
        assert taken.targets.tolist() == labels().tolist()
        assert taken.classes == tuple("0123456789")


def test_normalized_pixels(tmp_path):
    taken = mnist(put(tmp_path), normalize=True)
    expected = (images() / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(taken.inputs[:, 0].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_test_set_comes_from_its_own_files(tmp_path):
    (put(tmp_path) / TEST_IMAGES).write_bytes(idx(images(5, seed=1)))
    (tmp_path / (TEST_LABELS + ".gz")).write_bytes(gzip.compress(idx(labels(5))))
    assert len(mnist(tmp_path, train=False)) == 5
    assert len(mnist(tmp_path)) == N


def test_files_are_known_by_their_content_whatever_their_suffix(tmp_path):
    (tmp_path / (TRAIN_IMAGES + ".gz")).write_bytes(idx(images()))  # unpacked on the way here
    (tmp_path / TRAIN_LABELS).write_bytes(gzip.compress(idx(labels())))
    assert len(mnist(tmp_path)) == N


def test_inputs_are_float32_whatever_the_default_dtype(tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        assert mnist(put(tmp_path)).inputs.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_read_idx_reads_any_number_of_axes(tmp_path):
    for shape in ((7,), (3, 4), (2, 3, 4), (2, 3, 4, 5)):
        array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        path = tmp_path / f"{len(shape)}-axes"
        path.write_bytes(idx(array))
        np.testing.assert_array_equal(read_idx(path), array)
        np.testing.assert_array_equal(read_idx(str(path), axes=len(shape)), array)


SOUND = idx(images())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["too short", "0 bytes"]),
        (b"\x00\x00\x08", ["too short", "3 bytes"]),
        (SOUND[:14], ["ends in its header", "16 bytes of header", "14 bytes"]),
        (SOUND[:-1], ["is truncated", "12 x 28 x 28", f"{N * 784} bytes", f"{N * 784 - 1} bytes"]),
        (SOUND[:16], ["is truncated", "got       0 bytes"]),
        (SOUND + b"\x00", ["goes on after its end", f"{N * 784 + 1} bytes"]),
        (idx(images(), magic=0x0D03), ["wrong magic number", "0x00000803", "0x00000d03"]),  # floats
        (idx(labels()), ["wrong magic number", "0x00000803", "0x00000801"]),  # the labels, under the images' name
        (b"<!DOCTYPE html>" * 9, ["wrong magic number", "0x00000803", "0x3c21444f"]),
        (b"\x01" + SOUND[1:], ["wrong magic number", "0x01000803"]),
        (struct.pack(">4I", 0x803, 2**32 - 1, 28, 28) + b"\x00" * 99, ["is truncated", "4294967295 x 28 x 28"]),
        (idx(images(size=(28, 27))), ["another size", "28 x 28", "28 x 27"]),
        (idx(images(0)), ["holds no images"]),
        (gzip.compress(SOUND)[:-9], ["not an intact gzip file", "end-of-stream"]),
        (gzip.compress(SOUND)[:200], ["not an intact gzip file"]),
        (gzip.compress(SOUND)[:10], ["not an intact gzip file"]),
        (gzip.compress(SOUND)[:-6] + b"\x00\x00" + gzip.compress(SOUND)[-4:], ["not an intact gzip file", "CRC"]),
        (gzip.compress(SOUND)[:40] + b"\xff" * 40 + gzip.compress(SOUND)[80:], ["not an intact gzip file"]),
        (gzip.compress(SOUND)[:10] + b"\xff" * 40, ["not an intact gzip file", "invalid block type"]),
        (gzip.compress(SOUND[:-1]), ["is truncated"]),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_damaged_images(tmp_path, content, words):
    put(tmp_path, image_bytes=content)
    with pytest.raises(DataError) as error:
        mnist(tmp_path)
    text = str(error.value)
    assert all(word in text for word in [*words, str(tmp_path / TRAIN_IMAGES), "expected", "got", "fix"]), text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx(labels(N - 1)), ["does not belong to the images", "12 labels", "11"]),
        (idx(np.array([3, 1, 10, *range(9)])), ["not a digit", "0 to 9", "10 at 2"]),
        (SOUND, ["wrong magic number", "0x00000801", "0x00000803"]),
        (idx(labels())[:-3], ["is truncated"]),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_damaged_labels(tmp_path, content, words):
    put(tmp_path, label_bytes=content)
    with pytest.raises(DataError) as error:
        mnist(tmp_path)
    text = str(error.value)
    assert all(word in text for word in [*words, str(tmp_path / TRAIN_LABELS), "expected", "got", "fix"]), text


def test_without_a_folder_the_error_says_how_to_name_one(monkeypatch):
    for value in (None, ""):
        monkeypatch.delenv("LAMP_DATA", raising=False) if value is None else monkeypatch.setenv("LAMP_DATA", value)
        with pytest.raises(DataError) as error:
            mnist()
        text = str(error.value)
        assert all(word in text for word in (TRAIN_IMAGES, TRAIN_LABELS, "export LAMP_DATA=", "root=")), text


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError) as error:
        mnist(tmp_path / "nowhere", train=False)
    assert all(
        word in str(error.value) for word in ("nowhere", "no such folder", TEST_IMAGES, TEST_LABELS, "LAMP_DATA")
    )
    put(tmp_path / "mnist")
    with pytest.raises(DataError, match=f"no {TEST_IMAGES} and no {TEST_LABELS}"):
        mnist(tmp_path, train=False)
    (tmp_path / "mnist" / TRAIN_IMAGES).unlink()
    with pytest.raises(DataError) as error:
        mnist(tmp_path)
    assert f"got       no {TRAIN_IMAGES}\n" in str(error.value)


def test_a_folder_in_a_files_place_and_an_unreadable_file(tmp_path):
    (put(tmp_path) / TRAIN_LABELS).unlink()
    (tmp_path / TRAIN_LABELS).mkdir()
    with pytest.raises(DataError, match=f"no {TRAIN_LABELS}"):
        mnist(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / TRAIN_LABELS)


def test_which_part_must_be_said_plainly(tmp_path):
    with pytest.raises(ArgumentError, match="train does not name a part"):
        mnist(tmp_path, train="test")


# ---- the real files -------------------------------------------------------------------------------------------------
ROOT = os.environ.get("LAMP_DATA", "")
HERE = any(
    Path(ROOT, below, TEST_IMAGES + end).is_file() for below in (".", "mnist", "MNIST/raw") for end in ("", ".gz")
)
real = pytest.mark.skipif(not (ROOT and HERE), reason="LAMP_DATA names no folder that holds MNIST")


@real
def test_the_real_training_set():
    train = mnist()
    assert train.inputs.shape == (60_000, 1, 28, 28)
    assert train.targets.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (train.inputs.min(), train.inputs.max()) == (0.0, 1.0)  # type: ignore[comparison-overlap]
    std, mean = torch.std_mean(train.inputs)
    assert (round(mean.item(), 4), round(std.item(), 4)) == (0.1307, 0.3081)
    normalized = mnist(normalize=True).inputs
    assert abs(normalized.mean()) < 1e-3
    assert abs(normalized.std() - 1.0) < 1e-3


@real
def test_the_real_test_set():
    test = mnist(train=False)
    assert test.inputs.shape == (10_000, 1, 28, 28)
    assert test.targets.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = (test.inputs * 255).round().to(torch.uint8)
    digests = sorted(hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in pixels)
    assert len(set(digests)) == 10_000  # no digit stands there twice


@real
def test_labels_belong_to_the_images():
    """Classifying by the nearest mean image is right for four of five test digits."""
    train, test = mnist().flattened(), mnist(train=False).flattened()
    templates = torch.stack([train.inputs[train.targets == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(test.inputs, templates).argmin(1)
    assert 0.80 < (nearest == test.targets).double().mean() < 0.84
