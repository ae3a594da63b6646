"""Lanes behave like tensors: each operation, compiled into a tiny function, gives what torch gives."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import torch

from lamp.compiler.arguments import NUMBERS
from lamp.compiler.backends.cpu import target
from lamp.compiler.backends.cpu.code import CPUCode
from lamp.compiler.backends.cpu.kept import machine_code
from lamp.compiler.backends.cpu.target import FORCED, host
from lamp.errors import ArgumentError
from tests.cases.lanes import FLOATS, WIDTHS, laid, over, pairs, program, same, specials, width

INFINITY, NAN = float("inf"), float("nan")


@pytest.fixture(params=[(dtype, bits) for dtype in FLOATS for bits in WIDTHS], ids=str)
def kind(request):
    """A dtype and a vector's width."""
    return request.param


ARITHMETIC = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / y,
    "minus": lambda x, y: -x,
    "number + x": lambda x, y: 0.3 + x,
    "number - x": lambda x, y: 0.3 - x,
    "x - number": lambda x, y: x - 0.3,
    "number * x": lambda x, y: 0.3 * x,
    "x / 8": lambda x, y: x / 8,
    "x / -0.25": lambda x, y: x / -0.25,
    "abs": lambda x, y: x.abs(),
    "square": lambda x, y: x.square(),
    "reciprocal": lambda x, y: x.reciprocal(),
    "sign": lambda x, y: x.sign(),
    "maximum": lambda x, y: x.maximum(y),
    "minimum": lambda x, y: x.minimum(y),
    "clamp below": lambda x, y: x.clamp(min=-0.3),
    "clamp above": lambda x, y: x.clamp(max=0.3),
    "clamp": lambda x, y: x.clamp(min=-0.3, max=0.7),
    "clamp at lanes": lambda x, y: x.clamp(min=y, max=y + 1.0),
    "clamp at infinities": lambda x, y: x.clamp(min=-INFINITY, max=INFINITY),
    "clamp at zero": lambda x, y: x.clamp(min=0.0),
}

COMPARISONS = {name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}


