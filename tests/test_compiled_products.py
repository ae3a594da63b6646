"""Wide layers of a single network are computed by matrix products of BLAS, and train as with the eager engine."""

import ctypes
from contextlib import contextmanager
from unittest import mock

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import lamp
from lamp.compiler import kernel, tiling
from lamp.compiler.backends.cpu import blas
from lamp.compiler.backends.cpu.target import host
from lamp.compiler.rules.products import Products
from tests.cases.compiled import WIDTHS, lanes, vectors
from tests.cases.graphs import drawn
from tests.test_compiled_branches import BRANCHES, same, trained

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.skipif(not blas.libraries(), reason="neither torch nor NumPy has a library of matrix products here"),
]


@pytest.fixture(autouse=True, params=["mkl", "openblas"])
def library(request, monkeypatch):
    """The library that kernels call: each test runs with each one that is here."""
    if request.param not in blas.libraries():
        pytest.skip(f"there is no {request.param} here")
    monkeypatch.setenv("LAMP_BLAS", request.param)
    return request.param


def seeded(network):
    """The network, with the same weights each time."""

    def made():
        torch.manual_seed(0)
        return network()

    return made


@contextmanager
def products_everywhere(**constants):
    """Every Linear is computed by a matrix product, whatever its size."""
    used, original = [], tiling.tiled

    def noted(*job):
        found = original(*job)
        used.extend(found.heads.values())
        return found

    constants = {"LARGE": 1, "SLIM": 1, "FEW": 10**6, **constants}
    with mock.patch.multiple(tiling, **constants), mock.patch.dict("os.environ", LAMP_CACHE_DIR="off"):
        kernel.forget()  # what a kernel is made from is the same, but not its code
        with mock.patch("lamp.compiler.kernel.tiled", noted):
            yield
        kernel.forget()
    assert any(isinstance(rule, Products) for rule in used)


@pytest.mark.parametrize("name", BRANCHES)
def test_branches(name):
    with products_everywhere():
        same(seeded(lambda: BRANCHES[name]().double()), None)


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(
    seed=st.integers(0, 2**31), inputs=st.integers(1, 20), batch=st.integers(1, 40), bits=st.sampled_from(WIDTHS)
)
def test_networks_drawn_at_random(seed, inputs, batch, bits):
    with products_everywhere(), vectors(bits):
        same(lambda: drawn(seed, inputs, 4), None, batch=batch, samples=45)


@pytest.mark.parametrize(("samples", "batch"), [(13, 10), (33, 20), (40, 17)])
@pytest.mark.parametrize("slopes", [1, 33])
def test_slopes_beside_products_in_batches_of_several_sizes(samples, batch, slopes):
    """A short batch leaves columns of a block without samples, where gradients of the batch before may stand."""

    def network():
        branches = lamp.Linear(33, 33, bias=False), lamp.PReLU(slopes), lamp.Tanh()
        joined = lamp.Parallel(*branches, combine="concat")
        return lamp.Sequential(lamp.Linear(4, 33), joined, lamp.Linear(99, 33), lamp.Linear(33, 3)).double()

    with products_everywhere():
        same(seeded(network), None, batch=batch, samples=samples)


def perceptron():
    return lamp.Sequential(
        lamp.Linear(21, 40),
        lamp.GELU(),
        lamp.Linear(40, 33, bias=False),
        lamp.Dropout(0.2),
        lamp.Linear(33, 20),
        lamp.PReLU(20),
        lamp.Linear(20, 3),
    ).double()


@pytest.mark.parametrize("batch", [1, 9, 70, 131])  # 300 samples: the last batch is smaller
@pytest.mark.parametrize("constants", [
    {},
    {"PRODUCT_CHUNK": 1},
    {"PART": 1, "PRODUCT_COLUMNS": {4: 4, 2: 2, 1: 0}},
    {"PART": 1, "PRODUCT_COLUMNS": {4: 4, 2: 2, 1: 0}, "PRODUCT_CHUNK": 1},
], ids=["one chunk", "chunks", "parts", "chunks in parts"])  # fmt: skip
def test_batches_in_chunks_and_parts(batch, constants):
    with products_everywhere(**constants):
        same(seeded(perceptron), None, batch=batch, samples=300)


def test_two_layers_with_one_weight():
    def shared():
        middle = lamp.Linear(12, 12)
        return lamp.Sequential(
            lamp.Linear(5, 12),
            lamp.Tanh(),
            lamp.Residual(middle),
            lamp.Tanh(),
            lamp.Residual(middle),
            lamp.Linear(12, 3),
        ).double()

    with products_everywhere():
        same(seeded(shared), None)


def test_replicas_that_are_trained_one_by_one():
    with products_everywhere():
        same(seeded(perceptron), lanes() + 1, batch=50, samples=120)


def wide():
    return lamp.Sequential(
        lamp.Linear(70, 100), lamp.ReLU(), lamp.Linear(100, 90), lamp.Tanh(), lamp.Linear(90, 5)
    ).double()


