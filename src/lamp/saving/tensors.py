"""Tensors in safetensors files, with a digest of each tensor and one of the header.

The format: 8 bytes with the length of the header, little-endian; the header, a JSON object that gives the dtype, shape
and offsets of each name, with texts under "__metadata__"; then the numbers of all tensors. Nothing in it is executable.

Source    https://github.com/huggingface/safetensors (format and limits)
"""

import json
import math
import os
import struct
import sys
from collections.abc import Mapping
from typing import IO, Annotated, Any, Literal, TypedDict

import torch
from torch import Tensor

from lamp.errors import CheckpointError
from lamp.saving.disk import write_file
from lamp.saving.documents import parse_object
from lamp.saving.paths import read_file
from lamp.saving.schema import Range, check
from lamp.saving.seal import BLANK, DamagedError, digest_of, is_sealed, seal
from lamp.values import as_path

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}

MARK = b'"lamp.sha256_of_this_header":"'
DIGESTS, HEADER_DIGEST = "lamp.sha256_of_tensors", "lamp.sha256_of_this_header"
LONGEST_HEADER = 100_000_000  # bytes, the format's limit
ALIGNED = 8  # bytes; the numbers begin at a multiple of this
MOST_AXES = 64

Size = Annotated[int, Range(0, 2**62)]


class Entry(TypedDict):
    """The header's entry for a tensor."""

    dtype: Literal[
        "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"
    ]
    shape: list[Size]
    data_offsets: list[Size]


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors into a safetensors file, atomically: a reader finds the old file or the complete new one.

    Raises CheckpointError for a tensor that the format cannot hold, and if the file cannot be written.
    """
    write_file(path, lambda file: write_tensors(file, tensors, path, metadata))


def write_tensors(
    file: IO[bytes],
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the same as `save_tensors` into an open file; errors name `path`."""
    entries: dict[str, dict[str, Any]] = {}
    digests: dict[str, str] = {}
    start = 0
    for name, tensor in tensors.items():
        _check(name, tensor, path)
        stop = start + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, stop]}
        digests[name] = digest_of(_bytes_of(tensor))
        start = stop
    about = {**(metadata or {}), DIGESTS: json.dumps(digests), HEADER_DIGEST: BLANK.decode()}
    text = json.dumps({"__metadata__": about, **entries}, separators=(",", ":")).encode()
    text = seal(text + b" " * (-len(text) % ALIGNED), MARK)
    file.write(struct.pack("<Q", len(text)) + text)
    for tensor in tensors.values():
        file.write(_bytes_of(tensor))


def _check(name: Any, tensor: Any, path: object) -> None:
    """Raise CheckpointError if the format cannot hold this name or tensor."""
    if not isinstance(name, str) or name == "__metadata__" or not isinstance(tensor, Tensor):
        raise CheckpointError(
            f"{path}: {name!r} cannot be saved",
            expected="names and tensors",
            got=type(tensor).__name__,
            fix="save a dict of tensors",
        )
    if tensor.dtype not in NAMES or tensor.layout is not torch.strided:
        raise CheckpointError(
            f"{path}: {name!r} cannot be saved",
            expected=f"a dense tensor of dtype {', '.join(str(each).removeprefix('torch.') for each in NAMES)}",
            got=f"{tensor.dtype}, {tensor.layout}",
            fix="convert it first: tensor.to(dtype), tensor.to_dense()",
        )


def load_tensors(path: str | os.PathLike[str], *, foreign: bool = False) -> dict[str, Tensor]:
    """{name: tensor on the CPU} of a safetensors file, after a check that no byte has changed.

    foreign  whether to accept a file without digests, which another program wrote; lamp's files are always checked

    Raises CheckpointError for a file that is missing, truncated, damaged, replaced or not a safetensors file.
    """
    path = as_path(path)
    return read_tensors(read_file(path), path, foreign=foreign)[0]


