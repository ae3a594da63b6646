"""Integer lanes compute the same bits as int32 tensors, so both engines draw the same Dropout masks."""

from __future__ import annotations

import pytest
import torch

from lamp import randomness
from lamp.compiler.lanes import Whole
from tests.cases.lanes import FLOATS, WIDTHS, integers, keep_wholes, laid, program, width


@pytest.fixture(params=[(dtype, bits) for dtype in FLOATS for bits in WIDTHS], ids=str)
def kind(request):
    """A dtype and a vector's width."""
    return request.param


INT32 = (-(2**31), -(2**31) + 1, -65537, -17, -1, 0, 1, 2, 3, 16, 65535, 2**24 + 1, 2**30, 2**31 - 2, 2**31 - 1)
WHOLE = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "either": lambda x, y: x ^ y,
    "both": lambda x, y: x & y,
    "shift": lambda x, y: x >> 5,
    "numbers": lambda x, y: ((x + 2**31 - 1) * 7 - 12) ^ (y & 0x7FFF),
    "scatter": lambda x, y: randomness.scatter(x),
    "bits": lambda x, y: randomness.bits(randomness.scatter(x), y, x),
    "below a third": lambda x, y: randomness.below(randomness.bits(x, y, y), 2**31 // 3),
    "below none": lambda x, y: randomness.below(x, 0),
    "below all": lambda x, y: randomness.below(x, 2**31),
}


class TestWholeNumbers:
    @pytest.mark.parametrize("name", WHOLE)
    def test_a_vector_of_them_is_an_int32_tensor_bit_for_bit(self, name, kind):
        dtype, bits = kind
        lanes = width(dtype, bits)
        x, y = torch.cartesian_prod(*[torch.tensor(INT32, dtype=torch.int32)] * 2).t().contiguous()
        random = torch.randint(-(2**31), 2**31, (2, 95 + 32), dtype=torch.int64).to(torch.int32)
        x, y = (torch.cat(both)[:320].contiguous() for both in ((x, random[0]), (y, random[1])))
        z = torch.zeros_like(x)

        def write(code):
            first, second = integers(code, "x"), integers(code, "y")
            with code.loop(0, code.arguments["n"]) as i:
                at = code.times(i, lanes)
                keep_wholes(
                    code, "z", i, WHOLE[name](code.load_wholes(first, at), code.load_wholes(second, at))
                )  # fmt: skip

        program(write, ["x", "y", "z", "n"], dtype, bits)(x, y, z, len(x) // lanes)
        assert torch.equal(z, WHOLE[name](x.clone(), y.clone()))

    @pytest.mark.parametrize("name", WHOLE)
    def test_one_of_them_is_too(self, name):
        x, y = torch.cartesian_prod(*[torch.tensor(INT32, dtype=torch.int32)] * 2).t().contiguous()
        lanes = width(torch.float32)
        z = torch.zeros(len(x), lanes, dtype=torch.int32)

        def write(code):
            first, second = integers(code, "x"), integers(code, "y")
            with code.loop(0, code.arguments["n"]) as i:
                one = WHOLE[name](code.load_whole(first, i), code.load_whole(second, i))
                keep_wholes(code, "z", i, code.wholes(one))

        program(write, ["x", "y", "z", "n"], torch.float32)(x, y, z, len(x))
        expected = WHOLE[name](x.clone(), y.clone())
        assert torch.equal(z, expected[:, None].expand_as(z))

    @pytest.mark.parametrize("step", [1, 5])
    def test_counted_from_a_known_and_an_unknown_number(self, step, kind):
        dtype, bits = kind
        lanes = width(dtype, bits)
        z = torch.zeros(2 * lanes, dtype=torch.int32)

        def write(code):
            keep_wholes(code, "z", 0, code.arange(11, step))
            keep_wholes(code, "z", 1, code.arange(code.arguments["first"], step))

        program(write, ["z", "first"], dtype, bits)(z, -3)
        assert z.tolist() == [*range(11, 11 + step * lanes, step), *range(-3, -3 + step * lanes, step)]

    def test_a_whole_number_wraps_around_at_32_bits(self):
        z = torch.zeros(width(torch.float32), dtype=torch.int32)
        run = program(
            lambda code: keep_wholes(code, "z", 0, code.wholes(code.whole(code.arguments["n"]))), ["z", "n"],
            torch.float32,
        )  # fmt: skip
        run(z, 2**31 + 5)
        assert z.tolist() == [-(2**31) + 5] * len(z)

    def test_where_it_is_not_zero(self, kind):
        dtype, bits = kind
        lanes = width(dtype, bits)
        x = torch.tensor([0, 5, -1, -(2**31)] * 8, dtype=torch.int32)
        y = laid(torch.zeros(lanes, dtype=dtype), bits)

        def write(code):
            drawn: Whole = code.load_wholes(integers(code, "x"), 0)
            code.store(code.arguments["y_"], 0, code.lane(3.0).where(drawn.is_true(), 0.25))

        program(write, ["x", "y_"], dtype, bits)(x, y)
        assert y.tolist() == [3.0 if n else 0.25 for n in x[:lanes].tolist()]