class TestNumbers:
    @pytest.mark.parametrize("name", ARITHMETIC)
    def test_an_operation_gives_what_it_gives_for_tensors(self, name, kind):
        dtype, bits = kind
        x, y = pairs(dtype)
        same(over(ARITHMETIC[name], x, y, bits=bits), ARITHMETIC[name](x, y))

    @pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow")
    def test_quotients_and_roots_are_rounded_once(self, kind):
        """The oracle is numpy: torch multiplies by a reciprocal, and its roots are off in the last bit."""
        dtype, bits = kind
        x, _ = pairs(dtype)
        same(over(lambda lane: 0.3 / lane, x, bits=bits), torch.from_numpy(np.full_like(x, 0.3) / x.numpy()))
        same(over(lambda lane: 3 / lane, x, bits=bits), torch.from_numpy(np.full_like(x, 3) / x.numpy()))
        same(over(lambda lane: lane.sqrt(), x, bits=bits), torch.from_numpy(np.sqrt(x.numpy())))

    @pytest.mark.parametrize("divisor", [3.0, 7, 0.0, INFINITY, NAN, -3.0, 1024.0], ids=str)
    def test_a_quotient_by_a_number(self, divisor, kind):
        dtype, bits = kind
        x, _ = pairs(dtype)
        expected = x / torch.tensor(divisor, dtype=dtype)
        same(over(lambda lane: lane / divisor, x, bits=bits), expected)

    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_maximum_and_minimum_with_a_number_keep_nan(self, dtype):
        x, _ = pairs(dtype)
        same(over(lambda lane: lane.maximum(0.5), x), x.clamp(min=0.5))
        same(over(lambda lane: lane.minimum(0.5), x), x.clamp(max=0.5))

    def test_rsqrt_is_torchs_to_the_last_bits(self, kind):
        dtype, bits = kind
        x, _ = pairs(dtype)
        torch.testing.assert_close(
            over(lambda lane: lane.rsqrt(), x, bits=bits), x.rsqrt(), rtol=2 * torch.finfo(dtype).eps, atol=0.0,
            equal_nan=True,
        )  # fmt: skip

    @pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 0.9, 1.0])
    def test_lerp_is_torchs_to_the_last_bits(self, weight, kind):
        dtype, bits = kind
        x, y = torch.rand(2, 103, dtype=dtype) + 0.5
        eps = torch.finfo(dtype).eps
        expected = x.lerp(y, weight)
        torch.testing.assert_close(
            over(lambda x, y: x.lerp(y, weight), x, y, bits=bits), expected, rtol=2 * eps, atol=0.0
        )
        w = torch.full_like(x, weight)
        torch.testing.assert_close(
            over(lambda x, y, w: x.lerp(y, w), x, y, w, bits=bits), expected, rtol=2 * eps, atol=0.0
        )

    def test_times_plus_rounds_once(self, kind):
        dtype, bits = kind
        eps = torch.finfo(dtype).eps
        x = torch.tensor([1.0 + eps, 1.0 - eps, 3.0], dtype=dtype)
        exact = torch.tensor([2 * eps + eps * eps, -2 * eps + eps * eps, 8.0], dtype=dtype)  # (1 + eps)^2 - 1
        same(over(lambda lane: lane.times_plus(lane, lane.code.lane(-1.0)), x, bits=bits), exact)

    def test_a_number_beyond_float32_is_infinite_and_one_between_is_the_nearest(self):
        x = torch.zeros(5)
        assert (over(lambda lane: lane + 1e300, x) == INFINITY).all()
        assert (over(lambda lane: lane + -1e300, x) == -INFINITY).all()
        same(over(lambda lane: lane + 0.1, x), torch.full((5,), 0.1))

    def test_all_lanes_added_up_stand_in_every_lane(self, kind):
        dtype, bits = kind
        lanes = width(dtype, bits)
        x = torch.arange(3.0 * lanes, dtype=dtype)
        expected = x.view(3, lanes).sum(1, keepdim=True).expand(3, lanes).flatten()
        same(over(lambda lane: lane.sum_of_lanes(), x, bits=bits), expected)

    @pytest.mark.parametrize("places", [0, 1, 3])
    def test_rotated_lanes(self, places, kind):
        dtype, bits = kind
        x = torch.arange(width(dtype, bits), dtype=dtype)
        same(over(lambda lane: lane.code.turned(lane, places), x, bits=bits), x.roll(-places))


class TestConditions:
    @pytest.mark.parametrize("name", COMPARISONS)
    def test_a_comparison_is_torchs_with_nan_too(self, name, kind):
        dtype, bits = kind
        x, y = pairs(dtype)
        compare = COMPARISONS[name]
        got = over(lambda x, y: x.code.lane(1.0).where(compare(x, y), 0.0), x, y, bits=bits)
        same(got, compare(x, y).to(dtype))
        got = over(lambda x: x.code.lane(1.0).where(compare(x, 1.5), 0.0), x, bits=bits)
        same(got, compare(x, 1.5).to(dtype))

    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_where_takes_this_or_the_other_and_lets_nan_through(self, dtype):
        x, y = pairs(dtype)
        same(over(lambda x, y: x.where(x < y, y), x, y), x.where(x < y, y))
        same(over(lambda x, y: x.where(x < y, -2.5), x, y), x.where(x < y, torch.tensor(-2.5, dtype=dtype)))

    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_conditions_combine(self, dtype):
        x, y = pairs(dtype)
        for combined in (
            lambda x, y: (x < 1.0) & (y < 1.0),
            lambda x, y: (x < 1.0) | (y < 1.0),
            lambda x, y: ~(x < y),
            lambda x, y: ~(x < 1.0) & ((y > 0.0) | (x == y)),
        ):
            got = over(lambda x, y, rule=combined: x.code.lane(1.0).where(rule(x, y), 0.0), x, y)
            same(got, combined(x, y).to(dtype))


