"""MNIST, read from the four files in which it was published; nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamp.data.dataset import Dataset
from lamp.errors import ArgumentError, DataError
from lamp.signatures import called
from lamp.values import a_switch, as_path

FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
VARIABLE = "LAMP_DATA"  # the environment variable with the folder of data sets
MEAN, STD = 0.1307, 0.3081  # of all training pixels, which are from 0 to 1
SIZE = 28
CLASSES = 10
UNSIGNED_BYTES = 0x08  # their code in an IDX file
GZIP_BEGINS = b"\x1f\x8b"
AGAIN = "download the file again: it is damaged, or not what its name says"


@called()
def mnist(root: str | os.PathLike[str] | None = None, train: bool = True, *, normalize: bool = False) -> Dataset:
    """Handwritten digits: 60,000 for training, or with train=False 10,000 for testing.

    root       the folder with the four files under their published names, gzipped (.gz) or not; they may also be in
               its subfolder `mnist` or `MNIST/raw`. None uses the folder in the environment variable LAMP_DATA
    normalize  whether to subtract 0.1307 and divide by 0.3081, the mean and standard deviation of the training pixels

    Inputs (n, 1, 28, 28) float32, from 0 to 1 unless normalized; targets (n,) int64, 10 classes.

    Raises DataError, which names the file, if a file is missing, damaged or not one of MNIST's.
    """
    if not isinstance(train, bool):
        raise ArgumentError(
            "train does not name a part of MNIST",
            expected="train=True or train=False",
            got=repr(train),
            fix="lamp.data.mnist(train=False) is the test set",
        )
    normalize = a_switch(normalize, "normalize")
    images_path, labels_path = _find(None if root is None else as_path(root, "root"), FILES[train])
    images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
    _check(images, labels, images_path, labels_path)
    inputs = torch.empty(len(images), 1, SIZE, SIZE, dtype=torch.float32)
    inputs.numpy()[:, 0] = images
    inputs.div_(255.0)
    if normalize:
        inputs.sub_(MEAN).div_(STD)
    targets = torch.from_numpy(labels.astype(np.int64))
    return Dataset(inputs, targets, "mnist", classes=tuple(str(digit) for digit in range(CLASSES)))


def read_idx(path: str | os.PathLike[str], axes: int | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of an IDX file, gzipped or not, as a read-only array. `axes` is the number of axes it must have.

    Format    two zero bytes; the type (0x08, unsigned bytes); the number of axes; the length of each axis as four
              big-endian bytes; then the elements in row-major order

    Raises DataError for anything else.
    """
    path = as_path(path)
    content = _content(path)
    if len(content) < 4:
        raise _damaged(path, "is too short for an IDX file", "at least 4 bytes", f"{len(content)} bytes")
    zeros, kind, dims = struct.unpack_from(">HBB", content)
    if zeros != 0 or kind != UNSIGNED_BYTES or dims == 0 or (axes is not None and dims != axes):
        expected = f"0x{UNSIGNED_BYTES << 8 | axes:08x}" if axes is not None else "0x000008.."
        raise _damaged(path, "has the wrong magic number", expected, f"0x{content[:4].hex()}")
    begin = 4 + 4 * dims
    if len(content) < begin:
        raise _damaged(path, "ends in its header", f"{begin} bytes of header", f"{len(content)} bytes")
    shape = struct.unpack_from(f">{dims}I", content, 4)
    if len(content) - begin != math.prod(shape):
        raise _damaged(
            path,
            "is truncated" if len(content) - begin < math.prod(shape) else "goes on after its end",
            f"{math.prod(shape)} bytes for {' x '.join(map(str, shape))} after the header",
            f"{len(content) - begin} bytes",
        )
    return np.frombuffer(content, np.uint8, offset=begin).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(
            path, "cannot be read", "a readable file", str(error), "check the path and its permissions"
        ) from None
    if not content.startswith(GZIP_BEGINS):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, "is not an intact gzip file", "a complete gzip file", str(error)) from None


def _check(images: Any, labels: Any, images_path: Path, labels_path: Path) -> None:
    if images.shape[1:] != (SIZE, SIZE):
        got = " x ".join(map(str, images.shape[1:]))
        raise _damaged(images_path, "holds images of another size", f"{SIZE} x {SIZE} pixels", f"{got} pixels")
    if len(images) == 0:
        raise _damaged(images_path, "holds no images", "at least one", "0")
    if len(images) != len(labels):
        fix = f"get it and {images_path.name} from the same source"
        raise _damaged(labels_path, "does not belong to the images", f"{len(images)} labels", str(len(labels)), fix)
    if labels.max() >= CLASSES:
        first = int((labels >= CLASSES).argmax())
        raise _damaged(labels_path, "holds a label that is not a digit", "0 to 9", f"{labels[first]} at {first}")


def _damaged(path: Path, what: str, expected: str, got: str, fix: str = AGAIN) -> DataError:
    return DataError(f"{path} {what}", expected=expected, got=got, fix=fix)


def _find(root: str | os.PathLike[str] | None, names: tuple[str, ...]) -> list[Path]:
    """The paths of the files of these names, with or without .gz, all in one folder. Raises DataError without them."""
    folder = root if root is not None else os.environ.get(VARIABLE)
    if not folder:
        raise DataError(
            "it is not known where MNIST is",
            expected=f"a folder with {' and '.join(names)} (or .gz)",
            got=f"no root, and the variable {VARIABLE} is not set",
            fix=f'mnist(root="folder"), or set the variable: export {VARIABLE}=folder',
        )
    candidates = [Path(folder), Path(folder, "mnist"), Path(folder, "MNIST", "raw")]
    found = [[_present(candidate / name) for name in names] for candidate in candidates]
    best = max(found, key=lambda paths: sum(path is not None for path in paths))
    here = [path for path in best if path is not None]
    if len(here) < len(names):
        missing = [name for name, path in zip(names, best, strict=True) if path is None]
        raise DataError(
            f"MNIST is not in {folder}",
            expected=f"{' and '.join(names)} (or .gz) in it, in its subfolder mnist or in MNIST/raw",
            got=f"no {' and no '.join(missing)}" if Path(folder).is_dir() else "no such folder",
            fix=f"put the files there, or name their folder: mnist(root=...) or the variable {VARIABLE}",
        )
    return here


def _present(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None
