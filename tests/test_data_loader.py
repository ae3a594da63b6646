"""DataLoader: every sample once per epoch, in an order that depends on (seed, epoch) alone."""

import collections
import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import lamp.data.loader as loader_module
from lamp.data import DataLoader, Dataset, order
from lamp.data.orders import _mix32, _mix64, start_of
from lamp.errors import ArgumentError, DataError

N, FEATURES, BATCH = 23, 3, 5


def numbered(n, features=FEATURES):
    """Inputs and targets whose rows contain their own index."""
    return torch.arange(n * features, dtype=torch.float64).view(n, features), torch.arange(n)


def taken(loader):
    """The indices of an epoch's samples in their order, read from the targets of `numbered`."""
    return torch.cat([targets for _, targets in loader]).tolist()


class Squares:
    """A map-style data set that gives one sample at a time."""

    def __init__(self, n, item=lambda k: (torch.tensor([float(k), 0.0]), k)):
        self.n, self.item = n, item

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return self.item(index)


# ---- which samples, in which batches -------------------------------------------------------------------------------
@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 4))
def test_every_sample_comes_exactly_once_an_epoch(n, batch_size, shuffle, drop_last, map_style, batches_at_a_time):
    inputs, targets = numbered(n)
    dataset = Squares(n, lambda k: (inputs[k], targets[k])) if map_style else (inputs, targets)
    if drop_last and n < batch_size:
        with pytest.raises(ArgumentError, match="leaves no batch"):
            DataLoader(dataset, batch_size, shuffle, drop_last=True)
        return
    loader = DataLoader(dataset, batch_size, shuffle, drop_last=drop_last, seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader_module, "BATCHES_AT_A_TIME", batches_at_a_time)
        batches = list(loader)
    left = n % batch_size if drop_last else 0
    assert len(batches) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
    assert all(len(x) == len(y) == batch_size for x, y in batches[:-1])
    came = torch.cat([y for _, y in batches])
    assert len(came) == n - left
    assert len(set(came.tolist())) == n - left
    assert torch.equal(torch.cat([x for x, _ in batches]), inputs[came])  # inputs and targets stayed together
    if not shuffle:
        assert came.tolist() == list(range(n - left))


def test_a_shuffled_epoch_takes_the_samples_in_the_documented_order():
    loader = DataLoader(numbered(N), BATCH, shuffle=True, seed=11)
    for epoch in range(3):
        assert taken(loader) == order(N, 11, epoch).tolist()
        assert loader.order_of(epoch).tolist() == order(N, 11, epoch).tolist()


@pytest.mark.parametrize(
    ("limit", "value"), [("GATHERED_BYTES", 2 * BATCH * (FEATURES * 8 + 8)), ("BATCHES_AT_A_TIME", 2)]
)
def test_the_gathered_pieces_are_small_and_change_nothing(monkeypatch, limit, value):
    inputs, targets = numbered(N)
    expected = taken(DataLoader((inputs, targets), BATCH, True, seed=2))
    monkeypatch.setattr(loader_module, limit, value)  # two batches at a time
    loader = DataLoader((inputs, targets), BATCH, True, seed=2)
    sizes = [x.untyped_storage().nbytes() // (FEATURES * 8) for x, _ in loader]
    assert sizes == [10, 10, 10, 10, 3]
    loader.epoch = 0
    assert taken(loader) == expected


def test_a_batch_larger_than_a_piece_is_gathered_whole(monkeypatch):
    monkeypatch.setattr(loader_module, "GATHERED_BYTES", 1)
    assert [len(y) for _, y in DataLoader(numbered(N), BATCH, True, seed=2)] == [5, 5, 5, 5, 3]


def test_nothing_is_copied_without_shuffling():
    inputs, targets = numbered(N)
    array = np.ones((N, 2), dtype=np.float32)
    for k, (x, y, z) in enumerate(DataLoader((inputs, targets, array), BATCH)):
        assert x.data_ptr() == inputs[k * BATCH :].data_ptr()
        assert y.data_ptr() == targets[k * BATCH :].data_ptr()
        assert z.data_ptr() == array[k * BATCH :].ctypes.data


# ---- the order ------------------------------------------------------------------------------------------------------
@given(st.integers(0, 300), st.integers(-(2**70), 2**70), st.integers(0, 2**40))
def test_an_order_is_a_permutation_and_a_function_of_its_arguments(n, seed, epoch):
    first = order(n, seed, epoch)
    assert first.dtype == torch.int64
    assert sorted(first.tolist()) == list(range(n))
    torch.rand(3)  # what else is drawn does not matter
    assert torch.equal(order(n, seed, epoch), first)


def test_the_order_of_an_epoch_is_pinned():
    """Another order would break resumed runs and the equality of engines, so it must never change by accident."""
    assert (_mix64(0), _mix32(1)) == (0xE220A8397B1DCDAF, 0x514E28B7)  # the published generators' own values
    assert start_of(0, 0) == 0x92B6F4DF
    assert start_of(-1, 12) == 0x52CA9E3D
    drawn = torch.randperm(8, generator=torch.Generator().manual_seed(0xBB4B07A6))
    assert order(8, 0, 2).tolist() == drawn.tolist()


@given(st.integers(-(2**63), 2**63))
def test_no_two_epochs_of_a_seed_start_alike(seed):
    starts = [start_of(seed, epoch) for epoch in range(2000)]
    assert len(set(starts)) == len(starts)
    assert all(0 <= start < 2**32 for start in starts)


def test_torch_takes_32_bits_of_a_seed():
    """Torch silently drops further bits, which is why `start_of` has 32."""
    low, high = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5 + 2**32)
    assert torch.equal(torch.randperm(99, generator=low), torch.randperm(99, generator=high))