class TestWhatLanesRefuse:
    def lane(self):
        return CPUCode("tiny", {}, host(), torch.float32).lane(1.0)

    def test_a_condition_of_lanes_is_neither_true_nor_false(self):
        with pytest.raises(TypeError, match="where"):
            bool(self.lane() < 2.0)

    def test_a_function_that_numbers_do_not_offer(self):
        with pytest.raises(AttributeError, match=r"'arccos'.*lamp\.formulas"):
            self.lane().arccos()

    def test_lanes_are_not_keys(self):
        with pytest.raises(TypeError):
            hash(self.lane())

    def test_what_is_known_already_is_not_computed_again(self):
        lane, known = self.lane(), self.lane()
        assert lane.knowing("tanh", lambda: known).tanh() is known
        assert lane.exp() is not known


class TestLoops:
    """The bounds are known only when the function runs, so no loop can be unrolled."""

    BOUNDS = ((0, 0), (0, 1), (0, 7), (3, 3), (3, 4), (2, 9), (5, 2), (-3, 2), (-4, -1), (-1, -1))

    @pytest.mark.parametrize("step", [1, 2, 3])
    @pytest.mark.parametrize("known", ["neither", "start", "stop", "both"])
    def test_a_loop_runs_for_what_a_range_holds(self, step, known):
        lanes = width(torch.float64)
        for start, stop in self.BOUNDS:

            def write(code, start=start, stop=stop):
                y, at = code.arguments["y_"], code.arguments
                first = start if known in ("start", "both") else at["start"]
                last = stop if known in ("stop", "both") else at["stop"]
                with code.loop(first, last, step) as i:
                    code.store(y, code.plus(i, 10), code.load(y, code.plus(i, 10)) + 1.0)

            y = laid(torch.zeros(20 * lanes, dtype=torch.float64))
            program(write, ["y_", "start", "stop"], torch.float64)(y, start, stop)
            ran = [i - 10 for i, count in enumerate(y.view(20, lanes)[:, 0].tolist()) for _ in range(int(count))]
            assert ran == list(range(start, stop, step))

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize("steps", [0, 1, 6])
    def test_carried_lanes_are_what_the_body_left_or_what_they_were(self, steps, known, kind):
        dtype, bits = kind
        x = torch.arange(1.0, 1 + 8 * width(dtype, bits), dtype=dtype)

        def write(code):
            x, y = code.arguments["x_"], code.arguments["y_"]
            first = [code.lane(0.5), code.load(x, 7)]
            with code.carrying(0, steps if known else code.arguments["n"], first) as (i, state):
                state[0], state[1] = state[0] + code.load(x, i), state[0]
            for k, lane in enumerate(state):
                code.store(y, k, lane)

        memory, y = laid(x, bits), laid(torch.zeros(2 * width(dtype, bits), dtype=dtype), bits)
        program(write, ["x_", "y_", "n"], dtype, bits)(memory, y, steps)
        rows = x.view(8, -1)
        total, before = torch.full_like(rows[0], 0.5), rows[7]
        for row in rows[:steps]:
            total, before = total + row, total
        same(y, torch.cat([total, before]))

    def test_loops_within_loops_carry_through(self):
        def write(code):
            with code.carrying(0, code.arguments["n"], [code.lane(0.0)]) as (i, outer):
                with code.carrying(0, i, outer) as (j, inner):
                    inner[0] = inner[0] + code.number(code.plus(code.times(i, 10), j))
                outer[0] = inner[0]
            code.store(code.arguments["y_"], 0, outer[0])

        y = laid(torch.zeros(width(torch.float64), dtype=torch.float64))
        for n in (0, 1, 2, 5):
            program(write, ["y_", "n"], torch.float64)(y, n)
            assert y.tolist() == [sum(10 * i + j for i in range(n) for j in range(i))] * len(y)


