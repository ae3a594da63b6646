"""DataLoader: the batches of an epoch, in an order that depends only on a seed and the epoch's number."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamp.data.collate import collate
from lamp.data.columns import check_memory, flattened, in_form
from lamp.data.forms import columns_of, is_table, unknown_form
from lamp.data.orders import order
from lamp.data.replica_data import as_indices, check_indices, replica_data_of
from lamp.errors import ArgumentError, DataError
from lamp.signatures import called
from lamp.state_dict import check_state_of
from lamp.torch_habits import explains_attributes, missing_attribute, without_items
from lamp.values import a_switch, integer, kind_of, natural

GATHERED_BYTES = 4 * 2**20  # bytes of shuffled samples copied at a time: many batches that still fit into the cache
_WORKERS = "data in memory do not need it; for workers, pass a torch DataLoader to fit"
INSTEAD = {  # arguments of torch's DataLoader
    **dict.fromkeys(("num_workers", "worker_init_fn", "multiprocessing_context", "prefetch_factor"), _WORKERS),
    **dict.fromkeys(("persistent_workers", "timeout", "in_order", "pin_memory", "pin_memory_device"), _WORKERS),
    "sampler": "indices= chooses the samples; shuffle=True and seed= choose the order",
    "batch_sampler": "pass a list of batches to fit as data",
    "collate_fn": "let the data set return numbers, arrays or tensors of one shape; or use a torch DataLoader",
    "generator": "seed= takes an integer, which decides every order",
}
LOOKED_FOR = {  # attributes of torch's loader and of data sets
    **dict.fromkeys(("num_workers", "pin_memory", "worker_init_fn"), _WORKERS),
    **dict.fromkeys(("sampler", "batch_sampler", "generator"), "loader.shuffle, loader.seed and loader.indices"),
    "collate_fn": "lamp's loaders have none: a batch is cut from tensors",
    **dict.fromkeys(("inputs", "targets", "x", "y", "data", "shape", "classes", "features"), "loader.dataset"),
    **dict.fromkeys(("map", "transform", "batch"), "change the tensors before the loader is made"),
    "to": "move the data: lamp.DataLoader(dataset.to(device), ...)",
    "next": "next(iter(loader)) is a batch",
}
CHOSEN = ("dataset", "seed", "indices", "replicas")  # what a loader keeps from its construction on
BATCHES_AT_A_TIME = 1024  # most batches cut from these, so that tiny batches do not become a million tensors


@explains_attributes(LOOKED_FOR)
class DataLoader:
    """The samples of a data set in batches; iterate over it once per epoch.

    dataset     (inputs, targets) as a tuple or list of tensors or arrays of equal length. Several inputs come one after
                another, (a, b, targets), or in a tuple, ((a, b), targets). Or one tensor; a lamp Dataset; or an object
                with `len` and `[index]` whose items are numbers, arrays, tensors or tuples of these; if it has
                `__getitems__`, that is called with the indices of a batch, and returns a list of items
    batch_size  number of samples per batch; the last batch may be smaller
    shuffle     whether every epoch takes the samples in a new random order
    drop_last   whether to leave out a last batch that is smaller
    seed        seed of the orders; None draws one from torch's default generator when the first order is needed; a
                sequence of K seeds gives each of K replicas its own order
    indices     the samples to use: (m,), or (K, m) if each replica has its own, such as a fold or a bootstrap sample
    replicas    K if each replica has its own data; the columns are then (K, n, ...)

    A batch is a tuple of tensors, one per column, nested like the data; for a single tensor, it is a tensor. Tensors
    are not changed; numpy arrays of integers become int64, and arrays of floats become torch.get_default_dtype().
    Without shuffling, batches are views of the data, and nothing is copied.

    Epoch e takes the samples in the order `lamp.data.order(n, seed, e)`. `loader.epoch` is the number of the next
    epoch. It grows by one with each iteration that is begun, and a resumed training sets it.

    If there are K seeds, K rows of indices or K data sets, batches are (K, B, ...), and row k is what a loader with
    replica k's seed, indices and data would give. Otherwise all replicas share each batch.

    Source    torch.utils.data.DataLoader (names, order of arguments)

    Raises DataError for data that are empty, differ in length or have an unknown form, ArgumentError for an argument
    out of range or for different numbers of replicas, and ShapeError for columns that are not (K, n, ...).
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
        if isinstance(batch_size, Tensor):
            raise ArgumentError(
                "batch_size is a tensor",
                expected="the data as one argument, followed by the batch size",
                got=f"a tensor {tuple(batch_size.shape)} as the second argument",
                fix="DataLoader((inputs, targets), batch_size)",
            )
        if isinstance(dataset, DataLoader):
            raise unknown_form(dataset, "iterate over the loader, or pass its data: lamp.DataLoader(loader.dataset)")
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        self.batch_size = batch_size
        self.tensors = columns_of(dataset)  # None if the data set returns samples by index
        self._in_tuples = isinstance(dataset, tuple | list) or is_table(dataset)
        form = flattened(dataset)[1] if isinstance(dataset, tuple | list) and self.tensors is not None else ()
        self._form = form if any(isinstance(each, tuple) for each in form) else None
        listed = isinstance(seed, Sequence) and not isinstance(seed, str | bytes) and len(seed) > 0
        seeds = [integer(each, "seed") for each in seed] if listed else None  # type: ignore[union-attr]
        self._seed = None if seed is None or listed else integer(seed, "seed")
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

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "batch_size":
            value = natural(value, name, least=1)
        elif name in ("shuffle", "drop_last"):
            value = a_switch(value, name)
        elif name in CHOSEN and "_epoch" in vars(self):
            raise ArgumentError(
                f"{name} is chosen when a loader is made",
                expected="batch_size, shuffle, drop_last or epoch, which may change",
                got=f"loader.{name} = {value!r}"[:60],
                fix=f"lamp.DataLoader(..., {name}=...)" if name != "dataset" else "lamp.DataLoader(dataset, ...)",
            )
        elif name in LOOKED_FOR and type(self) is DataLoader:
            raise missing_attribute(self, name, LOOKED_FOR)
        super().__setattr__(name, value)

    @property
    def samples(self) -> int:
        """The number of samples per epoch (and replica)."""
        if self._replica_data is not None:
            return self._replica_data.samples
        return self._length if self._indices is None else len(self._indices)

    @property
    def _length(self) -> int:
        """The number of samples in the data set, whether they are used or not."""
        if self._replica_data is not None:
            return self._replica_data.length
        return len(self.dataset) if self.tensors is None else self.tensors[0].shape[0]

    @property
    def replicas(self) -> int | None:
        """K if batches are (K, B, ...); None if all replicas share them."""
        return None if self._replica_data is None else self._replica_data.replicas

    @property
    def per_replica(self) -> bool:
        """Whether each replica has its own data, so that columns are (K, n, ...)."""
        return self._replica_data is not None and self._replica_data.per_replica

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The columns that hold the samples: (n, ...), or (K, n, ...) if each replica has its own."""
        assert self.tensors is not None
        return self.tensors if self._replica_data is None else self._replica_data.columns

    def of_replicas(self, rows: Tensor) -> DataLoader:
        """A loader of the batches of only these replicas, at the same epoch; shared batches stay the same."""
        chosen = copy.copy(self)
        chosen._replica_data = None if self._replica_data is None else self._replica_data.of(rows)
        return chosen

    @property
    def epoch(self) -> int:
        """The number of the next epoch, which decides its order; set it to resume a training."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = natural(epoch, "epoch")

    @property
    def seed(self) -> int | Sequence[int] | None:
        """The seed of the orders, or K seeds; None if none was given and none has been needed yet."""
        return (
            self._seed if self._replica_data is None or self._replica_data.seeds is None else self._replica_data.seeds
        )

    @property
    def indices(self) -> Tensor | None:
        """The samples that are used: (m,) or (K, m); None for all."""
        return self._indices if self._replica_data is None else self._replica_data.indices

    @called()
    def state_dict(self) -> dict[str, Any]:
        """The seed, given or drawn, and the number of the next epoch: together they decide all further orders."""
        return {"seed": self.seed, "epoch": self._epoch}

    @called()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from the state of `state_dict`."""
        check_state_of(self, state_dict, "seed", "epoch")
        seed, self.epoch = state_dict["seed"], state_dict["epoch"]
        if isinstance(seed, Sequence) and self._replica_data is not None:
            self._replica_data.seeds = list(seed)
        elif not isinstance(seed, Sequence):
            self._seed = seed

    def order_of(self, epoch: int) -> Tensor | None:
        """The indices (m,) or (K, m) of an epoch's samples, in order; None for all samples in the data's order."""
        if self.shuffle and self._seed is None and (self._replica_data is None or self._replica_data.seeds is None):
            self._seed = int(torch.empty((), dtype=torch.int64).random_().item())
        if (indices := self.indices) is not None:  # a caller may have written to `loader.indices`
            check_indices(indices, self._length)
        if self._replica_data is not None:
            return self._replica_data.order_of(epoch, self._seed if self.shuffle else None)
        if not self.shuffle:
            return self._indices
        shuffled = order(self.samples, self._seed, epoch)  # type: ignore[arg-type]
        return shuffled if self._indices is None else self._indices[shuffled]

    def __len__(self) -> int:
        """The number of batches per epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __getitem__(self, index: Any) -> Any:
        raise without_items(self, index, "next(iter(loader)) is a batch; loader.dataset holds the samples")

    def check_memory(self) -> None:
        """Raise DataError if the memory of the data was freed since the loader was made."""
        for tensor in self.tensors or ():
            check_memory(tensor, "data")

    def __iter__(self) -> Iterator[Any]:
        self.check_memory()
        indices = self.order_of(self._epoch)
        self._epoch += 1
        stop = min(len(self) * self.batch_size, self.samples)  # the samples that drop_last keeps
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
        """Whether the data, and so each batch, have columns in nested tuples."""
        return self._form is not None

    def in_form(self, columns: Sequence[Any]) -> Any:
        """Columns nested like the data, such as ((source, image), targets)."""
        return tuple(columns) if self._form is None else in_form(columns, self._form)

    def _at_a_time(self) -> int:
        """The number of batches that are gathered together."""
        assert self.tensors is not None
        own = self._replica_data is not None and self._replica_data.per_replica
        sample_bytes = sum(t.element_size() * t.shape[2 if own else 1 :].numel() for t in self.tensors)
        fitting = GATHERED_BYTES // max(sample_bytes * self.batch_size * (self.replicas or 1), 1)
        return min(max(fitting, 1), BATCHES_AT_A_TIME)

    def _cut(self, tensors: tuple[Tensor, ...], indices: Tensor | None, stop: int) -> Iterator[Any]:
        """The batches of columns, many of which are gathered at a time."""
        batch_size = self.batch_size
        step = self._at_a_time() * batch_size
        for start in range(0, stop, step):
            end = min(start + step, stop)
            yield from _batches_between(tensors, indices, start, end, batch_size, self._in_tuples)

    def _asked_for(self, indices: Tensor | None, stop: int) -> Iterator[Any]:
        """The batches of a data set that returns samples by index."""
        for start in range(0, stop, self.batch_size):
            end = min(start + self.batch_size, stop)
            chosen = list(range(start, end)) if indices is None else indices[start:end].tolist()
            yield collate(self._samples(chosen), chosen)

    def _samples(self, chosen: list[int]) -> Sequence[Any]:
        """These samples of a data set, all at once if it has torch's `__getitems__`."""
        if getattr(self.dataset, "__getitems__", None) is None:
            return [self.dataset[index] for index in chosen]
        samples = self.dataset.__getitems__(chosen)
        if not isinstance(samples, list | tuple) or len(samples) != len(chosen):
            several = isinstance(samples, list | tuple)
            raise DataError(
                f"{type(self.dataset).__name__}.__getitems__ did not return the samples",
                expected=f"a list of {len(chosen)} samples, such as (input, target)",
                got=f"{len(samples)} elements" if several else kind_of(samples),
                fix="return [self[index] for index in indices]",
            )
        return samples

    def __repr__(self) -> str:
        options = f"samples={self.samples}, batch_size={self.batch_size}, shuffle={self.shuffle}"
        options += ", drop_last=True" if self.drop_last else ""
        options += "" if self.replicas is None else f", replicas={self.replicas}"
        return f"DataLoader({options}, seed={self.seed}, epoch={self._epoch})"


def _batches_between(
    tensors: tuple[Tensor, ...], indices: Tensor | None, start: int, stop: int, batch_size: int, in_tuples: bool
) -> Iterator[Any]:
    """The batches of the samples from start to stop in the order, which are freed with the last batch."""
    chosen = None if indices is None else indices[start:stop]
    full, rest = divmod(stop - start, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    columns = []
    for tensor in tensors:
        part = tensor[start:stop] if chosen is None else tensor.index_select(0, chosen.to(tensor.device))
        columns.append(part.unsafe_split_with_sizes(sizes))  # views, at half the cost of split, which informs autograd
    return zip(*columns, strict=True) if in_tuples else iter(columns[0])
