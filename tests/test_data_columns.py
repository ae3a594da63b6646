"""Forms of data: columns from arrays and lists, batches for a training; and the check for NaN."""

import numpy as np
import pytest
import torch

from lamp import per_replica
from lamp.data import DataLoader, Dataset, as_batches, as_column, check_finite, disk, is_batched, order
from lamp.errors import ArgumentError, DataError, NonFiniteError


# ---- arrays ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.float64, torch.float32),
        (np.float32, torch.float32),
        (np.float16, torch.float32),
        (np.longdouble, torch.float32),
        (">f8", torch.float32),
        (np.uint8, torch.int64),
        (np.int32, torch.int64),
        (">i2", torch.int64),
        (np.uint64, torch.int64),
        (np.bool_, torch.bool),
    ],
)
def test_arrays_become_floats_of_the_default_dtype_and_int64(dtype, expected):
    array = np.array([[1, 0, 1], [1, 1, 0]]).astype(dtype)
    column = as_column(array)
    assert column.dtype == expected
    assert column.tolist() == array.tolist()


def test_floats_follow_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert as_column(np.float32([0.5])).dtype == torch.float64
        assert as_column([0.5, 1.5]).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_arrays_of_the_right_dtype_share_their_memory_and_tensors_are_kept():
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert as_column(array).data_ptr() == array.ctypes.data
    for dtype in (torch.float64, torch.float16, torch.int32, torch.uint8):
        tensor = torch.ones(3, 2, dtype=dtype)
        column = as_column(tensor)
        assert (column.dtype, column.data_ptr()) == (dtype, tensor.data_ptr())


def test_awkward_arrays_are_copied_without_a_warning():
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    frozen = array.copy()
    frozen.flags.writeable = False
    fields = np.zeros(4, dtype=[("tag", "i1"), ("value", "f4")])
    for awkward in (frozen, array[::-1], array.T, array[:, ::2], np.broadcast_to(array[0], (4, 3)), fields["value"]):
        assert as_column(awkward).tolist() == awkward.tolist()


def test_whatever_converts_to_an_array_is_a_column():
    class Frame:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    frame = Frame(np.array([[1.5, 2.0], [3.0, 4.0]]))
    assert as_column(frame).tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert next(iter(DataLoader(frame, 2))).tolist() == [[1.5, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.array(["a", "b"]), ["not numbers", "<U1", "np.unique"]),
        (np.array([b"a", b"b"]), ["not numbers", "|S1"]),
        (np.array([1, None]), ["not numbers", "object", "astype(float)"]),
        (np.array([1j]), ["not numbers", "complex"]),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), ["not numbers", "datetime64"]),
        (["a", "b"], ["not numbers"]),
        (np.array([2**64 - 1], dtype=np.uint64), ["exceed int64"]),
        (np.ma.masked_array([1.0, 2.0], mask=[False, True]), ["1 masked", "filled"]),
        (np.zeros((0, 2)), ["empty", "(0, 2)"]),
        ([], ["empty"]),
        (np.float32(3.0), ["single number"]),
        (object(), ["not a tensor", "object"]),
    ],
)
def test_columns_that_are_none(data, words):
    with pytest.raises(DataError) as error:
        as_column(data, "weights")
    assert all(word in str(error.value) for word in [*words, "the weights"]), str(error.value)


# ---- NaN and infinities ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("shape", "place", "words"),
    [
        ((7,), (4,), "row 4;"),
        ((7, 3), (2, 1), "row 2, column 1;"),
        ((7, 1, 5, 4), (6, 0, 3, 2), "row 6, at (0, 3, 2);"),
    ],
)
def test_a_number_that_is_not_finite_is_named_by_its_place(value, shape, place, words):
    data = torch.rand(shape)
    check_finite(data)
    data[place] = value
    with pytest.raises(NonFiniteError) as error:
        check_finite(data, "test inputs")
    text = str(error.value)
    assert all(word in text for word in (words, "the test inputs", str(value), "in 1 of 7 rows")), text


def test_rows_that_are_not_finite_are_counted_and_the_fix_drops_them():
    inputs = torch.rand(9, 4)
    inputs[3, 1] = inputs[3, 2] = torch.nan
    inputs[8, 0], inputs[7, 3] = torch.inf, -torch.inf
    with pytest.raises(NonFiniteError, match="row 3, column 1; not finite in 3 of 9 rows") as error:
        check_finite(inputs)
    assert "inputs[inputs.flatten(1).isfinite().all(1)]" in str(error.value)
    check_finite(inputs[inputs.flatten(1).isfinite().all(1)])


def test_finite_data_pass_whatever_their_sum():
    check_finite(torch.full((4, 2), 3e38))  # the sum overflows
    check_finite(torch.full((4, 2), 60000.0, dtype=torch.float16))
    check_finite(torch.tensor([2**62, 2**62]))
    check_finite(torch.tensor([True]))