def test_seeds_and_epochs_nearby_share_no_pattern():
    """Orders of neighbouring (seed, epoch) agree in one place on average, as random permutations do."""
    orders = torch.stack([order(50, seed, epoch) for seed in range(20) for epoch in range(20)])
    agreements = torch.tensor([(a == b).sum() for a, b in itertools.pairwise(orders)], dtype=torch.float64)
    assert abs(agreements.mean() - 1.0) < 4.0 / len(agreements) ** 0.5
    assert len({tuple(each) for each in orders.tolist()}) == len(orders)
    mean_place = orders.double().mean(0)  # of every position, over all orders
    assert (mean_place - 24.5).abs().max() < 4.5 * (50**2 / 12 / len(orders)) ** 0.5


def test_every_permutation_is_as_likely():
    """Chi squared over the 24 orders of 4 samples: 23 degrees of freedom, exceeded by chance once in 30,000 times."""
    counts = collections.Counter(tuple(order(4, 2, epoch).tolist()) for epoch in range(9600))
    assert len(counts) == 24
    assert sum((count - 400) ** 2 / 400 for count in counts.values()) < 56.0


def test_epochs_differ_and_equal_seeds_agree():
    first, second, other = (DataLoader(numbered(N), 4, True, seed=seed) for seed in (3, 3, 4))
    epochs = [taken(first) for _ in range(5)]
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert [taken(second) for _ in range(5)] == epochs
    assert taken(other) != epochs[0]


def test_the_order_does_not_depend_on_batch_size_or_kind_of_data_set():
    inputs, targets = numbered(N)
    expected = taken(DataLoader((inputs, targets), 4, True, seed=5))
    assert taken(DataLoader((inputs, targets), 9, True, seed=5)) == expected
    assert taken(DataLoader(Squares(N), 9, True, seed=5)) == expected
    assert taken(DataLoader(Dataset(inputs, targets), 2, True, seed=5)) == expected


def test_the_epoch_counts_iterations_begun_and_can_be_set():
    loader = DataLoader(numbered(N), 4, True, seed=3)
    assert loader.epoch == 0
    epochs = [taken(loader) for _ in range(3)]
    assert loader.epoch == 3
    loader.epoch = 1
    assert [taken(loader), taken(loader)] == epochs[1:]
    next(iter(loader))  # broken off: it counts all the same
    assert loader.epoch == 4
    outer, inner = iter(loader), iter(loader)  # two at once are two epochs
    assert loader.epoch == 6
    assert [y.tolist() for _, y in outer] != [y.tolist() for _, y in inner]


def test_without_a_seed_one_is_drawn_at_the_first_shuffled_epoch_only():
    state = torch.get_rng_state()
    loader = DataLoader(numbered(N), 4, True)
    assert loader.seed is None
    list(DataLoader(numbered(N), 4))
    list(DataLoader(numbered(N), 4, True, seed=0))
    assert torch.equal(torch.get_rng_state(), state)
    epochs = [taken(loader), taken(loader)]
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)
    again = DataLoader(numbered(N), 4, True)
    assert [taken(again), taken(again)] == epochs
    assert again.seed == loader.seed
    assert taken(DataLoader(numbered(N), 4, True)) != epochs[0]  # torch's generator went on