def test_without_blas_the_kernels_compute_the_products_themselves(monkeypatch):
    one, by_blas = trained("compiled", seeded(wide), None, batch=40, samples=100)
    monkeypatch.setenv("LAMP_BLAS", "off")
    assert not host().products
    other, by_hand = trained("compiled", seeded(wide), None, batch=40, samples=100)
    assert torch.allclose(by_blas["loss"], by_hand["loss"], rtol=1e-10)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine.data, theirs.data, rtol=1e-9, atol=1e-10)


def test_the_segments_between_products_are_printed():
    model = lamp.Sequential(wide(), lamp.Softmax(-1), lamp.Linear(5, 5).double())
    passes = lamp.compile(model, lamp.MSELoss(), lamp.SGD(model.parameters(), lr=0.1), 40).passes
    segments = [line for line in passes.splitlines() if line.startswith("segment")]
    assert segments == ["segment: s1 by Products", "segment: s2 by Products; s3, s4, s5 in blocks"]


def test_a_last_block_that_reaches_beyond_the_batch_changes_nothing():
    with mock.patch.multiple(tiling, LARGE=10**9):
        for batch in (1, 5, 11, 13, 17, 23):  # columns of samples; in blocks of 4 or 7 one to three are left over
            for count in (None, 17):
                same(seeded(perceptron), count, batch=batch * (8 if count is None else 1), samples=184)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads):
    one, _ = trained("compiled", seeded(wide), None, batch=80, samples=200)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        other, _ = trained("compiled", seeded(wide), None, batch=80, samples=200)
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine.data, theirs.data)


def test_the_threads_of_mkl_are_as_before(library):
    if library != "mkl":
        pytest.skip("OpenBLAS has no such setting")
    set_threads = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(blas.libraries()["mkl"].addresses[blas.MKL_THREADS])
    before = set_threads(3)
    try:
        trained("compiled", seeded(wide), None, batch=40, samples=100)
        assert set_threads(3) == 3
    finally:
        set_threads(before)


@pytest.fixture
def threads_of_openblas(library):
    """Functions that return and set how many threads OpenBLAS has."""
    if library != "openblas":
        pytest.skip("MKL has a setting for each thread")
    get, put = (blas.libraries()["openblas"].addresses[name] for name in blas.OPENBLAS_THREADS)
    number, set_number = ctypes.CFUNCTYPE(ctypes.c_int)(get), ctypes.CFUNCTYPE(None, ctypes.c_int)(put)
    before = number()
    yield number, set_number
    set_number(before)


@pytest.mark.parametrize("epochs", [1, 4])  # four are trained ahead, by a table of calls
def test_openblas_has_one_thread_while_a_kernel_runs(threads_of_openblas, epochs, monkeypatch):
    number, set_number = threads_of_openblas
    set_number(3)
    seen = []
    monkeypatch.setattr(blas.OneThread, "__exit__", noting(blas.OneThread.__exit__, lambda: seen.append(number())))
    torch.manual_seed(0)
    model, x, y = wide(), torch.randn(100, 70).double(), torch.randint(5, (100,))
    lamp.fit(
        model,
        lamp.CrossEntropyLoss(),
        lamp.SGD(model.parameters(), lr=0.1),
        (x, y),
        epochs=epochs,
        batch_size=40,
        validation=(x, y),
        engine="compiled",
        progress=False,
    )
    assert seen
    assert set(seen) == {1}
    assert number() == 3


def noting(method, note):
    """The method, before which `note` is called."""

    def noted(*arguments):
        note()
        return method(*arguments)

    return noted


def test_contexts_of_several_threads_overlap(threads_of_openblas):
    number, set_number = threads_of_openblas
    set_number(3)
    first, second = blas.calling("openblas"), blas.calling("openblas")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert number() == 1
    second.__exit__(None, None, None)
    assert number() == 3


def test_a_child_process_has_the_threads_of_before(threads_of_openblas):
    number, set_number = threads_of_openblas
    set_number(3)
    blas.one_thread.__enter__()  # by a kernel in a thread that the child does not have
    blas.one_thread.after_fork()
    assert number() == 3
    with blas.one_thread:
        assert number() == 1
    assert number() == 3


def test_networks_of_other_layers_leave_openblas_as_it_is(threads_of_openblas, monkeypatch):
    monkeypatch.setattr(blas.OneThread, "__enter__", lambda _: pytest.fail("no product is computed"))
    trained("compiled", seeded(lambda: lamp.Sequential(lamp.Linear(4, 5), lamp.Linear(5, 3)).double()), None)


def test_a_library_that_is_not_here(monkeypatch):
    monkeypatch.setenv("LAMP_BLAS", "blis")
    with pytest.raises(lamp.errors.ArgumentError, match=r"LAMP_BLAS(.|\n)*blis"):
        host()


@pytest.mark.parametrize(
    ("processor", "names"), [("znver3", ["openblas", "mkl"]), ("sapphirerapids", ["mkl", "openblas"])]
)
def test_the_faster_one_is_the_default(processor, names, monkeypatch):
    monkeypatch.delenv("LAMP_BLAS")
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: processor)
    assert blas.chosen() == next(name for name in names if name in blas.libraries())
    alone = {names[1]: blas.Library(blas.MKL, 32, {})}
    monkeypatch.setattr(blas, "libraries", lambda: alone)
    assert blas.chosen() == names[1]
    monkeypatch.setattr(blas, "libraries", dict)
    assert blas.chosen() == ""