# ---- what a training may be given -----------------------------------------------------------------------------------
class Reopened:
    """Batches that start again at every iteration."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def pairs(count=3, size=4):
    return [(torch.rand(size, 2), torch.arange(size)) for _ in range(count)]


@pytest.mark.parametrize("batch_size", [None, 8])
def test_samples_become_a_loader(batch_size):
    data = disk(100, seed=0)
    for samples in (data, (data.inputs, data.targets), [data.inputs.numpy(), data.targets.numpy()]):
        batches = as_batches(samples, batch_size, seed=4)
        assert isinstance(batches, DataLoader)
        assert (batches.batch_size, batches.shuffle, batches.seed) == (batch_size or 32, True, 4)
        in_order = as_batches(samples, batch_size, False, drop_last=True)
        assert (in_order.shuffle, in_order.drop_last) == (False, True)  # type: ignore[attr-defined]
    assert torch.cat([y for _, y in batches]).tolist() == data.targets[order(100, 4, 0)].tolist()


def test_ready_batches_are_returned_as_they_are():
    data = torch.utils.data.TensorDataset(torch.rand(12, 2), torch.arange(12))
    for batches in (
        DataLoader((torch.rand(6, 2), torch.arange(6)), 2),
        torch.utils.data.DataLoader(data, 4, shuffle=True),
        pairs(),
        Reopened(pairs()),
    ):
        state = torch.get_rng_state()
        assert is_batched(batches)
        assert as_batches(batches) is batches
        assert as_batches(batches, None, False, seed=3, epochs=9) is batches
        assert torch.equal(torch.get_rng_state(), state)  # torch's loader draws when iterated, so it was not
        assert len(list(batches)) == len(list(batches)) == 3


@pytest.mark.parametrize("shape", [(4,), (3, 8, 8), (1, 28, 28)])
@pytest.mark.parametrize("count", [2, 3])
def test_tuples_that_may_be_samples_or_batches(shape, count):
    """All of the same shape, as an autoencoder's vectors or images are."""
    listed = [tuple(torch.rand(shape) for _ in range(count)) for _ in range(6)]
    with pytest.raises(DataError, match=r"could be samples or batches[\s\S]*lamp\.DataLoader\(data, batch_size=32\)"):
        as_batches(listed)
    assert [len(batch[0]) for batch in DataLoader(listed, batch_size=4)] == [4, 2]


def test_tuples_that_can_only_be_samples_or_only_batches():
    assert not is_batched([(torch.rand(4), torch.rand(3))] * 6)
    assert is_batched([(torch.rand(32, 4), torch.rand(32, 4))] * 6)
    assert is_batched([(torch.rand(32, 3, 8, 8), torch.rand(32, 3, 8, 8))] * 6)
    assert is_batched([(torch.rand(28, 32, 8), torch.rand(32))] * 6)  # sequences whose batch is the second axis
    assert is_batched([(torch.rand(4), torch.rand(4)), (torch.rand(2), torch.rand(2))])  # the last batch is shorter
    assert is_batched([(torch.rand(4), torch.rand(4))])
    assert is_batched([(per_replica(torch.rand(3, 8, 4)), torch.rand(8))] * 6)  # labels that all replicas share
    assert is_batched([(per_replica(torch.rand(3, 8, 4)), per_replica(torch.rand(3, 8, 4)))] * 6)


def test_what_is_batched_and_what_is_not():
    tensor = torch.rand(5, 2)
    dataset = torch.utils.data.TensorDataset(tensor)
    for samples in (
        tensor,
        (tensor, tensor),
        [tensor, tensor],
        tensor.numpy(),
        Dataset(tensor, tensor),
        dataset,
        {},
        "x",
    ):
        assert not is_batched(samples)
    assert not is_batched([])
    assert not is_batched(torch.utils.data.Subset(dataset, [0, 1]))
    assert is_batched(batch for batch in pairs())


def test_samples_that_can_also_be_iterated_are_samples():
    class Table:
        def __len__(self):
            return 9

        def __getitem__(self, index):
            return torch.full((2,), float(index)), index

        def __iter__(self):
            return (self[k] for k in range(9))

    assert isinstance(as_batches(Table(), 4), DataLoader)
    assert [len(y) for _, y in as_batches(Table(), 4)] == [4, 4, 1]


def test_batches_that_come_only_once_serve_one_epoch():
    assert len(list(as_batches(iter(pairs()), epochs=1))) == 3
    for once in ((pair for pair in pairs()), iter(pairs()), map(tuple, pairs()), zip(pairs(), pairs(), strict=True)):
        for epochs in (None, 2):
            with pytest.raises(DataError, match="only once") as error:
                as_batches(once, epochs=epochs)
            assert type(once).__name__ in str(error.value)
        assert len(list(once)) == 3  # and nothing was taken from it


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"batch_size": 5}, "batch_size"), ({"shuffle": True}, "shuffle"), ({"drop_last": True}, "drop_last")],
)
def test_what_ready_batches_do_not_do_is_refused(arguments, name):
    torchs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.rand(12, 2)), 4)
    for batches in (DataLoader(torch.rand(6, 2), 2), torchs, pairs(), Reopened(pairs())):
        with pytest.raises(ArgumentError, match=f"{name}=.* does not apply to data that come in batches"):
            as_batches(batches, **arguments)


def test_what_a_loader_does_anyway_may_be_asked_of_it():
    loader = DataLoader(torch.rand(6, 2), 2, True, drop_last=True)
    assert as_batches(loader, 2, True, drop_last=True) is loader


@pytest.mark.parametrize(
    "data", [{"inputs": torch.rand(3, 2)}, "file.csv", 7, None, [], (torch.rand(3), torch.rand(4))]
)
def test_data_that_a_training_cannot_take(data):
    with pytest.raises(DataError):
        as_batches(data)