# ---- what data may come as ------------------------------------------------------------------------------------------
def test_batches_have_the_form_of_the_data():
    inputs, targets = numbered(N)
    single = next(iter(DataLoader(inputs, BATCH)))
    assert torch.equal(single, inputs[:BATCH])
    assert torch.equal(next(iter(DataLoader(inputs.numpy(), BATCH))), inputs[:BATCH].float())
    (alone,) = next(iter(DataLoader((inputs,), BATCH)))
    assert torch.equal(alone, inputs[:BATCH])
    assert isinstance(next(iter(DataLoader([inputs, targets], BATCH))), tuple)
    assert len(next(iter(DataLoader((inputs, targets, inputs), BATCH)))) == 3


def test_lists_of_numbers_are_columns_inside_a_tuple():
    x, y = next(iter(DataLoader(([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], [1, 0, 1]), 2)))
    assert x.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


def test_non_contiguous_tensors():
    base = torch.arange(FEATURES * N * 2, dtype=torch.float64)
    views = (base[: FEATURES * N].view(FEATURES, N).t(), base[::6], base[:N].flip(0), base[:1].expand(N))
    for shuffle in (False, True):
        loader = DataLoader(views, BATCH, shuffle, seed=1)
        came = [torch.cat(column) for column in zip(*loader, strict=True)]
        places = order(N, 1, 0) if shuffle else torch.arange(N)
        for column, view in zip(came, views, strict=True):
            assert torch.equal(column, view[places])


def test_data_that_carry_gradients_are_taken_as_data():
    inputs = torch.ones(N, 2, requires_grad=True)
    for shuffle in (False, True):
        assert not any(x.requires_grad for x in DataLoader(inputs, BATCH, shuffle, seed=0))


def test_torchs_tensor_dataset_is_taken_as_columns_but_a_subclass_is_asked():
    class Doubled(torch.utils.data.TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 2 * x, y

    inputs, targets = numbered(N)
    plain = DataLoader(torch.utils.data.TensorDataset(inputs, targets), BATCH, True, seed=1)
    doubled = DataLoader(Doubled(inputs, targets), BATCH, True, seed=1)
    assert plain.tensors is not None
    assert doubled.tensors is None
    for (x, y), (twice, same) in zip(plain, doubled, strict=True):
        assert torch.equal(twice, 2 * x)
        assert torch.equal(same, y)


@pytest.mark.parametrize(
    ("item", "dtypes", "shape"),
    [
        (lambda k: k, (torch.int64,), (BATCH,)),
        (lambda k: k / 2, (torch.float32,), (BATCH,)),
        (lambda k: k > 3, (torch.bool,), (BATCH,)),
        (lambda k: np.float64(k), (torch.float32,), (BATCH,)),
        (lambda k: torch.tensor([k, k], dtype=torch.int32), (torch.int32,), (BATCH, 2)),
        (lambda k: np.full((2, 4), k), (torch.int64,), (BATCH, 2, 4)),
        (lambda k: (np.full(3, k / 2), k), (torch.float32, torch.int64), (BATCH, 3)),
        (lambda k: [torch.full((3,), k, dtype=torch.float64), k], (torch.float64, torch.int64), (BATCH, 3)),
    ],
)
def test_items_are_collated_into_tensors(item, dtypes, shape):
    batch = next(iter(DataLoader(Squares(N, item), BATCH)))
    fields = batch if isinstance(batch, tuple) else (batch,)
    assert tuple(field.dtype for field in fields) == dtypes
    assert tuple(fields[0].shape) == shape
    first = item(3) if not isinstance(item(3), tuple | list) else item(3)[0]
    assert torch.equal(fields[0][3].double(), torch.as_tensor(first).double())


def test_a_list_of_samples_is_asked_one_by_one():
    samples = [(torch.full((2,), float(k)), k) for k in range(N)]
    x, y = next(iter(DataLoader(samples, BATCH)))
    assert torch.equal(x, y.float().unsqueeze(1).expand(BATCH, 2))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (lambda k: {"x": k}, ["index 0 is not numeric", "dict", "(input, target)"]),
        (lambda k: ("a" if k == 2 else "b", k), ["field 0 at index 0 is not numeric", "str"]),
        (lambda k: (k, None), ["field 1 at index 0 is not numeric", "NoneType"]),
        (lambda k: torch.zeros(2 if k == 3 else 4), ["differs", "Tensor (4,) at 0, Tensor (2,) at 3", "pad"]),
        (lambda k: np.zeros(2 if k == 3 else 4), ["differs", "ndarray (4,) at 0, ndarray (2,) at 3"]),
        (lambda k: (k, k) if k != 1 else k, ["sample 1 has another form than sample 0", "2 fields", "int"]),
        (lambda k: (k,) * (2 + (k == 4)), ["sample 4", "3 fields"]),
        (lambda k: torch.zeros(1) if k else 0.0, ["differs", "float () at 0, Tensor (1,) at 1"]),
    ],
)
def test_items_that_cannot_be_collated(item, words):
    with pytest.raises(DataError) as error:
        next(iter(DataLoader(Squares(N, item), BATCH)))
    assert all(word in str(error.value) for word in words), str(error.value)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(range(3))


