"""Exported files give what the network does for infinite numbers, and NaN for NaN."""

from __future__ import annotations

import pytest
import torch

import lamp
from tests.test_attention_graphs import E, L, S, attention
from tests.test_interop_graphs import exports
from tests.test_interop_onnx import ELEMENTWISE, sample_shape

EXTREMES = [float("nan"), float("inf"), float("-inf"), 1e30, -1e30, -0.0]
POOLS = [
    (lamp.MaxPool1d, (2,), {}, (2, 7)),
    (lamp.MaxPool1d, (3, 2, 1), {"dilation": 2}, (2, 9)),
    (lamp.MaxPool2d, (3, 2, 1), {"ceil_mode": True}, (2, 6, 7)),
    (lamp.MaxPool3d, (2, 1), {}, (2, 3, 4, 3)),
    (lamp.AdaptiveMaxPool1d, (1,), {}, (2, 5)),
    (lamp.AdaptiveMaxPool2d, (2,), {}, (2, 4, 6)),  # windows of one size
    (lamp.AdaptiveMaxPool2d, ((3, 4),), {}, (2, 5, 6)),  # windows of several sizes
]


@exports
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", [case for case in ELEMENTWISE if "0) on" not in case.name], ids=str)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")
def test_each_number(export, run, case, dtype, tmp_path):
    (n,) = shape = sample_shape(case)
    path = export(case.make(), tmp_path / "network", input_shape=shape, dtype=dtype)
    x = torch.linspace(-1.5, 2.0, n, dtype=dtype).repeat(len(EXTREMES), 1)
    x[:, 1] = torch.tensor(EXTREMES, dtype=dtype)
    twin = case.make_torch().to(dtype).eval()
    expected = twin(x)
    if case.name.startswith(("GELU()", "GELU(none)")):
        expected[1, 1] = float("inf")  # where torch's GELU of several numbers is NaN
    torch.testing.assert_close(run(path, x)[0], expected, rtol=1e-5, atol=1e-6, equal_nan=True)


@exports
@pytest.mark.parametrize(
    ("kind", "args", "options", "shape"), POOLS, ids=[f"{row[0].__name__}{row[1]}" for row in POOLS]
)
def test_the_largest_of_a_window(export, run, kind, args, options, shape, tmp_path):
    """The odd number stands at each place of the window in turn."""
    pool = kind(*args, **options)
    path = export(pool, tmp_path / "network", input_shape=shape)
    x = torch.randn(5, *shape)
    for extreme in EXTREMES[:3]:
        for place in range(x[0, 0].numel()):
            odd = x.clone()
            odd[1, 1].view(-1)[place] = extreme
            torch.testing.assert_close(run(path, odd)[0], pool.eval()(odd), rtol=0, atol=0, equal_nan=True)


@exports
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")
def test_an_attention_with_padding_keeps_nan(export, run, dtype, tmp_path):
    """Scores that are all -inf give weights of 0; scores with NaN do not."""
    torch.manual_seed(0)
    model = attention().to(dtype).eval()
    path = export(model, tmp_path / "network", input_shape=[(L, E), (S, E), (S, E), (S,)], dtype=dtype)
    query, key, value = (torch.randn(3, size, E, dtype=dtype) for size in (L, S, S))
    query[1, 2, 0] = float("nan")
    padding = torch.zeros(3, S, dtype=dtype)
    padding[2] = float("-inf")
    expected = model(query, key, value, padding)
    assert expected[0][1, 2].isnan().all()
    assert not expected[1][2].any()
    for found, y in zip(run(path, query, key, value, padding), expected, strict=True):
        torch.testing.assert_close(found, y, rtol=1e-5, atol=1e-6, equal_nan=True)
