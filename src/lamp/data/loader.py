"""Batches, an epoch at a time, in an order that depends on a seed and the epoch alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.data.collate import collate
from lamp.data.columns import flattened, in_form
from lamp.data.forms import columns_of, is_table
from lamp.data.orders import order
from lamp.data.replica_data import as_indices, check_indices, replica_data_of
from lamp.errors import ArgumentError, DataError
from lamp.signatures import called
from lamp.values import integer, natural

GATHERED_BYTES = 4 * 2**20  # of shuffled samples copied at a time: many batches, yet they stay in the processor's cache
_WORKERS = "data in memory need none; fit also takes a torch DataLoader, with workers, as data"
INSTEAD = {  # arguments of torch's DataLoader
    **dict.fromkeys(("num_workers", "worker_init_fn", "multiprocessing_context", "prefetch_factor"), _WORKERS),
    **dict.fromkeys(("persistent_workers", "timeout", "in_order", "pin_memory", "pin_memory_device"), _WORKERS),
    "sampler": "indices= says which samples are taken, shuffle=True and seed= the order",
    "batch_sampler": "a list of batches, which fit takes as data",
    "collate_fn": "let the data set give numbers, arrays or tensors of one shape; or take a torch DataLoader",
    "generator": "seed= is an integer, and says every order",
}
BATCHES_AT_A_TIME = 1024  # cut from that, so that batches of one sample do not become a million tensors


class DataLoader:
    """The samples of a data set in batches; iterate it once an epoch.

    dataset     (inputs, targets) as a tuple or list of tensors or arrays of equal length, where several inputs stand
                one after another, (a, b, targets), or in a tuple, ((a, b), targets); one tensor; a lamp Dataset; or
                anything with `len` and `[index]` whose items are numbers, arrays, tensors or tuples of those
    batch_size  samples a batch; the last batch may be smaller
    shuffle     whether every epoch takes the samples in a new random order
    drop_last   leave out the last batch if it is smaller
    seed        of the orders; None draws one from torch's default generator when the first order is needed; a sequence
                of K seeds gives each of K replicas an order of its own
    indices     which samples are taken: (m,), or (K, m) where each replica takes its own, such as a fold or a
                bootstrap sample
    replicas    K where each replica has data of its own: the columns are then (K, n, ...)

    A batch is a tuple of tensors, one a column, in the form of the data; of a single tensor, it is a tensor. Tensors
    are kept as they are; numpy arrays of integers become int64 and those of floats torch.get_default_dtype(). Without
    shuffling batches are views of the data, nothing is copied.

    Epoch e takes the samples in `lamp.data.order(n, seed, e)`. `loader.epoch` is the number of the next epoch: each
    iteration begun adds one, and a training that is resumed sets it.

    For a population, where seeds, indices or data are K, batches are (K, B, ...), row k for replica k: the one that a
    loader with its seed, its indices and its data would give. Else a batch is shared by all.

    Source    torch.utils.data.DataLoader (names, order of arguments)

    Raises DataError for data that are empty, differ in length or come in an unknown form, ArgumentError for an argument
    out of range or for another number of replicas, and ShapeError for columns that are not (K, n, ...).
    """

    @called(instead=INSTEAD)
    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int | Sequence[int] | None = None,
        indices: Any = None,
        replicas: int | None = None,
    ) -> None:
        for name, value in (("shuffle", shuffle), ("drop_last", drop_last)):
            if not isinstance(value, bool):
                raise ArgumentError(
                    f"{name} is a switch", expected="True or False", got=repr(value), fix=f"{name}=True"
                )
        if isinstance(batch_size, Tensor):
            raise ArgumentError(
                "batch_size is a tensor",
                expected="the data as one argument, then the batch size",
                got=f"a tensor {tuple(batch_size.shape)} as the second argument",
                fix="DataLoader((inputs, targets), batch_size)",
            )
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        self.batch_size = natural(batch_size, "batch_size", least=1)
        self.tensors = columns_of(dataset)  # None: the data set is asked sample by sample
        self._in_tuples = isinstance(dataset, tuple | list) or is_table(dataset)
        form = flattened(dataset)[1] if isinstance(dataset, tuple | list) and self.tensors is not None else ()
        self._form = form if any(isinstance(each, tuple) for each in form) else None
        seeds = [integer(each, "seed") for each in seed] if isinstance(seed, Sequence) else None
        self._seed = None if seed is None or isinstance(seed, Sequence) else integer(seed, "seed")
        self._indices = as_indices(indices, self.tensors, replicas)
        self._replica_data = replica_data_of(self.tensors, replicas, seeds if shuffle else None, self._indices)
        self._epoch = 0
        if len(self) == 0:
            raise ArgumentError(
                "drop_last leaves no batch",
                expected=f"at least batch_size = {self.batch_size} samples",
                got=self.samples,
                fix="drop_last=False, or a smaller batch_size",
            )

    @property
    def samples(self) -> int:
        """The number of samples in an epoch (of one replica)."""
        if self._replica_data is not None:
            return self._replica_data.samples
        return self._length if self._indices is None else len(self._indices)

    @property
    def _length(self) -> int:
        """The number of samples in the data set, whichever are taken."""
        if self._replica_data is not None:
            return self._replica_data.length
        return len(self.dataset) if self.tensors is None else self.tensors[0].shape[0]

    @property
    def replicas(self) -> int | None:
        """K where batches are (K, B, ...); None where they are shared."""
        return None if self._replica_data is None else self._replica_data.replicas

    @property
    def per_replica(self) -> bool:
        """Whether each replica has data of its own, so that columns are (K, n, ...)."""
        return self._replica_data is not None and self._replica_data.per_replica

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The columns that samples are taken from: (n, ...), or (K, n, ...) where each replica has its own."""
        assert self.tensors is not None
        return self.tensors if self._replica_data is None else self._replica_data.columns

    def of_replicas(self, rows: Tensor) -> DataLoader:
        """A loader of these replicas' batches alone, at the same epoch; of shared batches, one like this."""
        chosen = copy.copy(self)
        chosen._replica_data = None if self._replica_data is None else self._replica_data.of(rows)
        return chosen

    @property
    def epoch(self) -> int:
        """The number of the next epoch, which decides its order; set it to resume."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = natural(epoch, "epoch")

    @property
    def seed(self) -> int | Sequence[int] | None:
        """The seed of the orders, or K of them; None as long as none was given and none was needed."""
        return (
            self._seed if self._replica_data is None or self._replica_data.seeds is None else self._replica_data.seeds
        )

    @property
    def indices(self) -> Tensor | None:
        """Which samples are taken: (m,), or (K, m); None for all of them."""
        return self._indices if self._replica_data is None else self._replica_data.indices

    def state_dict(self) -> dict[str, Any]:
        """What decides the orders to come: the seed, drawn or given, and the number of the next epoch."""
        return {"seed": self.seed, "epoch": self._epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        seed, self.epoch = state_dict["seed"], state_dict["epoch"]
        if isinstance(seed, Sequence) and self._replica_data is not None:
            self._replica_data.seeds = list(seed)
        elif not isinstance(seed, Sequence):
            self._seed = seed

    def order_of(self, epoch: int) -> Tensor | None:
        """The order in which an epoch takes the samples: their places (m,), or (K, m); None for as they stand."""
        if self.shuffle and self._seed is None and (self._replica_data is None or self._replica_data.seeds is None):
            self._seed = int(torch.empty((), dtype=torch.int64).random_().item())
        if (indices := self.indices) is not None:  # which `loader.indices` hands out, to be written to
            check_indices(indices, self._length)
        if self._replica_data is not None:
            return self._replica_data.order_of(epoch, self._seed if self.shuffle else None)
        if not self.shuffle:
            return self._indices
        shuffled = order(self.samples, self._seed, epoch)  # type: ignore[arg-type]
        return shuffled if self._indices is None else self._indices[shuffled]

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def check_memory(self) -> None:
        """Raise DataError where the memory of the data was let go of since the loader was made."""
        for tensor in self.tensors or ():
            steps = zip(tensor.shape, tensor.stride(), strict=True)
            last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
            held = tensor.untyped_storage().nbytes()
            if tensor.numel() and held < (last + 1) * tensor.element_size():
                raise DataError(
                    "the memory of the data was freed or made smaller",
                    expected=f"{(last + 1) * tensor.element_size()} bytes for a tensor {tuple(tensor.shape)}",
                    got=f"{held} bytes",
                    fix="leave tensors as they are while something trains on them, or give a copy: tensor.clone()",
                )

    def __iter__(self) -> Iterator[Any]:
        self.check_memory()
        indices = self.order_of(self._epoch)
        self._epoch += 1
        stop = min(len(self) * self.batch_size, self.samples)  # what drop_last leaves
        if self.tensors is None:
            return self._asked_for(indices, stop)
        batches: Iterator[Any]
        if self._replica_data is not None:
            batches = self._replica_data.batches(indices, stop, self.batch_size, self._at_a_time())
            batches = batches if self._in_tuples else (batch[0] for batch in batches)
        else:
            batches = self._cut(self.tensors, indices, stop)
        return (self.in_form(batch) for batch in batches) if self.is_nested else batches

    @property
    def is_nested(self) -> bool:
        """Whether columns stand in a tuple within the data, and so in each batch."""
        return self._form is not None

    def in_form(self, columns: Sequence[Any]) -> Any:
        """Columns as they stand in the data, such as ((source, image), targets)."""
        return tuple(columns) if self._form is None else in_form(columns, self._form)

    def _at_a_time(self) -> int:
        """How many batches are gathered together."""
        assert self.tensors is not None
        own = self._replica_data is not None and self._replica_data.per_replica
        sample_bytes = sum(t.element_size() * t.shape[2 if own else 1 :].numel() for t in self.tensors)
        fitting = GATHERED_BYTES // max(sample_bytes * self.batch_size * (self.replicas or 1), 1)
        return min(max(fitting, 1), BATCHES_AT_A_TIME)

    def _cut(self, tensors: tuple[Tensor, ...], indices: Tensor | None, stop: int) -> Iterator[Any]:
        """Batches of columns, gathered many at a time."""
        batch_size = self.batch_size
        step = self._at_a_time() * batch_size
        for start in range(0, stop, step):
            end = min(start + step, stop)
            yield from _batches_between(tensors, indices, start, end, batch_size, self._in_tuples)

    def _asked_for(self, indices: Tensor | None, stop: int) -> Iterator[Any]:
        """Batches of a data set that gives one sample at a time."""
        for start in range(0, stop, self.batch_size):
            end = min(start + self.batch_size, stop)
            chosen = list(range(start, end)) if indices is None else indices[start:end].tolist()
            yield collate([self.dataset[index] for index in chosen], chosen)

    def __repr__(self) -> str:
        told = f"samples={self.samples}, batch_size={self.batch_size}, shuffle={self.shuffle}"
        told += ", drop_last=True" if self.drop_last else ""
        told += "" if self.replicas is None else f", replicas={self.replicas}"
        return f"DataLoader({told}, seed={self.seed}, epoch={self._epoch})"


def _batches_between(
    tensors: tuple[Tensor, ...], indices: Tensor | None, start: int, stop: int, batch_size: int, in_tuples: bool
) -> Iterator[Any]:
    """The batches of the samples from start to stop of the order; only the batches keep them alive."""
    chosen = None if indices is None else indices[start:stop]
    full, rest = divmod(stop - start, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    columns = []
    for tensor in tensors:
        part = tensor[start:stop] if chosen is None else tensor.index_select(0, chosen.to(tensor.device))
        columns.append(part.unsafe_split_with_sizes(sizes))  # views, at half of split's price: autograd is not told
    return zip(*columns, strict=True) if in_tuples else iter(columns[0])
