"""Large products of matrices are those of torch.mm, whichever library computes them."""

import pytest
import torch

from lamp import matrix_products
from lamp.matrix_products import accumulate, onednn, product

SIZES = [(33, 520, 129), (300, 40, 501), (130, 129, 1537), (5, 2048, 1030), (700, 512, 70), (2, 3, 5), (1, 2048, 2048)]


@pytest.fixture(params=["this machine's", "oneDNN", "MKL"])
def library(request, monkeypatch):
    """Products as on this machine, and as on one where oneDNN is the faster library, or MKL."""
    if request.param == "oneDNN":
        operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
        if operator is None or not torch.backends.mkldnn.is_available():
            pytest.skip("this torch has no such operator")
        monkeypatch.setattr(matrix_products, "_operator", lambda: operator.default)
    if request.param == "MKL":
        monkeypatch.setattr(matrix_products, "_operator", lambda: None)
    return request.param


def drawn(m: int, n: int, k: int, transposed: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Matrices (m, k) and (k, n), as they are or as transposed views, and a bias."""
    torch.manual_seed(0)
    a, b = torch.randn(k, m).t() if transposed else torch.randn(m, k), torch.randn(n, k).t()
    return a, b.contiguous() if transposed else b, torch.randn(n)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_products(sizes, transposed, library):
    m, n, k = sizes
    a, b, bias = drawn(m, n, k, transposed)
    exact = a.double() @ b.double()
    total = torch.randn(exact.shape)
    given = total.clone()
    for found, expected in (
        (product(a, b), exact),
        (product(a, b, bias), exact + bias.double()),
        (accumulate(total, a, b), exact + given.double()),
    ):
        error = (found.double() - expected).norm() / expected.norm() / torch.finfo(torch.float32).eps
        torchs = (a.mm(b).double() - exact).norm() / exact.norm() / torch.finfo(torch.float32).eps
        assert error < max(1.6 * torchs, 1.0)
        assert found.is_contiguous()
    assert found is total


def test_what_onednn_does_not_take():
    large = torch.randn(256, 256)
    for a, b in (
        (large.double(), large.double()),
        (large, large.double()),
        (large.half(), large.half()),
        (large, torch.randn(255, 256)),
        (large, large.to("meta")),
        (large[:3], large),
        (large[:, :3], large[:3]),
    ):
        assert onednn(a, b) is None
    with pytest.raises(RuntimeError):
        product(large, torch.randn(255, 256))


def test_matrices_with_gaps_are_copied():
    """oneDNN has no fast code for them."""
    a, wide = torch.randn(64, 128), torch.randn(256, 300)
    for w in (wide[:, :128], wide[:128].t(), wide.t()[:128].t(), wide[::2, :128], torch.randn(256, 128)):
        for _, each in matrix_products._parts(a, w.t() if w.shape[1] == 128 else w.t()[:128]):
            assert each.is_contiguous() or each.t().is_contiguous()


def test_a_sum_takes_little_memory_besides(monkeypatch):
    made = []

    def linear(x, w, *rest):
        made.append(x.shape[0] * w.shape[0])
        return x @ w.t()

    monkeypatch.setattr(matrix_products, "_operator", lambda: linear)
    a, b = torch.randn(1500, 64), torch.randn(64, 700)
    torch.testing.assert_close(accumulate(torch.ones(1500, 700), a, b), 1.0 + a @ b)
    assert sum(made) == 1500 * 700
    assert max(made) <= 2**18