INPUTS, TARGETS = numbered(N)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((INPUTS, TARGETS[:-1]), ["inputs and targets differ in length", "23", "22"]),
        ((INPUTS, TARGETS, TARGETS[:4]), ["columns[0] and columns[2] differ"]),
        ((), ["empty"]),
        ([], ["empty"]),
        (torch.zeros(0, 3), ["the inputs are empty", "(0, 3)"]),
        ((INPUTS, torch.zeros(0)), ["the targets are empty"]),
        (Squares(0), ["empty Squares"]),
        (torch.tensor(1.0), ["single number", "unsqueeze"]),
        ({"inputs": INPUTS}, ["unknown form", "dict", "data['inputs']"]),
        ("data.csv", ["unknown form", "str"]),
        ({1, 2}, ["unknown form", "set"]),
        (7, ["unknown form", "int", "__len__"]),
        (None, ["unknown form", "NoneType"]),
        (Stream(), ["unknown form", "Stream"]),
        ((k for k in range(3)), ["unknown form", "generator", "list"]),
        ([INPUTS[0], INPUTS[1], INPUTS[2], INPUTS[3]], ["samples or columns", "torch.stack"]),
        (([INPUTS[0], INPUTS[1]], [0, 1]), ["the inputs are a list of tensors", "torch.stack"]),
        ((INPUTS, "labels"), ["the targets are not a tensor", "str"]),
        ((INPUTS, None), ["the targets are not a tensor", "NoneType"]),
        ((INPUTS.to_sparse(), TARGETS), ["sparse", "to_dense"]),
        (([[1.0, 2.0], [1.0]], [0, 1]), ["ragged"]),
    ],
)
def test_data_that_cannot_be_loaded(data, words):
    with pytest.raises(DataError) as error:
        DataLoader(data)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, ["batch_size", "at least 1", "0"]),
        ({"batch_size": -4}, ["batch_size", "-4"]),
        ({"batch_size": 2.0}, ["batch_size is not an integer", "float 2.0"]),
        ({"batch_size": True}, ["batch_size is not an integer"]),
        ({"batch_size": None}, ["batch_size is not an integer", "NoneType"]),
        ({"batch_size": TARGETS}, ["batch_size is a tensor", "DataLoader((inputs, targets), batch_size)"]),
        ({"shuffle": 1}, ["shuffle", "True or False"]),
        ({"drop_last": "no"}, ["drop_last", "'no'"]),
        ({"seed": 1.5}, ["seed is not an integer"]),
        ({"batch_size": N + 1, "drop_last": True}, ["drop_last leaves no batch", "24", "23"]),
    ],
)
def test_arguments_out_of_range(arguments, words):
    with pytest.raises(ArgumentError) as error:
        DataLoader((INPUTS, TARGETS), **arguments)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("epoch", [-1, 1.0, None, "2"])
def test_an_epoch_that_is_none(epoch):
    loader = DataLoader(INPUTS)
    with pytest.raises(ArgumentError, match="epoch"):
        loader.epoch = epoch


def test_numpy_integers_are_integers():
    loader = DataLoader(INPUTS, np.int64(4), True, seed=np.uint8(3))
    assert (loader.batch_size, loader.seed) == (4, 3)


def test_repr():
    assert repr(DataLoader(INPUTS, 4)) == "DataLoader(samples=23, batch_size=4, shuffle=False, seed=None, epoch=0)"


# ---- what it costs --------------------------------------------------------------------------------------------------
class Gathers(TorchDispatchMode):
    """Counts the calls that copy rows of a tensor."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls += function is torch.ops.aten.index_select.default
        return function(*args, **(kwargs or {}))


def test_an_epoch_of_small_batches_is_gathered_at_once():
    """Gathering batch by batch would take about ten times as long."""
    loader = DataLoader((torch.rand(1000, 2), torch.randint(2, (1000,))), 25, True, seed=0)
    with Gathers() as gathers:
        assert len(list(loader)) == 40
    assert gathers.calls == 2  # inputs and targets


def test_epochs_leave_nothing_behind():
    loader = DataLoader(numbered(200), 3, True, seed=0)

    def grown():
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(30):
            list(loader)
        return tracemalloc.get_traced_memory()[0] - before

    list(loader)
    tracemalloc.start()
    least = min(grown() for _ in range(5))  # another thread's memory may be in one of them
    tracemalloc.stop()
    assert least < 2000