def read_tensors(
    data: bytes, path: str | os.PathLike[str], *, foreign: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata in the bytes of a safetensors file. Raises DamagedError, which names `path`."""
    text, numbers = _cut(data, path)
    header = parse_object(text, path)
    metadata = header.pop("__metadata__", {})
    check(metadata, dict[str, str], path, "__metadata__")
    ours = DIGESTS in metadata or HEADER_DIGEST in metadata
    if not ours and not foreign:
        raise DamagedError(f"{path}: lamp did not write this safetensors file", "a digest of each tensor", "no digests")
    if ours and not is_sealed(text, MARK):
        raise DamagedError(f"{path}: the header has changed since it was written", "its digest", "another digest")
    digests: dict[str, Any] = (
        parse_object(metadata.pop(DIGESTS, "").encode("utf-8", "surrogatepass"), path) if ours else {}
    )
    metadata.pop(HEADER_DIGEST, None)
    check(header, dict[str, Entry], path)
    tensors: dict[str, Tensor] = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        flat_bytes = _bytes_at(entry, end, len(numbers))
        if flat_bytes is None:
            raise DamagedError(
                f"{path}: the entry of the tensor {name!r} is inconsistent",
                f"dtype, shape and offsets that fit each other, from byte {end} on, within {len(numbers)} bytes",
                str(entry)[:120],
            )
        end += flat_bytes
        piece = numbers[end - flat_bytes : end]
        if ours and digests.get(name) != digest_of(piece):
            raise DamagedError(f"{path}: the tensor {name!r} has changed since it was written", "its digest", "another")
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(bytearray(piece), dtype=dtype) if len(piece) else torch.empty(0, dtype=dtype)
        tensors[name] = flat.view(entry["shape"])
    if end != len(numbers):
        raise DamagedError(f"{path}: there are bytes after the last tensor", f"{end} bytes", f"{len(numbers)} bytes")
    if sys.byteorder == "big":
        raise CheckpointError(
            f"{path}: safetensors files are little-endian, but this machine is not",
            expected="a little-endian machine",
            got=f"{sys.byteorder}-endian",
            fix="read it on another machine",
        )
    return {name: tensors[name] for name in header}, metadata


def _bytes_at(entry: Entry, start: int, room: int) -> int | None:
    """The size of a tensor in bytes, if its offsets begin at `start` and fit its shape and dtype; else None."""
    shape, offsets = entry["shape"], entry["data_offsets"]
    if (
        len(shape) > MOST_AXES or math.prod(n for n in shape if n) >= 2**63
    ):  # torch multiplies the other sizes even if one is 0
        return None
    size = math.prod(shape) * DTYPES[entry["dtype"]].itemsize
    return size if offsets == [start, start + size] and start + size <= room else None


def _bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes in row-major order."""
    row = tensor.detach().to("cpu").reshape(-1)
    if row.stride(0) != 1:  # a single strided number, which torch takes for dense
        row = row.clone(memory_format=torch.contiguous_format)
    return memoryview(row.view(torch.uint8).numpy())  # type: ignore[arg-type]


# ---- files of other formats ------------------------------------------------------------------------------------------
STATE_DICT = "lamp's model.load_state_dict(state), or lamp.from_torch(network)"
OTHERS = {  # {first bytes: (kind of file, what to do with it)}
    b"PK\x03\x04": ("a zip archive, as torch.save writes", f"torch.load(path, weights_only=True), then {STATE_DICT}"),
    b"\x80": (
        "a pickle, as old versions of torch.save wrote",
        f"torch.load(path, weights_only=True), then {STATE_DICT}",
    ),
    b"\x89HDF": ("an HDF5 file, as Keras writes", f"read the weights with Keras, then {STATE_DICT}"),
    b"\x93NUMPY": ("a numpy array", f"torch.from_numpy(numpy.load(path)), then {STATE_DICT}"),
    b"\x1f\x8b": ("a gzip archive", "unpack it first: gunzip"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file itself: git lfs pull"),
    b"<": ("a web page, or XML", "download the file itself"),
    b"{": ("text, such as JSON", "name the safetensors file"),
}


def _cut(data: bytes, path: object) -> tuple[bytes, memoryview]:
    """The header and the numbers of a file."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else None
    if length is not None and length <= min(LONGEST_HEADER, len(data) - 8):
        return data[8 : 8 + length], memoryview(data)[8 + length :]
    for begins, (what, fix) in OTHERS.items():
        if data.startswith(begins):
            raise DamagedError(f"{path} is not a safetensors file", "a file of lamp.save, or of safetensors", what, fix)
    raise DamagedError(
        f"{path} is not a safetensors file, or is truncated",
        "8 bytes with the length of a header, followed by the header",
        f"{len(data)} bytes" + ("" if length is None else f", a header of {length}") if data else "an empty file",
    )
