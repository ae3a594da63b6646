"""Sequences of different lengths in one tensor: padded, or packed without padding.

These are operations on tensors, not modules. A packed sequence is what RNN, LSTM and GRU take for a batch of sequences
of different lengths, and put out for it; those of torch.nn.utils.rnn serve as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamp.errors import ArgumentError, DataError, ShapeError
from lamp.trees import is_packed
from lamp.values import a_switch, is_one_of


class PackedSequence(NamedTuple):
    """A batch of sequences, longest first, packed without padding: all first steps, then all second steps, and so on.

    data              (sum of all lengths, ...)
    batch_sizes       int64 (steps,), on the CPU: the number of sequences that have this step
    sorted_indices    the place in the batch of each sequence, longest first; None if the batch was sorted
    unsorted_indices  the opposite: where each sequence of the batch stands, longest first
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def places(batch_sizes: Tensor) -> Tensor:
    """The place of each row of packed data in a padded batch whose first two axes, steps and sequences, are one."""
    sequences = torch.arange(int(batch_sizes[0]))
    return (sequences < batch_sizes.unsqueeze(1)).flatten().nonzero().squeeze(1)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch (T, B, ...) as a packed sequence, without the padding.

    lengths         the length of each sequence
    batch_first     whether the input is (B, T, ...)
    enforce_sorted  whether the sequences must come longest first; if False, they are sorted here

    It is also the backward of `pad_packed_sequence`. Source: torch.nn.utils.rnn.

    Raises ShapeError and ArgumentError for lengths that do not fit the input or are not sorted.
    """
    first, sorted_already = a_switch(batch_first, "batch_first"), a_switch(enforce_sorted, "enforce_sorted")
    padded = _time_first(input, first, "input")
    counts = _lengths(lengths, padded.shape[1], padded.shape[0])
    order = None
    if not sorted_already:
        counts, order = counts.sort(descending=True)
        order = order.to(padded.device)
        padded = padded.index_select(1, order)
    elif (counts[1:] > counts[:-1]).any():
        raise ArgumentError(
            "the sequences are not sorted by length",
            expected="lengths that do not grow, longest first",
            got=counts.tolist(),
            fix="enforce_sorted=False, which sorts them and remembers the order",
        )
    steps = int(counts[0])
    sizes = (counts > torch.arange(steps).unsqueeze(1)).sum(1)
    data = padded[:steps].flatten(0, 1).index_select(0, places(sizes).to(padded.device))
    return PackedSequence(data, sizes, order, None if order is None else order.argsort())


def pad_packed_sequence(
    sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """A packed sequence as a padded batch (T, B, ...), and the length of each sequence, int64 (B,).

    batch_first    whether the result is (B, T, ...)
    padding_value  the number that fills up shorter sequences
    total_length   T; None for the length of the longest sequence

    It is also the backward of `pack_padded_sequence`. Source: torch.nn.utils.rnn.
    """
    _check_packed(sequence)
    data, sizes = sequence.data, sequence.batch_sizes
    steps, batch = len(sizes), int(sizes[0])
    total = steps if total_length is None else total_length
    if not isinstance(total, int) or total < steps:
        raise ArgumentError(
            "total_length is less than the longest sequence",
            expected=f"an integer of at least {steps}",
            got=total,
            fix=f"total_length={steps}, or leave it out",
        )
    padded = data.new_full((total * batch, *data.shape[1:]), padding_value)
    padded.index_copy_(0, places(sizes).to(data.device), data)
    padded = padded.view(total, batch, *data.shape[1:])
    lengths = (sizes.unsqueeze(1) > torch.arange(batch)).sum(0)
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (padded.transpose(0, 1) if a_switch(batch_first, "batch_first") else padded), lengths


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, ...) of different lengths as one tensor (T, B, ...), where T is the longest length.

    batch_first    whether the result is (B, T, ...)
    padding_value  the number that fills up shorter sequences
    padding_side   "right" or "left": where they are filled up

    Raises DataError for anything but tensors that differ in their lengths alone.
    """
    listed = _listed(sequences)
    if not is_one_of(padding_side, "left", "right"):
        raise ArgumentError(
            "padding_side names a side", expected="'left' or 'right'", got=repr(padding_side), fix="name one of these"
        )
    longest = max(len(each) for each in listed)
    padded = listed[0].new_full((len(listed), longest, *listed[0].shape[1:]), padding_value)
    for row, each in zip(padded, listed, strict=True):
        start = 0 if padding_side == "right" else longest - len(each)
        row[start : start + len(each)] = each
    return padded if a_switch(batch_first, "batch_first") else padded.transpose(0, 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences (length, ...) of a padded batch (T, B, ...), or (B, T, ...) if `batch_first`."""
    padded = _time_first(padded_sequences, a_switch(batch_first, "batch_first"), "padded_sequences")
    counts = _lengths(lengths, padded.shape[1], padded.shape[0], least=0)
    return [padded[:length, k] for k, length in enumerate(counts.tolist())]


def pack_sequence(sequences: Iterable[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (length, ...) as a packed sequence; see `pack_padded_sequence` for `enforce_sorted`."""
    listed = _listed(sequences)
    lengths = torch.tensor([len(each) for each in listed])
    return pack_padded_sequence(pad_sequence(listed), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: Any) -> list[Tensor]:
    """The sequences (length, ...) of a packed sequence, in the order of the batch."""
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)