class TestMemory:
    def test_load_store_one_and_first(self, kind):
        dtype, bits = kind
        lanes = width(dtype, bits)
        x = torch.arange(1.0, 1 + 3 * lanes, dtype=dtype)

        def write(code):
            x, y, z, i = (code.arguments[name] for name in ("x_", "y_", "z_", "i"))
            code.store(y, 0, code.load(x, i))
            code.store(y, code.plus(i, -1), code.load_one(x, i))
            code.store(y, 2, 4.5)
            code.store_first(z, code.plus(i, -1), code.load(x, 1))
            code.store_first(z, 0, code.load(x, 2))

        y, z = laid(torch.zeros(3 * lanes, dtype=dtype), bits), laid(torch.zeros(lanes, dtype=dtype), bits)
        program(write, ["x_", "y_", "z_", "i"], dtype, bits)(laid(x, bits), y, z, 2)
        same(y, torch.cat([x[2 * lanes :], x[2].expand(lanes), torch.full((lanes,), 4.5, dtype=dtype)]))
        assert z.tolist() == [x[2 * lanes], x[lanes], *[0.0] * (lanes - 2)]

    @pytest.mark.parametrize("dtype", FLOATS, ids=str)
    def test_sums_and_products_of_indices(self, dtype):
        cases = [
            lambda code, i: code.plus(i, 5),
            lambda code, i: code.plus(5, i),
            lambda code, i: code.plus(2, 5),
            lambda code, i: code.plus(i, 0),
            lambda code, i: code.plus(0, i),
            lambda code, i: code.plus(i, i),
            lambda code, i: code.times(i, 5),
            lambda code, i: code.times(-5, i),
            lambda code, i: code.times(2, 5),
            lambda code, i: code.times(i, 0),
            lambda code, i: code.times(1, i),
            lambda code, i: code.times(i, i),
            lambda code, i: code.plus(code.plus(i, 5), code.times(i, 3)),
            lambda code, i: code.times(code.plus(i, 2), 3),
            lambda code, i: code.plus(code.times(i, 3), code.times(-3, i)),
            lambda code, i: code.times(code.plus(i, 1), code.plus(i, 2)),
            lambda code, i: code.plus(code.times(code.plus(i, 1), i), code.plus(i, -4)),
        ]
        expected = [12, 12, 7, 7, 7, 14, 35, -35, 10, 0, 7, 49, 33, 27, 0, 72, 59]

        def write(code):
            for k, case in enumerate(cases):
                code.store(code.arguments["y_"], k, code.number(case(code, code.arguments["i"])))

        y = laid(torch.zeros(len(cases) * width(dtype), dtype=dtype))
        program(write, ["y_", "i"], dtype)(y, 7)
        assert y.view(len(cases), -1)[:, 0].tolist() == expected
        assert y.view(len(cases), -1)[:, -1].tolist() == expected


class TestTarget:
    @pytest.fixture(autouse=True)
    def _as_before(self, monkeypatch):
        monkeypatch.delenv(FORCED, raising=False)
        target._host.cache_clear()
        yield
        target._host.cache_clear()

    @pytest.mark.parametrize("bits", [0, 64, 100, 1024])
    def test_vectors_that_no_machine_has(self, bits):
        with pytest.raises(ArgumentError, match="no vectors of that width"):
            host(bits)

    def test_vectors_that_this_machine_lacks(self, monkeypatch):
        monkeypatch.setattr(target.llvm, "get_host_cpu_features", lambda: target.llvm.targets.FeatureMap(avx2=True))  # type: ignore[attr-defined]
        assert host().bits == 256
        with pytest.raises(ArgumentError, match=r"256, 128"):
            host(512)

    def test_lanes_of_each_width(self):
        for bits in WIDTHS:
            assert host(bits).lanes(torch.float32) == bits // 32
            assert host(bits).lanes(torch.float64) == bits // 64

    def test_the_environment_narrows_the_vectors(self, monkeypatch):
        monkeypatch.setenv(FORCED, "128")
        assert host().bits == 128
        assert host(WIDTHS[0]).bits == WIDTHS[0]
        monkeypatch.setenv(FORCED, "96")
        with pytest.raises(ArgumentError):
            host()

    def test_a_text_is_compiled_once(self):
        code = CPUCode("tiny", {"y_": NUMBERS}, host(), torch.float32)
        code.store(code.arguments["y_"], 0, 1.0)
        text = code.finish()
        made = machine_code(text, host())
        assert made is machine_code(text, host())
        assert made.llvm_ir == text
        assert "tiny" in made.assembly


def test_special_numbers_are_all_there():
    x = specials(torch.float32)
    assert x.isnan().sum() == 1
    assert x.isinf().sum() == 2
    assert (x == 0).sum() == 2
    assert ((x != 0) & (x.abs() < torch.finfo(torch.float32).tiny)).sum() == 2
