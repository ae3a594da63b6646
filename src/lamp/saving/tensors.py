"""Tensors in safetensors files, with a digest of each, and one of what the file says about them.

The format: 8 bytes with the length of a header, little-endian; the header, a JSON object from names to dtype, shape and
place, with texts under "__metadata__"; then the numbers, one tensor after another. Nothing in it can be run.

Source    https://github.com/huggingface/safetensors (format and limits)
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from lamp.errors import CheckpointError
from lamp.saving.disk import write_file
from lamp.saving.documents import read_file
from lamp.saving.seal import BLANK, damaged, digest_of, is_sealed, seal

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
LONGEST_HEADER = 100_000_000  # bytes, as the format has it
ALIGNED = 8  # bytes: where the numbers begin


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors into one safetensors file, as a whole: a reader finds what was there before, or all of it.

    Raises CheckpointError for a tensor that the format has no form for, and where the file cannot be written.
    """
    write_file(path, lambda file: write_tensors(file, tensors, path, metadata))


def write_tensors(
    file: IO[bytes],
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write what `save_tensors` writes into an open file; errors name `path`."""
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
    """That the format has a form for it."""
    if not isinstance(name, str) or name == "__metadata__" or not isinstance(tensor, Tensor):
        raise CheckpointError(
            f"{path}: {name!r} cannot be saved", expected="names and tensors", got=type(tensor).__name__
        )
    if tensor.dtype not in NAMES or tensor.layout is not torch.strided:
        raise CheckpointError(
            f"{path}: {name!r} cannot be saved",
            expected=f"a dense tensor of dtype {', '.join(str(each).removeprefix('torch.') for each in NAMES)}",
            got=f"{tensor.dtype}, {tensor.layout}",
            fix="convert it first",
        )


def load_tensors(path: str | os.PathLike[str], *, foreign: bool = False) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, once every byte of it is found to be as it was written.

    foreign  accept a file that others wrote, without digests; one that lamp wrote is checked in any case

    Raises CheckpointError for a file that is missing, truncated, damaged, exchanged or no safetensors file.
    """
    return read_tensors(read_file(Path(path)), path, foreign=foreign)[0]


def read_tensors(
    data: bytes, path: str | os.PathLike[str], *, foreign: bool = False
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata in the bytes of a safetensors file; errors name `path`."""
    text, numbers = _cut(data, path)
    header = _parsed(text, path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path, "the metadata are no texts", "a dict of texts", type(metadata).__name__)
    ours = DIGESTS in metadata or HEADER_DIGEST in metadata
    if not ours and not foreign:
        raise damaged(path, "a safetensors file that lamp did not write", "a digest of each tensor", "none")
    if ours and not is_sealed(text, MARK):
        raise damaged(path, "the header is not as it was written", "the digest that it holds", "another one")
    digests: dict[str, str] = json.loads(metadata.pop(DIGESTS)) if ours else {}
    metadata.pop(HEADER_DIGEST, None)
    tensors: dict[str, Tensor] = {}
    end = 0
    for name, entry in sorted(header.items(), key=_start_of):
        dtype, shape, (start, stop) = _entry(name, entry, path)
        if start != end or stop - start != math.prod(shape) * dtype.itemsize or stop > len(numbers):
            raise damaged(
                path,
                f"the tensor {name!r} does not fit its place",
                f"{math.prod(shape) * dtype.itemsize} bytes from {end} on, of {len(numbers)}",
                f"from {start} to {stop}",
            )
        end = stop
        piece = numbers[start:stop]
        if ours and digests.get(name) != digest_of(piece):
            raise damaged(path, f"the tensor {name!r} is not as it was written", "its digest", "another one")
        flat = torch.frombuffer(bytearray(piece), dtype=dtype) if len(piece) else torch.empty(0, dtype=dtype)
        tensors[name] = flat.view(shape)
    if end != len(numbers):
        raise damaged(path, "bytes after the last tensor", f"{end} bytes of numbers", f"{len(numbers)}")
    if sys.byteorder == "big":
        raise CheckpointError(f"{path}: safetensors files are little-endian, this machine is not")
    return {name: tensors[name] for name in header}, metadata


def _bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's numbers in row-major order."""
    row = tensor.detach().to("cpu").reshape(-1)
    if row.stride(0) != 1:  # one number of many, which torch takes for dense
        row = row.clone(memory_format=torch.contiguous_format)
    return memoryview(row.view(torch.uint8).numpy())  # type: ignore[arg-type]


# ---- reading what may be anything ------------------------------------------------------------------------------------
def _cut(data: bytes, path: object) -> tuple[bytes, memoryview]:
    """The header and the numbers of a file."""
    length = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else None
    if length is None or length > min(LONGEST_HEADER, len(data) - 8):
        raise damaged(
            path,
            "no safetensors file, or a truncated one",
            "8 bytes with the length of a header, and the header",
            f"{len(data)} bytes" + ("" if length is None else f", a header of {length}"),
        )
    return data[8 : 8 + length], memoryview(data)[8 + length :]


def _parsed(text: bytes, path: object) -> dict[str, Any]:
    """The header as a dict, each of its names once."""

    def once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        pairs = list(pairs)
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a name that stands there twice")
        return dict(pairs)

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once)
        if not isinstance(header, dict):
            raise ValueError(type(header).__name__)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "the header of this safetensors file cannot be read", "a JSON object", error) from error
    return header


def _start_of(item: tuple[str, Any]) -> tuple[int, ...]:
    """Where a tensor's bytes begin and end, for putting entries in order."""
    offsets = item[1].get("data_offsets") if isinstance(item[1], dict) else None
    fits = isinstance(offsets, list) and all(type(each) is int for each in offsets)
    return tuple(offsets) if fits else ()  # type: ignore[arg-type]


def _entry(name: str, entry: Any, path: object) -> tuple[torch.dtype, list[int], tuple[int, int]]:
    """Dtype, shape and place of a tensor, as the header says them."""
    wrong = damaged(path, f"the entry of {name!r}", '{"dtype", "shape", "data_offsets"}', str(entry)[:80])
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise wrong
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES or len(offsets) != 2:
        raise wrong
    return DTYPES[entry["dtype"]], shape, (offsets[0], offsets[1])