# ---- checks ----------------------------------------------------------------------------------------------------------
def _check_packed(sequence: Any) -> None:
    if not is_packed(sequence):
        raise ArgumentError(
            "this is not a packed sequence",
            expected="a PackedSequence, lamp's or torch's",
            got=type(sequence).__name__,
            fix="lamp.nn.pack_sequence(sequences, enforce_sorted=False)",
        )


def _time_first(padded: Any, batch_first: bool, name: str) -> Tensor:
    if not isinstance(padded, Tensor) or padded.dim() < 2:
        raise ShapeError(
            f"{name} is not a padded batch",
            expected="a tensor (B, T, ...)" if batch_first else "a tensor (T, B, ...)",
            got=tuple(padded.shape) if isinstance(padded, Tensor) else type(padded).__name__,
            fix="lamp.nn.pad_sequence(sequences), for a list of sequences",
        )
    return padded.transpose(0, 1) if batch_first else padded


def _lengths(lengths: Any, batch: int, steps: int, least: int = 1) -> Tensor:
    """The lengths as int64 (B,) on the CPU. Raises ArgumentError for lengths that do not fit."""
    try:
        counts = torch.as_tensor(lengths, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        counts = torch.empty(0)
    whole = not counts.is_floating_point() and not counts.is_complex() and counts.dtype is not torch.bool
    if (
        not whole
        or counts.shape != (batch,)
        or not batch
        or not least <= int(counts.min()) <= int(counts.max()) <= steps
    ):
        raise ArgumentError(
            "the lengths do not fit the batch",
            expected=f"{batch} integers from {least} to {steps}",
            got=str(counts.tolist())[:80] if counts.numel() else repr(lengths)[:80],
            fix="pass the length of each sequence of the batch",
        )
    return counts.to(torch.int64)


def _listed(sequences: Any) -> list[Tensor]:
    listed = list(sequences) if isinstance(sequences, Iterable) else []
    tensors = [each for each in listed if isinstance(each, Tensor) and each.dim() > 0]
    forms = {(each.shape[1:], each.dtype, each.device) for each in tensors}
    if len(forms) != 1 or len(tensors) != len(listed):
        raise DataError(
            "these are no sequences that can be one batch",
            expected="tensors (length, ...) that differ in their lengths alone, at least one",
            got=", ".join(
                str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in listed
            )
            or repr(sequences)[:80],
            fix="pass a list of tensors of one dtype, on one device",
        )
    return listed
